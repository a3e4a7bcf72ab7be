//! Functions and their published versions.
//!
//! A version is immutable: publishing makes a new one, and an unchanged target publishes the same one again, as AWS
//! does for unchanged code. What a version runs as is its target.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::lambda::alias::AliasId;
use crate::lambda::concurrency::{EventInvoke, Provisioned};
use crate::lambda::health::HealthPath;
use crate::lambda::process::{CodeSha256, ProcessTarget};
use crate::lambda::settings::Settings;
use crate::lambda::timeouts::UpstreamTimeouts;
use crate::model::arn::{FunctionName, VersionNumber};
use crate::model::rollout_id::RolloutId;
use crate::model::time::Timestamp;

/// The change of the store that made a record what it is; every change has a larger one.
///
/// It is the sequence number of the event that journals the change, so a revision is never used twice, not even
/// for an alias deleted and made again. Its opaque form for Lambda clients is the RevisionId.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Revision(pub u64);

/// What a version runs as.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "camelCase")]
pub enum Target {
    /// An HTTP service that serves this version at a URL of its own.
    Http {
        /// Where the version answers.
        url: UpstreamUrl,
        /// What its places are asked for regularly; without it, only connections and requests show how they are.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        health: Option<HealthPath>,
        /// How long it is waited for, where that is not the router's own to decide.
        #[serde(skip_serializing_if = "UpstreamTimeouts::is_empty", default)]
        timeouts: UpstreamTimeouts,
    },
    /// Code from a zip that serin runs itself; shared, because every route to the version holds it.
    Process(Arc<ProcessTarget>),
}

impl Target {
    /// Where an HTTP version answers; `None` for one that serin runs itself.
    pub fn url(&self) -> Option<&UpstreamUrl> {
        match self {
            Target::Http { url, .. } => Some(url),
            Target::Process(_) => None,
        }
    }

    /// What the places of an HTTP version are asked for regularly, if anything is.
    pub fn health(&self) -> Option<&HealthPath> {
        match self {
            Target::Http { health, .. } => health.as_ref(),
            Target::Process(_) => None,
        }
    }

    /// How long an HTTP version is waited for, as whoever published it says.
    pub fn timeouts(&self) -> UpstreamTimeouts {
        match self {
            Target::Http { timeouts, .. } => *timeouts,
            Target::Process(_) => UpstreamTimeouts::default(),
        }
    }

    /// The code of a version that serin runs itself.
    pub fn process(&self) -> Option<&Arc<ProcessTarget>> {
        match self {
            Target::Http { .. } => None,
            Target::Process(process) => Some(process),
        }
    }
}

/// Writes the URL, or the runtime and the first digits of the code's digest.
impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Target::Http { url, .. } => url.fmt(f),
            Target::Process(process) => {
                write!(f, "{} {}", process.runtime, &process.code_sha256.hex()[..12])
            }
        }
    }
}

/// The URL of an HTTP version: `http://host[:port][,host[:port]…][/base/path]`, without credentials, query or fragment.
///
/// Where it names several places, each of them serves the version, and each request goes to one. With `h2c://` instead of `http://`, the version is spoken to in HTTP/2 without TLS, by prior knowledge.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct UpstreamUrl {
    speaks_http2: bool,
    authority: String,
    base_path: String,
}

impl UpstreamUrl {
    /// Whether the version is spoken to in HTTP/2, and not in HTTP/1.1.
    pub fn speaks_http2(&self) -> bool {
        self.speaks_http2
    }

    /// The places that serve the version, at least one: each `host` or `host:port`, as it goes into the Host header.
    pub fn places(&self) -> impl Iterator<Item = &str> + Clone {
        self.authority.split(',')
    }

    /// What stands before every forwarded path: empty, or `/…` without a trailing slash.
    pub fn base_path(&self) -> &str {
        &self.base_path
    }
}

/// Host and port of a place to connect to; the port is 80 unless named. IPv6 brackets are taken off.
pub fn host_port(place: &str) -> (&str, u16) {
    let (host, port) = match place.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, port.parse().unwrap_or(80)),
        _ => (place, 80),
    };
    (host.trim_start_matches('[').trim_end_matches(']'), port)
}

impl fmt::Display for UpstreamUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.speaks_http2 { "h2c" } else { "http" };
        write!(f, "{scheme}://{}{}", self.authority, self.base_path)
    }
}

