//! The capital of a mixture of alternatives, with a reserve for a late start.
//!
//! Each of the K alternatives owns capital that its likelihood ratios multiply. The total is what a gambler against
//! the null would own who began with 1, so by Ville's inequality it ever reaches `1/alpha` with probability at most
//! alpha. A reserve starts with a quarter of it and is paid out a little every period: capital that was not yet bet
//! has not been lost, so a canary that breaks after a long health is still found soon. Paying out moves money from one
//! pocket to another; the total stays a supermartingale.
//!
//! Requests count as good when they are dispatched, and turn when they fail (`harm`). A failure that becomes known after
//! a payout gives back what its dispatch had cost, and would give it to capital that was never charged: at a thousand
//! requests a second with 5 % failing after 50 ms that alone rolls back one healthy canary in seven. So what is paid
//! out is charged for the requests under way.

use serde::{Deserialize, Serialize};

use super::clip::Clip;
use super::dispersion::Damping;
use super::{ln_add, ln_sum};

/// How far above the limit the alternatives lie, in log-odds: from hardly worse to entirely broken.
pub const SHIFTS: [f64; 13] = [0.05, 0.1, 0.2, 0.4, 0.7, 1.1, 1.6, 2.3, 3.2, 4.5, 6.0, 8.0, 10.0];

const RESERVE: f64 = 0.25;
const PAYOUT_PERIODS_MIN: u64 = 64;

/// Capital over the alternatives of `SHIFTS`, and the reserve.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
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
    ///
    /// `ln_growth` says what requests that are under way have brought an alternative so far. New capital joins in
    /// that bet as if it had been there, for it will win or lose by how they end; but it may not win by joining.
    pub fn pay_out_until(&mut self, periods: u64, phi: f64, ln_growth: impl Fn(usize) -> f64) {
        let before = self.reserve;
        while self.periods < periods {
            self.periods += 1;
            self.reserve -= self.reserve / self.periods.max(PAYOUT_PERIODS_MIN) as f64;
        }
        let paid = before - self.reserve;
        if paid > 0.0 {
            let ln_each = (paid / SHIFTS.len() as f64).ln();
            for (index, ln_capital) in self.ln_capital.iter_mut().enumerate() {
                let joining = (ln_growth(index) / phi).min(0.0);
                *ln_capital = ln_add(*ln_capital, ln_each + joining);
            }
        }
    }

    /// Multiplies each alternative's capital by the exponential of what `ln_change` says for it.
    pub fn adjust(&mut self, ln_change: impl Fn(usize) -> f64) {
        for (index, ln_capital) in self.ln_capital.iter_mut().enumerate() {
            *ln_capital += ln_change(index);
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
        self.ln_total_less(|_| 0.0)
    }

    /// The logarithm of what the total would be without what `ln_open` says each alternative has only for now.
    pub fn ln_total_less(&self, ln_open: impl Fn(usize) -> f64) -> f64 {
        let settled =
            self.ln_capital.iter().enumerate().map(|(index, ln_capital)| ln_capital - ln_open(index));
        ln_add(self.reserve.ln(), ln_sum(settled))
    }
}
