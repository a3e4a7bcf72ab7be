//! What people are shown of the evidence; nothing here decides, but for the hold that a sick stable version asks for.

use super::queue::Queue;
use super::tables::Dampings;
use super::{EpochTotals, Evidence, FailureSplit, RatioInterval, Settings, interval};
use crate::analysis::latency_span::{PROCESSES, QUANTILES};
use crate::analysis::mirror::SampleKind;
use crate::analysis::patience::LEAST_WAIT;
use crate::analysis::spells::Kind;
use crate::analysis::users::Users;
use crate::analysis::{Arms, Counts};
use crate::lambda::function::Revision;
use crate::model::histogram::upper_edge_us;
use crate::model::weight::Weight;

/// More failures than this in a row are as good as never.
const FAILURES_ASKED_MAX: u64 = 1 << 20;

/// One comparison of latencies.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LatencyFigures {
    /// The quantile of stable that it is about, 0 to 1.
    pub quantile: f64,
    /// That quantile in microseconds, as frozen last.
    pub stable_us: u64,
    /// What the canary is held against, in microseconds.
    pub limit_us: u64,
    /// Requests of both arms so far, and those beyond their thresholds.
    pub exceeded: Arms,
    /// The logarithm of this comparison's capital.
    pub ln_harm: f64,
    /// By how much more than independent ones stable's excesses vary.
    pub phi: f64,
}

/// Why a sick stable version holds the advance.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StableHold {
    /// The share of its requests that failed of late.
    pub failing_share: f64,
    /// How far the proof is that the canary is better, 0 to 1.
    pub better: f64,
}

impl Evidence {
    /// The interval of the ratio of failure rates, canary to stable, at the plan's alpha.
    ///
    /// Where users are judged, requests are no draws, and there is none.
    pub fn ratio(&self, settings: &Settings) -> Option<RatioInterval> {
        if self.users(settings).is_some() {
            return None;
        }
        let mut splits: Vec<FailureSplit> = Vec::new();
        let mut of = (Revision(0), false);
        for totals in &self.totals {
            let (canary, stable) = (totals.arms.canary.failures, totals.arms.stable.failures);
            let place = (totals.epoch, totals.stratum == SampleKind::Weighted);
            // Copies are judged together with what they were made of.
            match splits.last_mut().filter(|_| place == of && !place.1) {
                Some(last) => (last.canary, last.stable) = (last.canary + canary, last.stable + stable),
                None => {
                    let weight = totals.stratum.share(totals.weight);
                    splits.push(FailureSplit { weight, canary, stable });
                }
            }
            of = place;
        }
        interval(&splits, settings.false_rollback_rate)
    }

    /// About how many more canary requests must fail in a row, or users of its own meet a failure where they are judged, at the present weight, until it is rolled back.
    ///
    /// `None` where failures alone never would; 0 once the limit was passed. Where failures seem to come in clumps, what
    /// a second may add is bounded (`clip`), and it may take more of them than this.
    pub fn more_failures(&self, settings: &Settings) -> Option<u64> {
        let reached = |failures: u64| self.ln_harm_after(settings, failures) >= settings.ln_harm_limit();
        if self.is_harmful() {
            return Some(0);
        }
        let mut high = 1;
        while !reached(high) {
            high *= 2;
            if high > FAILURES_ASKED_MAX {
                return None;
            }
        }
        let mut low = high / 2;
        while high - low > 1 {
            let middle = low.midpoint(high);
            if reached(middle) { high = middle } else { low = middle }
        }
        Some(high)
    }

    /// What is excused because stable has bad spells of its own, in words; `None` where it has none that count.
    pub fn spells_in_words(&self, settings: &Settings) -> Option<String> {
        let level = self.past.spells.level(Kind::Failures);
        (level > settings.limit.added).then(|| {
            format!(
                "stable has bad spells of its own, {} in the last day: up to {:.1}% of failures beside its usual ones are no \
                 harm while that is so, only unproven",
                self.past.spells.known().0,
                level * 100.0
            )
        })
    }

    /// What users have shown, in words; `None` where requests are judged.
    pub fn users_in_words(&self, settings: &Settings) -> Option<String> {
        let Users { canary, stable } = self.users(settings)?;
        Some(format!(
            "users stick to their version, so users are judged and not their requests: since this weight was served, or the \
             daemon was started, {} of the canary's {} users met a failure, and {} of stable's {}; latency and refusals are \
             judged by each user's first request in that time",
            canary.failures, canary.requests, stable.failures, stable.requests
        ))
    }

