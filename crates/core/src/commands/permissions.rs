//! Permissions: AWS's rules about where they may stand, and what the router hears of them.
//!
//! The policy of a bare function has the function's RevisionId, and changes it; AWS was seen to do so.

use super::{Refusal, Reply};
use crate::journal::Happening;
use crate::lambda::alias::AliasId;
use crate::lambda::policy::{Policy, PolicyScope, Statement};
use crate::model::arn::FunctionName;
use crate::ports::Write;
use crate::world::RevisionOf;
use crate::world::draft::{About, By, Draft, Touched};

/// Makes sure that what a policy is attached to exists.
fn check_scope(draft: &Draft<'_>, function: &FunctionName, scope: &PolicyScope) -> Result<(), Refusal> {
    let state =
        draft.world.function(function).ok_or_else(|| Refusal::FunctionNotFound(function.clone(), None))?;
    match scope {
        PolicyScope::Function => Ok(()),
        PolicyScope::Version(number) if state.versions.contains_key(number) => Ok(()),
        PolicyScope::Version(number) => {
            Err(Refusal::FunctionNotFound(function.clone(), Some((*number).into())))
        }
        PolicyScope::Alias(alias) => {
            let id = AliasId { function: function.clone(), alias: alias.clone() };
            if draft.world.alias(&id).is_some() { Ok(()) } else { Err(Refusal::AliasNotFound(id)) }
        }
    }
}

fn check_revision(
    draft: &Draft<'_>,
    function: &FunctionName,
    scope: &PolicyScope,
    policy: Option<&Policy>,
    asked: Option<&str>,
) -> Result<(), Refusal> {
    let Some(asked) = asked else { return Ok(()) };
    let world = &draft.world;
    let of_policy = policy.map(|policy| world.revision_id(RevisionOf::Policy, policy.revision));
    let accepted: Vec<String> = match scope {
        PolicyScope::Function => {
            let state = world.function(function);
            state
                .map(|state| world.revision_id(RevisionOf::Latest, state.function.revision))
                .into_iter()
                .collect()
        }
        PolicyScope::Version(_) => of_policy.into_iter().collect(),
        PolicyScope::Alias(alias) => {
            // AWS takes the alias's own RevisionId as well.
            let alias = world.alias(&AliasId { function: function.clone(), alias: alias.clone() });
            let of_alias = alias.map(|state| world.revision_id(RevisionOf::Alias, state.alias.revision));
            of_policy.into_iter().chain(of_alias).collect()
        }
    };
    if accepted.iter().any(|latest| latest == asked) {
        return Ok(());
    }
    let latest = accepted.into_iter().next().unwrap_or_else(|| "none yet".to_owned());
    Err(Refusal::RevisionMismatch { what: format!("the policy of {function}"), latest })
}

fn alias_of(function: &FunctionName, scope: &PolicyScope) -> Option<AliasId> {
    match scope {
        PolicyScope::Alias(alias) => Some(AliasId { function: function.clone(), alias: alias.clone() }),
        PolicyScope::Function | PolicyScope::Version(_) => None,
    }
}

pub(super) fn add(
    draft: &mut Draft<'_>,
    by: By<'_>,
    function: &FunctionName,
    scope: &PolicyScope,
    statement: &Statement,
    revision_id: Option<&str>,
) -> Result<Reply, Refusal> {
    check_scope(draft, function, scope)?;
    let policy = draft.world.function(function).and_then(|state| state.policies.get(scope)).cloned();
    check_revision(draft, function, scope, policy.as_ref(), revision_id)?;
    let mut statements = policy.map_or_else(Vec::new, |policy| policy.statements);
    if statements.iter().any(|known| known.sid == statement.sid) {
        return Err(Refusal::StatementExists(statement.sid.clone()));
    }
    statements.push(statement.clone());
    let what = Happening::PermissionAdded { qualifier: scope.to_string(), sid: statement.sid.clone() };
    put(draft, by, function, scope, statements, what);
    Ok(Reply::Permission { statement: statement.clone() })
}

pub(super) fn remove(
    draft: &mut Draft<'_>,
    by: By<'_>,
    function: &FunctionName,
    scope: &PolicyScope,
    sid: &str,
    revision_id: Option<&str>,
) -> Result<Reply, Refusal> {
    check_scope(draft, function, scope)?;
    let policy = draft.world.function(function).and_then(|state| state.policies.get(scope)).cloned();
    let Some(policy) = policy else { return Err(Refusal::PolicyNotFound) };
    check_revision(draft, function, scope, Some(&policy), revision_id)?;
    let left: Vec<Statement> = policy.statements.iter().filter(|known| known.sid != sid).cloned().collect();
    if left.len() == policy.statements.len() {
        return Err(Refusal::StatementNotFound(sid.to_owned()));
    }
    let what = Happening::PermissionRemoved { qualifier: scope.to_string(), sid: sid.to_owned() };
    put(draft, by, function, scope, left, what);
    Ok(Reply::Deleted { existed: true })
}

/// Makes these the statements of a scope; none means no policy.
fn put(
    draft: &mut Draft<'_>,
    by: By<'_>,
    function: &FunctionName,
    scope: &PolicyScope,
    statements: Vec<Statement>,
    what: Happening,
) {
    let alias = alias_of(function, scope);
    let about = About { function, alias: alias.as_ref(), rollout: None };
    let revision = draft.journal(by, about, what, None);
    draft.touch(Touched::Policy(function.clone(), scope.clone()));
    let Some(state) = draft.function_mut(function) else { return };
    let changed = (*scope == PolicyScope::Function).then(|| {
        state.function.revision = revision;
        state.function.clone()
    });
    if statements.is_empty() {
        state.policies.remove(scope);
        draft.write(Write::DeletePolicy(function.clone(), scope.clone()));
    } else {
        let policy = Policy { function: function.clone(), statements, revision };
        state.policies.insert(scope.clone(), policy.clone());
        draft.write(Write::PutPolicy(scope.clone(), policy));
    }
    if let Some(changed) = changed {
        draft.write(Write::PutFunction(changed));
    }
}
