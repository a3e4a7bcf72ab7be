//! Questions to the outside: what a rollout wants to know is asked on other threads, and the answer comes in by the door.
//!
//! What is under way is only remembered in memory. A rollout goes on wanting an answer until it has one, so after a kill
//! the same question is asked again, with the same idempotency key.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use super::scheduler::Scheduler;
use crate::chance;
use crate::metrics::outside::{Arm, CheckRequest, Subject, What};
use serin_core::commands::{Action, Command, RolloutRef, Verb};
use serin_core::lambda::alias::AliasId;
use serin_core::model::actor::Actor;
use serin_core::model::arn::{VersionId, VersionNumber};
use serin_core::model::time::Moment;
use serin_core::plan::Step;
use serin_core::rollout::{Answer, ExternalCheck, Phase, Question, Rollout};
use serin_core::world::World;
use serin_core::world::plans::PlanBook;

/// A pause for want of a variable that was not committed is asked for again after this.
const PAUSE_EVERY: Duration = Duration::from_secs(5);

impl Scheduler {
    /// Asks whatever the rollouts of these aliases want to know by now and is not being asked.
    ///
    /// While nothing can be stored, nobody is asked: the answer could not be kept, so the next question would follow it at
    /// once, and the one after that. Once something can be stored, every live rollout is looked at again.
    pub(super) fn send_external_checks(&mut self, aliases: &BTreeSet<AliasId>, at: Moment) {
        if self.shared.health().trouble.is_some() {
            return;
        }
        for id in aliases {
            for rollout in self.core.world.live_rollouts_of(id) {
                if self.pauses_for_lack(&rollout, at) {
                    continue;
                }
                for check in rollout.external_checks(at.up) {
                    self.send_external_check(&rollout, check);
                }
            }
        }
    }

    /// Has a rollout paused whose plan wants a variable that this daemon is not given; whether it does.
    ///
    /// What it would ask for without the variable could be answered by nobody, and who reads that answer would look for
    /// the fault elsewhere.
    fn pauses_for_lack(&mut self, rollout: &Rollout, at: Moment) -> bool {
        let id = rollout.record.id;
        if rollout.record.phase != Phase::Progressing {
            self.paused.remove(&id);
            return false;
        }
        let lacks = self.outside.lacks(&rollout.plan, false);
        if lacks.is_empty() {
            return false;
        }
        // One that could not be committed is asked for again, and not in every turn.
        let is_due = self.paused.get(&id).is_none_or(|asked| at.up.since(*asked) >= PAUSE_EVERY);
        if is_due {
            self.paused.insert(id, at.up);
            self.pauses.push(Command {
                actor: Actor::daemon(),
                reason: Some(format!("the plan wants {}", lacks.join("; and "))),
                key: None,
                fresh: chance::new_id(at.wall),
                action: Action::Operate { target: RolloutRef::Id(id), verb: Verb::Pause },
            });
        }
        true
    }

    /// Names in the log what plans that were just read want and this daemon is not given.
    pub(super) fn name_lacks(&self, book: &PlanBook) {
        for (name, file) in &book.files {
            let is_known = self.book.files.get(name).is_some_and(|known| known.source == file.source);
            let Some(read) = file.read.as_ref().filter(|_| !is_known) else { continue };
            for lack in self.outside.lacks(&read.plan, true) {
                tracing::warn!(plan = name, "the plan wants {lack}");
            }
        }
    }

    fn send_external_check(&mut self, rollout: &Rollout, check: ExternalCheck) {
        if self.asked.contains(&check) {
            return;
        }
        let Some(inquiry) = inquiry(&self.core.world, rollout, &check.question) else { return };
        self.asked.insert(check.clone());
        let (control, clock) = (self.shared.clone(), Arc::clone(&self.clock));
        let settings = Arc::clone(&self.outside);
        let answered = Box::new(move |answer| control.answered(check, answer));
        self.asker.ask(inquiry, settings, clock, answered);
    }

    /// The change that an answer asks for, and the alias that it may move.
    pub(super) fn take_answer(&mut self, check: ExternalCheck, answer: Answer) -> (Command, Option<AliasId>) {
        self.asked.remove(&check);
        let alias = self.core.world.rollout(check.rollout).map(|rollout| rollout.record.alias.clone());
        let command = Command {
            actor: Actor::daemon(),
            reason: None,
            key: None,
            fresh: chance::new_id(self.clock.now().wall),
            action: Action::Answered { check, answer },
        };
        (command, alias)
    }
}

/// Puts together all it takes to ask a question; `None` if the plan has none such.
fn inquiry(world: &World, rollout: &Rollout, question: &Question) -> Option<CheckRequest> {
    let record = &rollout.record;
    let (what, metric, key) = match question {
        Question::Metric { name, .. } => {
            let metric = rollout.metric(name)?;
            let last = record.answers.metrics.get(name).and_then(|state| state.last.as_ref());
            let last_ms = last.map_or(0, |last| last.up.0);
            let key = format!("{}/{}/{name}/{last_ms}", record.id, record.weight_step);
            (What::Number(metric.source.clone(), metric.interval), Some(name.clone()), key)
        }
        Question::Hook { step, round, .. } => {
            let Some(Step::Webhook(hook)) = rollout.plan.step(*step) else { return None };
            (What::Consent(hook.clone()), None, format!("{}/{step}/{round}", record.id))
        }
    };
    let arm = |version: VersionNumber| {
        let function = world.function(&record.alias.function);
        let configuration = function.and_then(|state| state.configuration(VersionId::Number(version)));
        let url = configuration.and_then(|configuration| configuration.target.url()).map(ToString::to_string);
        Arm { version: version.to_string(), url }
    };
    let subject = Subject {
        rollout: record.id.to_string(),
        plan: record.plan_name.clone(),
        function: record.alias.function.to_string(),
        alias: record.alias.alias.to_string(),
        step: record.step,
        weight: rollout.share().fraction(),
        stable: arm(record.stable),
        canary: arm(record.canary),
        metric,
    };
    Some(CheckRequest { what, subject, key })
}
