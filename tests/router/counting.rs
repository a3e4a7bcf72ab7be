//! Weights and labels under load, and which epoch a request counts in.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use serin::metrics::recorder::{EpochCounts, FailureKind};

use crate::support::router::{TestRouter, patient};
use crate::support::until;
use crate::support::upstream::{Script, Version};

/// Sends requests from several connections until `enough` were answered; every label must name the version whose
/// name is in the body. Tells how many version 2 answered.
fn load(router: &TestRouter, connections: u64, enough: u64) -> u64 {
    let (answered, by_two) = (AtomicU64::new(0), AtomicU64::new(0));
    std::thread::scope(|scope| {
        for _ in 0..connections {
            scope.spawn(|| {
                let mut client = router.client();
                while answered.fetch_add(1, Ordering::Relaxed) < enough {
                    let answer = client.get("/shop:live/x");
                    let label = answer.version();
                    match answer.text() {
                        "one" => assert_eq!(label, Some("1")),
                        "two" => {
                            assert_eq!(label, Some("2"));
                            by_two.fetch_add(1, Ordering::Relaxed);
                        }
                        other => panic!("{other}"),
                    }
                }
            });
        }
    });
    by_two.into_inner()
}

/// How many standard deviations the canary's share lies off, over epochs with weights of their own.
fn deviation(epochs: &[EpochCounts]) -> f64 {
    let (mut off, mut variance) = (0.0, 0.0);
    for epoch in epochs {
        let weight = epoch.routing.additional.unwrap().weight.fraction();
        let requests = (epoch.primary.dispatched + epoch.additional.dispatched) as f64;
        off += epoch.additional.dispatched as f64 - weight * requests;
        variance += weight * (1.0 - weight) * requests;
    }
    off.abs() / variance.sqrt()
}

/// An answer that reaches its client is its version's doing: nobody's are only those that nobody waited for.
#[test]
fn every_status_is_good_or_refused_or_a_failure() {
    let version = Version::start("one");
    let router = TestRouter::serving(version.target(), patient());
    let mut client = router.client();
    let (mut refused, mut failed) = (0, 0);
    for (sent, (status, what)) in
        [(200, 0), (302, 0), (404, 1), (499, 1), (500, 2), (599, 2), (600, 2), (999, 2)]
            .into_iter()
            .enumerate()
    {
        assert_eq!(client.get(&format!("/shop:live/status/{status}")).status, status);
        refused += u64::from(what == 1);
        failed += u64::from(what == 2);
        let counts = router.settled(sent as u64 + 1);
        let found = (counts.refused, counts.failures.of(FailureKind::Status), counts.cancelled);
        assert_eq!(found, (refused, failed, 0), "{status}");
    }
}

#[test]
fn three_percent_are_three_percent() {
    const REQUESTS: u64 = 20_000;
    let (one, two) = (Version::start("one"), Version::start("two"));
    let router = TestRouter::splitting(one.target(), two.target(), 30_000);
    let by_two = load(&router, 4, REQUESTS);
    until("every request ended", || router.counts().iter().all(|counts| counts.in_flight() == 0));
    let [first, second] = router.counts();
    assert_eq!(first.dispatched + second.dispatched, REQUESTS);
    assert_eq!(first.completed + second.completed, REQUESTS);
    assert_eq!(second.dispatched, by_two, "what was counted is what was answered");
    assert_eq!((one.seen().requests() as u64, two.seen().requests() as u64), (first.completed, by_two));
    let deviation = deviation(&router.epochs());
    assert!(deviation <= 4.0, "{by_two} of {REQUESTS}, {deviation} standard deviations off");
    let sample = router.recorder.sample(&"shop:live".parse().unwrap());
    assert_eq!(sample[0].versions[0].1.latency.count(), first.completed, "each head has a latency");
}

#[test]
#[ignore = "minutes: as many requests as the specification asks for; scripts/test-long runs this"]
fn shares_hold_over_200_000_requests_down_to_a_ten_thousandth() {
    const REQUESTS: u64 = 200_000;
    let (one, two) = (Version::start("one"), Version::start("two"));
    for (ppm, share) in [(30_000, "3%"), (1_000, "0.1%"), (100, "0.01%")] {
        let router = TestRouter::splitting(one.target(), two.target(), ppm);
        let by_two = load(&router, 4, REQUESTS);
        until("every request ended", || router.counts().iter().all(|counts| counts.in_flight() == 0));
        let deviation = deviation(&router.epochs());
        println!("{share}: {by_two} of {REQUESTS} requests, {deviation:.2} sigma off");
        assert!(deviation <= 4.0);
    }
}

#[test]
fn labels_and_epochs_hold_while_weights_change_all_the_time() {
    labels_and_epochs_hold(20_000, Duration::ZERO);
}

#[test]
#[ignore = "minutes: a million requests, and a hundred weights a second; scripts/test-long runs this"]
fn no_answer_of_a_million_is_mislabelled() {
    labels_and_epochs_hold(1_000_000, Duration::from_millis(10));
}

