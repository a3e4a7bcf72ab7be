//! What a verb says is what then is: what a TARGET means, how far a rollback goes, and pipelines that run again.

use std::time::Duration;

use serde_json::{Value, json};

use super::{BY_HAND, Stage, routing, update_alias};
use crate::support::client::Client;
use crate::support::house::House;

const SOON: Duration = Duration::from_secs(20);
/// A plan that waits for a window that never opens.
const FROZEN: &str = "function: f\nalias: live\nsteps: [3%, 100%]\nanalysis: none\n\
                      windows: {freeze: [{from: 2020-01-01, to: 2120-01-01}]}\n";

/// Four versions, alias `live` on the first.
fn stage() -> Stage {
    let stage = Stage::set(0.0, 0.0);
    for port in [3, 4] {
        stage.house.publish("f", &format!("http://127.0.0.1:{port}"));
    }
    stage
}

fn start(house: &House, to: &str) -> String {
    let reply = house.start_rollout(BY_HAND, &json!({ "to": to, "again": true })).ok();
    reply["id"].as_str().unwrap().to_owned()
}

/// Rolls a version out to the end.
fn roll_out(house: &House, to: &str) -> String {
    let id = start(house, to);
    house.verb(&id, "promote", &json!({ "step": 1, "full": true })).ok();
    house.wait_for(&id, "Succeeded", SOON);
    id
}

fn alias(house: &House) -> String {
    let alias = house.get("/v1/functions/f/aliases/live").ok();
    alias["routing"]["text"].as_str().unwrap().to_owned()
}

/// The text of an answer, refused or not, which must name what the alias is.
#[track_caller]
fn said(house: &House, reply: &crate::support::house::Reply, status: u16) -> String {
    assert_eq!(reply.status, status, "{}", reply.body);
    let text = match status {
        200 => reply.body["message"].as_str().unwrap().to_owned(),
        _ => reply.error(),
    };
    let now = format!("f:live is {} now", alias(house));
    assert!(text.contains(&now), "{now:?} is not in {text:?}");
    text
}

fn rollback(house: &House, body: Value) -> crate::support::house::Reply {
    house.verb("f:live", "rollback", &body)
}

#[test]
fn a_rollback_after_serins_own_goes_no_further_and_names_what_does() {
    let stage = stage();
    let house = &stage.house;
    roll_out(house, "2");
    let plan = format!("{BY_HAND}stepDeadline: {{after: 1s, then: rollback}}\n");
    let id = house.start_rollout(&plan, &json!({ "to": "3" })).ok()["id"].as_str().unwrap().to_owned();
    house.wait_for(&id, "RolledBack", SOON);
    let text = said(house, &rollback(house, json!({})), 200);
    assert!(text.contains("`serin rollback f:live --to 1` goes to v1"), "{text}");
    assert_eq!(alias(house), "v2");
    let explained = house.get("/v1/rollouts/f:live/explain").ok();
    assert_eq!(explained["rollback"], json!({ "to": null, "further": "1" }));
    assert!(explained["commands"].to_string().contains("serin rollback f:live --to 1"), "{explained}");
    said(house, &rollback(house, json!({ "to": "1" })), 200);
    assert_eq!(alias(house), "v1");
}

#[test]
fn a_second_rollback_never_goes_two_versions_back() {
    let stage = stage();
    let house = &stage.house;
    roll_out(house, "2");
    roll_out(house, "3");
    assert_eq!(rollback(house, json!({})).ok()["changed"], true);
    assert_eq!(alias(house), "v2");
    for _ in 0..3 {
        let again = rollback(house, json!({}));
        assert_eq!(again.body["changed"], false);
        let text = said(house, &again, 200);
        assert!(text.contains("`serin rollback f:live --to 1`"), "{text}");
        assert_eq!(alias(house), "v2");
    }
    let explained = house.get("/v1/rollouts/f:live/explain").ok();
    assert_eq!(explained["commands"][0], "serin rollback f:live --to 1");
    assert!(explained["notices"].to_string().contains("it is v2 now"), "{explained}");
}

