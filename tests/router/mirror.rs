//! Copies of requests for the canary: which requests have one, where they are counted, and that nobody waits for them.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serin::metrics::recorder::EpochCounts;
use serin::router::settings::{RouterConfig, Timeouts};
use serin::router::table::{RouteSpec, SteeringSpec};
use serin_core::analysis::mirror::SampleKind;
use serin_core::lambda::function::Revision;
use serin_core::model::weight::Weight;
use serin_core::plan::{Mirror, MirrorMethods};

use crate::support::client::Client;
use crate::support::router::{ALIAS, TestRouter, config, patient, spec};
use crate::support::until;
use crate::support::upstream::{Script, Version, read_request, write};

/// A version that keeps what it was asked, and answers with this status.
fn canary(status: &'static str) -> (Script, Arc<Mutex<Vec<String>>>) {
    let asked = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&asked);
    let script = Script::start(move |mut stream, _| {
        while let Some(request) = read_request(&mut stream) {
            seen.lock().unwrap().push(request);
            write(&mut stream, format!("HTTP/1.1 {status}\r\ncontent-length: 6\r\n\r\ncanary"));
        }
    });
    (script, asked)
}

fn mirrored(ppm: u32, share_ppm: u32, methods: MirrorMethods, one: &Version, two: &Script) -> RouteSpec {
    let mirror = Some(Mirror { share: Weight::from_ppm(share_ppm).unwrap(), methods });
    let override_header = Some("x-serin-version".to_owned());
    let steering = SteeringSpec {
        key: [1; 16],
        affinity: None,
        override_header,
        ahead: None,
        mirror,
        counts_users: false,
        baseline: None,
    };
    RouteSpec { steering: Some(Box::new(steering)), ..spec(1, ppm, &one.target(), &two.target()) }
}

fn routed(spec: RouteSpec, one: &Version) -> TestRouter {
    let router = TestRouter::listening(one.target(), RouterConfig { workers: Some(1), ..config(patient()) });
    router.publish(spec);
    router
}

fn of(router: &TestRouter, stratum: SampleKind) -> EpochCounts {
    let epochs = router.epochs();
    epochs.into_iter().find(|epoch| epoch.stratum == stratum && epoch.routing.additional.is_some()).unwrap()
}

#[test]
fn what_stable_answers_of_it_the_canary_answers_too() {
    const REQUESTS: u64 = 400;
    let one = Version::start("one");
    let (two, asked) = canary("500 Broken");
    let router = routed(mirrored(100_000, 1_000_000, MirrorMethods::Safe, &one, &two), &one);
    let mut client = router.client();
    let mut answers = BTreeMap::new();
    for index in 0..REQUESTS {
        let answer = client.ask("GET", &format!("/shop:live/x?{index}"), &["x-serin-mirrored: forged"]);
        assert_eq!(answer.status == 500, answer.version() == Some("2"), "nobody gets the answer to a copy");
        *answers.entry(answer.version().unwrap().to_owned()).or_insert(0) += 1;
    }
    let (by_one, by_two) = (answers["1"], answers["2"]);
    assert_eq!(by_one + by_two, REQUESTS);
    until("every copy has ended", || of(&router, SampleKind::MirrorCopy).additional.completed == by_one);
    let aside = of(&router, SampleKind::MirrorSource);
    assert_eq!((aside.primary.dispatched, aside.additional.dispatched), (by_one, by_two));
    assert_eq!((aside.primary.failures.total(), aside.additional.failures.total()), (0, by_two));
    let copies = of(&router, SampleKind::MirrorCopy);
    assert_eq!((copies.primary.dispatched, copies.additional.failures.total()), (0, by_one));
    assert_eq!(of(&router, SampleKind::Weighted).primary.dispatched, 0);

    let asked = asked.lock().unwrap();
    assert_eq!(asked.len() as u64, REQUESTS);
    for index in 0..REQUESTS {
        let line = format!("GET /x?{index} HTTP/1.1\r\n");
        assert_eq!(asked.iter().filter(|request| request.starts_with(&line)).count(), 1, "{line}");
    }
    let marked = |request: &&String| request.contains("x-serin-mirrored: true\r\n");
    assert_eq!(asked.iter().filter(marked).count() as u64, by_one);
    assert!(!asked.iter().any(|request| request.contains("forged")));
    let note = &router.recorder.recent_failures(&ALIAS.parse().unwrap())[0].note;
    assert!(format!("{note:?}").contains("500"), "{note:?}");
}

#[test]
fn a_share_is_set_aside_and_the_rest_is_drawn_as_ever() {
    let one = Version::start("one");
    let (two, _) = canary("200 OK");
    let router = routed(mirrored(500_000, 250_000, MirrorMethods::Safe, &one, &two), &one);
    let mut client = router.client();
    for _ in 0..2000 {
        client.get("/shop:live/x");
    }
    let sum = |stratum| {
        let counts = of(&router, stratum);
        (counts.primary.dispatched, counts.additional.dispatched)
    };
    let (aside, drawn) = (sum(SampleKind::MirrorSource), sum(SampleKind::Weighted));
    assert_eq!(aside.0 + aside.1 + drawn.0 + drawn.1, 2000);
    assert_eq!(sum(SampleKind::MirrorCopy), (0, aside.0));
    for (found, of, share) in [
        (aside.0 + aside.1, 2000, 0.25),
        (aside.1, aside.0 + aside.1, 0.5),
        (drawn.1, drawn.0 + drawn.1, 0.5),
    ] {
        let (expected, sigma) = (of as f64 * share, (of as f64 * share * (1.0 - share)).sqrt());
        assert!((found as f64 - expected).abs() <= 4.0 * sigma, "{found} of {of}, expected {expected}");
    }
}

