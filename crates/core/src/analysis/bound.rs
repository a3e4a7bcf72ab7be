//! The pessimistic bound: what requests that have not ended can be taken for.
//!
//! Put requests into the order in which they were dispatched, and let `M_n` be the capital after the *final* outcomes of
//! the first `n`. Each factor has expectation at most 1 given all that was known when its request was drawn, whatever
//! became of the requests before, so `M_n` is a supermartingale in `n`. Nobody needs to wait for it: of a prefix of `n`
//! requests let `L_n(t)` be the capital at time `t` with its pending stable requests counted as *failed* and its pending
//! canary requests as *good*. A stable failure has a smaller factor than a stable success, because the alternative has
//! stable fail less than the nearest harmless point (`ts < ys`), and a canary success a smaller one than a canary failure
//! (`tc > yc`). So `L_n(t) <= M_n` for every `n` and `t`, and
//!
//! ```text
//! P(any L_n(t) ever reaches 1/alpha) <= P(some M_n reaches it) <= alpha.
//! ```
//!
//! A theorem, whatever the delays of either arm: an incident that one version shows after twenty seconds and the other
//! after one hangs on final outcomes only. Its price is that stable's answers of the same moment must be in. Pay-outs of
//! the reserve and new tables fall between cohorts, at times that are known beforehand. A clip is a minimum, which keeps
//! the inequality.
//!
//! Counting pending stable requests by the *usual* share of good ones would save little, and be no theorem.

use super::cohort::Tally;
use super::{Arms, Counts};

/// The failures of a slot as the bound counts them; `is_old` where whoever was answered well counts as good by now.
pub fn failures(stable: &Tally, canary: &Tally, is_old: bool) -> Arms {
    counted(stable, canary, is_old, |tally| tally.failed)
}

/// The refusals of a slot as the bound counts them; gRPC refuses at the end of an answer.
pub fn refusals(stable: &Tally, canary: &Tally, is_old: bool) -> Arms {
    counted(stable, canary, is_old, |tally| tally.refused)
}

/// Requests given up of a slot as the bound counts them; whoever was answered has not given up.
pub fn gave_up(stable: &Tally, canary: &Tally) -> Arms {
    counted(stable, canary, true, |tally| tally.gave_up)
}

fn counted(stable: &Tally, canary: &Tally, is_old: bool, bad: fn(&Tally) -> u64) -> Arms {
    let fine = if is_old { stable.answered.max(stable.ended) } else { stable.ended };
    let good = fine.saturating_sub(bad(stable));
    Arms {
        canary: Counts { requests: canary.dispatched, failures: bad(canary) },
        stable: Counts { requests: stable.dispatched, failures: stable.dispatched.saturating_sub(good) },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analysis::boundary::Margin;
    use crate::analysis::dispersion::Damping;
    use crate::analysis::harm::{Harm, HarmTable};
    use crate::analysis::vectors;

    #[test]
    fn prefixes_are_bounded_as_in_the_vectors() {
        for case in vectors::of::<Vec<serde_json::Value>>("pending") {
            let of = |key: &str| case[key].as_f64().unwrap();
            let margin = Margin { ratio: of("rho"), added: of("delta") };
            let table = HarmTable::new(of("w"), of("ts"), margin);
            let mut harm = Harm::default();
            let mut best = f64::NEG_INFINITY;
            let cohorts = case["cohorts"].as_array().unwrap();
            for (index, cohort) in cohorts.iter().enumerate() {
                let count = |key: &str| cohort[key].as_u64().unwrap();
                let canary =
                    Tally { dispatched: count("canary"), failed: count("canary_failed"), ..Tally::default() };
                let stable = Tally {
                    dispatched: count("stable"),
                    failed: count("stable_failed"),
                    ended: count("stable_failed") + count("stable_good"),
                    ..Tally::default()
                };
                harm.update(&table, failures(&stable, &canary, false), Damping::NONE, 0);
                best = best.max(harm.ln());
                let expected = case["expect"]["ln_by_prefix"][index].as_f64().unwrap();
                assert!((harm.ln() - expected).abs() < 1e-9 * (1.0 + expected.abs()), "{}", harm.ln());
            }
            assert!((best - case["expect"]["ln"].as_f64().unwrap()).abs() < 1e-9);
        }
    }
}