#[test]
fn a_second_rollback_survives_a_restart_and_goes_no_further() {
    let mut stage = stage();
    roll_out(&stage.house, "2");
    roll_out(&stage.house, "3");
    rollback(&stage.house, json!({})).ok();
    stage.house.shut_down();
    stage.house.boot();
    let house = &stage.house;
    let text = said(house, &rollback(house, json!({})), 200);
    assert!(text.contains("`serin rollback f:live --to 1`"), "{text}");
    assert_eq!(alias(house), "v2");
}

#[test]
fn where_there_is_nothing_to_go_back_to_a_rollback_fails() {
    let stage = stage();
    let house = &stage.house;
    let text = said(house, &rollback(house, json!({})), 409);
    assert!(text.contains("nothing to go back to") && text.contains("--to VERSION"), "{text}");
    // One that only waits has done nothing that could be taken back.
    let waiting = house.start_rollout(FROZEN, &json!({ "to": "2" })).ok();
    let text = said(house, &rollback(house, json!({})), 409);
    assert!(text.contains("`serin abort f:live` cancels it"), "{text}");
    assert_eq!(house.phase(waiting["id"].as_str().unwrap()), "Pending");
}

#[test]
fn a_rollback_with_one_that_waits_takes_back_what_was_promoted() {
    let stage = stage();
    let house = &stage.house;
    roll_out(house, "2");
    let waiting = house.start_rollout(FROZEN, &json!({ "to": "3" })).ok();
    let text = said(house, &rollback(house, json!({})), 200);
    assert!(text.contains("still waits"), "{text}");
    assert_eq!(
        (alias(house).as_str(), house.phase(waiting["id"].as_str().unwrap()).as_str()),
        ("v1", "Pending")
    );
}

#[test]
fn a_queued_and_cancelled_rollout_is_meant_by_its_id_alone() {
    let stage = stage();
    let house = &stage.house;
    roll_out(house, "2");
    let eight = start(house, "3");
    let nine = start(house, "4");
    house.verb(&nine, "abort", &json!({})).ok();
    assert_eq!(house.phase(&nine), "Aborted");
    let status = house.status("f:live");
    assert_eq!(
        (status["id"].as_str(), status["phase"].as_str()),
        (Some(eight.as_str()), Some("Progressing"))
    );
    assert_eq!(house.get("/v1/rollouts/f:live/explain").ok()["status"]["id"], eight.as_str());
    // Also once the other one has ended, and after a restart.
    house.verb("f:live", "abort", &json!({})).ok();
    house.wait_for(&eight, "Aborted", SOON);
    let ten = house.start_rollout(FROZEN, &json!({ "to": "4", "again": true })).ok();
    house.verb(ten["id"].as_str().unwrap(), "abort", &json!({})).ok();
    assert_eq!(house.status("f:live")["id"], eight.as_str());
    let mut stage = stage;
    stage.house.shut_down();
    stage.house.boot();
    assert_eq!(stage.house.status("f:live")["id"], eight.as_str());
    assert_eq!(stage.house.phase(&nine), "Aborted");
}

#[test]
fn an_abort_of_a_rollout_that_waits_tells_how_it_is_then() {
    let stage = stage();
    let house = &stage.house;
    let first = start(house, "2");
    let queued = start(house, "3");
    let reply = house.verb(&queued, "abort", &json!({}));
    assert_eq!(reply.body["phase"], "Aborted");
    let text = said(house, &reply, 200);
    assert!(text.contains("is cancelled; it had not begun"), "{text}");
    assert_eq!(house.status("f:live")["id"], first.as_str());
}

/// A rollout to v2, and the alias moved to v4 by hand meanwhile.
fn moved_to_a_third(house: &House) -> String {
    let id = start(house, "2");
    update_alias(house, "4", json!({}));
    assert_eq!(house.phase(&id), "Paused");
    id
}

