//! The operator's verbs.

use std::sync::Arc;

use uuid::Uuid;

use super::start::{self, Asked, Trigger};
use super::{Refusal, Reply, RolloutRef, Verb, after, name_of, rollouts, watching};
use crate::control::draft::{About, By, Draft};
use crate::control::plans::ReadPlan;
use crate::domain::alias::Routing;
use crate::domain::arn::VersionNumber;
use crate::domain::journal::Happening;
use crate::domain::rollout::{Answer, Ending, Errand, Event, Gate, Need, Phase, Rollout};
use crate::store::PinnedPlan;

pub(super) fn operate(
    draft: &mut Draft<'_>,
    by: By<'_>,
    target: &RolloutRef,
    verb: &Verb,
    fresh: Uuid,
) -> Result<Reply, Refusal> {
    let rollout = find(draft, target)?;
    if let Some(why) = draft.world.alias(&rollout.record.alias).and_then(|state| state.quarantine.clone()) {
        return Err(Refusal::Quarantined(why));
    }
    let id = rollout.record.id;
    let event = match verb {
        Verb::Promote { step, full } => promotion(draft, by, &rollout, *step, *full)?,
        Verb::Pause => Event::PauseAsked,
        Verb::Resume(drift) => Event::Resumed { drift: *drift },
        Verb::Approve => Event::Approved,
        Verb::Abort => Event::AbortAsked,
        Verb::Rollback if rollout.record.phase == Phase::Succeeded => {
            return restore_previous(draft, by, &rollout, fresh);
        }
        Verb::Rollback => Event::AbortAsked,
        Verb::Retry => return retry(draft, by, &rollout, fresh),
    };
    let skipped = match &event {
        Event::Promoted { skipped, .. } => skipped.clone(),
        _ => Vec::new(),
    };
    let unchanged = rollouts::take(draft, by, &rollout, event)?;
    if unchanged.is_none() {
        after::alias_changed(draft, &rollout.record.alias, fresh);
    }
    let now = draft.world.rollout(id).cloned().unwrap_or_else(|| Arc::clone(&rollout));
    let message = match &unchanged {
        Some(why) => format!("{} {why}; nothing was changed", name_of(&now)),
        None => done(&now, verb, &skipped, now.record.trials > rollout.record.trials),
    };
    Ok(reply(&now, unchanged.is_none(), message))
}

/// Gives a rollout what came back from outside.
pub(super) fn answered(
    draft: &mut Draft<'_>,
    by: By<'_>,
    errand: &Errand,
    answer: &Answer,
    fresh: Uuid,
) -> Result<Reply, Refusal> {
    let rollout = find(draft, &RolloutRef::Id(errand.rollout))?;
    if let Some(why) = draft.world.alias(&rollout.record.alias).and_then(|state| state.quarantine.clone()) {
        return Err(Refusal::Quarantined(why));
    }
    let unchanged = rollouts::take(draft, by, &rollout, errand.answered(answer.clone()))?;
    if unchanged.is_none() {
        after::alias_changed(draft, &rollout.record.alias, fresh);
    }
    let now = draft.world.rollout(errand.rollout).cloned().unwrap_or(rollout);
    let message = unchanged.clone().unwrap_or_else(|| "took the answer".to_owned());
    Ok(reply(&now, unchanged.is_none(), message))
}

fn reply(rollout: &Rollout, changed: bool, message: String) -> Reply {
    Reply::Rollout {
        id: rollout.record.id,
        alias: rollout.record.alias.clone(),
        phase: rollout.record.phase.name().to_owned(),
        step: rollout.record.step,
        changed,
        message,
    }
}

