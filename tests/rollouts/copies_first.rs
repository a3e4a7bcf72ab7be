//! A first weight that copies of stable's requests prove before any user gets the canary (`firstWeight: mirror`).

use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD as BASE64;
use serde_json::{Value, json};

use crate::support::client::Client;
use crate::support::functions::zip_of;
use crate::support::house::House;
use crate::support::service::{Load, Service};
use crate::support::until;

const SOON: Duration = Duration::from_secs(60);
/// Failures alone are judged: a machine that other work keeps busy makes either version slow at its own times.
const PLAN: &str = "function: f\nalias: live\nsteps: [50%, 100%]\nbake: 1h\nfirstWeight: mirror\n\
                    analysis: {latency: none}\n";

fn house(stable: &Service, canary: &Service) -> House {
    let house = House::start();
    house.publish("f", &stable.url());
    house.publish("f", &canary.url());
    house.alias("f", "live", "1");
    house
}

fn copies(status: &Value) -> u64 {
    status["mirrored"]["requests"].as_u64().unwrap_or(0)
}

#[test]
fn copies_prove_it_over_a_restart_and_then_users_get_it() {
    let (stable, canary) = (Service::start(0.0, 1), Service::start(0.0, 2));
    let mut house = house(&stable, &canary);
    house.start_rollout(PLAN, &json!({ "to": "2" })).ok();
    let status = house.status("f:live");
    assert_eq!(
        (&status["step"]["kind"], &status["step"]["count"]),
        (&json!("mirror"), &json!(3)),
        "{status}"
    );
    assert_eq!(status["routing"]["text"], "v1 100% / v2 0%");
    let client = || Client::connect(house.router());
    for _ in 0..60 {
        assert_eq!(client().get("/f:live/").version(), Some("1"));
    }
    let before = house.wait_until("f:live", "copied", SOON, |status| copies(status) == 60);
    assert_eq!(before["exposure"]["requests"], 0, "no user got it: {before}");
    let explained = house.get("/v1/rollouts/f:live/explain").ok();
    let (texts, notices) = (explained["steps"].to_string(), explained["notices"].to_string());
    assert!(texts.contains("mirror") && notices.contains("no user gets v2 yet"), "{texts} {notices}");
    let arms: Vec<u64> =
        explained["arms"].as_array().unwrap().iter().map(|arm| arm["requests"].as_u64().unwrap()).collect();
    assert_eq!(arms, [60, 60], "copies, and what they were made of");
    let to_rollback = explained["status"]["evidence"]["failuresToRollback"].as_u64();
    assert!(
        (2..40).contains(&to_rollback.unwrap_or(0)),
        "so many copies would have to fail: {to_rollback:?}"
    );
    let evidence = |status: &Value| status["evidence"].clone();
    let settled = |status: &Value| {
        evidence(status)["open"].is_null() && evidence(status)["lnProof"].as_f64() > Some(0.05)
    };
    let before = house.wait_until("f:live", "judged", SOON, settled);

    house.shut_down();
    house.boot();
    let after = house.status("f:live");
    let proof = |status: &Value| status["evidence"]["lnProof"].as_f64().unwrap();
    assert!((proof(&before) - proof(&after)).abs() < 1e-9, "{before} {after}");
    let load = Load::start(house.router(), "/f:live/", 300.0);
    house.wait_until("f:live", "half", SOON, |status| status["weight"]["serving"] == 0.5);
    until("users get it", || load.of("2").0 > 20);
    let told = house.history("f:live").iter().map(ToString::to_string).collect::<String>();
    assert!(told.contains("copies to v2") && told.contains("proven"), "{told}");
    // No more copies than were made before; the last of those may still be on their way.
    until("nothing is copied any more while users get it", || {
        let (copied, users) = (copies(&house.status("f:live")), load.of("2").0);
        until("more of them get it", || load.of("2").0 > users + 50);
        copies(&house.status("f:live")) == copied
    });
    house.verb("f:live", "abort", &json!({})).ok();
    let ended = house.wait_for("f:live", "Aborted", SOON);
    assert_eq!(ended["routing"]["text"], "v1");
}

