//! The control listener: Lambda's API, ours, metrics and health. The whole route table is on this page.
//!
//! Handlers translate: a request into a command for the one door, or a question to a snapshot, and the answer into JSON.
//! They decide nothing. Only `auth` knows who may, only `error` and `lambda::error` know statuses.

// A new variant of an enum must be thought of wherever one is told from another.
#![warn(clippy::wildcard_enum_match_arm)]

mod aliases;
pub mod auth;
mod aws;
mod body;
mod caller;
mod clients;
mod error;
mod events;
mod extract;
mod functions;
mod health;
pub mod lambda;
mod logs;
mod metrics;
mod openapi;
pub mod peer;
mod plans;
mod rollouts;
mod server;
mod status;
mod tunnels;
pub mod wire;

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use axum::extract::DefaultBodyLimit;
use axum::routing::{any, delete, get, post, put};
use axum::{Router, middleware};

use crate::access::{AccessControl, Seal};
use crate::chance;
use crate::code::CodeDirectory;
use crate::control::handle::{CommandError, Control};
use crate::control::meter::Meter;
use crate::events::progress::Progress as AsyncProgress;
use crate::metrics::certificate::CertificateState;
use crate::metrics::connections::Connections;
use crate::metrics::recorder::Recorder;
use crate::metrics::tunnels::Tunnels;
use crate::metrics::upstreams::Upstreams;
use crate::queues::client::Sqs;
use crate::queues::progress::Progress;
use crate::router::handle::InvokeHandle;
use crate::runtime::Runtimes;
use crate::store::logs::Logs;
use crate::store::{Reader, Writer};
use serin_core::commands::{Action, Command, Reply};
use serin_core::model::arn::{FunctionName, Place};

pub use body::Bodies;
pub use clients::Clients;
pub use error::ApiError;
pub use lambda::updates::Updates;
pub use openapi::document as openapi_document;
pub use server::serve;

/// Request bodies of the control listener are at most this long; invocations have their own limit.
const BODY_BYTES_MAX: usize = 1 << 20;
/// A zip of 50 MiB in base64, and what is said besides: AWS's own limit.
const CODE_BYTES_MAX: usize = 70_167_211;
/// A payload may be 6 MiB; the router refuses what is longer in Lambda's words, so a little more is let through.
const INVOKE_BYTES_MAX: usize = (6 << 20) + (1 << 16);

/// The operation that takes a zip at a path, if one does.
fn code_operation(path: &str) -> Option<&'static str> {
    match path.trim_end_matches('/') {
        path if path.ends_with("/functions") => Some("CreateFunction"),
        path if path.ends_with("/code") => Some("UpdateFunctionCode"),
        _ => None,
    }
}

/// Whether a body at a path is the payload of an invocation.
fn is_payload(path: &str) -> bool {
    ["/invocations", "/response-streaming-invocations", "/invoke-async"].iter().any(|end| path.ends_with(end))
}

/// How long the body of a request to a path may be: only where a zip comes in as long as a zip.
fn bytes_max(path: &str) -> usize {
    let path = path.trim_end_matches('/');
    match () {
        () if code_operation(path).is_some() => CODE_BYTES_MAX,
        () if is_payload(path) => INVOKE_BYTES_MAX,
        () => BODY_BYTES_MAX,
    }
}

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
    pub access: Arc<AccessControl>,
    /// Seals links to code.
    pub seal: Seal,
    /// What invocations said, and their numbers.
    pub logs: Logs,
    /// Asks whether a queue is there.
    pub sqs: Arc<Sqs>,
    /// Functions whose code is being unpacked.
    pub updates: Updates,
    /// How event source mappings fare.
    pub event_sources: Progress,
    /// How asynchronous invocations fare.
    pub async_events: AsyncProgress,
    /// Brings those numbers up to now.
    pub meter: Arc<Meter>,
    /// Account, and region unless a signature names one.
    pub place: Place,
    /// The zips of functions.
    pub code: CodeDirectory,
    /// Who runs functions from zips, and knows whether it can.
    pub runtimes: Runtimes,
    /// Where this API listens.
    pub addr: SocketAddr,
    /// Those of this listener's.
    pub clients: Arc<Clients>,
    /// Where their large bodies are until it is their turn.
    pub bodies: Arc<Bodies>,
    /// The connections of the router's clients.
    pub connections: Arc<Connections>,
    /// The certificate that they are shown, if there is one.
    pub certificate: Option<Arc<CertificateState>>,
    /// How the places of versions stand.
    pub upstreams: Upstreams,
    /// What is open through the router beside requests.
    pub tunnels: Arc<dyn Tunnels>,
}

