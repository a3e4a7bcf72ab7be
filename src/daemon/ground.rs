//! What carries traffic and needs no store: sockets, router, table, counters, and who runs functions.

use std::net::TcpListener;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context;
use tokio::sync::mpsc;

use super::descriptors;
use crate::access::{AccessControl, Watching};
use crate::api::{Bodies, Clients};
use crate::code::CodeDirectory;
use crate::config::{LOGS_BYTES_MAX, ServeConfig};
use crate::control::handle::Inbox;
use crate::metrics::connections::ConnectionLimits;
use crate::metrics::recorder::Recorder;
use crate::router::bindings::Bindings;
use crate::router::names::SystemResolver;
use crate::router::server::{Router, RunningRouter};
use crate::router::settings::{RouterConfig, Shows, Timeouts, TlsConfig, TlsFiles};
use crate::router::table::RoutingTable;
use crate::runtime::{RunningRuntimes, RuntimeConfig, Runtimes};
use crate::store::events::{Events, Opened, Waiting};
use crate::store::logs::{Limits, Logs};
use serin_core::lambda::async_event::EventSink;
use serin_core::model::arn::Place;

pub(super) struct Ground {
    pub(super) access: Arc<AccessControl>,
    pub(super) watching_principals: Watching,
    pub(super) api_listener: TcpListener,
    pub(super) clients: Arc<Clients>,
    pub(super) bodies: Arc<Bodies>,
    pub(super) logs: Logs,
    pub(super) events: Events,
    pub(super) waiting: mpsc::UnboundedReceiver<Waiting>,
    pub(super) events_problem: Option<String>,
    pub(super) place: Place,
    pub(super) code: CodeDirectory,
    pub(super) runtimes: Runtimes,
    pub(super) running_runtimes: RunningRuntimes,
    pub(super) inbox: Inbox,
    pub(super) recorder: Arc<Recorder>,
    pub(super) table: Arc<RoutingTable>,
    pub(super) traffic: Traffic,
}

/// The router, before and after its first request.
pub(super) enum Traffic {
    /// It has its addresses; clients wait in the kernel's queue.
    Waiting(Box<Router>),
    /// It answers.
    Flowing(RunningRouter),
}

impl Traffic {
    /// A router that answers.
    pub(super) fn flow(self) -> anyhow::Result<RunningRouter> {
        match self {
            Traffic::Waiting(router) => router.run().context("cannot start the router"),
            Traffic::Flowing(router) => Ok(router),
        }
    }
}

impl Ground {
    /// Builds it all, on new sockets for the router or on those that another process listens on, too.
    ///
    /// In the second case that process still uses the data directory: nothing in it is cleared.
    pub(super) fn lay(
        config: &ServeConfig,
        access: Arc<AccessControl>,
        api_listener: TcpListener,
        inherited: Option<Vec<TcpListener>>,
    ) -> anyhow::Result<Ground> {
        descriptors::raise();
        let shares = descriptors::shares();
        let limits = Limits { kept: config.keep_logs, bytes_max: LOGS_BYTES_MAX };
        let logs = Logs::open(&config.data_dir, limits)?;
        let Opened { events, waiting, problem: events_problem } = Events::open(&config.data_dir)?;
        let place = Place { region: config.region.clone(), account: config.account.clone() };
        let code = CodeDirectory::open_beside(&config.data_dir)?;
        let settings = RuntimeConfig {
            search: config.processes.search.clone(),
            user: config.processes.user,
            network: config.processes.network,
            stage: config.processes.stage.clone(),
            api_asks: access.now().wants_credentials(),
            hidden: secrets_of(config),
            idle: config.processes.idle,
            place: place.clone(),
            log: Some(logs.sink()),
            is_beside: inherited.is_some(),
        };
        let (runtimes, running_runtimes) = Runtimes::start(settings, code.clone(), config.data_dir.clone())
            .context("cannot make ready to run functions")?;
        let router_config = RouterConfig {
            addr: config.router,
            workers: config.workers,
            bindings: Arc::new(Bindings::read(config.routes.iter().map(String::as_str))?),
            shows: Shows { invoke: config.shows_invoke(), versions: config.shows_versions() },
            resolver: Arc::new(SystemResolver),
            trusted_proxies: config.trusted_proxies.clone().into(),
            timeouts: Timeouts::default(),
            place: place.clone(),
            access: Arc::clone(&access),
            log: Some(logs.sinks()),
            events: Some(keep_in(&events)),
            tls: config.tls.as_ref().map(|tls| TlsConfig {
                addr: tls.addr,
                files: TlsFiles {
                    cert: tls.cert.clone(),
                    key: tls.key.clone(),
                    client_ca: tls.client_ca.clone(),
                },
            }),
            limits: ConnectionLimits {
                in_all: Some(config.max_connections.unwrap_or(shares.router)),
                of_address: config.max_connections_per_ip,
            },
            wants_proxy_header: config.proxy_protocol,
        };
        let watching_principals =
            Watching::begin(Arc::clone(&access)).context("cannot start to look at the principals")?;
        let inbox = Inbox::new();
        let recorder = Recorder::new(router_config.worker_count(), inbox.alarm());
        let table = RoutingTable::with(Arc::clone(&recorder), Some(runtimes.clone()));
        let router = match inherited {
            Some(sockets) => Router::on(router_config, Arc::clone(&table), sockets)
                .context("cannot listen on the sockets that were handed over")?,
            None => Router::bind(router_config, Arc::clone(&table))
                .with_context(|| format!("cannot listen on {} for traffic", config.router))?,
        };
        let traffic = Traffic::Waiting(Box::new(router));
        Ok(Ground {
            access,
            watching_principals,
            api_listener,
            clients: Clients::new(shares.control),
            bodies: Arc::new(Bodies::new(config.data_dir.clone(), shares.bodies)),
            logs,
            events,
            waiting,
            events_problem,
            place,
            code,
            runtimes,
            running_runtimes,
            inbox,
            recorder,
            table,
            traffic,
        })
    }
}

/// The files whose contents are nobody's but the daemon's.
fn secrets_of(config: &ServeConfig) -> Vec<PathBuf> {
    let key = config.tls.as_ref().map(|tls| tls.key.clone());
    key.into_iter().chain(config.principals.clone()).collect()
}

/// Keeps events of asynchronous invocations on disk.
fn keep_in(events: &Events) -> EventSink {
    let events = events.clone();
    Arc::new(move |event| {
        let events = events.clone();
        Box::pin(async move { events.accept(event).await.map_err(|why| why.to_string()) })
    })
}
