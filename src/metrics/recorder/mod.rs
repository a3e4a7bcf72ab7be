//! Counts what the router carries: per alias, weight epoch and version, and per version addressed by number.
//!
//! A weight epoch is the time during which one revision of an alias serves. A request counts in the epoch it was
//! dispatched in, however late it ends, so that the weight is exact in every epoch. Workers write, each its own
//! cells (`cells`), and never wait; everybody else reads (`counts`). Failures of a rollout's canary raise the alarm.
//!
//! What is counted dies with the process: evidence that must survive is stored with its rollout.

mod cells;
mod counts;
mod late;
mod recent;
mod ring;

use std::collections::HashMap;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

pub use cells::{Alarm, Arm, Credit, EpochCounters, Writer};
pub use counts::{Counts, EpochCounts, EpochSample, FailureCounts, FailureKind, KeptCohorts, VersionCounts};
pub use late::{Late, Remainder};
pub use recent::{FailureNote, KEPT_PER_VERSION, RecentFailure};

use crate::clock;
use cells::{Common, EdgesInForce, Subject};
use recent::FailureLog;
use serin_core::analysis::cohort::Slot;
use serin_core::analysis::latency::Edges;
use serin_core::analysis::mirror::SampleKind;
use serin_core::lambda::alias::{AliasId, Routing};
use serin_core::lambda::function::Revision;
use serin_core::model::arn::{FunctionName, VersionId, VersionNumber};

/// How many counters of superseded epochs an alias keeps when nobody retires them; an epoch has up to three.
const SUPERSEDED_MAX: usize = 12;
/// How many versions of an alias keep their totals; the one retired longest ago makes room.
const RETIRED_VERSIONS_MAX: usize = 16;

/// So many stretches of edges are remembered for requests that are answered late: of ten seconds each, longer than the
/// last edge there is.
const EDGES_KEPT: usize = 16;

/// All counters of one process.
pub struct Recorder {
    common: Arc<Common>,
    claims: Vec<Arc<AtomicBool>>,
    aliases: RwLock<HashMap<AliasId, Arc<Ledger>>>,
    versions: RwLock<HashMap<(FunctionName, VersionId), Arc<EpochCounters>>>,
}

/// What is known of one alias.
struct Ledger {
    alias: Arc<AliasId>,
    log: Arc<FailureLog>,
    edges: Arc<EdgesInForce>,
    pages: Mutex<Pages>,
}

/// What of its traffic a version got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Requests,
    /// Copies that a canary is sent.
    Copies,
    /// What is held beside a canary; of requests these are some once more.
    Baseline,
}

/// A version, and which part of what it got.
type Series = (VersionId, Part);

#[derive(Default)]
struct Pages {
    /// Oldest first; the last one serves.
    epochs: Vec<Arc<EpochCounters>>,
    /// Sums of the epochs that were retired, the version retired last at the end; copies and baselines apart.
    retired: Vec<(Series, VersionCounts)>,
    retired_events: u64,
    events_when_asked: u64,
}

impl Recorder {
    /// A recorder without counts for so many workers; `alarm` is called when a canary fails.
    ///
    /// The alarm runs on the worker's thread in the midst of a request: it must not wait.
    pub fn new(worker_count: usize, alarm: Alarm) -> Arc<Recorder> {
        Arc::new(Recorder {
            common: Arc::new(Common { worker_count, alarm, origin: clock::instant_now() }),
            claims: (0..worker_count).map(|_| Arc::default()).collect(),
            aliases: RwLock::default(),
            versions: RwLock::default(),
        })
    }

    /// How many workers may count.
    pub fn worker_count(&self) -> usize {
        self.common.worker_count
    }

    /// Gives the right to count as one worker; `None` if that worker does not exist or somebody already is it.
    pub fn writer(&self, worker: usize) -> Option<Writer> {
        Writer::claim(worker, self.claims.get(worker)?)
    }

    /// Opens the counters of an alias at a revision, superseding those before.
    ///
    /// The same revision with the same routing gives the same counters, so that a table published again loses no
    /// count; `canary` is then taken over. The same revision with another routing (the emergency overlay) is an
    /// epoch of its own, for its weights are others.
    pub fn open_epoch(
        &self,
        alias: &AliasId,
        epoch: Revision,
        routing: &Routing,
        canary: Option<VersionNumber>,
    ) -> Arc<EpochCounters> {
        let ledger = self.ledger_or_new(alias);
        let mut pages = locked(&ledger.pages);
        if let Some(serving) = pages.epochs.last()
            && let Subject::Alias { epoch: known, routing: drawn_by, .. } = serving.subject()
            && (*known, drawn_by) == (epoch, routing)
        {
            serving.set_canary(canary);
            return Arc::clone(serving);
        }
        let counters = self.counters(&ledger, (epoch, routing, SampleKind::Weighted), canary);
        pages.epochs.push(Arc::clone(&counters));
        let superfluous = pages.epochs.len().saturating_sub(1 + SUPERSEDED_MAX);
        pages.retire_first(superfluous);
        counters
    }

