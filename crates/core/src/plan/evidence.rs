//! What a plan asks of the evidence.

use std::time::Duration;

use super::model::{LatencyLimits, Plan, WhenStableUnhealthy};
use crate::analysis::boundary::Margin;
use crate::analysis::dispersion::DispersionRule;
use crate::analysis::evidence::{ProofSettings, Settings, StableSettings, UsersSettings};
use crate::analysis::latency::LatencySettings;
use crate::analysis::latency_span::bucket_up;
use crate::analysis::patience;

impl Plan {
    /// What is asked of the evidence; `None` under `analysis: none`.
    pub fn evidence_settings(&self) -> Option<Settings> {
        let analysis = self.analysis.as_ref()?;
        let holds = self.when_stable_unhealthy == WhenStableUnhealthy::Hold;
        let unhealthy = self.stable_unhealthy;
        Some(Settings {
            limit: Margin { ratio: analysis.failures.max_ratio, added: analysis.failures.max_added },
            ceiling: analysis.failures.max,
            latency: analysis.latency.as_ref().map(latency),
            refusals: analysis
                .refusals
                .map(|limits| Margin { ratio: limits.max_ratio, added: limits.max_added }),
            patience: analysis.latency.is_none().then_some(patience::ACCEPTED),
            false_rollback_rate: analysis.false_rollback_rate,
            proof: analysis.proof.map(|proof| ProofSettings {
                budget: proof.added_failures,
                false_advance_rate: proof.false_advance_rate,
            }),
            dispersion: DispersionRule::Estimated { at_least: analysis.min_dispersion },
            users: self.routing.judges_users().then_some(UsersSettings { bake: self.bake }),
            stable: holds.then_some(StableSettings { failures: unhealthy.failures, span: unhealthy.span }),
        })
    }
}

fn latency(limits: &LatencyLimits) -> LatencySettings {
    let in_us = |span: Duration| u64::try_from(span.as_micros()).unwrap_or(u64::MAX / 2);
    LatencySettings {
        ratio: limits.max_ratio,
        added_us: in_us(limits.max_added),
        ceiling_bucket: limits.p99_max.map(|max| bucket_up(in_us(max))),
        warmup: limits.warmup,
    }
}
