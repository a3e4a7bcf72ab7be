//! Functions and versions, as our own API shows and takes them.

use axum::Json;
use axum::extract::State;

use super::Api;
use super::error::ApiError;
use super::extract::{Asker, Path, Required};
use super::wire::{
    DeleteReply, ErrorBody, FunctionList, FunctionView, PublishReply, PublishRequest, TimeoutsView,
    VersionList, VersionView,
};
use serin_core::commands::{Action, Refusal, Reply};
use serin_core::lambda::function::{Configuration, DEFAULT_ROLE, Target, Version};
use serin_core::lambda::settings::Settings;
use serin_core::lambda::timeouts::{UpstreamTimeouts, Wait, WaitError};
use serin_core::model::arn::{FunctionName, VersionNumber};
use serin_core::world::{FunctionState, World};

pub(super) fn function_name(text: &str) -> Result<FunctionName, ApiError> {
    text.parse().map_err(|why| ApiError::invalid(format!("{text:?}: {why}")))
}

fn state<'a>(world: &'a World, name: &FunctionName) -> Result<&'a FunctionState, ApiError> {
    let found = world.function(name).map(|state| &**state);
    found.ok_or_else(|| Refusal::FunctionNotFound(name.clone(), None).into())
}

fn function_view(world: &World, state: &FunctionState) -> FunctionView {
    FunctionView {
        name: state.function.name.to_string(),
        newest_version: state.newest().map(|version| version.number.to_string()),
        url: state.function.latest.target.to_string(),
        health: state.function.latest.target.health().map(ToString::to_string),
        timeouts: timeouts_view(state.function.latest.target.timeouts()),
        versions: state.versions.len(),
        aliases: world.aliases_of(&state.function.name).count(),
        modified_at: state.function.modified_at.to_string(),
    }
}

fn version_view(world: &World, version: &Version) -> VersionView {
    let configuration = &version.configuration;
    let named = world.aliases_of(&version.function).filter(|state| state.alias.routing.names(version.number));
    VersionView {
        version: version.number.to_string(),
        url: configuration.target.to_string(),
        health: configuration.target.health().map(ToString::to_string),
        timeouts: timeouts_view(configuration.target.timeouts()),
        commit: configuration.commit.clone(),
        description: configuration.description.clone(),
        role: configuration.role.clone(),
        dead_letter: configuration.dead_letter.clone(),
        aliases: named.map(|state| state.alias.id.alias.to_string()).collect(),
        published_at: version.published_at.to_string(),
    }
}

/// All functions.
#[utoipa::path(get, path = "/v1/functions", tag = "functions", responses((status = 200, body = FunctionList)))]
pub async fn list(State(api): State<Api>) -> Json<FunctionList> {
    let world = api.control.world();
    Json(FunctionList {
        functions: world.functions.values().map(|state| function_view(&world, state)).collect(),
    })
}

/// One function.
#[utoipa::path(get, path = "/v1/functions/{function}", tag = "functions",
    params(("function" = String, Path)),
    responses((status = 200, body = FunctionView), (status = 404, body = ErrorBody)))]
pub async fn get(State(api): State<Api>, Path(name): Path<String>) -> Result<Json<FunctionView>, ApiError> {
    let world = api.control.world();
    let state = state(&world, &function_name(&name)?)?;
    Ok(Json(function_view(&world, state)))
}

/// A function's versions, newest first.
#[utoipa::path(get, path = "/v1/functions/{function}/versions", tag = "functions",
    params(("function" = String, Path)),
    responses((status = 200, body = VersionList), (status = 404, body = ErrorBody)))]
pub async fn versions(
    State(api): State<Api>,
    Path(name): Path<String>,
) -> Result<Json<VersionList>, ApiError> {
    let world = api.control.world();
    let state = state(&world, &function_name(&name)?)?;
    let versions = state.versions.values().rev().map(|version| version_view(&world, version)).collect();
    Ok(Json(VersionList { versions }))
}

/// Publishes a version of an HTTP service, making the function if need be.
#[utoipa::path(post, path = "/v1/functions/{function}/versions", tag = "functions", request_body = PublishRequest,
    params(("function" = String, Path)),
    responses((status = 200, body = PublishReply), (status = 400, body = ErrorBody)))]
