//! The plan language as serde types: what is written, and what the schema is made of.
//!
//! Comments on these types and fields are what an editor shows. Their keys are those of `keys.rs`; a test holds the
//! two together.

use std::collections::BTreeMap;

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Serialize, Serializer};

use crate::plan::document::forms::{
    Choice, Count, DayTimeText, EventName, LabelText, Number, PresetName, StatusText, VersionText,
};
use crate::plan::document::forms::{
    CookieName, DateText, DaysText, EnvName, HeaderName, LabelName, MetricName, Percent, Points, SpanText,
    TargetName, ZoneName,
};
use crate::plan::model::{
    Baseline, FirstWeight, MirrorMethods, OnAlarm, OnDrift, OnFailure, OnNewVersion, Timeout,
    WhenStableUnhealthy,
};

/// A rollout plan, or defaults that plans use.
#[derive(Default, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(title = "serin plan")]
pub(super) struct PlanDocument {
    /// The version of this language.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("enum" = ["serin/v1"]))]
    pub api_version: Option<&'static str>,
    /// `Plan`, or `Defaults` for a file that plans `use`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("enum" = ["Plan", "Defaults"], "default" = "Plan"))]
    pub kind: Option<&'static str>,
    /// The name of a Defaults file beside this one, without its ending. What this plan says itself wins.
    #[serde(rename = "use", skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = r"^[A-Za-z0-9_-]{1,64}$"))]
    pub uses: Option<String>,
    /// Free text.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1))]
    pub description: Option<String>,
    /// Shown with each rollout in `/v1`, and carried by the metrics of live rollouts as `label_NAME`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub labels: Option<BTreeMap<LabelName, LabelText>>,
    /// The function whose versions are rolled out.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = r"^[A-Za-z0-9_-]{1,64}$"))]
    pub function: Option<String>,
    /// The alias whose traffic is moved.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = r"^[A-Za-z0-9_-]{1,128}$"))]
    pub alias: Option<String>,
    /// An IANA time zone, for `start` and `windows`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("default" = "UTC"))]
    pub time_zone: Option<ZoneName>,
    /// Which version becomes the canary: `newest` published, or a number in quotes.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("default" = "newest"))]
    pub version: Option<VersionText>,
    /// What starts a rollout.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("default" = "manual"))]
    pub start: Option<StartForm>,
    /// What happens when a rollout is started while another runs: the newest waits, the running one goes back to
    /// stable first, or the new one is refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("default" = "queue"))]
    pub on_new_version: Option<Choice<OnNewVersion>>,
    /// Least time served at each weight below 100%; a `bake` step overrides it there.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("default" = "5m"))]
    pub bake: Option<SpanText>,
    /// What a rollout does, in order. Weights rise and end in 100%; other steps may follow.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1))]
    pub steps: Option<Vec<StepForm>>,
    /// A ready-made list of steps, called as CodeDeploy calls it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub preset: Option<PresetName>,
    /// How a first weight above 5% is earned: `probe` puts 3% in front of it, which ends with proof for it; `mirror`
    /// proves it by copies of stable's requests, before any user gets the canary; `unproven` says that it is meant to be
    /// unproven.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first_weight: Option<Choice<FirstWeight>>,
    /// How the canary is judged; `none` leaves time, people and `maxExposure`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub analysis: Option<NoneOr<AnalysisForm>>,
    /// Absolute bounds over the whole rollout.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_exposure: Option<MaxExposureForm>,
    /// What harm leads to; `report` only observes.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("default" = "rollback"))]
    pub on_failure: Option<Choice<OnFailure>>,
    /// What a change of the alias by somebody else leads to; `leave` ends the rollout and keeps their routing.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("default" = "pause"))]
    pub on_drift: Option<Choice<OnDrift>>,
    /// Whether an unhealthy stable version holds the advance.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("default" = "hold"))]
    pub when_stable_unhealthy: Option<Choice<WhenStableUnhealthy>>,
    /// When the stable version counts as unhealthy.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stable_unhealthy: Option<StableUnhealthyForm>,
    /// How long a step may wait for what is not a person.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub step_deadline: Option<StepDeadlineForm>,
    /// What is watched after the promotion.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("default" = "none"))]
    pub watch: Option<NoneOr<WatchForm>>,
    /// When advances may happen; rollbacks are never held.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub windows: Option<WindowsForm>,
    /// How requests are told apart, beyond the weight.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub routing: Option<RoutingForm>,
    /// How long the alias's versions are waited for; what is not said, the versions and the router say.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeouts: Option<TimeoutsForm>,
    /// What becomes of WebSockets and other tunnels on a version that loses its traffic.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("default" = "leave"))]
    pub tunnels: Option<TunnelsForm>,
    /// Whom to tell what.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1))]
    pub notify: Option<Vec<NotifyForm>>,
}

