//! The composition root: builds the store, the control plane, the router and the API, wires them, and drains them.
//!
//! Nothing else imports everything. Order matters and is all here: the store is opened first and alone, the world is
//! published and judged before the data plane opens, and on the way down traffic stops before decisions do.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::Context;
use tokio::sync::watch;

use crate::access::Access;
use crate::api::{self, Api};
use crate::clock::{self, Clock, SystemClock};
use crate::code::CodeDirectory;
use crate::config::{LOGS_BYTES_MAX, ServeConfig, claimed_actor};
use crate::control::core::Core;
use crate::control::data_plane::DataPlane;
use crate::control::handle::{Control, Inbox, Parts};
use crate::control::meter::Meter;
use crate::control::plans::{PlanBook, PlanFile};
use crate::control::{boot, watch as plans_watch};
use crate::domain::actor::{Actor, Standing};
use crate::domain::arn::Place;
use crate::metrics::recorder::Recorder;
use crate::queues::EventSources;
use crate::queues::progress::Progress;
use crate::router::server::{Router, RunningRouter};
use crate::router::settings::{RouterConfig, Timeouts};
use crate::router::table::RoutingTable;
use crate::runtime::{self, RunningRuntimes, RuntimeConfig, Runtimes};
use crate::store::logs::{Limits, Logs};
use crate::store::{self, Store, Writer};

pub use crate::store::Finding;

/// How long API requests under way, streams of events among them, may take after a shutdown began.
const API_GRACE: Duration = Duration::from_secs(2);

/// How long deleting what is done at queues may take after the last invocation ended.
const QUEUES_GRACE: Duration = Duration::from_secs(5);

/// A daemon that runs.
pub struct Daemon {
    /// Where its API listens.
    pub api_addr: SocketAddr,
    /// Where its router listens.
    pub router_addr: SocketAddr,
    /// What did not add up at boot, in sentences.
    pub problems: Vec<String>,
    control: Control,
    control_thread: JoinHandle<()>,
    router: RunningRouter,
    runtimes: RunningRuntimes,
    event_sources: EventSources,
    stop_api: watch::Sender<bool>,
    api_thread: JoinHandle<io::Result<()>>,
    writer: Writer,
    logs: Logs,
    stop_meter: mpsc::Sender<()>,
    meter_thread: JoinHandle<()>,
    access: Arc<Access>,
    _watching: Option<plans_watch::Watching>,
    _store: Store,
}

impl Daemon {
    /// Builds and starts everything; when this returns, both listeners answer.
    pub fn start(config: &ServeConfig) -> anyhow::Result<Daemon> {
        Daemon::start_on(config, |table| table)
    }

    /// Starts with something else than the bare routing table to apply weights.
    pub fn start_on(
        config: &ServeConfig,
        data_plane: impl FnOnce(Arc<RoutingTable>) -> Arc<dyn DataPlane>,
    ) -> anyhow::Result<Daemon> {
        config.check()?;
        let mut access = Access::from_setting(config.token.as_deref());
        if let Some(path) = &config.principals {
            access = access.with_principals(path).context("cannot take the principals")?;
        }
        let access = Arc::new(access);
        // Bound first: a port that is taken must not cost a look at the store.
        let api_listener = std::net::TcpListener::bind(config.api).map_err(|why| held(config, why))?;
        let api_addr = api_listener.local_addr()?;
        let holder = format!("{}, API http://{api_addr}", holder("serve"));
        let (store, loaded) = Store::open(&config.data_dir, &holder)?;
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::resumed(loaded.uptime));
        let (world, judges, problems) = boot::build(loaded);

        let limits = Limits { kept: config.keep_logs, bytes_max: LOGS_BYTES_MAX };
        let logs = Logs::open(&config.data_dir, limits)?;
        let place = Place { region: config.region.clone(), account: config.account.clone() };
        let router_config = RouterConfig {
            addr: config.router,
            workers: config.workers,
            timeouts: Timeouts::default(),
            place: place.clone(),
            access: Arc::clone(&access),
            log: Some(logs.sink()),
        };
        let code = CodeDirectory::open(&config.data_dir)?;
        // What no commit came to name before the last end, nobody will name.
        code.sweep(|| world.named_code())?;
        let (runtimes, running_runtimes) = start_runtimes(config, &code, &place, &logs)?;
        let inbox = Inbox::new();
        let recorder = Recorder::new(router_config.worker_count(), inbox.alarm());
        let table = RoutingTable::with(Arc::clone(&recorder), Some(runtimes.clone()));
        let router = Router::bind(router_config, Arc::clone(&table))
            .with_context(|| format!("cannot listen on {} for traffic", config.router))?;
        let router_addr = router.local_addr();

