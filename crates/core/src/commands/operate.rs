//! The operator's verbs.

use std::sync::Arc;

use uuid::Uuid;

use super::rollouts::Taken;
use super::start::{self, Asked, Trigger};
use super::{Refusal, Reply, RolloutRef, Verb, facts, follow, reply, reply::name_of, rollouts};
use crate::commands::target;
use crate::lambda::alias::Routing;
use crate::ports::PinnedPlan;
use crate::rollout::{Answer, Event, ExternalCheck, Gate, Need, Phase, Rollout};
use crate::world::draft::{By, Draft};
use crate::world::plans::ReadPlan;

/// Gives a rollout what a verb asks of it.
pub(super) fn take(
    draft: &mut Draft<'_>,
    by: By<'_>,
    rollout: &Arc<Rollout>,
    verb: &Verb,
    fresh: Uuid,
) -> Result<Reply, Refusal> {
    let event = match verb {
        Verb::Promote { step, full } => promotion(draft, by, rollout, *step, *full)?,
        Verb::Pause => Event::PauseAsked,
        Verb::Resume(drift) => Event::Resumed { drift: *drift },
        Verb::Approve => Event::Approved,
        Verb::Abort => Event::AbortAsked,
        Verb::Rollback { to } => Event::RollbackAsked { to: *to },
        Verb::Retry => return retry(draft, by, rollout, fresh),
    };
    let skipped = if let Event::Promoted { skipped, .. } = &event { skipped.clone() } else { Vec::new() };
    let taken = rollouts::take(draft, by, rollout, event)?;
    let (now, changed, message) = match taken {
        Taken::Unchanged(why) => {
            (Rollout::clone(rollout), false, format!("{} {why}; nothing was changed", name_of(rollout)))
        }
        Taken::Changed(now) => {
            follow::alias_changed(draft, &rollout.record.alias, fresh);
            let now = draft.world.rollout(now.record.id).map_or(*now, |now| Rollout::clone(now));
            let message = done(rollout, &now, verb, &skipped);
            (now, true, message)
        }
    };
    let message = match verb {
        Verb::Abort | Verb::Rollback { .. } => {
            reply::with_waiting(draft, &now.record.alias, now.record.id, message)
        }
        Verb::Promote { .. } | Verb::Pause | Verb::Resume(_) | Verb::Approve | Verb::Retry => message,
    };
    Ok(reply::reply(draft, &now, changed, message))
}

/// Gives a rollout what came back from outside.
pub(super) fn answered(
    draft: &mut Draft<'_>,
    by: By<'_>,
    check: &ExternalCheck,
    answer: &Answer,
    fresh: Uuid,
) -> Result<Reply, Refusal> {
    let rollout = find(draft, &RolloutRef::Id(check.rollout))?;
    if let Some(why) = draft.world.alias(&rollout.record.alias).and_then(|state| state.quarantine.clone()) {
        return Err(Refusal::Quarantined(why));
    }
    let (now, changed, message) = match rollouts::take(draft, by, &rollout, check.answered(answer.clone()))? {
        Taken::Unchanged(why) => (Rollout::clone(&rollout), false, why),
        Taken::Changed(now) => {
            follow::alias_changed(draft, &rollout.record.alias, fresh);
            (*now, true, "took the answer".to_owned())
        }
    };
    let now = draft.world.rollout(check.rollout).map_or(now, |now| Rollout::clone(now));
    Ok(reply::reply(draft, &now, changed, message))
}

