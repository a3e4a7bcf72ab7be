//! Every setting of the daemon and of the command line, and the only reader of the environment.

mod plan_env;
mod secrets;

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use aws_credential_types::Credentials;
use ipnet::IpNet;
use ureq::http::Uri;

pub use plan_env::{PlanCa, PlanEnv, PlanVariable, Withheld};
pub use secrets::{Secrets, hand_in, keep_secrets, secret, to_hand_over};

/// Where the daemon's API is unless told otherwise.
pub const API_DEFAULT: &str = "127.0.0.1:7411";
/// Where the router is unless told otherwise.
pub const ROUTER_DEFAULT: &str = "127.0.0.1:7412";
/// Where the command line looks for the daemon unless told otherwise.
pub const URL_DEFAULT: &str = "http://127.0.0.1:7411";

/// Set for a process that is to take over from the one that started it; see `handover`.
pub const HANDOVER: &str = "SERIN_HANDOVER";
/// Its value where secrets come with the handover, without which nobody is to start in the place of the one before.
pub const HANDOVER_OF_SECRETS: &str = "secrets";

/// Reads an address, or a network as in `10.0.0.0/8`.
pub fn network(text: &str) -> Result<IpNet, &'static str> {
    let address = || text.parse::<IpAddr>().map(|address| IpNet::from(address.to_canonical()));
    let network = text.parse::<IpNet>().or_else(|_| address());
    network.map_err(|_| "a proxy is an address or a network, as in 192.0.2.7, 10.0.0.0/8 or fd00::/8")
}

/// The program that runs, even where another one has been put in its place since.
pub const THIS_PROGRAM: &str = "/proc/self/exe";

/// However long log lines are kept, together they take no more room than this, and those of one function an eighth of
/// it; its own oldest go first.
pub const LOGS_BYTES_MAX: u64 = 512 << 20;

/// What `serin serve` runs with.
#[derive(Clone, Debug)]
pub struct ServeConfig {
    /// Where the store lives.
    pub data_dir: PathBuf,
    /// Where the plans live; without it only plans sent with a start are known.
    pub plans: Option<PathBuf>,
    /// Where the API listens.
    pub api: SocketAddr,
    /// Where the router listens.
    pub router: SocketAddr,
    /// Where the router listens for TLS; nowhere unless given.
    pub tls: Option<TlsSettings>,
    /// How many connections the router's clients may have at once; half of the descriptors unless given.
    pub max_connections: Option<usize>,
    /// How many of them one client address may have; all of them unless given.
    pub max_connections_per_ip: Option<usize>,
    /// Whether the router's connections begin with a header of the PROXY protocol.
    pub proxy_protocol: bool,
    /// The proxies before the router that are believed when they say where a request comes from.
    pub trusted_proxies: Vec<IpNet>,
    /// Router threads; one a core unless given.
    pub workers: Option<usize>,
    /// Hosts and path prefixes that stand for an alias, as `HOST/PREFIX=FUNCTION:ALIAS`.
    pub routes: Vec<String>,
    /// Whether the router answers Invoke although hosts or paths are bound to aliases.
    pub router_invoke: bool,
    /// Whether the router shows versions by number, and `$LATEST`, although hosts or paths are bound to aliases.
    pub router_versions: bool,
    /// Tokens that the API and Invoke want.
    pub token: Option<String>,
    /// What plans may ask of the environment.
    pub plan_env: PlanEnv,
    /// Whom to believe at hosts that plans ask.
    pub plan_ca: Vec<PlanCa>,
    /// The file of principals; without it nobody is held to policies.
    pub principals: Option<PathBuf>,
    /// How long history is kept.
    pub keep_history: Duration,
    /// How long log lines of invocations are kept.
    pub keep_logs: Duration,
    /// How functions from zips are run.
    pub processes: Processes,
    /// How queues of event sources and of destinations are reached.
    pub queues: QueueConfig,
    /// How long after its first function error an event of an asynchronous invocation is tried again.
    pub event_retry_delay: Duration,
    /// How long requests under way may take after SIGTERM.
    pub drain: Duration,
    /// The account in ARNs.
    pub account: String,
    /// The region in ARNs where a signature names none.
    pub region: String,
}

/// Where and with what the router listens for TLS.
#[derive(Clone, Debug)]
pub struct TlsSettings {
    /// Where.
    pub addr: SocketAddr,
    /// The file of the certificate and those between it and its authority, in PEM.
    pub cert: PathBuf,
    /// The file of its private key, in PEM.
    pub key: PathBuf,
    /// The file of the authorities of clients' certificates, in PEM; with it, clients must have one.
    pub client_ca: Option<PathBuf>,
}

