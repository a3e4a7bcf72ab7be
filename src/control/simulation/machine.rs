//! One daemon under a seed: the real core, control loop, routing table, counters and store, driven through virtual time.

use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rand::RngExt;
use rand::rngs::SmallRng;
use tokio::sync::oneshot;

use super::ground::{Ground, Killed, Outside, Plane};
use super::rules::Rules;
use super::script::{Effect, Happening, Mood, What};
use crate::chance;
use crate::clock::{self, Clock};
use crate::control::boot;
use crate::control::core::Core;
use crate::control::door::{Action, Command, IdempotencyKey, Reply, RolloutRef, Trigger, Verb};
use crate::control::handle::{Control, DoorError, Inbox, Parts};
use crate::control::plans::{PlanBook, PlanFile, ReadPlan, read_plan};
use crate::control::scheduler::Scheduler;
use crate::control::world::World;
use crate::domain::actor::{Actor, Standing};
use crate::domain::alias::{AdditionalVersion, AliasId};
use crate::domain::arn::{FunctionName, VersionId, VersionNumber};
use crate::domain::function::{Configuration, DEFAULT_ROLE, Target};
use crate::domain::plan::{Source, Step};
use crate::domain::rollout::{Phase, Resumption, RolloutId};
use crate::domain::settings::Settings;
use crate::domain::weight::Weight;
use crate::metrics::recorder::{Arm, FailureKind, FailureNote, Recorder, Writer as Counting};
use crate::router::table::RoutingTable;
use crate::store::{Spill, Store};

/// Plans of every kind that decides by itself, by people, by what is outside, by traffic and by the calendar.
const PLANS: [(&str, &str); 8] = [
    ("quick", "function: a\nalias: live\nsteps: [10%, 50%, 100%]\nanalysis: none\nbake: 5m\n"),
    (
        "proven",
        "function: a\nalias: live\nsteps: [5%, 50%, 100%]\nbake: 10m\nonFailure: pause\nmaxExposure: {failures: 40}\n",
    ),
    (
        "people",
        "function: a\nalias: live\nsteps: [pause: {}, 20%, pause: {}, 60%, approval: {approvers: [ana, bo], minApprovers: 2, timeout: 2h}, 100%]\n\
         bake: 1m\nanalysis: {proof: none}\nonDrift: restore\nonNewVersion: reject\n",
    ),
    (
        "outside",
        "function: b\nalias: live\nbake: 2m\nstepDeadline: {after: 12h, then: rollback}\nonNewVersion: replace\n\
         steps: [webhook: {url: 'http://127.0.0.1:1/smoke', retries: 2}, 10%, analysis: {metrics: [queue-age], for: 30m}, 100%]\n\
         analysis:\n  proof: none\n  metrics:\n  - {name: queue-age, webhook: {url: 'http://127.0.0.1:1/age'}, max: 10, interval: 10m, failureLimit: 1, inconclusiveLimit: 2}\n",
    ),
    (
        "published",
        "function: b\nalias: live\nstart: onPublish\nsteps: [25%, 100%]\nbake: 30m\nanalysis: {proof: none}\nonDrift: adopt\n",
    ),
    (
        "daily",
        "function: a\nalias: staging\nstart: {cron: '0 9 * * *'}\nsteps: [30%, 60%, 100%]\nbake: 1h\nanalysis: {proof: none}\n\
         onDrift: leave\nonFailure: report\nwatch: {for: 1h}\nwindows: {allow: [{days: MON-SUN, from: '08:00', to: '17:00'}]}\n",
    ),
    (
        "after",
        "function: a\nalias: live\nstart: {after: {target: 'a:staging', for: 2h}}\nsteps: [40%, 100%]\nbake: 10m\nanalysis: {proof: none}\n",
    ),
    ("straight", "function: a\nalias: staging\nsteps: [100%]\nanalysis: none\n"),
];
const FUNCTIONS: [&str; 2] = ["a", "b"];
const ALIASES: [&str; 3] = ["a:live", "a:staging", "b:live"];
/// Whoever makes so many turns without time passing never rests.
const TURNS_MAX: u32 = 200;
/// The disk is tried again at least this often.
const PATIENCE: Duration = Duration::from_secs(5);
/// So many requests come between two turns, as within a tenth of a second or less.
const REQUESTS_A_TURN: u16 = 10;

/// Why a seed failed.
pub(super) type Fault = String;

/// What one seed has seen, by name.
pub(super) type Seen = BTreeMap<String, u64>;

struct Process {
    scheduler: Scheduler,
    control: Control,
    counting: Counting,
    recorder: Arc<Recorder>,
    table: Arc<RoutingTable>,
    store: Option<Store>,
}

