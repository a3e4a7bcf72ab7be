//! The body of an answer on its way to the client, and the end of the request it answers.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Instant;

use bytes::Bytes;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use tokio::time::{Sleep, sleep_until};

use super::exchange::{Transit, describe};
use super::pool::{Detached, Link};
use crate::clock;
use crate::domain::time::human;
use crate::metrics::recorder::FailureKind;

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
    body: Incoming,
    carrier: Carrier,
    /// When the head came.
    answered_at: Instant,
    /// Made when the version first keeps us waiting, which most answers never do.
    patience: Option<Pin<Box<Sleep>>>,
    /// Whether anything came since the patience was last renewed.
    has_moved: bool,
}

/// Who moves the bytes.
enum Carrier {
    /// This body, when it is polled; the connection is used again.
    Here(Link),
    /// A task, because the request was still going up when the answer began; the connection is closed after.
    Apart { _task: Detached },
}

/// An answer broke off after its head.
#[derive(Debug, thiserror::Error)]
#[error("the version's answer broke off: {0}")]
pub(super) struct DownloadBroken(String);

impl Download {
    /// A body that has ended already.
    pub(super) fn ended() -> Download {
        Download { state: State::Ended }
    }

    /// A body that comes over a link; `is_uploading` says that the request still goes up the same way.
    pub(super) fn begun(
        transit: Transit,
        body: Incoming,
        answered_at: Instant,
        link: Link,
        is_uploading: bool,
    ) -> Download {
        let carrier =
            if is_uploading { Carrier::Apart { _task: link.detach() } } else { Carrier::Here(link) };
        let under_way = UnderWay { transit, body, carrier, answered_at, patience: None, has_moved: true };
        Download { state: State::UnderWay(Box::new(under_way)) }
    }

    /// Gives up reading a body that is no good, which counts as a failure unless one was counted before.
    pub(super) fn refuse(self, kind: FailureKind, fault: &str) {
        if let State::UnderWay(under_way) = self.state {
            under_way.fail(kind, fault);
        }
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
        // Twice, for asking the body for more is what lets the link read on.
        for _ in 0..2 {
            if let Carrier::Here(link) = &mut self.carrier {
                link.drive(cx);
            }
            if let Poll::Ready(polled) = Pin::new(&mut self.body).poll_frame(cx) {
                self.has_moved = true;
                let broken = |error: hyper::Error| DownloadBroken(describe(&error));
                return Poll::Ready(polled.map(|frame| frame.map_err(broken)));
            }
        }
        let idle_max = self.transit.worker().timeouts.body_idle;
        if std::mem::take(&mut self.has_moved) {
            let until = (clock::instant_now() + idle_max).into();
            match &mut self.patience {
                Some(patience) => patience.as_mut().reset(until),
                None => self.patience = Some(Box::pin(sleep_until(until))),
            }
        }
        let is_over = self.patience.as_mut().is_some_and(|patience| patience.as_mut().poll(cx).is_ready());
        if is_over {
            return Poll::Ready(Some(Err(DownloadBroken(format!("nothing came for {}", human(idle_max))))));
        }
        Poll::Pending
    }

    /// Ends the request after its answer's last frame, and keeps the connection if it is good for another.
    fn end(self, cx: &mut Context<'_>) {
        if let Carrier::Here(mut link) = self.carrier {
            // Lets the link see the end, too, without which it takes no other request.
            link.drive(cx);
            // An answer that came in one go needs no other look at the clock.
            let now = if self.patience.is_none() { self.answered_at } else { clock::instant_now() };
            self.transit.worker().pool.put(link, now);
        }
        self.transit.complete();
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
            Some(Ok(frame)) => frame.is_trailers() || under_way.body.is_end_stream(),
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
                    under_way.end(cx);
                }
                Poll::Ready(polled)
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.state {
            State::UnderWay(under_way) => under_way.body.is_end_stream(),
            State::Broken(_) => false,
            State::Ended => true,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.state {
            State::UnderWay(under_way) => under_way.body.size_hint(),
            State::Broken(_) => SizeHint::default(),
            State::Ended => SizeHint::with_exact(0),
        }
    }
}