fn done(rollout: &Rollout, verb: &Verb, skipped: &[String], forgave: bool) -> String {
    let name = name_of(rollout);
    let share = rollout.share();
    let canary = rollout.record.canary;
    match verb {
        Verb::Promote { full: true, .. } => format!("{name} is promoted to v{canary}{}", skipping(skipped)),
        Verb::Promote { .. } => format!("{name} goes on: v{canary} at {share}{}", skipping(skipped)),
        Verb::Pause => format!("{name} is paused at {share}, and still judged"),
        Verb::Resume(_) => match rollout.trials_in_words().filter(|_| forgave) {
            Some(trials) => format!("{name} goes on at {share}; {trials}"),
            None => format!("{name} goes on at {share}"),
        },
        Verb::Approve => format!("{name} is approved ({} so far)", rollout.record.approvals.len()),
        Verb::Abort | Verb::Rollback => format!("{name} is aborted; v{canary} gets no more traffic"),
        Verb::Retry => format!("{name} is started anew"),
    }
}

fn skipping(skipped: &[String]) -> String {
    if skipped.is_empty() { String::new() } else { format!(", skipping {}", skipped.join("; ")) }
}

/// Finds what a command names: an alias means its active rollout, else the one that waits, else its newest.
fn find(draft: &Draft<'_>, target: &RolloutRef) -> Result<Arc<Rollout>, Refusal> {
    let found = match target {
        RolloutRef::Id(id) => {
            draft.world.rollout(*id).cloned().or_else(|| (draft.around.past)(*id).map(Arc::new))
        }
        RolloutRef::OfAlias(alias) => {
            let state = draft.world.alias(alias).ok_or_else(|| Refusal::AliasNotFound(alias.clone()))?;
            state.meant().and_then(|id| draft.world.rollout(id)).cloned()
        }
    };
    found.ok_or_else(|| {
        Refusal::RolloutNotFound(match target {
            RolloutRef::Id(id) => {
                format!("there is no rollout {id}, or its plan cannot be read")
            }
            RolloutRef::OfAlias(alias) => {
                format!("{alias} has had no rollout yet; `serin start PLAN` starts one")
            }
        })
    })
}

/// What promoting would skip; wants a reason for what protects people.
fn promotion(
    draft: &Draft<'_>,
    by: By<'_>,
    rollout: &Rollout,
    step: usize,
    full: bool,
) -> Result<Event, Refusal> {
    let unmet: Vec<Gate> = after::with_facts(draft, rollout, |facts| rollout.gates(facts))
        .into_iter()
        .filter(|gate| !gate.met && gate.need != Need::Served)
        .collect();
    let protects = |gate: &&Gate| {
        matches!(
            gate.need,
            Need::Proof { .. }
                | Need::Metric { .. }
                | Need::Held { .. }
                | Need::Webhook { .. }
                | Need::Split { .. }
                | Need::Approval { .. }
                | Need::Window { .. }
                | Need::Freeze { .. }
        )
    };
    let mut guards: Vec<&str> = unmet.iter().filter(protects).map(|gate| gate.need.kind()).collect();
    guards.dedup();
    if full && rollout.plan.analysis.as_ref().is_some_and(|analysis| analysis.proof.is_some()) {
        let before_end = rollout.next_weight().is_some();
        if before_end && !guards.contains(&"proof") {
            guards.push("proof");
        }
    }
    let is_live = rollout.record.phase == Phase::Pending
        || matches!(rollout.record.phase, Phase::Progressing | Phase::Paused(_));
    if is_live && by.reason.is_none() && !guards.is_empty() {
        return Err(Refusal::ReasonWanted(format!(
            "{} is not promoted: that would skip {}; say why, as in `{}{} --reason \"…\"`",
            name_of(rollout),
            guards.join(" and "),
            rollout.command("promote"),
            if full { " --full" } else { "" }
        )));
    }
    let skipped = after::with_facts(draft, rollout, |facts| {
        unmet
            .iter()
            .map(|gate| format!("{}: {}", gate.need.kind(), rollout.in_words(facts, &gate.need)))
            .collect()
    });
    let queued = unmet.iter().any(|gate| matches!(gate.need, Need::Queue { .. }));
    let base = match rollout.record.phase {
        Phase::Pending if !queued => Some(start::base(draft, &rollout.record.alias, rollout.record.canary)?),
        _ => None,
    };
    Ok(Event::Promoted { step, full, base, skipped })
}

