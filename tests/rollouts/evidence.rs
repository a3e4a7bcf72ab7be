//! Evidence on real traffic: bad versions are gone after a handful of failures, good ones advance by proof.

use std::cell::RefCell;
use std::time::Duration;

use serde_json::json;

use crate::support::house::House;
use crate::support::service::{Load, Service};

const RUNS: usize = 10;

/// Ten aliases at once, each with 100 requests/s and default analysis; failed requests that users saw, sorted.
fn failures_until_rollback(canary_failures: f64) -> Vec<u64> {
    let house = House::start();
    let stable = Service::start(0.001, 7);
    let canaries: Vec<Service> = (0..RUNS as u64).map(|seed| Service::start(canary_failures, seed)).collect();
    house.publish("f", &stable.url());
    for canary in &canaries {
        house.publish("f", &canary.url());
    }
    let loads: Vec<Load> = (0..RUNS)
        .map(|run| {
            house.alias("f", &format!("live{run}"), "1");
            Load::start(house.router(), &format!("/f:live{run}/"), 100.0)
        })
        .collect();
    for run in 0..RUNS {
        let plan = format!("function: f\nalias: live{run}\nsteps: [3%, 25%, 100%]\n");
        house.start_rollout(&plan, &json!({ "to": (run + 2).to_string() })).ok();
    }
    let mut failed: Vec<u64> = (0..RUNS)
        .map(|run| {
            let status = house.wait_for(&format!("f:live{run}"), "RolledBack", Duration::from_secs(120));
            assert_eq!(status["weight"]["committed"], 0.0);
            loads[run].of(&(run + 2).to_string()).1
        })
        .collect();
    failed.sort_unstable();
    failed
}

#[test]
fn a_broken_version_is_gone_after_two_failures() {
    let failed = failures_until_rollback(1.0);
    println!("failed requests until rollback, 100 % broken at 3 % of 100/s: {failed:?}");
    assert!(failed[RUNS / 2] <= 2 && failed[RUNS - 1] <= 4, "{failed:?}");
}

#[test]
fn a_version_that_fails_a_fifth_is_gone_after_four_failures() {
    let failed = failures_until_rollback(0.2);
    println!("failed requests until rollback, 20 % broken at 3 % of 100/s: {failed:?}");
    assert!(failed[RUNS / 2] <= 4 && failed[RUNS - 1] <= 7, "{failed:?}");
}

#[test]
fn a_healthy_version_advances_by_proof() {
    let house = House::start();
    let (stable, canary) = (Service::start(0.001, 1), Service::start(0.001, 2));
    house.publish("f", &stable.url());
    house.publish("f", &canary.url());
    let loads: Vec<Load> = (0..3)
        .map(|run| {
            house.alias("f", &format!("live{run}"), "1");
            Load::start(house.router(), &format!("/f:live{run}/"), 100.0)
        })
        .collect();
    for run in 0..3 {
        let plan = format!("function: f\nalias: live{run}\nsteps: [25%, 50%, 100%]\nbake: 1s\n");
        house.start_rollout(&plan, &json!({ "to": "2" })).ok();
    }
    for run in 0..3 {
        let target = format!("f:live{run}");
        house.wait_for(&target, "Succeeded", Duration::from_secs(150));
        let advances: Vec<String> = house
            .history(&target)
            .iter()
            .filter(|event| event["kind"] == "passed")
            .map(|event| event["text"].as_str().unwrap().to_owned())
            .collect();
        assert!(advances[0].contains("bake served, proven"), "{advances:?}");
        let status = house.status(&target);
        assert_eq!((&status["weight"]["committed"], &status["previousStable"]), (&json!(1.0), &json!("1")));
    }
    drop(loads);
}

