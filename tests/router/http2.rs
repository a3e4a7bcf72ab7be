//! HTTP/2 from clients, by prior knowledge: both faces, both directions, and what a client may not do.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use hyper::{HeaderMap, Request, StatusCode};
use serin::metrics::connections::Refused;
use serin::metrics::recorder::FailureKind;
use serin::router::settings::Timeouts;

use crate::support::client::Client;
use crate::support::http2::{Frames, Http2, get, post};
use crate::support::router::{TestRouter, patient};
use crate::support::until;
use crate::support::upstream::{Script, Version, read_request, write};

fn header<'a>(echo: &'a serde_json::Value, name: &str) -> Vec<&'a str> {
    let lines = echo["headers"].as_array().unwrap().iter();
    lines.filter(|line| line[0] == name).map(|line| line[1].as_str().unwrap()).collect()
}

#[test]
fn requests_are_forwarded_as_those_of_http1_are() {
    let one = Version::start("one");
    let router = TestRouter::serving(one.target(), patient());
    let mut client = Http2::connect(router.addr());
    let mut request = post("/shop:live/echo?q=1", "hello");
    for (name, value) in
        [("cookie", "a=1"), ("cookie", "b=2"), ("x-forwarded-for", "1.2.3.4"), ("te", "trailers")]
    {
        request.headers_mut().append(name, value.parse().unwrap());
    }
    let answer = client.send(request).unwrap();
    assert_eq!(
        (answer.head.status, &answer.head.headers["x-amz-executed-version"]),
        (StatusCode::OK, &"1".parse().unwrap())
    );
    let echo = answer.json();
    assert_eq!(
        (&echo["method"], &echo["target"], &echo["body"]),
        (&"POST".into(), &"/echo?q=1".into(), &"hello".into())
    );
    for (name, values) in [
        ("cookie", &["a=1; b=2"][..]),
        ("x-forwarded-for", &["127.0.0.1"]),
        ("x-forwarded-host", &["test.example"]),
        ("x-forwarded-proto", &["http"]),
        ("content-length", &["5"]),
        ("te", &["trailers"]),
    ] {
        assert_eq!(header(&echo, name), values, "{name}");
    }
    let hops = client.get("/shop:live/headers");
    assert!(!hops.head.headers.contains_key("connection") && !hops.head.headers.contains_key("x-hop"));
    let invoked = client.send(post("/2015-03-31/functions/shop:live/invocations", "{}")).unwrap();
    assert_eq!((invoked.head.status, invoked.text()), (StatusCode::OK, "one"));
    assert_eq!(router.settled(3).failures.total(), 0);
    assert_eq!(router.running().connections().open(), 1, "all over one connection");
}

#[test]
fn many_requests_share_a_connection() {
    let one = Version::start("one");
    let router = TestRouter::serving(one.target(), patient());
    let mut client = Http2::connect(router.addr());
    let hanging = client.post(get("/shop:live/hang"));
    let answers: Vec<_> = (0..50).map(|_| client.post(get("/shop:live/body/100000"))).collect();
    for answer in answers {
        let response = client.run(answer).unwrap().unwrap();
        assert_eq!(client.whole(response).unwrap().body.len(), 100_000);
    }
    hanging.abort();
    until("the one that was given up is cancelled", || router.counts()[0].cancelled == 1);
    assert_eq!(router.settled(51).completed, 50);
    assert_eq!(client.get("/shop:live/x").text(), "one", "the connection goes on");
}

#[test]
fn trailers_go_both_ways() {
    let one = Version::start("one");
    let router = TestRouter::serving(one.target(), patient());
    let mut client = Http2::connect(router.addr());
    let mut request = get("/shop:live/chunks/40000");
    request.headers_mut().insert("te", "trailers".parse().unwrap());
    let down = client.send(request).unwrap();
    assert_eq!((down.body.len(), down.trailers.is_some()), (40_000, true));
    let trailers = HeaderMap::from_iter([("x-sum".parse().unwrap(), "7".parse().unwrap())]);
    let frames = [Ok(Frame::data(Bytes::from("abc"))), Ok(Frame::trailers(trailers))];
    let body = StreamBody::new(futures_util::stream::iter(frames)).boxed();
    let request = Request::post("http://test.example/shop:live/echo").header("trailer", "x-sum");
    let echo = client.send(request.body(body).unwrap()).unwrap().json();
    assert_eq!((&echo["body"], &echo["trailers"][0][1]), (&"abc".into(), &"7".into()));
}

