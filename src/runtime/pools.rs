//! The processes of every version: who is idle, who waits, and when another one is started or ended.
//!
//! All of it is one thread's. An invocation takes an idle process, one that is kept ready first, or waits while one more is
//! started; whichever process is ready first takes it.

use std::cell::RefCell;
use std::collections::{HashMap, VecDeque};
use std::io;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, mpsc, oneshot};
use tokio::task::spawn_local;
use tokio::time::{sleep, timeout};

use super::apart::Apart;
use super::availability::Availability;
use super::cgroup::Groups;
use super::code::UnpackedCode;
use super::instance;
use super::sandbox::Sandbox;
use super::watchdog::Watchdog;
use super::{Invocation, Outcome, Permit, ProcessCount, RuntimeConfig, Unavailable};
use crate::code::CodeDirectory;
use serin_core::lambda::process::ProcessTarget;
use serin_core::model::arn::{FunctionName, VersionId};

/// How long a provisioned process that could not start is left alone.
const TRY_AGAIN_AFTER: Duration = Duration::from_secs(5);
/// How often it is tried to make ready on a disk that takes nothing.
const OPEN_EVERY: Duration = Duration::from_secs(2);
/// How long processes have to end once there is nothing left to do.
const LEAVE_MAX: Duration = Duration::from_secs(5);

/// What the thread is told.
pub(super) enum Message {
    Run(Box<Job>),
    Provision(FunctionName, Vec<(VersionId, Arc<ProcessTarget>, u32)>),
    Count { function: FunctionName, version: VersionId, answer: oneshot::Sender<ProcessCount> },
    Forget(FunctionName, Option<VersionId>),
    Stop(Duration),
}

/// One invocation and who waits for it.
pub(super) struct Job {
    pub(super) invocation: Invocation,
    pub(super) permit: Permit,
    pub(super) answer: oneshot::Sender<Result<Outcome, Unavailable>>,
}

/// A function and one of its versions.
pub(super) type Key = (FunctionName, VersionId);

/// Which process of which pool.
#[derive(Clone)]
pub(super) struct Seat {
    pub(super) key: Key,
    /// The pool, of which a version may have had others.
    pool: u64,
    process: u64,
    /// Whether it is kept ready, rather than started for an invocation.
    pub(super) is_provisioned: bool,
}

/// What a process is to do next.
#[expect(clippy::large_enum_variant, reason = "moved once an invocation, and never kept")]
pub(super) enum Next {
    Run(Job),
    /// Wait for work that comes here, and leave when none can come any more.
    Wait(mpsc::UnboundedReceiver<Job>),
    Leave,
}

struct Pool {
    id: u64,
    target: Arc<ProcessTarget>,
    /// The one used last at the end.
    idle: Vec<Idle>,
    starting: usize,
    alive: usize,
    /// Those of them that are kept ready, and those of these that have not begun.
    kept_ready: usize,
    kept_starting: usize,
    /// Whether the last one that was to be kept ready could not begin, by the function's own doing.
    has_failed: bool,
    waiting: VecDeque<Job>,
    provisioned: usize,
}

/// A process that waits for work.
struct Idle {
    process: u64,
    is_provisioned: bool,
    jobs: mpsc::UnboundedSender<Job>,
}

impl Pool {
    fn new(id: u64, target: Arc<ProcessTarget>) -> Pool {
        Pool {
            id,
            target,
            idle: Vec::new(),
            starting: 0,
            alive: 0,
            kept_ready: 0,
            kept_starting: 0,
            has_failed: false,
            waiting: VecDeque::new(),
            provisioned: 0,
        }
    }

    /// Takes the idle process that is used next: one that is kept ready, as on Lambda, and the one used last.
    fn take_idle(&mut self) -> Option<Idle> {
        let place = self.idle.iter().rposition(|idle| idle.is_provisioned);
        place.map(|place| self.idle.remove(place)).or_else(|| self.idle.pop())
    }

    fn count(&self) -> ProcessCount {
        let number = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
        ProcessCount {
            begun: number(self.alive.saturating_sub(self.starting)),
            idle: number(self.idle.len()),
            kept_ready: number(self.kept_ready.saturating_sub(self.kept_starting)),
            has_failed: self.has_failed,
        }
    }