    /// Opens the counters of requests that are mirrored in the epoch that serves, or of the copies of these.
    ///
    /// The same epoch gives the same counters. They stand before those of the other requests, which serve last.
    pub fn open_beside(
        &self,
        alias: &AliasId,
        (epoch, routing, stratum): (Revision, &Routing, SampleKind),
        canary: Option<VersionNumber>,
    ) -> Arc<EpochCounters> {
        let ledger = self.ledger_or_new(alias);
        let mut pages = locked(&ledger.pages);
        let known = pages.epochs.iter().find(|counters| {
            matches!(counters.subject(), Subject::Alias { epoch: of, routing: drawn_by, stratum: other, .. }
                if (*of, drawn_by, *other) == (epoch, routing, stratum))
        });
        if let Some(known) = known {
            known.set_canary(canary);
            return Arc::clone(known);
        }
        let counters = self.counters(&ledger, (epoch, routing, stratum), canary);
        let serving = pages.epochs.len().saturating_sub(1);
        pages.epochs.insert(serving, Arc::clone(&counters));
        counters
    }

    /// Opens the counters of the requests that address a version by number; the same ones for the same version.
    ///
    /// Such requests were not drawn by weight and are evidence for nothing.
    pub fn open_version(&self, function: &FunctionName, version: VersionId) -> Arc<EpochCounters> {
        let mut versions = self.versions.write().unwrap_or_else(PoisonError::into_inner);
        let counters = versions
            .entry((function.clone(), version))
            .or_insert_with(|| Arc::new(EpochCounters::of_version(version, &self.common)));
        Arc::clone(counters)
    }

    /// Forgets an alias that was deleted, its totals included.
    pub fn close_alias(&self, alias: &AliasId) {
        self.aliases.write().unwrap_or_else(PoisonError::into_inner).remove(alias);
    }

    /// Forgets a version that was deleted.
    pub fn close_version(&self, function: &FunctionName, version: VersionId) {
        let key = (function.clone(), version);
        self.versions.write().unwrap_or_else(PoisonError::into_inner).remove(&key);
    }

    /// Counts and latencies of every epoch of an alias that is not retired, oldest first.
    pub fn sample(&self, alias: &AliasId) -> Vec<EpochSample> {
        let mut samples = Vec::new();
        self.visit(alias, |subject, is_final, counters| {
            if let Subject::Alias { epoch, routing, stratum, .. } = subject {
                let (epoch, routing, stratum) = (*epoch, *routing, *stratum);
                samples.push(EpochSample {
                    epoch,
                    routing,
                    stratum,
                    versions: counters.version_counts(),
                    baseline: counters
                        .baseline()
                        .and_then(|baseline| Some(baseline.version_counts().pop()?.1)),
                    is_final,
                });
            }
        });
        samples
    }

    /// The same into `out`, which is emptied first, with the cohorts since the one that `since` names for an epoch, if it
    /// names one; allocates nothing once both lists have grown.
    pub fn counts(
        &self,
        alias: &AliasId,
        out: &mut Vec<EpochCounts>,
        since: impl Fn(Revision) -> Option<u64>,
        slots: &mut Vec<Slot>,
    ) {
        out.clear();
        slots.clear();
        let now = self.common.cohort_of(clock::instant_now());
        self.visit(alias, |subject, is_final, counters| {
            if let Subject::Alias { epoch, routing, stratum, .. } = subject {
                let cohorts = since(*epoch).and_then(|since| counters.cohorts(since, now, slots));
                let visits = since(*epoch).and_then(|since| counters.visits(since, now, slots));
                // Latencies first: a request whose answer is in them is among the requests that are read after.
                let users = counters.users();
                let latency = counters.latencies();
                let baseline = counters.baseline().map(|baseline| baseline.counts()[0]);
                let [primary, additional] = counters.counts();
                let (epoch, routing, stratum) = (*epoch, *routing, *stratum);
                out.push(EpochCounts {
                    epoch,
                    routing,
                    stratum,
                    primary,
                    additional,
                    baseline,
                    latency,
                    cohorts,
                    users,
                    visits,
                    is_final,
                });
            }
        });
    }

