//! Everything the daemon knows, in memory: an immutable snapshot that is replaced whole after each commit.
//!
//! The maps share structure, so a snapshot costs nothing to keep and a tentative world costs nothing to throw away.
//! Readers always see a committed world. Evidence is not in it: it changes with every request.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::Arc;

use rpds::{RedBlackTreeMapSync, RedBlackTreeSetSync};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::lambda::alias::{Alias, AliasId};
use crate::lambda::event_source::EventSource;
use crate::lambda::function::{Configuration, Function, Revision, Version};
use crate::lambda::policy::{Policy, PolicyScope};
use crate::lambda::process::CodeSha256;
use crate::model::arn::{FunctionName, Qualifier, VersionId, VersionNumber};
use crate::rollout::watching::AliasWatch;
use crate::rollout::{Ending, Rollout, RolloutId};

/// A function with all that is kept under its name, aliases apart.
#[derive(Clone, Debug)]
pub struct FunctionState {
    /// The function.
    pub function: Function,
    /// Its published versions.
    pub versions: BTreeMap<VersionNumber, Arc<Version>>,
    /// Its policies.
    pub policies: BTreeMap<PolicyScope, Policy>,
}

impl FunctionState {
    /// What a version runs as and all that belongs to it; `None` if it does not exist.
    pub fn configuration(&self, version: VersionId) -> Option<&Configuration> {
        match version {
            VersionId::Latest => Some(&self.function.latest),
            VersionId::Number(number) => self.versions.get(&number).map(|version| &version.configuration),
        }
    }

    /// The version published last that still exists.
    pub fn newest(&self) -> Option<&Arc<Version>> {
        self.versions.values().next_back()
    }
}

/// An alias with what rollouts keep about it.
#[derive(Clone, Debug)]
pub struct AliasState {
    /// The alias.
    pub alias: Alias,
    /// What a rollback after success restores.
    pub previous_stable: Option<VersionNumber>,
    /// Versions that were taken out of it.
    pub remembered: BTreeMap<VersionNumber, Ending>,
    /// The rollout that moves it now.
    pub active: Option<RolloutId>,
    /// Rollouts that have not begun, in the order they were made.
    pub pending: Vec<RolloutId>,
    /// The rollout that began last, whether or not it has ended; where none ever began, the last that was cancelled.
    pub last: Option<RolloutId>,
    /// The watch over what was promoted last, while there is one.
    pub watch: Option<Arc<AliasWatch>>,
    /// Why nobody may change it, if so.
    pub quarantine: Option<String>,
}

impl AliasState {
    /// The rollout that the alias's name means, to every verb and to every reading: the one that moves it, else the one
    /// that waits for its time, else the last that began.
    ///
    /// One that is queued behind another, or was cancelled before it began beside others that did, is meant by its id
    /// alone.
    pub fn meant(&self) -> Option<RolloutId> {
        self.active.or_else(|| self.pending.last().copied()).or(self.last)
    }
}

/// Everything the daemon knows.
#[derive(Clone, Debug)]
pub struct World {
    /// Makes RevisionIds of this store unlike any other's.
    pub salt: Arc<str>,
    /// The last entry of the journal.
    pub seq: Revision,
    /// Functions by name.
    pub functions: RedBlackTreeMapSync<FunctionName, Arc<FunctionState>>,
    /// The highest versions of functions that were deleted: one of the same name counts on from there.
    pub counted: RedBlackTreeMapSync<FunctionName, u64>,
    /// Aliases by function and name.
    pub aliases: RedBlackTreeMapSync<AliasId, Arc<AliasState>>,
    /// Mappings of event sources.
    pub event_sources: RedBlackTreeMapSync<Uuid, Arc<EventSource>>,
    /// Live rollouts, and of each alias the one that began last.
    pub rollouts: RedBlackTreeMapSync<RolloutId, Arc<Rollout>>,
    /// Live rollouts.
    pub live: RedBlackTreeSetSync<RolloutId>,
    /// The greatest identifier that a rollout was ever given; the next is greater, whatever the clock says.
    pub last_id: Option<RolloutId>,
    /// Whether there is, or was, more than could be read: what is not here may be all the same.
    pub is_partial: bool,
}

/// What a RevisionId is of; each kind has ids of its own even for one change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RevisionOf {
    /// `$LATEST` of a function.
    Latest,
    /// A published version.
    Version,
    /// An alias.
    Alias,
    /// A policy of a version or an alias; that of a bare function has the RevisionId of `$LATEST`.
    Policy,
    /// `$LATEST` of a function while it is being made or changed: its being done is a change, too.
    Unsettled,
}

impl World {
    /// A world in which nothing is.
    pub fn empty(salt: &str) -> World {
        World {
            salt: salt.into(),
            seq: Revision(0),
            functions: RedBlackTreeMapSync::new_sync(),
            counted: RedBlackTreeMapSync::new_sync(),
            aliases: RedBlackTreeMapSync::new_sync(),
            event_sources: RedBlackTreeMapSync::new_sync(),
            rollouts: RedBlackTreeMapSync::new_sync(),
            live: RedBlackTreeSetSync::new_sync(),
            last_id: None,
            is_partial: false,
        }
    }