    fn is_unused(&self) -> bool {
        self.alive == 0 && self.waiting.is_empty() && self.provisioned == 0
    }
}

/// Everything the thread owns.
pub(super) struct ProcessManager {
    pub(super) config: RuntimeConfig,
    pub(super) sandbox: Sandbox,
    pub(super) code: Arc<UnpackedCode>,
    pub(super) availability: Arc<Availability>,
    pub(super) apart: Arc<Apart>,
    /// Control groups for processes, where serin may make any.
    pub(super) groups: Option<Arc<Groups>>,
    pub(super) watchdog: RefCell<Watchdog>,
    state: RefCell<State>,
    somebody_left: Notify,
}

#[derive(Default)]
struct State {
    pools: HashMap<Key, Pool>,
    /// All processes, also those whose pool is gone.
    alive: usize,
    last_id: u64,
    is_stopping: bool,
}

impl State {
    fn new_id(&mut self) -> u64 {
        self.last_id += 1;
        self.last_id
    }

    fn pool(&mut self, seat: &Seat) -> Option<&mut Pool> {
        self.pools.get_mut(&seat.key).filter(|pool| pool.id == seat.pool)
    }
}

/// Opens it as soon as the disk lets it; until then nothing is run. `None` where it is told to stop before.
pub(super) async fn open_in_time(
    open: impl Fn() -> io::Result<Rc<ProcessManager>>,
    why: io::Error,
    messages: &mut mpsc::UnboundedReceiver<Message>,
) -> Option<Rc<ProcessManager>> {
    tracing::error!("functions from zips cannot be run: {why}; that is tried again");
    let mut waiting = Vec::new();
    let mut next = tokio::time::interval(OPEN_EVERY);
    loop {
        let message = tokio::select! {
            _ = next.tick() => {
                let Ok(house) = open() else { continue };
                tracing::info!("functions from zips can be run");
                for (function, versions) in waiting {
                    house.provision(&function, versions);
                }
                return Some(house);
            }
            message = messages.recv() => message?,
        };
        match message {
            Message::Run(job) => {
                let said = format!("functions cannot be run now ({why}); that is tried again");
                // Whoever asked may have gone, as below.
                let _ = job.answer.send(Err(Unavailable(said)));
            }
            Message::Provision(function, versions) => waiting.push((function, versions)),
            Message::Count { answer, .. } => _ = answer.send(ProcessCount::default()),
            Message::Forget(function, version) => waiting.iter_mut().for_each(|(of, versions)| {
                versions
                    .retain(|(number, ..)| *of != function || version.is_some_and(|gone| gone != *number));
            }),
            Message::Stop(_) => return None,
        }
    }
}

impl ProcessManager {
    pub(super) fn open(
        config: RuntimeConfig,
        code: CodeDirectory,
        (availability, apart): (Arc<Availability>, Arc<Apart>),
        data_dir: &Path,
    ) -> io::Result<Rc<ProcessManager>> {
        let sandbox = Sandbox::open(apart.wanted_user(), data_dir, config.is_beside)?;
        apart.try_in(sandbox.clone());
        let code = Arc::new(UnpackedCode::new(code, sandbox.clone()));
        let (groups, lacking) = Groups::open();
        apart.groups_lack(lacking);
        Ok(Rc::new(ProcessManager {
            config,
            sandbox,
            code,
            availability,
            apart,
            groups: groups.map(Arc::new),
            watchdog: RefCell::new(Watchdog::start()?),
            state: RefCell::default(),
            somebody_left: Notify::new(),
        }))
    }

    /// Does what it is told until it is told to stop.
    pub(super) async fn work(self: Rc<ProcessManager>, mut messages: mpsc::UnboundedReceiver<Message>) {
        let grace = loop {
            match messages.recv().await {
                Some(Message::Run(job)) => self.run(*job),
                Some(Message::Provision(function, versions)) => self.provision(&function, versions),
                Some(Message::Count { function, version, answer }) => {
                    let state = self.state.borrow();
                    let count = state.pools.get(&(function, version)).map(Pool::count);
                    // Who asked may have gone.
                    let _ = answer.send(count.unwrap_or_default());
                }
                Some(Message::Forget(function, version)) => self.forget(&function, version),
                Some(Message::Stop(grace)) => break grace,
                None => break Duration::ZERO,
            }
        };
        messages.close();
        self.stop(grace).await;
    }

