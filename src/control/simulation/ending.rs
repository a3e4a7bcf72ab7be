//! How a simulation ends: nothing goes wrong any more, and everything ends or says what it waits for.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::machine::{ALIASES, Machine};
use super::plans::book;
use super::script::Mood;
use crate::clock::Clock;
use crate::control::simulation::script::Fault;
use serin_core::commands::{Action, RolloutRef, Verb};
use serin_core::lambda::alias::AliasId;
use serin_core::plan::Step;
use serin_core::rollout::{DriftResolution, Phase, RolloutId};

impl Machine {
    /// Nothing goes wrong any more, people do what they are waited for, and requests come: everything ends, or says what
    /// it waits for.
    pub(super) fn settle(&mut self) -> Result<(), Fault> {
        self.ground.mend();
        self.mood = Mood::Good;
        self.outside.answer(Mood::Good);
        self.book = book(&BTreeMap::new());
        // Only what is under way is to end.
        for file in self.book.files.values_mut() {
            file.read = None;
        }
        self.read_plans()?;
        for _ in 0..150 {
            if self.world().live.is_empty() {
                return Ok(());
            }
            for id in ALIASES.map(|alias| alias.parse::<AliasId>().expect("an alias")) {
                self.help(&id)?;
                self.traffic(id, 30, 20, (0, 0))?;
            }
            self.pass(Duration::from_secs(1_800))?;
            self.turn(Vec::new())?;
        }
        // A step's deadline may have struck just now: what is asked of a person then is to let it wait on.
        for id in ALIASES.map(|alias| alias.parse::<AliasId>().expect("an alias")) {
            self.help(&id)?;
        }
        let live: BTreeSet<RolloutId> = self.world().live.iter().copied().collect();
        for id in live {
            self.waits_with_reason(id)?;
        }
        Ok(())
    }

    pub(super) fn help(&mut self, id: &AliasId) -> Result<(), Fault> {
        let meant = self.world().alias(id).and_then(|state| state.active);
        let Some(rollout) = meant.and_then(|id| self.world().rollout(id).cloned()) else { return Ok(()) };
        let target = RolloutRef::Id(rollout.record.id);
        let verb = match (&rollout.record.phase, rollout.current_step()) {
            (Phase::Paused(_), _) if rollout.record.drift.is_some() => {
                Verb::Resume(Some(DriftResolution::Restore))
            }
            (Phase::Paused(_), _) | (_, Some(Step::Pause)) => Verb::Resume(None),
            (_, Some(Step::Approval(_))) => Verb::Approve,
            _ => return Ok(()),
        };
        self.ask(Action::Operate { target, verb }, false)
    }

    /// What is live after days in which nothing went wrong waits for proof or for its time, and says so.
    pub(super) fn waits_with_reason(&mut self, id: RolloutId) -> Result<(), Fault> {
        let process = self.process.as_ref().expect("a process runs between happenings");
        let scheduler = &process.scheduler;
        let Some(rollout) = scheduler.core.world.rollout(id).cloned() else { return Ok(()) };
        let at = self.ground.now();
        let wait = crate::control::scheduler::with_outside(
            &scheduler.book,
            &*scheduler.data_plane,
            &scheduler.reader,
            |outside| scheduler.core.with_facts(&rollout, at, outside, |facts| rollout.waiting_for(facts)),
        );
        let record = &rollout.record;
        let where_it_is =
            format!("{} of {} ({}, step {})", id.short(), record.alias, record.phase.name(), record.step);
        match wait {
            Some(wait)
                if ["proof", "window", "queue", "after", "stable"].contains(&wait.kind)
                    && !wait.needs.is_empty() =>
            {
                self.see(&format!("at the end one waits for {}", wait.kind));
                Ok(())
            }
            Some(wait) => Err(format!("I19: {where_it_is} still waits for {}: {}", wait.kind, wait.needs)),
            None => Err(format!("I19: {where_it_is} waits, and for nothing")),
        }
    }
}
