//! Every order in which a rollout of three steps, its operators, its failures, other hands, kills and a second daemon can
//! come: searched breadth first, over the very core that decides and the very boot that reads the store.
//!
//! What is a model here is the disk: rows as commits write them, and the epoch that each commit is held against. A daemon
//! may be killed between any two commits, and another one may take the store over at any moment while the first goes on.
//! Times and names that decide nothing are left out of what makes two states one, so that there is an end of them.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use serin_core::analysis::Counts;
use serin_core::commands::{Action, Command, Refusal, Reply, RolloutRef, Trigger, Verb};
use serin_core::engine::core::{Core, Outside};
use serin_core::journal::{Entry, Happening};
use serin_core::lambda::alias::{AdditionalVersion, Alias, AliasId, Routing};
use serin_core::lambda::function::{Configuration, DEFAULT_ROLE, Function, Revision, Target, Version};
use serin_core::lambda::settings::Settings;
use serin_core::model::actor::{Actor, Standing};
use serin_core::model::arn::VersionNumber;
use serin_core::model::time::{Moment, Timestamp, Uptime};
use serin_core::model::weight::Weight;
use serin_core::plan::{Source, Step};
use serin_core::ports::{Commit, Loaded, PinnedPlan, StoredAlias, StoredRollout, Write};
use serin_core::rollout::{DriftResolution, Ending, Event, Phase, Rollout, RolloutId, RolloutRecord};
use serin_core::world::World;
use serin_core::world::boot;
use serin_core::world::judge::Judge;
use serin_core::world::plans::{PlanBook, ReadPlan, read_plan};
use serin_core::world::tally::{ArmTally, EpochTally, Tallies};

const STABLE: VersionNumber = VersionNumber(1);
const CANARY: VersionNumber = VersionNumber(2);
/// How long each weight is served at least.
const BAKE: Duration = Duration::from_secs(3600);
/// Turns and bakes after which a rollout that nobody holds up has ended.
const ROUNDS_TO_END: usize = 12;

fn plan_text(on_drift: &str) -> String {
    format!(
        "function: f\nalias: live\nanalysis: none\nbake: 1h\nonDrift: {on_drift}\nmaxExposure: {{failures: 1}}\n\
         stepDeadline: {{after: 366d}}\nsteps: [3%, 50%, 100%]\n"
    )
}

fn id() -> AliasId {
    "f:live".parse().expect("an alias")
}

/// What is on disk.
#[derive(Clone, Default)]
struct Disk {
    epoch: u8,
    uptime: Uptime,
    seq: Revision,
    functions: Vec<Function>,
    versions: Vec<Version>,
    alias: Option<StoredAlias>,
    rollouts: BTreeMap<RolloutId, (RolloutRecord, Option<String>)>,
    plans: BTreeMap<String, PinnedPlan>,
    remembered: BTreeMap<VersionNumber, Ending>,
    /// The alias as the journal tells of it.
    told: Option<Alias>,
}

/// One process.
#[derive(Clone)]
struct Daemon {
    world: World,
    judges: HashMap<RolloutId, Judge>,
    epoch: u8,
    up: Uptime,
    /// What its router serves.
    served: Option<(Revision, Routing)>,
    /// Failures of the canary that it counted, of one epoch of the alias.
    failed: (Revision, u64),
}

#[derive(Clone)]
struct State {
    disk: Disk,
    /// Who runs; the last one has taken the store over last.
    daemons: Vec<Daemon>,
    /// Whether another hand has touched the alias since the rollout did last.
    is_foreign: bool,
}

/// What happens to a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Move {
    Turn,
    Bake,
    Failure,
    Checkpoint,
    Operate(usize),
    Foreign(usize),
    Delete(VersionNumber),
    Kill,
}

const FOREIGN: [(VersionNumber, Option<u32>); 3] = [(STABLE, None), (STABLE, Some(700_000)), (CANARY, None)];

fn moves() -> Vec<Move> {
    let mut all = vec![Move::Turn, Move::Bake, Move::Failure, Move::Checkpoint, Move::Kill];
    all.extend((0..8).map(Move::Operate));
    all.extend((0..FOREIGN.len()).map(Move::Foreign));
    all.extend([STABLE, CANARY].map(Move::Delete));
    all
}

