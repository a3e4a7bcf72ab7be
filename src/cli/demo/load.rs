//! The users of the demonstration: a steady load through the router, and what they saw of it.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper::client::conn::http1::{self, SendRequest};
use hyper::{Request, Response, header};
use hyper_util::rt::TokioIo;
use rand::RngExt;
use tokio::net::TcpStream;

use crate::chance;
use crate::clock;
use serin_core::model::time::Timestamp;

/// Connections that share the load.
const CONNECTIONS: u32 = 24;

/// What users saw of one version.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// Requests.
    pub requests: u64,
    /// Answers of 500 and above, and requests without an answer.
    pub failures: u64,
    /// Requests without an answer.
    pub unanswered: u64,
    /// When the first failure was seen.
    pub first_failure: Option<Timestamp>,
}

/// A load that runs until it is stopped.
pub struct Load {
    seen: Arc<Mutex<BTreeMap<String, Seen>>>,
    is_open: Arc<AtomicBool>,
    stopping: Arc<AtomicBool>,
}

impl Load {
    /// Sends about `requests_per_s` to a path of the router, once users are let in.
    pub fn start(router: SocketAddr, path: &'static str, requests_per_s: u32) -> Load {
        let load = Load { seen: Arc::default(), is_open: Arc::default(), stopping: Arc::default() };
        let pace = Duration::from_secs_f64(f64::from(CONNECTIONS) / f64::from(requests_per_s));
        for _ in 0..CONNECTIONS {
            let (seen, is_open) = (Arc::clone(&load.seen), Arc::clone(&load.is_open));
            let stopping = Arc::clone(&load.stopping);
            tokio::spawn(async move {
                while !is_open.load(Ordering::Relaxed) && !stopping.load(Ordering::Relaxed) {
                    tokio::time::sleep(pace).await;
                }
                send_all(router, path, pace, &seen, &stopping).await;
            });
        }
        load
    }

    /// Lets users in.
    pub fn let_in(&self) {
        self.is_open.store(true, Ordering::Relaxed);
    }

    /// What users saw so far, by executed version; an empty version means no answer at all.
    pub fn seen(&self) -> BTreeMap<String, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What users saw so far of all versions together.
    pub fn total(&self) -> Seen {
        let add = |sum: Seen, seen: &Seen| Seen {
            requests: sum.requests + seen.requests,
            failures: sum.failures + seen.failures,
            unanswered: sum.unanswered + seen.unanswered,
            first_failure: None,
        };
        self.seen().values().fold(Seen::default(), add)
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.stopping.store(true, Ordering::Relaxed);
    }
}

async fn send_all(
    router: SocketAddr,
    path: &str,
    pace: Duration,
    seen: &Mutex<BTreeMap<String, Seen>>,
    stopping: &AtomicBool,
) {
    // Each connection begins somewhere within its pace, so that they do not all send at once.
    let offset = chance::ticket_source().random::<f64>();
    let mut next = tokio::time::Instant::now() + pace.mul_f64(offset);
    let mut connection: Option<SendRequest<Empty<Bytes>>> = None;
    while !stopping.load(Ordering::Relaxed) {
        tokio::time::sleep_until(next).await;
        // What a slow answer held up is not made up for: users wait, they do not hurry.
        next = (next + pace).max(tokio::time::Instant::now());
        let answer = send(router, path, &mut connection).await;
        let (version, failed) = match &answer {
            Some(answer) => (executed_version(answer), answer.status().is_server_error()),
            None => (String::new(), true),
        };
        if answer.is_none() {
            connection = None;
        }
        let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
        let of_version = seen.entry(version).or_default();
        of_version.requests += 1;
        of_version.unanswered += u64::from(answer.is_none());
        if failed {
            of_version.failures += 1;
            of_version.first_failure.get_or_insert_with(clock::wall_now);
        }
    }
}

fn executed_version(answer: &Response<()>) -> String {
    let version = answer.headers().get("x-amz-executed-version").and_then(|value| value.to_str().ok());
    version.unwrap_or_default().to_owned()
}

async fn send(
    router: SocketAddr,
    path: &str,
    connection: &mut Option<SendRequest<Empty<Bytes>>>,
) -> Option<Response<()>> {
    let sender = match connection {
        Some(sender) if !sender.is_closed() => sender,
        _ => connection.insert(connect(router).await?),
    };
    let request = Request::get(path).header(header::HOST, router.to_string()).body(Empty::new()).ok()?;
    sender.ready().await.ok()?;
    let (head, body) = sender.send_request(request).await.ok()?.into_parts();
    body.collect().await.ok()?;
    Some(Response::from_parts(head, ()))
}

async fn connect(router: SocketAddr) -> Option<SendRequest<Empty<Bytes>>> {
    let stream = TcpStream::connect(router).await.ok()?;
    let _ = stream.set_nodelay(true);
    let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.ok()?;
    tokio::spawn(connection);
    Some(sender)
}
