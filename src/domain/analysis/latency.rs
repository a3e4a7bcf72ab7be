//! Latency: is this canary slower than its limits allow?
//!
//! Reduced to failures. Let `x` be stable's past quantile, rounded to an edge of the histogram and frozen; a stable
//! request *exceeds* if it took longer than `x`, a canary request if it took longer than `m x + added`. If every canary
//! latency were distributed as at most `m` times stable's plus `added`, then `P(canary exceeds) <= P(stable exceeds)`,
//! whatever `x` is: the null hypothesis of `harm` with ratio 1 and nothing added. So four processes, at the median and
//! at p90, p99 and p99.9, are supermartingales by the derivation there, and their mean is one. A stale or wrong `x`
//! costs power, never validity. The canary's threshold is rounded up to the next edge, in its favour.
//!
//! The mean of the four and the evidence of failures are mixed half and half under the one alpha (`evidence`): a mean of
//! supermartingales is one.
//!
//! A request counts when its answer comes, once, and whole. Failures are counted by dispatch, as successes that may
//! still turn; excesses may not be, for they are late by nature: a request dispatched before the reserve paid out, or
//! before the tables changed, would give capital back that was never charged for it, and with a tenth of all requests
//! exceeding that rolls back healthy canaries. Counting answers has a price of its own: after each change of weight the
//! slower arm's first answers come later than the faster one's. For a canary within its limits that is a fraction of one
//! latency, a heuristic's worth. A request without any answer is a failure and no latency. The first `warmup` of a
//! canary, decided in advance, is left out for both arms: cold starts are not what it will be like.
//!
//! Heuristic: excesses clump more than failures do (one slow garbage collection, one lock), so each process has a
//! dispersion of its own; see `dispersion` for what that is worth.
//!
//! `p99Max` is a ceiling (`ceiling`) on the share of requests slower than it, at most 1 %.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::boundary::Margin;
use super::ceiling::Ceiling;
use super::dispersion::Damping;
use super::harm::{Harm, HarmTable};
use super::past::LatencyPast;
use super::spells::Kind;
use super::{Arms, Counts, ln_add, ln_sum};
use crate::domain::histogram::{HistogramSnapshot, bucket_of, upper_edge_us};

/// The quantiles that are compared.
pub const QUANTILES: [f64; 4] = [0.5, 0.9, 0.99, 0.999];

/// How many they are.
pub const PROCESSES: usize = QUANTILES.len();

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
    /// What is left out at the beginning.
    pub warmup: Duration,
}

/// Latencies counted so far, and those counted at the last look.
#[derive(Clone, Copy, Debug)]
pub struct LatencySpan<'a> {
    /// Now.
    pub now: &'a HistogramSnapshot,
    /// At the last look.
    pub before: &'a HistogramSnapshot,
}

impl LatencySpan<'_> {
    /// How many latencies above a bucket came since the last look.
    fn above(&self, bucket: usize) -> u64 {
        self.now.count_above(bucket).saturating_sub(self.before.count_above(bucket))
    }

    /// How many came since the last look.
    pub fn answers(&self) -> u64 {
        self.now.count().saturating_sub(self.before.count())
    }

    /// Whether none came since the last look.
    pub fn is_empty(&self) -> bool {
        self.answers() == 0
    }
}

/// The bucket that a latency is rounded up in: what lies above it certainly took longer.
pub fn bucket_up(latency_us: u64) -> usize {
    bucket_of(latency_us.saturating_sub(1))
}

/// One comparison: where each arm exceeds, and what that is worth.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Threshold {
    /// Stable exceeds above this bucket.
    pub stable_bucket: usize,
    /// The canary exceeds above this one.
    pub canary_bucket: usize,
    /// The share of stable's requests that probably exceeds.
    pub stable_rate: f64,
    /// What stable's own slow spells excuse.
    margin: Margin,
    table: HarmTable,
}

/// The comparisons of one weight epoch, frozen until the next refresh; absent where stable's past says nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct LatencyTables(pub [Option<Threshold>; PROCESSES]);

/// No more excesses than stable has, but for its own slow spells (`spells`).
fn allowed(past: &LatencyPast, index: usize) -> Margin {
    Margin { ratio: 1.0, added: past.spells[index].level(Kind::Excesses) }
}

impl LatencyTables {
    /// Computes the tables for a weight from stable's past.
    pub fn new(settings: &LatencySettings, weight: f64, past: &LatencyPast) -> LatencyTables {
        let of = |index: usize| {
            let stable_bucket = past.edge(index)?;
            let edge_us = upper_edge_us(stable_bucket)?;
            let limit_us = (edge_us as f64 * settings.ratio).ceil() as u64 + settings.added_us;
            let stable_rate = past.rate_above(index);
            Some(Threshold {
                stable_bucket,
                canary_bucket: bucket_up(limit_us),
                stable_rate,
                margin: allowed(past, index),
                table: HarmTable::new(weight, stable_rate, allowed(past, index)),
            })
        };
        LatencyTables(std::array::from_fn(of))
    }
}

/// What both arms' latencies brought since the last look, by comparison.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Excesses {
    /// Answers and excesses of each comparison.
    pub arms: [Arms; PROCESSES],
    /// The canary's answers, and how many were slower than `p99Max`.
    pub ceiling: Counts,
}

