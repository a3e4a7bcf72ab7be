//! The JSON of `/v1`: what the server writes and the client reads, one definition for both.

mod counts;
mod evidence;
mod logs;
mod object;
mod plans;
mod verbs;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

pub use counts::{CountsBlock, CountsView, PriorView};
pub use evidence::{
    LatencyView, OpenView, PatienceView, QuantileView, RefusalsView, SplitView, StableView, UsersView,
    WarmingView,
};
pub use logs::{LogLineView, LogList};
pub use object::Object;
use object::object_or_null;
pub use plans::{PlanList, PlanView};
pub use verbs::{
    DriftChoice, PromoteRequest, ResumeRequest, RollbackRequest, StartReply, StartRequest, VerbReply,
    VerbRequest, WouldStart,
};

/// A rollout, as `serin status -o json` prints it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct RolloutStatus {
    /// Its name.
    pub id: String,
    /// Its plan's name.
    pub plan: String,
    /// SHA-256 of the plan's bytes, in hex.
    pub plan_digest: String,
    /// The plan's labels.
    pub labels: BTreeMap<String, String>,
    /// The function.
    pub function: String,
    /// Its alias.
    pub alias: String,
    /// The version it moves away from.
    pub stable_version: String,
    /// The version it moves to.
    pub canary_version: String,
    /// What `rollback` would restore after success.
    pub previous_stable: Option<String>,
    /// The rollout it repeats.
    pub retry_of: Option<String>,
    /// Pending, Progressing, Paused, Promoting, RollingBack, Succeeded, RolledBack, Aborted or Superseded.
    pub phase: String,
    /// What it waits for.
    pub waiting_for: Option<WaitingForView>,
    /// The current step.
    pub step: StepPosition,
    /// The canary's share of the alias.
    pub weight: WeightView,
    /// What the canary has had.
    pub exposure: ExposureView,
    /// The copies of requests that it was sent; absent where the plan asks for none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mirrored: Option<ExposureView>,
    /// What is held beside the canary at its present weight; absent where the plan asks for no baseline.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub baseline: Option<BaselineView>,
    /// The evidence; absent under `analysis: none`.
    pub evidence: Option<EvidenceView>,
    /// The watch over what it promoted, while there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub watch: Option<WatchView>,
    /// A foreign change that is not dealt with.
    pub drift: Option<DriftView>,
    /// Who started it.
    pub trigger: TriggerView,
    /// Why it stands where it stands.
    pub reason: String,
    /// What the alias is now, whoever made it so; null if it is gone.
    #[serde(default)]
    pub routing: Option<RoutingView>,
    /// Tunnels that are still open on versions that the alias sends nothing to any more; absent without any.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub tunnels: Vec<TunnelsView>,
    /// RFC 3339.
    pub started_at: String,
    /// RFC 3339.
    pub updated_at: String,
}

impl RolloutStatus {
    /// Whether nothing will change any more.
    pub fn is_final(&self) -> bool {
        is_final(&self.phase)
    }

    /// Whether only a person can move it on.
    pub fn waits_for_person(&self) -> bool {
        let kind = self.waiting_for.as_ref().map(|waiting| waiting.kind.as_str());
        matches!(kind, Some("pause" | "approval" | "drift"))
    }
}

/// WebSockets and other tunnels that are open by an alias on a version that it sends nothing to any more.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct TunnelsView {
    /// The version.
    pub version: String,
    /// How many.
    pub open: usize,
    /// Within which time each is closed, as plans write it; absent where they go on until either end closes them.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub close_within: Option<String>,
    /// The same in a sentence.
    pub text: String,
}

/// The watch over a promoted version.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct WatchView {
    /// The version that is watched.
    pub version: String,
    /// How long it goes on, while the daemon is up.
    pub seconds_left: u64,
    /// The share of its requests that may fail, by what the alias did before.
    pub limit: f64,
    /// Its requests since the promotion.
    pub requests: u64,
    /// Of these, the ones that failed.
    pub failures: u64,
    /// The logarithm of the capital against it.
    pub ln: f64,
    /// Where that is an alarm.
    pub ln_limit: f64,
    /// When there was one, RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alarmed_at: Option<String>,
}

fn is_final(phase: &str) -> bool {
    matches!(phase, "Succeeded" | "RolledBack" | "Aborted" | "Superseded")
}

