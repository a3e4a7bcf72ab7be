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
use tokio::task::{JoinHandle as JoinTask, spawn_local};
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};

use super::connection;
use super::drain::Drain;
use super::handle::{InvokeHandle, Job};
use super::invoke::{Payload, invoke};
use super::settings::RouterConfig;
use super::table::RoutingTable;
use super::worker::Worker;
use crate::clock;
use crate::metrics::recorder::Writer;

/// Connections that may wait to be accepted, on each thread.
const BACKLOG: i32 = 1024;
/// How long accepting pauses when the process has no descriptor left, at first and at most.
const PAUSE_MIN: Duration = Duration::from_millis(5);
const PAUSE_MAX: Duration = Duration::from_secs(1);
/// How often a worker closes connections that were idle too long.
const SWEEP_EVERY: Duration = Duration::from_secs(1);

/// A router that has its addresses and does not accept yet: clients wait in the kernel's queue.
pub struct Router {
    config: RouterConfig,
    table: Arc<RoutingTable>,
    listeners: Vec<StdListener>,
    local_addr: SocketAddr,
    handle: InvokeHandle,
    jobs: Vec<mpsc::Receiver<Job>>,
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
        if config.addr.port() != 0 {
            let alone = Socket::new(Domain::for_address(config.addr), Type::STREAM, Some(Protocol::TCP))?;
            alone.set_reuse_address(true)?;
            alone.bind(&config.addr.into())?;
        }
        let first = listen(config.addr)?;
        let local_addr = first.local_addr()?;
        let mut listeners = vec![first];
        for _ in 1..workers {
            listeners.push(listen(local_addr)?);
        }
        Router::on(config, table, listeners)
    }

    /// Takes sockets over that another process listens on, or did; there must be one at least.
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
        let local_addr = listeners.first().ok_or_else(none)?.local_addr()?;
        // Whoever made them may have had other uses; here nobody waits in a call.
        listeners.iter().try_for_each(|listener| listener.set_nonblocking(true))?;
        let (handle, jobs) = InvokeHandle::new(config.worker_count());
        Ok(Router { config, table, listeners, local_addr, handle, jobs })
    }

    /// Where it listens.
    pub fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    /// The way in for Invokes from other listeners.
    pub fn invoke_handle(&self) -> InvokeHandle {
        self.handle.clone()
    }

    /// Starts to accept, on as many threads as there are workers; returns once all of them do.
    pub fn run(self) -> io::Result<RunningRouter> {
        let Router { config, table, listeners, local_addr, handle, jobs } = self;
        let (order, orders) = watch::channel(Order::Serve);
        let left = Arc::new(AtomicUsize::new(0));
        let sockets = listeners.iter().map(StdListener::try_clone).collect::<io::Result<_>>()?;
        // Dropped on the way out if a thread cannot start, which stops those that have.
        let mut running = RunningRouter {
            order,
            threads: Vec::new(),
            local_addr,
            handle,
            sockets,
            left: Arc::clone(&left),
        };
        let mut shares: Vec<Vec<StdListener>> = jobs.iter().map(|_| Vec::new()).collect();
        for index in 0..listeners.len().max(jobs.len()) {
            shares[index % jobs.len()].push(listeners[index % listeners.len()].try_clone()?);
        }
        drop(listeners);
        let (started, starting) = std::sync::mpsc::channel();
        for (index, (listeners, jobs)) in shares.into_iter().zip(jobs).enumerate() {
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
                runtime.block_on(work(writer, config, &table, listeners, jobs, (orders, left)));
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
    listeners: Vec<StdListener>,
) -> io::Result<(Writer, LocalRuntime, Vec<TcpListener>)> {
    let writer = table.recorder().writer(index).ok_or_else(|| {
        io::Error::new(io::ErrorKind::AlreadyExists, "another router counts with the same recorder")
    })?;
    let runtime = runtime::Builder::new_current_thread().enable_all().build_local(Default::default())?;
    let listeners = {
        let _registers_here = runtime.enter();
        listeners.into_iter().map(TcpListener::from_std).collect::<io::Result<_>>()?
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
    handle: InvokeHandle,
    /// The listening sockets once more, so that they can be handed over.
    sockets: Vec<StdListener>,
    /// How many threads have had everybody leave.
    left: Arc<AtomicUsize>,
}

impl RunningRouter {
    /// Where it listens.
    pub fn local_addr(&self) -> SocketAddr {
        self.local_addr
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
    listeners: Vec<TcpListener>,
    mut jobs: mpsc::Receiver<Job>,
    (mut orders, left): (watch::Receiver<Order>, Arc<AtomicUsize>),
) {
    // Before the worker takes its first table, so that it hears of the next.
    let mut published = table.published();
    let worker = Rc::new(Worker::new(writer, table, &config));
    let drain = Rc::new(Drain::default());
    let accept = |listener| spawn_local(accept(Rc::clone(&worker), listener, Rc::clone(&drain)));
    let mut accepting: Vec<JoinTask<()>> = listeners.into_iter().map(accept).collect();
    let sweeping = spawn_local(sweep(Rc::clone(&worker)));
    let outbox = Rc::clone(&worker.outbox);
    let sending = spawn_local(async move { outbox.run().await });
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
    drain.begin();
    // Over in time or not, what is left is closed with the runtime.
    let _ = timeout(grace, drain.ended()).await;
    sending.abort();
}

async fn stop_accepting(accepting: &mut Vec<JoinTask<()>>) {
    for task in accepting.drain(..) {
        task.abort();
        // It is cancelled while it waits; nothing else can come of waiting for it.
        let _ = task.await;
    }
}

async fn accept(worker: Rc<Worker>, listener: TcpListener, drain: Rc<Drain>) {
    let http = Rc::new(connection::http(&worker.timeouts));
    let mut pause = PAUSE_MIN;
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => {
                pause = PAUSE_MIN;
                let (worker, http) = (Rc::clone(&worker), Rc::clone(&http));
                spawn_local(connection::serve(worker, http, stream, peer, drain.enter()));
            }
            Err(error) if is_of_one_connection(&error) => {}
            Err(error) => {
                // Most likely no descriptor is left. Trying again at once would spin; those that end meanwhile
                // give theirs back.
                if pause == PAUSE_MIN {
                    tracing::warn!(%error, "accepting connections pauses");
                }
                sleep(pause).await;
                pause = (pause * 2).min(PAUSE_MAX);
            }
        }
    }
}

fn is_of_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted)
}

async fn sweep(worker: Rc<Worker>) {
    let mut ticks = interval(SWEEP_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        worker.pool.sweep(clock::instant_now());
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
    // A caller that went away just now is as good as answered.
    let _ = answer.send(response);
}
