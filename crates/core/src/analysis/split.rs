//! The split of the requests: did the canary get the share that its weight promises?
//!
//! Every comparison of the arms rests on the weight being what the router draws by. If another hand is in between (a
//! proxy that retries to one side, a router of another version), the counts say so: under the null hypothesis each
//! request goes to the canary with probability exactly `w`, whatever becomes of it. Fourteen alternatives move the odds
//! of `w` up or down by fixed factors; the mean of their likelihood ratios is a martingale under the null, so it ever
//! reaches 10 000 with probability at most 1 in 10 000 in each weight epoch (Lindon and Malek, 2022, do the same with
//! a Dirichlet prior).
//!
//! While the split is wrong, proof of harmlessness has no ground and the advance is held. Harm still can be judged, with
//! the odds of each block taken as found. For a block of `n_c` and `n_s` requests let `w' = n_c / (n_c + n_s)`, let `a`
//! be the expectation of one canary factor and `b` of one stable factor under the true rates. The projection at `w'`
//! gives `w' a + (1-w') b <= 1` (`boundary`), and by the inequality of the means `a^n_c b^n_s <= (w' a + (1-w') b)^(n_c +
//! n_s) <= 1`: given the numbers of requests, the block's factor still has expectation at most 1. That holds for blocks
//! whose end the outcomes do not choose, hence the fixed ten seconds.

use serde::{Deserialize, Serialize};

use super::{expit, ln_sum, logit};

/// By how much the alternatives move the log-odds of the weight.
const SHIFTS: [f64; 14] = [-3.2, -1.6, -0.8, -0.4, -0.2, -0.1, -0.05, 0.05, 0.1, 0.2, 0.4, 0.8, 1.6, 3.2];

/// A mismatch is said where the logarithm of the capital reaches this: ln 10 000.
pub const LN_LIMIT: f64 = 9.210_340_371_976_184;

/// What each alternative wins by a request of the canary, and by one of stable.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SplitTable([(f64, f64); SHIFTS.len()]);

impl SplitTable {
    /// The table of a weight; empty where one arm gets nothing.
    pub fn new(weight: f64) -> SplitTable {
        if weight <= 0.0 || weight >= 1.0 {
            return SplitTable([(0.0, 0.0); SHIFTS.len()]);
        }
        SplitTable(SHIFTS.map(|shift| {
            let share = expit(logit(weight) + shift);
            ((share / weight).ln(), (-share).ln_1p() - (-weight).ln_1p())
        }))
    }
}

/// The evidence within one weight epoch that the split is not what the weight says.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Split {
    ln_capital: [f64; SHIFTS.len()],
    mismatch: bool,
}

impl Default for Split {
    fn default() -> Split {
        Split { ln_capital: [-(SHIFTS.len() as f64).ln(); SHIFTS.len()], mismatch: false }
    }
}

impl Split {
    /// Judges how many requests each arm got.
    pub fn update(&mut self, table: &SplitTable, canary: u64, stable: u64) {
        let (canary, stable) = (canary as f64, stable as f64);
        for (ln_capital, (of_canary, of_stable)) in self.ln_capital.iter_mut().zip(&table.0) {
            *ln_capital += canary * of_canary + stable * of_stable;
        }
        self.mismatch |= self.ln() >= LN_LIMIT;
    }

    /// The logarithm of the capital.
    pub fn ln(&self) -> f64 {
        ln_sum(self.ln_capital.iter().copied())
    }

    /// Whether the split was found wrong; it stays so until the next epoch.
    pub fn is_mismatch(&self) -> bool {
        self.mismatch
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Requests until a true share that is not the weight is found out, on average counts.
    fn found_after(weight: f64, share: f64) -> Option<u64> {
        let (mut split, table) = (Split::default(), SplitTable::new(weight));
        (1..1000).find_map(|hundred| {
            let canary =
                (share * 100.0 * hundred as f64) as u64 - (share * 100.0 * (hundred - 1) as f64) as u64;
            split.update(&table, canary, 100 - canary);
            split.is_mismatch().then_some(hundred * 100)
        })
    }

    #[test]
    fn a_wrong_split_is_found() {
        assert_eq!(found_after(0.05, 0.05), None);
        assert_eq!(found_after(0.5, 0.5), None);
        assert!(found_after(0.05, 0.10).unwrap() <= 700);
        assert!(found_after(0.5, 0.25).unwrap() <= 200);
        assert!(found_after(0.25, 0.24).unwrap() > 20_000);
    }

    #[test]
    fn one_arm_alone_cannot_be_split_wrongly() {
        let mut split = Split::default();
        split.update(&SplitTable::new(1.0), 1_000_000, 3);
        assert!(!split.is_mismatch());
    }
}
