//! What an answer comes over: a connection of its own in HTTP/1.1, or its part of one that is shared in HTTP/2.

use std::future::poll_fn;
use std::task::{Context, Poll};
use std::time::Instant;

use bytes::Bytes;
use hyper::body::{Frame, SizeHint};

use super::alarm::Alarm;
use super::multiplex_exchange::Stream;
use super::plain::PlainIo;
use super::pool::{Detached, Link, Pool};

/// Where the rest of an answer comes from; dropping it before its end tells the version that nobody waits any longer.
pub(super) enum Source {
    /// A connection that carries nothing else.
    Own(Box<Link>),
    /// One request of many on a connection.
    Shared(Box<Stream>),
}

impl Source {
    /// Reads the next piece of the answer's body; `None` after the last, and in words why it broke off.
    pub(super) fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, String>>> {
        match self {
            Source::Own(link) => {
                let polled = link.connection.poll_frame(cx);
                polled.map(|frame| frame.map(|frame| frame.map_err(|broken| broken.to_string())))
            }
            Source::Shared(stream) => stream.poll_frame(cx),
        }
    }

    /// Whether the answer's body is at its end, as far as that is known without reading on.
    pub(super) fn is_end_of_body(&self) -> bool {
        match self {
            Source::Own(link) => link.connection.is_end_of_body(),
            Source::Shared(stream) => stream.is_end_of_body(),
        }
    }

    /// How long the rest of the body is, where the version has said so.
    pub(super) fn size_hint(&self) -> SizeHint {
        match self {
            Source::Own(link) => link.connection.size_hint(),
            Source::Shared(_) => SizeHint::default(),
        }
    }

    /// How long whoever is to move next may take.
    pub(super) fn alarm(&mut self) -> &mut Alarm {
        match self {
            Source::Own(link) => &mut link.alarm,
            Source::Shared(stream) => &mut stream.alarm,
        }
    }

    /// Lets the rest of the request go up on its own, for an answer that came before the request was through.
    pub(super) fn detach_sending(&mut self) -> Option<Detached> {
        match self {
            Source::Own(link) => link.detach_sending(),
            Source::Shared(stream) => {
                let mut sending = stream.take_sending()?;
                Some(Detached::run(async move {
                    // Where the client broke off, its request is left as it is: the answer that has begun is judged by
                    // itself, and what is left of the stream is reset with it.
                    poll_fn(|cx| sending.poll(cx).unwrap_or(Poll::Pending)).await;
                }))
            }
        }
    }

    /// The bare connection, after an answer that ends HTTP on it; `None` where it is shared.
    pub(super) fn into_io(self) -> Option<(PlainIo, Bytes)> {
        match self {
            Source::Own(link) => Some(link.connection.into_io()),
            Source::Shared(_) => None,
        }
    }

    /// Keeps what can be used again, after the last of the answer.
    pub(super) fn end(self, pool: &Pool, now: Instant) {
        if let Source::Own(link) = self {
            pool.put(link, now);
        }
    }
}
