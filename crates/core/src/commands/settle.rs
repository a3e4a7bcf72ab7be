//! What follows from a change, decided in the same breath: drift, waiting rollouts, what time and evidence lead to.

use crate::commands::facts::with_facts;

use super::{rollouts, watching};
use crate::lambda::alias::{AliasId, Routing};
use crate::model::actor::Actor;
use crate::rollout::{Event, RolloutId};
use crate::world::draft::{By, Draft};
use crate::world::notice::Notice;

/// More events than this in a row on one alias mean a fault in the machine, not work to do.
const ROUNDS_MAX: usize = 64;

/// Gives the active rollout of an alias the news that somebody else changed it.
pub(super) fn foreign_change(draft: &mut Draft<'_>, by: By<'_>, id: &AliasId, from: Routing) {
    let Some(state) = draft.world.alias(id).cloned() else { return };
    let Some(active) = state.active else { return };
    let (found, revision) = (state.alias.routing, state.alias.revision);
    let event = if found == from {
        Event::Touched { revision }
    } else {
        Event::Drifted { by: by.actor.clone(), found, revision }
    };
    // A rollout answers these in every phase; a refusal would leave it paused on a stale revision, not the alias wrong.
    let _ = rollouts::take_by_id(draft, by, active, event);
}

/// Applies everything that time and evidence now lead to on an alias, until nothing is due.
pub fn settle(draft: &mut Draft<'_>, id: &AliasId) {
    watching::settle(draft, id);
    for _ in 0..ROUNDS_MAX {
        let Some((rollout, event)) = due(draft, id) else { return };
        let daemon = Actor::daemon();
        let by = By { actor: &daemon, reason: None };
        match rollouts::take_by_id(draft, by, rollout, event) {
            Ok(rollouts::Taken::Changed(_)) => {}
            Ok(rollouts::Taken::Unchanged(_)) | Err(_) => return,
        }
    }
    draft.notice(Notice::Restless { alias: id.clone() });
}

fn due(draft: &Draft<'_>, id: &AliasId) -> Option<(RolloutId, Event)> {
    let state = draft.world.alias(id)?;
    if state.quarantine.is_some() {
        return None;
    }
    let live = state.active.iter().chain(&state.pending);
    live.filter_map(|rollout| draft.world.rollout(*rollout)).find_map(|rollout| {
        let event = with_facts(draft, rollout, |facts| rollout.due(facts))?;
        Some((rollout.record.id, event))
    })
}