        let book = config.plans.as_deref().map(plans_watch::read).unwrap_or_default();
        let parts = Parts {
            core: Core::new(world, judges),
            book: book.succeed(&PlanBook::default()),
            writer: store.writer.clone(),
            reader: store.reader.clone(),
            data_plane: data_plane(table),
            recorder: Arc::clone(&recorder),
            clock,
            keep_history: config.keep_history,
            problems: problems.clone(),
        };
        let (control, control_thread) =
            Control::start(inbox, parts).context("cannot start the control thread")?;
        let watching = match &config.plans {
            Some(directory) => {
                let control = control.clone();
                let tell = move |book| control.plans_changed(book);
                Some(plans_watch::watch(directory.clone(), tell).context("cannot start to watch the plans")?)
            }
            None => None,
        };
        let meter = Arc::new(Meter::new(Arc::clone(&recorder), logs.clone()));
        let (stop_meter, meter_thread) = meter.start().context("cannot start to read the counters")?;
        let router = router.run().context("cannot start the router")?;
        let progress = Progress::default();
        let api = Api {
            control: control.clone(),
            reader: store.reader.clone(),
            writer: store.writer.clone(),
            recorder,
            invoke: router.invoke_handle(),
            access: Arc::clone(&access),
            logs: logs.clone(),
            event_sources: progress.clone(),
            meter,
            place,
            code: code.clone(),
            runtimes: runtimes.clone(),
            addr: api_addr,
        };
        let event_sources =
            EventSources::start(&config.queues, control.clone(), router.invoke_handle(), progress)
                .context("cannot start to poll event sources")?;
        let (stop_api, stopping) = watch::channel(false);
        let api_thread = serve_api(api_listener, api, stopping).context("cannot start the API")?;
        Ok(Daemon {
            api_addr,
            router_addr,
            problems,
            control,
            control_thread,
            router,
            runtimes: running_runtimes,
            event_sources,
            stop_api,
            api_thread,
            writer: store.writer.clone(),
            logs,
            stop_meter,
            meter_thread,
            access,
            _watching: watching,
            _store: store,
        })
    }

    /// Whether the control thread has ended by itself, which it does when another daemon took over.
    pub fn has_lost_control(&self) -> bool {
        self.control_thread.is_finished() || self.control.is_closed()
    }

    /// How many turns the control thread has made.
    pub fn turns(&self) -> u64 {
        self.control.turns()
    }

    /// Whether changes want to know who asks.
    pub fn wants_credentials(&self) -> bool {
        self.access.wants_credentials()
    }

    /// How many principals may do anything, and how many what policies allow.
    pub fn principals(&self) -> (usize, usize) {
        self.access.principals()
    }

    /// The plan files as they are read now.
    pub fn plans(&self) -> PlansSeen {
        let book = self.control.book();
        let (sound, faulty): (Vec<_>, Vec<_>) = book.files.values().partition(|file| file.is_sound());
        let fault = |file: &PlanFile| {
            let first = file.problem.clone().or_else(|| file.faults.first().map(ToString::to_string));
            first.unwrap_or_else(|| file.source.name.clone())
        };
        PlansSeen {
            directory: book.directory.clone(),
            sound: sound.len(),
            faults: book.problem.iter().cloned().chain(faulty.into_iter().map(fault)).collect(),
        }
    }

    /// Lets requests under way end, stops deciding, and closes the store.
    pub fn shut_down(self, drain: Duration) -> anyhow::Result<()> {
        self.event_sources.stop();
        let drained = self.router.shutdown(drain);
        // The requests that anybody waits for have ended; what is left runs for callers that went away.
        let ended = self.runtimes.shut_down(Duration::ZERO);
        let emptied = self.event_sources.end(QUEUES_GRACE);
        self.stop_api.send_replace(true);
        let served = join(self.api_thread, "the API").and_then(|served| Ok(served?));
        self.control.close();
        let decided = join(self.control_thread, "the control plane");
        drop(self.stop_meter);
        let metered = join(self.meter_thread, "the meter");
        self.logs.close();
        drop(self._store);
        self.writer.close();
        drained.context("the router did not end well")?;
        ended.context("the functions did not end well")?;
        emptied.context("the event sources did not end well")?;
        served.context("the API did not end well")?;
        metered?;
        decided
    }
}