pub(super) struct Machine {
    dir: PathBuf,
    ground: Arc<Ground>,
    outside: Outside,
    mood: Mood,
    random: SmallRng,
    process: Option<Process>,
    book: PlanBook,
    rules: Rules,
    commands: u64,
    /// The world when the last turn began or ended.
    known: Option<World>,
    pub(super) seen: Seen,
}

impl Machine {
    /// A fresh store with two functions and three aliases, and nothing that moves.
    pub(super) fn new(dir: &Path, seed: u64) -> Result<Machine, Fault> {
        chance::simulated::set(Some(seed));
        let mut machine = Machine {
            dir: dir.to_owned(),
            ground: Ground::new(),
            outside: Outside::default(),
            mood: Mood::Good,
            random: chance::seeded(seed ^ 0x5eed),
            process: None,
            book: book(&BTreeMap::new()),
            rules: Rules::default(),
            commands: 0,
            known: None,
            seen: Seen::new(),
        };
        machine.boot()?;
        for function in FUNCTIONS {
            machine.publish(function)?;
        }
        for alias in ALIASES {
            let action = Action::CreateAlias {
                id: alias.parse().expect("an alias"),
                function_version: VersionId::Number(VersionNumber(1)),
                additional: Vec::new(),
                description: String::new(),
            };
            machine.ask(action, false)?;
        }
        Ok(machine)
    }

    fn see(&mut self, what: &str) {
        *self.seen.entry(what.to_owned()).or_default() += 1;
    }

    fn world(&self) -> &World {
        &self.process.as_ref().expect("a process runs between happenings").scheduler.core.world
    }

    /// Time passes, and then something happens.
    pub(super) fn live(&mut self, happening: &Happening) -> Result<(), Fault> {
        self.pass(Duration::from_millis(happening.after_ms))?;
        match &happening.what {
            What::Traffic { alias, requests, every_ms, stable_fails_ppm, canary_fails_ppm } => {
                let fails = (*stable_fails_ppm, *canary_fails_ppm);
                self.traffic(alias_of(*alias), *requests, *every_ms, fails)?;
            }
            What::Operate { alias, verb, argument, twice } => {
                let action = self.verb(&alias_of(*alias), *verb, *argument);
                self.ask(action, *twice)?;
            }
            What::Start { plan, to, again } => self.start(usize::from(*plan), *to, *again)?,
            What::Publish { function } => {
                self.publish(FUNCTIONS[usize::from(*function) % FUNCTIONS.len()])?
            }
            What::Foreign { alias, primary, beside, weight_ppm } => {
                self.foreign(alias_of(*alias), *primary, *beside, *weight_ppm)?;
            }
            What::DeleteVersion { function, version } => {
                let function: FunctionName =
                    FUNCTIONS[usize::from(*function) % FUNCTIONS.len()].parse().expect("a name");
                let version = self.version_of(&function, *version);
                self.see("a version is deleted");
                self.ask(Action::DeleteVersion(function, version), false)?;
            }
            What::Plans { plan, is_broken } => {
                self.see(if *is_broken { "a plan breaks" } else { "a plan is gone" });
                let odd = [(usize::from(*plan) % PLANS.len(), *is_broken)].into();
                self.book = book(&odd);
                self.read_plans()?;
            }
            What::Outside(mood) => {
                self.see(&format!("outside is {mood:?}"));
                self.mood = *mood;
                // What was asked before is answered now, late.
                self.outside.answer(*mood);
                self.turn(Vec::new())?;
            }
            What::Kill { at, nth } => {
                self.see(&format!("a kill at {at:?} is armed"));
                self.ground.kill_at(Some((*at, *nth)));
            }
            What::Disk { is_stalled, for_ms } => {
                self.see(if *is_stalled { "the disk stalls" } else { "the disk is full" });
                self.ground.spoil_disk(*is_stalled, Duration::from_millis((*for_ms).into()));
            }
            What::Clock { by_s } => {
                self.see("the clock jumps");
                self.ground.jump(*by_s);
                self.turn(Vec::new())?;
            }
            What::Stop { for_s } => {
                self.see("the process is stopped");
                self.ground.pass(Duration::from_secs((*for_s).into()), false);
                self.turn(Vec::new())?;
            }
            What::Down { for_s } => {
                self.see("the process ends well");
                self.close();
                self.ground.pass(Duration::from_secs((*for_s).into()), false);
                self.boot()?;
            }
            What::Rival => self.rival()?,
        }
        Ok(())
    }

