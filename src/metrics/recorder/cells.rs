//! Counters that one worker writes and everybody reads.
//!
//! Each worker has a cell of its own for each version of a weight epoch, made when it first needs one. A cell is
//! written by plain loads and stores, which is an order of magnitude cheaper than atomic additions; that only its
//! worker writes it is held by types: a credit comes from the worker's one `Writer`, and neither leaves its thread.

use std::marker::PhantomData;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering, fence};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Instant;

use arc_swap::ArcSwap;

use super::counts::{Counts, FailureKind, KeptCohorts, VersionCounts};
use super::recent::{FailureLog, FailureNote, RecentFailure};
use super::ring::{Happened, Ring};
use crate::clock;
use serin_core::analysis::cohort::{COHORT_MS, EDGES, Slot, Tally, ladder};
use serin_core::analysis::latency::Edges;
use serin_core::analysis::marks::{Marks, Visit};
use serin_core::analysis::mirror::SampleKind;
use serin_core::analysis::patience::LEAST_WAIT;
use serin_core::analysis::users::UserTally;
use serin_core::lambda::alias::{AliasId, Routing};
use serin_core::lambda::function::Revision;
use serin_core::model::arn::{VersionId, VersionNumber};
use serin_core::model::histogram::{self, HistogramSnapshot};

/// Which of the versions a routing names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arm {
    /// The function version.
    Primary,
    /// The additional version.
    Additional,
}

/// So many slots are read without allocating.
const FEW_SLOTS: usize = 16;

/// Whom the recorder calls when a canary fails.
pub type Alarm = Arc<dyn Fn(&AliasId) + Send + Sync>;

/// What all counters of a recorder have in common.
pub(super) struct Common {
    pub(super) worker_count: usize,
    pub(super) alarm: Alarm,
    /// When the first cohort began.
    pub(super) origin: Instant,
}

impl Common {
    /// The cohort of a moment.
    pub(super) fn cohort_of(&self, at: Instant) -> u64 {
        let since = at.saturating_duration_since(self.origin);
        since.as_secs() * (1000 / COHORT_MS) + u64::from(since.subsec_millis()) / COHORT_MS
    }
}

/// What requests are held against, each from a cohort on, oldest first.
pub(super) type EdgesInForce = ArcSwap<Vec<(u64, Edges)>>;

/// The right to count as one worker; there is one at a time for each, and it stays on its thread.
pub struct Writer {
    worker: usize,
    claim: Arc<AtomicBool>,
    _stays_on_its_thread: PhantomData<*const ()>,
}

impl Writer {
    /// Takes the claim; `None` while somebody else has it.
    pub(super) fn claim(worker: usize, claim: &Arc<AtomicBool>) -> Option<Writer> {
        // Acquire: what the last holder stored is where this one goes on counting.
        let free = claim.compare_exchange(false, true, Ordering::Acquire, Ordering::Relaxed).is_ok();
        free.then(|| Writer { worker, claim: Arc::clone(claim), _stays_on_its_thread: PhantomData })
    }

    /// Which worker it is, from 0.
    pub fn worker(&self) -> usize {
        self.worker
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.claim.store(false, Ordering::Release);
    }
}

/// One worker's counters for one version; two cells never share a cache line.
#[repr(align(128))]
struct Cell {
    dispatched: AtomicU64,
    completed: AtomicU64,
    cancelled: AtomicU64,
    throttled: AtomicU64,
    refused: AtomicU64,
    gave_up: AtomicU64,
    failures: [AtomicU64; FailureKind::ALL.len()],
    latency_sum_us: AtomicU64,
    latency: [AtomicU64; histogram::BUCKETS],
    /// The cohorts, where a canary is judged; of users who stick to a version their first requests.
    ring: OnceLock<Ring>,
    /// All requests of such users, and which of them were the first to fail.
    visits: OnceLock<Ring>,
}

