//! CloudWatch's metrics of Lambda: the figures are those of what was sent, in all three sets of dimensions.

use serde_json::{Value, json};
use serin::clock;

use super::{Sent, aws, furnish, send};
use crate::support::house::House;

const METRIC_DATA: &str = "GraniteServiceVersion20100801.GetMetricData";
const STATISTICS: &str = "GraniteServiceVersion20100801.GetMetricStatistics";
const LIST: &str = "GraniteServiceVersion20100801.ListMetrics";

/// Dimensions, and the invocations and errors they must show.
type Case<'a> = (Vec<(&'a str, &'a str)>, (f64, f64));

fn dimensions(pairs: &[(&str, &str)]) -> Value {
    pairs.iter().map(|(name, value)| json!({ "Name": name, "Value": value })).collect()
}

fn now_s() -> f64 {
    clock::wall_now().0 as f64 / 1e3
}

/// One statistic of one metric over the last hour, all of its datapoints added up.
fn sum_of(house: &House, metric: &str, stat: &str, pairs: &[(&str, &str)]) -> f64 {
    let body = json!({
        "Namespace": "AWS/Lambda", "MetricName": metric, "Dimensions": dimensions(pairs), "Period": 60,
        "StartTime": now_s() - 3600.0, "EndTime": now_s() + 60.0, "Statistics": [stat],
    });
    let reply = aws(house, STATISTICS, &body).ok();
    assert_eq!(reply["Label"], metric);
    reply["Datapoints"].as_array().unwrap().iter().map(|point| point[stat].as_f64().unwrap()).sum()
}

fn total(sent: &Sent, holds: impl Fn(&str, &str) -> bool) -> (f64, f64) {
    let fitting = sent.iter().filter(|((qualifier, version), _)| holds(qualifier, version));
    fitting.fold((0.0, 0.0), |sum, (_, counts)| (sum.0 + counts.0 as f64, sum.1 + counts.1 as f64))
}

#[test]
fn figures_are_those_of_what_was_sent() {
    let mut house = House::start();
    let _services = furnish(&house);
    let sent = send(&house);
    let (_, errors) = total(&sent, |_, _| true);
    assert!(errors > 0.0, "nothing failed, so nothing is shown");
    let check = |house: &House| {
        let name = ("FunctionName", "f");
        let cases: [Case<'_>; 6] = [
            (vec![name], total(&sent, |_, _| true)),
            (vec![name, ("Resource", "f:live")], total(&sent, |qualifier, _| qualifier == "live")),
            (vec![name, ("Resource", "f:2")], total(&sent, |qualifier, _| qualifier == "2")),
            (vec![name, ("Resource", "f:$LATEST")], total(&sent, |qualifier, _| qualifier == "$LATEST")),
            (
                vec![name, ("Resource", "f:live"), ("ExecutedVersion", "1")],
                total(&sent, |qualifier, version| (qualifier, version) == ("live", "1")),
            ),
            (
                vec![name, ("Resource", "f:live"), ("ExecutedVersion", "2")],
                total(&sent, |qualifier, version| (qualifier, version) == ("live", "2")),
            ),
        ];
        for (pairs, (invocations, errors)) in cases {
            let sum = |metric: &str, stat: &str| sum_of(house, metric, stat, &pairs);
            assert_eq!(sum("Invocations", "Sum"), invocations, "{pairs:?}");
            assert_eq!(sum("Errors", "Sum"), errors, "{pairs:?}");
            assert_eq!(sum("Throttles", "Sum"), 0.0, "{pairs:?}");
            assert_eq!(sum("Duration", "SampleCount"), invocations, "{pairs:?}");
            assert!(sum("Duration", "Sum") > 0.0, "{pairs:?}");
        }
        for absent in [vec![], vec![name, ("Resource", "f:beta")], vec![("FunctionName", "g")]] {
            assert_eq!(sum_of(house, "Invocations", "Sum", &absent), 0.0, "{absent:?}");
        }
    };
    check(&house);
    house.shut_down();
    house.boot();
    check(&house);
}

