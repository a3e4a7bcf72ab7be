//! A version at several places: which of them gets a request, and which are left out for a while.
//!
//! The place with the fewest requests under way gets the next, counted over all workers. One that could not be reached,
//! or broke off before a head, three times in a row is left out; from then on it is asked for nothing but a connection,
//! by the router itself and ever more seldom, until it gives one. Nobody is ever refused for this: where all are out, all
//! are tried. How places stand is remembered beyond the table they are in, for a new weight is no reason to forget.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use super::route::Service;

/// So many failures in a row put a place out.
const FAILURES_MAX: u32 = 3;
/// How long it is left alone at first, and at most.
const PAUSE_MIN: Duration = Duration::from_secs(1);
const PAUSE_MAX: Duration = Duration::from_secs(30);

/// How a place has done of late.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Record {
    failures: u32,
    /// When it may be tried for a connection, if it is out.
    out_until: Option<Instant>,
    /// How long it was out last.
    pause: Duration,
}

impl Record {
    /// A request failed, or the connection that it was tried for.
    fn failed(self, now: Instant) -> Record {
        let failures = self.failures.saturating_add(1);
        if failures < FAILURES_MAX || self.out_until.is_some_and(|until| now < until) {
            return Record { failures, ..self };
        }
        let pause = (self.pause * 2).clamp(PAUSE_MIN, PAUSE_MAX);
        Record { failures, out_until: Some(now + pause), pause }
    }

    /// It gives connections again; what it does with requests is yet to be seen, so one failure puts it out.
    fn connected(self) -> Record {
        Record { failures: FAILURES_MAX - 1, out_until: None, ..self }
    }
}

/// How a place stands, whatever versions it serves.
pub(super) struct Standing {
    service: Arc<Service>,
    under_way: AtomicUsize,
    is_out: AtomicBool,
    has_failed: AtomicBool,
    record: Mutex<Record>,
}

