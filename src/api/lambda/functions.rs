//! GetFunction, GetFunctionConfiguration, ListFunctions, ListVersionsByFunction, PublishVersion, DeleteFunction.

use super::location::location;
use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::{Map, Value, json};

use super::error::LambdaError;
use super::request::{Asked, Body, Payload};
use super::shape::{Shown, Stage};
use super::validate::Violations;
use super::{Naming, Scope, ask};
use crate::api::Api;
use serin_core::commands::{Action, Precondition, Reply};
use serin_core::lambda::alias::AliasId;
use serin_core::lambda::function::Function;
use serin_core::model::arn::{Qualifier, VersionId};
use serin_core::world::{FunctionState, World};

/// How many functions or versions a page has at most, whatever is asked for.
const PAGE_ITEMS_MAX: usize = 50;

/// The function and version that a request names.
fn find<'a>(
    world: &'a World,
    scope: &Scope,
    qualifier: Option<&str>,
) -> Result<(&'a FunctionState, Shown<'a>), LambdaError> {
    let absent = || LambdaError::not_found(format!("Function not found: {}", scope.arn(qualifier)));
    let state = world.function(&scope.function).ok_or_else(absent)?;
    let shown = match qualifier.map(str::parse::<Qualifier>) {
        None => Some(Shown::latest(state, None)),
        Some(Ok(Qualifier::Version(version))) => Shown::find(state, version, Some(version.to_string())),
        Some(Ok(Qualifier::Alias(alias))) => {
            let id = AliasId { function: scope.function.clone(), alias };
            let routing = world.alias(&id).map(|state| state.alias.routing);
            routing
                .and_then(|routing| Shown::find(state, routing.function_version, Some(id.alias.to_string())))
        }
        Some(Err(_)) => None,
    };
    shown.map(|shown| (&**state, shown)).ok_or_else(absent)
}

fn asked_version(api: &Api, asked: &Asked) -> Result<(Scope, Option<String>), LambdaError> {
    let scope = asked.function(api, Naming::Namespaced, |violations| asked.check_qualifier(violations))?;
    let qualifier = scope.qualifier.clone();
    Ok((scope, qualifier))
}

/// Where a function or a version stands at this moment.
fn stage_of(api: &Api, shown: &Shown<'_>) -> Stage {
    let is_latest = shown.version == VersionId::Latest;
    if is_latest && api.updates.is_under_way(shown.function) { Stage::Updating } else { Stage::Settled }
}

/// GetFunction.
pub async fn get(State(api): State<Api>, asked: Asked) -> Result<Response, LambdaError> {
    let (scope, qualifier) = asked_version(&api, &asked)?;
    let world = api.control.world();
    let (state, shown) = find(&world, &scope, qualifier.as_deref())?;
    let mut answer = Map::new();
    let configuration = shown.shape(&api, &world, &scope.place, stage_of(&api, &shown));
    answer.insert("Configuration".to_owned(), Value::Object(configuration));
    answer.insert("Code".to_owned(), location(&api, &asked, shown.configuration));
    let Function { tags, reserved_concurrency, .. } = &state.function;
    if !tags.is_empty() {
        answer.insert("Tags".to_owned(), json!(tags));
    }
    if let Some(reserved) = reserved_concurrency {
        answer.insert("Concurrency".to_owned(), json!({ "ReservedConcurrentExecutions": reserved }));
    }
    Ok(Json(Value::Object(answer)).into_response())
}

/// GetFunctionConfiguration.
pub async fn get_configuration(State(api): State<Api>, asked: Asked) -> Result<Response, LambdaError> {
    let (scope, qualifier) = asked_version(&api, &asked)?;
    let world = api.control.world();
    let (_, shown) = find(&world, &scope, qualifier.as_deref())?;
    let stage = stage_of(&api, &shown);
    Ok(Json(Value::Object(shown.shape(&api, &world, &scope.place, stage))).into_response())
}

