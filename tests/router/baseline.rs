//! Baselines: a part of stable as large as the canary, split off its requests or made of copies, and counted by itself.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use serin::metrics::recorder::{Counts, EpochCounts};
use serin::router::settings::RouterConfig;
use serin::router::table::{RouteSpec, SteeringSpec};
use serin_core::analysis::mirror::SampleKind;
use serin_core::model::weight::Weight;
use serin_core::plan::{Affinity, Baseline, Mirror, MirrorMethods};

use crate::support::router::{TestRouter, config, patient, spec};
use crate::support::until;
use crate::support::upstream::{Script, read_request, write};

/// A version that keeps what it was asked.
fn version(status: &'static str) -> (Script, Arc<Mutex<Vec<String>>>) {
    let asked = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&asked);
    let script = Script::start(move |mut stream, _| {
        while let Some(request) = read_request(&mut stream) {
            seen.lock().unwrap().push(request);
            write(&mut stream, format!("HTTP/1.1 {status}\r\ncontent-length: 2\r\n\r\nok"));
        }
    });
    (script, asked)
}

fn beside(ppm: u32, baseline: Baseline, one: &Script, two: &Script) -> RouteSpec {
    let steering = SteeringSpec {
        key: [1; 16],
        affinity: None,
        override_header: Some("x-serin-version".to_owned()),
        ahead: None,
        mirror: None,
        counts_users: false,
        baseline: Some(baseline),
    };
    RouteSpec { steering: Some(Box::new(steering)), ..spec(1, ppm, &one.target(), &two.target()) }
}

fn routed(spec: RouteSpec, one: &Script) -> TestRouter {
    let router = TestRouter::listening(one.target(), RouterConfig { workers: Some(1), ..config(patient()) });
    router.publish(spec);
    router
}

fn drawn(router: &TestRouter) -> EpochCounts {
    let is_it =
        |epoch: &EpochCounts| epoch.stratum == SampleKind::Weighted && epoch.routing.additional.is_some();
    router.epochs().into_iter().find(is_it).unwrap()
}

fn baseline(router: &TestRouter) -> Counts {
    drawn(router).baseline.unwrap()
}

/// How often a version was told what it answers for.
fn told(asked: &Mutex<Vec<String>>) -> BTreeMap<String, u64> {
    let mut told = BTreeMap::new();
    for request in asked.lock().unwrap().iter() {
        let arm = request.lines().find_map(|line| line.strip_prefix("x-serin-arm: ")).unwrap_or("nothing");
        *told.entry(arm.to_owned()).or_insert(0) += 1;
    }
    told
}

#[test]
fn as_many_of_stables_requests_as_the_canary_gets_are_its_baseline() {
    const REQUESTS: u64 = 2000;
    let ((one, of_one), (two, of_two)) = (version("500 Broken"), version("200 OK"));
    let router = routed(beside(100_000, Baseline::Split, &one, &two), &one);
    let mut client = router.client();
    for _ in 0..REQUESTS {
        client.ask("GET", "/shop:live/x", &["x-serin-arm: canary"]);
    }
    until("all have ended", || {
        drawn(&router).primary.completed + drawn(&router).additional.completed == REQUESTS
    });
    let (all, counted) = (drawn(&router), baseline(&router));
    let sigma = (REQUESTS as f64 * 0.1 * 0.9).sqrt();
    for found in [all.additional.dispatched, counted.dispatched] {
        assert!((found as f64 - 200.0).abs() < 4.0 * sigma, "{found}");
    }
    // They are stable's requests all the same, and judged with those.
    assert_eq!(all.primary.dispatched + all.additional.dispatched, REQUESTS);
    assert_eq!((counted.completed, counted.failures.total()), (counted.dispatched, counted.dispatched));
    let (of_one, of_two) = (told(&of_one), told(&of_two));
    assert_eq!(of_two, BTreeMap::from([("canary".to_owned(), all.additional.dispatched)]));
    let rest = all.primary.dispatched - counted.dispatched;
    assert_eq!(
        of_one,
        BTreeMap::from([("baseline".to_owned(), counted.dispatched), ("stable".to_owned(), rest)]),
        "what a client says is not passed on"
    );
    // A tester's request is of no arm.
    client.ask("GET", "/shop:live/x", &["x-serin-version: 1"]);
    assert_eq!(baseline(&router).dispatched, counted.dispatched);
}

