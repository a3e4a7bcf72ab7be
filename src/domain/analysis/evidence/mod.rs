//! All evidence about one canary, in the order that keeps it honest.
//!
//! Tables are fixed from past data, then the block is judged, then the past learns from it. The state is plain data and
//! is stored with the rollout: a restart neither loses evidence nor grants fresh alpha. Tables are not stored; after a
//! restart they are computed anew from the stored past, before any new count is judged.
//!
//! Several processes share the one alpha: failures against stable, failures against a ceiling, latency. Each is a
//! supermartingale while the canary keeps *its* limit, so for a canary that keeps all of them their mean is one, and it
//! is the mean that must reach `1/alpha`.

mod settings;
mod tables;
#[cfg(test)]
mod tests;
mod views;

use std::iter;
use std::time::Duration;

use serde::{Deserialize, Serialize};

pub use settings::{ProofSettings, Settings, StableSettings};
pub use views::{LatencyFigures, StableHold};

use super::ceiling::Ceiling;
use super::harm::{Harm, HarmTable};
use super::latency::{Excesses, LatencyHarm, LatencySpan};
use super::mirror::Stratum;
use super::past::Past;
use super::proof::{Proof, ProofTable, margin_before};
use super::ratio::{FailureSplit, RatioInterval, interval};
use super::split::Split;
use super::stable::StableHealth;
use super::{Arms, Counts, ln_add};
use crate::domain::function::Revision;
use crate::domain::time::Uptime;
use crate::domain::weight::Weight;
use tables::{Dampings, EpochTables};

/// How long a table stands before it is computed anew from what was learnt meanwhile.
pub const PERIOD: Duration = Duration::from_secs(10);

/// Tables of so many superseded epochs judge late answers; older ones count towards exposure alone. An epoch has two
/// where requests are mirrored.
const TABLES_KEPT: usize = 16;

/// What was counted of both arms in one weight epoch since the last look.
#[derive(Clone, Copy, Debug)]
pub struct Block<'a> {
    /// The change of the alias that began the epoch.
    pub epoch: Revision,
    /// The canary's share in it.
    pub weight: Weight,
    /// How the requests came to their versions.
    pub stratum: Stratum,
    /// The counts.
    pub arms: Arms,
    /// Requests of the epoch that are under way at the end of the block.
    pub pending: Pending,
    /// Both arms' latencies, where they are known.
    pub latency: Option<Latencies<'a>>,
}

/// Requests that were dispatched and have not ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pending {
    /// The additional version's.
    pub canary: u64,
    /// The function version's.
    pub stable: u64,
}

impl Pending {
    fn plus(self, more: Pending) -> Pending {
        Pending { canary: self.canary + more.canary, stable: self.stable + more.stable }
    }

    /// Counted as good, as they are until they end.
    fn as_good(self) -> Arms {
        let good = |requests| Counts { requests, failures: 0 };
        Arms { canary: good(self.canary), stable: good(self.stable) }
    }
}

/// Latencies of both arms since the last look.
#[derive(Clone, Copy, Debug)]
pub struct Latencies<'a> {
    /// The additional version's.
    pub canary: LatencySpan<'a>,
    /// The function version's.
    pub stable: LatencySpan<'a>,
}

impl Block<'_> {
    /// Counts without latencies, of requests that have all ended.
    pub fn of_counts(epoch: Revision, weight: Weight, arms: Arms) -> Block<'static> {
        let stratum = Stratum::Drawn;
        Block { epoch, weight, stratum, arms, pending: Pending::default(), latency: None }
    }

    /// Which tables judge it.
    fn place(&self) -> (Revision, bool) {
        (self.epoch, self.stratum == Stratum::Drawn)
    }

    fn is_empty(&self) -> bool {
        let quiet = |both: Latencies<'_>| both.canary.is_empty() && both.stable.is_empty();
        self.arms.is_empty() && self.latency.is_none_or(quiet)
    }
}