/// The items of one page, of those that come after the marker, and the marker of the next page.
///
/// A marker is the key of the last item before: it stays right while items come and go, and it must end.
pub(super) fn page<T>(
    items: impl Iterator<Item = (String, T)>,
    after: Option<&str>,
    count: usize,
) -> (Vec<T>, Option<String>) {
    let mut page: Vec<(String, T)> =
        items.filter(|(key, _)| after.is_none_or(|after| key.as_str() > after)).take(count + 1).collect();
    let more = page.len() > count;
    page.truncate(count);
    let next = if more { page.last().map(|(key, _)| key.clone()) } else { None };
    (page.into_iter().map(|(_, item)| item).collect(), next)
}

/// A list of Lambda's: the items under their name, and where the next page begins.
pub(super) fn listed(name: &str, items: Vec<Value>, next: Option<String>) -> Response {
    let mut answer = Map::new();
    if let Some(next) = next {
        answer.insert("NextMarker".to_owned(), json!(next));
    }
    answer.insert(name.to_owned(), json!(items));
    Json(Value::Object(answer)).into_response()
}

/// A key by which versions sort as AWS lists them: `$LATEST` first, then by number.
fn version_key(function: &str, version: VersionId) -> String {
    format!("{function}:{:020}", version.number().map_or(0, |number| number.0))
}

fn versions_of(state: &FunctionState) -> impl Iterator<Item = (String, Shown<'_>)> {
    let name = state.function.name.as_str();
    let latest = Shown::latest(state, Some("$LATEST".to_owned()));
    let published = state
        .versions
        .keys()
        .filter_map(|number| Shown::find(state, (*number).into(), Some(number.to_string())));
    std::iter::once(latest).chain(published).map(move |shown| (version_key(name, shown.version), shown))
}

/// ListFunctions.
pub async fn list(State(api): State<Api>, asked: Asked) -> Result<Response, LambdaError> {
    let mut violations = Violations::default();
    let count = asked.page_items(10_000, PAGE_ITEMS_MAX, &mut violations);
    let wants_versions = asked.query("FunctionVersion");
    if let Some(which) = wants_versions {
        violations.one_of("functionVersion", which, &["ALL"]);
    }
    violations.refuse()?;
    let world = api.control.world();
    let place = asked.place(&api);
    let marker = asked.query("Marker");
    let (shown, next) = if wants_versions.is_some() {
        page(world.functions.values().flat_map(|state| versions_of(state)), marker, count)
    } else {
        let one = |state| -> (String, Shown<'_>) {
            let shown = Shown::latest(state, None);
            (shown.function.to_string(), shown)
        };
        page(world.functions.values().map(|state| one(state)), marker, count)
    };
    let items = shown.iter().map(|shown| Value::Object(shown.shape(&api, &world, &place, Stage::Listed)));
    Ok(listed("Functions", items.collect(), next))
}

/// ListVersionsByFunction.
pub async fn versions(State(api): State<Api>, asked: Asked) -> Result<Response, LambdaError> {
    let mut count = PAGE_ITEMS_MAX;
    let scope = asked.function(&api, Naming::Namespaced, |violations| {
        count = asked.page_items(10_000, PAGE_ITEMS_MAX, violations);
    })?;
    let world = api.control.world();
    let Some(state) = world.function(&scope.function) else {
        return Err(LambdaError::not_found(format!("Function not found: {}", scope.arn(None))));
    };
    let (shown, next) = page(versions_of(state), asked.query("Marker"), count);
    let items =
        shown.iter().map(|shown| Value::Object(shown.shape(&api, &world, &scope.place, Stage::Listed)));
    Ok(listed("Versions", items.collect(), next))
}

