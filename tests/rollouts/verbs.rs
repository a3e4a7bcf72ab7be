//! The operator's verbs, each as its user would use it.

use std::time::Duration;

use serde_json::{Value, json};

use super::{BY_HAND, Stage, routing};
use crate::support::house::House;

const SOON: Duration = Duration::from_secs(10);

fn started(plan: &str) -> Stage {
    let stage = Stage::set(0.0, 0.0);
    stage.house.start_rollout(plan, &json!({ "reason": "PAY-811" })).ok();
    stage
}

#[test]
fn promote_passes_one_step_at_a_time_and_names_what_it_skips() {
    let stage = started("function: f\nalias: live\nsteps: [3%, 5%, 100%]\n");
    let house = &stage.house;
    let refused = house.verb("f:live", "promote", &json!({ "step": 1 }));
    assert_eq!(refused.status, 409);
    assert_eq!(refused.body["error"]["kind"], "reasonWanted");
    assert!(refused.error().contains("proof"), "{}", refused.error());
    assert_eq!(house.verb("f:live", "promote", &json!({ "step": 7, "reason": "x" })).status, 409);
    let done = house.verb("f:live", "promote", &json!({ "step": 1, "reason": "hotfix" })).ok();
    assert!(done["message"].as_str().unwrap().contains("skipping bake"), "{done}");
    assert_eq!(routing(house), ("1".to_owned(), Some(0.05)));
    house.verb("f:live", "promote", &json!({ "step": 2, "full": true, "reason": "hotfix" })).ok();
    house.wait_for("f:live", "Succeeded", SOON);
    assert_eq!(routing(house), ("2".to_owned(), None));
    let last = house.history("f:live");
    let promoted: Vec<&Value> = last.iter().filter(|event| event["kind"] == "promoted").collect();
    assert_eq!((promoted.len(), promoted[0]["reason"].as_str()), (2, Some("hotfix")));
}

#[test]
fn pause_keeps_the_weight_and_resume_goes_on() {
    let stage = started(BY_HAND);
    let house = &stage.house;
    house.verb("f:live", "pause", &json!({})).ok();
    let status = house.status("f:live");
    assert_eq!(
        (status["phase"].as_str(), status["weight"]["committed"].as_f64()),
        (Some("Paused"), Some(0.03))
    );
    assert_eq!(house.verb("f:live", "pause", &json!({})).ok()["changed"], false);
    house.verb("f:live", "resume", &json!({})).ok();
    assert_eq!(house.phase("f:live"), "Progressing");
}

#[test]
fn rollback_after_success_restores_the_version_before() {
    let stage = started(BY_HAND);
    let house = &stage.house;
    house.verb("f:live", "promote", &json!({ "step": 1, "full": true })).ok();
    house.wait_for("f:live", "Succeeded", SOON);
    let kept = house.ask("DELETE", "/v1/functions/f/versions/1", None, &[]);
    assert_eq!(kept.status, 409);
    assert!(kept.error().contains("serin rollback f:live"), "{}", kept.error());
    house.verb("f:live", "rollback", &json!({ "reason": "slow at night" })).ok();
    assert_eq!(routing(house), ("1".to_owned(), None));
    assert_eq!(house.phase("f:live"), "Succeeded", "a final phase stays");
    assert_eq!(house.verb("f:live", "rollback", &json!({})).ok()["changed"], false);
    let again = house.start_rollout(BY_HAND, &json!({}));
    assert_eq!(again.status, 409);
    assert!(again.error().contains("--allow-rejected"), "{}", again.error());
    let started = house.start_rollout(BY_HAND, &json!({ "again": true })).ok();
    // `analysis: none` seeks no harm, so there is nothing to say of it.
    assert!(!started["message"].as_str().unwrap().contains("sought anew"), "{started}");
}

#[test]
fn a_version_that_is_judged_anew_is_said_to_be() {
    let stage = started("function: f\nalias: live\nsteps: [3%, 100%]\n");
    let house = &stage.house;
    house.verb("f:live", "abort", &json!({})).ok();
    house.wait_for("f:live", "Aborted", SOON);
    let retried = house.verb("f:live", "retry", &json!({})).ok();
    let message = retried["message"].as_str().unwrap();
    assert!(message.contains("for the 2nd time in v2 on f:live") && message.contains("1%"), "{message}");
    house.wait_until("f:live", "retried", SOON, |status| status["retryOf"].is_string());
}

