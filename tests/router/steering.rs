//! Users who stay on a version, and testers who choose one, through a running router.

use std::collections::BTreeSet;

use serin::router::table::{RouteSpec, SteeringSpec};
use serin_core::plan::Affinity;

use crate::support::router::{TestRouter, spec};
use crate::support::until;
use crate::support::upstream::Version;

fn steered(epoch: u64, ppm: u32, one: &Version, two: &Version) -> RouteSpec {
    let steering = SteeringSpec {
        key: [42; 16],
        affinity: Some(Affinity::Cookie("session".to_owned())),
        override_header: Some("x-serin-version".to_owned()),
        ahead: None,
        mirror: None,
        counts_users: true,
        baseline: None,
    };
    RouteSpec { steering: Some(Box::new(steering)), ..spec(epoch, ppm, &one.target(), &two.target()) }
}

/// Which of the users the canary answers now; each asks twice, over any connection.
fn canary_users(router: &TestRouter, users: u32) -> BTreeSet<u32> {
    const CONNECTIONS: u32 = 4;
    let of_connection = |first: u32| {
        let mut client = router.client();
        let mut asked = |user: u32| {
            let cookie = format!("cookie: theme=dark; session=user-{user}");
            client.ask("GET", "/shop:live/", &[&cookie]).version() == Some("2")
        };
        let mut canaries = BTreeSet::new();
        for user in (first..users).step_by(CONNECTIONS as usize) {
            let is_canary = asked(user);
            assert_eq!(asked(user), is_canary, "user {user} stays where they are");
            if is_canary {
                canaries.insert(user);
            }
        }
        canaries
    };
    std::thread::scope(|scope| {
        let threads: Vec<_> =
            (0..CONNECTIONS).map(|first| scope.spawn(move || of_connection(first))).collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    })
}

#[test]
fn users_join_the_canary_as_it_rises_and_all_leave_when_it_falls() {
    const USERS: u32 = 10_000;
    let (one, two) = (Version::start("one"), Version::start("two"));
    let router = TestRouter::start();
    let mut before = BTreeSet::new();
    for (epoch, ppm) in [(1, 30_000), (2, 50_000), (3, 250_000)] {
        router.publish(steered(epoch, ppm, &one, &two));
        let now = canary_users(&router, USERS);
        assert!(before.is_subset(&now), "{:?} left the canary", before.difference(&now));
        let (share, users) = (f64::from(ppm) / 1e6, f64::from(USERS));
        let deviation = (now.len() as f64 - share * users).abs() / (share * (1.0 - share) * users).sqrt();
        assert!(deviation <= 4.0, "{} users at {share}", now.len());
        println!("{share:>5}: {} of {USERS} users on the canary, {deviation:.2} sigma off", now.len());
        before = now;
    }
    router.publish(steered(4, 0, &one, &two));
    let stayed = canary_users(&router, USERS);
    println!("    0: {} of {USERS} users on the canary", stayed.len());
    assert!(stayed.is_empty(), "{stayed:?} stayed on the canary");
}

#[test]
fn testers_choose_and_are_no_evidence() {
    let (one, two) = (Version::start("one"), Version::start("two"));
    let router = TestRouter::start();
    router.publish(steered(1, 30_000, &one, &two));
    let mut client = router.client();
    for version in ["2", "1", "2"] {
        let line = format!("X-Serin-Version: {version}");
        assert_eq!(client.ask("GET", "/shop:live/", &[&line]).version(), Some(version));
    }
    let refused = client.ask("GET", "/shop:live/", &["x-serin-version: 7"]);
    assert_eq!((refused.status, refused.version()), (404, None));
    assert!(refused.text().contains("serves versions 1 and 2"), "{}", refused.text());
    until("every request ended", || one.seen().requests() + two.seen().requests() == 3);
    assert!(router.counts().iter().all(|counts| counts.dispatched == 0), "{:?}", router.counts());
    let mut named = Vec::new();
    router
        .recorder
        .direct_totals(|_, version, counts| named.push((version.to_string(), counts.counts.dispatched)));
    named.sort();
    assert_eq!(named, [("1".to_owned(), 1), ("2".to_owned(), 2)]);
}

#[test]
fn without_leave_the_header_is_one_like_any_other() {
    let (one, two) = (Version::start("one"), Version::start("two"));
    let router = TestRouter::splitting(one.target(), two.target(), 0);
    let answer = router.client().ask("GET", "/shop:live/", &["x-serin-version: 2"]);
    assert_eq!(answer.version(), Some("1"));
}
