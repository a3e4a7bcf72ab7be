//! `serin replay` on the real binary: every vector that counts can express, and what is said of counts that are none.

use std::fmt::Write;

use serde::Deserialize;
use serde_json::Value;

use crate::support::root;
use crate::support::serin::{Said, serin};

#[derive(Deserialize)]
struct Vectors {
    harm: Vec<Run>,
    noninferiority: Vec<Run>,
}

#[derive(Deserialize)]
struct Run {
    name: String,
    a0: f64,
    b0: f64,
    rho: f64,
    delta: f64,
    level: f64,
    disp: f64,
    ticks: Vec<(f64, u64, u64, u64, u64)>,
    expect: Vec<Value>,
}

fn vectors() -> Vectors {
    let text = std::fs::read_to_string(root().join("tests/vectors/analysis.json")).unwrap();
    serde_json::from_str(&text).unwrap()
}

impl Run {
    /// Ticks of a second each, after the traffic that left `a0` and `b0`.
    fn counts(&self) -> String {
        let mut text = format!("{{\"prior\": {{\"requests\": {}, \"failures\": {}}}}}\n", self.b0, self.a0);
        for (index, (weight, nc, ec, ns, es)) in self.ticks.iter().enumerate() {
            let t = index + 1;
            writeln!(
                text,
                "{{\"t\": {t}, \"weight\": {weight}, \"stable\": {{\"requests\": {ns}, \"failures\": {es}}}, \
                 \"canary\": {{\"requests\": {nc}, \"failures\": {ec}}}}}"
            )
            .unwrap();
        }
        text
    }
}

fn replayed(plan: &str, counts: &str, flags: &[&str]) -> Said {
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path = dir.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let (plan, counts) = (write("plan.yaml", plan), write("counts.jsonl", counts));
    serin(&[&["replay", "--plan", &plan, &counts], flags].concat())
}

