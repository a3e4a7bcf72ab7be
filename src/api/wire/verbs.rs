//! The JSON of verbs: what is asked of a rollout or an alias, and what came of it.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{RoutingView, is_final};

/// Starts a rollout.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct StartRequest {
    /// The plan's name in the daemon's plans directory; or, with `planText`, what to call it.
    pub plan: String,
    /// The plan's text, when it is not in the plans directory.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub plan_text: Option<String>,
    /// The text of the defaults it uses.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub defaults_text: Option<String>,
    /// The canary's version.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub to: Option<String>,
    /// Even if the version was rolled back before.
    #[serde(default)]
    pub again: bool,
    /// Say what would happen, and do nothing.
    #[serde(default)]
    pub dry_run: bool,
    /// Why.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub reason: Option<String>,
}

/// What would be started.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct WouldStart {
    /// The function.
    pub function: String,
    /// Its alias.
    pub alias: String,
    /// From.
    pub stable_version: String,
    /// To.
    pub canary_version: String,
    /// The steps, in words.
    pub steps: Vec<String>,
    /// What would happen first.
    pub message: String,
}

/// What came of asking for a rollout.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(untagged)]
pub enum StartReply {
    /// It was started.
    Started(VerbReply),
    /// With `dryRun`.
    WouldStart(WouldStart),
}

/// Promotes a rollout.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PromoteRequest {
    /// The step that whoever asks has seen; another one is refused.
    pub step: usize,
    /// To the end.
    #[serde(default)]
    pub full: bool,
    /// Why; wanted when proof, approval or a window is skipped.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub reason: Option<String>,
}

/// Resumes a rollout.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ResumeRequest {
    /// After drift: restore or adopt.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub drift: Option<DriftChoice>,
    /// Why.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub reason: Option<String>,
}

/// What to do about a foreign change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub enum DriftChoice {
    /// Commit the plan's weight again.
    Restore,
    /// Go on from what was found.
    Adopt,
}

/// Any other verb on a rollout.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct VerbRequest {
    /// Why.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub reason: Option<String>,
}

/// Where to go back to.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RollbackRequest {
    /// A published version that gets all traffic, in every state; without it, one version back.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub to: Option<String>,
    /// Why.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub reason: Option<String>,
}

/// What a verb did.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct VerbReply {
    /// The rollout; null where the alias is on a version that no rollout has to do with.
    pub id: Option<String>,
    /// The function.
    pub function: String,
    /// Its alias.
    pub alias: String,
    /// The phase afterwards; null without a rollout.
    pub phase: Option<String>,
    /// The step afterwards.
    pub step: usize,
    /// Whether anything changed.
    pub changed: bool,
    /// What happened and what the alias is now, in a sentence.
    pub message: String,
    /// What the alias is now, read back.
    #[serde(default)]
    pub routing: Option<RoutingView>,
}

impl VerbReply {
    /// Whether there is a rollout that goes on.
    pub fn is_under_way(&self) -> bool {
        self.id.is_some() && !self.phase.as_deref().is_none_or(is_final)
    }
}