    /// Lets time pass, with a turn whenever something is due.
    fn pass(&mut self, span: Duration) -> Result<(), Fault> {
        let mut left = span;
        let mut restless = 0;
        loop {
            let due = self.process.as_ref().and_then(|process| process.scheduler.due_in());
            match due {
                Some(due) if due <= left => {
                    let due = due.max(Duration::from_millis(if due.is_zero() { 0 } else { 1 })).min(left);
                    self.ground.pass(due, true);
                    left -= due;
                    restless = if due.is_zero() { restless + 1 } else { 0 };
                    if restless > TURNS_MAX {
                        return Err("it never rests: something is due at once, again and again".to_owned());
                    }
                    self.turn(Vec::new())?;
                }
                _ => break,
            }
        }
        let process = self.process.as_ref().expect("a process runs between happenings");
        if process.control.health().trouble.is_none() && process.scheduler.due_in() != Some(Duration::ZERO) {
            self.rules.rests(&process.scheduler, &process.table, &self.outside)?;
        }
        self.ground.pass(left, true);
        if let Some(trouble) = &process.control.health().trouble
            && left > PATIENCE
            && self.ground.takes_for(PATIENCE)
        {
            return Err(format!("I19: the disk takes what comes, and nobody tries it again: {trouble}"));
        }
        Ok(())
    }

    fn boot(&mut self) -> Result<(), Fault> {
        let mut tries = 0;
        loop {
            match catch_unwind(AssertUnwindSafe(|| self.boot_once())) {
                Ok(done) => {
                    done?;
                    return self.turn(Vec::new()).map(|_| ());
                }
                Err(payload) if payload.is::<Killed>() => {
                    self.see("killed while it boots");
                    tries += 1;
                    assert!(tries < 10, "one kill was armed");
                }
                Err(payload) => return Err(format!("it panicked at boot: {}", said_by(&*payload))),
            }
        }
    }

    fn boot_once(&mut self) -> Result<(), Fault> {
        self.process = None;
        let open = || Store::open_simulated(&self.dir, Arc::clone(&self.ground) as _);
        let (store, mut loaded) = open().map_err(|why| format!("the store does not open: {why}"))?;
        let (spill, aside) = Spill::open_simulated(&self.dir).map_err(|why| why.to_string())?;
        loaded.aside = aside;
        self.ground.resume(loaded.uptime);
        let days = std::mem::take(&mut loaded.days);
        let problems = loaded.problems.clone();
        let (world, judges, more) = boot::build(loaded);
        if let Some(problem) = problems.iter().chain(&more).next() {
            return Err(format!("I10: after a kill there is a problem: {problem}"));
        }
        if let Some(known) = &self.known {
            self.rules.is_what_was(known, &world)?;
        }
        let inbox = Inbox::new();
        let recorder = Recorder::new(1, inbox.alarm());
        let counting = recorder.writer(0).expect("nobody else counts");
        let table = RoutingTable::new(Arc::clone(&recorder));
        let plane = Plane {
            table: Arc::clone(&table),
            ground: Arc::clone(&self.ground),
            reader: store.reader.clone(),
        };
        let parts = Parts {
            core: Core::new(world, judges).with_days(days),
            book: self.book.clone().succeed(&PlanBook::default()),
            writer: store.writer.clone(),
            reader: store.reader.clone(),
            data_plane: Arc::new(plane),
            recorder: Arc::clone(&recorder),
            clock: Arc::clone(&self.ground) as _,
            keep_history: Duration::from_secs(10 * 86_400),
            problems: Vec::new(),
            outside: Default::default(),
            last_table: Vec::new(),
            spill,
            trouble: None,
            standing: None,
        };
        let (control, mut scheduler) = Control::prepare(inbox, parts);
        scheduler.asker = Box::new(self.outside.clone());
        scheduler.boot();
        self.process = Some(Process { scheduler, control, counting, recorder, table, store: Some(store) });
        Ok(())
    }

    fn close(&mut self) {
        if let Some(mut process) = self.process.take() {
            self.ground.mend();
            process.scheduler.closing = true;
            process.scheduler.close();
        }
    }

    /// One turn, and what it must leave behind; `None` where the process was killed in it.
    fn turn(&mut self, commands: Vec<Command>) -> Result<Option<Vec<Result<Reply, DoorError>>>, Fault> {
        let answers = self.bare_turn(commands)?;
        let mut restless = 0;
        while self.mood != Mood::Late && self.outside.is_asked() {
            self.outside.answer(self.mood);
            restless += 1;
            if restless > TURNS_MAX {
                return Err("it never rests: every answer is followed by a question".to_owned());
            }
            self.bare_turn(Vec::new())?;
        }
        Ok(answers)
    }

