//! One HTTP request to somebody outside, within its time and its size, without a secret in what is said of it.

use std::io;
use std::time::Duration;

use ureq::http::{Request, Response, StatusCode};
use ureq::{Agent, Body};

use super::Inquiry;
use crate::config;
use crate::domain::plan::{Value, Webhook};

/// More of an answer than this is not read, and no answer.
const ANSWER_BYTES_MAX: u64 = 1024 * 1024;

/// An answer that arrived whole.
pub(super) struct Reply {
    pub status: u16,
    pub body: String,
}

/// Asks Prometheus an instant query.
pub(super) fn query(url: &Value, query: &str, timeout: Duration) -> Result<Reply, String> {
    let url = resolved(url)?;
    let url = format!("{}/api/v1/query", url.trim_end_matches('/'));
    let request = agent(timeout).get(url).query("query", query).header("accept", "application/json");
    read(request.call())
}

/// Posts to a web hook what it is about, once.
pub(super) fn post(hook: &Webhook, inquiry: &Inquiry) -> Result<Reply, String> {
    let body = serde_json::to_vec(&inquiry.subject).expect("a subject is plain data");
    let mut request = Request::builder()
        .method("POST")
        .uri(resolved(&hook.url)?)
        .header("content-type", "application/json")
        .header("idempotency-key", &inquiry.key);
    for (name, value) in &hook.headers {
        request = request.header(name, resolved(value)?);
    }
    // The builder's own words could repeat a secret.
    let request = request.body(body).map_err(|_| "the URL or a header is not one".to_owned())?;
    read(agent(hook.timeout).run(request))
}

fn agent(timeout: Duration) -> Agent {
    let config = Agent::config_builder()
        .http_status_as_error(false)
        // Whoever answers may not send the question, and its secrets, somewhere else.
        .max_redirects(0)
        .max_redirects_will_error(false)
        .timeout_global(Some(timeout))
        // An answer on a connection of its own cannot be left over from another question.
        .max_idle_connections(0)
        .user_agent(concat!("serin/", env!("CARGO_PKG_VERSION")))
        .build();
    config.new_agent()
}

/// A text as written, or from the environment; never repeated in what is said.
fn resolved(value: &Value) -> Result<String, String> {
    match value {
        Value::Plain(text) => Ok(text.clone()),
        Value::Env(name) => match config::variable(name).map(|text| text.trim().to_owned()) {
            Some(text) if !text.is_empty() => Ok(text),
            _ => Err(format!("the daemon's environment has no variable {name}, or nothing readable in it")),
        },
    }
}

fn read(result: Result<Response<Body>, ureq::Error>) -> Result<Reply, String> {
    let mut response = result.map_err(failed)?;
    let status = response.status();
    if status.is_redirection() && status != StatusCode::NOT_MODIFIED {
        return Err(format!("the server answered {status}; redirects are not followed"));
    }
    let body = response.body_mut().with_config().limit(ANSWER_BYTES_MAX).lossy_utf8(true);
    let body = body.read_to_string().map_err(failed)?;
    Ok(Reply { status: status.as_u16(), body })
}

/// Why there is no answer, in words that cannot hold a URL or a header.
fn failed(error: ureq::Error) -> String {
    match error {
        ureq::Error::Timeout(_) => "no answer in time".to_owned(),
        ureq::Error::HostNotFound => "no such host".to_owned(),
        ureq::Error::ConnectionFailed => "the connection failed".to_owned(),
        ureq::Error::BodyExceedsLimit(limit) => format!("the answer is longer than {limit} bytes"),
        ureq::Error::Io(why) => match why.kind() {
            io::ErrorKind::ConnectionRefused => "connection refused".to_owned(),
            io::ErrorKind::TimedOut => "no answer in time".to_owned(),
            kind => format!("the connection broke ({kind})"),
        },
        ureq::Error::BadUri(_) | ureq::Error::Http(_) => "the URL is not one".to_owned(),
        _ => "the answer is not HTTP that can be read".to_owned(),
    }
}