    /// What users of the canary met, in words; `None` where that is not what speaks against it.
    fn users_harmed(&self, settings: &Settings) -> Option<String> {
        let Users { canary, stable } = self.users(settings)?;
        let of_users = self.by_users.ln_harm(settings, settings.limit_at(&self.past));
        (of_users >= self.classes(settings).ln() + self.carry).then(|| {
            format!(
                "{} of the canary's {} users met a failure at {}, and {} of stable's {}, more than the plan allows",
                canary.failures,
                canary.requests,
                self.last_share(),
                stable.failures,
                stable.requests
            )
        })
    }

    /// How many requests the canary got copies of over the whole rollout, and how many of these failed.
    pub fn copies(&self) -> Counts {
        let copies = self.totals.iter().filter(|totals| !totals.stratum.is_real());
        copies.fold(Counts::default(), |sum, totals| sum.plus(totals.arms.canary))
    }

    /// What stable answered of requests at a weight that were set aside, and the copies of these.
    pub fn arms_aside_at(&self, weight: Weight) -> Arms {
        let aside = self
            .totals
            .iter()
            .filter(|totals| totals.weight == weight && totals.stratum != SampleKind::Weighted);
        aside.fold(Arms::default(), |sum, totals| sum.plus(totals.arms))
    }

    /// What was counted of the baseline while the canary had this share.
    pub fn baseline_at(&self, weight: Weight) -> Counts {
        let of_weight = self.totals.iter().filter(|totals| totals.weight == weight);
        of_weight.fold(Counts::default(), |sum, totals| sum.plus(totals.baseline))
    }

    /// Requests that the canary got in an epoch, copies apart.
    pub(super) fn requests_in(&self, epoch: Revision) -> u64 {
        let of_epoch = self.totals.iter().filter(|totals| totals.epoch == epoch && totals.stratum.is_real());
        of_epoch.map(|totals| totals.arms.canary.requests).sum()
    }

    /// What was counted of both arms while the canary had this share, copies apart.
    pub fn arms_at(&self, weight: Weight) -> Arms {
        let of_weight =
            self.totals.iter().filter(|totals| totals.weight == weight && totals.stratum.is_real());
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
        self.past.failures.rate()
    }

    /// By how much more than independent ones failures are taken to vary.
    pub fn phi(&self, settings: &Settings) -> f64 {
        Dampings::new(settings, &self.past).failures.phi
    }

    /// Whether the canary's share of the requests is not what its weight says.
    pub fn is_split_wrong(&self) -> bool {
        self.split.is_mismatch()
    }

    /// The logarithm of the capital against the split being what the weight says.
    pub fn ln_split(&self) -> f64 {
        self.split.ln()
    }

    /// The canary's share of the requests in the epoch whose split is watched; `None` without any.
    pub fn found_share(&self) -> Option<f64> {
        if self.by_users.is_known {
            return Some(self.by_users.users().share());
        }
        let is_of = |totals: &&EpochTotals| {
            (totals.epoch, totals.stratum) == (self.split_epoch, SampleKind::Weighted)
        };
        let totals = self.totals.iter().find(is_of)?;
        Some(totals.arms.share())
    }

    /// The logarithm of the capital that latency alone would have; `None` where it is not judged.
    pub fn ln_latency_harm(&self, settings: &Settings) -> Option<f64> {
        settings.latency.as_ref().map(|latency| self.latency.ln(latency))
    }

    /// The logarithm of the capital that refusals alone would have; `None` where they are not judged.
    pub fn ln_refusals_harm(&self, settings: &Settings) -> Option<f64> {
        settings.refusals.map(|_| self.refusals.ln())
    }

    /// The comparisons of latencies as they stand; those of which stable's past says nothing are left out.
    pub fn latency_figures(&self, settings: &Settings) -> Vec<LatencyFigures> {
        let Some(tables) = self.queues.last().and_then(Queue::newest).filter(|_| settings.latency.is_some())
        else {
            return Vec::new();
        };
        let of = |index: usize| {
            let at = tables.drawn.latency.of[index]?.at;
            let bucket = if self.cold(settings).is_some() { at.wide_bucket } else { at.near_bucket };
            Some(LatencyFigures {
                quantile: QUANTILES[index],
                stable_us: upper_edge_us(at.stable_bucket)?,
                limit_us: upper_edge_us(bucket)?,
                exceeded: self.latency.totals_of(index),
                ln_harm: self.latency.ln_of(index),
                phi: tables.dampings.latency[index].phi,
            })
        };
        (0..PROCESSES).filter_map(of).collect()
    }

    /// Requests refused: stable's, the canary's, copies apart.
    pub fn refused(&self) -> [u64; 2] {
        let real = self.totals.iter().filter(|totals| totals.stratum.is_real());
        real.fold([0; 2], |sum, totals| [sum[0] + totals.refused[0], sum[1] + totals.refused[1]])
    }

