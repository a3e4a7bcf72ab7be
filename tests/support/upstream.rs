//! Versions of every temper, on loopback: a well-behaved one that does as its path says, and one that runs a script.

use std::convert::Infallible;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

use super::uninterrupted;
use bytes::Bytes;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Empty, Full};
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::json;
use serin_core::lambda::function::Target;
use tokio::sync::oneshot;

/// What an upstream saw.
#[derive(Default)]
pub struct Seen {
    /// Connections it accepted.
    pub connections: AtomicUsize,
    /// Requests whose head it read.
    pub requests: AtomicUsize,
    /// Requests it was told to drop before it had answered.
    pub dropped: AtomicUsize,
    /// Bytes of request bodies it read.
    pub body_bytes: AtomicUsize,
}

impl Seen {
    /// How many requests came.
    pub fn requests(&self) -> usize {
        self.requests.load(Ordering::SeqCst)
    }

    /// How many connections came.
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

/// A version that does as the last segments of its path say.
///
/// `/echo…` answers with JSON of what arrived, `/status/503` with that status, `/hang` never, `/body/N` with N
/// bytes, `/chunks/N` with N bytes in chunks and a trailer, `/sink` with the number of bytes it read, anything else
/// with the version's name.
pub struct Version {
    addr: SocketAddr,
    speaks_http2: bool,
    seen: Arc<Seen>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Version {
    /// Starts a version that calls itself by a name.
    pub fn start(name: &'static str) -> Version {
        Version::start_with(name, |http| http)
    }

    /// Starts one whose HTTP is set up by `setup`.
    pub fn start_with(name: &'static str, setup: impl FnOnce(http1::Builder) -> http1::Builder) -> Version {
        Version::speaking(Http::One(setup(http1::Builder::new())), name)
    }

    /// Starts one that speaks HTTP/2 alone, at so many requests at once.
    pub fn start_http2(name: &'static str, requests_max: u32) -> Version {
        let mut http = http2::Builder::new(TokioExecutor::new());
        http.max_concurrent_streams(requests_max);
        Version::speaking(Http::Two(http), name)
    }

    fn speaking(http: Http, name: &'static str) -> Version {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let (addr, seen) = (listener.local_addr().unwrap(), Arc::new(Seen::default()));
        let (stop, mut stopped) = oneshot::channel();
        let speaks_http2 = matches!(http, Http::Two(_));
        let counting = Arc::clone(&seen);
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async move {
                let listener = tokio::net::TcpListener::from_std(listener).unwrap();
                loop {
                    let stream = tokio::select! {
                        accepted = listener.accept() => accepted.unwrap().0,
                        _ = &mut stopped => return,
                    };
                    stream.set_nodelay(true).unwrap();
                    counting.connections.fetch_add(1, Ordering::SeqCst);
                    let seen = Arc::clone(&counting);
                    let service = service_fn(move |request| {
                        let seen = Arc::clone(&seen);
                        async move { Ok::<_, Infallible>(answer(name, &seen, request).await) }
                    });
                    let io = TokioIo::new(stream);
                    match &http {
                        Http::One(http) => drop(tokio::spawn(http.serve_connection(io, service))),
                        Http::Two(http) => drop(tokio::spawn(http.serve_connection(io, service))),
                    }
                }
            });
        });
        Version { addr, speaks_http2, seen, stop: Some(stop), thread: Some(thread) }
    }

    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// What it saw.
    pub fn seen(&self) -> &Seen {
        &self.seen
    }

    /// As a version is published.
    pub fn target(&self) -> Target {
        if self.speaks_http2 { target_http2(self.addr) } else { target(self.addr, "") }
    }
}

/// What a version speaks.
enum Http {
    One(http1::Builder),
    Two(http2::Builder<TokioExecutor>),
}

impl Drop for Version {
    fn drop(&mut self) {
        // Gone already if the thread panicked, which the join reports.
        let _ = self.stop.take().map(|stop| stop.send(()));
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
            && !std::thread::panicking()
        {
            panic!("an upstream panicked");
        }
    }
}

/// An address as a version is published, with a base path.
pub fn target(addr: SocketAddr, base_path: &str) -> Target {
    Target::Http {
        url: format!("http://{addr}{base_path}").parse().unwrap(),
        health: None,
        timeouts: Default::default(),
    }
}

/// An address as a version that speaks HTTP/2 is published.
pub fn target_http2(addr: SocketAddr) -> Target {
    Target::Http { url: format!("h2c://{addr}").parse().unwrap(), health: None, timeouts: Default::default() }
}