/// What a rollout waits for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct WaitingForView {
    /// bake, proof, pause, approval, drift, window, freeze, queue, stable, webhook, metrics or after.
    pub kind: String,
    /// RFC 3339.
    pub since: String,
    /// RFC 3339, as far as is known.
    pub until: Option<String>,
    /// What happens then.
    pub then: String,
    /// What it takes, in words.
    pub needs: String,
}

/// Where in its steps a rollout is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct StepPosition {
    /// From 1; 0 before the first.
    pub index: usize,
    /// How many there are.
    pub count: usize,
    /// setWeight, bake, pause, approval, analysis or webhook; absent before the first.
    pub kind: Option<String>,
}

/// The canary's share of the alias, 0 to 1.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct WeightView {
    /// By the plan's current step.
    pub planned: f64,
    /// By the alias.
    pub committed: f64,
    /// By the router.
    pub serving: f64,
}

/// What the canary has had over the whole rollout.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ExposureView {
    /// Requests by weight.
    pub requests: u64,
    /// Those that failed.
    pub failures: u64,
}

/// The evidence, as natural logarithms.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct EvidenceView {
    /// Harm found.
    pub ln_harm: f64,
    /// Where it rolls back.
    pub ln_harm_limit: f64,
    /// Proof gathered for the next weight.
    pub ln_proof: Option<f64>,
    /// Where it lets the next weight in.
    pub ln_proof_limit: Option<f64>,
    /// The ratio of failure rates, canary to stable: low and high end; an absent end is unbounded.
    pub ratio: Option<(Option<f64>, Option<f64>)>,
    /// About how many more canary requests must fail in a row until it is rolled back; absent where none would do.
    #[serde(default)]
    pub failures_to_rollback: Option<u64>,
    /// By how much more than independent ones failures are taken to vary, at least 1; absent once it has ended.
    #[serde(default)]
    pub phi: Option<f64>,
    /// Users who stick to a version, where they are judged; then failures and the split above are of users, too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub users: Option<UsersView>,
    /// Whether requests are split as the weight says; absent before any.
    #[serde(default)]
    pub split: Option<SplitView>,
    /// Refused requests; absent where the plan does not judge them, and once it has ended.
    #[serde(default)]
    pub refusals: Option<RefusalsView>,
    /// Requests that clients gave up; absent once it has ended, and where latency is judged as long as there are none.
    #[serde(default)]
    pub patience: Option<PatienceView>,
    /// What is left of the canary's warm-up; absent where it is over.
    #[serde(default)]
    pub warming: Option<WarmingView>,
    /// Requests that are not judged yet; absent without any.
    #[serde(default)]
    pub open: Option<OpenView>,
    /// Latency; absent under `latency: none`.
    #[serde(default)]
    pub latency: Option<LatencyView>,
    /// The stable version's own sickness, where it holds the advance.
    #[serde(default)]
    pub stable: Option<StableView>,
}

/// A foreign change of the alias.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct DriftView {
    /// Who made it.
    pub actor: String,
    /// RFC 3339.
    pub at: String,
    /// What the rollout had committed.
    pub expected: RoutingView,
    /// What the alias is.
    pub found: RoutingView,
}

/// A part of stable as large as the canary.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct BaselineView {
    /// split, of stable's own requests, or mirror, of copies of the canary's.
    pub by: String,
    /// Its share of the alias's requests, 0 to 1.
    pub share: f64,
    /// How many it had.
    pub requests: u64,
    /// Those that failed.
    pub failures: u64,
}

/// Where an alias's traffic goes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct RoutingView {
    /// The function version.
    pub function_version: String,
    /// The additional version.
    pub additional_version: Option<String>,
    /// Its share, 0 to 1.
    pub additional_weight: Option<f64>,
    /// The same in words: `v41 95% / v42 5%`.
    pub text: String,
}

/// Who started a rollout.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct TriggerView {
    /// Who.
    pub actor: String,
    /// Why.
    pub reason: Option<String>,
}

