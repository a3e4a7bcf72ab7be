//! Upgrades of a running daemon: nobody's request fails, nothing that was counted is lost, and whatever goes wrong with
//! the new process leaves one that serves.

mod baseline;
mod copies_first;
mod crashes;
mod kills;
mod lines;
pub mod relay;
mod secrets;
mod sticking;
mod storms;

use std::net::TcpListener;
use std::os::unix::net::UnixDatagram;
use std::sync::atomic::Ordering;
use std::sync::mpsc;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::json;

use crate::support::client::Client;
use crate::support::upstream::Version;
use crate::support::users::{Crowd, Users, service};
use crate::support::{uninterrupted, until, until_within};
use relay::Relay;

/// A rollout that stands at a weight.
const STANDING: &str = "steps: [20%, 100%]\nbake: 10h";

/// A program that listens and never says a word.
const HANGING: &str = "while read -r line; do :; done";

#[test]
fn no_request_fails_and_no_evidence_is_lost() {
    let dir = tempfile::tempdir().unwrap();
    let relay = Relay::start(dir.path(), &[]);
    relay.roll_out(service("1"), service("2"), STANDING);
    let rollout = relay.rollout()["id"].clone();
    let crowd = Crowd { keepers: 8, idlers: 6, strangers: 4, requests_per_s: 200.0 };
    let users = Users::start(relay.router, "/f:live/", crowd);
    for upgrades in 1..=3 {
        let before = users.tally().requests();
        until("users are served", || users.tally().requests() > before + 50);
        users.phase.store(1, Ordering::Relaxed);
        relay.upgrade();
        users.phase.store(0, Ordering::Relaxed);
        let rollout_now = relay.rollout();
        assert_eq!((&rollout_now["id"], &rollout_now["phase"]), (&rollout, &json!("Progressing")));
        let noted = relay.noted();
        assert_eq!(noted.len(), upgrades, "{noted:#?}");
        let newest = noted.iter().max_by_key(|event| event["seq"].as_u64()).unwrap();
        assert_eq!(
            (&newest["actor"], &newest["reason"]),
            (&json!("serin"), &json!("SIGUSR2")),
            "{newest:#?}"
        );
        assert!(newest["text"].as_str().unwrap().contains("the rollout goes on"), "{newest:#?}");
    }
    let before = users.tally().requests();
    until("users are served on", || users.tally().requests() > before + 50);
    let tally = users.end();
    assert_eq!(tally.failed, 0, "{:#?}", tally.faults);
    assert!(tally.took_us[&1].len() > 20, "users were there during upgrades: {}", tally.took_us[&1].len());
    let seen = tally.versions["2"];
    until("every canary request is evidence, and is so once", || {
        relay.rollout()["exposure"]["requests"].as_u64() == Some(seen)
    });
    relay.post("/v1/rollouts/f:live/promote", &json!({ "step": 1, "full": true, "reason": "the end" }));
    until("it decides on", || relay.rollout()["phase"] == "Succeeded");
    relay.signal(Signal::TERM);
    until("all have ended", || relay.processes().is_empty());
    assert_eq!(serin::store::fsck(&dir.path().join("data"), None).unwrap(), []);
}

#[test]
fn a_request_under_way_ends_where_it_began() {
    let dir = tempfile::tempdir().unwrap();
    let relay = Relay::start(dir.path(), &[]);
    let (one, two) = (Version::start("1"), Version::start("2"));
    relay.roll_out(one.addr(), two.addr(), STANDING);
    let mut slow = Client::connect(relay.router);
    slow.send("POST /f:live/sink HTTP/1.1\r\nhost: x\r\ncontent-length: 8\r\n\r\nhalf");
    until("it is under way", || one.seen().requests() + two.seen().requests() == 1);
    let mut idle = Client::connect(relay.router);
    assert_eq!(idle.get("/f:live/").header("connection"), None);
    let old = relay.pid();
    relay.signal(Signal::USR2);
    until("another process decides", || relay.running().len() == 2);
    assert!(Relay::lives(old), "a request is under way in it");
    // A connection that was idle all the while is answered once more, and told to come anew.
    let last = idle.get("/f:live/");
    assert_eq!((last.status, last.header("connection")), (200, Some("close")));
    slow.send("rest");
    let answer = slow.answer_to("POST");
    assert_eq!((answer.status, answer.text()), (200, "8"));
    until("nothing holds it any more", || !Relay::lives(old));
    assert_eq!(relay.status(), 200);
}