/// What was judged before a restart still counts after it, and grants no fresh alpha.
#[test]
fn evidence_survives_a_restart() {
    let mut house = House::start();
    let (stable, canary) = (Service::start(0.0, 1), Service::start(0.0, 2));
    house.publish("f", &stable.url());
    house.publish("f", &canary.url());
    house.alias("f", "live", "1");
    {
        let _load = Load::start(house.router(), "/f:live/", 300.0);
        house.start_rollout("function: f\nalias: live\nsteps: [10%, 100%]\nbake: 1h\n", &json!({})).ok();
        house.wait_until("f:live", "well watched", Duration::from_secs(60), |status| {
            status["exposure"]["requests"].as_u64() >= Some(60)
        });
    }
    // What was under way when the load ended has been looked at once nothing moves any more.
    let seen = RefCell::new((serde_json::Value::Null, 0));
    let before = house.wait_until("f:live", "at rest", Duration::from_secs(30), |status| {
        let (last, times) = &mut *seen.borrow_mut();
        *times = if *last == status["evidence"] { *times + 1 } else { 0 };
        last.clone_from(&status["evidence"]);
        *times >= 30
    });
    house.shut_down();
    house.boot();
    let after = house.status("f:live");
    for field in ["id", "phase", "step", "exposure", "planDigest"] {
        assert_eq!(before[field], after[field], "{field}");
    }
    let ln = |status: &serde_json::Value, name: &str| status["evidence"][name].as_f64().unwrap();
    for name in ["lnHarm", "lnProof"] {
        assert!((ln(&before, name) - ln(&after, name)).abs() < 1e-9, "{name}");
    }
    assert!(ln(&after, "lnProof") > 0.1);
}

/// A version that was rolled back, mended behind its address and started again is judged by what it does now.
#[test]
fn a_rollout_does_not_answer_for_the_one_before() {
    let house = House::start();
    let (stable, canary) = (Service::start(0.0, 1), Service::start(1.0, 2));
    house.publish("f", &stable.url());
    house.publish("f", &canary.url());
    house.alias("f", "live", "1");
    let load = Load::start(house.router(), "/f:live/", 300.0);
    let plan = "function: f\nalias: live\nsteps: [10%, 100%]\nbake: 1h\nmaxExposure: {requests: 1000}\n";
    house.start_rollout(plan, &json!({ "to": "2" })).ok();
    let ended = house.wait_for("f:live", "RolledBack", Duration::from_secs(60));
    // Mostly two, but one says as much when it comes after fifty of stable and no good one of the canary.
    assert!(ended["exposure"]["failures"].as_u64() >= Some(1), "what was found stays to be read: {ended}");
    canary.set_failures(0.0);
    house.start_rollout(plan, &json!({ "to": "2", "again": true })).ok();
    let status = house.wait_until("f:live", "watched", Duration::from_secs(60), |status| {
        status["phase"] != "Progressing" || status["exposure"]["requests"].as_u64() >= Some(40)
    });
    assert_eq!(
        (&status["phase"], &status["exposure"]["failures"]),
        (&json!("Progressing"), &json!(0)),
        "{status}"
    );
    let explained = house.get("/v1/rollouts/f:live/explain").ok();
    assert_eq!(explained["recentFailures"], json!([]), "failures of the rollout before");
    drop(load);
}

/// With copies the canary answers for everybody before it answers anybody.
#[test]
fn a_broken_version_is_gone_before_its_users_meet_it() {
    let house = House::start();
    let (stable, canary) = (Service::start(0.001, 7), Service::start(1.0, 1));
    house.publish("f", &stable.url());
    house.publish("f", &canary.url());
    house.alias("f", "live", "1");
    let load = Load::start(house.router(), "/f:live/", 100.0);
    let plan = "function: f\nalias: live\nsteps: [0.1%, 100%]\nrouting: {mirror: 20%}\n";
    house.start_rollout(plan, &json!({ "to": "2" })).ok();
    let status = house.wait_for("f:live", "RolledBack", Duration::from_secs(30));
    let (copies, failed) =
        (&status["mirrored"]["requests"], status["mirrored"]["failures"].as_u64().unwrap());
    println!("{failed} of {copies} copies failed until rollback, and {:?} requests", load.of("2"));
    assert!((1..=8).contains(&failed), "{status}");
    assert!(load.of("2").1 <= 1, "{:?}", load.of("2"));
    let why = house.history("f:live").iter().map(ToString::to_string).collect::<String>();
    assert!(why.contains("copies failed"), "{why}");
    let metrics =
        ureq::get(format!("{}/metrics", house.url())).call().unwrap().body_mut().read_to_string().unwrap();
    let line = format!(
        "serin_mirrored_request_failures_total{{function=\"f\",alias=\"live\",executed_version=\"2\"}} {failed}"
    );
    assert!(metrics.contains(&line), "{metrics}");
}
