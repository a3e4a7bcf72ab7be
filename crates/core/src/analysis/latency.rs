//! Latency: is this canary slower than its limits allow?
//!
//! Reduced to failures. Let `x` be stable's past quantile, rounded to an edge of the histogram and frozen; a stable
//! request *exceeds* if it took longer than `x`, a canary request if it took longer than `m x + added`. If every canary
//! latency were distributed as at most `m` times stable's plus `added`, then `P(canary exceeds) <= P(stable exceeds)`,
//! whatever `x` is: the null hypothesis of `harm` with ratio 1 and nothing added. So four processes, at the median and
//! at p90, p99 and p99.9, are supermartingales by the derivation there, and their mean is one. A stale or wrong `x`
//! costs power, never validity. The canary's threshold is rounded up to the next edge, in its favour.
//!
//! A cohort (`cohort`) enters a comparison as soon as the comparison's limit has passed since it closed. By then every
//! request of *both* arms is decided, for it was answered within its edge or it was not, whether it is still under way or
//! has long ended: so nothing is pending, nothing turns, and a canary that hangs is found after one limit and not after
//! the timeout. Edges are fixed before the requests they count are dispatched, and what is left of them enters before they
//! go. A request that its client gave up, or that failed without any answer, within the edge was not slow.
//!
//! While the canary warms up (`warmup`) it is held against a wide limit, `5 x + added`, instead: the same null hypothesis
//! with five in the place of `m`.
//!
//! Heuristic: excesses clump more than failures do (one slow garbage collection, one lock), so each process has a
//! dispersion of its own; see `dispersion` for what that is worth.
//!
//! `p99Max` is a ceiling (`ceiling`) on the share of requests slower than it, at most 1 %.

use crate::analysis::latency_span::{PROCESSES, bucket_up};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::boundary::Margin;
use super::ceiling::Ceiling;
use super::cohort::{CEILING_EDGE, EDGES, Tally};
use super::dispersion::Damping;
use super::harm::{Harm, HarmTable};
use super::mixture::half_and_half;
use super::past::LatencyPast;
use super::{Arms, Counts, ln_sum};
use crate::model::histogram::upper_edge_us;

/// The share of requests that may be slower than `p99Max`.
const CEILING_SHARE: f64 = 0.01;

/// What a plan accepts.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LatencySettings {
    /// m, at least 1.
    pub ratio: f64,
    /// Added to m times stable, in microseconds.
    pub added_us: u64,
    /// The bucket above which a request is slower than `p99Max`.
    pub ceiling_bucket: Option<usize>,
    /// How long a canary warms up at least; nothing where it does not.
    pub warmup: Duration,
}

/// What one comparison holds each arm against.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Comparison {
    /// Stable exceeds above this bucket.
    pub stable_bucket: usize,
    /// The canary exceeds above this one.
    pub near_bucket: usize,
    /// While it warms up it exceeds above this one.
    pub wide_bucket: usize,
    /// The share of stable's requests that probably exceeds.
    pub stable_rate: f64,
}

/// All comparisons, frozen for a while; absent where stable's past says nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Comparisons {
    of: [Option<Comparison>; PROCESSES],
    ceiling_bucket: Option<usize>,
}

/// While the canary warms up, so many times stable is accepted.
const WIDE_RATIO: f64 = 5.0;

impl Comparisons {
    /// Computes the comparisons from stable's past.
    pub fn new(settings: &LatencySettings, past: &LatencyPast) -> Comparisons {
        let of = |index: usize| {
            let stable_bucket = past.edge(index)?;
            let edge_us = upper_edge_us(stable_bucket)?;
            let limit = |ratio: f64| bucket_up((edge_us as f64 * ratio).ceil() as u64 + settings.added_us);
            Some(Comparison {
                stable_bucket,
                near_bucket: limit(settings.ratio),
                wide_bucket: limit(WIDE_RATIO.max(settings.ratio)),
                stable_rate: past.rate_above(index),
            })
        };
        Comparisons { of: std::array::from_fn(of), ceiling_bucket: settings.ceiling_bucket }
    }

    /// What a request of each arm is held against, in microseconds; `u64::MAX` where it is against nothing.
    pub fn edges(&self) -> Edges {
        let edge = |bucket: Option<usize>| bucket.and_then(upper_edge_us).unwrap_or(u64::MAX);
        let of = |bucket: fn(&Comparison) -> usize| self.of.map(|of| edge(of.as_ref().map(bucket)));
        let (stable, near, wide) =
            (of(|of| of.stable_bucket), of(|of| of.near_bucket), of(|of| of.wide_bucket));
        let mut edges = Edges { stable: [u64::MAX; EDGES], canary: [u64::MAX; EDGES] };
        edges.stable[..PROCESSES].copy_from_slice(&stable);
        edges.canary[..PROCESSES].copy_from_slice(&near);
        edges.canary[PROCESSES..CEILING_EDGE].copy_from_slice(&wide);
        edges.canary[CEILING_EDGE] = edge(self.ceiling_bucket);
        edges
    }
}

