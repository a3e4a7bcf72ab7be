//! A plan as the rest of the house sees it: valid once built.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::calendar::{CronSchedule, PlanTimeZone, Windows};
use crate::lambda::timeouts::UpstreamTimeouts;
use crate::model::arn::{AliasId, VersionNumber};
use crate::model::weight::Weight;

/// A rollout plan: what to move, in which steps, guarded by what.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// Free text.
    pub description: Option<String>,
    /// Shown with each rollout in `/v1`, and carried by the metrics of live rollouts as `label_NAME`.
    pub labels: BTreeMap<String, String>,
    /// The alias it moves.
    pub target: AliasId,
    /// For `start` and `windows`.
    pub time_zone: PlanTimeZone,
    /// Which version becomes the canary.
    pub version: VersionChoice,
    /// What starts a rollout.
    pub start: Start,
    /// What happens when one is started while another runs.
    pub on_new_version: OnNewVersion,
    /// Least time served after each weight below 100 % that no bake step follows.
    pub bake: Duration,
    /// At least one step; weights rise and end in 100 %.
    pub steps: Vec<Step>,
    /// How a first weight above a twentieth is earned; `None` where the plan does not say, and it is not.
    ///
    /// What `Probe` and `Mirror` add stands in `steps` already.
    pub first_weight: Option<FirstWeight>,
    /// `None` for `analysis: none`: time, people and `max_exposure` alone decide.
    pub analysis: Option<Analysis>,
    /// Absolute bounds over the whole rollout.
    pub max_exposure: MaxExposure,
    /// What harm leads to.
    pub on_failure: OnFailure,
    /// What a foreign change of the alias leads to.
    pub on_drift: OnDrift,
    /// Whether an unhealthy stable version holds the advance.
    pub when_stable_unhealthy: WhenStableUnhealthy,
    /// What counts as unhealthy.
    pub stable_unhealthy: StableUnhealthy,
    /// How long a step may wait for what is not a person.
    pub step_deadline: StepDeadline,
    /// What is watched after the promotion; `None` for nothing.
    pub watch: Option<WatchPlan>,
    /// When advances may happen.
    pub windows: Windows,
    /// How requests are told apart, beyond the weight.
    pub routing: RoutingOptions,
    /// How long the alias's versions are waited for; where it says nothing, they do.
    pub timeouts: UpstreamTimeouts,
    /// What becomes of tunnels on a version that loses its traffic.
    pub tunnels: Tunnels,
    /// Whom to tell what.
    pub notify: Vec<Notify>,
}

/// How a first weight above a twentieth is earned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FirstWeight {
    /// By proof at a small weight in front of it.
    Probe,
    /// By proof from copies of stable's requests, before it has any weight.
    Mirror,
    /// Not at all, and that is meant.
    Unproven,
}

/// What is watched after the promotion.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WatchPlan {
    /// For how long.
    pub span: Duration,
    /// What an alarm leads to.
    pub on_alarm: OnAlarm,
}

/// What an alarm of the watch leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum OnAlarm {
    /// It is said.
    Notify,
    /// The version before gets half of the traffic for a while, and the two are compared.
    Probe,
    /// It is noted in the journal alone.
    None,
}

/// Which version becomes the canary, unless `start --to` names one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VersionChoice {
    /// The version published last.
    Newest,
    /// This one.
    Number(VersionNumber),
}

/// What starts a rollout of a plan.
#[derive(Clone, Debug, PartialEq)]
pub enum Start {
    /// A person.
    Manual,
    /// Every newly published version.
    OnPublish,
    /// A schedule in the plan's time zone.
    Cron(CronSchedule),
    /// A version that has been all of another alias's traffic for a while.
    After {
        /// The other alias, of the same function.
        target: AliasId,
        /// For how long, in daemon uptime.
        span: Duration,
    },
}

/// What happens when a rollout is started while another one runs on the alias.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnNewVersion {
    /// It waits; only the newest waits.
    Queue,
    /// The running one goes back to stable first.
    Replace,
    /// It is refused.
    Reject,
}

/// One step of a plan.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// Commit this share for the canary; nothing at all in front of a first weight that copies prove.
    SetWeight(Weight),
    /// Serve at the present weight this long.
    Bake(Duration),
    /// Wait for `resume`.
    Pause,
    /// Wait for people to approve.
    Approval(Approval),
    /// Wait for external metrics.
    Analysis(AnalysisStep),
    /// Ask a web hook.
    Webhook(Webhook),
}

impl Step {
    /// The kind as status and messages call it.
    pub fn kind(&self) -> &'static str {
        match self {
            Step::SetWeight(Weight::ZERO) => "mirror",
            Step::SetWeight(_) => "setWeight",
            Step::Bake(_) => "bake",
            Step::Pause => "pause",
            Step::Approval(_) => "approval",
            Step::Analysis(_) => "analysis",
            Step::Webhook(_) => "webhook",
        }
    }
}

