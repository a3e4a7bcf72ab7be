//! CreateAlias, GetAlias, ListAliases, UpdateAlias, DeleteAlias.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::{Map, Value, json};

use super::error::LambdaError;
use super::request::{Asked, Body, Payload};
use super::validate::{Violations, is_word};
use super::{Naming, Scope, ask, unexpected};
use crate::api::Api;
use serin_core::commands::{Action, Reply};
use serin_core::lambda::alias::{AdditionalVersion, Alias, AliasId};
use serin_core::model::arn::{AliasName, VersionId, VersionNumber};
use serin_core::model::weight::Weight;
use serin_core::world::{RevisionOf, World};

const NAME_PATTERN: &str = "(?!^[0-9]+$)([a-zA-Z0-9-_]+)";
const VERSION_PATTERN: &str = r"(\$LATEST(\.PUBLISHED)?|[0-9]+)";
const WEIGHT_RANGE: &str = "Map value must satisfy constraint: [Member must have value less than or equal to 1.0, \
                            Member must have value greater than or equal to 0.0, Member must not be null]";
const WEIGHT_KEYS: &str = "Map keys must satisfy constraint: [Member must have length less than or equal to 1024, \
                           Member must have length greater than or equal to 1, Member must satisfy regular expression \
                           pattern: [0-9]+]";

struct AliasBody {
    name: Option<String>,
    function_version: Option<String>,
    description: Option<String>,
    /// The weights of a routing config; an empty object has none, as an empty map has.
    weights: Option<BTreeMap<String, Option<f64>>>,
    revision_id: Option<String>,
}

impl AliasBody {
    fn read(bytes: &[u8]) -> Result<AliasBody, LambdaError> {
        let body = Body::read(bytes)?;
        let routing = body.object("RoutingConfig")?;
        let weights = routing.map(|routing| routing.numbers("AdditionalVersionWeights")).transpose()?;
        Ok(AliasBody {
            name: body.text("Name")?,
            function_version: body.text("FunctionVersion")?,
            description: body.text("Description")?,
            weights: weights.map(Option::unwrap_or_default),
            revision_id: body.text("RevisionId")?,
        })
    }

    fn check(&self, violations: &mut Violations) {
        if let Some(version) = &self.function_version {
            violations.length("functionVersion", version, 1, 1024);
            let is_version = version == "$LATEST"
                || version == "$LATEST.PUBLISHED"
                || (!version.is_empty() && version.bytes().all(|byte| byte.is_ascii_digit()));
            if !is_version {
                violations.pattern("functionVersion", version, VERSION_PATTERN);
            }
        }
        if let Some(description) = &self.description {
            violations.length("description", description, 0, 256);
        }
        let Some(weights) = &self.weights else { return };
        let shown = shown_weights(weights);
        let bad_key =
            |key: &String| key.is_empty() || key.len() > 1024 || !key.bytes().all(|b| b.is_ascii_digit());
        if weights.keys().any(bad_key) {
            violations.add("routingConfig.additionalVersionWeights", &shown, WEIGHT_KEYS);
        }
        if weights.values().any(|weight| weight.is_none_or(|weight| Weight::from_fraction(weight).is_none()))
        {
            violations.add("routingConfig.additionalVersionWeights", &shown, WEIGHT_RANGE);
        }
    }

    /// The additional versions asked for; an empty object clears them just as an empty map does.
    fn additional(&self, scope: &Scope) -> Result<Option<Vec<AdditionalVersion>>, LambdaError> {
        let Some(weights) = &self.weights else { return Ok(None) };
        let one = |(version, weight): (&String, &Option<f64>)| {
            let number = version_number(scope, version)?;
            let weight = weight.and_then(Weight::from_fraction).unwrap_or(Weight::ZERO);
            Ok(AdditionalVersion { version: number, weight })
        };
        weights.iter().map(one).collect::<Result<Vec<_>, LambdaError>>().map(Some)
    }

