//! The Runtime API of one process, `/2018-06-01/runtime/…`, on a listener of its own.
//!
//! Only the process it was made for, and what that has started, may speak to it: whose the other end of a connection is
//! is looked up, and others are cut off.

use std::cell::{Cell, RefCell};
use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::{Bytes, BytesMut};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::json;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Mutex, Notify, mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::peer::{self, Owner};
use super::seldom::Seldom;
use super::{ANSWER_BYTES_MAX, StreamSink};

const PREFIX: &str = "/2018-06-01/runtime/";
/// How many connections of a process are spoken on; its runtime has one, or two while it replaces it. One more takes the
/// place of the oldest that has asked for nothing yet.
const SPOKEN_MAX: usize = 8;
/// How long a new connection may take to ask for something.
const FIRST_MAX: Duration = Duration::from_secs(10);
/// Whoever speaks to an API that is not theirs is told of once a minute.
static FOREIGN: Seldom = Seldom::new();
const REQUEST_ID: HeaderName = HeaderName::from_static("lambda-runtime-aws-request-id");
const ERROR_TYPE: HeaderName = HeaderName::from_static("lambda-runtime-function-error-type");
const ERROR_BODY: HeaderName = HeaderName::from_static("lambda-runtime-function-error-body");

/// An invocation as the process gets it.
pub(super) struct Event {
    /// Its identifier, as the process will say it.
    pub(super) id: String,
    /// The `Lambda-Runtime-…` headers.
    pub(super) headers: HeaderMap,
    /// The payload.
    pub(super) payload: Bytes,
    /// Where the answer goes as it comes, if it is not wanted whole.
    pub(super) stream: Option<StreamSink>,
}

/// What the process said.
#[derive(Debug)]
pub(super) enum Said {
    /// It waits for an invocation.
    Ready,
    /// It answered the invocation under way.
    Answered(Answer),
    /// It cannot begin; its error.
    InitFailed(Bytes),
}

/// What a function answered.
#[derive(Debug)]
pub(super) enum Answer {
    /// A result.
    Result(Bytes),
    /// The error of the handler, as JSON.
    Error(Bytes),
    /// More than an answer may be.
    TooLarge,
}

/// Who may speak to a process's Runtime API.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Speaker {
    /// Whoever reaches it.
    Anybody,
    /// Processes of this user.
    User(u32),
    /// This process, and those that are in its namespace of processes.
    Process(u32),
}

impl Speaker {
    fn is_at(self, peer: SocketAddr, here: SocketAddr) -> bool {
        match (self, peer::owner(peer, here)) {
            (Speaker::Anybody, _) => true,
            (Speaker::User(user), Ok(Owner::Process { user: owner, .. })) => user == owner,
            (Speaker::Process(process), Ok(Owner::Process { socket, .. })) => {
                peer::is_held_by(process, socket)
            }
            (Speaker::User(_) | Speaker::Process(_), Ok(Owner::Nobody | Owner::Elsewhere) | Err(_)) => false,
        }
    }
}

/// One process's Runtime API.
pub(super) struct Api {
    state: RefCell<State>,
    spoken: RefCell<Vec<Rc<Spoken>>>,
    /// Held while a body is read: nothing but one at a time is waited for, and each may be large.
    reading: Mutex<()>,
    said: mpsc::UnboundedSender<Said>,
}

#[derive(Default)]
struct State {
    phase: Phase,
    /// Who waits for the next invocation.
    waiting: Option<oneshot::Sender<Event>>,
    /// An invocation that nobody waited for when it came.
    pending: Option<Event>,
    /// Where the answer of the invocation under way goes as it comes.
    stream: Option<StreamSink>,
}

#[derive(Default, PartialEq, Eq)]
enum Phase {
    #[default]
    Starting,
    Waiting,
    Running(String),
    Answered,
}

impl Phase {
    /// The runtime's state in AWS's words.
    fn as_str(&self) -> &'static str {
        match self {
            Phase::Starting => "Started",
            Phase::Waiting => "Ready",
            Phase::Running(_) => "Running",
            Phase::Answered => "InvocationResponse",
        }
    }
}