    fn bare_turn(&mut self, commands: Vec<Command>) -> Result<Option<Vec<Result<Reply, DoorError>>>, Fault> {
        let process = self.process.as_mut().expect("a process runs between happenings");
        let (askers, answers): (Vec<_>, Vec<_>) = commands.iter().map(|_| oneshot::channel()).unzip();
        let turned = catch_unwind(AssertUnwindSafe(|| {
            let mut all = process.scheduler.take_inputs();
            all.extend(commands.into_iter().zip(askers));
            process.scheduler.turn(all);
        }));
        match turned {
            Ok(()) => {
                self.check()?;
                let answer = |mut answer: oneshot::Receiver<_>| answer.try_recv();
                let answers: Result<Vec<_>, _> = answers.into_iter().map(answer).collect();
                answers.map(Some).map_err(|_| "a command got no answer".to_owned())
            }
            Err(payload) if payload.is::<Killed>() => {
                self.see("killed");
                let down = self.random.random_range(0..3_000);
                self.ground.pass(Duration::from_millis(down), false);
                if self.random.random_range(0..4) == 0 {
                    // And again, before it has come to anything.
                    let at = [Effect::Commit, Effect::Committed, Effect::Publish, Effect::Published];
                    self.ground
                        .kill_at(Some((at[self.random.random_range(0..4)], self.random.random_range(0..2))));
                }
                self.boot()?;
                self.ground.kill_at(None);
                Ok(None)
            }
            Err(payload) => Err(format!("it panicked: {}", said_by(&*payload))),
        }
    }

    fn check(&mut self) -> Result<(), Fault> {
        if let Some(fault) = self.ground.fault() {
            return Err(fault);
        }
        let process = self.process.as_ref().expect("a process runs between happenings");
        self.rules.check(&process.scheduler, &process.table, &self.ground, &self.outside)?;
        self.known = Some(process.scheduler.core.world.clone());
        Ok(())
    }

