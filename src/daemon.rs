//! The composition root: builds the store, the control plane, the router and the API, wires them, and drains them.
//!
//! Nothing else imports everything. Order matters and is all here: the store is opened first and alone, the world is
//! published and judged before the data plane opens, and on the way down traffic stops before decisions do. A process
//! that takes over from another is built in another order (`take_over`), and one that makes way ends in another
//! (`make_way`): traffic never stops.

mod descriptors;
mod ground;
mod make_way;
mod opened;
mod take_over;
mod waiting;

use std::fs::File;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::Context;
use tokio::sync::watch;

use crate::access::{AccessControl, Watching as WatchingPrincipals};
use crate::api::{self, Api};
use crate::clock::{self, Clock, SystemClock};
use crate::config::{ServeConfig, claimed_actor};
use crate::control::data_plane::DataPlane;
use crate::control::handle::{Control, Parts};
use crate::control::meter::Meter;
use crate::control::watch as plans_watch;
use crate::events::{self, AsyncInvocations};
use crate::handover::Keeper;
use crate::metrics::outside::Settings as OutsideSettings;
use crate::metrics::recorder::Recorder;
use crate::queues::EventSources;
use crate::queues::client::Sqs;
use crate::queues::progress::Progress;
use crate::router::server::RunningRouter;
use crate::router::table::RoutingTable;
use crate::runtime::{RunningRuntimes, Runtimes};
use crate::sockets::bind_in_time;
use crate::store::events::Events;
use crate::store::logs::Logs;
use crate::store::{self, Store, StoreError, Writer};
use ground::Ground;
use opened::Opened;
use serin_core::engine::core::Core;
use serin_core::model::actor::{Actor, Standing};
use serin_core::plan::Plan;
use serin_core::world::World;
use serin_core::world::boot;
use serin_core::world::plans::{PlanBook, PlanFile};

pub use crate::handover::{Asked, Image, Inheritance};
pub use crate::runtime::as_stage;
pub use crate::store::Finding;
pub use make_way::{Offer, Taker};
pub use take_over::{Risen, Rising};

/// How long API requests under way, streams of events among them, may take once the router has ended: what is left of the
/// drain, between these.
const API_GRACE_MIN: Duration = Duration::from_millis(200);
const API_GRACE_MAX: Duration = Duration::from_secs(2);

/// How long deleting what is done at queues, or telling destinations, may take after the last invocation ended.
const QUEUES_GRACE: Duration = Duration::from_secs(5);

/// How long the disk may take to show that it takes a change, before an upgrade.
const TRY_MAX: Duration = Duration::from_secs(5);

