//! One process: started, handed invocations one at a time, watched, and ended.

use std::ffi::OsString;
use std::io::Read;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use hyper::header::{HeaderMap, HeaderName, HeaderValue};
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::net::TcpListener;
use tokio::process::Child;
use tokio::sync::mpsc;
use tokio::task::{AbortHandle, spawn_blocking};
use tokio::time::{sleep, sleep_until, timeout};
use uuid::Uuid;

use super::api::{self, Answer, Api, Event, Said, Speaker};
use super::availability::Launcher;
use super::cgroup::{self, Bounds, Group};
use super::code::Unpacked;
use super::environment::{Facts, environment};
use super::output::Output;
use super::pools::{Job, Next, ProcessManager, Seat};
use super::report::{self, Report};
use super::sandbox::Cell;
use super::spawn::{NotSpawned, Spawned, Stage};
use super::stage::order::{self, Limits, Order, Step};
use super::{Failure, Invocation, Outcome, Unavailable};
use crate::chance;
use crate::clock;
use serin_core::lambda::log::{start_line, stream_name};
use serin_core::lambda::process::ProcessTarget;

/// How long a process may take to begin; what a function's own time limit is comes on top, as AWS starts it a second
/// time within that.
const INIT_MAX: Duration = Duration::from_secs(10);
/// How long an answer waits for its process to be ready for the next one.
const SETTLE_MAX: Duration = Duration::from_secs(1);
/// How long a process has to end by itself.
const LEAVE_MAX: Duration = Duration::from_millis(500);
/// How long what a process said is waited for after its end, where somebody else holds its outputs.
const LAST_WORDS_MAX: Duration = Duration::from_millis(100);
const MIB: u64 = 1024 * 1024;
/// Names a script of the function's that starts the runtime.
const WRAPPER: &str = "AWS_LAMBDA_EXEC_WRAPPER";

/// Lives the life of one process.
pub(super) async fn live(house: Rc<ProcessManager>, seat: Seat, target: Arc<ProcessTarget>) {
    let is_provisioned = seat.is_provisioned;
    let mut process = match Process::start(&house, &seat, &target, is_provisioned).await {
        Ok(process) => process,
        Err(failed) => {
            let job = house.failed_to_start(&seat, failed.is_its_own_doing());
            if let Some(job) = job {
                failed.answer(job, &target);
            }
            return;
        }
    };
    // What came before the first invocation is part of it only where it was started for one.
    let mut init = (!is_provisioned).then_some(process.init);
    let mut next = house.ready(&seat, true);
    loop {
        let job = match next {
            Next::Leave => break,
            Next::Run(job) => job,
            Next::Wait(mut jobs) => match process.wait(&mut jobs, house.idle()).await {
                Waited::Job(job) => job,
                Waited::Dismissed => break,
                Waited::Idle if house.may_leave(&seat) => break,
                Waited::Idle => {
                    next = Next::Wait(jobs);
                    continue;
                }
                Waited::Ended => {
                    house.withdraw(&seat);
                    while let Ok(job) = jobs.try_recv() {
                        // Nobody has seen it yet.
                        house.run(job);
                    }
                    break;
                }
            },
        };
        let Job { invocation, permit, answer } = job;
        let (outcome, settled) = process.run(&invocation, init.take()).await;
        drop(permit);
        // First, so that a caller who goes on at once finds this process.
        next = match settled {
            Settled::Ready => house.ready(&seat, false),
            Settled::NotYet | Settled::Gone => Next::Leave,
        };
        // A caller that went away has no use for it.
        let _ = answer.send(Ok(outcome));
        if settled == Settled::NotYet && process.settle(Duration::from_secs(target.timeout_s.into())).await {
            next = house.ready(&seat, false);
        }
    }
    process.end(&house).await;
    house.left(&seat);
}

