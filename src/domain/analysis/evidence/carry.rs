//! The rules a rollout began under, and evidence that earlier rules gathered.
//!
//! Until a release all requests counted when dispatched, failures and latency had half of the alpha each, and refusals
//! had none. What such a release stored goes on under the present rules from the capital that it had: its logarithm enters
//! as what was spent, or won, by then. So a mixture in other shares begins where the other one stood; no alpha is given
//! anew, and nothing found is lost. What the rollout's user would notice stays as it was: refusals are not judged, and the
//! warm-up is the plan's time after the first canary request.

use serde::{Deserialize, Serialize};

use super::{Evidence, Settings};
use crate::domain::analysis::mixture::half_and_half;

/// Which rules a rollout began under.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Rules {
    /// Requests counted when dispatched; not yet taken over.
    #[default]
    Dispatches,
    /// Begun under those, and taken over.
    TakenOver,
    /// Requests enter by cohorts.
    Cohorts,
}

impl Rules {
    /// Whether requests warm the canary, and not time alone.
    pub fn warms_by_requests(self) -> bool {
        self == Rules::Cohorts
    }
}

impl Evidence {
    /// Takes over what earlier rules gathered, once; `settings` are those of the rollout by its plan.
    pub fn take_over(&mut self, settings: &Settings) {
        if self.rules != Rules::Dispatches {
            return;
        }
        self.rules = Rules::TakenOver;
        let kept = self.settings_kept(*settings);
        let classes = self.classes(&kept);
        let before = match classes.latency {
            None => classes.failures,
            Some(latency) => half_and_half(classes.failures, latency),
        };
        self.carry = before - classes.ln();
    }

    /// What the plan asks, less what did not exist when the rollout began.
    pub fn settings_kept(&self, settings: Settings) -> Settings {
        match self.rules {
            Rules::Cohorts => settings,
            Rules::Dispatches | Rules::TakenOver => Settings { refusals: None, ..settings },
        }
    }
}