    /// Holds requests of an alias that are dispatched from a cohort on against these edges, and earlier ones as before.
    ///
    /// Made known before the first such request is dispatched, it judges every request by what was known beforehand.
    pub fn hold_against(&self, alias: &AliasId, from: u64, edges: Edges) {
        let ledger = self.ledger_or_new(alias);
        let before = ledger.edges.load();
        let kept = before.iter().filter(|(known, _)| *known < from);
        let superfluous = kept.clone().count().saturating_sub(EDGES_KEPT - 1);
        let now = kept.skip(superfluous).copied().chain([(from, edges)]).collect();
        ledger.edges.store(Arc::new(now));
    }

    /// Whether anything was counted for an alias since this was last asked.
    ///
    /// It compares the sum of all events (dispatches, ends, failures) with the sum it saw last: true once for each
    /// burst, for one caller. A request moves it when it is dispatched, when it fails and when it ends.
    pub fn moved(&self, alias: &AliasId) -> bool {
        let Some(ledger) = self.ledger(alias) else { return false };
        let mut pages = locked(&ledger.pages);
        let live: u64 = pages.epochs.iter().map(|epoch| events_of(epoch)).sum();
        let events = pages.retired_events + live;
        std::mem::replace(&mut pages.events_when_asked, events) != events
    }

    /// Retires superseded epochs of an alias up to a revision: folds them into its totals.
    ///
    /// Only what is final goes, so whoever judges calls this with the newest revision it has taken final counts of,
    /// and misses none. Epochs that nobody retires make room once a fifth supersedes them.
    pub fn retire(&self, alias: &AliasId, through: Revision) {
        let Some(ledger) = self.ledger(alias) else { return };
        let mut pages = locked(&ledger.pages);
        let passed = |counters: &Arc<EpochCounters>| matches!(counters.subject(), Subject::Alias { epoch, .. } if *epoch <= through);
        let candidates = pages.epochs.len().saturating_sub(1);
        let count = pages.epochs.iter().take(candidates).take_while(|epoch| passed(epoch)).count();
        pages.retire_first(count);
    }

    /// Lets the alarm of an alias ring again; called before its counts are read.
    pub fn clear_alarm(&self, alias: &AliasId) {
        if let Some(ledger) = self.ledger(alias) {
            locked(&ledger.pages).epochs.iter().for_each(|epoch| epoch.clear_alarm());
        }
    }

    /// The last few failures of each version of an alias, the newest first.
    pub fn recent_failures(&self, alias: &AliasId) -> Vec<RecentFailure> {
        self.ledger(alias).map(|ledger| ledger.log.newest_first()).unwrap_or_default()
    }

    /// Shows what each version got through each alias since the process began, retired epochs included.
    ///
    /// The numbers never fall. A series ends when its alias is deleted, or when sixteen others of the alias were
    /// retired after it. Copies of requests are no requests: `copies` shows those.
    pub fn totals(&self, visit: impl FnMut(&AliasId, VersionId, &VersionCounts)) {
        self.visit_totals(Part::Requests, visit);
    }

    /// Shows what each version got of copies of requests through each alias, like `totals`.
    pub fn copies(&self, visit: impl FnMut(&AliasId, VersionId, &VersionCounts)) {
        self.visit_totals(Part::Copies, visit);
    }

    /// Shows what was counted of each version as the baseline of a canary through each alias, like `totals`.
    pub fn baselines(&self, visit: impl FnMut(&AliasId, VersionId, &VersionCounts)) {
        self.visit_totals(Part::Baseline, visit);
    }

    fn visit_totals(&self, wanted: Part, mut visit: impl FnMut(&AliasId, VersionId, &VersionCounts)) {
        let ledgers: Vec<Arc<Ledger>> = {
            let aliases = self.aliases.read().unwrap_or_else(PoisonError::into_inner);
            aliases.values().cloned().collect()
        };
        for ledger in ledgers {
            for ((version, part), counts) in locked(&ledger.pages).totals() {
                if part == wanted {
                    visit(&ledger.alias, version, &counts);
                }
            }
        }
    }

    /// Shows what each version got from requests that addressed it by number; these are in no alias's totals.
    pub fn direct_totals(&self, mut visit: impl FnMut(&FunctionName, VersionId, &VersionCounts)) {
        let versions = self.versions.read().unwrap_or_else(PoisonError::into_inner);
        for ((function, version), counters) in &*versions {
            for (_, counts) in counters.version_counts() {
                visit(function, *version, &counts);
            }
        }
    }

