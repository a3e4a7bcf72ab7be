//! What deciding tells whoever looks after the daemon, where no entry of the journal does.

use crate::analysis::Counts;
use crate::lambda::alias::AliasId;
use crate::model::arn::VersionNumber;
use crate::model::time::Timestamp;

/// Something for the daemon's log.
#[derive(Clone, Debug, PartialEq)]
pub enum Notice {
    /// A scheduled start was noticed too late, and is not made up for.
    StartMissed {
        /// The plan's name.
        plan: String,
        /// When it should have started.
        time: Timestamp,
    },
    /// A trigger asked for a start that was refused.
    NotStarted {
        /// The plan's name.
        plan: String,
        /// The alias it moves.
        alias: AliasId,
        /// The trigger in words.
        trigger: String,
        /// Why it was refused.
        why: String,
    },
    /// A rollout had something due again and again in one round; it is left as it is until the next change.
    Restless {
        /// Its alias.
        alias: AliasId,
    },
    /// A promoted version fails more often than its alias's past allows, and the plan wants that told.
    PromotedFails {
        /// The alias.
        alias: AliasId,
        /// The version.
        version: VersionNumber,
        /// What was counted of it.
        seen: Counts,
        /// The share of failures that the past allows, with its margin.
        limit: f64,
    },
}