impl Api {
    /// Asks the control plane for a change; code that nothing names afterwards is removed.
    async fn submit(&self, command: Command) -> Result<Reply, CommandError> {
        let drops_code = matches!(
            command.action,
            Action::DeleteFunction(_) | Action::DeleteVersion(..) | Action::UpdateFunction { .. }
        );
        let begins = self.begins(&command.action);
        let reply = self.control.submit(command).await?;
        if let Some(function) = begins {
            // What was said and counted under the name before is not the new function's.
            let (meter, logs) = (Arc::clone(&self.meter), self.logs.clone());
            let forgotten = tokio::task::spawn_blocking(move || {
                meter.take();
                logs.forget(function.as_str());
            });
            // It fails where the daemon ends, and then nobody is told anything.
            let _ = forgotten.await;
        }
        if drops_code {
            self.sweep_code();
        }
        Ok(reply)
    }

    /// The function that an action would make anew.
    fn begins(&self, action: &Action) -> Option<FunctionName> {
        let (Action::CreateFunction { function, .. } | Action::Publish { function, .. }) = action else {
            return None;
        };
        self.control.world().function(function).is_none().then(|| function.clone())
    }

    /// Removes code that nothing names, on a thread that may wait for the disk.
    fn sweep_code(&self) {
        let (code, control) = (self.code.clone(), self.control.clone());
        tokio::task::spawn_blocking(move || {
            if let Err(why) = code.sweep(|| control.world().named_code()) {
                tracing::warn!("code that nothing names could not be removed: {why}");
            }
        });
    }
}

/// What seals links, with the key that lies beside the store.
pub fn seal(data_dir: &Path) -> std::io::Result<Seal> {
    Seal::of_directory(data_dir, chance::secret_bytes())
}

/// How long the body of an operation may be.
fn limit_bytes(operation: Option<&str>) -> usize {
    if operation.is_some() { CODE_BYTES_MAX } else { BODY_BYTES_MAX }
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
    let functions = Router::new()
        .route(
            "/2015-03-31/functions/{function}",
            get(lambda::functions::get).delete(lambda::functions::delete),
        )
        .route(
            "/2015-03-31/functions/{function}/configuration",
            get(lambda::functions::get_configuration).put(lambda::code::update_configuration),
        )
        .route(
            "/2015-03-31/functions/{function}/versions",
            get(lambda::functions::versions).post(lambda::functions::publish),
        )
        .route(
            "/2017-03-31/tags/{resource}",
            get(lambda::tags::list).post(lambda::tags::tag).delete(lambda::tags::untag),
        )
        .route(
            "/2017-10-31/functions/{function}/concurrency",
            put(lambda::concurrency::reserve).delete(lambda::concurrency::unreserve),
        )
        .route("/2019-09-30/functions/{function}/concurrency", get(lambda::concurrency::reserved))
        .route(
            "/2019-09-30/functions/{function}/provisioned-concurrency",
            get(lambda::concurrency::provisioned)
                .put(lambda::concurrency::provision)
                .delete(lambda::concurrency::unprovision),
        )
        .route(
            "/2019-09-25/functions/{function}/event-invoke-config",
            get(lambda::event_invoke::get)
                .put(lambda::event_invoke::put)
                .post(lambda::event_invoke::update)
                .delete(lambda::event_invoke::delete),
        )
        .route("/2019-09-25/functions/{function}/event-invoke-config/list", get(lambda::event_invoke::list))
        .route(
            "/2015-03-31/event-source-mappings/{uuid}",
            get(lambda::event_sources::get)
                .put(lambda::event_sources::update)
                .delete(lambda::event_sources::delete),
        )
        .route("/2020-06-30/functions/{function}/code-signing-config", get(lambda::functions::code_signing))
        .route("/2024-08-31/functions/{function}/recursion-config", get(lambda::functions::recursion))
        .route("/2016-08-19/account-settings", get(lambda::concurrency::account))
        .route("/code/{file}", get(lambda::code::download));
    // Older clients end these two with a slash.
    let collections = ["/2015-03-31/event-source-mappings", "/2015-03-31/event-source-mappings/"];
    let functions = collections.into_iter().fold(functions, |routes, path| {
        routes.route(path, get(lambda::event_sources::list).post(lambda::event_sources::create))
    });
    let uploads = ["/2015-03-31/functions", "/2015-03-31/functions/"].into_iter().fold(
        Router::new().route("/2015-03-31/functions/{function}/code", put(lambda::code::update)),
        |routes, path| routes.route(path, get(lambda::functions::list).post(lambda::code::create)),
    );
    let uploads = uploads.layer(DefaultBodyLimit::max(CODE_BYTES_MAX));
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
        .route("/2021-11-15/functions/{function}/response-streaming-invocations", any(lambda::invoke::invoke))
        .route("/2014-11-13/functions/{function}/invoke-async", post(lambda::invoke::invoke_async))
        .layer(DefaultBodyLimit::max(INVOKE_BYTES_MAX));
    ours.merge(lambda)
        .merge(functions)
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .merge(uploads)
        .merge(invocations)
        .fallback(health::nothing_here)
        .method_not_allowed_fallback(health::wrong_method)
        .layer(middleware::from_fn_with_state(api.clone(), body::hold))
        .layer(middleware::from_fn_with_state(api.clone(), health::refuse_without_store))
        .layer(middleware::from_fn_with_state(api.clone(), auth::admit))
        .with_state(api)
}
