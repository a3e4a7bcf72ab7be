//! Proof: is this canary harmless enough for the next weight?
//!
//! No evidence of harm is no evidence of safety, so the question is turned around. Null hypothesis: `p_canary >= rho *
//! p_stable + delta_j`. Alternatives below that line bet against its nearest point; crossing `1/beta` has probability
//! at most beta for a canary at or beyond the margin, by the argument of `harm` with the sides exchanged. The process
//! is fresh at every step and keeps no reserve: proof has no reason to come late.
//!
//! The margin comes from a risk budget B, extra failures beyond the accepted ratio as a share of *all* traffic after the
//! advance: at the next weight `w` a canary that is worse by `delta` adds `w * delta`, so `delta_j = B / w_next`. Small
//! steps are let in after few requests, the last one after many.

use serde::{Deserialize, Serialize};

use super::boundary::{LogFactors, Margin, below};
use super::clip::Clip;
use super::dispersion::Damping;
use super::{Arms, ln_sum};

/// Where the alternatives lie, as parts of the margin's rate.
const PARTS: [f64; 5] = [0.01, 0.1, 0.3, 0.6, 0.8];
/// How much capital each begins with.
const PRIOR: [f64; 5] = [0.5, 0.2, 0.15, 0.1, 0.05];

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

    /// What one clean canary request and its share of stable traffic are expected to add to `alternative`.
    fn clean_growth(&self, alternative: usize) -> f64 {
        let factors = &self.factors[alternative];
        let stable = self.stable * factors.stable_failure + (1.0 - self.stable) * factors.stable_success;
        factors.canary_success + (1.0 - self.weight) / self.weight * stable
    }
}

/// The evidence of harmlessness within one step.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Proof {
    ln_capital: [f64; PARTS.len()],
    #[serde(skip)]
    clip: Clip<{ PARTS.len() }>,
}

impl Default for Proof {
    fn default() -> Proof {
        Proof { ln_capital: PRIOR.map(f64::ln), clip: Clip::default() }
    }
}

impl Proof {
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

    /// The logarithm of the capital: 0 is where it began, `ln(1/beta)` is proof.
    pub fn ln(&self) -> f64 {
        ln_sum(self.ln_capital.iter().copied())
    }

    /// The same without the requests under way, which are given with the tables they were counted as good by.
    pub fn ln_settled<'a>(
        &self,
        under_way: impl Iterator<Item = (&'a ProofTable, Arms)> + Clone,
        damping: Damping,
    ) -> f64 {
        let open =
            |index: usize| under_way.clone().map(|(table, arms)| table.factors[index].of(arms)).sum::<f64>();
        ln_sum(
            self.ln_capital
                .iter()
                .enumerate()
                .map(|(index, ln_capital)| ln_capital - open(index) / damping.phi),
        )
    }

    /// About how many more clean canary requests lead to `ln_limit`; `None` where no number would.
    pub fn more_clean_requests(&self, table: &ProofTable, ln_limit: f64, dispersion: f64) -> Option<u64> {
        let reached = |requests: f64| {
            let terms = (0..PARTS.len())
                .map(|index| self.ln_capital[index] + requests * table.clean_growth(index) / dispersion);
            ln_sum(terms) >= ln_limit
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
