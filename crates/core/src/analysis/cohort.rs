//! Cohorts: requests by the twentieth of a second they were dispatched in, and what has become of them so far.
//!
//! Evidence is judged in the order in which requests were dispatched, by what finally became of them (`bound` says why).
//! So counts are kept for every 50 ms of dispatch, a *cohort*, for as long as anybody needs to tell them apart. The older, the coarser: cohorts of 50 ms up to two seconds back, of half a second up to twenty, of
//! five seconds up to two minutes, of a minute beyond. Every coarser one begins where a finer one does, so a sum over all
//! that came before the beginning of one is exact: the totals of the epoch less what came since (`View::before`). A
//! request that becomes known later than the ladder reaches is in the totals alone, and enters as what it is.

/// The length of a cohort in milliseconds.
pub const COHORT_MS: u64 = 50;

/// How many comparisons of latency there are: four quantiles.
pub const QUANTILES_COMPARED: usize = 4;

/// How many edges a request's latency is held against: four near ones, four wide ones, and `p99Max`.
pub const EDGES: usize = 2 * QUANTILES_COMPARED + 1;

/// Where `p99Max` stands among the edges.
pub const CEILING_EDGE: usize = EDGES - 1;

/// How many cohorts one slot of each rung of the ladder holds.
pub const SPANS: [u64; 4] = [1, 10, 100, 1200];

/// How many slots each rung must keep so that every slot of `ladder` can be read.
pub const KEPT: [usize; 4] = [64, 48, 32, 20];

const FINE_REACH: u64 = 50;
const MIDDLE_REACH: u64 = 350;
const COARSE_REACH: u64 = 2400;
const LAST_SLOTS: u64 = 16;

/// Requests of one version, and what has become of them so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Requests dispatched.
    pub dispatched: u64,
    /// Those whose head came, or that ended without one.
    pub answered: u64,
    /// Those that ended, in whatever way.
    pub ended: u64,
    /// Those that failed.
    pub failed: u64,
    /// Those that were refused: what the client asked was wrong, says the version.
    pub refused: u64,
    /// Those that their clients gave up, having waited for `patience::LEAST_WAIT` in vain.
    pub gave_up: u64,
    /// Those whose clients went away sooner without an answer.
    pub left: u64,
    /// Those that were answered, or given up, within each edge.
    pub within: [u64; EDGES],
}

impl Tally {
    /// Both sums.
    pub fn plus(&self, more: &Tally) -> Tally {
        self.with(more, u64::wrapping_add)
    }

    /// What is left of it; never negative, whatever a reader saw halfway.
    pub fn less(&self, other: &Tally) -> Tally {
        self.with(other, u64::saturating_sub)
    }

    fn with(&self, other: &Tally, join: fn(u64, u64) -> u64) -> Tally {
        Tally {
            dispatched: join(self.dispatched, other.dispatched),
            answered: join(self.answered, other.answered),
            ended: join(self.ended, other.ended),
            failed: join(self.failed, other.failed),
            refused: join(self.refused, other.refused),
            gave_up: join(self.gave_up, other.gave_up),
            left: join(self.left, other.left),
            within: std::array::from_fn(|edge| join(self.within[edge], other.within[edge])),
        }
    }

    /// Those of which nobody knows yet whether they fail.
    pub fn open(&self) -> u64 {
        self.dispatched.saturating_sub(self.ended)
    }

    /// Those that have not even been answered.
    pub fn unanswered(&self) -> u64 {
        self.dispatched.saturating_sub(self.answered)
    }
}

/// Both versions' requests of one or more cohorts that follow each other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Slot {
    /// The first cohort.
    pub start: u64,
    /// How many they are.
    pub span: u64,
    /// The function version's requests.
    pub stable: Tally,
    /// The additional version's.
    pub canary: Tally,
}

impl Slot {
    /// The first cohort after it.
    pub fn end(&self) -> u64 {
        self.start + self.span
    }
}

/// The slots in which requests since a cohort can be told apart, oldest first: the rung of each, and its first cohort.
///
/// The last one is `now`, the cohort that requests are dispatched in.
pub fn ladder(since: u64, now: u64) -> impl Iterator<Item = (usize, u64)> {
    let fine = now.saturating_sub(FINE_REACH).next_multiple_of(SPANS[1]);
    let middle = fine.saturating_sub(MIDDLE_REACH).next_multiple_of(SPANS[2]);
    let coarse = middle.saturating_sub(COARSE_REACH).next_multiple_of(SPANS[3]);
    let first = coarse.saturating_sub(LAST_SLOTS * SPANS[3]);
    let rungs = [(3, first, coarse), (2, coarse, middle), (1, middle, fine), (0, fine, now + 1)];
    rungs.into_iter().flat_map(move |(rung, from, to)| {
        let from = from.max(since / SPANS[rung] * SPANS[rung]);
        (from..to.max(from)).step_by(SPANS[rung] as usize).map(move |start| (rung, start))
    })
}

