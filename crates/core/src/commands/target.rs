//! What a TARGET means, and what going back from there means: one rule for every verb and every reading.
//!
//! Pure: the world in, a rollout or a way back out. Verbs act by it, `status` and `explain` promise by it, so that what
//! is promised is what a verb then does.

use std::sync::Arc;

use crate::commands::Refusal;
use crate::lambda::alias::{AliasId, Routing};
use crate::model::arn::{VersionId, VersionNumber};
use crate::rollout::{Phase, Rollout, RolloutId};
use crate::world::{AliasState, World};

/// How a rollout is named.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RolloutRef {
    /// The one that the alias means: see [`AliasState::meant`].
    OfAlias(AliasId),
    /// This one.
    Id(RolloutId),
}

/// The rollout that a target means; `past` finds those that have ended and are no longer in memory.
///
/// # Errors
///
/// There is no such alias or rollout, or nothing ever began there.
pub fn find(
    world: &World,
    past: &dyn Fn(RolloutId) -> Option<Rollout>,
    target: &RolloutRef,
) -> Result<Arc<Rollout>, Refusal> {
    match target {
        RolloutRef::Id(id) => {
            let found = world.rollout(*id).cloned().or_else(|| past(*id).map(Arc::new));
            found.ok_or_else(|| {
                Refusal::RolloutNotFound(format!("there is no rollout {id}, or its plan cannot be read"))
            })
        }
        RolloutRef::OfAlias(alias) => {
            let state = world.alias(alias).ok_or_else(|| Refusal::AliasNotFound(alias.clone()))?;
            let meant = state.meant().and_then(|id| world.rollout(id)).cloned();
            meant.ok_or_else(|| {
                Refusal::RolloutNotFound(format!(
                    "{alias} has had no rollout yet; `serin start PLAN` starts one; {alias} is {} now",
                    state.alias.routing
                ))
            })
        }
    }
}

/// What `rollback` of a target does now.
#[derive(Clone, Debug, PartialEq)]
pub enum WayBack {
    /// It ends a rollout that moves the alias: all traffic to its stable version.
    Ends(Arc<Rollout>),
    /// It restores the version before a rollout that succeeded.
    Restores(Arc<Rollout>, VersionNumber),
    /// Nothing: the alias is back already, from what this rollout did.
    IsBack(Arc<Rollout>),
    /// It fails: there is nothing to go back to, and this is why.
    Nothing(String),
}

impl WayBack {
    /// The version that gets all traffic by it, if it does anything.
    pub fn to(&self) -> Option<VersionNumber> {
        match self {
            WayBack::Ends(rollout) => Some(rollout.record.stable),
            WayBack::Restores(_, previous) => Some(*previous),
            WayBack::IsBack(_) | WayBack::Nothing(_) => None,
        }
    }
}

/// What `rollback` does: of an alias, or of one rollout on it.
///
/// Of an alias it is about the rollout that moves it, else the last that began; one that only waits has done nothing
/// that could be taken back.
pub fn way_back(world: &World, state: &AliasState, named: Option<&Arc<Rollout>>) -> WayBack {
    let id = &state.alias.id;
    let of_alias = || state.active.or(state.last).and_then(|id| world.rollout(id)).cloned();
    let Some(rollout) = named.cloned().or_else(of_alias) else {
        return WayBack::Nothing(format!("no rollout has moved {id}"));
    };
    let record = &rollout.record;
    let (routing, name) = (state.alias.routing, record.id.short());
    if !record.phase.is_final() {
        return WayBack::Ends(rollout);
    }
    if !record.has_begun() {
        return WayBack::Nothing(format!("rollout {name} was cancelled before it began"));
    }
    if record.phase == Phase::Succeeded {
        let active = state.active.and_then(|active| world.rollout(active));
        if let Some(active) = active {
            return WayBack::Nothing(format!(
                "rollout {} is under way; `{}` ends that",
                active.record.id.short(),
                active.command("rollback")
            ));
        }
        let is_as_promoted = routing == Routing::only(record.canary);
        if let Some(previous) = state.previous_stable.filter(|previous| *previous == record.stable)
            && is_as_promoted
        {
            return WayBack::Restores(rollout, previous);
        }
        if routing == Routing::only(record.stable) {
            return WayBack::IsBack(rollout);
        }
        let promoted = record.canary;
        return WayBack::Nothing(match is_as_promoted {
            true => format!("what rollout {name} did is no longer the last that was done"),
            false => format!("{id} no longer is as rollout {name} promoted it, on v{promoted}"),
        });
    }
    // What somebody else had made of the alias before it was aborted is nothing that anybody went back to.
    let back_on = record.ended_on.filter(|version| *version != record.canary).unwrap_or(record.stable);
    if routing == Routing::only(record.stable) || routing == Routing::only(back_on) {
        return WayBack::IsBack(rollout);
    }
    let phase = record.phase.name();
    WayBack::Nothing(format!("rollout {name} has ended as {phase}, and {id} was changed by somebody else"))
}

/// The version that lies further back than an alias is, where that is known: what `rollback --to` may name next.
///
/// `before` finds the version that an alias was on before a rollout put it on another one.
pub fn further_back(
    world: &World,
    state: &AliasState,
    before: &dyn Fn(&AliasId, VersionNumber) -> Option<VersionNumber>,
) -> Option<VersionNumber> {
    let id = &state.alias.id;
    let routing = state.alias.routing;
    let VersionId::Number(now) = routing.function_version else { return None };
    let function = world.function(&id.function)?;
    let lies_back =
        |version: &VersionNumber| !routing.names(*version) && function.versions.contains_key(version);
    let last = state.last.and_then(|last| world.rollout(last)).filter(|last| last.record.has_begun());
    // Where the last rollout left the alias, if somebody else has moved it since.
    let left = last.map(|last| match (&last.record.phase, state.previous_stable) {
        (Phase::Succeeded, Some(_)) => last.record.canary,
        _ => last.record.stable,
    });
    let left = left.filter(|left| routing != Routing::only(*left)).filter(&lies_back);
    left.or_else(|| state.previous_stable.filter(&lies_back)).or_else(|| before(id, now).filter(&lies_back))
}
