//! The watch after a promotion: it says an alarm, outlives a restart, and ends with its time or with somebody's hand.

use std::time::Duration;

use serde_json::{Value, json};

use super::{BY_HAND, Stage, routing, update_alias};
use crate::support::service::Load;

const SOON: Duration = Duration::from_secs(60);

fn promoted(watch: &str) -> Stage {
    let stage = Stage::set(0.0, 0.0);
    let plan = format!("{BY_HAND}watch: {watch}\n");
    stage.house.start_rollout(&plan, &json!({})).ok();
    stage
}

fn promote(stage: &Stage) -> Value {
    stage.house.verb("f:live", "promote", &json!({ "step": 1, "full": true })).ok();
    stage.house.wait_for("f:live", "Succeeded", SOON)
}

#[test]
fn an_alarm_is_said_and_changes_nothing() {
    let mut stage = promoted("{for: 1h}");
    let load = Load::start(stage.house.router(), "/f:live/", 50.0);
    stage.house.wait_until("f:live", "counted", SOON, |status| status["exposure"]["requests"] != 0);
    let status = promote(&stage);
    assert_eq!(status["phase"], "Succeeded");
    stage
        .house
        .wait_until("f:live", "watched", SOON, |status| status["watch"]["requests"].as_u64() > Some(20));
    let limit = stage.house.status("f:live")["watch"]["limit"].as_f64().unwrap();
    assert!(limit < 0.5, "{limit}");

    // What is known outlives a restart.
    drop(load);
    stage.house.shut_down();
    stage.house.boot();
    let again = stage.house.status("f:live");
    assert!(again["watch"]["requests"].as_u64() > Some(20), "{again:#}");

    let _load = Load::start(stage.house.router(), "/f:live/", 50.0);
    stage.canary.set_failures(1.0);
    let alarmed =
        stage.house.wait_until("f:live", "an alarm", SOON, |status| status["watch"]["alarmedAt"].is_string());
    assert!(alarmed["watch"]["failures"].as_u64().unwrap() > 0, "{alarmed:#}");
    assert_eq!(routing(&stage.house), ("2".to_owned(), None), "an alarm is no rollback");
    let kinds = stage.house.kinds("f:live");
    assert_eq!((kinds.get("watchBegan"), kinds.get("watchAlarm")), (Some(&1), Some(&1)), "{kinds:?}");

    stage.house.verb("f:live", "rollback", &json!({})).ok();
    assert_eq!(stage.house.status("f:live")["watch"], Value::Null);
    assert_eq!(stage.house.kinds("f:live").get("watchEnded"), Some(&1));
}

#[test]
fn a_watch_ends_with_its_time_with_a_change_and_with_a_new_rollout() {
    let over = promoted("{for: 1s}");
    promote(&over);
    over.house.wait_until("f:live", "over", SOON, |status| status["watch"].is_null());
    let ended = over.house.history("f:live").into_iter().find(|event| event["kind"] == "watchEnded").unwrap();
    assert!(ended["text"].as_str().unwrap().contains("its time is over"), "{ended}");

    let changed = promoted("{for: 1h, onAlarm: none}");
    let status = promote(&changed);
    assert!(status["watch"].is_object(), "{status:#}");
    update_alias(&changed.house, "1", json!({}));
    assert_eq!(changed.house.status("f:live")["watch"], Value::Null);

    let followed = promoted("{for: 1h}");
    promote(&followed);
    followed.house.publish("f", "http://127.0.0.1:9");
    followed.house.start_rollout(BY_HAND, &json!({})).ok();
    let kinds = followed.house.kinds("f:live");
    assert_eq!(kinds.get("watchEnded"), Some(&1), "{kinds:?}");
}
