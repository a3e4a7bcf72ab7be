//! FunctionEventInvokeConfig: put, update, get, delete, list. How asynchronous events are handled.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::{Map, Value, json};

use super::actions::check_targets;
use super::error::LambdaError;
use super::functions::{listed, page};
use super::request::{Asked, Body, Payload};
use super::validate::{Violations, is_arn};
use super::{Naming, Scope, ask, unexpected};
use crate::api::Api;
use serin_core::commands::{Action, EventInvokeChange, FunctionSettingsChange, Reply};
use serin_core::lambda::concurrency::EventInvoke;
use serin_core::model::arn::{Qualifier, VersionId};
use serin_core::model::time::Timestamp;

const DESTINATION_PATTERN: &str = r"$|kafka://([^.]([a-zA-Z0-9\-_.]{0,248}))|arn:(aws[a-zA-Z0-9-]*):([a-zA-Z0-9\-])+:((eusc-)?[a-z]{2}((-gov)|(-iso([a-z]?)))?-[a-z]+-\d{1})?:(\d{12})?:(.*)";

fn function_absent() -> LambdaError {
    LambdaError::not_found("The function doesn't exist.")
}

fn config_absent(scope: &Scope, qualifier: &str) -> LambdaError {
    let arn = scope.arn(Some(qualifier));
    LambdaError::not_found(format!("The function {arn} doesn't have an EventInvokeConfig"))
}

/// The function, and the version or alias as text; the bare function is `$LATEST`.
fn addressed(
    api: &Api,
    asked: &Asked,
    check: impl FnOnce(&mut Violations),
) -> Result<(Scope, String), LambdaError> {
    let scope = asked.function(api, Naming::Namespaced, |violations| {
        asked.check_qualifier(violations);
        check(violations);
    })?;
    let qualifier = scope.qualifier.as_deref().unwrap_or("$LATEST").to_owned();
    Ok((scope, qualifier))
}

/// The members of a request; what it does not name is `None`.
struct Read {
    config: EventInvoke,
    names_something: bool,
    destinations: Option<(Option<String>, Option<String>)>,
}

fn read(bytes: &[u8], violations: &mut Violations) -> Result<Read, LambdaError> {
    let body = Body::read(bytes)?;
    let (retries, age) = (body.integer("MaximumRetryAttempts")?, body.integer("MaximumEventAgeInSeconds")?);
    retries.into_iter().for_each(|retries| violations.range("maximumRetryAttempts", retries, 0, 2));
    age.into_iter().for_each(|age| violations.range("maximumEventAgeInSeconds", age, 60, 21_600));
    let destinations = match body.object("DestinationConfig")? {
        None => None,
        Some(config) => {
            let side = |name: &str| -> Result<Option<String>, LambdaError> {
                config.object(name)?.map_or(Ok(None), |side| side.text("Destination"))
            };
            let both = (side("OnSuccess")?, side("OnFailure")?);
            check_destination("destinationConfig.onSuccess.destination", both.0.as_deref(), violations);
            check_destination("destinationConfig.onFailure.destination", both.1.as_deref(), violations);
            Some(both)
        }
    };
    let some = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
    let config = EventInvoke {
        retries: retries.and_then(|retries| u32::try_from(retries).ok()),
        age_s_max: age.and_then(|age| u32::try_from(age).ok()),
        on_success: destinations.as_ref().and_then(|(success, _)| some(success)),
        on_failure: destinations.as_ref().and_then(|(_, failure)| some(failure)),
        modified_at: Timestamp(0),
    };
    let names_something = retries.is_some() || age.is_some() || destinations.is_some();
    Ok(Read { config, names_something, destinations })
}

/// Reads and checks a body, for fuzzers.
#[cfg(any(test, feature = "fuzzing"))]
pub(super) fn fuzzed(bytes: &[u8], violations: &mut Violations) -> Result<(), LambdaError> {
    read(bytes, violations).and_then(|read| check_services(&read))
}

fn check_destination(member: &str, arn: Option<&str>, violations: &mut Violations) {
    let Some(arn) = arn.filter(|arn| !arn.is_empty()) else { return };
    violations.length(member, arn, 0, 350);
    if !is_arn(arn) {
        violations.pattern(member, arn, DESTINATION_PATTERN);
    }
}

/// A destination must be of a kind that hears of events at all, and one that serin can reach.
fn check_services(read: &Read) -> Result<(), LambdaError> {
    let Some((success, failure)) = &read.destinations else { return Ok(()) };
    for arn in [success, failure].into_iter().flatten().filter(|arn| !arn.is_empty()) {
        match arn.split(':').nth(2) {
            Some("sqs") if arn.ends_with(".fifo") => {
                return Err(LambdaError::invalid(format!(
                    "The destination {arn} is not supported: a FIFO queue takes no events."
                )));
            }
            Some("lambda" | "sqs") => {}
            Some("sns" | "events" | "s3") => {
                return Err(LambdaError::invalid(format!(
                    "The destination {arn} is not supported: serin tells Lambda functions and SQS queues of events."
                )));
            }
            _ => {
                let shown = |name: &str, side: &str, arn: &Option<String>| match arn {
                    Some(arn) => format!("{name}={side}(destination={arn})"),
                    None => format!("{name}=null"),
                };
                return Err(LambdaError::invalid(format!(
                    "The provided destination config DestinationConfig({}, {}) is invalid.",
                    shown("onSuccess", "OnSuccess", success),
                    shown("onFailure", "OnFailure", failure),
                )));
            }
        }
    }
    Ok(())
}

