//! The body of a request on its way to a version, and who is to blame if it stands still.

use std::cell::{Cell, RefCell};
use std::convert::Infallible;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use tokio::time::timeout;

use super::budget::Room;
use super::headers::clean_trailers;
use crate::clock;

/// Why a request's body was not read whole.
#[derive(Debug)]
pub(super) enum Unread {
    /// It is larger than may be.
    TooLarge,
    /// The client sent nothing of it for too long.
    Stalled,
    /// There is no room for it.
    NoRoom,
    /// It broke off.
    Broken(hyper::Error),
}

/// Who takes room that others want is waited for no longer than this, and is looked at so often.
const IDLE_WANTED_MAX: Duration = Duration::from_secs(2);
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Reads a request's body into memory: at most so many bytes, nothing of it for no longer than `idle_max`, and no more
/// than there is room for, where that is counted.
pub(super) async fn read_whole(
    mut body: Incoming,
    bytes_max: usize,
    idle_max: Duration,
    mut room: Option<&mut Room>,
) -> Result<Bytes, Unread> {
    if body.size_hint().lower() > bytes_max as u64 {
        return Err(Unread::TooLarge);
    }
    // Announced is not sent: of what is set aside here, the kernel gives what is written to. Growing
    // may take twice that.
    let announced = usize::try_from(body.size_hint().lower()).unwrap_or(bytes_max).min(bytes_max);
    let mut collected = BytesMut::with_capacity(announced);
    while let Some(frame) = next_frame(&mut body, idle_max, room.as_deref()).await? {
        let Ok(data) = frame.map_err(Unread::Broken)?.into_data() else { continue };
        let bytes = collected.len() + data.len();
        if bytes > bytes_max {
            return Err(Unread::TooLarge);
        }
        let taken = if announced == 0 { bytes.max(collected.capacity()) } else { bytes };
        if room.as_mut().is_some_and(|room| !room.grow(taken)) {
            return Err(Unread::NoRoom);
        }
        collected.extend_from_slice(&data);
        if body.is_end_stream() {
            break;
        }
    }
    if room.is_some_and(|room| !room.is_whole()) {
        return Err(Unread::NoRoom);
    }
    Ok(collected.freeze())
}

/// Waits for the next piece of a body.
async fn next_frame(
    body: &mut Incoming,
    idle_max: Duration,
    room: Option<&Room>,
) -> Result<Option<Result<Frame<Bytes>, hyper::Error>>, Unread> {
    let mut frame = pin!(body.frame());
    // What came with the head is here at the second look: whoever reads the connection hears at the first one that
    // somebody wants it. So no timer is set for it.
    let mut has_looked = false;
    let at_hand = poll_fn(|cx| match frame.as_mut().poll(cx) {
        Poll::Ready(frame) => Poll::Ready(Some(frame)),
        Poll::Pending if std::mem::replace(&mut has_looked, true) => Poll::Ready(None),
        Poll::Pending => {
            cx.waker().wake_by_ref();
            Poll::Pending
        }
    });
    if let Some(frame) = at_hand.await {
        return Ok(frame);
    }
    let mut idle = Duration::ZERO;
    loop {
        let is_wanted = room.is_some_and(Room::is_wanted);
        let left = if is_wanted { idle_max.min(IDLE_WANTED_MAX) } else { idle_max }.saturating_sub(idle);
        let wait = if room.is_some() { left.min(LOOK_EVERY) } else { left };
        match timeout(wait, &mut frame).await {
            Ok(frame) => return Ok(frame),
            Err(_) if wait == left => return Err(Unread::Stalled),
            Err(_) => idle += wait,
        }
    }
}
/// What of a body is kept until it is answered, so that it can be sent again, in bytes.
const KEPT_BYTES_MAX: usize = 64 * 1024;
/// How much is read of a body that nobody wants, so that its connection is good for another request, in bytes.
const UNWANTED_BYTES_MAX: usize = 64 * 1024;
/// How many turns of the worker's loop it may take to come: all of it is there already, or is not waited for.
const UNWANTED_TURNS_MAX: u32 = 3;

/// What is sent to a version.
pub(super) enum UpstreamBody {
    /// Nothing.
    Empty,
    /// A payload that is in memory.
    Whole(Option<Bytes>),
    /// A client's body, as it comes.
    Upload(Rc<Upload>),
}

/// What a request's body can be made of once more.
pub(super) enum Again {
    /// Nothing.
    Empty,
    /// What is in memory.
    Whole(Bytes),
    /// What was kept of what came, if all of it was.
    Upload(Rc<Upload>),
}

impl Again {
    /// The body once more; `None` where it is gone.
    pub(super) fn body(self) -> Option<UpstreamBody> {
        match self {
            Again::Empty => Some(UpstreamBody::Empty),
            Again::Whole(bytes) => Some(UpstreamBody::Whole(Some(bytes))),
            Again::Upload(upload) => upload.kept_whole().map(|bytes| UpstreamBody::Whole(Some(bytes))),
        }
    }
}

impl UpstreamBody {
    /// What it can be made of again, before anything of it is sent; a client's body is kept from here on, if it is small.
    pub(super) fn again(&self) -> Option<Again> {
        match self {
            UpstreamBody::Empty => Some(Again::Empty),
            UpstreamBody::Whole(bytes) => bytes.clone().map(Again::Whole),
            UpstreamBody::Upload(upload) => {
                let is_small = upload.body.borrow().size_hint().lower() <= KEPT_BYTES_MAX as u64;
                is_small.then(|| {
                    upload.keeps.set(true);
                    Again::Upload(Rc::clone(upload))
                })
            }
        }
    }
}

