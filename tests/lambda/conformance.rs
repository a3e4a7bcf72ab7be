//! The control plane by name: every check of `conformance/`, through boto3; and hostile input on every operation.

use std::path::Path;
use std::process::Command;

use serin_core::lambda::process::CodeSha256;

use crate::support::house::House;

/// Runs one of the Python programs beside this file with the real clients, and gives what it said; `scripts/test` installs
/// and names them.
#[expect(clippy::disallowed_methods, reason = "a tool of the test run, not of serin")]
#[track_caller]
pub fn python(program: &str, arguments: &[&str]) -> String {
    let python = std::env::var("SERIN_TEST_PYTHON")
        .expect("SERIN_TEST_PYTHON names a python with boto3; scripts/test sets it");
    let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/lambda").join(program);
    let output =
        Command::new(python).arg("-W").arg("ignore").arg("-B").arg(program).args(arguments).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    println!("{said}");
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    said
}

#[test]
#[ignore = "needs boto3 from PyPI; scripts/test installs it and runs this"]
fn every_named_check_holds() {
    let house = House::start();
    python("conformance", &["--endpoint", &house.url()]);
}

#[test]
#[ignore = "needs botocore's service model from PyPI; scripts/test installs it and runs this"]
fn hostile_input_breaks_nothing_and_writes_nothing_outside() {
    let mut house = House::start();
    python("hostile.py", &["--endpoint", &house.url()]);
    house.shut_down();
    let data_dir = &house.config.data_dir;
    for entry in std::fs::read_dir(data_dir.join("code")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let digest = name.strip_suffix(".zip").and_then(CodeSha256::from_hex);
        assert!(digest.is_some(), "{name} is no zip that was taken whole");
    }
    let beside: Vec<_> = std::fs::read_dir(data_dir.parent().unwrap()).unwrap().collect();
    assert_eq!(beside.len(), 1, "{beside:?}");
    for outside in ["/tmp/serin-hostile-absolute", "/tmp/serin-hostile-linked", "/climbed"] {
        assert!(!Path::new(outside).exists(), "{outside}");
    }
}