    /// Whether what a mapping or an event invokes exists: the function, and the version or alias of it.
    pub fn has_invoked(&self, function: &FunctionName, qualifier: Option<&str>) -> bool {
        self.invoked(function, qualifier).is_some()
    }

    /// What is invoked by a function and a qualifier; behind an alias, what its function version is.
    pub fn invoked(&self, function: &FunctionName, qualifier: Option<&str>) -> Option<&Configuration> {
        self.invoked_version(function, qualifier).map(|(_, configuration)| configuration)
    }

    /// The same, with the version's number.
    pub fn invoked_version(
        &self,
        function: &FunctionName,
        qualifier: Option<&str>,
    ) -> Option<(VersionId, &Configuration)> {
        let state = self.function(function)?;
        let version = match qualifier.map(str::parse::<Qualifier>) {
            None => VersionId::Latest,
            Some(Ok(Qualifier::Version(version))) => version,
            Some(Ok(Qualifier::Alias(alias))) => {
                let alias = self.alias(&AliasId { function: function.clone(), alias })?;
                alias.alias.routing.function_version
            }
            Some(Err(_)) => return None,
        };
        Some((version, state.configuration(version)?))
    }

    /// The opaque RevisionId that Lambda clients see for a revision; it looks like a UUID.
    pub fn revision_id(&self, of: RevisionOf, revision: Revision) -> String {
        let mut hash = Sha256::new();
        hash.update(self.salt.as_bytes());
        hash.update([of as u8]);
        hash.update(revision.0.to_be_bytes());
        let digest = hash.finalize();
        let mut bytes = [0; 16];
        bytes.copy_from_slice(&digest[..16]);
        uuid::Builder::from_random_bytes(bytes).into_uuid().to_string()
    }

    /// A function by name.
    pub fn function(&self, name: &FunctionName) -> Option<&Arc<FunctionState>> {
        self.functions.get(name)
    }

    /// An alias by function and name.
    pub fn alias(&self, id: &AliasId) -> Option<&Arc<AliasState>> {
        self.aliases.get(id)
    }

    /// A rollout that is live or the last that began on its alias.
    pub fn rollout(&self, id: RolloutId) -> Option<&Arc<Rollout>> {
        self.rollouts.get(&id)
    }

    /// The aliases of a function, by name.
    pub fn aliases_of<'a>(&'a self, function: &'a FunctionName) -> impl Iterator<Item = &'a Arc<AliasState>> {
        // "-" sorts before every character that a name may contain, so no alias of the function lies before it.
        let first =
            AliasId { function: function.clone(), alias: "-".parse().expect("a hyphen is an alias name") };
        self.aliases
            .range((Bound::Included(first), Bound::Unbounded))
            .take_while(move |(id, _)| id.function == *function)
            .map(|(_, state)| state)
    }

    /// The rollouts of an alias that are live: the active one, then those that wait, in order.
    pub fn live_rollouts_of(&self, id: &AliasId) -> Vec<Arc<Rollout>> {
        let Some(state) = self.alias(id) else { return Vec::new() };
        let ids = state.active.iter().chain(&state.pending);
        ids.filter_map(|id| self.rollout(*id)).cloned().collect()
    }

    /// The code that functions and versions name.
    pub fn named_code(&self) -> BTreeSet<CodeSha256> {
        let latest = self.functions.values().map(|state| &state.function.latest);
        let versions = self.functions.values().flat_map(|state| state.versions.values());
        latest
            .chain(versions.map(|version| &version.configuration))
            .filter_map(|configuration| Some(configuration.target.process()?.code_sha256))
            .collect()
    }

    /// Everything that still needs a version, if anything does.
    pub fn user_of(
        &self,
        function: &FunctionName,
        version: VersionNumber,
    ) -> Option<crate::lambda::function::VersionInUse> {
        use crate::lambda::function::VersionInUse;
        let named: Vec<String> = self
            .aliases_of(function)
            .filter(|state| state.alias.routing.names(version))
            .map(|state| state.alias.id.alias.to_string())
            .collect();
        if !named.is_empty() {
            return Some(VersionInUse::Aliases(named));
        }
        for state in self.aliases_of(function) {
            let alias = &state.alias.id;
            let live = self.live_rollouts_of(alias);
            let needs = |rollout: &&Arc<Rollout>| {
                rollout.record.canary == version
                    || (rollout.record.phase.is_active() && rollout.record.stable == version)
            };
            if let Some(rollout) = live.iter().find(needs) {
                return Some(VersionInUse::Rollout { rollout: rollout.record.id, alias: alias.clone() });
            }
            if state.previous_stable == Some(version) {
                return Some(VersionInUse::RollbackTarget { alias: alias.clone() });
            }
        }
        None
    }
}