/// Restores the version before a succeeded rollout, while the alias still is as it was promoted.
fn restore_previous(
    draft: &mut Draft<'_>,
    by: By<'_>,
    rollout: &Rollout,
    fresh: Uuid,
) -> Result<Reply, Refusal> {
    let (id, canary) = (rollout.record.alias.clone(), rollout.record.canary);
    let state = draft.world.alias(&id).cloned().ok_or_else(|| Refusal::AliasNotFound(id.clone()))?;
    let from = state.alias.routing;
    if let Some(active) = state.active.and_then(|active| draft.world.rollout(active)) {
        return Err(Refusal::Conflict(format!(
            "{id} cannot go back to v{}: {} is under way; end it first with `{}`",
            rollout.record.stable,
            name_of(active),
            active.command("abort")
        )));
    }
    if from == Routing::only(rollout.record.stable) && state.previous_stable.is_none() {
        let message = format!("{id} is on v{} already; nothing was changed", rollout.record.stable);
        return Ok(reply(rollout, false, message));
    }
    let as_promoted =
        |previous: &VersionNumber| from == Routing::only(canary) && *previous == rollout.record.stable;
    let Some(previous) = state.previous_stable.filter(as_promoted) else {
        return Err(Refusal::Conflict(format!(
            "{id} cannot go back to v{stable}: it no longer is as rollout {} promoted it, but {from}; move it with \
             `serin alias update {id} --version {stable} --clear-weights`",
            rollout.record.id.short(),
            stable = rollout.record.stable
        )));
    };
    let to = Routing::only(previous);
    watching::end(draft, by, &id, "the version before is restored");
    draft.mark_urgent();
    let alias_after = draft.route(&id, to);
    let about = About { function: &id.function, alias: Some(&id), rollout: Some(rollout.record.id) };
    draft.journal(by, about, Happening::PreviousRestored { from, to }, alias_after);
    rollouts::keep_stable(draft, &id, None);
    rollouts::remember(draft, rollout, Ending::RolledBack);
    after::alias_changed(draft, &id, fresh);
    Ok(reply(rollout, true, format!("{id} is back on v{previous}; v{canary} gets no more traffic")))
}

fn retry(draft: &mut Draft<'_>, by: By<'_>, rollout: &Rollout, fresh: Uuid) -> Result<Reply, Refusal> {
    let name = name_of(rollout);
    if !rollout.record.phase.is_final() {
        let next = match rollout.record.phase {
            Phase::RollingBack(_) => format!("`{} --wait` waits for that", rollout.command("status")),
            _ => format!("`{}` ends it", rollout.command("abort")),
        };
        let phase = rollout.record.phase.name();
        return Err(Refusal::Conflict(format!(
            "{name} cannot be retried: it has not ended ({phase}); {next}"
        )));
    }
    let read =
        ReadPlan { plan: Arc::clone(&rollout.plan), pinned: pinned(draft, rollout)?, warnings: Vec::new() };
    let asked = Asked {
        plan: &Arc::new(read),
        to: Some(rollout.record.canary),
        again: true,
        retry_of: Some(rollout.record.id),
        trigger: &Trigger::Person,
    };
    start::start(draft, by, &asked, fresh, false)
}

/// The plan as the rollout pinned it.
fn pinned(draft: &Draft<'_>, rollout: &Rollout) -> Result<PinnedPlan, Refusal> {
    let found = (draft.around.pinned)(&rollout.record.plan_digest);
    found.ok_or_else(|| {
        Refusal::Conflict(format!(
            "{} cannot be retried: the plan that it pinned cannot be read; `serin start PLAN --allow-rejected` starts it from a \
             plan file",
            name_of(rollout)
        ))
    })
}
