//! Aliases, as our own API shows and takes them.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::State;

use super::Api;
use super::error::ApiError;
use super::extract::{Asker, Path, Required};
use super::functions::{deleted, function_name, unexpected};
use super::status::routing_view;
use super::tunnels;
use super::wire::{AliasList, AliasView, CreateAliasRequest, DeleteReply, ErrorBody, UpdateAliasRequest};
use serin_core::commands::{Action, Refusal, Reply};
use serin_core::lambda::alias::{AdditionalVersion, Alias, AliasId};
use serin_core::model::arn::VersionId;
use serin_core::model::weight::Weight;
use serin_core::world::{AliasState, RevisionOf, World};

fn alias_id(function: &str, alias: &str) -> Result<AliasId, ApiError> {
    let alias = alias.parse().map_err(|why| ApiError::invalid(format!("{alias:?}: {why}")))?;
    Ok(AliasId { function: function_name(function)?, alias })
}

fn view(api: &Api, world: &World, state: &AliasState) -> AliasView {
    let revision_id = world.revision_id(RevisionOf::Alias, state.alias.revision);
    view_of(api, &state.alias, revision_id, Some(state))
}

/// An alias as it is or as a change made it; `state` is what else is so of it now, if it is there.
fn view_of(api: &Api, alias: &Alias, revision_id: String, state: Option<&AliasState>) -> AliasView {
    AliasView {
        function: alias.id.function.to_string(),
        name: alias.id.alias.to_string(),
        routing: routing_view(alias.routing),
        description: alias.description.clone(),
        revision_id,
        rollout: state.and_then(|state| state.active).map(|id| id.to_string()),
        quarantine: state.and_then(|state| state.quarantine.clone()),
        tunnels: tunnels::views(&*api.tunnels, &alias.id),
        updated_at: alias.updated_at.to_string(),
    }
}

fn version_id(text: &str) -> Result<VersionId, ApiError> {
    text.parse().map_err(|why| ApiError::invalid(format!("version {text:?}: {why}")))
}

fn additional(weights: &BTreeMap<String, f64>) -> Result<Vec<AdditionalVersion>, ApiError> {
    let one = |(version, weight): (&String, &f64)| {
        let number =
            version.parse().map_err(|why| ApiError::invalid(format!("version {version:?}: {why}")))?;
        let weight = Weight::from_fraction(*weight).ok_or_else(|| {
            ApiError::invalid(format!("weight {weight} of version {version} is not within 0 and 1"))
        })?;
        Ok(AdditionalVersion { version: number, weight })
    };
    weights.iter().map(one).collect()
}

/// A function's aliases.
#[utoipa::path(get, path = "/v1/functions/{function}/aliases", tag = "aliases", params(("function" = String, Path)),
    responses((status = 200, body = AliasList), (status = 404, body = ErrorBody)))]
pub async fn list(State(api): State<Api>, Path(function): Path<String>) -> Result<Json<AliasList>, ApiError> {
    let world = api.control.world();
    let name = function_name(&function)?;
    if world.function(&name).is_none() {
        return Err(Refusal::FunctionNotFound(name, None).into());
    }
    Ok(Json(AliasList { aliases: world.aliases_of(&name).map(|state| view(&api, &world, state)).collect() }))
}

/// One alias.
#[utoipa::path(get, path = "/v1/functions/{function}/aliases/{alias}", tag = "aliases",
    params(("function" = String, Path), ("alias" = String, Path)),
    responses((status = 200, body = AliasView), (status = 404, body = ErrorBody)))]
pub async fn get(
    State(api): State<Api>,
    Path((function, alias)): Path<(String, String)>,
) -> Result<Json<AliasView>, ApiError> {
    let id = alias_id(&function, &alias)?;
    let world = api.control.world();
    let state = world.alias(&id).ok_or(Refusal::AliasNotFound(id))?;
    Ok(Json(view(&api, &world, state)))
}

/// Makes an alias.
#[utoipa::path(post, path = "/v1/functions/{function}/aliases/{alias}", tag = "aliases",
    request_body = CreateAliasRequest, params(("function" = String, Path), ("alias" = String, Path)),
    responses((status = 200, body = AliasView), (status = 404, body = ErrorBody), (status = 409, body = ErrorBody)))]
pub async fn create(
    State(api): State<Api>,
    asker: Asker,
    Path((function, alias)): Path<(String, String)>,
    Required(request): Required<CreateAliasRequest>,
) -> Result<Json<AliasView>, ApiError> {
    let id = alias_id(&function, &alias)?;
    let action = Action::CreateAlias {
        id: id.clone(),
        function_version: version_id(&request.function_version)?,
        additional: additional(&request.additional_weights)?,
        description: request.description.clone(),
    };
    changed(&api, asker, &id, action, request.reason.clone(), &request).await
}

/// Changes an alias; mid-rollout that is drift, and the plan says what then.
#[utoipa::path(put, path = "/v1/functions/{function}/aliases/{alias}", tag = "aliases",
    request_body = UpdateAliasRequest, params(("function" = String, Path), ("alias" = String, Path)),
    responses((status = 200, body = AliasView), (status = 404, body = ErrorBody), (status = 412, body = ErrorBody)))]
pub async fn update(
    State(api): State<Api>,
    asker: Asker,
    Path((function, alias)): Path<(String, String)>,
    Required(request): Required<UpdateAliasRequest>,
) -> Result<Json<AliasView>, ApiError> {
    let id = alias_id(&function, &alias)?;
    let action = Action::UpdateAlias {
        id: id.clone(),
        function_version: request.function_version.as_deref().map(version_id).transpose()?,
        additional: request.additional_weights.as_ref().map(additional).transpose()?,
        description: request.description.clone(),
        revision_id: request.revision_id.clone(),
    };
    changed(&api, asker, &id, action, request.reason.clone(), &request).await
}

async fn changed(
    api: &Api,
    asker: Asker,
    id: &AliasId,
    action: Action,
    reason: Option<String>,
    body: &impl serde::Serialize,
) -> Result<Json<AliasView>, ApiError> {
    let reply = asker.ask(api, action, reason, body).await?;
    // As this change made it: whoever looks a moment later may see what somebody else made of it since.
    let Reply::Alias { alias, revision_id } = reply else { return Err(unexpected(&reply)) };
    let world = api.control.world();
    let state = world.alias(id).map(AsRef::as_ref);
    Ok(Json(view_of(api, &alias, revision_id, state)))
}

/// Deletes an alias that no rollout is moving.
#[utoipa::path(delete, path = "/v1/functions/{function}/aliases/{alias}", tag = "aliases",
    params(("function" = String, Path), ("alias" = String, Path)),
    responses((status = 200, body = DeleteReply), (status = 409, body = ErrorBody)))]
pub async fn delete(
    State(api): State<Api>,
    asker: Asker,
    Path((function, alias)): Path<(String, String)>,
) -> Result<Json<DeleteReply>, ApiError> {
    let action = Action::DeleteAlias(alias_id(&function, &alias)?);
    deleted(&asker.ask(&api, action, None, &()).await?)
}
