//! The rules of the house that a compiler does not hold: who imports whom, what stays pure, how files begin.

mod book;
mod circles;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Who may import whom, besides `serin_core`, which imports nobody. A module that is not here does not exist.
const MAY_IMPORT: &[(&str, &[&str])] = &[
    ("chance", &[]),
    ("clock", &[]),
    ("code", &[]),
    ("config", &[]),
    ("log_queue", &[]),
    ("sockets", &[]),
    ("key_file", &[]),
    ("store", &["chance", "clock", "key_file"]),
    ("metrics", &["clock", "config"]),
    ("access", &["config", "key_file"]),
    ("runtime", &["chance", "clock", "code", "config"]),
    ("router", &["access", "chance", "clock", "metrics", "runtime", "sockets"]),
    ("control", &["chance", "clock", "metrics", "router::table", "store"]),
    ("handover", &["config", "metrics", "router::table"]),
    ("queues", &["clock", "config", "control", "router::handle"]),
    ("events", &["chance", "clock", "control", "queues::client", "router::handle", "store::events"]),
    ("simulate", &["chance", "control"]),
    (
        "api",
        &[
            "access",
            "chance",
            "clock",
            "code",
            "config",
            "control",
            "events::progress",
            "log_queue",
            "metrics",
            "queues::client",
            "queues::progress",
            "router::handle",
            "runtime",
            "sockets",
            "store",
        ],
    ),
    ("client", &["api::wire", "config"]),
    (
        "daemon",
        &[
            "domain", "access", "api", "clock", "code", "config", "control", "events", "handover", "metrics",
            "queues", "router", "runtime", "sockets", "store",
        ],
    ),
    ("cli", &["api::wire", "chance", "client", "clock", "config", "daemon", "log_queue", "simulate"]),
    ("main", &["cli"]),
    // Behind a feature that no daemon is built with.
    (
        "fuzzing",
        &["access", "api::lambda", "api::wire", "code", "control", "handover", "metrics", "router", "store"],
    ),
];

