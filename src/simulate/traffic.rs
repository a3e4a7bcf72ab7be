//! Made-up traffic: when requests arrive, which fail, and when that becomes known.

use std::time::Duration;

use rand::rngs::SmallRng;
use rand::{Rng, RngExt};

/// One version's behaviour.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Arm {
    /// The share of its requests that fail, 0 to 1.
    pub failures: f64,
    /// The mean time to an answer; a failure becomes known then.
    pub latency: Duration,
}

/// The traffic of one alias.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Traffic {
    /// Requests per second, on average; they arrive independently.
    pub requests_per_s: f64,
    /// The stable version.
    pub stable: Arm,
    /// The canary.
    pub canary: Arm,
}

impl Traffic {
    /// The time to the next request in microseconds; `None` when none ever comes.
    pub(super) fn gap_us(&self, chance: &mut SmallRng) -> Option<u64> {
        (self.requests_per_s > 0.0).then(|| (exponential(chance) / self.requests_per_s * 1e6) as u64)
    }
}

impl Arm {
    /// Whether a request fails.
    pub(super) fn fails(&self, chance: &mut SmallRng) -> bool {
        chance.random::<f64>() < self.failures
    }

    /// The time to an answer in microseconds.
    pub(super) fn latency_us(&self, chance: &mut SmallRng) -> u64 {
        (exponential(chance) * self.latency.as_micros() as f64) as u64
    }
}

/// A uniform ticket for drawing a version.
pub(super) fn ticket(chance: &mut SmallRng) -> u64 {
    chance.next_u64()
}

/// An exponentially distributed number with mean 1.
fn exponential(chance: &mut SmallRng) -> f64 {
    -(1.0 - chance.random::<f64>()).ln()
}
