//! One client's connection, from its first byte to its last: what comes before HTTP, HTTP/1 itself, and its end.
//!
//! In order: is there room for it, who is it (`proxy`), is it TLS (`tls`), which HTTP is it (`http2`). A plain
//! connection pays for all of that once, by a look at its first bytes; its requests pay nothing.

use crate::router::answering::{answer, no_room};
use std::cell::Cell;
use std::convert::Infallible;
use std::future::poll_fn;
use std::net::{Shutdown, SocketAddr};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::header::{CONNECTION, HeaderValue};
use hyper::rt::{Read, Write};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::sleep;
use tokio_rustls::server::TlsStream;

use super::alarm::{HeadTimer, has_gone_off};
use super::answer::AnswerBody;
use super::client_certificate::described;
use super::download::DownloadBroken;
use super::drain::{Guard, Turn};
use super::forwarded::Client;
use super::http1::HEAD_BYTES_MAX;
use super::http2::{self, PREFACE};
use super::plain::{PlainIo, WriteBatcher, hold_little_unsent};
use super::proxy::{self, Source};
use super::refusal::Refusal;
use super::settings::Timeouts;
use super::tls::Tls;
use super::tunnel::{self, Tunnel};
use super::worker::Worker;
use crate::metrics::connections::{Permit, Refused};
use crate::sockets::{Linger, linger};

/// When a client that sent less than a preface, and nothing else so far, is looked at again, at first and at most.
const LOOK_AGAIN_MIN: Duration = Duration::from_millis(5);
const LOOK_AGAIN_MAX: Duration = Duration::from_secs(1);

/// How the clients of one listener are spoken to; the same for every connection of a worker.
pub(super) struct ConnectionContext {
    http1: http1::Builder,
    wants_proxy_header: bool,
    tls: Option<Arc<Tls>>,
    /// What a connection over the limit is told, where something can be said without listening first.
    is_full: Option<Vec<u8>>,
}

impl ConnectionContext {
    /// A door for plain connections, or for TLS.
    pub(super) fn new(
        timeouts: &Timeouts,
        wants_proxy_header: bool,
        tls: Option<Arc<Tls>>,
    ) -> ConnectionContext {
        let mut http1 = http1::Builder::new();
        // At most 100 headers are hyper's own limit.
        http1
            .header_read_timeout(timeouts.client_header)
            .max_header_size(HEAD_BYTES_MAX)
            .max_buf_size(HEAD_BYTES_MAX);
        let is_full = (tls.is_none() && !wants_proxy_header).then(|| no_room().last_words());
        ConnectionContext { http1, wants_proxy_header, tls, is_full }
    }

    /// Turns a connection away that is one too many.
    ///
    /// Nothing is kept for it and nobody waits, so what it is told may be overtaken by the end of the connection.
    pub(super) fn turn_away(&self, stream: &TcpStream) {
        if let Some(words) = &self.is_full {
            // A buffer that is new takes it.
            let _ = SockRef::from(stream).send(words);
            let _ = SockRef::from(stream).shutdown(Shutdown::Write);
        }
    }
}

/// A connection over TLS.
type SecretIo = TlsStream<TokioIo<PlainIo>>;

/// A client's end of a connection, as hyper has it.
trait ClientIo: Read + Write + Unpin + 'static {
    /// What it is when hyper is done with it.
    type Socket: AsyncRead + AsyncWrite + Unpin;

    /// Takes it from hyper.
    fn into_socket(self) -> Self::Socket;

    /// The connection beneath.
    fn plain(socket: &Self::Socket) -> &PlainIo;
}

impl ClientIo for PlainIo {
    type Socket = TokioIo<PlainIo>;

    fn into_socket(self) -> TokioIo<PlainIo> {
        TokioIo::new(self)
    }

    fn plain(socket: &TokioIo<PlainIo>) -> &PlainIo {
        socket.inner()
    }
}

impl ClientIo for TokioIo<SecretIo> {
    type Socket = SecretIo;

    fn into_socket(self) -> SecretIo {
        self.into_inner()
    }

    fn plain(socket: &SecretIo) -> &PlainIo {
        socket.get_ref().0.inner()
    }
}

