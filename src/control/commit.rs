//! How a round becomes true: committed, then published, then answered; and what is done while it cannot be.
//!
//! While a commit is under way the control thread keeps watching. A canary found harmful meanwhile, or one whose
//! rollback cannot be committed, is taken out of the routing table at once: the overlay. It only ever moves traffic to
//! stable, is no revision, and the commit follows when it can.

use std::collections::BTreeSet;
use std::sync::{Arc, mpsc};
use std::time::Duration;

use super::handle::{CommandError, Health, Input};
use super::scheduler::{Scheduler, with_outside};
use super::{notices, publish};
use crate::clock;
use crate::store::StoreError;
use serin_core::commands::target::RolloutRef;
use serin_core::commands::{Action, Command, Reply, Verb};
use serin_core::engine::core::{Answer, Core, Round};
use serin_core::lambda::alias::AliasId;
use serin_core::model::time::{Moment, human};
use serin_core::plan::OnFailure;
use serin_core::ports::{Commit, Write};
use serin_core::rollout::RolloutId;
use serin_core::world::World;
use serin_core::world::draft::Touched;
use serin_core::world::judge::Judge;

/// What could not be committed is tried again after this.
const RETRY_AFTER: Duration = Duration::from_secs(1);
/// While the writer is at work it is looked this often whether anything has come in.
const WAKE_EVERY: Duration = Duration::from_millis(10);
/// A rollback that takes longer than this to commit is overlaid meanwhile.
const OVERLAY_AFTER: Duration = Duration::from_millis(20);
/// A commit that takes longer than this is trouble: whatever is asked for waits with it.
const STALLED_AFTER: Duration = Duration::from_secs(2);

impl Scheduler {
    /// Commits a round, makes it true, publishes it; gives the answers, or why nothing came of it.
    pub(super) fn carry_out(
        &mut self,
        round: Round,
        at: Moment,
        settled: &BTreeSet<AliasId>,
    ) -> Vec<Result<Reply, CommandError>> {
        let Round { mut finished, answers, must_commit } = round;
        if must_commit {
            let commit = std::mem::take(&mut finished.commit);
            let dirty: Vec<RolloutId> = finished.rollouts.iter().copied().collect();
            if let Err(error) = self.commit(commit) {
                self.fail(&error, at);
                let error = Arc::new(error);
                return answers.into_iter().map(|answer| not_stored(answer, &error)).collect();
            }
            self.recover();
            for id in &dirty {
                self.dirty.remove(id);
            }
        } else {
            self.dirty.extend(finished.rollouts.iter().copied());
        }
        log_transitions(&self.core, &finished.world, &finished.rollouts);
        finished.notices.drain(..).for_each(|notice| notices::log(&notice));
        let touched = finished.touched.clone();
        with_outside(&self.book, &*self.data_plane, &self.reader, |outside| {
            self.core.absorb(finished, at, outside);
            self.core.reset_deadlines(settled, at, outside);
        });
        self.shared.world.store(Arc::new(self.core.world.clone()));
        if must_commit && !touched.is_empty() {
            for touched in &touched {
                if let Touched::Alias(id) = touched {
                    self.tell_counters(id);
                }
            }
            self.data_plane.publish(publish::edits(&self.core.world, &touched));
            let routed = touched.iter().filter_map(|touched| match touched {
                Touched::Alias(id) => Some(id.clone()),
                Touched::Function(_) | Touched::Version(..) | Touched::Policy(..) => None,
            });
            // What the router now serves may complete a step.
            let routed: Vec<AliasId> = routed.collect();
            for id in &routed {
                self.overlaid.remove(id);
            }
            self.again.extend(routed);
        }
        answers.into_iter().map(|answer| answer.map_err(CommandError::Refused)).collect()
    }

    /// Hands a change to the writer and watches over the canaries until it is durable.
    pub(super) fn commit(&mut self, commit: Commit) -> Result<(), StoreError> {
        let urgent = commit.urgent;
        let takes_out: Vec<AliasId> = if urgent { routed_in(&commit) } else { Vec::new() };
        let answer = self.writer.commit(commit);
        self.watch_until(&answer, &takes_out)
    }

    /// While nothing can be stored, and a retry is due: tries whether anything can be again.
    pub(super) fn try_store(&mut self, is_due: bool, at: Moment) {
        // A commit that failed in this turn has set the next retry.
        if !is_due || self.retry_at.is_some() || self.shared.health().trouble.is_none() {
            return;
        }
        let answer = self.writer.try_out();
        match self.watch_until(&answer, &[]) {
            Ok(()) => self.recover(),
            Err(error) => self.fail(&error, at),
        }
    }

