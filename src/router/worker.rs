//! What one router thread owns, shared by the connections it serves.

use std::cell::RefCell;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hyper::HeaderMap;
use rand::RngExt;
use rand::rngs::SmallRng;
use tokio::task::spawn_local;

use super::bindings::Bindings;
use super::budget::PayloadBudget;
use super::endpoints::EndpointBook;
use super::forwarded::TrustedProxies;
use super::lines::Lines;
use super::mirror::Copies;
use super::multiplex::H2Pool;
use super::names::Names;
use super::plain::WriteBatcher;
use super::pool::{Link, Pool, connect_within};
use super::route::{Route, Service};
use super::settings::{RouterConfig, Shows, Timeouts};
use super::steer::{NotServed, Pick};
use super::table::{RoutingTable, TableReader};
use super::tunnels::Tunnels;
use crate::access::AccessControl;
use crate::chance;
use crate::clock;
use crate::metrics::connections::Connections;
use crate::metrics::recorder::Writer;
use crate::metrics::tunnels::OpenTunnels;
use crate::runtime::Runtimes;
use serin_core::lambda::async_event::EventSink;
use serin_core::lambda::log::LogSinks;
use serin_core::lambda::policy::{PolicyScope, Statement};
use serin_core::model::arn::{FunctionName, Place, VersionId};

/// One thread's view of the table, its right to count, its tickets and its connections.
pub(super) struct Worker {
    /// The right to count as this worker.
    pub(super) writer: Writer,
    /// Idle connections to versions.
    pub(super) pool: Pool,
    /// Connections to versions that carry many requests at once.
    pub(super) shared: H2Pool,
    /// How the places of versions stand that have several, or a health path.
    pub(super) places: Arc<EndpointBook>,
    /// What is to be sent at the end of this turn.
    pub(super) outbox: Rc<WriteBatcher>,
    /// How long to wait for whom.
    pub(super) timeouts: Timeouts,
    /// Where the hosts of versions are.
    pub(super) names: Rc<Names>,
    /// Tunnels that are open.
    pub(super) tunnels: Tunnels,
    /// The same, counted over all workers.
    pub(super) open_tunnels: Arc<OpenTunnels>,
    /// Which requests need not name their alias.
    pub(super) bindings: Arc<Bindings>,
    /// What the listener shows beside aliases.
    pub(super) shows: Shows,
    /// The proxies that are believed when they say where a request comes from.
    pub(super) trusted_proxies: TrustedProxies,
    /// Region and account of ARNs.
    pub(super) place: Place,
    /// Whom serin knows.
    pub(super) access: Arc<AccessControl>,
    /// Who runs versions that are processes.
    pub(super) runtimes: Option<Runtimes>,
    /// Who keeps events of asynchronous invocations.
    pub(super) events: Option<EventSink>,
    /// Copies of requests that are under way.
    pub(super) copies: Copies,
    /// Clients' connections, of all workers.
    pub(super) connections: Arc<Connections>,
    /// What payloads of Invokes take of memory, on all workers.
    pub(super) payloads: Arc<PayloadBudget>,
    /// What invocations leave behind, where anybody keeps it.
    pub(super) lines: Option<RefCell<Lines>>,
    table: RefCell<TableReader>,
    tickets: RefCell<SmallRng>,
}

