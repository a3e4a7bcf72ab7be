//! Counts of an alias, epoch by epoch, as the data plane hands them to whoever judges.

use crate::analysis::Counts;
use crate::analysis::cohort::{Slot, Tally};
use crate::analysis::mirror::SampleKind;
use crate::analysis::users::UserTally;
use crate::lambda::alias::Routing;
use crate::lambda::function::Revision;
use crate::model::arn::{VersionId, VersionNumber};
use crate::model::histogram::HistogramSnapshot;
use std::ops::Range;

/// Cumulative counts of an alias in one weight epoch; where they come from is the caller's business.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EpochTally {
    /// The change of the alias that began the epoch.
    pub epoch: Revision,
    /// Its routing.
    pub routing: Routing,
    /// How the requests came to their versions.
    pub stratum: SampleKind,
    /// The function version's counts.
    pub primary: ArmTally,
    /// The additional version's counts.
    pub additional: ArmTally,
    /// The counts of its baseline, which nothing is judged by.
    pub baseline: Counts,
    /// Its cohorts, where they are kept.
    pub cohorts: Option<KeptCohorts>,
    /// Its users, where they stick to a version.
    pub users: Option<UserTally>,
    /// The cohorts of all their requests.
    pub visits: Option<KeptCohorts>,
    /// Whether no request of it is under way, nor will be.
    pub is_final: bool,
}

/// Where the cohorts of one epoch stand among the slots of all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeptCohorts {
    /// The cohort that requests are dispatched in now.
    pub now: u64,
    /// All requests of the epoch: the function version's, the additional one's.
    pub totals: [Tally; 2],
    /// Which slots.
    pub slots: Range<usize>,
}

/// All that is told of an alias at one look.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tallies {
    /// Oldest epoch first.
    pub epochs: Vec<EpochTally>,
    /// The cohorts of all of them that are still to be judged.
    pub slots: Vec<Slot>,
}

/// Cumulative counts of one version in one weight epoch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ArmTally {
    /// Requests and failures.
    pub counts: Counts,
    /// Requests that it refused.
    pub refused: u64,
    /// Requests that their clients gave up.
    pub gave_up: u64,
    /// Latencies of answers.
    pub latency: HistogramSnapshot,
}

impl EpochTally {
    /// An epoch in which nothing was counted yet.
    pub fn empty(epoch: Revision, routing: Routing) -> EpochTally {
        let (primary, additional) = (ArmTally::default(), ArmTally::default());
        EpochTally {
            epoch,
            routing,
            stratum: SampleKind::Weighted,
            primary,
            additional,
            baseline: Counts::default(),
            cohorts: None,
            users: None,
            visits: None,
            is_final: false,
        }
    }

    pub(super) fn arm_of(&self, version: VersionNumber) -> Option<&ArmTally> {
        match self.routing.additional {
            Some(additional) if additional.version == version => Some(&self.additional),
            _ if self.routing.function_version == VersionId::Number(version) => Some(&self.primary),
            _ => None,
        }
    }

    /// Whether both are of one epoch; the emergency overlay has another routing under the same revision.
    fn is_of(&self, other: &EpochTally) -> bool {
        (self.epoch, self.routing, self.stratum) == (other.epoch, other.routing, other.stratum)
    }
}

/// The cumulative counts that were seen last, epoch by epoch.
#[derive(Clone, Debug, Default)]
pub struct Seen(Vec<EpochTally>);

impl Seen {
    /// Takes over the epochs of `tallies`, new ones with nothing seen; true if there were new ones.
    pub(super) fn align(&mut self, tallies: &[EpochTally]) -> bool {
        self.0.retain(|known| tallies.iter().any(|tally| tally.is_of(known)));
        let mut has_new = false;
        for (index, tally) in tallies.iter().enumerate() {
            if !self.0.get(index).is_some_and(|known| known.is_of(tally)) {
                let nothing = EpochTally::empty(tally.epoch, tally.routing);
                self.0.insert(index, EpochTally { stratum: tally.stratum, ..nothing });
                has_new = true;
            }
        }
        has_new
    }

    /// What is counted now beside what was seen, of aligned epochs.
    pub(super) fn pairs<'a>(
        &'a self,
        tallies: &'a [EpochTally],
    ) -> impl Iterator<Item = (&'a EpochTally, &'a EpochTally)> + Clone {
        tallies.iter().zip(&self.0)
    }

    /// Notes aligned epochs as seen.
    pub(super) fn note(&mut self, tallies: &[EpochTally]) {
        for (seen, tally) in self.0.iter_mut().zip(tallies) {
            seen.clone_from(tally);
        }
    }
}
