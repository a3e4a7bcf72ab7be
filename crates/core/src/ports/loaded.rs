//! What comes out of the store: everything at a boot, and what is asked for later.

use std::collections::{BTreeMap, BTreeSet};

use super::change::PinnedPlan;
use crate::analysis::watch::Days;
use crate::lambda::alias::{Alias, AliasId, Routing};
use crate::lambda::event_source::EventSource;
use crate::lambda::function::{Function, Revision, Version};
use crate::lambda::policy::{Policy, PolicyScope};
use crate::model::arn::{FunctionName, VersionNumber};
use crate::model::time::Uptime;
use crate::rollout::watching::AliasWatch;
use crate::rollout::{Ending, RolloutId, RolloutRecord};

/// Evidence as JSON, by rollout.
pub type Aside = BTreeMap<RolloutId, String>;

/// An alias as stored.
#[derive(Clone, Debug, PartialEq)]
pub struct StoredAlias {
    /// The alias; under quarantine, with its stable version alone.
    pub alias: Alias,
    /// What a rollback after success restores.
    pub previous_stable: Option<VersionNumber>,
    /// Why it is quarantined, if it is.
    pub quarantine: Option<String>,
}

/// A rollout as stored.
#[derive(Clone, Debug)]
pub struct StoredRollout {
    /// The rollout.
    pub record: RolloutRecord,
    /// Its evidence as JSON.
    pub evidence: Option<String>,
    /// The plan it pinned.
    pub plan: PinnedPlan,
}

/// What the daemon needs in memory.
#[derive(Debug, Default)]
pub struct Loaded {
    /// Makes RevisionIds of this store unlike any other's.
    pub salt: String,
    /// The daemon's clock when it was last stored.
    pub uptime: Uptime,
    /// The last entry of the journal.
    pub seq: Revision,
    /// All functions.
    pub functions: Vec<Function>,
    /// What functions that were deleted had counted their versions to.
    pub counted: Vec<(FunctionName, u64)>,
    /// All versions.
    pub versions: Vec<Version>,
    /// All aliases.
    pub aliases: Vec<StoredAlias>,
    /// All policies.
    pub policies: Vec<(PolicyScope, Policy)>,
    /// All mappings of event sources.
    pub event_sources: Vec<EventSource>,
    /// Every live rollout, and of every alias the one that began last.
    pub rollouts: Vec<StoredRollout>,
    /// The greatest identifier of a rollout.
    pub last_rollout: Option<RolloutId>,
    /// Versions that were taken out of an alias.
    pub remembered: Vec<(AliasId, VersionNumber, Ending)>,
    /// Watches after promotions.
    pub watches: Vec<(AliasId, AliasWatch)>,
    /// What aliases under plans that watch counted.
    pub days: Vec<(AliasId, Days)>,
    /// What could not be read or does not add up, in sentences.
    pub problems: Vec<String>,
    /// Why nothing can be written for now, if so.
    pub trouble: Option<String>,
    /// Whether functions, versions or aliases are missing here that the store has, or had before it was damaged.
    pub is_damaged: bool,
    /// Evidence of rollouts that the store did not take.
    pub aside: Aside,
    /// Aliases that were deleted, as far as the journal reaches.
    pub deleted: BTreeSet<AliasId>,
}

impl Loaded {
    /// Puts an alias to its stable version, where it stays until somebody mends the store.
    pub fn quarantine(&mut self, id: &AliasId, why: &str) {
        if let Some(stored) = self.aliases.iter_mut().find(|stored| stored.alias.id == *id) {
            stored.alias.routing = Routing::only(stored.alias.routing.function_version);
            stored.quarantine.get_or_insert_with(|| why.to_owned());
        }
    }
}

/// Which entries of the journal are asked for.
#[derive(Clone, Debug, Default)]
pub struct EntryFilter {
    /// Only of this alias.
    pub alias: Option<AliasId>,
    /// Only of this rollout.
    pub rollout: Option<RolloutId>,
    /// Only later than this.
    pub after: u64,
    /// The newest instead of the oldest that fit.
    pub newest: bool,
    /// At most so many.
    pub limit: u32,
}

/// Which rollouts are asked for, newest first.
#[derive(Clone, Debug, Default)]
pub struct RolloutFilter {
    /// Only of this alias.
    pub alias: Option<AliasId>,
    /// Only in this phase.
    pub phase: Option<String>,
    /// Only older than this one.
    pub before: Option<RolloutId>,
    /// At most so many.
    pub limit: u32,
}
