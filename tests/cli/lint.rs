//! `serin lint` and `serin schema`, where no daemon is.

use std::path::Path;

use crate::support::serin::serin;

fn write(dir: &Path, name: &str, text: &str) -> String {
    let path = dir.join(name);
    std::fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_owned()
}

const GOOD: &str = "function: shop\nalias: live\nsteps: [3%, 5%, 100%]\n";

#[test]
fn what_is_in_order_is_said_in_a_line() {
    let dir = tempfile::tempdir().unwrap();
    let plan = write(dir.path(), "shop.yaml", GOOD);
    let said = serin(&["lint", &plan]).done();
    assert_eq!(said.out, format!("✓ {plan}: shop:live, 3% → 5% → 100%\n"));
    let said = serin(&["lint", &plan, "-o", "json"]).done().json();
    assert_eq!(said["files"][0]["ok"], true);
    assert_eq!(said["files"][0]["target"], "shop:live");
    assert_eq!(said["files"][0]["digest"].as_str().map(str::len), Some(64));
}

#[test]
fn faults_are_shown_with_their_places_and_end_with_1() {
    let dir = tempfile::tempdir().unwrap();
    let plan = write(dir.path(), "shop.yaml", "function: shop\nalias: live\nsteps: [3, 5%, 100%]\n");
    let said = serin(&["lint", &plan]).ended(1);
    assert!(said.out.contains(&format!("{plan}:3:9")) && said.out.contains("3%"), "{}", said.out);
    let said = serin(&["lint", &plan, "-o", "json"]).ended(1).json();
    let finding = &said["files"][0]["findings"][0];
    assert_eq!((finding["line"].as_u64(), finding["column"].as_u64()), (Some(3), Some(9)), "{said:#}");
    assert_eq!(finding["severity"], "error");
}

#[test]
fn a_directory_is_checked_whole_with_the_defaults_in_it() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), "team.yaml", "kind: Defaults\nbake: 10m\n");
    write(dir.path(), "shop.yml", &format!("use: team\n{GOOD}"));
    write(dir.path(), "notes.txt", "not a plan");
    let folder = dir.path().to_str().unwrap();
    let said = serin(&["lint", folder]).done().out;
    assert_eq!(said.lines().count(), 2, "{said}");
    assert!(said.contains("team.yaml: defaults for other plans"), "{said}");

    let resolved = serin(&["lint", "--resolved", &format!("{folder}/shop.yml")]).done();
    assert!(resolved.out.contains("bake: 10m"), "{resolved:?}");
    assert!(!resolved.out.contains("✓") && resolved.err.contains("✓"), "{resolved:?}");
    let again = write(dir.path(), "again.yaml", &resolved.out);
    serin(&["lint", &again]).done();

    write(dir.path(), "lost.yaml", &format!("use: nowhere\n{GOOD}"));
    let said = serin(&["lint", folder]).ended(1).out;
    assert!(said.contains("nowhere"), "{said}");
}

#[test]
fn what_cannot_be_read_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    serin(&["lint", "/nonexistent/x.yaml"])
        .ended(1)
        .complaining(&["cannot read the plan /nonexistent/x.yaml"]);
    serin(&["lint", dir.path().to_str().unwrap()]).ended(1).complaining(&["there is no plan in"]);
}

#[test]
fn the_schema_is_one() {
    let schema = serin(&["schema"]).done().json();
    assert!(schema["$schema"].is_string(), "{schema:#}");
}

#[test]
fn users_who_stick_say_which_gates_can_decide() {
    let dir = tempfile::tempdir().unwrap();
    let plan = write(dir.path(), "shop.yaml", &format!("{GOOD}routing: {{affinity: {{cookie: session}}}}\n"));
    let words = |out: String| out.split_whitespace().collect::<Vec<_>>().join(" ");
    let few = words(serin(&["lint", &plan, "--rps", "100", "--users", "1000"]).ended(1).out);
    for part in [
        "users stick to their version",
        "and it has 30: it",
        "cannot decide",
        "let bakes and an `approval` step",
    ] {
        assert!(few.contains(part), "{part:?} is not in {few}");
    }
    let many = words(serin(&["lint", &plan, "--rps", "100", "--users", "20000"]).done().out);
    assert!(
        many.contains("it has 600") && many.contains("where users of the canary meet no failure"),
        "{many}"
    );
}

