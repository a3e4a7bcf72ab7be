//! Proof: is this canary harmless enough for the next weight?
//!
//! No evidence of harm is no evidence of safety, so the question is turned around. Null hypothesis: `p_canary >= rho *
//! p_stable + delta_j`. Alternatives below that line bet against its nearest point; crossing `1/beta` has probability
//! at most beta for a canary at or beyond the margin, by the argument of `harm` with the sides exchanged. The process
//! is fresh at every step.
//!
//! The margin comes from a risk budget B, extra failures beyond the accepted ratio as a share of *all* traffic after the
//! advance: at the next weight `w` a canary that is worse by `delta` adds `w * delta`, so `delta_j = B / w_next`. Small
//! steps are let in after few requests, the last one after many.
//!
//! Proof may not be hoarded. An hour without a failure would put the capital so high that a canary which then breaks
//! stays "proven" for minutes. So after each look it is cut down to `e^2` above the limit (`CAP_ABOVE`): every
//! component is multiplied by the same number below 1, which keeps a supermartingale one whenever it is done, so the
//! bound stands. What was cut cannot be used to come back from a bad stretch; for that a quarter of the capital waits
//! in a reserve, is not cut, and is paid out a little every ten seconds by the prior, as in `capital`.

use serde::{Deserialize, Serialize};

use super::boundary::{LogFactors, Margin, below};
use super::clip::Clip;
use super::dispersion::Damping;
use super::{Arms, ln_add, ln_sum};

/// Where the alternatives lie, as parts of the margin's rate.
const PARTS: [f64; 5] = [0.01, 0.1, 0.3, 0.6, 0.8];
/// How much capital each begins with.
const PRIOR: [f64; 5] = [0.5, 0.2, 0.15, 0.1, 0.05];

/// How far above the limit capital is kept, in nats.
const CAP_ABOVE: f64 = 2.0;
/// What waits in the reserve at the beginning.
const RESERVE: f64 = 0.25;
/// In so many periods most of it has been paid out.
const PAYOUT_PERIODS_MIN: u64 = 64;

/// The largest margin that still is one: beyond it every rate would pass.
const ADDED_MAX: f64 = 0.999;

/// The margin a canary must be proven to stay under before `next_weight`, from the risk budget (a share).
pub fn margin_before(next_weight: f64, ratio: f64, budget: f64) -> Margin {
    Margin { ratio, added: (budget / next_weight).min(ADDED_MAX) }
}

/// What each alternative wins or loses by each outcome; fixed until the next refresh.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ProofTable {
    weight: f64,
    stable: f64,
    factors: [LogFactors; PARTS.len()],
}

impl ProofTable {
    /// Computes the table for a weight from what is known of the stable arm; empty where one arm gets nothing.
    pub fn new(weight: f64, stable: f64, margin: Margin) -> ProofTable {
        let factors = if weight <= 0.0 || weight >= 1.0 {
            [LogFactors::default(); PARTS.len()]
        } else {
            PARTS.map(|part| below(weight, (part * margin.at(stable)).min(1.0), stable, margin))
        };
        ProofTable { weight, stable, factors }
    }

    /// How fast a canary that fails exactly as stable does, at the rate the table was made for, is proven harmless.
    ///
    /// Of a request (either arm's: it is the canary's with the table's weight) an alternative's logarithm grows by `g` on
    /// average, with a variance `v`; the alternative that needs the fewest requests to carry the whole to `ln_limit` counts.
    /// `None` where none of them grows.
    pub fn pace(&self, ln_limit: f64) -> Option<Pace> {
        let (weight, rate) = (self.weight, self.stable);
        let of = |index: usize| {
            let factors = &self.factors[index];
            let outcomes = [
                (weight * rate, factors.canary_failure),
                (weight * (1.0 - rate), factors.canary_success),
                ((1.0 - weight) * rate, factors.stable_failure),
                ((1.0 - weight) * (1.0 - rate), factors.stable_success),
            ];
            let growth: f64 = outcomes.iter().map(|(share, ln)| share * ln).sum();
            let variance = outcomes.iter().map(|(share, ln)| share * (ln - growth).powi(2)).sum();
            Pace { alternative: index, growth, variance, ln_goal: ln_limit - PRIOR[index].ln(), weight }
        };
        let grows = (0..PARTS.len()).map(of).filter(|pace| pace.growth > 0.0);
        grows.min_by(|a, b| a.requests().total_cmp(&b.requests()))
    }

