//! `serin serve`: beginning, living and ending.

use std::os::unix::net::UnixDatagram;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::support::client::Client;
use crate::support::serin::{Daemon, command, serin};
use crate::support::upstream::Version;
use crate::support::{uninterrupted, until};

#[test]
fn it_says_where_it_is_and_ends_when_told() {
    let dir = tempfile::tempdir().unwrap();
    for signal in [Signal::TERM, Signal::INT] {
        let mut daemon = Daemon::start(dir.path(), &[]);
        assert_ne!(daemon.api.port(), 0);
        assert_ne!(daemon.router.port(), 0);
        daemon.serin(&["status"]).done();
        assert_eq!(Client::connect(daemon.router).get("/shop:live/").status, 404);
        daemon.signal(signal);
        assert_eq!(daemon.ended().code(), Some(0));
        assert!(daemon.has_logged("stopping") && daemon.has_logged("stopped"));
    }
}

#[test]
#[expect(clippy::disallowed_methods, reason = "how long a refusal takes is what is tested")]
fn a_second_daemon_is_told_at_once_who_has_the_directory() {
    let dir = tempfile::tempdir().unwrap();
    let daemon = Daemon::start(dir.path(), &[]);
    let data = dir.path().join("data");
    let data = data.to_str().unwrap();
    let (holder, api) = (format!("API {}", daemon.url()), daemon.api.to_string());
    for api in ["127.0.0.1:0", &api] {
        let begun = Instant::now();
        serin(&["serve", "--data-dir", data, "--api", api, "--router", "127.0.0.1:0"])
            .ended(1)
            .complaining(&["in use by serin serve, pid", &holder]);
        assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    }
    let elsewhere = dir.path().join("elsewhere");
    serin(&["serve", "--data-dir", elsewhere.to_str().unwrap(), "--api", &api, "--router", "127.0.0.1:0"])
        .ended(1)
        .complaining(&["cannot listen on", "does a serin run there already?"]);
}

fn with_a_request_that_hangs(dir: &std::path::Path, version: &Version) -> (Daemon, Client) {
    let daemon = Daemon::start(dir, &[]);
    let url = format!("http://{}", version.addr());
    daemon.serin(&["function", "publish", "shop", "--url", &url]).done();
    daemon.serin(&["alias", "create", "shop:live", "--version", "1"]).done();
    let mut client = Client::connect(daemon.router);
    client.send("GET /shop:live/hang HTTP/1.1\r\nHost: x\r\n\r\n");
    until("the request is under way", || version.seen().requests() == 1);
    (daemon, client)
}

/// Who starts a router for other machines is told what it shows them.
#[test]
fn whoever_opens_the_router_to_others_is_told_what_it_shows() {
    let every_alias = "every alias as /{function}:{alias}/";
    let cases: [(&[&str], Option<&str>, [&str; 3]); 5] = [
        (
            &[],
            None,
            [
                every_alias,
                "released or not, every version by number and $LATEST",
                "every function can be invoked, for nobody",
            ],
        ),
        (
            &[],
            Some("an-owners-secret-token"),
            [every_alias, "every version by number", "Invoke wants credentials"],
        ),
        (&["--route", "shop.example=shop:live"], None, ["1 route, ", every_alias, "/; Invoke is off"]),
        (
            &["--route", "shop.example=shop:live", "--router-invoke"],
            None,
            ["1 route, ", every_alias, "/; and every function can be invoked"],
        ),
        (
            &["--route", "shop.example=shop:live", "--router-versions"],
            Some("an-owners-secret-token"),
            ["1 route, ", "every version by number", "Invoke is off"],
        ),
    ];
    for (flags, token, says) in cases {
        let dir = tempfile::tempdir().unwrap();
        let mut serve = command();
        serve.envs(token.map(|token| ("SERIN_TOKEN", token)));
        let daemon = Daemon::start_as(serve, dir.path(), &[&["--router", "0.0.0.0:0"], flags].concat());
        daemon.logs("other machines reach the router");
        for part in says {
            daemon.logs(part);
        }
    }
    // On loopback there is nothing to say of it.
    let dir = tempfile::tempdir().unwrap();
    let mut daemon = Daemon::start(dir.path(), &[]);
    daemon.signal(Signal::TERM);
    daemon.ended();
    assert!(daemon.has_logged("whoever reaches the API is the owner"));
    assert!(!daemon.has_logged("other machines reach the router"));
}

#[test]
fn a_second_signal_ends_it_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let version = Version::start("one");
    let (mut daemon, _client) = with_a_request_that_hangs(dir.path(), &version);
    daemon.signal(Signal::TERM);
    daemon.logs("stopping");
    assert!(!daemon.has_ended());
    daemon.signal(Signal::TERM);
    assert_eq!(daemon.ended().code(), Some(1));
    assert!(daemon.has_logged("second signal"), "{:#?}", daemon.log.lock().unwrap());
}

#[test]
fn systemd_is_told_of_its_life() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("notify");
    let socket = UnixDatagram::bind(&path).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let mut serve = command();
    serve.env("NOTIFY_SOCKET", &path).env("WATCHDOG_USEC", "300000");
    let mut daemon = Daemon::start_as(serve, dir.path(), &[]);
    let mut told = Vec::new();
    let mut hear = |wanted: &str| {
        let mut bytes = [0; 1024];
        while !told.iter().any(|said: &String| said.contains(wanted)) {
            let length = uninterrupted(|| socket.recv(&mut bytes))
                .unwrap_or_else(|error| panic!("no {wanted}: {error} {told:?}"));
            told.push(String::from_utf8_lossy(&bytes[..length]).into_owned());
        }
    };
    hear("READY=1");
    hear("STATUS=API http://");
    hear("WATCHDOG=1");
    daemon.signal(Signal::TERM);
    hear("STOPPING=1");
    assert_eq!(daemon.ended().code(), Some(0));
}

#[test]
fn it_remembers_where_a_restart_left_it() {
    let dir = tempfile::tempdir().unwrap();
    let daemon = Daemon::start(dir.path(), &[]);
    daemon.serin(&["function", "publish", "shop", "--url", "http://127.0.0.1:9001"]).done();
    drop(daemon);
    let daemon = Daemon::start(dir.path(), &[]);
    assert_eq!(daemon.serin(&["function", "get", "shop", "-o", "json"]).done().json()["versions"], 1);
}