/// A client's body on its way, and how far it has come.
pub(super) struct Upload {
    /// Also when nobody sends it on any more: what is left of it stands in its connection's way.
    body: RefCell<Incoming>,
    stage: Cell<Stage>,
    since: Cell<Instant>,
    /// Whether the body is still in its first poll, which happens at dispatch and needs no look at the clock.
    is_first_poll: Cell<bool>,
    /// Whether what comes is kept, and what of it was.
    keeps: Cell<bool>,
    kept: RefCell<BytesMut>,
}

/// Whom an upload waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// The client has not sent the next piece.
    Client,
    /// The version has not taken the last piece.
    Version,
    /// All of it was handed over.
    Done,
    /// The client broke it off.
    Broken,
}

impl Upload {
    /// A body that is begun to be sent at `at`.
    pub(super) fn begun(body: Incoming, at: Instant) -> Rc<Upload> {
        Rc::new(Upload {
            body: RefCell::new(body),
            stage: Cell::new(Stage::Version),
            since: Cell::new(at),
            is_first_poll: Cell::new(true),
            keeps: Cell::new(false),
            kept: RefCell::default(),
        })
    }

    /// Whom it waits for, and since when.
    pub(super) fn stage(&self) -> (Stage, Instant) {
        (self.stage.get(), self.since.get())
    }

    /// Whether the client has sent all of it, as far as anybody has looked.
    pub(super) fn has_come(&self) -> bool {
        self.stage.get() == Stage::Done
    }

    /// All of the body, if it has come and was kept.
    fn kept_whole(&self) -> Option<Bytes> {
        (self.keeps.get() && self.has_come()).then(|| self.kept.take().freeze())
    }

    /// Whether the body is out of the way of the client's next request; see [`is_out_of_the_way`].
    pub(super) async fn is_out_of_the_way(&self) -> bool {
        match self.stage.get() {
            Stage::Done => true,
            Stage::Broken => false,
            Stage::Client | Stage::Version => {
                let next = |cx: &mut Context<'_>| Pin::new(&mut *self.body.borrow_mut()).poll_frame(cx);
                comes_to_its_end(next).await
            }
        }
    }

    fn reach(&self, stage: Stage) {
        if !self.is_first_poll.get() {
            self.since.set(clock::instant_now());
        }
        self.stage.set(stage);
    }

    fn keep(&self, frame: &Frame<Bytes>) {
        let mut kept = self.kept.borrow_mut();
        match frame.data_ref() {
            Some(data) if kept.len() + data.len() <= KEPT_BYTES_MAX => kept.extend_from_slice(data),
            Some(_) | None => {
                self.keeps.set(false);
                *kept = BytesMut::new();
            }
        }
    }

    fn poll_frame(&self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, UploadBroken>>> {
        let mut body = self.body.borrow_mut();
        let mut polled = Pin::new(&mut *body).poll_frame(cx);
        match &mut polled {
            Poll::Pending => {
                if self.stage.get() != Stage::Client {
                    self.reach(Stage::Client);
                }
            }
            Poll::Ready(None) => self.reach(Stage::Done),
            Poll::Ready(Some(Err(_))) => self.reach(Stage::Broken),
            Poll::Ready(Some(Ok(frame))) => {
                self.reach(if body.is_end_stream() { Stage::Done } else { Stage::Version });
                if let Some(trailers) = frame.trailers_mut() {
                    clean_trailers(trailers);
                }
                if self.keeps.get() {
                    self.keep(frame);
                }
            }
        }
        self.is_first_poll.set(false);
        polled.map(|frame| frame.map(|frame| frame.map_err(UploadBroken)))
    }
}

/// Reads away what has come of a body that nobody wants; whether that was its end, and another request may follow.
///
/// What is yet to come is not waited for: its client is told that the connection ends.
pub(super) async fn is_out_of_the_way(mut body: Incoming) -> bool {
    body.is_end_stream() || comes_to_its_end(|cx| Pin::new(&mut body).poll_frame(cx)).await
}

async fn comes_to_its_end(
    mut next: impl FnMut(&mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>>,
) -> bool {
    let (mut sum, mut turns) = (0, 0);
    poll_fn(|cx| {
        loop {
            match next(cx) {
                Poll::Ready(None) => return Poll::Ready(true),
                Poll::Ready(Some(Err(_))) => return Poll::Ready(false),
                Poll::Ready(Some(Ok(frame))) => sum += frame.data_ref().map_or(0, Bytes::len),
                Poll::Pending if turns < UNWANTED_TURNS_MAX => {
                    turns += 1;
                    // Whoever reads the connection hears only now that somebody wants it.
                    cx.waker().wake_by_ref();
                    return Poll::Pending;
                }
                Poll::Pending => return Poll::Ready(false),
            }
            if sum > UNWANTED_BYTES_MAX {
                return Poll::Ready(false);
            }
        }
    })
    .await
}

/// A client's upload broke off.
#[derive(Debug, thiserror::Error)]
#[error("the client's request body broke off")]
pub(super) struct UploadBroken(#[source] hyper::Error);

impl From<Infallible> for UploadBroken {
    fn from(never: Infallible) -> UploadBroken {
        match never {}
    }
}

impl Body for UpstreamBody {
    type Data = Bytes;
    type Error = UploadBroken;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, UploadBroken>>> {
        match self.get_mut() {
            UpstreamBody::Empty => Poll::Ready(None),
            UpstreamBody::Whole(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            UpstreamBody::Upload(upload) => upload.poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            UpstreamBody::Empty => true,
            UpstreamBody::Whole(bytes) => bytes.is_none(),
            UpstreamBody::Upload(upload) => upload.body.borrow().is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            UpstreamBody::Empty => SizeHint::with_exact(0),
            UpstreamBody::Whole(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, Bytes::len) as u64),
            UpstreamBody::Upload(upload) => upload.body.borrow().size_hint(),
        }
    }
}
