//! Versions that speak HTTP/2: one connection for all requests of a worker, and what goes wrong on it.

use std::io::Write;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use hyper::{HeaderMap, Request};
use serin::metrics::recorder::FailureKind;
use serin::router::settings::{RouterConfig, Timeouts};
use serin_core::lambda::function::Target;

use crate::support::client::Client;
use crate::support::http2::{Frames, Http2, get, post};
use crate::support::router::{TestRouter, config, patient};
use crate::support::until;
use crate::support::upstream::{Script, Version, read_request, target_http2, write};

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const WINDOW_UPDATE: u8 = 8;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
/// `:status 200` in HPACK's static table.
const OK: [u8; 1] = [0x88];

fn one() -> Version {
    Version::start_http2("one", 100)
}

/// A router of one thread, which has one connection to a version.
fn alone(version: Target, timeouts: Timeouts) -> TestRouter {
    TestRouter::listening(version, RouterConfig { workers: Some(1), ..config(timeouts) })
}

fn values<'a>(echo: &'a serde_json::Value, name: &str) -> Vec<&'a str> {
    let lines = echo["headers"].as_array().unwrap().iter();
    lines.filter(|line| line[0] == name).map(|line| line[1].as_str().unwrap()).collect()
}

#[test]
fn requests_are_the_same_whatever_either_side_speaks() {
    let one = one();
    let router = TestRouter::serving(one.target(), patient());
    let mut http1 = router.client();
    let lines = ["TE: trailers", "Connection: te, x-hop", "X-Hop: 1", "X-Own: yes"];
    let asked = http1.post("/shop:live/echo?q=1", &lines, "hello");
    let mut http2 = Http2::connect(router.addr());
    let mut request = post("/shop:live/echo?q=1", "hello");
    request.headers_mut().insert("x-own", "yes".parse().unwrap());
    request.headers_mut().insert("te", "trailers".parse().unwrap());
    let also = http2.send(request).unwrap();
    assert_eq!(
        (asked.version(), &also.head.headers["x-amz-executed-version"]),
        (Some("1"), &"1".parse().unwrap())
    );
    for echo in [asked.json(), also.json()] {
        let said = ["method", "target", "body"].map(|name| echo[name].as_str().unwrap().to_owned());
        assert_eq!(said, ["POST", "/echo?q=1", "hello"]);
        for (name, expected) in [
            ("x-own", &["yes"][..]),
            ("x-forwarded-for", &["127.0.0.1"]),
            ("x-forwarded-host", &["test.example"]),
            ("content-length", &["5"]),
            ("te", &["trailers"]),
            ("host", &[]),
            ("connection", &[]),
            ("transfer-encoding", &[]),
            ("x-hop", &[]),
        ] {
            assert_eq!(values(&echo, name), expected, "{name}");
        }
    }
    for target in ["/shop:live/body/100000", "/shop:live/chunks/100000"] {
        assert_eq!((http1.get(target).body.len(), http2.get(target).body.len()), (100_000, 100_000));
    }
    assert_eq!(http1.ask("HEAD", "/shop:live/body/7", &[]).header("content-length"), Some("7"));
    let invoked = http1.post("/2015-03-31/functions/shop:live/invocations", &[], "{}");
    assert_eq!((invoked.status, invoked.text()), (200, "one"));
    assert_eq!(router.settled(8).failures.total(), 0);
    assert!(one.seen().connections() <= 2, "one a worker");
}

#[test]
fn requests_at_once_share_a_connection_from_the_first_on() {
    // More than the version takes at once: the others wait for their turn.
    let one = Version::start_http2("one", 10);
    let router = TestRouter::serving(one.target(), patient());
    let mut client = Http2::connect(router.addr());
    let answers: Vec<_> = (0..60).map(|_| client.post(get("/shop:live/body/100000"))).collect();
    for answer in answers {
        let response = client.run(answer).unwrap().unwrap();
        assert_eq!(client.whole(response).unwrap().body.len(), 100_000);
    }
    assert_eq!((router.settled(60).completed, one.seen().connections()), (60, 1));
}