/// What is known of the cohorts of one weight epoch.
#[derive(Clone, Copy, Debug)]
pub struct Cohorts<'a> {
    /// The cohort that requests are dispatched in now.
    pub now: u64,
    /// All requests of the epoch: the function version's, the additional one's.
    pub totals: [Tally; 2],
    /// Those that can still be told apart, oldest first, without gaps.
    pub slots: &'a [Slot],
    /// What is added to the numbers of cohorts, for whoever numbers them otherwise; a multiple of ten seconds.
    pub offset: u64,
}

/// The cohorts of one epoch from several hands, which kept them in the same slots.
#[derive(Clone, Copy, Debug, Default)]
pub struct View<'a>([Option<Cohorts<'a>>; 2]);

/// Which of the two versions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The function version.
    Stable,
    /// The additional version.
    Canary,
}

impl<'a> View<'a> {
    /// Adds what another hand kept; there are at most two.
    pub fn add(&mut self, cohorts: Cohorts<'a>) {
        if let Some(place) = self.0.iter_mut().find(|place| place.is_none()) {
            *place = Some(cohorts);
        }
    }

    /// Whether nobody kept anything.
    pub fn is_empty(&self) -> bool {
        self.0[0].is_none()
    }

    /// The cohort that requests are dispatched in now.
    pub fn now(&self) -> u64 {
        self.0[0].map_or(0, |cohorts| cohorts.now + cohorts.offset)
    }

    /// The slots, whatever is in them: how many.
    pub fn len(&self) -> usize {
        self.0[0].map_or(0, |cohorts| cohorts.slots.len())
    }

    /// The first cohort of a slot and the first one after it.
    pub fn bounds(&self, index: usize) -> (u64, u64) {
        let Some(cohorts) = self.0[0] else { return (0, 0) };
        let bounds = |slot: &Slot| (slot.start + cohorts.offset, slot.end() + cohorts.offset);
        cohorts.slots.get(index).map_or((0, 0), bounds)
    }

    /// What is in a slot of one version.
    pub fn of(&self, index: usize, side: Side) -> Tally {
        let start = self.0[0].and_then(|cohorts| cohorts.slots.get(index)).map_or(0, |slot| slot.start);
        let mut sum = Tally::default();
        for cohorts in self.0.iter().flatten() {
            if let Some(slot) = cohorts.slots.get(index).filter(|slot| slot.start == start) {
                sum = sum.plus(match side {
                    Side::Stable => &slot.stable,
                    Side::Canary => &slot.canary,
                });
            }
        }
        sum
    }

    /// All that was dispatched before a slot begins.
    pub fn before(&self, index: usize, side: Side) -> Tally {
        let mut sum = Tally::default();
        for cohorts in self.0.iter().flatten() {
            sum = sum.plus(&cohorts.totals[side as usize]);
        }
        (index..self.len()).fold(sum, |sum, index| sum.less(&self.of(index, side)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_follow_each_other_and_can_all_be_kept() {
        for now in [0_u64, 3, 49, 50, 61, 399, 400, 1200, 2399, 5000, 123_456] {
            for since in [0, now / 2, now.saturating_sub(7), now] {
                let mut next = None;
                for (rung, start) in ladder(since, now) {
                    assert_eq!(start % SPANS[rung], 0);
                    assert!(next.is_none_or(|next| next == start), "{now} {since}: a gap before {start}");
                    next = Some(start + SPANS[rung]);
                    // A ring of that many slots has not come round to it.
                    assert!((now / SPANS[rung] - start / SPANS[rung]) + 2 < KEPT[rung] as u64);
                }
                assert_eq!(next, Some(now + 1));
            }
        }
        let (_, first) = ladder(123_450, 123_456).next().unwrap();
        assert_eq!(first, 123_450);
    }

    #[test]
    fn what_came_before_a_slot_is_the_total_less_what_came_since() {
        let tally = |dispatched| Tally { dispatched, ..Tally::default() };
        let slots = [
            Slot { start: 10, span: 1, stable: tally(4), canary: tally(1) },
            Slot { start: 11, span: 1, stable: tally(5), canary: tally(0) },
        ];
        let mut view = View::default();
        view.add(Cohorts { now: 11, totals: [tally(100), tally(7)], slots: &slots, offset: 0 });
        view.add(Cohorts { now: 11, totals: [tally(0), tally(3)], slots: &slots, offset: 0 });
        assert_eq!(view.before(0, Side::Stable).dispatched, 100 - 18);
        assert_eq!(view.before(1, Side::Canary).dispatched, 10);
        assert_eq!(view.before(2, Side::Stable).dispatched, 100);
    }
}
