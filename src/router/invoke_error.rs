//! Errors of Invoke as AWS Lambda words them, for clients that know no others.

use bytes::Bytes;
use hyper::header::{CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER};
use hyper::{Response, StatusCode};
use serde_json::{Map, Value};

use crate::access::AuthError;
use crate::runtime::Throttled;

/// Names an error's type; clients read it before the body.
const ERROR_TYPE: HeaderName = HeaderName::from_static("x-amzn-errortype");

/// What a Lambda client is told instead of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum InvokeError {
    /// A value breaks its constraint; the words after "failed to satisfy constraint: ".
    Validation { value: String, member: &'static str, constraint: String },
    /// A value is well-formed and still impossible.
    InvalidParameterValue(String),
    /// The payload is not JSON.
    InvalidRequestContent(String),
    /// The payload is too large; how many bytes are allowed.
    RequestTooLarge(usize),
    /// There is no such function, alias or version; the ARN.
    FunctionNotFound(String),
    /// Nobody is known by the request.
    AuthError(AuthError),
    /// Whoever it is may not; why, in AWS's words.
    AccessDenied(String),
    /// The function is another account's, of which AWS says no word.
    OtherAccount,
    /// The function is another region's than the one that is asked.
    OtherRegion { named: String, asked: String },
    /// Invoke is not served on this listener.
    NotHere,
    /// Only Invoke is served here.
    UnknownOperation,
    /// The client's payload did not come.
    RequestTimedOut,
    /// The client's context is not what it should be.
    ClientContext,
    /// Too many invocations are under way.
    TooManyRequests(Throttled),
    /// Payloads take as much memory as they may.
    Busy,
    /// The router cannot go on; what it lacks.
    Service(String),
    /// A function could not be run, by no doing of its own; in words.
    Unavailable(String),
}

impl InvokeError {
    fn status(&self) -> StatusCode {
        match self {
            InvokeError::Validation { .. }
            | InvokeError::InvalidParameterValue(_)
            | InvokeError::InvalidRequestContent(_)
            | InvokeError::ClientContext => StatusCode::BAD_REQUEST,
            InvokeError::TooManyRequests(_) => StatusCode::TOO_MANY_REQUESTS,
            InvokeError::RequestTooLarge(_) => StatusCode::PAYLOAD_TOO_LARGE,
            InvokeError::FunctionNotFound(_)
            | InvokeError::OtherRegion { .. }
            | InvokeError::NotHere
            | InvokeError::UnknownOperation => StatusCode::NOT_FOUND,
            InvokeError::AuthError(_) | InvokeError::AccessDenied(_) | InvokeError::OtherAccount => {
                StatusCode::FORBIDDEN
            }
            InvokeError::RequestTimedOut => StatusCode::REQUEST_TIMEOUT,
            InvokeError::Busy => StatusCode::SERVICE_UNAVAILABLE,
            InvokeError::Service(_) | InvokeError::Unavailable(_) => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    fn type_name(&self) -> &'static str {
        match self {
            InvokeError::Validation { .. } => "ValidationException",
            InvokeError::InvalidParameterValue(_) => "InvalidParameterValueException",
            InvokeError::InvalidRequestContent(_) | InvokeError::ClientContext => {
                "InvalidRequestContentException"
            }
            InvokeError::TooManyRequests(_) => "TooManyRequestsException",
            InvokeError::RequestTooLarge(_) => "RequestTooLargeException",
            InvokeError::FunctionNotFound(_) | InvokeError::OtherRegion { .. } => "ResourceNotFoundException",
            InvokeError::AuthError(stranger) => stranger.type_name(),
            InvokeError::AccessDenied(_) | InvokeError::OtherAccount => "AccessDeniedException",
            InvokeError::NotHere | InvokeError::UnknownOperation => "UnknownOperationException",
            InvokeError::RequestTimedOut => "RequestTimeoutException",
            InvokeError::Busy | InvokeError::Service(_) | InvokeError::Unavailable(_) => "ServiceException",
        }
    }

    fn message(&self) -> String {
        match self {
            InvokeError::Validation { value, member, constraint } => format!(
                "1 validation error detected: Value '{value}' at '{member}' failed to satisfy constraint: {constraint}"
            ),
            InvokeError::InvalidParameterValue(text) | InvokeError::Unavailable(text) => text.clone(),
            InvokeError::ClientContext => {
                "Client context must be a valid Base64-encoded JSON object.".to_owned()
            }
            InvokeError::TooManyRequests(_) => "Rate Exceeded.".to_owned(),
            InvokeError::InvalidRequestContent(why) => {
                format!("Could not parse request body into json: Could not parse payload into json: {why}")
            }
            InvokeError::RequestTooLarge(bytes) => {
                format!("Request must be smaller than {bytes} bytes for the InvokeFunction operation")
            }
            InvokeError::FunctionNotFound(arn) => format!("Function not found: {arn}"),
            InvokeError::AuthError(stranger) => stranger.to_string(),
            InvokeError::AccessDenied(text) => text.clone(),
            InvokeError::OtherAccount => String::new(),
            InvokeError::OtherRegion { named, asked } => {
                format!("Functions from '{named}' are not reachable in this region ('{asked}')")
            }
            InvokeError::NotHere => {
                "Invoke is not served here: hosts or paths are bound to aliases; send it to serin's API \
                 address, or start serin with --router-invoke"
                    .to_owned()
            }
            InvokeError::UnknownOperation => {
                "the router serves Invoke alone, POST /2015-03-31/functions/NAME/invocations; \
                 send every other operation to serin's API address"
                    .to_owned()
            }
            InvokeError::Busy => {
                "serin has as many large payloads under way as it may have; try again later".to_owned()
            }
            InvokeError::RequestTimedOut => "the payload did not come in time; send it again".to_owned(),
            InvokeError::Service(lacking) => format!(
                "serin cannot open another connection: {lacking}; raise its limit of open files (ulimit -n)"
            ),
        }
    }

    /// The answer, in AWS's shape.
    pub(super) fn response(&self) -> Response<Bytes> {
        let (blame, key) = match self {
            InvokeError::Validation { .. } | InvokeError::AuthError(_) => (None, "message"),
            InvokeError::AccessDenied(_) | InvokeError::OtherAccount => (None, "Message"),
            InvokeError::FunctionNotFound(_) | InvokeError::OtherRegion { .. } => (Some("User"), "Message"),
            InvokeError::Busy | InvokeError::Service(_) | InvokeError::Unavailable(_) => {
                (Some("Service"), "Message")
            }
            _ => (Some("User"), "message"),
        };
        let mut body = Map::new();
        if let InvokeError::TooManyRequests(throttled) = self {
            body.insert("Reason".to_owned(), throttled.reason().into());
        }
        if let Some(blame) = blame {
            body.insert("Type".to_owned(), blame.into());
        }
        let message = match self {
            InvokeError::OtherAccount => Value::Null,
            other => other.message().into(),
        };
        body.insert(key.to_owned(), message);
        let mut response = Response::new(Bytes::from(Value::Object(body).to_string()));
        *response.status_mut() = self.status();
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        response.headers_mut().insert(ERROR_TYPE, HeaderValue::from_static(self.type_name()));
        if matches!(self, InvokeError::TooManyRequests(_)) {
            response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
        }
        response
    }
}