/// Counts a request that ends before it was answered.
struct Unanswered<'a>(Option<&'a Seen>);

impl Drop for Unanswered<'_> {
    fn drop(&mut self) {
        if let Some(seen) = self.0 {
            seen.dropped.fetch_add(1, Ordering::SeqCst);
        }
    }
}

async fn answer(
    name: &'static str,
    seen: &Seen,
    request: Request<Incoming>,
) -> Response<BoxBody<Bytes, Infallible>> {
    seen.requests.fetch_add(1, Ordering::SeqCst);
    let mut unanswered = Unanswered(Some(seen));
    let (head, body) = request.into_parts();
    let segments: Vec<&str> = head.uri.path().split('/').collect();
    let whole = |text: String| Full::new(Bytes::from(text)).boxed();
    let response = match segments.as_slice() {
        [.., "hang"] => std::future::pending().await,
        [.., "status", status] => {
            let mut response = Response::new(whole(name.to_owned()));
            *response.status_mut() = StatusCode::from_bytes(status.as_bytes()).unwrap();
            response
        }
        [.., "body", length] => Response::new(Zeros::new(length.parse().unwrap(), true).boxed()),
        [.., "chunks", length] => {
            let mut response = Response::new(Zeros::new(length.parse().unwrap(), false).boxed());
            response.headers_mut().insert("trailer", "x-sum".parse().unwrap());
            response
        }
        [.., "sink"] => Response::new(whole(sunk(seen, body).await.to_string())),
        [.., "empty"] => Response::new(Empty::new().boxed()),
        [.., "headers"] => {
            let mut response = Response::new(whole(name.to_owned()));
            let headers = response.headers_mut();
            for (key, value) in [
                ("set-cookie", "a=1"),
                ("set-cookie", "b=2"),
                ("x-own", "yes"),
                ("x-amz-executed-version", "99"),
                ("x-serin-error", "forged"),
                ("connection", "x-hop"),
                ("x-hop", "1"),
                ("keep-alive", "timeout=7"),
            ] {
                headers.append(key, value.parse().unwrap());
            }
            response
        }
        _ if head.uri.path().contains("/echo") || head.uri.path().ends_with("/2015-03-31") => {
            let collected = body.collect().await;
            let trailers = collected.as_ref().ok().and_then(|body| body.trailers().cloned());
            let body = collected.map(|body| body.to_bytes()).unwrap_or_default();
            let lines = |headers: &hyper::HeaderMap| -> Vec<[String; 2]> {
                let text = |value: &hyper::header::HeaderValue| {
                    String::from_utf8_lossy(value.as_bytes()).into_owned()
                };
                headers.iter().map(|(key, value)| [key.to_string(), text(value)]).collect()
            };
            let echo = json!({
                "version": name,
                "method": head.method.as_str(),
                "target": head.uri.path_and_query().unwrap().as_str(),
                "headers": lines(&head.headers),
                "trailers": trailers.as_ref().map(lines),
                "body": String::from_utf8_lossy(&body),
            });
            Response::new(whole(echo.to_string()))
        }
        _ => {
            // Reads what comes, so that the connection can be used again.
            sunk(seen, body).await;
            Response::new(whole(name.to_owned()))
        }
    };
    unanswered.0 = None;
    response
}

async fn sunk(seen: &Seen, mut body: Incoming) -> usize {
    let mut sum = 0;
    while let Some(Ok(frame)) = body.frame().await {
        let length = frame.data_ref().map_or(0, Bytes::len);
        seen.body_bytes.fetch_add(length, Ordering::SeqCst);
        sum += length;
    }
    sum
}

/// So many zero bytes in pieces of 16 KiB; with a trailer where the length is not said before.
struct Zeros {
    left: usize,
    is_sized: bool,
    has_ended: bool,
}

impl Zeros {
    fn new(length: usize, is_sized: bool) -> Zeros {
        Zeros { left: length, is_sized, has_ended: is_sized && length == 0 }
    }
}

impl Body for Zeros {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        static PIECE: [u8; 16 * 1024] = [0; 16 * 1024];
        let this = self.get_mut();
        if this.has_ended {
            return std::task::Poll::Ready(None);
        }
        if this.left == 0 {
            this.has_ended = true;
            let mut trailers = hyper::HeaderMap::new();
            trailers.insert("x-sum", "0".parse().unwrap());
            return std::task::Poll::Ready(Some(Ok(Frame::trailers(trailers))));
        }
        let piece = this.left.min(PIECE.len());
        this.left -= piece;
        this.has_ended = this.is_sized && this.left == 0;
        std::task::Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(&PIECE[..piece])))))
    }

    fn is_end_stream(&self) -> bool {
        self.has_ended
    }

    fn size_hint(&self) -> SizeHint {
        if self.is_sized { SizeHint::with_exact(self.left as u64) } else { SizeHint::default() }
    }
}

