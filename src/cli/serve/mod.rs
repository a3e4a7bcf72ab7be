//! `serin serve`: runs the daemon until it is told to stop, and stops it gently.

mod greeting;
mod manager;
mod upgrade;

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, bail};
use ipnet::IpNet;

use super::daemon_log;
use super::exit::Exit;
use super::flags::span;
use super::session::Session;
use super::signals::{ReloadSignal, Signals, UpgradeSignal};
use crate::config::{
    self, Endpoint, PlanCa, PlanEnv, PlanVariable, ProcessNetwork, ProcessUser, Processes, QueueConfig,
    ServeConfig, TlsSettings,
};
use crate::daemon::{Daemon, Image};
use manager::Manager;
use serin_core::model::arn::Place;
use serin_core::model::time::human;
use upgrade::Upgrade;

/// How often the daemon is looked after: whether it still decides, and what the service manager is told.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// How long what follows the drain may take: queues, the API, the store. A disk that stalls must not keep a process that
/// was told to end.
const CLOSING_MAX: Duration = Duration::from_secs(12);

const EXAMPLES: &str = "\
Examples:
  serin serve --plans plans                       on 127.0.0.1: API at 7411, traffic at 7412
  serin serve --api 127.0.0.1:0 --router 127.0.0.1:0 --data-dir /tmp/serin    free ports, printed
  SERIN_TOKEN=ana:$(openssl rand -hex 24) serin serve --api 0.0.0.0:7411     from other machines too

SERIN_TOKEN holds the tokens that the API and every Invoke want: one secret of 16 characters or more, or
name:secret,name:secret.
AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_SESSION_TOKEN are what queues are read and written with.
SERIN_LOG filters the log, as in info or serin=debug.
SIGTERM and Ctrl-C let requests under way end; a second one does not.
SIGHUP reads certificates and principals again, where there are any; they are looked at every two seconds anyway.
SIGUSR2 starts the program that is installed now in this one's place, without a failed request: docs/upgrading.md.";

/// The signals that a daemon hears.
struct Ears {
    stop: Signals,
    upgrade: UpgradeSignal,
    reload: ReloadSignal,
}

impl Ears {
    /// Begins to listen; needs a runtime to be entered.
    fn open(config: &ServeConfig) -> io::Result<Ears> {
        let reload = ReloadSignal::listen(config.tls.is_some() || config.principals.is_some())?;
        Ok(Ears { stop: Signals::listen()?, upgrade: UpgradeSignal::listen()?, reload })
    }
}

