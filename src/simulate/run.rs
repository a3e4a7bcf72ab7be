//! One rollout from its start to its end, or to the end of patience.

use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use rand::rngs::SmallRng;
use uuid::Uuid;

use super::traffic::{Traffic, ticket};
use crate::chance;
use crate::control::core::{Core, Outside};
use crate::control::door::{Action, Command, Reply, Trigger};
use crate::control::draft::Finished;
use crate::control::judge::EpochTally;
use crate::control::plans::{PlanBook, ReadPlan};
use crate::control::world::World;
use crate::domain::actor::Actor;
use crate::domain::alias::{AliasId, Routing};
use crate::domain::analysis::Counts;
use crate::domain::arn::{VersionId, VersionNumber};
use crate::domain::function::{Configuration, DEFAULT_ROLE, Target};
use crate::domain::rollout::{Rollout, RolloutId};
use crate::domain::time::{Moment, Timestamp, Uptime};

/// Counters are looked at this often, as in the daemon.
const LOOK_EVERY_US: u64 = 100_000;
const STABLE: VersionNumber = VersionNumber(1);
const CANARY: VersionNumber = VersionNumber(2);

/// What became of one rollout.
#[derive(Clone, Debug, PartialEq)]
pub struct Run {
    /// The phase it ended in, or was in when patience ended.
    pub phase: &'static str,
    /// How long it took.
    pub elapsed: Duration,
    /// Requests of both versions.
    pub requests: u64,
    /// Requests the canary got by weight.
    pub canary_requests: u64,
    /// Of these, the ones that failed, known or not when it ended.
    pub canary_failures: u64,
    /// When each weight was committed, as parts per million.
    pub weights: Vec<(Duration, u32)>,
}

/// Runs a plan once over made-up traffic until it ends, at most for `until`; same seed, same run.
pub fn run(plan: &Arc<ReadPlan>, traffic: &Traffic, until: Duration, seed: u64) -> Run {
    let mut simulation = Simulation::start(plan, traffic, seed);
    simulation.go(until)
}

/// Half past nine on a Monday, when windows tend to be open.
const BEGINNING: Moment = Moment { wall: Timestamp(1_767_605_400_000), up: Uptime(0) };

struct Simulation<'a> {
    core: Core,
    book: PlanBook,
    alias: AliasId,
    rollout: RolloutId,
    traffic: &'a Traffic,
    chance: SmallRng,
    now_us: u64,
    /// One tally for each revision the alias has had, oldest first.
    tallies: Vec<EpochTally>,
    /// Failures that happened and are not known yet: when, in which tally, of the canary or not.
    unknown: BinaryHeap<Reverse<(u64, usize, bool)>>,
    moved: bool,
    outcome: Run,
}