/// What an idle process woke for.
#[expect(clippy::large_enum_variant, reason = "moved once an invocation, and never kept")]
enum Waited {
    Job(Job),
    /// It is wanted no more.
    Dismissed,
    /// Nothing came for long.
    Idle,
    /// It ended by itself.
    Ended,
}

/// How a process is after an invocation.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Settled {
    /// It waits for the next.
    Ready,
    /// It has answered and goes on doing something.
    NotYet,
    /// It is of no use any more.
    Gone,
}

/// Why a process could not be started.
struct NotStarted {
    why: Cause,
    output: Output,
    init: Duration,
    memory_mb: u64,
}

enum Cause {
    /// No doing of the function's.
    Unavailable(String),
    /// It said what is wrong.
    InitError(Bytes),
    /// Its code cannot be run; in Lambda's words.
    Entrypoint(String),
    Exited(ExitStatus),
    TimedOut,
}

impl NotStarted {
    /// Whether the function keeps the process from starting, and not the machine.
    fn is_its_own_doing(&self) -> bool {
        match self.why {
            Cause::Unavailable(_) => false,
            Cause::InitError(_) | Cause::Entrypoint(_) | Cause::Exited(_) | Cause::TimedOut => true,
        }
    }

    /// Answers the invocation that the process was started for.
    fn answer(mut self, job: Job, target: &ProcessTarget) {
        let Job { invocation, permit, answer } = job;
        let id = invocation.id;
        let (payload, failure, status) = match self.why {
            Cause::Unavailable(why) => {
                drop(permit);
                // As in `live`.
                let _ = answer.send(Err(Unavailable(why)));
                return;
            }
            Cause::InitError(error) => (error, Failure::Init, ("error", Some("Runtime.InitError"))),
            Cause::Entrypoint(words) => {
                let kind = "Runtime.InvalidEntrypoint";
                (report::failed(id, kind, &words), Failure::Init, ("error", Some(kind)))
            }
            Cause::Exited(status) => {
                let kind = "Runtime.ExitError";
                (report::failed(id, kind, &exit_words(status)), Failure::Init, ("error", Some(kind)))
            }
            Cause::TimedOut => {
                (report::timed_out(id, target.timeout_s), Failure::TimedOut, ("timeout", None))
            }
        };
        let (duration, memory_mb) = (self.init, self.memory_mb);
        self.output.say(&start_line(id, invocation.version));
        let report = Report {
            id,
            duration,
            init: None,
            memory_mb,
            memory_mb_max: target.memory_mb,
            status: Some(status),
        };
        self.output.say(&report.lines());
        let log_tail = self.output.tail();
        drop(permit);
        let failure = Some(failure);
        // As in `live`.
        let _ = answer.send(Ok(Outcome { payload, failure, log_tail, duration, init: None, memory_mb }));
    }
}

/// A process that runs.
struct Process {
    child: Child,
    /// The number of the function's own process; the child may stand for it.
    pid: u32,
    group: Pid,
    api: Rc<Api>,
    serving: AbortHandle,
    said: mpsc::UnboundedReceiver<Said>,
    output: Output,
    target: Arc<ProcessTarget>,
    init: Duration,
    memory_mb: u64,
    /// Given back when it has ended.
    holds: Option<(Option<Group>, Cell, Arc<Unpacked>)>,
}

