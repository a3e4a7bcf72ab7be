//! Versions that serin runs itself: processes by AWS Lambda's Runtime API, cold started, kept warm, bounded and reaped.
//!
//! One thread owns every process (`pools`, `instance`): it starts them apart from the daemon's environment, files and
//! user (`spawn`, `sandbox`), speaks the Runtime API to each on a listener of its own (`api`), and hears what they say
//! (`output`). Whoever invokes first asks for a place (`admission`), which the caller's thread decides at once, and
//! then waits. When the daemon dies, however it dies, its processes die with it (`watchdog`).
//!
//! Deliberately absent: weights, counting and retries. Who asks, and what a failure means, is the caller's business.

mod admission;
mod apart;
mod api;
mod availability;
mod cgroup;
mod code;
mod environment;
mod instance;
mod output;
mod peer;
mod pools;
mod report;
mod sandbox;
mod seldom;
mod spawn;
mod stage;
mod watchdog;

use std::ffi::OsString;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};
use uuid::Uuid;

pub use admission::{Permit, Throttled};
pub use availability::Why;
pub use sandbox::best_user;

use crate::code::CodeDirectory;
use crate::config::{ProcessNetwork, ProcessUser};
use admission::Admission;
use apart::{Apart, Wish};
use availability::Availability;
use peer::Owner;
use pools::Message;
use serin_core::lambda::log::LogSink;
use serin_core::lambda::process::ProcessTarget;
use serin_core::model::arn::{FunctionName, Place, VersionId};

/// The largest answer of a function: 6 MiB and a hundred bytes, as on Lambda.
pub const ANSWER_BYTES_MAX: usize = 6 * 1024 * 1024 + 100;

/// What the processes are run with.
#[derive(Clone)]
pub struct RuntimeConfig {
    /// Where `python3.N`, `node` and `aws-lambda-ric` are looked for, in order.
    pub search: Vec<PathBuf>,
    /// Whose processes they are; the safest unless given.
    pub user: Option<ProcessUser>,
    /// What they reach.
    pub network: ProcessNetwork,
    /// The program that becomes a process: serin.
    pub stage: PathBuf,
    /// Whether the API asks who asks.
    pub api_asks: bool,
    /// Files and directories that no function is to see, wherever they are.
    pub hidden: Vec<PathBuf>,
    /// How long a process without work is kept, unless it is provisioned.
    pub idle: Duration,
    /// Region and account, for the processes' environment.
    pub place: Place,
    /// Who keeps what they say; nobody unless given.
    pub log: Option<LogSink>,
    /// Whether the daemon before still runs functions of its own from the same data directory.
    pub is_beside: bool,
}

/// One invocation of a version.
#[derive(Debug)]
pub struct Invocation {
    /// The function.
    pub function: FunctionName,
    /// The version that was drawn.
    pub version: VersionId,
    /// What it runs as.
    pub target: Arc<ProcessTarget>,
    /// The ARN that was asked for, with the qualifier as it was asked.
    pub arn: String,
    /// Its identifier, in logs and for the function.
    pub id: Uuid,
    /// JSON.
    pub payload: Bytes,
    /// The client's context as JSON, decoded.
    pub client_context: Option<Vec<u8>>,
    /// `X-Amzn-Trace-Id` as the client sent it.
    pub trace: Option<String>,
    /// Where the answer goes as the process makes it; `None` where it is wanted whole.
    pub stream: Option<StreamSink>,
}

/// How many pieces of an answer wait for whoever passes them on.
const PIECES_MAX: usize = 8;

/// Where a process's answer goes piece by piece.
#[derive(Clone, Debug)]
pub struct StreamSink {
    pieces: mpsc::Sender<Bytes>,
    /// Whether the process waits for whoever takes its answer.
    pub is_behind: Arc<AtomicBool>,
}

/// The pieces of an answer; it ends with the answer.
pub type Stream = mpsc::Receiver<Bytes>;

/// A way for an answer to come piece by piece.
pub fn stream() -> (StreamSink, Stream) {
    let (pieces, stream) = mpsc::channel(PIECES_MAX);
    (StreamSink { pieces, is_behind: Arc::default() }, stream)
}

impl StreamSink {
    /// Hands a piece over, and waits while there are many; whether anybody still takes it.
    async fn send(&self, piece: Bytes) -> bool {
        self.is_behind.store(true, Ordering::Relaxed);
        let sent = self.pieces.send(piece).await;
        self.is_behind.store(false, Ordering::Relaxed);
        sent.is_ok()
    }
}

