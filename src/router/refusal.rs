//! The router's own answers to people: what happened, why, and what to do about it.
//!
//! They are JSON, and marked by `x-serin-error`, so that nobody takes them for a version's.

use std::fmt::Write as _;

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

    /// The same as it goes over a connection of HTTP/1.1 that nobody speaks HTTP on yet, and that ends with it.
    pub(super) fn last_words(self) -> Vec<u8> {
        let response = self.response(None);
        let mut head = format!("HTTP/1.1 {}\r\n", response.status());
        for (name, value) in response.headers() {
            let value = value.to_str().expect("the router's own answers are ASCII");
            let _ = write!(head, "{name}: {value}\r\n");
        }
        let _ = write!(head, "content-length: {}\r\nconnection: close\r\n\r\n", response.body().len());
        let mut words = head.into_bytes();
        words.extend_from_slice(response.body());
        words
    }
}
