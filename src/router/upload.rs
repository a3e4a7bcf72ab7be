//! The body of a request on its way to a version, and who is to blame if it stands still.

use std::cell::Cell;
use std::convert::Infallible;
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

/// What is sent to a version.
pub(super) enum UpstreamBody {
    /// Nothing.
    Empty,
    /// A payload that is in memory.
    Whole(Option<Bytes>),
    /// A client's body, as it comes.
    Upload(Incoming, Rc<Progress>),
}

/// How far an upload has come.
pub(super) struct Progress {
    stage: Cell<Stage>,
    since: Cell<Instant>,
    /// Whether the body is still in its first poll, which happens at dispatch and needs no look at the clock.
    is_first_poll: Cell<bool>,
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

impl Progress {
    /// The progress of a request whose body begins at `at`.
    pub(super) fn begun(at: Instant) -> Rc<Progress> {
        let (stage, since, is_first_poll) = (Cell::new(Stage::Version), Cell::new(at), Cell::new(true));
        Rc::new(Progress { stage, since, is_first_poll })
    }

    /// Whom it waits for, and since when.
    pub(super) fn stage(&self) -> (Stage, Instant) {
        (self.stage.get(), self.since.get())
    }

    fn reach(&self, stage: Stage) {
        if !self.is_first_poll.get() {
            self.since.set(clock::instant_now());
        }
        self.stage.set(stage);
    }
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
            UpstreamBody::Upload(body, progress) => poll_upload(body, progress, cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            UpstreamBody::Empty => true,
            UpstreamBody::Whole(bytes) => bytes.is_none(),
            UpstreamBody::Upload(body, _) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            UpstreamBody::Empty => SizeHint::with_exact(0),
            UpstreamBody::Whole(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, Bytes::len) as u64),
            UpstreamBody::Upload(body, _) => body.size_hint(),
        }
    }
}

fn poll_upload(
    body: &mut Incoming,
    progress: &Progress,
    cx: &mut Context<'_>,
) -> Poll<Option<Result<Frame<Bytes>, UploadBroken>>> {
    let polled = Pin::new(&mut *body).poll_frame(cx);
    match &polled {
        Poll::Pending => {
            if progress.stage.get() != Stage::Client {
                progress.reach(Stage::Client);
            }
        }
        Poll::Ready(None) => progress.reach(Stage::Done),
        Poll::Ready(Some(Err(_))) => progress.reach(Stage::Broken),
        Poll::Ready(Some(Ok(_))) => {
            progress.reach(if body.is_end_stream() { Stage::Done } else { Stage::Version });
        }
    }
    progress.is_first_poll.set(false);
    polled.map(|frame| {
        let mut frame = frame?.map_err(UploadBroken);
        if let Ok(frame) = &mut frame
            && let Some(trailers) = frame.trailers_mut()
        {
            clean_trailers(trailers);
        }
        Some(frame)
    })
}
