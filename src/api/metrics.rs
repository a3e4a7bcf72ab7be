//! What Prometheus scrapes: traffic by executed version, weights, rollouts, and how serin itself is.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::{Registry, Unit};

use super::Api;
use super::clients::{self, Clients};
use super::error::ApiError;
use crate::clock;
use crate::control::handle::Health;
use crate::events::progress::Course;
use crate::log_queue::{self, LogQueue};
use crate::metrics::certificate::CertificateState;
use crate::metrics::connections::{Connections, Refused};
use crate::metrics::recorder::{Counts, FailureKind, Recorder, VersionCounts};
use crate::metrics::tunnels::Tunnels;
use crate::metrics::upstreams::{UpstreamState, Upstreams};
use crate::queues::progress::Progress;
use serin_core::lambda::alias::AliasId;
use serin_core::model::arn::{FunctionName, VersionId};
use serin_core::model::histogram::HistogramSnapshot;
use serin_core::model::time::Timestamp;
use serin_core::world::World;

const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// One scrape's view of everything.
struct Scrape {
    world: Arc<World>,
    recorder: Arc<Recorder>,
    connections: Arc<Connections>,
    clients: Arc<Clients>,
    upstreams: Upstreams,
    tunnels: Arc<dyn Tunnels>,
    certificate: Option<Arc<CertificateState>>,
    health: Arc<Health>,
    event_sources: Progress,
    async_events: BTreeMap<FunctionName, Course>,
    now: Timestamp,
    plans_faulty: usize,
    turns: u64,
    frozen: bool,
    log_lines_dropped: u64,
}

impl fmt::Debug for Scrape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Scrape")
    }
}

/// Metrics in the OpenMetrics text format.
#[utoipa::path(get, path = "/metrics", tag = "health", responses((status = 200, body = String,
    content_type = "application/openmetrics-text; version=1.0.0; charset=utf-8")))]
pub async fn serve(State(api): State<Api>) -> Result<Response, ApiError> {
    let scrape = Scrape {
        world: api.control.world(),
        recorder: Arc::clone(&api.recorder),
        connections: Arc::clone(&api.connections),
        clients: Arc::clone(&api.clients),
        upstreams: Arc::clone(&api.upstreams),
        tunnels: Arc::clone(&api.tunnels),
        certificate: api.certificate.clone(),
        health: api.control.health(),
        event_sources: api.event_sources.clone(),
        async_events: api.async_events.all(),
        now: clock::wall_now(),
        plans_faulty: api.control.book().files.values().filter(|file| !file.is_sound()).count(),
        turns: api.control.turns(),
        frozen: api.writer.frozen().is_some(),
        log_lines_dropped: api.logs.dropped(),
    };
    let text = tokio::task::spawn_blocking(move || {
        let mut registry = Registry::default();
        registry.register_collector(Box::new(scrape));
        let mut text = String::new();
        encode(&mut text, &registry).map(|()| text)
    });
    match text.await {
        Ok(Ok(text)) => Ok(([(header::CONTENT_TYPE, CONTENT_TYPE)], text).into_response()),
        _ => Err(ApiError::unavailable("the metrics could not be written")),
    }
}

type Labels<'a> = [(&'a str, &'a str)];

/// A family of series under one name.
struct Family<'a>(MetricEncoder<'a>);

impl<'a> Family<'a> {
    fn of(
        encoder: &'a mut DescriptorEncoder<'_>,
        name: &'a str,
        help: &str,
        unit: Option<&'a Unit>,
        kind: MetricType,
    ) -> Result<Family<'a>, fmt::Error> {
        encoder.encode_descriptor(name, help, unit, kind).map(Family)
    }

    fn count(&mut self, labels: &Labels<'_>, value: u64) -> fmt::Result {
        self.0.encode_family(&labels)?.encode_counter::<&Labels<'_>, _, u64>(&value, None)
    }

    fn gauge(&mut self, labels: &Labels<'_>, value: f64) -> fmt::Result {
        self.0.encode_family(&labels)?.encode_gauge(&value)
    }

    fn histogram(&mut self, labels: &Labels<'_>, latency: &HistogramSnapshot) -> fmt::Result {
        let buckets = octaves(latency);
        let sum_s = latency.sum_us() as f64 / 1e6;
        self.0.encode_family(&labels)?.encode_histogram::<&Labels<'_>>(sum_s, latency.count(), &buckets, None)
    }
}

