//! What a request brings: for every change who, why, and a key that makes asking twice do it once; and its parts, of which
//! a faulty one is refused in the words and the shape of the API.

use axum::Json;
use axum::extract::rejection::JsonRejection;
use axum::extract::{self, FromRequest, FromRequestParts, Request};
use axum::http::request::Parts;
use serde::Serialize;
use serde::de::DeserializeOwned;
use sha2::{Digest, Sha256};

use super::Api;
use super::error::ApiError;
use super::wire::Object;
use crate::api::caller::Caller;
use crate::chance;
use crate::clock;
use serin_core::commands::{Action, Command, IdempotencyKey, Reply};

/// The header that carries an idempotency key.
pub const KEY_HEADER: &str = "idempotency-key";
/// The header that carries a reason where the body has no place for one.
pub const REASON_HEADER: &str = "x-serin-reason";

const KEY_CHARS_MAX: usize = 200;
const REASON_CHARS_MAX: usize = 1000;

/// Who asks for a change, and with which key.
pub struct Asker {
    caller: Caller,
    key: Option<String>,
    reason: Option<String>,
    path: String,
}

impl FromRequestParts<Api> for Asker {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &Api) -> Result<Asker, ApiError> {
        let caller = parts.extensions.get::<Caller>().cloned();
        let caller = caller.ok_or_else(|| ApiError::unavailable("the request was not admitted"))?;
        let header = |name: &str, chars_max: usize| {
            let mut values = parts.headers.get_all(name).iter();
            match (values.next(), values.next()) {
                (None, _) => Ok(None),
                (Some(_), Some(_)) => Err(ApiError::invalid(format!("{name} stands there twice; send one"))),
                (Some(value), None) => match value.to_str() {
                    Ok(text) if !text.is_empty() && text.len() <= chars_max => Ok(Some(text.to_owned())),
                    _ => {
                        Err(ApiError::invalid(format!("{name} is 1 to {chars_max} visible ASCII characters")))
                    }
                },
            }
        };
        Ok(Asker {
            key: header(KEY_HEADER, KEY_CHARS_MAX)?,
            reason: header(REASON_HEADER, REASON_CHARS_MAX)?,
            path: format!("{} {}", parts.method, parts.uri),
            caller,
        })
    }
}

impl Asker {
    /// Asks the control plane for a change; `body` is what the request said, for the key's fingerprint.
    pub async fn ask(
        self,
        api: &Api,
        action: Action,
        reason: Option<String>,
        body: &impl Serialize,
    ) -> Result<Reply, ApiError> {
        let reason = checked_reason(reason.or(self.reason))?;
        let fingerprint = || {
            let body = serde_json::to_vec(body).unwrap_or_default();
            let mut hash = Sha256::new();
            hash.update(self.path.as_bytes());
            hash.update([0]);
            hash.update(&body);
            hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
        };
        let key = self.key.map(|key| IdempotencyKey { key, fingerprint: fingerprint() });
        let fresh = chance::new_id(clock::wall_now());
        let command = Command { actor: self.caller.actor, reason, key, fresh, action };
        Ok(api.submit(command).await?)
    }
}

/// A reason, unless it is too long to be one.
pub fn checked_reason(reason: Option<String>) -> Result<Option<String>, ApiError> {
    if reason.as_ref().is_some_and(|reason| reason.chars().count() > REASON_CHARS_MAX) {
        return Err(ApiError::invalid(format!("a reason has at most {REASON_CHARS_MAX} characters")));
    }
    Ok(reason)
}

/// A JSON body; an empty one and null mean every field's default, and a faulty one says where.
pub struct Body<T>(pub T);

impl<T: DeserializeOwned + Default> FromRequest<Api> for Body<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, api: &Api) -> Result<Body<T>, ApiError> {
        let is_empty = request.headers().get("content-length").is_none_or(|length| length == "0")
            && !request.headers().contains_key("transfer-encoding");
        if is_empty {
            return Ok(Body(T::default()));
        }
        let value: Option<Object<T>> = json(request, api).await?;
        Ok(Body(value.map(|Object(value)| value).unwrap_or_default()))
    }
}

/// What the placeholders of a path stand for.
pub struct Path<T>(pub T);

impl<T: DeserializeOwned + Send> FromRequestParts<Api> for Path<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, api: &Api) -> Result<Path<T>, ApiError> {
        let found = extract::Path::from_request_parts(parts, api).await;
        let extract::Path(value) = found.map_err(|why| ApiError::invalid(why.body_text()))?;
        Ok(Path(value))
    }
}

/// What stands behind a path's question mark.
pub struct Query<T>(pub T);

impl<T: DeserializeOwned> FromRequestParts<Api> for Query<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, api: &Api) -> Result<Query<T>, ApiError> {
        let found = extract::Query::from_request_parts(parts, api).await;
        let extract::Query(value) = found.map_err(|why| ApiError::invalid(why.body_text()))?;
        Ok(Query(value))
    }
}

/// A JSON body that must be there.
pub struct Required<T>(pub T);

impl<T: DeserializeOwned> FromRequest<Api> for Required<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, api: &Api) -> Result<Required<T>, ApiError> {
        json(request, api).await.map(|Object(value)| Required(value))
    }
}

async fn json<T: DeserializeOwned>(request: Request, api: &Api) -> Result<T, ApiError> {
    match Json::from_request(request, api).await {
        Ok(Json(value)) => Ok(value),
        Err(JsonRejection::MissingJsonContentType(_)) => {
            Err(ApiError::invalid("the body must be JSON, with content-type: application/json"))
        }
        Err(rejection) => Err(ApiError::invalid(rejection.body_text())),
    }
}
