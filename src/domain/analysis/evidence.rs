//! All evidence about one canary, in the order that keeps it honest.
//!
//! Tables are fixed from past data, then the block is judged, then the baseline learns from it. The state is plain data
//! and is stored with the rollout: a restart neither loses evidence nor grants fresh alpha. Tables are not stored; after
//! a restart they are computed anew from the stored past, before any new count is judged.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::baseline::Baseline;
use super::boundary::Margin;
use super::ceiling::Ceiling;
use super::harm::{Harm, HarmTable};
use super::proof::{Proof, ProofTable, margin_before};
use super::ratio::{FailureSplit, RatioInterval, interval};
use super::{Arms, Counts, ln_add};
use crate::domain::function::Revision;
use crate::domain::plan::Analysis;
use crate::domain::time::Uptime;
use crate::domain::weight::Weight;

/// How long a table stands before it is computed anew from what was learnt meanwhile.
pub const PERIOD: Duration = Duration::from_secs(10);

/// Superseded epochs whose late answers are still judged; older ones count towards exposure alone.
const EPOCHS_KEPT: usize = 8;

/// What a plan asks of the evidence.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Settings {
    /// What is accepted of the canary against stable.
    pub limit: Margin,
    /// What is accepted of it at all, as a share.
    pub ceiling: Option<f64>,
    /// alpha.
    pub false_rollback_rate: f64,
    /// Budget B and beta; `None` when no proof is asked for.
    pub proof: Option<ProofSettings>,
    /// By how much failures vary more than independent ones would; at least 1.
    pub dispersion: f64,
}

/// What must be proven before the next weight.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ProofSettings {
    /// B, a share of all traffic.
    pub budget: f64,
    /// beta.
    pub false_advance_rate: f64,
}

impl From<&Analysis> for Settings {
    fn from(analysis: &Analysis) -> Settings {
        Settings {
            limit: Margin { ratio: analysis.failures.max_ratio, added: analysis.failures.max_added },
            ceiling: analysis.failures.max,
            false_rollback_rate: analysis.false_rollback_rate,
            proof: analysis.proof.map(|proof| ProofSettings {
                budget: proof.added_failures,
                false_advance_rate: proof.false_advance_rate,
            }),
            dispersion: analysis.min_dispersion,
        }
    }
}

impl Settings {
    /// What the logarithm of harm must reach for a rollback.
    pub fn ln_harm_limit(&self) -> f64 {
        -self.false_rollback_rate.ln()
    }

    /// What the logarithm of proof must reach for an advance.
    pub fn ln_proof_limit(&self) -> Option<f64> {
        self.proof.map(|proof| -proof.false_advance_rate.ln())
    }
}

/// What was counted of both arms in one weight epoch since the last look.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Block {
    /// The change of the alias that began the epoch.
    pub epoch: Revision,
    /// The canary's share in it.
    pub weight: Weight,
    /// The counts.
    pub arms: Arms,
}

#[derive(Clone, Debug, PartialEq)]
struct EpochTables {
    epoch: Revision,
    weight: f64,
    harm: HarmTable,
    proof: Option<ProofTable>,
}

/// Failures of one epoch, for the display of their ratio.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
struct EpochTotals {
    epoch: Revision,
    weight: Weight,
    arms: Arms,
}

/// Which proof is being gathered: for which next weight, from which epoch on.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
struct ProofGoal {
    next_weight: Weight,
    from: Revision,
}

/// The evidence about one canary over one rollout.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Evidence {
    harm: Harm,
    ceiling: Ceiling,
    proof: Proof,
    goal: Option<ProofGoal>,
    baseline: Baseline,
    began: Uptime,
    seen: Uptime,
    periods: u64,
    totals: Vec<EpochTotals>,
    /// Canary requests by weight over the whole rollout, and how many failed.
    pub exposure: Counts,
    #[serde(skip)]
    tables: Vec<EpochTables>,
}

impl Evidence {
    /// Begins with nothing known about the canary, and what is known about stable.
    pub fn begin(at: Uptime, baseline: Baseline) -> Evidence {
        Evidence {
            harm: Harm::default(),
            ceiling: Ceiling::default(),
            proof: Proof::default(),
            goal: None,
            baseline,
            began: at,
            seen: at,
            periods: 0,
            totals: Vec::new(),
            exposure: Counts::default(),
            tables: Vec::new(),
        }
    }

    /// Begins to gather proof for `next_weight` from the epoch `from` on; anything gathered before is of no account.
    pub fn seek_proof(&mut self, next_weight: Weight, from: Revision) {
        self.proof = Proof::default();
        self.goal = Some(ProofGoal { next_weight, from });
        self.tables.clear();
    }

    /// Stops gathering proof: nothing higher is left to let in.
    pub fn seek_none(&mut self) {
        self.proof = Proof::default();
        self.goal = None;
        self.tables.clear();
    }

    /// Forgets the harm found so far; only for a person who decided to go on in spite of it.
    pub fn forgive(&mut self) {
        self.harm = Harm::default();
        self.ceiling = Ceiling::default();
        self.began = self.seen;
        self.periods = 0;
        self.tables.clear();
    }

    /// Lets time pass in which nothing was counted.
    pub fn idle_until(&mut self, at: Uptime) {
        if at > self.seen {
            self.baseline.learn(Counts::default(), at.since(self.seen));
            self.seen = at;
        }
    }

