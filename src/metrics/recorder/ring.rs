//! Cohorts as one worker counts them for one version of a weight epoch, in memory that does not grow.
//!
//! A request is counted with those of its cohort on every rung of the ladder (`cohort`) and in the totals. Each rung is a
//! ring: a dispatch into a younger cohort takes the place of the oldest one. What ends later than its cohort is kept is in
//! the totals alone. One worker writes, by plain stores between two changes of a sequence number; whoever reads takes
//! what it read only if the number stood still, so it sees requests whole.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};

use serin_core::analysis::cohort::{EDGES, KEPT, SPANS, Tally};

const DISPATCHED: usize = 0;
const ANSWERED: usize = 1;
const ENDED: usize = 2;
const FAILED: usize = 3;
const REFUSED: usize = 4;
const GAVE_UP: usize = 5;
const LEFT: usize = 6;
const WITHIN: usize = 7;
const COUNTERS: usize = WITHIN + EDGES;

/// A reader that finds the writer at work tries so often, and then takes what there is.
const TRIES: usize = 200;

/// What happened to one request at once.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Happened(u16);

impl Happened {
    pub(super) const DISPATCHED: Happened = Happened(1 << DISPATCHED);
    pub(super) const ANSWERED: Happened = Happened(1 << ANSWERED);
    pub(super) const FAILED: Happened = Happened(1 << FAILED);
    pub(super) const REFUSED: Happened = Happened(1 << REFUSED);
    pub(super) const ENDED: Happened = Happened(1 << ENDED);
    pub(super) const GAVE_UP: Happened = Happened(1 << GAVE_UP);
    pub(super) const LEFT: Happened = Happened(1 << LEFT);

    /// It was answered, or ended without an answer, after so long.
    pub(super) fn answered(took_us: u64, edges: &[u64; EDGES]) -> Happened {
        let within = edges.iter().enumerate().map(|(edge, limit_us)| u16::from(took_us < *limit_us) << edge);
        Happened((1 << ANSWERED) | within.fold(0, |all, one| all | one) << WITHIN)
    }

    /// Both at once.
    pub(super) fn and(self, other: Happened) -> Happened {
        Happened(self.0 | other.0)
    }
}

#[derive(Default)]
struct Slot {
    /// The number of the cohorts on its rung, and one; nothing is 0.
    tag: AtomicU64,
    counts: [AtomicU32; COUNTERS],
}

/// The cohorts of one version as one worker counts them.
pub(super) struct Ring {
    sequence: AtomicU32,
    totals: [AtomicU64; COUNTERS],
    slots: Box<[Slot]>,
}

impl Default for Ring {
    fn default() -> Ring {
        Ring {
            sequence: AtomicU32::new(0),
            totals: [const { AtomicU64::new(0) }; COUNTERS],
            slots: (0..KEPT.iter().sum()).map(|_| Slot::default()).collect(),
        }
    }
}

impl Ring {
    /// Counts what happened to a request of a cohort; only its one worker calls this.
    pub(super) fn add(&self, cohort: u64, happened: Happened) {
        let sequence = self.sequence.load(Ordering::Relaxed);
        self.sequence.store(sequence.wrapping_add(1), Ordering::Relaxed);
        fence(Ordering::Release);
        for (rung, span) in SPANS.into_iter().enumerate() {
            let slot = self.slot(rung, cohort);
            let (tag, found) = (cohort / span + 1, slot.tag.load(Ordering::Relaxed));
            if found != tag {
                if found > tag || happened.0 & Happened::DISPATCHED.0 == 0 {
                    continue;
                }
                slot.counts.iter().for_each(|count| count.store(0, Ordering::Relaxed));
                slot.tag.store(tag, Ordering::Relaxed);
            }
            for_each(happened, |counter| {
                let count = &slot.counts[counter];
                count.store(count.load(Ordering::Relaxed).wrapping_add(1), Ordering::Relaxed);
            });
        }
        for_each(happened, |counter| {
            let total = &self.totals[counter];
            total.store(total.load(Ordering::Relaxed).wrapping_add(1), Ordering::Relaxed);
        });
        self.sequence.store(sequence.wrapping_add(2), Ordering::Release);
    }