impl Default for Cell {
    fn default() -> Cell {
        Cell {
            dispatched: AtomicU64::new(0),
            completed: AtomicU64::new(0),
            cancelled: AtomicU64::new(0),
            throttled: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            gave_up: AtomicU64::new(0),
            failures: [const { AtomicU64::new(0) }; FailureKind::ALL.len()],
            latency_sum_us: AtomicU64::new(0),
            latency: [const { AtomicU64::new(0) }; histogram::BUCKETS],
            ring: OnceLock::new(),
            visits: OnceLock::new(),
        }
    }
}

/// Adds to a counter that nobody else writes.
fn add(counter: &AtomicU64, more: u64) {
    // Release: whoever sees a failure or an end also sees the dispatch before it.
    counter.store(counter.load(Ordering::Relaxed).wrapping_add(more), Ordering::Release);
}

/// The cells of one version, one a worker.
struct ArmCells {
    version: VersionId,
    cells: OnceLock<Box<[OnceLock<Box<Cell>>]>>,
}

impl ArmCells {
    fn of(version: VersionId) -> ArmCells {
        ArmCells { version, cells: OnceLock::new() }
    }

    fn cell(&self, worker: usize, worker_count: usize) -> &Cell {
        let cells = self.cells.get_or_init(|| (0..worker_count).map(|_| OnceLock::new()).collect());
        cells[worker].get_or_init(Box::default)
    }

    fn touched(&self) -> impl Iterator<Item = &Cell> {
        self.cells.get().into_iter().flatten().filter_map(|cell| cell.get().map(|cell| &**cell))
    }
}

/// What the requests were addressed to.
pub(super) enum Subject {
    /// An alias at one of its revisions, or the part of its requests that are mirrored.
    Alias {
        alias: Arc<AliasId>,
        epoch: Revision,
        routing: Routing,
        stratum: SampleKind,
        log: Arc<FailureLog>,
    },
    /// A version by its number, or `$LATEST`.
    Version,
}

/// The counters of one weight epoch of an alias, or of the requests addressed to one version by number.
pub struct EpochCounters {
    subject: Subject,
    /// The canary's number; 0 without one, as versions count from 1.
    canary: AtomicU64,
    alarm_raised: AtomicBool,
    common: Arc<Common>,
    primary: ArmCells,
    additional: Option<ArmCells>,
    edges: Arc<EdgesInForce>,
    /// Users, where they stick to a version.
    marks: OnceLock<Box<Marks>>,
    /// The requests that are held beside the canary's, where the plan asks for a baseline: some of stable's, counted here
    /// once more, or copies, counted here alone. Nothing is judged by them.
    baseline: OnceLock<Arc<EpochCounters>>,
    /// What another process makes known of this epoch, for people; in no totals.
    late: Mutex<Option<Box<[VersionCounts; 2]>>>,
}

impl EpochCounters {
    pub(super) fn of_alias(
        (alias, log, edges): (&Arc<AliasId>, &Arc<FailureLog>, &Arc<EdgesInForce>),
        (epoch, routing, stratum): (Revision, &Routing, SampleKind),
        canary: Option<VersionNumber>,
        common: &Arc<Common>,
    ) -> EpochCounters {
        let additional = routing.additional.map(|additional| ArmCells::of(additional.version.into()));
        EpochCounters {
            subject: Subject::Alias {
                alias: Arc::clone(alias),
                epoch,
                routing: *routing,
                stratum,
                log: Arc::clone(log),
            },
            canary: AtomicU64::new(canary.map_or(0, |canary| canary.0)),
            alarm_raised: AtomicBool::new(false),
            common: Arc::clone(common),
            primary: ArmCells::of(routing.function_version),
            additional,
            edges: Arc::clone(edges),
            marks: OnceLock::new(),
            baseline: OnceLock::new(),
            late: Mutex::default(),
        }
    }

    pub(super) fn of_version(version: VersionId, common: &Arc<Common>) -> EpochCounters {
        EpochCounters {
            subject: Subject::Version,
            canary: AtomicU64::new(0),
            alarm_raised: AtomicBool::new(false),
            common: Arc::clone(common),
            primary: ArmCells::of(version),
            additional: None,
            edges: Arc::default(),
            marks: OnceLock::new(),
            baseline: OnceLock::new(),
            late: Mutex::default(),
        }
    }

