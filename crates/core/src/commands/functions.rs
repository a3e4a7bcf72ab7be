//! Functions and versions: publishing and deleting.

use std::collections::BTreeMap;
use std::sync::Arc;

use uuid::Uuid;

use super::start::{self, Trigger};
use super::{Refusal, Reply};
use crate::journal::Happening;
use crate::lambda::alias::AliasId;
use crate::lambda::function::{Configuration, Function, Version};
use crate::lambda::policy::PolicyScope;
use crate::model::arn::{FunctionName, VersionNumber};
use crate::plan;
use crate::ports::Write;
use crate::world::FunctionState;
use crate::world::draft::{About, By, Draft, Touched};

/// Publishes a version; the newest again if nothing changed since and nobody insists on a new one.
pub(super) fn publish(
    draft: &mut Draft<'_>,
    by: By<'_>,
    name: &FunctionName,
    configuration: &Configuration,
    force_new: bool,
    fresh: Uuid,
) -> Result<Reply, Refusal> {
    if configuration.description.chars().count() > 256 {
        return Err(Refusal::Invalid("a description has at most 256 characters".to_owned()));
    }
    let mut configuration = configuration.clone();
    if let Some(state) = draft.world.function(name) {
        let latest = &state.function.latest;
        if latest.target.process().is_some() {
            return Err(Refusal::Invalid(format!(
                "function {name} runs from a zip ({}); publish its next version as `aws lambda update-function-code` does, \
                 or publish the service under another name",
                latest.target
            )));
        }
        // Whoever publishes a URL cannot name these, and so does not take them away.
        configuration.settings = latest.settings.clone();
    }
    let configuration = &configuration;
    let known = draft.world.function(name).and_then(|state| state.newest()).cloned();
    if let Some(newest) = known.filter(|newest| !force_new && is_same(&newest.configuration, configuration)) {
        return Ok(Reply::Published {
            function: name.clone(),
            version: newest.number,
            created: false,
            rollouts: Vec::new(),
        });
    }
    if draft.world.function(name).is_none() {
        create(draft, by, name, configuration);
    }
    let number = append_version(draft, by, name, configuration, configuration.clone())?;
    let rollouts = start_published(draft, name, number, fresh);
    Ok(Reply::Published { function: name.clone(), version: number, created: true, rollouts })
}

/// Whether publishing would make the same version again: the commit and the description are only words about it.
fn is_same(one: &Configuration, other: &Configuration) -> bool {
    (&one.target, &one.role, &one.dead_letter, &one.settings)
        == (&other.target, &other.role, &other.dead_letter, &other.settings)
}

/// What a function of the name had counted its versions to before it was deleted, as AWS counts on.
pub(super) fn counted(draft: &Draft<'_>, name: &FunctionName) -> u64 {
    draft.world.counted.get(name).copied().unwrap_or(0)
}

fn create(draft: &mut Draft<'_>, by: By<'_>, name: &FunctionName, configuration: &Configuration) {
    let about = About { function: name, alias: None, rollout: None };
    let revision = draft.journal(by, about, Happening::FunctionCreated, None);
    let mut function = Function::new(name.clone(), configuration.clone(), revision, draft.at.wall);
    function.last_version = counted(draft, name);
    let state = FunctionState { function, versions: BTreeMap::new(), policies: BTreeMap::new() };
    draft.world.functions.insert_mut(name.clone(), Arc::new(state));
}

/// Freezes a configuration as the next version, and makes `latest` what is published after it.
pub(super) fn append_version(
    draft: &mut Draft<'_>,
    by: By<'_>,
    name: &FunctionName,
    configuration: &Configuration,
    latest: Configuration,
) -> Result<VersionNumber, Refusal> {
    let at = draft.at.wall;
    let last = draft.world.function(name).map_or(0, |state| state.function.last_version);
    let number = VersionNumber(last + 1);
    let what = Happening::VersionPublished {
        version: number,
        target: configuration.target.to_string(),
        commit: configuration.commit.clone(),
    };
    let about = About { function: name, alias: None, rollout: None };
    let revision = draft.journal(by, about, what, None);
    let version = Version {
        function: name.clone(),
        number,
        configuration: configuration.clone(),
        revision,
        published_at: at,
    };
    let state = draft.function_mut(name).ok_or_else(|| Refusal::FunctionNotFound(name.clone(), None))?;
    state.function.latest = latest;
    state.function.published_as = Some(number);
    state.function.revision = revision;
    state.function.modified_at = at;
    state.function.last_version = number.0;
    state.versions.insert(number, Arc::new(version.clone()));
    let function = state.function.clone();
    draft.write(Write::PutFunction(function));
    draft.write(Write::PutVersion(version));
    draft.touch(Touched::Version(name.clone(), number));
    touch_latest(draft, name);
    Ok(number)
}