    fn version(&self, scope: &Scope) -> Result<Option<VersionId>, LambdaError> {
        match self.function_version.as_deref() {
            None => Ok(None),
            Some("$LATEST") => Ok(Some(VersionId::Latest)),
            Some(text) => version_number(scope, text).map(|number| Some(number.into())),
        }
    }
}

/// Reads and checks a body, for fuzzers.
#[cfg(any(test, feature = "fuzzing"))]
pub(super) fn fuzzed(bytes: &[u8], violations: &mut Violations) -> Result<(), LambdaError> {
    AliasBody::read(bytes).map(|body| body.check(violations))
}

/// A version number; digits that no version can have are a version that does not exist.
fn version_number(scope: &Scope, text: &str) -> Result<VersionNumber, LambdaError> {
    text.parse().map_err(|_| LambdaError::not_found(format!("Function not found: {}", scope.arn(Some(text)))))
}

/// A map as AWS's validator prints it: `{2=2.0}`.
fn shown_weights(weights: &BTreeMap<String, Option<f64>>) -> String {
    let one = |(version, weight): (&String, &Option<f64>)| match weight {
        None => format!("{version}=null"),
        Some(weight) if weight.fract() == 0.0 => format!("{version}={weight:.1}"),
        Some(weight) => format!("{version}={weight}"),
    };
    format!("{{{}}}", weights.iter().map(one).collect::<Vec<_>>().join(", "))
}

fn check_name(name: &str, violations: &mut Violations) {
    violations.length("name", name, 1, 128);
    if !is_word(name) || name.bytes().all(|byte| byte.is_ascii_digit()) {
        violations.pattern("name", name, NAME_PATTERN);
    }
}

/// Function and alias of a path, checked; `others` adds what else is wrong with the request.
fn target(
    api: &Api,
    asked: &Asked,
    others: impl FnOnce(&mut Violations),
) -> Result<(Scope, AliasId), LambdaError> {
    let alias = asked.path("alias");
    let mut violations = Violations::default();
    let scope = asked.scope(api, "function", Naming::Plain, &mut violations);
    check_name(alias, &mut violations);
    others(&mut violations);
    violations.refuse()?;
    let name: Option<AliasName> = alias.parse().ok();
    match (scope, name) {
        (Some(scope), Some(name)) => {
            let id = AliasId { function: scope.function.clone(), alias: name };
            Ok((scope, id))
        }
        _ => Err(LambdaError::invalid("the function or the alias is not named as Lambda names them")),
    }
}

/// An alias as Lambda writes it.
fn shape(world: &World, scope: &Scope, alias: &Alias) -> Value {
    let mut shape = Map::new();
    shape.insert("AliasArn".into(), json!(scope.arn(Some(alias.id.alias.as_str()))));
    shape.insert("Name".into(), json!(alias.id.alias));
    shape.insert("FunctionVersion".into(), json!(alias.routing.function_version));
    shape.insert("Description".into(), json!(alias.description));
    if let Some(additional) = alias.routing.additional {
        let weights = json!({ additional.version.to_string(): additional.weight.fraction() });
        shape.insert("RoutingConfig".into(), json!({ "AdditionalVersionWeights": weights }));
    }
    shape.insert("RevisionId".into(), json!(world.revision_id(RevisionOf::Alias, alias.revision)));
    Value::Object(shape)
}

fn answer(api: &Api, scope: &Scope, status: StatusCode, reply: Reply) -> Result<Response, LambdaError> {
    let Reply::Alias { alias, .. } = reply else { return Err(unexpected(&reply)) };
    Ok((status, Json(shape(&api.control.world(), scope, &alias))).into_response())
}

