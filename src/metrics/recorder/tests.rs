//! The recorder counts each request once, under the epoch it was dispatched in, and never runs backwards.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use super::*;
use crate::clock;
use serin_core::model::weight::Weight;

fn alias() -> AliasId {
    "shop:live".parse().unwrap()
}

fn split(ppm: u32) -> Routing {
    Routing::split(VersionNumber(1), VersionNumber(2), Weight::from_ppm(ppm).unwrap())
}

fn note() -> FailureNote {
    FailureNote::new("GET", "/pay?card=1", "503", None)
}

/// A recorder for two workers, and how often it raised the alarm.
fn recorder() -> (Arc<Recorder>, Arc<AtomicUsize>) {
    let alarms = Arc::new(AtomicUsize::new(0));
    let rung = Arc::clone(&alarms);
    let alarm: Alarm = Arc::new(move |_| {
        rung.fetch_add(1, Ordering::SeqCst);
    });
    (Recorder::new(2, alarm), alarms)
}

fn counts(recorder: &Recorder) -> Vec<EpochCounts> {
    let mut counts = Vec::new();
    recorder.counts(&alias(), &mut counts, |_| None, &mut Vec::new());
    counts
}

fn total_of(recorder: &Recorder, version: u64) -> VersionCounts {
    let mut found = VersionCounts::default();
    recorder.totals(|_, seen, counts| {
        if seen == VersionNumber(version).into() {
            found.merge(counts);
        }
    });
    found
}

#[test]
fn a_request_ends_once_and_fails_at_most_once() {
    let (recorder, _) = recorder();
    let writer = recorder.writer(0).unwrap();
    let epoch = recorder.open_epoch(&alias(), Revision(7), &split(30_000), None);
    let now = clock::instant_now();

    epoch.dispatch(&writer, Arm::Primary, now).complete();
    let mut broken = epoch.dispatch(&writer, Arm::Additional, now);
    broken.head(now + Duration::from_millis(3));
    broken.fail(FailureKind::Status, note);
    broken.fail(FailureKind::Transport, note);
    broken.complete();
    drop(epoch.dispatch(&writer, Arm::Additional, now));
    let under_way = epoch.dispatch(&writer, Arm::Primary, now);

    let seen = &counts(&recorder)[0];
    assert_eq!((seen.primary.dispatched, seen.primary.completed, seen.primary.in_flight()), (2, 1, 1));
    assert_eq!((seen.additional.dispatched, seen.additional.completed), (2, 1));
    assert_eq!(seen.additional.cancelled, 1, "a dropped credit is a client that went away");
    assert_eq!(seen.additional.failures.total(), 1);
    assert_eq!(seen.additional.failures.of(FailureKind::Status), 1);
    let sample = recorder.sample(&alias());
    assert_eq!(sample[0].versions[1].1.latency.count(), 1);
    assert_eq!(sample[0].versions[1].1.latency.sum_us(), 3_000);
    drop(under_way);
}

#[test]
fn a_late_request_counts_in_the_epoch_it_was_dispatched_in() {
    let (recorder, _) = recorder();
    let writer = recorder.writer(1).unwrap();
    let old = recorder.open_epoch(&alias(), Revision(1), &split(30_000), None);
    let mut late = old.dispatch(&writer, Arm::Additional, clock::instant_now());
    drop(old);
    let new = recorder.open_epoch(&alias(), Revision(2), &split(50_000), None);
    late.fail(FailureKind::Timeout, note);
    late.complete();
    let seen = counts(&recorder);
    assert_eq!(seen.iter().map(|epoch| epoch.epoch).collect::<Vec<_>>(), [Revision(1), Revision(2)]);
    assert_eq!(seen[0].additional.failures.of(FailureKind::Timeout), 1);
    assert_eq!(seen[1].additional, Counts::default());
    assert!(seen[0].is_final && !seen[1].is_final);
    drop(new);
    assert!(!counts(&recorder)[1].is_final, "the serving epoch is never final");
}

#[test]
fn opening_an_epoch_again_loses_nothing() {
    let (recorder, _) = recorder();
    let writer = recorder.writer(0).unwrap();
    let first = recorder.open_epoch(&alias(), Revision(1), &split(30_000), None);
    first.dispatch(&writer, Arm::Primary, clock::instant_now()).complete();
    let again = recorder.open_epoch(&alias(), Revision(1), &split(30_000), Some(VersionNumber(2)));
    assert!(Arc::ptr_eq(&first, &again));
    let overlaid = recorder.open_epoch(&alias(), Revision(1), &split(0), None);
    assert!(!Arc::ptr_eq(&first, &overlaid), "other weights are another epoch");
    assert_eq!(counts(&recorder).len(), 2);
}