/// Failures of one epoch, for the display of their ratio.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
struct EpochTotals {
    epoch: Revision,
    weight: Weight,
    #[serde(default)]
    stratum: Stratum,
    arms: Arms,
}

/// Which proof is being gathered: for which next weight, from which epoch on.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
struct ProofGoal {
    next_weight: Weight,
    from: Revision,
}

/// What has come in the present ten seconds of an epoch whose split is wrong; judged when they end.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Unsplit {
    arms: Arms,
    excesses: Excesses,
}

/// The evidence about one canary over one rollout.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Evidence {
    harm: Harm,
    ceiling: Ceiling,
    #[serde(default)]
    latency: LatencyHarm,
    /// Whether the limit was passed at the failure or excess of a canary request.
    #[serde(default)]
    found: bool,
    proof: Proof,
    goal: Option<ProofGoal>,
    /// What is known of the stable arm.
    #[serde(default)]
    pub past: Past,
    began: Uptime,
    seen: Uptime,
    periods: u64,
    /// When the canary first got requests.
    #[serde(default)]
    canary_since: Option<Uptime>,
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
    #[serde(skip)]
    unsplit: Unsplit,
    /// Whether the newest tables must be computed anew at the next look.
    #[serde(skip)]
    is_stale: bool,
    /// Oldest epoch first.
    #[serde(skip)]
    tables: Vec<EpochTables>,
    #[serde(skip)]
    dampings: Dampings,
}

impl Evidence {
    /// Begins with nothing known about the canary, and what is known about stable.
    pub fn begin(at: Uptime, past: Past) -> Evidence {
        Evidence {
            harm: Harm::default(),
            ceiling: Ceiling::default(),
            latency: LatencyHarm::default(),
            found: false,
            proof: Proof::default(),
            goal: None,
            past,
            began: at,
            seen: at,
            periods: 0,
            canary_since: None,
            totals: Vec::new(),
            exposure: Counts::default(),
            split: Split::default(),
            split_epoch: Revision(0),
            stable_health: StableHealth::default(),
            stable_is_unwell: false,
            better: Proof::without_reserve(),
            unsplit: Unsplit::default(),
            is_stale: false,
            tables: Vec::new(),
            dampings: Dampings::default(),
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
        self.goal = goal;
        // The epoch that the goal begins with has tables of its own; what is served already gets them at once.
        let newest = self.newest();
        self.tables[newest..].iter_mut().for_each(|table| table.proof = None);
        self.is_stale = true;
    }

    /// Forgets the harm found so far; only for a person who decided to go on in spite of it.
    pub fn forgive(&mut self) {
        self.harm = Harm::default();
        self.ceiling = Ceiling::default();
        self.latency = LatencyHarm::default();
        self.found = false;
        self.unsplit = Unsplit::default();
        self.began = self.seen;
        self.periods = 0;
        self.tables.clear();
    }

    /// Lets time pass in which nothing was counted.
    pub fn idle_until(&mut self, settings: &Settings, at: Uptime) {
        if at > self.seen {
            self.learn(settings, Counts::default(), Default::default(), at);
        }
    }

    /// Judges what was counted since the last look and says whether a canary failure was among it.
    ///
    /// `at` is now; the blocks began at the last look. The last block is the epoch being served.
    pub fn observe<'a>(
        &mut self,
        settings: &Settings,
        at: Uptime,
        blocks: impl IntoIterator<Item = Block<'a>>,
    ) -> bool {
        let mut bad_news = self.refresh(settings);
        if settings.is_bare() {
            self.proof.bet_all();
        }
        let (mut stable, mut exceeded, mut canary_failed) = (Counts::default(), [0; _], false);
        // Of an epoch that is told of no more nothing is under way.
        self.tables.iter_mut().for_each(|table| table.under_way = Pending::default());
        for block in blocks {
            if !block.is_empty() {
                bad_news |= self.judge(settings, &block);
            }
            if let Some(table) = self.tables.iter_mut().find(|table| table.place() == block.place()) {
                table.under_way = table.under_way.plus(block.pending);
            }
            stable = stable.plus(block.arms.stable);
            canary_failed |= block.arms.canary.failures > 0;
            if let Some(latency) = block.latency {
                for (sum, more) in exceeded.iter_mut().zip(self.past.latency.exceeding(latency.stable)) {
                    *sum += more;
                }
                self.past.latency.add(latency.stable);
            }
        }
        if bad_news {
            self.found |= self.ln_harm(settings) >= settings.ln_harm_limit();
        }
        self.learn(settings, stable, exceeded, at);
        canary_failed
    }