impl Api {
    /// An API that tells what is said to it.
    pub(super) fn new(said: mpsc::UnboundedSender<Said>) -> Rc<Api> {
        Rc::new(Api { state: RefCell::default(), spoken: RefCell::default(), reading: Mutex::new(()), said })
    }

    /// Hands an invocation to the process, at once or when it asks.
    pub(super) fn offer(&self, event: Event) {
        let mut state = self.state.borrow_mut();
        state.phase = Phase::Running(event.id.clone());
        state.stream = event.stream.clone();
        state.pending = match state.waiting.take() {
            Some(waiting) => waiting.send(event).err(),
            None => Some(event),
        };
    }

    /// Serves until it is dropped.
    pub(super) async fn serve(self: Rc<Api>, listener: TcpListener, speaker: Speaker) {
        let mut connections = JoinSet::new();
        loop {
            tokio::select! {
                accepted = listener.accept() => {
                    let Ok((stream, peer)) = accepted else {
                        // No descriptor is left, most likely; those that end meanwhile give theirs back.
                        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
                        continue;
                    };
                    if !stream.local_addr().is_ok_and(|here| speaker.is_at(peer, here)) {
                        FOREIGN.happened(|count| {
                            tracing::warn!(%peer, count, "another process spoke to a function's Runtime API and was cut off");
                        });
                        continue;
                    }
                    connections.spawn_local(Rc::clone(&self).speak(stream));
                }
                Some(_) = connections.join_next() => {}
            }
        }
    }

    async fn speak(self: Rc<Api>, stream: TcpStream) {
        let Some(seat) = Seat::take(&self) else { return };
        // Answers are small and waited for.
        let _ = stream.set_nodelay(true);
        let (api, spoken) = (&self, &seat.spoken);
        let service = service_fn(|request| {
            spoken.has_asked.set(true);
            async move { Ok::<_, Infallible>(api.answer(request).await) }
        });
        let mut connection =
            http1::Builder::new().header_read_timeout(None).serve_connection(TokioIo::new(stream), service);
        let served = async {
            // A process that breaks off is seen to end, or asks again.
            if timeout(FIRST_MAX, &mut connection).await.is_err() && spoken.has_asked.get() {
                // Between two invocations, and while one is worked on, it may be as quiet as it likes.
                let _ = connection.await;
            }
        };
        tokio::select! {
            () = served => {}
            () = spoken.cut.notified() => {}
        }
    }

    async fn collect(&self, body: Incoming) -> Result<Collected, BodyFault> {
        let _reading = self.reading.lock().await;
        collect(body).await
    }

    async fn answer(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        let (head, body) = request.into_parts();
        let Some(path) = head.uri.path().strip_prefix(PREFIX) else { return not_found() };
        match (&head.method, path) {
            (&Method::GET, "invocation/next") => self.next().await,
            (&Method::POST, "init/error") => {
                let error = match self.collect(body).await {
                    Ok(error) => error,
                    Err(fault) => return fault.response(),
                };
                if self.state.borrow().phase != Phase::Starting {
                    return self.refused("InitError");
                }
                self.tell(Said::InitFailed(worded(error.bytes, &head.headers)));
                accepted()
            }
            (&Method::POST, path) => {
                let Some((id, what)) = path.strip_prefix("invocation/").and_then(|path| path.split_once('/'))
                else {
                    return not_found();
                };
                match what {
                    "response" => self.answered(id, body, None).await,
                    "error" => self.answered(id, body, Some(&head.headers)).await,
                    _ => not_found(),
                }
            }
            _ => not_found(),
        }
    }

    async fn next(&self) -> Response<Full<Bytes>> {
        let waiting = {
            let mut state = self.state.borrow_mut();
            if let Some(event) = state.pending.take() {
                return event.response();
            }
            // It may ask again after a connection was lost; an invocation that was sent stays where it is.
            if matches!(state.phase, Phase::Running(_)) {
                drop(state);
                return self.refused("Next");
            }
            let is_news = state.phase != Phase::Waiting;
            state.phase = Phase::Waiting;
            let (waiting, event) = oneshot::channel();
            state.waiting = Some(waiting);
            drop(state);
            if is_news {
                self.tell(Said::Ready);
            }
            event
        };
        match waiting.await {
            Ok(event) => event.response(),
            // Another asked in its place.
            Err(_) => self.refused("Next"),
        }
    }

