//! The signals that end what would otherwise run on.

use std::io;

use tokio::signal::unix::{SignalKind, signal};

/// SIGTERM and SIGINT, heard from the moment this is made.
pub struct Signals {
    terminate: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
}

impl Signals {
    /// Begins to listen; needs a runtime to be entered.
    pub fn listen() -> io::Result<Signals> {
        Ok(Signals {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    /// Waits for the next one, and gives its name.
    pub async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}

/// Lets a file that has grown to the largest that this process may write be an error of whoever writes, as a full disk
/// is: by itself the signal for it, SIGXFSZ, ends the whole process.
pub fn outlive_full_files() {
    // SAFETY: numbers alone; no handler is named.
    unsafe { libc::signal(libc::SIGXFSZ, libc::SIG_IGN) };
}

/// SIGUSR2, which asks a daemon to be replaced by the program that is installed now; heard from when this is made.
pub struct UpgradeSignal(tokio::signal::unix::Signal);

impl UpgradeSignal {
    /// Begins to listen; needs a runtime to be entered.
    pub fn listen() -> io::Result<UpgradeSignal> {
        Ok(UpgradeSignal(signal(SignalKind::user_defined2())?))
    }

    /// Waits for the next one.
    pub async fn next(&mut self) {
        self.0.recv().await;
    }
}

/// SIGHUP, which asks for certificates and principals to be read again; heard from when this is made, if it is heard at all.
pub struct ReloadSignal(Option<tokio::signal::unix::Signal>);

impl ReloadSignal {
    /// Begins to listen, if there is anything to read again; where there is not, SIGHUP ends the process, as it does when
    /// a terminal is closed. Needs a runtime to be entered.
    pub fn listen(is_heard: bool) -> io::Result<ReloadSignal> {
        Ok(ReloadSignal(is_heard.then(|| signal(SignalKind::hangup())).transpose()?))
    }

    /// Waits for the next one, or for ever.
    pub async fn next(&mut self) {
        match &mut self.0 {
            Some(signal) => _ = signal.recv().await,
            None => std::future::pending().await,
        }
    }
}
