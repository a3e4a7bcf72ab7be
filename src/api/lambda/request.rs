//! What a Lambda request brings: its caller, what it calls, and its body, with faults in Lambda's words.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::http::request::Parts;
use axum::http::{StatusCode, header};
use serde_json::{Map, Value};

use super::call::Call;
use super::error::LambdaError;
use super::validate::{Violations, check_qualifier};
use super::{Naming, Scope};
use crate::api::Api;
use crate::api::caller::Caller;
use serin_core::model::arn::Place;

/// Caller and call of a request, as they were read when it was admitted.
pub struct Asked {
    /// Who asks.
    pub caller: Caller,
    /// The host the client asked, for URLs that lead back here.
    pub host: Option<String>,
    call: Arc<Call>,
}

impl FromRequestParts<Api> for Asked {
    type Rejection = LambdaError;

    async fn from_request_parts(parts: &mut Parts, _: &Api) -> Result<Asked, LambdaError> {
        let found =
            parts.extensions.get::<Caller>().cloned().zip(parts.extensions.get::<Arc<Call>>().cloned());
        let (caller, call) = found.ok_or_else(|| LambdaError::invalid("the request was not admitted"))?;
        let host = parts.headers.get(header::HOST).and_then(|host| host.to_str().ok()).map(str::to_owned);
        Ok(Asked { caller, host, call })
    }
}

impl Asked {
    /// Which operation it is.
    pub fn operation(&self) -> &'static str {
        self.call.operation.name
    }

    /// A part of the path.
    pub fn path(&self, name: &str) -> &str {
        self.call.path(name)
    }

    /// A parameter of the query; `Qualifier` is in the scope.
    pub fn query(&self, name: &str) -> Option<&str> {
        self.call.query().get(name)
    }

    /// All values of a parameter that is a list.
    pub fn query_all(&self, name: &str) -> Vec<String> {
        self.call.query().all(name).map(str::to_owned).collect()
    }

    /// Holds the qualifier of the query to its constraints.
    pub fn check_qualifier(&self, violations: &mut Violations) {
        self.query("Qualifier").into_iter().for_each(|given| check_qualifier(given, violations));
    }

    /// The function that a part of the path names, with its version or alias.
    pub(super) fn scope(
        &self,
        api: &Api,
        part: &str,
        naming: Naming,
        violations: &mut Violations,
    ) -> Option<Scope> {
        let read = (self.path(part), self.call.function.clone());
        Scope::of(api, &self.caller, read, naming, violations)
    }

    /// Whose ARNs the answer speaks of.
    pub(super) fn place(&self, api: &Api) -> Place {
        super::place(api, &self.caller)
    }

    /// The function that the path names, once nothing breaks a constraint; `check` looks at everything else.
    pub(super) fn function(
        &self,
        api: &Api,
        naming: Naming,
        check: impl FnOnce(&mut Violations),
    ) -> Result<Scope, LambdaError> {
        let mut violations = Violations::default();
        let scope = self.scope(api, "function", naming, &mut violations);
        check(&mut violations);
        violations.refuse()?;
        scope.ok_or_else(|| LambdaError::invalid("no such function"))
    }

    /// How many items a page has: what the client asks for, at most `page_max`.
    pub fn page_items(&self, limit: usize, page_max: usize, violations: &mut Violations) -> usize {
        let Some(text) = self.query("MaxItems") else { return page_max };
        match text.parse::<i64>() {
            Ok(items) => {
                violations.range("maxItems", items, 1, limit as i64);
                usize::try_from(items).unwrap_or(1).clamp(1, page_max)
            }
            Err(_) => {
                violations.add("maxItems", text, "Member must be a whole number");
                page_max
            }
        }
    }
}

/// A whole body, no longer than its route takes.
pub struct Payload(pub Bytes);

impl FromRequest<Api> for Payload {
    type Rejection = LambdaError;

    async fn from_request(request: Request, api: &Api) -> Result<Payload, LambdaError> {
        match Bytes::from_request(request, api).await {
            Ok(bytes) => Ok(Payload(bytes)),
            Err(rejection) if rejection.status() == StatusCode::PAYLOAD_TOO_LARGE => {
                Err(LambdaError::too_large(None))
            }
            Err(rejection) => Err(LambdaError::serialization(rejection.body_text())),
        }
    }
}

/// A JSON object: `null` is as good as absent, and members nobody asks for are ignored, both as on AWS.
pub struct Body(Map<String, Value>);

impl Body {
    /// Reads a body; an empty one has no members.
    pub fn read(bytes: &[u8]) -> Result<Body, LambdaError> {
        if bytes.is_empty() {
            return Ok(Body(Map::new()));
        }
        match serde_json::from_slice(bytes) {
            Ok(Value::Object(members)) => Ok(Body(members)),
            Ok(_) => Err(LambdaError::serialization("Unexpected token: the body is not a JSON object")),
            Err(why) => {
                Err(LambdaError::serialization(format!("Could not parse request body into json: {why}")))
            }
        }
    }

