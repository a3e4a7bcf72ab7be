//! The capital of a mixture of alternatives, with a reserve for a late start.
//!
//! Each of the K alternatives owns capital that its likelihood ratios multiply. The total is what a gambler against
//! the null would own who began with 1, so by Ville's inequality it ever reaches `1/alpha` with probability at most
//! alpha. A reserve starts with a quarter of it and is paid out a little every period: capital that was not yet bet
//! has not been lost, so a canary that breaks after a long health is still found soon. Paying out moves money from one
//! pocket to another; the total stays a supermartingale.

use serde::{Deserialize, Serialize};

use super::clip::Clip;
use super::dispersion::Damping;
use super::{ln_add, ln_sum};

/// How far above the limit the alternatives lie, in log-odds: from hardly worse to entirely broken.
pub const SHIFTS: [f64; 13] = [0.05, 0.1, 0.2, 0.4, 0.7, 1.1, 1.6, 2.3, 3.2, 4.5, 6.0, 8.0, 10.0];

const RESERVE: f64 = 0.25;
const PAYOUT_PERIODS_MIN: u64 = 64;

/// Capital over the alternatives of `SHIFTS`, and the reserve.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Capital {
    ln_capital: [f64; SHIFTS.len()],
    reserve: f64,
    periods: u64,
    #[serde(skip)]
    clip: Clip<{ SHIFTS.len() }>,
}

impl Default for Capital {
    fn default() -> Capital {
        let each = (1.0 - RESERVE) / SHIFTS.len() as f64;
        Capital { ln_capital: [each.ln(); SHIFTS.len()], reserve: RESERVE, periods: 0, clip: Clip::default() }
    }
}

impl Capital {
    /// Pays out of the reserve until `periods` periods have been paid for.
    pub fn pay_out_until(&mut self, periods: u64) {
        let before = self.reserve;
        while self.periods < periods {
            self.periods += 1;
            self.reserve -= self.reserve / self.periods.max(PAYOUT_PERIODS_MIN) as f64;
        }
        let paid = before - self.reserve;
        if paid > 0.0 {
            let ln_each = (paid / SHIFTS.len() as f64).ln();
            for ln_capital in &mut self.ln_capital {
                *ln_capital = ln_add(*ln_capital, ln_each);
            }
        }
    }

    /// Multiplies each alternative's capital by the exponential of what `ln_growth` says for it, damped.
    ///
    /// `second` is the one this belongs to, for clipping.
    pub fn grow(&mut self, damping: Damping, second: u64, ln_growth: impl Fn(usize) -> f64) {
        if damping.clips {
            self.clip.enter(second);
        }
        for (index, ln_capital) in self.ln_capital.iter_mut().enumerate() {
            let growth = ln_growth(index) / damping.phi;
            *ln_capital += if damping.clips { self.clip.grant(index, growth) } else { growth };
        }
    }

    /// The logarithm of the total.
    pub fn ln_total(&self) -> f64 {
        ln_add(self.reserve.ln(), ln_sum(self.ln_capital.iter().copied()))
    }
}