/// Says that the router must hear of a function's `$LATEST`.
pub(super) fn touch_latest(draft: &mut Draft<'_>, name: &FunctionName) {
    draft.touch(Touched::Function(name.clone()));
    // An alias on $LATEST runs what was just published.
    let on_latest: Vec<AliasId> = draft
        .world
        .aliases_of(name)
        .filter(|state| state.alias.routing.function_version.number().is_none())
        .map(|state| state.alias.id.clone())
        .collect();
    on_latest.into_iter().for_each(|id| draft.touch(Touched::Alias(id)));
}

/// Starts the rollouts of plans that say `start: onPublish`; a plan that cannot start now keeps nobody from publishing.
pub(super) fn start_published(
    draft: &mut Draft<'_>,
    name: &FunctionName,
    number: VersionNumber,
    fresh: Uuid,
) -> Vec<crate::rollout::RolloutId> {
    let plans = draft.context.book.started_by(|start| matches!(start, plan::Start::OnPublish));
    let of_function = plans.into_iter().filter(|read| read.plan.target.function == *name);
    let mut started = Vec::new();
    for (index, read) in of_function.enumerate() {
        let trigger = Trigger::OnPublish { version: number };
        let id = super::follow::derived_id(fresh, index as u64);
        if let Some(id) = start::start_by_trigger(draft, &read, Some(number), &trigger, id) {
            started.push(id);
        }
    }
    started
}

/// Deletes a function with everything under its name, unless a rollout is moving one of its aliases.
pub(super) fn delete(draft: &mut Draft<'_>, by: By<'_>, name: &FunctionName) -> Result<Reply, Refusal> {
    let Some(state) = draft.world.function(name).cloned() else {
        return Err(Refusal::FunctionNotFound(name.clone(), None));
    };
    let aliases: Vec<AliasId> = draft.world.aliases_of(name).map(|state| state.alias.id.clone()).collect();
    for id in &aliases {
        if let Some(rollout) = draft.world.live_rollouts_of(id).first() {
            return Err(Refusal::Busy(format!(
                "function {name} has a rollout under way on {id} ({}); `serin abort {id}` first",
                rollout.record.id.short()
            )));
        }
    }
    for id in &aliases {
        super::aliases::remove(draft, by, id);
    }
    for scope in state.policies.keys() {
        if !matches!(scope, PolicyScope::Alias(_)) {
            draft.touch(Touched::Policy(name.clone(), scope.clone()));
            draft.write(Write::DeletePolicy(name.clone(), scope.clone()));
        }
    }
    for number in state.versions.keys() {
        draft.write(Write::DeleteVersion(name.clone(), *number));
        draft.touch(Touched::Version(name.clone(), *number));
    }
    let last_version = state.function.last_version;
    draft.write(Write::DeleteFunction { name: name.clone(), last_version });
    draft.world.counted.insert_mut(name.clone(), last_version);
    draft.world.functions.remove_mut(name);
    draft.touch(Touched::Function(name.clone()));
    let about = About { function: name, alias: None, rollout: None };
    draft.journal(by, about, Happening::FunctionDeleted, None);
    Ok(Reply::Deleted { existed: true })
}

/// Deletes a version that nobody needs; one that is not there is no error, as with AWS.
pub(super) fn delete_version(
    draft: &mut Draft<'_>,
    by: By<'_>,
    name: &FunctionName,
    number: VersionNumber,
) -> Result<Reply, Refusal> {
    let Some(state) = draft.world.function(name) else {
        return Err(Refusal::FunctionNotFound(name.clone(), None));
    };
    if !state.versions.contains_key(&number) {
        return Ok(Reply::Deleted { existed: false });
    }
    if let Some(user) = draft.world.user_of(name, number) {
        return Err(Refusal::InUse(user));
    }
    let scope = PolicyScope::Version(number);
    if let Some(state) = draft.function_mut(name) {
        state.versions.remove(&number);
        super::forget_qualifier(&mut state.function, &number.to_string());
        let function = state.function.clone();
        let had_policy = state.policies.remove(&scope).is_some();
        draft.write(Write::PutFunction(function));
        if had_policy {
            draft.touch(Touched::Policy(name.clone(), scope.clone()));
            draft.write(Write::DeletePolicy(name.clone(), scope));
        }
    }
    draft.write(Write::DeleteVersion(name.clone(), number));
    draft.touch(Touched::Version(name.clone(), number));
    let about = About { function: name, alias: None, rollout: None };
    draft.journal(by, about, Happening::VersionDeleted { version: number }, None);
    Ok(Reply::Deleted { existed: true })
}
