//! The tables of one weight epoch: all that is fixed before the counts it judges.

use super::settings::Settings;
use super::{Pending, ProofGoal};
use crate::domain::analysis::boundary::Margin;
use crate::domain::analysis::dispersion::Damping;
use crate::domain::analysis::harm::HarmTable;
use crate::domain::analysis::latency::{LatencyTables, PROCESSES};
use crate::domain::analysis::mirror::Stratum;
use crate::domain::analysis::past::Past;
use crate::domain::analysis::proof::{ProofTable, margin_before};
use crate::domain::analysis::split::SplitTable;
use crate::domain::function::Revision;
use crate::domain::weight::Weight;

/// What a canary must be below to be better than stable.
const BETTER: Margin = Margin { ratio: 1.0, added: 0.0 };

/// The tables of one epoch.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct EpochTables {
    pub epoch: Revision,
    pub weight: Weight,
    /// Whether it judges what was drawn, and not what was set aside.
    pub is_drawn: bool,
    /// Stable's failing share as it was known then.
    pub stable_rate: f64,
    pub harm: HarmTable,
    pub latency: LatencyTables,
    pub proof: Option<ProofTable>,
    pub better: Option<ProofTable>,
    pub split: SplitTable,
    /// What was dispatched in the epoch and under way at the last look.
    pub under_way: Pending,
}

impl EpochTables {
    /// Computes the tables of an epoch from what is known of stable.
    pub fn new(
        settings: &Settings,
        past: &Past,
        goal: Option<ProofGoal>,
        (epoch, weight): (Revision, Weight),
        stratum: Stratum,
    ) -> EpochTables {
        let (share, stable_rate) = (stratum.share(weight), past.failures.rate());
        let proof = goal.filter(|goal| epoch >= goal.from).and_then(|goal| {
            let budget = settings.proof?.budget;
            let margin = margin_before(goal.next_weight.fraction(), settings.limit.ratio, budget);
            Some(ProofTable::new(share, stable_rate, margin))
        });
        let latency = settings.latency.as_ref();
        let limit = settings.limit_at(past);
        EpochTables {
            epoch,
            weight,
            is_drawn: stratum == Stratum::Drawn,
            stable_rate,
            harm: HarmTable::new(share, stable_rate, limit),
            latency: latency.map_or_else(LatencyTables::default, |latency| {
                LatencyTables::new(latency, share, &past.latency)
            }),
            proof,
            better: settings.stable.map(|_| ProofTable::new(share, stable_rate, BETTER)),
            split: SplitTable::new(share),
            under_way: Pending::default(),
        }
    }

    /// The same computed anew from what is known of stable now.
    pub fn renewed(&self, settings: &Settings, past: &Past, goal: Option<ProofGoal>) -> EpochTables {
        let stratum = if self.is_drawn { Stratum::Drawn } else { Stratum::Mirrored };
        let new = EpochTables::new(settings, past, goal, (self.epoch, self.weight), stratum);
        EpochTables { under_way: self.under_way, ..new }
    }

    /// What judges a block stands in this order: what was drawn comes last in its epoch.
    pub fn place(&self) -> (Revision, bool) {
        (self.epoch, self.is_drawn)
    }
}

/// The dampings of all processes, frozen with the newest tables.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Dampings {
    pub failures: Damping,
    pub latency: [Damping; PROCESSES],
}

impl Default for Dampings {
    fn default() -> Dampings {
        Dampings { failures: Damping::NONE, latency: [Damping::NONE; PROCESSES] }
    }
}

impl Dampings {
    pub fn new(settings: &Settings, past: &Past) -> Dampings {
        let of = |estimate: f64| settings.dispersion.damping(estimate);
        Dampings {
            failures: of(past.dispersion.phi()),
            latency: past.latency.dispersion.each_ref().map(|dispersion| of(dispersion.phi())),
        }
    }
}
