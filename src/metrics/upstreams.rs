//! Where versions answer, and whether requests go there, as metrics tell of it.

use std::sync::Arc;

use serin_core::model::arn::{FunctionName, VersionId};

/// One place of a version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpstreamState {
    /// The version's function.
    pub function: FunctionName,
    /// The version.
    pub version: VersionId,
    /// `host[:port]`, as the version's URL names it.
    pub place: String,
    /// Whether it is not left out.
    pub is_up: bool,
}

/// Tells of all places, of versions at several or with a health path; a place may come more than once.
pub type Upstreams = Arc<dyn Fn() -> Vec<UpstreamState> + Send + Sync>;
