//! How a request is answered, whatever listener and protocol it came by.

use super::answer::AnswerBody;
use super::forward::{bound, forward};
use super::forwarded::Client;
use super::invoke::{Invoked, Payload, invoke};
use super::invoke_call::is_lambda;
use super::invoke_error::InvokeError;
use super::invoke_stream::Streamed;
use super::refusal::Refusal;
use super::worker::Worker;
use hyper::body::Incoming;
use hyper::{Request, Response, StatusCode};
use std::rc::Rc;

/// What somebody is told for whom there is no room.
pub(super) fn no_room() -> Refusal {
    Refusal {
        status: StatusCode::SERVICE_UNAVAILABLE,
        kind: "max-connections",
        message: "serin has as much under way as it may have".to_owned(),
        hint: "try again later, or raise --max-connections and the limit of open files".to_owned(),
    }
}

/// Answers one request, by whichever face it asks for.
pub(super) async fn answer(
    worker: &Rc<Worker>,
    client: &Client,
    request: Request<Incoming>,
) -> Response<AnswerBody> {
    let is_bound = || bound(worker, request.uri(), request.headers()).is_some();
    if is_lambda(request.uri().path()) && !is_bound() {
        if !worker.shows.invoke {
            return InvokeError::NotHere.response().map(AnswerBody::whole);
        }
        return match invoke(worker, request.map(Payload::Stream)).await {
            Invoked::Whole(response) => response.map(AnswerBody::whole),
            Invoked::Streamed(Streamed { response, making }) => {
                // It ends with the answer's body, which the connection holds.
                tokio::task::spawn_local(making);
                response.map(AnswerBody::Pieces)
            }
        };
    }
    forward(worker, client, request).await
}
