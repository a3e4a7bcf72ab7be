//! Copies that are to prove a first weight go on over an upgrade and a kill, and no user gets the canary by either.

use rustix::process::Signal;

use super::relay::{Relay, send};
use crate::support::client::Client;
use crate::support::until;
use crate::support::users::service;

/// A rollout that stays at copies: no proof is good enough for it.
const COPIED: &str =
    "steps: [50%, 100%]\nfirstWeight: mirror\nbake: 10h\nanalysis: {proof: {addedFailures: 0.001pp}}";

const REQUESTS: u64 = 30;

/// Asks for something, which is copied; gives how many copies there were by then.
fn copies_after_requests(relay: &Relay, before: u64) -> u64 {
    let mut client = Client::connect(relay.router);
    for _ in 0..REQUESTS {
        assert_eq!(client.get("/f:live/").version(), Some("1"), "no user gets the canary");
    }
    let copies = || relay.rollout()["mirrored"]["requests"].as_u64().unwrap_or_default();
    until("all of them were copied", || copies() == before + REQUESTS);
    assert_eq!(relay.rollout()["step"]["kind"], "mirror");
    copies()
}

#[test]
fn copies_go_on_over_an_upgrade_and_a_kill() {
    let dir = tempfile::tempdir().unwrap();
    let mut relay = Relay::start(dir.path(), &[]);
    relay.begin(service("1"), service("2"), COPIED);
    let at_first = copies_after_requests(&relay, 0);
    relay.upgrade();
    let upgraded = copies_after_requests(&relay, at_first);
    until("that is stored", || stored_copies(&relay) >= Some(upgraded));
    let pid = relay.pid();
    send(pid, Signal::KILL);
    until("it is dead", || !Relay::lives(pid));
    relay.boot(&[]);
    assert_eq!(copies_after_requests(&relay, upgraded), 3 * REQUESTS);
}

/// How many copies the stored evidence tells of.
fn stored_copies(relay: &Relay) -> Option<u64> {
    let path = relay.dir.join("data/serin.db");
    let store =
        rusqlite::Connection::open_with_flags(path, rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY).unwrap();
    let evidence: String = store.query_row("SELECT evidence FROM rollouts", [], |row| row.get(0)).ok()?;
    let evidence: serde_json::Value = serde_json::from_str(&evidence).unwrap();
    let totals = evidence["totals"].as_array()?;
    let copied = totals.iter().filter(|of| of["stratum"] == "Copied");
    Some(copied.filter_map(|of| of["arms"]["canary"]["requests"].as_u64()).sum())
}
