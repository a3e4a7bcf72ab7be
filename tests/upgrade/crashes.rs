//! The control plane or the store fails: the router serves on, and another process takes over when it can.

use std::ffi::OsString;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::json;
use serin::control::data_plane::DataPlane;
use serin::daemon::Image;
use serin::router::table::{Edit, RoutingTable};
use serin_core::lambda::alias::AliasId;
use serin_core::lambda::function::Revision;

use super::STANDING;
use super::relay::Relay;
use crate::support::client::Client;
use crate::support::house::House;
use crate::support::until;
use crate::support::users::{Crowd, Users, service};
use rustix::process::Signal;

/// A table that panics when it is told to, on the control plane's own thread.
struct Fuse {
    table: Arc<RoutingTable>,
    is_lit: Arc<AtomicBool>,
}

impl DataPlane for Fuse {
    fn publish(&self, edits: Vec<Edit>) {
        assert!(!self.is_lit.load(Ordering::SeqCst), "the fuse has blown");
        self.table.publish(edits);
    }

    fn serving(&self, alias: &AliasId) -> Option<Revision> {
        self.table.serving(alias).map(|(revision, _)| revision)
    }
}

/// Ends a process that no relay looks after.
struct Ended(i32);

impl Drop for Ended {
    fn drop(&mut self) {
        if Relay::lives(self.0) {
            super::relay::send(self.0, Signal::KILL);
        }
    }
}

#[test]
fn a_control_plane_that_panics_stops_no_request_and_is_replaced() {
    let is_lit = Arc::new(AtomicBool::new(false));
    let fuse = Arc::clone(&is_lit);
    let mut house = House::start_on(move |table| Arc::new(Fuse { table, is_lit: fuse }));
    let url = format!("http://{}", service("1"));
    house.post("/v1/functions/f/versions", &json!({ "url": url })).ok();
    house.post("/v1/functions/f/aliases/live", &json!({ "functionVersion": "1" })).ok();
    let mut kept = Client::connect(house.router());
    assert_eq!(kept.get("/f:live/").status, 200);
    is_lit.store(true, Ordering::SeqCst);
    let reply = house.post("/v1/functions/f/aliases/other", &json!({ "functionVersion": "1" }));
    assert_eq!(reply.status, 503, "{reply:?}");
    let daemon = house.daemon.take().unwrap();
    until("it is noticed", || daemon.has_crashed());
    assert!(!daemon.has_lost_control());
    assert_eq!(kept.get("/f:live/").status, 200, "it routes on");
    assert_eq!(Client::connect(daemon.router_addr).get("/f:live/").status, 200, "for others, too");

    // What `serve` does then: a process of the real binary takes sockets, table and store over.
    let (api, router) = (daemon.api_addr, daemon.router_addr);
    let text = |text: &str| OsString::from(text);
    let data: &Path = &house.config.data_dir;
    let args = [text("serve"), text("--workers"), text("1"), text("--data-dir"), data.into()];
    let image = Image::of(Path::new(env!("CARGO_BIN_EXE_serin")), args);
    let never = AtomicBool::new(false);
    let offer = daemon.offer().unwrap();
    let taker = offer.take_up(&image, &image, None, &never).unwrap();
    let pid = taker.pid() as i32;
    let _ended_whatever_comes = Ended(pid);
    let settled = AtomicBool::new(false);
    let ended = std::thread::scope(|scope| {
        let ending = scope.spawn(|| {
            daemon.make_way(offer, taker, &image, Duration::from_secs(5), &never, |_| {
                settled.store(true, Ordering::SeqCst);
            })
        });
        until("another process decides", || settled.load(Ordering::SeqCst) || ending.is_finished());
        let last = kept.get("/f:live/");
        assert_eq!((last.status, last.header("connection")), (200, Some("close")));
        ending.join().unwrap()
    });
    ended.unwrap();
    // Two sockets were handed over, and the one worker of the new process accepts from both.
    for _ in 0..20 {
        assert_eq!(Client::connect(router).get("/f:live/").status, 200);
    }
    let agent = crate::support::house::agent();
    let url = format!("http://{api}");
    let ask = |method: &str, path: &str, body: Option<&serde_json::Value>| {
        crate::support::house::ask(&agent, &url, method, path, body, &[])
    };
    let made = ask("GET", "/v1/functions/f/aliases/other", None);
    assert_eq!(made.status, 200, "what was committed before the panic is served: {made:?}");
    ask("POST", "/v1/functions/f/aliases/third", Some(&json!({ "functionVersion": "1" }))).ok();
    super::relay::send(pid, Signal::TERM);
    until("it ends", || !Relay::lives(pid));
}