#[test]
fn traffic_says_which_gates_can_decide() {
    let dir = tempfile::tempdir().unwrap();
    let plan = write(dir.path(), "shop.yaml", GOOD);
    let said = serin(&["lint", &plan, "--rps", "100"]).done().out;
    let said = said.split_whitespace().collect::<Vec<_>>().join(" ");
    for part in
        ["at 100 req/s", "✓ 3% → 5%", "the bake of 5m is longer", "✗ 100%", "no evidence can decide here"]
    {
        assert!(said.contains(part), "{part:?} is not in {said}");
    }
    let said = serin(&["lint", &plan, "--rps", "0.01", "-o", "json"]).ended(1).json();
    let feasibility = &said["files"][0]["feasibility"];
    let steps = &feasibility["steps"];
    assert_eq!((&feasibility["inTime"], &feasibility["suggestion"]["fits"]), (&false.into(), &false.into()));
    assert_eq!(
        (&steps[0]["decidable"], steps[0]["nextWeight"].as_f64()),
        (&false.into(), Some(0.05)),
        "{said:#}"
    );
    assert!(steps[0]["proofSeconds"].as_u64().unwrap() > 24 * 3600, "{said:#}");
    let said = serin(&["lint", &plan, "--rps", "0.01"]).ended(1).out;
    let said = said.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(said.contains("more than the step deadline of 1d"), "{said}");
    assert!(said.contains("no steps are quick enough, the quickest,"), "{said}");
    let slow = write(dir.path(), "slow.yaml", "function: f\nalias: live\nsteps: [3%, 5%, 25%, 50%, 100%]\n");
    let said = serin(&["lint", &slow, "--rps", "0.15"]).ended(1).out;
    let said = said.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(said.contains("more than the deadline of 1d; `steps: ["), "{said}");
    let said = serin(&["lint", &plan, "--rps", "0"]).ended(1).out;
    let said = said.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(said.contains("none come: it cannot decide"), "{said}");

    serin(&["lint", &plan, "--rps", "many"]).ended(2).complaining(&["requests a second"]);
    serin(&["lint", &plan, "--rps", "1", "--against"]).ended(2).complaining(&["cannot be used with"]);
    serin(&["lint", &plan, "--stable-failures", "1%"]).ended(1).complaining(&["goes with --rps"]);
    serin(&["lint", &plan, "--against", "--url", "http://127.0.0.1:1"])
        .ended(1)
        .complaining(&["cannot reach serin"]);
}

#[test]
fn what_a_plan_wants_of_the_daemons_environment_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let text = "function: f\nalias: live\nsteps:\n  - webhook: {url: \"https://ci.example.com/x\", headers: {authorization: {env: \
                HOOK_TOKEN}}}\n  - 100%\nanalysis: {metrics: [{name: m, prometheus: {url: {env: PROM_URL}, query: q}, max: 1}]}\n";
    let plan = write(dir.path(), "plan.yaml", text);
    let said = |flags: &[&str]| serin(&[&["lint", &plan][..], flags].concat()).done().out;
    let all = said(&[]);
    for part in ["--plan-env HOOK_TOKEN=ci.example.com", "--plan-env PROM_URL`"] {
        assert!(all.contains(part), "{part:?} is not in {all}");
    }
    let listed = said(&["--plan-env", "HOOK_TOKEN=ci.example.com", "--plan-env", "PROM_URL"]);
    assert!(!listed.contains("it wants"), "{listed}");
    let elsewhere = said(&["--plan-env", "HOOK_TOKEN=hooks.example.com PROM_URL"]);
    assert!(
        elsewhere
            .contains("HOOK_TOKEN for ci.example.com, and --plan-env gives it to hooks.example.com alone"),
        "{elsewhere}"
    );
    let json = serin(&["lint", &plan, "-o", "json"]).done().json();
    assert_eq!(json["files"][0]["wants"].as_array().unwrap().len(), 2, "{json:#}");
    serin(&["lint", &plan, "--plan-env", "A=http://x"]).ended(2).complaining(&["NAME=HOST,HOST"]);
}
