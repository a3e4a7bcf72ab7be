//! The program between the daemon and a function: serin itself, started anew, which becomes the function's process.
//!
//! It has nothing of the daemon's but a line to it, on which it is told what to become (`order`). It makes namespaces,
//! mounts what the process is to see (`view`), gives up what it may, filters system calls (`filter`) and runs the
//! program. Where there is a namespace of processes three of them stand in a row: the one that the daemon started, which
//! ends as the function does; the first process of the namespace, with which all others in it end; and the function.
//! It has one thread, so that between fork and exec it may do whatever a program may.

mod filter;
pub(super) mod order;
mod view;

use std::ffi::CString;
use std::fs;
use std::io::{self, Read, Write};
use std::net::TcpListener;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixStream;
use std::process::ExitCode;
use std::time::Duration;

use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use rustix::process::{
    DumpableBehavior, Resource, Rlimit, Signal, getrlimit, set_dumpable_behavior,
    set_parent_process_death_signal, setrlimit, setsid,
};
use rustix::thread::set_no_new_privs;

use order::{ORDER_BYTES_MAX, Order, Step, Word};

/// How many files a process may have, and how many threads, as on Lambda.
const FILES_MAX: u64 = 1024;
pub(super) const THREADS_MAX: u64 = 1024;
/// How large a file may become: as much as Lambda's `/tmp` has unless it is told otherwise.
const FILE_BYTES_MAX: u64 = 512 << 20;
/// Functions are ended before the daemon where memory is short: `oom_score_adj`, of -1000 to 1000.
const OOM_SCORE_MIN: i32 = 800;
/// How often a program that is still open for writing is tried again, and after how long.
const BUSY_TRIES: u32 = 200;
const BUSY_PAUSE: Duration = Duration::from_millis(10);
/// What the stage ends with when it comes to nothing.
const FAILED: u8 = 70;

/// A step that failed, and why.
struct Failure(Step, io::Error);

type Done = Result<(), Failure>;

fn at(step: Step) -> impl FnOnce(io::Error) -> Failure {
    move |why| Failure(step, why)
}

/// Becomes what it is told on standard input; ends only if that fails, or is over.
pub(super) fn run() -> ExitCode {
    let Ok(line) = Line::take() else { return FAILED.into() };
    let done = line.order().map_err(at(Step::Order)).and_then(|order| become_process(&line, &order));
    if let Err(Failure(step, why)) = done {
        line.say(&Word::Failed(step, why.raw_os_error().unwrap_or(libc::EINVAL)));
    }
    FAILED.into()
}

/// The way to the daemon.
struct Line(OwnedFd);

impl Line {
    /// Takes it from standard input, which is nobody's afterwards.
    fn take() -> io::Result<Line> {
        let line = io::stdin().as_fd().try_clone_to_owned()?;
        // Fails where it is no socket.
        rustix::net::getsockname(&line)?;
        rustix::stdio::dup2_stdin(fs::File::open("/dev/null")?)?;
        Ok(Line(line))
    }

    fn order(&self) -> io::Result<Order> {
        let mut bytes = vec![0; ORDER_BYTES_MAX];
        let (count, _) = rustix::net::recv(&self.0, &mut bytes, rustix::net::RecvFlags::empty())?;
        Ok(serde_json::from_slice(&bytes[..count])?)
    }

    /// A daemon that is gone hears nothing.
    fn say(&self, word: &Word) {
        let _ = rustix::net::send(&self.0, word.to_string().as_bytes(), SendFlags::NOSIGNAL);
    }

    fn say_with(&self, word: &Word, listener: &TcpListener) -> io::Result<()> {
        let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut beside = SendAncillaryBuffer::new(&mut space);
        let descriptors = [listener.as_fd()];
        if !beside.push(SendAncillaryMessage::ScmRights(&descriptors)) {
            return Err(io::Error::other("the descriptor does not fit beside a word"));
        }
        let text = word.to_string();
        sendmsg(&self.0, &[io::IoSlice::new(text.as_bytes())], &mut beside, SendFlags::NOSIGNAL)?;
        Ok(())
    }
}

