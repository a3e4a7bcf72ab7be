//! What the stage of a process is told, and what it says on the way.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Where a process finds its code where it has a view of its own, as on Lambda.
pub(in crate::runtime) const TASK: &str = "/var/task";
/// Where it may write then, as on Lambda.
pub(in crate::runtime) const TMP: &str = "/tmp";
/// Where its Runtime API is in a network of its own, as on Lambda.
pub(in crate::runtime) const API: &str = "127.0.0.1:9001";
/// The longest order.
pub(in crate::runtime) const ORDER_BYTES_MAX: usize = 160 * 1024;

/// A process to become.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(in crate::runtime) struct Order {
    /// The program, as the process sees it.
    pub(in crate::runtime) program: PathBuf,
    pub(in crate::runtime) arguments: Vec<OsString>,
    pub(in crate::runtime) environment: BTreeMap<String, String>,
    /// The working directory, as the process sees it.
    pub(in crate::runtime) directory: PathBuf,
    /// User and group; the daemon's unless given.
    pub(in crate::runtime) user: Option<(u32, u32)>,
    pub(in crate::runtime) limits: Limits,
    pub(in crate::runtime) means: Means,
    /// What it sees of the file system; all of it unless given.
    pub(in crate::runtime) view: Option<View>,
    /// The process that must be alive.
    pub(in crate::runtime) daemon: u32,
    /// Whether all this is only tried, and nothing run.
    pub(in crate::runtime) is_trial: bool,
}

/// What a process may use.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(in crate::runtime) struct Limits {
    /// Memory of its own that it may ask for, in bytes.
    pub(in crate::runtime) data_bytes: u64,
    /// Whether its threads can be counted apart from others'.
    pub(in crate::runtime) counts_threads: bool,
}

/// What keeps a process apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::runtime) struct Means {
    /// Users: it is nobody outside.
    pub(in crate::runtime) users: bool,
    /// Mounts: it has a view of its own.
    pub(in crate::runtime) mounts: bool,
    /// Processes: it sees its own alone.
    pub(in crate::runtime) processes: bool,
    /// System V's and POSIX's ways to talk.
    pub(in crate::runtime) ipc: bool,
    /// Network: it reaches nothing but its Runtime API.
    pub(in crate::runtime) network: bool,
    /// System calls that functions have no use for.
    pub(in crate::runtime) filter: bool,
    /// Whether it may bind beside others of its user, which is harmless where nobody else is that user.
    pub(in crate::runtime) shares_ports: bool,
}

/// What a process sees of the file system.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(in crate::runtime) struct View {
    /// An empty directory that is made its root.
    pub(in crate::runtime) base: PathBuf,
    /// Its code, to be seen at `TASK`.
    pub(in crate::runtime) code: PathBuf,
    /// What it may write, to be seen at `TMP`.
    pub(in crate::runtime) scratch: PathBuf,
    /// Whether all the rest is seen as far as modes allow; else only what programs need.
    pub(in crate::runtime) is_whole: bool,
    /// Where what runs it lies.
    pub(in crate::runtime) programs: Vec<PathBuf>,
    /// What is not seen in any case.
    pub(in crate::runtime) hidden: Vec<PathBuf>,
}

/// Where a stage can fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::runtime) enum Step {
    Order,
    Users,
    Mounts,
    Processes,
    Ipc,
    Network,
    View,
    User,
    Limits,
    Filter,
    Fork,
    Run,
}

const STEPS: [(Step, &str, &str); 12] = [
    (Step::Order, "order", "read what to run"),
    (Step::Users, "users", "make a namespace of users"),
    (Step::Mounts, "mounts", "make a namespace of mounts"),
    (Step::Processes, "processes", "make a namespace of processes"),
    (Step::Ipc, "ipc", "make a namespace of IPC"),
    (Step::Network, "network", "make a network of its own"),
    (Step::View, "view", "mount what it is to see"),
    (Step::User, "user", "become its user"),
    (Step::Limits, "limits", "set its limits"),
    (Step::Filter, "filter", "filter its system calls"),
    (Step::Fork, "fork", "fork"),
    (Step::Run, "run", "run it"),
];

impl fmt::Display for Step {
    /// In words, as what was tried.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words = STEPS.iter().find(|(step, ..)| step == self).map_or("", |(_, _, words)| words);
        f.write_str(words)
    }
}

/// A word of the stage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::runtime) enum Word {
    /// A listener for the Runtime API comes with it.
    Listens,
    /// The process that says so runs the program from now on.
    Began,
    /// What could not be done, and the kernel's reason.
    Failed(Step, i32),
}

impl fmt::Display for Word {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Word::Listens => f.write_str("listens"),
            Word::Began => f.write_str("began"),
            Word::Failed(failed, errno) => {
                let name = STEPS.iter().find(|(step, ..)| step == failed).map_or("", |(_, name, _)| name);
                write!(f, "failed {name} {errno}")
            }
        }
    }
}

impl FromStr for Word {
    type Err = ();

    fn from_str(text: &str) -> Result<Word, ()> {
        let words: Vec<&str> = text.split(' ').collect();
        match words[..] {
            ["listens"] => Ok(Word::Listens),
            ["began"] => Ok(Word::Began),
            ["failed", name, errno] => {
                let step = STEPS.iter().find(|(_, known, _)| *known == name).ok_or(())?.0;
                Ok(Word::Failed(step, errno.parse().map_err(|_| ())?))
            }
            _ => Err(()),
        }
    }
}

/// The directory that a program needs beside itself: what `bin` or `node_modules` lies in, else its own.
pub(in crate::runtime) fn home_of(program: &Path) -> Option<PathBuf> {
    let parent = program.parent()?;
    let holds = |place: &&Path| place.file_name().is_some_and(|name| name == "node_modules");
    if let Some(modules) = program.ancestors().find(holds) {
        return modules.parent().map(Path::to_owned);
    }
    if parent.file_name().is_some_and(|name| name == "bin") {
        return parent.parent().map(Path::to_owned);
    }
    Some(parent.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_read_as_they_are_said() {
        for (step, ..) in STEPS {
            let word = Word::Failed(step, 13);
            assert_eq!(word.to_string().parse(), Ok(word));
        }
        assert_eq!((Word::Began.to_string().parse(), "".parse::<Word>()), (Ok(Word::Began), Err(())));
    }

    #[test]
    fn a_program_needs_what_its_directory_lies_in() {
        for (program, home) in [
            ("/opt/python/bin/python3.12", "/opt/python"),
            ("/x/lib/node_modules/aws-lambda-ric/bin/index.mjs", "/x/lib"),
            ("/x/shims/python3.12", "/x/shims"),
        ] {
            assert_eq!(home_of(Path::new(program)), Some(home.into()));
        }
    }
}