    /// Counts one request as dispatched to a version, and gives the credit that says what becomes of it.
    ///
    /// An arm the routing does not name is the function version's.
    pub fn dispatch(self: &Arc<Self>, writer: &Writer, arm: Arm, at: Instant) -> Credit {
        self.dispatch_of(None, writer, arm, at)
    }

    /// The same for a request of a user who sticks to a version; only the user's first one is in a cohort.
    pub fn dispatch_of(
        self: &Arc<Self>,
        user: Option<u64>,
        writer: &Writer,
        arm: Arm,
        at: Instant,
    ) -> Credit {
        let cell = self.cell_of(arm, writer.worker);
        add(&cell.dispatched, 1);
        let is_judged = self.canary.load(Ordering::Relaxed) != 0;
        let cohort = is_judged.then(|| self.common.cohort_of(at));
        let visitor = user.filter(|_| self.additional.is_some()).zip(cohort).map(|(user, cohort)| {
            let visit = self.marks().see(writer.worker, cohort, user, arm == Arm::Additional);
            cell.visits.get_or_init(Ring::default).add(cohort, Happened::DISPATCHED);
            Visitor { user, cohort, visit }
        });
        let cohort = cohort.filter(|_| visitor.is_none_or(|visitor| visitor.visit.is_first));
        if let Some(cohort) = cohort {
            cell.ring.get_or_init(Ring::default).add(cohort, Happened::DISPATCHED);
        }
        Credit {
            counters: Arc::clone(self),
            arm,
            worker: writer.worker,
            at,
            cohort,
            visitor,
            answered: false,
            refused: false,
            failed: false,
            ended: false,
            _stays_on_its_thread: PhantomData,
        }
    }

    fn marks(&self) -> &Marks {
        self.marks.get_or_init(|| Box::new(Marks::new(self.common.worker_count)))
    }

    /// What was counted of users; `None` where none stick to a version.
    pub(super) fn users(&self) -> Option<UserTally> {
        self.marks.get().map(|marks| marks.tally())
    }

    /// Counts one request that no version got, because too many were under way.
    pub fn throttle(&self, writer: &Writer, arm: Arm) {
        add(&self.cell_of(arm, writer.worker).throttled, 1);
    }

    /// The version that an arm stands for.
    pub fn version(&self, arm: Arm) -> VersionId {
        self.cells_of(arm).version
    }

    /// The counters of a baseline, of the function version alone; the same ones again.
    pub fn open_baseline(&self) -> Arc<EpochCounters> {
        let open = || Arc::new(EpochCounters::of_version(self.primary.version, &self.common));
        Arc::clone(self.baseline.get_or_init(open))
    }

    /// The counters of its baseline, if it has one.
    pub(super) fn baseline(&self) -> Option<&EpochCounters> {
        self.baseline.get().map(|baseline| &**baseline)
    }

    /// Whether nobody counts in its baseline any more.
    pub(super) fn has_idle_baseline(&mut self) -> bool {
        self.baseline.get_mut().is_none_or(|baseline| Arc::get_mut(baseline).is_some())
    }

    pub(super) fn subject(&self) -> &Subject {
        &self.subject
    }

    pub(super) fn set_canary(&self, canary: Option<VersionNumber>) {
        self.canary.store(canary.map_or(0, |canary| canary.0), Ordering::Relaxed);
    }

    pub(super) fn clear_alarm(&self) {
        self.alarm_raised.store(false, Ordering::SeqCst);
        // Together with the fence in `raise_alarm`: either the reader sees the failure, or its writer sees the
        // cleared alarm and raises it again.
        fence(Ordering::SeqCst);
    }

    pub(super) fn arms(&self) -> impl Iterator<Item = Arm> {
        [Some(Arm::Primary), self.additional.is_some().then_some(Arm::Additional)].into_iter().flatten()
    }

