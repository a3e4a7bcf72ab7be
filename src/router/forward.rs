//! HTTP: `/{function}:{qualifier}/rest?query`, for every method, streamed both ways.

use std::rc::Rc;

use hyper::body::{Body, Incoming};
use hyper::header::{CONNECTION, CONTENT_LENGTH, EXPECT, HOST, HeaderValue, UPGRADE};
use hyper::http::request;
use hyper::{HeaderMap, Method, Request, Response, StatusCode, Uri, Version};

use super::address::{Addressed, upstream_target};
use super::answer::AnswerBody;
use super::exchange::{About, Answered, Face, Fault, FaultKind, Outgoing, Timing, Transit};
use super::forwarded::{Client, Told};
use super::headers::{self, ARM, Facts, Unforwardable};
use super::location::{self, Seen};
use super::mirror::{self, Aside};
use super::refusal::Refusal;
use super::route::{Route, Service};
use super::steer::NotServed;
use super::upload::{Upload, is_out_of_the_way, read_whole};
use super::worker::Worker;
use crate::metrics::recorder::Arm;
use serin_core::analysis::mirror::SampleKind;

/// Forwards one request to the version that is drawn for it.
pub(super) async fn forward(
    worker: &Rc<Worker>,
    client: &Client,
    request: Request<Incoming>,
) -> Response<AnswerBody> {
    let (head, body) = request.into_parts();
    let is_http1 = head.version <= Version::HTTP_11;
    let expects = head.headers.contains_key(EXPECT);
    let mut body = Some(body);
    match forwarded(worker, client, head, &mut body).await {
        Ok(response) => response,
        Err(refused) => {
            let Refused { refusal, label, upload, follows } = *refused;
            // What is left of the request must not be taken for the next one. A client that waits for a 100 sends
            // nothing before it, and hears from this answer that it need not.
            let is_alone = follows == Follows::Nothing
                || (is_http1
                    && match (body, upload) {
                        (Some(body), _) => {
                            !body.is_end_stream() && (expects || !Box::pin(is_out_of_the_way(body)).await)
                        }
                        (None, Some(upload)) => !Box::pin(upload.is_out_of_the_way()).await,
                        (None, None) => false,
                    });
            let mut response = refusal.response(label.as_ref()).map(AnswerBody::whole);
            if is_alone {
                response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
            }
            response
        }
    }
}

/// A request that gets an answer of the router's own.
struct Refused {
    refusal: Refusal,
    /// The version, if one was picked.
    label: Option<HeaderValue>,
    /// The request's body, if it was under way.
    upload: Option<Rc<Upload>>,
    follows: Follows,
}

/// What may come on a connection behind a request that was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Follows {
    /// Another request.
    Any,
    /// Nothing that would be taken for one.
    Nothing,
}

impl From<Refusal> for Box<Refused> {
    fn from(refusal: Refusal) -> Box<Refused> {
        Box::new(Refused { refusal, label: None, upload: None, follows: Follows::Any })
    }
}

impl Refused {
    fn of_version(refusal: Refusal, label: &HeaderValue) -> Box<Refused> {
        let label = Some(label.clone());
        Box::new(Refused { refusal, label, upload: None, follows: Follows::Any })
    }
}