/// Something, or the word `none`.
pub(super) enum NoneOr<T> {
    None,
    Some(T),
}

impl<T> From<Option<T>> for NoneOr<T> {
    fn from(value: Option<T>) -> NoneOr<T> {
        value.map_or(NoneOr::None, NoneOr::Some)
    }
}

impl<T: Serialize> Serialize for NoneOr<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            NoneOr::None => serializer.serialize_str("none"),
            NoneOr::Some(value) => value.serialize(serializer),
        }
    }
}

#[derive(Serialize, JsonSchema)]
#[serde(untagged, deny_unknown_fields)]
pub(super) enum StartForm {
    /// A person, or every newly published version.
    #[schemars(extend("enum" = ["manual", "onPublish"]))]
    Word(&'static str),
    /// A schedule of five fields in the plan's time zone.
    Cron {
        /// minute, hour, day of month, month, day of week.
        #[schemars(extend("examples" = ["0 9 * * MON-THU"]))]
        cron: String,
    },
    /// A version that has been all of another alias's traffic for a while.
    After {
        /// The other alias, and for how long.
        after: AfterForm,
    },
}

#[derive(Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct AfterForm {
    /// An alias of the same function, as function:alias.
    pub target: TargetName,
    /// For how long the version has been all of its traffic.
    #[serde(rename = "for")]
    pub span: SpanText,
}

/// One step. A share alone, such as 3%, sets the weight.
pub(super) enum StepForm {
    Full(StepMap),
}

#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(super) enum StepMap {
    /// Commit this share for the canary.
    SetWeight(Percent),
    /// Serve at the present weight this long.
    Bake(SpanText),
    /// Wait for `serin resume`.
    Pause(EmptyForm),
    /// Wait for people to approve.
    Approval(ApprovalForm),
    /// Wait for metrics from outside.
    Analysis(AnalysisStepForm),
    /// Ask a web hook; 2xx passes.
    Webhook(WebhookForm),
    /// Rise by the same difference again and again, each weight held for the same time.
    #[expect(
        dead_code,
        reason = "read alone: a plan is written back with the weights that a ramp stands for"
    )]
    Ramp(RampForm),
}

/// Weights from the one before up to `to`.
#[derive(Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RampForm {
    /// The last of them.
    pub to: Percent,
    /// How much each is above the one before.
    pub by: Percent,
    /// How long each is held before the next; at the last one a `bake` step overrides it.
    pub every: SpanText,
}

/// Nothing: `{}`.
#[derive(Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct EmptyForm {}

#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct ApprovalForm {
    /// Names of tokens, or user@host; left out, anyone.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1))]
    pub approvers: Option<Vec<String>>,
    /// How many different ones.
    #[schemars(extend("default" = 1))]
    pub min_approvers: Option<Count>,
    /// How long to wait.
    #[schemars(extend("default" = "4h"))]
    pub timeout: Option<SpanText>,
    /// What a silence leads to.
    #[schemars(extend("default" = "rollback"))]
    pub on_timeout: Option<Choice<Timeout>>,
}

#[derive(Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct AnalysisStepForm {
    /// Metrics that must hold, by their names under `analysis.metrics`.
    #[schemars(length(min = 1))]
    pub metrics: Vec<MetricName>,
    /// For how long.
    #[serde(rename = "for")]
    pub span: SpanText,
}

/// A text, or an environment variable of the daemon that holds it.
#[derive(Serialize, JsonSchema)]
#[serde(untagged, deny_unknown_fields)]
pub(super) enum ValueForm {
    /// As written.
    Plain(String),
    /// Read from this environment variable when it is needed.
    Env {
        /// The variable's name.
        env: EnvName,
    },
}

#[derive(Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct WebhookForm {
    /// Where to POST.
    pub url: ValueForm,
    /// For one attempt.
    #[schemars(extend("default" = "30s"))]
    pub timeout: Option<SpanText>,
    /// Further attempts after the first.
    #[schemars(extend("default" = 3))]
    pub retries: Option<Count>,
    /// Added to each request.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub headers: Option<BTreeMap<HeaderName, ValueForm>>,
}

