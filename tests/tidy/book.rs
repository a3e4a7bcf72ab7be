//! The book: no page is lost, no link is dead, and what it says of commands, phases and alerts is there.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serin::cli::reference;

use crate::support::{files, golden, root};

/// Every page of the book, and what stands beside it for people.
fn pages() -> Vec<PathBuf> {
    let beside = ["README.md", "CONTRIBUTING.md", "RELEASING.md", "SECURITY.md", "contrib/README.md"];
    files("docs", "md").into_iter().chain(beside.map(|page| root().join(page))).collect()
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn shown(path: &Path) -> String {
    path.strip_prefix(root()).unwrap_or(path).display().to_string()
}

/// A page without its code: fenced, indented and in backticks.
fn prose(text: &str) -> String {
    let mut is_fenced = false;
    let mut prose = String::new();
    for line in text.lines() {
        if line.trim_start().starts_with("```") {
            is_fenced = !is_fenced;
        } else if !is_fenced && !line.starts_with("    ") {
            for (index, part) in line.split('`').enumerate() {
                // Links around code keep their shape.
                prose.push_str(if index % 2 == 0 { part } else { "code" });
            }
            prose.push('\n');
        }
    }
    prose
}

/// Where a page's links lead.
fn links(text: &str) -> Vec<String> {
    let prose = prose(text);
    let ends = prose.split("](").skip(1).filter_map(|rest| rest.split(')').next());
    ends.map(str::to_owned).collect()
}

/// The anchors of a page, as GitHub and mdBook make them of headings.
fn anchors(text: &str) -> BTreeSet<String> {
    let mut is_fenced = false;
    let mut anchors = BTreeSet::new();
    for line in text.lines() {
        if line.starts_with("```") {
            is_fenced = !is_fenced;
        }
        if let Some(heading) = line.strip_prefix('#').filter(|_| !is_fenced) {
            let heading = heading.trim_start_matches('#').trim().to_lowercase();
            let kept =
                heading.chars().filter(|char| char.is_alphanumeric() || matches!(char, ' ' | '-' | '_'));
            anchors.insert(kept.map(|char| if char == ' ' { '-' } else { char }).collect());
        }
    }
    anchors
}

#[test]
fn every_page_is_in_the_summary_once() {
    let summary = read(&root().join("docs/SUMMARY.md"));
    let named = links(&summary);
    let unique: BTreeSet<&String> = named.iter().collect();
    assert_eq!(unique.len(), named.len(), "a page stands in the summary twice: {named:?}");
    let missing: Vec<String> = files("docs", "md")
        .iter()
        .filter_map(|path| Some(path.file_name()?.to_str()?.to_owned()))
        .filter(|name| name != "SUMMARY.md" && !unique.contains(name))
        .collect();
    assert!(missing.is_empty(), "not in docs/SUMMARY.md: {missing:?}");
}

#[test]
fn no_link_is_dead() {
    let mut dead = Vec::new();
    let mut count = 0;
    for page in pages() {
        let text = read(&page);
        for link in links(&text) {
            if link.contains("://") || link.starts_with("mailto:") {
                continue;
            }
            count += 1;
            let (file, anchor) = link.split_once('#').unwrap_or((&link, ""));
            let target =
                if file.is_empty() { page.clone() } else { page.parent().expect("a folder").join(file) };
            let is_there = target.exists()
                && (anchor.is_empty() || (target.is_file() && anchors(&read(&target)).contains(anchor)));
            if !is_there {
                dead.push(format!("{}: {link}", shown(&page)));
            }
        }
    }
    assert!(dead.is_empty(), "dead links:\n{}", dead.join("\n"));
    assert!(count >= 60, "{count} links");
}

#[test]
fn the_command_reference_is_what_the_program_says() {
    let differs = golden(&root().join("docs/commands.md"), &reference::reference());
    assert!(differs.is_ok(), "{}", differs.unwrap_err());
}

/// The pieces of code of a page, each a line.
fn code(text: &str) -> Vec<String> {
    let mut is_fenced = false;
    let mut found: Vec<String> = Vec::new();
    for line in text.lines() {
        if line.trim_start().starts_with("```") {
            is_fenced = !is_fenced;
        } else if is_fenced || line.starts_with("    ") {
            match found.last_mut().filter(|last| last.ends_with('\\')) {
                Some(last) => last.push_str(line.trim()),
                None => found.push(line.trim().to_owned()),
            }
        }
    }
    // A text in backticks may go on in the next line.
    let paragraphs =
        text.split("\n\n").filter(|paragraph| !paragraph.contains("```") && !paragraph.starts_with("    "));
    for paragraph in paragraphs {
        let inline = paragraph.split('`').skip(1).step_by(2);
        found.extend(inline.map(|code| code.split_whitespace().collect::<Vec<_>>().join(" ")));
    }
    found
}

/// What a piece of code says of `serin` that is not so.
fn wrong(code: &str, commands: &BTreeMap<String, BTreeSet<String>>) -> Option<String> {
    let typed = code.strip_prefix("$ ").unwrap_or(code).strip_prefix("serin ")?;
    let words: Vec<&str> = typed.split(['|', ';', '>', '#', '&']).next()?.split_whitespace().collect();
    let first = words.first()?;
    let is_word = first.chars().all(|char| char.is_ascii_lowercase() || char == '-');
    if !is_word || first.starts_with('-') {
        return None;
    }
    let two = format!("{first} {}", words.get(1).unwrap_or(&""));
    let Some((path, flags)) = commands.get_key_value(&two).or_else(|| commands.get_key_value(*first)) else {
        // What the daemon prints may begin with its name, too: that has no flags and is no command.
        return words
            .iter()
            .any(|word| word.starts_with("--"))
            .then(|| format!("there is no command in `{code}`"));
    };
    let flag = |word: &str| {
        let name = word.trim_start_matches(['[', '(']).strip_prefix("--")?;
        let end = name.find(|char: char| !char.is_ascii_alphanumeric() && char != '-').unwrap_or(name.len());
        Some(name[..end].to_owned()).filter(|name| !name.is_empty())
    };
    let unknown: Vec<String> =
        words.iter().filter_map(|word| flag(word)).filter(|name| !flags.contains(name)).collect();
    (!unknown.is_empty()).then(|| format!("serin {path} has no {unknown:?}, in `{code}`"))
}

#[test]
fn every_command_and_flag_of_the_book_exists() {
    let commands = reference::flags();
    let mut found = Vec::new();
    let mut count = 0;
    for page in pages().into_iter().filter(|page| !page.ends_with("commands.md")) {
        for code in code(&read(&page)) {
            count += usize::from(code.contains("serin "));
            found.extend(wrong(&code, &commands).map(|what| format!("{}: {what}", shown(&page))));
        }
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
    assert!(count >= 150, "{count} pieces of code name serin");
    // And it would be found.
    assert!(wrong("serin lint plans --fast", &commands).is_some());
    assert!(wrong("$ serin plan impart x --json", &commands).is_some());
    assert!(wrong("serin plan import x --prometheus http://p | less", &commands).is_none());
}

/// The names that a function of the rules gives to the variants of an enum, as its source has them.
fn names_of(file: &str, function: &str) -> Vec<String> {
    let places = ["crates/core/src"].map(|folder| root().join(folder).join(file));
    let path = places.iter().find(|path| path.exists()).unwrap_or_else(|| panic!("{file} is nowhere"));
    let text = read(path);
    let body =
        text.split(&format!("pub fn {function}(&self) -> &'static str {{")).nth(1).expect("the function");
    let body = body.split("\n    }\n").next().expect("its end");
    body.split('"').skip(1).step_by(2).map(str::to_owned).collect()
}

#[test]
fn the_runbook_has_every_phase_every_wait_and_every_alert() {
    let runbook = read(&root().join("docs/runbook.md"));
    let headings: Vec<&str> = runbook.lines().filter_map(|line| line.strip_prefix("### ")).collect();
    let phases = names_of("rollout/state.rs", "name");
    assert!(phases.contains(&"RollingBack".to_owned()) && phases.len() == 9, "{phases:?}");
    // Of a wait that is somebody else's change only the pause knows.
    let waits = names_of("rollout/gates.rs", "kind").into_iter().chain(["drift".to_owned()]);
    let rules = read(&root().join("contrib/prometheus/serin.rules.yml"));
    let alerts: Vec<String> =
        rules.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")).map(str::to_owned).collect();
    assert!(alerts.len() >= 18, "{alerts:?}");
    for alert in &alerts {
        let link = format!("docs/runbook.md#{}", alert.to_lowercase());
        assert!(rules.contains(&link), "{alert} does not say where the runbook has it");
    }
    let names: Vec<String> = phases.into_iter().chain(waits).chain(alerts).collect();
    let missing: Vec<&String> = names.iter().filter(|name| !headings.contains(&name.as_str())).collect();
    assert!(missing.is_empty(), "no headings of docs/runbook.md: {missing:?}");
    // Each says what to do.
    for section in runbook.split("\n### ").skip(1) {
        let name = section.lines().next().unwrap_or_default();
        assert!(section.contains("*To do"), "{name} does not say what to do");
    }
}
