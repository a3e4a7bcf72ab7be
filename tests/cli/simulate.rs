//! `serin simulate` on the real binary.

use serde_json::Value;

use crate::support::serin::{Said, serin};

const PLAN: &str = "function: shop\nalias: live\nsteps: [3%, 25%, 100%]\nbake: 1m\n";

fn simulated(flags: &[&str]) -> Said {
    simulated_by(PLAN, flags)
}

fn simulated_by(plan: &str, flags: &[&str]) -> Said {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("shop.yaml");
    std::fs::write(&path, plan).unwrap();
    serin(&[&["simulate", path.to_str().unwrap()], flags].concat())
}

fn outcomes(said: &Value) -> [f64; 3] {
    ["succeeded", "rolledBack", "waiting"].map(|outcome| said["outcomes"][outcome].as_f64().unwrap())
}

#[test]
fn a_bad_version_is_rolled_back_and_a_good_one_promoted() {
    let bad = [
        "--rps",
        "100",
        "--stable-failures",
        "0.1%",
        "--canary-failures",
        "20%",
        "--runs",
        "40",
        "-o",
        "json",
    ];
    let said = simulated(&bad).done().json();
    assert_eq!(outcomes(&said), [0.0, 1.0, 0.0], "{said:#}");
    let (median, p95) = (&said["failedRequests"]["median"], &said["failedRequests"]["p95"]);
    assert!(median.as_f64().unwrap() <= 5.0 && p95.as_f64().unwrap() <= 12.0, "{said:#}");
    let requests = said["canaryRequests"]["median"].as_f64().unwrap();
    assert!(said["floor"]["canaryRequests"].as_f64().unwrap() < requests, "{said:#}");
    assert!(said["seconds"]["median"].as_f64().unwrap() > 0.0, "{said:#}");

    let said = simulated(&["--rps", "100", "--runs", "20", "-o", "json"]).done().json();
    assert!(outcomes(&said)[0] >= 0.9, "{said:#}");
    assert_eq!(said["floor"], Value::Null, "nothing is to be found: {said:#}");
}

#[test]
fn the_same_seed_gives_the_same_answer() {
    let with = |seed: &str| {
        let flags = ["--rps", "50", "--canary-failures", "3%", "--runs", "30", "--seed", seed, "-o", "json"];
        simulated(&flags).done().out
    };
    assert_eq!(with("7"), with("7"));
    assert_ne!(with("7"), with("8"));
}

#[test]
fn what_has_no_traffic_or_no_approval_waits_and_says_for_what() {
    let said = simulated(&["--rps", "0", "--until", "7d", "--runs", "2"]).done().out;
    assert!(said.contains("100.0%") && said.contains("waited for pause at step 1 of 3"), "{said}");
    let approved = PLAN.replace("100%]", "{approval: {}}, 100%]");
    let said = simulated_by(&approved, &["--rps", "100", "--runs", "4"]).done().out;
    assert!(said.contains("waited for approval at step 3 of 4"), "{said}");
}

#[test]
fn every_kind_of_trouble_can_be_asked_for() {
    let flags = [
        "--rps",
        "20",
        "--stable-failures",
        "1%",
        "--canary-latency",
        "+1s",
        "--incident",
        "30%@1m+30s",
        "--incident",
        "10%@3m+10s",
        "--drift",
        "x2@5m",
        "--clumps",
        "3",
        "--spells",
        "5%@2m+10s",
        "--spells",
        "x3@2m+10s",
        "--prior",
        "1m",
        "--daily",
        "--day",
        "10m",
        "--bursts",
        "x10@30s+3s/20%",
        "--restart-every",
        "30s",
        "--until",
        "30m",
        "--runs",
        "4",
        "-o",
        "json",
    ];
    let said = simulated(&flags).done().json();
    assert!((outcomes(&said).iter().sum::<f64>() - 1.0).abs() < 1e-12, "{said:#}");
}

