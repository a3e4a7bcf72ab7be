//! Recorded counts through a plan's gates: what the evidence would have said, block by block.
//!
//! The judge is the production one; only the counters come from a file. There are no latencies and no refusals in
//! it: what a plan asks of these stays silent, keeps its share of the capital, and so failures need as much for a rollback
//! as in the daemon. With a constant dispersion the tests stand alone, and failures have all of it. A block starts where
//! the one before it ended, and its tables are those of its start.

use std::fmt;

use serde::{Deserialize, Serialize};

use serin_core::analysis::dispersion::{self, DispersionRule};
use serin_core::analysis::evidence::{Block, Evidence, Settings};
pub use serin_core::analysis::ledger::Prior;
use serin_core::analysis::ledger::{Kept, Record};
use serin_core::analysis::past::Past;
use serin_core::analysis::{Arms, Counts};
use serin_core::lambda::function::Revision;
use serin_core::model::time::Uptime;
use serin_core::model::weight::Weight;
use serin_core::plan::Plan;

/// Counts of both versions over one stretch of time at one weight.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recorded {
    /// When the block ends, in seconds since the record begins.
    pub t: f64,
    /// The canary's share, 0 to 1.
    pub weight: f64,
    /// What the stable version got.
    pub stable: RecordedCounts,
    /// What the canary got.
    pub canary: RecordedCounts,
}

/// Counts as they are written: requests when dispatched, failures when known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RecordedCounts {
    /// Requests dispatched.
    pub requests: u64,
    /// Failures that became known.
    pub failures: u64,
}

impl Recorded {
    /// The blocks of what a daemon kept of a rollout.
    pub fn all(record: &Record) -> Vec<Recorded> {
        let of = |counts: Counts| RecordedCounts { requests: counts.requests, failures: counts.failures };
        let block = |kept: &Kept| Recorded {
            t: kept.until.since(record.began).as_secs_f64(),
            weight: kept.weight.fraction(),
            stable: of(kept.arms.stable),
            canary: of(kept.arms.canary),
        };
        record.blocks.iter().map(block).collect()
    }
}

/// Recorded counts as text, a JSON object a line: what came before, then the blocks.
pub fn lines(prior: Option<Prior>, blocks: &[Recorded]) -> String {
    let line = |value: serde_json::Result<String>| value.expect("counts are numbers") + "\n";
    let prior = prior.map(|prior| line(serde_json::to_string(&serde_json::json!({ "prior": prior }))));
    let blocks = blocks.iter().map(|block| line(serde_json::to_string(block)));
    prior.into_iter().chain(blocks).collect()
}

impl From<RecordedCounts> for Counts {
    fn from(counts: RecordedCounts) -> Counts {
        Counts { requests: counts.requests, failures: counts.failures }
    }
}

/// By how much failures vary more than independent ones would.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Dispersion {
    /// Estimated from the stable version's failures, as in production.
    Auto,
    /// This much, at least 1.
    Constant(f64),
}

/// What the evidence says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Verdict {
    /// There was harm enough for a rollback, in this block or before.
    Rollback,
    /// There is proof enough for the next weight.
    Advance,
    /// Neither.
    Wait,
}

/// The evidence at the end of a block.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Judged {
    /// When the block ends, in seconds.
    pub t: f64,
    /// The logarithm of the capital against the canary.
    pub ln_harm: f64,
    /// The logarithm of the capital for it; `None` where no next weight is to be proven.
    pub ln_proof: Option<f64>,
    /// The dispersion counts were divided by.
    pub phi: f64,
    /// What follows.
    pub verdict: Verdict,
}

/// Why counts cannot be replayed.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum ReplayError {
    /// The plan judges nothing.
    #[error("the plan says `analysis: none`, so no count decides anything in it")]
    NothingIsJudged,
    /// A block ends before it begins.
    #[error("`t` is {t}, and the block before ended at {before}: blocks follow each other in time")]
    Backwards {
        /// Its end.
        t: f64,
        /// Its beginning.
        before: f64,
    },
    /// A number is none of those it may be.
    #[error("`{what}` is {found}: {expected}")]
    Bounds {
        /// Which one.
        what: &'static str,
        /// What it is.
        found: f64,
        /// What it may be.
        expected: &'static str,
    },
}

/// The most in one count: sums of as many blocks as anybody has are numbers still.
const COUNT_MAX: f64 = 1e12;
/// The longest record, in seconds: ten years.
const T_MAX: f64 = 3.2e8;

/// A plan's gates, fed with recorded counts.
#[derive(Clone, Debug)]
pub struct Replay {
    settings: Settings,
    weights: Vec<Weight>,
    evidence: Evidence,
    /// Weights in the order in which they first were served; their places number the epochs.
    epochs: Vec<Weight>,
    served: Option<usize>,
    t: f64,
}

