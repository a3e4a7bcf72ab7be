//! Starting rollouts: by people, by plans' triggers, and again.

use crate::commands::facts::base;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{Refusal, Reply, facts, reply, rollouts, settle, watching};
use crate::journal::Happening;
use crate::lambda::alias::{AdditionalVersion, AliasId, Routing};
use crate::model::actor::Actor;
use crate::model::arn::VersionNumber;
use crate::model::time::{Stopwatch, Timestamp, human};
use crate::model::weight::Weight;
use crate::plan::{OnNewVersion, Plan, Start, Step, VersionChoice};
use crate::ports::Write;
use crate::rollout::{AfterWait, Ending, Event, NewRollout, Origin, Phase, Rollout, RolloutId};
use crate::world::AliasState;
use crate::world::draft::{About, By, Draft};
use crate::world::notice::Notice;
use crate::world::plans::ReadPlan;

/// What starts a rollout.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Trigger {
    /// A person.
    Person,
    /// A version was published.
    OnPublish {
        /// Which.
        version: VersionNumber,
    },
    /// A schedule.
    Cron {
        /// The time that had come.
        occurrence: Timestamp,
    },
    /// Another alias serves the version.
    After {
        /// Which alias.
        target: AliasId,
        /// Which version.
        version: VersionNumber,
    },
}

impl std::fmt::Display for Trigger {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Trigger::Person => write!(f, "by hand"),
            Trigger::OnPublish { version } => write!(f, "onPublish: v{version} was published"),
            Trigger::Cron { occurrence } => write!(f, "cron: {occurrence}"),
            Trigger::After { target, version } => write!(f, "after: {target} serves v{version}"),
        }
    }
}

/// What is asked of a start.
pub(super) struct Asked<'a> {
    pub plan: &'a Arc<ReadPlan>,
    pub to: Option<VersionNumber>,
    pub again: bool,
    pub retry_of: Option<RolloutId>,
    pub trigger: &'a Trigger,
}

fn canary_for(draft: &Draft<'_>, plan: &Plan, to: Option<VersionNumber>) -> Result<VersionNumber, Refusal> {
    let name = &plan.target.function;
    let function = draft.world.function(name).ok_or_else(|| Refusal::FunctionNotFound(name.clone(), None))?;
    let named = to.or(match plan.version {
        VersionChoice::Newest => None,
        VersionChoice::Number(number) => Some(number),
    });
    match named {
        Some(number) if function.versions.contains_key(&number) => Ok(number),
        Some(number) => Err(Refusal::FunctionNotFound(name.clone(), Some(number.into()))),
        None => function.newest().map(|version| version.number).ok_or_else(|| {
            Refusal::Conflict(format!(
                "function {name} has no published version yet; `serin function publish {name} --url URL` makes one"
            ))
        }),
    }
}

