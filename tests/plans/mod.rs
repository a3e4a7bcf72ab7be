//! Every plan in `plans/` is sound, and every bad plan is refused in the words written down beside it.

mod hostile;
mod import;

use std::collections::BTreeSet;
use std::path::Path;

use serin::cli::diagnose::render;
use serin_core::plan::{Fault, Source, check_defaults, json_schema, load, resolved_yaml, used_defaults};

use crate::support::{files, golden, root};

fn source(path: &Path) -> Source {
    let name = path.strip_prefix(root()).expect("a file of the repository").display().to_string();
    Source::new(name, std::fs::read(path).expect("a readable plan"))
}

/// A plan with the defaults it uses, found beside it.
fn read(path: &Path) -> (Source, Option<Source>) {
    let plan = source(path);
    let defaults = used_defaults(&plan)
        .map(|name| path.with_file_name(name).with_extension("yaml"))
        .filter(|path| path.exists())
        .map(|path| source(&path));
    (plan, defaults)
}

/// What lint would say about a file.
fn faults_of(plan: &Source, defaults: Option<&Source>) -> Vec<Fault> {
    if plan.name.ends_with("-defaults.yaml") {
        return check_defaults(plan);
    }
    match load(plan, defaults) {
        Ok(loaded) => loaded.warnings,
        Err(faults) => faults,
    }
}

#[test]
fn example_plans_are_sound_and_without_warnings() {
    for path in files("plans", "yaml") {
        let (plan, defaults) = read(&path);
        let faults = faults_of(&plan, defaults.as_ref());
        let sources: Vec<Source> = std::iter::once(plan).chain(defaults).collect();
        assert!(faults.is_empty(), "{}", render(&faults, &sources, false, 100));
    }
}

#[test]
fn example_plans_fit_the_schema_and_survive_being_written_out() {
    let validator = jsonschema::validator_for(&json_schema()).expect("a valid schema");
    for path in files("plans", "yaml") {
        let (plan, defaults) = read(&path);
        let text = std::str::from_utf8(&plan.bytes).expect("UTF-8");
        let value: serde_json::Value = serde_yaml::from_str(text).expect("YAML");
        let errors: Vec<String> = validator.iter_errors(&value).map(|error| error.to_string()).collect();
        assert!(errors.is_empty(), "{}: {errors:?}", plan.name);
        if plan.name.ends_with("-defaults.yaml") {
            continue;
        }
        let loaded = load(&plan, defaults.as_ref()).expect("a sound plan").plan;
        let resolved = resolved_yaml(&loaded);
        let value: serde_json::Value = serde_yaml::from_str(&resolved).expect("YAML");
        assert!(validator.is_valid(&value), "{resolved}");
        let again = load(&Source::new("resolved.yaml", resolved), None).expect("a sound plan").plan;
        assert_eq!(again, loaded, "{}", plan.name);
    }
}

#[test]
fn bad_plans_are_refused_in_these_words() {
    let mut differing = Vec::new();
    for path in files("tests/plans/bad", "yaml") {
        let (plan, defaults) = read(&path);
        let faults = faults_of(&plan, defaults.as_ref());
        assert!(!faults.is_empty(), "nothing is wrong with {}", path.display());
        let sources: Vec<Source> = std::iter::once(plan).chain(defaults).collect();
        for fault in &faults {
            check_place(fault, &sources);
        }
        let drawn = render(&faults, &sources, false, 100);
        differing.extend(golden(&path.with_extension("txt"), &drawn).err());
    }
    assert!(differing.is_empty(), "{}", differing.join("\n"));
}

/// A fault points into its file, and its line and column say the same as its span.
fn check_place(fault: &Fault, sources: &[Source]) {
    let source = sources.iter().find(|source| source.name == fault.file).expect("a file that was read");
    assert!(fault.span.start <= fault.span.end && fault.span.end <= source.bytes.len(), "{fault}");
    let before = String::from_utf8_lossy(&source.bytes[..fault.span.start]);
    let line = before.replace("\r\n", "\n").matches(['\n', '\r']).count() + 1;
    let column = before.rsplit(['\n', '\r']).next().unwrap_or_default().chars().count() + 1;
    assert_eq!((fault.line as usize, fault.column as usize), (line, column), "{fault}");
}

#[test]
fn every_bad_plan_has_its_words_and_no_words_are_left_over() {
    let stems = |ending| -> BTreeSet<_> {
        files("tests/plans/bad", ending).into_iter().map(|path| path.with_extension("")).collect()
    };
    let (plans, words) = (stems("yaml"), stems("txt"));
    let alone: Vec<_> = plans.symmetric_difference(&words).collect();
    assert!(alone.is_empty(), "without its counterpart (SERIN_BLESS=1 writes words): {alone:?}");
    assert!(plans.len() >= 50, "only {} bad plans", plans.len());
}