#[test]
fn a_store_that_nobody_can_open_stops_no_request() {
    let dir = tempfile::tempdir().unwrap();
    let relay = Relay::start(dir.path(), &[]);
    relay.roll_out(service("1"), service("2"), STANDING);
    let set_schema = |schema: i64| {
        let path = dir.path().join("data/serin.db");
        let connection = rusqlite::Connection::open(path).unwrap();
        connection.busy_timeout(Duration::from_secs(5)).unwrap();
        connection.pragma_update(None, "user_version", schema).unwrap();
    };
    let old = relay.pid();
    set_schema(99);
    relay.signal(Signal::USR2);
    // The new program cannot, and neither can the one that ran before: that one serves, and tries again.
    until("both have tried", || relay.logged("the store cannot be taken over") == 2);
    until("it is said", || relay.logged("the program that ran before is started") == 1);
    for _ in 0..10 {
        assert_eq!(relay.status(), 200);
    }
    set_schema(serin::store::SCHEMA_VERSION);
    until("it decides again", || relay.running().len() == 2);
    until("nobody else is left", || relay.processes() == [relay.pid()]);
    assert!(!Relay::lives(old));
    assert_eq!((relay.status(), relay.rollout()["phase"].as_str()), (200, Some("Progressing")));
    let noted = relay.noted();
    assert_eq!(noted.len(), 1, "{noted:#?}");
    let reason = noted[0]["reason"].as_str().unwrap();
    assert!(reason.contains("could not go on with its successor"), "{reason}");
}

#[test]
fn a_program_that_cannot_have_the_store_is_replaced_by_the_one_that_had_it() {
    let dir = tempfile::tempdir().unwrap();
    let relay = Relay::start(dir.path(), &[]);
    relay.roll_out(service("1"), service("2"), STANDING);
    // It serves as well as any, and then finds something else where its store should be.
    let foreign = dir.path().join("data/foreign");
    std::fs::create_dir(&foreign).unwrap();
    let theirs = rusqlite::Connection::open(foreign.join("serin.db")).unwrap();
    theirs.execute_batch("CREATE TABLE theirs (x)").unwrap();
    let binary = env!("CARGO_BIN_EXE_serin");
    relay.install(&format!("exec {binary} serve --workers 3 --data-dir {}", foreign.display()));
    let old = relay.pid();
    let crowd = Crowd { keepers: 4, idlers: 3, strangers: 3, requests_per_s: 100.0 };
    let users = Users::start(relay.router, "/f:live/", crowd);
    until("users are served", || users.tally().requests() > 20);
    relay.signal(Signal::USR2);
    until("another process decides", || relay.running().len() == 2);
    until("nobody else is left", || relay.processes() == [relay.pid()]);
    assert!(!Relay::lives(old));
    until("it and the old one say why", || relay.logged("is not a serin store") == 2);
    assert_eq!(relay.rollout()["phase"], "Progressing");
    let tally = users.end();
    assert_eq!(tally.failed, 0, "{:#?}", tally.faults);
    // The next upgrade is looked for where the first one was.
    relay.install_itself();
    relay.upgrade();
    assert_eq!((relay.status(), relay.noted().len()), (200, 2));
}
