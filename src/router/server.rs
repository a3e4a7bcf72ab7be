//! The router's threads: one a core, each with its own listener on the same address.
//!
//! The kernel spreads connections over the listeners (SO_REUSEPORT), and a connection stays on its thread; so do
//! its requests, its upstream connections and its counters.
//!
//! The sockets outlive a process whose successor was given them: whoever waits on one is accepted by the other.

use std::io;
use std::net::{SocketAddr, TcpListener as StdListener};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::TcpListener;
use tokio::runtime::{self, LocalRuntime};
use tokio::sync::{mpsc, watch};
use tokio::task::{JoinHandle as JoinTask, spawn_local, yield_now};
use tokio::time::{MissedTickBehavior, interval, timeout};

use super::budget::PayloadBudget;
use super::connection::{self, ConnectionContext};
use super::drain::Drain;
use super::handle::{InvokeBody, InvokeHandle, Job};
use super::health;
use super::invoke::{Invoked, Payload, invoke};
use super::invoke_stream::Streamed;
use super::pool::Detached;
use super::settings::RouterConfig;
use super::table::RoutingTable;
use super::tls::{Tls, Watching};
use super::worker::Worker;
use crate::clock::{self, BEAT_EVERY, Heart};
use crate::metrics::certificate::CertificateState;
use crate::metrics::connections::{Connections, Permit};
use crate::metrics::recorder::Writer;
use crate::sockets::Pause;

/// Connections that may wait to be accepted, on each thread.
const BACKLOG: i32 = 4096;
/// So many connections are accepted before those that are here already are looked at again: however many come at once,
/// their heads and what follows from them stand in line with everybody's requests and not before them.
const ACCEPTED_AT_ONCE_MAX: usize = 8;
/// So often others may have their turn before a connection gives up its place for a new one.
const TURNS_TO_LEAVE: usize = 3;
/// How often a worker closes connections that were idle too long, or whose clients are gone.
const SWEEP_EVERY: Duration = Duration::from_secs(1);

/// A router that has its addresses and does not accept yet: clients wait in the kernel's queue.
pub struct Router {
    config: RouterConfig,
    table: Arc<RoutingTable>,
    sockets: Sockets<StdListener>,
    tls: Option<Arc<Tls>>,
    connections: Arc<Connections>,
    handle: InvokeHandle,
    jobs: Vec<mpsc::Receiver<Job>>,
}

/// Listening sockets, by what is spoken on them.
struct Sockets<L> {
    plain: Vec<L>,
    tls: Vec<L>,
}

impl Router {
    /// Takes the address for every worker; port 0 becomes a free one.
    ///
    /// Fails where another process has it, although the kernel would let two processes share it: half of the
    /// traffic would go to somebody else.
    pub fn bind(config: RouterConfig, table: Arc<RoutingTable>) -> io::Result<Router> {
        let workers = config.worker_count();
        if workers > table.recorder().worker_count() {
            let text = format!(
                "{workers} router workers, but the recorder counts for {}",
                table.recorder().worker_count()
            );
            return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
        }
        let listeners = listen_alone(config.addr, workers)?;
        Router::on(config, table, listeners)
    }