/// What came of an invocation that a process was started for.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The function's answer, or the error as JSON.
    pub payload: Bytes,
    /// What made it a function error; `None` for a result.
    pub failure: Option<Failure>,
    /// The last 4 KiB of what was logged between START and REPORT, both included.
    pub log_tail: Vec<u8>,
    /// From the moment the process had the event to its answer.
    pub duration: Duration,
    /// How long the process took to start, where it was started for this invocation.
    pub init: Option<Duration>,
    /// The most memory the process has used so far, in MB.
    pub memory_mb: u64,
}

/// Why an invocation is a function error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The handler failed and said how.
    Handler,
    /// It took longer than the function may.
    TimedOut,
    /// The process ended in its midst.
    Exited,
    /// The process could not begin, by its own doing.
    Init,
    /// The answer was too large.
    TooLarge,
}

/// How many processes of a version there are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ProcessCount {
    /// Those that have begun, busy or not.
    pub begun: u32,
    /// Those of them that wait for the next invocation.
    pub idle: u32,
    /// Those that have begun and are kept ready.
    pub kept_ready: u32,
    /// Whether the last one that was to be kept ready could not begin, by the function's own doing.
    pub has_failed: bool,
}

/// serin could not run an invocation, by no doing of the function's; in words.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Unavailable(pub String);

/// The way to the processes; every clone serves.
#[derive(Clone)]
pub struct Runtimes {
    messages: mpsc::UnboundedSender<Message>,
    admission: Admission,
    availability: Arc<Availability>,
    apart: Arc<Apart>,
}

/// The thread that owns the processes; ended by `shut_down`.
pub struct RunningRuntimes {
    runtimes: Runtimes,
    thread: Mutex<Option<JoinHandle<()>>>,
}

/// Whether it is to be had once the disk is well, which keeps nobody from starting.
fn is_of_the_disk(error: &io::Error) -> bool {
    let is_full = matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::ReadOnlyFilesystem
    );
    is_full || error.raw_os_error() == Some(libc::EIO)
}

