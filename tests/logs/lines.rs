//! What invocations say, in `/v1/logs`, in `serin logs`, and in CloudWatch Logs.

use serde_json::{Value, json};

use super::{aws, furnish, send};
use crate::support::house::House;
use crate::support::serin::{Daemon, Running};
use crate::support::service::Service;
use crate::support::until;

fn lines(house: &House, target: &str) -> Vec<Value> {
    let reply = house.get(&format!("/v1/logs/{target}?limit=10000")).ok();
    reply["lines"].as_array().unwrap().clone()
}

fn texts(lines: &[Value], part: &str) -> usize {
    lines.iter().filter(|line| line["text"].as_str().unwrap().contains(part)).count()
}

#[test]
fn every_invocation_leaves_three_lines_of_the_version_that_ran() {
    let house = House::start();
    let _services = furnish(&house);
    let sent = send(&house);
    // Requests over plain HTTP are no invocations, and leave none.
    until("all lines are written", || lines(&house, "f").len() >= 3 * 122);
    let all = lines(&house, "f");
    assert_eq!(all.len(), 3 * (100 + 17 + 5));
    for start in ["START RequestId: ", "END RequestId: ", "REPORT RequestId: "] {
        assert_eq!(texts(&all, start), 122, "{start}");
    }
    for version in ["1", "2", "$LATEST"] {
        let of_version = lines(&house, &format!("f:{}", version.replace('$', "%24")));
        assert_eq!(texts(&of_version, &format!(" Version: {version}")) * 3, of_version.len(), "{version}");
        assert!(of_version.iter().all(|line| line["version"] == version));
    }
    let live = lines(&house, "f:live");
    assert_eq!(live.len(), lines(&house, "f:1").len() + lines(&house, "f:2").len());
    assert!(sent.len() >= 4, "{sent:?}");
    assert_eq!(house.get("/v1/logs/nothing").status, 404);
    assert_eq!(house.get("/v1/logs/f:nothing").status, 404);
    assert_eq!(house.get("/v1/logs/f?limit=0").status, 400);
    assert_eq!(house.get("/v1/logs/f?since=yesterday").status, 400);
}

