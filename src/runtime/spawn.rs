//! Starts a process apart from the daemon: a stage that inherits nothing, is told what to become, and says how far it is.

use std::ffi::OsString;
use std::io::{self, IoSliceMut, PipeReader};
use std::mem::MaybeUninit;
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendFlags, SocketFlags, SocketType,
    recvmsg, sockopt,
};
use rustix::process::{Signal, getpid, getppid, set_parent_process_death_signal, setsid};
use tokio::task::spawn_blocking;

use super::stage::order::{ORDER_BYTES_MAX, Order, Step, Word};

/// By this argument the program knows that it is a stage and no command.
pub(super) const STAGE: &str = "__process";
/// How long a stage may take.
const STAGE_MAX: Duration = Duration::from_secs(10);

/// A process that runs its program.
pub(super) struct Spawned {
    /// The process that stands for it, and ends as it does.
    pub(super) child: tokio::process::Child,
    /// Both of its outputs, in their order.
    pub(super) output: PipeReader,
    /// Its number, as the daemon sees it.
    pub(super) pid: u32,
    /// Where its Runtime API is to be served, if that is in a network of its own.
    pub(super) listener: Option<TcpListener>,
}

/// Why a process did not come to run its program.
#[derive(Debug)]
pub(super) struct NotSpawned {
    /// The step that failed; `None` where the stage itself could not be started or told.
    pub(super) step: Option<Step>,
    pub(super) why: io::Error,
}

impl NotSpawned {
    fn line(why: impl Into<io::Error>) -> NotSpawned {
        NotSpawned { step: None, why: why.into() }
    }
}

/// A stage that has begun and not been told anything.
pub(super) struct Stage {
    pub(super) child: tokio::process::Child,
    line: OwnedFd,
    output: PipeReader,
}

impl Stage {
    /// Starts the program as a stage, in a session of its own.
    ///
    /// Call it on a thread that lives as long as the process may: the kernel ends the process with the thread.
    pub(super) fn start(program: &Path) -> io::Result<Stage> {
        let (ours, theirs) =
            rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
        // So that the kernel says whose each word is.
        sockopt::set_socket_passcred(&ours, true)?;
        sockopt::set_socket_timeout(&ours, sockopt::Timeout::Recv, Some(STAGE_MAX))?;
        let (output, input) = io::pipe()?;
        let mut command = Command::new(program);
        // Nothing of the function's: what its environment does to loaders must not be done to this program.
        command.arg(STAGE).env_clear().current_dir("/");
        command.stdin(Stdio::from(theirs)).stdout(input.try_clone()?).stderr(input);
        inherit_nothing(&mut command, true);
        let child = tokio::process::Command::from(command).kill_on_drop(true).spawn()?;
        Ok(Stage { child, line: ours, output })
    }

    /// Tells it what to become, and waits until it is.
    pub(super) async fn become_process(self, order: &Order) -> Result<Spawned, NotSpawned> {
        let Stage { child, line, output } = self;
        let text = serde_json::to_vec(order).map_err(NotSpawned::line)?;
        if text.len() > ORDER_BYTES_MAX {
            let why = format!("its environment and arguments take more than {ORDER_BYTES_MAX} bytes");
            return Err(NotSpawned::line(io::Error::other(why)));
        }
        let heard = spawn_blocking(move || {
            rustix::net::send(&line, &text, SendFlags::NOSIGNAL).map_err(NotSpawned::line)?;
            hear(&line)
        });
        let heard = heard.await.map_err(|why| NotSpawned::line(io::Error::other(why)));
        let (pid, listener) = heard.flatten()?;
        Ok(Spawned { child, output, pid, listener })
    }
}

/// The same on a thread that may wait, for a trial whose process is of no use.
pub(super) fn attempt(program: &Path, order: &Order) -> Result<(), NotSpawned> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(NotSpawned::line)?;
    runtime.block_on(async {
        let stage = Stage::start(program).map_err(NotSpawned::line)?;
        let mut spawned = stage.become_process(order).await?;
        // It ends by itself; if not, it is ended when it is dropped.
        let _ = tokio::time::timeout(STAGE_MAX, spawned.child.wait()).await;
        Ok(())
    })
}

/// Hears a stage to its end, which is when its program runs.
fn hear(line: &OwnedFd) -> Result<(u32, Option<TcpListener>), NotSpawned> {
    let (mut began, mut listener) = (None, None);
    loop {
        let mut bytes = [0; 64];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1), ScmCredentials(1))];
        let mut beside = RecvAncillaryBuffer::new(&mut space);
        let heard = recvmsg(line, &mut [IoSliceMut::new(&mut bytes)], &mut beside, RecvFlags::CMSG_CLOEXEC);
        let heard = match heard {
            Err(rustix::io::Errno::INTR) => continue,
            // Whoever is gone may have had something unread.
            Err(rustix::io::Errno::CONNRESET) => 0,
            Err(rustix::io::Errno::AGAIN) => return Err(NotSpawned::line(io::ErrorKind::TimedOut)),
            heard => heard.map_err(NotSpawned::line)?.bytes,
        };
        if heard == 0 {
            let gone = || NotSpawned::line(io::Error::other("the process ended before it began"));
            return began.map(|pid| (pid, listener)).ok_or_else(gone);
        }
        let mut says = None;
        for message in beside.drain() {
            match message {
                RecvAncillaryMessage::ScmRights(mut rights) => {
                    listener = rights.next().map(TcpListener::from).or(listener);
                }
                RecvAncillaryMessage::ScmCredentials(whose) => says = Some(whose.pid.as_raw_nonzero()),
                _ => {}
            }
        }
        match std::str::from_utf8(&bytes[..heard]).unwrap_or_default().parse() {
            Ok(Word::Listens) => {}
            Ok(Word::Began) => began = says.map(|pid| pid.get().cast_unsigned()),
            Ok(Word::Failed(step, errno)) => {
                return Err(NotSpawned { step: Some(step), why: io::Error::from_raw_os_error(errno) });
            }
            Err(()) => return Err(NotSpawned::line(io::ErrorKind::InvalidData)),
        }
    }
}

/// The words of a command line, as far as they say that this process is a stage.
pub(super) fn is_stage(typed: &[OsString]) -> bool {
    typed.len() == 2 && typed[1] == STAGE
}

/// Has a command begin in a session of its own and without the daemon's files; one that `dies_with` the daemon is ended
/// by the kernel when this thread ends.
pub(super) fn inherit_nothing(command: &mut Command, dies_with: bool) {
    let daemon = getpid();
    let before_exec = move || {
        setsid()?;
        if dies_with {
            set_parent_process_death_signal(Some(Signal::KILL))?;
            if getppid() != Some(daemon) {
                // The daemon died; an error with words would be allocated, and between fork and exec nothing may be.
                return Err(io::ErrorKind::BrokenPipe.into());
            }
        }
        close_others_on_exec()
    };
    // SAFETY: between fork and exec only system calls are made, and nothing is allocated.
    unsafe { command.pre_exec(before_exec) };
}

/// Marks every descriptor but the standard three, also what the daemon itself was given by whoever started it.
fn close_others_on_exec() -> io::Result<()> {
    // SAFETY: the call takes numbers alone, and a marked descriptor stays open until the exec.
    let done = unsafe { libc::close_range(3, libc::c_uint::MAX, libc::CLOSE_RANGE_CLOEXEC as libc::c_int) };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
