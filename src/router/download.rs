//! The body of an answer on its way to the client, and the end of the request it answers.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Instant;

use bytes::{Bytes, BytesMut};
use hyper::body::{Body, Frame, SizeHint};

use super::exchange::Transit;
use super::grpc::GrpcCall;
use super::pool::Detached;
use super::source::Source;
use crate::clock;
use crate::metrics::recorder::FailureKind;
use serin_core::model::time::human;

/// An answer's body; reading it to its end ends the request, and dropping it before cancels it.
pub(super) struct Download {
    state: State,
}

enum State {
    UnderWay(Box<UnderWay>),
    /// Counted as broken; the reader is yet to be told.
    Broken(DownloadBroken),
    Ended,
}

struct UnderWay {
    transit: Transit,
    /// What it comes over, to be used again.
    source: Source,
    /// What is known of the call, if it is one of gRPC.
    call: Option<GrpcCall>,
    /// The rest of the request, if the answer began before its end.
    _sending: Option<Detached>,
    /// When the head came.
    answered_at: Instant,
    /// Whether the version kept us waiting, which most answers never do.
    was_waited_for: bool,
    /// Whether anything came since the patience was last renewed.
    has_moved: bool,
}

/// An answer broke off after its head.
#[derive(Debug, thiserror::Error)]
#[error("the version's answer broke off: {0}")]
pub(super) struct DownloadBroken(String);

/// Why a body was not read whole.
pub(super) enum Uncollected {
    /// It broke off.
    Broken(DownloadBroken),
    /// It is larger than may be, in Lambda's words.
    TooLarge(String),
}

impl Download {
    /// A body that has ended already.
    pub(super) fn ended() -> Download {
        Download { state: State::Ended }
    }

    /// A body that is yet to come.
    pub(super) fn begun(
        transit: Transit,
        answered_at: Instant,
        mut source: Source,
        call: Option<GrpcCall>,
    ) -> Download {
        let _sending = source.detach_sending();
        let under_way =
            UnderWay { transit, source, call, _sending, answered_at, was_waited_for: false, has_moved: true };
        Download { state: State::UnderWay(Box::new(under_way)) }
    }

    /// Reads all of a body; one that is larger than so many bytes is given up, and counts as a function error.
    pub(super) async fn collect(self, bytes_max: usize) -> Result<Bytes, Uncollected> {
        let State::UnderWay(mut under_way) = self.state else { return Ok(Bytes::new()) };
        let mut collected = BytesMut::new();
        while let Some(frame) = poll_fn(|cx| under_way.poll_frame(cx)).await {
            let data = match frame.map(|frame| frame.into_data()) {
                Ok(Ok(data)) => data,
                Ok(Err(_trailers)) => continue,
                Err(broken) => {
                    under_way.fail(FailureKind::Transport, &broken.to_string());
                    return Err(Uncollected::Broken(broken));
                }
            };
            if collected.len() + data.len() > bytes_max {
                let text = format!(
                    "Response payload size exceeded maximum allowed payload size ({bytes_max} bytes)."
                );
                under_way.fail(FailureKind::FunctionError, &text);
                return Err(Uncollected::TooLarge(text));
            }
            if collected.is_empty() && under_way.source.is_end_of_body() {
                // All of it in one piece, as most are.
                under_way.end();
                return Ok(data);
            }
            collected.extend_from_slice(&data);
        }
        under_way.end();
        Ok(collected.freeze())
    }

    /// Leaves another state behind, and takes what was under way.
    fn leave(&mut self, state: State) -> Option<Box<UnderWay>> {
        match std::mem::replace(&mut self.state, state) {
            State::UnderWay(under_way) => Some(under_way),
            State::Broken(_) | State::Ended => None,
        }
    }
}

impl UnderWay {
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, DownloadBroken>>> {
        if let Poll::Ready(polled) = self.source.poll_frame(cx) {
            self.has_moved = true;
            if let (Some(call), Some(Ok(frame))) = (self.call, &polled)
                && let Some(trailers) = frame.trailers_ref()
            {
                self.call = Some(call.ended(trailers));
            }
            return Poll::Ready(polled.map(|frame| frame.map_err(DownloadBroken)));
        }
        let idle_max = self.transit.waits().idle;
        self.was_waited_for = true;
        if std::mem::take(&mut self.has_moved) {
            self.source.alarm().set(clock::instant_now() + idle_max);
        }
        if self.source.alarm().poll(cx).is_ready() {
            return Poll::Ready(Some(Err(DownloadBroken(format!("nothing came for {}", human(idle_max))))));
        }
        Poll::Pending
    }

    /// Ends the request after its answer's last frame, and keeps the connection if it is good for another.
    fn end(self) {
        // An answer that came in one go needs no other look at the clock.
        let now = if self.was_waited_for { clock::instant_now() } else { self.answered_at };
        self.source.end(&self.transit.worker().pool, now);
        self.transit.conclude(self.call);
    }

    /// Ends the request in the midst of its answer.
    fn fail(mut self, kind: FailureKind, fault: &str) {
        self.transit.fail(kind, fault);
        self.transit.complete();
    }
}

impl Body for Download {
    type Data = Bytes;
    type Error = DownloadBroken;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, DownloadBroken>>> {
        let this = self.get_mut();
        let State::UnderWay(under_way) = &mut this.state else {
            return Poll::Ready(match std::mem::replace(&mut this.state, State::Ended) {
                State::Broken(broken) => Some(Err(broken)),
                State::UnderWay(_) | State::Ended => None,
            });
        };
        let polled = std::task::ready!(under_way.poll_frame(cx));
        let is_over = match &polled {
            // Nobody asks for more after trailers.
            Some(Ok(frame)) => frame.is_trailers() || under_way.source.is_end_of_body(),
            Some(Err(_)) => false,
            None => true,
        };
        match polled {
            Some(Err(broken)) => {
                let fault = broken.to_string();
                if let Some(under_way) = this.leave(State::Broken(broken)) {
                    under_way.fail(FailureKind::Transport, &fault);
                }
                // Told at the next poll: hyper writes what came before only while there is no error.
                cx.waker().wake_by_ref();
                Poll::Pending
            }
            polled => {
                if is_over && let Some(under_way) = this.leave(State::Ended) {
                    under_way.end();
                }
                Poll::Ready(polled)
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.state {
            State::UnderWay(under_way) => under_way.source.is_end_of_body(),
            State::Broken(_) => false,
            State::Ended => true,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.state {
            State::UnderWay(under_way) => under_way.source.size_hint(),
            State::Broken(_) => SizeHint::default(),
            State::Ended => SizeHint::with_exact(0),
        }
    }
}