/// What requests of each arm are held against, in microseconds: one is within an edge if it takes less.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Edges {
    /// The function version's.
    pub stable: [u64; EDGES],
    /// The additional version's.
    pub canary: [u64; EDGES],
}

impl Default for Edges {
    fn default() -> Edges {
        Edges { stable: [u64::MAX; EDGES], canary: [u64::MAX; EDGES] }
    }
}

/// One comparison at one weight.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Threshold {
    /// What it holds each arm against.
    pub at: Comparison,
    table: HarmTable,
}

/// The comparisons of one weight epoch, frozen until the next refresh; absent where stable's past says nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct LatencyTables {
    /// By comparison.
    pub of: [Option<Threshold>; PROCESSES],
    edges: Edges,
}

/// By how much the share of slow requests may differ where stable has no spells.
#[cfg(test)]
const NO_WORSE: Margin = Margin { ratio: 1.0, added: 0.0 };

impl LatencyTables {
    /// Computes the tables for a weight.
    pub fn new(comparisons: &Comparisons, weight: f64, margins: [Margin; PROCESSES]) -> LatencyTables {
        let of = |index: usize| {
            let at = comparisons.of[index]?;
            Some(Threshold { at, table: HarmTable::new(weight, at.stable_rate, margins[index]) })
        };
        LatencyTables { of: std::array::from_fn(of), edges: comparisons.edges() }
    }

    /// After how many microseconds every request is decided in a comparison, or against `p99Max` after the last one.
    pub fn decided_after_us(&self, index: usize, is_warming: bool) -> u64 {
        if index == PROCESSES {
            return finite(self.edges.canary[CEILING_EDGE]);
        }
        finite(self.edges.canary[edge_of(index, is_warming)]).max(finite(self.edges.stable[index]))
    }

    /// What exceeded in a comparison, of requests that are all decided.
    pub fn excesses(&self, index: usize, is_warming: bool, stable: &Tally, canary: &Tally) -> Arms {
        let over = |tally: &Tally, edges: &[u64; EDGES], edge: usize| {
            let failures = match edges[edge] {
                u64::MAX => 0,
                _ => tally.dispatched.saturating_sub(tally.within[edge]),
            };
            Counts { requests: tally.dispatched, failures }
        };
        Arms {
            canary: over(canary, &self.edges.canary, edge_of(index, is_warming)),
            stable: over(stable, &self.edges.stable, index),
        }
    }

    /// The canary's requests, and how many were slower than `p99Max`.
    pub fn beyond_ceiling(&self, canary: &Tally) -> Counts {
        let within = match self.edges.canary[CEILING_EDGE] {
            u64::MAX => canary.dispatched,
            _ => canary.within[CEILING_EDGE],
        };
        Counts { requests: canary.dispatched, failures: canary.dispatched.saturating_sub(within) }
    }
}

fn edge_of(index: usize, is_warming: bool) -> usize {
    if is_warming { PROCESSES + index } else { index }
}

fn finite(edge_us: u64) -> u64 {
    if edge_us == u64::MAX { 0 } else { edge_us }
}

/// The evidence that a canary is slower, over a whole rollout.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct LatencyHarm {
    harm: [Harm; PROCESSES],
    ceiling: Ceiling,
    /// What was judged of each comparison, for people.
    totals: [Arms; PROCESSES],
}

impl LatencyHarm {
    /// Pays out of the reserve of one comparison, or of the ceiling after the last one, up to `periods`.
    pub fn pay_out_until(&mut self, index: usize, periods: u64) {
        match self.harm.get_mut(index) {
            Some(harm) => harm.pay_out_until(periods),
            None => self.ceiling.pay_out_until(periods),
        }
    }

    /// Judges what exceeded in one comparison by a table fixed before it; `second` is for clipping.
    pub fn update(&mut self, index: usize, threshold: &Threshold, arms: Arms, damping: Damping, second: u64) {
        self.totals[index] = self.totals[index].plus(arms);
        self.harm[index].update(&threshold.table, arms, damping, second);
    }

