//! What holds where a plan says nothing.

use std::time::Duration;

use super::model::{
    Analysis, FailureLimits, LatencyLimits, OnAlarm, Proof, RefusalLimits, StableUnhealthy, StepDeadline,
    Timeout, WatchPlan,
};
use crate::model::weight::Weight;

/// Least time at each weight.
pub(super) const BAKE: Duration = Duration::from_secs(5 * 60);
/// A first weight up to this is proof of itself.
pub(super) const FIRST_WEIGHT_MAX: Weight = Weight::from_ppm(50_000).expect("a twentieth is a share");
/// The weight that `firstWeight: probe` puts in front.
pub(super) const PROBE_WEIGHT: Weight = Weight::from_ppm(30_000).expect("3 % is a share");
/// How long an approval is waited for.
pub(super) const APPROVAL_TIMEOUT: Duration = Duration::from_secs(4 * 3_600);
/// How long one attempt of a web hook may take.
pub(super) const WEBHOOK_TIMEOUT: Duration = Duration::from_secs(30);
/// How often a web hook is tried again.
pub(super) const WEBHOOK_RETRIES: u64 = 3;
/// How often a metric is asked.
pub(super) const METRIC_INTERVAL: Duration = Duration::from_secs(60);
/// How many answers without a verdict are forgiven.
pub(super) const INCONCLUSIVE_LIMIT: u64 = 3;

impl Default for Analysis {
    fn default() -> Analysis {
        Analysis {
            failures: FailureLimits::default(),
            latency: Some(LatencyLimits::default()),
            refusals: Some(RefusalLimits::default()),
            false_rollback_rate: 0.01,
            proof: Some(Proof::default()),
            failure_status: vec![(500, 599)],
            min_dispersion: 1.0,
            baseline: None,
            metrics: Vec::new(),
        }
    }
}

impl Default for FailureLimits {
    fn default() -> FailureLimits {
        FailureLimits { max_ratio: 1.2, max_added: 0.0005, max: None }
    }
}

impl Default for LatencyLimits {
    fn default() -> LatencyLimits {
        LatencyLimits {
            max_ratio: 1.5,
            max_added: Duration::from_millis(10),
            p99_max: None,
            warmup: Duration::from_secs(60),
        }
    }
}

impl Default for RefusalLimits {
    fn default() -> RefusalLimits {
        RefusalLimits { max_ratio: 1.5, max_added: 0.01 }
    }
}

impl Default for Proof {
    fn default() -> Proof {
        Proof { added_failures: 0.005, false_advance_rate: 0.05 }
    }
}

impl Default for StableUnhealthy {
    fn default() -> StableUnhealthy {
        StableUnhealthy { failures: 0.2, span: Duration::from_secs(60) }
    }
}

impl Default for WatchPlan {
    fn default() -> WatchPlan {
        WatchPlan { span: Duration::from_secs(3_600), on_alarm: OnAlarm::Notify }
    }
}

impl Default for StepDeadline {
    fn default() -> StepDeadline {
        StepDeadline { after: Duration::from_secs(24 * 3_600), then: Timeout::Pause }
    }
}