    /// Counts what came late in another process.
    pub(super) fn add_late(&self, arm: Arm, more: &VersionCounts) {
        let is_worse = more.counts.failures.total() > 0;
        {
            let mut late = self.late.lock().unwrap_or_else(PoisonError::into_inner);
            late.get_or_insert_default()[arm as usize].merge(more);
        }
        if is_worse {
            self.raise_alarm(self.version(arm));
        }
    }

    /// Counts of both arms, with what came late in another process.
    pub(super) fn counts(&self) -> [Counts; 2] {
        let mut both = self.own_counts();
        if let Some(late) = &*self.late.lock().unwrap_or_else(PoisonError::into_inner) {
            both.iter_mut().zip(&**late).for_each(|(counts, late)| counts.merge(&late.counts));
        }
        both
    }

    /// Counts of both arms; the additional one's are zero where there is none.
    ///
    /// What happened to requests is read before how many there were, over all cells, so that failures never exceed
    /// requests and a request that begins meanwhile errs towards health.
    fn own_counts(&self) -> [Counts; 2] {
        let mut both = [Counts::default(); 2];
        for arm in self.arms() {
            for cell in self.cells_of(arm).touched() {
                for kind in FailureKind::ALL {
                    let failures = cell.failures[kind as usize].load(Ordering::Acquire);
                    both[arm as usize].failures.add(kind, failures);
                }
                both[arm as usize].completed += cell.completed.load(Ordering::Acquire);
                both[arm as usize].cancelled += cell.cancelled.load(Ordering::Acquire);
                both[arm as usize].refused += cell.refused.load(Ordering::Acquire);
                both[arm as usize].gave_up += cell.gave_up.load(Ordering::Acquire);
                both[arm as usize].throttled += cell.throttled.load(Ordering::Acquire);
            }
        }
        for arm in self.arms() {
            for cell in self.cells_of(arm).touched() {
                both[arm as usize].dispatched += cell.dispatched.load(Ordering::Relaxed);
            }
        }
        both
    }

    /// The cohorts of both arms since one, where any are kept, into `slots`.
    pub(super) fn cohorts(&self, since: u64, now: u64, slots: &mut Vec<Slot>) -> Option<KeptCohorts> {
        self.kept(|cell| cell.ring.get(), (since, now), slots)
    }

    /// The same of all requests of users who stick to a version; only who failed for the first time has failed there.
    pub(super) fn visits(&self, since: u64, now: u64, slots: &mut Vec<Slot>) -> Option<KeptCohorts> {
        self.kept(|cell| cell.visits.get(), (since, now), slots)
    }

    fn kept(
        &self,
        ring_of: impl Fn(&Cell) -> Option<&Ring>,
        (since, now): (u64, u64),
        slots: &mut Vec<Slot>,
    ) -> Option<KeptCohorts> {
        // One more than the present cohort: the next one may begin while this is read.
        let (begin, until) = (slots.len(), now + 1);
        slots.extend(ladder(since, until).map(|(rung, start)| {
            let span = serin_core::analysis::cohort::SPANS[rung];
            Slot { start, span, ..Slot::default() }
        }));
        let mut totals = [Tally::default(); 2];
        let mut is_kept = false;
        for arm in self.arms() {
            for ring in self.cells_of(arm).touched().filter_map(&ring_of) {
                is_kept = true;
                let slots = &mut slots[begin..];
                let count = slots.len();
                let take = |kept: &mut [Tally]| {
                    ladder(since, until)
                        .zip(kept)
                        .for_each(|((rung, start), kept)| *kept = ring.kept(rung, start));
                    ring.totals()
                };
                let mut add = |total: &Tally, kept: &[Tally]| {
                    totals[arm as usize] = totals[arm as usize].plus(total);
                    for (slot, kept) in slots.iter_mut().zip(kept) {
                        let of_arm = match arm {
                            Arm::Primary => &mut slot.stable,
                            Arm::Additional => &mut slot.canary,
                        };
                        *of_arm = of_arm.plus(kept);
                    }
                };
                // Nearly always few are open, and fit on the stack.
                let mut few = [Tally::default(); FEW_SLOTS];
                if count <= FEW_SLOTS {
                    let total = ring.read(|| take(&mut few[..count]));
                    add(&total, &few[..count]);
                } else {
                    let mut many = vec![Tally::default(); count];
                    let total = ring.read(|| take(&mut many));
                    add(&total, &many);
                }
            }
        }
        if !is_kept {
            slots.truncate(begin);
            return None;
        }
        Some(KeptCohorts { now, totals, slots: begin..slots.len() })
    }

