//! Harm: is this canary worse than its limits allow?
//!
//! Null hypothesis, at every moment: `p_canary(t) <= rho * p_stable(t) + delta`, where `p_stable(t)` may wander in any
//! way, through incidents, day and night. Thirteen alternatives from "hardly worse" to "entirely broken" each bet
//! against the nearest null point (`boundary`), on tables fixed before the counts they judge. Each bet's factor has
//! expectation at most 1 under the null given the past, so the capital is a supermartingale, the mixture of thirteen
//! and the reserve too (`capital`), and crossing `1/alpha` has probability at most alpha over the whole rollout however
//! often anybody looks. It never starts anew because things look fine.
//!
//! Requests enter by cohorts of dispatch, with what finally became of them, in the order in which they were dispatched;
//! what has not ended is bounded (`bound`). So it does not matter how fast either arm shows its failures.

use serde::{Deserialize, Serialize};

use super::boundary::{LogFactors, Margin, above};
use super::capital::{Capital, SHIFTS};
use super::dispersion::Damping;
use super::{Arms, expit, logit};

const LIMIT_RATE_MAX: f64 = 0.99;
const RATE_MAX: f64 = 0.9999;

/// The failure rate an alternative stands for: the limit, moved up in log-odds.
pub(super) fn alternative_rate(limit: f64, shift: f64) -> f64 {
    expit(logit(limit.min(LIMIT_RATE_MAX)) + shift).min(RATE_MAX)
}

/// What each alternative wins or loses by each outcome; fixed until the next refresh.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct HarmTable([LogFactors; SHIFTS.len()]);

impl HarmTable {
    /// Computes the table for a weight from what is known of the stable arm; empty where one arm gets nothing.
    pub fn new(weight: f64, stable: f64, margin: Margin) -> HarmTable {
        if weight <= 0.0 || weight >= 1.0 {
            return HarmTable([LogFactors::default(); SHIFTS.len()]);
        }
        HarmTable(
            SHIFTS.map(|shift| above(weight, alternative_rate(margin.at(stable), shift), stable, margin)),
        )
    }
}

/// The evidence of harm over a whole rollout.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Harm {
    capital: Capital,
}

impl Harm {
    /// Pays out of the reserve for every period of evidence up to `periods`.
    pub fn pay_out_until(&mut self, periods: u64) {
        self.capital.pay_out_until(periods);
    }

    /// Judges a block by a table and a damping fixed before it; `second` is for clipping.
    pub fn update(&mut self, table: &HarmTable, arms: Arms, damping: Damping, second: u64) {
        self.capital.grow(damping, second, |index| table.0[index].of(arms));
    }

    /// Whether nothing was ever judged or paid out.
    pub fn is_untouched(&self) -> bool {
        *self == Harm::default()
    }

    /// The logarithm of the capital: 0 is where it began, `ln(1/alpha)` is a rollback.
    pub fn ln(&self) -> f64 {
        self.capital.ln_total()
    }
}
