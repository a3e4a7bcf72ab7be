//! Connections to versions: one worker's, without a lock.
//!
//! A connection is not a task. Whoever uses it polls it, so that a request and its upstream wake together and a
//! client that goes away takes its upstream request with it. Idle ones stand still until they are used again; one
//! that was closed meanwhile gives the request back unsent.

use std::cell::RefCell;
use std::collections::HashMap;
use std::future::poll_fn;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use bytes::Bytes;
use hyper::body::Incoming;
use hyper::client::conn::TrySendError;
use hyper::client::conn::http1::{self, SendRequest};
use hyper::{Request, Response};
use tokio::net::TcpStream;
use tokio::task::AbortHandle;
use tokio::time::timeout;

use super::plain::{Outbox, PlainIo};
use super::route::Service;
use super::upload::UpstreamBody;
use crate::clock;
use crate::domain::time::human;

/// How many idle connections are kept for one upstream.
const IDLE_MAX: usize = 256;
/// How long hyper may take to let go of a connection that has changed its protocol; it does so at once.
const LET_GO_MAX: Duration = Duration::from_secs(1);
/// The most a head may hold, in either direction.
pub(super) const HEAD_BYTES_MAX: usize = 64 * 1024;

type Driver = http1::Connection<PlainIo, UpstreamBody>;

/// A connection to a version, which moves only while it is driven.
pub(super) struct Link {
    authority: Arc<str>,
    sender: SendRequest<UpstreamBody>,
    /// Gone once the connection has ended.
    driver: Option<Box<Driver>>,
    /// What is left of it then: the bare connection, and what was read beyond HTTP.
    ended: Option<(PlainIo, Bytes)>,
    /// How long it may be idle, if the version said so.
    idle_limit: Option<Duration>,
}

impl Link {
    /// Connects to a service; fails when the limit is over.
    pub(super) async fn connect(service: &Service, limit: Duration, outbox: &Rc<Outbox>) -> io::Result<Link> {
        let connecting = connect_any(&service.host, service.port, limit);
        let stream = timeout(limit, connecting).await.unwrap_or_else(|_| {
            let text = format!("no connection within {}", human(limit));
            Err(io::Error::new(io::ErrorKind::TimedOut, text))
        })?;
        stream.set_nodelay(true)?;
        let mut builder = http1::Builder::new();
        builder.max_header_size(HEAD_BYTES_MAX).max_buf_size(HEAD_BYTES_MAX);
        let (sender, driver) =
            builder.handshake(PlainIo::new(stream, outbox)).await.map_err(io::Error::other)?;
        Ok(Link {
            authority: Arc::clone(&service.authority),
            sender,
            driver: Some(Box::new(driver)),
            ended: None,
            idle_limit: None,
        })
    }

    /// Hands a request over; both this and the answer need the link to be driven.
    pub(super) fn send(
        &mut self,
        request: Request<UpstreamBody>,
    ) -> impl Future<Output = Result<Response<Incoming>, TrySendError<Request<UpstreamBody>>>> + use<> {
        self.sender.try_send_request(request)
    }

    /// Moves bytes both ways, as far as it goes.
    pub(super) fn drive(&mut self, cx: &mut Context<'_>) {
        if let Some(driver) = &mut self.driver
            && Pin::new(driver).poll(cx).is_ready()
        {
            // Whatever ended it reaches the answer or its body, too, and is told apart there.
            // The driver itself must go: it gives back a request that it has not sent.
            self.ended =
                self.driver.take().map(|driver| driver.into_parts()).map(|parts| (parts.io, parts.read_buf));
        }
    }

    /// The bare connection after an answer of 101, and what came on it behind the head; `None` if it was closed.
    pub(super) async fn into_stream(mut self) -> Option<(TcpStream, Bytes)> {
        // hyper lets go of it once it has seen that nothing of HTTP follows.
        let ended = poll_fn(|cx| {
            self.drive(cx);
            if self.driver.is_none() { Poll::Ready(()) } else { Poll::Pending }
        });
        timeout(LET_GO_MAX, ended).await.ok()?;
        let (io, early) = self.ended.take()?;
        Some((io.into_inner()?, early))
    }