#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct AnalysisForm {
    /// Failures against those of stable.
    pub failures: Option<FailuresForm>,
    /// Latency against that of stable, or none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub latency: Option<NoneOr<LatencyForm>>,
    /// Requests that the canary refuses (4xx) against those of stable, or none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refusals: Option<NoneOr<RefusalsForm>>,
    /// The probability of rolling back a harmless canary, over the whole rollout.
    #[schemars(extend("default" = "1%"))]
    pub false_rollback_rate: Option<Percent>,
    /// What must be proven before the next weight, or none.
    pub proof: Option<NoneOr<ProofForm>>,
    /// HTTP statuses that count as failures; for functions a function error does.
    #[schemars(length(min = 1), extend("default" = ["500-599"]))]
    pub failure_status: Option<Vec<StatusText>>,
    /// Least overdispersion of failures assumed.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 100), extend("default" = 1))]
    pub min_dispersion: Option<Number>,
    /// A part of stable as large as the canary, held beside it and counted by itself: as many of stable's own requests, or
    /// copies of the canary's, or none.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("default" = "none"))]
    pub baseline: Option<NoneOr<Choice<Baseline>>>,
    /// Gates whose numbers come from outside.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1))]
    pub metrics: Option<Vec<MetricForm>>,
}

#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct FailuresForm {
    /// How many times stable's failing share is accepted.
    #[schemars(range(min = 1, max = 100), extend("default" = 1.2))]
    pub max_ratio: Option<Number>,
    /// What is accepted on top of it.
    #[schemars(extend("default" = "0.05pp"))]
    pub max_added: Option<Points>,
    /// An absolute ceiling, or none.
    #[schemars(extend("default" = "none"))]
    pub max: Option<NoneOr<Percent>>,
}

#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct LatencyForm {
    /// How many times stable's latency is accepted.
    #[schemars(range(min = 1, max = 100), extend("default" = 1.5))]
    pub max_ratio: Option<Number>,
    /// What is accepted on top of it.
    #[schemars(extend("default" = "10ms"))]
    pub max_added: Option<SpanText>,
    /// An absolute ceiling for the 99th percentile, or none.
    #[serde(rename = "p99Max")]
    #[schemars(extend("default" = "none"))]
    pub p99_max: Option<NoneOr<SpanText>>,
    /// How long the canary warms up at least, from its start and from each rise, held against a wide limit meanwhile.
    #[schemars(extend("default" = "1m"))]
    pub warmup: Option<SpanText>,
}

#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct RefusalsForm {
    /// How many times stable's refused share is accepted.
    #[schemars(range(min = 1, max = 100), extend("default" = 1.5))]
    pub max_ratio: Option<Number>,
    /// What is accepted on top of it.
    #[schemars(extend("default" = "1pp"))]
    pub max_added: Option<Points>,
}

#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct ProofForm {
    /// Extra failures risked, as a share of all traffic after the advance.
    #[schemars(extend("default" = "0.5pp"))]
    pub added_failures: Option<Points>,
    /// The probability of letting a canary pass that is exactly at that margin.
    #[schemars(extend("default" = "5%"))]
    pub false_advance_rate: Option<Percent>,
}

#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct MetricForm {
    /// Its name, unique in the plan.
    pub name: MetricName,
    /// An instant query; or else a `webhook`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prometheus: Option<PrometheusForm>,
    /// A web hook that answers a number; or else `prometheus`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub webhook: Option<WebhookForm>,
    /// It must not fall below.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min: Option<Number>,
    /// It must not pass.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max: Option<Number>,
    /// From which weight on it is asked; left out, from the first.
    #[schemars(extend("default" = "0%"))]
    pub from: Option<Percent>,
    /// How often it is asked.
    #[schemars(extend("default" = "1m"))]
    pub interval: Option<SpanText>,
    /// How long after its weight began it is first asked.
    #[schemars(extend("default" = "0s"))]
    pub initial_delay: Option<SpanText>,
    /// Bad answers forgiven.
    #[schemars(extend("default" = 0))]
    pub failure_limit: Option<Count>,
    /// Consecutive answers without a verdict forgiven.
    #[schemars(extend("default" = 3))]
    pub inconclusive_limit: Option<Count>,
    /// Asked and shown, but decides nothing.
    #[schemars(extend("default" = false))]
    pub dry_run: Option<bool>,
}

#[derive(Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct PrometheusForm {
    /// The server.
    pub url: ValueForm,
    /// The query.
    #[schemars(length(min = 1))]
    pub query: String,
    /// Added to each request.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub headers: Option<BTreeMap<HeaderName, ValueForm>>,
}

#[derive(Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct MaxExposureForm {
    /// Failed canary requests that roll back, or none.
    #[schemars(extend("default" = "none"))]
    pub failures: Option<NoneOr<Count>>,
    /// Canary requests that pause, or none.
    #[schemars(extend("default" = "none"))]
    pub requests: Option<NoneOr<Count>>,
}

#[derive(Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct StableUnhealthyForm {
    /// Its failing share.
    #[schemars(extend("default" = "20%"))]
    pub failures: Option<Percent>,
    /// For how long.
    #[serde(rename = "for")]
    #[schemars(extend("default" = "1m"))]
    pub span: Option<SpanText>,
}

