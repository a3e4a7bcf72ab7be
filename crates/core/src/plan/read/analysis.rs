//! How the canary is judged: limits, proof, and metrics from outside.

use std::collections::BTreeMap;
use std::time::Duration;

use super::fields::{Field, Fields, Reader};
use super::values::Span;
use crate::model::arn::NameError;
use crate::model::weight::Weight;
use crate::plan::diagnose::Place;
use crate::plan::model::{
    Analysis, FailureLimits, LatencyLimits, Metric, MetricSource, Proof, RefusalLimits,
};
use crate::plan::{defaults, keys};

/// The bounds of a probability of error, in percent: below, nothing is ever decided; above, by chance.
const RATE: std::ops::RangeInclusive<f64> = 0.01..=20.0;
const RATIO: std::ops::RangeInclusive<f64> = 1.0..=100.0;
const POINTS: std::ops::RangeInclusive<f64> = 0.0..=50.0;
/// The largest number a metric may be compared with.
const VALUE_MAX: f64 = 1e15;
/// The least share or difference that can be written.
const LEAST: f64 = 0.0001;

impl Reader<'_> {
    /// Takes `analysis`.
    pub fn analysis(&mut self, field: &Field<'_>) -> Option<Analysis> {
        let fields = self.map(field, &keys::ANALYSIS)?;
        let default = Analysis::default();
        let failures = fields.get("failures").map_or(Some(default.failures), |field| self.failures(&field));
        let latency = fields.get("latency").map_or(Some(default.latency), |field| {
            self.none_or(&field, |reader, field| reader.latency(field))
        });
        let refusals = fields.get("refusals").map_or(Some(default.refusals), |field| {
            self.none_or(&field, |reader, field| reader.refusals(field))
        });
        let false_rollback_rate = fields
            .get("falseRollbackRate")
            .map_or(Some(default.false_rollback_rate), |field| self.share(&field, RATE));
        let proof = fields
            .get("proof")
            .map_or(Some(default.proof), |field| self.none_or(&field, |reader, field| reader.proof(field)));
        let failure_status = fields
            .get("failureStatus")
            .map_or(Some(default.failure_status), |field| self.failure_status(&field));
        let min_dispersion = fields
            .get("minDispersion")
            .map_or(Some(default.min_dispersion), |field| self.number(&field, RATIO));
        let baseline = fields
            .get("baseline")
            .map_or(Some(None), |field| self.none_or(&field, |reader, field| reader.choice(field)));
        let metrics = fields.get("metrics").map_or(Some(Vec::new()), |field| self.metrics(&field));
        Some(Analysis {
            failures: failures?,
            latency: latency?,
            refusals: refusals?,
            false_rollback_rate: false_rollback_rate?,
            proof: proof?,
            failure_status: failure_status?,
            min_dispersion: min_dispersion?,
            baseline: baseline?,
            metrics: metrics?,
        })
    }

    fn failures(&mut self, field: &Field<'_>) -> Option<FailureLimits> {
        if self.scalar_text(field) == Some("none") {
            self.faults.error(field.place(), "`failures` cannot be `none`: they are what serin judges by").help(
                "write `analysis: none` to go by time and people alone, or `onFailure: report` to judge without acting",
            );
            return None;
        }
        let fields = self.map(field, &keys::FAILURES)?;
        let default = FailureLimits::default();
        let max_ratio =
            fields.get("maxRatio").map_or(Some(default.max_ratio), |field| self.number(&field, RATIO));
        let max_added =
            fields.get("maxAdded").map_or(Some(default.max_added), |field| self.points(&field, POINTS));
        let max = fields.get("max").map_or(Some(default.max), |field| {
            self.none_or(&field, |reader, field| reader.share(field, LEAST..=100.0))
        });
        Some(FailureLimits { max_ratio: max_ratio?, max_added: max_added?, max: max? })
    }

    fn latency(&mut self, field: &Field<'_>) -> Option<LatencyLimits> {
        let fields = self.map(field, &keys::LATENCY)?;
        let default = LatencyLimits::default();
        let max_ratio =
            fields.get("maxRatio").map_or(Some(default.max_ratio), |field| self.number(&field, RATIO));
        let max_added =
            fields.get("maxAdded").map_or(Some(default.max_added), |field| self.span(&field, Span::Fine));
        let p99_max = fields.get("p99Max").map_or(Some(default.p99_max), |field| {
            self.none_or(&field, |reader, field| reader.span(field, Span::FinePositive))
        });
        let warmup = fields.get("warmup").map_or(Some(default.warmup), |field| self.span(&field, Span::Any));
        Some(LatencyLimits {
            max_ratio: max_ratio?,
            max_added: max_added?,
            p99_max: p99_max?,
            warmup: warmup?,
        })
    }

    fn refusals(&mut self, field: &Field<'_>) -> Option<RefusalLimits> {
        let fields = self.map(field, &keys::REFUSALS)?;
        let default = RefusalLimits::default();
        let max_ratio =
            fields.get("maxRatio").map_or(Some(default.max_ratio), |field| self.number(&field, RATIO));
        let max_added =
            fields.get("maxAdded").map_or(Some(default.max_added), |field| self.points(&field, POINTS));
        Some(RefusalLimits { max_ratio: max_ratio?, max_added: max_added? })
    }

    fn proof(&mut self, field: &Field<'_>) -> Option<Proof> {
        let fields = self.map(field, &keys::PROOF)?;
        let default = Proof::default();
        let added_failures = fields
            .get("addedFailures")
            .map_or(Some(default.added_failures), |field| self.points(&field, LEAST..=50.0));
        let false_advance_rate = fields
            .get("falseAdvanceRate")
            .map_or(Some(default.false_advance_rate), |field| self.share(&field, RATE));
        Some(Proof { added_failures: added_failures?, false_advance_rate: false_advance_rate? })
    }

    fn failure_status(&mut self, field: &Field<'_>) -> Option<Vec<(u16, u16)>> {
        let items = self.list(field)?;
        let mut ranges = Vec::with_capacity(items.len());
        for item in items {
            let item = Field { example: "500-599", ..field.item("a failure status", item) };
            let Some((text, _)) = self.word(&item, "an HTTP status or a range of them") else { continue };
            match status_range(text) {
                Ok(range) => ranges.push(range),
                Err(StatusFault::Text) => {
                    self.not(&item, "an HTTP status or a range of them", text, class_of(text));
                }
                Err(StatusFault::Outside) => {
                    self.refuse(
                        &item,
                        "which is out of bounds",
                        Some("HTTP statuses are 100 to 599".to_owned()),
                    );
                }
                Err(StatusFault::Reversed(low, high)) => {
                    self.refuse(
                        &item,
                        "which runs backwards",
                        Some(format!("did you mean \"{high}-{low}\"?")),
                    );
                }
            }
        }
        (ranges.len() == items.len()).then_some(ranges)
    }

    fn metrics(&mut self, field: &Field<'_>) -> Option<Vec<Metric>> {
        let items = self.list(field)?;
        let mut metrics: Vec<(Metric, Place)> = Vec::with_capacity(items.len());
        for item in items {
            let item = Field { example: "{name: queue-age, …}", ..field.item("a metric", item) };
            let Some(metric) = self.metric(&item) else { continue };
            if let Some((_, first)) = metrics.iter().find(|(known, _)| known.name == metric.name) {
                self.faults
                    .error(item.place(), format!("the metric `{}` is defined a second time", metric.name))
                    .help("give it a name of its own")
                    .related(*first, "first here");
            }
            metrics.push((metric, item.place()));
        }
        (metrics.len() == items.len()).then(|| metrics.into_iter().map(|(metric, _)| metric).collect())
    }

    fn metric(&mut self, field: &Field<'_>) -> Option<Metric> {
        let fields = self.map(field, &keys::METRIC)?;
        let name = match fields.get("name") {
            Some(name) => self.name(&name, metric_name),
            None => {
                self.missing(&fields, fields.place, "a metric", "name");
                None
            }
        };
        let source = self.metric_source(&fields);
        let any = -VALUE_MAX..=VALUE_MAX;
        let min = fields.get("min").map_or(Some(None), |field| self.number(&field, any.clone()).map(Some));
        let max = fields.get("max").map_or(Some(None), |field| self.number(&field, any).map(Some));
        match (min, max) {
            (Some(None), Some(None)) => {
                self.faults
                    .error(fields.place, "a metric without `min` and `max` decides nothing")
                    .help("write for example `max: 30`");
            }
            (Some(Some(least)), Some(Some(most))) if least > most => {
                if let (Some(min), Some(max)) = (fields.get("min"), fields.get("max")) {
                    self.faults
                        .error(min.place(), format!("`min` {least} is above `max` {most}"))
                        .help("no value could pass")
                        .related(max.place(), "`max` is here");
                }
            }
            _ => {}
        }
        let from = fields.get("from").map_or(Some(Weight::ZERO), |field| self.weight(&field));
        let interval = fields
            .get("interval")
            .map_or(Some(defaults::METRIC_INTERVAL), |field| self.span(&field, Span::Positive));
        let initial_delay =
            fields.get("initialDelay").map_or(Some(Duration::ZERO), |field| self.span(&field, Span::Any));
        let failure_limit = fields.get("failureLimit").map_or(Some(0), |field| self.count(&field, 0..=1_000));
        let inconclusive_limit = fields
            .get("inconclusiveLimit")
            .map_or(Some(defaults::INCONCLUSIVE_LIMIT), |field| self.count(&field, 0..=1_000));
        let dry_run = fields.get("dryRun").map_or(Some(false), |field| self.truth(&field));
        Some(Metric {
            name: name?,
            source: source?,
            min: min?,
            max: max?,
            from: from?,
            interval: interval?,
            initial_delay: initial_delay?,
            failure_limit: u32::try_from(failure_limit?).ok()?,
            inconclusive_limit: u32::try_from(inconclusive_limit?).ok()?,
            dry_run: dry_run?,
        })
    }

    fn metric_source(&mut self, fields: &Fields<'_>) -> Option<MetricSource> {
        match (fields.get("prometheus"), fields.get("webhook")) {
            (Some(prometheus), None) => self.prometheus(&prometheus),
            (None, Some(webhook)) => self.webhook(&webhook).map(MetricSource::Webhook),
            (Some(prometheus), Some(webhook)) => {
                self.faults
                    .error(webhook.at, "a metric comes from `prometheus` or from a `webhook`, not from both")
                    .help("delete one, or define two metrics")
                    .related(prometheus.at, "`prometheus` is here");
                None
            }
            (None, None) => {
                self.faults
                    .error(fields.place, "this metric does not say where its number comes from")
                    .help("write `prometheus: {url: …, query: …}` or `webhook: {url: …}`");
                None
            }
        }
    }

    fn prometheus(&mut self, field: &Field<'_>) -> Option<MetricSource> {
        let fields = self.map(field, &keys::PROMETHEUS)?;
        let url = match fields.get("url") {
            Some(url) => self.url(&url),
            None => {
                self.missing(&fields, field.at, "`prometheus`", "url");
                None
            }
        };
        let query = match fields.get("query") {
            Some(query) => self.text(&query).map(str::to_owned),
            None => {
                self.missing(&fields, field.at, "`prometheus`", "query");
                None
            }
        };
        let headers = fields.get("headers").map_or(Some(BTreeMap::new()), |field| self.headers(&field));
        Some(MetricSource::Prometheus { url: url?, query: query?, headers: headers? })
    }
}