impl Disk {
    /// Makes a commit true, or refuses it to a process that is not the last one.
    fn take(&mut self, commit: &Commit, epoch: u8) -> Result<(), String> {
        if epoch != self.epoch {
            return Err("fenced".to_owned());
        }
        for write in &commit.writes {
            match write {
                Write::PutFunction(function) => self.functions = vec![function.clone()],
                Write::PutVersion(version) => self.versions.push(version.clone()),
                Write::DeleteVersion(_, number) => self.versions.retain(|version| version.number != *number),
                Write::PutAlias { alias, previous_stable, expected } => {
                    let now = self.alias.as_ref().map(|stored| stored.alias.revision);
                    assert_eq!(now, *expected, "decided on another revision than that on disk");
                    let (alias, previous_stable) = (alias.clone(), *previous_stable);
                    self.alias = Some(StoredAlias { alias, previous_stable, quarantine: None });
                }
                Write::PutPlan(plan) => _ = self.plans.insert(plan.digest.clone(), plan.clone()),
                Write::PutRollout { record, evidence } => {
                    let before = self.rollouts.remove(&record.id).and_then(|(_, evidence)| evidence);
                    self.rollouts.insert(record.id, ((**record).clone(), evidence.clone().or(before)));
                }
                Write::Remember { version, ending, .. } => _ = self.remembered.insert(*version, *ending),
                Write::PutCounts { .. } | Write::PutWatch { .. } | Write::PutDay { .. } => {}
                Write::DeleteFunction { .. }
                | Write::DeleteAlias(_)
                | Write::PutPolicy(..)
                | Write::DeletePolicy(..)
                | Write::PutEventSource(_)
                | Write::DeleteEventSource(_) => panic!("nobody here asks for {write:?}"),
            }
        }
        for entry in &commit.entries {
            assert_eq!(entry.seq.0, self.seq.0 + 1, "I7: an entry is missing");
            self.seq = entry.seq;
            if let Some(alias) = &entry.alias_after {
                assert_eq!(alias.revision, entry.seq, "I7");
                self.told = Some(alias.clone());
            }
        }
        assert_eq!(self.told, self.alias.as_ref().map(|stored| stored.alias.clone()), "I7: journal and row");
        self.uptime = self.uptime.max(commit.uptime);
        Ok(())
    }

    /// A process that takes the store over.
    fn boot(&mut self) -> Daemon {
        self.epoch = self.epoch.saturating_add(1);
        let rollouts = self.rollouts.values().map(|(record, evidence)| StoredRollout {
            record: record.clone(),
            evidence: evidence.clone(),
            plan: self.plans[&record.plan_digest].clone(),
        });
        let loaded = Loaded {
            salt: "salt".to_owned(),
            uptime: self.uptime,
            seq: self.seq,
            functions: self.functions.clone(),
            versions: self.versions.clone(),
            aliases: self.alias.iter().cloned().collect(),
            rollouts: rollouts.collect(),
            last_rollout: self.rollouts.keys().next_back().copied(),
            remembered: self.remembered.iter().map(|(version, how)| (id(), *version, *how)).collect(),
            ..Loaded::default()
        };
        let (world, judges, problems) = boot::build(loaded);
        assert_eq!(problems, Vec::<String>::new(), "I10");
        let state = world.alias(&id());
        let served = state.map(|state| (state.alias.revision, state.alias.routing));
        let failed = (Revision(0), 0);
        Daemon { world, judges, epoch: self.epoch, up: self.uptime, served, failed }
    }
}

impl Daemon {
    fn now(&self) -> Moment {
        Moment { up: self.up, wall: Timestamp(1_800_000_000_000).plus(self.up.since(Uptime(0))) }
    }

    fn rollout(&self) -> Option<&Rollout> {
        self.world.rollouts.values().next().map(|rollout| &**rollout)
    }

