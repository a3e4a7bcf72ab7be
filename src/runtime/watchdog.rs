//! Ends the processes of a daemon that died: a shell that is told of every group of them, and reads until it cannot.
//!
//! The kernel ends the processes that the daemon started when it dies; those that they started it does not. No death
//! is too sudden for the end of a pipe.

use std::io::{self, Write};
use std::process::{Child, ChildStdin, Command, Stdio};

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

/// The shell, and the way to tell it.
pub(super) struct Watchdog {
    shell: Child,
    told: Option<ChildStdin>,
}

impl Watchdog {
    /// Starts it, in a session of its own, so that no terminal's signal reaches it.
    pub(super) fn start() -> io::Result<Watchdog> {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", SCRIPT, "serin-watchdog"]).env_clear().current_dir("/");
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        inherit_nothing(&mut command, None);
        let mut shell = command.spawn()?;
        let told = shell.stdin.take();
        Ok(Watchdog { shell, told })
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
        if let Err(error) = writeln!(told, "{sign} {}", group.as_raw_nonzero()) {
            tracing::warn!(%error, "the watchdog is gone: what functions start may outlive a killed daemon");
            self.told = None;
        }
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        self.told = None;
        // It ends what is left, and then itself.
        let _ = self.shell.wait();
    }
}
