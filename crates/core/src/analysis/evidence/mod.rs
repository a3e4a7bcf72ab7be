//! All evidence about one canary, in the order that keeps it honest.
//!
//! One look is: close cohorts of dispatch; enter the settled ones in order (pay out of the reserve where ten seconds
//! begin, judge by the tables of their stretch, teach the past); bound the open ones and test for harm (`entering`). The
//! split, proof and warm-up see settled cohorts only. The state is plain data and is stored with the rollout: a restart
//! neither loses evidence nor grants fresh alpha. Tables and open cohorts are not stored; after a restart tables are
//! computed anew from the stored past, and what was under way is left out on both arms, whatever would have become of it.
//!
//! Several processes share the one alpha (`mixture`): failures against stable and against a ceiling, latency, refusals, and
//! where latency is not judged what clients give up.

mod by_users;
mod carry;
mod entering;
mod queue;
mod settings;
mod settled;
mod tables;
#[cfg(test)]
mod tests;
mod trial;
mod views;

use std::time::Duration;

use serde::{Deserialize, Serialize};

pub use carry::Rules;
pub use settings::{ProofSettings, Settings, StableSettings, UsersSettings};
pub use views::{LatencyFigures, StableHold};

use super::ceiling::Ceiling;
use super::cohort::{COHORT_MS, Cohorts};
use super::harm::Harm;
use super::latency::{Comparisons, Edges, LatencyHarm};
use super::mirror::SampleKind;
use super::mixture::{Classes, half_and_half};
use super::past::Past;
use super::proof::{Proof, ProofTable, margin_before};
use super::ratio::{FailureSplit, RatioInterval, interval};
use super::split::Split;
use super::stable::StableHealth;
use super::users::{UserTally, Users};
use super::warmup::{Cold, WarmUp};
use super::{Arms, Counts};
use crate::analysis::latency_span::{LatencySpan, PROCESSES};
use crate::lambda::function::Revision;
use crate::model::time::Uptime;
use crate::model::weight::Weight;
use by_users::ByUsers;
use entering::Unsplit;
use queue::Queue;
use tables::Dampings;

/// How long a table stands before it is computed anew from what was learnt meanwhile.
pub const PERIOD: Duration = Duration::from_secs(10);

/// The same in cohorts.
const PERIOD_COHORTS: u64 = PERIOD.as_millis() as u64 / COHORT_MS;

/// The logarithm of a capital that nothing has been put into.
const LN_LEAST: f64 = -10.0;

/// So many superseded epochs are judged late; older ones count towards exposure alone.
const QUEUES_KEPT: usize = 12;

/// What was counted of both arms in one weight epoch.
#[derive(Clone, Copy, Debug)]
pub struct Block<'a> {
    /// The change of the alias that began the epoch.
    pub epoch: Revision,
    /// The canary's share in it.
    pub weight: Weight,
    /// How the requests came to their versions.
    pub stratum: SampleKind,
    /// The counts since the last look, as they come: for people, and for what stable is like.
    pub arms: Arms,
    /// Requests refused since the last look: stable's, the canary's.
    pub refused: [u64; 2],
    /// Requests that their clients gave up since the last look: stable's, the canary's.
    pub gave_up: [u64; 2],
    /// What came of its baseline since the last look; it is for people, and nothing is judged by it.
    pub baseline: Counts,
    /// Stable's latencies since the last look, where they are known.
    pub latency: Option<LatencySpan<'a>>,
    /// The cohorts, which are what is judged; without any the counts are, as one cohort that has settled.
    pub cohorts: Option<Cohorts<'a>>,
    /// Users, where they stick to a version.
    pub users: Option<UserTally>,
    /// The cohorts of all their requests; there only who failed for the first time has failed.
    pub visits: Option<Cohorts<'a>>,
    /// Whether no request of the epoch is under way, nor will be.
    pub is_final: bool,
}

impl Block<'_> {
    /// Counts without latencies, of requests that have all ended.
    pub fn of_counts(epoch: Revision, weight: Weight, arms: Arms) -> Block<'static> {
        Block {
            epoch,
            weight,
            stratum: SampleKind::Weighted,
            arms,
            refused: [0; 2],
            gave_up: [0; 2],
            baseline: Counts::default(),
            latency: None,
            cohorts: None,
            users: None,
            visits: None,
            is_final: false,
        }
    }
}

