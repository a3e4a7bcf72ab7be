//! One daemon under a seed: the real core, control loop, routing table, counters and store, driven through virtual time.

use crate::control::simulation::script::Fault;
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rand::RngExt;
use rand::rngs::SmallRng;
use tokio::sync::oneshot;

use super::ground::{Ground, Killed, Outside, Plane};
use super::plans::{PLANS, book};
use super::rules::Rules;
use super::script::{Effect, Happening, Mood, What};
use crate::chance;
use crate::clock::Clock;
use crate::control::handle::{CommandError, Control, Inbox, Parts};
use crate::control::scheduler::Scheduler;
use crate::metrics::recorder::{Recorder, Writer as Counting};
use crate::router::table::RoutingTable;
use crate::store::{Spill, Store};
use serin_core::commands::{Action, Command, Reply};
use serin_core::engine::core::Core;
use serin_core::lambda::alias::AliasId;
use serin_core::model::actor::Actor;
use serin_core::model::arn::{FunctionName, VersionId, VersionNumber};
use serin_core::world::World;
use serin_core::world::boot;
use serin_core::world::plans::PlanBook;

pub(super) const FUNCTIONS: [&str; 2] = ["a", "b"];
pub(super) const ALIASES: [&str; 3] = ["a:live", "a:staging", "b:live"];
/// Whoever makes so many turns without time passing never rests.
const TURNS_MAX: u32 = 200;
/// The disk is tried again at least this often.
const PATIENCE: Duration = Duration::from_secs(5);
/// So many requests come between two turns, as within a tenth of a second or less.
pub(super) const REQUESTS_A_TURN: u16 = 10;

/// What one seed has seen, by name.
pub(super) type Seen = BTreeMap<String, u64>;

pub(super) struct Process {
    pub(super) scheduler: Scheduler,
    pub(super) control: Control,
    pub(super) counting: Counting,
    pub(super) recorder: Arc<Recorder>,
    pub(super) table: Arc<RoutingTable>,
    pub(super) store: Option<Store>,
}

pub(super) struct Machine {
    pub(super) dir: PathBuf,
    pub(super) ground: Arc<Ground>,
    pub(super) outside: Outside,
    pub(super) mood: Mood,
    pub(super) random: SmallRng,
    pub(super) process: Option<Process>,
    pub(super) book: PlanBook,
    pub(super) rules: Rules,
    pub(super) commands: u64,
    /// The world when the last turn began or ended.
    pub(super) known: Option<World>,
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

    pub(super) fn see(&mut self, what: &str) {
        *self.seen.entry(what.to_owned()).or_default() += 1;
    }

    pub(super) fn world(&self) -> &World {
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
    pub(super) fn pass(&mut self, span: Duration) -> Result<(), Fault> {
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

    pub(super) fn boot(&mut self) -> Result<(), Fault> {
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

    pub(super) fn boot_once(&mut self) -> Result<(), Fault> {
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

    pub(super) fn close(&mut self) {
        if let Some(mut process) = self.process.take() {
            self.ground.mend();
            process.scheduler.closing = true;
            process.scheduler.close();
        }
    }

    /// One turn, and what it must leave behind; `None` where the process was killed in it.
    pub(super) fn turn(
        &mut self,
        commands: Vec<Command>,
    ) -> Result<Option<Vec<Result<Reply, CommandError>>>, Fault> {
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

    pub(super) fn bare_turn(
        &mut self,
        commands: Vec<Command>,
    ) -> Result<Option<Vec<Result<Reply, CommandError>>>, Fault> {
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

    pub(super) fn check(&mut self) -> Result<(), Fault> {
        if let Some(fault) = self.ground.fault() {
            return Err(fault);
        }
        let process = self.process.as_ref().expect("a process runs between happenings");
        self.rules.check(&process.scheduler, &process.table, &self.ground, &self.outside)?;
        self.known = Some(process.scheduler.core.world.clone());
        Ok(())
    }

    /// Another daemon has the store, and this one does not know: whatever it tries then changes nothing.
    pub(super) fn rival(&mut self) -> Result<(), Fault> {
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
        let newest = serin_core::ports::EntryFilter { newest: true, limit: 1, ..Default::default() };
        let last = reader.entries(&newest).map_err(|why| why.to_string())?.last().map(|entry| entry.seq);
        if last.is_some_and(|last| last != before) {
            return Err(format!("I14: a daemon that lost the store wrote to it: {last:?} after {before:?}"));
        }
        Ok(())
    }
}

fn alias_of(pick: u8) -> AliasId {
    ALIASES[usize::from(pick) % ALIASES.len()].parse().expect("an alias")
}
fn said_by(payload: &(dyn std::any::Any + Send)) -> String {
    let text = payload.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| payload.downcast_ref::<String>().cloned()).unwrap_or_else(|| "nothing".to_owned())
}