#[test]
fn what_fails_late_is_a_failure_where_it_is_judged() {
    let dir = tempfile::tempdir().unwrap();
    let relay = Relay::start(dir.path(), &[]);
    // A canary that takes requests, and breaks off when it is told to.
    let canary = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = canary.local_addr().unwrap();
    let (held, holding) = mpsc::channel();
    std::thread::spawn(move || canary.incoming().flatten().try_for_each(|stream| held.send(stream)));
    relay.roll_out(service("1"), addr, "steps: [100%, {bake: 10h}]\nanalysis: none");
    let mut slow = Client::connect(relay.router);
    slow.send("GET /f:live/ HTTP/1.1\r\nhost: x\r\n\r\n");
    let stream = holding.recv_timeout(Duration::from_secs(10)).unwrap();
    relay.signal(Signal::USR2);
    until("another process decides", || relay.running().len() == 2);
    let exposure = || {
        let exposure = relay.rollout()["exposure"].clone();
        (exposure["requests"].as_u64().unwrap(), exposure["failures"].as_u64().unwrap())
    };
    assert_eq!(exposure(), (1, 0), "it was dispatched, and nobody knows its end");
    drop(stream);
    assert_eq!(slow.answer().status, 502);
    until("the new process knows of it", || exposure() == (1, 1));
}

#[test]
fn a_program_that_does_not_serve_leaves_the_old_one_in_place() {
    let dir = tempfile::tempdir().unwrap();
    let relay = Relay::start(dir.path(), &[]);
    relay.roll_out(service("1"), service("2"), STANDING);
    let mut kept = Client::connect(relay.router);
    let refusals = [("exit 3", "exit status: 3"), ("exec /nonexistent/serin", "exit status: 127")];
    for (count, (script, why)) in refusals.iter().enumerate() {
        relay.install(script);
        relay.signal(Signal::USR2);
        until("it says so", || relay.logged("goes on as before") == count + 1);
        assert_eq!(relay.logged(why), 1, "{:#?}", relay.lines());
    }
    std::fs::remove_file(dir.path().join("serin")).unwrap();
    relay.signal(Signal::USR2);
    until("it says so", || relay.logged("cannot start") == 1);
    // One that hangs: meanwhile another upgrade is refused, and so is nothing else.
    relay.install(HANGING);
    relay.signal(Signal::USR2);
    until("it is started", || relay.logged("SIGUSR2: starting") == 4);
    relay.signal(Signal::USR2);
    until("a second one is refused", || relay.logged("an upgrade is under way already") == 1);
    assert_eq!((kept.get("/f:live/").status, relay.rollout()["phase"].as_str()), (200, Some("Progressing")));
    until_within(Duration::from_secs(20), "it is ended", || relay.logged("did not serve within 10 s") == 1);
    let answer = kept.get("/f:live/");
    assert_eq!((answer.status, answer.header("connection")), (200, None), "nothing has happened");
    assert_eq!(relay.running().len(), 1);
    relay.install_itself();
    relay.upgrade();
    assert_eq!((relay.status(), relay.noted().len()), (200, 1));
}

#[test]
fn whoever_stops_a_daemon_stops_its_upgrade() {
    let dir = tempfile::tempdir().unwrap();
    let relay = Relay::start(dir.path(), &[]);
    relay.install(HANGING);
    let old = relay.pid();
    relay.signal(Signal::USR2);
    until("it is started", || relay.processes().len() == 2);
    relay.signal(Signal::TERM);
    until("it ends", || !Relay::lives(old));
    assert!(relay.processes().is_empty(), "{:?}", relay.processes());
    until("what it said last is read", || relay.logged("stopped") == 1);
}

#[test]
fn systemd_is_told_who_the_daemon_is() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("notify");
    let socket = UnixDatagram::bind(&path).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let hear = |wanted: &str| {
        let mut bytes = [0; 1024];
        loop {
            let length = uninterrupted(|| socket.recv(&mut bytes))
                .unwrap_or_else(|error| panic!("no {wanted}: {error}"));
            let said = String::from_utf8_lossy(&bytes[..length]).into_owned();
            if said.contains(wanted) {
                return said;
            }
        }
    };
    let relay =
        Relay::start(dir.path(), &[("NOTIFY_SOCKET", path.to_str().unwrap()), ("WATCHDOG_USEC", "300000")]);
    hear("READY=1");
    relay.upgrade();
    hear(&format!("MAINPID={}", relay.pid()));
    // From the new one, after it was made known.
    hear("READY=1");
    hear("WATCHDOG=1");
    relay.signal(Signal::TERM);
    hear("STOPPING=1");
}