    /// Judges what was counted since the last look and says whether a canary failure was among it.
    ///
    /// `at` is now; the blocks began at the last look. The last block is the epoch being served.
    pub fn observe(&mut self, settings: &Settings, at: Uptime, blocks: &[Block]) -> bool {
        self.refresh(settings);
        let (mut stable, mut canary_failed) = (Counts::default(), false);
        for block in blocks.iter().filter(|block| !block.arms.is_empty()) {
            self.judge(settings, block);
            stable = stable.plus(block.arms.stable);
            canary_failed |= block.arms.canary.failures > 0;
        }
        self.baseline.learn(stable, at.since(self.seen));
        self.seen = self.seen.max(at);
        canary_failed
    }

    /// Counts exposure alone, for plans that judge no evidence; true if a canary failure was among it.
    pub fn expose(&mut self, blocks: &[Block]) -> bool {
        let mut canary_failed = false;
        for block in blocks.iter().filter(|block| !block.arms.is_empty()) {
            self.count(block);
            canary_failed |= block.arms.canary.failures > 0;
        }
        canary_failed
    }

    fn count(&mut self, block: &Block) {
        self.exposure = self.exposure.plus(block.arms.canary);
        match self.totals.iter_mut().find(|totals| totals.epoch == block.epoch) {
            Some(totals) => totals.arms = totals.arms.plus(block.arms),
            None => {
                self.totals.push(EpochTotals { epoch: block.epoch, weight: block.weight, arms: block.arms });
            }
        }
    }

    fn judge(&mut self, settings: &Settings, block: &Block) {
        self.count(block);
        let arms = block.arms;
        let index = self.table_of(settings, block);
        let table = &self.tables[index];
        self.harm.update(&table.harm, arms, settings.dispersion);
        if let Some(proof) = &table.proof {
            self.proof.update(proof, arms, settings.dispersion);
        }
        if let Some(max) = settings.ceiling {
            self.ceiling.update(arms.canary, max, settings.dispersion);
        }
    }

    /// Finds the tables of a block's epoch, computing them from the past if the epoch is new.
    fn table_of(&mut self, settings: &Settings, block: &Block) -> usize {
        if let Some(index) = self.tables.iter().position(|table| table.epoch == block.epoch) {
            return index;
        }
        if self.tables.len() >= EPOCHS_KEPT {
            self.tables.remove(0);
        }
        let tables = self.tables_for(settings, block.epoch, block.weight.fraction());
        self.tables.push(tables);
        self.tables.len() - 1
    }

    fn tables_for(&self, settings: &Settings, epoch: Revision, weight: f64) -> EpochTables {
        let stable = self.baseline.rate();
        let proof = self.goal.filter(|goal| epoch >= goal.from).and_then(|goal| {
            let budget = settings.proof?.budget;
            let margin = margin_before(goal.next_weight.fraction(), settings.limit.ratio, budget);
            Some(ProofTable::new(weight, stable, margin))
        });
        EpochTables { epoch, weight, harm: HarmTable::new(weight, stable, settings.limit), proof }
    }

    /// At each new period, pays out of the reserve and computes the newest epoch's tables anew.
    ///
    /// Older epochs keep theirs: their late answers are judged by the tables of their own time.
    fn refresh(&mut self, settings: &Settings) {
        let periods = (self.seen.since(self.began).as_millis() / PERIOD.as_millis()) as u64;
        if periods == self.periods {
            return;
        }
        self.periods = periods;
        self.harm.pay_out_until(periods);
        self.ceiling.pay_out_until(periods);
        if let Some(newest) = self.tables.pop() {
            let tables = self.tables_for(settings, newest.epoch, newest.weight);
            self.tables.push(tables);
        }
    }

    /// The logarithm of the capital against the canary: at `Settings::ln_harm_limit` it is rolled back.
    ///
    /// With a ceiling it is the mean of both capitals, so that both stand under the one alpha.
    pub fn ln_harm(&self, settings: &Settings) -> f64 {
        match settings.ceiling {
            None => self.harm.ln(),
            Some(_) => ln_add(self.harm.ln(), self.ceiling.ln()) - std::f64::consts::LN_2,
        }
    }

    /// Whether the harm found is enough for a rollback.
    pub fn is_harmful(&self, settings: &Settings) -> bool {
        self.ln_harm(settings) >= settings.ln_harm_limit()
    }

    /// The logarithm of the capital for the canary; `None` while no proof is sought.
    pub fn ln_proof(&self) -> Option<f64> {
        self.goal.map(|_| self.proof.ln())
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
        let table = ProofTable::new(weight.fraction(), self.baseline.rate(), margin);
        self.proof.more_clean_requests(&table, settings.ln_proof_limit()?, settings.dispersion)
    }

    /// The interval of the ratio of failure rates, canary to stable, at the plan's alpha.
    pub fn ratio(&self, settings: &Settings) -> Option<RatioInterval> {
        let splits: Vec<FailureSplit> = self
            .totals
            .iter()
            .map(|totals| FailureSplit {
                weight: totals.weight.fraction(),
                canary: totals.arms.canary.failures,
                stable: totals.arms.stable.failures,
            })
            .collect();
        interval(&splits, settings.false_rollback_rate)
    }

    /// What was counted of both arms while the canary had this share.
    pub fn arms_at(&self, weight: Weight) -> Arms {
        let of_weight = self.totals.iter().filter(|totals| totals.weight == weight);
        of_weight.fold(Arms::default(), |sum, totals| sum.plus(totals.arms))
    }

    /// The canary's last share beside a stable version; zero before there was one.
    pub fn last_share(&self) -> Weight {
        let beside =
            self.totals.iter().rev().find(|totals| !matches!(totals.weight, Weight::ZERO | Weight::FULL));
        beside.map_or(Weight::ZERO, |totals| totals.weight)
    }

    /// What the stable arm's failure rate is taken to be.
    pub fn stable_rate(&self) -> f64 {
        self.baseline.rate()
    }
}

#[cfg(test)]
mod tests;
