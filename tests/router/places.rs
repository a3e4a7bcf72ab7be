//! Versions at several places: who gets what, and what a place that is gone costs.

use std::net::{SocketAddr, TcpListener};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serin::clock;
use serin::metrics::recorder::FailureKind;
use serin::router::settings::{RouterConfig, Timeouts};
use serin_core::lambda::function::Target;

use crate::support::router::{TestRouter, config, patient};
use crate::support::until;
use crate::support::upstream::{Script, Version, answer_at, read_request, reset};

fn at(places: &[SocketAddr]) -> Target {
    over("http", places)
}

fn over(scheme: &str, places: &[SocketAddr]) -> Target {
    let places: Vec<String> = places.iter().map(SocketAddr::to_string).collect();
    Target::Http {
        url: format!("{scheme}://{}", places.join(",")).parse().unwrap(),
        health: None,
        timeouts: Default::default(),
    }
}

fn nowhere() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

/// A place that takes requests and answers none.
fn breaks() -> Script {
    Script::start(|mut stream, _| {
        read_request(&mut stream);
        reset(stream);
    })
}

fn hurried() -> RouterConfig {
    let timeouts = Timeouts { connect: Duration::from_millis(500), ..patient() };
    RouterConfig { workers: Some(1), ..config(timeouts) }
}

#[test]
fn requests_go_round_and_each_place_is_named_as_itself() {
    let all: Vec<Version> = ["one", "two", "three"].map(Version::start).into();
    let addrs: Vec<SocketAddr> = all.iter().map(Version::addr).collect();
    let router = TestRouter::serving(at(&addrs), patient());
    let mut client = router.client();
    for _ in 0..30 {
        let echo = client.get("/shop:live/echo");
        let place = ["one", "two", "three"].iter().position(|name| echo.json()["version"] == *name).unwrap();
        assert!(echo.text().contains(&format!("[\"host\",\"{}\"]", addrs[place])), "{echo:?}");
    }
    assert_eq!(all.iter().map(|version| version.seen().requests()).collect::<Vec<_>>(), [10, 10, 10]);
    assert_eq!(router.settled(30).failures.total(), 0);
}

#[test]
fn the_busy_place_gets_less() {
    let busy = Version::start("busy");
    let free = Version::start("free");
    let router = TestRouter::serving(at(&[busy.addr(), free.addr()]), patient());
    // One of the two that hang is at each place.
    let mut hanging: Vec<_> = (0..2).map(|_| router.client()).collect();
    for client in &mut hanging {
        client.send("GET /shop:live/hang HTTP/1.1\r\nHost: a\r\n\r\n");
    }
    until("each has one", || busy.seen().requests() == 1 && free.seen().requests() == 1);
    let mut more = router.client();
    more.send("GET /shop:live/hang HTTP/1.1\r\nHost: a\r\n\r\n");
    until("one has two", || busy.seen().requests() + free.seen().requests() == 3);
    let (fewer, before) = if busy.seen().requests() == 1 { (&busy, "busy") } else { (&free, "free") };
    let mut client = router.client();
    for _ in 0..10 {
        assert_eq!(client.get("/shop:live/x").text(), before);
    }
    assert_eq!(fewer.seen().requests(), 11);
}

#[test]
fn a_place_that_is_gone_costs_no_request_and_gets_more_when_it_is_back() {
    let here = Version::start("here");
    let gone = TcpListener::bind("127.0.0.1:0").unwrap();
    let there = gone.local_addr().unwrap();
    drop(gone);
    let router = TestRouter::listening(at(&[here.addr(), there]), hurried());
    let mut client = router.client();
    for _ in 0..1000 {
        assert_eq!(client.get("/shop:live/x").text(), "here");
    }
    assert_eq!(router.settled(1000).failures.total(), 0);
    // As a service does that comes back where it was.
    answer_at(there, "back");
    until("it gets requests again", || client.get("/shop:live/x").text() == "back");
}

