//! How many connections there may be, and what becomes of those over a limit.

use serin::metrics::connections::{ConnectionLimits, Refused};
use serin::router::settings::RouterConfig;

use crate::support::client::Client;
use crate::support::http2::{Http2, get};
use crate::support::router::{TestRouter, config, patient};
use crate::support::until;
use crate::support::upstream::Version;

fn limited(limits: ConnectionLimits, wants_proxy_header: bool) -> RouterConfig {
    RouterConfig { limits, wants_proxy_header, ..config(patient()) }
}

#[test]
fn connections_over_a_limit_are_closed_and_the_others_served() {
    for (limits, why) in [
        (ConnectionLimits { in_all: Some(10), of_address: None }, Refused::InAll),
        (ConnectionLimits { in_all: None, of_address: Some(10) }, Refused::OfAddress),
    ] {
        let one = Version::start("one");
        let router = TestRouter::listening(one.target(), limited(limits, false));
        let connections = router.running().connections();
        let mut admitted: Vec<Client> = (0..10).map(|_| router.client()).collect();
        until("all are in", || connections.open() == 10);
        for client in &mut admitted {
            match why {
                // One that is idle would make room.
                Refused::InAll => client.send("GET /shop:live/hang HTTP/1.1\r\nHost: a\r\n\r\n"),
                _ => assert_eq!(client.get("/shop:live/x").text(), "one"),
            }
        }
        until("all are served", || router.counts()[0].dispatched == 10);
        let mut refused: Vec<Client> = (0..5).map(|_| router.client()).collect();
        for client in &mut refused {
            if why == Refused::InAll {
                let answer = client.answer();
                assert_eq!((answer.status, answer.header("x-serin-error")), (503, Some("max-connections")));
            }
            assert!(client.is_closed());
        }
        assert_eq!(connections.refused(why), 5);
        for client in admitted.iter_mut().filter(|_| why == Refused::OfAddress) {
            assert_eq!(client.get("/shop:live/x").text(), "one");
        }
        drop(admitted);
        until("there is room again", || connections.open() == 0);
        assert_eq!(router.client().get("/shop:live/x").text(), "one");
    }
}

#[test]
fn a_newcomer_takes_the_place_of_the_connection_that_has_been_idle_for_longest() {
    let one = Version::start("one");
    let limits = ConnectionLimits { in_all: Some(3), of_address: None };
    let router =
        TestRouter::listening(one.target(), RouterConfig { workers: Some(1), ..limited(limits, false) });
    let connections = router.running().connections();
    let hang = |client: &mut Client, nth: u64| {
        client.send("GET /shop:live/hang HTTP/1.1\r\nHost: a\r\n\r\n");
        until("it is under way", || router.counts()[0].in_flight() == nth);
    };
    let [mut busy, mut often, mut seldom] = [(); 3].map(|()| router.client());
    hang(&mut busy, 1);
    assert_eq!(often.get("/shop:live/x").text(), "one");
    assert_eq!(seldom.get("/shop:live/x").text(), "one");
    assert_eq!(often.get("/shop:live/x").text(), "one");
    let mut third = router.client();
    assert_eq!(third.get("/shop:live/x").text(), "one");
    assert!(seldom.is_closed());
    assert_eq!(often.get("/shop:live/x").text(), "one");
    // The same with HTTP/2, whose connection is busy while any of its streams is.
    let mut http2 = Http2::connect(router.addr());
    assert_eq!(http2.get("/shop:live/x").head.status, 200);
    assert!(third.is_closed());
    let stream = http2.post(get("/shop:live/hang"));
    until("it is under way", || router.counts()[0].in_flight() == 2);
    let mut fourth = router.client();
    assert_eq!(fourth.get("/shop:live/x").text(), "one");
    assert!(often.is_closed());
    hang(&mut fourth, 3);
    assert_eq!(router.client().answer().status, 503, "nobody is idle");
    stream.abort();
    until("the stream is gone", || router.counts()[0].in_flight() == 2);
    assert_eq!(router.client().get("/shop:live/x").text(), "one");
    assert_eq!((connections.refused(Refused::Idle), connections.refused(Refused::InAll)), (4, 1));
}

#[test]
fn an_address_is_the_clients_and_not_the_balancers() {
    let one = Version::start("one");
    let limits = ConnectionLimits { in_all: None, of_address: Some(1) };
    let router = TestRouter::listening(one.target(), limited(limits, true));
    let from = |address: &str| {
        let mut client = router.client();
        client.send(format!("PROXY TCP4 {address} 10.0.0.1 5000 80\r\n"));
        client
    };
    let (mut first, mut other) = (from("192.0.2.1"), from("192.0.2.2"));
    for client in [&mut first, &mut other] {
        assert_eq!(client.get("/shop:live/x").text(), "one");
    }
    assert!(from("192.0.2.1").is_closed());
    assert_eq!(router.running().connections().refused(Refused::OfAddress), 1);
}

#[test]
fn requests_beside_others_are_as_good_as_connections() {
    let one = Version::start("one");
    let limits = ConnectionLimits { in_all: Some(3), of_address: None };
    let router = TestRouter::listening(one.target(), limited(limits, false));
    let mut client = Http2::connect(router.addr());
    let hanging: Vec<_> = (0..3).map(|_| client.post(get("/shop:live/hang"))).collect();
    until("three are under way", || router.counts()[0].dispatched == 3);
    let fourth = client.get("/shop:live/x");
    assert_eq!(
        (fourth.head.status.as_u16(), &fourth.head.headers["x-serin-error"]),
        (503, &"max-connections".parse().unwrap())
    );
    let connections = router.running().connections();
    assert_eq!((connections.open(), connections.refused(Refused::Http2Requests)), (1, 1));
    assert_eq!(router.client().answer().status, 503);
    hanging.into_iter().for_each(|one| one.abort());
    until("there is room again", || client.get("/shop:live/x").head.status == 200);
    assert_eq!(router.client().get("/shop:live/x").text(), "one");
}