#[test]
fn a_broken_answer_is_a_reset_and_never_an_end() {
    for answer in [
        "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\nnonsense\r\n",
    ] {
        let version = Script::start(move |mut stream, _| {
            read_request(&mut stream);
            write(&mut stream, answer);
        });
        let router = TestRouter::serving(version.target(), patient());
        let mut client = Http2::connect(router.addr());
        let response = client.begin(get("/shop:live/x")).expect("a head");
        let broken = client.whole(response).err().expect("no end");
        let reset = format!("{broken:?}");
        assert!(reset.contains("INTERNAL_ERROR"), "{reset}");
        router.assert_failed_once(FailureKind::Transport);
        assert_eq!(client.get("/nothing").head.status, 404, "the connection goes on");
    }
}

#[test]
fn the_preface_may_come_in_pieces_and_other_methods_are_none() {
    let one = Version::start("one");
    let router = TestRouter::serving(one.target(), patient());
    let mut slow = router.client();
    for piece in [&b"P"[..], b"RI * HT", b"TP/2.0\r\n\r\nSM\r\n", b"\r\n\0\0\0\x04\0\0\0\0\0"] {
        slow.send(piece);
        std::thread::yield_now();
    }
    let mut head = [0; 9];
    std::io::Read::read_exact(&mut slow.stream(), &mut head).unwrap();
    assert_eq!(head[3], 4, "settings");
    for method in ["P", "PR", "PRI", "PUT"] {
        let mut client = router.client();
        client.send(&method[..1]);
        client.send(format!("{} /shop:live/x HTTP/1.1\r\nHost: a\r\n\r\n", &method[1..]));
        assert_eq!(client.answer().text(), "one", "{method}");
    }
}

#[test]
fn what_would_be_read_in_two_ways_is_refused() {
    let one = Version::start("one");
    let router = TestRouter::serving(one.target(), patient());
    let plain = [(":method", "GET"), (":scheme", "http"), (":path", "/shop:live/x")];
    let with = |more: &[(&'static str, &'static str)]| [&plain[..], more].concat();
    let (authority, ok) = ((":authority", "a.example"), true);
    for (headers, is_fine) in [
        (with(&[authority]), ok),
        (with(&[authority, ("host", "a.example")]), ok),
        (with(&[("host", "a.example")]), ok),
        (with(&[authority, ("host", "b.example")]), false),
        (with(&[(":authority", "user@a.example")]), false),
        (with(&[]), false),
        (with(&[authority, ("connection", "close")]), false),
        (with(&[authority, ("keep-alive", "1")]), false),
        (with(&[authority, ("proxy-connection", "x")]), false),
        (with(&[authority, ("transfer-encoding", "chunked")]), false),
        (with(&[authority, ("upgrade", "websocket")]), false),
        (with(&[authority, ("te", "gzip")]), false),
        (with(&[authority, ("X-Upper", "1")]), false),
        (with(&[authority, ("x-a", "1\r\nx-b: 2")]), false),
        (with(&[authority, ("content-length", "5")]), false),
        (with(&[authority, ("content-length", "+0")]), false),
        (vec![(":method", "CONNECT"), authority], false),
        (
            vec![
                (":method", "CONNECT"),
                (":protocol", "websocket"),
                (":scheme", "http"),
                (":path", "/shop:live/x"),
                authority,
            ],
            false,
        ),
        (vec![(":method", "GET"), (":path", "/shop:live/x"), authority], false),
    ] {
        let before = one.seen().requests();
        let mut frames = Frames::connect(router.addr());
        frames.request(1, &headers);
        let is_served = loop {
            match frames.read() {
                // The status in HPACK's static table, where it is one of the common ones: 200.
                Some(frame) if frame.kind == 1 => break frame.payload.first() == Some(&0x88),
                Some(frame) if frame.kind == 3 || frame.kind == 7 => break false,
                Some(_) => {}
                None => break false,
            }
        };
        assert_eq!(
            (is_served, one.seen().requests() - before),
            (is_fine, usize::from(is_fine)),
            "{headers:?}"
        );
    }
}