/// Failures of one epoch, for the display of their ratio.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
struct EpochTotals {
    epoch: Revision,
    weight: Weight,
    #[serde(default)]
    stratum: SampleKind,
    arms: Arms,
    /// Requests refused: stable's, the canary's.
    #[serde(default)]
    refused: [u64; 2],
    /// Requests given up: stable's, the canary's.
    #[serde(default)]
    gave_up: [u64; 2],
    /// Its baseline, where it has one.
    #[serde(default, skip_serializing_if = "Counts::is_empty")]
    baseline: Counts,
}

/// Which proof is being gathered: for which next weight, from which epoch on.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
struct ProofGoal {
    next_weight: Weight,
    from: Revision,
}

/// What latency is compared at, from a cohort on.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Planned {
    from: u64,
    comparisons: Comparisons,
}

/// The logarithm of the capital that open cohorts are sure to have brought, and of each of its classes.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Bound {
    ln: f64,
    classes: Classes,
}

/// Processes that failures and what goes with them are judged by.
#[derive(Clone, Copy, Debug)]
struct Processes<'a> {
    harm: &'a Harm,
    ceiling: &'a Ceiling,
    refusals: &'a Harm,
    patience: &'a Harm,
}

/// The evidence about one canary over one rollout.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Evidence {
    harm: Harm,
    ceiling: Ceiling,
    #[serde(default)]
    latency: LatencyHarm,
    #[serde(default)]
    refusals: Harm,
    #[serde(default, skip_serializing_if = "Harm::is_untouched")]
    patience: Harm,
    /// Whether clients who give up are evidence; to rollouts that began before they were, they are none.
    #[serde(default)]
    judges_patience: bool,
    /// Users, where they stick to a version.
    #[serde(default, skip_serializing_if = "ByUsers::is_unknown")]
    by_users: ByUsers,
    /// What is added to the logarithm of the capital, where earlier rules had spent or won another one.
    #[serde(default)]
    carry: f64,
    #[serde(default)]
    rules: Rules,
    /// Whether the limit was passed at the failure, refusal or excess of a canary request.
    #[serde(default)]
    found: bool,
    /// The logarithm of the capital when it was.
    #[serde(default)]
    ln_found: Option<f64>,
    proof: Proof,
    goal: Option<ProofGoal>,
    /// What is known of the stable arm.
    #[serde(default)]
    pub past: Past,
    began: Uptime,
    seen: Uptime,
    /// The period of the last pay-out.
    #[serde(default)]
    periods: u64,
    /// When the canary first got requests.
    #[serde(default)]
    canary_since: Option<Uptime>,
    #[serde(default)]
    warm_up: WarmUp,
    totals: Vec<EpochTotals>,
    /// Canary requests by weight over the whole rollout, and how many failed.
    pub exposure: Counts,
    #[serde(default)]
    split: Split,
    #[serde(default)]
    split_epoch: Revision,
    #[serde(default)]
    stable_health: StableHealth,
    #[serde(default)]
    stable_is_unwell: bool,
    #[serde(default)]
    better: Proof,
    /// The cohort that was the present one at the last look.
    #[serde(default)]
    clock: u64,
    #[serde(skip)]
    unsplit: Unsplit,
    /// The highest capital that open cohorts are sure to have brought, at the last look.
    #[serde(skip)]
    bound: Option<Bound>,
    /// The classes as they stood where harm was found.
    #[serde(skip)]
    blamed: Option<Classes>,
    /// What was learnt of stable is of the time before this; of each comparison as well.
    #[serde(skip)]
    learnt: Uptime,
    #[serde(skip)]
    excesses_learnt: [Uptime; PROCESSES],
    /// Whether the newest tables must be computed anew at the next look.
    #[serde(skip)]
    is_stale: bool,
    /// What latency is compared at now, and next.
    #[serde(skip)]
    planned: [Planned; 2],
    /// Oldest epoch first.
    #[serde(skip)]
    queues: Vec<Queue>,
}

impl Evidence {
    /// Begins with nothing known about the canary, and what is known about stable.
    pub fn begin(at: Uptime, past: Past) -> Evidence {
        Evidence {
            harm: Harm::default(),
            ceiling: Ceiling::default(),
            latency: LatencyHarm::default(),
            refusals: Harm::default(),
            patience: Harm::default(),
            judges_patience: true,
            by_users: ByUsers::default(),
            carry: 0.0,
            rules: Rules::Cohorts,
            found: false,
            ln_found: None,
            proof: Proof::default(),
            goal: None,
            past,
            began: at,
            seen: at,
            periods: 0,
            canary_since: None,
            warm_up: WarmUp::default(),
            totals: Vec::new(),
            exposure: Counts::default(),
            split: Split::default(),
            split_epoch: Revision(0),
            stable_health: StableHealth::default(),
            stable_is_unwell: false,
            better: Proof::without_reserve(),
            clock: 0,
            unsplit: Unsplit::default(),
            bound: None,
            blamed: None,
            learnt: at,
            excesses_learnt: [at; PROCESSES],
            is_stale: false,
            planned: Default::default(),
            queues: Vec::new(),
        }
    }