    /// Takes sockets over that another process listens on, or did; there must be one at least.
    ///
    /// Those with the first one's address are for plain connections, and all others for TLS. Where there is none for
    /// TLS and there is to be one, its address is taken anew, for no one waits there.
    ///
    /// With fewer workers than sockets some accept from several, for connections wait on all of them; with more, some
    /// sockets have several workers. None is added: if this process is lost, so is every socket that is its alone, and
    /// with it whoever waits there.
    pub fn on(
        config: RouterConfig,
        table: Arc<RoutingTable>,
        listeners: Vec<StdListener>,
    ) -> io::Result<Router> {
        let none = || io::Error::new(io::ErrorKind::InvalidInput, "no socket to listen on was handed over");
        let plain_addr = listeners.first().ok_or_else(none)?.local_addr()?;
        // Whoever made them may have had other uses; here nobody waits in a call.
        listeners.iter().try_for_each(|listener| listener.set_nonblocking(true))?;
        let is_plain = |listener: &StdListener| listener.local_addr().is_ok_and(|addr| addr == plain_addr);
        let (plain, mut tls) = listeners.into_iter().partition(is_plain);
        let (handle, jobs) = InvokeHandle::new(config.worker_count());
        let serves_tls = match &config.tls {
            None => {
                tls = Vec::new();
                None
            }
            Some(over) => {
                let files = over.files.clone();
                let loaded = Tls::load(files)
                    .map_err(|why| io::Error::new(io::ErrorKind::InvalidInput, format!("no TLS: {why}")))?;
                if tls.is_empty() {
                    tls = listen_alone(over.addr, config.worker_count())?;
                }
                Some(Arc::new(loaded))
            }
        };
        let connections = Connections::new(config.limits);
        Ok(Router {
            config,
            table,
            sockets: Sockets { plain, tls },
            tls: serves_tls,
            connections,
            handle,
            jobs,
        })
    }

    /// Where it listens for plain connections.
    pub fn local_addr(&self) -> SocketAddr {
        addr_of(&self.sockets.plain).expect("a router has a plain socket, which is bound")
    }

    /// The way in for Invokes from other listeners.
    pub fn invoke_handle(&self) -> InvokeHandle {
        self.handle.clone()
    }

    /// Starts to accept, on as many threads as there are workers; returns once all of them do.
    pub fn run(self) -> io::Result<RunningRouter> {
        let local_addr = self.local_addr();
        let Router { config, table, sockets: listeners, tls, connections, handle, jobs } = self;
        let tls_addr = addr_of(&listeners.tls);
        let watching = tls.clone().map(Watching::begin).transpose()?;
        let (order, orders) = watch::channel(Order::Serve);
        let left = Arc::new(AtomicUsize::new(0));
        let sockets = listeners.plain.iter().chain(&listeners.tls).map(StdListener::try_clone);
        let sockets = sockets.collect::<io::Result<_>>()?;
        // Dropped on the way out if a thread cannot start, which stops those that have.
        let mut running = RunningRouter {
            order,
            threads: Vec::new(),
            local_addr,
            tls_addr,
            handle,
            sockets,
            connections: Arc::clone(&connections),
            watching,
            certificate: tls.as_ref().map(|tls| tls.state()),
            left: Arc::clone(&left),
        };
        let plain = shares(&listeners.plain, jobs.len())?;
        let shares = plain.into_iter().zip(shares(&listeners.tls, jobs.len())?);
        drop(listeners);
        let payloads = Arc::<PayloadBudget>::default();
        let (started, starting) = std::sync::mpsc::channel();
        for (index, (listeners, jobs)) in shares.zip(jobs).enumerate() {
            let listeners = Sockets { plain: listeners.0, tls: listeners.1 };
            let shared = (tls.clone(), Arc::clone(&connections), Arc::clone(&payloads));
            let (config, table, started) = (config.clone(), Arc::clone(&table), started.clone());
            let (orders, left) = (orders.clone(), Arc::clone(&left));
            let thread = move || {
                let (writer, runtime, listeners) = match claim(&table, index, listeners) {
                    Ok(claimed) => claimed,
                    Err(error) => {
                        // As below.
                        let _ = started.send(Err(error));
                        return;
                    }
                };
                // Nobody waits any more if another thread could not start; then this one is stopped at once.
                let _ = started.send(Ok(()));
                drop(started);
                runtime.block_on(work(writer, config, &table, listeners, jobs, shared, (orders, left)));
                // Does not wait for the look-up of a name that nobody waits for any more.
                runtime.shutdown_background();
            };
            running.threads.push(std::thread::Builder::new().name(format!("router-{index}")).spawn(thread)?);
        }
        drop(started);
        let started = starting.into_iter().collect::<io::Result<Vec<()>>>()?;
        if started.len() < running.threads.len() {
            return Err(io::Error::other("a router thread panicked before it could accept"));
        }
        Ok(running)
    }
}

