//! HTTP/1.1 as it is spoken with versions: a connection that moves only while whoever uses it polls it.
//!
//! Written for this one place, where a library's client costs more than the rest of the router: it is made for callers
//! who hold one end of a channel while a task holds the connection, and here caller and connection are one. What it
//! takes from a version is no looser than what the router takes from clients. Heads are read by `httparse`.

mod framing;
#[cfg(any(test, feature = "fuzzing"))]
mod fuzzed;
mod head;
mod sending;

use std::io;
use std::task::{Context, Poll, Waker};

use bytes::{Bytes, BytesMut};
use hyper::body::{Frame, SizeHint};
use hyper::http::{request, response};
use hyper::{HeaderMap, Method};
use tokio::net::TcpStream;

use super::plain::{PlainIo, WriteBatcher};
use super::upload::UpstreamBody;
use framing::{Framing, Step};
#[cfg(any(test, feature = "fuzzing"))]
pub(super) use fuzzed::{whole_answer, whole_request};
use sending::BodyFraming;
pub(super) use sending::Sending;

/// The most a head may hold, in either direction.
pub(super) const HEAD_BYTES_MAX: usize = 64 * 1024;
/// How much is read at once: at first, and at most once answers prove large.
const READ_BYTES_MIN: usize = 8 * 1024;
const READ_BYTES_MAX: usize = 64 * 1024;
/// With less room than this in the buffer, it is made larger before it is read into.
const ROOM_BYTES_MIN: usize = 1024;

/// A connection to a version.
pub(super) struct Connection {
    io: PlainIo,
    /// What was read and not yet understood.
    input: BytesMut,
    read_bytes: usize,
    /// The request on its way up, until all of it was handed to the kernel.
    sending: Option<Sending>,
    /// Whether the answer has no body because the request asked for none.
    wants_head_only: bool,
    framing: Framing,
    /// Whether another request may follow.
    is_kept: bool,
    /// The request's headers, emptied, to take those of the answer: their room need not be asked for again.
    spare: HeaderMap,
    /// The request's head as it was written, if it may be sent again, and how its body is told from what follows.
    sent: Vec<u8>,
    sent_framing: BodyFraming,
    /// Whether anything was heard since the request.
    has_heard: bool,
}

