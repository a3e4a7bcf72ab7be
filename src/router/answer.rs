//! The body of any answer: the router's own, in memory, or a version's, as it comes.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::{Body, Frame, SizeHint};

use super::download::{Download, DownloadBroken};
use super::event_stream::Pieces;
use super::tunnel::Tunnel;

/// What the server writes to a client.
pub(super) enum AnswerBody {
    /// In memory.
    Whole(Full<Bytes>),
    /// From a version.
    Stream(Download),
    /// Of an Invoke, as it is made.
    Pieces(Pieces),
    /// None: the connection becomes a tunnel, which whoever serves it takes from here.
    Tunnel(Option<Box<Tunnel>>),
}

impl AnswerBody {
    /// A body in memory.
    pub(super) fn whole(bytes: Bytes) -> AnswerBody {
        AnswerBody::Whole(Full::new(bytes))
    }
}

impl Body for AnswerBody {
    type Data = Bytes;
    type Error = DownloadBroken;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, DownloadBroken>>> {
        match self.get_mut() {
            AnswerBody::Whole(body) => Pin::new(body)
                .poll_frame(cx)
                .map(|frame| frame.map(|frame| frame.map_err(|never: Infallible| match never {}))),
            AnswerBody::Stream(body) => Pin::new(body).poll_frame(cx),
            AnswerBody::Pieces(body) => Pin::new(body)
                .poll_frame(cx)
                .map(|frame| frame.map(|frame| frame.map_err(|never: Infallible| match never {}))),
            AnswerBody::Tunnel(_) => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            AnswerBody::Whole(body) => body.is_end_stream(),
            AnswerBody::Stream(body) => body.is_end_stream(),
            AnswerBody::Pieces(body) => body.is_end_stream(),
            AnswerBody::Tunnel(_) => true,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            AnswerBody::Whole(body) => body.size_hint(),
            AnswerBody::Stream(body) => body.size_hint(),
            AnswerBody::Pieces(body) => body.size_hint(),
            AnswerBody::Tunnel(_) => SizeHint::with_exact(0),
        }
    }
}
