//! What fuzzers are let in to of the router: what it reads from clients and versions, and what it sends them.

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

use bytes::{Bytes, BytesMut};
use http_body_util::{BodyExt, Full};
use hyper::body::{Body, Incoming};
use hyper::header::{CONNECTION, CONTENT_LENGTH, HOST, HeaderMap, HeaderValue, TRANSFER_ENCODING, UPGRADE};
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper::server::conn::http1::Builder;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode, Uri};

use super::address::{Addressed, upstream_target};
use super::forwarded::Client;
use super::headers::{self, Facts};
use super::http1::{self, HEAD_BYTES_MAX};
use super::invoke_call::Call;
use super::proxy;
use super::upload::UpstreamBody;
use serin_core::model::arn::Place;

/// The client's end of a connection: bytes that come in pieces, and what was answered.
struct Wire<'a> {
    bytes: &'a [u8],
    piece: usize,
    answered: Arc<Mutex<Vec<u8>>>,
}

impl Read for Wire<'_> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        mut into: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        let count = self.piece.min(self.bytes.len()).min(into.remaining());
        let (now, later) = self.bytes.split_at(count);
        into.put_slice(now);
        self.bytes = later;
        Poll::Ready(Ok(()))
    }
}

impl Write for Wire<'_> {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.answered.lock().expect("one thread").extend_from_slice(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// What a version is sent of the requests on one connection, each whole; and what the client is answered.
pub(crate) fn requests(bytes: &[u8], piece: usize, is_trusted: bool) -> (Vec<Vec<u8>>, Vec<u8>) {
    let sent = Arc::new(Mutex::new(Vec::new()));
    let answered = Arc::new(Mutex::new(Vec::new()));
    let client = Client {
        address: HeaderValue::from_static("192.0.2.1"),
        scheme: "http",
        certificate: None,
        is_trusted,
    };
    let service = service_fn(|request: Request<Incoming>| async {
        let answer = match forwarded(&client, request).await {
            Ok(wire) => {
                sent.lock().expect("one thread").push(wire);
                Response::new(Full::new(Bytes::from_static(b"ok")))
            }
            Err(status) => {
                let mut answer = Response::new(Full::default());
                *answer.status_mut() = status;
                answer.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
                answer
            }
        };
        Ok::<_, Infallible>(answer)
    });
    let wire = Wire { bytes, piece: piece.max(1), answered: Arc::clone(&answered) };
    let mut builder = Builder::new();
    builder.header_read_timeout(None).max_header_size(HEAD_BYTES_MAX).max_buf_size(HEAD_BYTES_MAX);
    let mut connection = pin!(builder.serve_connection(wire, service));
    let mut cx = Context::from_waker(Waker::noop());
    let mut polls = 0;
    while connection.as_mut().poll(&mut cx).is_pending() {
        polls += 1;
        assert!(polls < 100_000, "a connection all of whose bytes are there does not end");
    }
    let sent = std::mem::take(&mut *sent.lock().expect("one thread"));
    let answered = std::mem::take(&mut *answered.lock().expect("one thread"));
    (sent, answered)
}

