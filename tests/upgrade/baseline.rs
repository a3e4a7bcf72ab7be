//! A baseline goes on beside its canary over an upgrade and a kill, and what was counted of it is not lost.

use rustix::process::Signal;

use super::relay::{Relay, send};
use crate::support::client::Client;
use crate::support::until;
use crate::support::users::service;

const REQUESTS: u64 = 100;

/// Asks for something; gives how much of it was the baseline's or before.
fn baseline_after_requests(relay: &Relay, before: u64) -> u64 {
    let mut client = Client::connect(relay.router);
    for _ in 0..REQUESTS {
        assert_eq!(client.get("/f:live/").status, 200);
    }
    let counted = || relay.rollout()["baseline"]["requests"].as_u64().unwrap_or_default();
    // Half of them on average, and a sixth at least but once in 10^12.
    until("some of them are the baseline's", || counted() > before + REQUESTS / 6);
    counted()
}

#[test]
fn a_baseline_goes_on_over_an_upgrade_and_a_kill() {
    for way in ["split", "mirror"] {
        let dir = tempfile::tempdir().unwrap();
        let mut relay = Relay::start(dir.path(), &[]);
        let plan = format!(
            "steps: [50%, 100%]\nfirstWeight: unproven\nbake: 10h\nanalysis: {{baseline: {way}, proof: none}}"
        );
        relay.roll_out(service("1"), service("2"), &plan);
        let at_first = baseline_after_requests(&relay, 0);
        relay.upgrade();
        let upgraded = baseline_after_requests(&relay, at_first);
        let pid = relay.pid();
        send(pid, Signal::KILL);
        until("it is dead", || !Relay::lives(pid));
        relay.boot(&[]);
        let stored = relay.rollout()["baseline"]["requests"].as_u64().unwrap_or_default();
        assert!((at_first..=upgraded).contains(&stored), "{way}: {stored} of {upgraded} after a kill");
        baseline_after_requests(&relay, stored);
    }
}