impl Process {
    /// Starts one, and waits until it asks for an invocation.
    async fn start(
        house: &Rc<ProcessManager>,
        seat: &Seat,
        target: &Arc<ProcessTarget>,
        is_provisioned: bool,
    ) -> Result<Process, NotStarted> {
        let at = clock::instant_now();
        let wall = clock::wall_now();
        let (function, version) = &seat.key;
        let stream = stream_name(wall, *version, chance::new_id(wall).as_u128());
        let whose = (function.clone(), *version);
        let silent = Output::new(None, whose.clone(), Arc::clone(&stream), house.config.log.clone());
        let silent = silent.unwrap_or_else(|_| unreachable!("there is no pipe that could be refused"));
        let fail = |why, output| NotStarted {
            why,
            output,
            init: clock::instant_now().saturating_duration_since(at),
            memory_mb: 0,
        };
        let begun = begin(house, seat, target, &stream, is_provisioned).await;
        let Begun { child, pid, pipe, api, said, serving, group, holds } = match begun {
            Ok(begun) => begun,
            Err(why) => return Err(fail(why, silent)),
        };
        let output = match Output::new(Some(pipe), whose, stream, house.config.log.clone()) {
            Ok(output) => output,
            Err(error) => return Err(fail(Cause::Unavailable(error.to_string()), silent)),
        };
        let mut process = Process {
            child,
            pid,
            group,
            api,
            serving,
            said,
            output,
            target: Arc::clone(target),
            init: Duration::ZERO,
            memory_mb: 0,
            holds: Some(holds),
        };
        process.output.say_apart(report::init_start_line(target.runtime, &house.config.place));
        let limit = INIT_MAX + Duration::from_secs(target.timeout_s.into());
        let why = tokio::select! {
            biased;
            said = process.said.recv() => match said {
                Some(Said::InitFailed(error)) => Some(Cause::InitError(error)),
                Some(Said::Ready | Said::Answered(_)) | None => None,
            },
            status = process.child.wait() => Some(status.map_or(Cause::TimedOut, Cause::Exited)),
            () = sleep(limit) => Some(Cause::TimedOut),
            () = process.output.pump() => None,
        };
        process.init = clock::instant_now().saturating_duration_since(at);
        process.measure();
        let Some(why) = why else { return Ok(process) };
        let (init, memory_mb) = (process.init, process.memory_mb);
        let output = process.end(house).await;
        Err(NotStarted { why, output, init, memory_mb })
    }

    /// Waits for work.
    async fn wait(&mut self, jobs: &mut mpsc::UnboundedReceiver<Job>, idle: Duration) -> Waited {
        tokio::select! {
            biased;
            job = jobs.recv() => job.map_or(Waited::Dismissed, Waited::Job),
            _ = self.child.wait() => Waited::Ended,
            () = sleep(idle) => Waited::Idle,
            () = self.output.pump() => Waited::Ended,
        }
    }

    /// Runs one invocation.
    async fn run(&mut self, invocation: &Invocation, init: Option<Duration>) -> (Outcome, Settled) {
        let (id, limit_s) = (invocation.id, self.target.timeout_s);
        self.output.begin_tail();
        self.output.say(&start_line(id, invocation.version));
        let at = clock::instant_now();
        self.api.offer(self.event(invocation));
        let deadline = at + Duration::from_secs(limit_s.into());
        let ended = self.answered(deadline).await;
        let duration = clock::instant_now().saturating_duration_since(at);
        self.measure();
        let (payload, failure, status, settled) = match ended {
            Ended::Answered(answer) => {
                let settled = if self.settle(SETTLE_MAX).await { Settled::Ready } else { Settled::NotYet };
                match answer {
                    Answer::Result(result) => (result, None, None, settled),
                    Answer::Error(error) => (error, Some(Failure::Handler), None, settled),
                    Answer::TooLarge => {
                        let kind = "Function.ResponseSizeTooLarge";
                        let status = ("error", Some(kind));
                        (report::too_large(), Some(Failure::TooLarge), Some(status), settled)
                    }
                }
            }
            Ended::Exited(status) => {
                self.last_words().await;
                let (kind, words) = ("Runtime.ExitError", exit_words(status));
                self.output.say(&format!("RequestId: {id} Error: {words}\n{kind}\n"));
                let error = report::failed(id, kind, &words);
                (error, Some(Failure::Exited), Some(("error", Some(kind))), Settled::Gone)
            }
            Ended::TimedOut => {
                self.kill();
                self.last_words().await;
                self.output.say(&report::timed_out_line(clock::wall_now(), id, limit_s));
                let error = report::timed_out(id, limit_s);
                (error, Some(Failure::TimedOut), Some(("timeout", None)), Settled::Gone)
            }
        };
        self.output.take();
        let (memory_mb, memory_mb_max) = (self.memory_mb, self.target.memory_mb);
        let report = Report { id, duration, init, memory_mb, memory_mb_max, status };
        self.output.say(&report.lines());
        let outcome = Outcome { payload, failure, log_tail: self.output.tail(), duration, init, memory_mb };
        (outcome, settled)
    }

