//! Requests and answers: the base URL, the token, the timeouts, and what can go wrong on the way.

use std::fs::File;
use std::io;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use ureq::http::{Request, Response, StatusCode, Uri};
use ureq::{Agent, Body};

use super::Change;
use crate::api::wire::ErrorBody;

/// To connect.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// For a whole request, from the name to the last byte.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);
/// An event stream sends a sign of life every 15 s; silence three times as long means that nobody is there.
const STREAM_SILENCE_MAX: Duration = Duration::from_secs(45);
/// Before a change whose reply was lost is sent once more.
const RESEND_AFTER: Duration = Duration::from_millis(400);
/// No answer of serin is longer.
const ANSWER_BYTES_MAX: u64 = 64 << 20;

/// Why the daemon did not do what it was asked, or is not known to have done it.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The URL cannot be one of a daemon.
    #[error("{url:?} is no URL of a serin: {why}; set SERIN_URL to one like http://127.0.0.1:7411")]
    Url {
        /// As it was given.
        url: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// The token cannot be sent.
    #[error("SERIN_TOKEN {0}")]
    Token(&'static str),
    /// Nobody answers there.
    #[error("cannot reach serin at {url}: {why}; is `serin serve` running? Set SERIN_URL if it is elsewhere")]
    Unreachable {
        /// Where.
        url: String,
        /// What the network said.
        why: String,
    },
    /// The request may have arrived, and no answer came.
    #[error("no answer from serin at {url}: {why}")]
    Lost {
        /// Where.
        url: String,
        /// What the network said.
        why: String,
    },
    /// What was asked for did not come whole, or could not be written.
    #[error("what serin at {url} sends did not arrive whole: {why}")]
    Cut {
        /// Where from.
        url: String,
        /// What happened.
        why: String,
    },
    /// A change may have been made, and no answer came, twice.
    #[error(
        "no answer from serin at {url}: {why}; whether the change was made is not known. Look with `serin status`, or \
         say the same again with `--idempotency-key {key}`, which makes it at most once"
    )]
    LostChange {
        /// Where.
        url: String,
        /// What the network said.
        why: String,
        /// The key it was sent with.
        key: String,
    },
    /// The daemon said no; the words are the daemon's.
    #[error("{message}")]
    Refused {
        /// The HTTP status.
        status: u16,
        /// The kind, for scripts: notFound, conflict, invalid, …
        kind: String,
        /// Why, and what to do next.
        message: String,
    },
    /// Something answered that is not a serin that this command knows.
    #[error("what answers at {url} is not a serin this command understands: {what}")]
    Strange {
        /// Where.
        url: String,
        /// What came.
        what: String,
    },
}

impl ClientError {
    /// Whether the same request may well be answered a little later: the daemon restarts, or the network has a gap.
    pub fn is_passing(&self) -> bool {
        match self {
            ClientError::Unreachable { .. } | ClientError::Lost { .. } | ClientError::LostChange { .. } => {
                true
            }
            ClientError::Refused { status, .. } => *status == 503,
            _ => false,
        }
    }

    /// The kind of a refusal.
    pub fn kind(&self) -> Option<&str> {
        match self {
            ClientError::Refused { kind, .. } => Some(kind),
            _ => None,
        }
    }
}

/// The way to one daemon.
pub struct Transport {
    agent: Agent,
    base: String,
    bearer: Option<String>,
    actor: String,
}

impl Transport {
    /// Prepares to talk to the daemon at `url`, as the token's holder or as whom `actor` claims to be.
    pub fn new(url: &str, token: Option<&str>, actor: &str) -> Result<Transport, ClientError> {
        let base = checked_url(url)?;
        // A proxy of the environment is meant for the world outside, not for this machine.
        let proxy = if is_this_machine(&base) { None } else { ureq::Proxy::try_from_env() };
        let config = Agent::config_builder()
            .http_status_as_error(false)
            // A redirect would turn a change into a harmless GET that looks like success.
            .max_redirects(0)
            .max_redirects_will_error(false)
            .timeout_connect(Some(CONNECT_TIMEOUT))
            .timeout_global(Some(REQUEST_TIMEOUT))
            .user_agent(concat!("serin/", env!("CARGO_PKG_VERSION")))
            .proxy(proxy)
            .build();
        Ok(Transport {
            agent: config.new_agent(),
            base,
            bearer: token.map(bearer).transpose()?,
            actor: visible_ascii(actor),
        })
    }

