//! `serin plan import`: manifests of four tools, the plans that come of them, the reports, and what is refused.
//!
//! Each manifest is our own, of the shape of a public one that it names in its first line.

use std::path::Path;

use crate::support::serin::{Said, command};
use crate::support::{files, golden, root};

fn import(file: &str, flags: &[&str]) -> Said {
    let mut command = command();
    command.current_dir(root().join("tests/plans/import"));
    command.env("COLUMNS", "100").args(["plan", "import", file]).args(flags);
    Said::of(command.output().expect("the binary runs"))
}

fn manifests() -> Vec<String> {
    let found = ["yaml", "json"].into_iter().flat_map(|ending| files("tests/plans/import", ending));
    found.map(|path| path.file_name().expect("a file").to_string_lossy().into_owned()).collect()
}

fn lint(plan: &str) -> Said {
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("plan.yaml");
    std::fs::write(&file, plan).expect("a writable directory");
    Said::of(command().arg("lint").arg(file).output().expect("the binary runs"))
}

#[test]
fn manifests_come_over_and_every_line_of_them_is_told() {
    let mut differences = Vec::new();
    for file in manifests() {
        let said = import(&file, &[]);
        if said.code == 0 {
            let linted = lint(&said.out).done();
            // Nor are there warnings.
            assert_eq!(linted.out.lines().count(), 1, "{file}: {linted:#?}");
        } else {
            // Refused with its place, and nothing half done.
            assert_eq!((said.code, said.out.as_str()), (1, ""), "{file}");
            assert!(said.err.contains(&format!("[{file}:")), "{file}: {}", said.err);
        }
        let text = format!("{}\n{}\nexit code {}\n", said.out, said.err.trim_end(), said.code);
        let path = root().join("tests/plans/import").join(Path::new(&file).with_extension("txt"));
        differences.extend(golden(&path, &text).err());
    }
    assert!(differences.is_empty(), "{}", differences.join("\n"));
}

#[test]
fn six_public_manifests_a_tool_are_reproduced_and_named() {
    for (tool, from) in
        [("argo", "argoproj/"), ("flagger", "fluxcd/"), ("sam", "aws"), ("pipecd", "pipe-cd/")]
    {
        let named = manifests().into_iter().filter(|file| file.starts_with(tool)).filter(|file| {
            let text =
                std::fs::read_to_string(root().join("tests/plans/import").join(file)).expect("a manifest");
            text.lines().take(4).any(|line| line.contains(&format!("of {from}")))
        });
        let named: Vec<String> = named.collect();
        assert!(named.len() >= 6, "{tool}: {named:?}");
    }
}

#[test]
fn one_function_of_several_is_chosen_and_the_alias_is_said() {
    import("sam-several.yaml", &[]).ended(1).complaining(&["2 functions", "--function", "Basket", "Orders"]);
    let orders = import("sam-several.yaml", &["--function", "Orders"]).done();
    assert!(orders.out.contains("function: Orders\nalias: prod\n"), "{}", orders.out);
    assert!(orders.out.contains("preset: Linear10PercentEvery10Minutes"), "{}", orders.out);
    import("sam-several.yaml", &["--function", "Plain"]).ended(1).complaining(&["no function `Plain`"]);
    let blue = import("argo-pauses.yaml", &["--alias", "blue"]).done();
    assert!(blue.out.contains("alias: blue\n"), "{}", blue.out);
    import("argo-pauses.yaml", &["--alias", "no alias"])
        .ended(1)
        .complaining(&["makes no plan that is in order"]);
    import("argo-pauses.yaml", &["--function", "orders"]).ended(1).complaining(&["a canary of `orders`"]);
}

#[test]
fn queries_come_over_once_it_is_said_where_their_prometheus_is() {
    for (file, name) in [("pipecd-metrics.yaml", "metric-1"), ("flagger-of-old.yaml", "queue")] {
        assert!(!import(file, &[]).done().out.contains("prometheus:"), "{file}");
        let said = import(file, &["--prometheus", "http://prometheus:9090"]).done();
        assert!(said.out.contains(&format!("    - name: {name} ")), "{}", said.out);
        assert!(said.out.contains("url: \"http://prometheus:9090\""), "{}", said.out);
        lint(&said.out).done();
    }
}

#[test]
fn scripts_get_the_plan_and_the_report_as_json() {
    let said = import("flagger-ramp.yaml", &["-o", "json"]).done();
    assert_eq!(said.err, "");
    let json = said.json();
    assert_eq!(json["function"], "basket");
    lint(json["plan"].as_str().expect("a text")).done();
    let report = json["report"].as_array().expect("a list");
    let of = |what: &str| {
        report.iter().find(|line| line["what"].as_str().is_some_and(|said| said.starts_with(what)))
    };
    let duration = of("metrics: request-duration").expect("told");
    assert_eq!((&duration["line"], &duration["verdict"]), (&24.into(), &"cameOver".into()), "{duration}");
    assert_eq!(of("spec.autoscalerRef").expect("told")["verdict"], "noEqual");
    assert_eq!(of("webhooks: load").expect("told")["verdict"], "betterOtherwise");
}

#[test]
fn what_is_no_manifest_is_refused_in_a_sentence() {
    let dir = tempfile::tempdir().expect("a directory");
    let deep = "[".repeat(100);
    let long = format!("a: {}\n", "x".repeat(1024 * 1024));
    let cases: [(&[u8], &str); 7] = [
        (b"", "the file is empty"),
        (b"\xff\xfe", "not UTF-8"),
        (b"a: [1", "not valid YAML"),
        (deep.as_bytes(), "not valid YAML"),
        (long.as_bytes(), "larger than 1024 KiB"),
        (b"{a: 1, a: 2}", "a second time"),
        (b"? [a]\n: b\n", "a key must be a text"),
    ];
    for (bytes, why) in cases {
        let file = dir.path().join("manifest.yaml");
        std::fs::write(&file, bytes).expect("a writable directory");
        let output = command().args(["plan", "import"]).arg(&file).output().expect("the binary runs");
        Said::of(output).ended(1).complaining(&[why]);
    }
    let output = command().args(["plan", "import", "/nonexistent/x.yaml"]).output().expect("the binary runs");
    Said::of(output).ended(1).complaining(&["cannot read the manifest /nonexistent/x.yaml"]);
}