#[test]
fn trailers_go_both_ways() {
    let one = one();
    let router = TestRouter::serving(one.target(), patient());
    let mut client = Http2::connect(router.addr());
    let down = client.get("/shop:live/chunks/40000");
    assert_eq!((down.body.len(), down.trailers.is_some()), (40_000, true));
    let trailers = HeaderMap::from_iter([("x-sum".parse().unwrap(), "7".parse().unwrap())]);
    let frames = [Ok(Frame::data(Bytes::from("abc"))), Ok(Frame::trailers(trailers))];
    let body = StreamBody::new(futures_util::stream::iter(frames)).boxed();
    let request = Request::post("http://test.example/shop:live/echo").body(body).unwrap();
    let echo = client.send(request).unwrap().json();
    assert_eq!((&echo["body"], &echo["trailers"][0][1]), (&"abc".into(), &"7".into()));
}

#[test]
fn who_takes_nothing_keeps_nobody_else_waiting() {
    let one = one();
    let router = alone(one.target(), patient());
    // More than a connection's window usually is, were each to hold no more than its own.
    let stuck: Vec<Client> = (0..20).map(|_| router.client()).collect();
    for client in &stuck {
        let mut stream = client.stream();
        stream.write_all(b"GET /shop:live/body/100000000 HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    }
    until("all of them are answered", || one.seen().requests() == 20);
    let mut client = router.client();
    for _ in 0..20 {
        assert_eq!(client.get("/shop:live/body/1000000").body.len(), 1_000_000);
    }
    assert_eq!(router.counts()[0].in_flight(), 20, "the others are as they were");
    drop(stuck);
    until("they are cancelled", || router.counts()[0].cancelled == 20);
    assert_eq!((client.get("/shop:live/x").text(), one.seen().connections()), ("one", 1));
}

#[test]
fn who_goes_away_takes_the_request_along_and_nothing_else() {
    let one = one();
    let router = TestRouter::serving(one.target(), patient());
    let mut client = Http2::connect(router.addr());
    let hanging = client.post(get("/shop:live/hang"));
    until("it is there", || one.seen().requests() == 1);
    hanging.abort();
    until("the version hears of it", || one.seen().dropped.load(std::sync::atomic::Ordering::SeqCst) == 1);
    assert_eq!(client.get("/shop:live/x").text(), "one");
    assert_eq!((router.settled(2).cancelled, one.seen().connections()), (1, 1));
}

#[test]
fn a_request_that_breaks_is_counted_and_the_others_go_on() {
    // Reset with or without an error, an answer that has not ended has not ended.
    for (code, is_answered) in [(0_u32, false), (2, false), (8, false), (0, true), (2, true), (8, true)] {
        let version = Script::start(move |stream, _| {
            let mut frames = Frames::accept(stream);
            while let Some(head) = frames.read_until(HEADERS) {
                if head.stream > 1 {
                    frames.send(HEADERS, END_HEADERS | END_STREAM, head.stream, &OK);
                    continue;
                }
                if is_answered {
                    frames.send(HEADERS, END_HEADERS, head.stream, &OK);
                    frames.send(DATA, 0, head.stream, b"half");
                }
                frames.send(RST_STREAM, 0, head.stream, &code.to_be_bytes());
            }
        });
        let router = alone(version.target_http2(), patient());
        let mut client = router.client();
        client.send("GET /shop:live/x HTTP/1.1\r\nHost: a\r\n\r\n");
        match client.try_answer_to("GET") {
            Some(answer) if is_answered => assert!(!answer.is_whole, "{code}"),
            Some(answer) => assert_eq!(answer.status, 502, "{code}"),
            None => assert!(is_answered, "{code}"),
        }
        router.assert_failed_once(FailureKind::Transport);
        assert_eq!((router.client().get("/shop:live/x").status, version.connections()), (200, 1));
    }
}

#[test]
fn an_answer_may_end_before_its_request() {
    let version = Script::start(|stream, _| {
        let mut frames = Frames::accept(stream);
        while let Some(head) = frames.read_until(HEADERS) {
            frames.send(HEADERS, END_HEADERS, head.stream, &OK);
            frames.send(DATA, END_STREAM, head.stream, b"enough");
            // Not needed any more: NO_ERROR (RFC 9113, 8.1).
            frames.send(RST_STREAM, 0, head.stream, &[0; 4]);
        }
    });
    let router = alone(version.target_http2(), patient());
    let mut client = Http2::connect(router.addr());
    for _ in 0..20 {
        assert_eq!(client.send(post("/shop:live/x", vec![0; 1_000_000])).unwrap().text(), "enough");
    }
    let counts = router.settled(20);
    assert_eq!((counts.completed, counts.failures.total(), version.connections()), (20, 0, 1));
}

#[test]
fn who_goes_away_in_the_midst_of_both_bodies_takes_the_request_along() {
    // It has begun to answer, and takes no more of the request: its window is never opened.
    let (told, hears) = std::sync::mpsc::channel();
    let version = Script::start(move |stream, _| {
        let mut frames = Frames::accept(stream);
        let Some(head) = frames.read_until(HEADERS) else { return };
        frames.send(HEADERS, END_HEADERS, head.stream, &OK);
        let _ = told.send(frames.read_until(RST_STREAM).map(|frame| frame.payload));
    });
    let router = alone(version.target_http2(), patient());
    let mut client = Http2::connect(router.addr());
    let begun = client.begin(post("/shop:live/x", vec![0; 1_000_000])).unwrap();
    assert_eq!(begun.status(), 200);
    drop((begun, client));
    let cancelled = 8_u32.to_be_bytes().to_vec();
    assert_eq!(hears.recv_timeout(Duration::from_secs(20)), Ok(Some(cancelled)));
    until("it is cancelled", || router.counts()[0].cancelled == 1);
    assert_eq!(router.counts()[0].failures.total(), 0);
}

#[test]
fn an_upload_that_stands_still_is_blamed_on_who_holds_it_up() {
    let (told, hears) = std::sync::mpsc::channel();
    let version = Script::start(move |stream, _| {
        let mut frames = Frames::accept(stream);
        // What it takes of one request is not to be missing to the next.
        frames.send(WINDOW_UPDATE, 0, 0, &1_000_000_u32.to_be_bytes());
        while frames.read_until(HEADERS).is_some() {
            let _ = told.send(frames.read_until(RST_STREAM).map(|frame| frame.payload));
        }
    });
    let timeouts = Timeouts { body_idle: Duration::from_millis(300), ..patient() };
    let router = alone(version.target_http2(), timeouts);
    // The window of a stream holds 65535 bytes, and nobody opens it.
    let taken = router.client().post("/shop:live/x", &[], vec![0; 200_000]);
    assert_eq!((taken.status, taken.header("x-serin-error")), (504, Some("timeout")), "{}", taken.text());
    assert_eq!(router.settled(1).failures.of(FailureKind::Timeout), 1);
    let mut client = router.client();
    client.send("POST /shop:live/x HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nhalf");
    assert_eq!(client.answer().status, 408);
    let counts = router.settled(2);
    assert_eq!((counts.failures.total(), counts.cancelled), (1, 1));
    for _ in 0..2 {
        let cancelled = 8_u32.to_be_bytes().to_vec();
        assert_eq!(hears.recv_timeout(Duration::from_secs(20)), Ok(Some(cancelled)), "no end, but a reset");
    }
}

#[test]
fn a_client_that_breaks_off_its_upload_fails_no_version() {
    let (told, hears) = std::sync::mpsc::channel();
    let version = Script::start(move |stream, _| {
        let mut frames = Frames::accept(stream);
        let Some(_) = frames.read_until(HEADERS) else { return };
        let _ = told.send(frames.read_until(RST_STREAM).map(|frame| frame.payload));
    });
    let router = alone(version.target_http2(), patient());
    let mut client = router.client();
    client.send("POST /shop:live/x HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nhalf");
    until("it is under way", || router.counts()[0].dispatched == 1);
    drop(client);
    assert!(hears.recv_timeout(Duration::from_secs(20)).unwrap().is_some());
    let counts = router.settled(1);
    assert_eq!((counts.failures.total(), counts.cancelled), (0, 1));
}

#[test]
fn a_connection_that_ended_is_made_anew_and_fails_nobody() {
    let version = Script::start(|stream, _| {
        let mut frames = Frames::accept(stream);
        let Some(head) = frames.read_until(HEADERS) else { return };
        frames.send(HEADERS, END_HEADERS | END_STREAM, head.stream, &OK);
        // GOAWAY, after this stream.
        frames.send(7, 0, 0, &[head.stream.to_be_bytes(), [0; 4]].concat());
        while frames.read().is_some() {}
    });
    let router = TestRouter::serving(version.target_http2(), patient());
    let mut client = router.client();
    for _ in 0..20 {
        assert_eq!(client.get("/shop:live/x").status, 200);
    }
    assert_eq!((router.settled(20).failures.total(), version.connections()), (0, 20));
}

#[test]
fn what_a_version_did_nothing_with_is_sent_again_unless_its_body_is_gone() {
    const GOAWAY: (u8, u32) = (7, 0);
    const REFUSED: (u8, u32) = (3, 7);
    const CANCELLED: (u8, u32) = (3, 8);
    for (how, body, is_sent_again) in [
        (GOAWAY, None, true),
        (REFUSED, None, true),
        (CANCELLED, None, false),
        // GOAWAY for a reason, which says less of what was done.
        ((7, 2), None, false),
        (GOAWAY, Some("abc"), false),
    ] {
        let version = Script::start(move |stream, connection| {
            let mut frames = Frames::accept(stream);
            while let Some(head) = frames.read_until(HEADERS) {
                let (kind, code) = how;
                match (connection, head.stream, kind) {
                    (0, 3, 7) => drop(frames.send(7, 0, 0, &[1_u32, code].map(u32::to_be_bytes).concat())),
                    (0, 3, _) => drop(frames.send(3, 0, 3, &code.to_be_bytes())),
                    (_, stream, _) => drop(frames.send(HEADERS, END_HEADERS | END_STREAM, stream, &OK)),
                }
            }
        });
        let router = TestRouter::serving(version.target_http2(), patient());
        let mut client = router.client();
        assert_eq!(client.get("/shop:live/x").status, 200);
        let answer = match body {
            None => client.get("/shop:live/x"),
            Some(body) => client.post("/shop:live/x", &[], body),
        };
        let (status, failures) = if is_sent_again { (200, 0) } else { (502, 1) };
        assert_eq!(answer.status, status, "{how:?} {body:?}: {}", answer.text());
        assert_eq!(router.settled(2).failures.total(), failures);
    }
}

#[test]
fn a_version_that_speaks_no_http2_or_is_not_there_is_a_502() {
    let version = Script::start(|mut stream, _| {
        let _ = read_request(&mut stream);
        write(&mut stream, "HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    });
    let nobody = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        target_http2(listener.local_addr().unwrap())
    };
    for (target, kind) in [(version.target_http2(), "broken"), (nobody, "unreachable")] {
        let router = TestRouter::serving(target, patient());
        let answer = router.client().get("/shop:live/x");
        assert_eq!((answer.status, answer.header("x-serin-error")), (502, Some(kind)));
        router.assert_failed_once(FailureKind::Transport);
    }
}

#[test]
fn a_version_that_hangs_is_a_504_and_the_others_go_on() {
    let one = one();
    let timeouts = Timeouts { response_head: Duration::from_millis(300), ..patient() };
    let router = TestRouter::serving(one.target(), timeouts);
    let mut client = router.client();
    assert_eq!(client.get("/shop:live/hang").status, 504);
    until("the version is told", || one.seen().dropped.load(std::sync::atomic::Ordering::SeqCst) == 1);
    assert_eq!(client.get("/shop:live/x").text(), "one");
    assert_eq!((router.settled(2).failures.of(FailureKind::Timeout), one.seen().connections()), (1, 1));
}

#[test]
fn other_protocols_do_not_go_over_it() {
    let one = one();
    let router = TestRouter::serving(one.target(), patient());
    let lines = ["Connection: upgrade", "Upgrade: websocket"];
    let answer = router.client().ask("GET", "/shop:live/x", &lines);
    assert_eq!((answer.status, answer.header("x-serin-error")), (501, Some("upgrade")));
    assert_eq!((one.seen().requests(), router.counts()[0].dispatched), (0, 0));
}