#[test]
fn an_abort_after_drift_to_a_third_version_leaves_it_and_says_so() {
    let stage = stage();
    let house = &stage.house;
    let id = moved_to_a_third(house);
    let text = said(house, &house.verb("f:live", "abort", &json!({})), 200);
    assert!(text.contains("AKIDOPERATOR (unverified) had changed f:live, which is left so"), "{text}");
    assert_eq!((alias(house).as_str(), house.phase(&id).as_str()), ("v4", "Aborted"));
    // There is no rollout any more that could be taken back; the version it came from is named.
    let text = said(house, &rollback(house, json!({})), 409);
    assert!(text.contains("`serin rollback f:live --to 1`"), "{text}");
}

#[test]
fn a_rollback_after_drift_to_a_third_version_restores_stable() {
    let stage = stage();
    let house = &stage.house;
    let id = moved_to_a_third(house);
    said(house, &rollback(house, json!({})), 200);
    assert_eq!(alias(house), "v1");
    house.wait_for(&id, "Aborted", SOON);
    assert_eq!(alias(house), "v1");
}

#[test]
fn an_adoption_of_a_third_version_says_how_it_ended() {
    let stage = stage();
    let house = &stage.house;
    moved_to_a_third(house);
    let text = said(house, &house.verb("f:live", "resume", &json!({ "drift": "adopt" })), 200);
    assert!(text.contains("has ended as Superseded"), "{text}");
}

#[test]
fn a_rollback_to_a_version_works_in_every_state_and_ends_what_is_queued() {
    let stage = stage();
    let house = &stage.house;
    let to = |version: &str| {
        let text = said(house, &rollback(house, json!({ "to": version })), 200);
        assert_eq!(alias(house), format!("v{version}"), "{text}");
        text
    };
    // No rollout yet, and again.
    let reply = rollback(house, json!({ "to": "4" })).ok();
    assert_eq!((&reply["id"], &reply["routing"]["text"]), (&Value::Null, &json!("v4")));
    assert_eq!(rollback(house, json!({ "to": "4" })).ok()["changed"], false);
    to("1");
    // In flight, with one queued.
    let live = start(house, "2");
    let queued = start(house, "3");
    let text = to("4");
    assert!(text.contains("which waited, is cancelled"), "{text}");
    house.wait_for(&live, "Aborted", SOON);
    assert_eq!(house.phase(&queued), "Aborted");
    assert_eq!(alias(house), "v4");
    // To the canary itself.
    to("1");
    let live = start(house, "2");
    to("2");
    house.wait_for(&live, "Superseded", SOON);
    // After success, and two versions back.
    to("1");
    roll_out(house, "2");
    roll_out(house, "3");
    to("1");
    let back = rollback(house, json!({}));
    assert_eq!(back.status, 409, "what lies back is no longer known: {}", back.body);
    // After drift.
    let live = moved_to_a_third(house);
    to("3");
    house.wait_for(&live, "Aborted", SOON);
    // A version that is not there, and what is no version.
    let absent = rollback(house, json!({ "to": "9" }));
    assert_eq!((absent.status, alias(house).as_str()), (404, "v3"));
    for odd in ["$LATEST", "0", "x", "", "-1", "18446744073709551616"] {
        assert_eq!(rollback(house, json!({ "to": odd })).status, 400, "{odd}");
    }
    assert_eq!(alias(house), "v3");
}

#[test]
fn a_version_that_was_rolled_back_is_remembered() {
    let stage = stage();
    let house = &stage.house;
    roll_out(house, "2");
    rollback(house, json!({ "to": "1" })).ok();
    let refused = house.start_rollout(BY_HAND, &json!({ "to": "2" }));
    assert!(refused.error().contains("--allow-rejected"), "{}", refused.error());
}

