//! The cohorts of one epoch as a simulation counts them: each as long as anybody may ask for it by itself.

use std::collections::VecDeque;

use rand::rngs::SmallRng;

use super::traffic::Arm;
use crate::simulate::draws::binomial;
use serin_core::analysis::cohort::{COHORT_MS, EDGES, SPANS, Slot, Tally, ladder};
use serin_core::world::tally::KeptCohorts;

/// Cohorts that nobody asks for are forgotten after a minute.
const FORGOTTEN_AFTER: u64 = 60_000 / COHORT_MS;

/// What becomes of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Fate {
    Good,
    Refused,
    Failed,
    /// Its client gave up after waiting as long as counts.
    GaveUp,
    /// Its client left sooner.
    Left,
}

/// The cohorts of one epoch.
#[derive(Clone, Debug, Default)]
pub(super) struct Log {
    totals: [Tally; 2],
    cohorts: VecDeque<Cohort>,
}

/// One cohort, or older ones that nobody tells apart any more.
#[derive(Clone, Debug, Default)]
struct Cohort {
    number: u64,
    /// How many they are.
    span: u64,
    sides: [Tally; 2],
    /// Good requests that are under way where answers are no events, as of when.
    under_way: [(u64, u64); 2],
}

impl Cohort {
    /// Whether nothing is under way whose end is yet to be drawn.
    fn is_over(&self) -> bool {
        self.under_way.iter().all(|(count, _)| *count == 0)
    }

    /// Takes a later one in.
    fn join(&mut self, later: &Cohort) {
        self.span = later.number + later.span - self.number;
        for (side, more) in self.sides.iter_mut().zip(&later.sides) {
            *side = side.plus(more);
        }
    }
}

impl Log {
    /// Counts a request of a cohort as dispatched.
    pub fn dispatch(&mut self, cohort: u64, canary: bool) {
        self.totals[usize::from(canary)].dispatched += 1;
        if let Some(cohort) = self.at(cohort) {
            cohort.sides[usize::from(canary)].dispatched += 1;
        }
    }

    /// Counts what became of one; its time is held against the edges.
    pub fn answer(&mut self, cohort: u64, canary: bool, fate: Fate, took: Option<(u64, &[u64; EDGES])>) {
        let count = |tally: &mut Tally| {
            tally.answered += 1;
            tally.ended += 1;
            tally.failed += u64::from(fate == Fate::Failed);
            tally.refused += u64::from(fate == Fate::Refused);
            tally.gave_up += u64::from(fate == Fate::GaveUp);
            tally.left += u64::from(fate == Fate::Left);
            for (edge, within) in tally.within.iter_mut().enumerate() {
                *within += u64::from(took.is_none_or(|(us, edges)| us < edges[edge]));
            }
        };
        count(&mut self.totals[usize::from(canary)]);
        if let Some(cohort) = self.at(cohort) {
            count(&mut cohort.sides[usize::from(canary)]);
        }
    }

    /// Counts a good one whose latency nobody asks for, and which has ended by now or will.
    pub fn succeed(&mut self, cohort: u64, canary: bool, has_ended: bool, now_us: u64) {
        if has_ended {
            return self.answer(cohort, canary, Fate::Good, None);
        }
        if let Some(cohort) = self.at(cohort) {
            let (count, at_us) = &mut cohort.under_way[usize::from(canary)];
            (*count, *at_us) = (*count + 1, now_us);
        }
    }

    /// Lets those end that do until now; they have no memory of how long they took already.
    pub fn pass(&mut self, arms: [&Arm; 2], now_us: u64, chance: &mut SmallRng) {
        for cohort in &mut self.cohorts {
            for (side, arm) in arms.iter().enumerate() {
                let (count, at_us) = cohort.under_way[side];
                if count == 0 {
                    continue;
                }
                let mean_us = arm.latency.as_micros() as f64;
                let stays = (-(now_us.saturating_sub(at_us) as f64) / mean_us.max(1e-9)).exp();
                let left = binomial(chance, count, stays);
                cohort.under_way[side] = (left, now_us);
                for tally in [&mut cohort.sides[side], &mut self.totals[side]] {
                    tally.answered += count - left;
                    tally.ended += count - left;
                }
            }
        }
    }

    /// Whether nothing is under way.
    pub fn is_over(&self) -> bool {
        self.totals.iter().all(|tally| tally.open() == 0)
    }

    /// Shows the cohorts since one, as the recorder does, and forgets older ones.
    pub fn kept(&mut self, since: u64, now: u64, slots: &mut Vec<Slot>) -> KeptCohorts {
        let begin = slots.len();
        for (rung, start) in ladder(since, now + 1) {
            slots.push(Slot { start, span: SPANS[rung], ..Slot::default() });
        }
        let first = slots.get(begin).map_or(0, |slot| slot.start);
        while self.cohorts.front().is_some_and(|cohort| cohort.number < first && cohort.is_over()) {
            self.cohorts.pop_front();
        }
        let (mut index, mut length) = (begin, 0);
        for at in 0..self.cohorts.len() {
            let cohort = &self.cohorts[at];
            while slots.get(index).is_some_and(|slot| slot.end() <= cohort.number) {
                index += 1;
            }
            if let Some(slot) = slots.get_mut(index).filter(|slot| slot.start <= cohort.number) {
                slot.stable = slot.stable.plus(&cohort.sides[0]);
                slot.canary = slot.canary.plus(&cohort.sides[1]);
                // What lies in one slot now does so for good, for coarser ones begin and end where finer ones do.
                let is_older = |before: &usize| self.cohorts[*before].number >= slot.start;
                if let Some(before) = usize::checked_sub(length, 1).filter(is_older)
                    && [before, at].iter().all(|place| self.cohorts[*place].is_over())
                {
                    let cohort = std::mem::take(&mut self.cohorts[at]);
                    self.cohorts[before].join(&cohort);
                    continue;
                }
            }
            self.cohorts.swap(length, at);
            length += 1;
        }
        self.cohorts.truncate(length);
        KeptCohorts { now, totals: self.totals, slots: begin..slots.len() }
    }

    /// Forgets old cohorts that are over, where nobody asks for any.
    pub fn forget(&mut self, now: u64) {
        let is_old = |cohort: &Cohort| cohort.number + FORGOTTEN_AFTER < now && cohort.is_over();
        while self.cohorts.front().is_some_and(is_old) {
            self.cohorts.pop_front();
        }
    }

    /// A cohort, if it is young enough to be kept; younger ones come later.
    fn at(&mut self, number: u64) -> Option<&mut Cohort> {
        let place = self.cohorts.partition_point(|cohort| cohort.number + cohort.span <= number);
        if self.cohorts.get(place).is_none_or(|cohort| cohort.number > number) {
            self.cohorts.insert(place, Cohort { number, span: 1, ..Cohort::default() });
        }
        self.cohorts.get_mut(place)
    }
}
