//! The wall clock is set back in mid-life: the order of rollouts is the journal's, not the clock's.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use serin::store::{Reader, Store};
use serin_core::commands::target;
use serin_core::commands::{Action, Command, Refusal, Reply, RolloutRef, Trigger, Verb};
use serin_core::engine::core::{Core, Outside};
use serin_core::lambda::alias::{AliasId, Routing};
use serin_core::lambda::function::{Configuration, DEFAULT_ROLE, Target};
use serin_core::lambda::settings::Settings;
use serin_core::model::actor::Actor;
use serin_core::model::arn::VersionNumber;
use serin_core::model::time::{Moment, Timestamp, Uptime};
use serin_core::plan::Source;
use serin_core::ports::RolloutFilter;
use serin_core::rollout::RolloutId;
use serin_core::world::boot;
use serin_core::world::plans::{PlanBook, read_plan};

const NOON: i64 = 1_800_000_000_000;
const TEN_MINUTES: i64 = 600_000;

/// The deciding core on a real store, with a clock that is set by hand.
struct Machine {
    core: Core,
    store: Store,
    now_ms: i64,
    made: u128,
}

fn outside<T>(core: &Core, reader: &Reader, ask: impl FnOnce(&Outside<'_>) -> T) -> T {
    let rollout = |id: RolloutId| {
        let record = reader.rollout(id).ok()??;
        let pinned = reader.plan(&record.plan_digest).ok()??;
        let plan = read_plan(&pinned.name, &Source::new("p.yaml", pinned.bytes), None).ok()?.plan;
        Some(serin_core::rollout::Rollout { plan, record })
    };
    ask(&Outside {
        book: &PlanBook::default(),
        serving: &|id| core.world.alias(id).map(|state| state.alias.revision),
        pinned: &|digest| reader.plan(digest).ok().flatten(),
        past: &rollout,
        before: &|_, _| None,
        tried: &|_, _| 0,
        replied: &|_| Ok(None),
    })
}

impl Machine {
    fn boot(dir: &Path, now_ms: i64) -> Machine {
        let (store, loaded) = Store::open(dir, "test").unwrap();
        let (world, judges, problems) = boot::build(loaded);
        assert_eq!(problems, Vec::<String>::new());
        Machine { core: Core::new(world, judges), store, now_ms, made: 0 }
    }

    fn alias() -> AliasId {
        "f:live".parse().unwrap()
    }

    fn ask(&mut self, action: Action) -> Result<Reply, Refusal> {
        // As the daemon makes them: milliseconds of the wall clock, then chance.
        self.made += 1;
        let fresh = uuid::Uuid::from_u128(
            (self.now_ms as u128) << 80 | 7 << 76 | 2 << 62 | (self.made * 0x9e37_79b9) & 0xffff_ffff,
        );
        let command =
            Command { actor: Actor::daemon(), reason: Some("r".to_owned()), key: None, fresh, action };
        self.round(&[command]).pop().unwrap()
    }

    fn round(&mut self, commands: &[Command]) -> Vec<Result<Reply, Refusal>> {
        let at = Moment { wall: Timestamp(self.now_ms), up: Uptime(1_000) };
        let mut answers = Vec::new();
        for commands in [commands, &[], &[]] {
            let settled: BTreeSet<AliasId> = [Machine::alias()].into();
            let reader = &self.store.reader;
            let round =
                outside(&self.core, reader, |outside| self.core.round(at, commands, &settled, outside));
            self.store.writer.commit(round.finished.commit.clone()).recv().unwrap().unwrap();
            let after = Core::new(round.finished.world.clone(), Default::default());
            outside(&after, reader, |outside| self.core.absorb(round.finished, at, outside));
            answers.extend(round.answers);
        }
        answers
    }

    fn publish(&mut self, count: u16) {
        for port in 1..=count {
            let configuration = Configuration {
                target: Target::Http {
                    url: format!("http://127.0.0.1:{port}").parse().unwrap(),
                    health: None,
                    timeouts: Default::default(),
                },
                role: DEFAULT_ROLE.to_owned(),
                dead_letter: None,
                description: String::new(),
                commit: None,
                settings: Settings::default(),
            };
            let function = "f".parse().unwrap();
            self.ask(Action::Publish { function, configuration, force_new: true }).unwrap();
        }
        let (id, function_version) = (Machine::alias(), VersionNumber(1).into());
        let (additional, description) = (Vec::new(), String::new());
        self.ask(Action::CreateAlias { id, function_version, additional, description }).unwrap();
    }

    /// A rollout from its start to its success.
    fn roll_out(&mut self, to: u64) -> RolloutId {
        let plan = b"function: f\nalias: live\nanalysis: none\nbake: 1h\nsteps: [3%, 100%]\n";
        let plan = Arc::new(read_plan("p", &Source::new("p.yaml", plan.to_vec()), None).unwrap());
        let (to, trigger) = (Some(VersionNumber(to)), Trigger::Person);
        let reply = self.ask(Action::Start { plan, to, again: false, dry_run: false, trigger }).unwrap();
        let Reply::Rollout { id: Some(id), .. } = reply else { panic!("{reply:?}") };
        self.verb(Verb::Promote { step: 1, full: true }).unwrap();
        id
    }

    fn verb(&mut self, verb: Verb) -> Result<Reply, Refusal> {
        self.ask(Action::Operate { target: RolloutRef::OfAlias(Machine::alias()), verb })
    }

    fn routing(&self) -> Routing {
        self.core.world.alias(&Machine::alias()).unwrap().alias.routing
    }

    /// The rollout that `status` shows.
    fn shown(&self) -> RolloutId {
        let target = RolloutRef::OfAlias(Machine::alias());
        target::find(&self.core.world, &|_| None, &target).unwrap().record.id
    }
}

#[test]
fn a_clock_that_was_set_back_changes_no_order() {
    for restarts in [false, true] {
        let dir = tempfile::tempdir().unwrap();
        let mut machine = Machine::boot(dir.path(), NOON);
        machine.publish(3);
        let first = machine.roll_out(2);
        machine.now_ms -= TEN_MINUTES;
        let second = machine.roll_out(3);
        if restarts {
            drop(machine);
            machine = Machine::boot(dir.path(), NOON - TEN_MINUTES);
        }
        assert_eq!(machine.shown(), second, "restarted: {restarts}");
        let filter = RolloutFilter { alias: Some(Machine::alias()), limit: 10, ..RolloutFilter::default() };
        let listed: Vec<RolloutId> =
            machine.store.reader.rollouts(&filter).unwrap().iter().map(|record| record.id).collect();
        assert_eq!(listed, [second, first], "newest first");
        machine.verb(Verb::Rollback { to: None }).unwrap();
        assert_eq!(machine.routing(), Routing::only(VersionNumber(2)), "restarted: {restarts}");
    }
}

#[test]
fn what_an_alias_means_survives_pruning() {
    let dir = tempfile::tempdir().unwrap();
    let mut machine = Machine::boot(dir.path(), NOON);
    machine.publish(3);
    let first = machine.roll_out(2);
    // A younger one that was cancelled before it began is no reason to forget the one that did.
    let plan = b"function: f\nalias: live\nanalysis: none\nsteps: [3%, 100%]\nwindows: {freeze: [{from: 2020-01-01, to: 2120-01-01}]}\n";
    let plan = Arc::new(read_plan("q", &Source::new("q.yaml", plan.to_vec()), None).unwrap());
    machine
        .ask(Action::Start {
            plan,
            to: Some(VersionNumber(3)),
            again: false,
            dry_run: false,
            trigger: Trigger::Person,
        })
        .unwrap();
    machine.verb(Verb::Abort).unwrap();
    let late = Timestamp(i64::MAX);
    let pruned = machine.store.writer.prune(late, late).recv().unwrap().unwrap();
    assert_eq!(pruned.rollouts, 1);
    drop(machine);
    let mut machine = Machine::boot(dir.path(), NOON);
    assert_eq!(machine.shown(), first);
    machine.verb(Verb::Rollback { to: None }).unwrap();
    assert_eq!(machine.routing(), Routing::only(VersionNumber(1)));
}

#[test]
fn an_alias_that_is_made_anew_has_had_no_rollout() {
    let dir = tempfile::tempdir().unwrap();
    let mut machine = Machine::boot(dir.path(), NOON);
    machine.publish(2);
    machine.roll_out(2);
    machine.ask(Action::DeleteAlias(Machine::alias())).unwrap();
    let (id, function_version) = (Machine::alias(), VersionNumber(1).into());
    let (additional, description) = (Vec::new(), String::new());
    machine.ask(Action::CreateAlias { id, function_version, additional, description }).unwrap();
    drop(machine);
    let machine = Machine::boot(dir.path(), NOON);
    let target = RolloutRef::OfAlias(Machine::alias());
    assert!(target::find(&machine.core.world, &|_| None, &target).is_err());
}