#[derive(Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct StepDeadlineForm {
    /// How long, while the daemon is up.
    #[schemars(extend("default" = "24h"))]
    pub after: Option<SpanText>,
    /// What then.
    #[schemars(extend("default" = "pause"))]
    pub then: Option<Choice<Timeout>>,
}

#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct WatchForm {
    /// For how long.
    #[serde(rename = "for")]
    #[schemars(extend("default" = "1h"))]
    pub span: Option<SpanText>,
    /// What an alarm leads to: it is said, the version before gets half of the traffic until the two are compared, or it
    /// is only noted.
    #[schemars(extend("default" = "notify"))]
    pub on_alarm: Option<Choice<OnAlarm>>,
}

#[derive(Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct WindowsForm {
    /// Stretches of the week in which advances may happen; left out, always.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 100))]
    pub allow: Option<Vec<WindowForm>>,
    /// Whole days without advances.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 100))]
    pub freeze: Option<Vec<FreezeForm>>,
}

#[derive(Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("minProperties" = 1))]
pub(super) struct WindowForm {
    /// The days it starts on; left out, every day.
    pub days: Option<DaysForm>,
    /// When it opens; left out, at midnight.
    pub from: Option<DayTimeText>,
    /// When it closes; left out, at midnight. Earlier than `from`, it runs into the next day.
    pub to: Option<DayTimeText>,
}

#[derive(Serialize, JsonSchema)]
#[serde(untagged)]
pub(super) enum DaysForm {
    Text(DaysText),
    #[expect(dead_code, reason = "plans may write a list; serin writes a text")]
    List(#[schemars(length(min = 1))] Vec<DaysText>),
}

#[derive(Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct FreezeForm {
    /// The first day.
    pub from: DateText,
    /// The last day.
    pub to: DateText,
}

#[derive(Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RoutingForm {
    /// What keeps a user on one version, or none.
    #[schemars(extend("default" = "none"))]
    pub affinity: Option<NoneOr<AffinityForm>>,
    /// A header that lets testers choose the version, or none; such requests are not evidence.
    #[serde(rename = "override")]
    #[schemars(extend("default" = "none"))]
    pub override_by: Option<NoneOr<OverrideForm>>,
    /// The share of requests that the canary gets a copy of if stable answers them, or none.
    #[schemars(extend("default" = "none"))]
    pub mirror: Option<NoneOr<Percent>>,
    /// Requests of which methods are copied: those that change nothing, or any.
    #[serde(rename = "mirrorMethods", skip_serializing_if = "Option::is_none")]
    #[schemars(extend("default" = "safe"))]
    pub mirror_methods: Option<Choice<MirrorMethods>>,
}

#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct TimeoutsForm {
    /// For the head of an answer, once the version has the whole request.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first_byte: Option<SpanText>,
    /// For the next piece of a body, from either side, and for the version to take one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub idle: Option<SpanText>,
}

#[derive(Serialize, JsonSchema)]
#[serde(untagged, deny_unknown_fields)]
pub(super) enum TunnelsForm {
    /// They go on until one of their ends is done.
    #[schemars(extend("enum" = ["leave"]))]
    Word(&'static str),
    /// They are closed, one by one.
    Close {
        /// Within this time.
        close: SpanText,
    },
}

#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(super) enum AffinityForm {
    /// The value of this cookie.
    Cookie(CookieName),
    /// The value of this header.
    Header(HeaderName),
}

#[derive(Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct OverrideForm {
    /// The header's name.
    pub header: HeaderName,
}

#[derive(Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NotifyForm {
    /// A Slack web hook; or else any `webhook`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub slack: Option<ChannelForm>,
    /// Any web hook; or else `slack`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub webhook: Option<ChannelForm>,
    /// Which events, or all.
    #[schemars(extend("default" = "all"))]
    pub events: Option<EventsForm>,
}

#[derive(Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ChannelForm {
    /// The address.
    pub url: ValueForm,
}

#[derive(Serialize, JsonSchema)]
#[serde(untagged)]
pub(super) enum EventsForm {
    /// All of them.
    #[schemars(extend("enum" = ["all"]))]
    All(&'static str),
    /// These.
    List(#[schemars(length(min = 1))] Vec<EventName>),
}

impl<T: JsonSchema> JsonSchema for NoneOr<T> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        format!("NoneOr{}", T::schema_name()).into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        json_schema!({ "anyOf": [generator.subschema_for::<T>(), { "type": "string", "enum": ["none"] }] })
    }
}

impl Serialize for StepForm {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let StepForm::Full(step) = self;
        step.serialize(serializer)
    }
}

impl JsonSchema for StepForm {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "StepForm".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let mut share = generator.subschema_for::<Percent>();
        share.insert("description".to_owned(), "Commit this share for the canary.".into());
        json_schema!({ "anyOf": [share, generator.subschema_for::<StepMap>()] })
    }
}