/// Why a rollout is where it is, what happens next and when.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Explanation {
    /// The rollout.
    pub status: RolloutStatus,
    /// Its steps.
    pub steps: Vec<StepView>,
    /// What comes next, in words.
    pub onward: String,
    /// What the next step needs.
    pub gates: Vec<GateView>,
    /// Both versions at the present weight.
    pub arms: Vec<ArmView>,
    /// The canary's request rate of late.
    pub canary_requests_per_s: Option<f64>,
    /// Whether harm would still clear the canary's weight.
    pub armed: bool,
    /// What proof means here, in words.
    pub proof_claim: Option<String>,
    /// What is special about this alias right now, in sentences.
    pub notices: Vec<String>,
    /// The last failures, newest first.
    pub recent_failures: Vec<FailureView>,
    /// The last entries of its journal, newest first.
    pub history: Vec<EventView>,
    /// What `rollback` would do now.
    #[serde(default)]
    pub rollback: RollbackView,
    /// What an operator may type, most likely first.
    pub commands: Vec<String>,
}

/// What `rollback` of a rollout's alias would do now.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct RollbackView {
    /// The version that it would give all traffic; null where it would change nothing.
    pub to: Option<String>,
    /// The version that lies further back, as far as that is known: what `rollback --to` may name.
    pub further: Option<String>,
}

/// A step.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct StepView {
    /// From 1.
    pub index: usize,
    /// setWeight, bake, pause, approval, analysis or webhook.
    pub kind: String,
    /// In words.
    pub text: String,
    /// done, current or ahead.
    pub state: String,
}

/// A gate.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct GateView {
    /// What is needed.
    pub kind: String,
    /// Whether it holds.
    pub met: bool,
    /// In a word or two.
    pub label: String,
    /// What it still takes.
    pub needs: String,
    /// How far it is, 0 to 1, where that can be said.
    pub progress: Option<f64>,
}

/// One version at the present weight.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ArmView {
    /// The version.
    pub version: String,
    /// stable, baseline or canary; where a baseline is split off, its requests are among stable's, too.
    pub role: String,
    /// Its share, 0 to 1.
    pub share: f64,
    /// Requests at the present weight.
    pub requests: u64,
    /// Those that failed.
    pub failures: u64,
    /// Median latency since the daemon started, at this weight.
    pub p50_ms: Option<f64>,
    /// 99th percentile.
    pub p99_ms: Option<f64>,
}

/// A recent failure.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct FailureView {
    /// RFC 3339.
    pub at: String,
    /// The version that answered, or did not.
    pub version: String,
    /// HTTP method.
    pub method: String,
    /// Path without its query.
    pub path: String,
    /// Status or fault.
    pub fault: String,
    /// Trace id, if the request carried one.
    pub trace: Option<String>,
}

/// One entry of the journal.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct EventView {
    /// Its place in the journal.
    pub seq: u64,
    /// RFC 3339.
    pub at: String,
    /// Who.
    pub actor: String,
    /// Why, in their words.
    pub reason: Option<String>,
    /// The function.
    pub function: String,
    /// Its alias.
    pub alias: Option<String>,
    /// The rollout.
    pub rollout: Option<String>,
    /// What kind of entry it is.
    pub kind: String,
    /// The phase a rollout was in afterwards.
    pub phase: Option<String>,
    /// The step a rollout was at afterwards.
    pub step: Option<usize>,
    /// In a sentence.
    pub text: String,
    /// The alias afterwards, where it changed.
    pub routing: Option<RoutingView>,
    /// The entry whole, as it is stored.
    pub entry: serde_json::Value,
}

/// A list of rollouts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct RolloutList {
    /// Newest first.
    pub rollouts: Vec<RolloutStatus>,
    /// Pass as `before` for the next page; absent at the end.
    pub next: Option<String>,
    /// Plan files that are not in order, in a line each.
    #[serde(rename = "planFaults")]
    pub plan_faults: Vec<String>,
}

/// A page of the journal.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct EventList {
    /// Oldest first.
    pub events: Vec<EventView>,
}

/// Publishes a version of an HTTP service.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PublishRequest {
    /// Where the version answers: `http://host:port[,host:port…][/path]`, or `h2c://` in HTTP/2.
    pub url: String,
    /// What each of its places is asked for every few seconds: `/path`, behind the URL's base path.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub health: Option<String>,
    /// How long it is waited for; what is not said is the router's own to decide.
    #[serde(skip_serializing_if = "Option::is_none", default, deserialize_with = "object_or_null")]
    pub timeouts: Option<TimeoutsView>,
    /// The commit it was built from.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub commit: Option<String>,
    /// Free text.
    #[serde(default)]
    pub description: String,
    /// Execution role; versions behind one alias share it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub role: Option<String>,
    /// Dead-letter target; versions behind one alias share it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub dead_letter: Option<String>,
    /// A new version even if nothing changed.
    #[serde(default)]
    pub new: bool,
    /// Why.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub reason: Option<String>,
}

