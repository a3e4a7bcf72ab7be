//! Somebody else changes the alias in mid-rollout: nothing is overwritten, and rollback stays armed.

use std::time::Duration;

use serde_json::{Value, json};

use super::{BY_HAND, Stage, routing, update_alias};
use crate::support::service::Load;

const SOON: Duration = Duration::from_secs(10);

fn drifted(on_drift: &str) -> Stage {
    let stage = Stage::set(0.0, 0.0);
    stage.house.start_rollout(&format!("{BY_HAND}onDrift: {on_drift}\n"), &json!({})).ok();
    stage.house.wait_until("f:live", "serving 3 %", SOON, |status| status["weight"]["serving"] == 0.03);
    update_alias(&stage.house, "1", json!({ "2": 0.5 }));
    stage
}

#[test]
fn it_pauses_and_says_who_and_what() {
    let stage = drifted("pause");
    let house = &stage.house;
    let status = house.status("f:live");
    assert_eq!(
        (status["phase"].as_str(), status["waitingFor"]["kind"].as_str()),
        (Some("Paused"), Some("drift"))
    );
    assert_eq!(status["weight"], json!({ "planned": 0.03, "committed": 0.5, "serving": 0.5 }));
    assert_eq!(status["drift"]["actor"], "AKIDOPERATOR (unverified)");
    assert_eq!(status["drift"]["expected"]["text"], "v1 97% / v2 3%");
    assert_eq!(status["drift"]["found"]["text"], "v1 50% / v2 50%");
    let explained = house.get("/v1/rollouts/f:live/explain").ok();
    let notices = explained["notices"].to_string();
    for word in
        ["AKIDOPERATOR", "v1 97% / v2 3%", "v1 50% / v2 50%", "nothing was overwritten", "stays armed"]
    {
        assert!(notices.contains(word), "{word} is not in {notices}");
    }
    assert_eq!(routing(house), ("1".to_owned(), Some(0.5)));
    let refused = house.verb("f:live", "resume", &json!({}));
    assert_eq!(refused.status, 409);
    assert!(refused.error().contains("`serin resume f:live --restore`"), "{}", refused.error());
    assert_eq!(house.verb("f:live", "promote", &json!({ "step": 1, "reason": "x" })).status, 409);
}

#[test]
fn resume_restores_or_adopts() {
    let stage = drifted("pause");
    stage.house.verb("f:live", "resume", &json!({ "drift": "restore" })).ok();
    let status = stage.house.wait_for("f:live", "Progressing", SOON);
    assert_eq!((status["weight"]["committed"].as_f64(), &status["drift"]), (Some(0.03), &Value::Null));

    let stage = drifted("pause");
    stage.house.verb("f:live", "resume", &json!({ "drift": "adopt" })).ok();
    let status = stage.house.wait_for("f:live", "Progressing", SOON);
    assert_eq!(
        (status["weight"]["committed"].as_f64(), status["weight"]["planned"].as_f64()),
        (Some(0.5), Some(0.03))
    );
    // The next weight that is one: 5 % lies below what was adopted.
    stage.house.verb("f:live", "promote", &json!({ "step": 1 })).ok();
    stage.house.wait_for("f:live", "Succeeded", SOON);
}

#[test]
fn each_other_choice_is_done_at_once() {
    let stage = drifted("restore");
    assert_eq!(routing(&stage.house), ("1".to_owned(), Some(0.03)));
    assert_eq!(stage.house.phase("f:live"), "Progressing");

    let stage = drifted("adopt");
    assert_eq!(routing(&stage.house), ("1".to_owned(), Some(0.5)));
    assert_eq!(stage.house.phase("f:live"), "Progressing");

    let stage = drifted("leave");
    assert_eq!(routing(&stage.house), ("1".to_owned(), Some(0.5)));
    assert_eq!(stage.house.phase("f:live"), "Superseded");
}

#[test]
fn a_change_that_routes_nothing_anew_is_no_drift() {
    let stage = Stage::set(0.0, 0.0);
    stage.house.start_rollout(BY_HAND, &json!({})).ok();
    let body = json!({ "Description": "the checkout" });
    stage.house.ask("PUT", "/2015-03-31/functions/f/aliases/live", Some(&body), &[]).ok();
    let status =
        stage.house.wait_until("f:live", "serving", SOON, |status| status["weight"]["serving"] == 0.03);
    assert_eq!((status["phase"].as_str(), &status["drift"]), (Some("Progressing"), &Value::Null));
}

#[test]
fn what_somebody_left_behind_is_nothing_that_an_abort_went_back_to() {
    let stage = drifted("pause");
    let house = &stage.house;
    house.ask("POST", "/v1/functions/f/versions", Some(&json!({ "url": "http://127.0.0.1:9" })), &[]).ok();
    update_alias(house, "3", json!({ "2": 0.03 }));
    house.verb("f:live", "abort", &json!({})).ok();
    house.wait_for("f:live", "Aborted", SOON);
    assert_eq!(routing(house), ("3".to_owned(), None), "it is whose hand put it there");
    let refused = house.verb("f:live", "rollback", &json!({}));
    assert_eq!(refused.status, 409, "{refused:?}");
    for words in ["nothing to go back to", "changed by somebody else", "rollback f:live --to 1"] {
        assert!(refused.error().contains(words), "{words} is not in {}", refused.error());
    }
    // A version that was named is where a person went, and there is no going back from there to another.
    house.start_rollout(BY_HAND, &json!({ "to": "2", "again": true })).ok();
    house.verb("f:live", "rollback", &json!({ "to": "1" })).ok();
    house.wait_for("f:live", "Aborted", SOON);
    assert_eq!(routing(house), ("1".to_owned(), None));
    let again = house.verb("f:live", "rollback", &json!({})).ok();
    assert!(again["message"].as_str().unwrap().contains("is back already"), "{again}");
    assert_eq!(routing(house), ("1".to_owned(), None));
}

#[test]
fn drift_does_not_disarm() {
    let stage = Stage::set(0.0, 0.0);
    let plan = "function: f\nalias: live\nsteps: [3%, 100%]\nbake: 1h\n";
    stage.house.start_rollout(plan, &json!({})).ok();
    stage.house.wait_until("f:live", "serving 3 %", SOON, |status| status["weight"]["serving"] == 0.03);
    update_alias(&stage.house, "1", json!({ "2": 0.2 }));
    assert_eq!(stage.house.phase("f:live"), "Paused");
    stage.canary.set_failures(1.0);
    let load = Load::start(stage.house.router(), "/f:live/", 100.0);
    stage.house.wait_for("f:live", "RolledBack", Duration::from_secs(30));
    assert_eq!(routing(&stage.house), ("1".to_owned(), None));
    assert!(load.of("2").1 <= 6, "{:?}", load.seen());
}
