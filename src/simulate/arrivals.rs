//! The virtual router: draws made-up traffic by the weights committed, and counts it as the recorder does.
//!
//! Requests count in the epoch they were dispatched in, when they were dispatched; failures and latencies count there
//! when they become known.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

use rand::rngs::SmallRng;

use super::traffic::{Arm, Traffic, binomial, exponential, poisson, uniform};
use crate::control::judge::{ArmTally, EpochTally};
use crate::domain::alias::Routing;
use crate::domain::arn::VersionNumber;
use crate::domain::function::Revision;

/// Failures of one clump lie within this of the first.
const CLUMP_SPAN_US: f64 = 1e6;

/// What the traffic of one alias has brought so far.
pub(super) struct Arrivals<'a> {
    traffic: &'a Traffic,
    chance: SmallRng,
    canary: VersionNumber,
    with_latency: bool,
    /// When the rollout starts.
    start_us: u64,
    /// One tally for each epoch, oldest first; the last one serves.
    pub tallies: Vec<EpochTally>,
    due: BinaryHeap<Reverse<(u64, Due)>>,
    /// What is under way in each epoch, of stable and of the canary; kept where answers are no events.
    under_way: Vec<[UnderWay; 2]>,
    /// Whether counts moved since they were last looked at.
    pub moved: bool,
    pub requests: u64,
    pub canary_requests: u64,
    pub canary_failures: u64,
}

/// Something that is going to happen to one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Due {
    /// A request that will fail, of a clump.
    Dispatch { canary: bool },
    /// What became of a request.
    Answer { tally: usize, canary: bool, failed: bool, latency_us: u64 },
}

/// Requests of one version in one epoch that have not ended.
#[derive(Clone, Copy, Debug, Default)]
struct UnderWay {
    /// Those that will fail; each of them is an event.
    failing: u64,
    /// Those that will not, as of `at_us`.
    succeeding: u64,
    at_us: u64,
}

impl UnderWay {
    /// Lets those end that do until `now_us`; they have no memory of how long they took already.
    fn pass(&mut self, arm: &Arm, now_us: u64, chance: &mut SmallRng) {
        let mean_us = arm.latency.as_micros() as f64;
        let passed_us = now_us.saturating_sub(self.at_us) as f64;
        self.at_us = now_us;
        let stays = if mean_us > 0.0 { (-passed_us / mean_us).exp() } else { 0.0 };
        self.succeeding = binomial(chance, self.succeeding, stays);
    }

    /// Adds `count` that came evenly over the time until `now_us`, of which some have ended already.
    fn join(&mut self, arm: &Arm, count: u64, from_us: u64, now_us: u64, chance: &mut SmallRng) {
        self.pass(arm, now_us, chance);
        let mean_us = arm.latency.as_micros() as f64;
        let spans =
            if mean_us > 0.0 { now_us.saturating_sub(from_us) as f64 / mean_us } else { f64::INFINITY };
        let stays = if spans > 0.0 { (1.0 - (-spans).exp()) / spans } else { 1.0 };
        self.succeeding += binomial(chance, count, stays);
    }
}

/// Requests per second of each kind; failures are counted in clumps.
struct Rates {
    canary_clumps: f64,
    canary_successes: f64,
    stable_clumps: f64,
    stable_successes: f64,
}

impl Rates {
    fn total(&self) -> f64 {
        self.canary_clumps + self.canary_successes + self.stable_clumps + self.stable_successes
    }
}

