//! Many runs of one plan over the same kind of traffic, on every core, and what they come to.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use super::run::{Run, run, run_recorded};
use super::traffic::Traffic;
use serin_core::analysis::ledger::Record;
use serin_core::world::plans::ReadPlan;

/// Runs a plan `runs` times, each from a seed of its own that follows from `seed`; at least one run.
///
/// The same seed gives the same runs in the same order, on however many cores.
pub fn many(plan: &Arc<ReadPlan>, traffic: &Traffic, until: Duration, runs: u64, seed: u64) -> Vec<Run> {
    let next = AtomicU64::new(0);
    let work = || {
        let mut done = Vec::new();
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= runs {
                return done;
            }
            done.push((number, run(plan, traffic, until, seed_of(seed, number))));
        }
    };
    let cores = thread::available_parallelism().map_or(1, usize::from);
    let mut all: Vec<(u64, Run)> = thread::scope(|scope| {
        let others: Vec<_> = (1..cores).map(|_| scope.spawn(work)).collect();
        let mut all = work();
        for other in others {
            all.extend(other.join().expect("a run does not panic"));
        }
        all
    });
    all.sort_unstable_by_key(|(number, _)| *number);
    all.into_iter().map(|(_, run)| run).collect()
}

/// The first of `many`'s runs without what comes after a promotion, with what was counted in it as the daemon keeps it.
pub fn run_first_recorded(
    plan: &Arc<ReadPlan>,
    traffic: &Traffic,
    until: Duration,
    seed: u64,
) -> (Run, Option<Record>) {
    run_recorded(plan, traffic, until, seed_of(seed, 0))
}

/// Seeds far apart for neighbouring numbers, and for neighbouring seeds.
fn seed_of(seed: u64, number: u64) -> u64 {
    const ODD: u64 = 0x9e37_79b9_7f4a_7c15;
    seed.wrapping_mul(ODD).wrapping_add(number).wrapping_mul(ODD)
}

/// The middle and the high end of some numbers.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spread {
    /// Half of them are at most this.
    pub median: f64,
    /// Nine of ten are at most this.
    pub p90: f64,
    /// Nineteen of twenty are at most this.
    pub p95: f64,
}

impl Spread {
    /// The spread of numbers; `None` where there are none.
    pub fn of(numbers: impl IntoIterator<Item = f64>) -> Option<Spread> {
        let mut numbers: Vec<f64> = numbers.into_iter().collect();
        numbers.sort_unstable_by(f64::total_cmp);
        let least_above = |share: f64| {
            let rank = (numbers.len() as f64 * share).ceil() as usize;
            numbers.get(rank.max(1) - 1).copied()
        };
        Some(Spread { median: least_above(0.5)?, p90: least_above(0.9)?, p95: least_above(0.95)? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spreads_are_nearest_ranks() {
        assert_eq!(Spread::of([]), None);
        assert_eq!(Spread::of([7.0]), Some(Spread { median: 7.0, p90: 7.0, p95: 7.0 }));
        let spread = Spread::of((1..=100).rev().map(f64::from)).unwrap();
        assert_eq!((spread.median, spread.p90, spread.p95), (50.0, 90.0, 95.0));
    }

    #[test]
    fn no_two_runs_share_a_seed() {
        let mut seeds: Vec<u64> =
            (0..50).flat_map(|seed| (0..2000).map(move |number| seed_of(seed, number))).collect();
        seeds.sort_unstable();
        seeds.dedup();
        assert_eq!(seeds.len(), 50 * 2000);
    }
}
