//! Going back: in flight, after success, and to any version by its number.
//!
//! What is said is what the alias then is. Where going back would be going two versions back, nothing is changed and
//! the command that goes further is named; where there is nothing to go back to, it fails.

use crate::commands::reply::with_waiting;
use std::sync::Arc;

use uuid::Uuid;

use super::rollouts::Taken;
use super::{Refusal, Reply, Verb, follow, operate, reply, reply::name_of, rollouts, watching};
use crate::commands::target::{WayBack, further_back, way_back};
use crate::journal::Happening;
use crate::lambda::alias::{AliasId, Routing};
use crate::model::arn::{VersionId, VersionNumber};
use crate::rollout::{Ending, Event, Phase, Rollout};
use crate::world::AliasState;
use crate::world::draft::{About, By, Draft};

/// Goes one version back, of an alias or of one rollout on it.
pub(super) fn back(
    draft: &mut Draft<'_>,
    by: By<'_>,
    state: &Arc<AliasState>,
    named: Option<&Arc<Rollout>>,
    fresh: Uuid,
) -> Result<Reply, Refusal> {
    let id = &state.alias.id;
    match way_back(&draft.world, state, named) {
        WayBack::Ends(rollout) => operate::take(draft, by, &rollout, &Verb::Rollback { to: None }, fresh),
        WayBack::Restores(rollout, previous) => restore(draft, by, &rollout, previous, fresh),
        WayBack::IsBack(rollout) => {
            let record = &rollout.record;
            let how = match record.phase {
                Phase::Succeeded => format!(
                    "v{}, which rollout {} had promoted, was taken back",
                    record.canary,
                    record.id.short()
                ),
                Phase::Pending
                | Phase::Progressing
                | Phase::Paused(_)
                | Phase::Promoting
                | Phase::RollingBack(_)
                | Phase::RolledBack
                | Phase::Aborted
                | Phase::Superseded => format!(
                    "rollout {} to v{} has ended as {}",
                    record.id.short(),
                    record.canary,
                    record.phase.name()
                ),
            };
            let message =
                format!("{id} is back already: {how}; nothing was changed; {}", further(draft, state));
            let message = with_waiting(draft, id, record.id, message);
            Ok(reply::reply(draft, &rollout, false, message))
        }
        WayBack::Nothing(why) => {
            let waits = state.pending.last().filter(|_| state.active.is_none());
            let waits = waits.map_or_else(String::new, |waits| {
                format!("; rollout {} only waits, `serin abort {id}` cancels it", waits.short())
            });
            Err(Refusal::Conflict(format!(
                "there is nothing to go back to: {why}; nothing was changed; {}{waits}",
                further(draft, state)
            )))
        }
    }
}

/// What goes further back, as it is typed.
fn further(draft: &Draft<'_>, state: &AliasState) -> String {
    let id = &state.alias.id;
    match further_back(&draft.world, state, draft.context.before) {
        Some(version) => format!("`serin rollback {id} --to {version}` goes to v{version}"),
        None => format!("`serin rollback {id} --to VERSION` goes to any version that is published"),
    }
}

/// Restores the version before a rollout that succeeded.
fn restore(
    draft: &mut Draft<'_>,
    by: By<'_>,
    rollout: &Rollout,
    previous: VersionNumber,
    fresh: Uuid,
) -> Result<Reply, Refusal> {
    let (id, canary) = (rollout.record.alias.clone(), rollout.record.canary);
    let (from, to) = (Routing::only(canary), Routing::only(previous));
    watching::end(draft, by, &id, "the version before is restored");
    draft.mark_urgent();
    let alias_after = draft.route(&id, to);
    let about = About { function: &id.function, alias: Some(&id), rollout: Some(rollout.record.id) };
    draft.journal(by, about, Happening::PreviousRestored { from, to }, alias_after);
    rollouts::keep_stable(draft, &id, None);
    rollouts::remember(draft, &id, canary, Ending::RolledBack);
    follow::alias_changed(draft, &id, fresh);
    let message = format!("{id} is back on v{previous}; v{canary} gets no new requests");
    let message = with_waiting(draft, &id, rollout.record.id, message);
    Ok(reply::reply(draft, rollout, true, message))
}