    fn counters(
        &self,
        ledger: &Ledger,
        of: (Revision, &Routing, SampleKind),
        canary: Option<VersionNumber>,
    ) -> Arc<EpochCounters> {
        Arc::new(EpochCounters::of_alias(
            (&ledger.alias, &ledger.log, &ledger.edges),
            of,
            canary,
            &self.common,
        ))
    }

    fn visit(&self, alias: &AliasId, mut see: impl FnMut(&Subject, bool, &EpochCounters)) {
        let Some(ledger) = self.ledger(alias) else { return };
        let mut pages = locked(&ledger.pages);
        let serving = pages.epochs.len().saturating_sub(1);
        for (index, epoch) in pages.epochs.iter_mut().enumerate() {
            // Asked before the counts are read: what is final now cannot change while it is read.
            let is_final = index < serving && is_unused(epoch);
            see(epoch.subject(), is_final, epoch);
        }
    }

    fn ledger(&self, alias: &AliasId) -> Option<Arc<Ledger>> {
        self.aliases.read().unwrap_or_else(PoisonError::into_inner).get(alias).cloned()
    }

    fn ledger_or_new(&self, alias: &AliasId) -> Arc<Ledger> {
        if let Some(ledger) = self.ledger(alias) {
            return ledger;
        }
        let mut aliases = self.aliases.write().unwrap_or_else(PoisonError::into_inner);
        let ledger = aliases.entry(alias.clone()).or_insert_with(|| {
            Arc::new(Ledger {
                alias: Arc::new(alias.clone()),
                log: Arc::default(),
                edges: Arc::default(),
                pages: Mutex::default(),
            })
        });
        Arc::clone(ledger)
    }
}

impl Pages {
    /// Folds the oldest epochs into the totals, at most `count` of them, and leaves those still in use.
    fn retire_first(&mut self, count: usize) {
        let mut index = 0;
        for _ in 0..count {
            if !is_unused(&mut self.epochs[index]) {
                index += 1;
                continue;
            }
            let epoch = self.epochs.remove(index);
            self.retired_events += events_of(&epoch);
            for (series, counts) in series(&epoch) {
                let known = self.retired.iter().position(|(known, _)| *known == series);
                let mut total = known.map(|index| self.retired.remove(index).1).unwrap_or_default();
                total.merge(&counts);
                self.retired.push((series, total));
            }
        }
        let superfluous = self.retired.len().saturating_sub(RETIRED_VERSIONS_MAX);
        self.retired.drain(..superfluous);
    }

    fn totals(&self) -> Vec<(Series, VersionCounts)> {
        let mut totals = self.retired.clone();
        for (series, counts) in self.epochs.iter().flat_map(|epoch| series(epoch)) {
            match totals.iter_mut().find(|(known, _)| *known == series) {
                Some((_, total)) => total.merge(&counts),
                None => totals.push((series, counts)),
            }
        }
        totals
    }
}

/// The counts of an epoch by version; of copies only the canary gets any.
fn series(counters: &EpochCounters) -> Vec<(Series, VersionCounts)> {
    let are_copies = matches!(counters.subject(), Subject::Alias { stratum: SampleKind::MirrorCopy, .. });
    let part = if are_copies { Part::Copies } else { Part::Requests };
    let counts = counters.version_counts().into_iter().map(|(version, counts)| ((version, part), counts));
    let counts =
        counts.filter(|((version, _), _)| !are_copies || *version == counters.version(Arm::Additional));
    let of_baseline = counters.baseline().into_iter().flat_map(EpochCounters::version_counts);
    counts.chain(of_baseline.map(|(version, counts)| ((version, Part::Baseline), counts))).collect()
}

/// Whether no table names these counters any more and no request holds a credit of theirs.
fn is_unused(counters: &mut Arc<EpochCounters>) -> bool {
    // Unlike a look at the reference count, this also sees everything the last holder counted.
    Arc::get_mut(counters).is_some_and(EpochCounters::has_idle_baseline)
}

fn events_of(counters: &EpochCounters) -> u64 {
    let of_baseline = counters.baseline().map_or(0, events_of);
    of_baseline + counters.counts().iter().map(Counts::events).sum::<u64>()
}

fn locked(pages: &Mutex<Pages>) -> MutexGuard<'_, Pages> {
    pages.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
