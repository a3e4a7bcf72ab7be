//! Lambda Invoke on versions that are processes: a place for it, one dispatch, one outcome.

use crate::router::invoke_notes::{kind_of, note};
use std::rc::Rc;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use hyper::header::{HeaderMap, HeaderValue};
use serde_json::{Map, Value};
use uuid::Uuid;

use super::exchange::{About, Transit};
use super::invoke_call::Call;
use super::invoke_error::InvokeError;
use super::invoke_stream::{self, Streamed, streamed};
use super::route::Route;
use super::steer::Pick;
use super::worker::Worker;
use crate::runtime::{Invocation, Permit, Runtimes};
use serin_core::lambda::process::ProcessTarget;

/// What was drawn for an Invoke.
pub(super) struct Drawn {
    pub(super) route: Arc<Route>,
    pub(super) pick: Pick,
    pub(super) about: About,
    pub(super) process: Arc<ProcessTarget>,
}

/// What is asked of it.
pub(super) struct Asked<'a> {
    pub(super) call: &'a Call,
    pub(super) id: Uuid,
    pub(super) headers: &'a HeaderMap,
    pub(super) payload: Bytes,
}

/// What came of it.
pub(super) struct Ran {
    pub(super) payload: Bytes,
    pub(super) is_error: bool,
    pub(super) label: HeaderValue,
    pub(super) log_tail: Vec<u8>,
}

/// An Invoke that has got a place and was counted.
struct Begun {
    runtimes: Runtimes,
    invocation: Invocation,
    permit: Permit,
    transit: Transit,
    label: HeaderValue,
}

/// Asks for a place, and counts an Invoke for the version that was drawn; one that gets no place is counted apart.
fn begin(worker: &Rc<Worker>, drawn: Drawn, asked: Asked<'_>) -> Result<Begun, InvokeError> {
    let Drawn { route, pick, about, process } = drawn;
    let Some(runtimes) = worker.runtimes.clone() else {
        return Err(InvokeError::Unavailable("this router runs no functions from zips".to_owned()));
    };
    let client_context = client_context(asked.headers)?;
    let version = route.upstream(pick.arm).version;
    let function = asked.call.function();
    let permit = runtimes.admit(&function, version).map_err(|throttled| {
        let (counters, arm) = route.counters(pick);
        counters.throttle(&worker.writer, arm);
        InvokeError::TooManyRequests(throttled)
    })?;
    let label = route.upstream(pick.arm).label.clone();
    let invocation = Invocation {
        function,
        version,
        target: process,
        arn: asked.call.asked_arn(&worker.place),
        id: asked.id,
        payload: asked.payload,
        client_context,
        trace: trace(asked.headers),
        stream: None,
    };
    let transit = Transit::begin(worker, route, pick, about);
    Ok(Begun { runtimes, invocation, permit, transit, label })
}

/// Runs an Invoke whose answer goes out as it is made.
pub(super) fn run_streamed(
    worker: &Rc<Worker>,
    drawn: Drawn,
    asked: Asked<'_>,
) -> Result<Streamed, InvokeError> {
    let wants_log = asked.call.wants_log;
    let Begun { runtimes, invocation, permit, transit, label } = begin(worker, drawn, asked)?;
    Ok(streamed(&label, |feed| invoke_stream::run(runtimes, invocation, permit, transit, wants_log, feed)))
}

/// Runs an Invoke to its end.
pub(super) async fn run(worker: &Rc<Worker>, drawn: Drawn, asked: Asked<'_>) -> Result<Ran, InvokeError> {
    let Begun { runtimes, invocation, permit, mut transit, label } = begin(worker, drawn, asked)?;
    let outcome = runtimes.invoke(invocation, permit).await;
    // No doing of the version's: dropped without an end, the transit counts as cancelled.
    let outcome = outcome.map_err(|why| InvokeError::Unavailable(why.0))?;
    transit.head();
    if let Some(failure) = outcome.failure {
        transit.fail(kind_of(failure), &note(&outcome.payload));
    }
    transit.complete();
    let (payload, is_error) = (outcome.payload, outcome.failure.is_some());
    Ok(Ran { payload, is_error, label, log_tail: outcome.log_tail })
}

/// The client's context, which it sends as base64 of a JSON object.
fn client_context(headers: &HeaderMap) -> Result<Option<Vec<u8>>, InvokeError> {
    let Some(encoded) = headers.get("x-amz-client-context") else { return Ok(None) };
    let decoded = BASE64.decode(encoded.as_bytes()).map_err(|_| InvokeError::ClientContext)?;
    // Written anew, so that it is one line and fits a header.
    let object: Map<String, Value> =
        serde_json::from_slice(&decoded).map_err(|_| InvokeError::ClientContext)?;
    Ok(Some(Value::Object(object).to_string().into_bytes()))
}

fn trace(headers: &HeaderMap) -> Option<String> {
    headers.get("x-amzn-trace-id")?.to_str().ok().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_are_noted_in_their_own_words() {
        for (payload, shown) in [
            (r#"{"errorType":"KeyError","errorMessage":"'a'","stackTrace":[]}"#, "KeyError: 'a'"),
            (r#"{"errorMessage":"boom"}"#, "boom"),
            (r#"{"errorType":"Runtime.ExitError"}"#, "Runtime.ExitError"),
            ("[]", "a function error without words"),
            ("\"x\"", "a function error without words"),
            ("", "a function error without words"),
        ] {
            assert_eq!(note(payload.as_bytes()), shown, "{payload}");
        }
    }

    #[test]
    fn a_client_context_is_base64_of_an_object() {
        let read = |value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert("x-amz-client-context", HeaderValue::from_str(value).unwrap());
            client_context(&headers)
        };
        assert_eq!(read(&BASE64.encode("{\n \"a\": 1}")).unwrap().unwrap(), b"{\"a\":1}");
        for bad in ["", "!", &BASE64.encode("[]"), &BASE64.encode("{")] {
            assert_eq!(read(bad), Err(InvokeError::ClientContext), "{bad}");
        }
        assert_eq!(client_context(&HeaderMap::new()), Ok(None));
    }
}