    /// Waits for the writer, and watches over the canaries meanwhile.
    fn watch_until(
        &mut self,
        answer: &mpsc::Receiver<Result<(), StoreError>>,
        takes_out: &[AliasId],
    ) -> Result<(), StoreError> {
        let (mut waited, mut is_stalled, mut looked) = (Duration::ZERO, false, clock::instant_now());
        loop {
            if let Some(result) = self.writer.wait(answer, WAKE_EVERY) {
                if result.is_err() {
                    takes_out.iter().for_each(|id| self.overlay(id));
                } else if is_stalled {
                    self.recover();
                }
                return result;
            }
            // It watches, answers and takes out: what it waits for is the disk's doing, and no reason to be ended.
            self.shared.pulse.turned();
            let now = clock::instant_now();
            waited += WAKE_EVERY.max(now.duration_since(looked));
            looked = now;
            if waited >= STALLED_AFTER && !std::mem::replace(&mut is_stalled, true) {
                let trouble =
                    format!("the disk keeps a change waiting for more than {}", human(STALLED_AFTER));
                self.tell_trouble(trouble, "a change waits for the disk");
            }
            if waited >= OVERLAY_AFTER {
                takes_out.iter().for_each(|id| self.overlay(id));
            }
            self.watch_over();
        }
    }

    /// While a commit is under way: takes out canaries found harmful, and answers questions.
    fn watch_over(&mut self) {
        self.hear();
        let at = self.clock.now();
        for id in self.look(at) {
            if self.is_harmful(&id) {
                self.overlay(&id);
            }
            self.again.insert(id);
        }
        // Questions do not wait behind a change that came before them: they are answered as of before it.
        let begun = clock::instant_now();
        let mut waiting = std::mem::take(&mut self.backlog).into_iter();
        for input in waiting.by_ref() {
            if let Input::Ask(question) = input {
                self.answer(question);
            } else {
                self.backlog.push_back(input);
            }
            if Scheduler::has_answered_for_long(begun) {
                break;
            }
        }
        self.backlog.extend(waiting);
    }

    fn is_harmful(&self, id: &AliasId) -> bool {
        let active = self.core.world.alias(id).and_then(|state| state.active);
        let Some(rollout) = active.and_then(|active| self.core.world.rollout(active)) else { return false };
        let judge: Option<&Judge> = self.core.judges.get(&rollout.record.id);
        rollout.plan.on_failure == OnFailure::Rollback
            && judge.is_some_and(|judge| judge.evidence.is_harmful())
    }

    /// Takes a canary out of the routing table before that is committed: towards stable only.
    pub(super) fn overlay(&mut self, id: &AliasId) {
        if self.overlaid.contains(id) {
            return;
        }
        if let Some(edit) = publish::overlay(&self.core.world, id) {
            tracing::warn!(alias.name = %id, "the rollback is not stored yet; its canary gets no traffic meanwhile");
            self.data_plane.publish(vec![edit]);
            self.overlaid.insert(id.clone());
            self.keep_aside();
        }
    }

    /// Keeps the evidence of what is overlaid where a restart finds it, for as long as the store does not take it.
    fn keep_aside(&mut self) {
        let active = self.overlaid.iter().filter_map(|id| self.core.world.alias(id)?.active);
        let stored = active.filter_map(|id| Some((id, self.core.judges.get(&id)?.stored())));
        self.spill.keep(stored.collect());
    }

    pub(super) fn fail(&mut self, error: &StoreError, at: Moment) {
        self.tell_trouble(crate::store::in_full(error), "a change could not be stored; nothing was changed");
        self.retry_at = Some(at.up.plus(RETRY_AFTER));
        self.keep_aside();
        if matches!(error, StoreError::Fenced) {
            self.closing = true;
        }
    }

    fn tell_trouble(&self, text: String, what: &str) {
        if self.shared.health().trouble.as_ref() != Some(&text) {
            tracing::error!(error = text, "{what}");
        }
        let health = Health { trouble: Some(text), ..Health::clone(&self.shared.health()) };
        self.shared.health.store(Arc::new(health));
    }