    /// Reads with `read` until nothing was written meanwhile.
    pub(super) fn read<T>(&self, mut read: impl FnMut() -> T) -> T {
        for _ in 0..TRIES {
            let before = self.sequence.load(Ordering::Acquire);
            let result = read();
            fence(Ordering::Acquire);
            if before.is_multiple_of(2) && self.sequence.load(Ordering::Relaxed) == before {
                return result;
            }
            std::hint::spin_loop();
        }
        // Its worker was sent away in the midst of a request: of that one a part may be missing, until the next look.
        read()
    }

    /// All requests.
    pub(super) fn totals(&self) -> Tally {
        tally(|counter| self.totals[counter].load(Ordering::Relaxed))
    }

    /// The requests of a slot of the ladder, as far as they are kept.
    pub(super) fn kept(&self, rung: usize, start: u64) -> Tally {
        let slot = self.slot(rung, start);
        if slot.tag.load(Ordering::Relaxed) != start / SPANS[rung] + 1 {
            return Tally::default();
        }
        tally(|counter| u64::from(slot.counts[counter].load(Ordering::Relaxed)))
    }

    fn slot(&self, rung: usize, cohort: u64) -> &Slot {
        let before: usize = KEPT[..rung].iter().sum();
        &self.slots[before + (cohort / SPANS[rung]) as usize % KEPT[rung]]
    }
}

fn for_each(happened: Happened, mut see: impl FnMut(usize)) {
    let mut left = happened.0;
    while left != 0 {
        see(left.trailing_zeros() as usize);
        left &= left - 1;
    }
}

fn tally(of: impl Fn(usize) -> u64) -> Tally {
    Tally {
        dispatched: of(DISPATCHED),
        answered: of(ANSWERED),
        ended: of(ENDED),
        failed: of(FAILED),
        refused: of(REFUSED),
        gave_up: of(GAVE_UP),
        left: of(LEFT),
        within: std::array::from_fn(|edge| of(WITHIN + edge)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serin_core::analysis::cohort::ladder;

    /// Whatever the ladder shows sums to all that was dispatched since it begins.
    #[test]
    fn every_request_is_on_the_ladder_once() {
        let ring = Ring::default();
        for now in 0..9000_u64 {
            ring.add(now, Happened::DISPATCHED);
            if now % 7 == 0 {
                ring.add(now.saturating_sub(now % 311), Happened::ENDED);
            }
            if now % 97 == 0 {
                let sum = ladder(0, now).map(|(rung, start)| ring.kept(rung, start).dispatched).sum::<u64>();
                assert_eq!(sum, ring.totals().dispatched);
                let since = now.saturating_sub(30);
                let young: u64 =
                    ladder(since, now).map(|(rung, start)| ring.kept(rung, start).dispatched).sum();
                assert_eq!(young, now - since + 1);
            }
        }
        assert_eq!(ring.totals().ended, 9000_u64.div_ceil(7));
    }

    #[test]
    fn a_request_is_within_the_edges_it_keeps() {
        let ring = Ring::default();
        ring.add(5, Happened::DISPATCHED);
        let mut edges = [u64::MAX; EDGES];
        (edges[0], edges[1]) = (100, 300);
        ring.add(5, Happened::answered(200, &edges).and(Happened::ENDED));
        let kept = ring.read(|| ring.kept(0, 5));
        assert_eq!((kept.answered, kept.ended, kept.within[0], kept.within[1]), (1, 1, 0, 1));
        assert_eq!(kept.within[8], 1);
        ring.add(5 + 64, Happened::DISPATCHED);
        assert_eq!(ring.kept(0, 5), Tally::default(), "its place was taken");
        assert_eq!(ring.kept(1, 0).dispatched, 1);
    }
}
