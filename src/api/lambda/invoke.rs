//! Invoke at the control listener: handed to the router, which alone carries and counts traffic.

use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use http_body_util::BodyExt;

use super::error::LambdaError;
use crate::api::Api;

/// Invoke, exactly as the router's own listener answers it.
pub async fn invoke(State(api): State<Api>, request: Request) -> Response {
    let (head, body) = request.into_parts();
    let payload: Bytes = match body.collect().await {
        Ok(collected) => collected.to_bytes(),
        Err(why) => {
            return LambdaError::invalid(format!("the payload could not be read: {why}")).into_response();
        }
    };
    match api.invoke.invoke(Request::from_parts(head, payload)).await {
        Ok(response) => response.map(Body::from),
        Err(stopped) => LambdaError::plain(axum::http::StatusCode::SERVICE_UNAVAILABLE, stopped.to_string())
            .into_response(),
    }
}