    async fn answered(&mut self, deadline: Instant) -> Ended {
        loop {
            tokio::select! {
                biased;
                said = self.said.recv() => match said {
                    Some(Said::Answered(answer)) => return Ended::Answered(answer),
                    // It asked again before it had this one.
                    Some(Said::Ready | Said::InitFailed(_)) | None => {}
                },
                status = self.child.wait() => {
                    // What it said last may have come in the same moment.
                    if let Ok(Said::Answered(answer)) = self.said.try_recv() {
                        return Ended::Answered(answer);
                    }
                    return status.map_or(Ended::TimedOut, Ended::Exited);
                }
                () = sleep_until(deadline.into()) => return Ended::TimedOut,
                () = self.output.pump() => {}
            }
        }
    }

    /// Waits until it asks for the next invocation; tells whether it did.
    async fn settle(&mut self, limit: Duration) -> bool {
        tokio::select! {
            biased;
            said = self.said.recv() => matches!(said, Some(Said::Ready)),
            _ = self.child.wait() => false,
            () = sleep(limit) => false,
            () = self.output.pump() => false,
        }
    }

    /// Takes what a process that ended said before; its children may hold the pipe for ever.
    async fn last_words(&mut self) {
        // Over or not, what came is taken.
        let _ = timeout(LAST_WORDS_MAX, self.output.pump_to_end()).await;
    }

    fn event(&self, invocation: &Invocation) -> Event {
        let mut headers = HeaderMap::new();
        let mut set = |name: &'static str, value: &[u8]| {
            // What cannot be a header's value was none of a client's that speaks HTTP.
            if let Ok(value) = HeaderValue::from_bytes(value) {
                headers.insert(HeaderName::from_static(name), value);
            }
        };
        let deadline_ms = clock::wall_now().0 + i64::from(self.target.timeout_s) * 1000;
        set("lambda-runtime-deadline-ms", deadline_ms.to_string().as_bytes());
        set("lambda-runtime-invoked-function-arn", invocation.arn.as_bytes());
        let trace = invocation.trace.clone().unwrap_or_else(|| trace_of(invocation.id));
        set("lambda-runtime-trace-id", trace.as_bytes());
        if let Some(context) = &invocation.client_context {
            set("lambda-runtime-client-context", context);
        }
        Event {
            id: invocation.id.to_string(),
            headers,
            payload: invocation.payload.clone(),
            stream: invocation.stream.clone(),
        }
    }

    /// Looks how much memory it has used; what it used before stays, where it is gone.
    fn measure(&mut self) {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid)).ok();
        let peak = status.as_deref().and_then(|status| {
            let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
            line.split_whitespace().next()?.parse::<u64>().ok()
        });
        self.memory_mb = self.memory_mb.max(peak.unwrap_or(0).div_ceil(1024));
    }

    fn kill(&self) {
        // Gone already is as good.
        let _ = kill_process_group(self.group, Signal::KILL);
        if let Some((Some(bounded), ..)) = &self.holds {
            bounded.kill();
        }
    }

    /// Ends it and whatever it started, gives back what it had, and takes its last words.
    async fn end(mut self, house: &ProcessManager) -> Output {
        if self.child.id().is_some() {
            let _ = kill_process_group(self.group, Signal::TERM);
            let gone = async {
                tokio::select! {
                    _ = self.child.wait() => {}
                    () = self.output.pump() => {}
                }
            };
            if timeout(LEAVE_MAX, gone).await.is_err() {
                self.kill();
                // Nothing outlives this signal, and whoever cannot be waited for is no child any more.
                let _ = self.child.wait().await;
            }
        }
        // Also what it started and left behind.
        self.kill();
        house.watchdog.borrow_mut().forget(self.group);
        self.last_words().await;
        self.serving.abort();
        let holds = self.holds.take();
        spawn_blocking(move || drop(holds));
        self.output
    }
}