/// What to run with.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// Where the store lives; `$XDG_STATE_HOME/serin` or `~/.local/state/serin` unless given.
    #[arg(long, value_name = "DIR", env = "SERIN_DATA_DIR")]
    data_dir: Option<PathBuf>,
    /// Where the plans live; without it only plans sent with `start` are known.
    #[arg(long, value_name = "DIR", env = "SERIN_PLANS")]
    plans: Option<PathBuf>,
    /// Where the API listens; port 0 picks a free one.
    #[arg(long, value_name = "ADDR", env = "SERIN_API", default_value = config::API_DEFAULT,
          value_parser = address)]
    api: SocketAddr,
    /// Where the router listens; port 0 picks a free one.
    #[arg(long, value_name = "ADDR", env = "SERIN_ROUTER", default_value = config::ROUTER_DEFAULT,
          value_parser = address)]
    router: SocketAddr,
    /// Where the router listens for TLS, beside its plain address; nowhere unless given.
    #[arg(long, value_name = "ADDR", env = "SERIN_ROUTER_TLS", value_parser = address,
          requires = "tls_cert", requires = "tls_key")]
    router_tls: Option<SocketAddr>,
    /// The certificate of the router and those between it and its authority, in PEM; read again when it changes.
    #[arg(long, value_name = "FILE", env = "SERIN_TLS_CERT", requires = "router_tls")]
    tls_cert: Option<PathBuf>,
    /// The private key of the certificate, in PEM.
    #[arg(long, value_name = "FILE", env = "SERIN_TLS_KEY", requires = "router_tls")]
    tls_key: Option<PathBuf>,
    /// Authorities of clients' certificates, in PEM; with it, clients over TLS must have one.
    #[arg(long, value_name = "FILE", env = "SERIN_TLS_CLIENT_CA", requires = "router_tls")]
    tls_client_ca: Option<PathBuf>,
    /// Connections of clients at once; half of what open files allow unless given.
    #[arg(long, value_name = "N", env = "SERIN_MAX_CONNECTIONS")]
    max_connections: Option<usize>,
    /// Connections at once of one client address, or of one /64 of IPv6; no limit of its own unless given.
    #[arg(long, value_name = "N", env = "SERIN_MAX_CONNECTIONS_PER_IP")]
    max_connections_per_ip: Option<usize>,
    /// Every connection to the router begins with a PROXY header (version 1 or 2), and the client is whom it names.
    #[arg(long, env = "SERIN_PROXY_PROTOCOL")]
    proxy_protocol: bool,
    /// Proxies before the router, as addresses or networks with commas between them: what they say in X-Forwarded-* is
    /// passed on, with the router's own part behind it. Of anybody else it is taken off.
    #[arg(long, value_name = "CIDRS", env = "SERIN_TRUSTED_PROXIES", value_delimiter = ',', value_parser = config::network)]
    trusted_proxies: Vec<IpNet>,
    /// Router threads; one a core unless given.
    #[arg(long, value_name = "N", env = "SERIN_WORKERS")]
    workers: Option<usize>,
    /// Sends requests for a host, or for a path and what is below it, to an alias; may be given many times.
    ///
    /// Written HOST=FUNCTION:ALIAS, HOST/PREFIX=FUNCTION:ALIAS or /PREFIX=FUNCTION:ALIAS. The path is passed on whole.
    #[arg(long = "route", value_name = "ROUTE")]
    routes: Vec<String>,
    /// Lets plans use a variable of the environment, and sends it to these hosts alone; may be given many times.
    ///
    /// Written NAME or NAME=HOST,HOST[:PORT]. In SERIN_PLAN_ENV entries are separated by spaces.
    #[arg(long, value_name = "NAME[=HOST,…]", env = "SERIN_PLAN_ENV", value_delimiter = ' ')]
    plan_env: Vec<PlanVariable>,
    /// Believes certificates of these authorities, and no others, at hosts that plans ask; may be given many times.
    #[arg(long, value_name = "HOST,…=FILE", env = "SERIN_PLAN_CA", value_delimiter = ' ')]
    plan_ca: Vec<PlanCa>,
    /// With --route, answer Invoke on the router, too; without --route it always does.
    #[arg(long, env = "SERIN_ROUTER_INVOKE")]
    router_invoke: bool,
    /// With --route, show /{function}:{version} and /{function}:$LATEST on the router, too, released or not; without
    /// --route it always does.
    #[arg(long, env = "SERIN_ROUTER_VERSIONS")]
    router_versions: bool,
    /// Who may do what: a YAML file of principals, their keys and tokens; see docs/permissions.md.
    #[arg(long, value_name = "FILE", env = "SERIN_PRINCIPALS")]
    principals: Option<PathBuf>,
    /// How long history is kept.
    #[arg(long, value_name = "SPAN", env = "SERIN_KEEP_HISTORY", default_value = "400d", value_parser = span)]
    keep_history: Duration,
    /// How long log lines of invocations are kept; never more than 512 MiB of them, nor 64 MiB of one function's.
    #[arg(long, value_name = "SPAN", env = "SERIN_KEEP_LOGS", default_value = "14d", value_parser = span)]
    keep_logs: Duration,
    /// Directories where `python3.N`, `node` and `aws-lambda-ric` are looked for before those of PATH.
    #[arg(long, value_name = "DIRS", env = "SERIN_RUNTIME_PATH")]
    runtime_path: Option<std::ffi::OsString>,
    /// Whose processes functions are: `own` (each a user of its own; what root has by default), `namespace` (the daemon's
    /// own user in a namespace that shows it nothing of the daemon's; what others have by default), a user's number, or
    /// `same` (the daemon's own user, whose files they can read).
    #[arg(long, value_name = "USER", env = "SERIN_PROCESS_USER")]
    process_user: Option<ProcessUser>,
    /// What functions' processes reach: `host` (whatever the machine does) or `none` (their Runtime API and nothing else).
    #[arg(long, value_name = "NETWORK", env = "SERIN_PROCESS_NETWORK", default_value = "host")]
    process_network: ProcessNetwork,
    /// How long a function's process is kept without work.
    #[arg(long, value_name = "SPAN", env = "SERIN_PROCESS_IDLE", default_value = "10m", value_parser = span)]
    process_idle: Duration,
    /// Where SQS is, for event sources and destinations; AWS's own address of each queue's region unless given.
    #[arg(long, value_name = "URL", env = "SERIN_SQS_ENDPOINT")]
    sqs_endpoint: Option<Endpoint>,
    /// How long after its first function error an event of an asynchronous invocation is tried again; the second retry
    /// waits twice as long, and what finds no room from a sixtieth of it to five times as long.
    #[arg(long, value_name = "SPAN", env = "SERIN_EVENT_RETRY_DELAY", default_value = "1m", value_parser = span)]
    event_retry_delay: Duration,
    /// How long requests under way may take after SIGTERM.
    #[arg(long, value_name = "SPAN", env = "SERIN_DRAIN", default_value = "30s", value_parser = span)]
    drain: Duration,
    /// The account in ARNs: twelve digits.
    #[arg(long, value_name = "ID", env = "SERIN_ACCOUNT", default_value = Place::ACCOUNT)]
    account: String,
    /// The region in ARNs, where a signature names none.
    #[arg(long, value_name = "REGION", env = "SERIN_REGION", default_value = Place::REGION)]
    region: String,
}