    /// Begins to gather proof for `next_weight` from the epoch `from` on; anything gathered before is of no account.
    pub fn seek_proof(&mut self, next_weight: Weight, from: Revision) {
        self.seek(Some(ProofGoal { next_weight, from }));
    }

    /// Stops gathering proof: nothing higher is left to let in.
    pub fn seek_none(&mut self) {
        self.seek(None);
    }

    fn seek(&mut self, goal: Option<ProofGoal>) {
        self.proof = Proof::default();
        self.better = Proof::without_reserve();
        self.by_users.seek();
        self.goal = goal;
        // The epoch that the goal begins with has tables of its own; what is served already gets them at once.
        if let Some(tables) = self.queues.last_mut().and_then(Queue::newest_mut) {
            tables.drawn.proof = None;
            tables.aside.iter_mut().for_each(|aside| aside.proof = None);
        }
        self.is_stale = true;
    }

    /// Forgets the harm found so far; only for a person who decided to go on in spite of it.
    pub fn forgive(&mut self) {
        self.harm = Harm::default();
        self.ceiling = Ceiling::default();
        self.latency = LatencyHarm::default();
        self.refusals = Harm::default();
        self.patience = Harm::default();
        self.by_users.forgive();
        self.carry = 0.0;
        self.found = false;
        self.ln_found = None;
        self.bound = None;
        self.blamed = None;
        self.unsplit = Unsplit::default();
        self.began = self.seen;
        self.periods = 0;
        self.is_stale = true;
    }

    /// Lets time pass in which nothing was counted.
    pub fn idle_until(&mut self, settings: &Settings, at: Uptime) {
        if at > self.seen {
            self.watch_stable(settings, Counts::default(), at);
        }
    }