#[test]
fn copies_of_the_canarys_requests_are_its_baseline_and_nobody_gets_their_answers() {
    const REQUESTS: u64 = 300;
    let ((one, of_one), (two, of_two)) = (version("500 Broken"), version("200 OK"));
    let router = routed(beside(500_000, Baseline::Mirror, &one, &two), &one);
    let mut client = router.client();
    for index in 0..REQUESTS {
        let answer = client.get(&format!("/shop:live/x?{index}"));
        assert_eq!(answer.status == 500, answer.version() == Some("1"), "nobody gets the answer to a copy");
    }
    for _ in 0..20 {
        client.post("/shop:live/x", &[], "body");
    }
    let safe = |asked: &Mutex<Vec<String>>| {
        asked.lock().unwrap().iter().filter(|request| request.starts_with("GET")).count() as u64
    };
    let of_canary = safe(&of_two);
    until("every copy has ended", || baseline(&router).completed == of_canary);
    let (all, counted) = (drawn(&router), baseline(&router));
    assert_eq!((counted.dispatched, counted.failures.total()), (of_canary, of_canary));
    assert_eq!(all.primary.dispatched + all.additional.dispatched, REQUESTS + 20, "a copy is no request");
    assert_eq!(told(&of_one).get("baseline"), Some(&of_canary));
    let copies: Vec<String> = of_one
        .lock()
        .unwrap()
        .iter()
        .filter(|request| request.contains("x-serin-mirrored: true\r\n"))
        .map(|request| request.lines().next().unwrap().to_owned())
        .collect();
    assert_eq!(copies.len() as u64, of_canary);
    assert!(copies.iter().all(|line| of_two.lock().unwrap().iter().any(|request| request.starts_with(line))));
}

#[test]
fn it_is_beside_a_part_alone_with_users_and_copies_for_the_canary_too() {
    let ((one, _), (two, _)) = (version("200 OK"), version("200 OK"));
    let router = routed(beside(300_000, Baseline::Split, &one, &two), &one);
    // All of the traffic leaves nothing to be held beside it, and without the plan there is nothing.
    for (epoch, ppm) in [(2, 1_000_000), (3, 0)] {
        let all = beside(ppm, Baseline::Split, &one, &two);
        router.publish(RouteSpec { epoch: serin_core::lambda::function::Revision(epoch), ..all });
        router.client().get("/shop:live/x");
        let last = router.epochs().pop().unwrap();
        assert_eq!((last.epoch.0, last.baseline), (epoch, None));
    }
    let RouteSpec { steering, .. } = beside(300_000, Baseline::Split, &one, &two);
    let steering = SteeringSpec {
        affinity: Some(Affinity::Header("x-user".to_owned())),
        mirror: Some(Mirror { share: Weight::FULL, methods: MirrorMethods::Safe }),
        ..*steering.unwrap()
    };
    let sticking = beside(300_000, Baseline::Split, &one, &two);
    router.publish(RouteSpec {
        epoch: serin_core::lambda::function::Revision(4),
        steering: Some(Box::new(steering)),
        ..sticking
    });
    let counted = || {
        let epochs = router.epochs();
        let of =
            epochs.iter().rfind(|epoch| epoch.epoch.0 == 4 && epoch.stratum == SampleKind::Weighted).unwrap();
        (of.baseline.unwrap().dispatched, of.clone())
    };
    let mut client = router.client();
    let visit = |client: &mut crate::support::client::Client| {
        for user in 0..100 {
            client.ask("GET", "/shop:live/x", &[&format!("x-user: {user}")]);
        }
        counted().0
    };
    let first = visit(&mut client);
    assert!((10..60).contains(&first), "{first} of 100 users");
    assert_eq!(visit(&mut client), 2 * first, "the same users again");
}