/// The version's answer, or why there is none; of a body that nobody has begun to read, some is left behind.
async fn forwarded(
    worker: &Rc<Worker>,
    client: &Client,
    mut head: request::Parts,
    left: &mut Option<Incoming>,
) -> Result<Response<AnswerBody>, Box<Refused>> {
    if head.method == Method::CONNECT {
        return Err(connect_refused().into());
    }
    // Before anything else: nothing that follows a request in doubt is taken for another one, wherever this one goes.
    let upgrade = match headers::check_request(head.version, &head.uri, &head.headers) {
        Ok(protocol) => protocol.cloned(),
        Err(reason) => {
            let refused: Box<Refused> = unforwardable(reason).into();
            return Err(Box::new(Refused { follows: Follows::Nothing, ..*refused }));
        }
    };
    let target = head.uri.path_and_query().map_or("", |target| target.as_str());
    let addressed = match bound(worker, &head.uri, &head.headers) {
        Some(key) => Addressed::bound(key, target),
        None => match Addressed::read(target) {
            Some(addressed) => addressed,
            None => return Err(not_addressed(target).into()),
        },
    };
    if !worker.shows.versions && is_version(addressed.key()) {
        return Err(versions_not_shown().into());
    }
    let Some(route) = worker.route(addressed.key()) else {
        return Err(not_found(worker, addressed.key()).into());
    };
    let mut pick = match worker.pick(&route, &head.headers) {
        Ok(pick) => pick,
        Err(stranger) => return Err(not_served(&route, &stranger).into()),
    };
    let mut aside = None;
    if route.mirror().is_some()
        && !pick.is_named
        && upgrade.is_none()
        && let Some(body) = left
    {
        aside = Aside::by_chance(worker, &route, &head, body, addressed.rest);
        if aside.is_some() {
            pick.stratum = SampleKind::MirrorSource;
        }
    }
    let beside = match left {
        Some(body) if upgrade.is_none() => {
            Aside::of_canary(worker, &route, pick, &head, body, addressed.rest)
        }
        _ => None,
    };
    let upstream = route.upstream(pick.arm);
    let label = upstream.label.clone();
    let Ok((service, seat)) = upstream.reach.service() else {
        return Err(Refused::of_version(no_service(&label), &label));
    };
    if upgrade.is_some() && service.http2.is_some() {
        return Err(Refused::of_version(no_upgrade(&label), &label));
    }
    let Ok(uri) = upstream_target(&service.base_path, addressed.rest) else {
        return Err(Refused::of_version(target_too_long(), &label));
    };
    let has_body = left.as_ref().is_some_and(|body| !body.is_end_stream());
    let facts = Facts {
        host: &service.host_header,
        client,
        asked_host: head.uri.authority().and_then(|authority| HeaderValue::try_from(authority.as_str()).ok()),
        prefix: addressed.is_stripped.then_some(&route.prefix),
        is_chunked: has_body && !head.headers.contains_key(CONTENT_LENGTH),
    };
    let trace = headers::trace(&head.headers);
    let mut told = headers::to_upstream(&mut head.headers, facts);
    told.host = told.host.as_ref().map(headers::detached);
    if let Some(protocol) = &upgrade {
        headers::set_upgrade(&mut head.headers, protocol.clone());
    }
    if let Some(label) = route.arm_label(pick) {
        head.headers.insert(ARM, label);
    }
    let path = head.uri.path().into();
    head.uri = uri;
    let is_http1 = head.version <= Version::HTTP_11;
    head.version = Version::HTTP_11;
    // What hyper noted about the client's connection is not for the version's.
    head.extensions.clear();

    let about = About { method: head.method.clone(), path, trace, is_copy: false };
    let outgoing = match (upgrade, left.take().filter(|_| has_body)) {
        (Some(protocol), _) => Outgoing::Upgrade(protocol),
        (None, None) => Outgoing::Empty,
        // What two versions get must be in memory; both are counted as dispatched when it is.
        (None, Some(body)) if aside.is_some() => {
            let idle_max = upstream.waits(&worker.timeouts).idle;
            match Box::pin(read_whole(body, mirror::BODY_BYTES_MAX, idle_max, None)).await {
                Ok(bytes) => Outgoing::Whole(bytes),
                Err(why) => {
                    let mut refused =
                        Refused::of_version(failed(&Fault::of_reading(&why, idle_max), &label), &label);
                    (refused.label, refused.follows) = (None, Follows::Nothing);
                    return Err(refused);
                }
            }
        }
        (None, Some(body)) => Outgoing::Stream(body),
    };
    if let Some(aside) = aside.filter(|_| pick.arm == Arm::Primary) {
        let body = if let Outgoing::Whole(bytes) = &outgoing { Some(bytes.clone()) } else { None };
        aside.copy(worker, &head, body, &about);
    }
    if let Some(beside) = beside {
        beside.copy(worker, &head, None, &about);
    }
    let transit = Transit::begin(worker, route, pick, about).seated(seat);
    match transit.send(&service, head, outgoing, Face::Http).await {
        Ok(Answered::Tunnel(mut head, tunnel)) => {
            let protocol = head.headers.get(UPGRADE).cloned();
            headers::to_client(&mut head.headers, &label);
            if let Some(protocol) = protocol {
                headers::set_upgrade(&mut head.headers, protocol);
            }
            Ok(Response::from_parts(head, AnswerBody::Tunnel(Some(tunnel))))
        }
        Ok(Answered::Whole(response, timing)) => {
            let (mut head, body) = response.into_parts();
            headers::to_client(&mut head.headers, &label);
            if location::may_lead(head.status) {
                lead_back(&mut head.headers, &told, &service);
            }
            if timing == Timing::Early && is_http1 {
                head.headers.insert(CONNECTION, HeaderValue::from_static("close"));
            }
            head.version = Version::HTTP_11;
            Ok(Response::from_parts(head, AnswerBody::Stream(body)))
        }
        Err(fault) => {
            let mut refused = Refused::of_version(failed(&fault, &label), &label);
            refused.upload = fault.upload;
            Err(refused)
        }
    }
}