    /// Judges what is known and says whether a canary failure has come since the last look.
    ///
    /// `at` is now; the blocks are in the order of their epochs, and what was drawn comes last in its epoch. The last one
    /// is the epoch being served.
    pub fn observe<'a>(
        &mut self,
        settings: &Settings,
        at: Uptime,
        blocks: impl IntoIterator<Item = Block<'a>, IntoIter: Clone>,
    ) -> bool {
        let blocks = blocks.into_iter();
        let (mut stable, mut canary_failed) = (Counts::default(), false);
        for block in blocks.clone() {
            let beside = [block.refused, block.gave_up] != [[0; 2]; 2] || !block.baseline.is_empty();
            if !block.arms.is_empty() || beside {
                self.count(&block);
            }
            stable = stable.plus(block.arms.stable);
            canary_failed |= block.arms.canary.failures > 0;
        }
        if settings.users.is_some() {
            self.by_users.observe(settings, self.goal, at, blocks.clone());
        }
        self.enter(settings, at, blocks.clone());
        if self.is_by_users(settings) {
            self.test(settings);
        }
        for latency in blocks.filter_map(|block| block.latency) {
            self.past.latency.add(latency);
        }
        self.watch_stable(settings, stable, at);
        canary_failed
    }

    /// Counts exposure alone, for plans that judge no evidence; true if a canary failure was among it.
    pub fn expose<'a>(&mut self, blocks: impl IntoIterator<Item = Block<'a>>) -> bool {
        let mut canary_failed = false;
        for block in blocks.into_iter().filter(|block| !block.arms.is_empty() || !block.baseline.is_empty()) {
            self.count(&block);
            canary_failed |= block.arms.canary.failures > 0;
        }
        canary_failed
    }

    fn count(&mut self, block: &Block<'_>) {
        let Block { epoch, weight, stratum, arms, refused, gave_up, baseline, .. } = *block;
        if stratum.is_real() {
            self.exposure = self.exposure.plus(arms.canary);
        }
        match self.totals.iter_mut().find(|totals| (totals.epoch, totals.stratum) == (epoch, stratum)) {
            Some(totals) => {
                totals.arms = totals.arms.plus(arms);
                totals.refused = [totals.refused[0] + refused[0], totals.refused[1] + refused[1]];
                totals.gave_up = [totals.gave_up[0] + gave_up[0], totals.gave_up[1] + gave_up[1]];
                totals.baseline = totals.baseline.plus(baseline);
            }
            None => {
                let totals = EpochTotals { epoch, weight, stratum, arms, refused, gave_up, baseline };
                self.totals.push(totals);
            }
        }
    }

    fn watch_stable(&mut self, settings: &Settings, stable: Counts, at: Uptime) {
        let at = at.max(self.seen);
        if let Some(unwell) = settings.stable {
            self.stable_health.learn(stable, self.seen, at, unwell.span);
            let is_unwell = self.stable_health.failing_share().is_some_and(|share| share >= unwell.failures);
            if is_unwell && !self.stable_is_unwell {
                self.better = Proof::without_reserve();
            }
            self.stable_is_unwell = is_unwell;
        }
        self.seen = at;
    }

    /// The cohort that was the present one at the last look; cohorts to come are numbered from there.
    pub fn clock(&self) -> u64 {
        self.clock.max(self.seen.0 / COHORT_MS)
    }

    /// What requests dispatched from a cohort on must be held against: now, and from the next stretch on.
    pub fn edges(&mut self, settings: &Settings) -> [(u64, Edges); 2] {
        self.plan_first(settings);
        self.planned.map(|planned| (planned.from, planned.comparisons.edges()))
    }

    /// Whether anything has been dispatched that has not entered everywhere.
    pub fn waits(&self) -> bool {
        self.by_users.is_open || self.queues.iter().any(|queue| queue.is_open)
    }

    /// The first cohort of which anything may have to be told.
    pub fn needs_since(&self, epoch: Revision) -> u64 {
        let of_queue = self.queues.iter().find(|queue| queue.epoch == epoch).map_or(0, Queue::needs_since);
        self.by_users.needs_since(epoch).map_or(of_queue, |of_users| of_users.min(of_queue))
    }

    /// The logarithm of the capital against the canary: at `Settings::ln_harm_limit` it is rolled back.
    ///
    /// What is open counts where it is sure to bring more.
    pub fn ln_harm(&self, settings: &Settings) -> f64 {
        let settled = self.ln_of(settings, self.processes());
        let bound = self.bound.map(|bound| bound.ln);
        [bound, self.ln_found].into_iter().flatten().fold(settled, f64::max)
    }

    /// Whether users are judged and not requests.
    fn is_by_users(&self, settings: &Settings) -> bool {
        settings.users.is_some() && self.by_users.is_known
    }

    /// Users of both versions in the present epoch, and how many met a failure; `None` where requests are judged.
    pub fn users(&self, settings: &Settings) -> Option<Users> {
        self.is_by_users(settings).then(|| self.by_users.users())
    }

    /// When users are looked at next for the proof; `None` where requests are judged, or none is sought.
    pub fn next_look(&self, settings: &Settings) -> Option<Uptime> {
        settings.proof.filter(|_| self.is_by_users(settings))?;
        self.by_users.next_look(settings)
    }

    /// Tests for harm; what is found stays found.
    fn test(&mut self, settings: &Settings) {
        let ln_harm = self.ln_harm(settings);
        if !self.found && ln_harm >= settings.ln_harm_limit() {
            (self.found, self.ln_found) = (true, Some(ln_harm));
            // What is open may have said most of it, and is counted anew at each look.
            let bound = self.bound.filter(|bound| bound.ln >= ln_harm);
            self.blamed = Some(bound.map_or_else(|| self.classes(settings), |bound| bound.classes));
        }
    }

    /// The classes that speak against the canary: as they stood when harm was found, else as they stand.
    fn speaking(&self, settings: &Settings) -> Classes {
        self.blamed.unwrap_or_else(|| self.classes(settings))
    }

    /// The classes as they stand, of settled cohorts.
    fn classes(&self, settings: &Settings) -> Classes {
        self.classes_of(settings, self.processes())
    }

    fn processes(&self) -> Processes<'_> {
        let Evidence { harm, ceiling, refusals, patience, .. } = self;
        Processes { harm, ceiling, refusals, patience }
    }

    fn classes_of(&self, settings: &Settings, of: Processes<'_>) -> Classes {
        let Processes { harm, ceiling, refusals, patience } = of;
        Classes {
            // Requests of users who stick to a version are no draws: a union with `by_users`, no mean.
            failures: match (settings.ceiling, self.is_by_users(settings)) {
                (None, false) => harm.ln(),
                (Some(_), false) => half_and_half(harm.ln(), ceiling.ln()),
                (None, true) => f64::NEG_INFINITY,
                (Some(_), true) => half_and_half(f64::NEG_INFINITY, ceiling.ln()),
            },
            latency: settings.latency.as_ref().map(|latency| self.latency.ln(latency)),
            refusals: settings.refusals.map(|_| refusals.ln()),
            patience: settings.patience.map(|_| patience.ln()),
        }
    }

    fn ln_of(&self, settings: &Settings, of: Processes<'_>) -> f64 {
        let ln = self.classes_of(settings, of).ln() + self.carry;
        if !self.is_by_users(settings) {
            return ln;
        }
        // Nothing at all is a capital of nothing, which people need not be shown as minus infinity.
        ln.max(self.by_users.ln_harm(settings, settings.limit_at(&self.past))).max(LN_LEAST)
    }

    /// The same, if so many more canary requests came now and failed, and nothing else did.
    fn ln_harm_after(&self, settings: &Settings, failures: u64) -> f64 {
        let more = Counts { requests: failures, failures };
        let (mut harm, mut ceiling) = (self.harm, self.ceiling);
        if let Some(tables) = self.queues.last().and_then(Queue::newest) {
            let damping = super::dispersion::Damping { clips: false, ..tables.dampings.failures };
            // Where nothing is drawn for the canary it is copies that fail.
            let of_copies = tables.aside.as_deref().filter(|_| tables.drawn.is_of_nothing);
            let table = &of_copies.unwrap_or(&tables.drawn).harm;
            harm.update(table, Arms { canary: more, stable: Counts::default() }, damping, 0);
            if let Some(max) = settings.ceiling {
                ceiling.update(more, max, damping, 0);
            }
        }
        let ln = self.ln_of(settings, Processes { harm: &harm, ceiling: &ceiling, ..self.processes() });
        if !self.is_by_users(settings) {
            return ln;
        }
        ln.max(self.by_users.ln_harm_after(settings, settings.limit_at(&self.past), failures))
    }

    /// Whether harm was found, enough for a rollback; it stays found until it is forgiven.
    pub fn is_harmful(&self) -> bool {
        self.found
    }

    /// The logarithm of the capital for the canary; `None` while no proof is sought.
    ///
    /// What is under way proves nothing.
    pub fn ln_proof(&self) -> Option<f64> {
        self.goal?;
        Some(if self.by_users.is_known { self.by_users.ln_proof() } else { self.proof.ln() })
    }

    /// Whether the canary is proven harmless enough for the next weight.
    pub fn is_proven(&self, settings: &Settings) -> bool {
        match (self.ln_proof(), settings.ln_proof_limit()) {
            (Some(ln_proof), Some(limit)) => ln_proof >= limit,
            _ => settings.proof.is_none(),
        }
    }

    /// About how many more clean canary requests, or users where these are judged, lead to proof at `weight`.
    ///
    /// `None` where no number would.
    pub fn more_clean_requests(&self, settings: &Settings, weight: Weight) -> Option<u64> {
        let (proof, goal) = (settings.proof?, self.goal?);
        if self.is_by_users(settings) {
            return self.by_users.more_clean_users(settings, goal);
        }
        let margin = margin_before(goal.next_weight.fraction(), settings.limit.ratio, proof.budget);
        // Without a weight it is copies that prove.
        let stratum = if weight == Weight::ZERO { SampleKind::MirrorCopy } else { SampleKind::Weighted };
        let table = ProofTable::new(stratum.share(weight), self.past.failures.rate(), margin);
        let phi = Dampings::new(settings, &self.past).failures.phi;
        self.proof.more_clean_requests(&table, settings.ln_proof_limit()?, phi)
    }

    /// What is left of the canary's warm-up; `None` where it is over, or where latency is not judged.
    pub fn cold(&self, settings: &Settings) -> Option<Cold> {
        let latency = settings.latency.as_ref().filter(|_| self.rules.warms_by_requests())?;
        self.warm_up.left(self.seen, latency.warmup)
    }

    /// How long the canary has warmed up at its present weight, where that is over.
    pub fn warmed_for(&self, settings: &Settings) -> Duration {
        match settings.latency {
            Some(_) if self.rules.warms_by_requests() => self.warm_up.lasted(),
            _ => Duration::ZERO,
        }
    }

    /// Requests that were dispatched and are not judged yet: stable's, the canary's.
    pub fn open(&self) -> [u64; 2] {
        self.queues.iter().fold([0; 2], |sum, queue| [sum[0] + queue.open[0], sum[1] + queue.open[1]])
    }
}