/// Asks forty times where one of two places is bad: three fail, and one whenever it is tried again.
#[track_caller]
fn assert_left_out_after_three(bad: &Script, timeouts: Timeouts, status: u16, kind: FailureKind) {
    let good = Version::start("good");
    let router =
        TestRouter::listening(at(&[good.addr(), bad.addr()]), RouterConfig { timeouts, ..hurried() });
    let begun = clock::instant_now();
    let statuses: Vec<u16> = (0..40).map(|_| router.client().get("/shop:live/x").status).collect();
    let failed = statuses.iter().filter(|each| **each == status).count() as u64;
    // What was sent may have been acted upon, so it is sent to nobody else. The place gives connections, so after one
    // second, two more, four more and so on it gets a request, and is out again.
    let tries_max = u64::from((begun.elapsed().as_secs() + 1).ilog2()) + 1;
    assert!((3..=3 + tries_max).contains(&failed), "{statuses:?}");
    assert_eq!(router.settled(40).failures.of(kind), failed);
}

#[test]
fn a_place_that_breaks_is_left_out_after_three() {
    assert_left_out_after_three(&breaks(), hurried().timeouts, 502, FailureKind::Transport);
}

#[test]
fn a_place_that_hangs_is_left_out_after_three() {
    let hangs = Script::start(|mut stream, _| while read_request(&mut stream).is_some() {});
    let timeouts = Timeouts { response_head: Duration::from_millis(50), ..hurried().timeouts };
    assert_left_out_after_three(&hangs, timeouts, 504, FailureKind::Timeout);
}

#[test]
fn the_end_of_a_place_costs_what_was_under_way_there() {
    let (stays, goes) = (Version::start("stays"), Version::start("goes"));
    let target = at(&[stays.addr(), goes.addr()]);
    let router = TestRouter::listening(target, RouterConfig { workers: Some(2), ..hurried() });
    let is_over = AtomicBool::new(false);
    let failed: usize = std::thread::scope(|scope| {
        let user = || {
            let mut failed = 0;
            while !is_over.load(Ordering::Relaxed) {
                failed += usize::from(router.client().get("/shop:live/x").status != 200);
            }
            failed
        };
        let users: Vec<_> = (0..8).map(|_| scope.spawn(user)).collect();
        until("both are used", || goes.seen().requests() > 200 && stays.seen().requests() > 200);
        drop(goes);
        let before = stays.seen().requests();
        until("the other one has all", || stays.seen().requests() > before + 500);
        is_over.store(true, Ordering::Relaxed);
        users.into_iter().map(|user| user.join().unwrap()).sum()
    });
    assert!(failed <= 8, "{failed} requests failed, and no more than eight were under way");
}

#[test]
fn places_over_http2_go_round_and_one_that_is_gone_costs_at_most_what_was_under_way() {
    let [stays, goes] = ["stays", "goes"].map(|name| Version::start_http2(name, 100));
    let target = over("h2c", &[stays.addr(), nowhere(), goes.addr()]);
    let router = TestRouter::listening(target, hurried());
    let mut client = router.client();
    for _ in 0..30 {
        assert_eq!(client.get("/shop:live/x").status, 200);
    }
    let seen = [&stays, &goes].map(|version| version.seen().requests());
    assert!(seen.iter().sum::<usize>() == 30 && seen.iter().all(|requests| *requests >= 10), "{seen:?}");
    assert_eq!([&stays, &goes].map(|version| version.seen().connections()), [1, 1]);

    drop(goes);
    let failed = (0..200).filter(|_| client.get("/shop:live/x").status != 200).count();
    assert!(failed <= 1, "{failed} failed, and nothing but the first was sent before its connection ended");
    assert_eq!(router.settled(230).failures.total(), failed as u64);
    assert!(stays.seen().requests() >= seen[0] + 199);
}

#[test]
fn where_all_are_gone_the_version_cannot_be_reached() {
    let router = TestRouter::listening(at(&[nowhere(), nowhere()]), hurried());
    for _ in 0..10 {
        let answer = router.client().get("/shop:live/x");
        assert_eq!((answer.status, answer.header("x-serin-error")), (502, Some("unreachable")));
    }
    assert_eq!(router.settled(10).failures.of(FailureKind::Transport), 10);
}

#[test]
fn who_is_out_is_remembered_beyond_a_new_weight() {
    let good = Version::start("good");
    let bad = breaks();
    let target = at(&[good.addr(), bad.addr()]);
    let router = TestRouter::listening(target.clone(), hurried());
    until("it is out", || {
        router.client().get("/shop:live/x");
        bad.connections() >= 3
    });
    let before = bad.connections();
    for epoch in 100..120 {
        router.split(epoch, 0, &target, &target);
        assert_eq!(router.client().get("/shop:live/x").text(), "good");
    }
    assert!(bad.connections() <= before + 1, "at most one try for a connection");
}
