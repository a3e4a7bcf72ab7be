//! Invoke and InvokeAsync at the control listener: handed to the router, which alone carries and counts traffic.

use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use http_body_util::BodyExt;

use super::Naming;
use super::error::LambdaError;
use super::request::{Asked, Payload};
use crate::api::Api;
use crate::router::handle::{InvokeBody, RouterStopped};

/// Invoke and InvokeWithResponseStream, exactly as the router's own listener answers it.
pub async fn invoke(State(api): State<Api>, request: Request) -> Response {
    let (head, body) = request.into_parts();
    let payload: Bytes = match body.collect().await {
        Ok(collected) => collected.to_bytes(),
        Err(why) => {
            return LambdaError::invalid(format!("the payload could not be read: {why}")).into_response();
        }
    };
    match api.invoke.invoke(Request::from_parts(head, payload)).await {
        Ok(response) => response.map(|body| match body {
            InvokeBody::Whole(bytes) => Body::from(bytes),
            InvokeBody::Pieces(pieces) => Body::new(pieces),
        }),
        Err(stopped) => stopped_response(stopped),
    }
}

/// InvokeAsync, which Invoke with the type `Event` has taken the place of; what it names and who asks was judged here.
pub async fn invoke_async(
    State(api): State<Api>,
    asked: Asked,
    headers: HeaderMap,
    Payload(payload): Payload,
) -> Result<Response, LambdaError> {
    let scope = asked.function(&api, Naming::Namespaced, |violations| asked.check_qualifier(violations))?;
    let qualifier = scope.qualifier.as_deref().unwrap_or("$LATEST");
    let mut request = Request::new(payload);
    *request.method_mut() = Method::POST;
    let target = format!("/2015-03-31/functions/{}:{qualifier}/invocations", scope.function);
    *request.uri_mut() = target.parse().map_err(|_| LambdaError::invalid("no such function"))?;
    // The region that the client speaks of stands here.
    if let Some(signature) = headers.get(header::AUTHORIZATION) {
        request.headers_mut().insert(header::AUTHORIZATION, signature.clone());
    }
    request.headers_mut().insert("x-amz-invocation-type", HeaderValue::from_static("Event"));
    Ok(answered(api.invoke.invoke_as_serin(request, None).await))
}

fn answered(response: Result<axum::http::Response<Bytes>, RouterStopped>) -> Response {
    match response {
        Ok(response) => response.map(Body::from),
        Err(stopped) => stopped_response(stopped),
    }
}

fn stopped_response(stopped: RouterStopped) -> Response {
    LambdaError::plain(StatusCode::SERVICE_UNAVAILABLE, stopped.to_string()).into_response()
}