    /// One round of decisions, committed before it is published; whether the process still has the store.
    fn round(&mut self, disk: &mut Disk, commands: &[Command]) -> (bool, Vec<Entry>, Vec<Answer>) {
        let (at, book, aliases) = (self.now(), PlanBook::default(), BTreeSet::from([id()]));
        let served = self.served;
        let serving = |_: &AliasId| served.map(|(revision, _)| revision);
        let outside = Outside {
            book: &book,
            serving: &serving,
            pinned: &|_| None,
            past: &|_| None,
            before: &|_, _| None,
            tried: &|_, _| 0,
            replied: &|_| Ok(None),
        };
        let mut core = Core::new(self.world.clone(), std::mem::take(&mut self.judges));
        let round = core.round(at, commands, &aliases, &outside);
        let (must_commit, answers) = (round.must_commit, round.answers);
        let entries = round.finished.commit.entries.clone();
        if must_commit && disk.take(&round.finished.commit, self.epoch).is_err() {
            return (false, Vec::new(), Vec::new());
        }
        core.absorb(round.finished, at, &outside);
        (self.world, self.judges) = (core.world.clone(), core.judges);
        if must_commit {
            // Only now, and only what is on disk.
            let state = self.world.alias(&id());
            self.served = state.map(|state| (state.alias.revision, state.alias.routing));
        }
        (true, entries, answers)
    }

    /// What is stored now and then of what is in memory alone.
    fn checkpoint(&self) -> Commit {
        let put = |rollout: &Rollout| {
            let evidence = self.judges.get(&rollout.record.id).map(Judge::stored);
            Write::PutRollout { record: Box::new(rollout.record.clone()), evidence }
        };
        Commit { writes: self.rollout().map(put).into_iter().collect(), uptime: self.up, ..Commit::default() }
    }

    /// The canary fails once, if it is asked at all.
    fn fail(&mut self) {
        let Some((revision, routing)) = self.served else { return };
        if routing.share_of(CANARY) == Weight::ZERO {
            return;
        }
        let before = if self.failed.0 == revision { self.failed.1 } else { 0 };
        self.failed = (revision, before + 1);
        let counts = Counts { requests: before + 1, failures: before + 1 };
        let arm = ArmTally { counts, ..ArmTally::default() };
        let empty = EpochTally::empty(revision, routing);
        let is_alone = routing.additional.is_none();
        let tally = match is_alone {
            true => EpochTally { primary: arm, ..empty },
            false => EpochTally { additional: arm, ..empty },
        };
        let mut core = Core::new(self.world.clone(), std::mem::take(&mut self.judges));
        core.observe(&id(), self.up, &Tallies { epochs: vec![tally], slots: Vec::new() });
        self.judges = core.judges;
    }
}

type Answer = Result<Reply, Refusal>;

fn command(action: Action, number: u128) -> Command {
    let actor = Actor::new("ana@desk", Standing::Claimed);
    let fresh = uuid::Uuid::from_u128(7 << 76 | 2 << 62 | number);
    Command { actor, reason: Some("a reason".to_owned()), key: None, fresh, action }
}

fn operate(verb: Verb) -> Command {
    command(Action::Operate { target: RolloutRef::OfAlias(id()), verb }, 9)
}

impl State {
    /// Two versions, an alias, and a rollout that was just started.
    fn begin(on_drift: &str) -> State {
        let mut disk = Disk::default();
        let mut daemon = disk.boot();
        let mut ask = |disk: &mut Disk, action, number| {
            let (lives, _, answers) = daemon.round(disk, &[command(action, number)]);
            assert!(lives && answers.iter().all(Result::is_ok), "{answers:?}");
        };
        for port in [1, 2] {
            let configuration = Configuration {
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
            };
            let function = "f".parse().expect("a name");
            ask(&mut disk, Action::Publish { function, configuration, force_new: true }, port);
        }
        let made = Action::CreateAlias {
            id: id(),
            function_version: STABLE.into(),
            additional: Vec::new(),
            description: String::new(),
        };
        ask(&mut disk, made, 3);
        let source = Source::new("p.yaml", plan_text(on_drift));
        let plan: Arc<ReadPlan> = Arc::new(read_plan("p", &source, None).expect("a plan"));
        let trigger = Trigger::Person;
        ask(&mut disk, Action::Start { plan, to: Some(CANARY), again: false, dry_run: false, trigger }, 4);
        State { disk, daemons: vec![daemon], is_foreign: false }
    }

