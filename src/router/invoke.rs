//! Lambda Invoke: the payload goes to an HTTP version's URL as a POST, and its answer comes back; versions that are
//! processes are `invoke_process`'s.
//!
//! An answer below 500 is the function's result, whatever its status. A 5xx, and a version that cannot be reached,
//! breaks off or takes too long, is a function error: status 200 with `X-Amz-Function-Error`, as Lambda does it, and
//! a failure of the version that was drawn.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use hyper::body::Incoming;
use hyper::header::{CONNECTION, CONTENT_TYPE, HOST, HeaderMap, HeaderName, HeaderValue};
use hyper::http::request;
use hyper::{Method, Request, Response, StatusCode};
use serde::de::IgnoredAny;
use serde_json::{Value, json};
use uuid::Uuid;

use super::authorize::{authorize, introduce};
use super::budget::Room;
use super::download::{Download, Uncollected};
use super::event_stream::Completed;
use super::exchange::{About, Answered, Face, Fault, FaultKind, Outgoing, Transit};
use super::handle::OfSerin;
use super::headers::{self, ARM, EXECUTED_VERSION};
use super::invoke_call::{Call, InvocationType};
use super::invoke_error::InvokeError;
use super::invoke_process::{Asked, Drawn, run, run_streamed};
use super::invoke_stream::{Streamed, pass_on, streamed};
use super::lines::Running;
use super::route::Service;
use super::steer::NotServed;
use super::upload::{Unread, read_whole};
use super::worker::Worker;
use crate::clock;
use serin_core::lambda::async_event::{AsyncEvent, EVENT_BYTES_MAX};
use serin_core::lambda::log::{Run, end_lines, start_line};
use serin_core::model::arn::VersionId;

/// The largest payload: 6 MiB, as on Lambda.
pub const PAYLOAD_BYTES_MAX: usize = 6 * 1024 * 1024;
/// The largest answer; Lambda allows it a hundred bytes more.
const ANSWER_BYTES_MAX: usize = PAYLOAD_BYTES_MAX + 100;
/// How much of a failed answer is quoted.
const QUOTE_BYTES_MAX: usize = 4 * 1024;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-amzn-requestid");
const FUNCTION_ERROR: HeaderName = HeaderName::from_static("x-amz-function-error");
const LOG_RESULT: HeaderName = HeaderName::from_static("x-amz-log-result");
/// What a version is told of the client's request.
static PASSED_ON: [HeaderName; 4] = [
    HeaderName::from_static("x-amz-client-context"),
    HeaderName::from_static("traceparent"),
    HeaderName::from_static("tracestate"),
    HeaderName::from_static("x-amzn-trace-id"),
];
/// What of it is kept with an event.
const TRACING: [&str; 3] = ["traceparent", "tracestate", "x-amzn-trace-id"];

/// The body of an Invoke.
pub(super) enum Payload {
    /// As the client sends it.
    Stream(Incoming),
    /// In memory.
    Whole(Bytes),
}

/// The answer to an Invoke.
pub(super) enum Invoked {
    /// In memory.
    Whole(Response<Bytes>),
    /// As it is made.
    Streamed(Streamed),
}

impl From<Response<Bytes>> for Invoked {
    fn from(response: Response<Bytes>) -> Invoked {
        Invoked::Whole(response)
    }
}

impl Invoked {
    fn headers_mut(&mut self) -> &mut HeaderMap {
        match self {
            Invoked::Whole(response) => response.headers_mut(),
            Invoked::Streamed(streamed) => streamed.response.headers_mut(),
        }
    }
}