#[test]
fn retiring_waits_for_the_last_request_and_keeps_the_totals() {
    let (recorder, _) = recorder();
    let writer = recorder.writer(0).unwrap();
    let now = clock::instant_now();
    let old = recorder.open_epoch(&alias(), Revision(1), &split(30_000), None);
    old.dispatch(&writer, Arm::Primary, now).complete();
    let mut late = old.dispatch(&writer, Arm::Primary, now);
    drop(old);
    let serving = recorder.open_epoch(&alias(), Revision(2), &split(0), None);

    recorder.retire(&alias(), Revision(2));
    assert_eq!(counts(&recorder).len(), 2, "a request is under way");
    late.fail(FailureKind::Transport, note);
    late.complete();
    let before = total_of(&recorder, 1);
    recorder.retire(&alias(), Revision(0));
    assert_eq!(counts(&recorder).len(), 2, "nobody has judged it yet");
    recorder.retire(&alias(), Revision(1));
    assert_eq!(counts(&recorder).len(), 1);
    assert_eq!(total_of(&recorder, 1), before);
    assert_eq!((before.counts.dispatched, before.counts.failures.total()), (2, 1));

    drop(serving);
    for revision in 3..40 {
        recorder.open_epoch(&alias(), Revision(revision), &split(revision as u32), None);
    }
    assert_eq!(counts(&recorder).len(), 1 + SUPERSEDED_MAX, "nobody retires, so they make room");
    assert_eq!(total_of(&recorder, 1), before);
}

#[test]
fn only_the_canary_raises_the_alarm_and_once_until_cleared() {
    let (recorder, alarms) = recorder();
    let writer = recorder.writer(0).unwrap();
    let now = clock::instant_now();
    let epoch = recorder.open_epoch(&alias(), Revision(1), &split(30_000), None);
    let fail = |arm| {
        let mut credit = epoch.dispatch(&writer, arm, now);
        credit.fail(FailureKind::Status, note);
        credit.complete();
    };
    fail(Arm::Additional);
    assert_eq!(alarms.load(Ordering::SeqCst), 0, "no rollout watches yet");
    recorder.open_epoch(&alias(), Revision(1), &split(30_000), Some(VersionNumber(2)));
    fail(Arm::Primary);
    assert_eq!(alarms.load(Ordering::SeqCst), 0);
    fail(Arm::Additional);
    fail(Arm::Additional);
    assert_eq!(alarms.load(Ordering::SeqCst), 1);
    recorder.clear_alarm(&alias());
    fail(Arm::Additional);
    assert_eq!(alarms.load(Ordering::SeqCst), 2);
}

#[test]
fn failures_are_shown_to_people() {
    let (recorder, _) = recorder();
    let writer = recorder.writer(0).unwrap();
    let epoch = recorder.open_epoch(&alias(), Revision(1), &split(30_000), None);
    let mut credit = epoch.dispatch(&writer, Arm::Additional, clock::instant_now());
    credit.fail(FailureKind::Status, note);
    let seen = recorder.recent_failures(&alias());
    assert_eq!(seen.len(), 1);
    assert_eq!((seen[0].version, seen[0].note.path.as_str()), (VersionNumber(2).into(), "/pay"));
}

#[test]
fn moved_is_true_once_for_each_burst() {
    let (recorder, _) = recorder();
    let writer = recorder.writer(0).unwrap();
    assert!(!recorder.moved(&alias()), "unknown aliases stand still");
    let epoch = recorder.open_epoch(&alias(), Revision(1), &split(30_000), None);
    assert!(!recorder.moved(&alias()));
    let credit = epoch.dispatch(&writer, Arm::Primary, clock::instant_now());
    assert!(recorder.moved(&alias()));
    assert!(!recorder.moved(&alias()));
    credit.complete();
    drop(epoch);
    recorder.open_epoch(&alias(), Revision(2), &split(0), None);
    recorder.retire(&alias(), Revision(1));
    assert!(recorder.moved(&alias()), "the end moved it");
    assert!(!recorder.moved(&alias()), "retiring does not");
}

