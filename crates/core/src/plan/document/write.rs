//! Plan → document, with every value said.

use std::collections::BTreeMap;

use super::types::{
    AffinityForm, AfterForm, AnalysisForm, AnalysisStepForm, ApprovalForm, ChannelForm, DaysForm, EmptyForm,
    EventsForm, FailuresForm, FreezeForm, LatencyForm, MaxExposureForm, MetricForm, NotifyForm, OverrideForm,
    PlanDocument, PrometheusForm, ProofForm, RefusalsForm, RoutingForm, StableUnhealthyForm, StartForm,
    StepDeadlineForm, StepForm, StepMap, TimeoutsForm, TunnelsForm, ValueForm, WatchForm, WebhookForm,
    WindowForm, WindowsForm,
};
use crate::lambda::timeouts::{UpstreamTimeouts, Wait};
use crate::model::span;
use crate::model::weight::Weight;
use crate::plan::calendar::Windows;
use crate::plan::document::forms::{
    Choice, Count, DayTimeText, EventName, LabelText, Number, StatusText, VersionText,
};
use crate::plan::document::forms::{
    CookieName, DateText, DaysText, EnvName, HeaderName, LabelName, MetricName, Percent, Points, SpanText,
    TargetName, ZoneName,
};
use crate::plan::model::{
    Affinity, Analysis, Approval, Channel, LatencyLimits, Metric, MetricSource, Notify, Plan, RoutingOptions,
    Start, Step, Tunnels, Value, VersionChoice, WatchPlan, Webhook,
};
use crate::plan::words::percent;

fn span_text(span: std::time::Duration) -> SpanText {
    SpanText(span::write(span))
}

fn percent_text(share: f64) -> Percent {
    Percent(format!("{}%", percent(share)))
}

fn points_text(share: f64) -> Points {
    Points(format!("{}pp", percent(share)))
}

/// Lists and maps without entries are left out: a plan cannot write them.
fn filled<T>(items: Vec<T>) -> Option<Vec<T>> {
    (!items.is_empty()).then_some(items)
}

impl PlanDocument {
    /// Writes a plan; of keys named in `in_force.rs`, those for which `holds`.
    pub fn of(plan: &Plan, holds: impl Fn(&[&str]) -> bool) -> PlanDocument {
        let labels =
            plan.labels.iter().map(|(name, value)| (LabelName(name.clone()), LabelText(value.clone())));
        PlanDocument {
            api_version: Some("serin/v1"),
            kind: Some("Plan"),
            uses: None,
            description: plan.description.clone(),
            labels: (!plan.labels.is_empty()).then(|| labels.collect()),
            function: Some(plan.target.function.to_string()),
            alias: Some(plan.target.alias.to_string()),
            time_zone: Some(ZoneName(plan.time_zone.name().to_owned())),
            version: Some(VersionText(match plan.version {
                VersionChoice::Newest => "newest".to_owned(),
                VersionChoice::Number(number) => number.to_string(),
            })),
            start: Some(start(&plan.start)),
            on_new_version: Some(Choice(plan.on_new_version)),
            bake: Some(span_text(plan.bake)),
            // What `firstWeight: mirror` puts in front says itself, and is no weight that a plan may set.
            steps: Some(
                plan.steps
                    .iter()
                    .filter(|each| **each != Step::SetWeight(Weight::ZERO))
                    .map(|each| StepForm::Full(step(each)))
                    .collect(),
            ),
            preset: None,
            first_weight: plan.first_weight.map(Choice),
            analysis: Some(plan.analysis.as_ref().map(|each| analysis(each, &holds)).into()),
            max_exposure: Some(MaxExposureForm {
                failures: Some(plan.max_exposure.failures.map(Count).into()),
                requests: Some(plan.max_exposure.requests.map(Count).into()),
            }),
            on_failure: Some(Choice(plan.on_failure)),
            on_drift: Some(Choice(plan.on_drift)),
            when_stable_unhealthy: holds(&["whenStableUnhealthy"])
                .then_some(Choice(plan.when_stable_unhealthy)),
            stable_unhealthy: holds(&["stableUnhealthy"]).then(|| StableUnhealthyForm {
                failures: Some(percent_text(plan.stable_unhealthy.failures)),
                span: Some(span_text(plan.stable_unhealthy.span)),
            }),
            step_deadline: Some(StepDeadlineForm {
                after: Some(span_text(plan.step_deadline.after)),
                then: Some(Choice(plan.step_deadline.then)),
            }),
            watch: holds(&["watch"]).then(|| {
                let form = |watch: WatchPlan| WatchForm {
                    span: Some(span_text(watch.span)),
                    on_alarm: Some(Choice(watch.on_alarm)),
                };
                plan.watch.map(form).into()
            }),
            windows: windows(&plan.windows),
            routing: Some(routing(&plan.routing)),
            timeouts: timeouts(plan.timeouts),
            tunnels: Some(tunnels(plan.tunnels)),
            notify: filled(plan.notify.iter().map(notify).collect()),
        }
    }
}