/// How long the router waits for a version, as plans write spans of time: `90s`, `1h 30m`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TimeoutsView {
    /// For the head of an answer, once the version has the whole request.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub first_byte: Option<String>,
    /// For the next piece of a body, from either side, and for the version to take one.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub idle: Option<String>,
}

/// What publishing did.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct PublishReply {
    /// The function.
    pub function: String,
    /// The version.
    pub version: String,
    /// Whether it is new.
    pub created: bool,
    /// Rollouts that this started.
    pub rollouts: Vec<String>,
}

/// A function.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct FunctionView {
    /// Its name.
    pub name: String,
    /// The newest version.
    pub newest_version: Option<String>,
    /// What `$LATEST` runs as.
    pub url: String,
    /// What the places of `$LATEST` are asked for, if anything.
    pub health: Option<String>,
    /// How long `$LATEST` is waited for, where its publisher said so.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub timeouts: Option<TimeoutsView>,
    /// How many versions there are.
    pub versions: usize,
    /// How many aliases there are.
    pub aliases: usize,
    /// RFC 3339.
    pub modified_at: String,
}

/// Functions, by name.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct FunctionList {
    /// By name.
    pub functions: Vec<FunctionView>,
}

/// A version.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct VersionView {
    /// Its number.
    pub version: String,
    /// Where it answers.
    pub url: String,
    /// What its places are asked for, if anything.
    pub health: Option<String>,
    /// How long it is waited for, where its publisher said so.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub timeouts: Option<TimeoutsView>,
    /// The commit it was built from.
    pub commit: Option<String>,
    /// Free text.
    pub description: String,
    /// Execution role.
    pub role: String,
    /// Dead-letter target.
    pub dead_letter: Option<String>,
    /// The aliases that name it.
    pub aliases: Vec<String>,
    /// RFC 3339.
    pub published_at: String,
}

/// Versions, newest first.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct VersionList {
    /// Newest first.
    pub versions: Vec<VersionView>,
}

/// An alias.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct AliasView {
    /// The function.
    pub function: String,
    /// The alias.
    pub name: String,
    /// Where its traffic goes.
    pub routing: RoutingView,
    /// Free text.
    pub description: String,
    /// Its RevisionId.
    pub revision_id: String,
    /// The rollout that moves it now.
    pub rollout: Option<String>,
    /// Why nobody may change it, if so.
    pub quarantine: Option<String>,
    /// Tunnels that are still open on versions that it sends nothing to any more; absent without any.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub tunnels: Vec<TunnelsView>,
    /// RFC 3339.
    pub updated_at: String,
}

/// Aliases, by name.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct AliasList {
    /// By name.
    pub aliases: Vec<AliasView>,
}

/// Makes an alias.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CreateAliasRequest {
    /// Its function version: a number, or `$LATEST`.
    pub function_version: String,
    /// Additional versions with their shares, 0 to 1.
    #[serde(default)]
    pub additional_weights: BTreeMap<String, f64>,
    /// Free text.
    #[serde(default)]
    pub description: String,
    /// Why.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub reason: Option<String>,
}

/// Changes an alias; what is absent stays.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct UpdateAliasRequest {
    /// Its function version.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub function_version: Option<String>,
    /// Additional versions with their shares, 0 to 1; an empty map clears them.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub additional_weights: Option<BTreeMap<String, f64>>,
    /// Free text.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub description: Option<String>,
    /// Only if this still is its RevisionId.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub revision_id: Option<String>,
    /// Why.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub reason: Option<String>,
}

/// What a deletion did.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct DeleteReply {
    /// Whether there was anything to delete.
    pub existed: bool,
}

/// What went wrong, for people and for scripts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ErrorBody {
    /// The error.
    pub error: ErrorView,
}

/// An error.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ErrorView {
    /// What kind, for scripts: notFound, conflict, invalid, forbidden, unauthorized, reasonWanted, …
    pub kind: String,
    /// What was tried, on what, why it failed, what to do next.
    pub message: String,
}