impl<'a> Arrivals<'a> {
    pub(super) fn new(
        traffic: &'a Traffic,
        chance: SmallRng,
        canary: VersionNumber,
        with_latency: bool,
    ) -> Arrivals<'a> {
        Arrivals {
            traffic,
            chance,
            canary,
            with_latency,
            start_us: traffic.prior.as_micros() as u64,
            tallies: Vec::new(),
            due: BinaryHeap::new(),
            under_way: Vec::new(),
            moved: false,
            requests: 0,
            canary_requests: 0,
            canary_failures: 0,
        }
    }

    /// Serves by another routing from now on, unless the epoch is the one being served.
    pub(super) fn serve(&mut self, epoch: Revision, routing: Routing) -> bool {
        let is_new = self.tallies.last().is_none_or(|last| last.epoch != epoch);
        if is_new {
            self.tallies.push(EpochTally::empty(epoch, routing));
            self.under_way.push(Default::default());
        }
        is_new
    }

    /// Dies and begins anew: counters are gone, and so is every request under way.
    pub(super) fn restart(&mut self) {
        let serving = self.tallies.last().map(|last| EpochTally::empty(last.epoch, last.routing));
        self.tallies = serving.into_iter().collect();
        self.under_way = vec![Default::default(); self.tallies.len()];
        self.due.clear();
        self.moved = false;
    }

    /// When the next answer comes in, or the next request of a clump.
    pub(super) fn next_due_us(&self) -> Option<u64> {
        self.due.peek().map(|Reverse((at_us, _))| *at_us)
    }

    /// Lets what is due happen; true if it was a failure of the canary that became known.
    pub(super) fn take_due(&mut self) -> bool {
        let Some(Reverse((at_us, due))) = self.due.pop() else { return false };
        match due {
            Due::Dispatch { canary } => {
                if !canary || self.canary_share() > 0.0 {
                    self.fail(canary, at_us, at_us);
                }
                false
            }
            Due::Answer { tally, canary, failed, latency_us } => {
                self.answer(tally, canary, failed, latency_us);
                canary && failed
            }
        }
    }

    /// Lets traffic flow from `now_us` to `horizon_us`, or to the first thing that must be looked at before; says when.
    pub(super) fn flow(&mut self, now_us: u64, horizon_us: u64) -> u64 {
        let since_start = |at_us: u64| Duration::from_micros(at_us.saturating_sub(self.start_us));
        let change = self.traffic.next_change(since_start(now_us));
        let change_us = change.map(|change| self.start_us + change.as_micros() as u64);
        let horizon_us = change_us.map_or(horizon_us, |change_us| horizon_us.min(change_us).max(now_us + 1));
        let rates = self.rates(since_start(now_us));
        // Streams without memory may be drawn anew from any moment on: from now, while nothing has come since the last
        // look, to the first request; and from there to the first failure of the canary, after which others are known.
        if !self.moved {
            let at_us = now_us + self.gap_us(rates.total());
            if at_us >= horizon_us {
                return horizon_us;
            }
            self.one_request(&rates, at_us);
            return at_us;
        }
        let fails_us = now_us.saturating_add(self.gap_us(rates.canary_clumps));
        let end_us = horizon_us.min(fails_us);
        let span_s = (end_us - now_us) as f64 / 1e6;
        for _ in 0..poisson(&mut self.chance, rates.stable_clumps * span_s) {
            let at_us = self.between(now_us, end_us);
            self.clump(false, at_us, end_us);
        }
        for (canary, rate) in [(true, rates.canary_successes), (false, rates.stable_successes)] {
            let count = poisson(&mut self.chance, rate * span_s);
            self.succeed(canary, count, now_us, end_us);
        }
        if fails_us == end_us {
            self.clump(true, end_us, end_us);
        }
        end_us
    }

    /// The tallies as of now, with what is under way.
    pub(super) fn look(&mut self, now_us: u64) -> &[EpochTally] {
        let traffic = self.traffic;
        for (tally, under_way) in self.tallies.iter_mut().zip(&mut self.under_way) {
            let [stable, canary] = under_way;
            let arms = [
                (&mut tally.primary, stable, &traffic.stable),
                (&mut tally.additional, canary, &traffic.canary),
            ];
            for (counted, under_way, arm) in arms {
                under_way.pass(arm, now_us, &mut self.chance);
                counted.in_flight = match self.with_latency {
                    true => counted.counts.requests.saturating_sub(counted.latency.count()),
                    false => under_way.failing + under_way.succeeding,
                };
            }
        }
        &self.tallies
    }

    fn canary_share(&self) -> f64 {
        self.tallies.last().map_or(0.0, |last| last.routing.share_of(self.canary).fraction())
    }

    fn rates(&self, since_start: Duration) -> Rates {
        let rate = self.traffic.rate_at(since_start);
        let share = self.canary_share();
        let of = |arm: &Arm, rate: f64| {
            let failures = self.traffic.failures_at(arm, since_start);
            (rate * failures / self.traffic.clump.max(1.0), rate * (1.0 - failures))
        };
        let (canary_clumps, canary_successes) = of(&self.traffic.canary, rate * share);
        let (stable_clumps, stable_successes) = of(&self.traffic.stable, rate * (1.0 - share));
        Rates { canary_clumps, canary_successes, stable_clumps, stable_successes }
    }

    /// The time to the next event of a stream; without end where none ever comes.
    fn gap_us(&mut self, rate: f64) -> u64 {
        let gap = exponential(&mut self.chance);
        if rate > 0.0 { (gap / rate * 1e6).min(1e18) as u64 } else { 1 << 62 }
    }

    fn between(&mut self, from_us: u64, to_us: u64) -> u64 {
        from_us + (uniform(&mut self.chance) * (to_us - from_us) as f64) as u64
    }

    fn one_request(&mut self, rates: &Rates, at_us: u64) {
        let mut draw = uniform(&mut self.chance) * rates.total();
        let mut is = |rate: f64| {
            draw -= rate;
            draw < 0.0
        };
        if is(rates.canary_clumps) {
            self.clump(true, at_us, at_us);
        } else if is(rates.stable_clumps) {
            self.clump(false, at_us, at_us);
        } else {
            let canary = is(rates.canary_successes);
            self.succeed(canary, 1, at_us, at_us);
        }
    }

    /// Requests that fail together; those until `end_us` at once, the others when their time comes.
    fn clump(&mut self, canary: bool, at_us: u64, end_us: u64) {
        self.fail(canary, at_us, end_us);
        for _ in 1..self.traffic.clump_size(&mut self.chance) {
            let later_us = at_us + (uniform(&mut self.chance) * CLUMP_SPAN_US) as u64;
            if later_us <= end_us {
                self.fail(canary, later_us, end_us);
            } else {
                self.due.push(Reverse((later_us, Due::Dispatch { canary })));
            }
        }
    }

    /// Dispatches a request that will fail; whatever is known of it by `end_us` is counted at once.
    fn fail(&mut self, canary: bool, at_us: u64, end_us: u64) {
        self.dispatch(canary, 1);
        self.under_way[self.tallies.len() - 1][usize::from(canary)].failing += 1;
        self.canary_failures += u64::from(canary);
        self.answer_later(canary, true, at_us, end_us);
    }

    fn succeed(&mut self, canary: bool, count: u64, from_us: u64, to_us: u64) {
        self.dispatch(canary, count);
        if !self.with_latency {
            let arm = if canary { &self.traffic.canary } else { &self.traffic.stable };
            let under_way = &mut self.under_way[self.tallies.len() - 1][usize::from(canary)];
            under_way.join(arm, count, from_us, to_us, &mut self.chance);
        } else {
            for _ in 0..count {
                let at_us = self.between(from_us, to_us);
                self.answer_later(canary, false, at_us, to_us);
            }
        }
    }

    fn answer_later(&mut self, canary: bool, failed: bool, at_us: u64, end_us: u64) {
        let arm = if canary { &self.traffic.canary } else { &self.traffic.stable };
        let latency_us = arm.latency_us(&mut self.chance);
        let (known_us, tally) = (at_us + latency_us, self.tallies.len() - 1);
        // A canary's failure is always an event of its own: it raises the alarm.
        if known_us <= end_us && !(canary && failed) {
            self.answer(tally, canary, failed, latency_us);
        } else {
            self.due.push(Reverse((known_us, Due::Answer { tally, canary, failed, latency_us })));
        }
    }

    fn dispatch(&mut self, canary: bool, count: u64) {
        self.moved |= count > 0;
        self.requests += count;
        if canary {
            self.canary_requests += count;
        }
        let serving = self.tallies.len() - 1;
        self.arm(serving, canary).counts.requests += count;
    }

    fn answer(&mut self, tally: usize, canary: bool, failed: bool, latency_us: u64) {
        self.moved = true;
        self.under_way[tally][usize::from(canary)].failing -= u64::from(failed);
        let with_latency = self.with_latency;
        let arm = self.arm(tally, canary);
        arm.counts.failures += u64::from(failed);
        if with_latency {
            arm.latency.record(latency_us);
        }
    }

    fn arm(&mut self, tally: usize, canary: bool) -> &mut ArmTally {
        let tally = &mut self.tallies[tally];
        let beside = tally.routing.additional.is_some();
        if canary && beside { &mut tally.additional } else { &mut tally.primary }
    }
}
