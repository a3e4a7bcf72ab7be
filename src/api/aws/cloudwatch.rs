//! CloudWatch's metrics of Lambda: GetMetricData, GetMetricStatistics and ListMetrics, from the numbers of minutes.
//!
//! What serin does not have is refused by name: other operations, metric math, periods shorter than a minute, and
//! statistics that buckets cannot give. What it has no numbers of is, as on CloudWatch, no error.

use std::collections::{BTreeSet, HashSet};

use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::dimensions::{Dimension, NAMESPACE, Selection};
use super::statistics::{Metric, Statistic, periods};
use super::{AwsError, input, offset};
use crate::api::Api;
use crate::clock;
use serin_core::lambda::log::{Minute, Tally};

/// GetMetricStatistics gives no more than this at once.
const DATAPOINTS_MAX: u64 = 1440;
/// GetMetricData gives no more than this at once, nor in one page unless asked for fewer.
const PAGE_DATAPOINTS_MAX: usize = 100_800;
/// GetMetricData takes no more queries.
const QUERIES_MAX: usize = 500;
/// ListMetrics gives no more at once.
const LIST_PAGE: usize = 500;
/// ListMetrics shows what had numbers within the last fifteen days.
const LISTED_MINUTES: i64 = 15 * 24 * 60;
/// With RecentlyActive PT3H, within the last three hours.
const RECENT_MINUTES: i64 = 3 * 60;

/// Answers an operation.
pub(super) fn answer(api: &Api, operation: &str, body: &[u8]) -> Result<Value, AwsError> {
    let served = ["GetMetricData", "GetMetricStatistics", "ListMetrics"];
    if !served.contains(&operation) {
        return Err(AwsError::unknown_operation("CloudWatch", operation, &served.join(", ")));
    }
    match operation {
        "GetMetricData" => metric_data(api, &input(body)?),
        "GetMetricStatistics" => metric_statistics(api, &input(body)?),
        _ => list_metrics(api, &input(body)?),
    }
}

fn invalid(message: impl Into<String>) -> AwsError {
    AwsError::user("InvalidParameterValueException", message).with_query_code("InvalidParameterValue")
}

fn missing(message: impl Into<String>) -> AwsError {
    AwsError::user("MissingRequiredParameterException", message).with_query_code("MissingParameter")
}

fn conflicting(message: impl Into<String>) -> AwsError {
    AwsError::user("InvalidParameterCombinationException", message)
        .with_query_code("InvalidParameterCombination")
}

fn not_valid(message: impl Into<String>) -> AwsError {
    AwsError::user("ValidationError", message).with_query_code("ValidationError")
}

/// A span of whole minutes: the start rounded down as CloudWatch does, the end left out.
fn span(start_s: f64, end_s: f64) -> Option<(Minute, Minute)> {
    let ordered = start_s.is_finite() && end_s.is_finite() && start_s < end_s;
    let minute = |seconds: f64| Minute((seconds / 60.0) as i64);
    ordered.then(|| (minute(start_s.max(0.0)), minute((end_s.max(0.0) / 60.0).ceil() * 60.0)))
}

/// Whether a period is one that numbers of minutes can give.
fn check_period(period_s: i64) -> Result<(), String> {
    match period_s {
        ..=0 => Err("The parameter Period must be greater than zero".to_owned()),
        1..60 => Err(format!(
            "The period {period_s} s is that of high-resolution metrics, which Lambda's are not; it is 60 s or a multiple"
        )),
        _ if period_s % 60 != 0 => Err("The parameter Period must be a multiple of 60".to_owned()),
        _ => Ok(()),
    }
}

/// What was counted in each minute.
type Numbers = Vec<(Minute, Tally)>;

