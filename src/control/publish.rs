//! What the router hears of a changed world.

use std::sync::Arc;

use crate::router::table::{Edit, FAILURE_STATUS_DEFAULT, RouteSpec, SteeringSpec};
use serin_core::lambda::alias::{AliasId, Routing};
use serin_core::lambda::function::{Revision, Target};
use serin_core::model::arn::{FunctionName, VersionId};
use serin_core::model::weight::Weight;
use serin_core::plan::{RoutingOptions, Tunnels};
use serin_core::rollout::{Phase, Rollout};
use serin_core::world::draft::Touched;
use serin_core::world::{AliasState, World};

/// The edits that make the router's table say what the world says.
pub(super) fn edits<'a>(world: &'a World, touched: impl IntoIterator<Item = &'a Touched>) -> Vec<Edit> {
    let mut edits = Vec::new();
    for touched in touched {
        edits.push(edit(world, touched));
        edits.extend(match touched {
            Touched::Function(name) => concurrency(world, name),
            // What is kept ready for an alias is of the version that it names now.
            Touched::Alias(id) => concurrency(world, &id.function),
            Touched::Version(..) | Touched::Policy(..) => None,
        });
    }
    edits
}

/// The edits that make an empty table say what the world says.
pub(super) fn whole_table(world: &World) -> Vec<Edit> {
    let mut everything = Vec::new();
    for (name, state) in &world.functions {
        everything.push(edit(world, &Touched::Function(name.clone())));
        everything.extend(concurrency(world, name));
        for number in state.versions.keys() {
            everything.push(edit(world, &Touched::Version(name.clone(), *number)));
        }
        for scope in state.policies.keys() {
            everything.push(edit(world, &Touched::Policy(name.clone(), scope.clone())));
        }
    }
    everything.extend(world.aliases.keys().map(|id| edit(world, &Touched::Alias(id.clone()))));
    everything
}

/// Of the edits of a table that was served before, those of what the world does not tell of.
pub(super) fn missing(world: &World, last: Vec<Edit>) -> Vec<Edit> {
    let knows = |name: &FunctionName| world.function(name).is_some();
    let is_missing = |edit: &Edit| match edit {
        Edit::Alias(before) => {
            let told = world.alias(&before.alias).and_then(|state| spec(world, state, state.alias.routing));
            told.is_none()
        }
        Edit::Version { function, number, .. } => {
            !world.function(function).is_some_and(|state| state.versions.contains_key(number))
        }
        Edit::Function { name: function, .. }
        | Edit::Concurrency { function, .. }
        | Edit::Policy { function, .. } => !knows(function),
        Edit::RemoveAlias(_) | Edit::RemoveVersion { .. } | Edit::RemoveFunction(_) => false,
    };
    last.into_iter().filter(is_missing).collect()
}

fn edit(world: &World, touched: &Touched) -> Edit {
    match touched {
        Touched::Function(name) => match world.function(name) {
            Some(state) => {
                Edit::Function { name: name.clone(), latest: state.function.latest.target.clone() }
            }
            None => Edit::RemoveFunction(name.clone()),
        },
        Touched::Version(name, number) => {
            match world.function(name).and_then(|state| state.versions.get(number)) {
                Some(version) => Edit::Version {
                    function: name.clone(),
                    number: *number,
                    target: version.configuration.target.clone(),
                },
                None => Edit::RemoveVersion { function: name.clone(), number: *number },
            }
        }
        Touched::Policy(name, scope) => {
            let policy = world.function(name).and_then(|state| state.policies.get(scope));
            let statements = policy.map(|policy| policy.statements.clone()).unwrap_or_default();
            Edit::Policy { function: name.clone(), scope: scope.clone(), statements }
        }
        Touched::Alias(id) => {
            let spec = world.alias(id).and_then(|state| spec(world, state, state.alias.routing));
            spec.map_or_else(|| Edit::RemoveAlias(id.clone()), |spec| Edit::Alias(Box::new(spec)))
        }
    }
}

