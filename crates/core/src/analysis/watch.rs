//! The watch: is a version that was just promoted worse than the one before it was?
//!
//! At 100 % no control arm is left. What is left is the alias's own past: for blocks of ten minutes, of the last hour
//! and of the two hours around this time of day on up to seven days before, the largest `(e+1)/(n+1)` is the reference,
//! and twice that and half a point more the limit. The new version is held against it by a ceiling (`ceiling`), so an
//! alarm has probability at most its alpha *while the rate stays below the limit*: that is the theorem. That the past
//! of the alias says what is usual is a heuristic, and traffic that triples in half an hour is within it.
//!
//! An alarm is no rollback: an outage of something that both versions need looks the same from here. Where a plan says
//! so it leads to a probe, which gives the version before half of the traffic and lets `harm` decide.

use std::collections::VecDeque;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Counts;
use super::ceiling::Ceiling;
use super::dispersion::DispersionRule;
use crate::model::time::Timestamp;

/// How long a block of the reference is.
pub const BLOCK: Duration = Duration::from_secs(600);
const BLOCK_MS: i64 = 600_000;
const HOUR_MS: i64 = 6 * BLOCK_MS;
const DAY_MS: i64 = 24 * HOUR_MS;
/// Blocks are kept for a week and the two hours around it.
const KEPT_MS: i64 = 7 * DAY_MS + 2 * HOUR_MS;
const DAYS: i64 = 7;
const RATIO: f64 = 2.0;
const ADDED: f64 = 0.005;
/// The highest limit that still is one.
const LIMIT_MAX: f64 = 0.99;

/// The limit that reference blocks give: twice the largest of their rates, and half a point.
pub fn limit(blocks: impl Iterator<Item = Counts>) -> f64 {
    let rate = |block: Counts| (block.failures as f64 + 1.0) / (block.requests as f64 + 1.0);
    let reference = blocks.map(rate).fold(0.0, f64::max);
    (RATIO * reference + ADDED).min(LIMIT_MAX)
}

/// What an alias counted over days, in blocks of ten minutes; blocks without requests are not there.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Days(VecDeque<(i64, Counts)>);

impl Days {
    /// Adds what was counted up to now.
    pub fn learn(&mut self, counts: Counts, now: Timestamp) {
        if counts.is_empty() {
            return;
        }
        let start = now.0 - now.0.rem_euclid(BLOCK_MS);
        match self.0.back_mut() {
            // A clock that was set back adds to the newest block.
            Some((newest, sum)) if *newest >= start => *sum = sum.plus(counts),
            _ => self.0.push_back((start, counts)),
        }
        while self.0.front().is_some_and(|(oldest, _)| now.0 - oldest > KEPT_MS) {
            self.0.pop_front();
        }
    }

    /// The blocks a promotion at `now` is compared with: the last hour, and two hours around it on the days before.
    pub fn reference(&self, now: Timestamp) -> impl Iterator<Item = Counts> {
        let belongs = move |start: i64| {
            let age = now.0 - start;
            let is_recent = (0..=HOUR_MS + BLOCK_MS).contains(&age);
            let around = |day: i64| (age - day * DAY_MS).abs() <= HOUR_MS;
            is_recent || (1..=DAYS).any(around)
        };
        self.0.iter().filter(move |(start, _)| belongs(*start)).map(|(_, counts)| *counts)
    }

    /// The days that have changed blocks, from the block that was stored last on: each with all of its blocks.
    pub fn since(&self, start: i64) -> Vec<(i64, Days)> {
        let mut days: Vec<(i64, Days)> = Vec::new();
        let first = start.div_euclid(DAY_MS);
        for (at, counts) in self.0.iter().filter(|(at, _)| at.div_euclid(DAY_MS) >= first) {
            let day = at.div_euclid(DAY_MS);
            match days.last_mut().filter(|(known, _)| *known == day) {
                Some((_, blocks)) => blocks.0.push_back((*at, *counts)),
                None => days.push((day, Days(VecDeque::from([(*at, *counts)])))),
            }
        }
        days
    }

    /// Where the newest block begins, in milliseconds since 1970.
    pub fn newest(&self) -> Option<i64> {
        self.0.back().map(|(start, _)| *start)
    }

    /// Adds the blocks of a later day.
    pub fn append(&mut self, mut later: Days) {
        self.0.append(&mut later.0);
    }

    /// How many blocks are kept.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether nothing was counted.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Watches stored before this was kept were of failures that come one by one, or had just forgotten otherwise.
fn even() -> f64 {
    1.0
}

/// The watch over a version after its promotion.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Watch {
    /// The limit its failing share is held against.
    pub limit: f64,
    /// How unevenly failures came before the promotion: those of a version that breaks must not damp what they show.
    #[serde(default = "even")]
    phi: f64,
    ceiling: Ceiling,
    periods: u64,
    /// What it has answered since the promotion.
    pub seen: Counts,
}