    /// Judges a block by its own split of the requests (`split`).
    pub fn update_by_own_split(
        &mut self,
        index: usize,
        (threshold, margin): (&Threshold, Margin),
        arms: Arms,
        damping: Damping,
        second: u64,
    ) {
        self.totals[index] = self.totals[index].plus(arms);
        let table = HarmTable::new(arms.share(), threshold.at.stable_rate, margin);
        self.harm[index].update(&table, arms, damping, second);
    }

    /// Judges the canary against `p99Max`.
    pub fn update_ceiling(&mut self, canary: Counts, damping: Damping, second: u64) {
        self.ceiling.update(canary, CEILING_SHARE, damping, second);
    }

    /// The logarithm of the capital: the mean of the four, and half and half with the ceiling where there is one.
    pub fn ln(&self, settings: &LatencySettings) -> f64 {
        let four = ln_sum(self.harm.iter().map(Harm::ln)) - (PROCESSES as f64).ln();
        match settings.ceiling_bucket {
            None => four,
            Some(_) => half_and_half(four, self.ceiling.ln()),
        }
    }

    /// The logarithm of the capital of one comparison.
    pub fn ln_of(&self, index: usize) -> f64 {
        self.harm[index].ln()
    }

    /// What was judged of one comparison: requests and excesses of both arms.
    pub fn totals_of(&self, index: usize) -> Arms {
        self.totals[index]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analysis::latency_span::{LatencySpan, QUANTILES};
    use crate::model::histogram::HistogramSnapshot;

    fn histogram(latencies_us: impl Iterator<Item = u64>) -> HistogramSnapshot {
        let mut histogram = HistogramSnapshot::default();
        latencies_us.for_each(|latency_us| histogram.record(latency_us));
        histogram
    }

    const SETTINGS: LatencySettings =
        LatencySettings { ratio: 1.5, added_us: 10_000, ceiling_bucket: None, warmup: Duration::ZERO };

    #[test]
    fn edges_are_the_quantiles_of_the_past_and_the_canarys_are_rounded_up() {
        let mut past = LatencyPast::default();
        let (seen, none) = (histogram((1..=1000).map(|index| index * 100)), HistogramSnapshot::default());
        past.add(LatencySpan { now: &seen, before: &none });
        past.refresh(0.0);
        let comparisons = Comparisons::new(&SETTINGS, &past);
        for (index, quantile) in QUANTILES.into_iter().enumerate() {
            let at = comparisons.of[index].unwrap();
            let edge_us = upper_edge_us(at.stable_bucket).unwrap() as f64;
            let exact_us = quantile * 100_000.0;
            assert!(edge_us >= exact_us && edge_us <= exact_us * 1.13, "{quantile}: {edge_us}");
            for (bucket, ratio) in [(at.near_bucket, 1.5), (at.wide_bucket, 5.0)] {
                let limit_us = upper_edge_us(bucket).unwrap() as f64;
                let exact_us = edge_us * ratio + 10_000.0;
                assert!(limit_us >= exact_us && limit_us <= exact_us * 1.13, "{quantile}: {limit_us}");
            }
        }
    }

    #[test]
    fn a_limit_on_an_edge_is_that_edge() {
        assert_eq!(upper_edge_us(bucket_up(128)), Some(128));
        assert_eq!(upper_edge_us(bucket_up(129)), Some(144));
    }

    #[test]
    fn whoever_has_not_answered_within_the_edge_exceeds_and_nothing_exceeds_no_edge() {
        let mut past = LatencyPast::default();
        let (seen, none) = (histogram((1..=1000).map(|index| index * 100)), HistogramSnapshot::default());
        past.add(LatencySpan { now: &seen, before: &none });
        past.refresh(0.0);
        let tables = LatencyTables::new(&Comparisons::new(&SETTINGS, &past), 0.05, [NO_WORSE; PROCESSES]);
        let mut canary = Tally { dispatched: 10, ..Tally::default() };
        (canary.within[0], canary.within[PROCESSES]) = (4, 9);
        let stable = Tally { dispatched: 20, within: [20; EDGES], ..Tally::default() };
        assert_eq!(tables.excesses(0, false, &stable, &canary).canary.failures, 6);
        assert_eq!(tables.excesses(0, true, &stable, &canary).canary.failures, 1);
        assert_eq!(tables.beyond_ceiling(&canary).failures, 0, "the plan names no ceiling");
        assert!(tables.decided_after_us(0, true) > tables.decided_after_us(0, false));
        let nothing_known = Comparisons::new(&SETTINGS, &LatencyPast::default());
        let tables = LatencyTables::new(&nothing_known, 0.05, [NO_WORSE; PROCESSES]);
        assert_eq!(tables.excesses(0, false, &stable, &canary).canary.failures, 0);
        assert!(tables.of[0].is_none());
    }
}