    /// What a request of a cohort is held against.
    fn edges_of(&self, arm: Arm, cohort: u64) -> [u64; EDGES] {
        let in_force = self.edges.load();
        let of_cohort = in_force.iter().rfind(|(from, _)| *from <= cohort).map(|(_, edges)| edges);
        match (of_cohort, arm) {
            (None, _) => [u64::MAX; EDGES],
            (Some(edges), Arm::Primary) => edges.stable,
            (Some(edges), Arm::Additional) => edges.canary,
        }
    }

    /// Counts and latencies of every arm, of this process alone.
    pub(super) fn version_counts(&self) -> Vec<(VersionId, VersionCounts)> {
        let latencies: Vec<HistogramSnapshot> = self.arms().map(|arm| self.latency(arm)).collect();
        let counts = self.own_counts();
        let arms = self.arms().zip(latencies);
        arms.map(|(arm, latency)| {
            (self.version(arm), VersionCounts { counts: counts[arm as usize], latency })
        })
        .collect()
    }

    /// Latencies of both arms; the additional one's are empty where there is none.
    pub(super) fn latencies(&self) -> [HistogramSnapshot; 2] {
        let mut both = [HistogramSnapshot::default(), HistogramSnapshot::default()];
        for arm in self.arms() {
            both[arm as usize] = self.latency(arm);
        }
        if let Some(late) = &*self.late.lock().unwrap_or_else(PoisonError::into_inner) {
            both.iter_mut().zip(&**late).for_each(|(latency, late)| latency.merge(&late.latency));
        }
        both
    }

    fn latency(&self, arm: Arm) -> HistogramSnapshot {
        let mut latency = HistogramSnapshot::default();
        for cell in self.cells_of(arm).touched() {
            for (bucket, count) in cell.latency.iter().enumerate() {
                latency.add(bucket, count.load(Ordering::Acquire));
            }
            latency.add_sum_us(cell.latency_sum_us.load(Ordering::Relaxed));
        }
        latency
    }

    fn cells_of(&self, arm: Arm) -> &ArmCells {
        match (arm, &self.additional) {
            (Arm::Additional, Some(additional)) => additional,
            _ => &self.primary,
        }
    }

    fn cell_of(&self, arm: Arm, worker: usize) -> &Cell {
        self.cells_of(arm).cell(worker, self.common.worker_count)
    }

    fn raise_alarm(&self, version: VersionId) {
        let Subject::Alias { alias, .. } = &self.subject else { return };
        let canary = self.canary.load(Ordering::Relaxed);
        if canary == 0 || version != VersionNumber(canary).into() {
            return;
        }
        fence(Ordering::SeqCst);
        if !self.alarm_raised.swap(true, Ordering::SeqCst) {
            (self.common.alarm)(alias);
        }
    }
}

/// The user of a request, where users stick to a version.
#[derive(Clone, Copy)]
struct Visitor {
    user: u64,
    cohort: u64,
    visit: Visit,
}

/// One request under way: what becomes of it is counted for the version and the epoch it was dispatched in.
///
/// However late that becomes known, it counts there. A credit that is dropped without an end is a request that was
/// cancelled: its client went away, or the router could not go on. Where it had waited for an answer in vain that is
/// counted, too.
pub struct Credit {
    counters: Arc<EpochCounters>,
    arm: Arm,
    worker: usize,
    at: Instant,
    /// The cohort it counts in, where cohorts are kept.
    cohort: Option<u64>,
    /// Whose it is, where users stick to a version.
    visitor: Option<Visitor>,
    answered: bool,
    refused: bool,
    failed: bool,
    ended: bool,
    _stays_on_its_thread: PhantomData<*const ()>,
}

