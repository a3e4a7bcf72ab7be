//! What reaches a version, and what comes back.

use serin::metrics::recorder::Counts;
use serin::router::table::Edit;
use serin_core::model::arn::VersionNumber;

use crate::support::client::Answer;
use crate::support::router::{TestRouter, patient};
use crate::support::until;
use crate::support::upstream::{Version, target};

/// The values of a header in an echo.
fn echoed(answer: &Answer, name: &str) -> Vec<String> {
    let echo = answer.json();
    let headers = echo["headers"].as_array().unwrap();
    let found = headers.iter().filter(|line| line[0] == name);
    found.map(|line| line[1].as_str().unwrap().to_owned()).collect()
}

#[test]
fn the_rest_of_the_path_follows_the_base_path_byte_for_byte() {
    let one = Version::start("one");
    let router = TestRouter::serving(target(one.addr(), "/base"), patient());
    let mut client = router.client();
    for (asked, arrived) in [
        ("/shop:live/echo", "/base/echo"),
        ("/shop%3Alive/echo?a=%20b&c", "/base/echo?a=%20b&c"),
        ("/shop:live/echo/../%2e%2E//x%2Fy;z?", "/base/echo/../%2e%2E//x%2Fy;z?"),
        ("http://elsewhere.example/shop:live/echo", "/base/echo"),
        ("/shop:live/echo/a\"b{c}\u{e4}", "/base/echo/a\"b{c}\u{e4}"),
    ] {
        let answer = client.get(asked);
        assert_eq!((answer.status, answer.version()), (200, Some("1")), "{asked}");
        assert_eq!(answer.json()["target"], arrived, "{asked}");
    }
    let root = client.get("/shop:live?q");
    assert_eq!((root.status, root.text()), (200, "one"));
}

#[test]
fn every_method_is_forwarded_with_its_body() {
    let one = Version::start("one");
    let router = TestRouter::serving(one.target(), patient());
    let mut client = router.client();
    for method in ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "PROPFIND", "X-OWN"] {
        client.send(format!(
            "{method} /shop:live/echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n\
             3\r\nabc\r\n2;ext=1\r\nde\r\n0\r\n\r\n"
        ));
        let echo = client.answer().json();
        assert_eq!((echo["method"].as_str(), echo["body"].as_str()), (Some(method), Some("abcde")));
    }
    let sized = client.post("/shop:live/echo", &[], "sized");
    assert_eq!(echoed(&sized, "content-length"), ["5"]);
    let empty = client.post("/shop:live/echo", &[], "");
    assert_eq!(
        (echoed(&empty, "content-length"), empty.json()["body"].as_str()),
        (vec!["0".into()], Some(""))
    );
    assert_eq!(one.seen().connections(), 1, "one client's requests share an upstream connection");
}

#[test]
fn a_version_learns_of_its_client_from_the_router_alone() {
    let one = Version::start("one");
    let router = TestRouter::serving(one.target(), patient());
    let answer = router.client().ask(
        "GET",
        "/shop:live/echo",
        &[
            "X-Forwarded-For: 6.6.6.6",
            "X-Forwarded-For: 7.7.7.7",
            "X-Forwarded-Port: 1",
            "Forwarded: for=6.6.6.6",
            "X-Amz-Executed-Version: 42",
            "X-Serin-Error: none",
            "Connection: keep-alive, X-Hop",
            "X-Hop: 1",
            "Keep-Alive: timeout=5",
            "Proxy-Authorization: Basic x",
            "Accept: a",
            "Accept: b",
            "Cookie: c=1",
        ],
    );
    assert_eq!(echoed(&answer, "host"), [one.addr().to_string()]);
    assert_eq!(echoed(&answer, "x-forwarded-for"), ["127.0.0.1"]);
    assert_eq!(echoed(&answer, "x-forwarded-host"), ["test.example"]);
    assert_eq!(echoed(&answer, "x-forwarded-proto"), ["http"]);
    assert_eq!(echoed(&answer, "accept"), ["a", "b"]);
    assert_eq!(echoed(&answer, "cookie"), ["c=1"]);
    for gone in [
        "x-forwarded-port",
        "forwarded",
        "x-amz-executed-version",
        "x-serin-error",
        "connection",
        "x-hop",
        "keep-alive",
        "proxy-authorization",
    ] {
        assert_eq!(echoed(&answer, gone), Vec::<String>::new(), "{gone}");
    }
}

#[test]
fn an_answer_comes_back_as_the_version_gave_it() {
    let one = Version::start("one");
    let router = TestRouter::serving(one.target(), patient());
    let mut client = router.client();
    let answer = client.get("/shop:live/headers");
    assert_eq!(answer.header_all("set-cookie"), ["a=1", "b=2"]);
    assert_eq!(answer.header_all("x-own"), ["yes"]);
    assert_eq!(answer.header_all("x-amz-executed-version"), ["1"], "a version does not label itself");
    for gone in ["x-serin-error", "x-hop", "keep-alive"] {
        assert_eq!(answer.header(gone), None, "{gone}");
    }
    for status in ["200", "201", "204", "304", "404", "418", "503"] {
        let answer = client.get(&format!("/shop:live/status/{status}"));
        assert_eq!((answer.status.to_string().as_str(), answer.version()), (status, Some("1")));
    }
    let head = client.ask("HEAD", "/shop:live/body/12345", &[]);
    assert_eq!((head.status, head.header("content-length")), (200, Some("12345")));
    assert_eq!(client.get("/shop:live/x").text(), "one", "the connection goes on after a HEAD");
    assert_eq!(one.seen().connections(), 1, "answers without a body leave the connection good");
    let counts = router.settled(10);
    assert_eq!((counts.completed, counts.cancelled, counts.failures.total()), (10, 0, 1));
}

