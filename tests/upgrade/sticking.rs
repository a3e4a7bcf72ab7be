//! Users who stick to their version are judged over an upgrade and a kill, and neither gives the tests a fresh alpha.

use rusqlite::{Connection, OpenFlags};
use rustix::process::Signal;
use serde_json::Value;

use super::relay::{Relay, send};
use crate::support::client::Client;
use crate::support::until;
use crate::support::users::service;

/// A rollout that keeps users where they are and stands at half of them.
const STICKING: &str =
    "steps: [50%, 100%]\nfirstWeight: unproven\nbake: 10h\nrouting: {affinity: {header: x-user}}";

const USERS: u64 = 40;

/// Lets every user come twice; says what the evidence is then.
fn evidence_after_a_visit(relay: &Relay, what: &str) -> Value {
    let mut client = Client::connect(relay.router);
    for user in (0..USERS).chain(0..USERS) {
        assert_eq!(client.ask("GET", "/f:live/", &[&format!("x-user: {user}")]).status, 200);
    }
    let mut evidence = Value::Null;
    until(what, || {
        evidence = relay.rollout()["evidence"].clone();
        let of = |key: &str| evidence["users"][key].as_u64().unwrap_or_default();
        of("stable") + of("canary") == USERS
    });
    evidence
}

/// Which start of the users' evidence is on disk.
fn stored_start(relay: &Relay) -> Option<u64> {
    let path = relay.dir.join("data/serin.db");
    let store = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY).unwrap();
    let evidence: String = store.query_row("SELECT evidence FROM rollouts", [], |row| row.get(0)).ok()?;
    serde_json::from_str::<Value>(&evidence).unwrap()["by_users"]["harm"]["start"].as_u64()
}

#[test]
fn evidence_by_users_goes_on_over_an_upgrade_and_a_kill_and_grants_no_fresh_alpha() {
    let dir = tempfile::tempdir().unwrap();
    let mut relay = Relay::start(dir.path(), &[]);
    relay.roll_out(service("1"), service("2"), STICKING);
    let enough = |evidence: &Value| evidence["failuresToRollback"].as_u64().unwrap();
    let at_first = evidence_after_a_visit(&relay, "users are counted once, however often they come");
    relay.upgrade();
    let upgraded = evidence_after_a_visit(&relay, "they are counted anew by the new process");
    assert!(enough(&upgraded) > enough(&at_first), "{at_first:#}, and after an upgrade {upgraded:#}");
    until("that is stored", || stored_start(&relay) >= Some(2));
    let pid = relay.pid();
    send(pid, Signal::KILL);
    until("it is dead", || !Relay::lives(pid));
    relay.boot(&[]);
    let killed = evidence_after_a_visit(&relay, "they are counted anew after a kill");
    assert!(enough(&killed) > enough(&upgraded), "{upgraded:#}, and after a kill {killed:#}");
    assert_eq!(relay.rollout()["phase"], "Progressing");
}