impl Excesses {
    /// Counts what exceeded of the answers that came.
    pub fn count(
        tables: &LatencyTables,
        ceiling_bucket: Option<usize>,
        canary: LatencySpan<'_>,
        stable: LatencySpan<'_>,
    ) -> Excesses {
        let (canary_answers, stable_answers) = (canary.answers(), stable.answers());
        let of = |requests: u64, span: &LatencySpan<'_>, bucket: usize| {
            let failures = if requests == 0 { 0 } else { span.above(bucket) };
            Counts { requests, failures }
        };
        let both = |threshold: Option<Threshold>| {
            threshold.map_or_else(Arms::default, |threshold| Arms {
                canary: of(canary_answers, &canary, threshold.canary_bucket),
                stable: of(stable_answers, &stable, threshold.stable_bucket),
            })
        };
        let ceiling = ceiling_bucket.map(|bucket| of(canary_answers, &canary, bucket)).unwrap_or_default();
        Excesses { arms: tables.0.map(both), ceiling }
    }

    /// Adds what another look brought.
    pub fn plus(&self, more: &Excesses) -> Excesses {
        Excesses {
            arms: std::array::from_fn(|index| self.arms[index].plus(more.arms[index])),
            ceiling: self.ceiling.plus(more.ceiling),
        }
    }

    /// Whether any request of the canary exceeded anything.
    pub fn canary_exceeded(&self) -> bool {
        self.ceiling.failures > 0 || self.arms.iter().any(|arms| arms.canary.failures > 0)
    }
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
    /// Pays out of the reserves for every period of evidence up to `periods`.
    pub fn pay_out_until(&mut self, periods: u64) {
        // Only answers count here, whole and once: none is under way.
        self.harm.iter_mut().for_each(|harm| harm.pay_out_until(periods, std::iter::empty(), Damping::NONE));
        self.ceiling.pay_out_until(periods, Counts::default(), CEILING_SHARE, Damping::NONE);
    }

    /// Judges what exceeded by tables fixed before it; `second` is for clipping.
    pub fn update(
        &mut self,
        tables: &LatencyTables,
        excesses: &Excesses,
        damping: &[Damping; PROCESSES],
        second: u64,
    ) {
        for (index, threshold) in tables.0.iter().enumerate() {
            let Some(threshold) = threshold else { continue };
            self.totals[index] = self.totals[index].plus(excesses.arms[index]);
            self.harm[index].update(&threshold.table, excesses.arms[index], damping[index], second);
        }
    }

    /// Judges a block by its own split of the requests (`split`).
    pub fn update_by_own_split(
        &mut self,
        tables: &LatencyTables,
        excesses: &Excesses,
        damping: &[Damping; PROCESSES],
        second: u64,
    ) {
        for (index, threshold) in tables.0.iter().enumerate() {
            let (Some(threshold), arms) = (threshold, excesses.arms[index]) else { continue };
            self.totals[index] = self.totals[index].plus(arms);
            let table = HarmTable::new(arms.share(), threshold.stable_rate, threshold.margin);
            self.harm[index].update(&table, arms, damping[index], second);
        }
    }

    /// Judges the canary against `p99Max`.
    pub fn update_ceiling(&mut self, excesses: &Excesses, damping: Damping, second: u64) {
        self.ceiling.update(excesses.ceiling, CEILING_SHARE, damping, second);
    }

    /// The logarithm of the capital: the mean of the four, and half and half with the ceiling where there is one.
    pub fn ln(&self, settings: &LatencySettings) -> f64 {
        let four = ln_sum(self.harm.iter().map(Harm::ln)) - (PROCESSES as f64).ln();
        match settings.ceiling_bucket {
            None => four,
            Some(_) => ln_add(four, self.ceiling.ln()) - std::f64::consts::LN_2,
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
        let tables = LatencyTables::new(&SETTINGS, 0.05, &past);
        for (index, quantile) in QUANTILES.into_iter().enumerate() {
            let threshold = tables.0[index].unwrap();
            let edge_us = upper_edge_us(threshold.stable_bucket).unwrap() as f64;
            let exact_us = quantile * 100_000.0;
            assert!(edge_us >= exact_us && edge_us <= exact_us * 1.13, "{quantile}: {edge_us}");
            let limit_us = upper_edge_us(threshold.canary_bucket).unwrap() as f64;
            let exact_us = edge_us * 1.5 + 10_000.0;
            assert!(limit_us >= exact_us && limit_us <= exact_us * 1.13, "{quantile}: {limit_us}");
        }
    }

    #[test]
    fn a_limit_on_an_edge_is_that_edge() {
        assert_eq!(upper_edge_us(bucket_up(128)), Some(128));
        assert_eq!(upper_edge_us(bucket_up(129)), Some(144));
    }

    #[test]
    fn only_what_came_since_the_last_look_exceeds() {
        let before = histogram([10_u64, 500_000].into_iter());
        let mut now = before.clone();
        now.record(700_000);
        now.record(20);
        let span = LatencySpan { now: &now, before: &before };
        assert_eq!(span.above(bucket_up(600_000)), 1);
        assert_eq!(span.above(bucket_up(100_000)), 1);
        assert_eq!(LatencySpan { now: &now, before: &now }.above(0), 0);
    }
}
