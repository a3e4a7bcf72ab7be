//! The real clients of CloudWatch and CloudWatch Logs, and the figures they print.

use std::process::Command;

use serde_json::json;

use super::{furnish, send};
use crate::support::house::House;
use crate::support::root;

#[test]
#[ignore = "needs boto3 and the aws CLI from PyPI; scripts/test installs them and runs this"]
#[expect(clippy::disallowed_methods, reason = "a tool of the test run, not of serin")]
fn cloudwatchs_clients_see_what_was_sent() {
    let house = House::start();
    let _services = furnish(&house);
    let sent = send(&house);
    let sent: Vec<_> = sent
        .iter()
        .map(|((qualifier, version), (requests, errors))| json!([qualifier, version, requests, errors]))
        .collect();
    let python =
        std::env::var("SERIN_TEST_PYTHON").expect("SERIN_TEST_PYTHON names Python; scripts/test sets it");
    let aws =
        std::env::var("SERIN_TEST_AWS").expect("SERIN_TEST_AWS names the aws client; scripts/test sets it");
    // Version 2 of the client, which alone has `aws logs tail`; PyPI does not have it.
    let newer = std::env::var("SERIN_TEST_AWS2").unwrap_or_default();
    let router = format!("http://{}", house.router());
    let output = Command::new(python)
        .arg(root().join("tests/logs/watching.py"))
        .args([house.url(), router, aws, newer, json!(sent).to_string()])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    println!("{said}");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