/// Serves a connection until either side ends it, or until it is idle while the worker drains.
pub(super) async fn serve(
    worker: Rc<Worker>,
    door: Rc<ConnectionContext>,
    mut stream: TcpStream,
    peer: SocketAddr,
    guard: Guard,
    mut permit: Permit,
) {
    // A client that stops reading keeps a version's connection busy; the kernel tells when it has taken nothing for
    // so long. Where an option is not to be had, the connection is served without.
    let _ = stream.set_nodelay(true);
    let _ = SockRef::from(&stream).set_tcp_user_timeout(Some(worker.timeouts.body_idle));
    hold_little_unsent(&stream);
    let mut address = peer.ip().to_canonical();
    if door.wants_proxy_header {
        match within(&guard, worker.timeouts.handshake, Box::pin(proxy::read(&mut stream))).await {
            Waited::Done(Ok(Source::Connected)) => {}
            Waited::Done(Ok(Source::Client(client))) => address = client.ip().to_canonical(),
            Waited::Done(Err(why)) => {
                tracing::debug!(%peer, "a connection without a PROXY header is closed: {why}");
                return worker.connections.refuse(Refused::ProxyHeader);
            }
            Waited::Over => return worker.connections.refuse(Refused::ProxyHeader),
            Waited::Draining => return,
        }
    }
    if !permit.belongs_to(address) {
        return;
    }
    let is_trusted = worker.trusted_proxies.contains(address);
    let address = HeaderValue::try_from(address.to_string()).expect("an address is ASCII");
    match &door.tls {
        Some(tls) => {
            let client = Client { address, scheme: "https", certificate: None, is_trusted };
            Box::pin(serve_tls(worker, &door, tls, stream, client, guard, permit)).await;
        }
        None => {
            let client = Client { address, scheme: "http", certificate: None, is_trusted };
            let limit = worker.timeouts.client_header;
            let speaks_http2 = within(&guard, limit, begins_with_preface(&stream)).await;
            match speaks_http2 {
                Waited::Done(Ok(false)) => {
                    let io = PlainIo::new(stream, &worker.outbox);
                    guard.watch(io.share());
                    serve_http1(worker, &door.http1, io, client, guard).await;
                    drop(permit);
                }
                Waited::Done(Ok(true)) => Box::pin(serve_http2(worker, stream, client, guard, permit)).await,
                Waited::Done(Err(_)) | Waited::Over | Waited::Draining => {}
            }
        }
    }
}

/// What came of waiting for a client that has not asked for anything yet.
enum Waited<T> {
    Done(T),
    /// It took too long.
    Over,
    /// It would have asked in vain, or is to make room for another.
    Draining,
}

async fn within<T>(guard: &Guard, limit: Duration, waited: impl Future<Output = T>) -> Waited<T> {
    let mut waited = pin!(waited);
    let mut alarm = pin!(sleep(limit));
    let mut is_listening = false;
    poll_fn(|cx| {
        if !std::mem::replace(&mut is_listening, true) {
            guard.listen(cx.waker());
        }
        if let Poll::Ready(done) = waited.as_mut().poll(cx) {
            return Poll::Ready(Waited::Done(done));
        }
        if guard.is_draining() || guard.is_evicted() {
            return Poll::Ready(Waited::Draining);
        }
        has_gone_off(alarm.as_mut(), cx).map(|()| Waited::Over)
    })
    .await
}

/// Whether the client speaks HTTP/2 without having been asked, which its first bytes decide; they stay where they are.
async fn begins_with_preface(stream: &TcpStream) -> std::io::Result<bool> {
    let mut start = [0; PREFACE.len()];
    let mut pause = LOOK_AGAIN_MIN;
    loop {
        let seen = stream.peek(&mut start).await?;
        if seen == PREFACE.len() || !PREFACE.starts_with(&start[..seen]) || seen == 0 {
            return Ok(start == *PREFACE);
        }
        // The kernel says only once that there is something. No method begins as the preface does for long, so whoever
        // stays there waits for nothing, and many of them must not keep the worker busy.
        sleep(pause).await;
        pause = (pause * 2).min(LOOK_AGAIN_MAX);
    }
}

async fn serve_tls(
    worker: Rc<Worker>,
    door: &ConnectionContext,
    tls: &Tls,
    stream: TcpStream,
    mut client: Client,
    guard: Guard,
    permit: Permit,
) {
    let limit = worker.timeouts.handshake;
    let stream = match within(&guard, limit, Box::pin(shake_hands(tls, stream, &worker.outbox))).await {
        Waited::Done(Ok(Greeted::Secret(stream))) => *stream,
        Waited::Done(Ok(Greeted::Plain(mut stream))) => {
            worker.connections.refuse(Refused::TlsHandshake);
            drop(guard);
            // Whoever is gone by now needs no advice.
            let _ = stream.write_all(&wants_tls().last_words()).await;
            return linger(stream, Linger::SHORT).await;
        }
        Waited::Done(Err(why)) => {
            tracing::debug!(client = ?client.address, "a TLS handshake failed: {why}");
            return worker.connections.refuse(Refused::TlsHandshake);
        }
        Waited::Over => return worker.connections.refuse(Refused::TlsHandshake),
        Waited::Draining => return,
    };
    guard.watch(stream.get_ref().0.inner().share());
    let session = stream.get_ref().1;
    client.certificate = session.peer_certificates().and_then(<[_]>::first).map(|shown| described(shown));
    let is_http2 = session.alpn_protocol() == Some(b"h2");
    let io = TokioIo::new(stream);
    if is_http2 {
        http2::serve(worker, io, client, &guard, permit).await;
    } else {
        serve_http1(worker, &door.http1, io, client, guard).await;
    }
}

/// How a connection to a listener for TLS begins.
enum Greeted {
    /// As it should.
    Secret(Box<SecretIo>),
    /// With a request in the clear.
    Plain(TcpStream),
}