/// Sends so many requests while weights change, one each `pace` or as fast as it goes.
fn labels_and_epochs_hold(enough: u64, pace: Duration) {
    const BATCH: u64 = 5_000;
    const EPOCHS_MIN: u64 = 20;
    let (one, two) = (Version::start("one"), Version::start("two"));
    let router = TestRouter::splitting(one.target(), two.target(), 30_000);
    let is_over = AtomicBool::new(false);
    let epochs_begun = AtomicU64::new(1);
    let seen = Mutex::new(Vec::<EpochCounts>::new());
    let (requests, by_two) = std::thread::scope(|scope| {
        scope.spawn(|| {
            let (one, two) = (one.target(), two.target());
            while !is_over.load(Ordering::Relaxed) {
                // As the control plane does: take what is final, retire it, change the weight.
                let counts = router.epochs();
                let mut seen = seen.lock().unwrap();
                for last in counts.iter().filter(|counts| counts.is_final) {
                    match seen.iter_mut().find(|known| known.epoch == last.epoch) {
                        Some(known) => *known = last.clone(),
                        None => seen.push(last.clone()),
                    }
                }
                if let Some(oldest) = counts.iter().find(|counts| !counts.is_final) {
                    router.recorder.retire(
                        &"shop:live".parse().unwrap(),
                        serin_core::lambda::function::Revision(oldest.epoch.0 - 1),
                    );
                }
                // Fewer than the recorder keeps by itself, so that none is retired unread.
                if counts.len() < 4 {
                    let epoch = epochs_begun.fetch_add(1, Ordering::Relaxed) + 1;
                    let ppm = [30_000, 0, 500_000, 1_000_000, 970_000, 1][epoch as usize % 6];
                    router.split(epoch, ppm, &one, &two);
                }
                std::thread::sleep(pace);
            }
        });
        // On a busy machine weights change slowly: the load goes on until they have changed often enough.
        let (mut requests, mut by_two) = (0, 0);
        while requests < enough || epochs_begun.load(Ordering::Relaxed) < EPOCHS_MIN {
            by_two += load(&router, 4, BATCH);
            requests += BATCH;
        }
        is_over.store(true, Ordering::Relaxed);
        (requests, by_two)
    });
    until("every request ended", || router.counts().iter().all(|counts| counts.in_flight() == 0));
    let mut epochs = seen.into_inner().unwrap();
    for counts in router.epochs() {
        match epochs.iter_mut().find(|known| known.epoch == counts.epoch) {
            Some(known) => *known = counts,
            None => epochs.push(counts),
        }
    }
    let counted_two: u64 = epochs.iter().map(|epoch| epoch.additional.dispatched).sum();
    let counted_one: u64 = epochs.iter().map(|epoch| epoch.primary.dispatched).sum();
    assert_eq!((counted_one, counted_two), (requests - by_two, by_two));
    for epoch in &epochs {
        match epoch.routing.additional.unwrap().weight.ppm() {
            0 => assert_eq!(epoch.additional.dispatched, 0, "{epoch:?}"),
            1_000_000 => assert_eq!(epoch.primary.dispatched, 0, "{epoch:?}"),
            _ => {}
        }
    }
    let deviation = deviation(&epochs);
    println!("{requests} requests over {} weights: 0 mislabelled, {deviation:.2} sigma off", epochs.len());
    assert!(deviation <= 4.0, "{deviation} standard deviations off over {} epochs", epochs.len());
}

#[test]
fn after_a_rollback_no_new_request_reaches_the_canary() {
    let (one, two) = (Version::start("one"), Version::start("two"));
    let router = TestRouter::splitting(one.target(), two.target(), 1_000_000);
    let mut clients: Vec<_> = (0..8).map(|_| router.client()).collect();
    for epoch in 1..200 {
        let (ppm, name) = if epoch % 2 == 0 { (1_000_000, "two") } else { (0, "one") };
        router.split(epoch + 1, ppm, &one.target(), &two.target());
        for client in &mut clients {
            let answer = client.get("/shop:live/x");
            assert_eq!(answer.text(), name, "a request that began after the publish, at epoch {}", epoch + 1);
        }
    }
}

#[test]
fn an_answer_that_comes_late_counts_where_it_was_dispatched() {
    let (slow, answer_now) = Script::late("500 Late");
    let one = Version::start("one");
    let router = TestRouter::splitting(one.target(), slow.target(), 1_000_000);
    let mut client = router.client();
    client.send("GET /shop:live/x HTTP/1.1\r\nHost: a\r\n\r\n");
    until("it is dispatched", || router.counts()[1].dispatched == 1);
    router.split(2, 0, &one.target(), &slow.target());
    assert_eq!(router.client().get("/shop:live/x").text(), "one");
    let alias = "shop:live".parse().unwrap();
    router.recorder.retire(&alias, serin_core::lambda::function::Revision(1));
    assert_eq!(router.epochs().len(), 2, "an epoch with a request under way is not retired");

    answer_now.send(()).unwrap();
    let late = client.answer();
    assert_eq!((late.status, late.version()), (500, Some("2")));
    until("it ended", || router.epochs()[0].is_final);
    let epochs = router.epochs();
    assert_eq!(epochs[0].additional.failures.total(), 1);
    assert_eq!((epochs[1].primary.dispatched, epochs[1].additional.dispatched), (1, 0));
    assert_eq!(epochs[1].additional.failures.total(), 0);
}

#[test]
fn a_superseded_epoch_becomes_final_without_traffic() {
    let one = Version::start("one");
    let router = TestRouter::splitting(one.target(), one.target(), 0);
    until("both workers have routed by the first epoch", || {
        assert_eq!(router.client().get("/shop:live/x").text(), "one");
        one.seen().connections() >= 2
    });
    router.split(2, 30_000, &one.target(), &one.target());
    until("both have let go of it", || router.epochs()[0].is_final);
    assert!(!router.epochs()[1].is_final);
}
