//! How a command ends, for scripts.

use std::process::ExitCode;

use crate::api::wire::RolloutStatus;

/// How a command that did what it was asked ended; each has its exit code, and the codes never change.
///
/// 1 is an error, and 2 is wrong usage, which is found before anything is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// It is done; of a rollout that was waited for: it succeeded.
    Done,
    /// Something was found to be wrong, and has been said.
    Failed,
    /// The rollout was rolled back.
    RolledBack,
    /// A person ended the rollout.
    Aborted,
    /// Another rollout or another hand took over.
    Superseded,
    /// `--timeout` was reached first.
    TimedOut,
    /// The rollout waits for a person.
    WaitsForPerson,
}

/// What `--wait` says in its help.
pub const WAIT_CODES: &str = "Exit codes with --wait: 0 succeeded, 3 rolled back, 4 aborted, 5 superseded, \
                              6 --timeout reached, 7 waits for a person (1 error, 2 usage)";

impl Exit {
    /// The exit code.
    pub fn code(self) -> u8 {
        match self {
            Exit::Done => 0,
            Exit::Failed => 1,
            Exit::RolledBack => 3,
            Exit::Aborted => 4,
            Exit::Superseded => 5,
            Exit::TimedOut => 6,
            Exit::WaitsForPerson => 7,
        }
    }

    /// How waiting for a rollout ends; `None` while it goes on.
    pub fn of(status: &RolloutStatus) -> Option<Exit> {
        match status.phase.as_str() {
            "Succeeded" => Some(Exit::Done),
            "RolledBack" => Some(Exit::RolledBack),
            "Aborted" => Some(Exit::Aborted),
            "Superseded" => Some(Exit::Superseded),
            _ if status.waits_for_person() => Some(Exit::WaitsForPerson),
            _ => None,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> ExitCode {
        ExitCode::from(exit.code())
    }
}