async fn shake_hands(tls: &Tls, stream: TcpStream, outbox: &Rc<WriteBatcher>) -> std::io::Result<Greeted> {
    let mut first = [0];
    // Every method begins with a letter, and no record of TLS does.
    if stream.peek(&mut first).await? > 0 && first[0].is_ascii_alphabetic() {
        return Ok(Greeted::Plain(stream));
    }
    let io = TokioIo::new(PlainIo::new(stream, outbox));
    tls.acceptor().accept(io).await.map(|stream| Greeted::Secret(Box::new(stream)))
}

fn wants_tls() -> Refusal {
    Refusal {
        status: StatusCode::BAD_REQUEST,
        kind: "wants-tls",
        message: "this port speaks TLS, and the request came in the clear".to_owned(),
        hint: "write https:// instead of http://, or ask on the router's plain port".to_owned(),
    }
}

/// HTTP/2 without TLS.
async fn serve_http2(worker: Rc<Worker>, stream: TcpStream, client: Client, guard: Guard, permit: Permit) {
    let io = PlainIo::new(stream, &worker.outbox);
    let socket = io.share();
    guard.watch(io.share());
    http2::serve(worker, io, client, &guard, permit).await;
    drop(guard);
    // The GOAWAY at the end is not to be overtaken either.
    linger(TokioIo::new(socket), Linger::SHORT).await;
}

async fn serve_http1<I: ClientIo>(
    worker: Rc<Worker>,
    http: &http1::Builder,
    io: I,
    client: Client,
    guard: Guard,
) {
    let (drain, id, turn) = (guard.drain(), guard.id(), guard.turn());
    let tunnel: Cell<Option<Box<Tunnel>>> = Cell::new(None);
    let has_asked = Cell::new(false);
    // Only lent: a connection outlives its requests.
    let (worker, client, drain, tunnel, has_asked) = (&worker, &client, &*drain, &tunnel, &has_asked);
    let turn = &turn;
    let service = service_fn(|request: Request<Incoming>| async move {
        if !has_asked.replace(true) {
            drain.has_asked(id);
        }
        let rests = Rests::after(turn);
        let mut response = answer(worker, client, request).await;
        if let AnswerBody::Tunnel(begun) = response.body_mut() {
            tunnel.set(begun.take());
        }
        if drain.is_leaving() && response.status() != StatusCode::SWITCHING_PROTOCOLS {
            response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
        Ok::<_, Infallible>(response.map(|body| InTurn { body, _rests: rests }))
    });
    // Without a timer hyper would not hold anybody to the header timeout.
    let mut connection = http.clone().timer(HeadTimer::default()).serve_connection(io, service);
    let (mut is_listening, mut is_closing) = (false, false);
    let ended = poll_fn(|cx| {
        if !std::mem::replace(&mut is_listening, true) {
            guard.listen(cx.waker());
        }
        if guard.is_draining() && !std::mem::replace(&mut is_closing, true) {
            Pin::new(&mut connection).graceful_shutdown();
        }
        if guard.is_evicted() || guard.is_gone() {
            return Poll::Ready(None);
        }
        Pin::new(&mut connection).poll(cx).map(Some)
    })
    .await;
    let Some(ended) = ended else { return };
    let is_broken = ended.is_err_and(|error| error.is_user());
    let parts = connection.into_parts();
    let stream = parts.io.into_socket();
    if let Some(tunnel) = tunnel.take() {
        tunnel::prepare(I::plain(&stream));
        turn.works();
        let gone = poll_fn(|_| if guard.is_gone() { Poll::Ready(()) } else { Poll::Pending });
        tokio::select! {
            () = tunnel.run(stream, parts.read_buf) => {}
            () = gone => {}
        }
        return;
    }
    if is_broken {
        // A version's answer broke off. Nobody must take what came for the whole, not even a client that reads until
        // the end of the connection: so it ends with a reset. Where that cannot be had, it ends early all the same.
        I::plain(&stream).with_stream(|tcp| drop(tcp.set_zero_linger()));
        return;
    }
    // What follows keeps no drain waiting.
    drop(guard);
    linger(stream, Linger::SHORT).await;
}

/// Notes that a connection is idle again when it is dropped.
struct Rests(Turn);

impl Rests {
    /// After a request that begins now.
    fn after(turn: &Turn) -> Rests {
        turn.works();
        Rests(turn.clone())
    }
}

impl Drop for Rests {
    fn drop(&mut self) {
        self.0.rests();
    }
}

/// The body of an answer, with which a connection's turn ends.
struct InTurn {
    body: AnswerBody,
    _rests: Rests,
}

impl Body for InTurn {
    type Data = Bytes;
    type Error = DownloadBroken;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, DownloadBroken>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use tokio::task::consume_budget;
    use tokio::time::timeout;

    use super::super::drain::Drain;
    use super::*;

    #[tokio::test]
    async fn whoever_begins_without_an_end_is_let_go() {
        let guard = Rc::new(Drain::default()).enter_silent();
        let endless = async {
            loop {
                consume_budget().await;
            }
        };
        let waited = within::<()>(&guard, Duration::from_millis(20), endless);
        let waited = timeout(Duration::from_secs(20), waited).await.expect("its end is seen");
        assert!(matches!(waited, Waited::Over));
    }
}
