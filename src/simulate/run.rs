//! One rollout from its start to its end, or to the end of patience.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use uuid::Uuid;

use super::arrivals::Arrivals;
use super::traffic::Traffic;
use crate::chance;
use serin_core::analysis::ledger::{self, Record, StoredRow};
use serin_core::analysis::watch::Watch;
use serin_core::commands::{Action, Command, Reply, Trigger};
use serin_core::engine::core::{Core, Outside};
use serin_core::lambda::alias::AliasId;
use serin_core::lambda::function::{Configuration, DEFAULT_ROLE, Revision, Target};
use serin_core::lambda::settings::Settings;
use serin_core::model::actor::Actor;
use serin_core::model::arn::{VersionId, VersionNumber};
use serin_core::model::time::{Moment, Timestamp, Uptime};
use serin_core::rollout::{
    Answer, ExternalCheck, HookAnswer, Question, Reading, Rollout, RolloutId, WaitingFor,
};
use serin_core::world::World;
use serin_core::world::draft::Finished;
use serin_core::world::judge::Judge;
use serin_core::world::plans::{PlanBook, ReadPlan};

/// Counters are looked at this often, as in the daemon.
const LOOK_EVERY_US: u64 = 100_000;
/// Before a rollout and after it they are looked at this often, as in the daemon.
const WATCH_EVERY_US: u64 = 1_000_000;
/// Evidence is stored this often, as in the daemon.
const CHECKPOINT_EVERY_US: u64 = 5_000_000;
const STABLE: VersionNumber = VersionNumber(1);
const CANARY: VersionNumber = VersionNumber(2);

/// An alarm of the watch after a promotion.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Alarm {
    /// How long after the promotion, or after the version broke where that was later.
    pub after: Duration,
    /// How many requests had failed since then.
    pub failures: u64,
}

/// What became of one rollout.
#[derive(Clone, Debug, PartialEq)]
pub struct Run {
    /// The phase it ended in, or was in when patience ended.
    pub phase: &'static str,
    /// What it waited for then, if it had not ended.
    pub waits_at: Option<String>,
    /// What that takes, in words.
    pub needs: Option<String>,
    /// How long it took.
    pub elapsed: Duration,
    /// Requests of both versions.
    pub requests: u64,
    /// Requests the canary got by weight.
    pub canary_requests: u64,
    /// Of these, the ones that failed since the canary is what it is, known or not when it ended.
    pub canary_failures: u64,
    /// Why it is in that phase, in words; may be empty.
    pub reason: String,
    /// When each weight was committed, as parts per million.
    pub weights: Vec<(Duration, u32)>,
    /// Of a canary that broke once it was proven: how many of its requests had failed when its proof last stood.
    pub failed_while_proven: Option<u64>,
    /// The first alarm of the watch after the promotion.
    pub alarm: Option<Alarm>,
}

/// Runs a plan once over made-up traffic until it ends, at most for `until`; same seed, same run.
pub fn run(plan: &Arc<ReadPlan>, traffic: &Traffic, until: Duration, seed: u64) -> Run {
    run_asking(plan, traffic, until, seed, &agreeable)
}

/// Answers what a rollout asks outside, so long after its beginning; at once, in virtual time.
pub type Script<'a> = &'a dyn Fn(&Rollout, &ExternalCheck, Duration) -> Answer;

/// A world outside in which every metric is within its bounds and every web hook agrees.
pub fn agreeable(rollout: &Rollout, check: &ExternalCheck, _: Duration) -> Answer {
    match &check.question {
        Question::Metric { name, .. } => {
            let value = rollout.metric(name).and_then(|metric| metric.max.or(metric.min)).unwrap_or(0.0);
            Answer::Reading(Reading::Value(value))
        }
        Question::Hook { .. } => Answer::Hook(HookAnswer::Agreed(200)),
    }
}

/// As `run`, with a script of what metrics and web hooks answer.
pub fn run_asking(
    plan: &Arc<ReadPlan>,
    traffic: &Traffic,
    until: Duration,
    seed: u64,
    script: Script<'_>,
) -> Run {
    let mut simulation = Simulation::start(plan, traffic, seed, script);
    let run = simulation.go(until);
    simulation.watch(run)
}