/// The plans directory, counted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlansSeen {
    /// The directory; `None` when the daemon was given none.
    pub directory: Option<String>,
    /// How many files are in order.
    pub sound: usize,
    /// What is first wrong with each file that is not, in a line.
    pub faults: Vec<String>,
}

/// Checks the store of a data directory; with `repair`, puts aliases back to what the journal says.
pub fn check_store(dir: &Path, repair: bool) -> anyhow::Result<Vec<Finding>> {
    if !repair {
        return Ok(store::fsck(dir, None)?);
    }
    let actor = Actor::new(&claimed_actor(), Standing::Claimed);
    Ok(store::fsck(dir, Some((clock::wall_now(), &holder("fsck --repair"), &actor)))?)
}

/// Copies the store of a data directory to a new file, whether or not a daemon runs on it.
pub fn back_up_store(dir: &Path, to: &Path) -> anyhow::Result<()> {
    Ok(store::back_up(dir, to)?)
}

/// Puts a backup in the place of a store, and tells where the store that was there is kept.
pub fn restore_store(dir: &Path, from: &Path) -> anyhow::Result<Option<PathBuf>> {
    Ok(store::restore(dir, from, &holder("restore"))?)
}

/// Starts the thread that runs functions from zips.
fn start_runtimes(
    config: &ServeConfig,
    code: &CodeDirectory,
    place: &Place,
    logs: &Logs,
) -> anyhow::Result<(Runtimes, RunningRuntimes)> {
    let settings = RuntimeConfig {
        search: config.processes.search.clone(),
        user: config.processes.user.unwrap_or_else(runtime::best_user),
        idle: config.processes.idle,
        place: place.clone(),
        log: Some(logs.sink()),
    };
    Runtimes::start(settings, code.clone(), config.data_dir.clone())
        .context("cannot make ready to run functions")
}

/// Why the API's address cannot be had: most often another daemon has it, and the directory with it.
fn held(config: &ServeConfig, why: io::Error) -> anyhow::Error {
    match store::holder_of(&config.data_dir).filter(|_| why.kind() == io::ErrorKind::AddrInUse) {
        Some(holder) => store::StoreError::Held { dir: config.data_dir.clone(), holder }.into(),
        None => anyhow::Error::new(why).context(format!("cannot listen on {} for the API", config.api)),
    }
}

/// What others who want the directory are told about this process.
fn holder(what: &str) -> String {
    format!("serin {what}, pid {}", std::process::id())
}

fn join<T>(thread: JoinHandle<T>, what: &str) -> anyhow::Result<T> {
    thread.join().map_err(|_| anyhow::anyhow!("{what} panicked"))
}

/// Serves the API on threads of its own, apart from the router's.
fn serve_api(
    listener: std::net::TcpListener,
    api: Api,
    mut stopping: watch::Receiver<bool>,
) -> io::Result<JoinHandle<io::Result<()>>> {
    listener.set_nonblocking(true)?;
    std::thread::Builder::new().name("api".to_owned()).spawn(move || {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .thread_name("api")
            .enable_all()
            .build()?;
        let result = runtime.block_on(async {
            let listener = tokio::net::TcpListener::from_std(listener)?;
            let mut asked = stopping.clone();
            let served = axum::serve(listener, api::routes(api)).with_graceful_shutdown(async move {
                let _ = asked.wait_for(|stop| *stop).await;
            });
            // Streams of events never end by themselves: what is open a moment after is cut.
            let cut = async move {
                let _ = stopping.wait_for(|stop| *stop).await;
                tokio::time::sleep(API_GRACE).await;
            };
            tokio::select! {
                served = served => served,
                () = cut => Ok(()),
            }
        });
        runtime.shutdown_background();
        result
    })
}