pub(super) fn start(
    draft: &mut Draft<'_>,
    by: By<'_>,
    asked: &Asked<'_>,
    fresh: Uuid,
    dry_run: bool,
) -> Result<Reply, Refusal> {
    let read = asked.plan;
    let id = read.plan.target.clone();
    if draft.world.function(&id.function).is_some() && draft.world.alias(&id).is_none() {
        return Err(Refusal::AliasNotFound(id));
    }
    let canary = canary_for(draft, &read.plan, asked.to)?;
    let state = draft.world.alias(&id).cloned().ok_or_else(|| Refusal::AliasNotFound(id.clone()))?;
    let active = state.active.and_then(|active| draft.world.rollout(active)).cloned();
    if *asked.trigger == Trigger::Person
        && state.quarantine.is_none()
        && let Some(reply) = is_so_already(draft, &state, active.as_deref(), canary, asked)
    {
        return Ok(if dry_run { would_do_nothing(reply, canary) } else { reply });
    }
    // Before what is remembered: a version that was rolled back once may be stable by now.
    active.as_deref().map_or(Ok(()), |active| refuse_stable(active, canary))?;
    refuse_remembered(draft, &id, canary, asked)?;
    let stable = match &active {
        None => base(draft, &id, canary, &read.plan)?.stable,
        Some(active) => admit_beside(draft, active, canary, &read.plan)?,
    };
    let rollout_id = draft.name_rollout(fresh);
    let origin = Origin { actor: by.actor.clone(), reason: by.reason.map(str::to_owned) };
    let rollout = Rollout::pending(
        NewRollout {
            id: rollout_id,
            plan_name: read.pinned.name.clone(),
            plan_digest: read.pinned.digest.clone(),
            plan: Arc::clone(&read.plan),
            stable,
            canary,
            retry_of: asked.retry_of,
            trials_before: trials_before(draft, &id, canary),
            origin,
            after: after_wait(draft, &read.plan, asked.trigger),
        },
        draft.at.wall,
    );
    let what = Happening::RolloutStarted {
        plan: read.pinned.name.clone(),
        plan_digest: read.pinned.digest.clone(),
        canary,
        retry_of: asked.retry_of,
    };
    let about = About { function: &id.function, alias: Some(&id), rollout: Some(rollout_id) };
    draft.journal(by, about, what, None);
    watching::end(draft, by, &id, "another rollout was started");
    draft.write(Write::PutPlan(read.pinned.clone()));
    draft.put_rollout(rollout);
    make_room(draft, by, &state.pending, active.as_deref(), &read.plan, rollout_id)?;
    settle::settle(draft, &id);
    let Some(rollout) = draft.world.rollout(rollout_id) else {
        return Err(Refusal::Conflict(format!("the rollout of {id} ended as it began")));
    };
    let mut message = first_sentence(draft, rollout);
    if let Some(trials) = rollout.trials_in_words() {
        message = format!("{message}; {trials}");
    }
    if dry_run {
        let steps = read.plan.steps.iter().map(describe).collect();
        return Ok(Reply::WouldStart { alias: id, stable, canary, steps, message });
    }
    Ok(reply::reply(draft, rollout, true, message))
}

/// What a person who starts a version is told where that is so already: it is live, or on its way by the same plan.
fn is_so_already(
    draft: &Draft<'_>,
    state: &AliasState,
    active: Option<&Rollout>,
    canary: VersionNumber,
    asked: &Asked<'_>,
) -> Option<Reply> {
    let id = &state.alias.id;
    let pinned = &asked.plan.pinned;
    let moves = active.filter(|active| !matches!(active.record.phase, Phase::RollingBack(_)));
    if moves.is_none() && state.alias.routing == Routing::only(canary) {
        let last = state.last.and_then(|last| draft.world.rollout(last));
        let last = last.filter(|last| last.record.canary == canary && last.record.phase == Phase::Succeeded);
        let message = format!("nothing to do: v{canary} is live already");
        return Some(match last {
            Some(last) => reply::reply(draft, last, false, message),
            None => Reply::Rollout {
                id: None,
                alias: id.clone(),
                phase: None,
                step: 0,
                changed: false,
                message,
                routing: Some(state.alias.routing),
            },
        });
    }
    if let Some(moves) = moves.filter(|moves| moves.record.canary == canary) {
        // Another plan would go other steps.
        if moves.record.plan_name != pinned.name {
            return None;
        }
        let edited = match moves.record.plan_digest == pinned.digest {
            true => "",
            false => ", by the plan as it was when that started",
        };
        let name = reply::name_of(moves);
        let paused = match moves.record.phase {
            Phase::Paused(_) => format!(", and is paused; `{}` says why", moves.command("explain")),
            Phase::Pending
            | Phase::Progressing
            | Phase::Promoting
            | Phase::RollingBack(_)
            | Phase::Succeeded
            | Phase::RolledBack
            | Phase::Aborted
            | Phase::Superseded => String::new(),
        };
        return Some(reply::reply(
            draft,
            moves,
            false,
            format!("{name} is rolling out v{canary} already{edited}{paused}"),
        ));
    }
    // One that waits is made anew by a start of another version, or by another plan.
    let waiting = state.pending.last().and_then(|waiting| draft.world.rollout(*waiting));
    let same = waiting.filter(|waiting| {
        let record = &waiting.record;
        record.canary == canary && record.plan_digest == pinned.digest && record.plan_name == pinned.name
    })?;
    let name = reply::name_of(same);
    Some(reply::reply(draft, same, false, format!("{name} waits to roll out v{canary} already")))
}