    /// Asks for something, and holds the answer against what then is; `twice` asks again with the same key.
    fn ask(&mut self, action: Action, twice: bool) -> Result<(), Fault> {
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
        let before = self.world().seq;
        let answers = self.turn(vec![command.clone()])?;
        let noted = self.rules.noted(&tag);
        match answers.as_ref().and_then(|answers| answers.first()) {
            Some(Ok(_)) if self.world().seq == before || noted > 0 => {}
            Some(Ok(Reply::Kept | Reply::Rollout { changed: false, .. })) => {}
            // Others may have moved in the same turn.
            Some(Ok(_)) => {}
            Some(Err(DoorError::Refused(_))) if noted > 0 => {
                return Err(format!("I9: {tag} was refused, and the journal tells of it"));
            }
            Some(Err(DoorError::NotStored(_))) if noted > 0 => {
                return Err(format!("I9: {tag} was not stored, and the journal tells of it"));
            }
            Some(Err(_)) | None => {}
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

    fn publish(&mut self, function: &str) -> Result<(), Fault> {
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

    fn version_of(&self, function: &FunctionName, pick: u8) -> VersionNumber {
        let versions = self.world().function(function).map(|state| &state.versions);
        let newest =
            versions.and_then(|versions| versions.keys().last().copied()).unwrap_or(VersionNumber(1));
        // Of the last few, and now and then one that is not there.
        VersionNumber(newest.0.saturating_sub(u64::from(pick % 5)).max(1) + u64::from(pick > 250))
    }

    fn start(&mut self, plan: usize, to: u8, again: bool) -> Result<(), Fault> {
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

    fn verb(&mut self, alias: &AliasId, verb: u8, argument: u8) -> Action {
        let meant = self.world().alias(alias).and_then(|state| state.meant());
        let rollout = meant.and_then(|id| self.world().rollout(id).cloned());
        let step = rollout.as_ref().map_or(0, |rollout| rollout.record.step);
        let step = if argument > 240 { step + 1 } else { step };
        let resumption =
            [None, Some(Resumption::Restore), Some(Resumption::Adopt)][usize::from(argument) % 3];
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

    fn foreign(&mut self, id: AliasId, primary: u8, beside: u8, weight_ppm: u32) -> Result<(), Fault> {
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

    fn read_plans(&mut self) -> Result<(), Fault> {
        let process = self.process.as_ref().expect("a process runs between happenings");
        process.control.plans_changed(self.book.clone());
        self.turn(Vec::new()).map(|_| ())
    }

    /// Requests come one after the other, each drawn by the weights that serve just then.
    fn traffic(&mut self, id: AliasId, requests: u16, every_ms: u32, fails: (u32, u32)) -> Result<(), Fault> {
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

    /// Another daemon has the store, and this one does not know: whatever it tries then changes nothing.
    fn rival(&mut self) -> Result<(), Fault> {
        self.see("another daemon takes over");
        self.ground.mend();
        let Some(mut old) = self.process.take() else { return Ok(()) };
        // Who lost the directory without noticing holds no lock either.
        old.store = None;
        self.boot()?;
        let before = self.world().seq;
        let new = self.process.take();
        self.process = Some(old);
        let id: AliasId = "a:live".parse().expect("an alias");
        let command = Command {
            actor: Actor::daemon(),
            reason: Some("of one that lost the store".to_owned()),
            key: None,
            fresh: chance::new_id(self.ground.now().wall),
            action: Action::UpdateAlias {
                id,
                function_version: None,
                additional: None,
                description: Some("nobody may write this".to_owned()),
                revision_id: None,
            },
        };
        let old = self.process.as_mut().expect("put there");
        let (asker, mut answer) = oneshot::channel();
        let is_tried = self.random.random_range(0..4) > 0;
        if is_tried {
            old.scheduler.turn(vec![(command, asker)]);
            match answer.try_recv() {
                Ok(Err(_)) => {}
                answer => return Err(format!("I14: a daemon that lost the store answered {answer:?}")),
            }
            if !old.scheduler.closing {
                return Err("I14: a daemon that lost the store goes on".to_owned());
            }
        }
        self.process = new;
        let process = self.process.as_ref().expect("the other one runs");
        let reader = &process.scheduler.reader;
        let newest = crate::store::EntryFilter { newest: true, limit: 1, ..Default::default() };
        let last = reader.entries(&newest).map_err(|why| why.to_string())?.last().map(|entry| entry.seq);
        if last.is_some_and(|last| last != before) {
            return Err(format!("I14: a daemon that lost the store wrote to it: {last:?} after {before:?}"));
        }
        Ok(())
    }

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
        let live: BTreeSet<RolloutId> = self.world().live.iter().copied().collect();
        for id in live {
            self.waits_with_reason(id)?;
        }
        Ok(())
    }

    fn help(&mut self, id: &AliasId) -> Result<(), Fault> {
        let meant = self.world().alias(id).and_then(|state| state.active);
        let Some(rollout) = meant.and_then(|id| self.world().rollout(id).cloned()) else { return Ok(()) };
        let target = RolloutRef::Id(rollout.record.id);
        let verb = match (&rollout.record.phase, rollout.current_step()) {
            (Phase::Paused(_), _) if rollout.record.drift.is_some() => {
                Verb::Resume(Some(Resumption::Restore))
            }
            (Phase::Paused(_), _) | (_, Some(Step::Pause)) => Verb::Resume(None),
            (_, Some(Step::Approval(_))) => Verb::Approve,
            _ => return Ok(()),
        };
        self.ask(Action::Operate { target, verb }, false)
    }

    /// What is live after days in which nothing went wrong waits for proof or for its time, and says so.
    fn waits_with_reason(&mut self, id: RolloutId) -> Result<(), Fault> {
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

fn alias_of(pick: u8) -> AliasId {
    ALIASES[usize::from(pick) % ALIASES.len()].parse().expect("an alias")
}

/// The plans as they are read, but for those that are broken or not there.
fn book(odd: &BTreeMap<usize, bool>) -> PlanBook {
    let mut files = BTreeMap::new();
    for (number, (name, text)) in PLANS.iter().enumerate() {
        let is_broken = match odd.get(&number) {
            Some(false) => continue,
            Some(true) => true,
            None => false,
        };
        let text = if is_broken { "steps: [3, 100%]\n" } else { text };
        let source = Source::new(format!("{name}.yaml"), text.as_bytes().to_vec());
        let read: Result<ReadPlan, _> = read_plan(name, &source, None);
        let (read, faults) = match read {
            Ok(read) => (Some(Arc::new(read)), Vec::new()),
            Err(faults) if is_broken => (None, faults),
            Err(faults) => panic!("plan {name}: {}", faults[0]),
        };
        let file = PlanFile {
            name: (*name).to_owned(),
            source,
            defaults: None,
            read,
            is_defaults: false,
            faults,
            problem: None,
        };
        files.insert((*name).to_owned(), file);
    }
    PlanBook { directory: Some("plans".to_owned()), problem: None, files }
}

fn said_by(payload: &(dyn std::any::Any + Send)) -> String {
    let text = payload.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| payload.downcast_ref::<String>().cloned()).unwrap_or_else(|| "nothing".to_owned())
}
