//! HTTP/2 from clients: one connection, a task for each of its streams, both faces behind them.
//!
//! Requests are made to look like those of HTTP/1.1 before anybody else sees them: `:authority` becomes `Host`, cookies
//! become one header. What HTTP/1.1 leaves to the connection is done here for each stream: a client that takes nothing
//! of an answer for too long, one that asks for nothing, and one that asks only to cancel. Upgrades and CONNECT do not
//! come this way; hyper refuses extended CONNECT as RFC 8441 wants it, because it is not offered.

use std::cell::{Cell, RefCell};
use std::convert::Infallible;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::header::{COOKIE, HOST, HeaderValue};
use hyper::http::request;
use hyper::rt::{Executor, Read, Write};
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper::{Request, StatusCode, Uri};
use hyper_util::rt::TokioTimer;
use tokio::task::spawn_local;
use tokio::time::{Sleep, sleep, sleep_until};

use super::alarm::has_gone_off;
use super::answer::AnswerBody;
use super::download::DownloadBroken;
use super::drain::{Guard, Turn};
use super::forwarded::Client;
use super::headers;
use super::http1::HEAD_BYTES_MAX;
use super::refusal::Refusal;
use super::worker::Worker;
use crate::clock;
use crate::metrics::connections::{Permit, Refused, Slot};
use crate::router::answering::{answer, no_room};

/// What every connection begins with (RFC 9113, 3.4).
pub(super) const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Requests at once on one connection.
const STREAMS_MAX: u32 = 100;
/// Headers of one request, as many as hyper takes over HTTP/1.1.
const HEADERS_MAX: usize = 100;
/// What is kept of a request body that nobody has read yet, for a stream and for a connection.
const STREAM_WINDOW_BYTES: u32 = 256 * 1024;
const CONNECTION_WINDOW_BYTES: u32 = 1024 * 1024;
/// What is kept of an answer that the client does not take, for a stream.
const SEND_BYTES_MAX: usize = 64 * 1024;
/// Streams that were reset by the client before, or by us because of it, before the connection is closed.
const PENDING_RESETS_MAX: usize = 20;
const ERROR_RESETS_MAX: usize = 128;
/// Requests that a client may cancel on one connection before more than half of them are too many.
const CANCELS_FREE: u64 = 100;
/// How often a connection is asked whether somebody is still there, and how long the answer may take.
const PING_EVERY: Duration = Duration::from_secs(30);
const PING_MAX: Duration = Duration::from_secs(20);
/// How long a client that was told to go, and asks for nothing, may take to go.
const GOING_MAX: Duration = Duration::from_secs(5);

/// Serves a connection until either side ends it; one whose worker leaves ends by GOAWAY.
pub(super) async fn serve<I>(worker: Rc<Worker>, io: I, client: Client, guard: &Guard, permit: Permit)
where
    I: Read + Write + Unpin + 'static,
{
    let streams = Streams(Rc::new(Shared {
        permit,
        patience: worker.timeouts.body_idle,
        next: RefCell::default(),
        turn: guard.turn(),
        begun: Cell::new(0),
        open: Cell::new(0),
        cancelled: Cell::new(0),
    }));
    let (begins, serving) = (streams.clone(), Rc::clone(&worker));
    let service = service_fn(move |request: Request<Incoming>| {
        let (worker, client, stream) = (Rc::clone(&serving), client.clone(), begins.begin());
        // Boxed, for it is large and goes through many hands before it is a task.
        Box::pin(async move {
            let has_room = stream.has_room;
            let request = if has_room { as_http1(request) } else { Err(no_room()) };
            let response = match request {
                Ok(request) => answer(&worker, &client, request).await,
                Err(refusal) => refusal.response(None).map(AnswerBody::whole),
            };
            stream.is_answered.set(true);
            Ok::<_, Infallible>(response.map(|body| StreamBody { body, stream }))
        })
    });
    let mut http = http2::Builder::new(streams.clone());
    http.timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS_MAX)
        .max_header_list_size(HEAD_BYTES_MAX as u32)
        .max_pending_accept_reset_streams(PENDING_RESETS_MAX)
        .max_local_error_reset_streams(ERROR_RESETS_MAX)
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_send_buf_size(SEND_BYTES_MAX)
        .keep_alive_interval(PING_EVERY)
        .keep_alive_timeout(PING_MAX);
    let mut connection = pin!(http.serve_connection(io, service));
    let idle_max = worker.timeouts.client_header;
    let mut look = pin!(sleep(idle_max));
    let (mut is_listening, mut is_closing, mut has_asked, mut begun_before) = (false, false, false, 0);
    poll_fn(|cx| {
        if !std::mem::replace(&mut is_listening, true) {
            guard.listen(cx.waker());
        }
        if guard.is_leaving() && !std::mem::replace(&mut is_closing, true) {
            connection.as_mut().graceful_shutdown();
            look.as_mut().reset((clock::instant_now() + GOING_MAX).into());
        }
        if guard.is_evicted() || guard.is_gone() {
            return Poll::Ready(());
        }
        // However it ends, the client was told by a GOAWAY or is gone.
        if connection.as_mut().poll(cx).is_ready() {
            return Poll::Ready(());
        }
        if !has_asked && streams.0.begun.get() > 0 {
            has_asked = true;
            guard.drain().has_asked(guard.id());
        }
        if streams.cancels_too_much() {
            worker.connections.refuse(Refused::Http2Resets);
            return Poll::Ready(());
        }
        while has_gone_off(look.as_mut(), cx).is_ready() {
            // Quiet since the last look, with no look at the clock for a request.
            let begun = streams.0.begun.get();
            if streams.0.open.get() == 0 && begun == std::mem::replace(&mut begun_before, begun) {
                if std::mem::replace(&mut is_closing, true) {
                    // It was told to go, and does not, or does not take its last answers.
                    return Poll::Ready(());
                }
                connection.as_mut().graceful_shutdown();
                cx.waker().wake_by_ref();
            }
            let next = if is_closing { GOING_MAX } else { idle_max };
            look.as_mut().reset((clock::instant_now() + next).into());
        }
        Poll::Pending
    })
    .await;
}