fn lines(said: &Said) -> Vec<Value> {
    said.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[track_caller]
fn assert_close(found: &Value, expected: &Value, what: &str) {
    let (found, expected) = (found.as_f64().expect(what), expected.as_f64().expect(what));
    let off = (found - expected).abs();
    assert!(off <= 1e-9 * (1.0 + expected.abs()), "{what}: {found} instead of {expected}, off by {off:e}");
}

#[test]
fn harm_of_every_vector() {
    for run in vectors().harm {
        let plan = format!(
            "function: f\nalias: live\nsteps: [3%, 5%, 25%, 100%]\nanalysis:\n  failures: {{maxRatio: {}, \
             maxAdded: {}pp}}\n  falseRollbackRate: {}%\n",
            run.rho,
            run.delta * 100.0,
            run.level * 100.0
        );
        let phi = run.disp.to_string();
        let said = replayed(&plan, &run.counts(), &["--dispersion", &phi, "-o", "json"]).done();
        let lines = lines(&said);
        assert_eq!(lines.len(), run.expect.len(), "{}", run.name);
        let mut rolled_back = false;
        for (index, (line, expected)) in lines.iter().zip(&run.expect).enumerate() {
            let what = format!("{} tick {index}", run.name);
            assert_close(&line["lnHarm"], &expected["log_m"], &what);
            assert_eq!(
                (line["t"].as_f64(), line["phi"].as_f64()),
                (Some(index as f64 + 1.0), Some(run.disp))
            );
            rolled_back |= expected["rollback"].as_bool().unwrap();
            assert_eq!(line["verdict"] == "rollback", rolled_back, "{what}: {line}");
        }
    }
}

#[test]
fn proof_of_every_vector() {
    for run in vectors().noninferiority {
        // The plan whose budget makes this margin before its next weight.
        let (served, budget) = (run.ticks[0].0 * 100.0, run.delta * 100.0);
        let (next, budget) = if run.delta > 0.05 { ("5%", budget * 0.05) } else { ("100%", budget) };
        let last = if next == "100%" { "" } else { ", 100%" };
        let plan = format!(
            "function: f\nalias: live\nsteps: [{served}%, {next}{last}]\nanalysis:\n  failures: {{maxRatio: {}}}\n  \
             proof: {{addedFailures: {budget:.4}pp, falseAdvanceRate: {}%}}\n",
            run.rho,
            run.level * 100.0
        );
        let phi = run.disp.to_string();
        let said = replayed(&plan, &run.counts(), &["--dispersion", &phi, "-o", "json"]).done();
        for (index, (line, expected)) in lines(&said).iter().zip(&run.expect).enumerate() {
            let what = format!("{} tick {index}", run.name);
            assert_close(&line["lnProof"], &expected["log_e"], &what);
            assert_eq!(line["verdict"] == "advance", expected["safe"].as_bool().unwrap(), "{what}: {line}");
        }
    }
}

const PLAN: &str = "function: f\nalias: live\nsteps: [3%, 100%]\n";
const BLOCK: &str = "{\"t\": 1, \"weight\": 0.03, \"stable\": {\"requests\": 97, \"failures\": 0}, \
                     \"canary\": {\"requests\": 3, \"failures\": 3}}";

#[test]
fn a_table_says_what_would_have_happened() {
    let said = replayed(PLAN, BLOCK, &[]).done().out;
    for part in ["LN HARM", "rollback", "Rollback at 4.61, proof at 3.00: rolled back at 1s after 3 failed"] {
        assert!(said.contains(part), "{part:?} is not in {said}");
    }
}

/// What a plan judges and counts do not tell keeps its share of the capital, as in a daemon where it is silent.
#[test]
fn failures_need_as_much_as_in_the_daemon() {
    let ln_harm = |plan: &str, flags: &[&str]| {
        let said = lines(&replayed(plan, BLOCK, &[&["-o", "json"], flags].concat()).done());
        said[0]["lnHarm"].as_f64().unwrap()
    };
    let alone = ln_harm(PLAN, &["--dispersion", "1"]);
    let failures = (0.5 * alone.exp() + 0.5).ln();
    // That nothing was refused is a little in the canary's favour.
    let shared = ln_harm(PLAN, &[]);
    assert!(alone > 4.6 && (shared - failures).abs() < 1e-4, "{shared} instead of {failures}");
    // Where latency is not judged, clients who give up are, with a tenth; that none did is a little in its favour, too.
    let nothing_else = format!("{PLAN}analysis: {{latency: none, refusals: none}}\n");
    let most = (0.9 * alone.exp() + 0.1).ln();
    let shared = ln_harm(&nothing_else, &[]);
    assert!((shared - most).abs() < 1e-4, "{shared} instead of {most}");
}

/// Whichever form counts come in, they are the same counts.
#[test]
fn json_lines_a_json_list_and_csv_say_the_same() {
    let prior = "{\"prior\": {\"requests\": 6000, \"failures\": 6}}";
    let lines = format!("{prior}\n{BLOCK}\n{}", BLOCK.replace("\"t\": 1", "\"t\": 2"));
    let list = format!("[{}]", lines.replace('\n', ",\n"));
    let csv = "t,weight,stable_requests,stable_failures,canary_requests,canary_failures\n\
               prior,,6000,6,,\n1,0.03,97,0,3,3\n2,0.03,97,0,3,3\n";
    let turned = "weight, canary_failures,canary_requests,stable_failures,stable_requests,t\n,,,6,6000,prior\n\
                  0.03,3,3,0,97,1\n\n0.03,3,3,0,97,2\n";
    let by_lines = replayed(PLAN, &lines, &["-o", "json"]).done().out;
    assert!(by_lines.contains("rollback"), "{by_lines}");
    for counts in [&list, csv, turned] {
        assert_eq!(replayed(PLAN, counts, &["-o", "json"]).done().out, by_lines, "{counts}");
    }
    let heads = csv.lines().next().unwrap();
    for (counts, parts) in [
        ("t,weight,requests\n1,0.03,4\n".to_owned(), &["line 1", "requests"][..]),
        ("t,weight\n1,0.03\n".to_owned(), &["line 1", "stable_requests is missing"]),
        (format!("{heads}\n1,0.03,97,0,3\n"), &["line 2", "5 cells"]),
        (format!("{heads}\n1,0.03,97,0,3,-1\n"), &["line 2", "canary_failures", "-1"]),
        (format!("{heads}\n1,3%,97,0,3,1\n"), &["line 2", "weight", "no number"]),
        (format!("[{BLOCK},"), &["no JSON list"]),
        (format!("[{BLOCK}, {{\"t\": 2}}]"), &["item 2", "weight"]),
    ] {
        replayed(PLAN, &counts, &[]).ended(1).complaining(parts);
    }
}

#[test]
fn a_weight_above_every_step_has_nothing_to_prove() {
    let last = BLOCK.replace("0.03", "1").replace("\"failures\": 3", "\"failures\": 0");
    let said = lines(&replayed(PLAN, &last, &["-o", "json"]).done());
    assert_eq!((&said[0]["lnProof"], &said[0]["verdict"]), (&Value::Null, &Value::from("wait")));
}

#[test]
fn what_is_no_count_is_refused_with_its_line() {
    for (counts, parts) in [
        ("", &["nothing to replay"][..]),
        ("{\"t\": 1", &["line 1", "no JSON"]),
        (&format!("{BLOCK}\n{{\"t\": 2, \"weight\": 3}}"), &["line 2", "missing field `stable`"]),
        (&BLOCK.replace("\"t\"", "\"at\""), &["line 1", "unknown field `at`"]),
        (&BLOCK.replace("\"failures\"", "\"errors\""), &["line 1", "unknown field `errors`"]),
        (&BLOCK.replace("0.03", "3"), &["line 1", "`weight` is 3", "from 0 to 1"]),
        (&BLOCK.replace("97", "-97"), &["line 1", "invalid value"]),
        (
            &format!("{BLOCK}\n\n{}", BLOCK.replace("\"t\": 1", "\"t\": 0.5")),
            &["line 3", "before ended at 1"],
        ),
        (&format!("{BLOCK}\n{{\"prior\": {{\"requests\": 1, \"failures\": 0}}}}"), &["line 2", "first line"]),
        ("{\"prior\": {\"requests\": -1, \"failures\": 0}}", &["line 1", "prior.requests"]),
        (&BLOCK.replace("97", "1000000000001"), &["line 1", "`stable.requests`", "more than 1e12"]),
        (&BLOCK.replace("\"failures\": 3", "\"failures\": 18446744073709551615"), &["`canary.failures`"]),
        (
            "{\"prior\": {\"requests\": 9, \"failures\": 0, \"dispersion\": 0.5}}",
            &["line 1", "prior.dispersion", "less cannot be"],
        ),
    ] {
        replayed(PLAN, counts, &[]).ended(1).complaining(parts);
    }
    replayed(&PLAN.replace("3%", "3"), BLOCK, &[]).ended(1).complaining(&["did you mean", "not in order"]);
    let none = format!("{PLAN}analysis: none\n");
    replayed(&none, BLOCK, &[]).ended(1).complaining(&["analysis: none"]);
    for phi in ["0.5", "nan", "inf", "much"] {
        replayed(PLAN, BLOCK, &["--dispersion", phi]).ended(2).complaining(&["a number from 1"]);
    }
}

/// What the daemon's core decided in a simulation, and what `replay` says to the counts it kept: a rollback of those that
/// were rolled back, in the block it came in or seconds before, and of no others. Counts by the second tell less well: what
/// comes within a tenth of the limit may be decided otherwise, and so may one of twenty, where how unevenly stable
/// fails changed meanwhile.
#[test]
fn replay_says_what_the_daemon_decided() {
    const STEPS: &str = "function: f\nalias: live\nsteps: [3%, 25%, 100%]\nbake: 0s\n\
                         analysis: {latency: none, refusals: none}\n";
    const LIMIT: f64 = 4.605;
    const NEAR: f64 = 0.11;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("f.yaml");
    std::fs::write(&path, STEPS).unwrap();
    let (mut back, mut up, mut otherwise) = (0, 0, Vec::new());
    for canary in ["0.1%", "2%", "20%", "100%"] {
        for seed in ["1", "2", "3", "4", "5"] {
            let flags = ["--rps", "100", "--canary-failures", canary, "--seed", seed];
            let simulate = [&["simulate", path.to_str().unwrap()], &flags[..]].concat();
            let counts = serin(&[&simulate[..], &["--counts"]].concat()).done().out;
            let ended = serin(&[&simulate[..], &["--runs", "1", "-o", "json"]].concat()).done().json();
            let is_back = ended["outcomes"]["rolledBack"] == 1.0;
            let said = lines(&replayed(STEPS, &counts, &["-o", "json"]).done());
            let seconds = |line: &Value| line["t"].as_f64().unwrap();
            let found = said.iter().find(|line| line["verdict"] == "rollback").map(seconds);
            let what = format!("canary {canary}, seed {seed}: {found:?} of {ended:#}");
            let last = seconds(said.last().unwrap());
            let differs = found.is_some() != is_back || found.is_some_and(|found| last - found > 5.0);
            // The first to come so close is the one that decides.
            let harm =
                said.iter().filter_map(|line| line["lnHarm"].as_f64()).find(|harm| *harm > LIMIT - NEAR);
            if differs && harm.is_none_or(|harm| harm > LIMIT + NEAR) {
                otherwise.push(format!("{last}, {what}"));
            }
            (back, up) = (back + usize::from(is_back), up + usize::from(!is_back));
        }
    }
    assert!(back >= 10 && up >= 4, "{back} rolled back, {up} promoted");
    assert!(otherwise.len() <= 1, "{otherwise:#?}");
}