    pub(super) fn recover(&mut self) {
        // Nothing is well before what is owed to people is stored, which the next retry sees to.
        if self.shared.health().trouble.is_some() && self.owed.is_empty() {
            tracing::info!("changes can be stored again");
            let health = Health { trouble: None, ..Health::clone(&self.shared.health()) };
            self.shared.health.store(Arc::new(health));
            // What was committed just now is to be published first: it may be what takes one of them out.
            self.has_recovered = true;
            // What was not asked outside meanwhile is asked now.
            self.again.extend(self.live_aliases());
        }
    }

    /// Canaries that were out for as long as nothing could be stored, and that nothing is said against, are in again.
    pub(super) fn take_canaries_in(&mut self) {
        let has_recovered = std::mem::take(&mut self.has_recovered);
        if !has_recovered || self.shared.health().trouble.is_some() {
            return;
        }
        let is_well = |id: &&AliasId| !self.is_harmful(id) && !self.owed.contains_key(*id);
        let well: Vec<AliasId> = self.overlaid.iter().filter(is_well).cloned().collect();
        for id in well {
            self.overlaid.remove(&id);
            self.data_plane.publish(publish::edits(&self.core.world, &[Touched::Alias(id.clone())]));
            self.again.insert(id);
        }
    }
}

/// What is owed to people.
impl Scheduler {
    /// Keeps a way back that somebody asked for and that could not be stored, where its canary is out of the routing table
    /// already: whoever was told so is not to find it in again. The last one that was asked for stands.
    pub(super) fn owe(
        &mut self,
        command: &Command,
        answer: Result<Reply, CommandError>,
    ) -> Result<Reply, CommandError> {
        let (Err(CommandError::NotStored(why)), Some(alias)) = (&answer, self.taken_out_by(command)) else {
            return answer;
        };
        let owed = CommandError::Owed(Arc::clone(why));
        self.owed.insert(alias, command.clone());
        Err(owed)
    }

    /// What is owed, once it may be that it can be stored.
    pub(super) fn take_owed(&mut self, is_retry: bool) -> Vec<Command> {
        if self.owed.is_empty() || !(is_retry || self.shared.health().trouble.is_none()) {
            return Vec::new();
        }
        // What is refused now, because it has come to be so in another way, leaves no canary out.
        self.has_recovered = true;
        std::mem::take(&mut self.owed).into_values().collect()
    }

    /// The alias whose canary is out of the routing table, if that is what a command asked for.
    fn taken_out_by(&self, command: &Command) -> Option<AliasId> {
        let Action::Operate { target, verb: Verb::Abort | Verb::Rollback { .. } } = &command.action else {
            return None;
        };
        let world = &self.core.world;
        let alias = match target {
            RolloutRef::OfAlias(alias) => alias,
            RolloutRef::Id(id) => {
                let alias = &world.rollout(*id)?.record.alias;
                world.alias(alias).filter(|state| state.active == Some(*id)).map(|_| alias)?
            }
        };
        (!self.closing && self.overlaid.contains(alias)).then(|| alias.clone())
    }
}

fn not_stored(answer: Answer, error: &Arc<StoreError>) -> Result<Reply, CommandError> {
    match answer {
        Ok(_) => Err(CommandError::NotStored(Arc::clone(error))),
        Err(refusal) => Err(CommandError::Refused(refusal)),
    }
}

/// The aliases a change routes anew.
fn routed_in(commit: &Commit) -> Vec<AliasId> {
    let routed = commit.writes.iter().filter_map(|write| {
        let Write::PutAlias { alias, .. } = write else { return None };
        Some(alias.id.clone())
    });
    routed.collect()
}

/// One line for every rollout that changed its phase, step or weight.
fn log_transitions(core: &Core, after: &World, changed: &BTreeSet<RolloutId>) {
    for id in changed {
        let Some(rollout) = after.rollout(*id) else { continue };
        let record = &rollout.record;
        let before: Option<&serin_core::rollout::RolloutRecord> =
            core.world.rollout(*id).map(|old| &old.record);
        let same = before.is_some_and(|old| {
            (old.phase.name(), old.step, old.known_routing())
                == (record.phase.name(), record.step, record.known_routing())
        });
        if !same {
            tracing::info!(
                rollout.id = %id,
                alias.name = %record.alias,
                phase = record.phase.name(),
                step = record.step,
                weight = %rollout.share(),
                reason = record.reason,
                "v{} → v{} is {}", record.stable, record.canary, record.phase.name()
            );
        }
    }
}
