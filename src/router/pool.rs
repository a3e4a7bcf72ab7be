//! Connections to versions: one worker's, without a lock.
//!
//! A connection is not a task. Whoever uses it polls it, so that a request and its upstream wake together and a
//! client that goes away takes its upstream request with it. Idle ones stand still until they are used again; one that
//! was closed meanwhile is not.

use std::cell::RefCell;
use std::collections::HashMap;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

use tokio::net::TcpStream;
use tokio::task::AbortHandle;
use tokio::time::timeout;

use super::alarm::Alarm;
use super::http1::Connection;
use super::names::{Names, Whereabouts};
use super::plain::{WriteBatcher, hold_little_unsent};
use super::route::Service;
use serin_core::model::time::human;

/// How many idle connections are kept for one upstream.
const IDLE_MAX: usize = 256;

/// A connection to a version, which moves only while it is polled.
pub(super) struct Link {
    /// What is spoken on it.
    pub(super) connection: Connection,
    /// How long whoever is to move next may take.
    pub(super) alarm: Alarm,
    authority: Arc<str>,
    whereabouts: Whereabouts,
    /// How long it may be idle, if the version said so.
    idle_limit: Option<Duration>,
}

impl Link {
    /// Connects to a service; fails when the limit is over.
    pub(super) async fn connect(
        service: &Service,
        limit: Duration,
        (names, outbox): (&Names, &Rc<WriteBatcher>),
    ) -> io::Result<Box<Link>> {
        let (stream, whereabouts) = connect_within(service, limit, names).await?;
        Ok(Box::new(Link {
            connection: Connection::new(stream, outbox),
            alarm: Alarm::default(),
            authority: Arc::clone(&service.authority),
            whereabouts,
            idle_limit: None,
        }))
    }

    /// Notes how long the version keeps the connection when idle.
    pub(super) fn set_idle_limit(&mut self, limit: Option<Duration>) {
        self.idle_limit = limit;
    }

    /// Lets the rest of the request go up on its own, for an answer that came before the request was through.
    pub(super) fn detach_sending(&mut self) -> Option<Detached> {
        let mut sending = self.connection.take_sending()?;
        Some(Detached::run(async move {
            // Whoever broke off, client or version, the answer that has begun is judged by itself.
            std::future::poll_fn(|cx| sending.poll(cx).map_or(Poll::Ready(()), |sent| sent.map(drop))).await;
        }))
    }
}

/// Something that goes on by itself, until this is dropped.
pub(super) struct Detached(AbortHandle);

impl Detached {
    /// Runs it on this worker.
    pub(super) fn run(work: impl Future<Output = ()> + 'static) -> Detached {
        Detached(tokio::task::spawn_local(work).abort_handle())
    }
}

impl Drop for Detached {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Connects to a service, whatever is spoken with it; fails when the limit is over.
pub(super) async fn connect_within(
    service: &Service,
    limit: Duration,
    names: &Names,
) -> io::Result<(TcpStream, Whereabouts)> {
    let connecting = names.connect(&service.host, service.port, limit);
    let (stream, whereabouts) = timeout(limit, connecting).await.unwrap_or_else(|_| Err(too_late(limit)))?;
    stream.set_nodelay(true)?;
    hold_little_unsent(&stream);
    Ok((stream, whereabouts))
}

/// What is said when it is.
pub(super) fn too_late(limit: Duration) -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, format!("no connection within {}", human(limit)))
}

/// One worker's idle connections.
pub(super) struct Pool {
    idle: RefCell<HashMap<Arc<str>, Vec<Idle>>>,
    idle_limit: Duration,
}

struct Idle {
    link: Box<Link>,
    until: Instant,
}

impl Pool {
    /// An empty pool that keeps a connection for so long.
    pub(super) fn new(idle_limit: Duration) -> Pool {
        Pool { idle: RefCell::default(), idle_limit }
    }

    /// The connection to an upstream that was used last, if one is left.
    pub(super) fn take(&self, authority: &str, now: Instant) -> Option<Box<Link>> {
        let mut all = self.idle.borrow_mut();
        let idle = all.get_mut(authority)?;
        while let Some(Idle { mut link, until }) = idle.pop() {
            if until > now && link.whereabouts.is_current() && !link.connection.has_ended() {
                return Some(link);
            }
        }
        None
    }

    /// Keeps a connection whose answer was read to its end, if it can carry another request.
    pub(super) fn put(&self, mut link: Box<Link>, now: Instant) {
        if !link.connection.is_idle() || !link.whereabouts.is_current() {
            return;
        }
        link.connection.rest();
        // A second less than the version says, for that is when it hangs up.
        let told = link.idle_limit.map(|limit| limit.saturating_sub(Duration::from_secs(1)));
        let until = now + told.unwrap_or(Duration::MAX).min(self.idle_limit);
        let mut all = self.idle.borrow_mut();
        let idle = match all.get_mut(&link.authority) {
            Some(idle) => idle,
            None => all.entry(Arc::clone(&link.authority)).or_default(),
        };
        if idle.len() < IDLE_MAX {
            idle.push(Idle { link, until });
        }
    }

    /// Closes what was idle too long, goes where its host is no more or was closed from the other side, and forgets
    /// upstreams without connections.
    pub(super) fn sweep(&self, now: Instant) {
        self.idle.borrow_mut().retain(|_, idle| {
            idle.retain_mut(|Idle { link, until }| {
                *until > now && link.whereabouts.is_current() && !link.connection.has_ended()
            });
            !idle.is_empty()
        });
    }
}
