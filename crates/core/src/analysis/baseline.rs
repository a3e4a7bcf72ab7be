//! The stable arm's failure rate as known *before* the counts it helps to judge.
//!
//! An exponentially weighted mean with a half-life of a minute and a weak prior of one failure in a thousand. It only
//! chooses where the tests look hardest: a wrong baseline costs power, never validity, because each test compares with
//! the nearest point of its whole null hypothesis and not with the baseline.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Counts;

const HALF_LIFE_S: f64 = 60.0;
const PRIOR_FAILURES: f64 = 0.2;
const PRIOR_REQUESTS: f64 = 200.0;
const RATE_MIN: f64 = 1e-6;
const RATE_MAX: f64 = 0.9;

/// A fading memory of the stable arm.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Baseline {
    failures: f64,
    requests: f64,
}

impl Baseline {
    /// Starts from faded counts known already, such as the alias's traffic before a rollout.
    pub fn warmed(failures: f64, requests: f64) -> Baseline {
        Baseline { failures, requests }
    }

    /// The faded counts: failures, requests.
    pub fn counts(&self) -> (f64, f64) {
        (self.failures, self.requests)
    }

    /// The stable arm's probable failure rate.
    pub fn rate(&self) -> f64 {
        ((self.failures + PRIOR_FAILURES) / (self.requests + PRIOR_REQUESTS)).clamp(RATE_MIN, RATE_MAX)
    }

    /// Fades what is known by `span` and adds what that span brought.
    pub fn learn(&mut self, stable: Counts, span: Duration) {
        let kept = (-span.as_secs_f64() / HALF_LIFE_S).exp2();
        self.failures = self.failures * kept + stable.failures as f64;
        self.requests = self.requests * kept + stable.requests as f64;
    }
}
