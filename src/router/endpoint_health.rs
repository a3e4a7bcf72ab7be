//! How a place of a version stands: whether requests go there, and what it has done of late.
//!
//! There is one notion of a place that is out, and two ways to it: requests that fail, and checks of its health path that
//! do. A place with such a path comes back by its checks alone, any other by giving a connection. Checks say nothing of
//! requests, nor requests of checks: neither's success takes the other's failures away.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::route::Service;

/// So many failures in a row put a place out, be it of requests or of checks.
const FAILURES_MAX: u32 = 3;
/// So many good checks in a row let it in.
const GOOD_CHECKS_MIN: u32 = 2;
/// How long it is left alone at first, and at most.
const PAUSE_MIN: Duration = Duration::from_secs(1);
const PAUSE_MAX: Duration = Duration::from_secs(30);

/// How a place has done of late.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Record {
    /// Of requests, in a row.
    failures: u32,
    /// When it may be tried for a connection, if it is out; with a health path, only that it is.
    out_until: Option<Instant>,
    /// How long it was out last.
    pause: Duration,
    /// Checks of its health path that failed in a row.
    bad_checks: u32,
    /// Checks in a row that did not, since it is out; none while it is in.
    good_checks: u32,
}

impl Record {
    /// A request failed, or the connection that it was tried for.
    fn failed(self, now: Instant) -> Record {
        let failures = self.failures.saturating_add(1);
        let failed = Record { failures, ..self };
        if failures < FAILURES_MAX || self.out_until.is_some_and(|until| now < until) {
            return failed;
        }
        failed.put_out(now)
    }

    fn put_out(self, now: Instant) -> Record {
        let pause = (self.pause * 2).clamp(PAUSE_MIN, PAUSE_MAX);
        Record { out_until: Some(now + pause), pause, ..self }
    }

    /// It is let in again; what it does with requests is yet to be seen, so one failure puts it out.
    fn let_in(self) -> Record {
        Record { failures: FAILURES_MAX - 1, out_until: None, good_checks: 0, ..self }
    }

    /// A request was answered; `is_checked` if it has a health path.
    fn answered(self, is_checked: bool) -> Record {
        match self.out_until {
            // Requests from before it went out may still be answered; a service that ends in good order does so.
            Some(_) if is_checked => self,
            _ => Record { bad_checks: self.bad_checks, ..Record::default() },
        }
    }

    /// A check of its health path was good, or was not.
    fn checked(self, is_good: bool, now: Instant) -> Record {
        if !is_good {
            let bad_checks = self.bad_checks.saturating_add(1);
            let checked = Record { bad_checks, good_checks: 0, ..self };
            let goes_out = bad_checks >= FAILURES_MAX && self.out_until.is_none();
            return if goes_out { checked.put_out(now) } else { checked };
        }
        let checked = Record { bad_checks: 0, ..self };
        if self.out_until.is_none() {
            return checked;
        }
        let good_checks = self.good_checks + 1;
        if good_checks < GOOD_CHECKS_MIN { Record { good_checks, ..checked } } else { checked.let_in() }
    }
}

/// How a place stands, whatever versions it serves.
pub(super) struct EndpointHealth {
    /// What it is told from others by.
    pub(super) name: Arc<str>,
    service: Arc<Service>,
    /// What it is asked for regularly, with the version's base path, if it is.
    health: Option<String>,
    pub(super) under_way: AtomicUsize,
    is_out: AtomicBool,
    has_failed: AtomicBool,
    record: Mutex<Record>,
}

impl EndpointHealth {
    /// A place that nothing is known of, and that gets requests until it fails.
    pub(super) fn new(name: Arc<str>, service: &Arc<Service>, health: Option<String>) -> EndpointHealth {
        EndpointHealth {
            name,
            service: Arc::clone(service),
            health,
            under_way: AtomicUsize::new(0),
            is_out: AtomicBool::new(false),
            has_failed: AtomicBool::new(false),
            record: Mutex::default(),
        }
    }

    /// Where connections to it are tried.
    pub(super) fn service(&self) -> &Arc<Service> {
        &self.service
    }

    /// What it is asked for regularly, if it is.
    pub(super) fn health(&self) -> Option<&str> {
        self.health.as_deref()
    }

    /// Whether it gets no requests while there are other places.
    pub(super) fn is_out(&self) -> bool {
        self.is_out.load(Ordering::Relaxed)
    }

    /// Whether it is out and may be tried for a connection now, by the caller alone; never with a health path.
    pub(super) fn take_turn(&self, now: Instant) -> bool {
        if self.health.is_some() {
            return false;
        }
        let mut record = self.record();
        let is_due = record.out_until.is_some_and(|until| until <= now);
        if is_due {
            // Nobody else tries it meanwhile.
            record.out_until = Some(now + PAUSE_MAX);
        }
        is_due
    }

    /// Notes a request that it failed before a head, or a connection that it did not give.
    pub(super) fn failed(&self, now: Instant, why: &str) {
        self.note(|record| record.failed(now), why);
    }

    /// Notes that it gave no connection while it was out.
    pub(super) fn failed_again(&self, now: Instant, why: &str) {
        // The time for which nobody else was to try it is over.
        self.record().out_until = Some(now);
        self.failed(now, why);
    }