pub async fn publish(
    State(api): State<Api>,
    asker: Asker,
    Path(name): Path<String>,
    Required(request): Required<PublishRequest>,
) -> Result<Json<PublishReply>, ApiError> {
    let url =
        request.url.parse().map_err(|why| ApiError::invalid(format!("url {:?}: {why}", request.url)))?;
    let health = request
        .health
        .as_deref()
        .map(|health| health.parse().map_err(|why| ApiError::invalid(format!("health {health:?}: {why}"))));
    let configuration = Configuration {
        target: Target::Http { url, health: health.transpose()?, timeouts: timeouts(&request)? },
        role: request.role.clone().unwrap_or_else(|| DEFAULT_ROLE.to_owned()),
        dead_letter: request.dead_letter.clone(),
        description: request.description.clone(),
        commit: request.commit.clone(),
        settings: Settings::default(),
    };
    let action = Action::Publish { function: function_name(&name)?, configuration, force_new: request.new };
    let reply = asker.ask(&api, action, request.reason.clone(), &request).await?;
    let Reply::Published { function, version, created, rollouts } = reply else {
        return Err(unexpected(&reply));
    };
    Ok(Json(PublishReply {
        function: function.to_string(),
        version: version.to_string(),
        created,
        rollouts: rollouts.iter().map(ToString::to_string).collect(),
    }))
}

/// How long a version is to be waited for, as its publisher says.
fn timeouts(request: &PublishRequest) -> Result<UpstreamTimeouts, ApiError> {
    let wait = |name: &str, text: &Option<String>| -> Result<Option<Wait>, ApiError> {
        let refused =
            |why: WaitError, text: &str| ApiError::invalid(format!("timeouts.{name} {text:?}: {why}"));
        text.as_deref().map(|text| text.parse().map_err(|why| refused(why, text))).transpose()
    };
    let said = request.timeouts.clone().unwrap_or_default();
    Ok(UpstreamTimeouts { first_byte: wait("firstByte", &said.first_byte)?, idle: wait("idle", &said.idle)? })
}

fn timeouts_view(timeouts: UpstreamTimeouts) -> Option<TimeoutsView> {
    let text = |wait: Option<Wait>| wait.map(|wait| wait.to_string());
    let view = TimeoutsView { first_byte: text(timeouts.first_byte), idle: text(timeouts.idle) };
    (!timeouts.is_empty()).then_some(view)
}

pub(super) fn unexpected(reply: &Reply) -> ApiError {
    ApiError::unavailable(format!("the control plane answered something else: {reply:?}"))
}

pub(super) fn deleted(reply: &Reply) -> Result<Json<DeleteReply>, ApiError> {
    let Reply::Deleted { existed } = reply else { return Err(unexpected(reply)) };
    Ok(Json(DeleteReply { existed: *existed }))
}

/// Deletes a function with its versions and aliases.
#[utoipa::path(delete, path = "/v1/functions/{function}", tag = "functions",
    params(("function" = String, Path)),
    responses((status = 200, body = DeleteReply), (status = 404, body = ErrorBody), (status = 409, body = ErrorBody)))]
pub async fn delete(
    State(api): State<Api>,
    asker: Asker,
    Path(name): Path<String>,
) -> Result<Json<DeleteReply>, ApiError> {
    let action = Action::DeleteFunction(function_name(&name)?);
    deleted(&asker.ask(&api, action, None, &()).await?)
}

/// Deletes a version that no alias and no rollout needs.
#[utoipa::path(delete, path = "/v1/functions/{function}/versions/{version}", tag = "functions",
    params(("function" = String, Path), ("version" = String, Path)),
    responses((status = 200, body = DeleteReply), (status = 404, body = ErrorBody), (status = 409, body = ErrorBody)))]
pub async fn delete_version(
    State(api): State<Api>,
    asker: Asker,
    Path((name, version)): Path<(String, String)>,
) -> Result<Json<DeleteReply>, ApiError> {
    let number: VersionNumber =
        version.parse().map_err(|why| ApiError::invalid(format!("version {version:?}: {why}")))?;
    let action = Action::DeleteVersion(function_name(&name)?, number);
    deleted(&asker.ask(&api, action, None, &()).await?)
}
