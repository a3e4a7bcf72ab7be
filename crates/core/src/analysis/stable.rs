//! Whether the stable version itself is unwell.
//!
//! A canary that is no worse than a burning house is no reason to go on. Unwell is what the plan says: so large a share
//! of stable's requests failed over the last so many seconds. The span is kept as twelve parts, the oldest of which
//! makes room for the newest; nothing is said before a whole span was seen. A rule of thumb, not a test.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Counts;
use crate::model::time::Uptime;

const PARTS: usize = 12;

/// The last while of the stable version.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct StableHealth {
    parts: [Counts; PARTS],
    began: Option<Uptime>,
    /// How many parts have passed since it began.
    passed: u64,
}

impl StableHealth {
    /// Adds what came up to now, where `span` is what the plan looks back over.
    pub fn learn(&mut self, stable: Counts, from: Uptime, to: Uptime, span: Duration) {
        let began = *self.began.get_or_insert(from);
        let part_ms = (span.as_millis() as u64 / PARTS as u64).max(1);
        let present = to.since(began).as_millis() as u64 / part_ms;
        for part in (self.passed + 1..=present).take(PARTS) {
            self.parts[(part % PARTS as u64) as usize] = Counts::default();
        }
        self.passed = self.passed.max(present);
        let part = &mut self.parts[(self.passed % PARTS as u64) as usize];
        *part = part.plus(stable);
    }

    /// The share that failed over the last span; `None` before a whole span was seen, or without requests.
    pub fn failing_share(&self) -> Option<f64> {
        if self.passed < PARTS as u64 {
            return None;
        }
        let sum = self.parts.iter().fold(Counts::default(), |sum, part| sum.plus(*part));
        (sum.requests > 0).then(|| sum.failures as f64 / sum.requests as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_minute_of_failures_is_unwell_and_a_minute_without_is_well() {
        let (mut health, span) = (StableHealth::default(), Duration::from_secs(60));
        let mut at = Uptime(0);
        let mut second = |health: &mut StableHealth, failures| {
            let to = at.plus(Duration::from_secs(1));
            health.learn(Counts { requests: 10, failures }, at, to, span);
            at = to;
        };
        (0..59).for_each(|_| second(&mut health, 5));
        assert_eq!(health.failing_share(), None, "not seen for a whole minute");
        second(&mut health, 5);
        assert!(health.failing_share().is_some_and(|share| (share - 0.5).abs() < 0.05));
        (0..61).for_each(|_| second(&mut health, 0));
        assert_eq!(health.failing_share(), Some(0.0));
    }

    #[test]
    fn silence_is_neither() {
        let (mut health, span) = (StableHealth::default(), Duration::from_secs(60));
        health.learn(Counts { requests: 10, failures: 10 }, Uptime(0), Uptime(1000), span);
        health.learn(Counts::default(), Uptime(1000), Uptime(3_600_000), span);
        assert_eq!(health.failing_share(), None);
    }
}
