//! What follows when an alias has changed: its own rollouts, and plans that wait for it.

use uuid::Uuid;

use super::rollouts;
use super::settle::settle;
use super::start::{self, Trigger};
use crate::lambda::alias::{AliasId, Routing};
use crate::model::actor::Actor;
use crate::model::arn::VersionId;
use crate::plan;
use crate::rollout::{Event, Phase, RolloutId};
use crate::world::draft::{By, Draft};

/// Does all that a changed alias entails: its own rollouts, and plans that wait for it.
pub(super) fn alias_changed(draft: &mut Draft<'_>, id: &AliasId, fresh: Uuid) {
    settle(draft, id);
    follow(draft, id, fresh);
}

/// An identifier that follows from another one, so that one command can make several things.
pub(super) fn derived_id(fresh: Uuid, index: u64) -> Uuid {
    // The clock bits stay, so that ids keep their order; the random tail moves on.
    Uuid::from_u128(
        (fresh.as_u128() & !0xffff_ffff) | (fresh.as_u128().wrapping_add(u128::from(index)) & 0xffff_ffff),
    )
}

/// Starts rollouts that wait for another alias to serve a version, and ends those whose wait is over for good.
fn follow(draft: &mut Draft<'_>, id: &AliasId, fresh: Uuid) {
    let Some(state) = draft.world.alias(id).cloned() else { return };
    let alone = match state.alias.routing {
        Routing { function_version: VersionId::Number(number), additional: None } => Some(number),
        _ => None,
    };
    end_waits(draft, id, alone);
    let Some(version) = alone else { return };
    let plans = draft
        .context
        .book
        .started_by(|start| matches!(start, plan::Start::After { target, .. } if target == id));
    for (index, read) in plans.into_iter().enumerate() {
        let trigger = Trigger::After { target: id.clone(), version };
        let id = derived_id(fresh, 1000 + index as u64);
        start::start_by_trigger(draft, &read, Some(version), &trigger, id);
    }
}

/// A wait for an alias to serve a version ends when the alias serves another one.
fn end_waits(draft: &mut Draft<'_>, id: &AliasId, alone: Option<crate::model::arn::VersionNumber>) {
    let waiting: Vec<RolloutId> = draft
        .world
        .live
        .iter()
        .filter_map(|live| draft.world.rollout(*live))
        .filter(|rollout| {
            let waits = rollout.record.after.as_ref().is_some_and(|after| after.target == *id);
            waits && rollout.record.phase == Phase::Pending && alone != Some(rollout.record.canary)
        })
        .map(|rollout| rollout.record.id)
        .collect();
    for rollout in waiting {
        let daemon = Actor::daemon();
        let why = format!("{id} no longer serves that version alone");
        let by = By { actor: &daemon, reason: None };
        let _ = rollouts::take_by_id(draft, by, rollout, Event::Unstartable { why });
    }
}