/// Every eighth bucket edge, in seconds: fine enough to see a regression, coarse enough to scrape.
fn octaves(latency: &HistogramSnapshot) -> Vec<(f64, u64)> {
    let mut octaves = Vec::new();
    let mut since_edge = 0;
    for (index, (edge_us, count)) in latency.buckets().enumerate() {
        since_edge += count;
        match edge_us {
            Some(edge_us) if index % 8 == 0 => {
                octaves.push((edge_us as f64 / 1e6, since_edge));
                since_edge = 0;
            }
            None => octaves.push((f64::MAX, since_edge)),
            Some(_) => {}
        }
    }
    octaves
}

type Series = BTreeMap<(String, String, String), VersionCounts>;

/// What was counted by function, alias and version, where anything was dispatched.
fn series_of(count: impl FnOnce(&mut dyn FnMut(&AliasId, VersionId, &VersionCounts))) -> Series {
    let mut series = Series::new();
    count(&mut |alias, version, counts| {
        if counts.counts.dispatched > 0 {
            let key = (alias.function.to_string(), alias.alias.to_string(), version.to_string());
            series.insert(key, counts.clone());
        }
    });
    series
}

/// Writes one count of each version.
fn by_version(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    series: &Series,
    of: impl Fn(&Counts) -> u64,
) -> fmt::Result {
    let mut family = Family::of(encoder, name, help, None, MetricType::Counter)?;
    for ((function, alias, version), counts) in series {
        let labels = [("function", &**function), ("alias", &**alias), ("executed_version", &**version)];
        family.count(&labels, of(&counts.counts))?;
    }
    Ok(())
}

/// Writes the latencies of each version.
fn latencies(encoder: &mut DescriptorEncoder<'_>, name: &str, help: &str, series: &Series) -> fmt::Result {
    let mut family = Family::of(encoder, name, help, Some(&Unit::Seconds), MetricType::Histogram)?;
    for ((function, alias, version), counts) in series {
        let labels = [("function", &**function), ("alias", &**alias), ("executed_version", &**version)];
        family.histogram(&labels, &counts.latency)?;
    }
    Ok(())
}

impl Collector for Scrape {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let series = series_of(|visit| self.recorder.totals(visit));
        self.traffic(&mut encoder, &series)?;
        let copies = series_of(|visit| self.recorder.copies(visit));
        let name = "serin_mirrored_requests";
        by_version(&mut encoder, name, "Copies of requests that a canary was sent", &copies, |counts| {
            counts.dispatched
        })?;
        let name = "serin_mirrored_request_failures";
        by_version(&mut encoder, name, "Copies of requests that failed", &copies, |counts| {
            counts.failures.total()
        })?;
        let baselines = series_of(|visit| self.recorder.baselines(visit));
        let name = "serin_baseline_requests";
        by_version(
            &mut encoder,
            name,
            "Requests held beside a canary's, as its baseline",
            &baselines,
            |counts| counts.dispatched,
        )?;
        let name = "serin_baseline_request_failures";
        by_version(&mut encoder, name, "Requests of a baseline that failed", &baselines, |counts| {
            counts.failures.total()
        })?;
        let help = "Time from dispatch to the head of the answer, of a baseline";
        latencies(&mut encoder, "serin_baseline_request_duration", help, &baselines)?;
        self.aliases(&mut encoder)?;
        self.rollouts(&mut encoder)?;
        self.event_sources(&mut encoder)?;
        self.async_events(&mut encoder)?;
        self.upstreams(&mut encoder)?;
        self.connections(&mut encoder)?;
        self.own(&mut encoder)
    }
}

impl Scrape {
    fn traffic(&self, encoder: &mut DescriptorEncoder<'_>, series: &Series) -> fmt::Result {
        let counter = MetricType::Counter;
        let help = "Requests dispatched to a version by an alias's weights";
        by_version(encoder, "serin_requests", help, series, |counts| counts.dispatched)?;
        let mut family =
            Family::of(encoder, "serin_request_failures", "Requests that failed, by kind", None, counter)?;
        for ((function, alias, version), counts) in series {
            for kind in FailureKind::ALL {
                let kind_name = kind.to_string();
                let labels = [
                    ("function", &**function),
                    ("alias", &**alias),
                    ("executed_version", &**version),
                    ("kind", &*kind_name),
                ];
                family.count(&labels, counts.counts.failures.of(kind))?;
            }
        }
        let help = "Requests whose client went away first";
        by_version(encoder, "serin_requests_cancelled", help, series, |counts| counts.cancelled)?;
        let help = "Time from dispatch to the head of the answer";
        latencies(encoder, "serin_request_duration", help, series)
    }