    /// The daemon's URL, without a slash at its end.
    pub fn base(&self) -> &str {
        &self.base
    }

    /// Asks, and changes nothing.
    pub fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, ClientError> {
        let request = self.request("GET", path).body(()).map_err(|why| self.strange(&why))?;
        self.read(self.agent.run(request))
    }

    /// Asks for a text.
    pub fn get_text(&self, path: &str) -> Result<String, ClientError> {
        let request = self.request("GET", path).body(()).map_err(|why| self.strange(&why))?;
        let mut response = self.agent.run(request).map_err(|error| self.failed(error))?;
        if !response.status().is_success() {
            return Err(self.refusal(&mut response));
        }
        self.text(&mut response)
    }

    /// Asks for an answer that does not end by itself.
    pub fn stream(&self, path: &str) -> Result<Response<Body>, ClientError> {
        let request = self.request("GET", path).header("accept", "text/event-stream");
        let request = request.body(()).map_err(|why| self.strange(&why))?;
        let patient = self
            .agent
            .configure_request(request)
            .timeout_global(None)
            .timeout_recv_response(Some(REQUEST_TIMEOUT))
            .timeout_per_read(Some(STREAM_SILENCE_MAX))
            .build();
        let mut response = self.agent.run(patient).map_err(|error| self.failed(error))?;
        if response.status() == StatusCode::OK { Ok(response) } else { Err(self.refusal(&mut response)) }
    }

    /// Asks for a change, and once more if the reply gets lost.
    pub fn change<T: DeserializeOwned>(
        &self,
        method: &str,
        path: &str,
        body: &impl Serialize,
        change: &Change,
    ) -> Result<T, ClientError> {
        let body = serde_json::to_vec(body).expect("wire types are plain data");
        self.twice(change, || {
            let request = self.request(method, path).header("idempotency-key", &change.key);
            self.send(request, &body, REQUEST_TIMEOUT)
        })
    }

    /// Asks for bytes that may take their time, and writes them; fewer than were announced are an error.
    pub fn download(
        &self,
        timeout: Duration,
        path: &str,
        body: &impl Serialize,
        to: &mut File,
    ) -> Result<u64, ClientError> {
        let body = serde_json::to_vec(body).expect("wire types are plain data");
        let request = self.request("POST", path).header("content-type", "application/json").body(body);
        let request = request.map_err(|why| self.strange(&why))?;
        let request = self.agent.configure_request(request).timeout_global(Some(timeout)).build();
        let mut response = self.agent.run(request).map_err(|error| self.failed(error))?;
        if !response.status().is_success() {
            return Err(self.refusal(&mut response));
        }
        let Some(announced) = response.body().content_length() else {
            return Err(self.strange(&"it answers bytes without saying how many"));
        };
        let copied = io::copy(&mut response.body_mut().as_reader(), to);
        match copied.map_err(|why| why.to_string()) {
            Ok(bytes) if bytes == announced => Ok(bytes),
            Ok(bytes) => Err(ClientError::Cut {
                url: self.base.clone(),
                why: format!("{bytes} of {announced} bytes came"),
            }),
            Err(why) => Err(ClientError::Cut { url: self.base.clone(), why }),
        }
    }

    /// Asks for a deletion, whose reason has no body to be in.
    pub fn delete<T: DeserializeOwned>(&self, path: &str, change: &Change) -> Result<T, ClientError> {
        if let Some(reason) = &change.reason
            && !reason.bytes().all(is_visible)
        {
            return Err(ClientError::Refused {
                status: 400,
                kind: "invalid".to_owned(),
                message: "the reason of a deletion travels in a header: write it in plain ASCII".to_owned(),
            });
        }
        self.twice(change, || {
            let mut request = self.request("DELETE", path).header("idempotency-key", &change.key);
            if let Some(reason) = &change.reason {
                request = request.header("x-serin-reason", reason);
            }
            let request = request.body(()).map_err(|why| self.strange(&why))?;
            self.read(self.agent.run(request))
        })
    }

