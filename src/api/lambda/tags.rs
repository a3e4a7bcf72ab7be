//! TagResource, UntagResource, ListTags.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::json;
use uuid::Uuid;

use super::error::LambdaError;
use super::request::{Asked, Body, Payload};
use super::validate::{Violations, is_account};
use super::{Naming, Scope, ask, submit};
use crate::api::Api;
use serin_core::commands::{Action, FunctionSettingsChange, Refusal, TagChange};

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

/// What has tags.
enum Resource {
    Function(Scope),
    Mapping(Uuid),
}

/// What a resource ARN names; `check` looks at everything else.
fn resource(api: &Api, asked: &Asked, check: impl FnOnce(&mut Violations)) -> Result<Resource, LambdaError> {
    let arn = asked.path("resource");
    let mut violations = Violations::default();
    let mut named = Violations::default();
    let parts: Vec<&str> = arn.split(':').collect();
    let resource = match parts.as_slice() {
        ["arn", _, "lambda", _, _, "function", ..] => {
            asked.scope(api, "resource", Naming::Namespaced, &mut named).map(Resource::Function)
        }
        ["arn", partition, "lambda", region, account, "event-source-mapping", id] => {
            let place = asked.place(api);
            let is_here = (*partition, *region) == (place.partition(), place.region.as_str());
            if *account != place.account {
                named.then(LambdaError::of_another_account());
            } else if !is_here {
                named.then(mapping_absent(arn));
            }
            Uuid::try_parse(id).ok().filter(|_| id.len() == 36 && is_account(account)).map(Resource::Mapping)
        }
        _ => None,
    };
    if resource.is_none() {
        violations.pattern("resource", arn, RESOURCE_PATTERN);
    }
    check(&mut violations);
    violations.refuse()?;
    named.refuse()?;
    resource.ok_or_else(|| LambdaError::invalid("no such resource"))
}

fn mapping_absent(arn: &str) -> LambdaError {
    LambdaError::not_found(format!("Event source mapping not found: {arn}"))
}

/// Asks for a change of tags.
async fn change(
    api: &Api,
    asked: &Asked,
    resource: &Resource,
    tags: TagChange,
) -> Result<Response, LambdaError> {
    match resource {
        Resource::Function(scope) => {
            let upkeep = match tags {
                TagChange::Tag(tags) => FunctionSettingsChange::Tag(tags),
                TagChange::Untag(keys) => FunctionSettingsChange::Untag(keys),
            };
            ask(api, &asked.caller, scope, Action::FunctionSettingsChange(scope.function.clone(), upkeep))
                .await?;
        }
        Resource::Mapping(id) => match submit(api, &asked.caller, Action::TagEventSource(*id, tags)).await? {
            Ok(_) => {}
            Err(Refusal::Absent(_)) => return Err(mapping_absent(asked.path("resource"))),
            Err(refusal) => return Err(LambdaError::bare(refusal)),
        },
    }
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// TagResource.
pub async fn tag(
    State(api): State<Api>,
    asked: Asked,
    Payload(bytes): Payload,
) -> Result<Response, LambdaError> {
    let tags = Body::read(&bytes)?.map("Tags")?;
    let resource = resource(&api, &asked, |violations| match &tags {
        None => violations.missing("tags"),
        Some(tags) => check(tags, violations),
    })?;
    let tags = tags.unwrap_or_default();
    if tags.is_empty() {
        return Err(LambdaError::invalid("An error occurred and the request cannot be processed."));
    }
    check_count(&tags)?;
    change(&api, &asked, &resource, TagChange::Tag(tags)).await
}

/// UntagResource.
pub async fn untag(State(api): State<Api>, asked: Asked) -> Result<Response, LambdaError> {
    let keys = asked.query_all("tagKeys");
    let resource = resource(&api, &asked, |violations| {
        if keys.is_empty() {
            violations.missing("tagKeys");
        }
    })?;
    change(&api, &asked, &resource, TagChange::Untag(keys)).await
}

/// ListTags.
pub async fn list(State(api): State<Api>, asked: Asked) -> Result<Response, LambdaError> {
    let resource = resource(&api, &asked, |_| {})?;
    let world = api.control.world();
    let tags = match &resource {
        Resource::Function(scope) => match world.function(&scope.function) {
            Some(state) => &state.function.tags,
            None => {
                return Err(LambdaError::not_found(format!("Function not found: {}", scope.arn(None))));
            }
        },
        Resource::Mapping(id) => match world.event_sources.get(id) {
            Some(source) => &source.tags,
            None => return Err(mapping_absent(asked.path("resource"))),
        },
    };
    Ok(Json(json!({ "Tags": tags })).into_response())
}