    /// The state after something happens to a process.
    fn after(&self, who: usize, what: Move) -> State {
        let mut next = self.clone();
        if what == Move::Kill {
            next.daemons.remove(who);
            return next;
        }
        let daemon = &mut next.daemons[who];
        let commands: Vec<Command> = match what {
            Move::Turn => Vec::new(),
            Move::Bake => {
                daemon.up = daemon.up.plus(BAKE);
                Vec::new()
            }
            Move::Failure => {
                daemon.fail();
                Vec::new()
            }
            Move::Checkpoint => {
                let commit = daemon.checkpoint();
                if next.disk.take(&commit, daemon.epoch).is_err() {
                    next.daemons.remove(who);
                }
                return next;
            }
            Move::Operate(verb) => {
                let step = daemon.rollout().map_or(0, |rollout| rollout.record.step);
                vec![operate(match verb {
                    0 => Verb::Pause,
                    1 => Verb::Resume(None),
                    2 => Verb::Resume(Some(DriftResolution::Restore)),
                    3 => Verb::Resume(Some(DriftResolution::Adopt)),
                    4 => Verb::Promote { step, full: false },
                    5 => Verb::Promote { step, full: true },
                    6 => Verb::Abort,
                    _ => Verb::Rollback { to: None },
                })]
            }
            Move::Foreign(which) => {
                let (version, beside) = FOREIGN[which];
                let weight = beside.map(|ppm| Weight::from_ppm(ppm).expect("a share"));
                let additional: Vec<AdditionalVersion> =
                    weight.map(|weight| AdditionalVersion { version: CANARY, weight }).into_iter().collect();
                vec![command(
                    Action::UpdateAlias {
                        id: id(),
                        function_version: Some(version.into()),
                        additional: Some(additional),
                        description: None,
                        revision_id: None,
                    },
                    9,
                )]
            }
            Move::Delete(version) => {
                vec![command(Action::DeleteVersion("f".parse().expect("a name"), version), 9)]
            }
            Move::Kill => unreachable!("it was dealt with"),
        };
        let up = daemon.up;
        let (lives, entries, answers) = daemon.round(&mut next.disk, &commands);
        let decided_by = self.daemons[who].rollout().map(|rollout| &rollout.record);
        let has_baked = decided_by.is_some_and(|record| record.served.elapsed(up) >= BAKE);
        next.check(self, what, has_baked, &entries, &answers);
        if !lives {
            next.daemons.remove(who);
        }
        next
    }