/// The most places that may serve a version.
const PLACES_MAX: usize = 32;

/// Why a text is not the URL of an HTTP version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UrlError {
    /// `https:` and the like.
    #[error(
        "only http:// and h2c:// (HTTP/2) upstreams are served; terminate TLS in front of the version or on its host"
    )]
    Scheme,
    /// A user name or password in the URL.
    #[error("credentials do not belong in a version's URL")]
    Credentials,
    /// `?…` or `#…`.
    #[error("a version's URL has no query and no fragment; each request brings its own")]
    QueryOrFragment,
    /// The same place twice.
    #[error("a place stands twice in the URL; name each that serves the version once")]
    Twice,
    /// More places than there may be.
    #[error("at most {PLACES_MAX} places may serve a version; put a balancer before more")]
    TooMany,
    /// Anything else.
    #[error("not a URL of the form http://host[:port][,host[:port]…][/path], or h2c:// for HTTP/2")]
    Malformed,
}

impl FromStr for UpstreamUrl {
    type Err = UrlError;

    fn from_str(text: &str) -> Result<UpstreamUrl, UrlError> {
        let (scheme, rest) = text.split_once("://").ok_or(UrlError::Malformed)?;
        let speaks_http2 = scheme.eq_ignore_ascii_case("h2c");
        if !speaks_http2 && !scheme.eq_ignore_ascii_case("http") {
            return Err(if scheme.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
                UrlError::Scheme
            } else {
                UrlError::Malformed
            });
        }
        if rest.contains(['?', '#']) {
            return Err(UrlError::QueryOrFragment);
        }
        let (authority, path) = rest.find('/').map_or((rest, ""), |slash| rest.split_at(slash));
        if authority.contains('@') {
            return Err(UrlError::Credentials);
        }
        let visible = |byte: u8| byte.is_ascii_graphic() && !b"\"<>\\^`{|}".contains(&byte);
        if !text.bytes().all(visible) || !authority.split(',').all(is_authority) {
            return Err(UrlError::Malformed);
        }
        let authority = authority.to_ascii_lowercase();
        let mut places: Vec<_> = authority.split(',').map(host_port).collect();
        if places.len() > PLACES_MAX {
            return Err(UrlError::TooMany);
        }
        let named = places.len();
        places.sort_unstable();
        places.dedup();
        if places.len() < named {
            return Err(UrlError::Twice);
        }
        Ok(UpstreamUrl { speaks_http2, authority, base_path: path.trim_end_matches('/').to_owned() })
    }
}

fn is_authority(text: &str) -> bool {
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => match rest.split_once(']') {
            Some((host, port)) if host.parse::<std::net::Ipv6Addr>().is_ok() => ("host", port),
            _ => return false,
        },
        None => text.find(':').map_or((text, ""), |colon| text.split_at(colon)),
    };
    let is_host = !host.is_empty()
        && host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte))
        && !host.starts_with('.');
    let is_port = port.is_empty()
        || port.strip_prefix(':').is_some_and(|digits| {
            digits.bytes().all(|byte| byte.is_ascii_digit())
                && digits.parse::<u16>().is_ok_and(|port| port > 0)
        });
    is_host && is_port
}

impl From<UpstreamUrl> for String {
    fn from(url: UpstreamUrl) -> String {
        url.to_string()
    }
}

impl TryFrom<String> for UpstreamUrl {
    type Error = UrlError;

    fn try_from(text: String) -> Result<UpstreamUrl, UrlError> {
        text.parse()
    }
}

/// What `$LATEST` is and a version freezes: the target and all that belongs to it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Configuration {
    /// What it runs as.
    pub target: Target,
    /// The execution role's ARN; versions behind one alias share it.
    pub role: String,
    /// Where events that failed for good go; versions behind one alias share it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub dead_letter: Option<String>,
    /// Free text, at most 256 characters.
    #[serde(default)]
    pub description: String,
    /// The commit the version was built from, as whoever published it says.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub commit: Option<String>,
    /// What of it has no effect here and is given back as it came.
    #[serde(default)]
    pub settings: Settings,
}

