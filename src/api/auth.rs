//! Who may in: the guards against browsers, credentials for what wants them, and policies for whoever is no owner.
//!
//! Without principals, reading is open to whoever reaches the listener (which is on loopback unless a token is set), and
//! every change wants a token where one is set. With principals everything but health and metrics wants to know who
//! asks: an owner may do anything, everybody else what a policy on exactly that function, version or alias allows, and
//! nothing of `/v1`. Invocations are let through here, because the router asks the same of them on both listeners.

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::error::{ApiError, Face};
use super::lambda::actions::check;
use super::lambda::error::LambdaError;
use super::{Api, aws};
use crate::access::{Access, Asked, Stranger, Who, bearer, claimed_scope};
use crate::chance;
use crate::clock;
use crate::domain::actor::{Actor, Standing};

/// The header in which the command line says who types.
pub const ACTOR_HEADER: &str = "x-serin-actor";
/// Names one request in Lambda's answers.
const REQUEST_ID: HeaderName = HeaderName::from_static("x-amzn-requestid");
/// How AWS's signatures name Lambda; ours is signed as if it were it.
const LAMBDA: &str = "lambda";
/// What anybody may read who reaches the listener.
const OPEN: [&str; 6] = ["/", "/livez", "/readyz", "/metrics", "/openapi.json", "/v1/openapi.json"];

/// Who sent a request, and from which region they think they are.
#[derive(Clone, Debug)]
pub struct Caller {
    /// Who.
    pub actor: Actor,
    /// The region in their signature.
    pub region: Option<String>,
}

/// Lets a request in, with its caller attached, or answers why not.
pub async fn admit(State(api): State<Api>, request: Request, next: Next) -> Response {
    let face = Face::of(request.uri().path());
    let mut response = match admitted(&api, request).await {
        Ok(request) => next.run(request).await,
        Err(refused) => refused,
    };
    // Every answer of Lambda's has one; an invocation's is the router's.
    if face == Face::Lambda && !response.headers().contains_key(REQUEST_ID) {
        let id = chance::new_id(clock::wall_now()).to_string();
        response.headers_mut().insert(REQUEST_ID, HeaderValue::try_from(id).expect("a UUID is hexadecimal"));
    }
    response
}

async fn admitted(api: &Api, request: Request) -> Result<Request, Response> {
    let face = Face::of(request.uri().path());
    let is_read = matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS);
    let is_invoke = is_invoke(request.uri().path());
    let refuse = |error: ApiError| error.on(face).into_response();
    refuse_rebound_host(&api.access, request.headers()).map_err(refuse)?;
    if !is_read && !is_invoke {
        refuse_foreign_origin(request.headers()).map_err(refuse)?;
    }
    let service = aws::service(&request);
    if api.access.has_principals() && !is_invoke && !(is_read && is_open(request.uri().path())) {
        return known(api, request, service).await;
    }
    let headers = request.headers();
    let token = bearer(headers);
    let holder = token.and_then(|token| api.access.holder(token));
    // AWS's questions about metrics and logs are posted, too.
    let is_change = !is_read && !is_invoke && service.is_none();
    if is_change && api.access.wants_credentials() && holder.is_none() {
        let text = match token {
            Some(_) => "the bearer token is not one of this serin's; check SERIN_TOKEN",
            None => "this serin wants a bearer token for every change; set SERIN_TOKEN",
        };
        return Err(refuse(ApiError::unauthorized(text)));
    }
    let claimed = headers.get(ACTOR_HEADER).and_then(|value| value.to_str().ok());
    let scope = claimed_scope(request.uri(), headers);
    let actor = match (holder, &scope, claimed) {
        (Some(holder), _, _) => Actor::new(&holder.name, Standing::Token),
        (None, Some(scope), _) => Actor::new(&scope.key_id, Standing::Unverified),
        (None, None, Some(claimed)) => Actor::new(claimed, Standing::Claimed),
        (None, None, None) => Actor::new("anonymous", Standing::Unverified),
    };
    Ok(with_caller(request, Caller { actor, region: scope.map(|scope| scope.region) }))
}