#[test]
fn a_plain_rollback_leaves_what_is_queued_and_says_so() {
    let stage = stage();
    let house = &stage.house;
    start(house, "2");
    let queued = house.start_rollout(FROZEN, &json!({ "to": "3" })).ok();
    let text = said(house, &rollback(house, json!({})), 200);
    let id = queued["id"].as_str().unwrap();
    assert!(text.contains(&format!("`serin abort {}` cancels it", &id[id.len() - 4..])), "{text}");
    assert_eq!((alias(house).as_str(), house.phase(id).as_str()), ("v1", "Pending"));
}

#[test]
fn a_start_of_a_version_that_is_live_has_nothing_to_do() {
    let stage = stage();
    let house = &stage.house;
    let reply = house.start_rollout(BY_HAND, &json!({ "to": "1" }));
    assert!(said(house, &reply, 200).contains("nothing to do: v1 is live already"), "{}", reply.body);
    assert_eq!((&reply.body["id"], &reply.body["changed"]), (&Value::Null, &json!(false)));
    let id = roll_out(house, "2");
    let reply = house.start_rollout(BY_HAND, &json!({ "to": "2" })).ok();
    assert_eq!((&reply["id"], &reply["phase"]), (&json!(id), &json!("Succeeded")));
    // Also one that was rolled back once and is live all the same.
    rollback(house, json!({})).ok();
    roll_out(house, "2");
    assert_eq!(house.start_rollout(BY_HAND, &json!({ "to": "2" })).ok()["changed"], false);
    let would = house.start_rollout(BY_HAND, &json!({ "to": "2", "dryRun": true })).ok();
    assert_eq!(would["steps"], json!([]), "{would}");
}

#[test]
fn a_start_of_a_version_that_is_under_way_joins_it() {
    let stage = stage();
    let house = &stage.house;
    let live = start(house, "2");
    let again = house.start_rollout(BY_HAND, &json!({ "to": "2" })).ok();
    assert_eq!((&again["id"], &again["changed"]), (&json!(live), &json!(false)));
    // By another plan it would go other steps.
    let mut other = json!({ "plan": "another", "planText": BY_HAND, "to": "2" });
    let refused = house.post("/v1/rollouts", &other);
    assert!(said(house, &refused, 409).contains("by plan test"), "{}", refused.body);
    // One that is queued is joined, too.
    let queued = start(house, "3");
    let again = house.start_rollout(BY_HAND, &json!({ "to": "3" })).ok();
    assert_eq!((&again["id"], &again["phase"]), (&json!(queued), &json!("Pending")));
    other["to"] = json!("3");
    assert_ne!(house.post("/v1/rollouts", &other).ok()["id"], json!(queued));
    assert_eq!(house.phase(&queued), "Superseded");
}

#[test]
fn a_start_to_stable_while_a_rollout_runs_is_refused() {
    let stage = stage();
    let house = &stage.house;
    let live = start(house, "2");
    let refused = house.start_rollout(BY_HAND, &json!({ "to": "1" }));
    let text = said(house, &refused, 409);
    assert!(text.contains("use abort") && text.contains("`serin abort f:live`"), "{text}");
    assert_eq!((house.phase(&live).as_str(), house.kinds("f:live")["rolloutStarted"]), ("Progressing", 1));
    // Also where that one was rolled back once.
    rollback(house, json!({ "to": "2" })).ok();
    start(house, "3");
    rollback(house, json!({ "to": "2" })).ok();
    rollback(house, json!({ "to": "1" })).ok();
    rollback(house, json!({ "to": "2" })).ok();
    start(house, "4");
    let refused = house.start_rollout(BY_HAND, &json!({ "to": "2" }));
    assert!(said(house, &refused, 409).contains("use abort"), "{}", refused.body);
}