/// What the control plane made of a function, as an answer.
pub(super) fn configured(
    api: &Api,
    scope: &Scope,
    reply: Reply,
    status: StatusCode,
    stage: Stage,
    is_qualified: bool,
) -> Result<Response, LambdaError> {
    let Reply::Configured { function, version, configuration, revision, at } = reply else {
        return Err(super::unexpected(&reply));
    };
    let version = version.map_or(VersionId::Latest, VersionId::Number);
    let shown = Shown {
        function: &function,
        qualifier: is_qualified.then(|| version.to_string()),
        version,
        configuration: &configuration,
        revision,
        at,
    };
    let shape = shown.shape(api, &api.control.world(), &scope.place, stage);
    Ok((status, Json(Value::Object(shape))).into_response())
}

/// PublishVersion.
pub async fn publish(
    State(api): State<Api>,
    asked: Asked,
    Payload(bytes): Payload,
) -> Result<Response, LambdaError> {
    let body = Body::read(&bytes)?;
    let description = body.text("Description")?;
    let precondition =
        Precondition { revision_id: body.text("RevisionId")?, code_sha256: body.text("CodeSha256")? };
    let scope = asked.function(&api, Naming::Plain, |violations| {
        description.iter().for_each(|text| violations.length("description", text, 0, 256));
    })?;
    super::configuration::refuse_foreign(&body)?;
    api.updates.check(&scope)?;
    let precondition = Precondition {
        code_sha256: precondition.code_sha256.filter(|digest| !digest.is_empty()),
        ..precondition
    };
    let action = Action::PublishLatest { function: scope.function.clone(), description, precondition };
    let reply = ask(&api, &asked.caller, &scope, action).await?;
    configured(&api, &scope, reply, StatusCode::CREATED, Stage::Settled, true)
}

/// GetFunctionCodeSigningConfig: no function has one.
pub async fn code_signing(State(api): State<Api>, asked: Asked) -> Result<Json<Value>, LambdaError> {
    check_known(&api, &asked, Naming::Namespaced)?;
    Ok(Json(json!({})))
}

/// GetFunctionRecursionConfig: as on AWS where nobody has said otherwise.
pub async fn recursion(State(api): State<Api>, asked: Asked) -> Result<Json<Value>, LambdaError> {
    check_known(&api, &asked, Naming::Unqualified)?;
    Ok(Json(json!({ "RecursiveLoop": "Terminate" })))
}

/// Makes sure that a function is there.
fn check_known(api: &Api, asked: &Asked, naming: Naming) -> Result<(), LambdaError> {
    let scope = asked.function(api, naming, |_| {})?;
    match api.control.world().function(&scope.function) {
        Some(_) => Ok(()),
        None => Err(LambdaError::not_found(format!("Function not found: {}", scope.arn(None)))),
    }
}

/// DeleteFunction: the whole function, or one version of it.
pub async fn delete(State(api): State<Api>, asked: Asked) -> Result<Response, LambdaError> {
    let (scope, qualifier) = asked_version(&api, &asked)?;
    let absent = || LambdaError::not_found(format!("Function not found: {}", scope.arn(None)));
    let action = match qualifier.as_deref().map(str::parse::<Qualifier>) {
        None => Action::DeleteFunction(scope.function.clone()),
        Some(Ok(Qualifier::Version(VersionId::Latest))) => {
            let text = "$LATEST version cannot be deleted without deleting the function.";
            return Err(LambdaError::invalid(text));
        }
        Some(Ok(Qualifier::Version(VersionId::Number(number)))) => {
            Action::DeleteVersion(scope.function.clone(), number)
        }
        Some(Ok(Qualifier::Alias(_))) if api.control.world().function(&scope.function).is_some() => {
            return Err(LambdaError::invalid("Deletion of aliases is not currently supported."));
        }
        // What nothing can be called is not there, as a version that was never published is not.
        Some(_) if api.control.world().function(&scope.function).is_some() => {
            return Ok(StatusCode::NO_CONTENT.into_response());
        }
        Some(_) => return Err(absent()),
    };
    ask(&api, &asked.caller, &scope, action).await.map_err(|error| match error.is_not_found() {
        true => absent(),
        false => error,
    })?;
    Ok(StatusCode::NO_CONTENT.into_response())
}