/// What the pure part must not even name.
const IMPURE: &[&str] = &[
    "tokio",
    "std::fs",
    "std::net::Tcp",
    "std::thread",
    "std::process",
    "std::env",
    "SystemTime",
    "Instant::now",
    "rusqlite",
    "tracing::",
    "rand::",
    "println!",
    "eprintln!",
    "hyper::",
    "axum::",
];

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn rust_files(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(rust_files(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    found.sort();
    found
}

/// Where the code is: the binary's, and the pure part's.
const PLACES: [&str; 2] = ["src", "crates/core/src"];

/// Files of `src` with the top-level module they belong to and their text without comments.
fn sources() -> Vec<(PathBuf, String, String)> {
    let src = root().join("src");
    rust_files(&src)
        .into_iter()
        .map(|path| {
            let inside = path.strip_prefix(&src).unwrap().to_owned();
            let first = inside.iter().next().unwrap().to_string_lossy().into_owned();
            let module = first.trim_end_matches(".rs").to_owned();
            let text = std::fs::read_to_string(&path).unwrap();
            (inside, module, without_comments(&text))
        })
        .collect()
}

fn code_files() -> Vec<PathBuf> {
    PLACES.iter().flat_map(|place| rust_files(&root().join(place))).collect()
}

fn without_comments(text: &str) -> String {
    text.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n")
}

/// Every `crate::a::b` path of a text, as far as two segments; a braced group counts as its head.
fn crate_paths(text: &str) -> Vec<String> {
    let is_name = |char: char| char.is_ascii_alphanumeric() || char == '_';
    text.match_indices("crate::")
        .filter(|(at, _)| !text[..*at].ends_with(is_name) && !text[..*at].ends_with('$'))
        .flat_map(|(at, found)| {
            let rest = &text[at + found.len()..];
            if let Some(group) = rest.strip_prefix('{') {
                let group = group.split('}').next().unwrap_or_default();
                return group.split(',').map(|part| part.trim().to_owned()).collect::<Vec<_>>();
            }
            let mut segments = rest.split("::");
            let first: String =
                segments.next().unwrap_or_default().chars().take_while(|c| is_name(*c)).collect();
            let second: String =
                segments.next().unwrap_or_default().chars().take_while(|c| is_name(*c)).collect();
            vec![if second.is_empty() { first } else { format!("{first}::{second}") }]
        })
        .filter(|path| !path.is_empty())
        .collect()
}

#[test]
fn imports_follow_the_floor_plan() {
    let rules: BTreeMap<&str, &[&str]> = MAY_IMPORT.iter().copied().collect();
    let mut broken = Vec::new();
    for (path, module, text) in sources() {
        if module == "lib" {
            continue;
        }
        let Some(allowed) = rules.get(module.as_str()) else {
            broken.push(format!("src/{} belongs to no floor of the plan", path.display()));
            continue;
        };
        for import in crate_paths(&text) {
            let target = import.split("::").next().unwrap_or_default();
            let fits =
                |rule: &&str| import == **rule || import.starts_with(&format!("{rule}::")) || &target == rule;
            if target != module && !allowed.iter().any(fits) {
                broken.push(format!("src/{} imports crate::{import}", path.display()));
            }
        }
    }
    assert!(broken.is_empty(), "imports that the floor plan does not allow:\n{}", broken.join("\n"));
}

#[test]
fn the_core_is_pure() {
    let core = root().join("crates/core");
    let mut broken = Vec::new();
    for path in rust_files(&core.join("src")) {
        let text = without_comments(&std::fs::read_to_string(&path).unwrap());
        for impure in IMPURE {
            if text.contains(impure) {
                broken.push(format!("{} names {impure}", path.display()));
            }
        }
    }
    let manifest = std::fs::read_to_string(core.join("Cargo.toml")).unwrap();
    for name in ["tokio", "rusqlite", "tracing", "rand", "hyper", "axum", "notify", "rustix", "libc", "ureq"]
    {
        if manifest.lines().any(|line| line.starts_with(name)) {
            broken.push(format!("crates/core/Cargo.toml wants {name}"));
        }
    }
    assert!(broken.is_empty(), "the core decides and does nothing else:\n{}", broken.join("\n"));
}

#[test]
fn only_the_store_speaks_sql() {
    let sql = ["SELECT ", "INSERT INTO", "DELETE FROM", "PRAGMA "];
    let outside = sources().into_iter().filter(|(_, module, _)| module != "store");
    let broken: Vec<String> = outside
        .filter(|(_, _, text)| sql.iter().any(|word| text.contains(word)))
        .map(|(path, ..)| format!("src/{}", path.display()))
        .collect();
    assert!(broken.is_empty(), "SQL outside the store: {broken:?}");
}

#[test]
fn every_file_says_what_it_is_and_is_one_idea() {
    let mut broken = Vec::new();
    let tests = rust_files(&root().join("tests"));
    for path in code_files().into_iter().chain(tests) {
        let text = std::fs::read_to_string(&path).unwrap();
        let shown = path.strip_prefix(root()).unwrap().display().to_string();
        if !text.starts_with("//! ") {
            broken.push(format!("{shown} does not begin by saying what it is"));
        }
        let lines = text.lines().count();
        if lines > 700 {
            broken.push(format!("{shown} has {lines} lines"));
        }
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

#[test]
fn nothing_is_left_unfinished() {
    let marks = [
        concat!("TO", "DO"),
        concat!("FIX", "ME"),
        concat!("XX", "X"),
        concat!("todo", "!("),
        concat!("unimplemented", "!("),
        concat!("dbg", "!("),
    ];
    let mut broken = Vec::new();
    for path in code_files().into_iter().chain(rust_files(&root().join("tests"))) {
        let text = std::fs::read_to_string(&path).unwrap();
        let shown = path.strip_prefix(root()).unwrap().display().to_string();
        for (number, line) in text.lines().enumerate() {
            if marks.iter().any(|mark| line.contains(mark)) {
                broken.push(format!("{shown}:{}: {}", number + 1, line.trim()));
            }
            if line.trim() == concat!("#[", "ignore]") {
                broken.push(format!("{shown}:{}: an ignored test needs its reason", number + 1));
            }
        }
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

#[test]
fn every_test_folder_is_part_of_the_binary() {
    let main = std::fs::read_to_string(root().join("tests/main.rs")).unwrap();
    for entry in std::fs::read_dir(root().join("tests")).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() && path.join("mod.rs").exists() {
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            assert!(main.contains(&format!("mod {name};")), "tests/{name} is in no test binary");
        }
    }
}

/// The source of a module of tests, or of one of the crate's with tests in it.
fn module(path: &[&str]) -> Option<String> {
    let relative = path.iter().collect::<PathBuf>();
    let places = ["tests", "src", "crates/core/src"].map(|place| root().join(place).join(&relative));
    let files = places.iter().flat_map(|place| [place.with_extension("rs"), place.join("mod.rs")]);
    let texts: Vec<_> = files.filter_map(|file| std::fs::read_to_string(file).ok()).collect();
    (!texts.is_empty()).then(|| texts.concat())
}

#[test]
fn every_threat_has_its_test_and_every_attempt_is_told() {
    let threats = std::fs::read_to_string(root().join("docs/THREATS.md")).unwrap();
    let names: Vec<&str> = threats.split('`').skip(1).step_by(2).filter(|name| name.contains("::")).collect();
    assert!(names.len() > 50, "{names:?}");
    let is_missing = |name: &&&str| {
        let mut path: Vec<&str> = name.split("::").collect();
        let test = path.pop().unwrap_or_default();
        // Tests that have a file of their own, or stand at the end of another one.
        !module(&path).is_some_and(|text| text.contains(&format!("fn {test}(")) && text.contains("test"))
    };
    let missing: Vec<_> = names.iter().filter(is_missing).collect();
    assert!(missing.is_empty(), "no tests: {missing:#?}");
    let escapes = std::fs::read_to_string(root().join("examples/escapes.rs")).unwrap();
    let attempts: Vec<&str> = (escapes.lines().filter_map(|line| line.strip_prefix("    (\"")))
        .filter_map(|rest| rest.split('"').next())
        .collect();
    assert!(attempts.len() >= 90, "{attempts:?}");
    let words = threats.split_whitespace().collect::<Vec<_>>().join(" ");
    let untold: Vec<_> = attempts.iter().filter(|attempt| !words.contains(**attempt)).collect();
    assert!(untold.is_empty(), "not in docs/THREATS.md: {untold:#?}");
}

/// Every mutant of `scripts/mutants`: its name, its file, its test, and the text that it takes the place of.
fn mutants() -> Vec<[String; 4]> {
    let list = std::fs::read_to_string(root().join("tests/mutants/list.txt")).unwrap();
    let mut mutants: Vec<[String; 4]> = Vec::new();
    for line in list.lines() {
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        match (word, mutants.last_mut()) {
            ("mutant", _) => mutants.push([rest.to_owned(), String::new(), String::new(), String::new()]),
            ("file", Some(mutant)) => mutant[1] = rest.to_owned(),
            ("test", Some(mutant)) => mutant[2] = rest.to_owned(),
            ("-", Some(mutant)) => mutant[3] += &format!("{rest}\n"),
            _ => {}
        }
    }
    mutants
}

#[test]
fn every_mutant_still_applies_and_has_its_test() {
    let mutants = mutants();
    assert!(mutants.len() >= 30, "{} mutants", mutants.len());
    let mut broken = Vec::new();
    for [name, file, test, old] in mutants {
        let text = std::fs::read_to_string(root().join(&file)).unwrap_or_default();
        let found = text.matches(old.trim_end_matches('\n')).count();
        if found != 1 || old.is_empty() {
            broken.push(format!("{name}: its text is {found} times in {file}"));
        }
        let (_, path) = test.split_once(' ').unwrap_or_default();
        let mut modules: Vec<&str> = path.split("::").collect();
        let last = modules.pop().unwrap_or_default();
        // Tests have a file of their own, or stand at the end of another one.
        let own = module(&modules);
        modules.retain(|module| *module != "tests");
        let holds = |text: String| last.is_empty() || text.contains(&format!("fn {last}("));
        let stands = own.is_some_and(holds) || module(&modules).is_some_and(holds);
        if !stands {
            broken.push(format!("{name}: there is no test {test}"));
        }
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}
