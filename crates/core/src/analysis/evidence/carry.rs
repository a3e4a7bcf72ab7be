//! The rules a rollout began under, and evidence that earlier rules gathered.
//!
//! Until a release all requests counted when dispatched, failures and latency had half of the alpha each, and refusals
//! had none. What such a release stored goes on under the present rules from the capital that it had: its logarithm enters
//! as what was spent, or won, by then. So a mixture in other shares begins where the other one stood; no alpha is given
//! anew, and nothing found is lost. What the rollout's user would notice stays as it was: refusals are not judged, and the
//! warm-up is the plan's time after the first canary request. Nor are clients who give up, in rollouts that began before
//! they were.

use serde::{Deserialize, Serialize};

use super::{Evidence, Settings};
use crate::analysis::mixture::half_and_half;

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
        let patience = settings.patience.filter(|_| self.judges_patience);
        match self.rules {
            Rules::Cohorts => Settings { patience, ..settings },
            Rules::Dispatches | Rules::TakenOver => Settings { refusals: None, patience: None, ..settings },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::{Source, load};

    /// What the release before cohorts stored of a rollout at 10 %, which had found 5.59 by then and rolled it back.
    const STORED: &str = include_str!("../../../../../tests/vectors/evidence-before-cohorts.json");
    const LN_HARM: f64 = 5.594_735_690_051_473;

    fn settings() -> Settings {
        let plan = "function: f\nalias: live\nsteps: [10%, 100%]\n";
        load(&Source::new("plan.yaml", plan), None).unwrap().plan.evidence_settings().unwrap()
    }

    #[test]
    fn what_was_spent_stays_spent() {
        let asked = settings();
        let mut evidence: Evidence = serde_json::from_str(STORED).unwrap();
        evidence.take_over(&asked);
        let kept = evidence.settings_kept(asked);
        assert!((evidence.ln_harm(&kept) - LN_HARM).abs() < 1e-9, "{}", evidence.ln_harm(&kept));
        assert!(evidence.is_harmful(), "found is found");
        assert_eq!((asked.refusals.is_some(), kept.refusals), (true, None), "it began without");
        assert!(!evidence.rules.warms_by_requests());
        // Stored and read once more, it is taken over no second time.
        let mut again: Evidence = serde_json::from_str(&serde_json::to_string(&evidence).unwrap()).unwrap();
        again.take_over(&asked);
        assert!((again.ln_harm(&kept) - LN_HARM).abs() < 1e-9);
        assert_eq!(again.settings_kept(asked).refusals, None);
    }

    #[test]
    fn what_begins_now_is_under_the_present_rules() {
        use crate::analysis::past::Past;
        use crate::model::time::Uptime;
        let asked = settings();
        let mut evidence = Evidence::begin(Uptime(0), Past::default());
        evidence.take_over(&asked);
        assert!(evidence.settings_kept(asked).refusals.is_some() && evidence.rules.warms_by_requests());
        assert!(evidence.ln_harm(&asked).abs() < 1e-12);
    }
}