impl Configuration {
    /// What stands for the code, as Lambda clients see it: the zip's digest, or for an HTTP version that of its URL and
    /// of its health path and its timeouts, where it has them, in hex.
    pub fn code_sha256(&self) -> String {
        match &self.target {
            Target::Process(process) => process.code_sha256.to_string(),
            Target::Http { url, health, timeouts } => {
                // None has a line's end in it, and only a path begins with a slash.
                let mut text = url.to_string();
                for more in [health.as_ref().map(ToString::to_string), said(timeouts)].into_iter().flatten() {
                    text = format!("{text}\n{more}");
                }
                CodeSha256::of(text.as_bytes()).hex()
            }
        }
    }
}

fn said(timeouts: &UpstreamTimeouts) -> Option<String> {
    (!timeouts.is_empty()).then(|| timeouts.to_string())
}

/// The role of versions that were published without one.
pub const DEFAULT_ROLE: &str = "arn:aws:iam::000000000000:role/serin";

/// A function: a name, what would be published next, and a count of what was.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Function {
    /// Its name.
    pub name: FunctionName,
    /// `$LATEST`.
    pub latest: Configuration,
    /// The last change of `$LATEST`.
    pub revision: Revision,
    /// The highest number ever published; numbers are not used again after a deletion.
    pub last_version: u64,
    /// When it was made.
    pub created_at: Timestamp,
    /// When `$LATEST` last changed.
    pub modified_at: Timestamp,
    /// The version that `$LATEST` was published as, while it has not changed since.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub published_as: Option<VersionNumber>,
    /// Names and values that its owner gave it.
    #[serde(skip_serializing_if = "BTreeMap::is_empty", default)]
    pub tags: BTreeMap<String, String>,
    /// How many invocations of it may run at once; 0 stops it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub reserved_concurrency: Option<u32>,
    /// Processes kept ready, by version or alias.
    #[serde(skip_serializing_if = "BTreeMap::is_empty", default)]
    pub provisioned: BTreeMap<String, Provisioned>,
    /// How events are handled, by version or alias; `$LATEST` is the bare function.
    #[serde(skip_serializing_if = "BTreeMap::is_empty", default)]
    pub event_invoke: BTreeMap<String, EventInvoke>,
}

impl Function {
    /// A function that was just made, with nothing published.
    pub fn new(name: FunctionName, latest: Configuration, revision: Revision, at: Timestamp) -> Function {
        Function {
            name,
            latest,
            revision,
            last_version: 0,
            created_at: at,
            modified_at: at,
            published_as: None,
            tags: BTreeMap::new(),
            reserved_concurrency: None,
            provisioned: BTreeMap::new(),
            event_invoke: BTreeMap::new(),
        }
    }
}

/// A published, immutable version.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Version {
    /// Its function.
    pub function: FunctionName,
    /// Its number.
    pub number: VersionNumber,
    /// What it froze.
    pub configuration: Configuration,
    /// The change that published it.
    pub revision: Revision,
    /// When it was published.
    pub published_at: Timestamp,
}