/// Who must approve, how many, and what a silence means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Approval {
    /// Names of actors; empty means anyone.
    pub approvers: Vec<String>,
    /// How many different ones, at least 1.
    pub min_approvers: u32,
    /// How long to wait, in daemon uptime.
    pub timeout: Duration,
    /// What then.
    pub on_timeout: Timeout,
}

/// What a wait that lasted too long leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Timeout {
    /// Roll back.
    Rollback,
    /// Pause, and wait for a person.
    Pause,
}

/// An external-metrics step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AnalysisStep {
    /// Names of metrics that must hold; each is defined under `analysis.metrics`.
    pub metrics: Vec<String>,
    /// For how long.
    pub span: Duration,
}

/// A secret or a plain text: what a header or an address is made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// As written.
    Plain(String),
    /// Read from this environment variable of the daemon when it is needed.
    Env(String),
}

/// A web hook to ask.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Webhook {
    /// Where to POST.
    pub url: Value,
    /// For one attempt.
    pub timeout: Duration,
    /// Further attempts after the first.
    pub retries: u32,
    /// Added to each request.
    pub headers: BTreeMap<String, Value>,
}

/// How the canary is judged.
#[derive(Clone, Debug, PartialEq)]
pub struct Analysis {
    /// Failures against stable's.
    pub failures: FailureLimits,
    /// Latency against stable's; `None` for `latency: none`.
    pub latency: Option<LatencyLimits>,
    /// Refused requests against stable's; `None` for `refusals: none`.
    pub refusals: Option<RefusalLimits>,
    /// The probability of rolling back a harmless canary, over the whole rollout: alpha.
    pub false_rollback_rate: f64,
    /// What must be proven before the next weight; `None` for `proof: none`.
    pub proof: Option<Proof>,
    /// HTTP statuses that count as failures, as inclusive ranges.
    pub failure_status: Vec<(u16, u16)>,
    /// Least overdispersion of failures assumed, at least 1.
    pub min_dispersion: f64,
    /// Where a part of stable as large as the canary comes from, to be held beside it; `None` for no such part.
    pub baseline: Option<Baseline>,
    /// Gates from outside.
    pub metrics: Vec<Metric>,
}

/// Where a baseline comes from: a part of stable's traffic as large as the canary's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Baseline {
    /// Stable gets copies of the canary's requests, whose answers nobody gets.
    Mirror,
    /// As many of stable's own requests as the canary gets, by the same draw.
    Split,
}

impl Baseline {
    /// The share of an alias's requests that a baseline is while the canary has `weight`.
    pub fn share(self, weight: Weight) -> Weight {
        match (self, weight) {
            (_, Weight::FULL) => Weight::ZERO,
            (Baseline::Mirror, weight) => weight,
            // Stable has no more than what the canary leaves it.
            (Baseline::Split, weight) => weight.min(weight.complement()),
        }
    }
}

/// What failures are accepted of the canary: `rho * stable + delta`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct FailureLimits {
    /// rho, at least 1.
    pub max_ratio: f64,
    /// delta, as a share: 0.05pp is 0.0005.
    pub max_added: f64,
    /// An absolute ceiling, as a share.
    pub max: Option<f64>,
}

/// What share of refused requests is accepted of the canary: `rho * stable + delta`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RefusalLimits {
    /// rho, at least 1.
    pub max_ratio: f64,
    /// delta, as a share: 1pp is 0.01.
    pub max_added: f64,
}

/// What latency is accepted of the canary.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LatencyLimits {
    /// m, at least 1.
    pub max_ratio: f64,
    /// Added to `m * stable`.
    pub max_added: Duration,
    /// An absolute ceiling for the 99th percentile.
    pub p99_max: Option<Duration>,
    /// The least time that the canary warms up from its start and from each rise; nothing for no warm-up.
    pub warmup: Duration,
}

/// What must be proven before the next weight is let in.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Proof {
    /// The risk budget B: extra failures as a share of all traffic. 0.5pp is 0.005.
    pub added_failures: f64,
    /// The probability of letting a canary pass that is exactly at the margin: beta.
    pub false_advance_rate: f64,
}

/// A gate whose number comes from outside.
#[derive(Clone, Debug, PartialEq)]
pub struct Metric {
    /// Its name, unique in the plan.
    pub name: String,
    /// Where the number comes from.
    pub source: MetricSource,
    /// It must not fall below.
    pub min: Option<f64>,
    /// It must not pass.
    pub max: Option<f64>,
    /// From which weight on it is asked.
    pub from: Weight,
    /// How often it is asked.
    pub interval: Duration,
    /// How long after its weight began it is first asked.
    pub initial_delay: Duration,
    /// Bad answers forgiven.
    pub failure_limit: u32,
    /// Consecutive answers without a verdict forgiven.
    pub inconclusive_limit: u32,
    /// Asked and shown, but decides nothing.
    pub dry_run: bool,
}

/// Where a metric's number comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MetricSource {
    /// An instant query.
    Prometheus {
        /// The server.
        url: Value,
        /// The query.
        query: String,
        /// Added to each request.
        headers: BTreeMap<String, Value>,
    },
    /// A web hook that answers a number.
    Webhook(Webhook),
}