/// What a verb did, in a sentence.
fn done(before: &Rollout, now: &Rollout, verb: &Verb, skipped: &[String]) -> String {
    let (name, record) = (name_of(now), &now.record);
    let (share, canary) = (now.share(), record.canary);
    let is_judged = record.is_armed() && now.plan.analysis.is_some();
    match verb {
        Verb::Promote { full: true, .. } => format!("{name} is promoted to v{canary}{}", skipping(skipped)),
        Verb::Promote { .. } => match &record.phase {
            Phase::Paused(_) => {
                format!("{name} goes on to step {}, and is paused there{}", record.step, skipping(skipped))
            }
            Phase::Pending
            | Phase::Progressing
            | Phase::Promoting
            | Phase::RollingBack(_)
            | Phase::Succeeded
            | Phase::RolledBack
            | Phase::Aborted
            | Phase::Superseded => format!("{name} goes on: v{canary} at {share}{}", skipping(skipped)),
        },
        Verb::Pause if is_judged => format!("{name} is paused at {share}, and still judged"),
        Verb::Pause => format!("{name} is paused at {share}"),
        Verb::Resume(_) => match &record.phase {
            Phase::Paused(_) => format!("{name} takes that as it is, and is still paused at {share}"),
            phase @ (Phase::Succeeded | Phase::RolledBack | Phase::Aborted | Phase::Superseded) => {
                format!("{name} has ended as {}: {}", phase.name(), record.reason)
            }
            Phase::Pending | Phase::Progressing | Phase::Promoting | Phase::RollingBack(_) => {
                match now.trials_in_words().filter(|_| record.trials > before.record.trials) {
                    Some(trials) => format!("{name} goes on at {share}; {trials}"),
                    None => format!("{name} goes on at {share}"),
                }
            }
        },
        Verb::Approve if record.step > before.record.step => {
            format!("{name} is approved, and goes on: v{canary} at {share}")
        }
        Verb::Approve => format!("{name} is approved ({} so far)", record.approvals.len()),
        Verb::Abort | Verb::Rollback { .. } if before.record.phase == Phase::Pending => {
            format!("{name} is cancelled; it had not begun")
        }
        Verb::Abort => match &before.record.drift {
            Some(drift) if !drift.found.names(canary) => {
                format!("{name} is aborted; {} had changed {}, which is left so", drift.by, record.alias)
            }
            _ => format!("{name} is aborted; v{canary} gets no new requests"),
        },
        Verb::Rollback { .. } => format!("{name} is rolled back; v{canary} gets no new requests"),
        Verb::Retry => format!("{name} is started anew"),
    }
}

fn skipping(skipped: &[String]) -> String {
    if skipped.is_empty() { String::new() } else { format!(", skipping {}", skipped.join("; ")) }
}

/// What promoting would skip; wants a reason for what protects people.
fn promotion(
    draft: &Draft<'_>,
    by: By<'_>,
    rollout: &Rollout,
    step: usize,
    full: bool,
) -> Result<Event, Refusal> {
    if full && rollout.record.phase == Phase::Succeeded {
        let routing = draft.world.alias(&rollout.record.alias).map(|state| state.alias.routing);
        if routing != Some(Routing::only(rollout.record.canary)) {
            return Err(Refusal::Conflict(format!(
                "{} cannot be promoted: it has succeeded, and the alias was changed since; `{}` says what may be done",
                name_of(rollout),
                rollout.command("explain")
            )));
        }
    }
    let unmet: Vec<Gate> = facts::with_facts(draft, rollout, |facts| rollout.gates(facts))
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
    let skipped = facts::with_facts(draft, rollout, |facts| {
        unmet
            .iter()
            .map(|gate| format!("{}: {}", gate.need.kind(), rollout.in_words(facts, &gate.need)))
            .collect()
    });
    let queued = unmet.iter().any(|gate| matches!(gate.need, Need::Queue { .. }));
    let base = match rollout.record.phase {
        Phase::Pending if !queued => {
            let record = &rollout.record;
            Some(facts::base(draft, &record.alias, record.canary, &rollout.plan)?)
        }
        Phase::Pending
        | Phase::Progressing
        | Phase::Paused(_)
        | Phase::Promoting
        | Phase::RollingBack(_)
        | Phase::Succeeded
        | Phase::RolledBack
        | Phase::Aborted
        | Phase::Superseded => None,
    };
    Ok(Event::Promoted { step, full, base, skipped })
}

pub(super) fn retry(
    draft: &mut Draft<'_>,
    by: By<'_>,
    rollout: &Rollout,
    fresh: Uuid,
) -> Result<Reply, Refusal> {
    let name = name_of(rollout);
    if !rollout.record.phase.is_final() {
        let next = match rollout.record.phase {
            Phase::RollingBack(_) => format!("`{} --wait` waits for that", rollout.command("status")),
            Phase::Pending
            | Phase::Progressing
            | Phase::Paused(_)
            | Phase::Promoting
            | Phase::Succeeded
            | Phase::RolledBack
            | Phase::Aborted
            | Phase::Superseded => format!("`{}` ends it", rollout.command("abort")),
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
    let found = (draft.context.pinned)(&rollout.record.plan_digest);
    found.ok_or_else(|| {
        Refusal::Conflict(format!(
            "{} cannot be retried: the plan that it pinned cannot be read; `serin start PLAN --allow-rejected` starts it from a \
             plan file",
            name_of(rollout)
        ))
    })
}

pub(super) fn find(draft: &Draft<'_>, target: &RolloutRef) -> Result<Arc<Rollout>, Refusal> {
    target::find(&draft.world, draft.context.past, target)
}
