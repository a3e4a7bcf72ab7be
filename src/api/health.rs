//! Whether serin lives and is ready, what stands at `/`, and what stands nowhere.

use std::fmt::Write as _;
use std::time::Duration;

use std::io::Read as _;

use axum::extract::{Extension, Request, State};
use axum::http::{Method, StatusCode, Uri, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use tokio::time::timeout;
use utoipa::ToSchema;

use super::Api;
use super::error::{ApiError, Face};
use super::extract::Body;
use super::wire::ErrorBody;
use crate::api::caller::Caller;
use crate::store::StoreError;
use serin_core::model::time::human;

/// How long the control plane may take to answer whether it is there.
const ANSWER_MAX: Duration = Duration::from_secs(5);

/// The process answers, and the thread that decides is not stuck; where it is, only a restart helps.
///
/// A disk that stalls is not told here: nobody should end a router that serves for it.
#[utoipa::path(get, path = "/livez", tag = "health",
    responses((status = 200, body = String), (status = 503, body = String)))]
pub async fn livez(State(api): State<Api>) -> Response {
    match api.control.is_stuck_for() {
        None => "ok\n".into_response(),
        Some(still) => {
            let text = format!("the thread that decides has made no turn for {} s\n", still.as_secs());
            (StatusCode::SERVICE_UNAVAILABLE, text).into_response()
        }
    }
}

/// The process can decide and store; otherwise it says why not. Traffic flows either way.
#[utoipa::path(get, path = "/readyz", tag = "health",
    responses((status = 200, body = String), (status = 503, body = String)))]
pub async fn readyz(State(api): State<Api>) -> Response {
    let health = api.control.health();
    let mut trouble: Vec<String> = health.trouble.iter().cloned().collect();
    trouble.extend(api.writer.frozen().filter(|why| !trouble.contains(why)));
    match timeout(ANSWER_MAX, api.control.ask(|_| ())).await {
        Ok(Some(())) => {}
        Ok(None) => trouble.push("the control plane is shutting down".to_owned()),
        Err(_) => trouble.push(format!("the control plane has not answered for {}", human(ANSWER_MAX))),
    }
    let mut text = String::new();
    for problem in &health.problems {
        let _ = writeln!(text, "note: {problem}");
    }
    if api.certificate.as_ref().is_some_and(|certificate| certificate.is_refused()) {
        text.push_str(
            "note: the router's certificate files are no good now, and the certificate before is served on; the log says \
             why\n",
        );
    }
    if api.access.problem().is_some() {
        // Whoever asks this is asked for nothing, and a reason could hold what stands in the file.
        text.push_str(
            "note: the file of principals is no good now, and those that were read before are known on; the log says why\n",
        );
    }
    if trouble.is_empty() {
        return format!("ok\n{text}").into_response();
    }
    for why in trouble {
        let _ = writeln!(text, "not ready: {why}");
    }
    (StatusCode::SERVICE_UNAVAILABLE, text).into_response()
}

/// Without a store nobody can be told what it holds, nor change it; health, numbers and invocations are as ever.
pub async fn refuse_without_store(State(api): State<Api>, request: Request, next: Next) -> Response {
    let path = request.uri().path();
    let needs_none = matches!(path, "/livez" | "/readyz" | "/metrics" | "/openapi.json" | "/v1/openapi.json")
        || path.ends_with("/invocations")
        || (path == "/" && request.method() == Method::GET);
    match &api.control.health().standing {
        Some(why) if !needs_none => ApiError::unavailable(why.as_str()).on(Face::of(path)).into_response(),
        _ => next.run(request).await,
    }
}

/// Where things are.
pub async fn index() -> Response {
    let text = concat!(
        "serin ",
        env!("CARGO_PKG_VERSION"),
        ", control listener\n\n",
        "  /v1/…                 serin's API (/openapi.json describes it)\n",
        "  /2015-03-31/…         AWS Lambda's API, for `aws lambda --endpoint-url`\n",
        "  POST /                AWS CloudWatch's metrics of Lambda, and CloudWatch Logs\n",
        "  /metrics              for Prometheus\n",
        "  /livez  /readyz       health\n\n",
        "Traffic goes to the router's listener, at /{function}:{alias}/…\n",
    );
    ([(header::CONTENT_TYPE, "text/plain; charset=utf-8")], text).into_response()
}

/// There is nothing at a path.
pub async fn nothing_here(uri: Uri) -> Response {
    let path = uri.path();
    if Face::of(path) == Face::Lambda {
        return super::lambda::error::not_implemented(path).into_response();
    }
    ApiError::not_found(format!("there is nothing at {path}; /openapi.json lists what there is"))
        .into_response()
}

/// A path does not take a method.
pub async fn wrong_method(uri: Uri) -> Response {
    let path = uri.path();
    if Face::of(path) == Face::Lambda {
        return super::lambda::error::not_implemented(path).into_response();
    }
    ApiError::method_not_allowed(format!(
        "{path} does not take that method; /openapi.json lists what it takes"
    ))
    .into_response()
}

/// A copy of the store that somebody wants.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct BackupRequest {
    /// Why.
    reason: Option<String>,
    /// Where serin once wrote it, as whoever it runs as.
    #[schema(ignore)]
    to: Option<serde::de::IgnoredAny>,
}

/// So much of a copy is read at a time.
const PIECE_BYTES: usize = 256 << 10;

/// A whole, consistent copy of the store, for the client to write where it may.
#[utoipa::path(post, path = "/v1/backup", tag = "health", request_body = Option<BackupRequest>,
    responses((status = 200, body = Vec<u8>, content_type = "application/vnd.sqlite3"), (status = 400, body = ErrorBody)))]
pub async fn backup(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    Body(request): Body<BackupRequest>,
) -> Result<Response, ApiError> {
    if request.to.is_some() {
        return Err(ApiError::invalid(
            "serin writes backups to no path of a client's: leave `to` out, and write what is answered to a file of your \
             own, as `serin backup --to FILE` does",
        ));
    }
    let reason = super::extract::checked_reason(request.reason)?;
    let reader = api.reader.clone();
    let (copy, bytes) = super::rollouts::blocking(move || {
        let copy = reader.copy()?;
        let bytes = copy.metadata().map_err(|source| StoreError::File {
            attempt: "read the size of",
            path: "the copy".into(),
            source,
        })?;
        Ok::<_, StoreError>((copy, bytes.len()))
    })
    .await?;
    tracing::info!(actor = %caller.actor, reason, bytes, "a copy of the store is handed out, with functions' environments");
    let pieces = futures_util::stream::try_unfold(copy, |mut copy| async move {
        let read = tokio::task::spawn_blocking(move || {
            let mut piece = vec![0; PIECE_BYTES];
            let count = copy.read(&mut piece)?;
            piece.truncate(count);
            Ok::<_, std::io::Error>((piece, copy))
        });
        let (piece, copy) = read.await.map_err(std::io::Error::other)??;
        Ok::<_, std::io::Error>((!piece.is_empty()).then_some((piece, copy)))
    });
    let headers = [
        (header::CONTENT_TYPE, "application/vnd.sqlite3".to_owned()),
        (header::CONTENT_LENGTH, bytes.to_string()),
    ];
    Ok((headers, axum::body::Body::from_stream(pieces)).into_response())
}