/// What a thread needs before it can serve.
fn claim(
    table: &RoutingTable,
    index: usize,
    listeners: Sockets<StdListener>,
) -> io::Result<(Writer, LocalRuntime, Sockets<TcpListener>)> {
    let writer = table.recorder().writer(index).ok_or_else(|| {
        io::Error::new(io::ErrorKind::AlreadyExists, "another router counts with the same recorder")
    })?;
    let runtime = runtime::Builder::new_current_thread().enable_all().build_local(Default::default())?;
    let listeners = {
        let _registers_here = runtime.enter();
        let registered = |listeners: Vec<StdListener>| -> io::Result<Vec<TcpListener>> {
            listeners.into_iter().map(TcpListener::from_std).collect()
        };
        Sockets { plain: registered(listeners.plain)?, tls: registered(listeners.tls)? }
    };
    Ok((writer, runtime, listeners))
}

/// What the threads are to do.
#[derive(Clone, Copy, Debug)]
enum Order {
    /// Accept and answer.
    Serve,
    /// Accept no more, and see connections off with their next answer.
    Leave,
    /// Accept no more, and end within so long.
    Stop(Duration),
}

/// A router that accepts; when it is dropped without a shutdown, its connections are cut.
pub struct RunningRouter {
    order: watch::Sender<Order>,
    threads: Vec<JoinHandle<()>>,
    local_addr: SocketAddr,
    tls_addr: Option<SocketAddr>,
    handle: InvokeHandle,
    connections: Arc<Connections>,
    /// Looks after the certificates, where there are any.
    watching: Option<Watching>,
    certificate: Option<Arc<CertificateState>>,
    /// The listening sockets once more, so that they can be handed over.
    sockets: Vec<StdListener>,
    /// How many threads have had everybody leave.
    left: Arc<AtomicUsize>,
}

impl RunningRouter {
    /// Where it listens for plain connections.
    pub fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    /// Where it listens for TLS, if it does.
    pub fn tls_addr(&self) -> Option<SocketAddr> {
        self.tls_addr
    }

    /// Its clients' connections, counted.
    pub fn connections(&self) -> Arc<Connections> {
        Arc::clone(&self.connections)
    }

    /// The certificate that it serves, if it listens for TLS.
    pub fn certificate(&self) -> Option<Arc<CertificateState>> {
        self.certificate.clone()
    }

    /// Reads the certificates again, soon and elsewhere; what comes of it is in the log.
    pub fn reload_certificates(&self) {
        if let Some(watching) = &self.watching {
            watching.look();
        }
    }

    /// The way in for Invokes from other listeners.
    pub fn invoke_handle(&self) -> InvokeHandle {
        self.handle.clone()
    }

    /// The listening sockets, for a process that is to accept from them, too.
    pub fn sockets(&self) -> io::Result<Vec<StdListener>> {
        self.sockets.iter().map(StdListener::try_clone).collect()
    }

    /// Stops accepting, for somebody else accepts from the same sockets; connections end with their next answer.
    ///
    /// Invokes from other listeners are answered on, until the shutdown.
    pub fn leave(&self) {
        self.order.send_replace(Order::Leave);
    }

    /// Whether nobody was left on any thread once, after `leave`.
    pub fn has_left(&self) -> bool {
        self.left.load(Ordering::Relaxed) >= self.threads.len()
    }

    /// Lets go of the sockets, which others have; without others, whoever waits on them is reset.
    pub fn forget_sockets(&mut self) {
        self.sockets.clear();
    }

    /// Stops accepting, lets requests under way end for at most `grace`, and closes what is left.
    ///
    /// Blocks until then; from async code, call it where blocking is allowed. Fails if a thread had panicked.
    pub fn shutdown(mut self, grace: Duration) -> io::Result<()> {
        self.forget_sockets();
        self.order.send_replace(Order::Stop(grace));
        // All of them are waited for, also after one that panicked.
        let ended: Vec<_> = self.threads.drain(..).map(JoinHandle::join).collect();
        let has_panicked = ended.iter().any(Result::is_err);
        if has_panicked { Err(io::Error::other("a router thread panicked")) } else { Ok(()) }
    }
}

