//! Who asks, and whether they may: bearer tokens, claims, and the guards against browsers.
//!
//! Reading is open to whoever reaches the listener; the listener is on loopback unless a token is set. Every change
//! wants a token where one is set, and never comes from a web page of another origin.

use axum::extract::{Request, State};
use axum::http::{HeaderMap, Method, header};
use axum::middleware::Next;
use axum::response::Response;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::Api;
use super::error::{ApiError, Face};
use crate::domain::actor::{Actor, Standing};

/// The header in which the command line says who types.
pub const ACTOR_HEADER: &str = "x-serin-actor";

/// A bearer token's name and the hash of its text; the text itself is not kept.
#[derive(Clone)]
struct Token {
    name: String,
    digest: [u8; 32],
}

/// Who may change things.
#[derive(Clone, Default)]
pub struct Access {
    tokens: Vec<Token>,
}

impl Access {
    /// Reads SERIN_TOKEN: one secret, or several as `name:secret` separated by commas.
    ///
    /// The whole of an entry is what a client sends; a secret without a name belongs to `operator`.
    pub fn from_setting(setting: Option<&str>) -> Access {
        let entries = setting.unwrap_or_default().split(',').map(str::trim).filter(|entry| !entry.is_empty());
        let token = |entry: &str| Token {
            name: entry.split_once(':').map_or("operator", |(name, _)| name).to_owned(),
            digest: Sha256::digest(entry.as_bytes()).into(),
        };
        Access { tokens: entries.map(token).collect() }
    }

    /// Whether changes want a token.
    pub fn wants_token(&self) -> bool {
        !self.tokens.is_empty()
    }

    fn holder(&self, bearer: &str) -> Option<&str> {
        let digest: [u8; 32] = Sha256::digest(bearer.as_bytes()).into();
        // Every token is compared, so that the time taken says nothing about which one is near.
        let mut found = None;
        for token in &self.tokens {
            if bool::from(token.digest.ct_eq(&digest)) {
                found = Some(token.name.as_str());
            }
        }
        found
    }
}

/// Who sent a request, and from which region they think they are.
#[derive(Clone, Debug)]
pub struct Caller {
    /// Who.
    pub actor: Actor,
    /// The region in their signature.
    pub region: Option<String>,
}

/// Lets a request in, with its caller attached, or answers why not.
pub async fn admit(State(api): State<Api>, mut request: Request, next: Next) -> Result<Response, ApiError> {
    let face = Face::of(request.uri().path());
    let headers = request.headers();
    let is_change = !matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS);
    refuse_rebound_host(&api.access, headers).map_err(|error| error.on(face))?;
    let bearer = bearer(headers);
    let signature = signature(headers);
    let holder = bearer.and_then(|bearer| api.access.holder(bearer)).map(str::to_owned);
    if is_change && !is_invoke(request.uri().path()) {
        refuse_foreign_origin(headers).map_err(|error| error.on(face))?;
        if api.access.wants_token() && holder.is_none() {
            let text = match bearer {
                Some(_) => "the bearer token is not one of this serin's; check SERIN_TOKEN",
                None => "this serin wants a bearer token for every change; set SERIN_TOKEN",
            };
            return Err(ApiError::unauthorized(text).on(face));
        }
    }
    let claimed = headers.get(ACTOR_HEADER).and_then(|value| value.to_str().ok());
    let actor = match (holder, &signature, claimed) {
        (Some(name), _, _) => Actor::new(&name, Standing::Token),
        (None, Some(signature), _) => Actor::new(&signature.key_id, Standing::Unverified),
        (None, None, Some(claimed)) => Actor::new(claimed, Standing::Claimed),
        (None, None, None) => Actor::new("anonymous", Standing::Unverified),
    };
    let caller = Caller { actor, region: signature.map(|signature| signature.region) };
    request.extensions_mut().insert(caller);
    Ok(next.run(request).await)
}