fn start(start: &Start) -> StartForm {
    match start {
        Start::Manual => StartForm::Word("manual"),
        Start::OnPublish => StartForm::Word("onPublish"),
        Start::Cron(schedule) => StartForm::Cron { cron: schedule.text().to_owned() },
        Start::After { target, span } => StartForm::After {
            after: AfterForm { target: TargetName(target.to_string()), span: span_text(*span) },
        },
    }
}

fn step(step: &Step) -> StepMap {
    match step {
        Step::SetWeight(weight) => StepMap::SetWeight(Percent(weight.to_string())),
        Step::Bake(span) => StepMap::Bake(span_text(*span)),
        Step::Pause => StepMap::Pause(EmptyForm {}),
        Step::Approval(step) => StepMap::Approval(approval(step)),
        Step::Analysis(step) => StepMap::Analysis(AnalysisStepForm {
            metrics: step.metrics.iter().cloned().map(MetricName).collect(),
            span: span_text(step.span),
        }),
        Step::Webhook(step) => StepMap::Webhook(webhook(step)),
    }
}

fn approval(approval: &Approval) -> ApprovalForm {
    ApprovalForm {
        approvers: filled(approval.approvers.clone()),
        min_approvers: Some(Count(u64::from(approval.min_approvers))),
        timeout: Some(span_text(approval.timeout)),
        on_timeout: Some(Choice(approval.on_timeout)),
    }
}

fn value(value: &Value) -> ValueForm {
    match value {
        Value::Plain(text) => ValueForm::Plain(text.clone()),
        Value::Env(name) => ValueForm::Env { env: EnvName(name.clone()) },
    }
}

fn webhook(webhook: &Webhook) -> WebhookForm {
    WebhookForm {
        url: value(&webhook.url),
        timeout: Some(span_text(webhook.timeout)),
        retries: Some(Count(u64::from(webhook.retries))),
        headers: headers(&webhook.headers),
    }
}

fn headers(headers: &BTreeMap<String, Value>) -> Option<BTreeMap<HeaderName, ValueForm>> {
    let forms = headers.iter().map(|(name, content)| (HeaderName(name.clone()), value(content)));
    (!headers.is_empty()).then(|| forms.collect())
}

fn analysis(analysis: &Analysis, holds: &impl Fn(&[&str]) -> bool) -> AnalysisForm {
    let statuses = analysis
        .failure_status
        .iter()
        .map(|(low, high)| StatusText(if low == high { low.to_string() } else { format!("{low}-{high}") }));
    let proof = analysis.proof.map(|proof| ProofForm {
        added_failures: Some(points_text(proof.added_failures)),
        false_advance_rate: Some(percent_text(proof.false_advance_rate)),
    });
    AnalysisForm {
        failures: Some(FailuresForm {
            max_ratio: Some(Number(analysis.failures.max_ratio)),
            max_added: Some(points_text(analysis.failures.max_added)),
            max: Some(analysis.failures.max.map(percent_text).into()),
        }),
        latency: Some(analysis.latency.as_ref().map(latency).into()),
        refusals: Some(
            analysis
                .refusals
                .map(|limits| RefusalsForm {
                    max_ratio: Some(Number(limits.max_ratio)),
                    max_added: Some(points_text(limits.max_added)),
                })
                .into(),
        ),
        false_rollback_rate: Some(percent_text(analysis.false_rollback_rate)),
        proof: Some(proof.into()),
        failure_status: filled(statuses.collect()),
        min_dispersion: holds(&["analysis", "minDispersion"]).then_some(Number(analysis.min_dispersion)),
        baseline: Some(analysis.baseline.map(Choice).into()),
        metrics: filled(analysis.metrics.iter().map(metric).collect()),
    }
}