/// Has a client that is sent on by a version come back to it by the path that it asked for.
fn lead_back(headers: &mut HeaderMap, told: &Told, service: &Service) {
    let text =
        |value: &Option<HeaderValue>| value.as_ref().and_then(|value| value.to_str().ok().map(str::to_owned));
    if let Some(prefix) = text(&told.prefix) {
        let asked_host = text(&told.host).unwrap_or_default();
        let (base_path, host) = (service.base_path.as_str(), service.named());
        location::rewrite(headers, &Seen { prefix: &prefix, base_path, host, asked_host: &asked_host });
    }
}

/// The alias, as `function:alias`, that the host or the beginning of the path of a request is bound to.
pub(super) fn bound<'a>(worker: &'a Worker, uri: &Uri, headers: &HeaderMap) -> Option<&'a str> {
    if worker.bindings.is_empty() {
        return None;
    }
    let host = || headers.get(HOST).and_then(|host| host.to_str().ok());
    let authority = uri.authority().map(|authority| authority.as_str()).or_else(host);
    worker.bindings.find(authority, uri.path())
}

fn connect_refused() -> Refusal {
    Refusal {
        status: StatusCode::NOT_IMPLEMENTED,
        kind: "connect",
        message: "serin forwards requests to versions; it opens no tunnels".to_owned(),
        hint: "use GET, POST and the like on /function:alias/path".to_owned(),
    }
}

/// What a person wrote, short enough to be repeated.
fn shown(text: &str) -> String {
    let short: String = text.chars().take(100).collect();
    if short.len() < text.len() { format!("{short}…") } else { short }
}

fn not_addressed(target: &str) -> Refusal {
    Refusal {
        status: StatusCode::NOT_FOUND,
        kind: "not-addressed",
        message: format!("{:?} does not begin with a function and an alias or version", shown(target)),
        hint: "write /function:alias/path, as in /checkout:live/orders, or /function:7/path for version 7"
            .to_owned(),
    }
}

/// Whether `function:qualifier` names a version by its number, or `$LATEST`.
fn is_version(key: &str) -> bool {
    let qualifier = key.split_once(':').map_or("", |(_, qualifier)| qualifier);
    qualifier.starts_with('$') || qualifier.bytes().all(|byte| byte.is_ascii_digit())
}

/// Says the same of versions that there are and of those that there are not.
fn versions_not_shown() -> Refusal {
    Refusal {
        status: StatusCode::NOT_FOUND,
        kind: "versions-not-shown",
        message: "versions are not shown by number here, nor is $LATEST".to_owned(),
        hint: "ask an alias, as in /checkout:live/orders; where hosts or paths are bound to aliases, versions are shown \
               with `serin serve --router-versions` alone"
            .to_owned(),
    }
}

fn not_found(worker: &Worker, key: &str) -> Refusal {
    let (function, qualifier) = key.split_once(':').unwrap_or((key, ""));
    let (function_shown, qualifier_shown) = (shown(function), shown(qualifier));
    if !worker.has_function(function) {
        return Refusal {
            status: StatusCode::NOT_FOUND,
            kind: "unknown-function",
            message: format!("there is no function {function_shown:?}"),
            hint: "`serin function list` shows those there are; `serin function publish` makes one"
                .to_owned(),
        };
    }
    let (kind, message, hint) = if is_version(key) {
        (
            "unknown-version",
            format!("function {function_shown:?} has no version {qualifier_shown}"),
            format!("`serin function versions {function_shown}` shows those there are"),
        )
    } else {
        (
            "unknown-alias",
            format!("function {function_shown:?} has no alias {qualifier_shown:?}"),
            format!(
                "`serin alias list {function_shown}` shows those there are; `serin alias create` makes one"
            ),
        )
    };
    Refusal { status: StatusCode::NOT_FOUND, kind, message, hint }
}