    fn aliases(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let mut family = Family::of(
            encoder,
            "serin_alias_weight",
            "Share of an alias's traffic, 0 to 1",
            None,
            MetricType::Gauge,
        )?;
        for state in self.world.aliases.values() {
            let id = &state.alias.id;
            let routing = state.alias.routing;
            let beside =
                routing.additional.map(|additional| (additional.version.to_string(), additional.weight));
            let primary = beside.as_ref().map_or(1.0, |(_, weight)| weight.complement().fraction());
            let version = routing.function_version.to_string();
            let labels = [
                ("function", id.function.as_str()),
                ("alias", id.alias.as_str()),
                ("executed_version", &*version),
            ];
            family.gauge(&labels, primary)?;
            if let Some((version, weight)) = beside {
                let labels = [
                    ("function", id.function.as_str()),
                    ("alias", id.alias.as_str()),
                    ("executed_version", &*version),
                ];
                family.gauge(&labels, weight.fraction())?;
            }
        }
        Ok(())
    }

    fn rollouts(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let mut family = Family::of(
            encoder,
            "serin_rollout_step",
            "Current step of a live rollout; its labels are the plan's, prefixed label_",
            None,
            MetricType::Gauge,
        )?;
        let mut phases: BTreeMap<&str, u64> = BTreeMap::new();
        for id in &self.world.live {
            let Some(rollout) = self.world.rollout(*id) else { continue };
            let record = &rollout.record;
            *phases.entry(record.phase.name()).or_default() += 1;
            let (id, stable, canary) =
                (record.id.to_string(), record.stable.to_string(), record.canary.to_string());
            let prefixed: Vec<(String, &String)> =
                rollout.plan.labels.iter().map(|(key, value)| (format!("label_{key}"), value)).collect();
            let mut labels = vec![
                ("function", record.alias.function.as_str()),
                ("alias", record.alias.alias.as_str()),
                ("rollout", &*id),
                ("plan", &*record.plan_name),
                ("phase", record.phase.name()),
                ("stable_version", &*stable),
                ("canary_version", &*canary),
            ];
            labels.extend(prefixed.iter().map(|(key, value)| (&**key, &***value)));
            family.gauge(&labels, record.step as f64)?;
        }
        let mut family =
            Family::of(encoder, "serin_rollouts", "Live rollouts by phase", None, MetricType::Gauge)?;
        for phase in ["Pending", "Progressing", "Paused", "Promoting", "RollingBack"] {
            family.gauge(&[("phase", phase)], phases.get(phase).copied().unwrap_or(0) as f64)?;
        }
        Ok(())
    }

    fn event_sources(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let mut family = Family::of(
            encoder,
            "serin_event_source_messages",
            "Messages of an event source mapping, by what became of them",
            None,
            MetricType::Counter,
        )?;
        for source in self.world.event_sources.values() {
            let mapping = source.id.to_string();
            for (outcome, messages) in self.event_sources.of(source.id).messages {
                let labels = [
                    ("mapping", &*mapping),
                    ("function", source.function.as_str()),
                    ("outcome", outcome.name()),
                ];
                family.count(&labels, messages)?;
            }
        }
        Ok(())
    }

    fn async_events(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let (gauge, counter) = (MetricType::Gauge, MetricType::Counter);
        let help = "Events of asynchronous invocations that have not ended";
        let mut family = Family::of(encoder, "serin_async_events_waiting", help, None, gauge)?;
        for (function, course) in &self.async_events {
            family.gauge(&[("function", function.as_str())], course.waiting as f64)?;
        }
        let help = "How long ago the oldest event that has not ended was accepted";
        let unit = Some(&Unit::Seconds);
        let mut family = Family::of(encoder, "serin_async_events_oldest", help, unit, gauge)?;
        for (function, course) in &self.async_events {
            let age = course.oldest.map_or(Duration::ZERO, |oldest| self.now.since(oldest));
            family.gauge(&[("function", function.as_str())], age.as_secs_f64())?;
        }
        let help = "Events, or attempts at them, by what became of them";
        let mut family = Family::of(encoder, "serin_async_events", help, None, counter)?;
        for (function, course) in &self.async_events {
            for (outcome, events) in &course.outcomes {
                family.count(&[("function", function.as_str()), ("outcome", outcome.name())], *events)?;
            }
        }
        let help = "Events that have ended, and whose destinations have not all heard of it";
        let mut family = Family::of(encoder, "serin_async_reports_waiting", help, None, gauge)?;
        for (function, course) in &self.async_events {
            family.gauge(&[("function", function.as_str())], course.owed as f64)?;
        }
        let help = "Reports to destinations and dead letters, by whether they were taken";
        let mut family = Family::of(encoder, "serin_async_reports", help, None, counter)?;
        for (function, course) in &self.async_events {
            for ((kind, was_taken), reports) in &course.reports {
                let outcome = if *was_taken { "sent" } else { "dropped" };
                let labels =
                    [("function", function.as_str()), ("destination", kind.name()), ("outcome", outcome)];
                family.count(&labels, *reports)?;
            }
        }
        Ok(())
    }

