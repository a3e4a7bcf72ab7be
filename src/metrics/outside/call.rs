//! One HTTP request to somebody outside, within its time and its size, without a secret in what is said of it.

use std::collections::BTreeMap;
use std::io;
use std::time::Duration;

use ureq::http::{Request, Response, StatusCode};
use ureq::tls::{Certificate, PemItem, RootCerts, TlsConfig, parse_pem};
use ureq::{Agent, Body};

use super::{CheckRequest, Settings};
use crate::config::{PlanCa, Withheld};
use serin_core::plan::{Value, Webhook};

/// More of an answer than this is not read, and no answer.
const ANSWER_BYTES_MAX: u64 = 1024 * 1024;

/// An answer that arrived whole.
pub(super) struct Reply {
    pub status: u16,
    pub body: String,
}

/// Asks Prometheus an instant query.
pub(super) fn query(
    settings: &Settings,
    url: &Value,
    query: &str,
    headers: &BTreeMap<String, Value>,
    timeout: Duration,
) -> Result<Reply, String> {
    let url = settings.url(url)?;
    let agent = agent(settings, &url, timeout)?;
    let asked = format!("{}/api/v1/query", url.trim_end_matches('/'));
    let mut request = agent.get(asked).query("query", query).header("accept", "application/json");
    for (name, value) in headers {
        request = request.header(name, settings.value(value, &url)?);
    }
    read(request.call())
}

/// Posts to a web hook what it is about, once.
pub(super) fn post(settings: &Settings, hook: &Webhook, inquiry: &CheckRequest) -> Result<Reply, String> {
    let url = settings.url(&hook.url)?;
    let body = serde_json::to_vec(&inquiry.subject).expect("a subject is plain data");
    let mut request = Request::builder()
        .method("POST")
        .uri(&url)
        .header("content-type", "application/json")
        .header("idempotency-key", &inquiry.key);
    for (name, value) in &hook.headers {
        request = request.header(name, settings.value(value, &url)?);
    }
    // The builder's own words could repeat a secret.
    let request = request.body(body).map_err(|_| "the URL or a header is not one".to_owned())?;
    read(agent(settings, &url, hook.timeout)?.run(request))
}

fn agent(settings: &Settings, url: &str, timeout: Duration) -> Result<Agent, String> {
    let config = Agent::config_builder()
        .tls_config(settings.tls(url)?)
        .http_status_as_error(false)
        // Whoever answers may not send the question, and its secrets, somewhere else.
        .max_redirects(0)
        .max_redirects_will_error(false)
        .timeout_global(Some(timeout))
        // An answer on a connection of its own cannot be left over from another question.
        .max_idle_connections(0)
        .user_agent(concat!("serin/", env!("CARGO_PKG_VERSION")))
        .build();
    Ok(config.new_agent())
}

impl Settings {
    /// A URL as written, or from the environment; never repeated in what is said.
    fn url(&self, url: &Value) -> Result<String, String> {
        match url {
            Value::Plain(url) => Ok(url.clone()),
            Value::Env(name) => {
                let url = self.env.value(name, None).map_err(|why| withheld(&why))?;
                self.env.check(name, Some(url)).map_err(|_| {
                    format!(
                        "the URL in the variable {name} is at none of the hosts that --plan-env sends it to"
                    )
                })?;
                Ok(url.to_owned())
            }
        }
    }

    /// A header's value for a URL, as written or from the environment.
    fn value<'a>(&'a self, value: &'a Value, url: &str) -> Result<&'a str, String> {
        match value {
            Value::Plain(text) => Ok(text),
            Value::Env(name) => self.env.value(name, Some(url)).map_err(|why| withheld(&why)),
        }
    }

    /// Whom to believe at a URL.
    fn tls(&self, url: &str) -> Result<TlsConfig, String> {
        match self.ca.iter().find(|ca| ca.is_for(url)) {
            Some(ca) => Ok(TlsConfig::builder().root_certs(RootCerts::from(authorities(ca)?)).build()),
            None => Ok(TlsConfig::default()),
        }
    }

    /// Refuses files of authorities that cannot be used, so that a daemon does not start with them.
    pub fn check(&self) -> Result<(), String> {
        self.ca.iter().try_for_each(|ca| authorities(ca).map(|_| ()))
    }
}

fn authorities(ca: &PlanCa) -> Result<Vec<Certificate<'static>>, String> {
    let shown = ca.file.display();
    let pem =
        std::fs::read(&ca.file).map_err(|why| format!("cannot read the authorities in {shown}: {why}"))?;
    let mut certificates = Vec::new();
    for item in parse_pem(&pem) {
        match item {
            Ok(PemItem::Certificate(certificate)) => certificates.push(certificate),
            Ok(_) => {}
            Err(why) => return Err(format!("the authorities in {shown} are not PEM: {why}")),
        }
    }
    if certificates.is_empty() {
        Err(format!("there is no certificate in PEM in {shown}"))
    } else {
        Ok(certificates)
    }
}

fn withheld(why: &Withheld) -> String {
    format!("the plan wants {why}")
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
