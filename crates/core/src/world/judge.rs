//! The evidence of one active rollout, fed with counters.
//!
//! Counters are cumulative within one process and belong to weight epochs; a judge remembers what it has seen of each
//! and hands the difference to the analysis. Only epochs of its own rollout count, and only with exact weights.

use std::time::Duration;

use super::watcher::Watcher;
use crate::analysis::Arms;
use crate::analysis::cohort::{Cohorts, Slot};
use crate::analysis::evidence::{Block, Evidence, Settings};
use crate::analysis::latency::Edges;
use crate::analysis::latency_span::LatencySpan;
use crate::analysis::ledger::{Ledger, Prior, StoredRow};
use crate::analysis::mirror::SampleKind;
use crate::analysis::past::{Ends, Past};
use crate::lambda::alias::{AliasId, Routing};
use crate::lambda::function::Revision;
use crate::model::arn::{VersionId, VersionNumber};
use crate::model::time::Uptime;
use crate::model::weight::Weight;
use crate::rollout::{Closing, Rollout};
use crate::world::tally::{EpochTally, KeptCohorts, Seen, Tallies};

/// The time over which the canary's request rate is averaged.
const RATE_SPAN: Duration = Duration::from_secs(20);

/// When counts begin to move after a rest, the rest is taken to have lasted until this long before.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Numbers of cohorts are shifted by whole stretches of tables.
const OFFSET_UNIT: u64 = 1200;

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
    seen: Seen,
    last_look: Uptime,
    rate: Rate,
    ledger: Ledger,
    /// What is added to the numbers that the counters give to cohorts; known once they gave any.
    offset: Option<u64>,
    /// From which cohort on the counters know what to hold requests against.
    known_until: Option<u64>,
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
    /// Begins to judge a rollout that begins, knowing what was seen of its alias before.
    ///
    /// `from` is the first change of the alias that may be its own.
    pub fn begin(rollout: &Rollout, from: Revision, at: Uptime, watcher: Option<&Watcher>) -> Judge {
        // What came since the watcher's last look has not been judged by anybody.
        let looked = watcher.map_or(at, |watcher| watcher.looked);
        let past = watcher.map(|watcher| watcher.past.clone()).unwrap_or_default();
        let (failures, requests) = past.failures.counts();
        let (dispersion, learnt) = (Some(past.dispersion.phi()), Some(past.dispersion.learnt()));
        let ledger = Ledger::begin(looked, Some(Prior { requests, failures, dispersion, learnt }));
        let seen = watcher.map(|watcher| watcher.seen.clone()).unwrap_or_default();
        let evidence = Evidence::begin(looked, past);
        Judge { from, ledger, seen, ..Judge::with_evidence(rollout, evidence, looked) }
    }

    /// Goes on judging after a restart; `stored` is what `stored` gave.
    ///
    /// Evidence that cannot be read is an error: to begin anew would grant fresh alpha.
    pub fn resume(rollout: &Rollout, stored: Option<&str>, at: Uptime) -> Result<Judge, serde_json::Error> {
        let mut evidence = match stored {
            Some(text) => serde_json::from_str(text)?,
            None => Evidence::begin(at, Past::default()),
        };
        if let Some(settings) = rollout.plan.evidence_settings() {
            evidence.take_over(&settings);
        }
        Ok(Judge::with_evidence(rollout, evidence, at))
    }

    fn with_evidence(rollout: &Rollout, evidence: Evidence, at: Uptime) -> Judge {
        Judge {
            alias: rollout.record.alias.clone(),
            settings: rollout.plan.evidence_settings().map(|settings| {
                let users = settings.users.filter(|_| rollout.record.by_users);
                evidence.settings_kept(Settings { users, ..settings })
            }),
            evidence,
            stable: rollout.record.stable,
            canary: rollout.record.canary,
            // Counters begin with the process: after a restart there are none of earlier rollouts.
            from: Revision(0),
            seen: Seen::default(),
            last_look: at,
            rate: Rate::default(),
            ledger: Ledger::begin(at, None),
            offset: None,
            known_until: None,
        }
    }

    /// The cohort from which on cohorts of an epoch are still to be told, by the counters' own numbers.
    pub fn needs_since(&self, epoch: Revision) -> Option<u64> {
        self.settings.as_ref()?;
        Some(self.evidence.needs_since(epoch).saturating_sub(self.offset.unwrap_or(0)))
    }

    /// Whether it must look again though nothing more should happen: a request may be late already.
    pub fn waits(&self) -> bool {
        self.evidence.waits()
    }

    /// What the counters do not know yet of what requests must be held against, each from a cohort on.
    pub fn news_for_counters(&mut self) -> impl Iterator<Item = (u64, Edges)> + use<> {
        let mut news = [None, None];
        if let Some(settings) = self.settings.filter(|settings| settings.latency.is_some()) {
            let planned = self.evidence.edges(&settings);
            // What comes next has a number in the counters once they gave one.
            let told = if self.offset.is_some() { 2 } else { 1 };
            for (news, (from, edges)) in news.iter_mut().zip(planned).take(told) {
                if self.known_until.is_none_or(|known| from > known) {
                    *news = Some((from.saturating_sub(self.offset.unwrap_or(0)), edges));
                    self.known_until = Some(from);
                }
            }
        }
        news.into_iter().flatten()
    }

    /// What is stored with the rollout.
    pub fn stored(&self) -> String {
        serde_json::to_string(&self.evidence).expect("evidence is numbers in fixed structures")
    }

    /// The counts that may have changed since they were stored last.
    pub fn counts(&self) -> Vec<StoredRow> {
        self.ledger.rows()
    }

    /// What is kept of the evidence when its rollout has ended.
    pub fn closing(&self) -> Closing {
        let (evidence, share) = (&self.evidence, self.evidence.last_share());
        let ratio = |settings: &Settings| evidence.ratio(settings).map(|ratio| (ratio.low, ratio.high));
        Closing {
            exposure: evidence.exposure,
            copies: evidence.copies(),
            share,
            arms: evidence.arms_at(share),
            baseline: evidence.baseline_at(share),
            ln_harm: self.settings.as_ref().map(|settings| evidence.ln_harm(settings)),
            ln_proof: self.settings.as_ref().and_then(|_| evidence.ln_proof()),
            ratio: self.settings.as_ref().and_then(ratio),
        }
    }

    /// Goes on watching the alias once its rollout has ended.
    pub(crate) fn into_watcher(self) -> Watcher {
        Watcher::go_on(self.seen, self.evidence.past, self.last_look)
    }

    /// The evidence and what the plan asks of it; `None` under `analysis: none`.
    pub fn verdict_basis(&self) -> Option<(&Evidence, &Settings)> {
        self.settings.as_ref().map(|settings| (&self.evidence, settings))
    }

    /// The canary's request rate of late.
    pub fn canary_requests_per_s(&self) -> Option<f64> {
        self.rate.per_second()
    }

    /// Judges what the counters say beyond what was seen; true if a canary failure was among it.
    ///
    /// Counts are cumulative, oldest epoch first.
    pub fn observe(&mut self, at: Uptime, tallies: &Tallies) -> bool {
        self.seen.align(&tallies.epochs);
        if let Some(settings) = &self.settings
            && at.since(self.last_look) > 2 * LOOK_EVERY
        {
            let rested = Uptime(at.0.saturating_sub(LOOK_EVERY.as_millis() as u64));
            self.evidence.idle_until(settings, rested);
        }
        if self.offset.is_none()
            && let Some(now) = tallies.epochs.iter().find_map(|tally| Some(tally.cohorts.as_ref()?.now))
        {
            self.offset = Some(self.evidence.clock().saturating_sub(now).next_multiple_of(OFFSET_UNIT));
        }
        let offset = self.offset.unwrap_or(0);
        let (stable, canary, from) = (self.stable, self.canary, self.from);
        let slots = &tallies.slots[..];
        let blocks = self
            .seen
            .pairs(&tallies.epochs)
            .map(|(now, before)| block(stable, canary, (now, before), (slots, offset)))
            // The same canary may have been rolled back here before: its late failures are that rollout's, and so are
            // those of copies, which it may have had without any weight.
            .filter(|block| {
                block.epoch >= from || (block.weight == Weight::ZERO && block.stratum == SampleKind::Weighted)
            });
        let requests = blocks.clone().map(|block: Block<'_>| block.arms.canary.requests).sum();
        self.rate.add(requests, at.since(self.last_look));
        self.last_look = at;
        let real = blocks.clone().filter(|block| block.stratum.is_real());
        self.ledger.note(at, real.map(|block| (block.epoch, block.weight, block.arms)));
        let canary_failed = match &self.settings {
            Some(settings) => self.evidence.observe(settings, at, blocks),
            None => self.evidence.expose(blocks),
        };
        self.seen.note(&tallies.epochs);
        canary_failed
    }
}