/// Absolute bounds over the whole rollout.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MaxExposure {
    /// Failed canary requests that roll back.
    pub failures: Option<u64>,
    /// Canary requests that pause.
    pub requests: Option<u64>,
}

/// What harm leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnFailure {
    /// Back to stable.
    Rollback,
    /// Keep the weight and wait for a person.
    Pause,
    /// Say so, and go on.
    Report,
}

/// What a change of the alias by somebody else leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnDrift {
    /// Wait for a person.
    Pause,
    /// Commit the plan's weight again.
    Restore,
    /// Go on from the foreign weight.
    Adopt,
    /// End the rollout and keep the foreign routing.
    Leave,
}

/// Whether an unhealthy stable version holds the advance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WhenStableUnhealthy {
    /// Unless the canary is proven better.
    Hold,
    /// Judge on.
    Continue,
}

/// When the stable version counts as unhealthy.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StableUnhealthy {
    /// Its failing share.
    pub failures: f64,
    /// For how long.
    pub span: Duration,
}

/// How long a step may wait for what is not a person, in daemon uptime.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StepDeadline {
    /// That long.
    pub after: Duration,
    /// What then.
    pub then: Timeout,
}

/// How requests are told apart, beyond the weight.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RoutingOptions {
    /// What keeps a user on one version.
    pub affinity: Option<Affinity>,
    /// A header that lets testers choose the version.
    pub override_header: Option<String>,
    /// Which requests the canary gets copies of.
    pub mirror: Option<Mirror>,
}

impl RoutingOptions {
    /// Whether users are judged and not requests: they stick to a version, and no request is set aside from that.
    pub fn judges_users(&self) -> bool {
        self.affinity.is_some() && self.mirror.is_none()
    }
}

/// What becomes of WebSockets and other tunnels on a version that an alias sends nothing to any more.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Tunnels {
    /// They go on until one of their ends is done.
    #[default]
    Leave,
    /// They are closed within this time, one by one.
    Close(Duration),
}

/// Which requests the canary gets copies of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mirror {
    /// The share of those that may be copied.
    pub share: Weight,
    /// Which may be copied.
    pub methods: MirrorMethods,
}

/// Requests of which methods may be copied.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum MirrorMethods {
    /// Those that ask for nothing to be changed: GET, HEAD, OPTIONS and TRACE, without a body.
    #[default]
    Safe,
    /// All, with bodies of up to 64 KiB.
    Any,
}

/// What keeps a user on one version.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Affinity {
    /// The value of this cookie.
    Cookie(String),
    /// The value of this header.
    Header(String),
}

/// Whom to tell what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notify {
    /// Where to.
    pub channel: Channel,
    /// Which events; `None` for all.
    pub events: Option<Vec<String>>,
}

/// Where a message goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Channel {
    /// A Slack web hook.
    Slack(Value),
    /// Any web hook.
    Webhook(Value),
}

impl Plan {
    /// The weight a step sets, if it sets one; steps count from 1.
    pub fn weight_at(&self, step: usize) -> Option<Weight> {
        match self.step(step) {
            Some(Step::SetWeight(weight)) => Some(*weight),
            _ => None,
        }
    }

    /// Which requests the canary gets copies of while the alias gives it `share` of its own, if of any.
    pub fn mirror_at(&self, share: Weight) -> Option<Mirror> {
        let ahead = || Mirror { share: Weight::FULL, methods: MirrorMethods::Safe };
        match share {
            Weight::ZERO => (self.first_weight == Some(FirstWeight::Mirror))
                .then(|| self.routing.mirror.unwrap_or_else(ahead)),
            _ => self.routing.mirror,
        }
    }

    /// Where its baseline comes from, if it has one.
    pub fn baseline(&self) -> Option<Baseline> {
        self.analysis.as_ref()?.baseline
    }

    /// Whether a first weight waits for what copies prove.
    pub fn proves_by_copies(&self) -> bool {
        self.steps.contains(&Step::SetWeight(Weight::ZERO))
    }

    /// Whether the canary gets copies of requests at any step.
    pub fn mirrors(&self) -> bool {
        self.routing.mirror.is_some() || self.proves_by_copies()
    }

    /// A step by its number from 1; `None` for 0 and past the end.
    pub fn step(&self, number: usize) -> Option<&Step> {
        number.checked_sub(1).and_then(|index| self.steps.get(index))
    }

    /// The least time the weight set at `step` must be served before the next weight, where no bake step follows it.
    ///
    /// Zero at 100 %, where a bake step stands between this weight and the next, and where the canary gets copies alone.
    pub fn default_bake_after(&self, step: usize) -> Duration {
        let followers = self.steps.iter().skip(step).take_while(|step| !matches!(step, Step::SetWeight(_)));
        let overridden = followers.into_iter().any(|step| matches!(step, Step::Bake(_)));
        match self.weight_at(step) {
            Some(weight) if weight > Weight::ZERO && weight < Weight::FULL && !overridden => self.bake,
            _ => Duration::ZERO,
        }
    }
}
