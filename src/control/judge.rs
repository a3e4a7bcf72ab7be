//! The evidence of one active rollout, fed with counters.
//!
//! Counters are cumulative within one process and belong to weight epochs; a judge remembers what it has seen of each
//! and hands the difference to the analysis. Only epochs of its own rollout count, and only with exact weights.

use std::time::Duration;

use crate::domain::alias::{AliasId, Routing};
use crate::domain::analysis::baseline::Baseline;
use crate::domain::analysis::evidence::{Block, Evidence, Settings};
use crate::domain::analysis::{Arms, Counts};
use crate::domain::arn::{VersionId, VersionNumber};
use crate::domain::function::Revision;
use crate::domain::histogram::HistogramSnapshot;
use crate::domain::plan::{Analysis, Plan};
use crate::domain::rollout::{Closing, Rollout};
use crate::domain::time::Uptime;
use crate::domain::weight::Weight;

/// Cumulative counts of an alias in one weight epoch; where they come from is the caller's business.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EpochTally {
    /// The change of the alias that began the epoch.
    pub epoch: Revision,
    /// Its routing.
    pub routing: Routing,
    /// The function version's counts.
    pub primary: ArmTally,
    /// The additional version's counts.
    pub additional: ArmTally,
}

/// Cumulative counts of one version in one weight epoch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ArmTally {
    /// Requests and failures.
    pub counts: Counts,
    /// Latencies of answers; empty where the plan judges none.
    pub latency: HistogramSnapshot,
}

impl EpochTally {
    /// An epoch in which nothing was counted yet.
    pub fn empty(epoch: Revision, routing: Routing) -> EpochTally {
        EpochTally { epoch, routing, primary: ArmTally::default(), additional: ArmTally::default() }
    }

    fn counts_of(&self, version: VersionNumber) -> Counts {
        match self.routing.additional {
            Some(additional) if additional.version == version => self.additional.counts,
            _ if self.routing.function_version == VersionId::Number(version) => self.primary.counts,
            _ => Counts::default(),
        }
    }
}

/// The time over which the canary's request rate is averaged.
const RATE_SPAN: Duration = Duration::from_secs(20);

/// When counts begin to move after a rest, the rest is taken to have lasted until this long before.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// The evidence of one active rollout.
#[derive(Clone, Debug)]
pub struct Judge {
    /// The alias it watches.
    pub alias: AliasId,
    /// What is known so far.
    pub evidence: Evidence,
    /// What the plan asks; `None` under `analysis: none`.
    settings: Option<Settings>,
    stable: VersionNumber,
    canary: VersionNumber,
    /// What the canary was counted for before this change of the alias was another rollout's.
    from: Revision,
    seen: Vec<((Revision, Routing), Arms)>,
    last_look: Uptime,
    rate: Rate,
}

/// A fading mean of requests per second.
#[derive(Clone, Copy, Debug, Default)]
struct Rate {
    requests: f64,
    seconds: f64,
}

impl Rate {
    fn add(&mut self, requests: u64, span: Duration) {
        let kept = (-span.as_secs_f64() / RATE_SPAN.as_secs_f64()).exp();
        self.requests = self.requests * kept + requests as f64;
        self.seconds = self.seconds * kept + span.as_secs_f64();
    }

    fn per_second(self) -> Option<f64> {
        (self.seconds > 0.5).then(|| self.requests / self.seconds)
    }
}

impl Judge {
    /// Begins to judge a rollout that begins; `from` is the first change of the alias that may be its own.
    pub fn begin(rollout: &Rollout, from: Revision, at: Uptime, baseline: Baseline) -> Judge {
        Judge { from, ..Judge::with_evidence(rollout, Evidence::begin(at, baseline), at) }
    }

    /// Goes on judging after a restart; `stored` is what `stored` gave, and unreadable evidence begins anew.
    pub fn resume(rollout: &Rollout, stored: Option<&str>, at: Uptime) -> Judge {
        let evidence = stored.and_then(|text| serde_json::from_str(text).ok());
        let evidence = evidence.unwrap_or_else(|| Evidence::begin(at, Baseline::default()));
        Judge::with_evidence(rollout, evidence, at)
    }

