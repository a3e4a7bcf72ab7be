//! No circle of files: in no folder do two entries need each other, be it directly or around a corner.
//!
//! Read from the text: `use` declarations and paths that begin with `crate`, `super` or `self`, followed through
//! re-exports to the file that has the thing. What a module and the files below it have with each other does not count,
//! nor does what tests at the end of a file need.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

type Name = Vec<String>;

/// The files of one crate by their modules, with what they declare and pass on.
struct Sources {
    texts: BTreeMap<Name, String>,
    declares: BTreeMap<Name, BTreeSet<String>>,
    passes_on: BTreeMap<Name, BTreeMap<String, Name>>,
}

fn is_name(char: char) -> bool {
    char.is_ascii_alphanumeric() || char == '_'
}

/// Without comments, and without the tests at the end.
fn code(text: &str) -> String {
    let text = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
    let lines = text.lines().map(|line| line.split("//").next().unwrap_or_default());
    lines.collect::<Vec<_>>().join("\n")
}

/// The paths of a use tree such as `a::{b, c::{d, e as f}}`.
fn leaves(before: &str, tree: &str) -> Vec<Name> {
    let Some(open) = tree.find('{') else {
        let path = format!("{before}{tree}");
        let path = path.split(" as ").next().unwrap_or_default();
        let names = path.split("::").map(|name| name.trim().to_owned()).filter(|name| !name.is_empty());
        return vec![names.collect()];
    };
    let head = format!("{before}{}", &tree[..open]);
    let inside = &tree[open + 1..tree.rfind('}').unwrap_or(tree.len())];
    let mut found = Vec::new();
    let (mut depth, mut from) = (0, 0);
    for (at, char) in inside.char_indices().chain([(inside.len(), ',')]) {
        match char {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                let part = inside[from..at].trim();
                if !part.is_empty() {
                    found.extend(leaves(&head, part));
                }
                from = at + 1;
            }
            _ => {}
        }
    }
    found
}

/// What follows `use` in a text, each with whether it is passed on, and the text without them.
fn uses(text: &str) -> (Vec<(bool, Name)>, String) {
    let (mut found, mut rest) = (Vec::new(), String::new());
    let mut remaining = text;
    while let Some(at) = remaining.find("use ") {
        let before = &remaining[..at];
        let line = before.rsplit('\n').next().unwrap_or_default().trim();
        let after = &remaining[at + 4..];
        let is_declaration = line.is_empty() || (line.starts_with("pub") && !line.contains(' '));
        match after.find(';') {
            Some(end) if is_declaration => {
                rest.push_str(before);
                let tree = after[..end].replace('\n', " ");
                found.extend(leaves("", &tree).into_iter().map(|path| (line.starts_with("pub"), path)));
                remaining = &after[end + 1..];
            }
            _ => {
                rest.push_str(&remaining[..at + 4]);
                remaining = after;
            }
        }
    }
    rest.push_str(remaining);
    (found, rest)
}

/// Paths such as `crate::a::b` and `super::c` that stand in code.
fn inline_paths(text: &str) -> Vec<Name> {
    let mut found = Vec::new();
    for head in ["crate::", "super::", "self::"] {
        for (at, _) in text.match_indices(head) {
            let before = &text[..at];
            if before.ends_with(is_name) || before.ends_with("::") || before.ends_with('$') {
                continue;
            }
            let end =
                text[at..].find(|char| !is_name(char) && char != ':').map_or(text.len(), |end| at + end);
            found
                .push(text[at..end].split("::").filter(|name| !name.is_empty()).map(str::to_owned).collect());
        }
    }
    found
}

impl Sources {
    fn of(src: &Path) -> Sources {
        let mut texts = BTreeMap::new();
        for path in super::rust_files(src) {
            let inside = path.strip_prefix(src).unwrap().with_extension("");
            let mut name: Name = inside.iter().map(|part| part.to_string_lossy().into_owned()).collect();
            if name.last().is_some_and(|last| ["mod", "lib", "main"].contains(&last.as_str())) {
                name.pop();
            }
            texts.insert(name, code(&std::fs::read_to_string(&path).unwrap()));
        }
        let mut sources = Sources { texts, declares: BTreeMap::new(), passes_on: BTreeMap::new() };
        for (module, text) in &sources.texts {
            let words: Vec<&str> =
                text.split(|char| !is_name(char)).filter(|word| !word.is_empty()).collect();
            let kinds = ["struct", "enum", "fn", "trait", "type", "const", "static", "macro_rules"];
            let declares = words.windows(2).filter(|pair| kinds.contains(&pair[0]));
            let declares = declares.map(|pair| pair[1].to_owned()).collect();
            let passed = uses(text).0.into_iter().filter(|(is_passed_on, _)| *is_passed_on);
            let passed = passed.filter_map(|(_, path)| sources.absolute(module, &path));
            let passed = passed.filter_map(|path| Some((path.last()?.clone(), path))).collect();
            sources.declares.insert(module.clone(), declares);
            sources.passes_on.insert(module.clone(), passed);
        }
        sources
    }

    /// A path as seen from the crate's root; nothing where it is of another crate.
    fn absolute(&self, module: &Name, path: &[String]) -> Option<Name> {
        let mut base = module.clone();
        match path.first()?.as_str() {
            "crate" => Some(path[1..].to_vec()),
            "self" => Some(base.into_iter().chain(path[1..].iter().cloned()).collect()),
            "super" => {
                let ups = path.iter().take_while(|name| *name == "super").count();
                base.truncate(base.len().checked_sub(ups)?);
                Some(base.into_iter().chain(path[ups..].iter().cloned()).collect())
            }
            first => {
                base.push(first.to_owned());
                self.texts.contains_key(&base).then(|| {
                    base.pop();
                    base.into_iter().chain(path.iter().cloned()).collect()
                })
            }
        }
    }