    fn send<T: DeserializeOwned>(
        &self,
        request: ureq::http::request::Builder,
        body: &[u8],
        timeout: Duration,
    ) -> Result<T, ClientError> {
        let request = request.header("content-type", "application/json").body(body);
        let request = request.map_err(|why| self.strange(&why))?;
        let request = self.agent.configure_request(request).timeout_global(Some(timeout)).build();
        self.read(self.agent.run(request))
    }

    /// Sends a change, and once more with the same key if the connection fails: the key makes that safe.
    fn twice<T>(&self, change: &Change, send: impl Fn() -> Result<T, ClientError>) -> Result<T, ClientError> {
        let first = send();
        if !matches!(first, Err(ClientError::Unreachable { .. } | ClientError::Lost { .. })) {
            return first;
        }
        let may_have_arrived = matches!(first, Err(ClientError::Lost { .. }));
        std::thread::sleep(RESEND_AFTER);
        match send() {
            Err(ClientError::Unreachable { url, why }) if may_have_arrived => {
                Err(ClientError::LostChange { url, why, key: change.key.clone() })
            }
            Err(ClientError::Lost { url, why }) => {
                Err(ClientError::LostChange { url, why, key: change.key.clone() })
            }
            second => second,
        }
    }

    fn request(&self, method: &str, path: &str) -> ureq::http::request::Builder {
        let mut builder = Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.base))
            .header("x-serin-actor", &self.actor);
        if let Some(bearer) = &self.bearer {
            builder = builder.header("authorization", bearer);
        }
        builder
    }

    fn read<T: DeserializeOwned>(
        &self,
        result: Result<Response<Body>, ureq::Error>,
    ) -> Result<T, ClientError> {
        let mut response = result.map_err(|error| self.failed(error))?;
        if !response.status().is_success() {
            return Err(self.refusal(&mut response));
        }
        let text = self.text(&mut response)?;
        serde_json::from_str(&text)
            .map_err(|why| self.strange(&format!("{} is not the JSON expected ({why})", excerpt(&text))))
    }

    fn text(&self, response: &mut Response<Body>) -> Result<String, ClientError> {
        let body = response.body_mut().with_config().limit(ANSWER_BYTES_MAX).lossy_utf8(true);
        body.read_to_string().map_err(|error| self.failed(error))
    }

    fn refusal(&self, response: &mut Response<Body>) -> ClientError {
        let status = response.status();
        if status.is_redirection() {
            let to = response.headers().get("location").and_then(|to| to.to_str().ok()).unwrap_or("nowhere");
            return self.strange(&format!("it answers {status} and points to {to}; set SERIN_URL to that"));
        }
        let text = match self.text(response) {
            Ok(text) => text,
            Err(error) => return error,
        };
        match serde_json::from_str::<ErrorBody>(&text) {
            Ok(body) => ClientError::Refused {
                status: status.as_u16(),
                kind: body.error.kind,
                message: body.error.message,
            },
            Err(_) => self.strange(&format!("it answers {status}: {}", excerpt(&text))),
        }
    }

    fn strange(&self, what: &impl ToString) -> ClientError {
        ClientError::Strange { url: self.base.clone(), what: what.to_string() }
    }

    fn failed(&self, error: ureq::Error) -> ClientError {
        let url = self.base.clone();
        use ureq::Timeout as T;
        match error {
            ureq::Error::HostNotFound => ClientError::Unreachable { url, why: "no such host".to_owned() },
            ureq::Error::Timeout(T::Resolve | T::Connect) => {
                ClientError::Unreachable { url, why: format!("no connection within {CONNECT_TIMEOUT:?}") }
            }
            ureq::Error::ConnectionFailed => {
                ClientError::Unreachable { url, why: "the connection failed".to_owned() }
            }
            ureq::Error::ConnectProxyFailed(why) => {
                ClientError::Unreachable { url, why: format!("the proxy of the environment refused: {why}") }
            }
            ureq::Error::Timeout(_) => ClientError::Lost { url, why: "it took too long".to_owned() },
            ureq::Error::Io(why) => match why.kind() {
                io::ErrorKind::ConnectionRefused => {
                    ClientError::Unreachable { url, why: "connection refused".to_owned() }
                }
                io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable => {
                    ClientError::Unreachable { url, why: "no way to that host".to_owned() }
                }
                // The resolver's errors have no kind of their own.
                _ if why.to_string().starts_with("failed to lookup address") => {
                    ClientError::Unreachable { url, why: "no such host".to_owned() }
                }
                _ => ClientError::Lost { url, why: format!("the connection broke ({why})") },
            },
            ureq::Error::Protocol(why) => {
                ClientError::Strange { url, what: format!("it does not speak HTTP ({why})") }
            }
            ureq::Error::Rustls(why) => {
                ClientError::Strange { url, what: format!("the TLS handshake failed ({why})") }
            }
            other => ClientError::Strange { url, what: other.to_string() },
        }
    }
}

