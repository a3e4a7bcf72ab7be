//! Whether whoever sends an Invoke may: asked of every one once there are tokens or principals. Before, a page in a
//! browser is kept from it and nobody else.
//! What serin invokes itself, for messages of queues, needs nobody's leave: whoever made the mapping had it.
//!
//! Plain HTTP traffic is not asked. A router's HTTP face is a load balancer's, and whoever is behind it knows its users
//! better.

use hyper::http::request;

use super::handle::OfSerin;
use super::invoke_call::Call;
use super::invoke_error::InvokeError;
use super::worker::Worker;
use crate::access::page::{Names, refuse_pages};
use crate::access::{Asked, BodyHash};
use crate::clock;
use serin_core::lambda::policy::{Asking, PolicyScope, allows};
use serin_core::model::arn::Qualifier;

const ACTION: &str = "lambda:InvokeFunction";

/// Refuses an Invoke of somebody whose head alone says that nobody knows them, so that no payload of theirs is read.
pub(super) fn introduce(worker: &Worker, head: &request::Parts) -> Result<(), InvokeError> {
    let access = worker.access.now();
    if !access.wants_credentials() || head.extensions.get::<OfSerin>().is_some() {
        return Ok(());
    }
    let (method, uri, headers) = (&head.method, &head.uri, &head.headers);
    let asked = Asked { method, uri, headers, body: BodyHash::Of(&[]), service: "lambda" };
    access.introduced(&asked).map(|_| ()).map_err(InvokeError::AuthError)
}

/// Refuses an Invoke whose sender is unknown, or is neither the owner nor allowed to by the policy on exactly the
/// function, version or alias asked for; and whatever names a function of elsewhere.
pub(super) fn authorize(
    worker: &Worker,
    head: &request::Parts,
    payload: &[u8],
    call: &Call,
) -> Result<(), InvokeError> {
    if head.extensions.get::<OfSerin>().is_some() {
        return Ok(());
    }
    let elsewhere = || call.elsewhere.clone().map_or(Ok(()), Err);
    let access = worker.access.now();
    if !access.wants_credentials() {
        refuse_pages(&head.method, &head.uri, &head.headers, Names::Private)
            .map_err(|why| InvokeError::AccessDenied(why.to_string()))?;
        return elsewhere();
    }
    let asked = Asked {
        method: &head.method,
        uri: &head.uri,
        headers: &head.headers,
        body: BodyHash::Of(payload),
        service: "lambda",
    };
    let who = access.who(&asked, clock::wall_now()).map_err(InvokeError::AuthError)?;
    elsewhere()?;
    if who.known.is_owner {
        return Ok(());
    }
    // None speaks of `$LATEST` said aloud.
    let qualifier: Result<Option<Qualifier>, _> = call.qualifier().map(str::parse).transpose();
    let scope = qualifier.ok().and_then(|qualifier| PolicyScope::of(qualifier.as_ref()));
    let policy = scope.and_then(|scope| worker.policy(&call.function(), &scope));
    let is_allowed = who.known.principal.as_ref().zip(policy).is_some_and(|(principal, statements)| {
        let (source_arn, source_account) = (who.source_arn.as_deref(), who.source_account.as_deref());
        allows(&statements, &Asking { principal, action: ACTION, source_arn, source_account })
    });
    if is_allowed {
        return Ok(());
    }
    Err(InvokeError::AccessDenied(format!(
        "User: {} is not authorized to perform: {ACTION} on resource: {} because no resource-based policy allows the \
         {ACTION} action",
        who.known.name,
        call.asked_arn(&worker.place)
    )))
}