    fn get(&self, name: &str) -> Option<&Value> {
        self.0.get(name).filter(|value| !value.is_null())
    }

    /// Whether a member is there.
    pub fn has(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    /// A text.
    pub fn text(&self, name: &str) -> Result<Option<String>, LambdaError> {
        self.get(name).map(text_of).transpose()
    }

    /// A whole number of 32 bits.
    pub fn integer(&self, name: &str) -> Result<Option<i64>, LambdaError> {
        let Some(value) = self.get(name) else { return Ok(None) };
        let number = value.as_i64().filter(|number| i32::try_from(*number).is_ok());
        match (number, value) {
            (Some(number), _) => Ok(Some(number)),
            (None, Value::Number(number)) => {
                Err(LambdaError::serialization(format!("Numeric value ({number}) out of range of int")))
            }
            (None, other) => Err(converted(other, "an Integer")),
        }
    }

    /// A yes or no.
    pub fn flag(&self, name: &str) -> Result<Option<bool>, LambdaError> {
        match self.get(name) {
            None => Ok(None),
            Some(Value::Bool(value)) => Ok(Some(*value)),
            Some(other) => Err(converted(other, "a Boolean")),
        }
    }

    /// A list of texts.
    pub fn texts(&self, name: &str) -> Result<Option<Vec<String>>, LambdaError> {
        match self.get(name) {
            None => Ok(None),
            Some(Value::Array(items)) => items.iter().map(text_of).collect::<Result<_, _>>().map(Some),
            Some(other) => Err(converted(other, "a List")),
        }
    }

    /// A map of texts, in the order they were given.
    pub fn pairs(&self, name: &str) -> Result<Option<Vec<(String, String)>>, LambdaError> {
        let Some(members) = self.object(name)? else { return Ok(None) };
        let pair = |(key, value): (&String, &Value)| text_of(value).map(|value| (key.clone(), value));
        members.0.iter().map(pair).collect::<Result<_, _>>().map(Some)
    }

    /// A map of texts, in the order of its keys.
    pub fn map(&self, name: &str) -> Result<Option<BTreeMap<String, String>>, LambdaError> {
        Ok(self.pairs(name)?.map(|pairs| pairs.into_iter().collect()))
    }

    /// A map of numbers, in the order of its keys; a number may be null.
    pub fn numbers(&self, name: &str) -> Result<Option<BTreeMap<String, Option<f64>>>, LambdaError> {
        let Some(members) = self.object(name)? else { return Ok(None) };
        let pair = |(key, value): (&String, &Value)| match value {
            Value::Null => Ok((key.clone(), None)),
            Value::Number(number) => Ok((key.clone(), number.as_f64())),
            other @ (Value::Bool(_) | Value::String(_) | Value::Array(_) | Value::Object(_)) => {
                Err(converted(other, "a Double"))
            }
        };
        members.0.iter().map(pair).collect::<Result<_, _>>().map(Some)
    }

    /// An object.
    pub fn object(&self, name: &str) -> Result<Option<Body>, LambdaError> {
        self.get(name).map(object_of).transpose()
    }

    /// A list of objects.
    pub fn objects(&self, name: &str) -> Result<Option<Vec<Body>>, LambdaError> {
        match self.get(name) {
            None => Ok(None),
            Some(Value::Array(items)) => items.iter().map(object_of).collect::<Result<_, _>>().map(Some),
            Some(other) => Err(converted(other, "a List")),
        }
    }
}

fn object_of(value: &Value) -> Result<Body, LambdaError> {
    match value {
        Value::Object(members) => Ok(Body(members.clone())),
        other @ (Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_)) => {
            Err(converted(other, "a Structure"))
        }
    }
}

fn text_of(value: &Value) -> Result<String, LambdaError> {
    match value {
        Value::String(text) => Ok(text.clone()),
        other @ (Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_)) => {
            Err(converted(other, "a String"))
        }
    }
}

/// A value of the wrong kind, as AWS's parser says it.
fn converted(value: &Value, wanted: &str) -> LambdaError {
    let kind = match value {
        Value::Null => "NULL_VALUE",
        Value::Bool(true) => "TRUE_VALUE",
        Value::Bool(false) => "FALSE_VALUE",
        Value::Number(_) => "NUMBER_VALUE",
        Value::String(_) => "STRING_VALUE",
        Value::Array(_) | Value::Object(_) => {
            return LambdaError::serialization("Start of structure or map found where not expected.");
        }
    };
    LambdaError::serialization(format!("{kind} can not be converted to {wanted}"))
}