#[test]
fn requests_by_number_are_counted_apart() {
    let (recorder, alarms) = recorder();
    let writer = recorder.writer(0).unwrap();
    let _epoch = recorder.open_epoch(&alias(), Revision(1), &split(30_000), Some(VersionNumber(2)));
    let function = alias().function;
    let direct = recorder.open_version(&function, VersionNumber(2).into());
    assert!(Arc::ptr_eq(&direct, &recorder.open_version(&function, VersionNumber(2).into())));
    let mut credit = direct.dispatch(&writer, Arm::Primary, clock::instant_now());
    credit.fail(FailureKind::Status, note);
    credit.complete();
    assert_eq!(alarms.load(Ordering::SeqCst), 0);
    assert_eq!(total_of(&recorder, 2).counts, Counts::default());
    let mut seen = Vec::new();
    recorder.direct_totals(|_, version, counts| seen.push((version, counts.counts.failures.total())));
    assert_eq!(seen, [(VersionNumber(2).into(), 1)]);
    recorder.close_version(&function, VersionNumber(2).into());
    recorder.direct_totals(|_, _, _| panic!("a deleted version has no series"));
}

#[test]
fn a_worker_is_one_writer_at_a_time() {
    let (recorder, _) = recorder();
    let writer = recorder.writer(0).unwrap();
    assert!(recorder.writer(0).is_none());
    assert!(recorder.writer(2).is_none(), "there are two workers");
    drop(writer);
    assert!(recorder.writer(0).is_some());
}

/// Two workers fail every request as fast as they can while epochs change; a reader must never see more failures
/// than requests, nor a total that falls, and at the end not a single one missing.
#[test]
fn readers_see_no_failure_without_its_request() {
    const REQUESTS: u64 = 200_000;
    let (recorder, _) = recorder();
    let serving = Mutex::new(recorder.open_epoch(&alias(), Revision(1), &split(500_000), None));
    let done = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for worker in 0..2 {
            let (recorder, serving, done) = (&recorder, &serving, &done);
            scope.spawn(move || {
                let writer = recorder.writer(worker).unwrap();
                for request in 0..REQUESTS {
                    let epoch = Arc::clone(&serving.lock().unwrap());
                    let arm = if request % 3 == 0 { Arm::Additional } else { Arm::Primary };
                    let mut credit = epoch.dispatch(&writer, arm, clock::instant_now());
                    credit.fail(FailureKind::Status, note);
                    credit.complete();
                }
                done.fetch_add(1, Ordering::SeqCst);
            });
        }
        let (mut revision, mut last) = (1, [0; 2]);
        while done.load(Ordering::SeqCst) < 2 {
            for seen in counts(&recorder) {
                for counts in [seen.primary, seen.additional] {
                    assert!(counts.failures.total() <= counts.dispatched, "{counts:?}");
                    assert!(counts.completed <= counts.dispatched, "{counts:?}");
                }
            }
            revision += 1;
            *serving.lock().unwrap() = recorder.open_epoch(
                &alias(),
                Revision(revision),
                &split(500_000 - revision as u32 % 1000),
                None,
            );
            recorder.retire(&alias(), Revision(revision));
            let totals = [1, 2].map(|version| total_of(&recorder, version).counts.dispatched);
            assert!(totals[0] >= last[0] && totals[1] >= last[1], "{last:?} fell to {totals:?}");
            last = totals;
        }
        assert!(revision > 100, "the epochs did not change under the workers");
    });
    let (one, two) = (total_of(&recorder, 1).counts, total_of(&recorder, 2).counts);
    assert_eq!(one.dispatched + two.dispatched, 2 * REQUESTS);
    assert_eq!(one.failures.total() + two.failures.total(), 2 * REQUESTS);
    assert_eq!(one.in_flight() + two.in_flight(), 0);
}

#[test]
fn cohorts_are_kept_where_a_canary_is_judged_and_hold_requests_against_their_own_edges() {
    let (recorder, _) = recorder();
    let (one, two) = (recorder.writer(0).unwrap(), recorder.writer(1).unwrap());
    let unjudged = recorder.open_epoch(&alias(), Revision(1), &split(0), None);
    unjudged.dispatch(&one, Arm::Primary, clock::instant_now()).complete();
    let judged = recorder.open_epoch(&alias(), Revision(2), &split(30_000), Some(VersionNumber(2)));
    let mut edges = Edges::default();
    (edges.canary[0], edges.stable[0]) = (5_000, 1_000);
    recorder.hold_against(&alias(), 0, edges);
    recorder.hold_against(&alias(), 1_000_000, Edges::default());

    let now = clock::instant_now();
    let mut quick = judged.dispatch(&one, Arm::Additional, now);
    quick.head(now + Duration::from_millis(4));
    quick.complete();
    let mut slow = judged.dispatch(&two, Arm::Additional, now);
    slow.head(now + Duration::from_millis(6));
    slow.refuse();
    slow.complete();
    let mut broken = judged.dispatch(&two, Arm::Primary, now);
    broken.fail(FailureKind::Transport, note);
    broken.complete();
    drop(judged.dispatch(&two, Arm::Primary, now));
    let open = judged.dispatch(&one, Arm::Primary, now);

    let (mut counts, mut slots) = (Vec::new(), Vec::new());
    recorder.counts(&alias(), &mut counts, |_| Some(0), &mut slots);
    assert_eq!(counts[0].cohorts, None);
    let kept = counts[1].cohorts.clone().unwrap();
    let [stable, canary] = kept.totals;
    assert_eq!((canary.dispatched, canary.answered, canary.ended, canary.refused), (2, 2, 2, 1));
    assert_eq!(canary.within[0], 1);
    assert_eq!((stable.dispatched, stable.ended, stable.failed, stable.open()), (3, 2, 1, 1));
    let of_slots: u64 = slots[kept.slots].iter().map(|slot| slot.stable.dispatched).sum();
    assert_eq!(of_slots, 3);
    assert_eq!(counts[1].additional.refused, 1);
    drop(open);
}

