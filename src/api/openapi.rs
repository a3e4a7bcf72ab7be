//! The description of `/v1` for machines.

use axum::Json;
use axum::response::IntoResponse;
use utoipa::OpenApi;

#[derive(OpenApi)]
#[openapi(
    info(
        title = "serin",
        description = "Progressive canary orchestrator. Every change takes the headers `Idempotency-Key` (the same key \
                       does it once and gets the same reply), `Authorization: Bearer …` where a token is set, and \
                       `X-Serin-Actor` for who asks where none is. AWS Lambda's API under /2015-03-31 is described by \
                       AWS."
    ),
    paths(
        super::rollouts::list,
        super::rollouts::start,
        super::rollouts::status,
        super::rollouts::explain,
        super::rollouts::history,
        super::rollouts::counts,
        super::rollouts::promote,
        super::rollouts::pause,
        super::rollouts::resume,
        super::rollouts::approve,
        super::rollouts::abort,
        super::rollouts::rollback,
        super::rollouts::retry,
        super::functions::list,
        super::functions::get,
        super::functions::delete,
        super::functions::versions,
        super::functions::publish,
        super::functions::delete_version,
        super::aliases::list,
        super::aliases::get,
        super::aliases::create,
        super::aliases::update,
        super::aliases::delete,
        super::plans::list,
        super::plans::show,
        super::events::list,
        super::events::stream,
        super::logs::list,
        super::metrics::serve,
        super::health::livez,
        super::health::readyz,
    ),
    components(schemas(super::wire::WouldStart))
)]
struct Document;

/// The OpenAPI document.
pub fn document() -> utoipa::openapi::OpenApi {
    Document::openapi()
}

/// The OpenAPI document, over HTTP.
pub async fn serve() -> impl IntoResponse {
    Json(document())
}