/// CreateAlias.
pub async fn create(
    State(api): State<Api>,
    asked: Asked,
    Payload(bytes): Payload,
) -> Result<Response, LambdaError> {
    let body = AliasBody::read(&bytes)?;
    let mut violations = Violations::default();
    let scope = asked.scope(&api, "function", Naming::Plain, &mut violations);
    match &body.name {
        Some(name) => check_name(name, &mut violations),
        None => violations.missing("name"),
    }
    if body.function_version.is_none() {
        violations.missing("functionVersion");
    }
    body.check(&mut violations);
    violations.refuse()?;
    let name = body.name.as_deref().and_then(|name| name.parse::<AliasName>().ok());
    let (Some(scope), Some(name)) = (scope, name) else {
        return Err(LambdaError::invalid("the function or the alias is not named as Lambda names them"));
    };
    let action = Action::CreateAlias {
        id: AliasId { function: scope.function.clone(), alias: name },
        function_version: body.version(&scope)?.unwrap_or(VersionId::Latest),
        additional: body.additional(&scope)?.unwrap_or_default(),
        description: body.description.clone().unwrap_or_default(),
    };
    let reply = ask(&api, &asked.caller, &scope, action).await?;
    answer(&api, &scope, StatusCode::CREATED, reply)
}

/// UpdateAlias.
pub async fn update(
    State(api): State<Api>,
    asked: Asked,
    Payload(bytes): Payload,
) -> Result<Response, LambdaError> {
    let body = AliasBody::read(&bytes)?;
    let (scope, id) = target(&api, &asked, |violations| body.check(violations))?;
    let action = Action::UpdateAlias {
        id,
        function_version: body.version(&scope)?,
        additional: body.additional(&scope)?,
        description: body.description.clone(),
        revision_id: body.revision_id.clone(),
    };
    let reply = ask(&api, &asked.caller, &scope, action).await?;
    answer(&api, &scope, StatusCode::OK, reply)
}

/// GetAlias.
pub async fn get(State(api): State<Api>, asked: Asked) -> Result<Response, LambdaError> {
    let (scope, id) = target(&api, &asked, |_| {})?;
    let world = api.control.world();
    match world.alias(&id) {
        Some(state) => Ok(Json(shape(&world, &scope, &state.alias)).into_response()),
        None => Err(LambdaError::not_found(format!(
            "Cannot find alias arn: {}",
            scope.arn(Some(id.alias.as_str()))
        ))),
    }
}

/// ListAliases.
pub async fn list(State(api): State<Api>, asked: Asked) -> Result<Response, LambdaError> {
    let mut violations = Violations::default();
    let scope = asked.scope(&api, "function", Naming::Plain, &mut violations);
    let max_items = asked.page_items(10_000, 10_000, &mut violations);
    violations.refuse()?;
    let Some(scope) = scope else { return Err(LambdaError::invalid("no such function")) };
    let world = api.control.world();
    if world.function(&scope.function).is_none() {
        return Err(LambdaError::not_found(format!("Function not found: {}", scope.arn(None))));
    }
    let wanted = |alias: &Alias| {
        let version = asked.query("FunctionVersion");
        version.is_none_or(|version| version == alias.routing.function_version.to_string())
    };
    // A marker is the last name of the page before: it stays right while aliases come and go.
    let after = |alias: &Alias| asked.query("Marker").is_none_or(|marker| alias.id.alias.as_str() > marker);
    let mut page: Vec<&Alias> = world
        .aliases_of(&scope.function)
        .map(|state| &state.alias)
        .filter(|alias| wanted(alias) && after(alias))
        .take(max_items + 1)
        .collect();
    let mut answer = Map::new();
    if page.len() > max_items {
        page.truncate(max_items);
        answer.insert("NextMarker".into(), json!(page.last().map(|alias| alias.id.alias.as_str())));
    }
    let aliases: Vec<Value> = page.into_iter().map(|alias| shape(&world, &scope, alias)).collect();
    answer.insert("Aliases".into(), json!(aliases));
    Ok(Json(Value::Object(answer)).into_response())
}

/// DeleteAlias; deleting what is not there succeeds.
pub async fn delete(State(api): State<Api>, asked: Asked) -> Result<Response, LambdaError> {
    let (scope, id) = target(&api, &asked, |_| {})?;
    ask(&api, &asked.caller, &scope, Action::DeleteAlias(id)).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}
