//! Ceilings: is a version worse than a fixed rate, with no other to compare it with?
//!
//! Null hypothesis: `p <= max`, a number from the plan. The likelihood ratio of a rate above `max` against `max` itself
//! has expectation at most 1 under every rate below `max`, because it increases with the outcome "failed". The same
//! thirteen shifts and the same reserve as in `harm`, so the same bound holds by the same argument. It is all that
//! guards at 100 %, where no control arm is left.

use serde::{Deserialize, Serialize};

use super::Counts;
use super::capital::{Capital, SHIFTS};
use super::dispersion::Damping;
use super::harm::alternative_rate;

/// The evidence that a version lies above a fixed rate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Ceiling {
    capital: Capital,
}

impl Ceiling {
    /// Pays out of the reserve for every period of evidence up to `periods`.
    pub fn pay_out_until(&mut self, periods: u64) {
        self.capital.pay_out_until(periods);
    }

    /// Judges counts of the version against `max`, a share between 0 and 1; `second` is for clipping.
    pub fn update(&mut self, counts: Counts, max: f64, damping: Damping, second: u64) {
        self.capital.grow(damping, second, |index| ln_growth(counts, max, index));
    }

    /// The logarithm of the capital.
    pub fn ln(&self) -> f64 {
        self.capital.ln_total()
    }
}

/// What counts bring one alternative.
fn ln_growth(counts: Counts, max: f64, index: usize) -> f64 {
    let rate = alternative_rate(max, SHIFTS[index]);
    if rate <= max {
        return 0.0;
    }
    let failure = (rate / max).ln();
    let success = (-rate).ln_1p() - (-max).ln_1p();
    counts.failures as f64 * failure + counts.successes() * success
}