    async fn answered(&self, id: &str, body: Incoming, error: Option<&HeaderMap>) -> Response<Full<Bytes>> {
        if let Some(refusal) = self.refusal_for(id) {
            return refusal;
        }
        let stream = self.state.borrow().stream.clone().filter(|_| error.is_none());
        let collected = match &stream {
            None => self.collect(body).await,
            Some(stream) => passed_on(body, stream).await,
        };
        drop(stream);
        if let Err(fault @ BodyFault::Broken) = &collected {
            return fault.response();
        }
        // The time may have run out meanwhile.
        if let Some(refusal) = self.refusal_for(id) {
            return refusal;
        }
        {
            let mut state = self.state.borrow_mut();
            (state.phase, state.stream) = (Phase::Answered, None);
        }
        let (answer, response) = match (collected, error) {
            (Err(fault), _) => (Answer::TooLarge, fault.response()),
            (Ok(error), Some(headers)) => (Answer::Error(worded(error.bytes, headers)), accepted()),
            (Ok(result), None) => match result.trailing_error() {
                Some(error) => (Answer::Error(error), accepted()),
                None => (Answer::Result(result.bytes), accepted()),
            },
        };
        self.tell(Said::Answered(answer));
        response
    }

    /// Why an answer to this invocation is not taken; `None` where it is waited for.
    fn refusal_for(&self, id: &str) -> Option<Response<Full<Bytes>>> {
        let state = self.state.borrow();
        match &state.phase {
            Phase::Running(running) if running == id => None,
            Phase::Running(_) => {
                Some(error(StatusCode::BAD_REQUEST, "Invalid request ID", "InvalidRequestID"))
            }
            _ => {
                drop(state);
                Some(self.refused("InvocationResponse"))
            }
        }
    }

    fn refused(&self, to: &str) -> Response<Full<Bytes>> {
        let text = format!(
            "State transition from {} to {to} failed for runtime. Error: State transition is not allowed",
            self.state.borrow().phase.as_str()
        );
        error(StatusCode::FORBIDDEN, &text, "InvalidStateTransition")
    }

    fn tell(&self, said: Said) {
        // Whoever listened has given the process up.
        let _ = self.said.send(said);
    }
}

/// A connection that is spoken on.
#[derive(Default)]
struct Spoken {
    has_asked: Cell<bool>,
    cut: Notify,
}

/// The place of one, until it is dropped.
struct Seat {
    api: Rc<Api>,
    spoken: Rc<Spoken>,
}

impl Seat {
    fn take(api: &Rc<Api>) -> Option<Seat> {
        let mut all = api.spoken.borrow_mut();
        if all.len() >= SPOKEN_MAX {
            let silent = all.iter().position(|spoken| !spoken.has_asked.get())?;
            all.remove(silent).cut.notify_one();
        }
        let spoken = Rc::<Spoken>::default();
        all.push(Rc::clone(&spoken));
        Some(Seat { api: Rc::clone(api), spoken })
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.api.spoken.borrow_mut().retain(|spoken| !Rc::ptr_eq(spoken, &self.spoken));
    }
}

impl Event {
    fn response(self) -> Response<Full<Bytes>> {
        let mut response = Response::new(Full::new(self.payload));
        *response.headers_mut() = self.headers;
        let id = HeaderValue::try_from(self.id).expect("a UUID is hexadecimal");
        response.headers_mut().insert(REQUEST_ID, id);
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        response
    }
}

struct Collected {
    bytes: Bytes,
    trailers: Option<HeaderMap>,
}

/// Why a body is no answer.
enum BodyFault {
    TooLarge,
    /// It ended too early; most likely the process did.
    Broken,
}

impl BodyFault {
    fn response(&self) -> Response<Full<Bytes>> {
        match self {
            BodyFault::TooLarge => {
                let text = format!("Exceeded maximum allowed payload size ({ANSWER_BYTES_MAX} bytes).");
                error(StatusCode::PAYLOAD_TOO_LARGE, &text, "RequestEntityTooLarge")
            }
            BodyFault::Broken => error(StatusCode::BAD_REQUEST, "the body broke off", "InvalidBody"),
        }
    }
}

