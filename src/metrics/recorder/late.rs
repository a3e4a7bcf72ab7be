//! What becomes known in a process that has ceased to decide, for the one that decides in its place.
//!
//! Requests that were under way when the evidence was stored end later, and a few more come in on connections that were
//! kept. What they came to is told to people where the rollout is decided, and counts towards `maxExposure`; it is in no
//! totals, which the process that carried them keeps. It is no evidence: which process carries a request hangs on nothing
//! that becomes of it, so such requests are left out on both arms, as they are after a restart.

use serde::{Deserialize, Serialize};

use super::cells::{Arm, Subject};
use super::counts::{Counts, EpochCounts, FailureKind, VersionCounts};
use super::{Recorder, locked};
use serin_core::analysis::mirror::SampleKind;
use serin_core::lambda::alias::{AliasId, Routing};
use serin_core::lambda::function::Revision;
use serin_core::model::histogram::{BUCKETS, HistogramSnapshot};

/// What came since the last time in one weight epoch of an alias.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Late {
    alias: AliasId,
    epoch: Revision,
    routing: Routing,
    #[serde(default)]
    stratum: SampleKind,
    primary: LateArm,
    additional: LateArm,
    /// Of its baseline; a process that knows of none says nothing, and hears nothing of it.
    #[serde(default, skip_serializing_if = "LateArm::is_empty")]
    baseline: LateArm,
}

/// What came for one version.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct LateArm {
    requests: u64,
    #[serde(default)]
    refused: u64,
    /// A process that knows of none says nothing, and hears nothing of it.
    #[serde(default)]
    gave_up: u64,
    failures: [u64; FailureKind::ALL.len()],
    /// Buckets of the histogram that were hit, and how often.
    latency: Vec<(usize, u64)>,
    latency_sum_us: u64,
}

impl LateArm {
    fn between(
        (before, latency_before): (&Counts, &HistogramSnapshot),
        (now, latency): (&Counts, &HistogramSnapshot),
    ) -> LateArm {
        let since = |of: fn(&HistogramSnapshot, usize) -> u64, bucket| {
            of(latency, bucket).saturating_sub(of(latency_before, bucket))
        };
        let hits = (0..BUCKETS).map(|bucket| (bucket, since(HistogramSnapshot::hits, bucket)));
        LateArm {
            requests: now.dispatched.saturating_sub(before.dispatched),
            refused: now.refused.saturating_sub(before.refused),
            gave_up: now.gave_up.saturating_sub(before.gave_up),
            failures: FailureKind::ALL
                .map(|kind| now.failures.of(kind).saturating_sub(before.failures.of(kind))),
            latency: hits.filter(|(_, hits)| *hits > 0).collect(),
            latency_sum_us: latency.sum_us().saturating_sub(latency_before.sum_us()),
        }
    }

    fn is_empty(&self) -> bool {
        *self == LateArm::default()
    }

    /// As counts; the requests count as ended, for nobody here will hear of their end.
    fn counts(&self) -> VersionCounts {
        let (dispatched, refused, gave_up) = (self.requests, self.refused, self.gave_up);
        let completed = dispatched.saturating_sub(gave_up);
        let mut counts =
            Counts { dispatched, completed, cancelled: gave_up, refused, gave_up, ..Counts::default() };
        for kind in FailureKind::ALL {
            counts.failures.add(kind, self.failures[kind as usize]);
        }
        let mut latency = HistogramSnapshot::default();
        for (bucket, hits) in self.latency.iter().filter(|(bucket, _)| *bucket < BUCKETS) {
            latency.add(*bucket, *hits);
        }
        latency.add_sum_us(self.latency_sum_us);
        VersionCounts { counts, latency }
    }
}

/// What was judged last, alias by alias, and so what came later.
pub struct Remainder(Vec<(AliasId, Vec<EpochCounts>)>);

impl Remainder {
    /// Everything beyond these counts is late.
    pub fn beyond(judged: Vec<(AliasId, Vec<EpochCounts>)>) -> Remainder {
        Remainder(judged)
    }

    /// What came since this was asked last.
    pub fn take(&mut self, recorder: &Recorder) -> Vec<Late> {
        let mut late = Vec::new();
        let mut now = Vec::new();
        for (alias, known) in &mut self.0 {
            recorder.counts(alias, &mut now, |_| None, &mut Vec::new());
            for epoch in &now {
                let before = known.iter().find(|known| is_of(known, epoch));
                let nothing = (Counts::default(), HistogramSnapshot::default());
                let arm = |of: fn(&EpochCounts) -> (&Counts, &HistogramSnapshot)| {
                    LateArm::between(before.map_or((&nothing.0, &nothing.1), of), of(epoch))
                };
                let primary = arm(|epoch| (&epoch.primary, &epoch.latency[0]));
                let additional = arm(|epoch| (&epoch.additional, &epoch.latency[1]));
                // What latencies a baseline had is told by whoever carried it.
                let of_baseline =
                    |epoch: Option<&EpochCounts>| epoch.and_then(|epoch| epoch.baseline).unwrap_or_default();
                let (was, is) = (of_baseline(before), of_baseline(Some(epoch)));
                let baseline = LateArm::between((&was, &nothing.1), (&is, &nothing.1));
                if !primary.is_empty() || !additional.is_empty() || !baseline.is_empty() {
                    let (alias, stratum) = (alias.clone(), epoch.stratum);
                    let (epoch, routing) = (epoch.epoch, epoch.routing);
                    late.push(Late { alias, epoch, routing, stratum, primary, additional, baseline });
                }
            }
            known.clone_from(&now);
        }
        late
    }
}

fn is_of(known: &EpochCounts, epoch: &EpochCounts) -> bool {
    (known.epoch, known.routing, known.stratum) == (epoch.epoch, epoch.routing, epoch.stratum)
}

impl Recorder {
    /// Counts what came late in another process for whoever judges here; false if that epoch is not known any more.
    pub fn add_late(&self, late: &Late) -> bool {
        let Some(ledger) = self.ledger(&late.alias) else { return false };
        let pages = locked(&ledger.pages);
        let same = pages.epochs.iter().find(|counters| {
            matches!(counters.subject(), Subject::Alias { epoch, routing, stratum, .. }
                if (*epoch, routing, *stratum) == (late.epoch, &late.routing, late.stratum))
        });
        let Some(counters) = same else { return false };
        for (arm, more) in [(Arm::Primary, &late.primary), (Arm::Additional, &late.additional)] {
            counters.add_late(arm, &more.counts());
        }
        if let Some(baseline) = counters.baseline().filter(|_| !late.baseline.is_empty()) {
            baseline.add_late(Arm::Primary, &late.baseline.counts());
        }
        true
    }
}
