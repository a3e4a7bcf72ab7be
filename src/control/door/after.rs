//! What follows from a change, decided in the same breath: drift, waiting rollouts, what time and evidence lead to.

use uuid::Uuid;

use super::start::{self, Trigger};
use super::{Refusal, rollouts, watching};
use crate::control::draft::{By, Draft};
use crate::domain::actor::Actor;
use crate::domain::alias::{AliasId, Routing};
use crate::domain::arn::VersionId;
use crate::domain::plan;
use crate::domain::rollout::{Base, Event, Facts, Phase, Rollout, RolloutId};

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
    tracing::error!(alias.name = %id, "a rollout does not come to rest; it is left as it is until the next change");
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

/// Puts together what a rollout's next step may depend on.
pub fn with_facts<T>(draft: &Draft<'_>, rollout: &Rollout, ask: impl FnOnce(&Facts<'_>) -> T) -> T {
    let id = &rollout.record.alias;
    let judge = draft.judge(rollout.record.id);
    // Whoever has begun begins from nothing more, and this is asked of every rollout at each look.
    let base = match rollout.record.phase {
        Phase::Pending => base_of(draft, rollout),
        Phase::Progressing
        | Phase::Paused(_)
        | Phase::Promoting
        | Phase::RollingBack(_)
        | Phase::Succeeded
        | Phase::RolledBack
        | Phase::Aborted
        | Phase::Superseded => Err("it has begun".to_owned()),
    };
    let ahead = ahead_of(draft, rollout);
    ask(&Facts {
        at: draft.at,
        evidence: judge.and_then(|judge| judge.verdict_basis()),
        exposure: judge.map(|judge| judge.evidence.exposure).unwrap_or_default(),
        copies: judge.map(|judge| judge.evidence.copies()).unwrap_or_default(),
        serving: (draft.around.serving)(id),
        canary_requests_per_s: judge.and_then(|judge| judge.canary_requests_per_s()),
        base: base.as_ref().map_err(String::as_str),
        ahead,
    })
}

/// The rollout that a Pending one is queued behind.
fn ahead_of(draft: &Draft<'_>, rollout: &Rollout) -> Option<RolloutId> {
    if rollout.record.phase != Phase::Pending {
        return None;
    }
    let state = draft.world.alias(&rollout.record.alias)?;
    state.active.filter(|active| *active != rollout.record.id)
}

/// What a rollout would begin from if it began now, or why it cannot.
pub(super) fn base_of(draft: &Draft<'_>, rollout: &Rollout) -> Result<Base, String> {
    let id = &rollout.record.alias;
    start::base(draft, id, rollout.record.canary, &rollout.plan)
        .map_err(|refusal: Refusal| refusal.to_string())
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
        .around
        .book
        .started_by(|start| matches!(start, plan::Start::After { target, .. } if target == id));
    for (index, read) in plans.into_iter().enumerate() {
        let trigger = Trigger::After { target: id.clone(), version };
        let id = derived_id(fresh, 1000 + index as u64);
        start::start_by_trigger(draft, &read, Some(version), &trigger, id);
    }
}

/// A wait for an alias to serve a version ends when the alias serves another one.
fn end_waits(draft: &mut Draft<'_>, id: &AliasId, alone: Option<crate::domain::arn::VersionNumber>) {
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
