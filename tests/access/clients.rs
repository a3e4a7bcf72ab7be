//! Signatures made by boto3 and the `aws` command: right, wrong, late, tampered with and presigned.

use std::process::Command;

use serde_json::json;

use super::{furnish, house, own};
use crate::support::root;
use crate::support::service::Service;

#[test]
#[ignore = "needs boto3 and the aws CLI from PyPI; scripts/test installs them and runs this"]
#[expect(clippy::disallowed_methods, reason = "a tool of the test run, not of serin")]
fn signatures_of_the_real_clients_are_held_to_their_keys() {
    let house = house();
    let service = Service::start(0.0, 1);
    furnish(&house, "f", [&service.url(), &service.url()]);
    let allowed = json!({ "StatementId": "a", "Action": "lambda:InvokeFunction", "Principal": super::ANA });
    own(&house, "POST", "/2015-03-31/functions/f/policy?Qualifier=live", &allowed);
    let bucket = json!({ "StatementId": "b", "Action": "lambda:InvokeFunction", "Principal": "s3.amazonaws.com",
        "SourceArn": "arn:aws:s3:::examplebucket", "SourceAccount": "123456789012" });
    own(&house, "POST", "/2015-03-31/functions/f/policy?Qualifier=beta", &bucket);
    let python =
        std::env::var("SERIN_TEST_PYTHON").expect("SERIN_TEST_PYTHON names Python; scripts/test sets it");
    let aws =
        std::env::var("SERIN_TEST_AWS").expect("SERIN_TEST_AWS names the aws client; scripts/test sets it");
    let output = Command::new(python)
        .arg(root().join("tests/access/signing.py"))
        .args([house.url(), format!("http://{}", house.router()), aws])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    println!("{said}");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(said.lines().filter(|line| line.starts_with("ok ")).count() >= 30, "{said}");
}