    /// What one clean canary request and its share of stable traffic are expected to add to `alternative`.
    fn clean_growth(&self, alternative: usize) -> f64 {
        let factors = &self.factors[alternative];
        let stable = self.stable * factors.stable_failure + (1.0 - self.stable) * factors.stable_success;
        factors.canary_success + (1.0 - self.weight) / self.weight * stable
    }
}

/// How fast proof comes for a canary that is as good as stable.
///
/// The logarithm of the best alternative is a random walk with drift; the first time it reaches the goal `L` is about
/// inverse Gaussian, with a mean of `L/g` requests and a variance of `L v/g^3`. Both err to the long side: the other
/// alternatives and the reserve help, and the table follows what is learnt of stable.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Pace {
    /// Which alternative it is.
    pub alternative: usize,
    /// g, in nats a request of either arm.
    pub growth: f64,
    /// v.
    pub variance: f64,
    ln_goal: f64,
    weight: f64,
}

/// The 90th percentile of a normal distribution.
const NINE_OF_TEN: f64 = 1.2816;

impl Pace {
    /// The same where log factors are divided by a dispersion, and vary by it.
    pub fn damped(self, phi: f64) -> Pace {
        Pace { growth: self.growth / phi, variance: self.variance / phi, ..self }
    }

    fn requests(&self) -> f64 {
        self.ln_goal / self.growth
    }

    /// Canary requests until the proof stands, on average.
    pub fn canary_requests(&self) -> f64 {
        self.weight * self.requests()
    }

    /// Canary requests by which the proof stands nine times in ten.
    pub fn canary_requests_p90(&self) -> f64 {
        let spread = (self.ln_goal * self.variance / self.growth.powi(3)).sqrt();
        self.weight * (self.requests() + NINE_OF_TEN * spread)
    }
}

/// The evidence of harmlessness within one step.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Proof {
    ln_capital: [f64; PARTS.len()],
    /// Evidence stored before there was one has none.
    #[serde(default)]
    reserve: f64,
    #[serde(default)]
    periods: u64,
    #[serde(skip)]
    clip: Clip<{ PARTS.len() }>,
}

impl Default for Proof {
    fn default() -> Proof {
        Proof::with_reserve(RESERVE)
    }
}

impl Proof {
    /// Begins with everything bet at once: for what is judged in one look.
    pub fn without_reserve() -> Proof {
        Proof::with_reserve(0.0)
    }

    fn with_reserve(reserve: f64) -> Proof {
        let ln_capital = PRIOR.map(|prior| ((1.0 - reserve) * prior).ln());
        Proof { ln_capital, reserve, periods: 0, clip: Clip::default() }
    }

    /// Pays out of the reserve for one more period of ten seconds.
    pub fn pay_out(&mut self) {
        self.periods += 1;
        let paid = self.reserve / self.periods.max(PAYOUT_PERIODS_MIN) as f64;
        self.reserve -= paid;
        self.bet(paid);
    }

    /// Bets the whole reserve now, as where there never was one.
    pub fn bet_all(&mut self) {
        let all = std::mem::take(&mut self.reserve);
        self.bet(all);
    }

    fn bet(&mut self, paid: f64) {
        if paid > 0.0 {
            for (ln_capital, prior) in self.ln_capital.iter_mut().zip(PRIOR) {
                *ln_capital = ln_add(*ln_capital, (paid * prior).ln());
            }
        }
    }

    /// Judges a block by a table and a damping fixed before it; `second` is for clipping.
    pub fn update(&mut self, table: &ProofTable, arms: Arms, damping: Damping, second: u64) {
        if damping.clips {
            self.clip.enter(second);
        }
        for (index, (ln_capital, factors)) in self.ln_capital.iter_mut().zip(&table.factors).enumerate() {
            let growth = factors.of(arms) / damping.phi;
            *ln_capital += if damping.clips { self.clip.grant(index, growth) } else { growth };
        }
    }

    /// Cuts off what stands too far above the limit; the reserve stays.
    pub fn cap(&mut self, ln_limit: f64) {
        let above = self.ln() - (ln_limit + CAP_ABOVE);
        if above > 0.0 {
            self.ln_capital.iter_mut().for_each(|ln_capital| *ln_capital -= above);
        }
    }

    /// The logarithm of the capital: 0 is where it began, `ln(1/beta)` is proof.
    pub fn ln(&self) -> f64 {
        self.total_of(self.ln_capital.iter().copied())
    }

    fn total_of(&self, components: impl Iterator<Item = f64> + Clone) -> f64 {
        ln_add(ln_sum(components), self.reserve.ln())
    }