/// How functions from zips are run.
#[derive(Clone, Debug)]
pub struct Processes {
    /// Where interpreters and AWS's runtime clients are looked for, in order.
    pub search: Vec<PathBuf>,
    /// Whose processes they are; the safest there is unless given.
    pub user: Option<ProcessUser>,
    /// What they reach.
    pub network: ProcessNetwork,
    /// The program that becomes a process, which is this one.
    pub stage: PathBuf,
    /// How long a process without work is kept.
    pub idle: Duration,
}

/// Whose processes functions are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProcessUser {
    /// Each a user of its own, which nobody else is; only root can have it so.
    Own,
    /// All the same user and group; only root can have it so.
    Fixed(u32),
    /// The daemon's own user, in a namespace of users that gives it nothing outside.
    Namespace,
    /// The daemon's own user, who may read all that the daemon may.
    Same,
}

/// What functions' processes reach.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ProcessNetwork {
    /// Whatever the machine reaches.
    #[default]
    Host,
    /// Their Runtime API and nothing else.
    None,
}

impl FromStr for ProcessNetwork {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<ProcessNetwork, &'static str> {
        match text {
            "host" => Ok(ProcessNetwork::Host),
            "none" => Ok(ProcessNetwork::None),
            _ => Err(
                "write `host` (whatever the machine reaches) or `none` (the Runtime API and nothing else)",
            ),
        }
    }
}

impl FromStr for ProcessUser {
    type Err = String;

    fn from_str(text: &str) -> Result<ProcessUser, String> {
        match text {
            "own" => Ok(ProcessUser::Own),
            "namespace" => Ok(ProcessUser::Namespace),
            "same" => Ok(ProcessUser::Same),
            number => number.parse().map(ProcessUser::Fixed).map_err(|_| {
                "write `own` (each process a user of its own), `namespace` (the daemon's user in a namespace), `same` (the \
                 daemon's user) or a user's number"
                    .to_owned()
            }),
        }
    }
}

/// How queues of event sources and of destinations are reached.
#[derive(Clone, Debug, Default)]
pub struct QueueConfig {
    /// Where SQS is; AWS's own address of the queue's region unless given.
    pub endpoint: Option<Endpoint>,
    /// Whom SQS knows the daemon as; never shown.
    pub keys: Option<Credentials>,
}

/// The address of a service: `http://HOST[:PORT]` or `https://HOST[:PORT]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    url: String,
    is_loopback: bool,
}

impl Endpoint {
    /// The URL, with a slash at its end.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Whether it is on this machine.
    pub fn is_loopback(&self) -> bool {
        self.is_loopback
    }
}

impl FromStr for Endpoint {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Endpoint, &'static str> {
        const SHAPE: &str =
            "an endpoint is http://HOST[:PORT] or https://HOST[:PORT], as in http://127.0.0.1:5000";
        let uri: Uri = text.parse().map_err(|_| SHAPE)?;
        let scheme = uri.scheme_str().filter(|scheme| matches!(*scheme, "http" | "https")).ok_or(SHAPE)?;
        let authority = uri.authority().filter(|authority| !authority.as_str().contains('@')).ok_or(SHAPE)?;
        if uri.path() != "/" || uri.query().is_some() || authority.host().is_empty() {
            return Err(SHAPE);
        }
        let host = authority.host().trim_start_matches('[').trim_end_matches(']');
        let is_loopback = host == "localhost" || host.parse().is_ok_and(is_loopback);
        Ok(Endpoint { url: format!("{scheme}://{authority}/"), is_loopback })
    }
}

/// Why a configuration cannot be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// Anybody on the network could change things.
    #[error(
        "--api {0} can be reached from other machines, and there is neither SERIN_TOKEN nor --principals; give one, or \
         listen on 127.0.0.1"
    )]
    OpenWithoutToken(SocketAddr),
    /// The account is not one.
    #[error("the account {0:?} is not twelve digits")]
    Account(String),
    /// No router threads.
    #[error("--workers 0 would route nothing; leave it out for one a core")]
    NoWorkers,
    /// Events would be tried again without a pause.
    #[error("--event-retry-delay must be longer than nothing; leave it out for AWS's minute")]
    NoRetryDelay,
    /// Nobody could connect.
    #[error("{0} 0 would serve nobody; leave it out for the default")]
    NoConnections(&'static str),
}

