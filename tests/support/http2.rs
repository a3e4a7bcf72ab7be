//! HTTP/2 clients: hyper's, which is correct, and one of single frames, which does as it is told.

use std::convert::Infallible;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Empty, Full};
use hyper::body::Incoming;
use hyper::client::conn::http2::{SendRequest, handshake};
use hyper::http::response::Parts;
use hyper::rt::{Read as HyperRead, Write as HyperWrite};
use hyper::{HeaderMap, Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::runtime::Runtime;

use super::client::Client;

/// A body that clients send.
pub type Sent = BoxBody<Bytes, Infallible>;

/// A connection, driven in the background.
pub struct Http2 {
    runtime: Runtime,
    sender: SendRequest<Sent>,
}

/// An answer that ended as it should.
pub struct Whole {
    /// Its head.
    pub head: Parts,
    /// Its body.
    pub body: Bytes,
    /// What came after.
    pub trailers: Option<HeaderMap>,
}

impl Whole {
    /// The body as text.
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("a text body")
    }

    /// The body as JSON.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).expect("a body of JSON")
    }
}

impl Http2 {
    /// Connects by prior knowledge.
    pub fn connect(addr: SocketAddr) -> Http2 {
        Http2::over(async move { tokio::net::TcpStream::connect(addr).await.expect("the server listens") })
    }

    /// Speaks over whatever a future connects.
    pub fn over<S>(connecting: impl Future<Output = S> + Send + 'static) -> Http2
    where
        S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
        TokioIo<S>: HyperRead + HyperWrite,
    {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let sender = runtime.block_on(async {
            let io = TokioIo::new(connecting.await);
            let (sender, connection) =
                handshake(TokioExecutor::new(), io).await.expect("the server speaks HTTP/2");
            tokio::spawn(connection);
            sender
        });
        Http2 { runtime, sender }
    }

    /// Sends a request, and waits for the head of its answer.
    pub fn begin(&mut self, request: Request<Sent>) -> Result<Response<Incoming>, hyper::Error> {
        let Http2 { runtime, sender } = self;
        runtime.block_on(async {
            sender.ready().await?;
            sender.send_request(request).await
        })
    }

    /// Sends a request, and does not wait.
    pub fn post(
        &mut self,
        request: Request<Sent>,
    ) -> tokio::task::JoinHandle<Result<Response<Incoming>, hyper::Error>> {
        let Http2 { runtime, sender } = self;
        runtime.block_on(sender.ready()).expect("the connection takes requests");
        runtime.spawn(sender.send_request(request))
    }

    /// Sends a request, and waits for the end of its answer.
    pub fn send(&mut self, request: Request<Sent>) -> Result<Whole, hyper::Error> {
        let response = self.begin(request)?;
        self.whole(response)
    }

    /// Waits for the end of an answer.
    pub fn whole(&self, response: Response<Incoming>) -> Result<Whole, hyper::Error> {
        let (head, body) = response.into_parts();
        let body = self.runtime.block_on(body.collect())?;
        let trailers = body.trailers().cloned();
        Ok(Whole { head, body: body.to_bytes(), trailers })
    }

    /// Runs something beside the connection.
    pub fn run<T>(&self, future: impl Future<Output = T>) -> T {
        self.runtime.block_on(future)
    }

    /// Gets a path.
    #[track_caller]
    pub fn get(&mut self, path: &str) -> Whole {
        self.send(get(path)).expect("a whole answer")
    }
}

/// A GET without anything.
pub fn get(path: &str) -> Request<Sent> {
    Request::get(format!("http://test.example{path}")).body(Empty::new().boxed()).unwrap()
}

/// A POST with a body in one piece.
pub fn post(path: &str, body: impl Into<Bytes>) -> Request<Sent> {
    Request::post(format!("http://test.example{path}")).body(Full::new(body.into()).boxed()).unwrap()
}

/// A connection that frames are written to by hand.
pub struct Frames(TcpStream);

/// A frame that came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// 0 DATA, 1 HEADERS, 3 RST_STREAM, 4 SETTINGS, 6 PING, 7 GOAWAY.
    pub kind: u8,
    /// Its flags.
    pub flags: u8,
    /// Its stream.
    pub stream: u32,
    /// What it holds.
    pub payload: Vec<u8>,
}

impl Frames {
    /// Connects, and says the preface and empty settings.
    pub fn connect(addr: SocketAddr) -> Frames {
        let stream = Client::connect(addr).stream().try_clone().unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        let mut frames = Frames(stream);
        frames.write(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
        frames.send(4, 0, 0, &[]);
        frames
    }

    /// The other side: takes a client's preface, and says empty settings.
    pub fn accept(mut stream: TcpStream) -> Frames {
        let mut preface = [0; 24];
        stream.read_exact(&mut preface).expect("a preface");
        assert_eq!(&preface, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
        let mut frames = Frames(stream);
        frames.send(4, 0, 0, &[]);
        frames
    }

    /// Writes bytes as they are.
    pub fn write(&mut self, bytes: &[u8]) {
        self.0.write_all(bytes).expect("the server takes it");
    }

    /// Sends a frame; false if the server has closed the connection.
    pub fn send(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) -> bool {
        let mut frame = (payload.len() as u32).to_be_bytes()[1..].to_vec();
        frame.extend([kind, flags]);
        frame.extend(stream.to_be_bytes());
        frame.extend(payload);
        self.0.write_all(&frame).is_ok()
    }

    /// Sends a request without a body: headers in their order, pseudo-headers first.
    pub fn request(&mut self, stream: u32, headers: &[(&str, &str)]) -> bool {
        let mut block = Vec::new();
        for (name, value) in headers {
            // A literal that is not indexed, with a literal name, without Huffman coding.
            block.push(0);
            for text in [name, value] {
                assert!(text.len() < 127);
                block.push(text.len() as u8);
                block.extend(text.as_bytes());
            }
        }
        self.send(1, 0x5, stream, &block)
    }

    /// Reads a frame; `None` at the end of the connection.
    pub fn read(&mut self) -> Option<Frame> {
        let mut head = [0; 9];
        self.0.read_exact(&mut head).ok()?;
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
        let mut payload = vec![0; length];
        self.0.read_exact(&mut payload).ok()?;
        let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
        Some(Frame { kind: head[3], flags: head[4], stream, payload })
    }

    /// Reads on until a frame of a kind, answering settings and pings; `None` if the connection ends before.
    pub fn read_until(&mut self, kind: u8) -> Option<Frame> {
        loop {
            let frame = self.read()?;
            if frame.kind == kind {
                return Some(frame);
            }
            if frame.flags & 1 == 0 && (frame.kind == 4 || frame.kind == 6) {
                self.send(frame.kind, 1, 0, if frame.kind == 6 { &frame.payload } else { &[] });
            }
        }
    }
}