impl Standing {
    fn new(service: &Arc<Service>) -> Standing {
        Standing {
            service: Arc::clone(service),
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

    /// Notes a request that it failed before a head, or a connection that it did not give.
    pub(super) fn failed(&self, now: Instant, why: &str) {
        let mut record = self.record();
        *record = record.failed(now);
        self.has_failed.store(true, Ordering::Relaxed);
        if record.out_until.is_some() && !self.is_out.swap(true, Ordering::Relaxed) {
            tracing::warn!(place = &*self.service.authority, "a place of a version is left out: {why}");
        }
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
            let mut record = self.record();
            *record = Record::default();
            self.has_failed.store(false, Ordering::Relaxed);
            self.let_in();
        }
    }

    /// Notes that it gave a connection while it was out.
    pub(super) fn connected(&self) {
        let mut record = self.record();
        *record = record.connected();
        self.let_in();
    }

    fn let_in(&self) {
        if self.is_out.swap(false, Ordering::Relaxed) {
            tracing::info!(place = &*self.service.authority, "a place of a version gets requests again");
        }
    }

    fn record(&self) -> MutexGuard<'_, Record> {
        self.record.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How all places stand, by what connections to them are told apart by.
#[derive(Default)]
pub(super) struct PlaceBook(Mutex<HashMap<Arc<str>, Weak<Standing>>>);

impl PlaceBook {
    fn standing(&self, service: &Arc<Service>) -> Arc<Standing> {
        let mut book = self.book();
        if let Some(known) = book.get(&service.authority).and_then(Weak::upgrade) {
            return known;
        }
        book.retain(|_, standing| standing.strong_count() > 0);
        let new = Arc::new(Standing::new(service));
        book.insert(Arc::clone(&service.authority), Arc::downgrade(&new));
        new
    }

    /// The places that are out and may be tried now; each is given to one caller and counts as tried.
    pub(super) fn due(&self, now: Instant) -> Vec<Arc<Standing>> {
        let standings: Vec<_> = self.book().values().filter_map(Weak::upgrade).collect();
        let is_due = |standing: &Arc<Standing>| {
            let mut record = standing.record();
            let is_due = record.out_until.is_some_and(|until| until <= now);
            if is_due {
                // Nobody else tries it meanwhile.
                record.out_until = Some(now + PAUSE_MAX);
            }
            is_due
        };
        standings.into_iter().filter(is_due).collect()
    }

    fn book(&self) -> MutexGuard<'_, HashMap<Arc<str>, Weak<Standing>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The places of one version.
pub(super) struct Places {
    places: Vec<(Arc<Service>, Arc<Standing>)>,
    /// Where the search for the next begins, so that ties go round.
    turn: AtomicUsize,
}

impl Places {
    /// The places of a version, at least one and at most 32; how they stand is in the book.
    pub(super) fn of(services: Vec<Arc<Service>>, book: &PlaceBook) -> Places {
        let stand = |service: Arc<Service>| {
            let standing = book.standing(&service);
            (service, standing)
        };
        Places { places: services.into_iter().map(stand).collect(), turn: AtomicUsize::new(0) }
    }

    /// What stands before every path, which is the same at all of them.
    pub(super) fn base_path(&self) -> &str {
        self.places.first().map_or("", |(service, _)| &service.base_path)
    }

    /// Takes a seat for a request where the fewest are.
    pub(super) fn seat(self: &Arc<Places>) -> Seat {
        self.seat_beside(0).expect("a version has a place")
    }

    /// The same among the places that are not in `tried`, of which each is a bit.
    fn seat_beside(self: &Arc<Places>, tried: u32) -> Option<Seat> {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        let index = fewest(self.places.len(), turn, tried, |index| {
            let standing = &self.places[index].1;
            (standing.is_out.load(Ordering::Relaxed), standing.under_way.load(Ordering::Relaxed))
        })?;
        self.places[index].1.under_way.fetch_add(1, Ordering::Relaxed);
        Some(Seat { places: Arc::clone(self), index, tried: tried | 1 << index })
    }
}

/// The place with the fewest requests among those that are not out, or among all; the first of them from `turn` on.
fn fewest(count: usize, turn: usize, tried: u32, stands: impl Fn(usize) -> (bool, usize)) -> Option<usize> {
    let around = (0..count).map(|step| (turn % count + step) % count);
    around.filter(|index| tried & 1 << index == 0).min_by_key(|index| stands(*index))
}

/// A request's place, which it keeps until it ends.
pub(super) struct Seat {
    places: Arc<Places>,
    index: usize,
    tried: u32,
}

impl Seat {
    /// The service at this place.
    pub(super) fn service(&self) -> &Arc<Service> {
        &self.places.places[self.index].0
    }

    /// How the place stands.
    pub(super) fn standing(&self) -> &Standing {
        &self.places.places[self.index].1
    }

    /// Whether there are places that were not tried.
    pub(super) fn has_next(&self) -> bool {
        (self.tried.count_ones() as usize) < self.places.places.len()
    }

    /// A seat at a place that was not tried, if there is one.
    pub(super) fn next(&self) -> Option<Seat> {
        self.places.seat_beside(self.tried)
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.standing().under_way.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock;

    #[test]
    fn the_fewest_get_the_next_and_ties_go_round() {
        let all_in = |under_way: [usize; 3]| move |index: usize| (false, under_way[index]);
        for (under_way, turn, tried, chosen) in [
            ([0, 0, 0], 0, 0, Some(0)),
            ([0, 0, 0], 1, 0, Some(1)),
            ([0, 0, 0], 5, 0, Some(2)),
            ([3, 1, 2], 0, 0, Some(1)),
            ([1, 1, 0], 0, 0b100, Some(0)),
            ([1, 1, 0], 1, 0b100, Some(1)),
            ([0, 0, 0], 0, 0b111, None),
        ] {
            assert_eq!(fewest(3, turn, tried, all_in(under_way)), chosen, "{under_way:?} {turn} {tried:b}");
        }
        let out = |outs: [bool; 3]| move |index: usize| (outs[index], [0, 5, 9][index]);
        assert_eq!(fewest(3, 0, 0, out([true, false, false])), Some(1));
        assert_eq!(fewest(3, 0, 0, out([true, true, true])), Some(0), "where all are out, all are tried");
        assert_eq!(fewest(3, 0, 0b010, out([true, false, true])), Some(0));
    }

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
        let again = record.connected();
        assert_eq!(again.out_until, None);
        assert_eq!(failed(again, 200).out_until, Some(at(230)), "one failure is enough then");
    }
}