impl ServeConfig {
    /// Whether the router answers Invoke.
    pub fn shows_invoke(&self) -> bool {
        self.routes.is_empty() || self.router_invoke
    }

    /// Whether the router shows versions by number, and `$LATEST`.
    pub fn shows_versions(&self) -> bool {
        self.routes.is_empty() || self.router_versions
    }

    /// By what whoever asks is known: the flags and variables that have it said.
    pub fn asks_for(&self) -> Vec<String> {
        let ways = [
            (self.has_token(), "SERIN_TOKEN"),
            (self.principals.is_some(), "--principals"),
            (self.tls.as_ref().is_some_and(|tls| tls.client_ca.is_some()), "--tls-client-ca"),
        ];
        ways.into_iter().filter(|(has, _)| *has).map(|(_, way)| way.to_owned()).collect()
    }

    fn has_token(&self) -> bool {
        self.token.as_ref().is_some_and(|token| !token.trim_matches([' ', ',']).is_empty())
    }

    /// Whether other machines reach the router.
    pub fn router_is_open(&self) -> bool {
        !is_loopback(self.router.ip()) || self.tls.as_ref().is_some_and(|tls| !is_loopback(tls.addr.ip()))
    }

    /// Refuses what must not run.
    pub fn check(&self) -> Result<(), ConfigError> {
        if !is_loopback(self.api.ip()) && !self.has_token() && self.principals.is_none() {
            return Err(ConfigError::OpenWithoutToken(self.api));
        }
        if self.account.len() != 12 || !self.account.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(ConfigError::Account(self.account.clone()));
        }
        if self.workers == Some(0) {
            return Err(ConfigError::NoWorkers);
        }
        if self.event_retry_delay.is_zero() {
            return Err(ConfigError::NoRetryDelay);
        }
        for (flag, max) in [
            ("--max-connections", self.max_connections),
            ("--max-connections-per-ip", self.max_connections_per_ip),
        ] {
            if max == Some(0) {
                return Err(ConfigError::NoConnections(flag));
            }
        }
        Ok(())
    }
}

fn is_loopback(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => address.is_loopback(),
        IpAddr::V6(address) => {
            address.is_loopback() || address.to_ipv4_mapped().is_some_and(|mapped| mapped.is_loopback())
        }
    }
}

/// Who types at this terminal, as far as the machine knows: `user@host`.
pub fn claimed_actor() -> String {
    let user = variable("USER").or_else(|| variable("LOGNAME")).unwrap_or_else(|| "unknown".to_owned());
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    format!("{user}@{host}")
}

/// Where a service manager hears what a daemon says of itself, as systemd sets it; a name that begins with `@` is in no
/// file system.
pub fn notify_socket() -> Option<std::ffi::OsString> {
    #[expect(clippy::disallowed_methods, reason = "the owner of the environment")]
    std::env::var_os("NOTIFY_SOCKET").filter(|path| !path.is_empty())
}

/// The log filter, in the form that `RUST_LOG` has.
pub fn log_filter() -> Option<String> {
    variable("SERIN_LOG").or_else(|| variable("RUST_LOG"))
}

/// The tokens that the API and Invoke want, or the one token to ask with; never a flag, which others could read.
pub fn token() -> Option<String> {
    secret("SERIN_TOKEN")
}

/// The keys that AWS's tools use, with the token of a session if they are one's; `None` without both keys.
pub fn aws_keys() -> Option<Credentials> {
    let (id, key) = (variable("AWS_ACCESS_KEY_ID")?, secret("AWS_SECRET_ACCESS_KEY")?);
    Some(Credentials::new(id, key, secret("AWS_SESSION_TOKEN"), None, "environment"))
}