#[test]
fn data_comes_by_queries_in_pages_and_both_orders() {
    let house = House::start();
    let _services = furnish(&house);
    let sent = send(&house);
    let query = |id: &str, metric: &str, stat: &str| {
        let metric = json!({ "Namespace": "AWS/Lambda", "MetricName": metric,
            "Dimensions": dimensions(&[("FunctionName", "f")]) });
        json!({ "Id": id, "MetricStat": { "Metric": metric, "Period": 60, "Stat": stat } })
    };
    let mut body = json!({
        "MetricDataQueries": [
            query("invocations", "Invocations", "Sum"),
            query("p99", "Duration", "p99"),
            query("nothing", "Nothing", "Sum"),
        ],
        "StartTime": now_s() - 600.0, "EndTime": now_s() + 60.0, "MaxDatapoints": 1, "ScanBy": "TimestampAscending",
    });
    let (mut invocations, mut percentiles, mut pages) = (0.0, 0, 0);
    loop {
        let reply = aws(&house, METRIC_DATA, &body).ok();
        let results = reply["MetricDataResults"].as_array().unwrap();
        assert_eq!(results.len(), 3);
        let values =
            |index: usize| results[index]["Values"].as_array().unwrap().iter().map(|v| v.as_f64().unwrap());
        assert!(values(0).count() + values(1).count() <= 1, "a page holds one datapoint: {reply}");
        invocations += values(0).sum::<f64>();
        percentiles += values(1).count();
        assert_eq!(results[0]["Label"], "Invocations");
        pages += 1;
        match reply.get("NextToken") {
            Some(token) => body["NextToken"] = token.clone(),
            None => break,
        }
    }
    assert_eq!(invocations, total(&sent, |_, _| true).0);
    assert!(percentiles >= 1 && pages >= 2, "{percentiles} {pages}");
}

#[test]
fn metrics_are_listed_by_what_they_have() {
    let house = House::start();
    let _services = furnish(&house);
    let list = |body: &Value| aws(&house, LIST, body).ok()["Metrics"].as_array().unwrap().clone();
    assert!(list(&json!({})).is_empty(), "before there was any traffic");
    send(&house);
    let all = list(&json!({ "Namespace": "AWS/Lambda" }));
    // The function, three resources (the alias, version 2, $LATEST), and two versions behind the alias: four metrics each.
    assert_eq!(all.len(), 6 * 4, "{all:?}");
    let errors = list(&json!({ "MetricName": "Errors", "Dimensions": [{ "Name": "ExecutedVersion" }] }));
    let versions: Vec<&str> =
        errors.iter().map(|metric| metric["Dimensions"][2]["Value"].as_str().unwrap()).collect();
    assert_eq!(versions, ["1", "2"]);
    let live = [("FunctionName", "f"), ("Resource", "f:live")];
    assert_eq!(list(&json!({ "Dimensions": dimensions(&live), "RecentlyActive": "PT3H" })).len(), 12);
    assert!(list(&json!({ "Namespace": "AWS/EC2" })).is_empty());
}

/// The end of time, the longest period and the last token there can be are answered like any others.
#[test]
fn the_largest_numbers_are_answered() {
    let house = House::start();
    let _services = furnish(&house);
    let sent = send(&house);
    let statistics = |start: f64, end: f64, period: i64| {
        let body = json!({ "Namespace": "AWS/Lambda", "MetricName": "Invocations", "Period": period,
            "Dimensions": dimensions(&[("FunctionName", "f")]), "StartTime": start, "EndTime": end, "Statistics": ["Sum"] });
        aws(&house, STATISTICS, &body)
    };
    let too_many = statistics(0.0, 1e300, 60);
    assert_eq!(too_many.status, 400, "{too_many:?}");
    assert!(too_many.error().contains("exceeds the limit of 1440"), "{too_many:?}");
    // The longest multiple of a minute.
    let longest = i64::MAX / 60 * 60;
    for end in [2e9, 1e300] {
        let reply = statistics(0.0, end, longest).ok();
        assert_eq!(reply["Datapoints"][0]["Sum"], total(&sent, |_, _| true).0, "{reply}");
    }
    let last = u64::MAX.to_string();
    assert_eq!(aws(&house, LIST, &json!({ "NextToken": last })).ok(), json!({ "Metrics": [] }));
    let groups =
        aws(&house, "Logs_20140328.DescribeLogGroups", &json!({ "nextToken": last, "limit": 2 })).ok();
    assert_eq!(groups, json!({ "logGroups": [] }));
}