#[test]
fn a_canary_without_a_weight_gets_copies_and_nobody_else() {
    let one = Version::start("one");
    let (two, asked) = canary("500 Broken");
    let router = routed(mirrored(0, 1_000_000, MirrorMethods::Safe, &one, &two), &one);
    let mut client = router.client();
    for _ in 0..50 {
        let answer = client.get("/shop:live/x");
        assert_eq!((answer.status, answer.version()), (200, Some("1")));
    }
    client.post("/shop:live/x", &[], "body");
    until("every copy has ended", || of(&router, SampleKind::MirrorCopy).additional.completed == 50);
    let (aside, drawn) = (of(&router, SampleKind::MirrorSource), of(&router, SampleKind::Weighted));
    assert_eq!((aside.primary.dispatched, aside.additional.dispatched), (50, 0));
    assert_eq!((drawn.primary.dispatched, drawn.additional.dispatched), (1, 0));
    assert_eq!(asked.lock().unwrap().len(), 50);
    // A tester gets it, and is no copy.
    assert_eq!(client.ask("GET", "/shop:live/x", &["x-serin-version: 2"]).status, 500);
    assert_eq!(of(&router, SampleKind::MirrorCopy).additional.dispatched, 50);
}

#[test]
fn what_may_change_something_is_not_copied_unless_allowed() {
    let one = Version::start("one");
    let (two, asked) = canary("200 OK");
    let router = routed(mirrored(1, 1_000_000, MirrorMethods::Safe, &one, &two), &one);
    let mut client = router.client();
    client.post("/shop:live/x", &[], "body");
    client.ask("DELETE", "/shop:live/x", &[]);
    client.send("GET /shop:live/x HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nbody");
    client.answer();
    client.ask("GET", "/shop:live/x", &["x-serin-version: 1"]);
    assert_eq!(of(&router, SampleKind::MirrorSource).primary.dispatched, 0);
    assert_eq!(of(&router, SampleKind::Weighted).primary.dispatched, 3, "and the one that named its version");

    router
        .publish(RouteSpec { epoch: Revision(2), ..mirrored(1, 1_000_000, MirrorMethods::Any, &one, &two) });
    let post = |client: &mut Client, bytes: usize| {
        client.post("/shop:live/x", &[], "b".repeat(bytes));
    };
    for bytes in [4, 64 * 1024, 64 * 1024 + 1] {
        post(&mut client, bytes);
    }
    client.send(
        "POST /shop:live/x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nb\r\n0\r\n\r\n",
    );
    client.answer();
    until("both copies came", || asked.lock().unwrap().len() == 2);
    let asked = asked.lock().unwrap();
    assert!(asked[0].contains("content-length: 4\r\n"), "{}", asked[0]);
    assert!(asked[1].contains("content-length: 65536\r\n"), "{}", asked[1]);
}

#[test]
fn nobody_waits_for_a_copy_and_copies_are_no_flood() {
    let one = Version::start("one");
    let two = Script::start(|mut stream, _| {
        read_request(&mut stream);
        // Hangs until the router goes away.
        let _ = read_request(&mut stream);
    });
    let router = routed(mirrored(1, 1_000_000, MirrorMethods::Safe, &one, &two), &one);
    let mut client = router.client();
    for _ in 0..600 {
        assert_eq!(client.get("/shop:live/x").text(), "one");
    }
    assert_eq!(of(&router, SampleKind::MirrorCopy).additional.dispatched, 256);
    assert_eq!(of(&router, SampleKind::MirrorSource).primary.dispatched, 256);
    assert_eq!(of(&router, SampleKind::Weighted).primary.dispatched, 344, "set aside is only what is copied");
}

#[test]
fn a_body_that_does_not_come_reaches_no_version_and_is_the_clients_fault() {
    let one = Version::start("one");
    let (two, asked) = canary("200 OK");
    let timeouts = Timeouts { body_idle: Duration::from_millis(200), ..patient() };
    let router = TestRouter::listening(one.target(), RouterConfig { workers: Some(1), ..config(timeouts) });
    router.publish(mirrored(1, 1_000_000, MirrorMethods::Any, &one, &two));
    let mut client = router.client();
    client.send("POST /shop:live/x HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nbo");
    let answer = client.answer();
    assert_eq!((answer.status, answer.header("x-serin-error")), (408, Some("request-body")), "{answer:?}");
    for stratum in [SampleKind::MirrorSource, SampleKind::MirrorCopy, SampleKind::Weighted] {
        let counts = of(&router, stratum);
        assert_eq!(counts.primary.dispatched + counts.additional.dispatched, 0, "{stratum:?}");
    }
    assert!(asked.lock().unwrap().is_empty());
}
