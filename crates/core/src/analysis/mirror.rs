//! Copies: what requests prove that stable answers and the canary answers, too.
//!
//! A share of the requests is set aside by chance, before a version is drawn for them. Each is then drawn by the weight
//! `w` like all others; where that gives it to stable, the canary gets a copy. So of the requests set aside the canary
//! answers every one, and stable all but `w` of them. Requests that were not set aside are judged at `w` as ever: whether
//! one is set aside hangs on nothing that becomes of it, nor on the version it is drawn for.
//!
//! For those set aside let `a` be the expectation of one canary factor and `b` of one stable factor under the true
//! rates. A request brings `X = a` with probability `w`, and `a b` otherwise. Judged at the share `v = 1/(2-w)` the
//! projection gives `v a + (1-v) b <= 1` (`boundary`), which is `a + (1-w) b <= 2-w`. With `t = (1-w) b` its expectation is
//! `a (w + t)`, and the two factors have a sum of at most 2, so by the inequality of the means a product of at most 1.
//! Where the two answers to one request hang together, as they will when the request itself is to blame, the canary's
//! factor rises with what stable's falls with: that makes the expectation smaller yet.
//!
//! All of that holds at `w = 0` as well, where stable answers everything and each request set aside is a pair: `v` is one
//! half then, and `a b <= ((a + b) / 2)^2 <= 1`. So copies prove a canary before it has any weight (`firstWeight: mirror`).
//!
//! Every request is counted in one stratum alone, so nothing is used twice.

use serde::{Deserialize, Serialize};

use crate::model::weight::Weight;

/// How the requests of a block came to their versions; in the order in which the strata of an epoch are told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum SampleKind {
    /// Set aside; what stable answers of it the canary answers, too.
    #[serde(rename = "Mirrored")]
    MirrorSource,
    /// The canary's copies of those, whose answers nobody waits for.
    #[serde(rename = "Copied")]
    MirrorCopy,
    /// All other requests.
    #[default]
    #[serde(rename = "Drawn")]
    Weighted,
}

impl SampleKind {
    /// Whether the answers go to somebody.
    pub fn is_real(self) -> bool {
        self != SampleKind::MirrorCopy
    }

    /// The canary's share by which outcomes are judged while the alias gives it `weight`, as a fraction.
    pub fn share(self, weight: Weight) -> f64 {
        match (self, weight) {
            (SampleKind::Weighted, _) | (_, Weight::FULL) => weight.fraction(),
            (SampleKind::MirrorSource | SampleKind::MirrorCopy, _) => 1.0 / (2.0 - weight.fraction()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analysis::boundary::{LogFactors, Margin, above, below};

    fn weight(ppm: u32) -> Weight {
        Weight::from_ppm(ppm).unwrap()
    }

    /// The expectation of what a request that was set aside brings, at the edge of the null hypothesis; `coupled` has
    /// the same luck decide both answers.
    fn expectation(weight: f64, factors: [f64; 4], canary_rate: f64, stable_rate: f64, coupled: bool) -> f64 {
        let [ce, cs, se, ss] = factors.map(f64::exp);
        let a = canary_rate * ce + (1.0 - canary_rate) * cs;
        let b = stable_rate * se + (1.0 - stable_rate) * ss;
        let both_fail = canary_rate.min(stable_rate);
        let of_both = if coupled {
            both_fail * ce * se
                + (canary_rate - both_fail) * ce * ss
                + (stable_rate - both_fail) * cs * se
                + (1.0 - canary_rate.max(stable_rate)) * cs * ss
        } else {
            a * b
        };
        weight * a + (1.0 - weight) * of_both
    }

    #[test]
    fn a_request_set_aside_wins_nothing_by_chance() {
        let mut closest: f64 = 0.0;
        for ppm in [0, 100, 30_000, 250_000, 900_000] {
            let share = weight(ppm).fraction();
            let judged_at = SampleKind::MirrorSource.share(weight(ppm));
            for (known, alternative) in [(0.001, 0.01), (0.001, 0.9), (0.05, 0.08), (0.3, 0.9)] {
                let margin = Margin { ratio: 1.2, added: 0.0005 };
                let harm = above(judged_at, alternative, known, margin);
                let proof = below(judged_at, known * 0.9, known, Margin { ratio: 1.2, added: 0.005 });
                for stable_rate in [0.0, 0.0005, 0.001, 0.01, 0.05, 0.3, 0.6] {
                    for coupled in [false, true] {
                        let of = |factors: LogFactors, canary_rate: f64| {
                            let factors = [
                                factors.canary_failure,
                                factors.canary_success,
                                factors.stable_failure,
                                factors.stable_success,
                            ];
                            expectation(share, factors, canary_rate, stable_rate, coupled)
                        };
                        let at_edge = margin.at(stable_rate).min(1.0);
                        let beyond = Margin { ratio: 1.2, added: 0.005 }.at(stable_rate).min(1.0);
                        for found in [of(harm, at_edge), of(proof, beyond)] {
                            assert!(
                                found <= 1.0 + 1e-9,
                                "{found} at {ppm} ppm, {known}, {alternative}, {stable_rate}"
                            );
                            closest = closest.max(found);
                        }
                    }
                }
            }
        }
        assert!(closest > 0.999, "so loose that it says nothing: {closest}");
    }
}