#[test]
fn rollback_after_success_does_not_undo_somebody_elses_change() {
    let stage = started(BY_HAND);
    let house = &stage.house;
    house.verb("f:live", "promote", &json!({ "step": 1, "full": true })).ok();
    house.wait_for("f:live", "Succeeded", SOON);
    house.publish("f", "http://127.0.0.1:9");
    super::update_alias(house, "3", json!({}));
    let refused = house.verb("f:live", "rollback", &json!({}));
    assert_eq!(refused.status, 409);
    assert!(refused.error().contains("no longer is as rollout"), "{}", refused.error());
}

#[test]
fn rollback_in_flight_is_abort_and_retry_starts_anew() {
    let stage = started(BY_HAND);
    let house = &stage.house;
    house.verb("f:live", "rollback", &json!({})).ok();
    let first = house.wait_for("f:live", "Aborted", SOON);
    assert_eq!(routing(house), ("1".to_owned(), None));
    let retried = house.verb("f:live", "retry", &json!({})).ok();
    let second = house.status("f:live");
    assert_eq!(second["retryOf"], first["id"]);
    assert_eq!((&second["id"], &second["planDigest"]), (&retried["id"], &first["planDigest"]));
    assert_eq!(house.verb("f:live", "retry", &json!({})).status, 409);
}

/// Whatever other versions are tried in between.
#[test]
fn trials_of_a_version_are_counted_over_its_life() {
    let stage = Stage::set(0.0, 0.0);
    let house = &stage.house;
    house.publish("f", "http://127.0.0.1:9");
    let plan = BY_HAND.replace("analysis: none", "analysis: {falseRollbackRate: 2%}");
    let mut said = Vec::new();
    for version in ["2", "3", "2", "3", "2"] {
        let started = house.start_rollout(&plan, &json!({ "to": version, "again": true })).ok();
        said.push(started["message"].as_str().unwrap().to_owned());
        house.verb("f:live", "abort", &json!({})).ok();
        house.wait_for("f:live", "Aborted", SOON);
    }
    assert!(!said[0].contains("sought anew") && !said[1].contains("sought anew"), "{said:#?}");
    for (index, part) in
        [(2, "for the 2nd time in v2"), (3, "for the 2nd time in v3"), (4, "for the 3rd time in v2")]
    {
        assert!(said[index].contains(part), "{said:#?}");
    }
    assert!(said[4].contains("a probability of 2%, 6% at most over its life"), "{said:#?}");
    let retried = house.verb("f:live", "retry", &json!({})).ok();
    assert!(retried["message"].as_str().unwrap().contains("for the 4th time in v2"), "{retried}");
}

#[test]
fn approvals_want_people_on_the_list() {
    let plan = "function: f\nalias: live\nanalysis: none\nbake: 1s\nsteps: [3%, {approval: {approvers: [ana, bo], minApprovers: 2}}, 100%]\n";
    let stage = Stage::set_in(
        House::start_with(|config| {
            config.token =
                Some("ana:a-token-of-16-chars,bo:b-token-of-16-chars,eve:e-token-of-16-chars".to_owned())
        }),
        0.0,
        0.0,
    );
    let house = &stage.house;
    let by = |token: &str, verb: &str| {
        let bearer = format!("Bearer {token}");
        house.ask(
            "POST",
            &format!("/v1/rollouts/f:live/{verb}"),
            Some(&json!({})),
            &[("authorization", &bearer)],
        )
    };
    let start = json!({ "plan": "test", "planText": plan });
    house
        .ask("POST", "/v1/rollouts", Some(&start), &[("authorization", "Bearer ana:a-token-of-16-chars")])
        .ok();
    house.wait_until("f:live", "waiting for approval", SOON, |status| {
        status["waitingFor"]["kind"] == "approval"
    });
    let refused = by("eve:e-token-of-16-chars", "approve");
    assert_eq!((refused.status, refused.error().contains("from ana or bo; one of them")), (403, true));
    by("ana:a-token-of-16-chars", "approve").ok();
    assert_eq!(by("ana:a-token-of-16-chars", "approve").ok()["changed"], false);
    assert_eq!(house.status("f:live")["phase"], "Progressing");
    by("bo:b-token-of-16-chars", "approve").ok();
    house.wait_for("f:live", "Succeeded", SOON);
}

