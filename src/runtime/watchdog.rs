//! Ends the processes of a daemon that died: a shell that is told of every group of them, and reads until it cannot.
//!
//! The kernel ends the processes that the daemon started when it dies; those that they started it does not. No death
//! is too sudden for the end of a pipe.

use std::io::{self, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::Duration;

use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::process::Pid;

use super::spawn::inherit_nothing;

const SCRIPT: &str = r#"
trap '' HUP INT TERM QUIT
live=' '
while read -r sign group; do
    case $sign in
        +) live="$live$group " ;;
        -) case $live in *" $group "*) live="${live%% "$group" *} ${live#* "$group" }" ;; esac ;;
    esac
done
for group in $live; do kill -s KILL -- "-$group" 2>/dev/null; done
"#;

/// What it has not read yet may not become more than this; it is more than a pipe takes, and as much as it is told of
/// a hundred thousand processes.
const UNTOLD_BYTES_MAX: usize = 1 << 20;
/// How often and how many times is looked whether it has ended.
const LOOK_EVERY: Duration = Duration::from_millis(10);
const LOOKS_MAX: u32 = 200;

/// The shell, and the way to tell it.
pub(super) struct Watchdog {
    shell: Child,
    told: Option<ChildStdin>,
    /// What it is to be told as soon as it reads: nobody waits for a shell that is stopped.
    untold: Vec<u8>,
}

impl Watchdog {
    /// Starts it, in a session of its own, so that no terminal's signal reaches it.
    pub(super) fn start() -> io::Result<Watchdog> {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", SCRIPT, "serin-watchdog"]).env_clear().current_dir("/");
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        inherit_nothing(&mut command, false);
        let mut shell = command.spawn()?;
        let told = shell.stdin.take();
        if let Some(told) = &told {
            fcntl_setfl(told, fcntl_getfl(told)? | OFlags::NONBLOCK)?;
        }
        Ok(Watchdog { shell, told, untold: Vec::new() })
    }

    /// A group began.
    pub(super) fn watch(&mut self, group: Pid) {
        self.tell('+', group);
    }

    /// A group has ended.
    pub(super) fn forget(&mut self, group: Pid) {
        self.tell('-', group);
    }

    fn tell(&mut self, sign: char, group: Pid) {
        let Some(told) = &mut self.told else { return };
        self.untold.extend_from_slice(format!("{sign} {}\n", group.as_raw_nonzero()).as_bytes());
        let gone = match told.write(&self.untold) {
            Ok(count) => {
                self.untold.drain(..count);
                return;
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                if self.untold.len() <= UNTOLD_BYTES_MAX {
                    return;
                }
                // What it would do at the end is long out of date.
                let _ = self.shell.kill();
                error
            }
            Err(error) => error,
        };
        tracing::warn!(error = %gone, "the watchdog is gone: what functions start may outlive a killed daemon");
        self.told = None;
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        self.told = None;
        // It ends what is left, and then itself; one that is stopped does neither.
        for _ in 0..LOOKS_MAX {
            if !matches!(self.shell.try_wait(), Ok(None)) {
                return;
            }
            std::thread::sleep(LOOK_EVERY);
        }
        let _ = self.shell.kill();
        let _ = self.shell.wait();
    }
}
