//! Connections that are kept: a version that closes one just as it is used, and a client whose request comes too early.

use std::net::{TcpListener, TcpStream};

use serin::metrics::recorder::FailureKind;
use serin::router::settings::RouterConfig;

use crate::support::client::Client;
use crate::support::http2::Frames;
use crate::support::router::{TestRouter, config, patient};
use crate::support::upstream::{Script, Version, read_request, reset, target, write};

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

/// A version that answers the first request of its first connection, and ends it in the midst of the second as told;
/// every other connection answers with what came on it.
fn closing(end: impl Fn(TcpStream) + Send + Sync + 'static) -> Script {
    Script::start(move |mut stream, connection| {
        let mut requests = 0;
        while let Some(request) = read_request(&mut stream) {
            requests += 1;
            if connection == 0 && requests == 2 {
                return end(stream);
            }
            let length = request.len();
            write(&mut stream, format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{request}"));
        }
    })
}

/// A router of one thread, whose client's requests all go over the same connection.
fn alone(version: &Script) -> TestRouter {
    TestRouter::listening(version.target(), RouterConfig { workers: Some(1), ..config(patient()) })
}

fn asked(client: &mut Client, method: &str, body: &str) -> (u16, String) {
    let length = body.len();
    client
        .send(format!("{method} /shop:live/x HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n{body}"));
    let answer = client.answer_to(method);
    (answer.status, String::from_utf8(answer.body).unwrap())
}

#[test]
fn a_kept_connection_that_is_closed_just_then_costs_no_request_that_may_be_asked_twice() {
    for end in [drop::<TcpStream>, reset] {
        for (method, body) in
            [("GET", ""), ("HEAD", ""), ("OPTIONS", ""), ("DELETE", ""), ("PUT", "abc"), ("DELETE", "abc")]
        {
            let version = closing(end);
            let router = alone(&version);
            let mut client = router.client();
            assert_eq!(client.get("/shop:live/x").status, 200);
            let (status, echo) = asked(&mut client, method, body);
            assert_eq!((status, version.connections()), (200, 2), "{method} {body}");
            assert!(method == "HEAD" || echo.starts_with(method) && echo.ends_with(body), "{echo}");
            let counts = router.settled(2);
            assert_eq!((counts.completed, counts.failures.total()), (2, 0), "{method}");
        }
    }
}

#[test]
fn what_may_not_be_asked_twice_is_not() {
    for method in ["POST", "PATCH"] {
        let version = closing(drop);
        let router = alone(&version);
        let mut client = router.client();
        assert_eq!(client.get("/shop:live/x").status, 200);
        assert_eq!(asked(&mut client, method, "abc").0, 502, "{method}");
        let counts = router.settled(2);
        assert_eq!((counts.failures.of(FailureKind::Transport), version.connections()), (1, 1), "{method}");
    }
}

#[test]
fn a_version_that_has_begun_to_answer_is_not_asked_again() {
    for begun in ["HTTP/1.1 102 Processing\r\n\r\n", "HTTP/1.1 20"] {
        let version = closing(move |mut stream| write(&mut stream, begun));
        let router = alone(&version);
        let mut client = router.client();
        assert_eq!(client.get("/shop:live/x").status, 200);
        assert_eq!(asked(&mut client, "GET", "").0, 502, "{begun}");
        assert_eq!((router.settled(2).failures.total(), version.connections()), (1, 1), "{begun}");
    }
}

#[test]
fn a_version_that_never_answers_is_asked_twice_at_most_and_fails_once() {
    let version = Script::start(|mut stream, connection| {
        if read_request(&mut stream).is_some() && connection == 0 {
            write(&mut stream, OK);
            read_request(&mut stream);
        }
    });
    let router = alone(&version);
    let mut client = router.client();
    assert_eq!(client.get("/shop:live/x").status, 200);
    let answer = client.get("/shop:live/x");
    assert_eq!((answer.status, answer.header("x-serin-error")), (502, Some("broken")));
    let counts = router.settled(2);
    assert_eq!((counts.completed, counts.failures.total(), version.connections()), (2, 1, 2));
    // Its first request on a connection says what the version does, and is not sent again.
    assert_eq!(client.get("/shop:live/x").status, 502);
    assert_eq!((router.settled(3).failures.total(), version.connections()), (2, 3));
}

#[test]
fn a_large_body_is_not_kept_and_not_sent_again() {
    let version = closing(drop);
    let router = alone(&version);
    let mut client = router.client();
    assert_eq!(client.get("/shop:live/x").status, 200);
    assert_eq!(asked(&mut client, "PUT", &"x".repeat(200_000)).0, 502);
    assert_eq!((router.settled(2).failures.total(), version.connections()), (1, 1));
}

#[test]
fn a_kept_connection_in_http2_that_is_closed_just_then_costs_no_request_either() {
    for (method, status, connections) in [("GET", 200, 2), ("PUT", 200, 2), ("POST", 502, 1)] {
        let version = Script::start(|stream, connection| {
            let mut frames = Frames::accept(stream);
            while let Some(head) = frames.read_until(1) {
                if connection == 0 && head.stream > 1 {
                    return;
                }
                // `:status 200`, and no body.
                frames.send(1, 5, head.stream, &[0x88]);
            }
        });
        let alone = RouterConfig { workers: Some(1), ..config(patient()) };
        let router = TestRouter::listening(version.target_http2(), alone);
        let mut client = router.client();
        assert_eq!(client.get("/shop:live/x").status, 200);
        let body = if method == "GET" { "" } else { "abc" };
        assert_eq!(asked(&mut client, method, body).0, status, "{method}");
        let failures = u64::from(status != 200);
        let counts = router.settled(2);
        assert_eq!((counts.failures.total(), version.connections()), (failures, connections), "{method}");
    }
}

/// A router whose version does not listen.
fn unreachable() -> TestRouter {
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    TestRouter::serving(target(free, ""), patient())
}

#[test]
fn an_answer_before_the_body_has_come_says_that_the_connection_ends() {
    let router = unreachable();
    for (target, status) in [("/shop:live/x", 502), ("/shop:nobody/x", 404), ("/nothing", 404)] {
        for (lines, sent) in [
            ("Content-Length: 10\r\n", "half!"),
            ("Content-Length: 1000000\r\n", ""),
            ("Transfer-Encoding: chunked\r\n", "5\r\nhalf!\r\n"),
            ("Content-Length: 5\r\nExpect: 100-continue\r\n", ""),
        ] {
            let mut client = router.client();
            client.send(format!("POST {target} HTTP/1.1\r\nHost: a\r\n{lines}\r\n{sent}"));
            let answer = client.answer();
            let told = (answer.status, answer.header("connection"), answer.is_whole);
            assert_eq!(told, (status, Some("close"), true), "{target} {lines}");
            assert!(client.is_closed(), "{target} {lines}");
        }
    }
}

#[test]
fn an_answer_after_the_body_has_come_leaves_the_connection_good() {
    let router = unreachable();
    let mut client = router.client();
    for round in 0..3 {
        for (target, status) in [("/shop:live/x", 502), ("/shop:nobody/x", 404)] {
            for body in ["", "short", &"x".repeat(2_000)] {
                // In one piece: what comes behind the head may come too late to be read away.
                let length = body.len();
                client.send(format!(
                    "POST {target} HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n{body}"
                ));
                let answer = client.answer();
                let told = (answer.status, answer.header("connection"));
                assert_eq!(told, (status, None), "{round} {target} {}", body.len());
            }
        }
        client.send("POST /shop:live/x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n");
        assert_eq!(client.answer().header("connection"), None);
    }
    // What follows at once is the next request, and not what is left of this one.
    client.send(
        "POST /shop:live/x HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabcGET /shop:nobody/x HTTP/1.1\r\nHost: a\r\n\r\n",
    );
    assert_eq!((client.answer().status, client.answer().status), (502, 404));
}

#[test]
fn a_version_that_answers_early_ends_the_clients_connection_in_words() {
    let version = Script::start(|mut stream, _| {
        let mut head = [0; 4096];
        let _ = std::io::Read::read(&mut stream, &mut head);
        write(&mut stream, "HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    });
    let router = TestRouter::serving(version.target(), patient());
    let mut client = router.client();
    client.send("POST /shop:live/x HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\nbegin");
    let answer = client.answer();
    assert_eq!((answer.status, answer.header("connection")), (413, Some("close")));
    assert_eq!(router.settled(1).failures.total(), 0);
    let one = Version::start("one");
    let router = TestRouter::serving(one.target(), patient());
    let answer = router.client().post("/shop:live/sink", &[], "all of it");
    assert_eq!((answer.text(), answer.header("connection")), ("9", None), "one in its turn does not");
}