/// Takes the name of a metric.
pub(super) fn metric_name(text: &str) -> Result<String, NameError> {
    let sign = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    if (1..=64).contains(&text.len()) && text.bytes().all(sign) {
        return Ok(text.to_owned());
    }
    Err(NameError("a metric's name is 1 to 64 letters, digits, hyphens and underscores"))
}

#[derive(Debug, PartialEq, Eq)]
enum StatusFault {
    Text,
    Outside,
    Reversed(u16, u16),
}

/// Reads `503` or `500-599`.
fn status_range(text: &str) -> Result<(u16, u16), StatusFault> {
    let status = |part: &str| {
        let digits = part.bytes().all(|byte| byte.is_ascii_digit()) && (1..=4).contains(&part.len());
        let number = part.parse::<u16>().ok().filter(|_| digits && !part.starts_with('0'));
        number.ok_or(StatusFault::Text)
    };
    let (low, high) = text.split_once('-').unwrap_or((text, text));
    let (low, high) = (status(low.trim_end())?, status(high.trim_start())?);
    if [low, high].iter().any(|status| !(100..=599).contains(status)) {
        return Err(StatusFault::Outside);
    }
    if low > high { Err(StatusFault::Reversed(low, high)) } else { Ok((low, high)) }
}

/// What `5xx` means.
fn class_of(text: &str) -> Option<String> {
    let lower = text.to_ascii_lowercase();
    let digit = lower.strip_suffix("xx").or(lower.strip_suffix("**")).or(lower.strip_suffix('*'))?;
    matches!(digit, "1" | "2" | "3" | "4" | "5").then(|| format!("did you mean \"{digit}00-{digit}99\"?"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failure_statuses() {
        assert_eq!(status_range("500-599"), Ok((500, 599)));
        assert_eq!(status_range("429"), Ok((429, 429)));
        assert_eq!(status_range("599-500"), Err(StatusFault::Reversed(599, 500)));
        for text in ["99", "600", "500-600", "0-599", "1000"] {
            let fault = status_range(text);
            assert!(matches!(fault, Err(StatusFault::Outside | StatusFault::Text)), "{text}");
        }
        for text in ["", "5xx", "500-", "-599", "500-550-599", "+500", "0500", "5 00"] {
            assert_eq!(status_range(text), Err(StatusFault::Text), "{text}");
        }
        assert_eq!(class_of("5xx").as_deref(), Some("did you mean \"500-599\"?"));
    }
}
