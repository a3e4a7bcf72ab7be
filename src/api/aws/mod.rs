//! AWS's other services behind one path: a POST to `/` names the service and the operation in `X-Amz-Target`.

mod cloudwatch;
mod dimensions;
mod log_pattern;
mod logs;
mod statistics;

use axum::body::Bytes;
use axum::extract::{Extension, State};
use axum::http::{HeaderMap, HeaderValue, Method, Request, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::Api;
use super::wire::Object;
use crate::api::caller::Caller;
use crate::store::StoreError;
use serin_core::model::arn::Place;

const TARGET: &str = "x-amz-target";

/// A service that is asked in AWS's JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Service {
    /// CloudWatch metrics.
    CloudWatch,
    /// CloudWatch Logs.
    Logs,
}

impl Service {
    fn prefix(self) -> &'static str {
        match self {
            Service::CloudWatch => "GraniteServiceVersion20100801.",
            Service::Logs => "Logs_20140328.",
        }
    }

    /// What signatures call it.
    pub fn signing_name(self) -> &'static str {
        match self {
            Service::CloudWatch => "monitoring",
            Service::Logs => "logs",
        }
    }

    /// The operation that a request names.
    pub fn operation(self, headers: &HeaderMap) -> &str {
        let target = headers.get(TARGET).and_then(|target| target.to_str().ok());
        target.and_then(|target| target.strip_prefix(self.prefix())).unwrap_or_default()
    }

    /// The operation as policies call it.
    pub fn action(self, headers: &HeaderMap) -> String {
        let prefix = match self {
            Service::CloudWatch => "cloudwatch",
            Service::Logs => "logs",
        };
        format!("{prefix}:{}", self.operation(headers))
    }
}

/// The service that a request asks, if it is one of these.
pub fn service<B>(request: &Request<B>) -> Option<Service> {
    if *request.method() != Method::POST || request.uri().path() != "/" {
        return None;
    }
    let target = request.headers().get(TARGET)?.to_str().ok()?;
    [Service::CloudWatch, Service::Logs].into_iter().find(|service| target.starts_with(service.prefix()))
}

/// Answers whichever service is asked.
pub async fn serve(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let target = headers.get(TARGET).and_then(|target| target.to_str().ok()).unwrap_or_default();
    let known =
        [Service::CloudWatch, Service::Logs].into_iter().find(|service| target.starts_with(service.prefix()));
    let Some(service) = known else {
        let text = "a POST to / names an operation of CloudWatch or CloudWatch Logs in X-Amz-Target, as clients do that \
                    speak AWS's JSON; the query protocol and CBOR are not served";
        return refusal(StatusCode::BAD_REQUEST, "UnknownOperationException", text);
    };
    let region = caller.region.unwrap_or_else(|| api.place.region.clone());
    let place = Place { region, account: api.place.account.clone() };
    let operation = service.operation(&headers).to_owned();
    // All of it reads files.
    let answer = tokio::task::spawn_blocking(move || match service {
        Service::CloudWatch => cloudwatch::answer(&api, &operation, &body),
        Service::Logs => logs::answer(&api, &place, &operation, &body),
    });
    let answer =
        answer.await.unwrap_or_else(|_| Err(AwsError::service("the question was cut off by a shutdown")));
    match answer {
        Ok(value) => json_response(StatusCode::OK, &value, service),
        Err(error) => error.response(service),
    }
}

fn json_response(status: StatusCode, value: &Value, service: Service) -> Response {
    let content_type = match service {
        Service::CloudWatch => "application/x-amz-json-1.0",
        Service::Logs => "application/x-amz-json-1.1",
    };
    (status, [(header::CONTENT_TYPE, content_type)], value.to_string()).into_response()
}

/// An error that AWS's clients understand.
#[derive(Debug)]
pub(super) struct AwsError {
    status: StatusCode,
    name: &'static str,
    /// The code that clients of CloudWatch's older protocol know it by.
    query_code: Option<&'static str>,
    message: String,
}

impl AwsError {
    fn user(name: &'static str, message: impl Into<String>) -> AwsError {
        AwsError { status: StatusCode::BAD_REQUEST, name, query_code: None, message: message.into() }
    }

    fn service(message: impl Into<String>) -> AwsError {
        let status = StatusCode::SERVICE_UNAVAILABLE;
        AwsError { status, name: "ServiceUnavailableException", query_code: None, message: message.into() }
    }

    fn with_query_code(self, code: &'static str) -> AwsError {
        AwsError { query_code: Some(code), ..self }
    }

    fn unknown_operation(service: &str, operation: &str, served: &str) -> AwsError {
        AwsError::user(
            "UnknownOperationException",
            format!("serin does not serve {service}'s {operation:?}; it serves {served}"),
        )
    }

    fn response(self, service: Service) -> Response {
        let body = json!({ "__type": self.name, "message": self.message });
        let mut response = json_response(self.status, &body, service);
        let headers = response.headers_mut();
        headers.insert("x-amzn-errortype", HeaderValue::from_static(self.name));
        if let Some(code) = self.query_code {
            let text = format!("{code};Sender");
            headers
                .insert("x-amzn-query-error", HeaderValue::try_from(text).expect("letters and a semicolon"));
        }
        response
    }
}

impl From<StoreError> for AwsError {
    fn from(error: StoreError) -> AwsError {
        AwsError::service(error.to_string())
    }
}

/// Reads an operation's input.
fn input<T: DeserializeOwned>(body: &[u8]) -> Result<T, AwsError> {
    let body = if body.is_empty() { b"{}" } else { body };
    let read: Result<Object<T>, _> = serde_json::from_slice(body);
    read.map(|Object(input)| input).map_err(|why| AwsError::user("SerializationException", why.to_string()))
}

/// The place that a token of ours stands for: how many are passed over.
fn offset(token: Option<&str>, refused: impl Fn() -> AwsError) -> Result<usize, AwsError> {
    token.map_or(Ok(0), |token| token.parse().map_err(|_| refused()))
}

/// An error in AWS's JSON.
pub fn refusal(status: StatusCode, name: &'static str, message: &str) -> Response {
    let body = json!({ "__type": name, "message": message });
    let mut response = (status, axum::Json(body)).into_response();
    response.headers_mut().insert("x-amzn-errortype", HeaderValue::from_static(name));
    response
}
