//! One weight epoch as it is judged: which of its cohorts have entered, and by which tables.
//!
//! Failures and refusals enter once the requests of both versions have ended, comparisons of latency once their limits
//! have passed; so each has a cut of its own, and everything dispatched before it has entered exactly once.

use std::collections::VecDeque;

use super::tables::{PartTables, Tables};
use crate::analysis::cohort::{Side, Tally, View};
use crate::analysis::latency_span::PROCESSES;
use crate::lambda::function::Revision;
use crate::model::weight::Weight;

/// What was set aside for copies, and what was not.
pub(super) const PARTS: usize = 2;
pub(super) const ASIDE: usize = 0;
pub(super) const DRAWN: usize = 1;

/// The comparisons of latency, and `p99Max` after the last one.
pub(super) const SLOWNESSES: usize = PROCESSES + 1;

/// Once a cohort is this old, whoever was answered well counts as good; a later break turns it.
const ANSWER_IS_ENOUGH_AFTER: u64 = 200;
/// Once a cohort is this old, nobody waits for it.
const LAST: u64 = 19_200;
/// Tables of so many stretches are kept for cohorts that have not entered; the last of them then stands for longer.
const TABLES_MAX: usize = 128;

/// Requests of both versions, stable's first, cumulatively.
pub(super) type Paced = [[Tally; 2]; PARTS];

/// One weight epoch.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Queue {
    pub epoch: Revision,
    pub weight: Weight,
    /// Cohorts before this one are held against wide limits.
    pub wide_until: u64,
    /// The first cohort of which failures have not entered.
    pub cut: u64,
    /// What has entered, cumulatively, by part and side.
    pub entered: Paced,
    /// The same for each comparison of latency.
    pub cuts: [u64; SLOWNESSES],
    pub paced: [Paced; SLOWNESSES],
    /// Whether cohorts are kept of it somewhere, and not counts alone.
    pub has_cohorts: bool,
    /// Whether anything dispatched may still have to enter somewhere.
    pub is_open: bool,
    /// Requests of which failures have not entered: stable's, the canary's.
    pub open: [u64; 2],
    tables: VecDeque<Tables>,
}

/// The cohorts of an epoch, those set aside and those drawn.
#[derive(Clone, Copy, Debug)]
pub(super) struct Views<'a> {
    pub parts: [View<'a>; PARTS],
    /// Whether no request of it is under way, nor will be.
    pub is_final: bool,
}

impl Default for Views<'_> {
    fn default() -> Self {
        Views { parts: [View::default(), View::default()], is_final: true }
    }
}

impl<'a> Views<'a> {
    fn any(&self) -> &View<'a> {
        if self.parts[DRAWN].is_empty() { &self.parts[ASIDE] } else { &self.parts[DRAWN] }
    }

    pub fn is_empty(&self) -> bool {
        self.any().is_empty()
    }

    pub fn has_aside(&self) -> bool {
        !self.parts[ASIDE].is_empty()
    }

    pub fn now(&self) -> u64 {
        self.any().now()
    }

    pub fn len(&self) -> usize {
        self.any().len()
    }

    pub fn bounds(&self, index: usize) -> (u64, u64) {
        self.any().bounds(index)
    }

    /// The first slot of which something lies at or after a cohort.
    pub fn first_after(&self, cut: u64) -> usize {
        (0..self.len()).find(|index| self.bounds(*index).1 > cut).unwrap_or(self.len())
    }

    /// Whether nobody is dispatched in a slot any more.
    pub fn is_closed(&self, index: usize) -> bool {
        self.is_final || self.bounds(index).1 <= self.now()
    }

    /// How many cohorts ago a slot ended.
    pub fn age(&self, index: usize) -> u64 {
        self.now().saturating_sub(self.bounds(index).1)
    }

    /// Whether whoever was answered well counts as good in a slot.
    pub fn is_old(&self, index: usize) -> bool {
        self.age(index) >= ANSWER_IS_ENOUGH_AFTER
    }

    fn all(&self, index: usize, is: impl Fn(&Tally) -> bool) -> bool {
        let sides = [Side::Stable, Side::Canary];
        self.parts.iter().all(|part| sides.iter().all(|side| is(&part.of(index, *side))))
    }

    /// Whether it is known of every request of a slot what became of it.
    pub fn is_settled(&self, index: usize) -> bool {
        self.is_final
            || self.all(index, |tally| tally.open() == 0)
            || (self.is_old(index) && self.all(index, |tally| tally.unanswered() == 0))
            || self.age(index) >= LAST
    }

    /// Whether a slot has no request at all.
    pub fn is_idle(&self, index: usize) -> bool {
        self.all(index, |tally| tally.dispatched == 0)
    }

    /// Whether the canary failed or refused a request of a slot, or its client gave one up.
    pub fn is_bad(&self, index: usize) -> bool {
        !self.parts.iter().all(|part| {
            let canary = part.of(index, Side::Canary);
            canary.failed + canary.refused + canary.gave_up == 0
        })
    }

    /// Everything that was dispatched before a slot begins.
    pub fn before(&self, index: usize) -> Paced {
        std::array::from_fn(|part| {
            let part = &self.parts[part];
            [part.before(index, Side::Stable), part.before(index, Side::Canary)]
        })
    }
}

impl Queue {
    pub fn new(epoch: Revision, weight: Weight) -> Queue {
        Queue {
            epoch,
            weight,
            wide_until: 0,
            cut: 0,
            entered: Paced::default(),
            cuts: [0; SLOWNESSES],
            paced: Default::default(),
            has_cohorts: false,
            is_open: false,
            open: [0; 2],
            tables: VecDeque::new(),
        }
    }

    /// The first cohort of which anything may have to be told.
    pub fn needs_since(&self) -> u64 {
        self.cuts.iter().copied().fold(self.cut, u64::min)
    }

    /// The newest tables.
    pub fn newest(&self) -> Option<&Tables> {
        self.tables.back()
    }

    pub fn newest_mut(&mut self) -> Option<&mut Tables> {
        self.tables.back_mut()
    }

    /// Takes new tables for the cohorts from `tables.from` on, and forgets those that nothing is judged by any more.
    pub fn renew(&mut self, tables: Tables) {
        let least = self.cuts.iter().copied().fold(self.cut, u64::min);
        while self.tables.len() > 1 && self.tables[1].from <= least {
            self.tables.pop_front();
        }
        if self.tables.back().is_some_and(|last| last.from >= tables.from) {
            self.tables.pop_back();
        }
        if self.tables.len() < TABLES_MAX {
            self.tables.push_back(tables);
        }
    }

    /// Which tables judge a cohort; the first ones judge whatever came before them, too.
    pub fn place(&self, cohort: u64) -> usize {
        self.tables.partition_point(|tables| tables.from <= cohort).saturating_sub(1)
    }

    pub fn at(&self, cohort: u64) -> Option<&Tables> {
        self.tables.get(self.place(cohort))
    }
}

impl Tables {
    pub fn part(&self, part: usize) -> Option<&PartTables> {
        if part == DRAWN { Some(&self.drawn) } else { self.aside.as_deref() }
    }
}