/// A request as a version gets it, by the steps of `forward`; or the status it is refused with.
async fn forwarded(client: &Client, request: Request<Incoming>) -> Result<Vec<u8>, StatusCode> {
    let (mut head, body) = request.into_parts();
    if head.method == Method::CONNECT {
        return Err(StatusCode::NOT_IMPLEMENTED);
    }
    let upgrade = headers::check_request(head.version, &head.uri, &head.headers);
    let upgrade = upgrade.map_err(|_| StatusCode::BAD_REQUEST)?.cloned();
    let target = head.uri.path_and_query().map_or("", |target| target.as_str());
    let addressed = Addressed::read(target).ok_or(StatusCode::NOT_FOUND)?;
    let uri = upstream_target("/base", addressed.rest).map_err(|_| StatusCode::URI_TOO_LONG)?;
    let has_body = !body.is_end_stream() && upgrade.is_none();
    let prefix = HeaderValue::from_static("/shop:live");
    let facts = Facts {
        host: &HeaderValue::from_static("version:80"),
        client,
        asked_host: head.uri.authority().and_then(|host| HeaderValue::try_from(host.as_str()).ok()),
        prefix: addressed.is_stripped.then_some(&prefix),
        is_chunked: has_body && !head.headers.contains_key(CONTENT_LENGTH),
    };
    headers::to_upstream(&mut head.headers, facts);
    if let Some(protocol) = upgrade {
        headers::set_upgrade(&mut head.headers, protocol);
    }
    head.uri = uri;
    let mut trailers = HeaderMap::new();
    let body = if has_body {
        let body = body.collect().await.map_err(|_| StatusCode::BAD_REQUEST)?;
        trailers = body.trailers().cloned().unwrap_or_default();
        headers::clean_trailers(&mut trailers);
        UpstreamBody::Whole(Some(body.to_bytes()))
    } else {
        UpstreamBody::Empty
    };
    Ok(http1::whole_request(&head, body, &trailers))
}

/// What an answer of a version comes to, read in pieces of so many bytes.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Answered {
    pub(crate) status: u16,
    pub(crate) body: Vec<u8>,
    pub(crate) trailers: usize,
    /// What is left on the connection.
    pub(crate) left: usize,
    pub(crate) is_kept: bool,
    /// The headers as a client gets them.
    pub(crate) headers: Vec<(String, Vec<u8>)>,
}

/// Reads an answer; `None` where it is none, or breaks off.
pub(crate) fn answer(bytes: &[u8], piece: usize, wants_head_only: bool) -> Option<Answered> {
    let mut input = BytesMut::new();
    let (mut head, body, trailers, left, is_kept) =
        http1::whole_answer(&mut input, bytes, piece.max(1), wants_head_only)?;
    headers::to_client(&mut head.headers, &HeaderValue::from_static("7"));
    let framed = head.headers.get_all(CONTENT_LENGTH).iter().count();
    assert!(framed <= 1, "more than one length");
    for name in [CONNECTION, TRANSFER_ENCODING, UPGRADE] {
        assert!(!head.headers.contains_key(&name), "{name} is the hop's");
    }
    let headers = head.headers.iter().map(|(name, value)| (name.to_string(), value.as_bytes().to_vec()));
    let headers = headers.collect();
    Some(Answered { status: head.status.as_u16(), body, trailers, left, is_kept, headers })
}

/// The key that an Invoke of a function by this name and query is routed by; `None` where no URI can say it.
pub(crate) fn invoked(name: &str, query: &str) -> Option<Result<String, String>> {
    let name: String =
        percent_encoding::utf8_percent_encode(name, percent_encoding::NON_ALPHANUMERIC).collect();
    let uri: Uri = format!("/2015-03-31/functions/{name}/invocations?{query}").parse().ok()?;
    let place = Place { region: "us-east-1".to_owned(), account: "000000000000".to_owned() };
    let mut headers = HeaderMap::new();
    headers.insert(HOST, HeaderValue::from_static("a"));
    let read = Call::read(&Method::POST, &uri, &headers, &place);
    if let Ok(call) = &read {
        assert_eq!(call.qualifier().is_none(), call.asked_arn(&place) != call.arn(&place));
        assert!(call.key.starts_with(call.function().as_str()));
    }
    Some(read.map(|call| call.key).map_err(|why| format!("{why:?}")))
}

/// The address that a proxy's line, or its head of the second version, names.
pub(crate) fn proxy_header(bytes: &[u8]) -> Option<Option<std::net::SocketAddr>> {
    let source = proxy::whole(bytes)?;
    Some(match source {
        proxy::Source::Connected => None,
        proxy::Source::Client(address) => Some(address),
    })
}
