//! Log lines of invocations.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A line that an invocation left.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct LogLineView {
    /// Its number; they rise in the order in which lines came.
    pub id: i64,
    /// RFC 3339.
    pub at: String,
    /// The version that ran.
    pub version: String,
    /// Which run of it, as CloudWatch Logs names streams.
    pub stream: String,
    /// What it said.
    pub text: String,
}

/// Lines of a function.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct LogList {
    /// By time, oldest first; in the order they came where `after` was given.
    pub lines: Vec<LogLineView>,
    /// The `after` that goes on where this ends.
    pub next: i64,
}