/// The streams of one connection, and who runs them.
#[derive(Clone)]
struct Streams(Rc<Shared>);

struct Shared {
    permit: Permit,
    patience: Duration,
    /// What belongs to the request that is about to be run.
    next: RefCell<Option<Rc<Stream>>>,
    turn: Turn,
    begun: Cell<u64>,
    open: Cell<usize>,
    cancelled: Cell<u64>,
}

/// What is known of one request while it runs.
#[derive(Default)]
struct Stream {
    /// Whether it may be answered.
    has_room: bool,
    /// What it takes beside the connection's own place, where others are under way on it.
    _beside: Option<Slot>,
    is_answered: Cell<bool>,
    /// Whether the client is to take what there is before more is asked for.
    waits_for_client: Cell<bool>,
    /// Whether a piece went out since that was last looked at.
    has_moved: Cell<bool>,
}

impl Streams {
    fn begin(&self) -> Rc<Stream> {
        // The connection has room for one request, as those of HTTP/1.1 have.
        let (has_room, beside) = match self.0.open.get() {
            0 => (true, None),
            _ => self.0.permit.beside().map_or((false, None), |place| (true, Some(place))),
        };
        let stream = Rc::new(Stream { has_room, _beside: beside, ..Stream::default() });
        self.0.begun.set(self.0.begun.get() + 1);
        *self.0.next.borrow_mut() = Some(Rc::clone(&stream));
        stream
    }

    fn cancels_too_much(&self) -> bool {
        let cancelled = self.0.cancelled.get();
        cancelled > CANCELS_FREE && cancelled > self.0.begun.get() / 2
    }
}

impl<F: Future<Output = ()> + 'static> Executor<F> for Streams {
    fn execute(&self, future: F) {
        let stream = self.0.next.take().unwrap_or_default();
        self.0.open.set(self.0.open.get() + 1);
        self.0.turn.works();
        let shared = Rc::clone(&self.0);
        spawn_local(async move {
            // Whatever is left of a stream that is not waited for any longer is reset with it.
            run(future, &stream, shared.patience).await;
            shared.open.set(shared.open.get() - 1);
            if shared.open.get() == 0 {
                shared.turn.rests();
            }
            if !stream.is_answered.get() {
                shared.cancelled.set(shared.cancelled.get() + 1);
            }
        });
    }
}

/// Runs a stream to its end, or until its client has taken nothing for so long.
async fn run(future: impl Future<Output = ()>, stream: &Stream, patience: Duration) {
    let mut future = pin!(future);
    let mut alarm: Option<Pin<Box<Sleep>>> = None;
    poll_fn(|cx| {
        if future.as_mut().poll(cx).is_ready() {
            return Poll::Ready(());
        }
        if !stream.waits_for_client.get() {
            alarm = None;
            return Poll::Pending;
        }
        if stream.has_moved.take() || alarm.is_none() {
            alarm = Some(Box::pin(sleep_until((clock::instant_now() + patience).into())));
        }
        ready!(alarm.as_mut().map_or(Poll::Pending, |alarm| has_gone_off(alarm.as_mut(), cx)));
        Poll::Ready(())
    })
    .await;
}

