//! TagResource, UntagResource, ListTags.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::json;

use super::error::LambdaError;
use super::request::{Asked, Body, Payload};
use super::validate::Violations;
use super::{Scope, ask};
use crate::api::Api;
use crate::control::door::{Action, Upkeep};

const RESOURCE_PATTERN: &str = r"arn:(aws[a-zA-Z-]*):lambda:(eusc-)?[a-z]{2}((-gov)|(-iso([a-z]?)))?-[a-z]+-\d{1}:\d{12}:(function:[a-zA-Z0-9-_]+(:(\$LATEST|[a-zA-Z0-9-_]+))?|code-signing-config:csc-[a-z0-9]{17}|event-source-mapping:[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}|(capacity-provider|network-connector):[a-zA-Z0-9-_]{1,64})";
const TAG_PATTERN: &str = r"([\p{L}\p{Z}\p{N}_.:/=+\-@]*)";
const TAGS_MAX: usize = 50;

/// Holds tags to their constraints.
pub fn check(tags: &BTreeMap<String, String>, violations: &mut Violations) {
    let is_plain = |text: &str| {
        text.chars().all(|char| char.is_alphanumeric() || char == ' ' || "_.:/=+-@".contains(char))
    };
    for (key, value) in tags {
        let shown = format!("{{{key}={value}}}");
        if !(1..=128).contains(&key.chars().count()) || !is_plain(key) {
            let constraint = format!(
                "Map keys must satisfy constraint: [Member must have length less than or equal to 128, Member must have \
                 length greater than or equal to 1, Member must satisfy regular expression pattern: {TAG_PATTERN}, Member \
                 must not be null]"
            );
            violations.add("tags", &shown, &constraint);
        }
        if value.chars().count() > 256 || !is_plain(value) {
            let constraint = format!(
                "Map value must satisfy constraint: [Member must have length less than or equal to 256, Member must have \
                 length greater than or equal to 0, Member must satisfy regular expression pattern: {TAG_PATTERN}, Member \
                 must not be null]"
            );
            violations.add("tags", &shown, &constraint);
        }
    }
}

/// Holds tags to their number.
pub fn check_count(tags: &BTreeMap<String, String>) -> Result<(), LambdaError> {
    if tags.len() > TAGS_MAX {
        return Err(LambdaError::invalid("Number of tags exceeds resource tag limit."));
    }
    Ok(())
}

/// The function that a resource ARN names; `check` looks at everything else.
fn resource(api: &Api, asked: &Asked, check: impl FnOnce(&mut Violations)) -> Result<Scope, LambdaError> {
    let arn = asked.path("resource");
    let mut violations = Violations::default();
    let is_function = arn.starts_with("arn:") && arn.split(':').nth(5) == Some("function");
    let mut named = Violations::default();
    let scope = asked.scope(api, "resource", 10_000, &mut named).filter(|_| is_function);
    if scope.is_none() {
        violations.pattern("resource", arn, RESOURCE_PATTERN);
    }
    check(&mut violations);
    violations.refuse()?;
    named.refuse()?;
    scope.ok_or_else(|| LambdaError::invalid("no such function"))
}

/// TagResource.
pub async fn tag(
    State(api): State<Api>,
    asked: Asked,
    Payload(bytes): Payload,
) -> Result<Response, LambdaError> {
    let tags = Body::read(&bytes)?.map("Tags")?;
    let scope = resource(&api, &asked, |violations| match &tags {
        None => violations.missing("tags"),
        Some(tags) => check(tags, violations),
    })?;
    let tags = tags.unwrap_or_default();
    if tags.is_empty() {
        return Err(LambdaError::invalid("An error occurred and the request cannot be processed."));
    }
    check_count(&tags)?;
    ask(&api, &asked.caller, &scope, Action::Upkeep(scope.function.clone(), Upkeep::Tag(tags))).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// UntagResource.
pub async fn untag(State(api): State<Api>, asked: Asked) -> Result<Response, LambdaError> {
    let keys = asked.query_all("tagKeys");
    let scope = resource(&api, &asked, |violations| {
        if keys.is_empty() {
            violations.missing("tagKeys");
        }
    })?;
    ask(&api, &asked.caller, &scope, Action::Upkeep(scope.function.clone(), Upkeep::Untag(keys))).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// ListTags.
pub async fn list(State(api): State<Api>, asked: Asked) -> Result<Response, LambdaError> {
    let scope = resource(&api, &asked, |_| {})?;
    match api.control.world().function(&scope.function) {
        Some(state) => Ok(Json(json!({ "Tags": state.function.tags })).into_response()),
        None => Err(LambdaError::not_found(format!("Function not found: {}", scope.arn(None)))),
    }
}
