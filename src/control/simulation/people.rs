//! What people, pipelines, other hands and users do to a simulated daemon.

use std::time::Duration;

use rand::RngExt;

use super::machine::{Machine, REQUESTS_A_TURN};
use super::plans::PLANS;
use crate::chance;
use crate::clock::{self, Clock};
use crate::control::handle::CommandError;
use crate::control::simulation::script::Fault;
use crate::metrics::recorder::{Arm, FailureKind, FailureNote};
use serin_core::commands::{Action, Command, IdempotencyKey, RolloutRef, Trigger, Verb};
use serin_core::lambda::alias::{AdditionalVersion, AliasId};
use serin_core::lambda::function::{Configuration, DEFAULT_ROLE, Target};
use serin_core::lambda::settings::Settings;
use serin_core::model::actor::{Actor, Standing};
use serin_core::model::arn::{FunctionName, VersionId, VersionNumber};
use serin_core::model::weight::Weight;
use serin_core::rollout::DriftResolution;

impl Machine {
    /// Asks for something, and holds the answer against what then is; `twice` asks again with the same key.
    pub(super) fn ask(&mut self, action: Action, twice: bool) -> Result<(), Fault> {
        self.commands += 1;
        let tag = format!("command {}", self.commands);
        let actor =
            Actor::new(["ana@desk", "bo@desk", "cy@desk"][self.commands as usize % 3], Standing::Claimed);
        let key = IdempotencyKey {
            key: tag.clone(),
            fingerprint: format!("{action:?}").chars().take(200).collect(),
        };
        let command = Command {
            actor,
            reason: Some(tag.clone()),
            key: Some(key),
            fresh: chance::new_id(self.ground.now().wall),
            action,
        };
        let answers = self.turn(vec![command.clone()])?;
        let noted = self.rules.noted(&tag);
        match answers.as_ref().and_then(|answers| answers.first()) {
            Some(Err(CommandError::Refused(_))) if noted > 0 => {
                return Err(format!("I9: {tag} was refused, and the journal tells of it"));
            }
            Some(Err(CommandError::NotStored(_))) if noted > 0 => {
                return Err(format!("I9: {tag} was not stored, and the journal tells of it"));
            }
            Some(_) | None => {}
        }
        let was_killed = answers.is_none();
        if (twice || was_killed) && self.process.is_some() {
            self.see(if was_killed { "asked again after a kill" } else { "asked twice" });
            let noted = self.rules.noted(&tag);
            let again = self.turn(vec![command])?;
            let first = answers.and_then(|answers| answers.into_iter().next());
            if noted > 0 && self.rules.noted(&tag) > noted {
                return Err(format!("I9: {tag} was done twice under one idempotency key"));
            }
            let again = again.and_then(|answers| answers.into_iter().next());
            if let (Some(Ok(first)), Some(Ok(again))) = (&first, &again)
                && std::mem::discriminant(first) != std::mem::discriminant(again)
            {
                return Err(format!("I9: {tag} was answered {first:?}, and then {again:?}"));
            }
        }
        Ok(())
    }

    pub(super) fn publish(&mut self, function: &str) -> Result<(), Fault> {
        self.see("a version is published");
        let port = self.commands % 60_000 + 1;
        let action = Action::Publish {
            function: function.parse().expect("a name"),
            configuration: Configuration {
                target: Target::Http {
                    url: format!("http://127.0.0.1:{port}").parse().expect("a URL"),
                    health: None,
                    timeouts: Default::default(),
                },
                role: DEFAULT_ROLE.to_owned(),
                dead_letter: None,
                description: String::new(),
                commit: None,
                settings: Settings::default(),
            },
            force_new: true,
        };
        self.ask(action, false)
    }

    pub(super) fn version_of(&self, function: &FunctionName, pick: u8) -> VersionNumber {
        let versions = self.world().function(function).map(|state| &state.versions);
        let newest =
            versions.and_then(|versions| versions.keys().last().copied()).unwrap_or(VersionNumber(1));
        // Of the last few, and now and then one that is not there.
        VersionNumber(newest.0.saturating_sub(u64::from(pick % 5)).max(1) + u64::from(pick > 250))
    }

    pub(super) fn start(&mut self, plan: usize, to: u8, again: bool) -> Result<(), Fault> {
        let (name, _) = PLANS[plan % PLANS.len()];
        let Some(read) = self.process.as_ref().and_then(|process| process.scheduler.book.plan(name).cloned())
        else {
            return Ok(());
        };
        self.see(&format!("plan {name} is started"));
        let to = (to > 150).then(|| self.version_of(&read.plan.target.function, to));
        let action = Action::Start { plan: read, to, again, dry_run: false, trigger: Trigger::Person };
        self.ask(action, to.is_none_or(|to| to.0 % 4 == 0))
    }