fn shape(scope: &Scope, qualifier: &str, config: &EventInvoke) -> Value {
    let mut shape = Map::new();
    shape.insert("LastModified".to_owned(), json!(config.modified_at.0 as f64 / 1000.0));
    shape.insert("FunctionArn".to_owned(), json!(scope.arn(Some(qualifier))));
    if let Some(retries) = config.retries {
        shape.insert("MaximumRetryAttempts".to_owned(), json!(retries));
    }
    if let Some(age) = config.age_s_max {
        shape.insert("MaximumEventAgeInSeconds".to_owned(), json!(age));
    }
    let side = |arn: &Option<String>| arn.as_ref().map_or(json!({}), |arn| json!({ "Destination": arn }));
    let destinations =
        json!({ "OnSuccess": side(&config.on_success), "OnFailure": side(&config.on_failure) });
    shape.insert("DestinationConfig".to_owned(), destinations);
    Value::Object(shape)
}

async fn store(
    api: &Api,
    asked: &Asked,
    bytes: &[u8],
    change: impl FnOnce(EventInvoke) -> EventInvokeChange,
) -> Result<Response, LambdaError> {
    let mut result = None;
    let (scope, qualifier) = addressed(api, asked, |violations| result = Some(read(bytes, violations)))?;
    let Some(read) = result else { return Err(function_absent()) };
    let read = read?;
    if !read.names_something {
        let text = "You must specify at least one of error handling or destination setting.";
        return Err(LambdaError::invalid(text));
    }
    let parsed: Qualifier = qualifier.parse().map_err(|_| function_absent())?;
    if api.control.world().function(&scope.function).is_none() {
        return Err(function_absent());
    }
    check_services(&read)?;
    let targets = read.destinations.iter().flat_map(|(success, failure)| [success, failure]);
    check_targets(api, &asked.caller, targets.flatten().map(String::as_str))?;
    let action = Action::FunctionSettingsChange(
        scope.function.clone(),
        FunctionSettingsChange::EventInvoke(parsed, change(read.config)),
    );
    match ask(api, &asked.caller, &scope, action).await {
        Ok(Reply::EventInvoke(config)) => Ok(Json(shape(&scope, &qualifier, &config)).into_response()),
        Ok(other) => Err(unexpected(&other)),
        Err(error) if error.is_no_such_resource() => Err(config_absent(&scope, &qualifier)),
        Err(error) if error.is_not_found() => Err(function_absent()),
        Err(error) => Err(error),
    }
}

/// PutFunctionEventInvokeConfig.
pub async fn put(
    State(api): State<Api>,
    asked: Asked,
    Payload(bytes): Payload,
) -> Result<Response, LambdaError> {
    store(&api, &asked, &bytes, EventInvokeChange::Put).await
}

/// UpdateFunctionEventInvokeConfig.
pub async fn update(
    State(api): State<Api>,
    asked: Asked,
    Payload(bytes): Payload,
) -> Result<Response, LambdaError> {
    store(&api, &asked, &bytes, EventInvokeChange::Update).await
}

/// GetFunctionEventInvokeConfig.
pub async fn get(State(api): State<Api>, asked: Asked) -> Result<Response, LambdaError> {
    let (scope, qualifier) = addressed(&api, &asked, |_| {})?;
    let world = api.control.world();
    let config =
        world.function(&scope.function).and_then(|state| state.function.event_invoke.get(&qualifier));
    let config = config.ok_or_else(|| config_absent(&scope, &qualifier))?;
    Ok(Json(shape(&scope, &qualifier, config)).into_response())
}

/// DeleteFunctionEventInvokeConfig.
pub async fn delete(State(api): State<Api>, asked: Asked) -> Result<Response, LambdaError> {
    let (scope, qualifier) = addressed(&api, &asked, |_| {})?;
    let absent = || config_absent(&scope, &qualifier);
    let parsed = match qualifier.parse::<Qualifier>() {
        Ok(Qualifier::Version(VersionId::Latest)) => Qualifier::Version(VersionId::Latest),
        Ok(qualifier) => qualifier,
        Err(_) => return Err(absent()),
    };
    let upkeep = FunctionSettingsChange::EventInvoke(parsed, EventInvokeChange::Delete);
    let action = Action::FunctionSettingsChange(scope.function.clone(), upkeep);
    ask(&api, &asked.caller, &scope, action).await.map_err(|error| match error.is_not_found() {
        true => absent(),
        false => error,
    })?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// ListFunctionEventInvokeConfigs.
pub async fn list(State(api): State<Api>, asked: Asked) -> Result<Response, LambdaError> {
    let mut count = 50;
    let scope = asked.function(&api, Naming::Namespaced, |violations| {
        count = asked.page_items(50, 50, violations);
    })?;
    let world = api.control.world();
    let state = world.function(&scope.function).ok_or_else(function_absent)?;
    let one =
        |(qualifier, config): (&String, &EventInvoke)| (qualifier.clone(), shape(&scope, qualifier, config));
    let (items, next) = page(state.function.event_invoke.iter().map(one), asked.query("Marker"), count);
    Ok(listed("FunctionEventInvokeConfigs", items, next))
}