    /// The file that has what a path names.
    fn file_of(&self, path: &[String], follows: usize) -> Option<&Name> {
        let length = (0..=path.len()).rev().find(|length| self.texts.contains_key(&path[..*length]))?;
        let (module, _) = self.texts.get_key_value(&path[..length])?;
        if let Some(name) = path.get(length)
            && follows > 0
            && !self.declares.get(module).is_some_and(|declares| declares.contains(name))
            && let Some(elsewhere) = self.passes_on.get(module).and_then(|passed| passed.get(name))
        {
            let elsewhere: Name = elsewhere.iter().chain(&path[length + 1..]).cloned().collect();
            return self.file_of(&elsewhere, follows - 1);
        }
        Some(module)
    }

    /// Which file needs which.
    fn needs(&self) -> BTreeSet<(&Name, &Name)> {
        let mut needs = BTreeSet::new();
        let is_test = |module: &Name| module.iter().any(|part| part == "tests");
        for (module, text) in self.texts.iter().filter(|(module, _)| !is_test(module)) {
            let (used, rest) = uses(text);
            let paths = used.into_iter().map(|(_, path)| path).chain(inline_paths(&rest));
            for path in paths {
                let file = self.absolute(module, &path).and_then(|path| self.file_of(&path, 8));
                needs.extend(file.filter(|file| *file != module).map(|file| (module, file)));
            }
        }
        needs
    }

    /// Every circle, as the folder it is in, one entry after the other, and files that make it one.
    fn circles(&self) -> Vec<String> {
        let needs = self.needs();
        let folders: BTreeSet<&[String]> =
            self.texts.keys().flat_map(|name| (0..name.len()).map(|length| &name[..length])).collect();
        let mut found = Vec::new();
        for folder in folders {
            let mut next: BTreeMap<&str, BTreeMap<&str, String>> = BTreeMap::new();
            for (one, other) in &needs {
                let depth = folder.len();
                if one.len() > depth
                    && other.len() > depth
                    && one.starts_with(folder)
                    && other.starts_with(folder)
                {
                    let why = format!("{} needs {}", one.join("::"), other.join("::"));
                    if one[depth] != other[depth] {
                        next.entry(&one[depth]).or_default().entry(&other[depth]).or_insert(why);
                    }
                }
            }
            for start in next.keys() {
                if let Some(way) = way_back(&next, start) {
                    found.push(format!("in {}/: {}", folder.join("/"), way.join(", ")));
                    break;
                }
            }
        }
        found
    }
}

/// The shortest way from an entry back to itself, in sentences.
fn way_back(next: &BTreeMap<&str, BTreeMap<&str, String>>, start: &str) -> Option<Vec<String>> {
    let mut ways: Vec<(&str, Vec<String>)> = vec![(start, Vec::new())];
    let mut seen = BTreeSet::new();
    let mut at = 0;
    while let Some((entry, way)) = ways.get(at).cloned() {
        at += 1;
        for (other, why) in next.get(entry).into_iter().flatten() {
            let longer: Vec<String> = way.iter().cloned().chain([why.clone()]).collect();
            if *other == start {
                return Some(longer);
            }
            if seen.insert(*other) {
                ways.push((other, longer));
            }
        }
    }
    None
}

/// Folders that have circles still; CONTRIBUTING.md says which files would have to part.
const LEFT: [&str; 3] = ["router", "runtime", "store"];

#[test]
fn no_files_need_each_other_in_a_circle() {
    let circles: Vec<String> = super::PLACES
        .iter()
        .flat_map(|place| Sources::of(&super::root().join(place)).circles())
        .filter(|circle| !LEFT.iter().any(|left| circle.starts_with(&format!("in {left}/:"))))
        .collect();
    assert!(circles.is_empty(), "circles of files:\n{}", circles.join("\n"));
}

#[test]
fn a_circle_is_found_through_re_exports_and_between_folders() {
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path = dir.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    };
    write("lib.rs", "mod high;\nmod low;\n");
    write("low/mod.rs", "mod one;\nmod two;\npub use two::Two;\n\npub struct Low;\n");
    write("low/one.rs", "use super::{Low, Two};\n\npub struct One(Low, Two);\n");
    write("low/two.rs", "pub struct Two;\n");
    write("high.rs", "use crate::low::{Low, Two};\n\nfn high(_: Low, _: Two) {}\n");
    assert_eq!(Sources::of(dir.path()).circles(), Vec::<String>::new());

    write("low/two.rs", "pub struct Two(Option<Box<super::one::One>>);\n");
    let circles = Sources::of(dir.path()).circles();
    assert_eq!(circles, ["in low/: low::one needs low::two, low::two needs low::one"]);

    write(
        "low/two.rs",
        "// super::one::One\npub struct Two;\n\n#[cfg(test)]\nmod tests {\n    use crate::high;\n}\n",
    );
    assert_eq!(Sources::of(dir.path()).circles(), Vec::<String>::new());

    write("low/two.rs", "pub struct Two;\n\nfn two() {\n    crate::high::high();\n}\n");
    let circles = Sources::of(dir.path()).circles();
    assert_eq!(circles, ["in /: high needs low, low::two needs high"]);
}
