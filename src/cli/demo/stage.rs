//! Everything the demonstration runs on: a daemon of its own, three versions of a service, users, and a client.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, bail};
use tokio::runtime::Runtime;
use tokio::signal::unix::{SignalKind, signal};

use super::load::Load;
use super::service::{self, Behaviour};
use crate::api::wire::{CreateAliasRequest, PublishRequest};
use crate::chance;
use crate::cli::signals::Signals;
use crate::client::{Change, Client, Transport};
use crate::clock;
use crate::config::{self, ProcessNetwork, Processes, QueueConfig, ServeConfig, claimed_actor};
use crate::daemon::Daemon;
use serin_core::model::arn::Place;

/// The function, and the name of its plan.
pub const FUNCTION: &str = "checkout";
/// The alias that users reach.
pub const ALIAS: &str = "live";
/// Both, as people write them.
pub const TARGET: &str = "checkout:live";
/// How many requests users send in a second.
pub const REQUESTS_PER_S: u32 = 1000;
/// The plan, as a team would check it in, but with a bake short enough to watch.
pub const PLAN: &str = "\
function: checkout
alias: live
steps: [3%, 5%, 100%]
bake: 3s
";

const PATH: &str = "/checkout:live/cart";
const LATENCY: Duration = Duration::from_millis(8);
/// The story's failures come by lot, but by the same lot every time: it is a story, not an experiment.
const SEED: u64 = 5;

/// A version of the story, by the number that publishing it gives it.
#[derive(Clone, Copy, Debug)]
pub struct Cast {
    /// The version.
    pub number: &'static str,
    /// The share of requests it fails, 0 to 1.
    pub failures: f64,
}

/// What runs when the story begins.
pub const STABLE: Cast = Cast { number: "1", failures: 0.001 };
/// As good as the one before.
pub const GOOD: Cast = Cast { number: "2", failures: 0.001 };
/// Fails one request in five.
pub const BAD: Cast = Cast { number: "3", failures: 0.2 };

/// What the story runs on.
pub struct Stage {
    /// Asks the daemon, as the command line does.
    pub client: Client,
    /// What users do and see.
    pub load: Load,
    daemon: Daemon,
    runtime: Runtime,
    signalled: Arc<AtomicBool>,
}

impl Stage {
    /// Starts the daemon, publishes version 1 behind the alias, and lets users in.
    pub fn build(directory: &Path) -> anyhow::Result<Stage> {
        let plans = directory.join("plans");
        std::fs::create_dir(&plans)
            .and_then(|()| std::fs::write(plans.join(format!("{FUNCTION}.yaml")), PLAN))
            .with_context(|| format!("cannot write the demonstration's plan in {}", plans.display()))?;
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .thread_name("demo")
            .enable_all()
            .build()
            .context("cannot start the demonstration's users")?;
        let signalled = Arc::new(AtomicBool::new(false));
        listen(&runtime, &signalled)?;
        let daemon = Daemon::start(&config(directory, &plans)).context("cannot start the daemon")?;
        let transport = Transport::new(&format!("http://{}", daemon.api_addr), None, &claimed_actor())?;
        let load = runtime.block_on(async { Load::start(daemon.router_addr, PATH, REQUESTS_PER_S) });
        let stage = Stage { client: Client::new(transport), load, daemon, runtime, signalled };
        match stage.open() {
            Ok(()) => Ok(stage),
            Err(why) => {
                stage.strike()?;
                Err(why)
            }
        }
    }

    fn open(&self) -> anyhow::Result<()> {
        self.publish(STABLE)?;
        let alias = CreateAliasRequest {
            function_version: STABLE.number.to_owned(),
            description: "what users reach".to_owned(),
            ..CreateAliasRequest::default()
        };
        self.client.create_alias(FUNCTION, ALIAS, &alias, &change("users need a name that stays"))?;
        self.load.let_in();
        Ok(())
    }

    /// Starts a version and publishes it.
    pub fn publish(&self, cast: Cast) -> anyhow::Result<()> {
        let behaviour =
            Behaviour { version: cast.number, failures: cast.failures, latency: LATENCY, seed: SEED };
        let address = self
            .runtime
            .block_on(service::serve(behaviour))
            .with_context(|| format!("cannot start version {} of the demonstration", cast.number))?;
        let request = PublishRequest { url: format!("http://{address}"), ..PublishRequest::default() };
        let reply = self.client.publish(FUNCTION, &request, &change("built from main"))?;
        if reply.version != cast.number {
            bail!("version {} was published as {}", cast.number, reply.version);
        }
        Ok(())
    }

    /// Where the API is.
    pub fn api_url(&self) -> String {
        format!("http://{}", self.daemon.api_addr)
    }

    /// Where the router is.
    pub fn router_url(&self) -> String {
        format!("http://{}", self.daemon.router_addr)
    }

    /// Refuses to go on once somebody pressed Ctrl-C.
    pub fn check_signals(&self) -> anyhow::Result<()> {
        if self.signalled.load(Ordering::Relaxed) {
            bail!("stopped before its end; nothing of the demonstration is left");
        }
        Ok(())
    }

    /// Waits for Ctrl-C or SIGTERM.
    pub fn wait_for_a_signal(&self) {
        while !self.signalled.load(Ordering::Relaxed) {
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// Ends the load, the daemon and the versions.
    pub fn strike(self) -> anyhow::Result<()> {
        drop(self.load);
        let down = self.daemon.shut_down(Duration::from_secs(2));
        self.runtime.shutdown_background();
        down
    }
}

/// A change with a fresh key.
pub fn change(reason: &str) -> Change {
    Change { key: chance::new_id(clock::wall_now()).to_string(), reason: Some(reason.to_owned()) }
}

fn listen(runtime: &Runtime, signalled: &Arc<AtomicBool>) -> anyhow::Result<()> {
    let mut signals = {
        let _entered = runtime.enter();
        Signals::listen().context("cannot listen for signals")?
    };
    let signalled = Arc::clone(signalled);
    let mut hangup = {
        let _entered = runtime.enter();
        signal(SignalKind::hangup()).context("cannot listen for the end of the terminal")?
    };
    runtime.spawn(async move {
        tokio::select! {
            _ = signals.next() => {}
            _ = hangup.recv() => {}
        }
        signalled.store(true, Ordering::Relaxed);
    });
    Ok(())
}

/// On free ports of loopback, whatever the environment says of other daemons.
fn config(directory: &Path, plans: &Path) -> ServeConfig {
    let free = std::net::SocketAddr::from(([127, 0, 0, 1], 0));
    ServeConfig {
        data_dir: directory.join("data"),
        plans: Some(plans.to_owned()),
        api: free,
        router: free,
        tls: None,
        max_connections: None,
        max_connections_per_ip: None,
        proxy_protocol: false,
        trusted_proxies: Vec::new(),
        workers: None,
        routes: Vec::new(),
        router_invoke: false,
        router_versions: false,
        token: None,
        plan_env: Default::default(),
        plan_ca: Vec::new(),
        principals: None,
        keep_history: Duration::from_secs(24 * 60 * 60),
        keep_logs: Duration::from_secs(24 * 60 * 60),
        processes: Processes {
            search: Vec::new(),
            user: None,
            network: ProcessNetwork::Host,
            stage: config::THIS_PROGRAM.into(),
            idle: Duration::from_secs(60),
        },
        queues: QueueConfig::default(),
        event_retry_delay: Duration::from_secs(60),
        drain: Duration::from_secs(2),
        account: Place::ACCOUNT.to_owned(),
        region: Place::REGION.to_owned(),
    }
}
