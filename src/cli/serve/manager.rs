//! What systemd is told: that the daemon is ready, what it does, that it lives, and that it is stopping.
//!
//! A manager that does not listen is not waited for: its queue may be full for as long as it hangs.

use std::ffi::OsStr;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::{Duration, Instant};

use sd_notify::NotifyState;

use crate::clock;
use crate::config;

/// How long a word may wait for room in the manager's queue.
const SEND_MAX: Duration = Duration::from_millis(100);

/// A service manager, if one is listening; all of this does nothing otherwise.
pub struct Manager {
    watchdog: Option<Duration>,
    turns_told: u64,
    told_at: Option<Instant>,
}

impl Manager {
    /// Asks the environment whether somebody wants signs of life, and how often.
    pub fn new() -> Manager {
        Manager { watchdog: sd_notify::watchdog_enabled(), turns_told: 0, told_at: None }
    }

    /// Both listeners answer.
    pub fn ready(&self, status: &str) {
        tell(&[NotifyState::Ready, NotifyState::Status(status)]);
    }

    /// Gives a sign of life, if one is due and the control thread has made a turn since the last one.
    pub fn alive(&mut self, turns: u64) {
        let Some(every) = self.watchdog else { return };
        let now = clock::instant_now();
        // Three times as often as asked for: one late look must not look like a death.
        let is_due = self.told_at.is_none_or(|told| now.duration_since(told) >= every / 3);
        if is_due && turns != self.turns_told {
            tell(&[NotifyState::Watchdog]);
            self.turns_told = turns;
            self.told_at = Some(now);
        }
    }

    /// Gives a sign of life, if one is due, while another process is about to decide in this one's place.
    pub fn alive_between(&mut self) {
        self.turns_told = 0;
        self.alive(1);
    }

    /// Another process is the service from now on.
    pub fn handed_over(pid: u32) {
        tell(&[NotifyState::MainPid(pid)]);
    }

    /// It is going down, by its own will.
    pub fn stopping(&self, status: &str) {
        tell(&[NotifyState::Stopping, NotifyState::Status(status)]);
    }
}

fn tell(states: &[NotifyState<'_>]) {
    let Some(path) = config::notify_socket() else { return };
    let said: String = states.iter().map(|state| format!("{state}\n")).collect();
    if let Err(why) = send(&path, &said) {
        tracing::debug!(%why, "the service manager does not listen");
    }
}

/// As `sd_notify::notify` does it, which waits for room for as long as it takes.
fn send(path: &OsStr, said: &str) -> io::Result<()> {
    let addr = match path.as_bytes().strip_prefix(b"@") {
        Some(name) => SocketAddr::from_abstract_name(name)?,
        None => SocketAddr::from_pathname(path)?,
    };
    let socket = UnixDatagram::unbound()?;
    socket.set_write_timeout(Some(SEND_MAX))?;
    socket.send_to_addr(said.as_bytes(), &addr)?;
    Ok(())
}
