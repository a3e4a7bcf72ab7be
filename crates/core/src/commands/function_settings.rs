//! What is kept beside a function's versions: tags, concurrency, and how events to it are handled.

use std::collections::BTreeMap;

use super::{Refusal, Reply};
use crate::journal::Happening;
use crate::lambda::alias::AliasId;
use crate::lambda::concurrency::{ACCOUNT_CONCURRENCY, EventInvoke, Provisioned, UNRESERVED_MIN};
use crate::lambda::function::Function;
use crate::model::arn::{FunctionName, FunctionRef, Qualifier, VersionId};
use crate::ports::Write;
use crate::world::World;
use crate::world::draft::{About, By, Draft, Touched};

/// What of it is to change.
#[derive(Clone, Debug)]
pub enum FunctionSettingsChange {
    /// Add tags, over those of the same name.
    Tag(BTreeMap<String, String>),
    /// Take tags away; one that is not there is no error.
    Untag(Vec<String>),
    /// Reserve concurrency; `None` takes the reservation back.
    Reserve(Option<u32>),
    /// Keep processes ready for a version or an alias; `None` ends that.
    Provision(Qualifier, Option<u32>),
    /// How events are handled.
    EventInvoke(Qualifier, EventInvokeChange),
}

/// What of the handling of events is to change.
#[derive(Clone, Debug)]
pub enum EventInvokeChange {
    /// All of it.
    Put(EventInvoke),
    /// What is given; the rest stays. There must be one.
    Update(EventInvoke),
    /// Back to the defaults. There must be one.
    Delete,
}

/// How many tags a function or a mapping may have.
pub(super) const TAGS_MAX: usize = 50;

pub(super) fn change(
    draft: &mut Draft<'_>,
    by: By<'_>,
    name: &FunctionName,
    upkeep: &FunctionSettingsChange,
) -> Result<Reply, Refusal> {
    let Some(state) = draft.world.function(name) else {
        return Err(Refusal::FunctionNotFound(name.clone(), None));
    };
    let mut function = state.function.clone();
    let (reply, words) = match upkeep {
        FunctionSettingsChange::Tag(tags) => {
            function.tags.extend(tags.clone());
            if function.tags.len() > TAGS_MAX {
                return Err(Refusal::Invalid("Number of tags exceeds resource tag limit.".to_owned()));
            }
            (Reply::Kept, format!("tagged {}", tags.keys().cloned().collect::<Vec<_>>().join(", ")))
        }
        FunctionSettingsChange::Untag(keys) => {
            keys.iter().for_each(|key| _ = function.tags.remove(key));
            (Reply::Kept, format!("removed the tags {}", keys.join(", ")))
        }
        FunctionSettingsChange::Reserve(executions) => {
            check_reservation(&draft.world, name, *executions)?;
            function.reserved_concurrency = *executions;
            let words = executions.map_or("no longer reserves concurrency".to_owned(), |executions| {
                format!("reserved a concurrency of {executions}")
            });
            (Reply::Kept, words)
        }
        FunctionSettingsChange::Provision(qualifier, None) => {
            check_exists(&draft.world, name, qualifier)?;
            function.provisioned.remove(&qualifier.to_string());
            (Reply::Kept, format!("no longer keeps processes ready for {qualifier}"))
        }
        FunctionSettingsChange::Provision(qualifier, Some(executions)) => {
            check_provisioned(&draft.world, &function, qualifier, *executions)?;
            let provisioned = Provisioned { executions: *executions, modified_at: draft.at.wall };
            function.provisioned.insert(qualifier.to_string(), provisioned.clone());
            (Reply::Provisioned(provisioned), format!("keeps {executions} processes ready for {qualifier}"))
        }
        FunctionSettingsChange::EventInvoke(qualifier, change) => {
            event_invoke(draft, &mut function, qualifier, change)?
        }
    };
    let about = About { function: name, alias: None, rollout: None };
    draft.journal(by, about, Happening::FunctionChanged { change: words }, None);
    if let Some(state) = draft.function_mut(name) {
        state.function = function.clone();
    }
    draft.write(Write::PutFunction(function));
    // Whoever runs it must hear how many of it may run.
    draft.touch(Touched::Function(name.clone()));
    Ok(reply)
}

/// What of the account's concurrency no function reserves, `except` one.
fn unreserved(world: &World, except: &FunctionName) -> u32 {
    let others = world.functions.values().filter(|state| state.function.name != *except);
    let reserved: u32 = others.filter_map(|state| state.function.reserved_concurrency).sum();
    ACCOUNT_CONCURRENCY.saturating_sub(reserved)
}

fn check_reservation(world: &World, name: &FunctionName, executions: Option<u32>) -> Result<(), Refusal> {
    let Some(executions) = executions else { return Ok(()) };
    if unreserved(world, name).saturating_sub(executions) < UNRESERVED_MIN {
        return Err(Refusal::ConcurrencyLimit(format!(
            "Specified ReservedConcurrentExecutions for function decreases account's UnreservedConcurrentExecution below \
             its minimum value of [{UNRESERVED_MIN}]."
        )));
    }
    let provisioned: u32 = world.function(name).map_or(0, |state| {
        state.function.provisioned.values().map(|provisioned| provisioned.executions).sum()
    });
    if provisioned > executions {
        return Err(Refusal::Invalid(format!(
            "ReservedConcurrentExecutions  {executions} should not be lower than function's total provisioned concurrency \
             [{provisioned}]."
        )));
    }
    Ok(())
}

