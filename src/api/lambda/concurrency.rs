//! Reserved concurrency (Put, Get, DeleteFunctionConcurrency), provisioned concurrency (Put, Get, Delete,
//! ListProvisionedConcurrencyConfigs), and GetAccountSettings.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use super::error::LambdaError;
use super::functions::{listed, page};
use super::request::{Asked, Body, Payload};
use super::shape::lambda_time;
use super::validate::Violations;
use super::{Naming, Scope, ask, unexpected};
use crate::api::Api;
use crate::code::{UNPACKED_BYTES_MAX, ZIP_BYTES_MAX};
use serin_core::commands::{Action, FunctionSettingsChange, Reply};
use serin_core::lambda::alias::AliasId;
use serin_core::lambda::concurrency::{ACCOUNT_CONCURRENCY, Provisioned};
use serin_core::lambda::process::CodeSha256;
use serin_core::model::arn::{FunctionName, Qualifier};

/// What all zips together may take: AWS's 75 GiB; the disk says when it is less.
const TOTAL_CODE_BYTES_MAX: u64 = 75 << 30;

/// PutFunctionConcurrency.
pub async fn reserve(
    State(api): State<Api>,
    asked: Asked,
    Payload(bytes): Payload,
) -> Result<Response, LambdaError> {
    let asked_for = Body::read(&bytes)?.integer("ReservedConcurrentExecutions")?;
    let scope = asked.function(&api, Naming::Plain, |violations| match asked_for {
        None => violations.missing("reservedConcurrentExecutions"),
        Some(executions) => violations.range("reservedConcurrentExecutions", executions, 0, i64::MAX),
    })?;
    if api.control.world().function(&scope.function).is_none() {
        return Err(LambdaError::not_found(format!("Function not found: {}", scope.arn(Some("$LATEST")))));
    }
    let executions = asked_for.and_then(|executions| u32::try_from(executions).ok()).unwrap_or_default();
    let action = Action::FunctionSettingsChange(
        scope.function.clone(),
        FunctionSettingsChange::Reserve(Some(executions)),
    );
    ask(&api, &asked.caller, &scope, action).await?;
    Ok(Json(json!({ "ReservedConcurrentExecutions": executions })).into_response())
}

/// GetFunctionConcurrency.
pub async fn reserved(State(api): State<Api>, asked: Asked) -> Result<Response, LambdaError> {
    let scope = asked.function(&api, Naming::Plain, |_| {})?;
    match api.control.world().function(&scope.function) {
        None => Err(LambdaError::not_found(format!("Function not found: {}", scope.arn(None)))),
        Some(state) => Ok(Json(match state.function.reserved_concurrency {
            Some(executions) => json!({ "ReservedConcurrentExecutions": executions }),
            None => json!({}),
        })
        .into_response()),
    }
}