/// Never returns where it succeeds, but in a trial.
fn become_process(line: &Line, order: &Order) -> Done {
    let means = order.means;
    block_signals();
    // Where it cannot be had, functions are as dear to the kernel as the daemon is.
    let _ = end_first();
    if means.users {
        own_users().map_err(at(Step::Users))?;
    }
    let namespaces = [
        (means.mounts, libc::CLONE_NEWNS, Step::Mounts),
        (means.ipc, libc::CLONE_NEWIPC, Step::Ipc),
        (means.network, libc::CLONE_NEWNET, Step::Network),
        (means.processes, libc::CLONE_NEWPID, Step::Processes),
    ];
    for (_, flag, step) in namespaces.into_iter().filter(|(wanted, ..)| *wanted) {
        // SAFETY: the call takes a number.
        succeeded(unsafe { libc::unshare(flag) }).map_err(at(step))?;
    }
    if means.network {
        let listener = open_network().map_err(at(Step::Network))?;
        line.say_with(&Word::Listens, &listener).map_err(at(Step::Network))?;
    }
    if !means.processes {
        settle(order)?;
        die_with(order.daemon).map_err(at(Step::User))?;
        return run_program(line, order);
    }
    let (ours, theirs) = UnixStream::pair().map_err(at(Step::Fork))?;
    if let Some(first) = fork().map_err(at(Step::Fork))? {
        drop(theirs);
        // Whatever it was told was told to be passed on.
        close_words(line);
        end_as(&ours, first);
    }
    drop(ours);
    settle(order)?;
    set_parent_process_death_signal(Some(Signal::KILL)).map_err(|why| Failure(Step::User, why.into()))?;
    if has_hung_up(&theirs) {
        // The one before died before it could be noticed.
        return Err(Failure(Step::Fork, io::ErrorKind::BrokenPipe.into()));
    }
    if let Some(function) = fork().map_err(at(Step::Fork))? {
        close_words(line);
        tend(&theirs, function);
    }
    drop(theirs);
    setsid().map_err(|why| Failure(Step::Fork, why.into()))?;
    run_program(line, order)
}

/// Its own view, user and no more.
fn settle(order: &Order) -> Done {
    if let Some(view) = &order.view {
        view::enter(view, order.means.processes).map_err(at(Step::View))?;
    }
    give_up_capabilities();
    if let Some((user, group)) = order.user {
        become_user(user, group).map_err(at(Step::User))?;
    }
    drop_capabilities().map_err(at(Step::User))?;
    // Nobody of the same user looks into what is no program of theirs.
    set_dumpable_behavior(DumpableBehavior::NotDumpable).map_err(|why| Failure(Step::User, why.into()))
}

/// The last steps, in the process that is the function.
fn run_program(line: &Line, order: &Order) -> Done {
    limit(order).map_err(at(Step::Limits))?;
    set_no_new_privs(true).map_err(|why| Failure(Step::Limits, why.into()))?;
    if order.means.filter {
        filter::apply(order.means).map_err(at(Step::Filter))?;
    }
    line.say(&Word::Began);
    if order.is_trial {
        leave(0);
    }
    std::env::set_current_dir(&order.directory).map_err(at(Step::Run))?;
    let why = exec(order);
    // The first process of a namespace says nothing any more; whoever is told, is told by this one.
    Err(Failure(Step::Run, why))
}

/// Replaces this program by the function's; answers why not.
fn exec(order: &Order) -> io::Error {
    let text = |bytes: &[u8]| CString::new(bytes).map_err(io::Error::from);
    let prepared = || -> io::Result<_> {
        let program = text(order.program.as_os_str().as_bytes())?;
        let mut arguments = vec![program.clone()];
        for argument in &order.arguments {
            arguments.push(text(argument.as_bytes())?);
        }
        let mut environment = Vec::new();
        for (name, value) in &order.environment {
            environment.push(text(format!("{name}={value}").as_bytes())?);
        }
        Ok((program, arguments, environment))
    };
    let (program, arguments, environment) = match prepared() {
        Ok(prepared) => prepared,
        Err(why) => return why,
    };
    let pointers = |texts: &[CString]| {
        texts.iter().map(|text| text.as_ptr()).chain([std::ptr::null()]).collect::<Vec<_>>()
    };
    let (arguments, environment) = (pointers(&arguments), pointers(&environment));
    restore_signals();
    for tries in 0.. {
        // SAFETY: all texts end in a zero byte, both lists in a null, and all live through the call.
        unsafe { libc::execve(program.as_ptr(), arguments.as_ptr(), environment.as_ptr()) };
        let why = io::Error::last_os_error();
        // Code that was just unpacked is still open for writing in whatever another thread of the daemon has forked.
        if why.kind() != io::ErrorKind::ExecutableFileBusy || tries >= BUSY_TRIES {
            return why;
        }
        std::thread::sleep(BUSY_PAUSE);
    }
    unreachable!("the loop returns")
}