    /// Requests that their clients gave up: stable's, the canary's, copies apart.
    pub fn gave_up(&self) -> [u64; 2] {
        let real = self.totals.iter().filter(|totals| totals.stratum.is_real());
        real.fold([0; 2], |sum, totals| [sum[0] + totals.gave_up[0], sum[1] + totals.gave_up[1]])
    }

    /// The logarithm of the capital that these alone would have; `None` where they are not judged.
    pub fn ln_patience_harm(&self, settings: &Settings) -> Option<f64> {
        settings.patience.map(|_| self.patience.ln())
    }

    /// What is given up, in words; `None` where that does not say most against the canary.
    fn impatience(&self, settings: &Settings) -> Option<String> {
        let (last, speaking) = (self.last_share(), self.speaking(settings));
        let others = speaking.refusals.unwrap_or(f64::NEG_INFINITY).max(speaking.failures);
        if speaking.patience? <= others {
            return None;
        }
        let of_last = self.totals.iter().filter(|totals| totals.weight == last && totals.stratum.is_real());
        let gave_up =
            of_last.fold([0; 2], |sum, totals| [sum[0] + totals.gave_up[0], sum[1] + totals.gave_up[1]]);
        let arms = self.arms_at(last);
        Some(format!(
            "clients gave up {} of {} canary requests after waiting {} ms or longer without an answer, and {} of {} stable \
             ones, more than is accepted",
            gave_up[1],
            arms.canary.requests,
            LEAST_WAIT.as_millis(),
            gave_up[0],
            arms.stable.requests
        ))
    }

    /// What is refused, in words; `None` where refusals say less against the canary than failures do.
    fn refusal(&self, settings: &Settings) -> Option<String> {
        let (last, speaking) = (self.last_share(), self.speaking(settings));
        if speaking.refusals? <= speaking.failures {
            return None;
        }
        // Before its first weight it was sent copies alone.
        let of_last = self
            .totals
            .iter()
            .filter(|totals| totals.weight == last && (totals.stratum.is_real() || last == Weight::ZERO));
        let (arms, refused) = of_last.fold((Arms::default(), [0; 2]), |(arms, refused), totals| {
            let sum = [refused[0] + totals.refused[0], refused[1] + totals.refused[1]];
            (arms.plus(totals.arms), sum)
        });
        Some(format!(
            "it refused {} of {} canary requests with a 4xx status or its gRPC counterpart, and {} of {} stable ones, more \
             than the plan allows",
            refused[1], arms.canary.requests, refused[0], arms.stable.requests
        ))
    }

    /// What is slow, given up or refused, or whose users fail, in words; `None` where failures of requests say more against the canary.
    pub fn slowness(&self, settings: &Settings) -> Option<String> {
        if let Some(users) = self.users_harmed(settings) {
            return Some(users);
        }
        if let Some(impatience) = self.impatience(settings) {
            return Some(impatience);
        }
        let speaking = self.speaking(settings);
        let refusals = speaking.refusals.unwrap_or(f64::NEG_INFINITY);
        let is_slow = speaking.latency.is_some_and(|latency| latency > refusals);
        let Some(latency) = settings.latency.as_ref().filter(|_| is_slow) else {
            return self.refusal(settings);
        };
        if speaking.latency.is_none_or(|latency| latency <= speaking.failures) {
            return None;
        }
        let figures = self.latency_figures(settings);
        let worst = figures.iter().max_by(|a, b| a.ln_harm.total_cmp(&b.ln_harm));
        let of = |counts: Counts| format!("{} of {}", counts.failures, counts.requests);
        let is_of_ceiling = |worst: &&LatencyFigures| {
            latency.ceiling_bucket.is_some() && worst.ln_harm < self.latency.ln(latency)
        };
        Some(match worst.filter(|worst| !is_of_ceiling(worst)) {
            Some(worst) => format!(
                "{} canary requests took longer than {:.0} ms and {} stable ones longer than {:.0} ms, more than the plan \
                 allows at p{}",
                of(worst.exceeded.canary),
                worst.limit_us as f64 / 1000.0,
                of(worst.exceeded.stable),
                worst.stable_us as f64 / 1000.0,
                worst.quantile * 100.0
            ),
            None if latency.ceiling_bucket.is_some() => {
                "more than 1% of the canary's requests took longer than p99Max allows".to_owned()
            }
            None => "its requests took longer than stable's, by more than the plan allows".to_owned(),
        })
    }

    /// Why the stable version's own health holds the advance; `None` where it does not.
    ///
    /// A canary proven better than stable, since stable became unwell, may go on.
    pub fn stable_hold(&self, settings: &Settings) -> Option<StableHold> {
        settings.stable?;
        let failing_share = self.stable_health.failing_share().filter(|_| self.stable_is_unwell)?;
        let better = self.better.ln() / settings.ln_better_limit();
        (better < 1.0).then_some(StableHold { failing_share, better: better.max(0.0) })
    }
}
