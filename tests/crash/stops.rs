//! A process that is stopped and continued again and again: nobody is served meanwhile, and no bake passes.

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