/// A daemon that runs.
pub struct Daemon {
    /// Where its API listens.
    pub api_addr: SocketAddr,
    /// Where its router listens.
    pub router_addr: SocketAddr,
    /// Where its router listens for TLS, if it does.
    pub router_tls_addr: Option<SocketAddr>,
    /// What did not add up at boot, in sentences.
    pub problems: Vec<String>,
    control: Control,
    control_thread: JoinHandle<()>,
    router: RunningRouter,
    table: Arc<RoutingTable>,
    recorder: Arc<Recorder>,
    runtimes: RunningRuntimes,
    runtimes_way: Runtimes,
    event_sources: EventSources,
    async_invocations: AsyncInvocations,
    /// The API's socket once more, so that it can be handed over.
    api_listener: std::net::TcpListener,
    stop_api: watch::Sender<Option<Duration>>,
    api_thread: JoinHandle<io::Result<()>>,
    writer: Writer,
    logs: Logs,
    events: Events,
    stop_meter: mpsc::Sender<()>,
    meter_thread: JoinHandle<()>,
    access: Arc<AccessControl>,
    /// By what whoever asks is known.
    asks_for: Vec<String>,
    watching_principals: WatchingPrincipals,
    is_standing: bool,
    /// Not there while there is no store to keep it beside.
    keeper: Option<Keeper>,
    _watching: Option<plans_watch::Watching>,
    _store: Option<Store>,
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
        let access = access(config)?;
        // Bound first: a port that is taken must not cost a look at the store.
        let api_listener = bind_in_time(
            || std::net::TcpListener::bind(config.api),
            || store::is_held_by_the_dying(&config.data_dir),
        );
        let api_listener = api_listener.map_err(|why| held(config, why))?;
        let opened = opened::open_or_stand(config, api_listener.local_addr()?)?;
        let ground = Ground::lay(config, access, api_listener, None)?;
        Daemon::rise(config, ground, opened, data_plane)
    }

    /// Puts a control plane on the ground, and opens the data plane where it is not open yet.
    fn rise(
        config: &ServeConfig,
        ground: Ground,
        opened: Opened,
        data_plane: impl FnOnce(Arc<RoutingTable>) -> Arc<dyn DataPlane>,
    ) -> anyhow::Result<Daemon> {
        let Opened { store, writer, reader, mut loaded, last_table, spill, standing } = opened;
        let days = std::mem::take(&mut loaded.days);
        let (is_damaged, trouble) = (loaded.is_damaged, loaded.trouble.clone());
        let clock: Arc<dyn Clock> =
            Arc::new(SystemClock::resumed(loaded.uptime, Arc::clone(ground.table.heart())));
        let (world, judges, mut problems) = boot::build(loaded);
        problems.extend(ground.events_problem);
        // What no commit came to name before the last end, nobody will name; unless not all that names is known.
        if !is_damaged {
            let swept =
                ground.code.clear_unfinished().and_then(|()| ground.code.sweep(|| world.named_code()));
            if let Err(why) = swept {
                tracing::warn!("code that nothing names could not be removed: {why}");
            }
        }
        problems.extend(alarm(&ground.runtimes, &world));
        let book = config.plans.as_deref().map(plans_watch::read).unwrap_or_default();
        let outside = OutsideSettings { env: config.plan_env.clone(), ca: config.plan_ca.clone() };
        problems.extend(lacking(&outside, &book, &world));
        let parts = Parts {
            outside,
            core: Core::new(world, judges).with_days(days),
            book: book.succeed(&PlanBook::default()),
            writer: writer.clone(),
            reader: reader.clone(),
            data_plane: data_plane(Arc::clone(&ground.table)),
            recorder: Arc::clone(&ground.recorder),
            clock,
            keep_history: config.keep_history,
            problems: problems.clone(),
            last_table,
            spill,
            trouble,
            standing: standing.clone(),
        };
        let (control, control_thread) =
            Control::start(ground.inbox, parts).context("cannot start the control thread")?;
        let watching = match &config.plans {
            Some(directory) => {
                let control = control.clone();
                let tell = move |book| control.plans_changed(book);
                Some(plans_watch::watch(directory.clone(), tell).context("cannot start to watch the plans")?)
            }
            None => None,
        };
        let meter = Arc::new(Meter::new(Arc::clone(&ground.recorder), ground.logs.clone()));
        let (stop_meter, meter_thread) = meter.start().context("cannot start to read the counters")?;
        let router = ground.traffic.flow()?;
        let (api_addr, router_addr) = (ground.api_listener.local_addr()?, router.local_addr());
        let progress = Progress::default();
        let async_progress = events::progress::Progress::default();
        let api = Api {
            control: control.clone(),
            reader,
            writer: writer.clone(),
            recorder: Arc::clone(&ground.recorder),
            invoke: router.invoke_handle(),
            access: Arc::clone(&ground.access),
            seal: api::seal(&config.data_dir)
                .context("cannot take the key that links to code are sealed with")?,
            logs: ground.logs.clone(),
            sqs: Arc::new(Sqs::new(&config.queues)),
            updates: api::Updates::default(),
            event_sources: progress.clone(),
            async_events: async_progress.clone(),
            meter,
            place: ground.place,
            code: ground.code,
            runtimes: ground.runtimes.clone(),
            addr: api_addr,
            clients: ground.clients,
            bodies: ground.bodies,
            connections: router.connections(),
            certificate: router.certificate(),
            upstreams: {
                let table = Arc::clone(&ground.table);
                Arc::new(move || table.upstreams())
            },
            tunnels: Arc::clone(&ground.table) as _,
        };
        let event_sources =
            EventSources::start(&config.queues, control.clone(), router.invoke_handle(), progress)
                .context("cannot start to poll event sources")?;
        let async_invocations = AsyncInvocations::start(events::Parts {
            control: control.clone(),
            invoke: router.invoke_handle(),
            events: ground.events.clone(),
            waiting: ground.waiting,
            sqs: Sqs::new(&config.queues),
            retry_delay: config.event_retry_delay,
            account: config.account.clone(),
            progress: async_progress,
        })
        .context("cannot start to carry out asynchronous invocations")?;
        let (stop_api, stopping) = watch::channel(None);
        let api_thread =
            serve_api(ground.api_listener.try_clone()?, api, stopping).context("cannot start the API")?;
        let keeper = match &store {
            Some(_) => {
                let table = Arc::clone(&ground.table);
                let keeper = Keeper::start(config.data_dir.clone(), store::SCHEMA_VERSION, table);
                Some(keeper.context("cannot start to keep the last table")?)
            }
            None => None,
        };
        Ok(Daemon {
            api_addr,
            router_addr,
            router_tls_addr: router.tls_addr(),
            asks_for: config.asks_for(),
            problems,
            control,
            control_thread,
            router,
            table: ground.table,
            recorder: ground.recorder,
            runtimes: ground.running_runtimes,
            runtimes_way: ground.runtimes,
            event_sources,
            async_invocations,
            api_listener: ground.api_listener,
            stop_api,
            api_thread,
            writer,
            logs: ground.logs,
            events: ground.events,
            stop_meter,
            meter_thread,
            watching_principals: ground.watching_principals,
            access: ground.access,
            is_standing: standing.is_some(),
            keeper,
            _watching: watching,
            _store: store,
        })
    }

    /// Whether the control thread has ended by its own decision, which it makes when another daemon took over.
    pub fn has_lost_control(&self) -> bool {
        self.control.is_closed()
    }

    /// Whether the control thread or the store's writer has ended by a fault; traffic flows on by the last table.
    pub fn has_crashed(&self) -> bool {
        !self.has_lost_control() && (self.control_thread.is_finished() || self.writer.has_ended())
    }

    /// Whether there is no store, so that the router serves the last table; it has crashed once there is one again.
    pub fn is_standing(&self) -> bool {
        self.is_standing
    }

    /// Tries whether a change could be stored now, and another process could open the store; waits for the disk.
    pub fn trial(&self) -> impl FnOnce() -> Result<(), StoreError> + Send + 'static {
        // Where control or writer is gone, another process is the way out.
        let answer = (!self.has_crashed()).then(|| self.writer.try_out());
        move || {
            let slow = || StoreError::Unreadable {
                what: "the disk".to_owned(),
                why: "it takes too long".to_owned(),
            };
            answer.map_or(Ok(()), |answer| store::wait_for(&answer, TRY_MAX).unwrap_or_else(|| Err(slow())))
        }
    }

    /// Reads the router's certificates and the principals again; what comes of it is in the log.
    pub fn reread_files(&self) {
        self.router.reload_certificates();
        self.watching_principals.look();
    }

    /// How many turns the control thread has made.
    pub fn turns(&self) -> u64 {
        self.control.turns()
    }

    /// Whether everything wants to know who asks.
    pub fn wants_credentials(&self) -> bool {
        self.access.now().wants_credentials()
    }

    /// What this machine lacks that would keep functions apart, in sentences, and why none are made from zips if so.
    pub fn lacking(&self) -> Vec<String> {
        let refusal = self.runtimes_way.refusal();
        self.runtimes_way.lacking().into_iter().chain(refusal).collect()
    }

    /// How many principals may do anything, and how many what policies allow.
    pub fn principals(&self) -> (usize, usize) {
        self.access.now().principals()
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
        let begun = clock::instant_now();
        self.event_sources.stop();
        self.async_invocations.stop();
        let drained = self.router.shutdown(drain);
        // The requests that anybody waits for have ended; what is left runs for callers that went away.
        let ended = self.runtimes.shut_down(Duration::ZERO);
        let emptied = self.event_sources.end(QUEUES_GRACE);
        let carried = self.async_invocations.end(QUEUES_GRACE);
        drop(self.api_listener);
        let left = drain.saturating_sub(clock::instant_now().duration_since(begun));
        self.stop_api.send_replace(Some(left.clamp(API_GRACE_MIN, API_GRACE_MAX)));
        let served = join(self.api_thread, "the API").and_then(|served| Ok(served?));
        self.control.close();
        let decided = join(self.control_thread, "the control plane");
        drop(self.stop_meter);
        let metered = join(self.meter_thread, "the meter");
        self.logs.close();
        self.events.close();
        drop(self.keeper);
        self.writer.close();
        // The lock goes last: who has it may write.
        drop(self._store);
        drained.context("the router did not end well")?;
        ended.context("the functions did not end well")?;
        emptied.context("the event sources did not end well")?;
        carried.context("the asynchronous invocations did not end well")?;
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

/// From where on the chain of the journal vouches for the store of a data directory.
pub fn notes_of_store(dir: &Path) -> anyhow::Result<Vec<String>> {
    Ok(store::notes(dir)?)
}

/// A copy of the store of a data directory, whether or not a daemon runs on it; it has no name.
pub fn copy_of_store(dir: &Path) -> anyhow::Result<File> {
    Ok(store::copy_of(dir)?)
}

/// Puts a backup in the place of a store, and tells where the store that was there is kept.
pub fn restore_store(dir: &Path, from: &Path) -> anyhow::Result<Option<PathBuf>> {
    Ok(store::restore(dir, from, &holder("restore"))?)
}

/// Names what plans of the directory, and those of live rollouts, want and this daemon is not given.
fn lacking(outside: &OutsideSettings, book: &PlanBook, world: &World) -> Vec<String> {
    let of_files = book
        .files
        .iter()
        .filter_map(|(name, file)| Some((format!("the plan {name}"), &file.read.as_ref()?.plan)));
    let live = world.live.iter().filter_map(|id| world.rollout(*id));
    let of_live =
        live.map(|rollout| (format!("the live rollout of {}", rollout.record.alias), &rollout.plan));
    let lacks = |(who, plan): (String, &Arc<Plan>)| {
        let lacks = outside.lacks(plan, true).into_iter();
        lacks.map(move |lack| format!("{who} wants {lack}")).collect::<Vec<_>>()
    };
    of_files.chain(of_live).flat_map(lacks).collect()
}

/// What whoever runs functions from zips must know, where they are not kept apart as new ones would have to be.
fn alarm(runtimes: &Runtimes, world: &World) -> Option<String> {
    if world.named_code().is_empty() {
        return None;
    }
    let refusal = runtimes.refusal()?;
    let alarm =
        format!("functions from zips that are here already go on without a wall around them: {refusal}");
    tracing::error!("{alarm}");
    Some(alarm)
}

/// Whom serin knows.
fn access(config: &ServeConfig) -> anyhow::Result<Arc<AccessControl>> {
    config.check()?;
    let outside = OutsideSettings { ca: config.plan_ca.clone(), ..OutsideSettings::default() };
    outside.check().map_err(|why| anyhow::anyhow!("--plan-ca: {why}"))?;
    let access = AccessControl::open(config.token.as_deref(), config.principals.as_deref());
    Ok(Arc::new(access.context("cannot tell who may ask")?))
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
    mut stopping: watch::Receiver<Option<Duration>>,
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
            let clients = Arc::clone(&api.clients);
            let runtimes = api.runtimes.clone();
            let served = api::serve(listener, api::routes(api), clients, runtimes, stopping.clone());
            // Streams of events never end by themselves: what is open a moment after is cut.
            let cut = async move {
                loop {
                    let grace = *stopping.borrow_and_update();
                    let waited = async {
                        match grace {
                            Some(grace) => tokio::time::sleep(grace).await,
                            None => std::future::pending().await,
                        }
                    };
                    tokio::select! {
                        () = waited => return,
                        // Another grace begins anew; nobody left who could give one is an end, too.
                        changed = stopping.changed() => if changed.is_err() { return },
                    }
                }
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