    pub(super) fn verb(&mut self, alias: &AliasId, verb: u8, argument: u8) -> Action {
        let meant = self.world().alias(alias).and_then(|state| state.meant());
        let rollout = meant.and_then(|id| self.world().rollout(id).cloned());
        let step = rollout.as_ref().map_or(0, |rollout| rollout.record.step);
        let step = if argument > 240 { step + 1 } else { step };
        let resumption =
            [None, Some(DriftResolution::Restore), Some(DriftResolution::Adopt)][usize::from(argument) % 3];
        let (name, verb) = match verb % 10 {
            0 | 1 => ("promote", Verb::Promote { step, full: false }),
            2 => ("promote --full", Verb::Promote { step, full: true }),
            3 => ("pause", Verb::Pause),
            4 => ("resume", Verb::Resume(resumption)),
            5 => ("approve", Verb::Approve),
            6 => ("abort", Verb::Abort),
            7 => ("rollback", Verb::Rollback { to: None }),
            8 => ("rollback --to", Verb::Rollback { to: Some(self.version_of(&alias.function, argument)) }),
            _ => ("retry", Verb::Retry),
        };
        let phase = rollout.as_ref().map_or("none", |rollout| rollout.record.phase.name());
        self.see(&format!("{phase} × {name}"));
        let target = match meant {
            Some(id) if argument.is_multiple_of(2) => RolloutRef::Id(id),
            _ => RolloutRef::OfAlias(alias.clone()),
        };
        Action::Operate { target, verb }
    }

    pub(super) fn foreign(
        &mut self,
        id: AliasId,
        primary: u8,
        beside: u8,
        weight_ppm: u32,
    ) -> Result<(), Fault> {
        self.see("another hand changes an alias");
        let (primary, beside) =
            (self.version_of(&id.function, primary), self.version_of(&id.function, beside));
        let weight = Weight::from_ppm(weight_ppm).expect("a weight");
        let additional = if beside == primary || weight_ppm == 0 {
            Vec::new()
        } else {
            vec![AdditionalVersion { version: beside, weight }]
        };
        let action = Action::UpdateAlias {
            id,
            function_version: Some(VersionId::Number(primary)),
            additional: Some(additional),
            description: None,
            revision_id: None,
        };
        self.ask(action, false)
    }

    pub(super) fn read_plans(&mut self) -> Result<(), Fault> {
        let process = self.process.as_ref().expect("a process runs between happenings");
        process.control.plans_changed(self.book.clone());
        self.turn(Vec::new()).map(|_| ())
    }

    /// Requests come one after the other, each drawn by the weights that serve just then.
    pub(super) fn traffic(
        &mut self,
        id: AliasId,
        requests: u16,
        every_ms: u32,
        fails: (u32, u32),
    ) -> Result<(), Fault> {
        for number in 0..requests {
            let Some(process) = &self.process else { return Ok(()) };
            let canary = self.world().alias(&id).and_then(|state| state.active);
            let canary =
                canary.and_then(|active| self.world().rollout(active)).map(|active| active.record.canary);
            let Some((epoch, routing)) = process.table.serving(&id) else {
                return Err(format!("{id} is dark"));
            };
            let weight = routing.additional.map_or(0, |additional| additional.weight.ppm());
            let arm =
                if self.random.random_range(0..1_000_000) < weight { Arm::Additional } else { Arm::Primary };
            // Taken anew each time: who holds an epoch's counters keeps it from being final.
            let counters = process.recorder.open_epoch(&id, epoch, &routing, canary);
            let version = counters.version(arm);
            let is_canary = canary.is_some_and(|canary| version == VersionId::Number(canary));
            let fails_ppm = if is_canary { fails.1 } else { fails.0 };
            let fails = self.random.random_range(0..1_000_000) < fails_ppm;
            let at = clock::instant_now();
            let mut credit = counters.dispatch(&process.counting, arm, at);
            credit.head(at + Duration::from_millis(3));
            if fails {
                credit.fail(FailureKind::Status, || FailureNote::new("GET", "/", "500", None));
            }
            credit.complete();
            drop(counters);
            self.rules.requested(&id, version);
            let is_over = number + 1 == requests;
            if fails && is_canary || number % REQUESTS_A_TURN == 0 || is_over {
                self.pass(Duration::from_millis(u64::from(every_ms).max(5)))?;
                self.turn(Vec::new())?;
            } else {
                self.ground.pass(Duration::from_millis(every_ms.into()), true);
            }
        }
        // All of them are judged, once the last cohort is over.
        for _ in 0..2 {
            self.pass(Duration::from_millis(120))?;
            self.turn(Vec::new())?;
        }
        self.see("requests");
        Ok(())
    }
}
