"""Asks CloudWatch and CloudWatch Logs of serin with boto3 and the aws command, and compares with what was sent."""

import datetime
import json
import os
import subprocess
import sys
import threading
import time

import boto3
from botocore.exceptions import ClientError

API, ROUTER, AWS, AWS2, SENT = sys.argv[1:6]
SENT = json.loads(SENT)
ENVIRONMENT = {**os.environ, "AWS_ACCESS_KEY_ID": "AKIDEXAMPLE", "AWS_SECRET_ACCESS_KEY": "secret",
               "AWS_DEFAULT_REGION": "us-east-1", "AWS_EC2_METADATA_DISABLED": "true"}


def client(service, url=API):
    return boto3.client(service, endpoint_url=url, region_name="us-east-1", aws_access_key_id="AKIDEXAMPLE",
                        aws_secret_access_key="secret")


def ok(name, holds, what=""):
    if not holds:
        raise SystemExit(f"FAILED {name}: {what}")
    print("ok", name, what)


def aws(*words, program=AWS):
    done = subprocess.run([program, *words, "--endpoint-url", API, "--output", "json"], env=ENVIRONMENT,
                          capture_output=True, text=True)
    if done.returncode != 0:
        raise SystemExit(f"FAILED aws {words}: {done.stderr}")
    return json.loads(done.stdout)


def expected(holds):
    fitting = [row for row in SENT if holds(row[0], row[1])]
    return sum(row[2] for row in fitting), sum(row[3] for row in fitting)


SETS = [
    ({"FunctionName": "f"}, expected(lambda q, v: True)),
    ({"FunctionName": "f", "Resource": "f:live"}, expected(lambda q, v: q == "live")),
    ({"FunctionName": "f", "Resource": "f:2"}, expected(lambda q, v: q == "2")),
    ({"FunctionName": "f", "Resource": "f:live", "ExecutedVersion": "1"}, expected(lambda q, v: (q, v) == ("live", "1"))),
    ({"FunctionName": "f", "Resource": "f:live", "ExecutedVersion": "2"}, expected(lambda q, v: (q, v) == ("live", "2"))),
]
NOW = datetime.datetime.now(datetime.timezone.utc)
START, END = NOW - datetime.timedelta(hours=1), NOW + datetime.timedelta(minutes=2)


def pairs(dimensions):
    return [{"Name": name, "Value": value} for name, value in dimensions.items()]


# boto3.
cloudwatch = client("cloudwatch")
for dimensions, (invocations, errors) in SETS:
    queries = [
        {"Id": metric.lower(), "MetricStat": {"Period": 3600, "Stat": "Sum", "Metric": {
            "Namespace": "AWS/Lambda", "MetricName": metric, "Dimensions": pairs(dimensions)}}}
        for metric in ("Invocations", "Errors", "Throttles", "Duration")
    ]
    queries.append({"Id": "p99", "MetricStat": {**queries[3]["MetricStat"], "Stat": "p99"}, "Label": "slow"})
    answer = cloudwatch.get_metric_data(MetricDataQueries=queries, StartTime=START, EndTime=END)
    found = {result["Id"]: sum(result["Values"]) for result in answer["MetricDataResults"]}
    ok(f"boto3 get_metric_data {dimensions}",
       (found["invocations"], found["errors"], found["throttles"]) == (invocations, errors, 0)
       and found["duration"] > 0 and found["p99"] > 0,
       f"invocations {found['invocations']:.0f}, errors {found['errors']:.0f}")
    answer = cloudwatch.get_metric_statistics(
        Namespace="AWS/Lambda", MetricName="Errors", Dimensions=pairs(dimensions), StartTime=START, EndTime=END,
        Period=60, Statistics=["Sum", "Average", "SampleCount", "Minimum", "Maximum"])
    points = answer["Datapoints"]
    ok(f"boto3 get_metric_statistics {dimensions}",
       (sum(p["SampleCount"] for p in points), sum(p["Sum"] for p in points)) == (invocations, errors)
       and all(p["Unit"] == "Count" and START <= p["Timestamp"] <= END for p in points), points[:1])
paged = cloudwatch.get_paginator("get_metric_data").paginate(
    MetricDataQueries=queries, StartTime=START, EndTime=END, MaxDatapoints=1)
ok("boto3's paginator of metric data ends", len(list(paged)) >= 2)
listed = [metric for page in cloudwatch.get_paginator("list_metrics").paginate(Namespace="AWS/Lambda")
          for metric in page["Metrics"]]
ok("boto3 list_metrics", len(listed) == 24, f"{len(listed)} metrics")
try:
    cloudwatch.get_metric_data(StartTime=START, EndTime=END, MetricDataQueries=[{"Id": "e", "Expression": "m1 / m2"}])
    raise SystemExit("FAILED metric math was accepted")
except ClientError as error:
    ok("metric math is refused by name", "metric math" in str(error), error.response["Error"]["Code"])
try:
    cloudwatch.get_metric_statistics(Namespace="AWS/Lambda", MetricName="Errors", StartTime=END, EndTime=START,
                                     Period=60, Statistics=["Sum"])
    raise SystemExit("FAILED a span that ends before it begins was accepted")
except cloudwatch.exceptions.InvalidParameterValueException as error:
    # The code of the older protocol, as CloudWatch's own answers have it.
    ok("the older protocol's code", error.response["Error"]["Code"] == "InvalidParameterValue", error)

