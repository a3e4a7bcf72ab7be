//! Harm: is this canary worse than its limits allow?
//!
//! Null hypothesis, at every moment: `p_canary(t) <= rho * p_stable(t) + delta`, where `p_stable(t)` may wander in any
//! way, through incidents, day and night. Thirteen alternatives from "hardly worse" to "entirely broken" each bet
//! against the nearest null point (`boundary`), on tables fixed before the counts they judge. Each bet's factor has
//! expectation at most 1 under the null given the past, so the capital is a supermartingale, the mixture of thirteen
//! and the reserve too (`capital`), and crossing `1/alpha` has probability at most alpha over the whole rollout however
//! often anybody looks. It never starts anew because things look fine.
//!
//! Requests count when dispatched, failures when known: a pending request is a success that may still turn, and
//! the test is made only when a canary failure has arrived. Counting completions instead rolls back healthy, slower
//! canaries, because in the first moments only the fast outcomes, failures among them, are in.
//!
//! Counting dispatches alone is not enough either. Stable requests under way stand in the capital as good, and in an
//! incident that both arms share a third of them will not be; a canary failure that arrives meanwhile finds the capital
//! too high. Five healthy canaries in a hundred were rolled back so, at a hundred requests a second. So the capital is
//! looked at in both ways (`ln_with`) and the smaller one decides. Leaving out what is under way is exact when
//! outcomes become known equally fast on both arms, for then which of them ends next says nothing about its arm;
//! counting it as good guards the canary that is slower. That both together hold for a slower canary is a heuristic.

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
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Harm {
    capital: Capital,
}

impl Harm {
    /// Pays out of the reserve for every period of evidence up to `periods`.
    ///
    /// `under_way` are the requests that have not ended, all counted as good, with the tables they will turn by.
    pub fn pay_out_until<'a>(
        &mut self,
        periods: u64,
        under_way: impl Iterator<Item = (&'a HarmTable, Arms)> + Clone,
        damping: Damping,
    ) {
        let growth =
            |index: usize| under_way.clone().map(|(table, pending)| table.0[index].of(pending)).sum();
        self.capital.pay_out_until(periods, damping.phi, growth);
    }

    /// Takes back what was bet on the requests under way, and bets by new tables.
    ///
    /// They were charged as good by the old tables and will turn, if they fail, by the new ones. Nothing is known of
    /// their end, so a bet on it may be changed; to turn by other tables than they were charged by would be a gain or a
    /// loss out of nothing.
    pub fn bet_anew(&mut self, pending: Arms, old: (&HarmTable, Damping), new: (&HarmTable, Damping)) {
        let bet =
            |(table, damping): (&HarmTable, Damping), index: usize| table.0[index].of(pending) / damping.phi;
        self.capital.adjust(|index| bet(new, index) - bet(old, index));
    }

    /// Judges a block by a table and a damping fixed before it; `second` is for clipping.
    pub fn update(&mut self, table: &HarmTable, arms: Arms, damping: Damping, second: u64) {
        self.capital.grow(damping, second, |index| table.0[index].of(arms));
    }

    /// The logarithm of the capital: 0 is where it began, `ln(1/alpha)` is a rollback.
    pub fn ln(&self) -> f64 {
        self.capital.ln_total()
    }

    /// The logarithm of the capital, with counts that may still come and without those that are still under way.
    ///
    /// Each is given with the tables that would judge it, or did; what is under way was counted as good.
    pub fn ln_with<'a>(
        &self,
        coming: impl Iterator<Item = (&'a HarmTable, Arms)> + Clone,
        under_way: impl Iterator<Item = (&'a HarmTable, Arms)> + Clone,
        damping: Damping,
    ) -> f64 {
        let sum = |of: &mut dyn Iterator<Item = (&'a HarmTable, Arms)>, index: usize| -> f64 {
            of.map(|(table, arms)| table.0[index].of(arms)).sum()
        };
        self.capital.ln_total_less(|index| {
            (sum(&mut under_way.clone(), index) - sum(&mut coming.clone(), index)) / damping.phi
        })
    }
}
