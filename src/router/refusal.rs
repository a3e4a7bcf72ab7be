//! The router's own answers to people: what happened, why, and what to do about it.
//!
//! They are JSON, and marked by `x-serin-error`, so that nobody takes them for a version's.

use bytes::Bytes;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::{Response, StatusCode};
use serde_json::json;

use super::headers::{EXECUTED_VERSION, SERIN_ERROR};

/// A request that was not, or not fully, served.
#[derive(Debug)]
pub(super) struct Refusal {
    /// The status it is answered with.
    pub(super) status: StatusCode,
    /// The kind in one word or two, as `x-serin-error` carries it.
    pub(super) kind: &'static str,
    /// What happened.
    pub(super) message: String,
    /// What to do.
    pub(super) hint: String,
}

impl Refusal {
    /// The answer; `label` names the version, if one was picked.
    pub(super) fn response(self, label: Option<&HeaderValue>) -> Response<Bytes> {
        let body = json!({"error": {"kind": self.kind, "message": self.message, "hint": self.hint}});
        let mut response = Response::new(Bytes::from(format!("{body}\n")));
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(SERIN_ERROR, HeaderValue::from_static(self.kind));
        if let Some(label) = label {
            headers.insert(EXECUTED_VERSION, label.clone());
        }
        response
    }
}