/// A version that runs a script for each connection, on a thread of its own.
pub struct Script {
    addr: SocketAddr,
    connections: Arc<AtomicUsize>,
    is_stopped: Arc<AtomicBool>,
}

impl Script {
    /// Starts one that answers each request with "late" when it is told to, or after ten seconds.
    pub fn late(status: &'static str) -> (Script, mpsc::Sender<()>) {
        let (answer_now, may_answer) = mpsc::channel::<()>();
        let may_answer = Mutex::new(may_answer);
        let script = Script::start(move |mut stream, _| {
            while read_request(&mut stream).is_some() {
                let _ = may_answer.lock().unwrap().recv_timeout(Duration::from_secs(10));
                write(&mut stream, format!("HTTP/1.1 {status}\r\nContent-Length: 4\r\n\r\nlate"));
            }
        });
        (script, answer_now)
    }

    /// Starts one that says back what it hears on WebSockets.
    pub fn echoing() -> Script {
        Script::start(|mut stream: TcpStream, _| {
            read_request(&mut stream);
            write(
                &mut stream,
                "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
            );
            stream.set_read_timeout(None).unwrap();
            let mut bytes = [0; 64];
            while let Ok(count @ 1..) = stream.read(&mut bytes) {
                write(&mut stream, &bytes[..count]);
            }
        })
    }

    /// Starts one; the script gets each connection and its number, from 0.
    pub fn start(script: impl Fn(TcpStream, usize) + Send + Sync + 'static) -> Script {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = listener.local_addr().unwrap();
        let (connections, is_stopped) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
        let (counter, stopped, script) =
            (Arc::clone(&connections), Arc::clone(&is_stopped), Arc::new(script));
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                if stopped.load(Ordering::SeqCst) {
                    return;
                }
                let (stream, script) = (stream.unwrap(), Arc::clone(&script));
                stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
                let number = counter.fetch_add(1, Ordering::SeqCst);
                std::thread::spawn(move || script(stream, number));
            }
        });
        Script { addr, connections, is_stopped }
    }

    /// How many connections came.
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// As a version is published.
    pub fn target(&self) -> Target {
        target(self.addr, "")
    }

    /// As a version that speaks HTTP/2 is published.
    pub fn target_http2(&self) -> Target {
        target_http2(self.addr)
    }
}

impl Drop for Script {
    fn drop(&mut self) {
        self.is_stopped.store(true, Ordering::SeqCst);
        // Wakes the listener, so that its thread ends; if nobody listens any more, it has.
        let _ = TcpStream::connect(self.addr);
    }
}

/// Reads a request's head and as much body as its length says; `None` at the end of the connection.
pub fn read_request(stream: &mut TcpStream) -> Option<String> {
    let (mut request, mut byte) = (Vec::new(), [0]);
    while !request.ends_with(b"\r\n\r\n") {
        match uninterrupted(|| stream.read(&mut byte)) {
            Ok(1) => request.push(byte[0]),
            _ => return None,
        }
    }
    let head = String::from_utf8_lossy(&request).to_ascii_lowercase();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.trim().parse().ok());
    let mut body = vec![0; length.unwrap_or(0)];
    stream.read_exact(&mut body).ok()?;
    request.extend(body);
    Some(String::from_utf8_lossy(&request).into_owned())
}

/// Writes an answer as it is; a router that hung up does not matter.
pub fn write(stream: &mut TcpStream, bytes: impl AsRef<[u8]>) {
    let _ = stream.write_all(bytes.as_ref());
}

/// Ends a connection with a reset.
pub fn reset(stream: TcpStream) {
    socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap();
}

/// Answers every request at an address where nobody listens now, as a service does that comes back where it was.
pub fn answer_at(addr: SocketAddr, body: &'static str) {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.set_reuse_address(true).unwrap();
    socket.bind(&addr.into()).unwrap();
    socket.listen(16).unwrap();
    let listener = TcpListener::from(socket);
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            std::thread::spawn(move || {
                while read_request(&mut stream).is_some() {
                    let length = body.len();
                    write(&mut stream, format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n{body}"));
                }
            });
        }
    });
}