    /// Notes an answer.
    pub(super) fn answered(&self) {
        if self.has_failed.load(Ordering::Relaxed) {
            self.note(|record| record.answered(self.health.is_some()), "");
        }
    }

    /// Notes that it gave a connection while it was out.
    pub(super) fn connected(&self) {
        self.note(Record::let_in, "");
    }

    /// Notes a check of its health path: that it was good, or why it was not.
    pub(super) fn checked(&self, now: Instant, why_not: Option<&str>) {
        self.note(|record| record.checked(why_not.is_none(), now), why_not.unwrap_or_default());
    }

    /// Changes the record, and says so where that puts the place out or lets it in.
    fn note(&self, change: impl FnOnce(Record) -> Record, why: &str) {
        let mut record = self.record();
        *record = change(*record);
        self.has_failed.store(record.failures > 0, Ordering::Relaxed);
        let is_out = record.out_until.is_some();
        if self.is_out.swap(is_out, Ordering::Relaxed) == is_out {
            return;
        }
        let place = &*self.service.authority;
        if is_out {
            tracing::warn!(place, "a place of a version is left out: {why}");
        } else {
            tracing::info!(place, "a place of a version gets requests again");
        }
    }

    fn record(&self) -> MutexGuard<'_, Record> {
        self.record.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock;

    #[test]
    fn three_failures_in_a_row_put_out_for_ever_longer() {
        let start = clock::instant_now();
        let at = |s: u64| start + Duration::from_secs(s);
        let failed = |record: Record, s: u64| record.failed(at(s));
        let twice = failed(failed(Record::default(), 0), 0);
        assert_eq!(twice.out_until, None);
        let out = failed(twice, 10);
        assert_eq!(out.out_until, Some(at(11)));
        assert_eq!(failed(out, 10).out_until, Some(at(11)), "what was under way makes it no worse");
        let mut record = out;
        for (s, until) in [(11, 13), (13, 17), (17, 25), (25, 41), (41, 71), (71, 101)] {
            record = failed(record, s);
            assert_eq!(record.out_until, Some(at(until)));
        }
        let again = record.let_in();
        assert_eq!(again.out_until, None);
        assert_eq!(failed(again, 200).out_until, Some(at(230)), "one failure is enough then");
        assert_eq!(failed(twice.answered(false), 0).out_until, None, "an answer clears them");
        assert_eq!(out.answered(false), Record::default(), "without a health path an answer is enough");
    }

    /// What happened in turn: `f` a request failed, `a` one was answered, `b` a bad check, `g` a good one.
    fn after(history: &str) -> Record {
        let now = clock::instant_now();
        history.chars().fold(Record::default(), |record, happened| match happened {
            'f' => record.failed(now),
            'a' => record.answered(true),
            'b' => record.checked(false, now),
            'g' => record.checked(true, now),
            other => panic!("{other}"),
        })
    }

    #[test]
    fn checks_and_requests_put_out_and_checks_alone_let_in() {
        for (history, is_out) in [
            ("", false),
            ("bb", false),
            ("bbb", true),
            ("bbgbb", false),
            // Requests and checks in turn: what the others do neither hides nor adds up.
            ("babab", true),
            ("fgfgf", true),
            ("fgggggff", true),
            ("ffbb", false),
            ("bbff", false),
            ("ffa", false),
            ("ffaff", false),
            // Two good checks in a row, and nothing else, let it in.
            ("bbbg", true),
            ("bbbgbg", true),
            ("bbbgg", false),
            ("bbba", true),
            ("bbbaaaa", true),
            ("fffg", true),
            ("fffa", true),
            ("fffgag", false),
            ("gggfff", true),
            ("gggfffg", true),
            ("fffgg", false),
            ("fffggg", false),
            // Then one failure is enough, however many checks were good, until a request is answered.
            ("fffggf", true),
            ("fffggggggf", true),
            ("fffggfg", true),
            ("fffggfgg", false),
            ("fffggaf", false),
            ("bbbggf", true),
            // Of checks it takes three again.
            ("bbbggbb", false),
            ("bbbggbbb", true),
            // Failures while it is out change nothing about how it comes back.
            ("bbbffgg", false),
            ("fffbbbgg", false),
        ] {
            assert_eq!(after(history).out_until.is_some(), is_out, "{history}");
        }
    }

    #[test]
    fn a_place_with_a_health_path_is_not_tried_for_a_connection() {
        let service = Arc::new(Service {
            authority: "a:1".into(),
            http2: None,
            host_header: "a:1".parse().unwrap(),
            host: "a".to_owned(),
            port: 1,
            base_path: String::new(),
            root: "/".parse().unwrap(),
        });
        let now = clock::instant_now();
        for health in [None, Some("/healthz".to_owned())] {
            let is_checked = health.is_some();
            let standing = EndpointHealth::new("a:1".into(), &service, health);
            (0..3).for_each(|_| standing.failed(now, "it broke"));
            assert!(standing.is_out() && !standing.take_turn(now));
            assert_eq!(standing.take_turn(now + PAUSE_MIN), !is_checked);
            assert!(!standing.take_turn(now + PAUSE_MIN), "one caller has it");
            assert_eq!(standing.take_turn(now + 2 * PAUSE_MAX), !is_checked);
            (0..2).for_each(|_| standing.checked(now, None));
            assert!(!standing.is_out());
            standing.failed(now, "it broke");
            assert!(standing.is_out());
        }
    }
}