/// Puts all traffic of an alias on a version that was named, whatever moves it, and ends what moves it and what waits.
pub(super) fn to(
    draft: &mut Draft<'_>,
    by: By<'_>,
    state: &Arc<AliasState>,
    version: VersionNumber,
    fresh: Uuid,
) -> Result<Reply, Refusal> {
    let id = &state.alias.id;
    let is_published =
        draft.world.function(&id.function).is_some_and(|function| function.versions.contains_key(&version));
    if !is_published {
        return Err(Refusal::FunctionNotFound(id.function.clone(), Some(version.into())));
    }
    let from = state.alias.routing;
    let target = Routing::only(version);
    let mut said = Vec::new();
    for waiting in &state.pending {
        if let Taken::Changed(ended) = rollouts::take_by_id(draft, by, *waiting, Event::AbortAsked)? {
            said.push(format!("{}, which waited, is cancelled", name_of(&ended)));
        }
    }
    let active = state.active.and_then(|active| draft.world.rollout(active)).cloned();
    let mut acted = active.as_ref().map(|active| Rollout::clone(active));
    if let Some(active) = &active {
        match rollouts::take(draft, by, active, Event::RollbackAsked { to: Some(version) })? {
            Taken::Unchanged(why) => said.push(format!("{} {why}", name_of(active))),
            Taken::Changed(now) => {
                said.push(format!("{} is ended", name_of(active)));
                acted = Some(*now);
            }
        }
    } else if from != target {
        watching::end(draft, by, id, "the alias is rolled back to another version");
        draft.mark_urgent();
        let alias_after = draft.route(id, target);
        let about = About { function: &id.function, alias: Some(id), rollout: None };
        draft.journal(by, about, Happening::RolledBackTo { from, to: target }, alias_after);
    }
    if from != target {
        take_out(draft, id, from, version, active.as_deref());
    }
    follow::alias_changed(draft, id, fresh);
    let now = draft.world.alias(id).map_or(from, |state| state.alias.routing);
    if now != target {
        return Err(Refusal::Conflict(format!(
            "{id} cannot be put on v{version} now; look again with `serin status {id}`"
        )));
    }
    let head = match from == target {
        true => format!("{id} is on v{version} already"),
        false => format!("all traffic of {id} goes to v{version}"),
    };
    said.insert(0, head);
    let changed = from != target || !state.pending.is_empty() || acted.as_ref() != active.as_deref();
    if !changed {
        said.push("nothing was changed".to_owned());
    }
    let acted =
        acted.map(|acted| draft.world.rollout(acted.record.id).map_or(acted, |now| Rollout::clone(now)));
    let message = said.join("; ");
    Ok(match acted {
        Some(acted) => reply::reply(draft, &acted, changed, message),
        None => Reply::Rollout {
            id: None,
            alias: id.clone(),
            phase: None,
            step: 0,
            changed,
            message,
            routing: Some(now),
        },
    })
}

/// Remembers versions that a person took out of an alias by naming another one; what a rollback would have restored is
/// no longer what lies one version back.
fn take_out(draft: &mut Draft<'_>, id: &AliasId, from: Routing, to: VersionNumber, active: Option<&Rollout>) {
    let beside = from.additional.map(|additional| additional.version);
    let first = match from.function_version {
        VersionId::Number(number) => Some(number),
        VersionId::Latest => None,
    };
    for version in first.into_iter().chain(beside) {
        // The rollout has said already how its own canary went.
        if version != to && active.is_none_or(|active| active.record.canary != version) {
            rollouts::remember(draft, id, version, Ending::RolledBack);
        }
    }
    if draft.world.alias(id).is_some_and(|state| state.previous_stable.is_some()) {
        rollouts::keep_stable(draft, id, None);
    }
}
