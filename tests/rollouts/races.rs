//! Two hands at once: one outcome, one event, whoever was first.

use std::sync::{Arc, Barrier};
use std::time::Duration;

use serde_json::json;

use super::{BY_HAND, Stage};
use crate::support::house::{agent, ask};

const RACES: usize = 1000;

#[test]
fn promote_racing_a_rollback_has_one_outcome_each_time() {
    let stage = Stage::set(0.0, 0.0);
    let house = &stage.house;
    let url = house.url();
    let (start, done) = (Arc::new(Barrier::new(3)), Arc::new(Barrier::new(3)));
    let racers: Vec<_> = [("promote", json!({ "step": 1, "full": true })), ("rollback", json!({}))]
        .into_iter()
        .map(|(verb, body)| {
            let (start, done, url) = (Arc::clone(&start), Arc::clone(&done), url.clone());
            std::thread::spawn(move || {
                let agent = agent();
                let mut answers = Vec::new();
                for _ in 0..RACES {
                    start.wait();
                    let path = format!("/v1/rollouts/f:live/{verb}");
                    answers.push(ask(&agent, &url, "POST", &path, Some(&body), &[]));
                    done.wait();
                }
                answers
            })
        })
        .collect();
    let mut phases = Vec::new();
    for _ in 0..RACES {
        let id =
            house.start_rollout(BY_HAND, &json!({ "again": true })).ok()["id"].as_str().unwrap().to_owned();
        start.wait();
        done.wait();
        let status = house.wait_until(&id, "final", Duration::from_secs(10), |status| {
            ["Succeeded", "Aborted"].contains(&status["phase"].as_str().unwrap())
        });
        let kinds = house.history(&id);
        let count = |kind: &str| kinds.iter().filter(|event| event["kind"] == kind).count();
        assert!(
            count("promoted") <= 1 && count("rollbackAsked") <= 1 && count("previousRestored") <= 1,
            "{kinds:#?}"
        );
        phases.push((
            status["phase"].as_str().unwrap().to_owned(),
            count("promoted"),
            count("rollbackAsked"),
        ));
        // Whichever way it went, the alias ends on one version alone; the next race begins from version 1.
        let alias = house.get("/v1/functions/f/aliases/live").ok();
        assert_eq!(alias["routing"]["additionalVersion"], json!(null));
        if alias["routing"]["functionVersion"] == "2" {
            house.verb("f:live", "rollback", &json!({})).ok();
        }
    }
    let answers: Vec<Vec<_>> = racers.into_iter().map(|racer| racer.join().unwrap()).collect();
    for race in 0..RACES {
        let (promote, rollback) = (&answers[0][race], &answers[1][race]);
        let (phase, promoted, aborted) = &phases[race];
        assert_eq!(rollback.status, 200, "rollback is safe in every state: {}", rollback.body);
        match promote.status {
            // First the promotion: the rollback then takes it back, in flight or after success.
            200 => assert_eq!(*promoted, 1),
            // First the rollback: the promotion is refused.
            409 => assert_eq!((phase.as_str(), *promoted, *aborted), ("Aborted", 0, 1)),
            other => panic!("promote answered {other}: {}", promote.body),
        }
    }
    let first = phases.iter().filter(|(_, promoted, _)| *promoted == 1).count();
    println!("promote was first {first} times, rollback {} times", RACES - first);
}
