//! Errors as AWS Lambda words them: the header, the type, the text, and the case of the text's key.

use axum::Json;
use axum::http::{HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde_json::{Map, Value, json};

use super::Scope;
use crate::access::AuthError;
use crate::control::handle::CommandError;
use crate::store::StoreError;
use serin_core::commands::Refusal;
use serin_core::lambda::alias::RoutingFault;
use serin_core::model::arn::VersionId;

const ERROR_TYPE: HeaderName = HeaderName::from_static("x-amzn-errortype");

/// An error a Lambda client understands.
#[derive(Debug)]
pub struct LambdaError {
    status: StatusCode,
    name: &'static str,
    message: String,
    /// The value of the body's `Type`; a few errors have none.
    fault_of: Option<&'static str>,
}

/// What is to be read or changed is not there.
const ABSENT: &str = "The resource you requested does not exist.";

const USER: Option<&str> = Some("User");
const SERVICE: Option<&str> = Some("Service");

impl LambdaError {
    fn new(status: StatusCode, name: &'static str, message: impl Into<String>) -> LambdaError {
        LambdaError { status, name, message: message.into(), fault_of: USER }
    }

    /// InvalidParameterValueException.
    pub fn invalid(message: impl Into<String>) -> LambdaError {
        LambdaError::new(StatusCode::BAD_REQUEST, "InvalidParameterValueException", message)
    }

    /// ValidationException: values that break their constraints.
    pub fn validation(message: impl Into<String>) -> LambdaError {
        let error = LambdaError::new(StatusCode::BAD_REQUEST, "ValidationException", message);
        LambdaError { fault_of: None, ..error }
    }

    /// ResourceNotFoundException.
    pub fn not_found(message: impl Into<String>) -> LambdaError {
        LambdaError::new(StatusCode::NOT_FOUND, "ResourceNotFoundException", message)
    }

    /// ResourceConflictException.
    pub fn conflict(message: impl Into<String>) -> LambdaError {
        LambdaError::new(StatusCode::CONFLICT, "ResourceConflictException", message)
    }

    /// The body is not the JSON that the operation takes.
    pub fn serialization(message: impl Into<String>) -> LambdaError {
        LambdaError::new(StatusCode::BAD_REQUEST, "SerializationException", message)
    }

    /// RequestEntityTooLargeException: a body above its limit; `of_operation` says which.
    pub fn too_large(operation: Option<&str>) -> LambdaError {
        let of = operation.map_or(String::new(), |operation| format!(" for the {operation} operation"));
        LambdaError::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "RequestEntityTooLargeException",
            format!("Request must be smaller than {} bytes{of}", crate::api::limit_bytes(operation)),
        )
    }

    /// RequestEntityTooLargeException: a zip above its limit.
    pub fn zip_too_large(bytes_max: usize) -> LambdaError {
        let text = format!("Zipped size must be smaller than {bytes_max} bytes");
        LambdaError::new(StatusCode::PAYLOAD_TOO_LARGE, "RequestEntityTooLargeException", text)
    }

    /// The same error, if it is one of size, with the operation that it exceeds.
    pub fn of_operation(self, operation: &str) -> LambdaError {
        if self.status == StatusCode::PAYLOAD_TOO_LARGE {
            LambdaError::too_large(Some(operation))
        } else {
            self
        }
    }

    /// ProvisionedConcurrencyConfigNotFoundException.
    pub fn no_provisioned() -> LambdaError {
        let name = "ProvisionedConcurrencyConfigNotFoundException";
        LambdaError::new(
            StatusCode::NOT_FOUND,
            name,
            "No Provisioned Concurrency Config found for this function",
        )
    }

    /// ServiceException: serin cannot do it now.
    pub fn unavailable(message: String) -> LambdaError {
        let error = LambdaError::new(StatusCode::SERVICE_UNAVAILABLE, "ServiceException", message);
        LambdaError { fault_of: SERVICE, ..error }
    }

    /// ServiceException: the disk is full.
    pub fn full(message: String) -> LambdaError {
        let error = LambdaError::new(StatusCode::INSUFFICIENT_STORAGE, "ServiceException", message);
        LambdaError { fault_of: SERVICE, ..error }
    }

    /// Whether it says that something is not there.
    pub fn is_not_found(&self) -> bool {
        self.name == "ResourceNotFoundException"
    }

    /// Whether it says so of what was to be changed, and not of the function it belongs to.
    pub fn is_no_such_resource(&self) -> bool {
        self.is_not_found() && self.message == ABSENT
    }

    /// A refusal of a command that concerns no one function.
    pub(super) fn bare(refusal: Refusal) -> LambdaError {
        match refusal {
            Refusal::Absent(_) => LambdaError::not_found(ABSENT),
            Refusal::Conflict(text) => LambdaError::conflict(text),
            other @ (Refusal::FunctionNotFound(..)
            | Refusal::AliasNotFound(_)
            | Refusal::RolloutNotFound(_)
            | Refusal::AliasExists(_)
            | Refusal::Routing(..)
            | Refusal::RevisionMismatch { .. }
            | Refusal::InUse(_)
            | Refusal::Busy(_)
            | Refusal::FunctionExists(_)
            | Refusal::CodeMismatch { .. }
            | Refusal::Configuration(_)
            | Refusal::StatementExists(_)
            | Refusal::StatementNotFound(_)
            | Refusal::PolicyNotFound
            | Refusal::Invalid(_)
            | Refusal::ConcurrencyLimit(_)
            | Refusal::Forbidden(_)
            | Refusal::ReasonWanted(_)
            | Refusal::Quarantined(_)
            | Refusal::Unavailable(_)
            | Refusal::KeyReused) => LambdaError::invalid(other.to_string()),
        }
    }

    /// An error that is not of an operation's own, such as a missing token.
    pub fn plain(status: StatusCode, message: String) -> LambdaError {
        let name = match status {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => "AccessDeniedException",
            StatusCode::NOT_FOUND => "ResourceNotFoundException",
            StatusCode::BAD_REQUEST => "InvalidParameterValueException",
            _ => "ServiceException",
        };
        // botocore does not retry a 403, which a missing token is to it.
        let status = if status == StatusCode::UNAUTHORIZED { StatusCode::FORBIDDEN } else { status };
        LambdaError::new(status, name, message)
    }

    /// Somebody who is not known.
    pub fn stranger(stranger: &AuthError) -> LambdaError {
        let error = LambdaError::new(StatusCode::FORBIDDEN, stranger.type_name(), stranger.to_string());
        LambdaError { fault_of: None, ..error }
    }

    /// AccessDeniedException: somebody who is known and may not.
    pub fn denied(message: String) -> LambdaError {
        let error = LambdaError::new(StatusCode::FORBIDDEN, "AccessDeniedException", message);
        LambdaError { fault_of: None, ..error }
    }

    /// AccessDeniedException without a word: what is named is of another account.
    pub fn of_another_account() -> LambdaError {
        LambdaError::denied(String::new())
    }

    /// What the control plane answered, in Lambda's words.
    pub(in crate::api) fn of(error: CommandError, scope: &Scope) -> LambdaError {
        match error {
            CommandError::Refused(refusal) => LambdaError::refused(refusal, scope),
            other @ (CommandError::NotStored(_) | CommandError::Owed(_) | CommandError::Closed) => {
                LambdaError::failed(&other)
            }
        }
    }

    /// What kept the control plane from answering.
    pub(super) fn failed(error: &CommandError) -> LambdaError {
        match error {
            CommandError::NotStored(source) | CommandError::Owed(source)
                if matches!(**source, StoreError::Full) =>
            {
                LambdaError::full(error.to_string())
            }
            error @ (CommandError::Refused(_)
            | CommandError::NotStored(_)
            | CommandError::Owed(_)
            | CommandError::Closed) => LambdaError::unavailable(error.to_string()),
        }
    }

    fn refused(refusal: Refusal, scope: &Scope) -> LambdaError {
        let not_found = |version: Option<VersionId>| {
            let version = version.map(|version| version.to_string());
            LambdaError::not_found(format!("Function not found: {}", scope.arn(version.as_deref())))
        };
        match refusal {
            Refusal::FunctionNotFound(_, version) => not_found(version),
            Refusal::Routing(_, RoutingFault::VersionAbsent(version)) => not_found(Some(version)),
            Refusal::Routing(_, fault @ RoutingFault::LatestWithWeights) => {
                LambdaError { fault_of: None, ..LambdaError::invalid(fault.to_string()) }
            }
            Refusal::Routing(_, fault) => LambdaError::invalid(fault.to_string()),
            Refusal::AliasNotFound(id) => {
                LambdaError::not_found(format!("Alias not found: {}", scope.arn(Some(id.alias.as_str()))))
            }
            Refusal::AliasExists(id) => {
                LambdaError::conflict(format!("Alias already exists: {}", scope.arn(Some(id.alias.as_str()))))
            }
            Refusal::RevisionMismatch { .. } => LambdaError::new(
                StatusCode::PRECONDITION_FAILED,
                "PreconditionFailedException",
                "The Revision Id provided does not match the latest Revision Id. Call the GetFunction/GetAlias API to \
                 retrieve the latest Revision Id",
            ),
            Refusal::StatementExists(sid) => LambdaError::conflict(format!(
                "The statement id ({sid}) provided already exists. Please provide a new statement id, or remove the \
                 existing statement."
            )),
            Refusal::StatementNotFound(sid) => {
                LambdaError::not_found(format!("Statement {sid} is not found in resource policy."))
            }
            Refusal::PolicyNotFound => {
                LambdaError::not_found("No policy is associated with the given resource.")
            }
            Refusal::InUse(user) => LambdaError::conflict(user.to_string()),
            Refusal::Busy(text) | Refusal::Conflict(text) | Refusal::Quarantined(text) => {
                LambdaError::conflict(text)
            }
            Refusal::FunctionExists(name) => LambdaError::conflict(format!("Function already exist: {name}")),
            refusal @ (Refusal::CodeMismatch { .. } | Refusal::Configuration(_)) => {
                LambdaError::invalid(refusal.to_string())
            }
            Refusal::Absent(_) => LambdaError::not_found(ABSENT),
            // AWS gives these no Type.
            Refusal::ConcurrencyLimit(text) => LambdaError { fault_of: None, ..LambdaError::invalid(text) },
            Refusal::Invalid(text) => LambdaError::invalid(text),
            Refusal::Forbidden(text) => LambdaError::plain(StatusCode::FORBIDDEN, text),
            other @ (Refusal::RolloutNotFound(_)
            | Refusal::ReasonWanted(_)
            | Refusal::Unavailable(_)
            | Refusal::KeyReused) => LambdaError::conflict(other.to_string()),
        }
    }

    /// An absent alias in GetAlias's words; policy operations use them too.
    pub fn with_alias_wording(self, arn: &str) -> LambdaError {
        if self.message.starts_with("Alias not found: ") {
            LambdaError { message: format!("Cannot find alias arn: {arn}"), ..self }
        } else {
            self
        }
    }

    /// The same error with another text; AddPermission words a stale revision differently.
    pub fn reworded(self, name: &str, message: impl Into<String>) -> LambdaError {
        if self.name == name { LambdaError { message: message.into(), ..self } } else { self }
    }
}

/// An operation of Lambda's that serin does not have, refused by name.
pub fn not_implemented(path: &str) -> LambdaError {
    let error = LambdaError::new(
        StatusCode::NOT_IMPLEMENTED,
        "NotImplementedException",
        format!("serin does not implement the Lambda operation at {path} "),
    );
    LambdaError { fault_of: SERVICE, ..error }
}

impl IntoResponse for LambdaError {
    fn into_response(self) -> Response {
        // AWS writes `Message` for a few exceptions and `message` for the others.
        let key = match self.name {
            "ResourceNotFoundException"
            | "ServiceException"
            | "ResourceInUseException"
            | "AccessDeniedException" => "Message",
            _ => "message",
        };
        let mut body = Map::new();
        if let Some(fault_of) = self.fault_of {
            body.insert("Type".to_owned(), json!(fault_of));
        }
        // Where AWS says nothing, it says so.
        let message = Some(self.message).filter(|message| !message.is_empty());
        body.insert(key.to_owned(), json!(message));
        let mut response = (self.status, Json(Value::Object(body))).into_response();
        response.headers_mut().insert(ERROR_TYPE, HeaderValue::from_static(self.name));
        response
    }
}