impl Worker {
    /// A worker that counts as `writer` and routes by `table`.
    pub(super) fn new(
        writer: Writer,
        table: &RoutingTable,
        config: &RouterConfig,
        (connections, payloads): (Arc<Connections>, Arc<PayloadBudget>),
    ) -> Worker {
        let tickets = RefCell::new(chance::ticket_source());
        let lines = |sinks: &LogSinks| RefCell::new(Lines::new(sinks.clone(), tickets.borrow_mut().random()));
        Worker {
            lines: config.log.as_ref().map(lines),
            writer,
            places: Arc::clone(table.places()),
            connections,
            payloads,
            copies: Copies::default(),
            outbox: Rc::default(),
            shared: H2Pool::default(),
            pool: Pool::new(config.timeouts.upstream_idle),
            timeouts: config.timeouts,
            names: Rc::new(Names::new(Arc::clone(&config.resolver), config.timeouts.resolve_every)),
            tunnels: Tunnels::default(),
            open_tunnels: Arc::clone(table.tunnels()),
            bindings: Arc::clone(&config.bindings),
            shows: config.shows,
            trusted_proxies: config.trusted_proxies.clone(),
            place: config.place.clone(),
            access: Arc::clone(&config.access),
            runtimes: table.runtimes().cloned(),
            events: config.events.clone(),
            table: RefCell::new(table.reader()),
            tickets,
        }
    }

    /// Sees to it that a service can be asked at once: by an idle connection, or by a new one.
    pub(super) async fn reach(&self, to: &Service, limit: Duration, now: Instant) -> io::Result<()> {
        if to.http2.is_some() {
            return self.shared.take(to, limit, (&self.names, &self.outbox), now).await.map(drop);
        }
        let link = match self.pool.take(&to.authority, now) {
            Some(link) => link,
            None => Link::connect(to, limit, (&self.names, &self.outbox)).await?,
        };
        self.pool.put(link, clock::instant_now());
        Ok(())
    }

    /// Tries places that were left out for a connection, those whose time has come.
    pub(super) fn try_places(&self, now: Instant) {
        for standing in self.places.due(now) {
            let (limit, names) = (self.timeouts.connect, Rc::clone(&self.names));
            spawn_local(async move {
                match connect_within(standing.service(), limit, &names).await {
                    Ok(_) => standing.connected(),
                    Err(why) => standing.failed_again(clock::instant_now(), &why.to_string()),
                }
            });
        }
    }

    /// The route of `function:qualifier` in the table of this moment.
    pub(super) fn route(&self, key: &str) -> Option<Arc<Route>> {
        self.table.borrow_mut().load().route(key).cloned()
    }

    /// The policy on exactly this scope of a function, in the table of this moment.
    pub(super) fn policy(&self, function: &FunctionName, scope: &PolicyScope) -> Option<Arc<[Statement]>> {
        self.table.borrow_mut().load().policy(function, scope).cloned()
    }

    /// Whether a function exists in the table of this moment.
    pub(super) fn has_function(&self, name: &str) -> bool {
        self.table.borrow_mut().load().has_function(name)
    }

    /// Picks the version of one request.
    pub(super) fn pick(&self, route: &Route, headers: &HeaderMap) -> Result<Pick, NotServed> {
        route.pick(headers, || self.ticket())
    }

    /// A number by chance, as uniform as 64 bits can be.
    pub(super) fn ticket(&self) -> u64 {
        self.tickets.borrow_mut().random()
    }

    /// Says something of an invocation, where anybody keeps it.
    pub(super) fn say(&self, function: &FunctionName, version: VersionId, text: impl FnOnce() -> String) {
        if let Some(lines) = &self.lines {
            lines.borrow_mut().say(function, version, text());
        }
    }

    /// Hands over what ended in this turn.
    pub(super) fn hand_over_lines(&self) {
        if let Some(lines) = &self.lines {
            lines.borrow_mut().hand_over();
        }
    }

    /// Bytes for an identifier that need not be secret.
    pub(super) fn random_bytes(&self) -> [u8; 16] {
        self.tickets.borrow_mut().random()
    }

    /// A uniform number from 0 to below 1.
    pub(super) fn random_fraction(&self) -> f64 {
        self.tickets.borrow_mut().random()
    }

    /// Lets go of a table that was replaced, and has tunnels end that the new one wants to.
    pub(super) fn refresh(&self) {
        let mut table = self.table.borrow_mut();
        let table = table.load();
        self.tunnels.review(|key| table.route(key), clock::instant_now(), || self.random_fraction());
    }
}
