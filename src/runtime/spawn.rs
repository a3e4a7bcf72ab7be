//! Starts a process apart from the daemon: its own session, user, limits and directory, and nothing inherited.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::{self, PipeReader};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

use rustix::process::{
    Resource, Rlimit, Signal, getpid, getppid, set_parent_process_death_signal, setrlimit, setsid,
};
use rustix::thread::set_no_new_privs;

use super::sandbox::Cell;

/// How many files and threads a process may have, as on Lambda.
const FILES_MAX: u64 = 1024;

/// What a process may use.
#[derive(Clone, Copy)]
pub(super) struct Limits {
    /// Memory of its own that it may ask for, in bytes.
    pub(super) data_bytes: u64,
    /// Whether the user is its alone, so that its threads can be counted.
    pub(super) counts_threads: bool,
}

/// What to start.
pub(super) struct Plan<'a> {
    pub(super) program: &'a Path,
    pub(super) arguments: Vec<OsString>,
    pub(super) environment: BTreeMap<String, String>,
    /// Its working directory: the code.
    pub(super) root: &'a Path,
    pub(super) cell: &'a Cell,
    pub(super) limits: Limits,
}

/// Starts it; both of its outputs come out of one pipe, in their order.
///
/// Call it on a thread that lives as long as the process may: the kernel ends the process with the thread.
pub(super) fn spawn(plan: &Plan<'_>) -> io::Result<(tokio::process::Child, PipeReader)> {
    let (output, input) = io::pipe()?;
    let mut command = Command::new(plan.program);
    command.args(&plan.arguments).env_clear().envs(&plan.environment).current_dir(plan.root);
    command.stdin(Stdio::null()).stdout(input.try_clone()?).stderr(input);
    if let Some(id) = plan.cell.id {
        // As root this also takes all other groups away.
        command.uid(id).gid(id);
    }
    inherit_nothing(&mut command, Some(plan.limits));
    let child = tokio::process::Command::from(command).kill_on_drop(true).spawn()?;
    Ok((child, output))
}

/// Has a command begin in a session of its own, without the daemon's files, and with limits where there are any; a
/// limited one dies with the daemon.
pub(super) fn inherit_nothing(command: &mut Command, limits: Option<Limits>) {
    let daemon = getpid();
    let before_exec = move || {
        setsid()?;
        if let Some(limits) = limits {
            let at_most = |bytes| Rlimit { current: Some(bytes), maximum: Some(bytes) };
            setrlimit(Resource::Data, at_most(limits.data_bytes))?;
            setrlimit(Resource::Core, at_most(0))?;
            setrlimit(Resource::Nofile, at_most(FILES_MAX))?;
            if limits.counts_threads {
                setrlimit(Resource::Nproc, at_most(FILES_MAX))?;
            }
            set_no_new_privs(true)?;
            // After the change of user, which takes it back.
            set_parent_process_death_signal(Some(Signal::KILL))?;
            if getppid() != Some(daemon) {
                return Err(io::Error::other("the daemon died"));
            }
        }
        close_others_on_exec()
    };
    // SAFETY: between fork and exec only system calls are made, and nothing is allocated but an error that ends it.
    unsafe { command.pre_exec(before_exec) };
}

/// Marks every descriptor but the standard three, also what the daemon itself was given by whoever started it.
fn close_others_on_exec() -> io::Result<()> {
    // SAFETY: the call takes numbers alone, and a marked descriptor stays open until the exec.
    let done = unsafe { libc::close_range(3, libc::c_uint::MAX, libc::CLOSE_RANGE_CLOEXEC as libc::c_int) };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