/// An invocation is traffic, not a change of serin.
fn is_invoke(path: &str) -> bool {
    path.starts_with("/2015-03-31/functions/") && path.ends_with("/invocations")
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

struct Signature {
    key_id: String,
    region: String,
}

/// The credential scope of an AWS signature, which nobody has checked: `KEYID/20250101/us-east-1/lambda/aws4_request`.
fn signature(headers: &HeaderMap) -> Option<Signature> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let rest = value.strip_prefix("AWS4-HMAC-SHA256 ")?;
    let scope = rest.split(',').find_map(|part| part.trim().strip_prefix("Credential="))?;
    let mut parts = scope.split('/');
    let (key_id, region) = (parts.next()?, parts.nth(1)?);
    let plain = |text: &str| {
        (1..=128).contains(&text.len())
            && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    };
    (plain(key_id) && plain(region))
        .then(|| Signature { key_id: key_id.to_owned(), region: region.to_owned() })
}

/// Without a token, a page that made its own name point here must not read or change anything.
fn refuse_rebound_host(access: &Access, headers: &HeaderMap) -> Result<(), ApiError> {
    if access.wants_token() {
        return Ok(());
    }
    let Some(host) = headers.get(header::HOST).and_then(|host| host.to_str().ok()) else { return Ok(()) };
    if is_loopback_name(host_name(host)) {
        return Ok(());
    }
    Err(ApiError::forbidden(format!(
        "the Host header names {host}, and without SERIN_TOKEN this serin answers to loopback names only"
    )))
}

fn host_name(authority: &str) -> &str {
    match authority.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or(rest),
        None => authority.rsplit_once(':').map_or(authority, |(name, _)| name),
    }
}

/// Whether a host name or address can only mean this machine.
pub fn is_loopback_name(name: &str) -> bool {
    let is_local =
        name.eq_ignore_ascii_case("localhost") || name.to_ascii_lowercase().ends_with(".localhost");
    is_local || name.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

fn refuse_foreign_origin(headers: &HeaderMap) -> Result<(), ApiError> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let host = text("host").unwrap_or_default();
    if let Some(origin) = headers.get(header::ORIGIN) {
        let origin = origin.to_str().unwrap_or("null");
        let same =
            origin.split_once("://").is_some_and(|(_, authority)| authority.eq_ignore_ascii_case(host));
        if !same {
            return Err(ApiError::forbidden(format!("a page of {origin} may not change anything here")));
        }
    }
    match text("sec-fetch-site") {
        None | Some("same-origin" | "none") => Ok(()),
        Some(site) => Err(ApiError::forbidden(format!("a {site} page may not change anything here"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_have_names_and_are_compared_whole() {
        let access = Access::from_setting(Some("ana:one, bo:two,three"));
        assert_eq!(access.holder("ana:one"), Some("ana"));
        assert_eq!(access.holder("three"), Some("operator"));
        assert_eq!(access.holder("one"), None);
        assert!(!Access::from_setting(Some(" , ")).wants_token());
    }

    #[test]
    fn only_loopback_names_are_answered_without_a_token() {
        for name in ["localhost", "LOCALHOST", "a.localhost", "127.0.0.1", "127.9.9.9", "::1"] {
            assert!(is_loopback_name(name), "{name}");
        }
        for name in ["example.com", "localhost.example.com", "10.0.0.1", "127.0.0.1.example.com", ""] {
            assert!(!is_loopback_name(name), "{name}");
        }
        assert_eq!(host_name("[::1]:7411"), "::1");
        assert_eq!(host_name("localhost:7411"), "localhost");
    }

    #[test]
    fn signatures_name_a_key_and_a_region() {
        let mut headers = HeaderMap::new();
        let value = "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20261122/eu-west-1/lambda/aws4_request, SignedHeaders=host, Signature=ab";
        headers.insert(header::AUTHORIZATION, value.parse().unwrap());
        let found = signature(&headers).unwrap();
        assert_eq!((found.key_id.as_str(), found.region.as_str()), ("AKIDEXAMPLE", "eu-west-1"));
        headers.insert(header::AUTHORIZATION, "AWS4-HMAC-SHA256 Credential=/x/../y".parse().unwrap());
        assert!(signature(&headers).is_none());
    }
}
