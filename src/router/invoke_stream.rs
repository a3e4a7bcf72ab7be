//! InvokeWithResponseStream: the answer goes to the client piece by piece, as the version makes it.
//!
//! The head goes out at once and says that all is well; what came of the invocation stands in the last frame. A version
//! that breaks off fails as it does over HTTP, and a client that goes away cancels its request.

use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::Response;
use hyper::header::{CONTENT_TYPE as CONTENT_TYPE_HEADER, HeaderValue};

use super::event_stream::{self, CONTENT_TYPE, Completed, Feed, Gone, Pieces};
use super::exchange::Transit;
use super::headers::EXECUTED_VERSION;
use crate::router::invoke_notes::{kind_of, note};
use crate::runtime::{Failure, Invocation, Permit, Runtimes};

/// What makes a streamed answer; whoever drops it cancels the request.
pub(super) type Making = Pin<Box<dyn Future<Output = ()>>>;

/// A streamed answer: its head, and what makes its body.
pub(super) struct Streamed {
    pub(super) response: Response<Pieces>,
    pub(super) making: Making,
}

/// An answer that a future makes, piece by piece.
pub(super) fn streamed<F: Future<Output = Result<(), Gone>> + 'static>(
    label: &HeaderValue,
    make: impl FnOnce(Rc<Feed>) -> F,
) -> Streamed {
    let (feed, pieces) = event_stream::channel();
    let feed = Rc::new(feed);
    let mut response = Response::new(pieces);
    response.headers_mut().insert(CONTENT_TYPE_HEADER, HeaderValue::from_static(CONTENT_TYPE));
    response.headers_mut().insert(EXECUTED_VERSION, label.clone());
    let made = make(Rc::clone(&feed));
    let making = Box::pin(async move {
        tokio::select! {
            // Whether it was all sent or not, nothing is left to do.
            _ = made => {}
            () = feed.gone() => {}
        }
    });
    Streamed { response, making }
}

/// Runs an invocation on a process, and passes on what it answers as it answers.
pub(super) async fn run(
    runtimes: Runtimes,
    mut invocation: Invocation,
    permit: Permit,
    mut transit: Transit,
    wants_log: bool,
    feed: Rc<Feed>,
) -> Result<(), Gone> {
    let (sink, mut stream) = crate::runtime::stream();
    let is_behind = Arc::clone(&sink.is_behind);
    invocation.stream = Some(sink);
    let running = runtimes.invoke(invocation, permit);
    tokio::pin!(running);
    let mut has_begun = false;
    let outcome = loop {
        tokio::select! {
            biased;
            piece = stream.recv() => match piece {
                Some(piece) => {
                    if !std::mem::replace(&mut has_begun, true) {
                        transit.head();
                    }
                    feed.piece(piece).await?;
                }
                None => break running.await,
            },
            outcome = &mut running => {
                // All of it has come, whoever still holds the other end.
                stream.close();
                while let Some(piece) = stream.recv().await {
                    feed.piece(piece).await?;
                }
                break outcome;
            }
        }
    };
    let completed = match outcome {
        // No doing of the version's: dropped without an end, the transit counts as cancelled.
        Err(why) => {
            let error = serde_json::json!({ "errorType": "ServiceException", "errorMessage": why.0 });
            Completed { error: Some(error.to_string().into()), log: None }
        }
        Ok(outcome) => {
            if !has_begun {
                transit.head();
            }
            let log = wants_log.then(|| BASE64.encode(&outcome.log_tail));
            let is_error = outcome.failure.is_some();
            match outcome.failure {
                // It ran out of time because its client took nothing.
                Some(Failure::TimedOut) if is_behind.load(Ordering::Relaxed) => drop(transit),
                Some(failure) => {
                    transit.fail(kind_of(failure), &note(&outcome.payload));
                    transit.complete();
                }
                None => transit.complete(),
            }
            if !is_error && !outcome.payload.is_empty() {
                feed.piece(outcome.payload.clone()).await?;
            }
            Completed { error: is_error.then_some(outcome.payload), log }
        }
    };
    finish(feed, completed).await
}

/// Passes on an answer that comes over HTTP; `error` words what breaks it off.
pub(super) async fn pass_on(
    mut body: super::download::Download,
    feed: &Feed,
    error: impl FnOnce(&str) -> Bytes,
) -> Result<Option<Bytes>, Gone> {
    while let Some(frame) = body.frame().await {
        match frame.map(|frame| frame.into_data()) {
            Ok(Ok(piece)) => feed.piece(piece).await?,
            Ok(Err(_trailers)) => {}
            Err(broken) => return Ok(Some(error(&broken.to_string()))),
        }
    }
    Ok(None)
}

/// Ends a stream.
pub(super) async fn finish(feed: Rc<Feed>, completed: Completed) -> Result<(), Gone> {
    feed.complete(completed).await
}
