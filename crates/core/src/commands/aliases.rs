//! Aliases: made, changed and deleted by people and by Lambda clients.

use std::collections::BTreeMap;
use std::sync::Arc;

use uuid::Uuid;

use super::{Refusal, Reply, follow, settle, watching};
use crate::journal::Happening;
use crate::lambda::alias::{AdditionalVersion, Alias, AliasId, Routing};
use crate::lambda::policy::PolicyScope;
use crate::model::arn::VersionId;
use crate::ports::Write;
use crate::world::draft::{About, By, Draft, Touched};
use crate::world::{AliasState, RevisionOf};

/// What of an alias is to change; `None` stays.
pub(super) struct Update<'a> {
    pub function_version: Option<VersionId>,
    pub additional: Option<&'a [AdditionalVersion]>,
    pub description: Option<&'a str>,
    pub revision_id: Option<&'a str>,
}

fn check_description(text: &str) -> Result<(), Refusal> {
    if text.chars().count() > 256 {
        return Err(Refusal::Invalid("a description has at most 256 characters".to_owned()));
    }
    Ok(())
}

fn checked(
    draft: &Draft<'_>,
    id: &AliasId,
    function_version: VersionId,
    additional: &[AdditionalVersion],
) -> Result<Routing, Refusal> {
    let state = draft
        .world
        .function(&id.function)
        .ok_or_else(|| Refusal::FunctionNotFound(id.function.clone(), Some(function_version)))?;
    Routing::checked(function_version, additional, |version| state.configuration(version))
        .map_err(|fault| Refusal::Routing(id.clone(), fault))
}

pub(super) fn create(
    draft: &mut Draft<'_>,
    by: By<'_>,
    id: &AliasId,
    function_version: VersionId,
    additional: &[AdditionalVersion],
    description: &str,
    fresh: Uuid,
) -> Result<Reply, Refusal> {
    check_description(description)?;
    if draft.world.function(&id.function).is_none() {
        return Err(Refusal::FunctionNotFound(id.function.clone(), Some(function_version)));
    }
    if draft.world.alias(id).is_some() {
        return Err(Refusal::AliasExists(id.clone()));
    }
    let routing = checked(draft, id, function_version, additional)?;
    let alias = Alias {
        id: id.clone(),
        routing,
        description: description.to_owned(),
        revision: draft.next_seq(),
        updated_at: draft.at.wall,
    };
    let about = About { function: &id.function, alias: Some(id), rollout: None };
    draft.journal(by, about, Happening::AliasCreated, Some(alias.clone()));
    draft.write(Write::PutAlias { alias: alias.clone(), previous_stable: None, expected: None });
    draft.world.aliases.insert_mut(
        id.clone(),
        Arc::new(AliasState {
            alias: alias.clone(),
            previous_stable: None,
            remembered: BTreeMap::new(),
            active: None,
            pending: Vec::new(),
            last: None,
            watch: None,
            quarantine: None,
        }),
    );
    draft.touch(Touched::Alias(id.clone()));
    follow::alias_changed(draft, id, fresh);
    Ok(reply(draft, alias))
}

fn reply(draft: &Draft<'_>, alias: Alias) -> Reply {
    let revision_id = draft.world.revision_id(RevisionOf::Alias, alias.revision);
    Reply::Alias { alias, revision_id }
}

pub(super) fn update(
    draft: &mut Draft<'_>,
    by: By<'_>,
    id: &AliasId,
    update: &Update<'_>,
    fresh: Uuid,
) -> Result<Reply, Refusal> {
    update.description.map(check_description).transpose()?;
    let state = draft.world.alias(id).cloned().ok_or_else(|| Refusal::AliasNotFound(id.clone()))?;
    if let Some(why) = &state.quarantine {
        return Err(Refusal::Quarantined(why.clone()));
    }
    let latest = draft.world.revision_id(RevisionOf::Alias, state.alias.revision);
    if update.revision_id.is_some_and(|asked| asked != latest) {
        return Err(Refusal::RevisionMismatch { what: format!("alias {id}"), latest });
    }
    let function_version = update.function_version.unwrap_or(state.alias.routing.function_version);
    let kept: Vec<AdditionalVersion> = state.alias.routing.additional.into_iter().collect();
    let routing = checked(draft, id, function_version, update.additional.unwrap_or(&kept))?;
    let (from, expected) = (state.alias.routing, state.alias.revision);
    let alias = Alias {
        id: id.clone(),
        routing,
        description: update.description.unwrap_or(&state.alias.description).to_owned(),
        revision: draft.next_seq(),
        updated_at: draft.at.wall,
    };
    let about = About { function: &id.function, alias: Some(id), rollout: None };
    draft.journal(by, about, Happening::AliasUpdated { from, to: routing }, Some(alias.clone()));
    let previous_stable = state.previous_stable;
    draft.write(Write::PutAlias { alias: alias.clone(), previous_stable, expected: Some(expected) });
    if let Some(state) = draft.alias_mut(id) {
        state.alias = alias.clone();
    }
    draft.touch(Touched::Alias(id.clone()));
    if routing != from {
        watching::end(draft, by, id, "somebody changed the alias");
    }
    settle::foreign_change(draft, by, id, from);
    follow::alias_changed(draft, id, fresh);
    Ok(reply(draft, alias))
}

/// Deletes an alias, unless a rollout is moving it; one that is not there is no error, as with AWS.
pub(super) fn delete(draft: &mut Draft<'_>, by: By<'_>, id: &AliasId) -> Result<Reply, Refusal> {
    let Some(state) = draft.world.alias(id) else {
        return Ok(Reply::Deleted { existed: false });
    };
    if let Some(why) = &state.quarantine {
        return Err(Refusal::Quarantined(why.clone()));
    }
    if let Some(rollout) = draft.world.live_rollouts_of(id).first() {
        return Err(Refusal::Busy(format!(
            "alias {id} is being moved by rollout {}; `serin abort {id}` first",
            rollout.record.id.short()
        )));
    }
    remove(draft, by, id);
    Ok(Reply::Deleted { existed: true })
}

/// Removes an alias and its policy.
pub(super) fn remove(draft: &mut Draft<'_>, by: By<'_>, id: &AliasId) {
    let about = About { function: &id.function, alias: Some(id), rollout: None };
    draft.journal(by, about, Happening::AliasDeleted, None);
    let scope = PolicyScope::Alias(id.alias.clone());
    if let Some(state) = draft.function_mut(&id.function) {
        let had_policy = state.policies.remove(&scope).is_some();
        let changed = super::forget_qualifier(&mut state.function, id.alias.as_str());
        let function = changed.then(|| state.function.clone());
        if had_policy {
            draft.touch(Touched::Policy(id.function.clone(), scope.clone()));
            draft.write(Write::DeletePolicy(id.function.clone(), scope));
        }
        function.into_iter().for_each(|function| draft.write(Write::PutFunction(function)));
    }
    if let Some(last) = draft.world.alias(id).and_then(|state| state.last) {
        draft.world.rollouts.remove_mut(&last);
    }
    draft.write(Write::DeleteAlias(id.clone()));
    draft.world.aliases.remove_mut(id);
    draft.touch(Touched::Alias(id.clone()));
}