    /// Lets invocations under way end, and then ends every process.
    async fn stop(&self, grace: Duration) {
        {
            let mut state = self.state.borrow_mut();
            state.is_stopping = true;
            for pool in state.pools.values_mut() {
                // Whose sender is dropped leaves.
                pool.idle.clear();
                pool.provisioned = 0;
            }
        }
        let all_left = async {
            while self.state.borrow().alive > 0 {
                self.somebody_left.notified().await;
            }
        };
        // What is left after this dies with the thread.
        let _ = timeout(grace + LEAVE_MAX, all_left).await;
        if let Some(groups) = &self.groups {
            groups.close();
        }
        self.sandbox.close();
    }

    /// Hands an invocation to an idle process, or has it wait for one more.
    pub(super) fn run(self: &Rc<ProcessManager>, mut job: Job) {
        let key = (job.invocation.function.clone(), job.invocation.version);
        let mut state = self.state.borrow_mut();
        if state.is_stopping {
            return;
        }
        let id = state.new_id();
        let new = || Pool::new(id, Arc::clone(&job.invocation.target));
        let pool = state.pools.entry(key.clone()).or_insert_with(new);
        if pool.target != job.invocation.target {
            // `$LATEST` has changed: the processes of before leave, and who waits gets the new code.
            let waiting = std::mem::take(&mut pool.waiting);
            *pool = Pool { waiting, ..new() };
        }
        while let Some(idle) = pool.take_idle() {
            match idle.jobs.send(job) {
                Ok(()) => return,
                Err(mpsc::error::SendError(back)) => job = back,
            }
        }
        pool.waiting.push_back(job);
        let is_one_more_wanted = pool.starting < pool.waiting.len();
        drop(state);
        if is_one_more_wanted {
            self.start_one(&key, false);
        }
    }

    fn start_one(self: &Rc<ProcessManager>, key: &Key, is_provisioned: bool) {
        let mut state = self.state.borrow_mut();
        let process = state.new_id();
        let Some(pool) = state.pools.get_mut(key) else { return };
        pool.starting += 1;
        pool.alive += 1;
        pool.kept_ready += usize::from(is_provisioned);
        pool.kept_starting += usize::from(is_provisioned);
        let seat = Seat { key: key.clone(), pool: pool.id, process, is_provisioned };
        let target = Arc::clone(&pool.target);
        state.alive += 1;
        drop(state);
        spawn_local(instance::live(Rc::clone(self), seat, target));
    }

    /// A process has begun or finished an invocation: gives it another, or keeps it.
    pub(super) fn ready(&self, seat: &Seat, has_begun: bool) -> Next {
        let mut state = self.state.borrow_mut();
        let is_stopping = state.is_stopping;
        let Some(pool) = state.pool(seat) else { return Next::Leave };
        if has_begun {
            pool.starting -= 1;
            if seat.is_provisioned {
                pool.kept_starting -= 1;
                pool.has_failed = false;
            }
        }
        if let Some(job) = pool.waiting.pop_front() {
            return Next::Run(job);
        }
        if is_stopping {
            return Next::Leave;
        }
        let (sender, jobs) = mpsc::unbounded_channel();
        let (process, is_provisioned) = (seat.process, seat.is_provisioned);
        pool.idle.push(Idle { process, is_provisioned, jobs: sender });
        Next::Wait(jobs)
    }