    /// What must hold of a step from `before` to here.
    fn check(&mut self, before: &State, what: Move, has_baked: bool, entries: &[Entry], answers: &[Answer]) {
        let record = |disk: &Disk| disk.rollouts.values().next().map(|(record, _)| record.clone());
        let routing = |disk: &Disk| disk.alias.as_ref().expect("it was made").alias.routing;
        let (was, is) = (record(&before.disk).expect("started"), record(&self.disk).expect("started"));
        let (from, to) = (routing(&before.disk), routing(&self.disk));
        let told =
            || format!("{what:?} of {from} at {:?}, step {}: {to} at {:?}", was.phase, was.step, is.phase);
        let is_foreign = matches!(what, Move::Foreign(_)) && from != to;
        let of_rollout = entries
            .iter()
            .any(|entry| entry.alias_after.is_some() && matches!(entry.what, Happening::Rollout { .. }));
        self.is_foreign = (self.is_foreign || is_foreign) && !of_rollout;
        // I5, I16.
        if was.phase.is_final() {
            assert_eq!((&is.phase, is.step), (&was.phase, was.step), "I5: {}", told());
        }
        assert_eq!(was.plan_digest, is.plan_digest, "I16");
        assert!(is.step >= was.step, "I3: {}", told());
        // I4: more traffic to the canary has one of few reasons.
        if to.share_of(CANARY) > from.share_of(CANARY) && !is_foreign {
            let is_reason = entries.iter().any(|entry| {
                let Happening::Rollout { event, .. } = &entry.what else { return false };
                // I11: only what the process that decides has served for its bake.
                (matches!(event, Event::Passed { .. }) && has_baked)
                    || (matches!(event, Event::Promoted { .. }) && matches!(what, Move::Operate(4 | 5)))
                    || (matches!(event, Event::Resumed { .. }) && matches!(what, Move::Operate(2)))
                    || (matches!(event, Event::Drifted { .. }) && matches!(what, Move::Foreign(_)))
                    || matches!(event, Event::Began { .. })
            });
            assert!(is_reason, "I4: {} by {entries:?}", told());
        }
        // I6: what was taken back has nothing, unless another hand gave it some.
        if matches!(is.phase, Phase::RolledBack | Phase::Aborted | Phase::RollingBack(_)) && !self.is_foreign
        {
            assert_eq!(to.share_of(CANARY), Weight::ZERO, "I6: {}", told());
        }
        // I2, I15: it is as planned, or as another hand made it.
        let steps = [0, 30_000, 500_000, 1_000_000].map(|ppm| Weight::from_ppm(ppm).expect("a share"));
        assert!(
            self.is_foreign || before.is_foreign || steps.contains(&to.share_of(CANARY)),
            "I2: {}",
            told()
        );
        if is.phase.is_active() {
            let known = is.committed.as_ref().map(|committed| committed.routing);
            let found = is.drift.as_ref().map(|drift| drift.found);
            assert_eq!(found.or(known), Some(to), "I15: {}", told());
        }
        // I17: what a rollout moves between stays.
        let kept = |version| self.disk.versions.iter().any(|known| known.number == version);
        if is.phase.is_active() {
            assert!(kept(STABLE) && kept(CANARY), "I17: {} by {answers:?}", told());
        }
        // I8: nobody serves what is not on disk, or was not.
        for daemon in &self.daemons {
            let Some((revision, served)) = daemon.served else { continue };
            assert!(revision <= self.disk.alias.as_ref().expect("made").alias.revision, "I8: {}", told());
            if revision == self.disk.alias.as_ref().expect("made").alias.revision {
                assert_eq!(served, to, "I8: {}", told());
            }
        }
    }

    /// I19: where nothing goes wrong any more, it ends by itself or waits for a person.
    fn ends(&self) {
        let mut state = self.clone();
        let last = state.daemons.len().checked_sub(1);
        let mut daemon = match last {
            Some(last) if state.daemons[last].epoch == state.disk.epoch => state.daemons.swap_remove(last),
            _ => state.disk.boot(),
        };
        for _ in 0..ROUNDS_TO_END {
            let (lives, ..) = daemon.round(&mut state.disk, &[]);
            assert!(lives, "nobody else has the store");
            let phase = daemon.rollout().map(|rollout| rollout.record.phase.clone());
            match phase {
                None => return,
                Some(phase) if phase.is_final() || matches!(phase, Phase::Paused(_)) => return,
                Some(_) => daemon.up = daemon.up.plus(BAKE),
            }
        }
        let record = daemon.rollout().map(|rollout| rollout.record.clone());
        panic!("I19: it does not end, and waits for nobody: {record:?}");
    }

    /// What tells this state from others.
    fn key(&self) -> String {
        let disk = &self.disk;
        let mut key = format!("{} {:?} ", self.is_foreign, disk.remembered);
        key += &describe(
            disk.alias.as_ref().map(|stored| &stored.alias),
            disk.alias.as_ref().map(|stored| stored.previous_stable),
        );
        for (record, evidence) in disk.rollouts.values() {
            let failed = evidence.as_deref().and_then(|text| {
                serde_json::from_str::<serde_json::Value>(text).ok()?["exposure"]["failures"].as_u64()
            });
            key += &described(record, disk.alias.as_ref().map(|stored| &stored.alias), disk.uptime, failed);
        }
        key += &format!("{} versions", disk.versions.len());
        for daemon in &self.daemons {
            let state = daemon.world.alias(&id());
            let alias = state.map(|state| &state.alias);
            key += &format!("\n{} {} ", daemon.epoch == disk.epoch, daemon.world.seq == disk.seq,);
            key += &describe(alias, state.map(|state| state.previous_stable));
            let served = daemon.served.map(|(revision, routing)| {
                (alias.is_some_and(|alias| alias.revision == revision), routing.to_string())
            });
            key += &format!("{served:?}");
            if let Some(rollout) = daemon.rollout() {
                let judge = daemon.judges.get(&rollout.record.id);
                let failed = judge.map(|judge| judge.evidence.exposure.failures);
                key += &described(&rollout.record, alias, daemon.up, failed);
            }
        }
        key
    }
}