#[test]
fn the_same_key_says_what_the_alias_is_by_now() {
    let stage = stage();
    let house = &stage.house;
    roll_out(house, "2");
    let key = [("idempotency-key", "night")];
    let back = || house.ask("POST", "/v1/rollouts/f:live/rollback", Some(&json!({})), &key);
    let first = back();
    assert_eq!((first.status, back()), (200, first));
    roll_out(house, "3");
    // It is not so any more, and is not done again.
    let text = said(house, &back(), 409);
    assert!(text.contains("after which f:live was v1"), "{text}");
    assert_eq!(alias(house), "v3");

    let live = start(house, "4");
    let pause = || {
        house.ask(
            "POST",
            &format!("/v1/rollouts/{live}/pause"),
            Some(&json!({})),
            &[("idempotency-key", "p")],
        )
    };
    said(house, &pause(), 200);
    house.verb("f:live", "abort", &json!({})).ok();
    let text = said(house, &pause(), 200);
    assert!(text.contains("nothing was done again"), "{text}");
}

#[test]
fn ids_are_taken_as_people_write_them() {
    let stage = stage();
    let house = &stage.house;
    let id = start(house, "2");
    let simple = id.replace('-', "");
    for target in [id.to_uppercase(), id[id.len() - 4..].to_uppercase(), id[9..].to_owned(), simple] {
        assert_eq!(house.status(&target)["id"], json!(id), "{target}");
    }
    for (target, status) in
        [("0000", 404), ("abc", 400), ("zzzz", 400), ("f:", 400), ("f:nobody", 404), ("----", 404)]
    {
        let reply = house.verb(target, "rollback", &json!({}));
        assert_eq!(reply.status, status, "{target}: {}", reply.body);
    }
    assert_eq!(house.phase(&id), "Progressing");
}

#[test]
fn a_rollback_by_id_of_what_lies_in_the_past_is_not_said_to_be_done() {
    let stage = stage();
    let house = &stage.house;
    let old = start(house, "2");
    house.verb(&old, "abort", &json!({})).ok();
    house.wait_for(&old, "Aborted", SOON);
    let second = roll_out(house, "3");
    said(house, &house.verb(&old, "rollback", &json!({})), 409);
    // The one that succeeded is taken back by its id as long as the alias is as it left it.
    let third = start(house, "4");
    said(house, &house.verb(&second, "rollback", &json!({})), 409);
    house.verb(&third, "abort", &json!({})).ok();
    house.wait_for(&third, "Aborted", SOON);
    said(house, &house.verb(&second, "rollback", &json!({})), 200);
    assert_eq!(alias(house), "v1");
}

#[test]
fn the_override_header_holds_before_the_first_weight() {
    let stage = stage();
    let house = &stage.house;
    let plan = "function: f\nalias: live\nanalysis: none\nbake: 1h\nsteps: [{pause: {}}, 3%, 100%]\n\
                routing: {override: {header: x-serin-version}}\n";
    let served = |line: &str| {
        let answer = Client::connect(house.router()).ask("GET", "/f:live/", &[line]);
        (answer.status, answer.version().unwrap_or_default().to_owned())
    };
    house.start_rollout(plan, &json!({ "to": "2" })).ok();
    house.wait_for("f:live", "Paused", SOON);
    assert_eq!(routing(house), ("1".to_owned(), None));
    assert_eq!(served("x-serin-version: 2"), (200, "2".to_owned()));
    assert_eq!(served("x-serin-version: 1"), (200, "1".to_owned()));
    assert_eq!(served("x-serin-version: 3").0, 404);
    for _ in 0..50 {
        assert_eq!(served("x-other: 2").1, "1", "nobody is drawn");
    }
    house.verb("f:live", "resume", &json!({})).ok();
    house.wait_until("f:live", "at 3 %", SOON, |status| status["weight"]["serving"] == 0.03);
    assert_eq!(served("x-serin-version: 2"), (200, "2".to_owned()));
    house.verb("f:live", "abort", &json!({})).ok();
    house.wait_for("f:live", "Aborted", SOON);
    assert_eq!(served("x-serin-version: 2").1, "1", "the rollout is over");
}