impl Collected {
    /// The error that a streamed answer ended in.
    fn trailing_error(&self) -> Option<Bytes> {
        let trailers = self.trailers.as_ref()?;
        let kind = trailers.get(ERROR_TYPE)?;
        let body = trailers.get(ERROR_BODY).and_then(|body| BASE64.decode(body.as_bytes()).ok());
        let unworded =
            || json!({ "errorType": kind.to_str().unwrap_or("Runtime.Unknown") }).to_string().into();
        Some(body.map(Bytes::from).unwrap_or_else(unworded))
    }
}

/// Reads a body as large as an answer may be.
async fn collect(mut body: Incoming) -> Result<Collected, BodyFault> {
    let (mut bytes, mut trailers, mut is_too_large) = (BytesMut::new(), None, false);
    while let Some(frame) = body.frame().await {
        match frame.map_err(|_| BodyFault::Broken)?.into_data() {
            // Read on, so that the process hears what is wrong instead of a reset.
            Ok(data) if is_too_large || bytes.len() + data.len() > ANSWER_BYTES_MAX => is_too_large = true,
            Ok(data) => bytes.extend_from_slice(&data),
            Err(frame) => trailers = frame.into_trailers().ok(),
        }
    }
    if is_too_large { Err(BodyFault::TooLarge) } else { Ok(Collected { bytes: bytes.freeze(), trailers }) }
}

/// Hands a body over as it comes; the process is heard to its end, whoever listens.
async fn passed_on(mut body: Incoming, stream: &StreamSink) -> Result<Collected, BodyFault> {
    let (mut trailers, mut is_wanted) = (None, true);
    while let Some(frame) = body.frame().await {
        match frame.map_err(|_| BodyFault::Broken)?.into_data() {
            Ok(piece) if is_wanted && !piece.is_empty() => is_wanted = stream.send(piece).await,
            Ok(_) => {}
            Err(frame) => trailers = frame.into_trailers().ok(),
        }
    }
    Ok(Collected { bytes: Bytes::new(), trailers })
}

/// An error in the process's own words, or at least by its type.
fn worded(body: Bytes, headers: &HeaderMap) -> Bytes {
    if !body.is_empty() {
        return body;
    }
    let kind = headers.get(ERROR_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or("Runtime.Unknown");
    json!({ "errorType": kind, "errorMessage": "" }).to_string().into()
}

fn accepted() -> Response<Full<Bytes>> {
    answer_with(StatusCode::ACCEPTED, &json!({ "status": "OK" }))
}

fn not_found() -> Response<Full<Bytes>> {
    error(StatusCode::NOT_FOUND, "there is nothing here", "NotFound")
}

fn error(status: StatusCode, message: &str, kind: &str) -> Response<Full<Bytes>> {
    answer_with(status, &json!({ "errorMessage": message, "errorType": kind }))
}

fn answer_with(status: StatusCode, body: &serde_json::Value) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body.to_string())));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// Where a process's Runtime API is bound.
pub(super) async fn listen() -> std::io::Result<(TcpListener, String)> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let address = listener.local_addr()?.to_string();
    Ok((listener, address))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(flavor = "current_thread")]
    async fn half_heads_keep_no_runtime_waiting() {
        tokio::task::LocalSet::new().run_until(asks_among_half_heads()).await;
    }

    async fn asks_among_half_heads() {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};

        let (said, _hears) = mpsc::unbounded_channel();
        let (listener, address) = listen().await.unwrap();
        let api = Api::new(said);
        let serving = tokio::task::spawn_local(Rc::clone(&api).serve(listener, Speaker::Anybody));
        let mut half = Vec::new();
        for _ in 0..100 {
            let mut stream = TcpStream::connect(&address).await.unwrap();
            stream.write_all(b"GET /2018-06-01/runtime/").await.unwrap();
            half.push(stream);
        }
        let mut whole = TcpStream::connect(&address).await.unwrap();
        whole.write_all(b"GET /nothing HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
        let mut answer = [0; 12];
        whole.read_exact(&mut answer).await.unwrap();
        assert_eq!(&answer, b"HTTP/1.1 404");
        assert!(api.spoken.borrow().len() <= SPOKEN_MAX);
        serving.abort();
    }
}
