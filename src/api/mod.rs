//! The control listener: Lambda's API, ours, metrics and health. The whole route table is on this page.
//!
//! Handlers translate: a request into a command for the one door, or a question to a snapshot, and the answer into JSON.
//! They decide nothing. Only `auth` knows who may, only `error` and `lambda::error` know statuses.

mod aliases;
pub mod auth;
mod aws;
mod error;
mod events;
mod extract;
mod functions;
mod health;
pub mod lambda;
mod logs;
mod metrics;
mod openapi;
mod plans;
mod rollouts;
mod status;
pub mod wire;

use std::sync::Arc;

use axum::extract::DefaultBodyLimit;
use axum::routing::{any, delete, get, post};
use axum::{Router, middleware};

use crate::access::Access;
use crate::control::handle::Control;
use crate::control::meter::Meter;
use crate::domain::arn::Place;
use crate::metrics::recorder::Recorder;
use crate::router::handle::InvokeHandle;
use crate::store::logs::Logs;
use crate::store::{Reader, Writer};

pub use error::ApiError;
pub use openapi::document as openapi_document;

/// Request bodies of the control listener are at most this long; invocations have their own limit.
const BODY_BYTES_MAX: usize = 1 << 20;
/// A payload may be 6 MiB; the router refuses what is longer in Lambda's words, so a little more is let through.
const INVOKE_BYTES_MAX: usize = (6 << 20) + (1 << 16);

/// A signature covers the body, so bodies of signed requests are read whole before anything is known of their sender.
const SIGNED_BYTES_MAX: usize = BODY_BYTES_MAX;

/// What handlers work with; cheap to clone.
#[derive(Clone)]
pub struct Api {
    /// The one door, and snapshots of the world.
    pub control: Control,
    /// History.
    pub reader: Reader,
    /// Whether the store still writes, and backups.
    pub writer: Writer,
    /// The router's counters.
    pub recorder: Arc<Recorder>,
    /// Invocations that arrive here are handed to the router.
    pub invoke: InvokeHandle,
    /// Whom serin knows.
    pub access: Arc<Access>,
    /// What invocations said, and their numbers.
    pub logs: Logs,
    /// Brings those numbers up to now.
    pub meter: Arc<Meter>,
    /// Account, and region unless a signature names one.
    pub place: Place,
}

/// Every route of the control listener.
pub fn routes(api: Api) -> Router {
    let ours = Router::new()
        .route("/v1/rollouts", get(rollouts::list).post(rollouts::start))
        .route("/v1/rollouts/{target}", get(rollouts::status))
        .route("/v1/rollouts/{target}/explain", get(rollouts::explain))
        .route("/v1/rollouts/{target}/events", get(rollouts::history))
        .route("/v1/rollouts/{target}/counts", get(rollouts::counts))
        .route("/v1/rollouts/{target}/promote", post(rollouts::promote))
        .route("/v1/rollouts/{target}/pause", post(rollouts::pause))
        .route("/v1/rollouts/{target}/resume", post(rollouts::resume))
        .route("/v1/rollouts/{target}/approve", post(rollouts::approve))
        .route("/v1/rollouts/{target}/abort", post(rollouts::abort))
        .route("/v1/rollouts/{target}/rollback", post(rollouts::rollback))
        .route("/v1/rollouts/{target}/retry", post(rollouts::retry))
        .route("/v1/functions", get(functions::list))
        .route("/v1/functions/{function}", get(functions::get).delete(functions::delete))
        .route("/v1/functions/{function}/versions", get(functions::versions).post(functions::publish))
        .route("/v1/functions/{function}/versions/{version}", delete(functions::delete_version))
        .route("/v1/functions/{function}/aliases", get(aliases::list))
        .route(
            "/v1/functions/{function}/aliases/{alias}",
            get(aliases::get).post(aliases::create).put(aliases::update).delete(aliases::delete),
        )
        .route("/v1/plans", get(plans::list))
        .route("/v1/plans/{name}", get(plans::show))
        .route("/v1/history", get(events::list))
        .route("/v1/events", get(events::stream))
        .route("/v1/logs/{target}", get(logs::list))
        .route("/v1/backup", post(health::backup))
        .route("/v1/openapi.json", get(openapi::serve))
        .route("/openapi.json", get(openapi::serve))
        .route("/metrics", get(metrics::serve))
        .route("/livez", get(health::livez))
        .route("/readyz", get(health::readyz))
        .route("/", get(health::index).post(aws::serve));
    let lambda = Router::new()
        .route(
            "/2015-03-31/functions/{function}/aliases",
            get(lambda::aliases::list).post(lambda::aliases::create),
        )
        .route(
            "/2015-03-31/functions/{function}/aliases/{alias}",
            get(lambda::aliases::get).put(lambda::aliases::update).delete(lambda::aliases::delete),
        )
        .route(
            "/2015-03-31/functions/{function}/policy",
            get(lambda::permissions::get).post(lambda::permissions::add),
        )
        .route("/2015-03-31/functions/{function}/policy/{sid}", delete(lambda::permissions::remove));
    let invocations = Router::new()
        .route("/2015-03-31/functions/{function}/invocations", any(lambda::invoke::invoke))
        .layer(DefaultBodyLimit::max(INVOKE_BYTES_MAX));
    ours.merge(lambda)
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .merge(invocations)
        .fallback(health::nothing_here)
        .method_not_allowed_fallback(health::wrong_method)
        .layer(middleware::from_fn_with_state(api.clone(), auth::admit))
        .with_state(api)
}