#[test]
fn what_is_not_served_is_refused_by_name() {
    let house = House::start();
    let stat = |change: &Value| {
        let mut query = json!({ "Id": "a", "MetricStat": { "Period": 60, "Stat": "Sum",
            "Metric": { "Namespace": "AWS/Lambda", "MetricName": "Errors" } } });
        for (key, value) in change.as_object().unwrap() {
            query[key] = value.clone();
        }
        let body = json!({ "MetricDataQueries": [query], "StartTime": 0, "EndTime": 60 });
        aws(&house, METRIC_DATA, &body)
    };
    assert_eq!(stat(&json!({})).status, 200);
    let other = |period: i64, stat: &str| {
        json!({ "MetricStat": { "Period": period, "Stat": stat,
            "Metric": { "Namespace": "AWS/Lambda", "MetricName": "Errors" } } })
    };
    for (change, part) in [
        (json!({ "Expression": "m1/m2" }), "metric math (Expression \"m1/m2\")"),
        (json!({ "AccountId": "111111111111" }), "AccountId"),
        (json!({ "Label": "${MAX}" }), "dynamic labels"),
        (json!({ "Id": "A" }), "^[a-z][a-zA-Z0-9_]*$"),
        (other(10, "Sum"), "high-resolution"),
        (other(90, "Sum"), "multiple of 60"),
        (other(60, "tm99"), "\"tm99\" is not supported"),
    ] {
        let reply = stat(&change);
        assert_eq!(reply.status, 400, "{change}");
        assert!(reply.error().contains(part), "{part:?} is not in {reply:?}");
        assert_eq!(reply.body["__type"], "ValidationError");
    }
    let statistics = |change: &Value| {
        let mut body = json!({ "Namespace": "AWS/Lambda", "MetricName": "Errors", "Period": 60, "StartTime": 0,
            "EndTime": 60, "Statistics": ["Sum"] });
        for (key, value) in change.as_object().unwrap() {
            body[key] = value.clone();
        }
        aws(&house, STATISTICS, &body)
    };
    assert_eq!(statistics(&json!({})).ok()["Datapoints"], json!([]));
    for (change, kind) in [
        (json!({ "EndTime": 0 }), "InvalidParameterValueException"),
        (json!({ "Period": 61 }), "InvalidParameterValueException"),
        (json!({ "Statistics": ["p99"] }), "InvalidParameterValueException"),
        (json!({ "ExtendedStatistics": ["tm99"] }), "InvalidParameterValueException"),
        (json!({ "Statistics": [] }), "MissingRequiredParameterException"),
        (json!({ "EndTime": 86_460 }), "InvalidParameterCombinationException"),
        (json!({ "Period": "x" }), "SerializationException"),
    ] {
        let reply = statistics(&change);
        assert_eq!((reply.status, reply.body["__type"].as_str()), (400, Some(kind)), "{change} {reply:?}");
    }
    for target in ["GraniteServiceVersion20100801.PutMetricData", "Logs_20140328.StartQuery", "Other.Get", ""]
    {
        let reply = aws(&house, target, &json!({}));
        assert_eq!(
            (reply.status, reply.body["__type"].as_str()),
            (400, Some("UnknownOperationException")),
            "{target}"
        );
    }
}