/// Answers one Invoke.
pub(super) async fn invoke(worker: &Rc<Worker>, request: Request<Payload>) -> Invoked {
    let given = request.extensions().get::<OfSerin>().and_then(|of_serin| of_serin.id);
    let id = given.unwrap_or_else(|| uuid::Builder::from_random_bytes(worker.random_bytes()).into_uuid());
    let is_doubtful = !headers::is_chunked_only(request.headers());
    let invoked = if is_doubtful {
        let text = "the only transfer coding that is taken is chunked".to_owned();
        Err(InvokeError::InvalidRequestContent(text))
    } else {
        invoked(worker, request, id).await
    };
    let mut response = match invoked {
        Ok(response) => response,
        Err(error) => error.response().into(),
    };
    response.headers_mut().insert(REQUEST_ID, header_of(id));
    if is_doubtful {
        // Another reader may end this request elsewhere, so nothing behind it is taken for one.
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

async fn invoked(worker: &Rc<Worker>, request: Request<Payload>, id: Uuid) -> Result<Invoked, InvokeError> {
    let (head, payload) = request.into_parts();
    introduce(worker, &head)?;
    // Read also where the head is faulty, so that the connection is good for another call.
    let mut room = worker.payloads.room();
    let payload = whole(payload, worker.timeouts.body_idle, &mut room).await?;
    let call = Call::read(&head.method, &head.uri, &head.headers, &worker.place)?;
    authorize(worker, &head, &payload, &call)?;
    // After the payload has come, so that a slow one is routed by the weights of the moment it is sent on.
    let route =
        worker.route(&call.key).ok_or_else(|| InvokeError::FunctionNotFound(call.arn(&worker.place)))?;
    let payload = checked(payload)?;
    match call.invocation {
        InvocationType::RequestResponse => {}
        InvocationType::DryRun => return Ok(empty(StatusCode::NO_CONTENT).into()),
        InvocationType::Event => {
            // Boxed, as is what goes to a process: all others would have to carry it.
            Box::pin(keep(worker, call, id, &head.headers, payload)).await?;
            return Ok(empty(StatusCode::ACCEPTED).into());
        }
    }

    let pick = worker.pick(&route, &head.headers).map_err(|stranger| {
        let NotServed { header, named } = stranger;
        let served = route.served();
        InvokeError::InvalidParameterValue(format!(
            "The header {header} names {named:?}; {} serves {served}.",
            call.key
        ))
    })?;
    let trace = headers::trace(&head.headers);
    let about = About { method: Method::POST, trace, path: head.uri.path().into(), is_copy: false };
    let (service, seat) = match route.upstream(pick.arm).reach.service() {
        Ok(reached) => reached,
        Err(process) => {
            let process = Arc::clone(process);
            let drawn = Drawn { route, pick, about, process };
            let asked = Asked { call: &call, id, headers: &head.headers, payload };
            if call.is_streamed {
                return run_streamed(worker, drawn, asked).map(Invoked::Streamed);
            }
            let outcome = Box::pin(run(worker, drawn, asked)).await?;
            let log = call.wants_log.then_some(outcome.log_tail);
            let room = HeaderMap::new();
            return Ok(answer(outcome.payload, outcome.is_error, &outcome.label, log, room).into());
        }
    };
    // Nothing else of the client's head outlives this, see `headers::detached`.
    let mut upstream_head = post_to(&service, head.headers, id);
    if let Some(label) = route.arm_label(pick) {
        upstream_head.headers.insert(ARM, label);
    }
    drop(head.uri);
    let version = route.upstream(pick.arm).version;
    let transit = Transit::begin(worker, route.clone(), pick, about).seated(seat);
    let (at, waits) = (transit.dispatched_at(), transit.waits());
    let failed = move |fault: Fault| match fault.kind {
        FaultKind::TimedOut => Ok(timed_out(id, waits.first_byte)),
        FaultKind::Unreachable => Ok(function_error("Upstream.Unreachable", &fault.detail)),
        FaultKind::Exhausted => Err(InvokeError::Service(fault.detail)),
        FaultKind::Broken | FaultKind::ClientBroke | FaultKind::ClientStalled => {
            Ok(function_error("Upstream.Broken", &fault.detail))
        }
    };
    if call.is_streamed {
        let function = call.function();
        worker.say(&function, version, || start_line(id, version));
        let (worker, wants_log) = (Rc::clone(worker), call.wants_log);
        let label = route.upstream(pick.arm).label.clone();
        return Ok(Invoked::Streamed(streamed(&label, async move |feed| {
            let sent = transit.send(&service, upstream_head, Outgoing::Whole(payload), Face::Invoke).await;
            let error = match sent {
                Ok(Answered::Whole(answer, _)) if route.is_function_error(answer.status()) => {
                    result_of(answer.status(), answer.into_body(), |_| true).await.err()
                }
                Ok(Answered::Whole(answer, _)) => {
                    let broken = |why: &str| function_error("Upstream.Broken", why);
                    pass_on(answer.into_body(), &feed, broken).await?
                }
                Ok(Answered::Tunnel(..)) => Some(function_error("Upstream.Broken", "switched protocols")),
                Err(fault) => {
                    let detail = fault.detail.clone();
                    Some(failed(fault).unwrap_or_else(|_| function_error("ServiceException", &detail)))
                }
            };
            let took = clock::instant_now().saturating_duration_since(at);
            worker.say(&function, version, || end_lines(id, took));
            let log = wants_log.then(|| BASE64.encode(start_line(id, version) + &end_lines(id, took)));
            feed.complete(Completed { error, log }).await
        })));
    }
    let running = Running::begun(worker, Arc::clone(&route), version, id, at);
    let mut room = HeaderMap::new();
    let result = match transit.send(&service, upstream_head, Outgoing::Whole(payload), Face::Invoke).await {
        Ok(Answered::Whole(answer, _)) => {
            let (head, body) = answer.into_parts();
            room = head.headers;
            result_of(head.status, body, |status| route.is_function_error(status)).await
        }
        Ok(Answered::Tunnel(..)) => Err(function_error("Upstream.Broken", "switched protocols")),
        Err(fault) => Err(failed(fault)?),
    };
    let run = running.end();
    let log = call.wants_log.then(|| lines_of(&run, version).into_bytes());
    let is_error = result.is_err();
    let label = &route.upstream(pick.arm).label;
    Ok(answer(result.unwrap_or_else(|error| error), is_error, label, log, room).into())
}

fn header_of(id: Uuid) -> HeaderValue {
    let mut text = [0; uuid::fmt::Hyphenated::LENGTH];
    HeaderValue::from_str(id.hyphenated().encode_lower(&mut text)).expect("a UUID is hexadecimal")
}

fn empty(status: StatusCode) -> Response<Bytes> {
    let mut response = Response::new(Bytes::new());
    *response.status_mut() = status;
    response
}

/// What the log has of an invocation.
fn lines_of(run: &Run, version: VersionId) -> String {
    (0..Run::LINES).map(|number| run.line(number, version) + "\n").collect()
}

/// Hands an event to whoever keeps them, and waits until it is durable.
///
/// As on Lambda, the client's context is for those who wait for the answer.
async fn keep(
    worker: &Worker,
    call: Call,
    id: Uuid,
    headers: &HeaderMap,
    payload: Bytes,
) -> Result<(), InvokeError> {
    if payload.len() > EVENT_BYTES_MAX {
        return Err(InvokeError::RequestTooLarge(EVENT_BYTES_MAX));
    }
    let Some(events) = &worker.events else {
        return Err(InvokeError::Unavailable("this router keeps no events".to_owned()));
    };
    let text = |name: &&str| Some(((*name).to_owned(), headers.get(*name)?.to_str().ok()?.to_owned()));
    let event = AsyncEvent {
        id,
        trace: TRACING.iter().filter_map(text).collect(),
        arn: call.arn(&worker.place),
        function: call.function(),
        qualifier: call.qualifier().map(str::to_owned),
        hops: 0,
        accepted_at: clock::wall_now(),
        payload,
    };
    let refused = |why| InvokeError::Unavailable(format!("the event was not accepted: {why}"));
    events(event).await.map_err(refused)
}

/// The answer to an Invoke that a version got; its headers take the room of others that are no longer wanted.
fn answer(
    payload: Bytes,
    is_error: bool,
    label: &HeaderValue,
    log: Option<Vec<u8>>,
    room: HeaderMap,
) -> Response<Bytes> {
    let mut response = Response::new(payload);
    let headers = response.headers_mut();
    *headers = room;
    headers.clear();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(EXECUTED_VERSION, label.clone());
    if is_error {
        headers.insert(FUNCTION_ERROR, HeaderValue::from_static("Unhandled"));
    }
    if let Some(log) = log {
        let log = HeaderValue::try_from(BASE64.encode(log)).expect("base64 is visible ASCII");
        headers.insert(LOG_RESULT, log);
    }
    response
}

/// Collects a payload, no larger than Lambda takes and no slower than a body may be.
async fn whole(payload: Payload, idle_max: Duration, room: &mut Room) -> Result<Bytes, InvokeError> {
    let read = match payload {
        Payload::Whole(bytes) if bytes.len() > PAYLOAD_BYTES_MAX => Err(Unread::TooLarge),
        Payload::Whole(bytes) => Ok(bytes),
        Payload::Stream(body) => read_whole(body, PAYLOAD_BYTES_MAX, idle_max, Some(room)).await,
    };
    read.map_err(|why| match why {
        Unread::TooLarge => InvokeError::RequestTooLarge(PAYLOAD_BYTES_MAX),
        Unread::Stalled => InvokeError::RequestTimedOut,
        Unread::NoRoom => InvokeError::Busy,
        Unread::Broken(broken) => InvokeError::InvalidRequestContent(broken.to_string()),
    })
}

/// Holds a payload to JSON; none at all becomes `{}`, which is what a function is handed on Lambda.
fn checked(payload: Bytes) -> Result<Bytes, InvokeError> {
    if payload.is_empty() {
        return Ok(Bytes::from_static(b"{}"));
    }
    let text = std::str::from_utf8(&payload).map_err(|error| error.to_string());
    let read =
        text.and_then(|text| serde_json::from_str::<IgnoredAny>(text).map_err(|error| error.to_string()));
    read.map_err(InvokeError::InvalidRequestContent)?;
    Ok(payload)
}

/// What is sent to a version; its headers take the room of the client's.
fn post_to(service: &Service, mut headers: HeaderMap, id: Uuid) -> request::Parts {
    let passed = passed_on(&headers);
    headers.clear();
    headers.insert(HOST, service.host_header.clone());
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(REQUEST_ID, header_of(id));
    for (name, value) in PASSED_ON.iter().zip(passed) {
        if let Some(value) = value {
            headers.insert(name, value);
        }
    }
    let mut head = Request::new(()).into_parts().0;
    (head.method, head.uri, head.headers) = (Method::POST, service.root.clone(), headers);
    head
}

fn passed_on(client: &HeaderMap) -> [Option<HeaderValue>; PASSED_ON.len()] {
    std::array::from_fn(|at| headers::first(client, &PASSED_ON[at]).cloned())
}

/// The payload a version answered with, or the function error it made.
async fn result_of(
    status: StatusCode,
    body: Download,
    is_error: impl Fn(StatusCode) -> bool,
) -> Result<Bytes, Bytes> {
    let collected = body.collect(ANSWER_BYTES_MAX).await.map_err(|why| match why {
        Uncollected::Broken(broken) => function_error("Upstream.Broken", &broken.to_string()),
        Uncollected::TooLarge(text) => function_error("Function.ResponseSizeTooLarge", &text),
    })?;
    if is_error(status) { Err(status_error(status, &collected)) } else { Ok(collected) }
}

/// A failed answer as a function error: in the version's own words if it speaks Lambda's language, else quoted.
fn status_error(status: StatusCode, body: &[u8]) -> Bytes {
    if let Ok(Value::Object(own)) = serde_json::from_slice(body)
        && own.contains_key("errorMessage")
    {
        return Bytes::from(Value::Object(own).to_string());
    }
    let quoted = String::from_utf8_lossy(&body[..body.len().min(QUOTE_BYTES_MAX)]);
    let text = if quoted.trim().is_empty() {
        format!("answered {status}")
    } else {
        format!("answered {status}: {}", quoted.trim())
    };
    function_error("Upstream.Status", &text)
}

fn timed_out(id: Uuid, limit: Duration) -> Bytes {
    let text = format!("RequestId: {id} Error: Task timed out after {:.2} seconds", limit.as_secs_f64());
    function_error("Sandbox.Timedout", &text)
}

fn function_error(kind: &str, message: &str) -> Bytes {
    Bytes::from(json!({"errorMessage": message, "errorType": kind}).to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn payloads_are_json_or_nothing() {
        assert_eq!(checked(Bytes::new()).unwrap(), "{}");
        for good in ["null", "1", "\"text\"", "[1, 2]", " {\"a\": {}} "] {
            assert_eq!(checked(Bytes::from(good)).unwrap(), good);
        }
        let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
        assert!(checked(Bytes::from(deep)).is_ok(), "depth is the function's business");
        for bad in [&b"{"[..], b"{} x", b"'a'", b"\xff", b" "] {
            assert!(
                matches!(checked(Bytes::copy_from_slice(bad)), Err(InvokeError::InvalidRequestContent(_))),
                "{bad:?}"
            );
        }
    }

    #[test]
    fn function_errors_keep_the_versions_own_words() {
        let own = br#"{"errorMessage": "boom", "errorType": "KeyError", "stackTrace": []}"#;
        let kept: Value = serde_json::from_slice(&status_error(StatusCode::BAD_GATEWAY, own)).unwrap();
        assert_eq!(kept["errorType"], "KeyError");
        let quoted: Value =
            serde_json::from_slice(&status_error(StatusCode::BAD_GATEWAY, b"<h1>down</h1>\n")).unwrap();
        assert_eq!(quoted["errorMessage"], "answered 502 Bad Gateway: <h1>down</h1>");
        assert_eq!(quoted["errorType"], "Upstream.Status");
    }
}