/// A request of somebody who is known and may do what they ask, where there are principals.
async fn known(api: &Api, request: Request, service: Option<aws::Service>) -> Result<Request, Response> {
    let face = Face::of(request.uri().path());
    let name = service.map_or(LAMBDA, aws::Service::signing_name);
    // Of strangers no body is read.
    let introduced = api.access.introduced(&asked(&request, &[], name));
    introduced.map_err(|stranger| strange(&stranger, face, service))?;
    let (parts, body) = request.into_parts();
    let bytes_max = super::signed_bytes_max(parts.uri.path());
    let body = axum::body::to_bytes(body, bytes_max).await.map_err(|_| {
        let text = format!("the body is longer than {bytes_max} bytes, or broke off");
        ApiError::invalid(text).on(face).into_response()
    })?;
    let request = Request::from_parts(parts, ());
    let asked = asked(&request, &body, name);
    let who = api.access.who(&asked, clock::wall_now());
    let who = who.map_err(|stranger| strange(&stranger, face, service))?;
    let region = claimed_scope(asked.uri, asked.headers).map(|scope| scope.region);
    if !who.known.is_owner {
        let denied = denied_by_policies(api, &request, &who, region.as_deref(), service);
        denied.map_or(Ok(()), Err)?;
    }
    let actor = Actor::new(&who.known.name, Standing::Token);
    let request = request.map(|()| Body::from(body));
    Ok(with_caller(request, Caller { actor, region }))
}

fn asked<'a, B>(request: &'a axum::http::Request<B>, body: &'a [u8], service: &'a str) -> Asked<'a> {
    Asked { method: request.method(), uri: request.uri(), headers: request.headers(), body, service }
}

fn with_caller(mut request: Request, caller: Caller) -> Request {
    request.extensions_mut().insert(caller);
    request
}

/// What somebody is told who is not known.
fn strange(stranger: &Stranger, face: Face, service: Option<aws::Service>) -> Response {
    if service.is_some() {
        return aws::refusal(StatusCode::FORBIDDEN, stranger.type_name(), &stranger.to_string());
    }
    if face == Face::Lambda {
        return LambdaError::stranger(stranger).into_response();
    }
    let text = match stranger {
        Stranger::Nobody => {
            "this serin wants to know who asks: a bearer token (SERIN_TOKEN for the command line), or a signature"
                .to_owned()
        }
        Stranger::UnknownKey => "the token or access key is not one of this serin's principals".to_owned(),
        other => other.to_string(),
    };
    ApiError::unauthorized(text).into_response()
}

/// What whoever is no owner is told, where no policy allows what they ask.
fn denied_by_policies<B>(
    api: &Api,
    request: &axum::http::Request<B>,
    who: &Who,
    region: Option<&str>,
    service: Option<aws::Service>,
) -> Option<Response> {
    let name = &who.known.name;
    if let Some(service) = service {
        let action = service.action(request.headers());
        let text = format!(
            "User: {name} is not authorized to perform: {action} because no identity-based policy allows the {action} \
             action"
        );
        return Some(aws::refusal(StatusCode::FORBIDDEN, "AccessDeniedException", &text));
    }
    if Face::of(request.uri().path()) == Face::Lambda {
        let denied = check(api, request.method(), request.uri(), who, region).err()?;
        return Some(LambdaError::denied(denied.to_string()).into_response());
    }
    let text = format!("{name} is no owner; serin's own API is the owners'");
    Some(ApiError::forbidden(text).into_response())
}

/// An invocation is traffic, not a change of serin.
///
/// Exactly one segment stands between: an alias may be called `invocations`, too.
fn is_invoke(path: &str) -> bool {
    let function =
        path.strip_prefix("/2015-03-31/functions/").and_then(|rest| rest.strip_suffix("/invocations"));
    function.is_some_and(|function| !function.is_empty() && !function.contains('/'))
}

/// Whether a path answers whoever reaches the listener; links to code carry a seal of their own.
fn is_open(path: &str) -> bool {
    OPEN.contains(&path) || path.starts_with("/code/")
}

/// Without a token, a page that made its own name point here must not read or change anything.
fn refuse_rebound_host(access: &Access, headers: &HeaderMap) -> Result<(), ApiError> {
    if access.wants_credentials() {
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
    fn invocations_are_those_of_one_function() {
        for (path, expected) in [
            ("/2015-03-31/functions/f/invocations", true),
            ("/2015-03-31/functions/f%3Alive/invocations", true),
            ("/2015-03-31/functions/f/aliases/invocations", false),
            ("/2015-03-31/functions/f/policy/invocations", false),
            ("/2015-03-31/functions//invocations", false),
            ("/2015-03-31/functions/invocations", false),
            ("/2016-03-31/functions/f/invocations", false),
        ] {
            assert_eq!(is_invoke(path), expected, "{path}");
        }
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
}
