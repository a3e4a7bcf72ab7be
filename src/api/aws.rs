//! AWS's other services behind one path: a POST to `/` names the service and the operation in `X-Amz-Target`.

use axum::Json;
use axum::http::{HeaderMap, HeaderValue, Method, Request, StatusCode};
use axum::response::{IntoResponse, Response};
use serde_json::json;

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

/// An error in AWS's JSON.
pub fn refusal(status: StatusCode, name: &'static str, message: &str) -> Response {
    let body = json!({ "__type": name, "message": message });
    let mut response = (status, Json(body)).into_response();
    response.headers_mut().insert("x-amzn-errortype", HeaderValue::from_static(name));
    response
}