#[test]
fn a_broken_canary_is_taken_back_by_copies_and_one_that_was_mended_is_judged_anew() {
    let (stable, canary) = (Service::start(0.0, 1), Service::start(1.0, 2));
    let house = house(&stable, &canary);
    let load = Load::start(house.router(), "/f:live/", 300.0);
    house.start_rollout(PLAN, &json!({ "to": "2" })).ok();
    let status = house.wait_for("f:live", "RolledBack", SOON);
    println!(
        "{} of {} copies failed until rollback",
        status["mirrored"]["failures"], status["mirrored"]["requests"]
    );
    assert_eq!(load.of("2"), (0, 0), "no user met it");
    assert_eq!((&status["exposure"]["requests"], &status["routing"]["text"]), (&json!(0), &json!("v1")));
    assert!(status["reason"].as_str().unwrap().contains("copies failed"), "{status}");
    canary.set_failures(0.0);
    house.start_rollout(PLAN, &json!({ "to": "2", "again": true })).ok();
    house.wait_until("f:live", "half", SOON, |status| status["weight"]["serving"] == 0.5);
    assert_eq!(house.status("f:live")["mirrored"]["failures"], 0, "failures of the rollout before");
}

#[test]
fn invocations_of_processes_are_not_copied_and_the_start_says_so() {
    let house = House::start();
    let code = |text: &str| BASE64.encode(zip_of(&[("bootstrap", text.as_bytes(), 0o755)]));
    let made = json!({
        "FunctionName": "f", "Runtime": "provided.al2023", "Handler": "h", "Publish": true,
        "Role": "arn:aws:iam::000000000000:role/r", "Code": { "ZipFile": code("#!/bin/sh\n") },
    });
    house.post("/2015-03-31/functions", &made).ok();
    let newer = json!({ "ZipFile": code("#!/bin/sh\n#\n"), "Publish": true });
    house.ask("PUT", "/2015-03-31/functions/f/code", Some(&newer), &[]).ok();
    house.alias("f", "live", "1");
    let start = |lines: &str| {
        house.start_rollout(&format!("function: f\nalias: live\n{lines}\n"), &json!({ "to": "2" }))
    };
    for (lines, key, instead) in [
        ("steps: [50%, 100%]\nfirstWeight: mirror", "firstWeight: mirror", "firstWeight: probe"),
        ("steps: [3%, 100%]\nanalysis: {baseline: mirror}", "baseline: mirror", "baseline: split"),
    ] {
        let refused = start(lines);
        assert_eq!(refused.status, 409, "{refused:?}");
        let said = refused.error();
        assert!(said.contains(key) && said.contains(instead) && said.contains("v1 is a process"), "{said}");
    }
    start("steps: [50%, 100%]\nfirstWeight: probe\nanalysis: {baseline: split}").ok();
}

#[test]
fn what_may_change_something_is_not_copied_and_explain_says_what_is() {
    let (stable, canary) = (Service::start(0.0, 1), Service::start(0.0, 2));
    let house = house(&stable, &canary);
    house.start_rollout(PLAN, &json!({ "to": "2" })).ok();
    let mut client = Client::connect(house.router());
    for _ in 0..20 {
        assert_eq!(client.ask("DELETE", "/f:live/", &[]).version(), Some("1"));
    }
    let status = house.status("f:live");
    assert_eq!((copies(&status), &status["phase"]), (0, &json!("Progressing")), "{status}");
    let needs = status["waitingFor"]["needs"].as_str().unwrap();
    assert!(needs.contains("clean copies before 50%") && needs.contains("nothing is copied now"), "{needs}");
    // A person may go on without, and says why.
    let refused = house.verb("f:live", "promote", &json!({ "step": 1 })).error();
    assert!(refused.contains("proof"), "{refused}");
    let why = house.verb("f:live", "promote", &json!({ "step": 1, "reason": "nobody reads it" }));
    assert_eq!(why.status, 200, "{why:?}");
    house.wait_until("f:live", "half", SOON, |status| status["weight"]["serving"] == 0.5);
}