/// Why an answer did not come, or not to its end.
#[derive(Debug, thiserror::Error)]
pub(super) enum Broken {
    /// The connection failed.
    #[error("the connection failed: {0}")]
    Io(#[from] io::Error),
    /// It ended before the answer.
    #[error("it closed the connection before it answered")]
    ClosedBeforeHead,
    /// It ended in the midst of the answer.
    #[error("it closed the connection in the midst of its answer")]
    ClosedInBody,
    /// What came is no HTTP/1.1.
    #[error("it did not answer in proper HTTP/1.1: {0}")]
    Malformed(&'static str),
}

impl Connection {
    /// A connection over which nothing was said yet.
    pub(super) fn new(stream: TcpStream, outbox: &std::rc::Rc<WriteBatcher>) -> Connection {
        Connection {
            io: PlainIo::new(stream, outbox),
            input: BytesMut::new(),
            read_bytes: READ_BYTES_MIN,
            sending: None,
            wants_head_only: false,
            framing: Framing::None,
            is_kept: true,
            spare: HeaderMap::new(),
            sent: Vec::new(),
            sent_framing: BodyFraming::None,
            has_heard: false,
        }
    }

    /// Whether nothing but a request is missing for another answer.
    pub(super) fn is_idle(&self) -> bool {
        self.is_kept
            && self.sending.is_none()
            && self.framing == Framing::None
            && self.input.is_empty()
            && !self.io.has_unsent()
    }

    /// Gives back the room that a large answer took, for idle connections are many.
    pub(super) fn rest(&mut self) {
        if self.read_bytes > READ_BYTES_MIN {
            (self.input, self.read_bytes) = (BytesMut::new(), READ_BYTES_MIN);
        }
        if self.sent.capacity() > READ_BYTES_MIN {
            self.sent = Vec::new();
        }
    }

    /// Whether an idle connection has been closed by the version, or has said something unasked.
    pub(super) fn has_ended(&mut self) -> bool {
        // Anything that can be read now, the end included, makes it useless.
        let mut cx = Context::from_waker(Waker::noop());
        !self.is_idle() || self.poll_fill(&mut cx).is_ready()
    }

    /// Begins a request: its head is sent with the end of this turn, its body when the connection is polled.
    ///
    /// With `keeps`, [`begin_again`](Connection::begin_again) can begin it on another connection.
    pub(super) fn begin(
        &mut self,
        cx: &Context<'_>,
        mut head: request::Parts,
        body: UpstreamBody,
        keeps: bool,
    ) {
        self.wants_head_only = head.method == Method::HEAD;
        (self.framing, self.has_heard) = (Framing::None, false);
        let body_framing = head::request_framing(&head, &body);
        let sent = &mut self.sent;
        self.io.compose(cx, |bytes| {
            let start = bytes.len();
            head::write_request(bytes, &head, body_framing);
            if keeps {
                sent.clear();
                sent.extend_from_slice(&bytes[start..]);
            }
        });
        self.sent_framing = body_framing;
        self.sending = Sending::of(&self.io, body, body_framing);
        head.headers.clear();
        self.spare = head.headers;
    }

    /// Begins the request that was begun on another connection, which kept it, once more.
    pub(super) fn begin_again(&mut self, cx: &Context<'_>, before: &Connection, body: UpstreamBody) {
        self.wants_head_only = before.wants_head_only;
        self.io.compose(cx, |bytes| bytes.extend_from_slice(&before.sent));
        self.sending = Sending::of(&self.io, body, before.sent_framing);
    }

    /// Whether the version ends the connection after this answer.
    pub(super) fn ends_with_answer(&self) -> bool {
        !self.is_kept
    }

    /// Whether nothing at all has come since the request was begun.
    pub(super) fn has_heard_nothing(&self) -> bool {
        !self.has_heard
    }

    /// Moves the request's body up, as far as it goes; an error is the client's.
    pub(super) fn poll_sending(&mut self, cx: &mut Context<'_>) -> Result<(), sending::ClientBroke> {
        if let Some(sending) = &mut self.sending
            && let Poll::Ready(sent) = sending.poll(cx)?
        {
            // A version may answer without reading all of a body, and close; what it answered is still to be read.
            self.is_kept &= sent.is_whole;
            self.sending = None;
        }
        Ok(())
    }

    /// Takes the rest of the request's way up away, for somebody else to poll; the connection takes no other.
    pub(super) fn take_sending(&mut self) -> Option<Sending> {
        let sending = self.sending.take()?;
        self.is_kept = false;
        Some(sending)
    }

    /// Reads the head of the answer; what is only informational is passed over.
    pub(super) fn poll_head(&mut self, cx: &mut Context<'_>) -> Poll<Result<response::Parts, Broken>> {
        loop {
            if !self.input.is_empty()
                && let Some(answer) =
                    head::read_answer(&mut self.input, &mut self.spare, self.wants_head_only)?
            {
                self.is_kept &= answer.is_kept;
                self.framing = answer.framing;
                return Poll::Ready(Ok(answer.head));
            }
            if std::task::ready!(self.poll_fill(cx))? == 0 {
                return Poll::Ready(Err(Broken::ClosedBeforeHead));
            }
            self.has_heard = true;
        }
    }

    /// Reads the next piece of the answer's body; `None` after the last.
    pub(super) fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        loop {
            match self.framing.step(&mut self.input) {
                Ok(Step::Frame(frame)) => return Poll::Ready(Some(Ok(frame))),
                Ok(Step::Over) => return Poll::Ready(None),
                Ok(Step::Wanting(bytes)) => self.read_bytes = self.read_bytes.max(bytes.min(READ_BYTES_MAX)),
                Err(malformed) => return self.broken(Broken::Malformed(malformed)),
            }
            match std::task::ready!(self.poll_fill(cx)) {
                Ok(0) if self.framing.ends_with_connection() => {
                    self.framing = Framing::None;
                    return Poll::Ready(None);
                }
                Ok(0) => return self.broken(Broken::ClosedInBody),
                Ok(_) => {}
                Err(error) => return self.broken(error.into()),
            }
        }
    }

    fn broken(&mut self, why: Broken) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        (self.is_kept, self.framing) = (false, Framing::None);
        Poll::Ready(Some(Err(why)))
    }

    /// Whether the answer's body is at its end, as far as that is known without reading on.
    pub(super) fn is_end_of_body(&self) -> bool {
        self.framing == Framing::None
    }

    /// How long the rest of the body is, where the version has said so.
    pub(super) fn size_hint(&self) -> SizeHint {
        self.framing.size_hint()
    }

    /// The bare connection after an answer of 101, and what came on it behind the head.
    pub(super) fn into_io(self) -> (PlainIo, Bytes) {
        (self.io, self.input.freeze())
    }

    /// Reads what has come; nothing means that the version has closed its side.
    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        if self.input.capacity() - self.input.len() < ROOM_BYTES_MIN.max(self.read_bytes / 8) {
            self.input.reserve(self.read_bytes);
        }
        let filled = self.io.poll_fill(cx, &mut self.input);
        // What the kernel did not take at the end of the turn nobody else goes on with. If it fails, reading says why.
        if filled.is_pending()
            && self.io.has_unsent()
            && matches!(self.io.poll_unsent(cx), Poll::Ready(Err(_)))
        {
            self.is_kept = false;
        }
        if let Poll::Ready(Err(_) | Ok(0)) = filled {
            self.is_kept = false;
        }
        filled
    }
}

#[cfg(test)]
mod tests;