fn would_do_nothing(reply: Reply, canary: VersionNumber) -> Reply {
    let Reply::Rollout { alias, message, .. } = reply else { return reply };
    Reply::WouldStart { alias, stable: canary, canary, steps: Vec::new(), message }
}

/// How often harm was sought in a version on an alias before, as far as is remembered: over its life there, whatever
/// other versions were rolled out in between.
fn trials_before(draft: &Draft<'_>, id: &AliasId, canary: VersionNumber) -> u32 {
    let Some(state) = draft.world.alias(id) else { return 0 };
    let last = state.last.and_then(|last| draft.world.rollout(last));
    let last = last.filter(|last| last.record.canary == canary).map_or(0, |last| last.record.trials);
    let remembered = u32::from(state.remembered.contains_key(&canary));
    (draft.context.tried)(id, canary).max(last).max(remembered)
}

fn refuse_remembered(
    draft: &Draft<'_>,
    id: &AliasId,
    canary: VersionNumber,
    asked: &Asked<'_>,
) -> Result<(), Refusal> {
    let remembered = draft.world.alias(id).and_then(|state| state.remembered.get(&canary)).copied();
    let by_person = *asked.trigger == Trigger::Person;
    match remembered {
        Some(Ending::RolledBack) if by_person && !asked.again => Err(Refusal::Conflict(format!(
            "v{canary} was rolled back on {id} before; if it deserves another try, add `--allow-rejected` to `serin start`: it \
             is judged anew then, with the whole falseRollbackRate"
        ))),
        Some(ending) if !by_person => Err(Refusal::Conflict(format!(
            "v{canary} was {} on {id} before, so nothing but a person starts it there again",
            if ending == Ending::Aborted { "aborted" } else { "rolled back" }
        ))),
        _ => Ok(()),
    }
}

/// Refuses to roll out what a rollout under way would go back to.
fn refuse_stable(active: &Rollout, canary: VersionNumber) -> Result<(), Refusal> {
    if active.record.stable == canary && !matches!(active.record.phase, Phase::RollingBack(_)) {
        return Err(Refusal::Conflict(format!(
            "{} is moving traffic from v{canary} to v{}, so v{canary} cannot be rolled out; use abort: `{}` puts all \
             traffic back on v{canary}",
            reply::name_of(active),
            active.record.canary,
            active.command("abort")
        )));
    }
    Ok(())
}

/// Whether a rollout may be made while another runs; gives the version it would probably begin from.
fn admit_beside(
    draft: &Draft<'_>,
    active: &Rollout,
    canary: VersionNumber,
    plan: &Plan,
) -> Result<VersionNumber, Refusal> {
    let name = reply::name_of(active);
    if active.record.canary == canary && !matches!(active.record.phase, Phase::RollingBack(_)) {
        return Err(Refusal::Conflict(format!(
            "{name} is rolling out v{canary} already, by plan {}; `{}` shows how far it is",
            active.record.plan_name,
            active.command("status")
        )));
    }
    if plan.on_new_version == OnNewVersion::Reject {
        return Err(Refusal::Conflict(format!(
            "{name} is rolling out v{} and the plan says `onNewVersion: reject`; wait for its end with `{} --wait`, or end \
             it with `{}`",
            active.record.canary,
            active.command("status"),
            active.command("abort")
        )));
    }
    let function = draft.world.function(&active.record.alias.function);
    let beside = AdditionalVersion { version: canary, weight: Weight::ZERO };
    if active.record.stable != canary {
        Routing::checked(active.record.stable.into(), &[beside], |version| {
            function.and_then(|state| state.configuration(version))
        })
        .map_err(|fault| Refusal::Routing(active.record.alias.clone(), fault))?;
    }
    Ok(active.record.stable)
}

