//! A first day with the `aws` client: a function from a zip, versions, a weighted alias, promotion, permission, deletion.

use std::path::Path;

use serde_json::{Value, json};

use super::aws::aws;
use crate::support::client::Client;
use crate::support::functions::rust_function;
use crate::support::house::House;
use crate::support::until;

const ARN: &str = "arn:aws:lambda:us-east-1:000000000000:function:first";

/// Writes a zip with a real function, made with AWS's own crate, that answers what it is asked.
pub(super) fn function(dir: &Path, name: &str) -> String {
    // The name as the archive's comment, so that two zips of one function are two codes.
    let mut zip = rust_function().to_vec();
    let length = u16::try_from(name.len()).unwrap().to_le_bytes();
    let end = zip.len();
    zip[end - 2..].copy_from_slice(&length);
    zip.extend_from_slice(name.as_bytes());
    let path = dir.join(name);
    std::fs::write(&path, zip).unwrap();
    path.display().to_string()
}

fn keys(value: &Value) -> Vec<&str> {
    value.as_object().unwrap().keys().map(String::as_str).collect()
}

/// A function with two versions, and an alias that splits between them.
fn two_versions(house: &House, dir: &Path) {
    let (one, two) = (function(dir, "one.zip"), function(dir, "two.zip"));
    let made = aws(
        house,
        &format!(
            "aws lambda create-function --function-name first --runtime provided.al2023 --handler bootstrap --role \
             arn:aws:iam::000000000000:role/first --zip-file fileb://{one} --timeout 10"
        ),
    );
    assert_eq!((made["State"].as_str(), made["FunctionArn"].as_str()), (Some("Pending"), Some(ARN)));
    assert_eq!(aws(house, "aws lambda wait function-active-v2 --function-name first"), Value::Null);
    let first = aws(house, "aws lambda publish-version --function-name first --description one");
    assert_eq!((first["Version"].as_str(), first["State"].as_str()), (Some("1"), Some("Active")));
    let changed = aws(
        house,
        &format!("aws lambda update-function-code --function-name first --zip-file fileb://{two}"),
    );
    assert_eq!(changed["LastUpdateStatus"], "InProgress");
    assert_eq!(aws(house, "aws lambda wait function-updated-v2 --function-name first"), Value::Null);
    let second = aws(house, "aws lambda publish-version --function-name first --description two");
    assert_eq!(second["Version"], "2");
    assert_ne!(first["CodeSha256"], second["CodeSha256"]);
    let alias = aws(
        house,
        r#"aws lambda create-alias --function-name first --name live --function-version 1 --routing-config AdditionalVersionWeights={"2"=0.2}"#,
    );
    assert_eq!(alias["RoutingConfig"], json!({ "AdditionalVersionWeights": { "2": 0.2 } }));
}

#[test]
#[ignore = "needs the aws CLI from PyPI; scripts/test installs it and runs this"]
fn a_function_lives_from_its_creation_to_its_deletion() {
    let house = House::start();
    let dir = tempfile::tempdir().unwrap();
    two_versions(&house, dir.path());

    let shown = aws(&house, "aws lambda get-function --function-name first");
    assert_eq!(keys(&shown), ["Configuration", "Code"]);
    let listed = aws(&house, "aws lambda list-versions-by-function --function-name first");
    let versions: Vec<&Value> =
        listed["Versions"].as_array().unwrap().iter().map(|one| &one["Version"]).collect();
    assert_eq!(versions, ["$LATEST", "1", "2"]);
    let functions = aws(&house, "aws lambda list-functions");
    assert_eq!(functions["Functions"].as_array().unwrap().len(), 1);

    let changed = aws(
        &house,
        "aws lambda update-function-configuration --function-name first --memory-size 256 --environment Variables={AB=c}",
    );
    assert_eq!(
        (&changed["MemorySize"], &changed["Environment"]),
        (&json!(256), &json!({ "Variables": { "AB": "c" } }))
    );
    let frozen = aws(&house, "aws lambda get-function-configuration --function-name first --qualifier 2");
    assert_eq!((&frozen["MemorySize"], frozen.get("Environment")), (&json!(128), None));

    let promoted = aws(
        &house,
        "aws lambda update-alias --function-name first --name live --function-version 2 --routing-config AdditionalVersionWeights={}",
    );
    assert_eq!((promoted["FunctionVersion"].as_str(), promoted.get("RoutingConfig")), (Some("2"), None));
    let by_alias = aws(&house, "aws lambda get-function --function-name first --qualifier live");
    assert_eq!(by_alias["Configuration"]["FunctionArn"], format!("{ARN}:live"));

    aws(
        &house,
        "aws lambda add-permission --function-name first --qualifier live --statement-id s3 --principal s3.amazonaws.com --action lambda:InvokeFunction",
    );
    let policy = aws(&house, "aws lambda get-policy --function-name first --qualifier live");
    let text: Value = serde_json::from_str(policy["Policy"].as_str().unwrap()).unwrap();
    assert_eq!(text["Statement"][0]["Resource"], format!("{ARN}:live"));

    assert_eq!(aws(&house, "aws lambda delete-alias --function-name first --name live"), Value::Null);
    for qualifier in ["1", "2"] {
        let command = format!("aws lambda delete-function --function-name first --qualifier {qualifier}");
        aws(&house, &command);
    }
    aws(&house, "aws lambda delete-function --function-name first");
    let functions = aws(&house, "aws lambda list-functions");
    assert_eq!(functions["Functions"], json!([]));
    let code = house.config.data_dir.join("code");
    until("nothing names the zips any more", || std::fs::read_dir(&code).unwrap().count() == 0);
}

#[test]
#[ignore = "needs the aws CLI from PyPI; scripts/test installs it and runs this"]
fn two_thousand_invocations_are_split_by_the_aliass_weight() {
    const INVOCATIONS: u32 = 2000;
    let house = House::start();
    let dir = tempfile::tempdir().unwrap();
    two_versions(&house, dir.path());
    let out = dir.path().join("out.json");
    let command = format!("aws lambda invoke --function-name first:live --payload {{}} {}", out.display());
    let told = aws(&house, &command);
    assert_eq!(told["StatusCode"], 200, "{told}");
    assert!(["1", "2"].contains(&told["ExecutedVersion"].as_str().unwrap()), "{told}");
    let command = format!(
        "aws lambda invoke --function-name first:live --invocation-type Event --payload {{}} {}",
        out.display()
    );
    assert_eq!(aws(&house, &command), json!({ "StatusCode": 202 }));
    assert_eq!(std::fs::read(&out).unwrap(), b"");
    until("the event is delivered", || {
        let metrics = house.get("/metrics").ok();
        let delivered = "serin_async_events_total{function=\"first\",outcome=\"delivered\"} 1\n";
        metrics.as_str().unwrap().contains(delivered)
    });
    let mut client = Client::connect(house.router());
    let mut canary = 0;
    for _ in 0..INVOCATIONS {
        let answer = client.post("/2015-03-31/functions/first:live/invocations", &[], "{}");
        assert_eq!(answer.status, 200, "{answer:?}");
        canary += u32::from(answer.version() == Some("2"));
    }
    let (found, expected) = (f64::from(canary) / f64::from(INVOCATIONS), 0.2);
    println!("share of version 2 at weight 0.2 in {INVOCATIONS} invocations: {found}");
    let sigma = (expected * (1.0 - expected) / f64::from(INVOCATIONS)).sqrt();
    assert!((found - expected).abs() <= 4.0 * sigma, "{found} instead of {expected}");
}
