//! Serves the control listener: accepts, holds clients to their time, and ends gently.
//!
//! A loop of our own and not axum's, which takes as many connections as come and waits for each for as long as it likes.

use std::convert::Infallible;
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::response::{IntoResponse, Response};
use hyper::body::{Frame, Incoming, SizeHint};
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper::{Request, body};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use socket2::SockRef;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::{Sleep, sleep};

use super::clients::{Clients, Place, Stage, Turn};
use super::error::{ApiError, Face};
use super::peer::Peer;
use crate::runtime::Runtimes;
use crate::sockets::{Linger, Pause, linger};

/// How long a client may take for the head of a request, from the connection's or the last answer's end on.
const HEAD_MAX: Duration = Duration::from_secs(30);
/// How long it may take for the next piece of a body, and for all of it.
const PIECE_MAX: Duration = Duration::from_secs(30);
const BODY_MAX: Duration = Duration::from_secs(600);
/// How long it may take nothing of an answer.
const TAKE_MAX: Duration = Duration::from_secs(60);
/// What may still come of a body that was refused: clients that send all of a zip before they look for an answer, as most
/// do, would read of a broken pipe instead.
const REFUSED: Linger = Linger { time_max: Duration::from_secs(10), bytes_max: 128 * 1024 * 1024 };
/// How long a head may be.
const HEAD_BYTES_MAX: usize = 64 * 1024;
/// What is answered however much there is to do.
const HEALTH: [&str; 3] = ["/livez", "/readyz", "/metrics"];

/// Accepts until it is told to stop, and returns when everybody has left.
pub async fn serve(
    listener: TcpListener,
    routes: Router,
    clients: Arc<Clients>,
    runtimes: Runtimes,
    mut stopping: watch::Receiver<Option<Duration>>,
) -> io::Result<()> {
    let service = TowerToHyperService::new(routes);
    let mut pause = Pause::default();
    let stopped = stopping.clone();
    let mut stop = pin!(stop(&mut stopping));
    loop {
        let accepted = tokio::select! {
            () = &mut stop => break,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, _)) => {
                pause.ends();
                // At once: whoever lets go of a connection is not to be known any more.
                let peer = Peer::of(&stream, &runtimes);
                let place = tokio::select! {
                    () = &mut stop => break,
                    place = clients.admit() => place,
                };
                tokio::spawn(speak(
                    (stream, peer),
                    service.clone(),
                    Arc::clone(&clients),
                    place,
                    stopped.clone(),
                ));
            }
            Err(error) => pause.after(&error).await,
        }
    }
    drop(listener);
    clients.all_left().await;
    Ok(())
}

/// Returns when it is to stop.
async fn stop(stopping: &mut watch::Receiver<Option<Duration>>) {
    // Nobody left who could tell is as good as being told.
    let _ = stopping.wait_for(Option::is_some).await;
}

/// Serves one connection until either side ends it, or its place is given to another.
async fn speak(
    (stream, peer): (TcpStream, Peer),
    routes: TowerToHyperService<Router>,
    clients: Arc<Clients>,
    place: Place,
    mut stopping: watch::Receiver<Option<Duration>>,
) {
    // Where an option is not to be had, the connection is served without.
    let _ = stream.set_nodelay(true);
    let _ = SockRef::from(&stream).set_tcp_user_timeout(Some(TAKE_MAX));
    let turn = Arc::clone(&place.turn);
    let is_body_left = Arc::new(AtomicBool::new(false));
    let service = service_fn(|request: Request<Incoming>| {
        let (routes, clients, turn) = (routes.clone(), Arc::clone(&clients), Arc::clone(&turn));
        let request = with_peer(request, peer).map(|body| Upload::new(body, &turn, &is_body_left));
        async move { Ok::<_, Infallible>(answer(&routes, &clients, turn, request).await) }
    });
    let mut connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_MAX)
        .max_header_size(HEAD_BYTES_MAX)
        .max_buf_size(HEAD_BYTES_MAX)
        .serve_connection(TokioIo::new(stream), service);
    let mut is_closing = false;
    loop {
        tokio::select! {
            // However it ended, there is nobody to tell.
            _ = &mut connection => break,
            () = place.turn.cut() => return,
            () = stop(&mut stopping), if !is_closing => {
                is_closing = true;
                Pin::new(&mut connection).graceful_shutdown();
            }
        }
    }
    let stream = connection.into_parts().io.into_inner();
    let how = match (is_body_left.load(Ordering::Relaxed), is_closing) {
        (true, _) => REFUSED,
        (false, false) => Linger::SHORT,
        // Nothing was to come, and whoever ends the daemon waits.
        (false, true) => return,
    };
    tokio::select! {
        () = place.turn.cut() => {}
        () = linger(stream, how) => {}
    }
}

fn with_peer(mut request: Request<Incoming>, peer: Peer) -> Request<Incoming> {
    request.extensions_mut().insert(peer);
    request
}

async fn answer(
    routes: &TowerToHyperService<Router>,
    clients: &Arc<Clients>,
    turn: Arc<Turn>,
    request: Request<Upload>,
) -> Response {
    turn.reach(Stage::Working);
    let path = request.uri().path();
    let work = clients.work();
    if work.is_none() && !HEALTH.contains(&path) {
        let error = ApiError::unavailable("serin works on as many requests as it may; try again later");
        return error.on(Face::of(path)).into_response();
    }
    let response = routes.call(request.map(Body::new)).await.unwrap_or_else(|never| match never {});
    drop(work);
    turn.reach(Stage::Answering);
    response.map(|body| Body::new(Download { body, turn }))
}

/// A request's body, which the client may not keep back for ever.
struct Upload {
    body: Incoming,
    turn: Arc<Turn>,
    /// Whether some of the last body of the connection was not read.
    is_left: Arc<AtomicBool>,
    has_ended: bool,
    /// Until when all of it must be here.
    whole: Pin<Box<Sleep>>,
    /// Until when the next piece must be.
    piece: Option<Pin<Box<Sleep>>>,
}

impl Upload {
    fn new(body: Incoming, turn: &Arc<Turn>, is_left: &Arc<AtomicBool>) -> Upload {
        let (turn, is_left) = (Arc::clone(turn), Arc::clone(is_left));
        Upload { body, turn, is_left, has_ended: false, whole: Box::pin(sleep(BODY_MAX)), piece: None }
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        let is_left = !self.has_ended && !body::Body::is_end_stream(&self.body);
        self.is_left.store(is_left, Ordering::Relaxed);
    }
}

/// A client kept its body back.
#[derive(Debug, thiserror::Error)]
#[error("the rest of the body did not come in time")]
struct Stalled;

impl body::Body for Upload {
    type Data = Bytes;
    type Error = axum::BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::BoxError>>> {
        if let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(cx) {
            self.piece = None;
            self.turn.reach(Stage::Working);
            self.has_ended = frame.is_none();
            return Poll::Ready(frame.map(|frame| frame.map_err(Into::into)));
        }
        self.turn.reach(Stage::Waiting);
        let piece = self.piece.get_or_insert_with(|| Box::pin(sleep(PIECE_MAX)));
        if piece.as_mut().poll(cx).is_pending() {
            ready!(self.whole.as_mut().poll(cx));
        }
        Poll::Ready(Some(Err(Stalled.into())))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// An answer's body; when it is gone, the client's next request is waited for.
struct Download {
    body: Body,
    turn: Arc<Turn>,
}

impl body::Body for Download {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Download {
    fn drop(&mut self) {
        self.turn.reach(Stage::Waiting);
    }
}
