//! Plan files of the daemon's directory.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A plan file of the plans directory.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct PlanView {
    /// Its name: the file's stem.
    pub name: String,
    /// The file.
    pub file: String,
    /// ok, warnings, faulty, or defaults.
    pub state: String,
    /// The alias it moves, while a reading of it is in force.
    pub target: Option<String>,
    /// Its steps in words.
    pub steps: Vec<String>,
    /// What starts it.
    pub start: Option<String>,
    /// SHA-256 of the reading in force.
    pub digest: Option<String>,
    /// Whether the reading in force is older than the file, which is faulty now.
    pub stale: bool,
    /// What is wrong, as `file:line:column: message` lines.
    pub faults: Vec<String>,
    /// The same drawn with excerpts.
    pub rendered: Option<String>,
    /// The plan with every default filled in, as YAML.
    pub resolved: Option<String>,
}

/// The plans directory.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct PlanList {
    /// The directory.
    pub directory: Option<String>,
    /// Why it cannot be read.
    pub problem: Option<String>,
    /// By name.
    pub plans: Vec<PlanView>,
}