/// Reads a metric's numbers over a span; none where there is no such metric.
fn numbers(
    api: &Api,
    (namespace, name): (&str, &str),
    dimensions: &[Dimension],
    unit: Option<&str>,
    span: (Minute, Minute),
) -> Result<Option<(Metric, Numbers)>, AwsError> {
    let metric = Metric::ALL.into_iter().find(|metric| metric.name() == name);
    let metric =
        metric.filter(|metric| namespace == NAMESPACE && unit.is_none_or(|unit| unit == metric.unit()));
    let Some((metric, selection)) = metric.zip(Selection::of(dimensions)) else { return Ok(None) };
    let Selection { function, qualifier, version } = selection;
    let minutes = api.logs.reader.minutes(&function, qualifier.as_deref(), version.as_deref(), span)?;
    Ok(Some((metric, minutes)))
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct MetricDataInput {
    metric_data_queries: Vec<DataQuery>,
    start_time: f64,
    end_time: f64,
    next_token: Option<String>,
    scan_by: Option<String>,
    max_datapoints: Option<usize>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct DataQuery {
    id: String,
    metric_stat: Option<MetricStat>,
    expression: Option<String>,
    label: Option<String>,
    return_data: Option<bool>,
    account_id: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct MetricStat {
    metric: NamedMetric,
    period: i64,
    stat: String,
    unit: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct NamedMetric {
    namespace: Option<String>,
    metric_name: Option<String>,
    #[serde(default)]
    dimensions: Vec<Dimension>,
}

impl DataQuery {
    /// What it asks for, if that can be had.
    fn checked(&self, account: &str) -> Result<(&MetricStat, Statistic), AwsError> {
        let fault = |why: String| not_valid(format!("metric query {}: {why}", self.id));
        let refuse = |why: String| Err(fault(why));
        let is_id = self.id.starts_with(|char: char| char.is_ascii_lowercase())
            && self.id.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        if !is_id {
            return Err(not_valid(format!(
                "The value {:?} for parameter MetricDataQueries.member.Id is not matching the expected pattern \
                 ^[a-z][a-zA-Z0-9_]*$.",
                self.id
            )));
        }
        if let Some(expression) = &self.expression {
            return refuse(format!("metric math (Expression {expression:?}) is not supported by serin"));
        }
        if self.account_id.as_deref().is_some_and(|asked| asked != account) {
            return refuse("metrics of another account (AccountId) are not supported by serin".to_owned());
        }
        if self.label.as_deref().is_some_and(|label| label.contains("${")) {
            return refuse("dynamic labels (${…}) are not supported by serin".to_owned());
        }
        let Some(stat) = &self.metric_stat else {
            return refuse("exactly one of MetricStat and Expression is wanted".to_owned());
        };
        check_period(stat.period).map_err(fault)?;
        match Statistic::read(&stat.stat) {
            Some(statistic) => Ok((stat, statistic)),
            None => refuse(format!(
                "the statistic {:?} is not supported by serin; it knows Sum, Average, Minimum, Maximum, SampleCount and \
                 percentiles such as p99",
                stat.stat
            )),
        }
    }
}

fn metric_data(api: &Api, input: &MetricDataInput) -> Result<Value, AwsError> {
    let span = span(input.start_time, input.end_time)
        .ok_or_else(|| not_valid("The parameter StartTime must be less than the parameter EndTime."))?;
    if !(1..=QUERIES_MAX).contains(&input.metric_data_queries.len()) {
        return Err(not_valid(format!("MetricDataQueries has 1 to {QUERIES_MAX} members")));
    }
    let mut ids = HashSet::new();
    if let Some(twice) = input.metric_data_queries.iter().find(|query| !ids.insert(&query.id)) {
        return Err(not_valid(format!(
            "The values for parameter id in MetricDataQueries are not unique: {}",
            twice.id
        )));
    }
    let is_ascending = match input.scan_by.as_deref() {
        None | Some("TimestampDescending") => false,
        Some("TimestampAscending") => true,
        Some(other) => {
            return Err(not_valid(format!("The value {other:?} for parameter ScanBy is not one of its two")));
        }
    };
    let checked: Result<Vec<_>, _> = input
        .metric_data_queries
        .iter()
        .map(|query| query.checked(&api.place.account).map(|it| (query, it)))
        .collect();
    let checked = checked?;
    let token = || {
        AwsError::user("InvalidNextToken", "The next token is not one of this operation's")
            .with_query_code("InvalidNextToken")
    };
    let mut passed_over = offset(input.next_token.as_deref(), token)?;
    let begins = passed_over;
    let mut room = input.max_datapoints.unwrap_or(PAGE_DATAPOINTS_MAX).clamp(1, PAGE_DATAPOINTS_MAX);
    api.meter.read();
    let mut results = Vec::new();
    let (mut taken, mut is_partial) = (0, false);
    for (query, (stat, statistic)) in checked {
        if query.return_data == Some(false) {
            continue;
        }
        let (namespace, name) = (
            stat.metric.namespace.as_deref().unwrap_or_default(),
            stat.metric.metric_name.as_deref().unwrap_or_default(),
        );
        let found = numbers(api, (namespace, name), &stat.metric.dimensions, stat.unit.as_deref(), span)?;
        let mut points: Vec<(i64, f64)> = found.map_or_else(Vec::new, |(metric, minutes)| {
            let periods = periods(&minutes, span.0, stat.period);
            periods.iter().filter_map(|(at_s, tally)| Some((*at_s, statistic.of(metric, tally)?))).collect()
        });
        if !is_ascending {
            points.reverse();
        }
        let skipped = passed_over.min(points.len());
        passed_over -= skipped;
        let kept: Vec<(i64, f64)> = points[skipped..].iter().copied().take(room).collect();
        let left = points.len() - skipped - kept.len();
        (room, taken, is_partial) = (room - kept.len(), taken + kept.len(), is_partial || left > 0);
        results.push(json!({
            "Id": query.id,
            "Label": query.label.as_deref().unwrap_or(name),
            "Timestamps": kept.iter().map(|(at_s, _)| *at_s as f64).collect::<Vec<_>>(),
            "Values": kept.iter().map(|(_, value)| *value).collect::<Vec<_>>(),
            "StatusCode": if left > 0 { "PartialData" } else { "Complete" },
        }));
    }
    let mut answer = json!({ "MetricDataResults": results, "Messages": [] });
    if is_partial {
        answer["NextToken"] = json!((begins + taken).to_string());
    }
    Ok(answer)
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct StatisticsInput {
    namespace: String,
    metric_name: String,
    #[serde(default)]
    dimensions: Vec<Dimension>,
    start_time: f64,
    end_time: f64,
    period: i64,
    #[serde(default)]
    statistics: Vec<String>,
    #[serde(default)]
    extended_statistics: Vec<String>,
    unit: Option<String>,
}

fn metric_statistics(api: &Api, input: &StatisticsInput) -> Result<Value, AwsError> {
    let span = span(input.start_time, input.end_time)
        .ok_or_else(|| invalid("The parameter StartTime must be less than the parameter EndTime."))?;
    check_period(input.period).map_err(invalid)?;
    if input.statistics.is_empty() && input.extended_statistics.is_empty() {
        return Err(missing(
            "At least one of the parameters Statistics and ExtendedStatistics must be specified.",
        ));
    }
    // Neither is negative; the end of time and the longest period must not add up to more than a number holds.
    let asked = span.1.begins_s().abs_diff(span.0.begins_s()).div_ceil(input.period.unsigned_abs());
    if asked > DATAPOINTS_MAX {
        return Err(conflicting(format!(
            "You have requested up to {asked} datapoints, which exceeds the limit of {DATAPOINTS_MAX}. You may reduce the \
             datapoints requested by increasing Period, or decreasing the time range."
        )));
    }
    let read = |names: &[String], is_extended: bool| -> Result<Vec<(String, Statistic)>, AwsError> {
        let one = |name: &String| match Statistic::read(name) {
            Some(statistic) if matches!(statistic, Statistic::Percentile(_)) == is_extended => {
                Ok((name.clone(), statistic))
            }
            _ => Err(invalid(format!(
                "The statistic {name:?} is not supported by serin here: Statistics are Sum, Average, Minimum, Maximum and \
                 SampleCount, ExtendedStatistics percentiles such as p99"
            ))),
        };
        names.iter().map(one).collect()
    };
    let (plain, extended) = (read(&input.statistics, false)?, read(&input.extended_statistics, true)?);
    api.meter.read();
    let named = (input.namespace.as_str(), input.metric_name.as_str());
    let mut datapoints = Vec::new();
    if let Some((metric, minutes)) = numbers(api, named, &input.dimensions, input.unit.as_deref(), span)? {
        for (at_s, tally) in periods(&minutes, span.0, input.period) {
            let values = |wanted: &[(String, Statistic)]| -> Map<String, Value> {
                let value = |(name, statistic): &(String, Statistic)| {
                    Some((name.clone(), json!(statistic.of(metric, &tally)?)))
                };
                wanted.iter().filter_map(value).collect()
            };
            let (mut point, percentiles) = (values(&plain), values(&extended));
            if point.is_empty() && percentiles.is_empty() {
                continue;
            }
            point.insert("Timestamp".to_owned(), json!(at_s as f64));
            point.insert("Unit".to_owned(), json!(metric.unit()));
            if !percentiles.is_empty() {
                point.insert("ExtendedStatistics".to_owned(), Value::Object(percentiles));
            }
            datapoints.push(Value::Object(point));
        }
    }
    Ok(json!({ "Label": input.metric_name, "Datapoints": datapoints }))
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ListInput {
    namespace: Option<String>,
    metric_name: Option<String>,
    #[serde(default)]
    dimensions: Vec<Dimension>,
    next_token: Option<String>,
    recently_active: Option<String>,
    owning_account: Option<String>,
}

fn list_metrics(api: &Api, input: &ListInput) -> Result<Value, AwsError> {
    let minutes = match input.recently_active.as_deref() {
        None => LISTED_MINUTES,
        Some("PT3H") => RECENT_MINUTES,
        Some(other) => {
            return Err(invalid(format!("RecentlyActive {other:?} is not PT3H, the only one there is")));
        }
    };
    let skipped =
        offset(input.next_token.as_deref(), || invalid("NextToken is not one of this operation's"))?;
    let is_ours = input.namespace.as_deref().is_none_or(|namespace| namespace == NAMESPACE)
        && input.owning_account.as_deref().is_none_or(|account| account == api.place.account);
    api.meter.read();
    let since = Minute(Minute::of(clock::wall_now()).0 - minutes);
    let series = if is_ours { api.logs.reader.series(since)? } else { Vec::new() };
    let selections: BTreeSet<Selection> = series.iter().flat_map(Selection::with).collect();
    let metrics: Vec<Value> = selections
        .iter()
        .filter(|selection| selection.has_all(&input.dimensions))
        .flat_map(|selection| Metric::ALL.into_iter().map(move |metric| (selection, metric)))
        .filter(|(_, metric)| input.metric_name.as_deref().is_none_or(|name| name == metric.name()))
        .map(|(selection, metric)| {
            json!({ "Namespace": NAMESPACE, "MetricName": metric.name(), "Dimensions": selection.json() })
        })
        .collect();
    let page: Vec<&Value> = metrics.iter().skip(skipped).take(LIST_PAGE).collect();
    let mut answer = json!({ "Metrics": page });
    let next = skipped.saturating_add(LIST_PAGE);
    if next < metrics.len() {
        answer["NextToken"] = json!(next.to_string());
    }
    Ok(answer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_whole_minutes() {
        assert_eq!(span(59.9, 60.1), Some((Minute(0), Minute(2))));
        assert_eq!(span(60.0, 120.0), Some((Minute(1), Minute(2))));
        assert_eq!(span(-5.0, 60.0), Some((Minute(0), Minute(1))));
        for (start, end) in [(60.0, 60.0), (61.0, 60.0), (f64::NAN, 1.0), (0.0, f64::INFINITY)] {
            assert_eq!(span(start, end), None, "{start} {end}");
        }
    }

    #[test]
    fn periods_are_minutes() {
        assert!([60, 120, 3600, 86_400].into_iter().all(|period| check_period(period).is_ok()));
        assert!([i64::MIN, 0, 1, 10, 59, 61, 90].into_iter().all(|period| check_period(period).is_err()));
    }
}
