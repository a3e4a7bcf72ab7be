//! The way in for Invokes that arrive at another listener.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use hyper::{Request, Response};
use tokio::sync::{mpsc, oneshot};
use uuid::Uuid;

use super::event_stream::Pieces;

/// How many calls a worker keeps waiting before callers wait to hand theirs over.
const QUEUE: usize = 64;

/// Hands Invokes to the router's workers, which alone may count; every clone serves.
#[derive(Clone)]
pub struct InvokeHandle {
    workers: Arc<[mpsc::Sender<Job>]>,
    next: Arc<AtomicUsize>,
}

/// Marks an Invoke that serin sends itself, and that nobody has to allow; only this module can make one.
#[derive(Clone)]
pub(super) struct OfSerin {
    /// The request's identifier, where it has one already.
    pub(super) id: Option<Uuid>,
    _sealed: (),
}

/// One Invoke, and who waits for its answer.
pub(super) struct Job {
    pub(super) request: Request<Bytes>,
    pub(super) answer: oneshot::Sender<Response<InvokeBody>>,
}

/// The body of an answer to an Invoke.
pub enum InvokeBody {
    /// In memory.
    Whole(Bytes),
    /// As it is made.
    Pieces(Pieces),
}

/// The router has stopped, so nobody answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the router has stopped and takes no more requests")]
pub struct RouterStopped;

impl InvokeHandle {
    /// A handle for so many workers, and what each of them listens to.
    pub(super) fn new(workers: usize) -> (InvokeHandle, Vec<mpsc::Receiver<Job>>) {
        let (senders, receivers): (Vec<_>, Vec<_>) = (0..workers).map(|_| mpsc::channel(QUEUE)).unzip();
        (InvokeHandle { workers: senders.into(), next: Arc::default() }, receivers)
    }

    /// Invokes as if the request had come to the router's listener; workers take turns.
    ///
    /// The request's target is Lambda's, `/2015-03-31/functions/NAME/invocations`. Whoever drops the future has
    /// cancelled the request. Before the router runs, requests wait.
    pub async fn invoke(&self, request: Request<Bytes>) -> Result<Response<InvokeBody>, RouterStopped> {
        let turn = self.next.fetch_add(1, Ordering::Relaxed) % self.workers.len();
        let (answer, answered) = oneshot::channel();
        self.workers[turn].send(Job { request, answer }).await.map_err(|_| RouterStopped)?;
        answered.await.map_err(|_| RouterStopped)
    }

    /// Invokes on serin's own account, for messages and events that it carries: policies are not asked.
    ///
    /// What says so is a value beside the request that no bytes from the network turn into. An event that was accepted
    /// has its identifier already, and keeps it.
    pub async fn invoke_as_serin(
        &self,
        mut request: Request<Bytes>,
        id: Option<Uuid>,
    ) -> Result<Response<Bytes>, RouterStopped> {
        request.extensions_mut().insert(OfSerin { id, _sealed: () });
        let (head, body) = self.invoke(request).await?.into_parts();
        let body = match body {
            InvokeBody::Whole(bytes) => bytes,
            // Nobody here asks for a stream, and one that is dropped is cancelled.
            InvokeBody::Pieces(_) => Bytes::new(),
        };
        Ok(Response::from_parts(head, body))
    }
}