/// As `run`, with what was counted in it as the daemon keeps it; nothing is kept of a rollout that did not begin.
pub fn run_recorded(
    plan: &Arc<ReadPlan>,
    traffic: &Traffic,
    until: Duration,
    seed: u64,
) -> (Run, Option<Record>) {
    let mut simulation = Simulation::start(plan, traffic, seed, &agreeable);
    simulation.kept = Some(BTreeMap::new());
    let run = simulation.go(until);
    let rows: Vec<StoredRow> = simulation.kept.take().unwrap_or_default().into_values().collect();
    (run, ledger::read(&rows))
}

/// Half past nine on a Monday, when windows tend to be open: the start of every rollout.
const START: Timestamp = Timestamp(1_767_605_400_000);

struct Simulation<'a> {
    core: Core,
    book: PlanBook,
    alias: AliasId,
    rollout: RolloutId,
    arrivals: Arrivals<'a>,
    script: Script<'a>,
    now_us: u64,
    start_us: u64,
    restart_every_us: Option<u64>,
    /// The evidence as last stored.
    stored: Option<String>,
    /// The same of the watch.
    stored_watch: Option<Watch>,
    /// What was counted, by where its rows begin, if that is asked for.
    kept: Option<BTreeMap<u64, StoredRow>>,
    breaks_us: Option<u64>,
    /// Whether the proof stood when the canary broke.
    was_proven: bool,
    failed_while_proven: Option<u64>,
    weights: Vec<(Duration, u32)>,
}