#[test]
fn users_who_stick_are_counted_once_and_only_their_first_request_is_in_a_cohort() {
    let (recorder, _) = recorder();
    let writer = recorder.writer(0).unwrap();
    let epoch = recorder.open_epoch(&alias(), Revision(1), &split(30_000), Some(VersionNumber(2)));
    let now = clock::instant_now();
    for user in [1, 1, 2] {
        let mut credit = epoch.dispatch_of(Some(user), &writer, Arm::Additional, now);
        credit.fail(FailureKind::Status, note);
        credit.complete();
    }
    epoch.dispatch_of(Some(3), &writer, Arm::Primary, now).complete();
    let (mut counts, mut slots) = (Vec::new(), Vec::new());
    recorder.counts(&alias(), &mut counts, |_| Some(0), &mut slots);
    let users = counts[0].users.unwrap();
    assert_eq!((users.seen, users.failing), ([1, 2], [0, 2]));
    let visits = counts[0].visits.as_ref().unwrap().totals;
    assert_eq!(
        (visits[1].dispatched, visits[1].ended, visits[1].failed),
        (3, 3, 2),
        "all, and the first failures"
    );
    let totals = counts[0].cohorts.as_ref().unwrap().totals;
    assert_eq!((totals[0].dispatched, totals[1].dispatched, totals[1].failed), (1, 2, 2));
    assert_eq!(counts[0].additional.dispatched, 3, "all requests are counted for people");
}

#[test]
fn clients_who_give_up_are_counted_by_how_long_they_waited_in_vain() {
    let (recorder, _) = recorder();
    let writer = recorder.writer(0).unwrap();
    let judged = recorder.open_epoch(&alias(), Revision(1), &split(30_000), Some(VersionNumber(2)));
    let now = clock::instant_now();
    let long_ago = now.checked_sub(Duration::from_millis(150)).unwrap();
    // Two waited, one left at once.
    for at in [long_ago, long_ago, now + Duration::from_secs(60)] {
        drop(judged.dispatch(&writer, Arm::Additional, at));
    }
    // An answer had begun; it failed without one; it ended without one. None of them was given up.
    let mut answered = judged.dispatch(&writer, Arm::Additional, long_ago);
    answered.head(now);
    drop(answered);
    let mut failed = judged.dispatch(&writer, Arm::Additional, long_ago);
    failed.fail(FailureKind::Timeout, note);
    drop(failed);
    judged.dispatch(&writer, Arm::Additional, long_ago).complete();
    let (mut counts, mut slots) = (Vec::new(), Vec::new());
    recorder.counts(&alias(), &mut counts, |_| Some(0), &mut slots);
    let [_, canary] = counts[0].cohorts.clone().unwrap().totals;
    assert_eq!((canary.dispatched, canary.ended, canary.gave_up, canary.left), (6, 6, 2, 1));
    assert_eq!((counts[0].additional.cancelled, counts[0].additional.gave_up), (5, 2));
    // What another process counted is told, in the words of a process that knows of none as well.
    let mut remainder = Remainder::beyond(vec![(alias(), counts.clone())]);
    drop(judged.dispatch(&writer, Arm::Additional, long_ago));
    let told = serde_json::to_string(&remainder.take(&recorder)).unwrap();
    assert!(told.contains("\"gave_up\":1"), "{told}");
    let of_before = told.replace("\"gave_up\":1,", "").replace("\"gave_up\":0,", "");
    for (told, gave_up) in [(&told, 4), (&of_before, 4)] {
        let late: Vec<Late> = serde_json::from_str(told).unwrap();
        assert!(recorder.add_late(&late[0]));
        recorder.counts(&alias(), &mut counts, |_| None, &mut slots);
        assert_eq!(counts[0].additional.gave_up, gave_up, "{told}");
        assert_eq!(counts[0].additional.in_flight(), 0);
    }
}
