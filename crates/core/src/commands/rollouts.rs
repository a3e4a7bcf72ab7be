//! How an event of a rollout becomes changes: its state, its alias, its evidence, its entry.

use super::{Refusal, watching};
use crate::journal::Happening;
use crate::lambda::alias::AliasId;
use crate::model::arn::VersionNumber;
use crate::ports::Write;
use crate::rollout::{Cause, Effect, Ending, Event, Outcome, Phase, Rollout, RolloutId};
use crate::world::draft::{About, By, Draft};
use crate::world::judge::Judge;

/// What an event did to a rollout.
pub(super) enum Taken {
    /// Nothing, and why.
    Unchanged(String),
    /// It became this; one that has ended may be out of memory already.
    Changed(Box<Rollout>),
}

/// Gives a rollout in memory an event.
pub(super) fn take_by_id(
    draft: &mut Draft<'_>,
    by: By<'_>,
    id: RolloutId,
    event: Event,
) -> Result<Taken, Refusal> {
    let Some(rollout) = draft.world.rollout(id).cloned() else {
        return Err(Refusal::RolloutNotFound(format!("there is no rollout {id}")));
    };
    take(draft, by, &rollout, event)
}

/// Gives a rollout an event; nothing changes one that has ended.
pub(super) fn take(
    draft: &mut Draft<'_>,
    by: By<'_>,
    rollout: &Rollout,
    event: Event,
) -> Result<Taken, Refusal> {
    let id = rollout.record.id;
    let cause = Cause { by: by.actor, at: draft.at, seq: draft.next_seq() };
    let outcome = rollout.apply(&event, cause).map_err(|refusal| Refusal::from((rollout, refusal)))?;
    let transition = match outcome {
        Outcome::Unchanged(why) => return Ok(Taken::Unchanged(why)),
        Outcome::Changed(transition) => *transition,
    };
    let mut next = transition.next;
    if next.record.phase.is_active() && draft.judge(id).is_none() {
        let watcher = draft.context.watchers.get(&next.record.alias);
        draft.set_judge(id, Judge::begin(&next, draft.next_seq(), draft.at.up, watcher));
    }
    let mut alias_after = None;
    for effect in &transition.effects {
        if let Effect::Route { routing, expected } = effect {
            let found = draft.world.alias(&next.record.alias).map(|state| state.alias.revision);
            if found != Some(*expected) {
                return Err(Refusal::Conflict(format!(
                    "{} was changed while {} was being decided about; look again",
                    next.record.alias,
                    super::reply::name_of(&next)
                )));
            }
            // Where it is named without a weight it gets copies, and nothing was taken from it.
            let canary = next.record.canary;
            if routing.share_of(canary) == crate::model::weight::Weight::ZERO && !routing.names(canary) {
                draft.mark_urgent();
            }
            alias_after = draft.route(&next.record.alias, *routing);
        } else {
            perform(draft, &next, effect);
        }
    }
    if should_journal(rollout, &next, &event) {
        let what = Happening::Rollout {
            event,
            phase: next.record.phase.name().to_owned(),
            step: next.record.step,
            outcome: next.record.reason.clone(),
        };
        let alias = next.record.alias.clone();
        let about = About { function: &alias.function, alias: Some(&alias), rollout: Some(id) };
        draft.journal(by, about, what, alias_after);
    }
    if next.record.phase.is_final() && next.record.closing.is_none() {
        next.record.closing = draft.judge(id).map(Judge::closing);
    }
    let has_succeeded = next.record.phase == Phase::Succeeded && rollout.record.phase != Phase::Succeeded;
    if has_succeeded {
        watching::begin(draft, &next);
    }
    draft.put_rollout(next.clone());
    Ok(Taken::Changed(Box::new(next)))
}

/// Whether an event is worth an entry: confirmations that change no phase are only noted with the rollout.
fn should_journal(before: &Rollout, after: &Rollout, event: &Event) -> bool {
    let quiet = matches!(event, Event::RoutingServed { .. } | Event::Touched { .. });
    let quiet = quiet || matches!(event, Event::Measured { metric, .. } if !after.is_news(before, metric));
    !quiet || before.record.phase.name() != after.record.phase.name()
}

fn perform(draft: &mut Draft<'_>, next: &Rollout, effect: &Effect) {
    let (id, alias) = (next.record.id, next.record.alias.clone());
    match effect {
        Effect::Route { .. } => {}
        Effect::SeekProof { next: weight } => {
            let Some(mut judge) = draft.judge(id).cloned() else { return };
            match weight {
                // The epoch that serves the weight: this change's own, or the one that was adopted.
                Some(weight) => {
                    let committed = next.record.committed.as_ref();
                    let from = committed.map_or(draft.next_seq(), |committed| committed.revision);
                    judge.evidence.seek_proof(*weight, from);
                }
                None => judge.evidence.seek_none(),
            }
            draft.set_judge(id, judge);
        }
        Effect::ForgiveHarm => {
            let Some(mut judge) = draft.judge(id).cloned() else { return };
            judge.evidence.forgive();
            draft.set_judge(id, judge);
        }
        Effect::Remember { ending } => remember(draft, &alias, next.record.canary, *ending),
        Effect::KeepStable => keep_stable(draft, &alias, Some(next.record.stable)),
    }
}

/// Notes that a version was taken out of an alias: no trigger starts it there again.
pub(super) fn remember(draft: &mut Draft<'_>, alias: &AliasId, version: VersionNumber, ending: Ending) {
    let alias = alias.clone();
    if let Some(state) = draft.alias_mut(&alias) {
        state.remembered.insert(version, ending);
    }
    draft.write(Write::Remember { alias, version, ending });
}

/// Notes what a rollback after success restores; no change of the alias as Lambda clients see it.
pub(super) fn keep_stable(draft: &mut Draft<'_>, alias: &AliasId, previous_stable: Option<VersionNumber>) {
    let Some(state) = draft.alias_mut(alias) else { return };
    state.previous_stable = previous_stable;
    let alias = state.alias.clone();
    let expected = Some(alias.revision);
    draft.write(Write::PutAlias { alias, previous_stable, expected });
}