impl<'a> Simulation<'a> {
    fn start(plan: &Arc<ReadPlan>, traffic: &'a Traffic, seed: u64, script: Script<'a>) -> Simulation<'a> {
        let alias = plan.plan.target.clone();
        let with_latency = plan.plan.analysis.as_ref().is_some_and(|analysis| analysis.latency.is_some());
        let mut simulation = Simulation {
            core: Core::new(World::empty("simulation"), HashMap::new()),
            book: PlanBook::default(),
            rollout: RolloutId(Uuid::from_u128(3)),
            arrivals: Arrivals::new(traffic, chance::seeded(seed), CANARY, (with_latency, &plan.plan)),
            script,
            now_us: 0,
            start_us: traffic.prior.as_micros() as u64,
            restart_every_us: traffic.restart_every.map(|every| every.as_micros() as u64),
            stored: None,
            stored_watch: None,
            kept: None,
            breaks_us: traffic.canary_breaks.map(|breaks| (traffic.prior + breaks).as_micros() as u64),
            was_proven: false,
            failed_while_proven: None,
            weights: Vec::new(),
            alias: alias.clone(),
        };
        let publish = |port: u16| Action::Publish {
            function: alias.function.clone(),
            configuration: Configuration {
                target: Target::Http {
                    url: format!("http://127.0.0.1:{port}").parse().expect("a loopback address is a URL"),
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
        simulation.command(publish(1));
        let create = Action::CreateAlias {
            id: alias.clone(),
            function_version: VersionId::Number(STABLE),
            additional: Vec::new(),
            description: String::new(),
        };
        simulation.command(create);
        simulation.command(publish(2));
        if plan.plan.watch.is_some() {
            simulation.core.keep_watched(&[alias].into());
        }
        simulation.serve_until(simulation.start_us, |_| false);
        let start = Action::Start {
            plan: Arc::clone(plan),
            to: Some(CANARY),
            again: false,
            dry_run: false,
            trigger: Trigger::Person,
        };
        simulation.command(start);
        simulation.settle();
        simulation
    }

    fn now(&self) -> Moment {
        let began = START.0 - (self.start_us / 1000) as i64;
        Moment { wall: Timestamp(began), up: Uptime(0) }.plus(Duration::from_micros(self.now_us))
    }

    /// Time since the rollout started.
    fn elapsed(&self) -> Duration {
        Duration::from_micros(self.now_us.saturating_sub(self.start_us))
    }

    fn command(&mut self, action: Action) {
        let command =
            Command { actor: Actor::daemon(), reason: None, key: None, fresh: self.rollout.0, action };
        let at = self.now();
        let (core, book) = (&self.core, &self.book);
        let round = outside(core, book, |outside| core.round(at, &[command], &BTreeSet::new(), outside));
        if let Some(Ok(Reply::Rollout { id: Some(id), .. })) = round.answers.first() {
            self.rollout = *id;
        }
        self.absorb(round.finished);
    }

    /// Applies whatever is due and answers whatever is asked, until there is neither.
    fn settle(&mut self) {
        loop {
            self.settle_inside();
            let up = self.now().up;
            let Some(rollout) = self.rollout().cloned() else { return };
            let external_checks = rollout.external_checks(up);
            if external_checks.is_empty() {
                return;
            }
            for check in external_checks {
                let answer = (self.script)(&rollout, &check, Duration::from_micros(self.now_us));
                self.command(Action::Answered { check, answer });
            }
        }
    }

    /// Applies whatever is due, and what that leads to, as the daemon's turns do.
    fn settle_inside(&mut self) {
        let settled: BTreeSet<AliasId> = [self.alias.clone()].into();
        loop {
            let at = self.now();
            let (core, book) = (&self.core, &self.book);
            let round = outside(core, book, |outside| core.round(at, &[], &settled, outside));
            let changed = !round.finished.rollouts.is_empty();
            self.absorb(round.finished);
            if !changed {
                break;
            }
        }
    }

    fn absorb(&mut self, finished: Finished) {
        let at = self.now();
        // The virtual router serves a revision in the instant it is committed.
        let world = finished.world.clone();
        let outside = Outside {
            book: &self.book,
            serving: &|id| serving_in(&world, id),
            pinned: &|_| None,
            past: &|_| None,
            before: &|_, _| None,
            tried: &|_, _| 0,
            replied: &|_| Ok(None),
        };
        self.core.absorb(finished, at, &outside);
        let Some(state) = self.core.world.alias(&self.alias) else { return };
        let (epoch, routing) = (state.alias.revision, state.alias.routing);
        // What requests are held against is known before the first of them is dispatched.
        self.tell_counters();
        let is_new = self.arrivals.serve(epoch, routing);
        if is_new && self.now_us >= self.start_us {
            self.weights.push((self.elapsed(), routing.share_of(CANARY).ppm()));
        }
        self.checkpoint();
    }

    /// Stores the evidence, as the daemon does with every change and every few seconds.
    fn checkpoint(&mut self) {
        if self.restart_every_us.is_some() {
            self.stored = self.core.judges.get(&self.rollout).map(Judge::stored);
            self.stored_watch =
                self.core.watched.get(&self.alias).and_then(|watched| watched.evidence.clone());
        }
    }

    fn rollout(&self) -> Option<&Arc<Rollout>> {
        self.core.world.rollout(self.rollout)
    }

    /// One version serves alone, until then or until `ends` says so after a look.
    fn serve_until(&mut self, until_us: u64, ends: impl Fn(&mut Self) -> bool) {
        let mut look_us = self.now_us - self.now_us % WATCH_EVERY_US + WATCH_EVERY_US;
        while self.now_us < until_us {
            let due_us = self.arrivals.next_due_us().unwrap_or(u64::MAX);
            let horizon_us = look_us.min(until_us).min(due_us).max(self.now_us);
            if horizon_us > self.now_us {
                self.now_us = self.arrivals.flow(self.now_us, horizon_us);
            }
            while self.arrivals.next_due_us().is_some_and(|due_us| due_us <= self.now_us) {
                self.arrivals.take_due();
            }
            if self.now_us >= look_us {
                look_us = self.now_us - self.now_us % WATCH_EVERY_US + WATCH_EVERY_US;
                self.observe();
                if ends(self) {
                    return;
                }
            }
        }
        self.observe();
    }

    /// Goes on after a promotion for as long as the plan watches it, or until there is an alarm.
    fn watch(&mut self, run: Run) -> Run {
        let watch_of = |simulation: &Self| {
            simulation.core.world.alias(&simulation.alias).and_then(|state| state.watch.clone())
        };
        let Some(watch) = watch_of(self) else { return run };
        let (promoted_us, failed_before) = (self.now_us, self.arrivals.canary_failures);
        let until_us = promoted_us + watch.until.since(watch.since).as_micros() as u64;
        let restart_us = self.restart_every_us.unwrap_or(u64::MAX);
        while self.now_us < until_us && watch_of(self).is_some_and(|watch| watch.alarmed_at.is_none()) {
            let next_us = self.now_us.saturating_add(restart_us);
            self.serve_until(until_us.min(next_us), |simulation| {
                let is_due = !simulation.core.due_watches(simulation.now().up).is_empty();
                if is_due {
                    simulation.settle_inside();
                }
                simulation.checkpoint();
                is_due
            });
            if self.now_us >= next_us {
                self.restart();
            }
        }
        let alarmed = watch_of(self).is_some_and(|watch| watch.alarmed_at.is_some());
        let since_us = promoted_us.max(self.breaks_us.unwrap_or(0));
        let alarm = alarmed.then(|| Alarm {
            after: Duration::from_micros(self.now_us.saturating_sub(since_us)),
            failures: self.arrivals.canary_failures - failed_before,
        });
        Run { alarm, ..run }
    }

    fn go(&mut self, until: Duration) -> Run {
        let end_us = self.start_us + until.as_micros() as u64;
        let mut look_us = self.now_us + LOOK_EVERY_US;
        let mut checkpoint_us = self.now_us + CHECKPOINT_EVERY_US;
        let mut restart_us = self.restart_every_us.map(|every_us| self.now_us + every_us);
        while self.rollout().is_some_and(|rollout| !rollout.record.phase.is_final()) && self.now_us < end_us {
            let due_us = self.arrivals.next_due_us();
            let waits = self.core.judge_of(&self.alias).is_some_and(Judge::waits);
            let look = (self.arrivals.moved || waits).then_some(look_us);
            let wakes = [due_us, self.deadline_us(), look, restart_us, Some(end_us)];
            let wake_us = wakes.into_iter().flatten().min().unwrap_or(end_us).max(self.now_us);
            if wake_us > self.now_us {
                self.now_us = self.arrivals.flow(self.now_us, wake_us);
            }
            let now_us = self.now_us;
            if due_us.is_some_and(|due_us| due_us <= now_us) {
                // A canary failure raises the alarm: it is judged at once.
                if self.arrivals.take_due() {
                    self.look();
                }
            } else if look.is_some_and(|look_us| look_us <= now_us) {
                self.look();
            } else if restart_us.is_some_and(|restart_us| restart_us <= now_us) {
                restart_us = self.restart_every_us.map(|every_us| now_us + every_us);
                self.restart();
            } else if self.deadline_us().is_some_and(|deadline_us| deadline_us <= now_us) {
                self.settle();
                self.refresh_deadlines();
            }
            if now_us >= look_us {
                look_us = now_us - now_us % LOOK_EVERY_US + LOOK_EVERY_US;
            }
            if now_us >= checkpoint_us {
                checkpoint_us = now_us + CHECKPOINT_EVERY_US;
                self.checkpoint();
            }
        }
        self.now_us = self.now_us.min(end_us);
        Run {
            phase: self.rollout().map_or("none", |rollout| rollout.record.phase.name()),
            waits_at: self.waits_at(),
            needs: self.wait().map(|wait| wait.needs),
            elapsed: self.elapsed(),
            requests: self.arrivals.requests,
            canary_requests: self.arrivals.canary_requests,
            canary_failures: self.arrivals.canary_failures,
            reason: self.rollout().map(|rollout| rollout.record.reason.clone()).unwrap_or_default(),
            weights: std::mem::take(&mut self.weights),
            failed_while_proven: self.failed_while_proven,
            alarm: None,
        }
    }

    /// The kind of what a live rollout waits for, and at which step.
    fn waits_at(&self) -> Option<String> {
        let (rollout, wait) = (self.rollout()?, self.wait()?);
        Some(format!("{} at step {} of {}", wait.kind, rollout.record.step, rollout.plan.steps.len()))
    }

    fn wait(&self) -> Option<WaitingFor> {
        let (core, book, at) = (&self.core, &self.book, self.now());
        let rollout = self.rollout().filter(|rollout| !rollout.record.phase.is_final())?;
        outside(core, book, |outside| {
            core.with_facts(rollout, at, outside, |facts| rollout.waiting_for(facts))
        })
    }

    /// The least deadline of the core, on the daemon's clock or on the wall.
    fn deadline_us(&self) -> Option<u64> {
        let (up, wall) = self.core.next_deadline();
        let now = self.now();
        let of_wall = wall.map(|wall| self.now_us + wall.since(now.wall).as_micros() as u64);
        [up.map(|up| up.0 * 1000), of_wall].into_iter().flatten().min()
    }

    /// The daemon is killed and comes back: memory is what was stored, and the counters begin at zero.
    fn restart(&mut self) {
        let Some(rollout) = self.rollout().cloned() else { return };
        self.arrivals.restart();
        let up = self.now().up;
        let mut judges = HashMap::new();
        if rollout.record.phase.is_active() {
            let judge = Judge::resume(&rollout, self.stored.as_deref(), up);
            judges.insert(self.rollout, judge.expect("what a judge stored can be read"));
        }
        let days = self.core.watched.drain().map(|(alias, watched)| (alias, watched.days)).collect();
        self.core = Core::new(self.core.world.clone(), judges).with_days(days);
        if let Some(watched) = self.core.watched.get_mut(&self.alias) {
            watched.evidence = self.stored_watch.clone();
        }
        self.tell_counters();
        self.settle();
        self.refresh_deadlines();
    }

    fn observe(&mut self) {
        self.arrivals.moved = false;
        let at = self.now();
        let judge = self.core.judge_of(&self.alias);
        let since = |epoch| judge.and_then(|judge| judge.needs_since(epoch));
        let tallies = self.arrivals.look(self.now_us, since);
        self.core.observe(&self.alias, at.up, tallies);
        self.core.watch_over(&self.alias, at, &tallies.epochs);
        self.tell_counters();
    }

    fn tell_counters(&mut self) {
        if let Some(judge) = self.core.judge_of_mut(&self.alias) {
            for (from, edges) in judge.news_for_counters() {
                self.arrivals.hold_against(from, edges);
            }
        }
    }

    fn look(&mut self) {
        self.observe();
        self.note_proof();
        if let (Some(kept), Some(judge)) = (&mut self.kept, self.core.judge_of(&self.alias)) {
            kept.extend(judge.counts().into_iter().map(|row| (row.start.0, row)));
        }
        if self.is_due() {
            self.settle();
        }
    }

    /// Notes how long the proof of a canary that breaks goes on standing.
    fn note_proof(&mut self) {
        let Some(breaks_us) = self.breaks_us else { return };
        let basis = self.core.judge_of(&self.alias).and_then(Judge::verdict_basis);
        let is_proven = basis
            .is_some_and(|(evidence, settings)| settings.proof.is_some() && evidence.is_proven(settings));
        if self.now_us < breaks_us {
            self.was_proven = is_proven;
        } else if is_proven && self.was_proven {
            self.failed_while_proven = Some(self.arrivals.canary_failures);
        } else if self.was_proven {
            self.failed_while_proven.get_or_insert(0);
        }
    }

    /// Whether a round would change anything; much cheaper than one.
    fn is_due(&self) -> bool {
        let (core, book, at) = (&self.core, &self.book, self.now());
        let Some(rollout) = self.rollout() else { return false };
        outside(core, book, |outside| {
            core.with_facts(rollout, at, outside, |facts| rollout.due(facts).is_some())
        })
    }

    fn refresh_deadlines(&mut self) {
        let at = self.now();
        let world = self.core.world.clone();
        let outside = Outside {
            book: &self.book,
            serving: &|id| serving_in(&world, id),
            pinned: &|_| None,
            past: &|_| None,
            before: &|_, _| None,
            tried: &|_, _| 0,
            replied: &|_| Ok(None),
        };
        self.core.reset_deadlines([&self.alias], at, &outside);
    }
}

fn serving_in(world: &World, id: &AliasId) -> Option<Revision> {
    world.alias(id).map(|state| state.alias.revision)
}

fn outside<T>(core: &Core, book: &PlanBook, ask: impl FnOnce(&Outside<'_>) -> T) -> T {
    ask(&Outside {
        book,
        serving: &|id| serving_in(&core.world, id),
        pinned: &|_| None,
        past: &|_| None,
        before: &|_, _| None,
        tried: &|_, _| 0,
        replied: &|_| Ok(None),
    })
}
