//! One client's connection: HTTP/1 in, both faces behind it.

use std::cell::Cell;
use std::convert::Infallible;
use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::header::{CONNECTION, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioTimer;
use socket2::SockRef;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::answer::AnswerBody;
use super::drain::Guard;
use super::forward::{bound, forward};
use super::invoke::{Payload, invoke};
use super::invoke_call::is_lambda;
use super::plain::PlainIo;
use super::pool::HEAD_BYTES_MAX;
use super::settings::Timeouts;
use super::tunnel::{Tunnel, keepalive};
use super::worker::Worker;

/// How long, and for how much, a client is listened to after its last answer.
const LINGER_MAX: Duration = Duration::from_secs(1);
const LINGER_BYTES_MAX: usize = 16 * 1024 * 1024;

/// How clients are spoken to; the same for every connection of a worker.
pub(super) fn http(timeouts: &Timeouts) -> http1::Builder {
    let mut http = http1::Builder::new();
    // Without a timer hyper would not hold anybody to the header timeout. It runs from the connection's first
    // moment, so that a client that never says anything is closed, too. At most 100 headers are hyper's own limit.
    http.timer(TokioTimer::new())
        .header_read_timeout(timeouts.client_header)
        .max_header_size(HEAD_BYTES_MAX)
        .max_buf_size(HEAD_BYTES_MAX);
    http
}

/// Serves a connection until either side ends it, or until it is idle while the worker drains.
pub(super) async fn serve(
    worker: Rc<Worker>,
    http: Rc<http1::Builder>,
    stream: TcpStream,
    peer: SocketAddr,
    guard: Guard,
) {
    // A client that stops reading keeps a version's connection busy; the kernel tells when it has taken nothing for
    // so long. Where an option is not to be had, the connection is served without.
    let _ = stream.set_nodelay(true);
    let _ = SockRef::from(&stream).set_tcp_user_timeout(Some(worker.timeouts.body_idle));
    let peer = HeaderValue::try_from(peer.ip().to_canonical().to_string()).expect("an address is ASCII");
    let drain = guard.drain();
    let tunnel: Cell<Option<Box<Tunnel>>> = Cell::new(None);
    let tunnel = &tunnel;
    let service = service_fn(|request: Request<Incoming>| {
        let (worker, peer, drain) = (Rc::clone(&worker), peer.clone(), Rc::clone(&drain));
        async move {
            let mut response = answer(&worker, &peer, request).await;
            if let AnswerBody::Tunnel(begun) = response.body_mut() {
                tunnel.set(begun.take());
            }
            if drain.is_leaving() && response.status() != StatusCode::SWITCHING_PROTOCOLS {
                response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
            }
            Ok::<_, Infallible>(response)
        }
    });
    let mut connection = http.serve_connection(PlainIo::new(stream, &worker.outbox), service);
    let (mut is_listening, mut is_closing) = (false, false);
    let ended = poll_fn(|cx| {
        if !std::mem::replace(&mut is_listening, true) {
            guard.listen(cx.waker());
        }
        if guard.is_draining() && !std::mem::replace(&mut is_closing, true) {
            Pin::new(&mut connection).graceful_shutdown();
        }
        Pin::new(&mut connection).poll(cx)
    })
    .await;
    let is_broken = ended.is_err_and(|error| error.is_user());
    let parts = connection.into_parts();
    let Some(stream) = parts.io.into_inner() else { return };
    if let Some(tunnel) = tunnel.take() {
        let _ = SockRef::from(&stream).set_tcp_keepalive(&keepalive());
        tunnel.run(stream, parts.read_buf).await;
        return;
    }
    if is_broken {
        // A version's answer broke off. Nobody must take what came for the whole, not even a client that reads until
        // the end of the connection: so it ends with a reset. Where that cannot be had, it ends early all the same.
        let _ = stream.set_zero_linger();
        return;
    }
    // What follows keeps no drain waiting.
    drop(guard);
    linger(stream).await;
}

/// Reads away what a client still sends after its last answer.
///
/// A connection that is closed with bytes unread ends with a reset, and that may overtake the answer.
async fn linger(mut stream: TcpStream) {
    // Both fail where the client is gone, which is as good.
    let _ = stream.shutdown().await;
    let reading = async {
        let (mut piece, mut sum) = (vec![0; 16 * 1024], 0);
        while sum < LINGER_BYTES_MAX
            && let Ok(count @ 1..) = stream.read(&mut piece).await
        {
            sum += count;
        }
    };
    let _ = timeout(LINGER_MAX, reading).await;
}

async fn answer(worker: &Rc<Worker>, peer: &HeaderValue, request: Request<Incoming>) -> Response<AnswerBody> {
    let is_bound = || bound(worker, request.uri(), request.headers()).is_some();
    if is_lambda(request.uri().path()) && !is_bound() {
        return invoke(worker, request.map(Payload::Stream)).await.map(AnswerBody::whole);
    }
    forward(worker, peer, request).await
}