    /// Counts exposure alone, for plans that judge no evidence; true if a canary failure was among it.
    pub fn expose<'a>(&mut self, blocks: impl IntoIterator<Item = Block<'a>>) -> bool {
        let mut canary_failed = false;
        for block in blocks.into_iter().filter(|block| !block.arms.is_empty()) {
            self.count(&block);
            canary_failed |= block.arms.canary.failures > 0;
        }
        canary_failed
    }

    fn count(&mut self, block: &Block<'_>) {
        let Block { epoch, weight, stratum, arms, .. } = *block;
        if stratum.is_real() {
            self.exposure = self.exposure.plus(arms.canary);
        }
        match self.totals.iter_mut().find(|totals| (totals.epoch, totals.stratum) == (epoch, stratum)) {
            Some(totals) => totals.arms = totals.arms.plus(arms),
            None => self.totals.push(EpochTotals { epoch, weight, stratum, arms }),
        }
    }

    /// Judges one block; true if it brought a failure or an excess of the canary into the capital.
    ///
    /// Harm is tested only then: between failures pending requests count as good, and what stable does is no news of
    /// the canary.
    fn judge(&mut self, settings: &Settings, block: &Block<'_>) -> bool {
        self.count(block);
        if block.arms.canary.requests > 0 {
            self.canary_since.get_or_insert(self.seen);
        }
        let index = self.table_of(settings, block);
        let excesses = self.excesses(settings, &self.tables[index], block);
        let (arms, second) = (block.arms, self.second());
        let is_served = index + 1 == self.tables.len() && block.stratum == Stratum::Drawn;
        if is_served && self.is_unsplit(index, arms) {
            self.unsplit.arms = self.unsplit.arms.plus(arms);
            self.unsplit.excesses = self.unsplit.excesses.plus(&excesses);
            return false;
        }
        let (table, dampings) = (&self.tables[index], &self.dampings);
        self.harm.update(&table.harm, arms, dampings.failures, second);
        self.latency.update(&table.latency, &excesses, &dampings.latency, second);
        if let Some(proof) = &table.proof {
            self.proof.update(proof, arms, dampings.failures, second);
            if let Some(limit) = settings.ln_proof_limit().filter(|_| !settings.is_bare()) {
                self.proof.cap(limit);
            }
        }
        if let Some(better) = table.better.as_ref().filter(|_| self.stable_is_unwell) {
            self.better.update(better, arms, dampings.failures, second);
        }
        self.update_ceilings(settings, arms.canary, &excesses);
        arms.canary.failures > 0 || excesses.canary_exceeded()
    }

    fn update_ceilings(&mut self, settings: &Settings, canary: Counts, excesses: &Excesses) {
        let second = self.second();
        if let Some(max) = settings.ceiling {
            self.ceiling.update(canary, max, self.dampings.failures, second);
        }
        if settings.latency.is_some_and(|latency| latency.ceiling_bucket.is_some()) {
            // Of the four quantiles this is the one whose clumps were measured where the ceiling is.
            self.latency.update_ceiling(excesses, self.dampings.latency[2], second);
        }
    }

    /// What exceeded in a block; nothing while the canary warms up, or where latency is not judged.
    fn excesses(&self, settings: &Settings, table: &EpochTables, block: &Block<'_>) -> Excesses {
        let (Some(settings), Some(latency)) = (&settings.latency, block.latency) else {
            return Excesses::default();
        };
        let is_warm = self.canary_since.is_some_and(|since| self.seen.since(since) >= settings.warmup);
        if !is_warm {
            return Excesses::default();
        }
        Excesses::count(&table.latency, settings.ceiling_bucket, latency.canary, latency.stable)
    }

    /// Watches the split of the newest epoch, and says whether it is wrong.
    fn is_unsplit(&mut self, index: usize, arms: Arms) -> bool {
        let table = &self.tables[index];
        if self.split_epoch != table.epoch {
            (self.split, self.split_epoch) = (Split::default(), table.epoch);
        }
        if !self.split.is_mismatch() {
            self.split.update(&table.split, arms.canary.requests, arms.stable.requests);
            // The block that showed it was still drawn by these tables.
            return false;
        }
        true
    }

    /// Judges the ten seconds that have ended by their own split; true if they brought bad news.
    fn judge_unsplit(&mut self, settings: &Settings) -> bool {
        let Unsplit { arms, excesses } = std::mem::take(&mut self.unsplit);
        let Some(table) = self.tables.last() else { return false };
        let share = arms.share();
        if share <= 0.0 || share >= 1.0 {
            return false;
        }
        let second = self.second();
        let harm = HarmTable::new(share, table.stable_rate, settings.limit_at(&self.past));
        self.harm.update(&harm, arms, self.dampings.failures, second);
        self.latency.update_by_own_split(&table.latency, &excesses, &self.dampings.latency, second);
        self.update_ceilings(settings, arms.canary, &excesses);
        arms.canary.failures > 0 || excesses.canary_exceeded()
    }

    /// Finds the tables of a block's epoch, computing them from the past if the epoch is new.
    fn table_of(&mut self, settings: &Settings, block: &Block<'_>) -> usize {
        if let Some(index) = self.tables.iter().position(|table| table.place() == block.place()) {
            return index;
        }
        if self.tables.len() >= TABLES_KEPT {
            self.tables.remove(0);
        }
        if !self.unsplit.arms.is_empty() && self.judge_unsplit(settings) {
            self.found |= self.ln_harm(settings) >= settings.ln_harm_limit();
        }
        let is_newest = self.tables.last().is_none_or(|last| last.epoch < block.epoch);
        if is_newest && self.tables.last().is_some_and(|last| last.weight != block.weight) {
            self.past.skip();
        }
        self.freeze(settings);
        let of = (block.epoch, block.weight);
        let tables = EpochTables::new(settings, &self.past, self.goal, of, block.stratum);
        let index = self.tables.partition_point(|table| table.place() < block.place());
        self.tables.insert(index, tables);
        index
    }

    /// Where the tables of the newest epoch begin.
    fn newest(&self) -> usize {
        self.tables.last().map_or(0, |last| self.tables.partition_point(|table| table.epoch < last.epoch))
    }

    fn freeze(&mut self, settings: &Settings) {
        self.past.refresh(self.seen);
        self.dampings = Dampings::new(settings, &self.past);
    }

    /// At each new period, pays out of the reserve and computes the newest epoch's tables anew; true for bad news.
    ///
    /// Older epochs keep theirs: their late answers are judged by the tables of their own time.
    fn refresh(&mut self, settings: &Settings) -> bool {
        let periods = (self.seen.since(self.began).as_millis() / PERIOD.as_millis()) as u64;
        if periods == self.periods && !std::mem::take(&mut self.is_stale) {
            return false;
        }
        (self.periods..periods).for_each(|_| self.proof.pay_out());
        self.periods = periods;
        let bad_news = !self.unsplit.arms.is_empty() && self.judge_unsplit(settings);
        let newest = self.newest();
        if newest < self.tables.len() {
            let old_damping = self.dampings.failures;
            self.freeze(settings);
            for old in &mut self.tables[newest..] {
                let new = old.renewed(settings, &self.past, self.goal);
                let pending = old.under_way.as_good();
                self.harm.bet_anew(pending, (&old.harm, old_damping), (&new.harm, self.dampings.failures));
                *old = new;
            }
        }
        self.pay_out(settings);
        bad_news
    }

    fn pay_out(&mut self, settings: &Settings) {
        let (periods, newest) = (self.periods, &self.tables[self.newest()..]);
        let under_way = newest.iter().map(|table| (&table.harm, table.under_way.as_good()));
        let pending = under_way.clone().fold(Arms::default(), |sum, (_, pending)| sum.plus(pending));
        self.harm.pay_out_until(periods, under_way, self.dampings.failures);
        let max = settings.ceiling.unwrap_or(1.0);
        self.ceiling.pay_out_until(periods, pending.canary, max, self.dampings.failures);
        self.latency.pay_out_until(periods);
    }

    fn learn(&mut self, settings: &Settings, stable: Counts, exceeded: [u64; 4], at: Uptime) {
        let at = at.max(self.seen);
        self.past.learn(stable, exceeded, self.seen, at);
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

    /// The second of the evidence that the present look belongs to.
    fn second(&self) -> u64 {
        self.seen.since(self.began).as_secs()
    }

    /// The logarithm of the capital against the canary: at `Settings::ln_harm_limit` it is rolled back.
    ///
    /// Half of it is failures, half latency; of either, half is the comparison and half the ceiling. What the plan does
    /// not judge has no share.
    pub fn ln_harm(&self, settings: &Settings) -> f64 {
        self.ln_harm_after(settings, 0)
    }

    /// The same, if so many more canary requests came now and failed, and nothing else did.
    pub(super) fn ln_harm_after(&self, settings: &Settings, failures: u64) -> f64 {
        let half_and_half = |a: f64, b: f64| ln_add(a, b) - std::f64::consts::LN_2;
        let more = Counts { requests: failures, failures };
        let newest =
            self.tables.last().map(|newest| (&newest.harm, Arms { canary: more, stable: Counts::default() }));
        let under_way = self.tables.iter().map(|table| (&table.harm, table.under_way.as_good()));
        let damping = self.dampings.failures;
        let harm = self.harm.ln_with(newest.into_iter(), iter::empty(), damping).min(self.harm.ln_with(
            newest.into_iter(),
            under_way,
            damping,
        ));
        let failures = match settings.ceiling {
            None => harm,
            Some(max) => half_and_half(harm, self.ceiling.ln_after(more, max, damping)),
        };
        match &settings.latency {
            None => failures,
            Some(latency) => half_and_half(failures, self.latency.ln(latency)),
        }
    }

    /// Whether harm was found, enough for a rollback; it stays found until it is forgiven.
    pub fn is_harmful(&self) -> bool {
        self.found
    }

    /// The logarithm of the capital for the canary; `None` while no proof is sought.
    ///
    /// What is under way proves nothing, however it is counted.
    pub fn ln_proof(&self) -> Option<f64> {
        self.goal?;
        let under_way =
            self.tables.iter().filter_map(|table| Some((table.proof.as_ref()?, table.under_way.as_good())));
        Some(self.proof.ln().min(self.proof.ln_settled(under_way, self.dampings.failures)))
    }

    /// Whether the canary is proven harmless enough for the next weight.
    pub fn is_proven(&self, settings: &Settings) -> bool {
        match (self.ln_proof(), settings.ln_proof_limit()) {
            (Some(ln_proof), Some(limit)) => ln_proof >= limit,
            _ => settings.proof.is_none(),
        }
    }

    /// About how many more clean canary requests lead to proof at `weight`; `None` where no number would.
    pub fn more_clean_requests(&self, settings: &Settings, weight: Weight) -> Option<u64> {
        let (proof, goal) = (settings.proof?, self.goal?);
        let margin = margin_before(goal.next_weight.fraction(), settings.limit.ratio, proof.budget);
        let table = ProofTable::new(weight.fraction(), self.past.failures.rate(), margin);
        let phi = Dampings::new(settings, &self.past).failures.phi;
        self.proof.more_clean_requests(&table, settings.ln_proof_limit()?, phi)
    }
}
