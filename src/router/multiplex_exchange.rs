//! One request over a connection that is shared, and its answer: sent and read by whoever waits for it.
//!
//! The request's task moves its own body up and takes its own answer, a window at a time each; the connection's task does
//! the rest. Dropping a request resets it with the version (CANCEL) and touches no other.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::client::ResponseFuture;
use h2::{Reason, RecvStream, SendStream};
use hyper::body::{Body, Frame};
use hyper::header::{CONNECTION, CONTENT_LENGTH, HOST, HeaderValue, TRANSFER_ENCODING};
use hyper::http::uri::{Authority, Parts, Scheme};
use hyper::http::{request, response};
use hyper::{HeaderMap, Request, Uri, Version};

use super::alarm::Alarm;
use super::exchange::{Fault, FaultKind, Transit, describe};
use super::multiplex::Share;
use super::route::Service;
use super::source::Source;
use super::upload::{Again, Upload, UploadBroken, UpstreamBody};

/// One request on a shared connection.
pub(super) struct Stream {
    /// How long whoever is to move next may take.
    pub(super) alarm: Alarm,
    /// What is left of the request.
    sending: Option<Sending>,
    answer: Answer,
    /// Whether all that may follow is trailers.
    is_at_trailers: bool,
    /// Counted in on its connection for as long.
    _share: Share,
}

enum Answer {
    Awaited(ResponseFuture),
    Begun(RecvStream),
}

/// The body of a request on its way up.
pub(super) struct Sending {
    stream: SendStream<Bytes>,
    body: UpstreamBody,
    /// What the version's window had no room for yet.
    piece: Bytes,
    /// Whether nothing follows it.
    is_last: bool,
}

/// Sends a request to a version that speaks HTTP/2, and waits for the head of the answer.
///
/// What the version says it did nothing with is sent to it once more, unless its body came from a client and is gone; so
/// is what may be asked twice where a connection that was kept ends without an answer.
pub(super) async fn answered_on_shared(
    transit: &Transit,
    to: &Service,
    authority: &Authority,
    mut head: request::Parts,
    body: UpstreamBody,
    upload: Option<&Upload>,
) -> Result<(Source, response::Parts), Fault> {
    let is_idempotent = head.method.is_idempotent();
    // What came from a client is kept only for the methods that may be sent twice, as over HTTP/1.1.
    let again = match &body {
        UpstreamBody::Upload(_) if !is_idempotent => None,
        body => body.again(),
    };
    as_http2(&mut head, authority, &body);
    let (error, was_new) = match attempt(transit, to, &head, body, upload).await {
        Ok(answered) => return Ok(answered),
        Err(Unanswered::Fault(fault)) => return Err(fault),
        Err(Unanswered::Broken { error, was_new }) => (error, was_new),
    };
    // A connection that was kept may end just as a request is on its way over it, which says nothing of the version.
    let may_repeat = did_nothing(&error) || (is_idempotent && !was_new && error.is_io());
    let body = again.filter(|_| may_repeat).and_then(Again::body);
    let Some(body) = body else { return Err(broken(describe(&error))) };
    attempt(transit, to, &head, body, upload).await.map_err(|unanswered| match unanswered {
        Unanswered::Fault(fault) => fault,
        Unanswered::Broken { error, .. } if did_nothing(&error) => {
            broken(format!("refused the request twice: {}", describe(&error)))
        }
        Unanswered::Broken { error, .. } => broken(describe(&error)),
    })
}

/// Why a request got no answer, before it is said who is to blame.
enum Unanswered {
    /// The version or its connection did; whether that had carried no request before.
    Broken {
        error: h2::Error,
        was_new: bool,
    },
    Fault(Fault),
}

fn broken(detail: String) -> Fault {
    Fault::new(FaultKind::Broken, detail)
}