impl Replay {
    /// Begins to replay for a plan, with what was known of the stable version before.
    pub fn begin(plan: &Plan, dispersion: Dispersion, prior: Prior) -> Result<Replay, ReplayError> {
        let counts = [("prior.requests", prior.requests), ("prior.failures", prior.failures)];
        for (what, found) in counts {
            let expected = "faded counts are 0 or more";
            within(what, found, 0.0..=1e15, expected)?;
        }
        let settings = plan.evidence_settings().ok_or(ReplayError::NothingIsJudged)?;
        if let Some(phi) = prior.dispersion {
            within("prior.dispersion", phi, 1.0..=1e6, "1 is independent failures, and less cannot be")?;
        }
        let settings = match dispersion {
            // What was learnt before goes on damping. Where it is not told what that rests on, all of it does.
            Dispersion::Auto if prior.learnt.is_none() => settings.damped_by(prior.dispersion.unwrap_or(1.0)),
            Dispersion::Auto => settings,
            Dispersion::Constant(phi) => {
                within("dispersion", phi, 1.0..=1e6, "1 is independent failures, and less cannot be")?;
                let dispersion = DispersionRule::Constant(phi);
                Settings { dispersion, latency: None, refusals: None, patience: None, ..settings }
            }
        };
        let mut past = Past::warmed(prior.failures, prior.requests);
        if let Some(learnt) = prior.learnt {
            for number in <[f64; 5]>::from(learnt) {
                within("prior.learnt", number, 0.0..=1e15, "seconds and sums of squares are 0 or more")?;
            }
            past.dispersion = dispersion::Dispersion::going_on_from(learnt);
        }
        Ok(Replay {
            settings,
            weights: (1..=plan.steps.len()).filter_map(|step| plan.weight_at(step)).collect(),
            evidence: Evidence::begin(Uptime(0), past),
            epochs: Vec::new(),
            served: None,
            t: 0.0,
        })
    }

    /// What the logarithm of harm must reach for a rollback.
    pub fn ln_harm_limit(&self) -> f64 {
        self.settings.ln_harm_limit()
    }

    /// What the logarithm of proof must reach for an advance; `None` under `proof: none`.
    pub fn ln_proof_limit(&self) -> Option<f64> {
        self.settings.ln_proof_limit()
    }

    /// Judges the next block.
    pub fn judge(&mut self, block: &Recorded) -> Result<Judged, ReplayError> {
        within("t", block.t, 0.0..=T_MAX, "it is seconds since the record began")?;
        if block.t < self.t {
            return Err(ReplayError::Backwards { t: block.t, before: self.t });
        }
        let counts = [
            ("stable.requests", block.stable.requests),
            ("stable.failures", block.stable.failures),
            ("canary.requests", block.canary.requests),
            ("canary.failures", block.canary.failures),
        ];
        for (what, found) in counts {
            within(what, found as f64, 0.0..=COUNT_MAX, "no block has more than 1e12")?;
        }
        let expected = "it is the canary's share, from 0 to 1";
        let weight = Weight::from_fraction(block.weight).ok_or(ReplayError::Bounds {
            what: "weight",
            found: block.weight,
            expected,
        })?;
        let epoch = self.epoch_of(weight, block.t > self.t || self.served.is_none());
        self.t = block.t;
        let arms = Arms { canary: block.canary.into(), stable: block.stable.into() };
        let at = Uptime((block.t * 1000.0).round() as u64);
        let counted = Block::of_counts(epoch, weight, arms);
        self.evidence.observe(&self.settings, at, [counted]);
        let ln_proof = self.evidence.ln_proof();
        let verdict = match (self.evidence.is_harmful(), ln_proof) {
            (true, _) => Verdict::Rollback,
            (false, Some(_)) if self.evidence.is_proven(&self.settings) => Verdict::Advance,
            (false, _) => Verdict::Wait,
        };
        Ok(Judged {
            t: block.t,
            ln_harm: self.evidence.ln_harm(&self.settings),
            ln_proof,
            phi: self.evidence.phi(&self.settings),
            verdict,
        })
    }

    /// The epoch a block belongs to. A change of weight begins one, with a proof of its own.
    ///
    /// A block without length at an earlier weight is what was still open when that weight ended: its late answers.
    fn epoch_of(&mut self, weight: Weight, has_length: bool) -> Revision {
        let known = self.epochs.iter().rposition(|known| *known == weight);
        let index = match known {
            Some(index) if Some(index) == self.served || !has_length => index,
            _ => {
                self.epochs.push(weight);
                let index = self.epochs.len() - 1;
                self.served = Some(index);
                let next = self.weights.iter().find(|next| **next > weight);
                match next.filter(|_| self.settings.proof.is_some()) {
                    Some(next) => self.evidence.seek_proof(*next, revision(index)),
                    None => self.evidence.seek_none(),
                }
                index
            }
        };
        revision(index)
    }
}

fn revision(index: usize) -> Revision {
    Revision(index as u64 + 1)
}

fn within(
    what: &'static str,
    found: f64,
    bounds: std::ops::RangeInclusive<f64>,
    expected: &'static str,
) -> Result<(), ReplayError> {
    if bounds.contains(&found) { Ok(()) } else { Err(ReplayError::Bounds { what, found, expected }) }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Verdict::Rollback => "rollback",
            Verdict::Advance => "advance",
            Verdict::Wait => "wait",
        })
    }
}