#[test]
fn a_second_rollout_waits_replaces_or_is_refused_as_its_plan_says() {
    let stage = started(BY_HAND);
    let house = &stage.house;
    let first = house.status("f:live")["id"].as_str().unwrap().to_owned();
    for number in 3..=5 {
        house.publish("f", &format!("http://127.0.0.1:{number}"));
    }
    let with = |choice: &str, to: &str| {
        house.start_rollout(&format!("{BY_HAND}onNewVersion: {choice}\n"), &json!({ "to": to }))
    };
    assert_eq!(with("reject", "3").status, 409);
    let queued = with("queue", "3").ok();
    assert_eq!(queued["phase"], "Pending");
    let waiting = house.status(queued["id"].as_str().unwrap());
    assert_eq!(waiting["waitingFor"]["kind"], "queue");
    let newer = with("queue", "4").ok();
    assert_eq!(house.phase(queued["id"].as_str().unwrap()), "Superseded", "only the newest waits");
    let replacing = with("replace", "5").ok();
    let id = replacing["id"].as_str().unwrap();
    house.wait_for(&first, "Superseded", SOON);
    house.wait_for(id, "Progressing", SOON);
    assert_eq!(house.phase(newer["id"].as_str().unwrap()), "Superseded");
    let kinds = house.history("f:live");
    let back = kinds.iter().position(|event| event["routing"]["text"] == "v1").unwrap();
    let forth = kinds.iter().rposition(|event| event["routing"]["text"] == "v1 97% / v5 3%").unwrap();
    assert!(back < forth, "back to stable first");
}

#[test]
fn impossible_starts_say_why() {
    let stage = Stage::set(0.0, 0.0);
    let house = &stage.house;
    for (plan, more, status, word) in [
        (BY_HAND, json!({ "to": "9" }), 404, "version 9 of function f"),
        (BY_HAND, json!({ "to": "x" }), 400, "whole number"),
        ("function: g\nalias: live\nsteps: [100%]\n", json!({}), 404, "there is no function g"),
        ("function: f\nalias: other\nsteps: [100%]\n", json!({}), 404, "there is no alias f:other"),
        ("function: f\nalias: live\nsteps: [3]\n", json!({}), 400, "3%"),
    ] {
        let refused = house.start_rollout(plan, &more);
        assert_eq!(refused.status, status, "{}", refused.body);
        assert!(refused.error().contains(word), "{word}: {}", refused.error());
    }
    super::update_alias(house, "1", json!({ "2": 0.1 }));
    let refused = house.start_rollout(BY_HAND, &json!({}));
    assert!(refused.error().contains("already splits its traffic"), "{}", refused.error());
    super::update_alias(house, "$LATEST", json!({}));
    let refused = house.start_rollout(BY_HAND, &json!({}));
    assert!(refused.error().contains("$LATEST"), "{}", refused.error());
}

#[test]
fn a_dry_run_changes_nothing() {
    let stage = Stage::set(0.0, 0.0);
    let house = &stage.house;
    let would = house.start_rollout(BY_HAND, &json!({ "dryRun": true })).ok();
    assert_eq!(
        (would["canaryVersion"].as_str(), would["steps"].clone()),
        (Some("2"), json!(["3%", "5%", "100%"]))
    );
    assert_eq!(routing(house), ("1".to_owned(), None));
    assert_eq!(house.get("/v1/rollouts/f:live").status, 404);
}

#[test]
fn one_key_does_it_once() {
    let stage = Stage::set(0.0, 0.0);
    let house = &stage.house;
    let key = [("idempotency-key", "k1")];
    let start = json!({ "plan": "test", "planText": BY_HAND });
    let first = house.ask("POST", "/v1/rollouts", Some(&start), &key);
    let second = house.ask("POST", "/v1/rollouts", Some(&start), &key);
    assert_eq!((first.status, &first), (200, &second));
    let other = json!({ "plan": "test", "planText": BY_HAND, "to": "2" });
    assert_eq!(house.ask("POST", "/v1/rollouts", Some(&other), &key).status, 422);
    for twice in ["idempotency-key", "x-serin-reason"] {
        let refused = house.ask("POST", "/v1/rollouts", Some(&start), &[(twice, "k1"), (twice, "k2")]);
        assert!(refused.status == 400 && refused.error().contains("twice"), "{refused:?}");
    }
    assert_eq!(house.kinds("f:live")["rolloutStarted"], 1);
}