impl Drop for RunningRouter {
    fn drop(&mut self) {
        self.forget_sockets();
        self.order.send_if_modified(|order| {
            let is_new = !matches!(order, Order::Stop(_));
            if is_new {
                *order = Order::Stop(Duration::ZERO);
            }
            is_new
        });
    }
}

fn addr_of(listeners: &[StdListener]) -> Option<SocketAddr> {
    listeners.first()?.local_addr().ok()
}

/// What each of so many workers accepts from: with fewer sockets than workers, some have the same.
fn shares(listeners: &[StdListener], workers: usize) -> io::Result<Vec<Vec<StdListener>>> {
    let mut shares: Vec<Vec<StdListener>> = (0..workers).map(|_| Vec::new()).collect();
    if !listeners.is_empty() {
        for index in 0..listeners.len().max(workers) {
            shares[index % workers].push(listeners[index % listeners.len()].try_clone()?);
        }
    }
    Ok(shares)
}

/// Listens on an address that nobody else has, with as many sockets as there are workers.
fn listen_alone(addr: SocketAddr, workers: usize) -> io::Result<Vec<StdListener>> {
    if addr.port() != 0 {
        let alone = Socket::new(Domain::for_address(addr), Type::STREAM, Some(Protocol::TCP))?;
        alone.set_reuse_address(true)?;
        alone.bind(&addr.into())?;
    }
    let first = listen(addr)?;
    let local_addr = first.local_addr()?;
    let mut listeners = vec![first];
    for _ in 1..workers {
        listeners.push(listen(local_addr)?);
    }
    Ok(listeners)
}