/// The body of an answer, watched for who keeps it waiting.
struct StreamBody {
    body: AnswerBody,
    stream: Rc<Stream>,
}

impl Body for StreamBody {
    type Data = Bytes;
    type Error = DownloadBroken;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, DownloadBroken>>> {
        let mut polled = Pin::new(&mut self.body).poll_frame(cx);
        self.stream.waits_for_client.set(polled.is_ready());
        self.stream.has_moved.set(polled.is_ready());
        if let Poll::Ready(Some(Ok(frame))) = &mut polled
            && let Some(trailers) = frame.trailers_mut()
        {
            headers::strip_connection(trailers);
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// Words a request as HTTP/1.1 would have it, or refuses one that two readers could read in two ways.
///
/// Headers of the connection in it are malformed by RFC 9113, 8.2.2, and hyper has reset such a stream before.
fn as_http1(request: Request<Incoming>) -> Result<Request<Incoming>, Refusal> {
    let (mut head, body) = request.into_parts();
    normalise(&mut head)?;
    Ok(Request::from_parts(head, body))
}

fn normalise(head: &mut request::Parts) -> Result<(), Refusal> {
    if head.headers.len() > HEADERS_MAX {
        return Err(Refusal {
            status: StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            kind: "headers",
            message: format!("a request has at most {HEADERS_MAX} headers"),
            hint: "send fewer; cookies may share one header".to_owned(),
        });
    }
    // RFC 9113, 8.3.1: without `:authority` there is a Host; with both, they say the same.
    let authority = head.uri.authority().map(|authority| authority.as_str());
    let mut hosts = head.headers.get_all(HOST).iter();
    let (host, more) = (hosts.next(), hosts.next());
    let is_clear = match (authority, host) {
        (Some(authority), Some(host)) => authority.as_bytes().eq_ignore_ascii_case(host.as_bytes()),
        (Some(_), None) | (None, Some(_)) => true,
        (None, None) => false,
    };
    let asked = authority.and_then(|authority| HeaderValue::from_str(authority).ok());
    let asked = asked.or_else(|| host.cloned()).filter(|asked| !asked.as_bytes().contains(&b'@'));
    let Some(asked) = asked.filter(|_| is_clear && more.is_none()) else {
        return Err(Refusal {
            status: StatusCode::BAD_REQUEST,
            kind: "host-header",
            message: "an HTTP/2 request names its host once: in :authority, without a user".to_owned(),
            hint: "leave the Host header out, or let it say the same".to_owned(),
        });
    };
    head.headers.insert(HOST, asked);
    if let Some(target) = head.uri.path_and_query() {
        head.uri = Uri::from(target.clone());
    }
    // RFC 9113, 8.2.3: a cookie may come in crumbs, which HTTP/1.1 does not know.
    let cookies: Vec<&[u8]> = head.headers.get_all(COOKIE).iter().map(HeaderValue::as_bytes).collect();
    if cookies.len() > 1
        && let Ok(cookie) = HeaderValue::from_bytes(&cookies.join(&b"; "[..]))
    {
        head.headers.insert(COOKIE, cookie);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::Arc;

    use hyper::rt::ReadBufCursor;
    use tokio::task::consume_budget;
    use tokio::time::timeout;

    use super::*;
    use crate::metrics::connections::{ConnectionLimits, Connections};
    use crate::metrics::recorder::Recorder;
    use crate::router::drain::Drain;
    use crate::router::names::SystemResolver;
    use crate::router::settings::{RouterConfig, Timeouts};
    use crate::router::table::RoutingTable;
    use serin_core::model::arn::Place;

    /// A client that has more to say whenever it is heard, and takes whatever it is told.
    struct Endless(Box<dyn Iterator<Item = u8> + Unpin>);

    impl Endless {
        fn saying(frames: &[&[u8]]) -> Endless {
            let settings = [0, 0, 0, 4, 0, 0, 0, 0, 0];
            let begin = PREFACE.iter().copied().chain(settings);
            Endless(Box::new(begin.chain(frames.concat().into_iter().cycle())))
        }
    }

    impl Read for Endless {
        fn poll_read(
            mut self: Pin<&mut Self>,
            cx: &mut Context<'_>,
            mut buffer: ReadBufCursor<'_>,
        ) -> Poll<io::Result<()>> {
            // As a socket uses up what a task may do in a turn.
            ready!(pin!(consume_budget()).poll(cx));
            let count = buffer.remaining().min(64);
            buffer.put_slice(&self.0.by_ref().take(count).collect::<Vec<u8>>());
            Poll::Ready(Ok(()))
        }
    }

    impl Write for Endless {
        fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
            Poll::Ready(Ok(bytes.len()))
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    fn worker(timeouts: Timeouts) -> Worker {
        let config = RouterConfig {
            addr: "127.0.0.1:0".parse().unwrap(),
            workers: Some(1),
            timeouts,
            resolver: Arc::new(SystemResolver),
            bindings: Default::default(),
            shows: Default::default(),
            trusted_proxies: Default::default(),
            place: Place { region: Place::REGION.to_owned(), account: Place::ACCOUNT.to_owned() },
            access: Default::default(),
            log: None,
            events: None,
            tls: None,
            limits: ConnectionLimits::default(),
            wants_proxy_header: false,
        };
        let recorder = Recorder::new(1, Arc::new(|_| {}));
        let connections = Connections::new(config.limits);
        let writer = recorder.writer(0).unwrap();
        Worker::new(writer, &RoutingTable::new(recorder), &config, (connections, Arc::default()))
    }

    #[tokio::test]
    async fn whoever_floods_and_asks_for_nothing_is_closed() {
        let ping = [&[0, 0, 8, 6, 0, 0, 0, 0, 0][..], b"12345678"].concat();
        // What answers the question with which an end in good order begins (h2's own bytes): whoever answers it without
        // being asked is gone as soon as that is asked, so that nobody waits for the end of patience.
        let going =
            [&[0, 0, 8, 6, 1, 0, 0, 0, 0][..], &[0x0b, 0x7b, 0xa2, 0xf0, 0x8b, 0x9b, 0xfe, 0x54]].concat();
        let window = [0, 0, 4, 8, 0, 0, 0, 0, 0, 0, 0, 0, 1];
        let settings = [0, 0, 0, 4, 0, 0, 0, 0, 0];
        let priority = [0, 0, 5, 2, 0, 0, 0, 0, 3, 0, 0, 0, 0, 1];
        for frame in [&ping[..], &window, &settings, &priority] {
            let soon = Timeouts { client_header: Duration::from_millis(20), ..Timeouts::default() };
            let worker = Rc::new(worker(soon));
            let permit = worker.connections.admit().unwrap();
            let guard = Rc::new(Drain::default()).enter_silent();
            let address = HeaderValue::from_static("192.0.2.1");
            let client = Client { address, scheme: "http", certificate: None, is_trusted: false };
            let serving = serve(worker, Endless::saying(&[frame, &going]), client, &guard, permit);
            timeout(Duration::from_secs(20), serving).await.expect("it is closed");
        }
    }

    fn normalised(uri: &str, lines: &[(&'static str, &str)]) -> Result<request::Parts, &'static str> {
        let mut request = Request::new(());
        *request.uri_mut() = uri.parse().unwrap();
        for (name, value) in lines {
            request.headers_mut().append(*name, value.parse().unwrap());
        }
        let (mut head, ()) = request.into_parts();
        normalise(&mut head).map(|()| head).map_err(|refusal| refusal.kind)
    }

    #[test]
    fn a_request_names_its_host_once() {
        for (uri, lines, host) in [
            ("http://a.example/x?y", &[][..], Some("a.example")),
            ("http://a.example:80/x?y", &[("host", "A.example:80")], Some("a.example:80")),
            ("/x?y", &[("host", "a.example")], Some("a.example")),
            ("/x?y", &[], None),
            ("http://a.example/x?y", &[("host", "b.example")], None),
            ("http://a.example/x?y", &[("host", "a.example"), ("host", "a.example")], None),
            ("http://user@a.example/x?y", &[], None),
        ] {
            let head = normalised(uri, lines);
            match host {
                Some(host) => {
                    let head = head.unwrap();
                    assert_eq!(
                        (head.headers[HOST].to_str().unwrap(), head.headers.len()),
                        (host, 1),
                        "{uri}"
                    );
                    assert_eq!(head.uri, "/x?y");
                }
                None => assert_eq!(head.unwrap_err(), "host-header", "{uri} {lines:?}"),
            }
        }
    }

    #[test]
    fn crumbs_become_one_cookie() {
        let head = normalised("http://a/x", &[("cookie", "a=1"), ("cookie", "b=2; c=3")]).unwrap();
        let cookies: Vec<_> = head.headers.get_all(COOKIE).iter().collect();
        assert_eq!(cookies, ["a=1; b=2; c=3"]);
    }

    #[test]
    fn headers_are_few() {
        let many = vec![("x-a", "1"); HEADERS_MAX + 1];
        assert_eq!(normalised("http://a/x", &many).unwrap_err(), "headers");
        assert!(normalised("http://a/x", &many[1..]).is_ok());
    }
}