#[test]
fn trailers_pass_both_ways() {
    let one = Version::start("one");
    let router = TestRouter::serving(one.target(), patient());
    let mut client = router.client();
    let answer = client.ask("GET", "/shop:live/chunks/50000", &["TE: trailers", "Connection: TE"]);
    assert!(answer.is_whole && answer.body.len() == 50_000);
    assert_eq!(answer.trailers, [("x-sum".to_owned(), "0".to_owned())]);
    client.send(
        "POST /shop:live/echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTrailer: x-up\r\n\r\n\
         1\r\na\r\n0\r\nX-Up: 7\r\n\r\n",
    );
    assert_eq!(client.answer().json()["trailers"][0][1], "7");
    let counts = router.settled(2);
    assert_eq!((counts.completed, counts.cancelled), (2, 0));
    assert_eq!(one.seen().connections(), 1, "a chunked answer with trailers leaves the connection good");
}

#[test]
fn a_client_that_expects_a_100_gets_it_and_the_version_does_not_hear_of_it() {
    let one = Version::start("one");
    let router = TestRouter::serving(one.target(), patient());
    let mut client = router.client();
    client.send(
        "POST /shop:live/echo HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n",
    );
    assert_eq!(client.head().unwrap().status, 100);
    client.send("ok");
    let answer = client.answer();
    assert_eq!(answer.json()["body"], "ok");
    assert_eq!(echoed(&answer, "expect"), Vec::<String>::new());
}

#[test]
fn old_clients_are_answered_in_their_own_way() {
    let one = Version::start("one");
    let router = TestRouter::serving(one.target(), patient());
    let mut client = router.client();
    client.send("GET /shop:live/chunks/5 HTTP/1.0\r\n\r\n");
    let answer = client.answer();
    assert_eq!((answer.header("transfer-encoding"), answer.body.len()), (None, 5));
    assert!(answer.is_whole);
}

#[test]
fn versions_are_reached_by_number_and_counted_apart() {
    let (one, two) = (Version::start("one"), Version::start("two"));
    let router = TestRouter::splitting(one.target(), two.target(), 0);
    router.table.publish(vec![
        Edit::Function { name: "shop".parse().unwrap(), latest: two.target() },
        Edit::Version { function: "shop".parse().unwrap(), number: VersionNumber(1), target: one.target() },
    ]);
    let mut client = router.client();
    let by_number = client.get("/shop:1/status/500");
    assert_eq!((by_number.text(), by_number.version()), ("one", Some("1")));
    for latest in ["/shop:$LATEST/x", "/shop%3a%24LATEST/x"] {
        let latest = client.get(latest);
        assert_eq!((latest.text(), latest.version()), ("two", Some("$LATEST")));
    }
    assert_eq!(router.counts(), [Counts::default(); 2], "none of them is evidence");
    let mut direct = Vec::new();
    until("the last one ended", || {
        direct.clear();
        router.recorder.direct_totals(|_, version, counts| direct.push((version.to_string(), counts.counts)));
        direct.iter().all(|(_, counts)| counts.in_flight() == 0)
    });
    direct.sort_by_key(|(version, _)| version.clone());
    assert_eq!((direct[0].0.as_str(), direct[0].1.completed), ("$LATEST", 2));
    assert_eq!((direct[1].1.completed, direct[1].1.failures.total()), (1, 1));
}

#[test]
fn who_asks_for_the_wrong_thing_is_told_what_to_do() {
    let one = Version::start("one");
    let router = TestRouter::serving(one.target(), patient());
    let mut client = router.client();
    for (asked, kind, says) in [
        ("/", "not-addressed", "/checkout:live/orders"),
        ("/livez", "not-addressed", "/function:alias/path"),
        ("/shop/x", "not-addressed", "/function:alias/path"),
        ("/shp:live/x", "unknown-function", "serin function list"),
        ("/shop:prod/x", "unknown-alias", "serin alias list shop"),
        ("/shop:12/x", "unknown-version", "serin function versions shop"),
    ] {
        let answer = client.get(asked);
        assert_eq!((answer.status, answer.header("x-serin-error")), (404, Some(kind)), "{asked}");
        let error = &answer.json()["error"];
        assert_eq!(error["kind"], kind);
        assert!(error["hint"].as_str().unwrap().contains(says), "{asked}: {error}");
        assert_eq!(answer.version(), None);
    }
    for (line, status, kind) in [
        ("Upgrade: websocket\r\nConnection: Upgrade\r\nContent-Length: 1", 501, "upgrade"),
        ("Connection: X-Forwarded-For", 400, "connection-header"),
        ("Connection: close, Host", 400, "connection-header"),
    ] {
        let answer = router.client().ask("GET", "/shop:live/x", &[line]);
        assert_eq!((answer.status, answer.header("x-serin-error")), (status, Some(kind)), "{line}");
    }
    let mut tunnel = router.client();
    tunnel.send("CONNECT shop.example:443 HTTP/1.1\r\nHost: shop.example:443\r\n\r\n");
    assert_eq!(tunnel.answer().status, 501);
    assert_eq!(one.seen().requests(), 0);
    assert_eq!(router.counts()[0], Counts::default());
}

#[test]
fn an_offer_of_http_2_is_passed_over() {
    let one = Version::start("one");
    let router = TestRouter::serving(one.target(), patient());
    let mut client = router.client();
    for _ in 0..2 {
        let answer = client.ask(
            "GET",
            "/shop:live/echo",
            &["Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABkAAQAAP__"],
        );
        assert_eq!(answer.status, 200);
        for gone in ["upgrade", "http2-settings", "connection"] {
            assert_eq!(echoed(&answer, gone), Vec::<String>::new(), "{gone}");
        }
    }
}