fn listen(addr: SocketAddr) -> io::Result<StdListener> {
    let socket = Socket::new(Domain::for_address(addr), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&addr.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// One thread's life.
async fn work(
    writer: Writer,
    config: RouterConfig,
    table: &RoutingTable,
    listeners: Sockets<TcpListener>,
    mut jobs: mpsc::Receiver<Job>,
    (tls, connections, payloads): (Option<Arc<Tls>>, Arc<Connections>, Arc<PayloadBudget>),
    (mut orders, left): (watch::Receiver<Order>, Arc<AtomicUsize>),
) {
    // Before the worker takes its first table, so that it hears of the next.
    let mut published = table.published();
    let worker = Rc::new(Worker::new(writer, table, &config, (connections, payloads)));
    let drain = Rc::new(Drain::default());
    let door = |tls| Rc::new(ConnectionContext::new(&config.timeouts, config.wants_proxy_header, tls));
    let (plain, tls) = (door(None), door(tls));
    let accept = |listener, door: &Rc<ConnectionContext>| {
        spawn_local(accept(Rc::clone(&worker), listener, Rc::clone(door), Rc::clone(&drain)))
    };
    let mut accepting: Vec<JoinTask<()>> =
        listeners.plain.into_iter().map(|listener| accept(listener, &plain)).collect();
    accepting.extend(listeners.tls.into_iter().map(|listener| accept(listener, &tls)));
    // One asks for all, and it is the first.
    let asking = (worker.writer.worker() == 0)
        .then(|| Detached::run(health::run(Rc::clone(&worker), table.published())));
    let sweeping = spawn_local(sweep(Rc::clone(&worker), Rc::clone(&drain)));
    let beating = spawn_local(beat(Arc::clone(table.heart())));
    let of_sending = Rc::clone(&worker);
    let sending = spawn_local(async move { of_sending.outbox.run(|| of_sending.hand_over_lines()).await });
    let outbox = Rc::clone(&worker.outbox);
    let turning = spawn_local(async move { outbox.take_turns().await });
    let mut has_left = false;
    let grace = loop {
        tokio::select! {
            Some(job) = jobs.recv() => {
                spawn_local(do_job(Rc::clone(&worker), job, Rc::clone(&drain)));
            }
            Ok(()) = published.changed() => worker.refresh(),
            () = drain.ended(), if drain.is_leaving() && !has_left => {
                has_left = true;
                left.fetch_add(1, Ordering::Relaxed);
            }
            ordered = orders.changed() => {
                // Without a sender there is nobody who could wait.
                let order = ordered.map_or(Order::Stop(Duration::ZERO), |()| *orders.borrow_and_update());
                match order {
                    Order::Serve => {}
                    Order::Leave => {
                        stop_accepting(&mut accepting).await;
                        drain.leave();
                    }
                    Order::Stop(grace) => break grace,
                }
            }
        }
    };
    jobs.close();
    while let Ok(job) = jobs.try_recv() {
        spawn_local(do_job(Rc::clone(&worker), job, Rc::clone(&drain)));
    }
    // Ends the listeners, too; where nobody else has them, whoever waits in their queues is reset and connects elsewhere.
    stop_accepting(&mut accepting).await;
    sweeping.abort();
    beating.abort();
    drop(asking);
    drain.begin();
    // Over in time or not, what is left is closed with the runtime.
    let _ = timeout(grace, drain.ended()).await;
    worker.hand_over_lines();
    sending.abort();
    turning.abort();
}

/// Shows that this thread has its turns, and with it everybody whom it serves.
async fn beat(heart: Arc<Heart>) {
    let mut ticks = interval(BEAT_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        heart.beat();
    }
}

async fn stop_accepting(accepting: &mut Vec<JoinTask<()>>) {
    for task in accepting.drain(..) {
        task.abort();
        // It is cancelled while it waits; nothing else can come of waiting for it.
        let _ = task.await;
    }
}

async fn accept(worker: Rc<Worker>, listener: TcpListener, door: Rc<ConnectionContext>, drain: Rc<Drain>) {
    let mut pause = Pause::default();
    let mut accepted = 0;
    loop {
        if accepted == ACCEPTED_AT_ONCE_MAX {
            accepted = 0;
            yield_now().await;
        }
        match listener.accept().await {
            Ok((stream, peer)) => {
                pause.ends();
                accepted += 1;
                let Some(permit) = admit(&worker.connections, &drain).await else {
                    door.turn_away(&stream);
                    continue;
                };
                let (worker, door) = (Rc::clone(&worker), Rc::clone(&door));
                spawn_local(connection::serve(worker, door, stream, peer, drain.enter_silent(), permit));
            }
            Err(error) => pause.after(&error).await,
        }
    }
}

/// Counts a connection in; where there is no room, in the place of one that asks for nothing.
///
/// Whoever connects and says nothing, or half a head, must not keep those out who ask for something; nor must those who
/// have asked and may ask again, for they may as well connect again.
async fn admit(connections: &Arc<Connections>, drain: &Drain) -> Option<Permit> {
    for _ in 0..TURNS_TO_LEAVE {
        if let Some(permit) = connections.try_admit() {
            return Some(permit);
        }
        if !drain.is_evicting()
            && let Some(why) = drain.evict()
        {
            connections.refuse(why);
        }
        yield_now().await;
    }
    connections.admit()
}

async fn sweep(worker: Rc<Worker>, drain: Rc<Drain>) {
    let mut ticks = interval(SWEEP_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let now = clock::instant_now();
        worker.pool.sweep(now);
        worker.shared.sweep(now);
        worker.names.refresh(now);
        worker.try_places(now);
        drain.end_those_that_were_reset();
    }
}

/// Answers one Invoke from another listener, unless its caller goes away first.
async fn do_job(worker: Rc<Worker>, job: Job, drain: Rc<Drain>) {
    let _guard = drain.enter();
    let Job { request, mut answer } = job;
    let response = tokio::select! {
        response = invoke(&worker, request.map(Payload::Whole)) => response,
        () = answer.closed() => return,
    };
    // Its answer does not wait for the end of the turn.
    worker.hand_over_lines();
    match response {
        // A caller that went away just now is as good as answered.
        Invoked::Whole(response) => _ = answer.send(response.map(InvokeBody::Whole)),
        Invoked::Streamed(Streamed { response, making }) => {
            if answer.send(response.map(InvokeBody::Pieces)).is_ok() {
                making.await;
            }
        }
    }
}