fn latency(limits: &LatencyLimits) -> LatencyForm {
    LatencyForm {
        max_ratio: Some(Number(limits.max_ratio)),
        max_added: Some(span_text(limits.max_added)),
        p99_max: Some(limits.p99_max.map(span_text).into()),
        warmup: Some(span_text(limits.warmup)),
    }
}

fn metric(metric: &Metric) -> MetricForm {
    let (prometheus, hook) = match &metric.source {
        MetricSource::Prometheus { url, query, headers: own } => {
            let form = PrometheusForm { url: value(url), query: query.clone(), headers: headers(own) };
            (Some(form), None)
        }
        MetricSource::Webhook(hook) => (None, Some(webhook(hook))),
    };
    MetricForm {
        name: MetricName(metric.name.clone()),
        prometheus,
        webhook: hook,
        min: metric.min.map(Number),
        max: metric.max.map(Number),
        from: Some(Percent(metric.from.to_string())),
        interval: Some(span_text(metric.interval)),
        initial_delay: Some(span_text(metric.initial_delay)),
        failure_limit: Some(Count(u64::from(metric.failure_limit))),
        inconclusive_limit: Some(Count(u64::from(metric.inconclusive_limit))),
        dry_run: Some(metric.dry_run),
    }
}

fn windows(windows: &Windows) -> Option<WindowsForm> {
    let allow = windows.allow.iter().map(|window| WindowForm {
        days: Some(DaysForm::Text(DaysText(window.days().to_string()))),
        from: Some(DayTimeText(window.from().to_string())),
        to: Some(DayTimeText(window.to().to_string())),
    });
    let freeze = windows.freeze.iter().map(|freeze| FreezeForm {
        from: DateText(freeze.from().to_string()),
        to: DateText(freeze.to().to_string()),
    });
    let form = WindowsForm { allow: filled(allow.collect()), freeze: filled(freeze.collect()) };
    (form.allow.is_some() || form.freeze.is_some()).then_some(form)
}

fn routing(routing: &RoutingOptions) -> RoutingForm {
    let affinity = routing.affinity.as_ref().map(|affinity| match affinity {
        Affinity::Cookie(name) => AffinityForm::Cookie(CookieName(name.clone())),
        Affinity::Header(name) => AffinityForm::Header(HeaderName(name.clone())),
    });
    let override_by =
        routing.override_header.clone().map(|header| OverrideForm { header: HeaderName(header) });
    RoutingForm {
        affinity: Some(affinity.into()),
        override_by: Some(override_by.into()),
        mirror: Some(routing.mirror.map(|mirror| Percent(mirror.share.to_string())).into()),
        mirror_methods: routing.mirror.map(|mirror| Choice(mirror.methods)),
    }
}

fn timeouts(timeouts: UpstreamTimeouts) -> Option<TimeoutsForm> {
    let text = |wait: Option<Wait>| wait.map(|wait| span_text(wait.span()));
    let form = TimeoutsForm { first_byte: text(timeouts.first_byte), idle: text(timeouts.idle) };
    (!timeouts.is_empty()).then_some(form)
}

fn tunnels(tunnels: Tunnels) -> TunnelsForm {
    match tunnels {
        Tunnels::Leave => TunnelsForm::Word("leave"),
        Tunnels::Close(within) => TunnelsForm::Close { close: span_text(within) },
    }
}

fn notify(notify: &Notify) -> NotifyForm {
    let (slack, webhook) = match &notify.channel {
        Channel::Slack(url) => (Some(ChannelForm { url: value(url) }), None),
        Channel::Webhook(url) => (None, Some(ChannelForm { url: value(url) })),
    };
    let events = notify.events.as_ref().map_or(EventsForm::All("all"), |events| {
        EventsForm::List(events.iter().cloned().map(EventName).collect())
    });
    NotifyForm { slack, webhook, events: Some(events) }
}
