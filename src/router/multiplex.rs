//! Connections to versions that speak HTTP/2: one a worker and version, for all requests at once.
//!
//! Unlike those of HTTP/1.1 such a connection is a task, because nobody's request owns it. Its window is as large as can
//! be, and that of a request is not: what one client does not take keeps no other waiting.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use bytes::Bytes;
use h2::client::{Builder, Connection, SendRequest};
use h2::{Ping, PingPong};
use hyper_util::rt::TokioIo;
use tokio::sync::Mutex;
use tokio::task::spawn_local;
use tokio::time::timeout;

use super::alarm::Alarm;
use super::http1::HEAD_BYTES_MAX;
use super::names::{Names, Whereabouts};
use super::plain::{PlainIo, WriteBatcher};
use super::pool::{connect_within, too_late};
use super::route::Service;
use crate::clock;

/// How long a connection is kept that nobody uses.
const IDLE_MAX: Duration = Duration::from_secs(60);
/// What is kept of an answer that its client does not take; and of all of them, which is no limit.
const STREAM_WINDOW_BYTES: u32 = 128 * 1024;
const CONNECTION_WINDOW_BYTES: u32 = (1 << 31) - 1;
/// What is kept of a request body that the version does not take.
const SEND_BYTES_MAX: usize = 64 * 1024;
/// How often a version with requests under way is asked whether it is there, and how long the answer may take.
const PING_EVERY: Duration = Duration::from_secs(20);
const PING_MAX: Duration = Duration::from_secs(10);

type Io = TokioIo<PlainIo>;

/// One worker's connections of this kind.
#[derive(Default)]
pub(super) struct H2Pool {
    trunks: RefCell<HashMap<Arc<str>, Rc<Trunk>>>,
}

/// The connection to one version, or where it will be.
struct Trunk {
    /// Locked while somebody connects, for whom the others wait.
    line: Mutex<Option<Line>>,
    used_at: Cell<Instant>,
}

/// A connection, and how many requests are under way on it.
#[derive(Clone)]
struct Line {
    sender: SendRequest<Bytes>,
    whereabouts: Whereabouts,
    open: Rc<Cell<usize>>,
}

/// The right to one request on a connection, which is counted until this is dropped.
pub(super) struct Share {
    /// Takes one request.
    pub(super) sender: SendRequest<Bytes>,
    /// Whether the connection was made for it.
    pub(super) is_first: bool,
    open: Rc<Cell<usize>>,
}

impl Drop for Share {
    fn drop(&mut self) {
        self.open.set(self.open.get() - 1);
    }
}

impl Line {
    fn is_usable(&self) -> bool {
        let mut cx = Context::from_waker(Waker::noop());
        // One that has sent nothing yet waits for nobody, so this tells whether the connection stands.
        self.whereabouts.is_current()
            && matches!(self.sender.clone().poll_ready(&mut cx), Poll::Ready(Ok(())))
    }

    fn share(&self) -> Share {
        self.open.set(self.open.get() + 1);
        Share { sender: self.sender.clone(), is_first: false, open: Rc::clone(&self.open) }
    }
}

impl H2Pool {
    /// A share in the connection to a service, which is made where there is none; fails when the limit is over.
    pub(super) async fn take(
        &self,
        to: &Service,
        limit: Duration,
        by: (&Names, &Rc<WriteBatcher>),
        now: Instant,
    ) -> io::Result<Share> {
        let trunk = {
            let mut trunks = self.trunks.borrow_mut();
            let new = || Rc::new(Trunk { line: Mutex::default(), used_at: Cell::new(now) });
            Rc::clone(trunks.entry(Arc::clone(&to.authority)).or_insert_with(new))
        };
        trunk.used_at.set(now);
        let usable = |line: &Option<Line>| line.as_ref().filter(|line| line.is_usable()).map(Line::share);
        if let Some(share) = trunk.line.try_lock().ok().and_then(|line| usable(&line)) {
            return Ok(share);
        }
        let connecting = async {
            let mut line = trunk.line.lock().await;
            if let Some(share) = usable(&line) {
                return Ok(share);
            }
            // What is under way on the one before goes on there.
            let connected = connect(to, limit, by).await?;
            let mut share = line.insert(connected).share();
            share.is_first = true;
            Ok(share)
        };
        timeout(limit, connecting).await.unwrap_or_else(|_| Err(too_late(limit)))
    }

    /// Lets go of connections that were idle too long or have ended; one with requests under way ends after them.
    pub(super) fn sweep(&self, now: Instant) {
        self.trunks.borrow_mut().retain(|_, trunk| {
            // Somebody connects now, or waits for whoever does.
            let Ok(line) = trunk.line.try_lock() else { return true };
            if line.as_ref().is_some_and(|line| line.open.get() > 0) {
                trunk.used_at.set(now);
            }
            let is_idle = now.saturating_duration_since(trunk.used_at.get()) >= IDLE_MAX;
            line.as_ref().is_some_and(Line::is_usable) && !is_idle
        });
    }
}

/// The only share in a connection of its own, which ends with it; fails when the limit to connect is over.
pub(super) async fn connect_apart(
    to: &Service,
    limit: Duration,
    by: (&Names, &Rc<WriteBatcher>),
) -> io::Result<Share> {
    Ok(connect(to, limit, by).await?.share())
}

async fn connect(
    to: &Service,
    limit: Duration,
    (names, outbox): (&Names, &Rc<WriteBatcher>),
) -> io::Result<Line> {
    let (stream, whereabouts) = connect_within(to, limit, names).await?;
    let io = TokioIo::new(PlainIo::new(stream, outbox));
    let mut builder = Builder::new();
    builder
        .enable_push(false)
        .initial_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_send_buffer_size(SEND_BYTES_MAX)
        .max_header_list_size(HEAD_BYTES_MAX as u32)
        // Until the version has said how many it takes at once.
        .initial_max_send_streams(1);
    let (sender, mut connection) = builder.handshake(io).await.map_err(io::Error::other)?;
    let pings = connection.ping_pong().expect("nobody has asked for it before");
    let open = Rc::default();
    spawn_local(drive(connection, pings, Rc::clone(&open)));
    Ok(Line { sender, whereabouts, open })
}

/// Moves a connection until it ends, which the requests on it are told, or until its version is silent when asked.
async fn drive(connection: Connection<Io, Bytes>, mut pings: PingPong, open: Rc<Cell<usize>>) {
    let mut connection = pin!(connection);
    let mut alarm = Alarm::default();
    alarm.set(clock::instant_now() + PING_EVERY);
    let mut is_asked = false;
    poll_fn(|cx| {
        if connection.as_mut().poll(cx).is_ready() {
            return Poll::Ready(());
        }
        if is_asked && pings.poll_pong(cx).is_ready() {
            is_asked = false;
            alarm.set(clock::instant_now() + PING_EVERY);
        }
        while alarm.poll(cx).is_ready() {
            if is_asked {
                return Poll::Ready(());
            }
            // Of one that nobody waits for it is no matter.
            is_asked = open.get() > 0 && pings.send_ping(Ping::opaque()).is_ok();
            alarm.set(clock::instant_now() + if is_asked { PING_MAX } else { PING_EVERY });
        }
        Poll::Pending
    })
    .await;
}
