//! How long a version is waited for: as it says, as the alias's plan says, or as the router does.

use std::sync::Mutex;
use std::sync::mpsc;
use std::time::Duration;

use serin::metrics::recorder::FailureKind;
use serin::router::settings::Timeouts;
use serin::router::table::RouteSpec;
use serin_core::lambda::function::Target;
use serin_core::lambda::timeouts::UpstreamTimeouts;

use crate::support::router::{TestRouter, patient, spec};
use crate::support::until;
use crate::support::upstream::{Script, Version, read_request, target_http2, write};

fn said(text: &str) -> UpstreamTimeouts {
    serde_json::from_str(text).unwrap()
}

fn saying(target: Target, timeouts: &str) -> Target {
    match target {
        Target::Http { url, health, .. } => Target::Http { url, health, timeouts: said(timeouts) },
        Target::Process(_) => panic!("an HTTP version"),
    }
}

fn hurried() -> Timeouts {
    let little = Duration::from_millis(100);
    Timeouts { response_head: little, body_idle: little, ..patient() }
}

#[test]
fn a_version_that_asks_for_patience_is_waited_for() {
    let (late, answer_now) = Script::late("200 OK");
    let router = TestRouter::serving(saying(late.target(), r#"{"firstByte":"20s"}"#), hurried());
    let mut client = router.client();
    client.send("GET /shop:live/poll HTTP/1.1\r\nHost: a\r\n\r\n");
    until("it is there", || router.counts()[0].dispatched == 1);
    std::thread::sleep(Duration::from_millis(400));
    answer_now.send(()).unwrap();
    let answer = client.answer();
    assert_eq!((answer.status, answer.text()), (200, "late"));
    assert_eq!(router.settled(1).failures.total(), 0);
}

#[test]
fn a_version_that_asks_for_less_is_given_less() {
    let one = Version::start("one");
    let http2 = Version::start_http2("two", 10);
    for target in [one.target(), http2.target()] {
        let router = TestRouter::serving(saying(target, r#"{"firstByte":"100ms"}"#), patient());
        let answer = router.client().get("/shop:live/hang");
        assert_eq!((answer.status, answer.header("x-serin-error")), (504, Some("timeout")));
        assert!(answer.text().contains("no answer within 0.1s"), "{}", answer.text());
        router.assert_failed_once(FailureKind::Timeout);
        let payload = router.client().post("/2015-03-31/functions/shop:live/invocations", &[], "{}");
        assert_eq!(payload.status, 200, "an answer in time is one");
    }
}

#[test]
fn a_plan_counts_before_its_versions_and_a_new_plan_before_it() {
    let one = Version::start("one");
    let target = saying(one.target(), r#"{"firstByte":"20s","idle":"20s"}"#);
    let router = TestRouter::start();
    router.publish(RouteSpec { timeouts: said(r#"{"firstByte":"100ms"}"#), ..spec(1, 0, &target, &target) });
    assert_eq!(router.client().get("/shop:live/hang").status, 504);
    router.publish(RouteSpec { timeouts: said(r#"{"firstByte":"150ms"}"#), ..spec(2, 0, &target, &target) });
    assert!(router.client().get("/shop:live/hang").text().contains("within 0.15s"));
}

#[test]
fn events_that_come_seldom_are_waited_for() {
    let (release, released) = mpsc::channel::<()>();
    let released = Mutex::new(released);
    let version = Script::start(move |mut stream, _| {
        read_request(&mut stream);
        write(
            &mut stream,
            "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n7\r\ndata: 1\r\n",
        );
        let _ = released.lock().unwrap().recv_timeout(Duration::from_secs(20));
        write(&mut stream, "7\r\ndata: 2\r\n0\r\n\r\n");
    });
    let router = TestRouter::serving(saying(version.target(), r#"{"idle":"20s"}"#), hurried());
    let mut client = router.client();
    client.send("GET /shop:live/events HTTP/1.1\r\nHost: a\r\n\r\n");
    until("it is there", || router.counts()[0].dispatched == 1);
    std::thread::sleep(Duration::from_millis(400));
    release.send(()).unwrap();
    let answer = client.answer();
    assert_eq!((answer.text(), answer.is_whole), ("data: 1data: 2", true));
    assert_eq!(router.settled(1).failures.total(), 0);
}

#[test]
fn events_that_do_not_come_within_what_was_said_break_off() {
    let version = Script::start(|mut stream, _| {
        read_request(&mut stream);
        write(&mut stream, "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf");
        let _ = std::io::Read::read(&mut stream, &mut [0]);
    });
    let router = TestRouter::serving(saying(version.target(), r#"{"idle":"100ms"}"#), patient());
    assert!(!router.client().get("/shop:live/x").is_whole);
    router.assert_failed_once(FailureKind::Transport);
}

#[test]
fn waits_hold_for_versions_in_http2_too() {
    let one = Version::start_http2("one", 10);
    let router = TestRouter::serving(saying(target_http2(one.addr()), r#"{"firstByte":"20s"}"#), hurried());
    let mut client = router.client();
    client.send("GET /shop:live/hang HTTP/1.1\r\nHost: a\r\n\r\n");
    until("it is there", || one.seen().requests() == 1);
    std::thread::sleep(Duration::from_millis(400));
    assert_eq!(router.counts()[0].in_flight(), 1, "it is still waited for");
}