fn limit(order: &Order) -> io::Result<()> {
    // The daemon's own may be lower, and nobody without that capability raises them.
    let hold = |resource, most: u64| {
        let limit = Some(getrlimit(resource).maximum.map_or(most, |own| own.min(most)));
        setrlimit(resource, Rlimit { current: limit, maximum: limit })
    };
    hold(Resource::Data, order.limits.data_bytes)?;
    hold(Resource::Core, 0)?;
    hold(Resource::Nofile, FILES_MAX)?;
    hold(Resource::Fsize, FILE_BYTES_MAX)?;
    if order.limits.counts_threads {
        hold(Resource::Nproc, THREADS_MAX)?;
    }
    Ok(())
}

/// Has the kernel end this process before the daemon; a daemon that is to end early has functions that are no dearer.
fn end_first() -> io::Result<()> {
    const SCORE: &str = "/proc/self/oom_score_adj";
    let own: i32 = fs::read_to_string(SCORE)?.trim().parse().unwrap_or_default();
    if own < OOM_SCORE_MIN { fs::write(SCORE, OOM_SCORE_MIN.to_string()) } else { Ok(()) }
}

/// A namespace of users in which this one is the only one, under the same number.
fn own_users() -> io::Result<()> {
    let (user, group) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    // SAFETY: the call takes a number.
    succeeded(unsafe { libc::unshare(libc::CLONE_NEWUSER) })?;
    fs::write("/proc/self/setgroups", "deny")?;
    fs::write("/proc/self/uid_map", format!("{user} {user} 1"))?;
    fs::write("/proc/self/gid_map", format!("{group} {group} 1"))
}

/// Brings up the loopback interface of a new network, and listens there for the Runtime API.
fn open_network() -> io::Result<TcpListener> {
    let socket = std::net::UdpSocket::bind("0.0.0.0:0")?;
    // SAFETY: all of it is numbers and bytes, for which zero is a value.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(b"lo") {
        *to = (*from).cast_signed();
    }
    request.ifr_ifru.ifru_flags = (libc::IFF_UP | libc::IFF_RUNNING) as libc::c_short;
    // SAFETY: the request lives through the call, which reads it.
    succeeded(unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS as _, &raw const request) })?;
    TcpListener::bind(order::API)
}

/// No process that this one becomes will have a capability again; where that may not be said, it has none to lose.
fn give_up_capabilities() {
    for capability in 0..64 {
        // SAFETY: the call takes numbers.
        if unsafe { libc::prctl(libc::PR_CAPBSET_DROP, capability, 0, 0, 0) } != 0 {
            return;
        }
    }
}

fn become_user(user: u32, group: u32) -> io::Result<()> {
    // SAFETY: no group is read of an empty list; the others take numbers.
    unsafe {
        succeeded(libc::setgroups(0, std::ptr::null()))?;
        succeeded(libc::setresgid(group, group, group))?;
        succeeded(libc::setresuid(user, user, user))
    }
}

