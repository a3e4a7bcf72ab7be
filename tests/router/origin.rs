//! Behind a proxy and behind a path: what versions are told of where requests come from, and where they send clients.

use serin::router::settings::RouterConfig;

use crate::support::client::Answer;
use crate::support::router::{TestRouter, config, patient};
use crate::support::upstream::{Script, Version, read_request, target, write};

fn echoed(answer: &Answer, name: &str) -> Vec<String> {
    let echo = answer.json();
    let headers = echo["headers"].as_array().unwrap();
    let found = headers.iter().filter(|line| line[0] == name);
    found.map(|line| line[1].as_str().unwrap().to_owned()).collect()
}

fn trusting(networks: &[&str]) -> RouterConfig {
    let networks: Vec<_> = networks.iter().map(|network| network.parse().unwrap()).collect();
    RouterConfig { trusted_proxies: networks.into(), ..config(patient()) }
}

const SAID: [&str; 8] = [
    "X-Forwarded-For: 192.0.2.1",
    "X-Forwarded-For: 198.51.100.2",
    "X-Forwarded-Host: shop.example",
    "X-Forwarded-Proto: https",
    "X-Forwarded-Port: 443",
    "X-Forwarded-Prefix: /api/",
    "X_Forwarded_For: 6.6.6.6",
    "Forwarded: for=6.6.6.6",
];

#[test]
fn a_trusted_proxy_is_believed_and_this_router_is_added() {
    let one = Version::start("one");
    let router = TestRouter::listening(one.target(), trusting(&["10.0.0.0/8", "127.0.0.0/8"]));
    let answer = router.client().ask("GET", "/shop:live/echo", &SAID);
    for (name, value) in [
        ("x-forwarded-for", "192.0.2.1, 198.51.100.2, 127.0.0.1"),
        ("x-forwarded-host", "shop.example"),
        ("x-forwarded-proto", "https"),
        ("x-forwarded-port", "443"),
        ("x-forwarded-prefix", "/api/shop:live"),
    ] {
        assert_eq!(echoed(&answer, name), [value], "{name}");
    }
    for gone in ["x_forwarded_for", "forwarded"] {
        assert_eq!(echoed(&answer, gone), [""; 0], "{gone}");
    }
    let nominated = router.client().ask("GET", "/shop:live/echo", &["Connection: close, X-Forwarded-For"]);
    assert_eq!(nominated.status, 400, "a trusted proxy's users may still not take it off");
}

#[test]
fn nobody_else_is_believed() {
    let one = Version::start("one");
    for networks in [&[][..], &["10.0.0.0/8", "fd00::/8"]] {
        let router = TestRouter::listening(one.target(), trusting(networks));
        let answer = router.client().ask("GET", "/shop:live/echo", &SAID);
        for (name, values) in [
            ("x-forwarded-for", &["127.0.0.1"][..]),
            ("x-forwarded-host", &["test.example"]),
            ("x-forwarded-proto", &["http"]),
            ("x-forwarded-prefix", &["/shop:live"]),
            ("x-forwarded-port", &[]),
            ("forwarded", &[]),
        ] {
            assert_eq!(echoed(&answer, name), values, "{name}");
        }
    }
}

#[test]
fn a_version_learns_what_was_taken_off_its_path() {
    let one = Version::start("one");
    let router = TestRouter::serving(one.target(), patient());
    let mut client = router.client();
    for target in ["/shop:live/echo", "/shop%3Alive/echo"] {
        assert_eq!(echoed(&client.get(target), "x-forwarded-prefix"), ["/shop:live"], "{target}");
    }
}

/// Sends whoever asks to where its path says, behind `/to`.
fn sending_on(status: &'static str) -> Script {
    Script::start(move |mut stream, _| {
        while let Some(request) = read_request(&mut stream) {
            let target = request.split(' ').nth(1).unwrap_or_default();
            let to = target
                .split_once("/to=")
                .map_or("", |(_, to)| to)
                .replace("SELF", &stream.local_addr().unwrap().to_string());
            write(&mut stream, format!("HTTP/1.1 {status}\r\nLocation: {to}\r\nContent-Length: 0\r\n\r\n"));
        }
    })
}

#[test]
fn where_a_version_sends_its_client_leads_back_through_the_router() {
    let version = sending_on("302 Found");
    let router = TestRouter::serving(version.target(), patient());
    let mut client = router.client();
    for (to, location) in [
        ("/cart", "/shop:live/cart"),
        ("/cart?a=b", "/shop:live/cart?a=b"),
        ("http://SELF/cart", "/shop:live/cart"),
        ("https://test.example/cart", "https://test.example/shop:live/cart"),
        ("/shop:live/cart", "/shop:live/cart"),
        ("https://pay.example/cart", "https://pay.example/cart"),
        ("cart", "cart"),
        ("//evil.example/cart", "//evil.example/cart"),
    ] {
        let answer = client.get(&format!("/shop:live/to={to}"));
        assert_eq!((answer.status, answer.header("location")), (302, Some(location)), "{to}");
    }
    let based = TestRouter::serving(target(version.addr(), "/v2"), patient());
    let mut client = based.client();
    for (to, location) in [("/v2/cart", "/shop:live/cart"), ("/v1/cart", "/v1/cart")] {
        assert_eq!(client.get(&format!("/shop:live/to={to}")).header("location"), Some(location), "{to}");
    }
    let trusted = TestRouter::listening(version.target(), trusting(&["127.0.0.1/32"]));
    let lines = ["X-Forwarded-Prefix: /api", "X-Forwarded-Host: shop.example"];
    for (to, location) in [
        ("/cart", "/api/shop:live/cart"),
        ("http://shop.example/cart", "http://shop.example/api/shop:live/cart"),
    ] {
        let answer = trusted.client().ask("GET", &format!("/shop:live/to={to}"), &lines);
        assert_eq!(answer.header("location"), Some(location), "{to}");
    }
}

#[test]
fn only_answers_that_lead_somewhere_are_rewritten() {
    for (status, location) in [("201 Created", "/shop:live/x"), ("200 OK", "/x"), ("503 Busy", "/x")] {
        let version = sending_on(status);
        let router = TestRouter::serving(version.target(), patient());
        assert_eq!(router.client().get("/shop:live/to=/x").header("location"), Some(location), "{status}");
    }
}
