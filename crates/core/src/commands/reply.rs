//! How verbs are answered.

use super::Reply;
use crate::lambda::alias::AliasId;
use crate::rollout;
use crate::rollout::Rollout;
use crate::rollout::RolloutId;
use crate::world::draft::Draft;

/// What became of a rollout, and what its alias is now.
pub(super) fn reply(draft: &Draft<'_>, rollout: &Rollout, changed: bool, message: String) -> Reply {
    let record = &rollout.record;
    Reply::Rollout {
        id: Some(record.id),
        alias: record.alias.clone(),
        phase: Some(record.phase.name().to_owned()),
        step: record.step,
        changed,
        message,
        routing: draft.world.alias(&record.alias).map(|state| state.alias.routing),
    }
}

/// What is queued behind a rollout that was ended, for whoever thinks that all is over now.
fn what_waits(draft: &Draft<'_>, id: &AliasId, ended: RolloutId) -> Option<String> {
    let state = draft.world.alias(id)?;
    let name = |waiting: &Rollout| format!("{} to v{}", waiting.record.id.short(), waiting.record.canary);
    if let Some(active) = state.active.filter(|active| *active != ended) {
        let active = draft.world.rollout(active)?;
        return Some(format!("rollout {} is under way", name(active)));
    }
    let waiting = draft.world.rollout(*state.pending.last().filter(|waiting| **waiting != ended)?)?;
    let short = waiting.record.id.short();
    Some(format!("rollout {} still waits, `serin abort {short}` cancels it", name(waiting)))
}

/// A message, and what is queued.
pub(super) fn with_waiting(draft: &Draft<'_>, id: &AliasId, ended: RolloutId, message: String) -> String {
    match what_waits(draft, id, ended) {
        Some(waiting) => format!("{message}; {waiting}"),
        None => message,
    }
}

/// What messages call a rollout: `checkout:live (rollout 7f3a)`.
pub(super) fn name_of(rollout: &rollout::Rollout) -> String {
    format!("{} (rollout {})", rollout.record.alias, rollout.record.id.short())
}