    /// About how many more clean canary requests lead to `ln_limit`; `None` where no number would.
    pub fn more_clean_requests(&self, table: &ProofTable, ln_limit: f64, dispersion: f64) -> Option<u64> {
        let reached = |requests: f64| {
            let terms = (0..PARTS.len())
                .map(|index| self.ln_capital[index] + requests * table.clean_growth(index) / dispersion);
            self.total_of(terms) >= ln_limit
        };
        if reached(0.0) {
            return Some(0);
        }
        let mut high = 1.0;
        while !reached(high) {
            high *= 2.0;
            if high > 1e12 {
                return None;
            }
        }
        let mut low = high / 2.0;
        while high - low > 1.0 {
            let middle = f64::midpoint(low, high);
            if reached(middle) { high = middle } else { low = middle }
        }
        Some(high.ceil() as u64)
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;
    use serde_json::Value;

    use super::*;
    use crate::analysis::{Counts, vectors};

    const RATIO: f64 = 1.2;

    fn arms([nc, ec, ns, es]: [u64; 4]) -> Arms {
        let of = |requests, failures| Counts { requests, failures };
        Arms { canary: of(nc, ec), stable: of(ns, es) }
    }

    #[derive(Deserialize)]
    struct Run {
        name: String,
        w: f64,
        ts: f64,
        rho: f64,
        delta: f64,
        ticks: Vec<Value>,
        expect_ln_e: Vec<f64>,
    }

    #[test]
    fn proof_with_its_cap_tick_by_tick() {
        for run in vectors::of::<Vec<Run>>("proof") {
            let table = ProofTable::new(run.w, run.ts, Margin { ratio: run.rho, added: run.delta });
            let mut proof = Proof::default();
            for (tick, expected) in run.ticks.iter().zip(&run.expect_ln_e) {
                match serde_json::from_value::<[u64; 4]>(tick.clone()) {
                    Ok(counts) => {
                        proof.update(&table, arms(counts), Damping::NONE, 0);
                        proof.cap(20_f64.ln());
                    }
                    Err(_) => proof.pay_out(),
                }
                vectors::assert_close(proof.ln(), *expected, &run.name);
            }
        }
    }

    #[derive(Deserialize)]
    struct Need {
        w: f64,
        p: f64,
        next: f64,
        expect: NeedExpected,
    }

    #[derive(Deserialize)]
    struct NeedExpected {
        alternative: usize,
        growth: f64,
        variance: f64,
        canary_requests: f64,
        canary_requests_p90: f64,
    }

    #[test]
    fn the_pace_of_every_vector() {
        for need in vectors::of::<Vec<Need>>("need") {
            let table = ProofTable::new(need.w, need.p, margin_before(need.next, RATIO, 0.005));
            let pace = table.pace(20_f64.ln()).unwrap();
            let (expected, what) = (need.expect, format!("{} to {}", need.w, need.next));
            assert_eq!(pace.alternative, expected.alternative, "{what}");
            vectors::assert_close(pace.growth, expected.growth, &what);
            vectors::assert_close(pace.variance, expected.variance, &what);
            vectors::assert_close(pace.canary_requests(), expected.canary_requests, &what);
            vectors::assert_close(pace.canary_requests_p90(), expected.canary_requests_p90, &what);
        }
    }

    /// How many canary requests fail, one of five, until a proof of an hour without failures falls.
    fn failures_until_it_falls(cap: bool) -> u64 {
        let table = ProofTable::new(0.05, 0.001, margin_before(0.25, RATIO, 0.005));
        let (mut proof, ln_limit) = (Proof::default(), 20_f64.ln());
        let mut second = |failed| {
            proof.update(&table, arms([5, failed, 95, 0]), Damping::NONE, 0);
            if cap {
                proof.cap(ln_limit);
            }
            proof.ln() >= ln_limit
        };
        (0..3600).for_each(|_| _ = second(0));
        (1..).find(|_| !second(1)).unwrap_or(u64::MAX)
    }

    #[test]
    fn proof_fades_after_a_few_failures() {
        assert!(failures_until_it_falls(true) <= 3);
        assert!(failures_until_it_falls(false) > 100, "so it never was hoarded");
    }

    #[test]
    fn a_reserve_bet_at_once_is_no_reserve() {
        let mut proof = Proof::default();
        proof.bet_all();
        assert!((proof.ln() - Proof::without_reserve().ln()).abs() < 1e-12);
    }
}
