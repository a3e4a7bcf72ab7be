//! A rollout's counts, as `serin replay` reads them back.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::ExposureView;

/// What a rollout's versions were counted to have got, in blocks.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct CountsView {
    /// The stable version's traffic before the rollout; faded, and so not whole.
    pub prior: Option<PriorView>,
    /// In the order in which they came.
    pub blocks: Vec<CountsBlock>,
}

/// The stable version's traffic before a rollout.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct PriorView {
    /// Requests.
    pub requests: f64,
    /// Of these, the ones that failed.
    pub failures: f64,
    /// How unevenly they did, at least 1; absent of rollouts that began before this was kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dispersion: Option<f64>,
    /// What that rests on: seconds looked at, then squares and what independent failures would have, of differences of
    /// seconds and of spans of five.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub learnt: Option<[f64; 5]>,
}

/// Counts of both versions since the block before.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct CountsBlock {
    /// When it ends, in seconds since the rollout began.
    pub t: f64,
    /// The canary's share, 0 to 1.
    pub weight: f64,
    /// What the stable version got.
    pub stable: ExposureView,
    /// What the canary got.
    pub canary: ExposureView,
}
