//! The tables of a stretch of a weight epoch: all that is fixed before the counts it judges.

use super::ProofGoal;
use super::settings::Settings;
use crate::analysis::boundary::Margin;
use crate::analysis::dispersion::Damping;
use crate::analysis::harm::HarmTable;
use crate::analysis::latency::{Comparisons, LatencyTables};
use crate::analysis::latency_span::PROCESSES;
use crate::analysis::mirror::SampleKind;
use crate::analysis::past::Past;
use crate::analysis::proof::{ProofTable, margin_before};
use crate::analysis::spells::Kind;
use crate::analysis::split::SplitTable;
use crate::lambda::function::Revision;
use crate::model::weight::Weight;

/// What a canary must be below to be better than stable.
const BETTER: Margin = Margin { ratio: 1.0, added: 0.0 };

/// What is accepted of the canary, as it stands for a while: what the plan says, and what stable's own past excuses.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Margins {
    pub failures: Margin,
    pub refusals: Option<Margin>,
    pub latency: [Margin; PROCESSES],
}

impl Margins {
    /// What is accepted from now on, known before what it judges.
    pub fn new(settings: &Settings, past: &Past) -> Margins {
        let excused = |index: usize| past.latency.spells[index].level(Kind::Excesses);
        Margins {
            failures: settings.limit_at(past),
            refusals: settings.refusals,
            latency: std::array::from_fn(|index| Margin { ratio: 1.0, added: excused(index) }),
        }
    }
}

/// The dampings of all processes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Dampings {
    pub failures: Damping,
    pub refusals: Damping,
    pub patience: Damping,
    pub latency: [Damping; PROCESSES],
}

impl Default for Dampings {
    fn default() -> Dampings {
        Dampings {
            failures: Damping::NONE,
            refusals: Damping::NONE,
            patience: Damping::NONE,
            latency: [Damping::NONE; PROCESSES],
        }
    }
}

impl Dampings {
    pub fn new(settings: &Settings, past: &Past) -> Dampings {
        let of = |estimate: f64| settings.dispersion.damping(estimate);
        Dampings {
            failures: of(past.dispersion.phi()),
            refusals: of(past.refusals_dispersion.phi()),
            patience: of(past.giving_up_phi()),
            latency: std::array::from_fn(|index| of(past.latency.dispersion[index].phi())),
        }
    }
}

/// What one stretch is judged by, from its first cohort until that of the next one.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Tables {
    /// The first cohort.
    pub from: u64,
    pub dampings: Dampings,
    pub margins: Margins,
    /// Stable's failing share as it was known then.
    pub stable_rate: f64,
    pub drawn: PartTables,
    /// What judges requests that were set aside; made when there are any.
    pub aside: Option<Box<PartTables>>,
}

/// The tables of requests that came to their versions in the same way.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct PartTables {
    /// Whether the canary has no share by which anything could be judged.
    pub is_of_nothing: bool,
    pub harm: HarmTable,
    pub refusals: Option<HarmTable>,
    pub patience: Option<HarmTable>,
    pub latency: LatencyTables,
    pub proof: Option<ProofTable>,
    pub better: Option<ProofTable>,
    pub split: SplitTable,
}

impl Tables {
    /// Computes tables from what is known of stable.
    pub fn new(
        settings: &Settings,
        past: &Past,
        comparisons: &Comparisons,
        goal: Option<ProofGoal>,
        (from, epoch, weight): (u64, Revision, Weight),
        has_aside: bool,
    ) -> Tables {
        let margins = Margins::new(settings, past);
        let part = |stratum: SampleKind| {
            PartTables::new(settings, past, (comparisons, &margins), goal, (epoch, weight, stratum))
        };
        Tables {
            from,
            dampings: Dampings::new(settings, past),
            margins,
            stable_rate: past.failures.rate(),
            drawn: part(SampleKind::Weighted),
            aside: has_aside.then(|| Box::new(part(SampleKind::MirrorSource))),
        }
    }
}

impl PartTables {
    fn new(
        settings: &Settings,
        past: &Past,
        (comparisons, margins): (&Comparisons, &Margins),
        goal: Option<ProofGoal>,
        (epoch, weight, stratum): (Revision, Weight, SampleKind),
    ) -> PartTables {
        let (share, stable_rate) = (stratum.share(weight), past.failures.rate());
        let proof = goal.filter(|goal| epoch >= goal.from).and_then(|goal| {
            let budget = settings.proof?.budget;
            let margin = margin_before(goal.next_weight.fraction(), settings.limit.ratio, budget);
            Some(ProofTable::new(share, stable_rate, margin))
        });
        PartTables {
            is_of_nothing: share <= 0.0,
            harm: HarmTable::new(share, stable_rate, margins.failures),
            refusals: margins.refusals.map(|margin| HarmTable::new(share, past.refusals.rate(), margin)),
            patience: settings.patience.map(|margin| HarmTable::new(share, past.giving_up(), margin)),
            latency: LatencyTables::new(comparisons, share, margins.latency),
            proof,
            better: settings.stable.map(|_| ProofTable::new(share, stable_rate, BETTER)),
            split: SplitTable::new(share),
        }
    }
}
