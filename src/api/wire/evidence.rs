//! What the evidence says beyond its two logarithms: the split, the latencies, the stable version.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Users who were seen at the present weight, or since the daemon was started.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct UsersView {
    /// The stable version's.
    pub stable: u64,
    /// Those of them who met a failure.
    pub stable_failing: u64,
    /// The canary's.
    pub canary: u64,
    /// Those of them who met a failure.
    pub canary_failing: u64,
}

/// How the requests of the present weight were split.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct SplitView {
    /// Whether the split is wrong beyond doubt; the advance is then held.
    pub mismatch: bool,
    /// The canary's share of the requests, 0 to 1.
    pub found: f64,
    /// The evidence against the weight, a natural logarithm.
    pub ln_mismatch: f64,
}

/// The evidence of latency.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct LatencyView {
    /// Harm found in latency alone, a natural logarithm.
    pub ln_harm: f64,
    /// The comparisons; those of which stable's past says nothing are left out.
    pub quantiles: Vec<QuantileView>,
}

/// One comparison of latencies.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct QuantileView {
    /// The quantile of stable, 0 to 1.
    pub quantile: f64,
    /// That quantile of stable's past, in milliseconds.
    pub stable_ms: f64,
    /// What the canary is held against, in milliseconds.
    pub limit_ms: f64,
    /// Stable requests judged so far.
    pub stable_requests: u64,
    /// Of these, the ones slower than `stableMs`.
    pub stable_exceeded: u64,
    /// Canary requests judged so far.
    pub canary_requests: u64,
    /// Of these, the ones slower than `limitMs`.
    pub canary_exceeded: u64,
    /// Harm found in this comparison alone, a natural logarithm.
    pub ln_harm: f64,
    /// By how much more than independent ones such requests are taken to vary.
    pub phi: f64,
}

/// The stable version's own sickness.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct StableView {
    /// The share of its requests that failed of late, 0 to 1.
    pub failing_share: f64,
    /// How far the proof is that the canary is better, 0 to 1.
    pub better: f64,
}

/// The evidence of refused requests: 4xx statuses and their gRPC counterparts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct RefusalsView {
    /// Harm found in refusals alone, a natural logarithm.
    pub ln_harm: f64,
    /// Stable requests refused so far.
    pub stable_refused: u64,
    /// Canary requests refused so far.
    pub canary_refused: u64,
}

/// Requests whose clients gave up, having waited a tenth of a second or longer without an answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct PatienceView {
    /// Harm found in them alone, a natural logarithm; absent where latency is judged, which finds what hangs.
    pub ln_harm: Option<f64>,
    /// Stable requests given up so far.
    pub stable_gave_up: u64,
    /// Canary requests given up so far.
    pub canary_gave_up: u64,
}

/// What is left of the canary's warm-up, in which its latency is held against a wide limit.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct WarmingView {
    /// Canary requests.
    pub requests: u64,
    /// The least time, in seconds.
    pub seconds: f64,
}

/// Requests that have not entered the evidence, because they or others of the same moment have not ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct OpenView {
    /// The stable version's.
    pub stable: u64,
    /// The canary's.
    pub canary: u64,
}
