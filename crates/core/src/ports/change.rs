//! What goes into the store: whole changes, in the words of the domain.

use uuid::Uuid;

use crate::analysis::ledger::StoredRow;
use crate::analysis::watch::Days;
use crate::journal::Entry;
use crate::lambda::alias::{Alias, AliasId};
use crate::lambda::event_source::EventSource;
use crate::lambda::function::{Function, Revision, Version};
use crate::lambda::policy::{Policy, PolicyScope};
use crate::model::arn::{FunctionName, VersionNumber};
use crate::model::time::{Timestamp, Uptime};
use crate::rollout::watching::AliasWatch;
use crate::rollout::{Ending, RolloutId, RolloutRecord};

/// A plan's bytes as they were when a rollout started; they are what its digest is of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PinnedPlan {
    /// SHA-256, in hex.
    pub digest: String,
    /// The plan's name.
    pub name: String,
    /// The plan's bytes.
    pub bytes: Vec<u8>,
    /// The name and the bytes of the defaults it uses.
    pub defaults: Option<(String, Vec<u8>)>,
}

/// One row that becomes what it says.
#[derive(Clone, Debug)]
pub enum Write {
    /// A function is made or changed.
    PutFunction(Function),
    /// A function is gone; its versions, aliases and policies went before.
    DeleteFunction {
        /// Its name.
        name: FunctionName,
        /// The highest number it ever published, from which one of its name counts on.
        last_version: u64,
    },
    /// A version is published.
    PutVersion(Version),
    /// A version is gone.
    DeleteVersion(FunctionName, VersionNumber),
    /// An alias is made or changed.
    PutAlias {
        /// The alias as it becomes.
        alias: Alias,
        /// What a rollback after success restores.
        previous_stable: Option<VersionNumber>,
        /// The revision it was decided on; `None` for a new alias.
        expected: Option<Revision>,
    },
    /// An alias is gone.
    DeleteAlias(AliasId),
    /// A policy is made or changed.
    PutPolicy(PolicyScope, Policy),
    /// A policy is gone.
    DeletePolicy(FunctionName, PolicyScope),
    /// A mapping of an event source is made or changed.
    PutEventSource(EventSource),
    /// A mapping of an event source is gone.
    DeleteEventSource(Uuid),
    /// A plan is pinned.
    PutPlan(PinnedPlan),
    /// A rollout is made or changed.
    PutRollout {
        /// The rollout.
        record: Box<RolloutRecord>,
        /// Its evidence as JSON; `None` leaves what is stored.
        evidence: Option<String>,
    },
    /// Counts of a rollout, which exists.
    PutCounts {
        /// The rollout.
        rollout: RolloutId,
        /// They take the place of the row that starts where this one does.
        row: StoredRow,
    },
    /// The watch of an alias is as it says; `None` where there is none any more.
    PutWatch {
        /// The alias.
        alias: AliasId,
        /// The watch.
        watch: Option<Box<AliasWatch>>,
    },
    /// What an alias under a plan that watches counted on one day.
    PutDay {
        /// The alias.
        alias: AliasId,
        /// The day, counted from 1970.
        day: i64,
        /// Its blocks.
        blocks: Days,
    },
    /// A version was taken out of an alias.
    Remember {
        /// The alias.
        alias: AliasId,
        /// The version.
        version: VersionNumber,
        /// How.
        ending: Ending,
    },
}

/// The reply to a command that came with an idempotency key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdempotentReply {
    /// The key.
    pub key: String,
    /// What the command was, so that the key cannot be used for another.
    pub fingerprint: String,
    /// The reply as JSON.
    pub reply: String,
    /// When.
    pub at: Timestamp,
}

/// Everything that one round of decisions changes; stored whole or not at all.
#[derive(Clone, Debug, Default)]
pub struct Commit {
    /// Rows, in an order that keeps references whole.
    pub writes: Vec<Write>,
    /// What happened, gapless after the last.
    pub entries: Vec<Entry>,
    /// Replies to be given again.
    pub replies: Vec<IdempotentReply>,
    /// The daemon's clock.
    pub uptime: Uptime,
    /// Whether it takes a canary out: then the reserve on disk may be used.
    pub urgent: bool,
}