impl Watch {
    /// Begins with what the alias did before.
    ///
    /// `phi` is how unevenly its failures came, at least 1.
    pub fn begin(reference: impl Iterator<Item = Counts>, phi: f64) -> Watch {
        Watch {
            limit: limit(reference),
            phi,
            ceiling: Ceiling::default(),
            periods: 0,
            seen: Counts::default(),
        }
    }

    /// Judges what was counted.
    pub fn update(&mut self, counts: Counts, second: u64) {
        self.seen = self.seen.plus(counts);
        let damping = DispersionRule::Estimated { at_least: 1.0 }.damping(self.phi);
        self.ceiling.update(counts, self.limit, damping, second);
    }

    /// Pays out of the reserve until `periods` periods of ten seconds have been paid for.
    pub fn pay_out_until(&mut self, periods: u64) {
        self.periods = self.periods.max(periods);
        self.ceiling.pay_out_until(self.periods);
    }

    /// The logarithm of the capital; at `ln(1/alpha)` it is an alarm.
    pub fn ln(&self) -> f64 {
        self.ceiling.ln()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::analysis::vectors;

    #[derive(serde::Deserialize)]
    struct Run {
        name: String,
        reference_blocks: Vec<(u64, u64)>,
        ticks: Vec<Value>,
        expect: Expected,
    }

    #[derive(serde::Deserialize)]
    struct Expected {
        limit: f64,
        ln: Vec<f64>,
    }

    fn counts((requests, failures): (u64, u64)) -> Counts {
        Counts { requests, failures }
    }

    #[test]
    fn watches_by_the_book() {
        for run in vectors::of::<Vec<Run>>("watch") {
            let mut watch = Watch::begin(run.reference_blocks.into_iter().map(counts), 1.0);
            vectors::assert_close(watch.limit, run.expect.limit, &run.name);
            let mut periods = 0;
            for (tick, expected) in run.ticks.into_iter().zip(run.expect.ln) {
                match serde_json::from_value(tick) {
                    Ok(tick) => watch.update(counts(tick), 0),
                    Err(_) => {
                        periods += 1;
                        watch.pay_out_until(periods);
                    }
                }
                vectors::assert_close(watch.ln(), expected, &run.name);
            }
        }
    }

    #[test]
    fn the_reference_is_the_last_hour_and_this_time_of_day() {
        let (mut days, now) = (Days::default(), 8 * DAY_MS + 12 * HOUR_MS);
        for block in 0..=(now / BLOCK_MS) {
            let at = Timestamp(block * BLOCK_MS + 1);
            days.learn(counts((100, u64::from((at.0 % DAY_MS) / HOUR_MS == 12))), at);
        }
        assert!(days.len() <= 7 * 144 + 20, "{}", days.len());
        let reference: Vec<Counts> = days.reference(Timestamp(now)).collect();
        assert_eq!(reference.len(), 8 + 7 * 13, "{}", reference.len());
        assert!(limit(reference.into_iter()) > 2.0 * 2.0 / 101.0);
        let idle = Days::default();
        assert!(idle.is_empty());
        assert_eq!(limit(idle.reference(Timestamp(now))), ADDED);
    }

    fn draws(seed: u64) -> impl FnMut() -> f64 {
        let mut state = seed;
        move || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) as f64 / (1_u64 << 31) as f64
        }
    }

    /// An hour at ten requests a second after an hour of the same; `rate` is of the second from the promotion on.
    fn alarm(seed: u64, before: f64, rate: impl Fn(u64) -> f64) -> Option<u64> {
        let mut draw = draws(seed);
        let mut second = |rate: f64| counts((10, (0..10).filter(|_| draw() < rate).count() as u64));
        let mut days = Days::default();
        (0..3600).for_each(|at| days.learn(second(before), Timestamp(at * 1000)));
        let mut watch = Watch::begin(days.reference(Timestamp(3_600_000)), 1.0);
        let mut failed = 0;
        for at in 0..3600_u64 {
            let seen = second(rate(at));
            failed += seen.failures;
            watch.pay_out_until(at / 10);
            watch.update(seen, at);
            if watch.ln() >= 100_f64.ln() {
                return Some(failed);
            }
        }
        None
    }

    #[test]
    fn a_rate_that_triples_is_no_alarm_and_a_broken_version_is() {
        let drift = |at: u64| 0.001 * (1.0 + 2.0 * (at as f64 / 1800.0).min(1.0));
        assert_eq!((0..100).filter(|seed| alarm(*seed, 0.001, drift).is_some()).count(), 0);
        for seed in 0..20 {
            let failed = alarm(seed, 0.001, |at| if at < 1800 { 0.001 } else { 1.0 });
            assert!(failed.is_some_and(|failed| failed <= 40), "{failed:?}");
        }
    }
}