/// How many invocations of a function from a zip may run, and how many of its processes are kept ready.
fn concurrency(world: &World, name: &FunctionName) -> Option<Edit> {
    let state = world.function(name)?;
    state.function.latest.target.process()?;
    let version_of = |qualifier: &str| {
        let alias = || world.aliases_of(name).find(|state| state.alias.id.alias.as_str() == qualifier);
        let named: Option<VersionId> = qualifier.parse().ok();
        named.or_else(|| Some(alias()?.alias.routing.function_version))
    };
    let kept = state.function.provisioned.iter().filter_map(|(qualifier, provisioned)| {
        let version = version_of(qualifier)?;
        let target = state.configuration(version)?.target.process()?;
        Some((version, Arc::clone(target), provisioned.executions))
    });
    let (function, reserved) = (name.clone(), state.function.reserved_concurrency);
    Some(Edit::Concurrency { function, reserved, provisioned: kept.collect() })
}

/// An alias with its canary taken out, for as long as that cannot be committed; `None` where no canary is in it.
pub(super) fn overlay(world: &World, id: &AliasId) -> Option<Edit> {
    let state = world.alias(id)?;
    let record = &world.rollout(state.active?)?.record;
    let routing = state.alias.routing;
    let without = routing.without(record.canary, record.stable);
    if without == routing {
        return None;
    }
    spec(world, state, without).map(|spec| Edit::Alias(Box::new(spec)))
}

fn spec(world: &World, state: &AliasState, routing: Routing) -> Option<RouteSpec> {
    let id = &state.alias.id;
    let function = world.function(&id.function)?;
    let target = |version| -> Option<Target> { Some(function.configuration(version)?.target.clone()) };
    let active = state.active.and_then(|active| world.rollout(active));
    // These are about how the service is used, which is no other once a rollout has ended.
    let in_force = active.or_else(|| world.rollout(state.last?).filter(|last| last.record.has_begun()));
    let analysis = active.and_then(|rollout| rollout.plan.analysis.as_ref());
    Some(RouteSpec {
        alias: id.clone(),
        epoch: Revision(state.alias.revision.0),
        routing,
        primary: target(routing.function_version)?,
        additional: routing.additional.and_then(|additional| target(additional.version.into())),
        failure_status: analysis
            .map_or_else(|| vec![FAILURE_STATUS_DEFAULT], |analysis| analysis.failure_status.clone()),
        canary: active.map(|rollout| rollout.record.canary),
        steering: active.and_then(|rollout| steering(rollout, routing, target)),
        close_tunnels: in_force.and_then(|rollout| match rollout.plan.tunnels {
            Tunnels::Leave => None,
            Tunnels::Close(within) => Some(within),
        }),
        timeouts: in_force.map(|rollout| rollout.plan.timeouts).unwrap_or_default(),
    })
}

/// What a rollout's plan wants requests to go by beside the weights.
fn steering(
    rollout: &Arc<Rollout>,
    routing: Routing,
    target: impl Fn(VersionId) -> Option<Target>,
) -> Option<Box<SteeringSpec>> {
    let RoutingOptions { affinity, override_header, mirror: _ } = &rollout.plan.routing;
    let record = &rollout.record;
    let is_between_the_two = routing.function_version == VersionId::Number(record.stable)
        && routing.additional.is_some_and(|additional| additional.version == record.canary);
    // Where another hand put another version in, a copy would prove something of that one.
    let mirror = rollout.plan.mirror_at(routing.share_of(record.canary)).filter(|_| is_between_the_two);
    let baseline = rollout.plan.baseline().filter(|_| is_between_the_two);
    if affinity.is_none() && override_header.is_none() && mirror.is_none() && baseline.is_none() {
        return None;
    }
    let (affinity, override_header) = (affinity.clone(), override_header.clone());
    // Testers may name the canary from the rollout's start, which is before its first weight where other steps come first.
    let is_ahead = override_header.is_some()
        && matches!(record.phase, Phase::Progressing | Phase::Paused(_))
        && record.planned == Weight::ZERO
        && routing == Routing::only(record.stable);
    let ahead =
        if is_ahead { target(record.canary.into()).map(|target| (record.canary, target)) } else { None };
    let (key, counts_users) = (record.id.0.into_bytes(), record.by_users);
    Some(Box::new(SteeringSpec { key, affinity, override_header, ahead, mirror, counts_users, baseline }))
}