/// DeleteFunctionConcurrency.
pub async fn unreserve(State(api): State<Api>, asked: Asked) -> Result<Response, LambdaError> {
    let scope = asked.function(&api, Naming::Plain, |_| {})?;
    let action =
        Action::FunctionSettingsChange(scope.function.clone(), FunctionSettingsChange::Reserve(None));
    ask(&api, &asked.caller, &scope, action).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// What is said of `$LATEST` to whoever wants processes kept ready for it.
const UNPUBLISHED: &str =
    "Provisioned Concurrency Configs cannot be applied to unpublished function versions.";
/// What is said of it to whoever asks for them.
const NOT_PROVISIONED: &str = "The function resource provided must be an alias or a published version.";

/// The version or alias that processes are kept ready for.
fn provisionable(
    api: &Api,
    asked: &Asked,
    unpublished: &str,
    check: impl FnOnce(&mut Violations),
) -> Result<(Scope, Qualifier), LambdaError> {
    let scope = asked.function(api, Naming::Plain, |violations| {
        match asked.query("Qualifier") {
            None => violations.missing("qualifier"),
            Some(_) => asked.check_qualifier(violations),
        }
        check(violations);
    })?;
    let text = scope.qualifier.clone().unwrap_or_default();
    if text == "$LATEST" {
        return Err(LambdaError::invalid(unpublished));
    }
    let absent = |arn: String| LambdaError::not_found(format!("Function not found: {arn}"));
    let qualifier: Qualifier = text.parse().map_err(|_| absent(scope.arn(Some(&text))))?;
    let world = api.control.world();
    let state = world.function(&scope.function);
    match &qualifier {
        Qualifier::Version(version) if state.is_none_or(|state| state.configuration(*version).is_none()) => {
            Err(absent(scope.arn(Some(&text))))
        }
        Qualifier::Alias(alias)
            if world.alias(&AliasId { function: scope.function.clone(), alias: alias.clone() }).is_none() =>
        {
            Err(LambdaError::not_found(format!("Cannot find alias arn: {}", scope.arn(Some(&text)))))
        }
        Qualifier::Alias(_) | Qualifier::Version(_) => Ok((scope, qualifier)),
    }
}

fn shape(provisioned: &Provisioned, ready: u32, status: &str, reason: Option<&str>) -> Value {
    let mut shape = json!({
        "RequestedProvisionedConcurrentExecutions": provisioned.executions,
        "AvailableProvisionedConcurrentExecutions": ready,
        "AllocatedProvisionedConcurrentExecutions": ready,
        "Status": status,
    });
    if let Some(reason) = reason {
        shape["StatusReason"] = json!(reason);
    }
    shape["LastModified"] = json!(lambda_time(provisioned.modified_at));
    shape
}

/// What is kept ready, as it is at this moment: processes that have begun, up to as many as were asked for.
///
/// An HTTP service is always as ready as it can be.
async fn shape_now(api: &Api, function: &FunctionName, qualifier: &str, provisioned: &Provisioned) -> Value {
    let target = api
        .control
        .world()
        .invoked_version(function, Some(qualifier))
        .and_then(|(version, found)| Some((version, Arc::clone(found.target.process()?))));
    let Some((version, target)) = target else {
        return shape(provisioned, provisioned.executions, "READY", None);
    };
    let processes = api.runtimes.processes(function, version).await;
    let ready = processes.kept_ready.min(provisioned.executions);
    if processes.has_failed {
        return shape(provisioned, 0, "FAILED", Some("FUNCTION_ERROR_INIT_FAILURE"));
    }
    if ready == provisioned.executions {
        return shape(provisioned, ready, "READY", None);
    }
    let runtimes = api.runtimes.clone();
    let why = tokio::task::spawn_blocking(move || runtimes.availability(&target).err()).await;
    match why.ok().flatten() {
        None => shape(provisioned, ready, "IN_PROGRESS", None),
        Some(why) => shape(provisioned, ready, "FAILED", Some(&why.to_string())),
    }
}

/// PutProvisionedConcurrencyConfig.
pub async fn provision(
    State(api): State<Api>,
    asked: Asked,
    Payload(bytes): Payload,
) -> Result<Response, LambdaError> {
    let asked_for = Body::read(&bytes)?.integer("ProvisionedConcurrentExecutions")?;
    let (scope, qualifier) = provisionable(&api, &asked, UNPUBLISHED, |violations| match asked_for {
        None => violations.missing("provisionedConcurrentExecutions"),
        Some(executions) => violations.range("provisionedConcurrentExecutions", executions, 1, i64::MAX),
    })?;
    let executions = asked_for.and_then(|executions| u32::try_from(executions).ok()).unwrap_or(1);
    let action = Action::FunctionSettingsChange(
        scope.function.clone(),
        FunctionSettingsChange::Provision(qualifier, Some(executions)),
    );
    let reply = ask(&api, &asked.caller, &scope, action).await?;
    let Reply::Provisioned(provisioned) = reply else { return Err(unexpected(&reply)) };
    Ok((StatusCode::ACCEPTED, Json(shape(&provisioned, 0, "IN_PROGRESS", None))).into_response())
}

/// GetProvisionedConcurrencyConfig; with `List=ALL` in the query, ListProvisionedConcurrencyConfigs.
pub async fn provisioned(State(api): State<Api>, asked: Asked) -> Result<Response, LambdaError> {
    if asked.operation() == "ListProvisionedConcurrencyConfigs" {
        return list(&api, &asked).await;
    }
    let (scope, qualifier) = provisionable(&api, &asked, NOT_PROVISIONED, |_| {})?;
    let (world, qualifier) = (api.control.world(), qualifier.to_string());
    let state = world.function(&scope.function);
    match state.and_then(|state| state.function.provisioned.get(&qualifier)) {
        Some(provisioned) => {
            Ok(Json(shape_now(&api, &scope.function, &qualifier, provisioned).await).into_response())
        }
        None => Err(LambdaError::no_provisioned()),
    }
}

async fn list(api: &Api, asked: &Asked) -> Result<Response, LambdaError> {
    let mut count = 50;
    let scope =
        asked.function(api, Naming::Plain, |violations| count = asked.page_items(50, 50, violations))?;
    let world = api.control.world();
    let Some(state) = world.function(&scope.function) else {
        return Err(LambdaError::not_found(format!("Function not found: {}", scope.arn(None))));
    };
    let all = state
        .function
        .provisioned
        .iter()
        .map(|(qualifier, provisioned)| (qualifier.clone(), (qualifier, provisioned)));
    let (found, next) = page(all, asked.query("Marker"), count);
    let mut items = Vec::new();
    for (qualifier, provisioned) in found {
        let mut item = json!({ "FunctionArn": scope.arn(Some(qualifier)) });
        if let (Value::Object(item), Value::Object(shape)) =
            (&mut item, shape_now(api, &scope.function, qualifier, provisioned).await)
        {
            item.extend(shape);
        }
        items.push(item);
    }
    Ok(listed("ProvisionedConcurrencyConfigs", items, next))
}

/// DeleteProvisionedConcurrencyConfig; deleting what is not there succeeds.
pub async fn unprovision(State(api): State<Api>, asked: Asked) -> Result<Response, LambdaError> {
    let (scope, qualifier) = provisionable(&api, &asked, NOT_PROVISIONED, |_| {})?;
    let action = Action::FunctionSettingsChange(
        scope.function.clone(),
        FunctionSettingsChange::Provision(qualifier, None),
    );
    ask(&api, &asked.caller, &scope, action).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// GetAccountSettings.
pub async fn account(State(api): State<Api>) -> Json<Value> {
    let world = api.control.world();
    let mut zips: BTreeMap<CodeSha256, u64> = BTreeMap::new();
    let mut reserved = 0;
    for state in world.functions.values() {
        reserved += state.function.reserved_concurrency.unwrap_or_default();
        let versions = state.versions.values().map(|version| &version.configuration);
        for process in versions.chain([&state.function.latest]).filter_map(|one| one.target.process()) {
            zips.insert(process.code_sha256, process.code_bytes);
        }
    }
    Json(json!({
        "AccountLimit": {
            "TotalCodeSize": TOTAL_CODE_BYTES_MAX,
            "CodeSizeUnzipped": UNPACKED_BYTES_MAX,
            "CodeSizeZipped": ZIP_BYTES_MAX,
            "ConcurrentExecutions": ACCOUNT_CONCURRENCY,
            "UnreservedConcurrentExecutions": ACCOUNT_CONCURRENCY.saturating_sub(reserved),
        },
        "AccountUsage": {
            "TotalCodeSize": zips.values().sum::<u64>(),
            "FunctionCount": world.functions.size(),
        },
    }))
}
