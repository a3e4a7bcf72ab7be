//! A process that is stopped and continued again and again earns no bake, and one that is killed again and again keeps
//! most of what it earned.

use std::time::Duration;

use rustix::process::Signal;
use serde_json::json;

use crate::support::until;
use crate::support::users::service;
use crate::upgrade::relay::{Relay, send};

#[test]
fn a_process_that_is_stopped_and_continued_earns_no_bake() {
    let dir = tempfile::tempdir().unwrap();
    let relay = Relay::start(dir.path(), &[]);
    relay.roll_out(service("1"), service("2"), "steps: [20%, 100%]\nbake: 6s\nanalysis: none");
    // Eight seconds pass, and a tenth of one with serin running.
    for _ in 0..4 {
        send(relay.pid(), Signal::STOP);
        std::thread::sleep(Duration::from_millis(2_000));
        send(relay.pid(), Signal::CONT);
        std::thread::sleep(Duration::from_millis(25));
    }
    let rollout = relay.rollout();
    assert_eq!((&rollout["weight"]["committed"], &rollout["phase"]), (&json!(0.2), &json!("Progressing")));
    until("the bake is served, and time that was served is credited", || {
        relay.rollout()["phase"] == "Succeeded"
    });
}

#[test]
fn kills_every_other_second_stop_no_progress() {
    let dir = tempfile::tempdir().unwrap();
    let mut relay = Relay::start(dir.path(), &[]);
    relay.roll_out(service("1"), service("2"), "steps: [20%, 100%]\nbake: 4s\nanalysis: none");
    for lives in 1.. {
        assert!(lives < 40, "no bake is ever served");
        std::thread::sleep(Duration::from_millis(1_500));
        if relay.rollout()["phase"] == "Succeeded" {
            break;
        }
        let pid = relay.pid();
        send(pid, Signal::KILL);
        until("it is dead", || !Relay::lives(pid));
        relay.boot(&[]);
    }
}