fn unforwardable(reason: Unforwardable) -> Refusal {
    match reason {
        Unforwardable::Host => Refusal {
            status: StatusCode::BAD_REQUEST,
            kind: "host-header",
            message: "an HTTP/1.1 request has exactly one Host header, and it names a host".to_owned(),
            hint: "send one, as HOST or HOST:PORT; every HTTP client does so by itself".to_owned(),
        },
        Unforwardable::Target => Refusal {
            status: StatusCode::BAD_REQUEST,
            kind: "target",
            message: "the request target is no path, or has bytes in it that belong in no URL".to_owned(),
            hint: "begin it with a slash, or with http:// and a host; write odd bytes as %XX".to_owned(),
        },
        Unforwardable::Length => Refusal {
            status: StatusCode::BAD_REQUEST,
            kind: "content-length",
            message: "the Content-Length is larger than any body can be".to_owned(),
            hint: "send the body's length in bytes, or send it chunked".to_owned(),
        },
        Unforwardable::Nominated(name) => Refusal {
            status: StatusCode::BAD_REQUEST,
            kind: "connection-header",
            message: format!("the Connection header names {:?}, which may not be taken off", shown(&name)),
            hint: "name only headers that concern this one connection".to_owned(),
        },
        Unforwardable::TransferCoding => Refusal {
            status: StatusCode::NOT_IMPLEMENTED,
            kind: "transfer-coding",
            message: "the only transfer coding that is forwarded is chunked".to_owned(),
            hint: "send the body chunked or with its length; Content-Encoding is passed on as it is"
                .to_owned(),
        },
        Unforwardable::UpgradeWithBody => Refusal {
            status: StatusCode::NOT_IMPLEMENTED,
            kind: "upgrade",
            message: "a request that asks to change the protocol may have no body here".to_owned(),
            hint: "ask with a GET, as WebSocket clients do, or leave the Upgrade header out".to_owned(),
        },
    }
}

fn not_served(route: &Route, stranger: &NotServed) -> Refusal {
    Refusal {
        status: StatusCode::NOT_FOUND,
        kind: "not-served",
        message: format!(
            "{} names {:?}, and {} serves {}",
            stranger.header,
            shown(&stranger.named),
            route.address.key(),
            route.served()
        ),
        hint: "name one of them, once, or leave the header out to be drawn by weight".to_owned(),
    }
}

fn no_service(label: &HeaderValue) -> Refusal {
    let version = label.to_str().unwrap_or_default();
    Refusal {
        status: StatusCode::NOT_IMPLEMENTED,
        kind: "not-http",
        message: format!("version {version} is code that is invoked, and no HTTP service"),
        hint: "invoke it: POST /2015-03-31/functions/NAME/invocations, as `aws lambda invoke` does"
            .to_owned(),
    }
}

fn no_upgrade(label: &HeaderValue) -> Refusal {
    let version = label.to_str().unwrap_or_default();
    Refusal {
        status: StatusCode::NOT_IMPLEMENTED,
        kind: "upgrade",
        message: format!("version {version} is spoken to in HTTP/2, which changes to no other protocol here"),
        hint: "publish the version at http:// for WebSocket, or leave the Upgrade header out".to_owned(),
    }
}

fn target_too_long() -> Refusal {
    Refusal {
        status: StatusCode::URI_TOO_LONG,
        kind: "target-too-long",
        message: "the path is too long once the version's base path stands before it".to_owned(),
        hint: "send what is long in the body".to_owned(),
    }
}

/// The answer to a request that a version was picked for and that got no answer from it.
fn failed(fault: &Fault, label: &HeaderValue) -> Refusal {
    let version = label.to_str().unwrap_or_default();
    let (status, kind, message, hint) = match fault.kind {
        FaultKind::Unreachable => (
            StatusCode::BAD_GATEWAY,
            "unreachable",
            format!("version {version} accepts no connection: {fault}"),
            "see that it runs and listens where it was published; counted as a failure of the version",
        ),
        FaultKind::Broken => (
            StatusCode::BAD_GATEWAY,
            "broken",
            format!("version {version} did not answer properly: {fault}"),
            "look into its log; counted as a failure of the version, once",
        ),
        FaultKind::TimedOut => (
            StatusCode::GATEWAY_TIMEOUT,
            "timeout",
            format!("version {version} took too long: {fault}"),
            "look into its log, or let it take longer (`timeouts` in docs/router.md); counted as a failure of the version",
        ),
        FaultKind::Exhausted => (
            StatusCode::SERVICE_UNAVAILABLE,
            "exhausted",
            format!("serin cannot open another connection: {fault}"),
            "raise serin's limit of open files (ulimit -n); not counted as a failure of the version",
        ),
        FaultKind::ClientBroke => (
            StatusCode::BAD_REQUEST,
            "request-body",
            format!("the request body broke off: {fault}"),
            "send it again in full",
        ),
        FaultKind::ClientStalled => {
            (StatusCode::REQUEST_TIMEOUT, "request-body", fault.to_string(), "send it again without a pause")
        }
    };
    Refusal { status, kind, message, hint: hint.to_owned() }
}
