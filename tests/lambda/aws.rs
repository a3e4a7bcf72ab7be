//! The commands that every user types first, verbatim, by the real client; and what the router then does.

use std::process::Command;

use serde_json::Value;

use crate::support::client::Client;
use crate::support::house::House;
use crate::support::service::Service;

/// Who every client is, and where.
pub(super) const ENVIRONMENT: [(&str, &str); 5] = [
    ("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE"),
    ("AWS_SECRET_ACCESS_KEY", SECRET),
    ("AWS_REGION", "us-east-1"),
    ("AWS_DEFAULT_REGION", "us-east-1"),
    ("AWS_EC2_METADATA_DISABLED", "true"),
];

/// The secret of that key.
pub(super) const SECRET: &str = "secret-of-AKIDEXAMPLE";

/// The real client; `scripts/test` installs it and names it.
#[expect(clippy::disallowed_methods, reason = "a tool of the test run, not of serin")]
#[track_caller]
pub(super) fn aws(house: &House, command: &str) -> Value {
    let program =
        std::env::var("SERIN_TEST_AWS").expect("SERIN_TEST_AWS names the aws client; scripts/test sets it");
    let words = words(command);
    assert_eq!(words[0], "aws");
    request(&program, &house.url(), &words[1..])
}

/// What a client of that kind, of whichever version, gets from an API.
#[track_caller]
pub(super) fn request(program: &str, url: &str, words: &[String]) -> Value {
    let output = Command::new(program)
        .args(words)
        .args(["--endpoint-url", url, "--output", "json"])
        .envs(ENVIRONMENT)
        .env("AWS_PAGER", "")
        .output()
        .unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{words:?}\n{error}");
    if output.stdout.is_empty() { Value::Null } else { serde_json::from_slice(&output.stdout).unwrap() }
}

/// Words as a shell splits them: quotes group and vanish.
pub(super) fn words(line: &str) -> Vec<String> {
    let (mut words, mut word, mut quoted, mut begun) = (Vec::new(), String::new(), false, false);
    for char in line.chars() {
        match char {
            '"' => (quoted, begun) = (!quoted, true),
            ' ' if !quoted => {
                if begun {
                    words.push(std::mem::take(&mut word));
                }
                begun = false;
            }
            char => {
                word.push(char);
                begun = true;
            }
        }
    }
    if begun {
        words.push(word);
    }
    words
}

/// The share of requests that version 2 answers, over so many of them.
fn share(house: &House, path: &str, requests: u32) -> f64 {
    let mut client = Client::connect(house.router());
    let canary = (0..requests).filter(|_| client.get(path).version() == Some("2")).count();
    canary as f64 / f64::from(requests)
}

#[track_caller]
fn assert_share(found: f64, expected: f64, requests: u32) {
    let sigma = (expected * (1.0 - expected) / f64::from(requests)).sqrt();
    assert!((found - expected).abs() <= 4.0 * sigma, "{found} instead of {expected}");
}

#[test]
#[ignore = "needs the aws CLI from PyPI; scripts/test installs it and runs this"]
fn the_seven_first_commands_work_verbatim() {
    const REQUESTS: u32 = 20_000;
    let house = House::start();
    let (one, two) = (Service::start(0.0, 1), Service::start(0.0, 2));
    for function in ["my-function", "helloworld"] {
        house.publish(function, &one.url());
        house.publish(function, &two.url());
    }
    house.alias("helloworld", "PROD", "1");

    let made = aws(
        &house,
        r#"aws lambda create-alias --name routing-alias --function-name my-function --function-version 1 --routing-config AdditionalVersionWeights={"2"=0.03}"#,
    );
    assert_eq!(made["RoutingConfig"]["AdditionalVersionWeights"]["2"], 0.03);
    let found = share(&house, "/my-function:routing-alias/", REQUESTS);
    println!("share of version 2 at weight 0.03: {found}");
    assert_share(found, 0.03, REQUESTS);

    let made = aws(
        &house,
        r#"aws lambda update-alias --name routing-alias --function-name my-function --routing-config AdditionalVersionWeights={"2"=0.05}"#,
    );
    assert_eq!(made["RoutingConfig"]["AdditionalVersionWeights"]["2"], 0.05);
    let found = share(&house, "/my-function:routing-alias/", REQUESTS);
    println!("share of version 2 at weight 0.05: {found}");
    assert_share(found, 0.05, REQUESTS);

    let made = aws(
        &house,
        "aws lambda update-alias --name routing-alias --function-name my-function --function-version 2 --routing-config AdditionalVersionWeights={}",
    );
    assert_eq!((made["FunctionVersion"].as_str(), made.get("RoutingConfig")), (Some("2"), None));
    assert_eq!(share(&house, "/my-function:routing-alias/", 200), 1.0);

    let made = aws(
        &house,
        "aws lambda add-permission --function-name helloworld --qualifier PROD --statement-id 1 --principal s3.amazonaws.com --action lambda:InvokeFunction --source-arn arn:aws:s3:::examplebucket --source-account 123456789012",
    );
    let statement: Value = serde_json::from_str(made["Statement"].as_str().unwrap()).unwrap();
    assert_eq!(statement["Resource"], "arn:aws:lambda:us-east-1:000000000000:function:helloworld:PROD");

    let made = aws(
        &house,
        r#"aws lambda create-alias --function-name my-function --name alias-name --function-version 1 --description " ""#,
    );
    assert_eq!(made["Description"], " ");
    assert_eq!(share(&house, "/my-function:alias-name/", 200), 0.0);
    let made = aws(
        &house,
        "aws lambda update-alias --function-name my-function --name alias-name --function-version 2",
    );
    assert_eq!(made["FunctionVersion"], "2");
    assert_eq!(share(&house, "/my-function:alias-name/", 200), 1.0);
    assert_eq!(
        aws(&house, "aws lambda delete-alias --function-name my-function --name alias-name"),
        Value::Null
    );
    let mut client = Client::connect(house.router());
    assert_eq!(client.get("/my-function:alias-name/").status, 404);
}

#[test]
#[ignore = "needs the aws CLI from PyPI; scripts/test installs it and runs this"]
fn an_aws_client_in_mid_rollout_is_drift_with_its_key() {
    let house = House::start();
    for port in 1..=2 {
        house.publish("f", &format!("http://127.0.0.1:{port}"));
    }
    house.alias("f", "live", "1");
    let plan = "function: f\nalias: live\nversion: \"2\"\nsteps: [3%, 100%]\nanalysis: none\nbake: 1h\n";
    house.start_rollout(plan, &serde_json::json!({})).ok();
    aws(
        &house,
        r#"aws lambda update-alias --function-name f --name live --routing-config AdditionalVersionWeights={"2"=0.5}"#,
    );
    let status = house.status("f:live");
    assert_eq!(
        (status["phase"].as_str(), status["drift"]["actor"].as_str()),
        (Some("Paused"), Some("AKIDEXAMPLE (unverified)"))
    );
    assert_eq!(status["weight"]["committed"], 0.5);
    let notices = house.get("/v1/rollouts/f:live/explain").ok()["notices"].to_string();
    assert!(
        notices.contains("v1 97% / v2 3%")
            && notices.contains("v1 50% / v2 50%")
            && notices.contains("stays armed"),
        "{notices}"
    );
}