    fn upstreams(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let mut family = Family::of(
            encoder,
            "serin_upstream_up",
            "Whether a place gets requests of a version, which is at several or has a health path",
            None,
            MetricType::Gauge,
        )?;
        // Several routes may lead to a version.
        let mut places = BTreeMap::new();
        for UpstreamState { function, version, place, is_up } in (self.upstreams)() {
            places.insert((function.to_string(), version.to_string(), place), is_up);
        }
        for ((function, version, place), is_up) in places {
            let labels = [("function", &*function), ("version", &*version), ("place", &*place)];
            family.gauge(&labels, if is_up { 1.0 } else { 0.0 })?;
        }
        Ok(())
    }

    fn connections(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let open = "Open connections of the router's clients";
        Family::of(encoder, "serin_connections_open", open, None, MetricType::Gauge)?
            .gauge(&[], self.connections.open() as f64)?;
        let help = "Open WebSockets and other tunnels of an alias to a version, whether or not it still gets requests";
        let mut family = Family::of(encoder, "serin_tunnels_open", help, None, MetricType::Gauge)?;
        for (alias, version, open) in self.tunnels.all() {
            let version = version.to_string();
            let labels = [
                ("function", alias.function.as_str()),
                ("alias", alias.alias.as_str()),
                ("executed_version", &*version),
            ];
            family.gauge(&labels, open as f64)?;
        }
        let mut refused = Family::of(
            encoder,
            "serin_connections_refused",
            "Connections of clients that were closed without being served, or no longer served, by reason",
            None,
            MetricType::Counter,
        )?;
        for why in Refused::ALL {
            refused.count(&[("reason", why.name())], self.connections.refused(why))?;
        }
        let control = "Open connections to the control listener";
        Family::of(encoder, "serin_control_connections_open", control, None, MetricType::Gauge)?
            .gauge(&[], self.clients.open() as f64)?;
        let mut refused = Family::of(
            encoder,
            "serin_control_refused",
            "Connections and requests that the control listener had no room for, by what they wanted room for",
            None,
            MetricType::Counter,
        )?;
        for why in clients::Refused::ALL {
            refused.count(&[("reason", why.name())], self.clients.refused(why))?;
        }
        let Some(certificate) = &self.certificate else { return Ok(()) };
        let ends = "When the first certificate of the router's chain ends, since 1970";
        let (gauge, unit) = (MetricType::Gauge, Some(&Unit::Seconds));
        Family::of(encoder, "serin_tls_certificate_ends_timestamp", ends, unit, gauge)?
            .gauge(&[], certificate.ends_at_s() as f64)?;
        let refused = "Whether the files hold no pair now, and the certificate before is served on";
        Family::of(encoder, "serin_tls_certificate_refused", refused, None, MetricType::Gauge)?
            .gauge(&[], if certificate.is_refused() { 1.0 } else { 0.0 })
    }

    fn own(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let gauge = MetricType::Gauge;
        let flag = |on: bool| if on { 1.0 } else { 0.0 };
        Family::of(encoder, "serin_build", "The version of serin that runs", None, MetricType::Gauge)?
            .gauge(&[("version", env!("CARGO_PKG_VERSION"))], 1.0)?;
        Family::of(encoder, "serin_journal_seq", "The last entry of the journal", None, gauge)?
            .gauge(&[], self.world.seq.0 as f64)?;
        Family::of(encoder, "serin_control_turns", "Turns of the control thread", None, MetricType::Counter)?
            .count(&[], self.turns)?;
        let counter = MetricType::Counter;
        Family::of(
            encoder,
            "serin_log_lines_dropped",
            "Log lines that could not be written in time",
            None,
            counter,
        )?
        .count(&[], self.log_lines_dropped)?;
        let help = "Lines of serin's own log that stderr did not take";
        Family::of(encoder, "serin_own_log_lines_lost", help, None, counter)?
            .count(&[], log_queue::of_process().map_or(0, LogQueue::lost))?;
        Family::of(encoder, "serin_store_trouble", "Whether changes cannot be stored", None, gauge)?
            .gauge(&[], flag(self.health.trouble.is_some() || self.frozen))?;
        Family::of(encoder, "serin_plans_faulty", "Plan files that are not in order", None, gauge)?
            .gauge(&[], self.plans_faulty as f64)
    }
}