/// Sends a request and waits for the head, no longer than whoever is to move next may take.
async fn attempt(
    transit: &Transit,
    to: &Service,
    head: &request::Parts,
    body: UpstreamBody,
    upload: Option<&Upload>,
) -> Result<(Source, response::Parts), Unanswered> {
    let worker = transit.worker();
    let connected = worker
        .shared
        .take(to, worker.timeouts.connect, (&worker.names, &worker.outbox), transit.dispatched_at())
        .await;
    let share = connected.map_err(|error| Unanswered::Fault(Fault::of_connecting(&error)))?;
    let was_new = share.is_first;
    let broken = |error| Unanswered::Broken { error, was_new };
    let mut stream = Stream::begin(share, head, body).map_err(broken)?;
    stream.alarm.set(transit.dispatched_at() + transit.waits().first_byte);
    let answer = poll_fn(|cx| {
        if let Err(broke) = stream.poll_sending(cx) {
            let fault = Fault::new(FaultKind::ClientBroke, describe(&broke));
            return Poll::Ready(Err(Unanswered::Fault(fault)));
        }
        if let Poll::Ready(answered) = stream.poll_head(cx) {
            return Poll::Ready(answered.map_err(broken));
        }
        if let Some(upload) = upload {
            stream.alarm.set(transit.due(upload));
        }
        stream.alarm.poll(cx).map(|()| Err(Unanswered::Fault(transit.overdue(upload))))
    })
    .await?;
    Ok((Source::Shared(Box::new(stream)), answer))
}

impl Stream {
    /// Sends a request, whose head is worded for HTTP/2 already.
    pub(super) fn begin(
        mut share: Share,
        head: &request::Parts,
        body: UpstreamBody,
    ) -> Result<Stream, h2::Error> {
        let mut request = Request::new(());
        *request.method_mut() = head.method.clone();
        *request.uri_mut() = head.uri.clone();
        *request.version_mut() = Version::HTTP_2;
        *request.headers_mut() = head.headers.clone();
        let is_whole = body.is_end_stream();
        let (answer, up) = share.sender.send_request(request, is_whole)?;
        let sending = Sending { stream: up, body, piece: Bytes::new(), is_last: false };
        Ok(Stream {
            alarm: Alarm::default(),
            sending: (!is_whole).then_some(sending),
            answer: Answer::Awaited(answer),
            is_at_trailers: false,
            _share: share,
        })
    }

    /// Moves the request's body up, as far as it goes; an error is the client's.
    fn poll_sending(&mut self, cx: &mut Context<'_>) -> Result<(), UploadBroken> {
        if let Some(sending) = &mut self.sending
            && sending.poll(cx)?.is_ready()
        {
            self.sending = None;
        }
        Ok(())
    }

    /// Takes the rest of the request's way up away, for somebody else to poll.
    pub(super) fn take_sending(&mut self) -> Option<Sending> {
        self.sending.take()
    }

    /// Waits for the head of the answer.
    pub(super) fn poll_head(&mut self, cx: &mut Context<'_>) -> Poll<Result<response::Parts, h2::Error>> {
        // Nobody asks again once it came.
        let Answer::Awaited(answer) = &mut self.answer else { return Poll::Pending };
        let (head, body) = ready!(Pin::new(answer).poll(cx))?.into_parts();
        self.answer = Answer::Begun(body);
        Poll::Ready(Ok(head))
    }

    /// Reads the next piece of the answer's body; `None` after the last.
    ///
    /// An answer ends where the version says so, and nowhere else: a reset, whatever its reason, breaks it off.
    pub(super) fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, String>>> {
        let Answer::Begun(body) = &mut self.answer else { return Poll::Ready(None) };
        if !self.is_at_trailers {
            match ready!(body.poll_data(cx)) {
                Some(Ok(data)) => {
                    // Its window opens again only now that somebody took it. There is always as much to release.
                    let _ = body.flow_control().release_capacity(data.len());
                    return Poll::Ready(Some(Ok(Frame::data(data))));
                }
                Some(Err(error)) => return Poll::Ready(Some(Err(describe(&error)))),
                None => self.is_at_trailers = true,
            }
        }
        Poll::Ready(match ready!(body.poll_trailers(cx)) {
            Ok(trailers) => trailers.map(|trailers| Ok(Frame::trailers(trailers))),
            Err(error) => Some(Err(describe(&error))),
        })
    }

    /// Whether the answer's body is at its end, as far as that is known without reading on.
    pub(super) fn is_end_of_body(&self) -> bool {
        matches!(&self.answer, Answer::Begun(body) if body.is_end_stream())
    }
}