/// Drops what a process has that did not become another user.
fn drop_capabilities() -> io::Result<()> {
    const VERSION: u32 = 0x2008_0522;
    let header = [VERSION, 0];
    let nothing = [0_u32; 6];
    // SAFETY: a header and the two triples of this version, all of which live through the call.
    let done = unsafe { libc::syscall(libc::SYS_capset, header.as_ptr(), nothing.as_ptr()) };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Dies when the daemon does; fails if it has already.
fn die_with(daemon: u32) -> io::Result<()> {
    set_parent_process_death_signal(Some(Signal::KILL))?;
    let parent = rustix::process::getppid().map(|parent| parent.as_raw_nonzero().get());
    if parent == i32::try_from(daemon).ok() { Ok(()) } else { Err(io::ErrorKind::BrokenPipe.into()) }
}

/// Forks; `None` in the child.
fn fork() -> io::Result<Option<libc::pid_t>> {
    // SAFETY: there is one thread, so that the child may do what this process may.
    match unsafe { libc::fork() } {
        -1 => Err(io::Error::last_os_error()),
        0 => Ok(None),
        child => Ok(Some(child)),
    }
}

/// Lets go of the line and of the function's outputs: from here on this process only waits.
fn close_words(line: &Line) {
    let Ok(nothing) = fs::File::options().read(true).write(true).open("/dev/null") else { return };
    // What is left open is left open to a process that says nothing.
    let _ = rustix::stdio::dup2_stdout(&nothing).and_then(|()| rustix::stdio::dup2_stderr(&nothing));
    // SAFETY: nothing of this process uses the line after this, and the process ends by itself.
    unsafe { libc::close(line.0.as_raw_fd()) };
}

/// The process that the daemon started: waits, and ends as the function did.
fn end_as(ours: &UnixStream, first: libc::pid_t) -> ! {
    let mut bytes = [0; 4];
    let told = { ours }.read_exact(&mut bytes).is_ok();
    let mut status = 0;
    // SAFETY: the status lives through the call.
    while unsafe { libc::waitpid(first, &raw mut status, 0) } == -1
        && io::Error::last_os_error().kind() == io::ErrorKind::Interrupted
    {}
    let status = if told { i32::from_ne_bytes(bytes) } else { status };
    if libc::WIFSIGNALED(status) {
        let signal = libc::WTERMSIG(status);
        // A core of this process would tell nobody anything.
        let none = Rlimit { current: Some(0), maximum: Some(0) };
        let _ = setrlimit(Resource::Core, none);
        restore_signals();
        // SAFETY: numbers alone; this process is to die of the signal that it sends itself.
        unsafe {
            libc::signal(signal, libc::SIG_DFL);
            libc::kill(libc::getpid(), signal);
        }
    }
    leave(if libc::WIFEXITED(status) { libc::WEXITSTATUS(status) } else { FAILED.into() })
}

/// The first process of a namespace: buries all that die in it, passes on that it is time to end, and ends after the
/// function, with which the kernel ends whatever is left.
fn tend(theirs: &UnixStream, function: libc::pid_t) -> ! {
    loop {
        let mut status = 0;
        // SAFETY: the status lives through the call.
        let ended = unsafe { libc::waitpid(-1, &raw mut status, libc::WNOHANG) };
        if ended == function {
            let _ = { theirs }.write_all(&status.to_ne_bytes());
            leave(0);
        }
        if ended > 0 {
            continue;
        }
        let mut signal = 0;
        // SAFETY: both live through the call.
        if unsafe { libc::sigwait(&raw const *all_signals(), &raw mut signal) } == 0
            && signal == libc::SIGTERM
        {
            // SAFETY: numbers alone. It may not have a group of its own yet, or none any more.
            unsafe {
                if libc::kill(-function, signal) != 0 {
                    libc::kill(function, signal);
                }
            }
        }
    }
}

/// Whether the other end, which says nothing, is gone.
fn has_hung_up(stream: &UnixStream) -> bool {
    let seen = stream.set_nonblocking(true).and_then(|()| { stream }.read(&mut [0]));
    stream.set_nonblocking(false).is_err() || seen.is_ok()
}

fn all_signals() -> Box<libc::sigset_t> {
    // SAFETY: a set is bytes, which the call fills.
    let mut set: Box<libc::sigset_t> = Box::new(unsafe { std::mem::zeroed() });
    // SAFETY: the set lives through the call.
    unsafe { libc::sigfillset(&raw mut *set) };
    set
}

/// Holds signals back: the daemon's are for the function.
fn block_signals() {
    let all = all_signals();
    // SAFETY: the set lives through the call, and nobody asks for the one before.
    unsafe { libc::sigprocmask(libc::SIG_BLOCK, &raw const *all, std::ptr::null_mut()) };
}

/// Signals as a program finds them; a file that has become too large is an error and no end.
fn restore_signals() {
    // SAFETY: a set is bytes, which the call fills; the rest is numbers.
    unsafe {
        let mut none: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut none);
        libc::signal(libc::SIGPIPE, libc::SIG_DFL);
        libc::signal(libc::SIGXFSZ, libc::SIG_IGN);
        libc::sigprocmask(libc::SIG_SETMASK, &raw const none, std::ptr::null_mut());
    }
}

/// Ends this process at once: there is nothing in it that would have to be ended well.
fn leave(code: libc::c_int) -> ! {
    // SAFETY: the call takes a number and never returns.
    unsafe { libc::_exit(code) }
}

fn succeeded(done: libc::c_int) -> io::Result<()> {
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