#[test]
fn a_drain_says_goaway_and_lets_requests_end() {
    let (slow, answer_now) = Script::late("200 OK");
    let mut router = TestRouter::serving(slow.target(), patient());
    let mut client = Http2::connect(router.addr());
    let under_way = client.post(get("/shop:live/x"));
    let mut idle = Frames::connect(router.addr());
    until("it is dispatched", || router.counts()[0].dispatched == 1);
    let running = router.take();
    running.leave();
    assert!(idle.read_until(7).is_some(), "an idle connection is told");
    assert_eq!(idle.read_until(255), None, "and closed when it knows");
    answer_now.send(()).unwrap();
    let response = client.run(under_way).unwrap().expect("it ends");
    assert_eq!(client.whole(response).unwrap().text(), "late");
    until("everybody has left", || running.has_left());
    running.shutdown(Duration::ZERO).unwrap();
}

#[test]
fn a_connection_without_requests_is_told_to_go() {
    let one = Version::start("one");
    let timeouts = Timeouts { client_header: Duration::from_millis(100), ..patient() };
    let router = TestRouter::serving(one.target(), timeouts);
    let mut idle = Frames::connect(router.addr());
    assert!(idle.read_until(7).is_some());
    assert_eq!(idle.read_until(255), None);
    let mut begun = router.client();
    begun.send("PRI * HTTP");
    assert!(begun.is_closed(), "half a preface is no connection");
    until("nothing is left", || router.running().connections().open() == 0);
}

#[test]
fn a_client_that_takes_nothing_of_an_answer_is_given_up() {
    let one = Version::start("one");
    let timeouts = Timeouts { body_idle: Duration::from_millis(300), ..patient() };
    let router = TestRouter::serving(one.target(), timeouts);
    let mut frames = Frames::connect(router.addr());
    let ask = |path| [(":method", "GET"), (":scheme", "http"), (":path", path), (":authority", "a")];
    // The window of a stream holds 65535 bytes, and nobody opens it.
    frames.request(1, &ask("/shop:live/body/1000000"));
    until("its version is let go", || router.counts()[0].cancelled == 1);
    assert!(frames.read_until(3).is_some(), "the stream is reset");
}

#[test]
fn a_client_that_only_cancels_is_closed() {
    let one = Version::start("one");
    let router = TestRouter::serving(one.target(), patient());
    let mut frames = Frames::connect(router.addr());
    let ask = [(":method", "GET"), (":scheme", "http"), (":path", "/shop:live/hang"), (":authority", "a")];
    let mut stream = 1;
    until("the connection is closed", || {
        frames.request(stream, &ask);
        frames.send(3, 0, stream, &8_u32.to_be_bytes());
        stream += 2;
        router.running().connections().open() == 0
    });
    assert!(stream / 2 < 5_000, "{stream}");
    assert_eq!(Client::connect(router.addr()).get("/shop:live/x").text(), "one");
}

#[test]
fn a_client_that_cancels_all_it_asks_is_closed_however_slowly_it_does_so() {
    // Each request is with its version before it is cancelled, which no limit of the library counts.
    let one = Version::start("one");
    let router = TestRouter::serving(one.target(), patient());
    let connections = router.running().connections();
    let mut frames = Frames::connect(router.addr());
    let ask = [(":method", "GET"), (":scheme", "http"), (":path", "/shop:live/hang"), (":authority", "a")];
    for count in 1..=101 {
        let stream = count as u32 * 2 - 1;
        frames.request(stream, &ask);
        until("it is under way", || router.counts()[0].dispatched == count);
        assert_eq!((connections.open(), connections.refused(Refused::Http2Resets)), (1, 0), "{count}");
        frames.send(3, 0, stream, &8_u32.to_be_bytes());
        until("it is cancelled", || router.counts()[0].cancelled == count);
    }
    // Whether or not the connection was looked at since, it is by the next frame.
    frames.send(6, 0, 0, &[0; 8]);
    until("the connection is closed", || connections.open() == 0);
    assert_eq!(connections.refused(Refused::Http2Resets), 1);
}
