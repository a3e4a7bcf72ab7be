//! What deciding wants told, as lines of the daemon's log.

use serin_core::world::notice::Notice;

/// Says one thing.
pub(super) fn log(notice: &Notice) {
    match notice {
        Notice::StartMissed { plan, time } => {
            tracing::warn!(plan = plan.as_str(), %time, "a scheduled start was missed and is not made up for");
        }
        Notice::NotStarted { plan, alias, trigger, why } => {
            tracing::info!(plan = plan.as_str(), alias.name = %alias, trigger = trigger.as_str(), %why, "a trigger started nothing");
        }
        Notice::Restless { alias } => {
            tracing::error!(alias.name = %alias, "a rollout does not come to rest; it is left as it is until the next change");
        }
        Notice::PromotedFails { alias, version, seen, limit } => {
            tracing::warn!(
                alias.name = %alias, %version, failed = seen.failures, requests = seen.requests, limit,
                "the promoted version fails more often than this alias's past allows"
            );
        }
    }
}
