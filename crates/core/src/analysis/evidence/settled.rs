//! What became of requests that have settled.

use super::Settings;
use super::queue::ASIDE;
use crate::analysis::cohort::{Side, Tally};
use crate::analysis::past::Ends;
use crate::analysis::patience::{self, Unanswered};
use crate::analysis::{Arms, Counts};

/// What settled, of requests that came to their versions in the same way.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Settled {
    pub failures: Arms,
    pub refusals: Arms,
    pub gave_up: Arms,
    /// Stable's, the canary's.
    pub unanswered: [Unanswered; 2],
}

impl Settled {
    /// What settled between two moments, cumulatively: stable's and the canary's.
    pub fn between(before: &[Tally; 2], now: &[Tally; 2]) -> Settled {
        let arms = |of: fn(&Tally) -> u64| {
            let counts = |side: Side| {
                let (before, now) = (&before[side as usize], &now[side as usize]);
                Counts {
                    requests: now.dispatched.saturating_sub(before.dispatched),
                    failures: of(now).saturating_sub(of(before)),
                }
            };
            Arms { canary: counts(Side::Canary), stable: counts(Side::Stable) }
        };
        let unanswered = |side: Side| {
            let of = |tallies: &[Tally; 2]| Unanswered::of(&tallies[side as usize]);
            of(now).since(of(before))
        };
        Settled {
            failures: arms(|tally| tally.failed),
            refusals: arms(|tally| tally.refused),
            gave_up: arms(|tally| tally.gave_up),
            unanswered: [unanswered(Side::Stable), unanswered(Side::Canary)],
        }
    }

    /// Whether nothing did.
    pub fn is_empty(&self) -> bool {
        self.failures.is_empty() && self.refusals.is_empty()
    }

    /// Whether it is bad news of the canary.
    pub fn is_bad(&self) -> bool {
        let [failures, refusals, gave_up] =
            [self.failures, self.refusals, self.gave_up].map(|arms| arms.canary.failures);
        failures + refusals + gave_up > 0
    }

    /// What is proof of it, in a part of the epoch.
    pub fn proving(&self, part: usize, settings: &Settings) -> Arms {
        let [stable, canary] = self.unanswered;
        // Copies have no clients who could give them up.
        let stable = if part == ASIDE { Unanswered::default() } else { stable };
        patience::proving(self.failures, [stable, canary], settings.patience.is_some())
    }

    /// How stable's requests ended.
    pub fn of_stable(&self) -> Ends {
        Ends {
            counts: self.failures.stable,
            refused: self.refusals.stable.failures,
            gave_up: self.gave_up.stable.failures,
        }
    }
}