fn describe(alias: Option<&Alias>, previous: Option<Option<VersionNumber>>) -> String {
    format!("{:?} {previous:?} ", alias.map(|alias| alias.routing.to_string()))
}

fn described(record: &RolloutRecord, alias: Option<&Alias>, up: Uptime, failed: Option<u64>) -> String {
    let mut phase = record.phase.name().to_owned();
    if let Phase::Paused(pause) = &record.phase {
        phase += &format!(" {:?}", pause.cause);
    }
    if let Phase::RollingBack(ending) = &record.phase {
        phase += &format!(" {ending:?}");
    }
    let committed = record.committed.as_ref().map(|committed| {
        let is_newest = alias.is_some_and(|alias| alias.revision == committed.revision);
        (committed.routing.to_string(), is_newest, committed.served)
    });
    let served = (record.served.is_running(), record.served.elapsed(up) >= BAKE);
    let drift = record.drift.as_ref().map(|drift| (drift.expected.to_string(), drift.found.to_string()));
    format!(
        "[{phase} {} {} {} {committed:?} {served:?} {drift:?} {} {} {:?} {}]",
        record.step,
        record.weight_step,
        record.planned,
        record.exposure_waived,
        record.trials,
        record.ended_on,
        failed.unwrap_or(0).min(1),
    )
}

/// Searches all that is reached within so many steps; how many states there are, and how many steps between them.
fn search(on_drift: &str, depth_max: usize, states_max: usize) -> (usize, usize, bool) {
    let first = State::begin(on_drift);
    assert!(matches!(first.daemons[0].rollout().expect("one").plan.step(1), Some(Step::SetWeight(_))));
    let (mut seen, mut steps) = (HashSet::from([first.key()]), 0);
    let mut waiting = VecDeque::from([(first, 0)]);
    while let Some((state, depth)) = waiting.pop_front() {
        if depth == depth_max || seen.len() >= states_max {
            return (seen.len(), steps, false);
        }
        let mut reach = |next: State| {
            steps += 1;
            if seen.insert(next.key()) {
                next.ends();
                waiting.push_back((next, depth + 1));
            }
        };
        if state.daemons.len() < 2 {
            // Another process takes over, whether or not the one before has ended.
            let mut next = state.clone();
            let daemon = next.disk.boot();
            next.daemons.push(daemon);
            reach(next);
        }
        for who in 0..state.daemons.len() {
            for what in moves() {
                reach(state.after(who, what));
            }
        }
    }
    (seen.len(), steps, true)
}

#[test]
fn in_whatever_order_things_come_every_invariant_holds() {
    for on_drift in ["pause", "restore", "adopt", "leave"] {
        let (states, steps, is_whole) = search(on_drift, 6, 1500);
        println!(
            "onDrift: {on_drift}: {states} states, {steps} steps, {}",
            if is_whole { "all" } else { "the first" }
        );
        assert!(states > 500, "{states}");
    }
}

#[test]
#[ignore = "all states there are; scripts/test-long runs it and shows how many"]
fn all_orders_that_there_are_are_searched_to_their_end() {
    for on_drift in ["pause", "restore", "adopt", "leave"] {
        let (states, steps, is_whole) = search(on_drift, usize::MAX, usize::MAX);
        println!("onDrift: {on_drift}: {states} states, {steps} steps");
        assert!(is_whole);
    }
}