fn is_visible(byte: u8) -> bool {
    byte == b' ' || byte.is_ascii_graphic()
}

fn visible_ascii(text: &str) -> String {
    text.chars().map(|char| if char.is_ascii_graphic() || char == ' ' { char } else { '?' }).collect()
}

fn bearer(token: &str) -> Result<String, ClientError> {
    let token = token.trim();
    if token.contains(',') {
        return Err(ClientError::Token(
            "lists several tokens, which only `serin serve` takes; set it to the one of them that is yours",
        ));
    }
    if token.is_empty() || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(ClientError::Token("is not one word of plain ASCII, as tokens are"));
    }
    Ok(format!("Bearer {token}"))
}

fn checked_url(url: &str) -> Result<String, ClientError> {
    let wrong = |why| ClientError::Url { url: without_secrets(url), why };
    let lower = url.to_ascii_lowercase();
    if !lower.starts_with("http://") && !lower.starts_with("https://") {
        return Err(wrong("it begins with neither http:// nor https://"));
    }
    let uri: Uri = url.parse().map_err(|_| wrong("it is malformed"))?;
    let authority = uri.authority().ok_or_else(|| wrong("it names no host"))?;
    if authority.as_str().contains('@') {
        return Err(wrong("it carries credentials; a token goes into SERIN_TOKEN"));
    }
    if uri.query().is_some() {
        return Err(wrong("it has a query"));
    }
    Ok(url.trim_end_matches('/').to_owned())
}

/// The URL with whatever stands before an `@` left out.
fn without_secrets(url: &str) -> String {
    match (url.find("://"), url.rfind('@')) {
        (Some(scheme), Some(at)) if scheme < at => format!("{}://…@{}", &url[..scheme], &url[at + 1..]),
        _ => url.to_owned(),
    }
}

fn is_this_machine(base: &str) -> bool {
    let Ok(uri) = base.parse::<Uri>() else { return false };
    let host = uri.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
    let is_local = host.eq_ignore_ascii_case("localhost") || host.ends_with(".localhost");
    is_local || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// The beginning of an answer, in one line.
fn excerpt(text: &str) -> String {
    let line: String =
        text.chars().map(|char| if char.is_control() { ' ' } else { char }).take(120).collect();
    format!("{:?}", line.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_checked_before_anything_is_sent() {
        for (url, base) in [
            ("http://127.0.0.1:7411", "http://127.0.0.1:7411"),
            ("https://ops.example/serin/", "https://ops.example/serin"),
            ("HTTP://[::1]:9/", "HTTP://[::1]:9"),
        ] {
            assert_eq!(checked_url(url).unwrap(), base);
        }
        for (url, part) in [
            ("localhost:7411", "neither http:// nor https://"),
            ("ftp://x", "neither http:// nor https://"),
            ("http://", "malformed"),
            ("http://me:secret@host", "SERIN_TOKEN"),
            ("http://host/?a=1", "query"),
        ] {
            let refused = checked_url(url).unwrap_err().to_string();
            assert!(refused.contains(part), "{url}: {refused}");
            assert!(!refused.contains("secret"), "{refused}");
        }
    }

    #[test]
    fn only_loopback_goes_past_the_proxy() {
        for (url, local) in [
            ("http://127.0.0.1:7411", true),
            ("http://[::1]:7411", true),
            ("http://localhost", true),
            ("https://ops.example", false),
            ("http://10.0.0.1", false),
        ] {
            assert_eq!(is_this_machine(url), local, "{url}");
        }
    }

    #[test]
    fn tokens_are_one_word() {
        assert_eq!(bearer(" ana:one ").unwrap(), "Bearer ana:one");
        assert!(bearer("ana:one,bo:two").unwrap_err().to_string().contains("several tokens"));
        assert!(bearer("two words").is_err());
    }
}