/// Why a version cannot be deleted: who still needs it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum VersionInUse {
    /// Aliases name it. The text is AWS's.
    #[error("Unable to delete version because the following aliases reference it: [{}]", .0.join(", "))]
    Aliases(Vec<String>),
    /// A rollout is moving to or from it.
    #[error(
        "version is part of rollout {rollout} on {alias}; wait for its end or `serin abort {alias}` first"
    )]
    Rollout {
        /// The rollout.
        rollout: RolloutId,
        /// The alias it moves.
        alias: AliasId,
    },
    /// `serin rollback` would return to it.
    #[error("version is what `serin rollback {alias}` would restore until the next rollout there succeeds")]
    RollbackTarget {
        /// The alias it would be restored on.
        alias: AliasId,
    },
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lambda::process::{Architecture, CodeSha256, Runtime};

    #[test]
    fn configurations_of_earlier_stores_are_read() {
        let stored = r#"{"target":{"kind":"http","url":"http://h:1"},"role":"r","description":"d"}"#;
        let read: Configuration = serde_json::from_str(stored).unwrap();
        assert_eq!(read.target.to_string(), "http://h:1");
        assert_eq!(read.settings, Settings::default());
        let written = serde_json::to_string(&read).unwrap();
        assert!(written.contains(r#""target":{"kind":"http","url":"http://h:1"}"#), "{written}");
        assert_eq!(serde_json::from_str::<Configuration>(&written).unwrap(), read);
    }

    #[test]
    fn a_health_path_is_stored_and_is_part_of_the_digest() {
        let with = |health: &str| -> Configuration {
            let target = format!(r#"{{"kind":"http","url":"http://h:1"{health}}}"#);
            serde_json::from_str(&format!(r#"{{"target":{target},"role":"r"}}"#)).unwrap()
        };
        let asked = with(r#","health":"/healthz""#);
        assert_eq!(asked.target.health().map(HealthPath::as_str), Some("/healthz"));
        let written = serde_json::to_string(&asked).unwrap();
        assert_eq!(serde_json::from_str::<Configuration>(&written).unwrap(), asked);
        assert_eq!(with("").code_sha256(), CodeSha256::of(b"http://h:1").hex(), "as it always was");
        let digests = [with(""), asked, with(r#","health":"/other""#)].map(|one| one.code_sha256());
        assert!(
            digests[0] != digests[1] && digests[1] != digests[2] && digests[0] != digests[2],
            "{digests:?}"
        );
        let broken = r#"{"kind":"http","url":"http://h:1","health":"healthz"}"#;
        assert!(
            serde_json::from_str::<Target>(broken).unwrap_err().to_string().contains("begins with a slash")
        );
    }

    #[test]
    fn processes_are_stored_and_read() {
        let target = Target::Process(Arc::new(ProcessTarget {
            code_sha256: CodeSha256::of(b""),
            code_bytes: 0,
            runtime: Runtime::Python(13),
            handler: "app.handler".into(),
            timeout_s: 3,
            memory_mb: 128,
            architecture: Architecture::Arm64,
            environment: [("A".to_owned(), "b".to_owned())].into(),
        }));
        let text = serde_json::to_string(&target).unwrap();
        assert!(text.starts_with(r#"{"kind":"process","codeSha256":"47DEQpj8"#), "{text}");
        assert_eq!(serde_json::from_str::<Target>(&text).unwrap(), target);
        assert_eq!(target.to_string(), "python3.13 e3b0c44298fc");
    }

    #[test]
    fn upstream_urls() {
        for (text, shown, host_port) in [
            ("http://127.0.0.1:8080", "http://127.0.0.1:8080", ("127.0.0.1", 8080)),
            ("HTTP://Shop.internal/", "http://shop.internal", ("shop.internal", 80)),
            ("http://[::1]:9000/v2/", "http://[::1]:9000/v2", ("::1", 9000)),
            ("http://[::1]", "http://[::1]", ("::1", 80)),
            ("H2C://Shop.internal:50051/v2/", "h2c://shop.internal:50051/v2", ("shop.internal", 50051)),
        ] {
            let url: UpstreamUrl = text.parse().unwrap();
            assert_eq!(url.speaks_http2(), shown.starts_with("h2c:"));
            assert_eq!(url.to_string().parse(), Ok(url.clone()));
            let place = url.places().next().unwrap();
            assert_eq!((url.to_string().as_str(), super::host_port(place)), (shown, host_port));
        }
        let several: UpstreamUrl = "http://A:1,[::1]:2,b/base/".parse().unwrap();
        assert_eq!(several.to_string(), "http://a:1,[::1]:2,b/base");
        assert_eq!(several.places().collect::<Vec<_>>(), ["a:1", "[::1]:2", "b"]);
        let many = |count: u16| (1..=count).map(|port| format!("a:{port}")).collect::<Vec<_>>().join(",");
        assert!(format!("http://{}", many(32)).parse::<UpstreamUrl>().is_ok());
        assert_eq!(format!("http://{}", many(33)).parse::<UpstreamUrl>(), Err(UrlError::TooMany));
        use UrlError::*;
        for (text, why) in [
            ("https://shop", Scheme),
            ("h2://shop", Scheme),
            ("h2c://user@shop", Credentials),
            ("shop:8080", Malformed),
            ("http://", Malformed),
            ("http://user:pw@shop", Credentials),
            ("http://shop?x=1", QueryOrFragment),
            ("http://shop:0", Malformed),
            ("http://shop:99999", Malformed),
            ("http://shop:+80", Malformed),
            ("http://a b", Malformed),
            ("http://[::1", Malformed),
            ("http://shop/\r\nx: y", Malformed),
            ("http://a:1,", Malformed),
            ("http://,a:1", Malformed),
            ("http://a:1,b c", Malformed),
            ("http://a:1,http://b:1", Malformed),
            ("http://a:1,b:1,A:1", Twice),
            ("http://a,a:80", Twice),
        ] {
            assert_eq!(text.parse::<UpstreamUrl>(), Err(why), "{text}");
        }
    }
}
