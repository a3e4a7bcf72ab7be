//! What the router is told when it is built.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::bindings::Bindings;
use super::forwarded::TrustedProxies;
use super::names::Resolver;
use crate::access::AccessControl;
use crate::metrics::connections::ConnectionLimits;
use serin_core::lambda::async_event::EventSink;
use serin_core::lambda::log::LogSinks;
use serin_core::model::arn::Place;

/// How the router listens and how long it waits.
#[derive(Clone)]
pub struct RouterConfig {
    /// Where to listen; port 0 picks a free one.
    pub addr: SocketAddr,
    /// How many threads carry traffic; `None` is one a core. The recorder must have been made for as many.
    pub workers: Option<usize>,
    /// How long it waits for whom.
    pub timeouts: Timeouts,
    /// What finds the addresses of versions' hosts.
    pub resolver: Arc<dyn Resolver>,
    /// Which requests need not name their alias.
    pub bindings: Arc<Bindings>,
    /// What the listener shows beside them and aliases by name.
    pub shows: Shows,
    /// The proxies before it that are believed when they say where a request comes from.
    pub trusted_proxies: TrustedProxies,
    /// Region and account of the ARNs in its answers to Lambda clients.
    pub place: Place,
    /// Whom serin knows; where it knows anybody, every Invoke is asked who sends it.
    pub access: Arc<AccessControl>,
    /// Who keeps the lines of invocations; nobody unless given.
    pub log: Option<LogSinks>,
    /// Who keeps events of asynchronous invocations; without it they are refused.
    pub events: Option<EventSink>,
    /// Where to listen for TLS, and with what; nowhere unless given.
    pub tls: Option<TlsConfig>,
    /// How many connections there may be.
    pub limits: ConnectionLimits,
    /// Whether every connection must begin with a header of the PROXY protocol.
    pub wants_proxy_header: bool,
}

/// What a listener shows beside aliases and what is bound to them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shows {
    /// Lambda's Invoke.
    pub invoke: bool,
    /// Versions by number, and `$LATEST`: what is released to nobody yet among them.
    pub versions: bool,
}

impl Default for Shows {
    fn default() -> Shows {
        Shows { invoke: true, versions: true }
    }
}

/// How the router listens for TLS.
#[derive(Clone, Debug)]
pub struct TlsConfig {
    /// Where; port 0 picks a free one.
    pub addr: SocketAddr,
    /// With what.
    pub files: TlsFiles,
}

/// Certificates and keys in PEM, which are read again when they change.
#[derive(Clone, Debug)]
pub struct TlsFiles {
    /// The certificate, and those between it and its authority.
    pub cert: PathBuf,
    /// Its private key.
    pub key: PathBuf,
    /// Authorities of clients' certificates; with it, clients must have one.
    pub client_ca: Option<PathBuf>,
}

impl RouterConfig {
    /// How many threads that is on this machine.
    pub fn worker_count(&self) -> usize {
        let cores = || std::thread::available_parallelism().map_or(1, usize::from);
        self.workers.unwrap_or_else(cores).max(1)
    }
}

/// How long the router waits for whom before it gives up.
#[derive(Clone, Copy, Debug)]
pub struct Timeouts {
    /// For a connection to a version, the look-up of its name included.
    ///
    /// More than a second: where a burst of new connections overflows a version's queue, the kernel asks again after one.
    pub connect: Duration,
    /// For the head of a version's answer, once it has the whole request; a version or a plan may say otherwise.
    pub response_head: Duration,
    /// For the next piece of a body, from either side, and for either side to take one; a version or a plan may say
    /// otherwise of what concerns the version.
    pub body_idle: Duration,
    /// For a client's next request head, from the connection's or the last answer's end on.
    pub client_header: Duration,
    /// For a client's TLS handshake, and for its PROXY header.
    pub handshake: Duration,
    /// For the next request on a version's idle connection.
    ///
    /// It stays below what common servers allow (Node and uvicorn five seconds), for a connection that the other
    /// side closes just as it is used again costs a request. A version that says `Keep-Alive: timeout=N` shortens it.
    pub upstream_idle: Duration,
    /// For the head of an answer to a check of a version's health path, the connection included.
    pub health: Duration,
    /// From one such check of a place to the next, give or take a tenth.
    pub health_every: Duration,
    /// How long the addresses of a host are taken for right.
    pub resolve_every: Duration,
}

impl Default for Timeouts {
    fn default() -> Timeouts {
        Timeouts {
            connect: Duration::from_millis(1500),
            response_head: Duration::from_secs(30),
            body_idle: Duration::from_secs(60),
            client_header: Duration::from_secs(30),
            handshake: Duration::from_secs(10),
            upstream_idle: Duration::from_secs(4),
            health: Duration::from_secs(2),
            health_every: Duration::from_secs(5),
            resolve_every: Duration::from_secs(30),
        }
    }
}