impl<'a> Simulation<'a> {
    fn start(plan: &Arc<ReadPlan>, traffic: &'a Traffic, seed: u64) -> Simulation<'a> {
        let alias = plan.plan.target.clone();
        let mut simulation = Simulation {
            core: Core::new(World::empty("simulation"), HashMap::new()),
            book: PlanBook::default(),
            rollout: RolloutId(Uuid::from_u128(3)),
            traffic,
            chance: chance::seeded(seed),
            now_us: 0,
            tallies: Vec::new(),
            unknown: BinaryHeap::new(),
            moved: false,
            outcome: Run {
                phase: "Pending",
                elapsed: Duration::ZERO,
                requests: 0,
                canary_requests: 0,
                canary_failures: 0,
                weights: Vec::new(),
            },
            alias: alias.clone(),
        };
        let publish = |port: u16| Action::Publish {
            function: alias.function.clone(),
            configuration: Configuration {
                target: Target::Http {
                    url: format!("http://127.0.0.1:{port}").parse().expect("a loopback address is a URL"),
                },
                role: DEFAULT_ROLE.to_owned(),
                dead_letter: None,
                description: String::new(),
                commit: None,
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
        BEGINNING.plus(Duration::from_micros(self.now_us))
    }

    fn command(&mut self, action: Action) {
        let command =
            Command { actor: Actor::daemon(), reason: None, key: None, fresh: self.rollout.0, action };
        let at = self.now();
        let (core, book) = (&self.core, &self.book);
        let round = outside(core, book, |outside| core.round(at, &[command], &BTreeSet::new(), outside));
        if let Some(Ok(Reply::Rollout { id, .. })) = round.answers.first() {
            self.rollout = *id;
        }
        self.absorb(round.finished);
    }

    /// Applies whatever is due, and what that leads to, as the daemon's turns do.
    fn settle(&mut self) {
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
            replied: &|_| Ok(None),
        };
        self.core.absorb(finished, at, &outside);
        let Some(state) = self.core.world.alias(&self.alias) else { return };
        let (epoch, routing) = (state.alias.revision, state.alias.routing);
        if self.tallies.last().is_none_or(|last| last.epoch != epoch) {
            let ppm = routing.share_of(CANARY).ppm();
            self.outcome.weights.push((Duration::from_micros(self.now_us), ppm));
            let none = Counts::default();
            self.tallies.push(EpochTally { epoch, routing, primary: none, additional: none });
        }
    }

    fn rollout(&self) -> Option<&Arc<Rollout>> {
        self.core.world.rollout(self.rollout)
    }

    fn go(&mut self, until: Duration) -> Run {
        let end_us = until.as_micros() as u64;
        let mut arrival_us = self.next_arrival();
        let mut look_us = LOOK_EVERY_US;
        while self.rollout().is_some_and(|rollout| !rollout.record.phase.is_final()) {
            let deadline = self.core.next_deadline().0.map(|up| up.0.saturating_sub(BEGINNING.up.0) * 1000);
            let wall = self.core.next_deadline().1;
            let opening = wall.map(|wall| wall.since(BEGINNING.wall).as_micros() as u64);
            let known = self.unknown.peek().map(|Reverse((known_us, ..))| *known_us);
            let look = self.moved.then_some(look_us);
            let soonest = [arrival_us, deadline, opening, known, look].into_iter().flatten().min();
            let Some(next_us) = soonest.filter(|next_us| *next_us < end_us) else {
                self.now_us = end_us;
                break;
            };
            self.now_us = self.now_us.max(next_us);
            if arrival_us == Some(next_us) {
                self.arrive();
                arrival_us = self.next_arrival();
            } else if known == Some(next_us) {
                self.learn();
            } else if look == Some(next_us) {
                self.look();
            } else {
                self.settle();
                self.refresh_deadlines();
            }
            if self.now_us >= look_us {
                look_us = self.now_us - self.now_us % LOOK_EVERY_US + LOOK_EVERY_US;
            }
        }
        let mut outcome = self.outcome.clone();
        outcome.elapsed = Duration::from_micros(self.now_us);
        outcome.phase = self.rollout().map_or("none", |rollout| rollout.record.phase.name());
        outcome
    }

    fn next_arrival(&mut self) -> Option<u64> {
        Some(self.now_us + self.traffic.gap_us(&mut self.chance)?)
    }

    fn arrive(&mut self) {
        self.moved = true;
        self.outcome.requests += 1;
        let index = self.tallies.len() - 1;
        let tally = &mut self.tallies[index];
        let to_canary = draws_canary(tally.routing, ticket(&mut self.chance));
        let counts = if tally.routing.additional.is_some() && to_canary {
            &mut tally.additional
        } else {
            &mut tally.primary
        };
        counts.requests += 1;
        let arm = if to_canary { &self.traffic.canary } else { &self.traffic.stable };
        let fails = arm.fails(&mut self.chance);
        if to_canary {
            self.outcome.canary_requests += 1;
            self.outcome.canary_failures += u64::from(fails);
        }
        if fails {
            let known_us = self.now_us + arm.latency_us(&mut self.chance);
            self.unknown.push(Reverse((known_us, index, to_canary)));
        }
    }

    fn learn(&mut self) {
        let Some(Reverse((_, index, of_canary))) = self.unknown.pop() else { return };
        let tally = &mut self.tallies[index];
        let counts = if tally.routing.additional.is_some() && of_canary {
            &mut tally.additional
        } else {
            &mut tally.primary
        };
        counts.failures += 1;
        self.moved = true;
        if of_canary {
            // A canary failure raises the alarm: it is judged at once.
            self.look();
        }
    }

    fn look(&mut self) {
        self.moved = false;
        let up = self.now().up;
        let tallies = &self.tallies;
        self.core.observe(&self.alias, up, |out| out.extend_from_slice(tallies));
        if self.is_due() {
            self.settle();
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
            replied: &|_| Ok(None),
        };
        self.core.reset_deadlines(&self.alias, at, &outside);
    }
}

fn serving_in(world: &World, id: &AliasId) -> Option<crate::domain::function::Revision> {
    world.alias(id).map(|state| state.alias.revision)
}

fn outside<T>(core: &Core, book: &PlanBook, ask: impl FnOnce(&Outside<'_>) -> T) -> T {
    ask(&Outside {
        book,
        serving: &|id| serving_in(&core.world, id),
        pinned: &|_| None,
        past: &|_| None,
        replied: &|_| Ok(None),
    })
}

/// Draws a version as the router does.
fn draws_canary(routing: Routing, ticket: u64) -> bool {
    match routing.additional {
        Some(additional) => additional.weight.draws(ticket),
        None => routing.function_version == VersionId::Number(CANARY),
    }
}