    /// A process could not begin: gives the invocation that it was to run, which fails with it.
    ///
    /// One that was to be kept ready was started for none: whoever waits gets a process of their own.
    pub(super) fn failed_to_start(
        self: &Rc<ProcessManager>,
        seat: &Seat,
        by_its_own_doing: bool,
    ) -> Option<Job> {
        let mut state = self.state.borrow_mut();
        let mut job = None;
        if let Some(pool) = state.pool(seat) {
            pool.starting -= 1;
            if seat.is_provisioned {
                pool.kept_starting -= 1;
                pool.has_failed = by_its_own_doing;
            } else {
                job = pool.waiting.pop_front();
            }
        }
        drop(state);
        self.left(seat);
        job
    }

    /// Whether an idle process may end.
    pub(super) fn may_leave(&self, seat: &Seat) -> bool {
        let mut state = self.state.borrow_mut();
        let Some(pool) = state.pool(seat) else { return true };
        let place = pool.idle.iter().position(|idle| idle.process == seat.process);
        match place {
            Some(place) if !seat.is_provisioned || pool.kept_ready > pool.provisioned => {
                pool.idle.remove(place);
                true
            }
            // Needed; or given work just now.
            _ => false,
        }
    }

    /// An idle process ended by itself.
    pub(super) fn withdraw(&self, seat: &Seat) {
        if let Some(pool) = self.state.borrow_mut().pool(seat) {
            pool.idle.retain(|idle| idle.process != seat.process);
        }
    }

    /// A process is gone.
    pub(super) fn left(self: &Rc<ProcessManager>, seat: &Seat) {
        let mut state = self.state.borrow_mut();
        state.alive -= 1;
        let is_stopping = state.is_stopping;
        if let Some(pool) = state.pool(seat) {
            pool.alive -= 1;
            pool.kept_ready -= usize::from(seat.is_provisioned);
            let lacks = pool.provisioned > pool.kept_ready;
            let wanted = pool.waiting.len().saturating_sub(pool.starting);
            if pool.is_unused() {
                state.pools.remove(&seat.key);
            }
            drop(state);
            if !is_stopping {
                (0..wanted).for_each(|_| self.start_one(&seat.key, false));
                if lacks {
                    let (house, key) = (Rc::clone(self), seat.key.clone());
                    spawn_local(async move {
                        // Not at once: one that cannot begin would keep the machine busy.
                        sleep(TRY_AGAIN_AFTER).await;
                        house.fill(&key);
                    });
                }
            }
        }
        self.somebody_left.notify_one();
    }

    fn provision(
        self: &Rc<ProcessManager>,
        function: &FunctionName,
        versions: Vec<(VersionId, Arc<ProcessTarget>, u32)>,
    ) {
        let mut state = self.state.borrow_mut();
        if state.is_stopping {
            return;
        }
        for (key, pool) in &mut state.pools {
            if key.0 == *function {
                (pool.provisioned, pool.has_failed) = (0, false);
            }
        }
        let mut keys = Vec::new();
        for (version, target, count) in versions {
            let id = state.new_id();
            let key = (function.clone(), version);
            let pool = state.pools.entry(key.clone()).or_insert_with(|| Pool::new(id, target));
            pool.provisioned += count as usize;
            keys.push(key);
        }
        state.pools.retain(|_, pool| !pool.is_unused());
        drop(state);
        keys.iter().for_each(|key| self.fill(key));
    }

    /// Starts what a pool lacks of its provisioned processes.
    fn fill(self: &Rc<ProcessManager>, key: &Key) {
        let lacking = {
            let state = self.state.borrow();
            let pool = state.pools.get(key).filter(|_| !state.is_stopping);
            pool.map_or(0, |pool| pool.provisioned.saturating_sub(pool.kept_ready))
        };
        (0..lacking).for_each(|_| self.start_one(key, true));
    }

    fn forget(&self, function: &FunctionName, version: Option<VersionId>) {
        let mut state = self.state.borrow_mut();
        state.pools.retain(|key, pool| {
            let is_gone = key.0 == *function && version.is_none_or(|version| version == key.1);
            // Who waits is served first; then the pool goes by itself.
            let stays = !is_gone || !pool.waiting.is_empty();
            if is_gone {
                pool.idle.clear();
                pool.provisioned = 0;
            }
            stays
        });
    }

    /// How long a process without work is kept.
    pub(super) fn idle(&self) -> Duration {
        self.config.idle
    }
}