/// Where the store lives unless told otherwise: `$XDG_STATE_HOME/serin`, else `~/.local/state/serin`.
pub fn data_dir_default() -> Option<PathBuf> {
    let absolute = |name: &str| variable(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let state = absolute("XDG_STATE_HOME").or_else(|| Some(absolute("HOME")?.join(".local/state")))?;
    Some(state.join("serin"))
}

/// Whether this process was started to take over from the one that started it.
pub fn is_to_take_over() -> bool {
    variable(HANDOVER).is_some()
}

/// Whether secrets come with it.
pub fn is_to_be_given_secrets() -> bool {
    variable(HANDOVER).as_deref() == Some(HANDOVER_OF_SECRETS)
}

/// The directories that programs are looked for in.
pub fn search_path() -> Vec<PathBuf> {
    variable("PATH").map(|path| std::env::split_paths(&path).collect()).unwrap_or_default()
}

/// Whether the locale says that the terminal shows more than ASCII.
pub fn is_utf8_locale() -> bool {
    let locale = variable("LC_ALL").or_else(|| variable("LC_CTYPE")).or_else(|| variable("LANG"));
    locale.is_some_and(|locale| {
        let locale = locale.to_ascii_lowercase();
        locale.contains("utf-8") || locale.contains("utf8")
    })
}

/// How wide whoever reads wants lines to be, where there is no terminal to ask.
pub fn columns() -> Option<usize> {
    variable("COLUMNS")?.parse().ok()
}

/// Whether the terminal can do no more than print lines.
pub fn is_dumb_terminal() -> bool {
    variable("TERM").as_deref() == Some("dumb")
}

/// Whether a variable is set to nothing, which means the same as not setting it.
#[expect(clippy::disallowed_methods, reason = "the owner of the environment")]
pub fn is_set_but_empty(name: &str) -> bool {
    std::env::var_os(name).is_some_and(|value| value.is_empty())
}

/// An environment variable, unless it is unset or empty.
#[expect(clippy::disallowed_methods, reason = "the owner of the environment")]
pub fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(api: &str, token: Option<&str>) -> ServeConfig {
        ServeConfig {
            data_dir: PathBuf::new(),
            plans: None,
            api: api.parse().unwrap(),
            router: ROUTER_DEFAULT.parse().unwrap(),
            tls: None,
            max_connections: None,
            max_connections_per_ip: None,
            proxy_protocol: false,
            trusted_proxies: Vec::new(),
            workers: None,
            routes: Vec::new(),
            router_invoke: false,
            router_versions: false,
            token: token.map(str::to_owned),
            plan_env: PlanEnv::default(),
            plan_ca: Vec::new(),
            principals: None,
            keep_history: Duration::from_secs(1),
            keep_logs: Duration::from_secs(1),
            processes: Processes {
                search: Vec::new(),
                user: None,
                network: ProcessNetwork::Host,
                stage: PathBuf::new(),
                idle: Duration::from_secs(1),
            },
            queues: QueueConfig::default(),
            event_retry_delay: Duration::from_secs(60),
            drain: Duration::from_secs(1),
            account: "000000000000".to_owned(),
            region: "us-east-1".to_owned(),
        }
    }

    #[test]
    fn an_endpoint_is_a_host_and_nothing_more() {
        for (text, url, is_loopback) in [
            ("http://127.0.0.1:5000", "http://127.0.0.1:5000/", true),
            ("http://localhost:5000/", "http://localhost:5000/", true),
            ("http://[::1]:5000", "http://[::1]:5000/", true),
            ("https://sqs.example.org", "https://sqs.example.org/", false),
            ("http://10.0.0.1", "http://10.0.0.1/", false),
        ] {
            let endpoint: Endpoint = text.parse().unwrap();
            assert_eq!((endpoint.url(), endpoint.is_loopback()), (url, is_loopback), "{text}");
        }
        for text in ["", "localhost:5000", "ftp://x", "http://x/path", "http://x/?q", "http://user@x", "/x"] {
            assert!(text.parse::<Endpoint>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_proxy_is_an_address_or_a_network() {
        for (text, inside, outside) in [
            ("10.0.0.0/8", "10.255.0.1", "11.0.0.1"),
            ("192.0.2.7", "192.0.2.7", "192.0.2.8"),
            ("fd00::/8", "fd12::1", "fe80::1"),
            ("::ffff:198.51.100.1", "198.51.100.1", "198.51.100.2"),
        ] {
            let network = network(text).unwrap();
            let contains = |address: &str| network.contains(&address.parse::<IpAddr>().unwrap());
            assert!(contains(inside) && !contains(outside), "{text}");
        }
        for text in ["", "10.0.0.0/33", "proxy.example", "10.0.0.0/8;fd00::/8", "10.0.0.1:80"] {
            assert!(network(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn an_open_api_wants_a_token() {
        for (api, token, fine) in [
            ("127.0.0.1:1", None, true),
            ("[::1]:1", None, true),
            ("[::ffff:127.0.0.1]:1", None, true),
            ("0.0.0.0:1", None, false),
            ("10.0.0.1:1", Some(" , "), false),
            ("[::]:1", Some("ana:secret"), true),
        ] {
            assert_eq!(config(api, token).check().is_ok(), fine, "{api} {token:?}");
        }
    }
}
