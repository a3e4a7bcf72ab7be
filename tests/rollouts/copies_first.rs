//! A first weight that copies of stable's requests prove before any user gets the canary (`firstWeight: mirror`).

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::client::Client;
use crate::support::house::House;
use crate::support::service::{Load, Service};
use crate::support::until;

const SOON: Duration = Duration::from_secs(60);
const PLAN: &str = "function: f\nalias: live\nsteps: [50%, 100%]\nbake: 1h\nfirstWeight: mirror\n";

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
    let settled = |status: &Value| status["evidence"]["lnProof"].as_f64() > Some(0.05);
    let before = house.wait_until("f:live", "judged", SOON, settled);

    house.shut_down();
    house.boot();
    let after = house.status("f:live");
    let proof = |status: &Value| status["evidence"]["lnProof"].as_f64().unwrap();
    assert!((proof(&before) - proof(&after)).abs() < 0.2, "{before} {after}");
    let load = Load::start(house.router(), "/f:live/", 300.0);
    house.wait_until("f:live", "half", SOON, |status| status["weight"]["serving"] == 0.5);
    until("users get it", || load.of("2").0 > 20);
    let told = house.history("f:live").iter().map(ToString::to_string).collect::<String>();
    assert!(told.contains("copies to v2") && told.contains("proven"), "{told}");
    // No more copies than were made before.
    let at_half = copies(&house.status("f:live"));
    until("more of them get it", || load.of("2").0 > 100);
    assert_eq!(copies(&house.status("f:live")), at_half);
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