enum Ended {
    Answered(Answer),
    Exited(ExitStatus),
    TimedOut,
}

/// The pieces of a process that has just begun.
struct Begun {
    child: Child,
    pid: u32,
    pipe: std::io::PipeReader,
    api: Rc<Api>,
    said: mpsc::UnboundedReceiver<Said>,
    serving: AbortHandle,
    group: Pid,
    holds: (Option<Group>, Cell, Arc<Unpacked>),
}

async fn begin(
    house: &Rc<ProcessManager>,
    seat: &Seat,
    target: &Arc<ProcessTarget>,
    stream: &str,
    is_provisioned: bool,
) -> Result<Begun, Cause> {
    let unavailable =
        |attempt: &str, why: String| Cause::Unavailable(format!("serin cannot {attempt}: {why}"));
    let (codes, availability) = (Arc::clone(&house.code), Arc::clone(&house.availability));
    let (digest, runtime, architecture) = (target.code_sha256, target.runtime, target.architecture);
    let prepared = spawn_blocking(move || {
        availability.launcher(runtime, architecture).map(|launcher| (launcher, codes.get(digest)))
    });
    let (launcher, code) = match prepared.await {
        Ok(Ok(prepared)) => prepared,
        // A version that this machine cannot run is as bad as one that does not begin.
        Ok(Err(why)) => return Err(Cause::Entrypoint(why.to_string())),
        Err(why) => return Err(unavailable("prepare the function", why.to_string())),
    };
    let code = code.map_err(|why| unavailable("unpack the function's code", why.to_string()))?;
    let apart = Arc::clone(&house.apart);
    let found = spawn_blocking(move || apart.found()).await;
    let found = found.map_err(|why| unavailable("keep the process apart", why.to_string()))?;
    let has_own_network = found.means.network;
    let (listener, address) = if has_own_network {
        (None, order::API.to_owned())
    } else {
        let (listener, address) =
            api::listen().await.map_err(|why| unavailable("open a Runtime API", why.to_string()))?;
        (Some(listener), address)
    };
    let cell = house.sandbox.cell().map_err(|why| unavailable("make room for a process", why.to_string()))?;
    let (function, version) = &seat.key;
    let (root, scratch) = match found.means.mounts {
        true => (Path::new(order::TASK), Path::new(order::TMP)),
        false => (code.place.as_path(), cell.scratch.as_path()),
    };
    let facts =
        Facts { function, version: *version, target, api: address, root, scratch, stream, is_provisioned };
    let environment = environment(&facts, &house.config);
    let bootstrap = code.place.join("bootstrap");
    let mut programs = Vec::new();
    let (program, arguments) = match &launcher {
        Launcher::Bootstrap if !bootstrap.exists() => {
            let words = "Couldn't find valid bootstrap(s): [/var/task/bootstrap /opt/bootstrap]";
            return Err(Cause::Entrypoint(words.to_owned()));
        }
        Launcher::Bootstrap if !is_executable_here(&bootstrap) => {
            return Err(Cause::Entrypoint("fork/exec /var/task/bootstrap: exec format error".to_owned()));
        }
        Launcher::Bootstrap => (root.join("bootstrap"), Vec::new()),
        Launcher::Interpreter(program, before) => {
            let words = before.iter().map(Path::new).filter(|word| word.is_absolute());
            for word in words.chain([program.as_path()]) {
                let places = [Some(word.to_owned()), word.canonicalize().ok()];
                programs.extend(places.iter().flatten().filter_map(|place| order::home_of(place)));
            }
            let mut arguments = before.clone();
            arguments.push((&target.handler).into());
            match target.environment.get(WRAPPER).filter(|wrapper| !wrapper.is_empty()) {
                None => (program.clone(), arguments),
                Some(wrapper) => wrapped(wrapper, root, program, arguments),
            }
        }
    };
    let sandbox = &house.sandbox;
    let view = || house.apart.view(sandbox, found.user, &code.place, &cell.scratch, programs);
    let group = code.readers.as_ref().map(|readers| readers.group);
    let order = Order {
        program: program.clone(),
        arguments,
        environment,
        directory: root.to_owned(),
        user: cell.id.map(|id| (id, group.unwrap_or(id))),
        limits: Limits {
            data_bytes: u64::from(target.memory_mb) * MIB,
            counts_threads: sandbox.tells_apart() || found.means.users,
        },
        means: found.means,
        view: found.means.mounts.then(view),
        daemon: std::process::id(),
        is_trial: false,
    };
    // On this thread, with which the kernel ends what it starts.
    let stage = Stage::start(house.apart.stage());
    let stage = stage.map_err(|why| unavailable("start a process", why.to_string()))?;
    let Some(group) = stage.child.id().and_then(|pid| Pid::from_raw(pid.cast_signed())) else {
        return Err(unavailable("run the function", "it has no process id".to_owned()));
    };
    let bounded = cgroup::put(house.groups.as_ref(), group, Bounds::of(target.memory_mb)).await;
    let begun = stage.become_process(&order).await;
    let Spawned { child, output: pipe, pid, listener: own } =
        begun.map_err(|not| not_spawned(&program, &not))?;
    let listener = match own {
        Some(own) => (own.set_nonblocking(true).and_then(|()| TcpListener::from_std(own)))
            .map_err(|why| unavailable("take over the Runtime API", why.to_string()))?,
        None => {
            let why = || unavailable("open a Runtime API", "the process told of none".to_owned());
            listener.ok_or_else(why)?
        }
    };
    house.watchdog.borrow_mut().watch(group);
    let (sender, said) = mpsc::unbounded_channel();
    let api = Api::new(sender);
    let speaker = match cell.id {
        // In a network of its own nobody else can connect.
        _ if has_own_network => Speaker::Anybody,
        Some(user) if sandbox.tells_apart() => Speaker::User(user),
        _ if found.means.processes => Speaker::Process(pid),
        _ => Speaker::Anybody,
    };
    let serving = tokio::task::spawn_local(Rc::clone(&api).serve(listener, speaker)).abort_handle();
    Ok(Begun { child, pid, pipe, api, said, serving, group, holds: (bounded, cell, code) })
}