#[test]
fn groups_streams_and_events_are_those_of_cloudwatch() {
    let mut house = House::start();
    let _services = furnish(&house);
    let ask = |house: &House, operation: &str, body: Value| {
        aws(house, &format!("Logs_20140328.{operation}"), &body)
    };
    let group = json!({ "logGroupName": "/aws/lambda/f" });
    let absent = ask(&house, "FilterLogEvents", group.clone());
    assert_eq!(
        (absent.status, absent.body["__type"].as_str(), absent.error().as_str()),
        (400, Some("ResourceNotFoundException"), "The specified log group does not exist.")
    );
    send(&house);
    house.shut_down();
    house.boot();
    let groups = ask(&house, "DescribeLogGroups", json!({ "logGroupNamePrefix": "/aws/lambda/" })).ok();
    assert_eq!(groups["logGroups"][0]["logGroupName"], "/aws/lambda/f");
    assert_eq!(
        groups["logGroups"][0]["arn"],
        "arn:aws:logs:us-east-1:000000000000:log-group:/aws/lambda/f:*"
    );

    let mut names = Vec::new();
    let mut page = json!({ "logGroupName": "/aws/lambda/f", "limit": 1 });
    loop {
        let streams = ask(&house, "DescribeLogStreams", page.clone()).ok();
        let found = streams["logStreams"].as_array().unwrap();
        names.extend(found.iter().map(|stream| stream["logStreamName"].as_str().unwrap().to_owned()));
        match streams.get("nextToken") {
            Some(token) => page["nextToken"] = token.clone(),
            None => break,
        }
    }
    // One for each version and each of the two workers that ran it.
    assert!((3..=6).contains(&names.len()), "{names:?}");
    assert!(names.is_sorted() && names[0].contains("/[$LATEST]"), "{names:?}");

    let all = |more: &Value| {
        let mut body = json!({ "logGroupName": "/aws/lambda/f", "limit": 50 });
        for (key, value) in more.as_object().unwrap() {
            body[key] = value.clone();
        }
        let mut events: Vec<Value> = Vec::new();
        loop {
            let page = ask(&house, "FilterLogEvents", body.clone()).ok();
            events.extend(page["events"].as_array().unwrap().iter().cloned());
            match page.get("nextToken") {
                Some(token) => body["nextToken"] = token.clone(),
                None => return events,
            }
        }
    };
    let events = all(&json!({}));
    assert_eq!(events.len(), 3 * 122);
    let ids: std::collections::BTreeSet<&str> =
        events.iter().map(|e| e["eventId"].as_str().unwrap()).collect();
    assert_eq!(ids.len(), events.len());
    assert!(events.is_sorted_by_key(|event| event["timestamp"].as_i64().unwrap()));
    assert_eq!(
        all(&json!({ "filterPattern": "\"Version: 2\"" })).len(),
        all(&json!({ "filterPattern": "START \"Version: 2\"" })).len()
    );
    assert_eq!(all(&json!({ "filterPattern": "REPORT" })).len(), 122);
    assert!(all(&json!({ "startTime": 4_000_000_000_000_i64 })).is_empty());
    let of_names = |names: &[String]| all(&json!({ "logStreamNames": names })).len();
    assert_eq!(names.iter().map(|name| of_names(std::slice::from_ref(name))).sum::<usize>(), events.len());
    let refused = ask(
        &house,
        "FilterLogEvents",
        json!({ "logGroupName": "/aws/lambda/f", "filterPattern": "{ $.a = 1 }" }),
    );
    assert!(refused.error().contains("JSON patterns"), "{refused:?}");
    // As many words as a pattern has room for are looked for, and what is longer is refused as on AWS.
    for (words, found) in [("Z ", 0), ("N ", 122), ("R ", 366)] {
        let pattern = words.repeat(512);
        assert_eq!(all(&json!({ "filterPattern": pattern })).len(), found, "{words:?}");
        let body = json!({ "logGroupName": "/aws/lambda/f", "filterPattern": pattern + "R" });
        let refused = ask(&house, "FilterLogEvents", body);
        assert_eq!(refused.status, 400, "{refused:?}");
        assert!(refused.error().contains("less than or equal to 1024"), "{refused:?}");
    }

    // From the end backwards, and from the head forwards, until a token comes back.
    for (from_head, token) in [(true, "nextForwardToken"), (false, "nextBackwardToken")] {
        let mut body = json!({ "logGroupName": "/aws/lambda/f", "logStreamName": names[1], "limit": 7,
            "startFromHead": from_head });
        let mut seen = 0;
        loop {
            let page = ask(&house, "GetLogEvents", body.clone()).ok();
            seen += page["events"].as_array().unwrap().len();
            if page[token] == body["nextToken"] {
                break;
            }
            body["nextToken"] = page[token].clone();
        }
        assert_eq!(seen, of_names(&names[1..2]), "from the head: {from_head}");
    }
}

#[test]
fn serin_logs_shows_time_version_and_line_and_follows() {
    let dir = tempfile::tempdir().unwrap();
    let daemon = Daemon::start(dir.path(), &[]);
    let service = Service::start(0.0, 1);
    daemon.serin(&["function", "publish", "f", "--url", &service.url(), "--new"]).done();
    daemon.serin(&["alias", "create", "f:live", "--version", "1"]).done();
    daemon.serin(&["logs", "f"]).done().complaining(&["nothing was said there"]);
    daemon.serin(&["logs", "g"]).ended(1).complaining(&["there is no function g"]);
    let invoke = || {
        let url = format!("http://{}/2015-03-31/functions/f:live/invocations", daemon.router);
        let mut answer = ureq::post(&url).send("{}").unwrap();
        answer.body_mut().read_to_string().unwrap();
    };
    invoke();
    until("three lines are shown", || daemon.serin(&["logs", "f:live"]).done().out.lines().count() == 3);
    let shown = daemon.serin(&["logs", "f:1"]).done().out;
    let words: Vec<&str> = shown.lines().next().unwrap().split_whitespace().collect();
    assert_eq!(words[1..4], ["v1", "START", "RequestId:"], "{shown}");
    assert_eq!(daemon.serin(&["logs", "f", "-o", "json"]).done().json()["lines"][0]["version"], "1");

    let mut command = daemon.command();
    command.args(["logs", "f:live", "-f"]);
    let following = Running::start(command);
    until("what was said before is shown", || following.out().lines().count() == 3);
    (0..5).for_each(|_| invoke());
    until("what comes is shown", || following.out().lines().count() == 3 * 6);
    assert_eq!(following.out().matches("REPORT RequestId: ").count(), 6);
}