/// Ends what must make way for a new rollout: older ones that wait, and under `replace` the active one.
fn make_room(
    draft: &mut Draft<'_>,
    by: By<'_>,
    pending: &[RolloutId],
    active: Option<&Rollout>,
    plan: &Plan,
    new: RolloutId,
) -> Result<(), Refusal> {
    for waiting in pending {
        rollouts::take_by_id(draft, by, *waiting, Event::SupersededBy { rollout: Some(new) })?;
    }
    if let (Some(active), OnNewVersion::Replace) = (active, plan.on_new_version) {
        rollouts::take_by_id(draft, by, active.record.id, Event::SupersededBy { rollout: Some(new) })?;
    }
    Ok(())
}

fn after_wait(draft: &Draft<'_>, plan: &Plan, trigger: &Trigger) -> Option<AfterWait> {
    match (&plan.start, trigger) {
        (Start::After { target, span }, Trigger::After { .. }) => {
            Some(AfterWait { target: target.clone(), span: *span, served: Stopwatch::started(draft.at.up) })
        }
        _ => None,
    }
}

fn first_sentence(draft: &Draft<'_>, rollout: &Rollout) -> String {
    let versions = format!("v{} → v{}", rollout.record.stable, rollout.record.canary);
    match &rollout.record.phase {
        Phase::Pending => {
            let waits = facts::with_facts(draft, rollout, |facts| rollout.waiting_for(facts));
            let needs = waits.map_or_else(|| "its turn".to_owned(), |waits| waits.needs);
            format!("{versions} waits for {needs}")
        }
        Phase::Progressing if rollout.share() > Weight::ZERO => {
            format!("{versions} is at {}", rollout.share())
        }
        Phase::Progressing if rollout.proves_by_copies() => {
            format!("{versions} begins with copies of requests")
        }
        phase @ (Phase::Progressing
        | Phase::Paused(_)
        | Phase::Promoting
        | Phase::RollingBack(_)
        | Phase::Succeeded
        | Phase::RolledBack
        | Phase::Aborted
        | Phase::Superseded) => {
            let step = rollout.current_step().map_or("its first step", Step::kind);
            format!("{versions} is {} at {step}", phase.name())
        }
    }
}

/// A step in words, for dry runs.
fn describe(step: &Step) -> String {
    match step {
        Step::SetWeight(weight) if *weight > Weight::ZERO => weight.to_string(),
        Step::Bake(span) => format!("bake {}", human(*span)),
        Step::Approval(approval) => format!("approval by {}", approval.min_approvers),
        step @ (Step::SetWeight(_) | Step::Pause | Step::Analysis(_) | Step::Webhook(_)) => {
            step.kind().to_owned()
        }
    }
}

/// Starts a plan's rollout for a trigger; what keeps it from starting is told of, and is nobody's error.
pub(super) fn start_by_trigger(
    draft: &mut Draft<'_>,
    plan: &Arc<ReadPlan>,
    to: Option<VersionNumber>,
    trigger: &Trigger,
    fresh: Uuid,
) -> Option<RolloutId> {
    let mark = draft.mark();
    let (actor, reason) = (Actor::daemon(), trigger.to_string());
    let by = By { actor: &actor, reason: Some(&reason) };
    let asked = Asked { plan, to, again: false, retry_of: None, trigger };
    match start(draft, by, &asked, fresh, false) {
        Ok(Reply::Rollout { id, .. }) => id,
        Ok(_) => None,
        Err(why) => {
            draft.return_to(mark);
            draft.notice(Notice::NotStarted {
                plan: plan.pinned.name.clone(),
                alias: plan.plan.target.clone(),
                trigger: reason,
                why: why.to_string(),
            });
            None
        }
    }
}