impl Credit {
    /// When the request was dispatched.
    pub fn dispatched_at(&self) -> Instant {
        self.at
    }

    /// The version it was dispatched to.
    pub fn version(&self) -> VersionId {
        self.counters.version(self.arm)
    }

    /// Counts the latency of an answer whose head came at `at`.
    pub fn head(&mut self, at: Instant) {
        let latency_us = self.age_us(at);
        let cell = self.cell();
        add(&cell.latency_sum_us, latency_us);
        add(&cell.latency[histogram::bucket_of(latency_us)], 1);
        if !std::mem::replace(&mut self.answered, true) {
            self.visited(Happened::ANSWERED);
            self.happened(|credit, cohort| {
                Happened::answered(latency_us, &credit.counters.edges_of(credit.arm, cohort))
            });
        }
    }

    /// Counts that the version refused the request: what was asked is wrong, it says.
    pub fn refuse(&mut self) {
        if self.failed || std::mem::replace(&mut self.refused, true) {
            return;
        }
        add(&self.cell().refused, 1);
        self.happened(|_, _| Happened::REFUSED);
    }

    /// Counts a failure, unless one was counted before; `note` says for people which request it was.
    pub fn fail(&mut self, kind: FailureKind, note: impl FnOnce() -> FailureNote) {
        if std::mem::replace(&mut self.failed, true) {
            return;
        }
        add(&self.cell().failures[kind as usize], 1);
        self.happened(|_, _| Happened::FAILED);
        if let Some(Visitor { user, visit, .. }) = self.visitor
            && self.counters.marks().fail(user, visit.start, self.arm == Arm::Additional)
        {
            self.visited(Happened::FAILED);
        }
        let version = self.version();
        if let Subject::Alias { log, .. } = &self.counters.subject {
            log.offer(RecentFailure { at: clock::wall_now(), version, kind, note: note() });
        }
        self.counters.raise_alarm(version);
    }

    /// Counts the request as ended, well or badly.
    pub fn complete(mut self) {
        self.ended = true;
        add(&self.cell().completed, 1);
        self.end();
    }

    /// Counts the end in the cohort; what ends without an answer has had none until now.
    fn end(&self) {
        self.visited(if self.answered { Happened::ENDED } else { Happened::ANSWERED.and(Happened::ENDED) });
        if self.answered {
            return self.happened(|_, _| Happened::ENDED);
        }
        let age_us = self.age_us(clock::instant_now());
        let is_long = age_us >= LEAST_WAIT.as_micros() as u64;
        let way = match (self.ended || self.failed, is_long) {
            (true, _) => Happened::default(),
            (false, true) => {
                add(&self.cell().gave_up, 1);
                Happened::GAVE_UP
            }
            (false, false) => Happened::LEFT,
        };
        self.happened(|credit, cohort| {
            let edges = credit.counters.edges_of(credit.arm, cohort);
            Happened::answered(age_us, &edges).and(Happened::ENDED).and(way)
        });
    }

    fn happened(&self, what: impl FnOnce(&Credit, u64) -> Happened) {
        if let (Some(cohort), Some(ring)) = (self.cohort, self.cell().ring.get()) {
            ring.add(cohort, what(self, cohort));
        }
    }

    fn visited(&self, what: Happened) {
        if let (Some(visitor), Some(ring)) = (self.visitor, self.cell().visits.get()) {
            ring.add(visitor.cohort, what);
        }
    }

    fn age_us(&self, at: Instant) -> u64 {
        u64::try_from(at.saturating_duration_since(self.at).as_micros()).unwrap_or(u64::MAX)
    }

    fn cell(&self) -> &Cell {
        self.counters.cell_of(self.arm, self.worker)
    }
}

impl Drop for Credit {
    fn drop(&mut self) {
        if !self.ended {
            add(&self.cell().cancelled, 1);
            self.end();
        }
    }
}