/// A runtime started by a script of the function's: AWS's runtimes hand their command line to it, with a shell's words where
/// there is no such script.
fn wrapped(wrapper: &str, root: &Path, program: &Path, arguments: Vec<OsString>) -> (PathBuf, Vec<OsString>) {
    // Where the code is not in Lambda's place, what names that place means where it is.
    let in_task = Path::new(wrapper).strip_prefix(order::TASK);
    let wrapper = in_task.map_or_else(|_| PathBuf::from(wrapper), |rest| root.join(rest));
    let shell =
        ["-c".into(), "exec \"$0\" \"$@\"".into(), wrapper.into_os_string(), program.as_os_str().to_owned()];
    (PathBuf::from("/bin/sh"), shell.into_iter().chain(arguments).collect())
}

/// Whether the kernel can run a file: a script that names its interpreter, or a program for this processor.
///
/// Looked at before, because the C library hands whatever the kernel refuses to a shell.
fn is_executable_here(path: &Path) -> bool {
    const X86_64: u8 = 62;
    const AARCH64: u8 = 183;
    let machine = if cfg!(target_arch = "aarch64") { AARCH64 } else { X86_64 };
    let mut head = Vec::new();
    let read = std::fs::File::open(path).and_then(|file| file.take(20).read_to_end(&mut head));
    // One that cannot be read is for the kernel to refuse.
    read.is_err()
        || head.starts_with(b"#!")
        || (head.starts_with(b"\x7fELF") && head.get(18) == Some(&machine))
}