fn check_exists(world: &World, name: &FunctionName, qualifier: &Qualifier) -> Result<(), Refusal> {
    let state = world.function(name).ok_or_else(|| Refusal::FunctionNotFound(name.clone(), None))?;
    match qualifier {
        Qualifier::Alias(alias) => {
            let id = AliasId { function: name.clone(), alias: alias.clone() };
            if world.alias(&id).is_some() { Ok(()) } else { Err(Refusal::AliasNotFound(id)) }
        }
        Qualifier::Version(version) if state.configuration(*version).is_some() => Ok(()),
        Qualifier::Version(version) => Err(Refusal::FunctionNotFound(name.clone(), Some(*version))),
    }
}

fn check_provisioned(
    world: &World,
    function: &Function,
    qualifier: &Qualifier,
    executions: u32,
) -> Result<(), Refusal> {
    check_exists(world, &function.name, qualifier)?;
    let unpublished =
        || "Provisioned Concurrency Configs cannot be applied to unpublished function versions.".to_owned();
    let version_of = |alias: &str| {
        let id = format!("{}:{alias}", function.name).parse::<AliasId>().ok()?;
        world.alias(&id).map(|state| state.alias.routing.function_version)
    };
    match qualifier {
        Qualifier::Version(VersionId::Latest) => return Err(Refusal::Invalid(unpublished())),
        Qualifier::Version(version) => {
            if function.provisioned.keys().any(|other| version_of(other) == Some(*version)) {
                let text = "Version is pointed by a Provisioned Concurrency alias";
                return Err(Refusal::Conflict(text.to_owned()));
            }
        }
        Qualifier::Alias(alias) => match version_of(alias.as_str()) {
            Some(VersionId::Number(number)) if function.provisioned.contains_key(&number.to_string()) => {
                let text = "Alias can't be used for Provisioned Concurrency configuration on an already Provisioned version";
                return Err(Refusal::Conflict(text.to_owned()));
            }
            Some(VersionId::Number(_)) => {}
            _ => return Err(Refusal::Invalid(unpublished())),
        },
    }
    let others = function.provisioned.iter().filter(|(other, _)| **other != qualifier.to_string());
    let total = others.map(|(_, provisioned)| provisioned.executions).sum::<u32>().saturating_add(executions);
    match function.reserved_concurrency {
        Some(reserved) if total > reserved => Err(Refusal::Invalid(
            "Requested Provisioned Concurrency should not be greater than the reservedConcurrentExecution for function"
                .to_owned(),
        )),
        Some(_) => Ok(()),
        None if total > unreserved(world, &function.name) => Err(Refusal::ConcurrencyLimit(format!(
            "Specified ConcurrentExecutions for function is greater than account's unreserved concurrency [{}].",
            unreserved(world, &function.name)
        ))),
        None if unreserved(world, &function.name) - total < UNRESERVED_MIN => Err(Refusal::ConcurrencyLimit(format!(
            "Specified ConcurrentExecutions for function decreases account's UnreservedConcurrentExecution below its \
             minimum value of [{UNRESERVED_MIN}]."
        ))),
        None => Ok(()),
    }
}

fn event_invoke(
    draft: &Draft<'_>,
    function: &mut Function,
    qualifier: &Qualifier,
    change: &EventInvokeChange,
) -> Result<(Reply, String), Refusal> {
    let key = qualifier.to_string();
    let absent = || Refusal::Absent(format!("function {}:{key} has no event invoke config", function.name));
    let next = match change {
        EventInvokeChange::Delete => {
            function.event_invoke.remove(&key).ok_or_else(absent)?;
            return Ok((Reply::Kept, format!("events to {key} are handled by the defaults again")));
        }
        EventInvokeChange::Put(asked) => {
            check_exists(&draft.world, &function.name, qualifier)?;
            asked.clone()
        }
        EventInvokeChange::Update(asked) => {
            let known = function.event_invoke.get(&key).cloned().ok_or_else(absent)?;
            EventInvoke {
                retries: asked.retries.or(known.retries),
                age_s_max: asked.age_s_max.or(known.age_s_max),
                on_success: asked.on_success.clone().or(known.on_success),
                on_failure: asked.on_failure.clone().or(known.on_failure),
                modified_at: known.modified_at,
            }
        }
    };
    for destination in [&next.on_success, &next.on_failure].into_iter().flatten() {
        check_destination(&draft.world, &function.name, destination)?;
    }
    let next = EventInvoke { modified_at: draft.at.wall, ..next };
    function.event_invoke.insert(key.clone(), next.clone());
    Ok((Reply::EventInvoke(next), format!("changed how events to {key} are handled")))
}

/// A function that hears of events must exist, and is another one.
fn check_destination(world: &World, function: &FunctionName, arn: &str) -> Result<(), Refusal> {
    if !arn.contains(":lambda:") {
        return Ok(());
    }
    let invalid = || Refusal::Invalid(format!("The destination ARN {arn} is invalid."));
    let to: FunctionRef = arn.parse().map_err(|_| invalid())?;
    if to.name == *function {
        let text = "You can't specify the function as a destination for itself.";
        return Err(Refusal::Invalid(text.to_owned()));
    }
    if world.function(&to.name).is_some() { Ok(()) } else { Err(invalid()) }
}