# The aws command.
for dimensions, (invocations, errors) in SETS:
    words = [f"Name={name},Value={value}" for name, value in dimensions.items()]
    for metric, wanted in (("Invocations", invocations), ("Errors", errors)):
        answer = aws("cloudwatch", "get-metric-statistics", "--namespace", "AWS/Lambda", "--metric-name", metric,
                     "--dimensions", *words, "--start-time", START.isoformat(), "--end-time", END.isoformat(),
                     "--period", "60", "--statistics", "Sum")
        found = sum(point["Sum"] for point in answer["Datapoints"])
        ok(f"aws cloudwatch get-metric-statistics {metric} {' '.join(words)}", found == wanted, f"{found:.0f}")
query = json.dumps([{"Id": "m", "MetricStat": {"Period": 60, "Stat": "Sum", "Metric": {
    "Namespace": "AWS/Lambda", "MetricName": "Invocations", "Dimensions": pairs(SETS[0][0])}}}])
answer = aws("cloudwatch", "get-metric-data", "--metric-data-queries", query, "--start-time", START.isoformat(),
             "--end-time", END.isoformat())
found = sum(answer["MetricDataResults"][0]["Values"])
ok("aws cloudwatch get-metric-data", found == SETS[0][1][0], f"{found:.0f}")
answer = aws("cloudwatch", "list-metrics", "--namespace", "AWS/Lambda", "--metric-name", "Errors")
ok("aws cloudwatch list-metrics", len(answer["Metrics"]) == 6, len(answer["Metrics"]))

# Logs.
INVOKED = sum(row[2] for row in SENT) - 200
logs = client("logs")
groups = logs.describe_log_groups(logGroupNamePrefix="/aws/lambda/f")["logGroups"]
ok("boto3 describe_log_groups", [group["logGroupName"] for group in groups] == ["/aws/lambda/f"])
streams = [stream for page in logs.get_paginator("describe_log_streams").paginate(
    logGroupName="/aws/lambda/f", orderBy="LastEventTime", descending=True, PaginationConfig={"PageSize": 1})
    for stream in page["logStreams"]]
ok("boto3 describe_log_streams", {name["logStreamName"].split("[")[1].split("]")[0] for name in streams}
   == {"1", "2", "$LATEST"}, f"{len(streams)} streams")
events = [event for page in logs.get_paginator("filter_log_events").paginate(
    logGroupName="/aws/lambda/f", PaginationConfig={"PageSize": 50}) for event in page["events"]]
ok("boto3 filter_log_events", len(events) == 3 * INVOKED, f"{len(events)} events of {INVOKED} invocations")
for version in ("1", "2"):
    found = [event for page in logs.get_paginator("filter_log_events").paginate(
        logGroupName="/aws/lambda/f", filterPattern=f'START "Version: {version}"') for event in page["events"]]
    invoked = sum(event["message"].rstrip().endswith(f" Version: {version}") for event in events)
    ok(f"boto3 filter_log_events of version {version}", len(found) == invoked, f"{len(found)}")
one = logs.get_log_events(logGroupName="/aws/lambda/f", logStreamName=streams[0]["logStreamName"], startFromHead=True)
ok("boto3 get_log_events", one["events"][0]["message"].startswith("START RequestId: "))
again = logs.get_log_events(logGroupName="/aws/lambda/f", logStreamName=streams[0]["logStreamName"],
                            nextToken=one["nextForwardToken"])
ok("the last forward token comes back", again["nextForwardToken"] == one["nextForwardToken"] and not again["events"])
try:
    logs.filter_log_events(logGroupName="/aws/lambda/nothing")
    raise SystemExit("FAILED a group that is not there has events")
except logs.exceptions.ResourceNotFoundException as error:
    ok("an absent group", "The specified log group does not exist." in str(error))
answer = aws("logs", "filter-log-events", "--log-group-name", "/aws/lambda/f", "--filter-pattern", "REPORT")
ok("aws logs filter-log-events", len(answer["events"]) == INVOKED, len(answer["events"]))
answer = aws("logs", "describe-log-streams", "--log-group-name", "/aws/lambda/f")
ok("aws logs describe-log-streams", len(answer["logStreams"]) == len(streams))
answer = aws("logs", "get-log-events", "--log-group-name", "/aws/lambda/f", "--log-stream-name",
             streams[0]["logStreamName"])
ok("aws logs get-log-events", len(answer["events"]) > 0)

# Version 2 of the command, where it is: logs tail.
if AWS2:
    words = [AWS2, "logs", "tail", "/aws/lambda/f", "--endpoint-url", API]
    done = subprocess.run(words, env=ENVIRONMENT, capture_output=True, text=True)
    ok("aws logs tail", len(done.stdout.splitlines()) == 3 * INVOKED, f"{len(done.stdout.splitlines())} lines {done.stderr}")
    following = subprocess.Popen([*words, "--follow", "--since", "1s", "--format", "short"], env={**ENVIRONMENT,
                                 "PYTHONUNBUFFERED": "1"}, stdout=subprocess.PIPE, text=True)
    seen = []
    reader = threading.Thread(target=lambda: seen.extend(following.stdout), daemon=True)
    reader.start()
    # Invoked again and again, until the tail shows one of them: when it begins to look is its own affair.
    lambda_ = client("lambda", ROUTER)
    ids = set()
    for _ in range(120):
        ids.add(lambda_.invoke(FunctionName="f:live", Payload=b"{}")["ResponseMetadata"]["RequestId"])
        if any(request_id in line for line in seen for request_id in ids):
            break
        time.sleep(0.5)
    following.kill()
    shown = [line for line in seen if any(request_id in line for request_id in ids)]
    ok("aws logs tail --follow", len(shown) > 0, shown[:1])
else:
    print("-- aws logs tail needs version 2 of the aws command, which is not here")
print("done")