fn address(text: &str) -> Result<SocketAddr, &'static str> {
    let text = text.strip_prefix("localhost:").map_or(text.to_owned(), |port| format!("127.0.0.1:{port}"));
    text.parse().map_err(|_| "an address to listen on is IP:PORT, as in 127.0.0.1:7411 or [::]:7411")
}

/// The data directory: as given, else the usual one.
pub fn data_dir(given: Option<PathBuf>) -> anyhow::Result<PathBuf> {
    given.or_else(config::data_dir_default).context(
        "where the store lives is not known: neither XDG_STATE_HOME nor HOME is set; say --data-dir DIR",
    )
}

/// Does it.
pub fn run(args: &Args, session: &Session) -> anyhow::Result<Exit> {
    let kept = config::keep_secrets();
    let mut config = ServeConfig {
        data_dir: data_dir(args.data_dir.clone())?,
        plans: args.plans.clone(),
        api: args.api,
        router: args.router,
        tls: tls_settings(args),
        max_connections: args.max_connections,
        max_connections_per_ip: args.max_connections_per_ip,
        proxy_protocol: args.proxy_protocol,
        trusted_proxies: args.trusted_proxies.clone(),
        workers: args.workers,
        routes: args.routes.clone(),
        router_invoke: args.router_invoke,
        router_versions: args.router_versions,
        token: None,
        plan_env: PlanEnv::default(),
        plan_ca: args.plan_ca.clone(),
        principals: args.principals.clone(),
        keep_history: args.keep_history,
        keep_logs: args.keep_logs,
        processes: Processes {
            search: (args.runtime_path.iter().flat_map(std::env::split_paths))
                .chain(config::search_path())
                .collect(),
            user: args.process_user,
            network: args.process_network,
            stage: config::THIS_PROGRAM.into(),
            idle: args.process_idle,
        },
        queues: QueueConfig { endpoint: args.sqs_endpoint.clone(), keys: None },
        event_retry_delay: args.event_retry_delay,
        drain: args.drain,
        account: args.account.clone(),
        region: args.region.clone(),
    };
    read_secrets(&mut config, args);
    daemon_log::start(session.terminal.look_of_errors())?;
    if let Err(why) = kept {
        tracing::warn!("whoever is this user can read this process's memory, for the kernel says: {why}");
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start to listen for signals")?;
    // Signals count from here on: whoever stops the daemon while it starts gets it stopped gently as soon as it runs.
    let mut ears = {
        let _entered = runtime.enter();
        Ears::open(&config).context("cannot listen for signals")?
    };
    let installed = Image::installed(&config::search_path());
    let daemon = if config::is_to_take_over() {
        let given = upgrade::take_what_is_given();
        read_secrets(&mut config, args);
        let Some(daemon) = runtime.block_on(upgrade::take_over(&config, given, &mut ears))? else {
            return Ok(Exit::Done);
        };
        daemon
    } else {
        Daemon::start(&config).map_err(with_advice)?
    };
    greeting::greet(&daemon, &config, session);
    runtime.block_on(look_after(daemon, &config, &installed, &mut ears))
}

/// Reads what is a secret: of the environment, and of what the process before handed over.
fn read_secrets(config: &mut ServeConfig, args: &Args) {
    config.token = config::token();
    config.plan_env = PlanEnv::read(&args.plan_env);
    config.queues.keys = config::aws_keys();
}

fn tls_settings(args: &Args) -> Option<TlsSettings> {
    Some(TlsSettings {
        addr: args.router_tls?,
        cert: args.tls_cert.clone()?,
        key: args.tls_key.clone()?,
        client_ca: args.tls_client_ca.clone(),
    })
}

/// A port that is taken is most often taken by a serin that runs already.
fn with_advice(error: anyhow::Error) -> anyhow::Error {
    let is_taken = |cause: &io::Error| cause.kind() == io::ErrorKind::AddrInUse;
    if error.chain().filter_map(|cause| cause.downcast_ref::<io::Error>()).any(is_taken) {
        return anyhow::anyhow!("{error:#}; does a serin run there already? Port 0 picks a free port");
    }
    error
}

/// Waits for a signal or for the daemon to fail, and ends it.
async fn look_after(
    daemon: Daemon,
    config: &ServeConfig,
    installed: &Image,
    ears: &mut Ears,
) -> anyhow::Result<Exit> {
    let mut manager = Manager::new();
    manager.ready(&format!("API http://{}, router http://{}", daemon.api_addr, daemon.router_addr));
    let mut ticks = tokio::time::interval(LOOK_EVERY);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut upgrade = Upgrade::none(installed);
    let signal = loop {
        tokio::select! {
            signal = ears.stop.next() => break Some(signal),
            () = ears.upgrade.next() => upgrade.ask(&daemon),
            () = ears.reload.next() => daemon.reread_files(),
            Some(begun) = upgrade.begun() => {
                return upgrade::make_way(daemon, begun, (config, installed), manager, ears).await;
            }
            _ = ticks.tick() => {
                if daemon.has_lost_control() {
                    break None;
                }
                if daemon.has_crashed() {
                    upgrade.heal(&daemon);
                } else {
                    manager.alive(daemon.turns());
                }
            }
        }
    };
    upgrade.call_off().await;
    let drain = human(config.drain);
    manager.stopping(&format!("letting requests under way end, at most {drain}"));
    match signal {
        Some(signal) => tracing::info!(
            signal,
            drain_ms = config.drain.as_millis() as u64,
            "stopping: requests under way get {drain} to end; a second signal cuts them"
        ),
        None => tracing::error!("the control plane has stopped; serin ends, so that it can be started anew"),
    }
    let down = shut_down(daemon, config.drain, &mut ears.stop).await;
    if signal.is_none() {
        let why = "the control plane has stopped by itself: it failed, or another daemon took over the data directory";
        down.context(why)?;
        bail!("{why}; nothing was decided since, and traffic stayed as it was");
    }
    down?;
    tracing::info!("stopped");
    Ok(Exit::Done)
}

/// Shuts the daemon down on a thread of its own, so that a second signal is heard meanwhile.
async fn shut_down(daemon: Daemon, drain: Duration, signals: &mut Signals) -> anyhow::Result<()> {
    let (done, ended) = tokio::sync::oneshot::channel();
    // A thread, not a blocking task: the runtime would wait for a task, and the second signal must not wait.
    std::thread::Builder::new()
        .name("shutdown".to_owned())
        .spawn(move || {
            // Nobody listens any more after a second signal.
            let _ = done.send(daemon.shut_down(drain));
        })
        .context("cannot start to shut down")?;
    tokio::select! {
        ended = ended => ended.unwrap_or_else(|_| bail!("shutting down panicked")),
        signal = signals.next() => bail!("cut short by a second signal ({signal}); requests under way were cut"),
        () = tokio::time::sleep(drain + CLOSING_MAX) => bail!(
            "not everything has ended {} after the drain, most likely because the disk stalls; what was acknowledged is \
             on disk, and the next start goes on from there",
            human(CLOSING_MAX)
        ),
    }
}