/// Tells code that cannot be run from a machine that cannot run it.
fn not_spawned(program: &Path, not: &NotSpawned) -> Cause {
    use std::io::ErrorKind::{NotFound, PermissionDenied};
    let NotSpawned { step, why } = not;
    let words = match (step, why.kind()) {
        (Some(Step::Run), NotFound) => "no such file or directory",
        (Some(Step::Run), PermissionDenied) => "permission denied",
        (Some(step), _) => {
            let name = program.display();
            return Cause::Unavailable(format!("serin cannot start {name}: cannot {step}: {why}"));
        }
        (None, _) => return Cause::Unavailable(format!("serin cannot start {}: {why}", program.display())),
    };
    let name = program.file_name().unwrap_or_default().to_string_lossy();
    Cause::Entrypoint(format!("fork/exec /var/task/{name}: {words}"))
}

/// How a process ended, as Lambda words it.
fn exit_words(status: ExitStatus) -> String {
    const SIGNALS: [(i32, &str); 8] = [
        (libc::SIGABRT, "aborted"),
        (libc::SIGBUS, "bus error"),
        (libc::SIGFPE, "floating point exception"),
        (libc::SIGILL, "illegal instruction"),
        (libc::SIGKILL, "killed"),
        (libc::SIGSEGV, "segmentation fault"),
        (libc::SIGTERM, "terminated"),
        (libc::SIGINT, "interrupt"),
    ];
    match (status.code(), status.signal()) {
        (Some(0), _) => "Runtime exited without providing a reason".to_owned(),
        (Some(code), _) => format!("Runtime exited with error: exit status {code}"),
        (None, signal) => {
            let signal = signal.unwrap_or_default();
            let known = SIGNALS.iter().find(|(number, _)| *number == signal);
            let words = known.map_or_else(|| format!("signal {signal}"), |(_, words)| (*words).to_owned());
            format!("Runtime exited with error: signal: {words}")
        }
    }
}

/// The trace of an invocation whose client brings none.
fn trace_of(id: Uuid) -> String {
    let (seconds, id) = (clock::wall_now().0 / 1000, id.simple().to_string());
    format!("Root=1-{seconds:08x}-{};Parent={};Sampled=0", &id[..24], &id[16..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrapper_gets_the_runtimes_command_line() {
        let words = |wrapper: &str, root: &str| {
            let (program, arguments) = wrapped(
                wrapper,
                Path::new(root),
                Path::new("/usr/bin/python3"),
                vec!["-m".into(), "ric".into()],
            );
            assert_eq!(program, Path::new("/bin/sh"));
            arguments.into_iter().map(|word| word.into_string().unwrap()).collect::<Vec<_>>().join(" ")
        };
        let shell = r#"-c exec "$0" "$@""#;
        assert_eq!(words("/var/task/w", "/var/task"), format!("{shell} /var/task/w /usr/bin/python3 -m ric"));
        assert_eq!(words("/var/task/w", "/code/1"), format!("{shell} /code/1/w /usr/bin/python3 -m ric"));
        assert_eq!(words("/opt/w", "/code/1"), format!("{shell} /opt/w /usr/bin/python3 -m ric"));
    }

    #[test]
    fn ends_are_worded_as_lambda_words_them() {
        for (raw, words) in [
            (0, "Runtime exited without providing a reason"),
            (1 << 8, "Runtime exited with error: exit status 1"),
            (9, "Runtime exited with error: signal: killed"),
            (6, "Runtime exited with error: signal: aborted"),
            (31, "Runtime exited with error: signal: signal 31"),
        ] {
            assert_eq!(exit_words(ExitStatus::from_raw(raw)), words);
        }
    }
}
