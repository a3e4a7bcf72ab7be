//! Who may in: the guards against browsers, credentials for whatever wants them, and policies for whoever is no owner.
//!
//! Without tokens and principals, whoever reaches the listener (which is on loopback then) may anything, but for pages in
//! browsers. With them everything but health, the page and links that carry a seal wants to know who asks: an owner may
//! do anything, everybody else what a policy on exactly that function, version or alias allows, and nothing of `/v1`.
//! Invocations are let through here, because the router asks the same of them on both listeners.

use crate::api::caller::Caller;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::{MatchedPath, RawPathParams, Request, State};
use axum::http::{HeaderName, HeaderValue, Method, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::error::{ApiError, Face};
use super::lambda::actions::check;
use super::lambda::call::Call;
use super::lambda::error::LambdaError;
use super::lambda::operations::is_invoke;
use super::peer::Peer;
use super::{Api, aws};
use crate::access::page::{Names, refuse_pages};
use crate::access::{Asked, AuthError, BodyHash, Who, claimed_scope};
use crate::chance;
use crate::clock;
use serin_core::model::actor::{Actor, Standing};

/// The header in which the command line says who types.
pub const ACTOR_HEADER: &str = "x-serin-actor";
/// Names one request in Lambda's answers.
const REQUEST_ID: HeaderName = HeaderName::from_static("x-amzn-requestid");
/// How AWS's signatures name Lambda; ours is signed as if it were it.
pub(super) const LAMBDA: &str = "lambda";
/// What answers whoever reaches the listener: health, and the page, which holds nothing of anybody's.
const OPEN: [&str; 3] = ["/", "/livez", "/readyz"];
/// Links to code carry a seal, which is all the credentials that they need.
const SEALED: &str = "/code/{file}";

/// Where in the route table a request arrived, and what its placeholders stand for.
struct Arrival {
    route: String,
    parameters: Vec<(String, String)>,
}

impl Arrival {
    fn is_open(&self, method: &Method) -> bool {
        matches!(*method, Method::GET | Method::HEAD) && OPEN.contains(&self.route.as_str())
    }

    /// The operation of Lambda's that is called, if it is one.
    fn call(&mut self, request: &Request) -> Result<Option<Arc<Call>>, LambdaError> {
        if Face::of(request.uri().path()) != Face::Lambda {
            return Ok(None);
        }
        let parameters = std::mem::take(&mut self.parameters);
        Call::read(request.method(), &self.route, parameters, request.uri())
    }
}

/// Lets a request in, with its caller and what it calls attached, or answers why not.
pub async fn admit(
    State(api): State<Api>,
    matched: Option<MatchedPath>,
    parameters: Result<RawPathParams, axum::extract::rejection::RawPathParamsRejection>,
    request: Request,
    next: Next,
) -> Response {
    let face = Face::of(request.uri().path());
    // Where the path is no text, no placeholder stands for anything, and no function is named.
    let parameters = parameters.iter().flatten().map(|(name, value)| (name.to_owned(), value.to_owned()));
    let parameters = parameters.collect();
    let route = matched.map(|matched| matched.as_str().to_owned()).unwrap_or_default();
    let mut response = match admitted(&api, request, Arrival { route, parameters }).await {
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

async fn admitted(api: &Api, request: Request, mut arrival: Arrival) -> Result<Request, Response> {
    let is_open = arrival.is_open(request.method());
    let is_invoke = is_invoke(&arrival.route);
    let is_sealed = arrival.route == SEALED;
    let wants_credentials = api.access.now().wants_credentials();
    if is_functions(&request) && !(is_invoke && wants_credentials) {
        return Err(refused_function().on(Face::of(request.uri().path())).into_response());
    }
    if wants_credentials && !is_open && !is_invoke && !is_sealed {
        return known(api, request, arrival).await;
    }
    if wants_credentials && is_invoke {
        // The router judges it when it is here; of strangers it need not come.
        let (access, asked) = (api.access.now().clone(), asked(&request, BodyHash::Of(&[]), LAMBDA));
        let introduced = access.introduced(&asked);
        introduced.map_err(|stranger| LambdaError::stranger(&stranger).into_response())?;
    }
    // An invocation with credentials, and one without them where there are some, is the router's to judge.
    if !wants_credentials || is_open {
        let answers = if wants_credentials { Names::Private } else { Names::Loopback };
        refuse_pages(request.method(), request.uri(), request.headers(), answers).map_err(|why| {
            let face = Face::of(request.uri().path());
            ApiError::forbidden(why.to_string()).on(face).into_response()
        })?;
    }
    let headers = request.headers();
    let claimed = headers.get(ACTOR_HEADER).and_then(|value| value.to_str().ok());
    let scope = claimed_scope(request.uri(), headers);
    let actor = match (&scope, claimed) {
        (Some(scope), _) => Actor::new(&scope.key_id, Standing::Unverified),
        (None, Some(claimed)) => Actor::new(claimed, Standing::Claimed),
        (None, None) => Actor::new("anonymous", Standing::Unverified),
    };
    let call = if is_invoke { None } else { arrival.call(&request).map_err(IntoResponse::into_response)? };
    let caller = Caller { actor, region: scope.map(|scope| scope.region), held: None };
    Ok(with_caller(request, caller, call))
}

/// The code of a function, which strangers may have written, must not be taken for whoever runs this serin.
///
/// With credentials of its own it may invoke, as from anywhere else.
fn is_functions(request: &Request) -> bool {
    request.extensions().get::<Peer>().is_some_and(|peer| peer.is_function)
}

fn refused_function() -> ApiError {
    ApiError::forbidden(
        "a function's process may do nothing on this listener but Invoke, and that with credentials of its own, where \
         this serin asks for them (--principals)",
    )
}

/// A request of somebody who is known and may do what they ask, once there is anybody to be known.
async fn known(api: &Api, request: Request, mut arrival: Arrival) -> Result<Request, Response> {
    let (face, service) = (Face::of(request.uri().path()), aws::service(&request));
    let name = service.map_or(LAMBDA, aws::Service::signing_name);
    let access = api.access.now().clone();
    let strange = |stranger: AuthError| strange(&stranger, face, service, access.has_principals());
    // Of strangers no body is read, and of whoever has a token none need be.
    let introduced = access.introduced(&asked(&request, BodyHash::Of(&[]), name)).map_err(strange)?;
    let (request, who) = match introduced {
        Some(who) => (request, who),
        None => {
            let (parts, body) = request.into_parts();
            let bytes_max = super::bytes_max(parts.uri.path());
            let received = api.bodies.receive(body, bytes_max).await;
            let received = received.map_err(|why| why.response(api, parts.uri.path()))?;
            let mut request = Request::from_parts(parts, Body::empty());
            let hash = BodyHash::Known(received.sha256);
            let who = access.who(&asked(&request, hash, name), clock::wall_now()).map_err(strange)?;
            request.extensions_mut().insert(received);
            (request, who)
        }
    };
    let call = arrival.call(&request).map_err(IntoResponse::into_response)?;
    let region = claimed_scope(request.uri(), request.headers()).map(|scope| scope.region);
    let actor = Actor::new(&who.known.name, Standing::Token);
    if who.known.is_owner {
        return Ok(with_caller(request, Caller { actor, region, held: None }, call));
    }
    let denied = denied_by_policies(api, &request, call.as_deref(), &who, region.as_deref(), service);
    denied.map_or(Ok(()), Err)?;
    Ok(with_caller(request, Caller { actor, region, held: Some(who) }, call))
}

fn asked<'a, B>(request: &'a axum::http::Request<B>, body: BodyHash<'a>, service: &'a str) -> Asked<'a> {
    Asked { method: request.method(), uri: request.uri(), headers: request.headers(), body, service }
}

fn with_caller(mut request: Request, caller: Caller, call: Option<Arc<Call>>) -> Request {
    let extensions = request.extensions_mut();
    extensions.insert(caller);
    if let Some(call) = call {
        extensions.insert(call);
    }
    request
}

/// What somebody is told who is not known.
fn strange(
    stranger: &AuthError,
    face: Face,
    service: Option<aws::Service>,
    has_principals: bool,
) -> Response {
    if service.is_some() {
        return aws::refusal(StatusCode::FORBIDDEN, stranger.type_name(), &stranger.to_string());
    }
    if face == Face::Lambda {
        return LambdaError::stranger(stranger).into_response();
    }
    let text = match (stranger, has_principals) {
        (AuthError::Nobody, true) => {
            "this serin wants to know who asks: a bearer token (SERIN_TOKEN for the command line), or a signature"
                .to_owned()
        }
        (AuthError::Nobody, false) => "this serin wants a bearer token; set SERIN_TOKEN".to_owned(),
        (AuthError::UnknownKey, true) => {
            "the token or access key is not one of this serin's principals".to_owned()
        }
        (AuthError::UnknownKey, false) => {
            "the bearer token is not one of this serin's; check SERIN_TOKEN".to_owned()
        }
        (other, _) => other.to_string(),
    };
    ApiError::unauthorized(text).into_response()
}

/// What whoever is no owner is told, where no policy allows what they ask.
fn denied_by_policies(
    api: &Api,
    request: &Request,
    call: Option<&Call>,
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
        let denied = check(api, call, who, region).err()?;
        return Some(LambdaError::denied(denied.to_string()).into_response());
    }
    let text = format!("{name} is no owner; serin's own API is the owners'");
    Some(ApiError::forbidden(text).into_response())
}