impl Sending {
    /// Sends as much as there is room for; ready once there is no more to send, or nobody to send it to.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Result<Poll<()>, UploadBroken> {
        loop {
            // Whatever the version has answered, if anything, is for the reader to find.
            if self.stream.poll_reset(cx).is_ready() {
                return Ok(Poll::Ready(()));
            }
            if !self.piece.is_empty() {
                self.stream.reserve_capacity(self.piece.len());
                let room = self.stream.capacity().min(self.piece.len());
                if room == 0 {
                    match self.stream.poll_capacity(cx) {
                        Poll::Ready(Some(Ok(_))) => continue,
                        Poll::Ready(Some(Err(_)) | None) => return Ok(Poll::Ready(())),
                        Poll::Pending => return Ok(Poll::Pending),
                    }
                }
                let part = self.piece.split_to(room);
                let is_end = self.is_last && self.piece.is_empty();
                if self.stream.send_data(part, is_end).is_err() || is_end {
                    return Ok(Poll::Ready(()));
                }
                continue;
            }
            let frame = match Pin::new(&mut self.body).poll_frame(cx) {
                Poll::Ready(frame) => frame.transpose()?,
                Poll::Pending => return Ok(Poll::Pending),
            };
            match frame.map(|frame| frame.into_data()) {
                Some(Ok(data)) => {
                    (self.piece, self.is_last) = (data, self.body.is_end_stream());
                    if self.piece.is_empty() && self.is_last {
                        self.end(HeaderMap::new());
                        return Ok(Poll::Ready(()));
                    }
                }
                other => {
                    let trailers = other.and_then(|frame| frame.err()).map(|frame| frame.into_trailers());
                    self.end(trailers.and_then(Result::ok).unwrap_or_default());
                    return Ok(Poll::Ready(()));
                }
            }
        }
    }

    fn end(&mut self, trailers: HeaderMap) {
        // Both fail where the version has reset the request, which the reader finds.
        let has_ended = !trailers.is_empty() && self.stream.send_trailers(trailers).is_ok();
        if !has_ended {
            let _ = self.stream.send_data(Bytes::new(), true);
        }
    }
}

/// Whether a version says that it did nothing with a request (RFC 9113, 8.7): it ends the connection and leaves the
/// request out, or it takes no other now.
fn did_nothing(error: &h2::Error) -> bool {
    let is_left_out = error.is_go_away() && error.reason() == Some(Reason::NO_ERROR);
    let is_refused = error.is_reset() && error.reason() == Some(Reason::REFUSED_STREAM);
    error.is_remote() && (is_left_out || is_refused)
}

/// Words a request as HTTP/2 would have it.
pub(super) fn as_http2(head: &mut request::Parts, authority: &Authority, body: &UpstreamBody) {
    let mut parts = Parts::default();
    parts.scheme = Some(Scheme::HTTP);
    parts.authority = Some(authority.clone());
    parts.path_and_query = head.uri.path_and_query().cloned();
    head.uri = Uri::from_parts(parts).expect("scheme, authority and path make a URI");
    for name in [HOST, CONNECTION, TRANSFER_ENCODING] {
        head.headers.remove(name);
    }
    if let UpstreamBody::Whole(Some(bytes)) = body {
        head.headers.insert(CONTENT_LENGTH, HeaderValue::from(bytes.len()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_worded_as_http2_has_it() {
        let mut head = Request::post("/base/x?y=1").body(()).unwrap().into_parts().0;
        for (name, value) in [
            ("host", "up:80"),
            ("connection", "te"),
            ("te", "trailers"),
            ("transfer-encoding", "chunked"),
            ("x-forwarded-host", "shop.example"),
        ] {
            head.headers.insert(name, value.parse().unwrap());
        }
        let body = UpstreamBody::Whole(Some(Bytes::from("abc")));
        as_http2(&mut head, &Authority::from_static("up:80"), &body);
        assert_eq!(head.uri, "http://up:80/base/x?y=1");
        let mut lines: Vec<_> =
            head.headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes())).collect();
        lines.sort_unstable();
        let expected =
            [("content-length", &b"3"[..]), ("te", b"trailers"), ("x-forwarded-host", b"shop.example")];
        assert_eq!(lines, expected);
    }
}