    /// Notes how long the version keeps the connection when idle.
    pub(super) fn set_idle_limit(&mut self, limit: Option<Duration>) {
        self.idle_limit = limit;
    }

    /// Lets the connection run on its own, for an answer that came before the request was through.
    pub(super) fn detach(self) -> Detached {
        let Link { driver, sender, .. } = self;
        let task = tokio::task::spawn_local(async move {
            if let Some(driver) = driver {
                // As in `drive`.
                let _ = driver.await;
            }
            drop(sender);
        });
        Detached(task.abort_handle())
    }
}

/// A connection that runs on its own, until this is dropped.
pub(super) struct Detached(AbortHandle);

impl Drop for Detached {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Tries every address of a host, each with a fair part of what is left of the limit.
async fn connect_any(host: &str, port: u16, limit: Duration) -> io::Result<TcpStream> {
    let started = clock::instant_now();
    let addresses: Vec<SocketAddr> = match host.parse::<IpAddr>() {
        Ok(ip) => vec![SocketAddr::new(ip, port)],
        Err(_) => tokio::net::lookup_host((host, port)).await?.collect(),
    };
    let mut fault = io::Error::new(io::ErrorKind::NotFound, "its name has no address");
    for (index, address) in addresses.iter().enumerate() {
        let left = limit.saturating_sub(clock::instant_now().duration_since(started));
        let part = left / (addresses.len() - index) as u32;
        match timeout(part, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(refused)) => fault = refused,
            Err(_) => fault = io::Error::new(io::ErrorKind::TimedOut, "its address does not answer"),
        }
    }
    Err(fault)
}

/// One worker's idle connections.
pub(super) struct Pool {
    idle: RefCell<HashMap<Arc<str>, Vec<Idle>>>,
    idle_limit: Duration,
}

struct Idle {
    link: Link,
    until: Instant,
}

impl Pool {
    /// An empty pool that keeps a connection for so long.
    pub(super) fn new(idle_limit: Duration) -> Pool {
        Pool { idle: RefCell::default(), idle_limit }
    }

    /// The connection to an upstream that was used last, if one is left.
    pub(super) fn take(&self, authority: &str, now: Instant) -> Option<Link> {
        let mut all = self.idle.borrow_mut();
        let idle = all.get_mut(authority)?;
        while let Some(Idle { link, until }) = idle.pop() {
            if until > now && link.sender.is_ready() {
                return Some(link);
            }
        }
        None
    }

    /// Keeps a connection whose answer was read to its end, if it can carry another request.
    pub(super) fn put(&self, link: Link, now: Instant) {
        if link.driver.is_none() || !link.sender.is_ready() {
            return;
        }
        // A second less than the version says, for that is when it hangs up.
        let told = link.idle_limit.map(|limit| limit.saturating_sub(Duration::from_secs(1)));
        let until = now + told.unwrap_or(Duration::MAX).min(self.idle_limit);
        let mut all = self.idle.borrow_mut();
        if !all.contains_key(&link.authority) {
            all.insert(Arc::clone(&link.authority), Vec::new());
        }
        if let Some(idle) = all.get_mut(&link.authority)
            && idle.len() < IDLE_MAX
        {
            idle.push(Idle { link, until });
        }
    }

    /// Closes what was idle too long or was closed from the other side, and forgets upstreams without connections.
    pub(super) fn sweep(&self, now: Instant) {
        let mut cx = Context::from_waker(Waker::noop());
        self.idle.borrow_mut().retain(|_, idle| {
            idle.retain_mut(|idle| {
                idle.link.drive(&mut cx);
                idle.until > now && idle.link.driver.is_some()
            });
            !idle.is_empty()
        });
    }
}

/// Drives a link once, so that it settles after its answer's last byte.
pub(super) async fn settle(link: &mut Link) {
    poll_fn(|cx| {
        link.drive(cx);
        Poll::Ready(())
    })
    .await;
}