/// What one epoch brought since it was last seen, and its cohorts.
fn block<'a>(
    stable: VersionNumber,
    canary: VersionNumber,
    (now, before): (&'a EpochTally, &'a EpochTally),
    (slots, offset): (&'a [Slot], u64),
) -> Block<'a> {
    let since = |version: VersionNumber| match (now.arm_of(version), before.arm_of(version)) {
        (Some(now), Some(before)) => Ends {
            counts: now.counts.since(before.counts),
            refused: now.refused.saturating_sub(before.refused),
            gave_up: now.gave_up.saturating_sub(before.gave_up),
        },
        _ => Ends::default(),
    };
    let latency = match (now.arm_of(stable), before.arm_of(stable)) {
        (Some(now), Some(before)) => Some(LatencySpan { now: &now.latency, before: &before.latency }),
        _ => None,
    };
    let (of_canary, of_stable) = (since(canary), since(stable));
    // Where a foreign hand put another version beside, or nothing beside, sides are not what cohorts call them.
    let is_in_order = is_in_order(now.routing, stable, canary);
    let kept = |kept: &KeptCohorts| {
        let slots = slots.get(kept.slots.clone()).unwrap_or_default();
        Cohorts { now: kept.now, totals: kept.totals, slots, offset }
    };
    Block {
        epoch: now.epoch,
        weight: weight_in(now.routing, stable, canary),
        stratum: now.stratum,
        arms: Arms { canary: of_canary.counts, stable: of_stable.counts },
        refused: [of_stable.refused, of_canary.refused],
        gave_up: [of_stable.gave_up, of_canary.gave_up],
        baseline: now.baseline.since(before.baseline),
        latency,
        cohorts: now.cohorts.as_ref().filter(|_| is_in_order).map(kept),
        users: now.users.filter(|_| is_in_order),
        visits: now.visits.as_ref().filter(|_| is_in_order).map(kept),
        is_final: now.is_final,
    }
}

/// Whether the function version is the stable one and the additional one the canary, and both are served.
fn is_in_order(routing: Routing, stable: VersionNumber, canary: VersionNumber) -> bool {
    routing.function_version == VersionId::Number(stable)
        && routing.additional.is_some_and(|additional| additional.version == canary)
}

/// The canary's share among the two versions of the rollout.
///
/// Where a foreign hand put a third version beside one of them, the other one has none.
fn weight_in(routing: Routing, stable: VersionNumber, canary: VersionNumber) -> Weight {
    match (routing.share_of(canary), routing.names(stable)) {
        (share, true) => share,
        (_, false) => Weight::FULL,
    }
}
