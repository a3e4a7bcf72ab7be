//! What a reader gets: plain numbers, taken at one moment.

use std::fmt;
use std::ops::Range;

use serin_core::analysis::cohort::Tally;
use serin_core::analysis::mirror::SampleKind;
use serin_core::analysis::users::UserTally;
use serin_core::lambda::alias::Routing;
use serin_core::lambda::function::Revision;
use serin_core::model::arn::VersionId;
use serin_core::model::histogram::HistogramSnapshot;

/// What made a request a failure of its version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FailureKind {
    /// It answered with a status that counts as a failure.
    Status,
    /// It could not be reached, or its answer broke off or made no sense.
    Transport,
    /// It did not answer, or went on with its answer, in time.
    Timeout,
    /// It answered an Invoke with a function error.
    FunctionError,
}

impl FailureKind {
    /// Every kind, in the order of their declaration.
    pub const ALL: [FailureKind; 4] =
        [FailureKind::Status, FailureKind::Transport, FailureKind::Timeout, FailureKind::FunctionError];

    /// The kind in one word, as metrics and messages spell it.
    pub const fn as_str(self) -> &'static str {
        match self {
            FailureKind::Status => "status",
            FailureKind::Transport => "transport",
            FailureKind::Timeout => "timeout",
            FailureKind::FunctionError => "function_error",
        }
    }
}

impl fmt::Display for FailureKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// Failed requests by what made them fail; a request stands in at most one of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FailureCounts([u64; FailureKind::ALL.len()]);

impl FailureCounts {
    /// How many failed in this way.
    pub fn of(&self, kind: FailureKind) -> u64 {
        self.0[kind as usize]
    }

    /// How many failed in any way.
    pub fn total(&self) -> u64 {
        self.0.iter().sum()
    }

    /// Adds failures of one kind.
    pub fn add(&mut self, kind: FailureKind, count: u64) {
        self.0[kind as usize] += count;
    }
}

/// How many requests one version got, and what became of them.
///
/// `dispatched` counts every request the moment it is assigned to the version; each later ends once, as `completed`
/// (answered, well or badly) or as `cancelled` (the client went away, or the router itself could not go on). Failures
/// are counted beside these.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Requests assigned to the version.
    pub dispatched: u64,
    /// Requests that ended, well or badly.
    pub completed: u64,
    /// Requests that ended by no doing of the version's; no failures.
    pub cancelled: u64,
    /// Requests drawn for the version that it did not get, because too many were under way; not dispatched, and no
    /// failures.
    pub throttled: u64,
    /// Requests that it refused with a 4xx status or its gRPC counterpart; no failures.
    pub refused: u64,
    /// Requests among the cancelled ones whose clients had waited for an answer in vain, for `patience::LEAST_WAIT` or longer.
    pub gave_up: u64,
    /// Failed requests, each known since its head, its deadline or its end.
    pub failures: FailureCounts,
}

impl Counts {
    /// Requests that have not ended.
    pub fn in_flight(&self) -> u64 {
        self.dispatched.saturating_sub(self.completed + self.cancelled)
    }

    /// Adds what was counted elsewhere.
    pub fn merge(&mut self, other: &Counts) {
        self.dispatched += other.dispatched;
        self.completed += other.completed;
        self.cancelled += other.cancelled;
        self.throttled += other.throttled;
        self.refused += other.refused;
        self.gave_up += other.gave_up;
        for kind in FailureKind::ALL {
            self.failures.add(kind, other.failures.of(kind));
        }
    }

    /// How many changes were counted; equal sums mean that nothing moved in between.
    pub(super) fn events(&self) -> u64 {
        self.dispatched
            + self.completed
            + self.cancelled
            + self.throttled
            + self.refused
            + self.failures.total()
    }
}

/// Counts and latencies of one version.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VersionCounts {
    /// How many requests, and what became of them.
    pub counts: Counts,
    /// Time from dispatch to the head of the answer, of every request that got one.
    pub latency: HistogramSnapshot,
}

impl VersionCounts {
    /// Adds what was counted elsewhere.
    pub fn merge(&mut self, other: &VersionCounts) {
        self.counts.merge(&other.counts);
        self.latency.merge(&other.latency);
    }
}

/// The cohorts of one weight epoch, in a list that several epochs share.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeptCohorts {
    /// The cohort that requests are dispatched in now.
    pub now: u64,
    /// All requests since cohorts are kept: the function version's, the additional one's.
    pub totals: [Tally; 2],
    /// Where the slots stand in the list.
    pub slots: Range<usize>,
}

/// The counts of one weight epoch of an alias as whoever judges reads them, every 100 ms.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EpochCounts {
    /// The change of the alias that began it.
    pub epoch: Revision,
    /// The weights all of its requests were drawn by.
    pub routing: Routing,
    /// How the requests came to their versions.
    pub stratum: SampleKind,
    /// Requests that the function version got.
    pub primary: Counts,
    /// Requests that the additional version got; zero without one.
    pub additional: Counts,
    /// Requests of the baseline, where there is one.
    pub baseline: Option<Counts>,
    /// Latencies of the function version and of the additional one.
    pub latency: [HistogramSnapshot; 2],
    /// The cohorts, where a canary is judged and somebody asked.
    pub cohorts: Option<KeptCohorts>,
    /// Users, where they stick to a version.
    pub users: Option<UserTally>,
    /// The cohorts of all their requests, of which only first failures have failed.
    pub visits: Option<KeptCohorts>,
    /// Whether these counts are the last word: a newer epoch serves, and no request of this one is under way.
    pub is_final: bool,
}

/// Counts and latencies of one weight epoch of an alias.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EpochSample {
    /// The change of the alias that began it.
    pub epoch: Revision,
    /// The weights all of its requests were drawn by.
    pub routing: Routing,
    /// How the requests came to their versions.
    pub stratum: SampleKind,
    /// The versions the routing names, the function version first.
    pub versions: Vec<(VersionId, VersionCounts)>,
    /// Its baseline, where there is one.
    pub baseline: Option<VersionCounts>,
    /// Whether these counts are the last word: a newer epoch serves, and no request of this one is under way.
    pub is_final: bool,
}
