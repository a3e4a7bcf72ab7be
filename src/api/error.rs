//! Refusals as HTTP: each has one status and one kind in `/v1`, and one exception in Lambda's words.

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};

use super::lambda::error::LambdaError;
use super::wire::{ErrorBody, ErrorView};
use crate::control::handle::CommandError;
use crate::store::StoreError;
use serin_core::commands::Refusal;

/// Which API a path belongs to, and so how its errors look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Face {
    /// Ours.
    Serin,
    /// AWS Lambda's.
    Lambda,
}

impl Face {
    /// The face of a path: Lambda's begin with a date.
    pub fn of(path: &str) -> Face {
        if path
            .as_bytes()
            .first_chunk::<5>()
            .is_some_and(|start| start[0] == b'/' && start[1..].iter().all(u8::is_ascii_digit))
        {
            Face::Lambda
        } else {
            Face::Serin
        }
    }
}

/// An answer that is an error.
#[derive(Debug)]
pub struct ApiError {
    status: StatusCode,
    kind: &'static str,
    message: String,
    face: Face,
}

impl ApiError {
    fn new(status: StatusCode, kind: &'static str, message: impl Into<String>) -> ApiError {
        ApiError { status, kind, message: message.into(), face: Face::Serin }
    }

    /// The request itself is wrong.
    pub fn invalid(message: impl Into<String>) -> ApiError {
        ApiError::new(StatusCode::BAD_REQUEST, "invalid", message)
    }

    /// There is nothing there.
    pub fn not_found(message: impl Into<String>) -> ApiError {
        ApiError::new(StatusCode::NOT_FOUND, "notFound", message)
    }

    /// A token is wanted.
    pub fn unauthorized(message: impl Into<String>) -> ApiError {
        ApiError::new(StatusCode::UNAUTHORIZED, "unauthorized", message)
    }

    /// It is not allowed.
    pub fn forbidden(message: impl Into<String>) -> ApiError {
        ApiError::new(StatusCode::FORBIDDEN, "forbidden", message)
    }

    /// The method does not fit the path.
    pub fn method_not_allowed(message: impl Into<String>) -> ApiError {
        ApiError::new(StatusCode::METHOD_NOT_ALLOWED, "methodNotAllowed", message)
    }

    /// serin cannot do it now.
    pub fn unavailable(message: impl Into<String>) -> ApiError {
        ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", message)
    }

    /// The same error in the words of a face.
    pub fn on(mut self, face: Face) -> ApiError {
        self.face = face;
        self
    }
}

impl From<CommandError> for ApiError {
    fn from(error: CommandError) -> ApiError {
        match error {
            CommandError::Refused(refusal) => refusal.into(),
            CommandError::NotStored(ref source) | CommandError::Owed(ref source) => {
                let status = match **source {
                    StoreError::Full => StatusCode::INSUFFICIENT_STORAGE,
                    StoreError::Held { .. }
                    | StoreError::File { .. }
                    | StoreError::NewerSchema { .. }
                    | StoreError::Foreign { .. }
                    | StoreError::Pipe { .. }
                    | StoreError::AffectedSqlite(_)
                    | StoreError::Fenced
                    | StoreError::Frozen(_)
                    | StoreError::Displaced { .. }
                    | StoreError::Gone { .. }
                    | StoreError::Stale(_)
                    | StoreError::Busy
                    | StoreError::Closed
                    | StoreError::Sqlite { .. }
                    | StoreError::Migration { .. }
                    | StoreError::Unreadable { .. } => StatusCode::SERVICE_UNAVAILABLE,
                };
                ApiError::new(status, "notStored", error.to_string())
            }
            CommandError::Closed => ApiError::unavailable(error.to_string()),
        }
    }
}

impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> ApiError {
        ApiError::unavailable(error.to_string())
    }
}

impl From<Refusal> for ApiError {
    fn from(refusal: Refusal) -> ApiError {
        use StatusCode as S;
        let (status, kind) = match &refusal {
            Refusal::FunctionNotFound(..)
            | Refusal::AliasNotFound(_)
            | Refusal::RolloutNotFound(_)
            | Refusal::StatementNotFound(_)
            | Refusal::PolicyNotFound
            | Refusal::Absent(_) => (S::NOT_FOUND, "notFound"),
            Refusal::AliasExists(_) | Refusal::FunctionExists(_) | Refusal::StatementExists(_) => {
                (S::CONFLICT, "exists")
            }
            Refusal::RevisionMismatch { .. } | Refusal::CodeMismatch { .. } => {
                (S::PRECONDITION_FAILED, "revisionMismatch")
            }
            Refusal::InUse(_) | Refusal::Busy(_) => (S::CONFLICT, "inUse"),
            Refusal::Conflict(_) => (S::CONFLICT, "conflict"),
            Refusal::Quarantined(_) => (S::CONFLICT, "quarantined"),
            Refusal::Routing(..)
            | Refusal::Invalid(_)
            | Refusal::ConcurrencyLimit(_)
            | Refusal::Configuration(_) => (S::BAD_REQUEST, "invalid"),
            Refusal::Forbidden(_) => (S::FORBIDDEN, "forbidden"),
            Refusal::ReasonWanted(_) => (S::CONFLICT, "reasonWanted"),
            Refusal::Unavailable(_) => (S::SERVICE_UNAVAILABLE, "unavailable"),
            Refusal::KeyReused => (S::UNPROCESSABLE_ENTITY, "keyReused"),
        };
        ApiError::new(status, kind, refusal.to_string())
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        if self.face == Face::Lambda {
            return LambdaError::plain(self.status, self.message).into_response();
        }
        let body = ErrorBody { error: ErrorView { kind: self.kind.to_owned(), message: self.message } };
        let mut response = (self.status, Json(body)).into_response();
        if self.status == StatusCode::UNAUTHORIZED {
            let scheme = HeaderValue::from_static("Bearer realm=\"serin\"");
            response.headers_mut().insert(header::WWW_AUTHENTICATE, scheme);
        }
        response
    }
}
