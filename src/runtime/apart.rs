//! What keeps functions' processes apart on this machine: what is wanted, what the kernel lacks, and what that means.
//!
//! It is tried out once, with processes that run nothing. What cannot be had is left out and said, where another wall
//! still stands; where none does, no more functions are made, and those that are there go on.

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use super::sandbox::{Sandbox, has_users_apart, sample_of};
use super::spawn::{NotSpawned, attempt};
use super::stage::order::{Limits, Means, Order, Step, View};
use crate::config::{ProcessNetwork, ProcessUser};

/// What a daemon that cannot keep functions apart has them read.
const HOW: &str = "run serin as root (packaging/serin-functions.service), or where the kernel gives users namespaces; or accept \
                   it with --process-user same";

/// What was asked for.
#[derive(Clone)]
pub(super) struct Wish {
    /// The program that becomes a process.
    pub(super) stage: PathBuf,
    /// Whose processes they are; the safest unless given.
    pub(super) user: Option<ProcessUser>,
    /// What they reach.
    pub(super) network: ProcessNetwork,
    /// Whether the API asks who asks.
    pub(super) api_asks: bool,
    /// What no function is to see.
    pub(super) hidden: Vec<PathBuf>,
}

/// What there is.
#[derive(Clone, Debug)]
pub(super) struct Found {
    pub(super) user: ProcessUser,
    pub(super) means: Means,
    /// What the kernel lacks, in sentences.
    pub(super) lacking: Vec<String>,
    /// Why no more functions from zips are made.
    pub(super) refusal: Option<String>,
}

/// Finds out, once, when it is first asked.
pub(super) struct Apart {
    wish: Wish,
    sandbox: OnceLock<Sandbox>,
    /// What control groups lack, in sentences.
    groups_lack: OnceLock<Vec<String>>,
    found: OnceLock<Arc<Found>>,
}

impl Apart {
    pub(super) fn new(wish: Wish) -> Apart {
        Apart { wish, sandbox: OnceLock::new(), groups_lack: OnceLock::new(), found: OnceLock::new() }
    }

    /// The program that becomes a process.
    pub(super) fn stage(&self) -> &Path {
        &self.wish.stage
    }

    /// Where there is room to try.
    pub(super) fn try_in(&self, sandbox: Sandbox) {
        // It is set once, by whoever made both.
        let _ = self.sandbox.set(sandbox);
    }

    /// What control groups lack, in a sentence.
    pub(super) fn groups_lack(&self, lacking: Option<String>) {
        // As above.
        let _ = self.groups_lack.set(lacking.into_iter().collect());
    }

    /// What the kernel lacks, in sentences; blocks the first time.
    pub(super) fn lacking(&self) -> Vec<String> {
        self.found().lacking.iter().chain(self.groups_lack.get().into_iter().flatten()).cloned().collect()
    }

    /// What there is; blocks the first time.
    pub(super) fn found(&self) -> Arc<Found> {
        Arc::clone(self.found.get_or_init(|| Arc::new(self.find())))
    }

    fn find(&self) -> Found {
        let (wanted, network) = (self.wanted_user(), self.wish.network == ProcessNetwork::None);
        let has_users = has_users_apart(wanted);
        let has_namespaces = wanted != ProcessUser::Same;
        let mut means = Means {
            users: wanted == ProcessUser::Namespace,
            mounts: has_namespaces,
            processes: has_namespaces,
            ipc: has_namespaces,
            network: network && has_namespaces,
            filter: true,
            shares_ports: has_users,
        };
        let (mut user, mut lacking) = (wanted, Vec::new());
        while let Err(NotSpawned { step, why }) = self.attempt(user, means) {
            let before = means;
            let said = step.map_or_else(|| "start a process".to_owned(), |step| step.to_string());
            match step {
                Some(Step::Filter) => means.filter = false,
                _ if user == ProcessUser::Namespace => {
                    user = ProcessUser::Same;
                    means = Means { filter: means.filter, ..nothing() };
                }
                Some(Step::Mounts | Step::View) => (means.mounts, means.processes) = (false, false),
                Some(Step::Processes) => means.processes = false,
                Some(Step::Ipc) => means.ipc = false,
                Some(Step::Network) => means.network = false,
                _ => {}
            }
            lacking.push(format!("functions' processes: this machine does not let serin {said} ({why})"));
            if means == before {
                break;
            }
        }
        let refusal = self.refusal(user, means, lacking.last());
        Found { user, means, lacking, refusal }
    }

    /// Whose processes they are, unless that cannot be had.
    pub(super) fn wanted_user(&self) -> ProcessUser {
        self.wish.user.unwrap_or_else(super::best_user)
    }

    fn refusal(&self, user: ProcessUser, means: Means, why: Option<&String>) -> Option<String> {
        if self.wish.network == ProcessNetwork::None && !means.network {
            return Some(format!(
                "no functions are made from zips: --process-network none cannot be had{}",
                because(why)
            ));
        }
        if user == ProcessUser::Same && self.wish.user != Some(ProcessUser::Same) {
            return Some(format!(
                "no functions are made from zips: they could read and change whatever this daemon can, which is not root{}; \
                 {HOW}",
                because(why)
            ));
        }
        let is_told_apart = has_users_apart(user) || means.network;
        if self.wish.api_asks || is_told_apart {
            return None;
        }
        let alone = if user == ProcessUser::Namespace {
            ", or give functions no network with --process-network none"
        } else {
            ""
        };
        Some(format!(
            "no functions are made from zips: their processes are the daemon's own user, and the API, which asks nobody who \
             they are, could not tell them from people; have it ask, with SERIN_TOKEN or --principals{alone}"
        ))
    }

    /// Tries with a process that runs nothing; where nothing is set up to try in, the wish is taken for what there is.
    fn attempt(&self, user: ProcessUser, means: Means) -> Result<(), NotSpawned> {
        let Some(sandbox) = self.sandbox.get() else { return Ok(()) };
        let order = Order {
            program: PathBuf::new(),
            arguments: Vec::new(),
            environment: Default::default(),
            directory: PathBuf::from("/"),
            user: sample_of(user).map(|id| (id, id)),
            limits: Limits { data_bytes: u64::MAX, counts_threads: false },
            means,
            view: means
                .mounts
                .then(|| self.view(sandbox, user, &sandbox.code(), &sandbox.code(), Vec::new())),
            daemon: std::process::id(),
            is_trial: true,
        };
        attempt(&self.wish.stage, &order)
    }

    /// What a process sees.
    pub(super) fn view(
        &self,
        sandbox: &Sandbox,
        user: ProcessUser,
        code: &Path,
        scratch: &Path,
        programs: Vec<PathBuf>,
    ) -> View {
        View {
            base: sandbox.view(),
            code: code.to_owned(),
            scratch: scratch.to_owned(),
            is_whole: has_users_apart(user),
            programs,
            hidden: self.wish.hidden.iter().cloned().chain(sandbox.hidden()).collect(),
        }
    }
}

fn nothing() -> Means {
    Means {
        users: false,
        mounts: false,
        processes: false,
        ipc: false,
        network: false,
        filter: false,
        shares_ports: false,
    }
}

fn because(why: Option<&String>) -> String {
    why.map(|why| format!(" ({why})")).unwrap_or_default()
}