    fn with_evidence(rollout: &Rollout, evidence: Evidence, at: Uptime) -> Judge {
        Judge {
            alias: rollout.record.alias.clone(),
            evidence,
            settings: settings_of(&rollout.plan),
            stable: rollout.record.stable,
            canary: rollout.record.canary,
            // Counters begin with the process: after a restart there are none of earlier rollouts.
            from: Revision(0),
            seen: Vec::new(),
            last_look: at,
            rate: Rate::default(),
        }
    }

    /// What is stored with the rollout.
    pub fn stored(&self) -> String {
        serde_json::to_string(&self.evidence).expect("evidence is numbers in fixed structures")
    }

    /// The evidence and what the plan asks of it; `None` under `analysis: none`.
    pub fn verdict_basis(&self) -> Option<(&Evidence, &Settings)> {
        self.settings.as_ref().map(|settings| (&self.evidence, settings))
    }

    /// What is kept of the evidence when its rollout has ended.
    pub fn closing(&self) -> Closing {
        let (evidence, share) = (&self.evidence, self.evidence.last_share());
        let ratio = |settings: &Settings| evidence.ratio(settings).map(|ratio| (ratio.low, ratio.high));
        Closing {
            exposure: evidence.exposure,
            share,
            arms: evidence.arms_at(share),
            ln_harm: self.settings.as_ref().map(|settings| evidence.ln_harm(settings)),
            ln_proof: self.settings.as_ref().and_then(|_| evidence.ln_proof()),
            ratio: self.settings.as_ref().and_then(ratio),
        }
    }

    /// The canary's request rate of late.
    pub fn canary_requests_per_s(&self) -> Option<f64> {
        self.rate.per_second()
    }

    /// Judges what the counters say beyond what was seen; true if a canary failure was among it.
    ///
    /// `tallies` is oldest epoch first.
    pub fn observe(&mut self, at: Uptime, tallies: &[EpochTally], blocks: &mut Vec<Block>) -> bool {
        blocks.clear();
        for tally in tallies {
            // The same canary may have been rolled back here before: its late failures are that rollout's.
            if tally.epoch < self.from && self.weight_in(tally.routing) != Weight::ZERO {
                continue;
            }
            let arms = Arms { canary: tally.counts_of(self.canary), stable: tally.counts_of(self.stable) };
            let (key, weight) = ((tally.epoch, tally.routing), self.weight_in(tally.routing));
            let seen = match self.seen.iter_mut().find(|(known, _)| *known == key) {
                Some((_, seen)) => seen,
                None => {
                    self.seen.push((key, Arms::default()));
                    &mut self.seen.last_mut().expect("just pushed").1
                }
            };
            blocks.push(Block { epoch: tally.epoch, weight, arms: arms.since(*seen) });
            *seen = arms;
        }
        self.seen.retain(|(known, _)| tallies.iter().any(|tally| (tally.epoch, tally.routing) == *known));
        let rested = at.since(self.last_look) > 2 * LOOK_EVERY;
        if rested {
            self.evidence.idle_until(Uptime(at.0.saturating_sub(LOOK_EVERY.as_millis() as u64)));
        }
        let requests = blocks.iter().map(|block| block.arms.canary.requests).sum();
        self.rate.add(requests, at.since(self.last_look));
        self.last_look = at;
        match &self.settings {
            Some(settings) => self.evidence.observe(settings, at, blocks),
            None => self.evidence.expose(blocks),
        }
    }

    /// The canary's share among the two versions of the rollout.
    ///
    /// Where a foreign hand put a third version beside one of them, the other one has none.
    fn weight_in(&self, routing: Routing) -> Weight {
        match (routing.share_of(self.canary), routing.names(self.stable)) {
            (share, true) => share,
            (_, false) => Weight::FULL,
        }
    }
}

/// What a plan asks of evidence; `None` under `analysis: none`.
pub fn settings_of(plan: &Plan) -> Option<Settings> {
    plan.analysis.as_ref().map(|analysis: &Analysis| Settings::from(analysis))
}
