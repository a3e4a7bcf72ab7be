//! The mixture: several processes under the one alpha.
//!
//! Failures, latency and refusals are each a supermartingale while the canary keeps *its* limit, so for a canary that
//! keeps all of them their weighted mean is one, and it is the mean that must reach `1/alpha`. Failures have half of the
//! capital, for they are what most rollouts are about; a class that stays silent costs no more than its share. What a
//! plan does not judge leaves its share to failures, but for a tenth where latency is not judged: clients' patience then is
//! (`patience`). A ceiling takes half of its class.
//!
//! A theorem where all classes are looked at after the same requests. Latency is judged a little ahead of failures,
//! because a slow request is known to be slow before it has ended; that a mean of the two at slightly different requests
//! crosses no more often is a heuristic, for the span of one answer.

use super::{ln_add, ln_sum};

const LATENCY_SHARE: f64 = 0.3;
const REFUSALS_SHARE: f64 = 0.2;
const PATIENCE_SHARE: f64 = 0.1;

/// The logarithms of the capital of each class; `None` where the plan does not judge it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Classes {
    /// Failures.
    pub failures: f64,
    /// Slow answers.
    pub latency: Option<f64>,
    /// Refused requests.
    pub refusals: Option<f64>,
    /// Requests given up by their clients, where latency is not judged.
    pub patience: Option<f64>,
}

impl Classes {
    /// The logarithm of the capital of all.
    pub fn ln(self) -> f64 {
        let latency = self.latency.map_or(0.0, |_| LATENCY_SHARE);
        let refusals = self.refusals.map_or(0.0, |_| REFUSALS_SHARE);
        let patience = self.patience.map_or(0.0, |_| PATIENCE_SHARE);
        let terms = [
            (1.0 - latency - refusals - patience).ln() + self.failures,
            self.latency.map_or(f64::NEG_INFINITY, |ln| latency.ln() + ln),
            self.refusals.map_or(f64::NEG_INFINITY, |ln| refusals.ln() + ln),
            self.patience.map_or(f64::NEG_INFINITY, |ln| patience.ln() + ln),
        ];
        ln_sum(terms.into_iter())
    }
}

/// Half and half, of a comparison and its ceiling.
pub fn half_and_half(a: f64, b: f64) -> f64 {
    ln_add(a, b) - std::f64::consts::LN_2
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analysis::vectors;

    #[test]
    fn shares_are_as_in_the_vectors() {
        for case in vectors::of::<Vec<serde_json::Value>>("mixture") {
            let of = |key: &str| case[key].as_f64().unwrap();
            let classes = Classes {
                failures: of("ln_failures"),
                latency: Some(of("ln_latency")),
                refusals: Some(of("ln_refusals")),
                patience: None,
            };
            assert!((classes.ln() - of("expect")).abs() < 1e-9 * (1.0 + of("expect").abs()));
        }
    }

    #[test]
    fn what_is_not_judged_leaves_its_share_to_failures() {
        let alone = Classes { failures: 3.0, latency: None, refusals: None, patience: None };
        assert!((alone.ln() - 3.0).abs() < 1e-12);
        let with_latency = Classes { latency: Some(f64::NEG_INFINITY), ..alone };
        assert!((with_latency.ln() - (3.0 + 0.7_f64.ln())).abs() < 1e-12);
        let with_patience = Classes { patience: Some(f64::NEG_INFINITY), ..alone };
        assert!((with_patience.ln() - (3.0 + 0.9_f64.ln())).abs() < 1e-12);
    }
}
