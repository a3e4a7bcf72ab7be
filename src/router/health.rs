//! Whether the places of versions with a health path are well: each is asked for it every few seconds, by one worker.
//!
//! A check has a connection of its own, so that it waits for no request and no request for it, and finds what a new
//! connection finds. It is no request of the version's: nothing is counted. What follows from it is `standing`'s.

use std::collections::HashMap;
use std::future::poll_fn;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use hyper::Request;
use hyper::header::{HOST, HeaderValue, USER_AGENT};
use hyper::http::response;
use tokio::sync::watch;
use tokio::time::{sleep, sleep_until, timeout};

use super::endpoint_health::EndpointHealth;
use super::exchange::{Fault, FaultKind, describe};
use super::multiplex::connect_apart;
use super::multiplex_exchange::{Stream, as_http2};
use super::pool::{Detached, Link};
use super::route::Service;
use super::source::Source;
use super::upload::UpstreamBody;
use super::worker::Worker;
use crate::clock;
use serin_core::model::time::human;

/// So much of an answer's body is read, that whoever sends it is not cut off.
const BODY_BYTES_MAX: usize = 64 * 1024;

/// Asks all places that are in the table to be asked, until this is dropped.
pub(super) async fn run(worker: Rc<Worker>, mut published: watch::Receiver<()>) {
    let mut asking: HashMap<Arc<str>, (Arc<EndpointHealth>, Detached)> = HashMap::new();
    loop {
        let asked = worker.places.asked();
        asking.retain(|name, (known, _)| asked.get(name).is_some_and(|now| Arc::ptr_eq(now, known)));
        for (name, standing) in asked {
            let ask = || Detached::run(ask_on(Rc::clone(&worker), Arc::clone(&standing)));
            asking.entry(name).or_insert_with(|| (Arc::clone(&standing), ask()));
        }
        if published.changed().await.is_err() {
            return;
        }
    }
}

/// Asks one place again and again, and notes how it is.
async fn ask_on(worker: Rc<Worker>, standing: Arc<EndpointHealth>) {
    let every = worker.timeouts.health_every;
    // Those that were published at once are not asked at once.
    sleep(every.mul_f64(worker.random_fraction())).await;
    loop {
        let begun = clock::instant_now();
        if let Some(path) = standing.health() {
            check(&worker, &standing, path).await;
        }
        let next = begun + every.mul_f64(0.9 + 0.2 * worker.random_fraction());
        sleep_until(next.into()).await;
    }
}

async fn check(worker: &Worker, standing: &EndpointHealth, path: &str) {
    let limit = worker.timeouts.health;
    let asked = timeout(limit, ask(worker, standing.service(), path, limit)).await;
    let (answered, why_not) = match asked {
        Ok(Ok((source, head))) if head.status.is_success() || head.status.is_redirection() => {
            (Some(source), None)
        }
        Ok(Ok((source, head))) => (Some(source), Some(format!("it answers {path} with {}", head.status))),
        // Its own lack of descriptors tells the router nothing of the place.
        Ok(Err(fault)) if fault.kind == FaultKind::Exhausted => return,
        Ok(Err(fault)) => (None, Some(format!("it cannot be asked for {path}: {fault}"))),
        Err(_) => (None, Some(format!("it does not answer {path} within {}", human(limit)))),
    };
    standing.checked(clock::instant_now(), why_not.as_deref());
    if let Some(source) = answered {
        // How that ends is no matter.
        let _ = timeout(limit, take_body(source)).await;
    }
}

/// Sends the request and waits for the head of the answer.
async fn ask(
    worker: &Worker,
    to: &Service,
    path: &str,
    limit: Duration,
) -> Result<(Source, response::Parts), Fault> {
    let broken = |detail: String| Fault::new(FaultKind::Broken, detail);
    let request = Request::get(path)
        .header(HOST, to.host_header.clone())
        .header(USER_AGENT, HeaderValue::from_static("serin-health"))
        .body(());
    // Only in so far as URL and path together may be longer than a target can be.
    let mut head = request.map_err(|why| broken(why.to_string()))?.into_parts().0;
    if let Some(authority) = &to.http2 {
        let share = connect_apart(to, limit, (&worker.names, &worker.outbox)).await;
        let share = share.map_err(|error| Fault::of_connecting(&error))?;
        as_http2(&mut head, authority, &UpstreamBody::Empty);
        let broken = |error: h2::Error| broken(describe(&error));
        let mut stream = Stream::begin(share, &head, UpstreamBody::Empty).map_err(broken)?;
        let answer = poll_fn(|cx| stream.poll_head(cx)).await.map_err(broken)?;
        return Ok((Source::Shared(Box::new(stream)), answer));
    }
    let link = Link::connect(to, limit, (&worker.names, &worker.outbox)).await;
    let mut link = link.map_err(|error| Fault::of_connecting(&error))?;
    let mut request = Some(head);
    let answer = poll_fn(|cx| {
        if let Some(head) = request.take() {
            link.connection.begin(cx, head, UpstreamBody::Empty, false);
        }
        link.connection.poll_head(cx)
    });
    let answer = answer.await.map_err(|why| broken(why.to_string()))?;
    Ok((Source::Own(link), answer))
}

/// Reads the rest of an answer, as far as it is not too long.
async fn take_body(mut source: Source) {
    let mut left_bytes = BODY_BYTES_MAX;
    while let Some(Ok(frame)) = poll_fn(|cx| source.poll_frame(cx)).await {
        let bytes = frame.data_ref().map_or(0, |data| data.len());
        if bytes > left_bytes {
            return;
        }
        left_bytes -= bytes;
    }
}
