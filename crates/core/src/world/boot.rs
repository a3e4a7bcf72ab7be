//! From what the store holds to a world and its evidence.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use crate::analysis::evidence::Evidence;
use crate::lambda::alias::Routing;
use crate::plan::Plan;
use crate::ports::Loaded;
use crate::rollout::{Rollout, RolloutId};
use crate::world::judge::Judge;
use crate::world::plans::reread_plan;
use crate::world::{AliasState, FunctionState, World};

/// Builds the world as it was committed; what does not add up is quarantined or left out, and said.
pub fn build(loaded: Loaded) -> (World, HashMap<RolloutId, Judge>, Vec<String>) {
    let mut problems = loaded.problems;
    let mut world = World::empty(&loaded.salt);
    world.seq = loaded.seq;
    world.last_id = loaded.last_rollout;
    for (name, last) in loaded.counted {
        world.counted.insert_mut(name, last);
    }
    for function in loaded.functions {
        let name = function.name.clone();
        let state = FunctionState { function, versions: BTreeMap::new(), policies: BTreeMap::new() };
        world.functions.insert_mut(name, Arc::new(state));
    }
    for version in loaded.versions {
        if let Some(state) = world.functions.get_mut(&version.function) {
            Arc::make_mut(state).versions.insert(version.number, Arc::new(version));
        }
    }
    for (scope, policy) in loaded.policies {
        if let Some(state) = world.functions.get_mut(&policy.function) {
            Arc::make_mut(state).policies.insert(scope, policy);
        }
    }
    for stored in loaded.aliases {
        let state = AliasState {
            previous_stable: stored.previous_stable,
            remembered: BTreeMap::new(),
            active: None,
            pending: Vec::new(),
            last: None,
            watch: None,
            quarantine: stored.quarantine,
            alias: stored.alias,
        };
        world.aliases.insert_mut(state.alias.id.clone(), Arc::new(state));
    }
    for source in loaded.event_sources {
        world.event_sources.insert_mut(source.id, Arc::new(source));
    }
    for (id, version, ending) in loaded.remembered {
        if let Some(state) = world.aliases.get_mut(&id) {
            Arc::make_mut(state).remembered.insert(version, ending);
        }
    }
    for (id, watch) in loaded.watches {
        if let Some(state) = world.aliases.get_mut(&id) {
            Arc::make_mut(state).watch = Some(Arc::new(watch));
        }
    }
    quarantine_without_versions(&mut world, &mut problems);
    world.is_partial = loaded.is_damaged;
    let mut judges = HashMap::new();
    let mut plans: HashMap<String, Arc<Plan>> = HashMap::new();
    for stored in loaded.rollouts {
        let alias = stored.record.alias.clone();
        let plan = match plans.get(&stored.plan.digest) {
            Some(plan) => Arc::clone(plan),
            None => match reread_plan(&stored.plan) {
                Ok(read) => Arc::clone(plans.entry(stored.plan.digest.clone()).or_insert(read.plan)),
                Err(why) => {
                    let why = format!(
                        "rollout {} of {alias}: its pinned plan cannot be read: {why}",
                        stored.record.id
                    );
                    if !stored.record.phase.is_final() {
                        quarantine(&mut world, &alias, &why);
                    }
                    problems.push(why);
                    continue;
                }
            },
        };
        let mut rollout = Rollout { plan, record: stored.record };
        rollout.record.rebase(loaded.uptime);
        file(&mut world, &rollout);
        if rollout.record.phase.is_active() {
            let evidence = fuller(stored.evidence, loaded.aside.get(&rollout.record.id));
            match Judge::resume(&rollout, evidence.as_deref(), loaded.uptime) {
                Ok(judge) => {
                    judges.insert(rollout.record.id, judge);
                }
                Err(why) => {
                    let why = format!(
                        "rollout {} of {alias}: its evidence cannot be read: {why}",
                        rollout.record.id
                    );
                    quarantine(&mut world, &alias, &why);
                    problems.push(why);
                }
            }
        }
        world.rollouts.insert_mut(rollout.record.id, Arc::new(rollout));
    }
    (world, judges, problems)
}

/// Of what the store took of a rollout's evidence and what was kept aside because it did not, whichever knows of more
/// requests.
fn fuller(stored: Option<String>, aside: Option<&String>) -> Option<String> {
    let known =
        |text: &str| serde_json::from_str::<Evidence>(text).ok().map(|evidence| evidence.exposure.requests);
    match aside.filter(|aside| known(aside) > stored.as_deref().and_then(known)) {
        Some(aside) => Some(aside.clone()),
        None => stored,
    }
}

fn file(world: &mut World, rollout: &Rollout) {
    let record = &rollout.record;
    let Some(state) = world.aliases.get_mut(&record.alias) else { return };
    let state = Arc::make_mut(state);
    if record.phase.is_active() {
        state.active = Some(record.id);
    } else if !record.phase.is_final() {
        state.pending.push(record.id);
    }
    // The store hands over one of those that began and ended, if there is one; what moves the alias began later.
    if record.phase.is_active() || (record.phase.is_final() && state.active.is_none()) {
        state.last = Some(record.id);
    }
    if !record.phase.is_final() {
        world.live.insert_mut(record.id);
    }
}

/// Aliases whose versions are not there: at their stable version, which the router may know from before.
fn quarantine_without_versions(world: &mut World, problems: &mut Vec<String>) {
    let mut lacking = Vec::new();
    for (id, state) in &world.aliases {
        let routing = state.alias.routing;
        let named = std::iter::once(routing.function_version)
            .chain(routing.additional.map(|additional| additional.version.into()));
        let function = world.function(&id.function);
        let missing = named
            .into_iter()
            .find(|version| function.is_none_or(|function| function.configuration(*version).is_none()));
        if let Some(version) = missing {
            let why = format!("alias {id} names version {version}, which cannot be read");
            lacking.push((id.clone(), why));
        }
    }
    for (id, why) in lacking {
        quarantine(world, &id, &why);
        problems.push(why);
    }
}

fn quarantine(world: &mut World, id: &crate::lambda::alias::AliasId, why: &str) {
    if let Some(state) = world.aliases.get_mut(id) {
        let state = Arc::make_mut(state);
        state.alias.routing = Routing::only(state.alias.routing.function_version);
        state.quarantine.get_or_insert(why.to_owned());
    }
}