#[test]
fn wrong_scenarios_are_refused_in_sentences() {
    for (flags, part) in [
        (&["--stable-failures", "1%"][..], "--rps"),
        (&["--rps", "-1"], "unexpected"),
        (&["--rps", "nan"], "requests a second"),
        (&["--rps", "1", "--canary-failures", "2"], "did you mean 2%?"),
        (&["--rps", "1", "--canary-latency", "1.5"], "x1.5"),
        (&["--rps", "1", "--incident", "30%"], "30%@10m+3m"),
        (&["--rps", "1", "--incident", "30%@10+3m"], "its unit"),
        (&["--rps", "1", "--clumps", "0"], "independent failures"),
        (&["--rps", "1", "--spells", "5%@10m"], "5%@10m+30s"),
        (&["--rps", "1", "--spells", "x0@10m+30s"], "x1 to x1000"),
        (&["--rps", "1", "--spells", "5%@10s+30s"], "less than it takes until the next"),
        (&["--rps", "1", "--bursts", "x10@3s+3s"], "less than it takes until the next"),
        (&["--rps", "1", "--bursts", "10@30s+3s"], "x10@30s+3s"),
        (&["--rps", "1", "--bunches", "0"], "independent requests"),
        (&["--rps", "1", "--retries", "3"], "3x50%"),
        (&["--rps", "1", "--clumps", "3", "--users", "9"], "cannot be used with"),
        (&["--rps", "1", "--day", "20m"], "--daily"),
        (&["--rps", "1", "--counts", "--runs", "2"], "cannot be used with"),
        (&["--rps", "1", "--until", "4"], "its unit"),
        (&["--rps", "1", "--runs", "0"], "1..=1000000"),
    ] {
        simulated(flags).ended(2).complaining(&[part]);
    }
    simulated(&["--rps", "1", "--until", "0s"]).ended(1).complaining(&["no time at all"]);
    // Where virtual time would go beyond what a number holds, and where it would never end.
    const FOR_EVER: &str = "18446744073709551615s";
    for (flag, value) in [
        ("--until", FOR_EVER.to_owned()),
        ("--prior", FOR_EVER.to_owned()),
        ("--stable-latency", FOR_EVER.to_owned()),
        ("--canary-latency", format!("+{FOR_EVER}")),
        ("--failures-show", format!("{FOR_EVER}/0s")),
        ("--failures-show", format!("0s/{FOR_EVER}")),
        ("--canary-breaks", FOR_EVER.to_owned()),
        ("--incident", format!("1%@{FOR_EVER}+1s")),
        ("--incident", format!("1%@0s+{FOR_EVER}")),
        ("--drift", format!("x5@{FOR_EVER}")),
        ("--spells", format!("5%@{FOR_EVER}+1s")),
        ("--restart-every", FOR_EVER.to_owned()),
    ] {
        simulated(&["--rps", "1", flag, &value]).ended(2).complaining(&[flag, "further than 366d"]);
    }
    simulated(&["--rps", "1", "--spells", "5%@10ns+1ns"]).ended(2).complaining(&["once in 100ms"]);
    let flags = ["--rps", "1", "--stable-latency", "366d", "--canary-latency"];
    simulated(&[&flags[..], &["x10000"]].concat()).ended(1).complaining(&["--canary-latency"]);
    let slow = ["x1", "--spells", "x1000@1h+59m", "--cold", "5x1000", "--until", "10m", "--runs", "2"];
    simulated(&[&flags[..], &slow].concat()).done();
    simulated(&["--rps", "1", "--prior", "31d"]).ended(1).complaining(&["thirty days"]);
    simulated(&["--rps", "1", "--restart-every", "10ms"]).ended(1).complaining(&["under a second"]);
    simulated(&["--rps", "1", "--daily", "--day", "1s"]).ended(1).complaining(&["under a minute"]);
    simulated_by("function: shop\n", &["--rps", "1"]).ended(1).complaining(&["is not in order"]);
}

/// A promoted version that breaks is noticed within its hour, also by a daemon that is killed meanwhile; a good one is not.
#[test]
fn the_watch_after_a_promotion_is_part_of_it() {
    let watched = "function: shop\nalias: live\nsteps: [25%, 100%]\nbake: 1m\nfirstWeight: unproven\n\
                   analysis: {latency: none, refusals: none}\nwatch: {for: 20m}\n";
    let with = |flags: &[&str]| {
        let all = [&["--rps", "10", "--runs", "4", "-o", "json"], flags].concat();
        simulated_by(watched, &all).done().json()["watch"].clone()
    };
    assert_eq!(with(&[])["alarms"], 0.0);
    let breaks = ["--canary-breaks", "20m", "--canary-failures", "50%"];
    for flags in [breaks.to_vec(), [&breaks[..], &["--restart-every", "7m"]].concat()] {
        let watch = with(&flags);
        assert_eq!(watch["alarms"], 1.0, "{watch:#}");
        let failed = watch["failedRequests"]["p95"].as_f64().unwrap();
        assert!((1.0..=40.0).contains(&failed), "{watch:#}");
    }
    let said = simulated_by(watched, &[&["--rps", "10", "--runs", "4"], &breaks[..]].concat()).done().out;
    assert!(said.contains("alarm after it    100.0%") && said.contains("time to alarm"), "{said}");
    assert_eq!(simulated(&["--rps", "10", "--runs", "2", "-o", "json"]).done().json()["watch"], Value::Null);
}

#[test]
fn a_proof_of_an_hour_fades_with_a_few_failures() {
    let fading = "function: shop\nalias: live\nsteps: [5%, 100%]\nbake: 2h\nonFailure: report\n\
                  analysis: {latency: none, refusals: none}\n";
    let flags = ["--rps", "100", "--runs", "2", "--canary-breaks", "1h", "--canary-failures", "20%"];
    let said = simulated_by(fading, &[&flags[..], &["--until", "61m", "-o", "json"]].concat()).done().json();
    let failed = said["failedWhileProven"]["p95"].as_f64().unwrap();
    assert!(failed <= 20.0, "{said:#}");
}