impl Runtimes {
    /// Starts the thread; `code` is where functions' zips are, and `data_dir` remembers what a kill leaves behind.
    pub fn start(
        config: RuntimeConfig,
        code: CodeDirectory,
        data_dir: PathBuf,
    ) -> io::Result<(Runtimes, RunningRuntimes)> {
        let (messages, received) = mpsc::unbounded_channel();
        let apart = Arc::new(Apart::new(Wish {
            stage: config.stage.clone(),
            user: config.user,
            network: config.network,
            api_asks: config.api_asks,
            hidden: config
                .hidden
                .iter()
                .chain([&data_dir])
                .filter_map(|place| place.canonicalize().ok())
                .collect(),
        }));
        let availability = Arc::new(Availability::new(config.search.clone(), apart.wanted_user()));
        let runtimes = Runtimes {
            messages,
            admission: Admission::default(),
            availability: Arc::clone(&availability),
            apart: Arc::clone(&apart),
        };
        let (started, starting) = std::sync::mpsc::channel();
        let thread = std::thread::Builder::new().name("runtime".to_owned()).spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .max_blocking_threads(4)
                .build_local(Default::default());
            let runtime = match runtime {
                Ok(runtime) => runtime,
                Err(error) => {
                    // The receiver waits for exactly this.
                    let _ = started.send(Err(error));
                    return;
                }
            };
            runtime.block_on(async move {
                let (mut received, apart) = (received, (availability, apart));
                let open =
                    || pools::ProcessManager::open(config.clone(), code.clone(), apart.clone(), &data_dir);
                let opened = match open() {
                    Err(error) if !is_of_the_disk(&error) => {
                        let _ = started.send(Err(error));
                        return;
                    }
                    opened => opened,
                };
                // As above.
                let _ = started.send(Ok(()));
                let house = match opened {
                    Ok(house) => Some(house),
                    Err(why) => pools::open_in_time(open, why, &mut received).await,
                };
                if let Some(house) = house {
                    house.work(received).await;
                }
            });
        })?;
        starting.recv().map_err(|_| io::Error::other("the runtime thread ended at once"))??;
        let running = RunningRuntimes { runtimes: runtimes.clone(), thread: Mutex::new(Some(thread)) };
        Ok((runtimes, running))
    }

    /// Asks for a place for one invocation of a function's version; decided at once, and kept until the permit is dropped.
    pub fn admit(&self, function: &FunctionName, version: VersionId) -> Result<Permit, Throttled> {
        self.admission.admit(function, version)
    }

    /// Runs an invocation to its end, also where the future is dropped before.
    pub async fn invoke(&self, invocation: Invocation, permit: Permit) -> Result<Outcome, Unavailable> {
        let stopped = || Unavailable("serin is shutting down; send it again".to_owned());
        let (answer, answered) = oneshot::channel();
        let job = pools::Job { invocation, permit, answer };
        self.messages.send(Message::Run(Box::new(job))).map_err(|_| stopped())?;
        answered.await.unwrap_or_else(|_| Err(stopped()))
    }

    /// Keeps so many invocations for a function, and no more for it; `None` lets it share what is unreserved.
    pub fn reserve(&self, function: &FunctionName, reserved: Option<u32>) {
        self.admission.reserve(function, reserved);
    }

    /// Keeps so many processes of each of a function's versions ready, and of no others.
    pub fn provision(&self, function: &FunctionName, versions: Vec<(VersionId, Arc<ProcessTarget>, u32)>) {
        let counts = versions.iter().map(|(version, _, count)| (*version, *count));
        self.admission.provision(function, counts);
        // A thread that has stopped keeps nothing ready.
        let _ = self.messages.send(Message::Provision(function.clone(), versions));
    }

    /// How many processes of a version there are.
    pub async fn processes(&self, function: &FunctionName, version: VersionId) -> ProcessCount {
        let (answer, answered) = oneshot::channel();
        let asked = Message::Count { function: function.clone(), version, answer };
        if self.messages.send(asked).is_err() {
            return ProcessCount::default();
        }
        answered.await.unwrap_or_default()
    }

    /// Ends the processes of a version that is gone, or of all versions of a function; those that work end after.
    pub fn forget(&self, function: &FunctionName, version: Option<VersionId>) {
        if version.is_none() {
            self.admission.provision(function, std::iter::empty());
            self.admission.reserve(function, None);
        }
        // As above.
        let _ = self.messages.send(Message::Forget(function.clone(), version));
    }

    /// Whether the connection that was accepted at `here` is of a function's process, of this daemon's or another's.
    ///
    /// Of this machine's processes nobody else lets go of a connection that is still to be answered, so that one which is
    /// nobody's any more is a function's, too. Where functions are the daemon's own user, none can be told apart.
    pub fn is_function(&self, peer: SocketAddr, here: SocketAddr) -> bool {
        let user = self.apart.wanted_user();
        if !sandbox::has_users_apart(user) {
            return false;
        }
        match peer::owner(peer, here) {
            Ok(Owner::Process { user: owner, .. }) => sandbox::is_function(user, owner),
            Ok(Owner::Nobody) | Err(_) => true,
            Ok(Owner::Elsewhere) => false,
        }
    }

    /// Why no functions are made from zips here; blocks on finding out, the first time.
    pub fn refusal(&self) -> Option<String> {
        self.apart.found().refusal.clone()
    }

    /// What the kernel lacks that would keep functions apart, in sentences; blocks as above.
    pub fn lacking(&self) -> Vec<String> {
        self.apart.lacking()
    }

    /// Whether this machine can run a version; blocks on asking the interpreter, the first time.
    pub fn availability(&self, target: &ProcessTarget) -> Result<(), Why> {
        self.availability.launcher(target.runtime, target.architecture).map(|_| ())
    }
}

/// Becomes a function's process, if that is what a command line says: the daemon runs its own program for it.
pub fn as_stage(typed: &[OsString]) -> Option<ExitCode> {
    spawn::is_stage(typed).then(stage::run)
}

impl RunningRuntimes {
    /// Takes no more invocations, lets those under way end for at most `grace`, and ends every process.
    pub fn shut_down(self, grace: Duration) -> io::Result<()> {
        // A thread that is gone already has ended its processes.
        let _ = self.runtimes.messages.send(Message::Stop(grace));
        let thread = self.thread.lock().ok().and_then(|mut thread| thread.take());
        let ended = thread.map_or(Ok(()), JoinHandle::join);
        ended.map_err(|_| io::Error::other("the runtime thread panicked"))
    }
}

impl Drop for RunningRuntimes {
    fn drop(&mut self) {
        // As in `shut_down`, without waiting: the process is about to end, or a test has failed.
        let _ = self.runtimes.messages.send(Message::Stop(Duration::ZERO));
    }
}
