//! A function in Python, through AWS's own runtime interface client.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use serde_json::{Value, json};
use serin::domain::process::{ProcessTarget, Runtime};
use serin::runtime::{Failure, Outcome};
use tempfile::TempDir;

use crate::support::functions::{Functions, zip_of};

const CODE: &str = r#"
import os
print("at import")
def handler(event, context):
    print("asked", event["do"])
    if event["do"] == "fail":
        return {}["absent"]
    if event["do"] == "take":
        return len(bytearray(event["bytes"]))
    return {
        "event": event, "version": context.function_version, "arn": context.invoked_function_arn,
        "left": context.get_remaining_time_in_millis(), "limit": context.memory_limit_in_mb,
        "stream": context.log_stream_name, "environment": os.environ["AWS_EXECUTION_ENV"],
    }
"#;

/// A Python with awslambdaric, where every user can read it.
struct Python {
    /// The directory of its program.
    search: PathBuf,
    /// It is 3.N.
    minor: u8,
    _copy: Option<TempDir>,
}

/// The Python that `scripts/test` made.
///
/// Functions run as users of their own, who may not pass through the directory that the repository is in. Then they get
/// a copy of the venv where they may: an interpreter finds its venv by where it is itself.
#[expect(clippy::disallowed_methods, reason = "a tool of the test run, not of serin")]
fn python() -> Python {
    let place =
        std::env::var("SERIN_TEST_RIC").expect("SERIN_TEST_RIC names bin/python3.N; scripts/test sets it");
    let place = PathBuf::from(place);
    let minor = place.file_name().unwrap().to_str().unwrap().strip_prefix("python3.").unwrap().parse();
    let (bin, minor) = (place.parent().unwrap().to_owned(), minor.unwrap());
    let is_open = |place: &Path| std::fs::metadata(place).unwrap().permissions().mode() & 0o005 == 0o005;
    if bin.ancestors().all(is_open) {
        return Python { search: bin, minor, _copy: None };
    }
    let copy = tempfile::Builder::new().permissions(Permissions::from_mode(0o755)).tempdir().unwrap();
    let copied =
        Command::new("cp").arg("-R").arg(bin.parent().unwrap()).arg(copy.path().join("venv")).status();
    assert!(copied.unwrap().success());
    Python { search: copy.path().join("venv/bin"), minor, _copy: Some(copy) }
}

fn body(outcome: &Outcome) -> Value {
    serde_json::from_slice(&outcome.payload).unwrap()
}

#[test]
#[ignore = "needs a Python with awslambdaric, which scripts/test installs; it runs this"]
fn a_python_function_runs_through_awss_own_client() {
    let there = python();
    let (search, minor) = (there.search.clone(), there.minor);
    let functions = Functions::start_with(|config| config.search = vec![search]);
    let python = |code: &str, handler: &str| {
        let target = functions.target(&zip_of(&[("app.py", code.as_bytes(), 0o644)]));
        Arc::new(ProcessTarget { runtime: Runtime::Python(minor), handler: handler.to_owned(), ..target })
    };
    let target = python(CODE, "app.handler");
    functions.runtimes.availability(&target).unwrap();
    let outcome = functions.invoke(&target, &json!({ "do": "echo" }));
    assert_eq!(outcome.failure, None, "{}", functions.log());
    let told = body(&outcome);
    assert_eq!((&told["event"], &told["version"]), (&json!({ "do": "echo" }), &json!("1")));
    assert_eq!(told["arn"], "arn:aws:lambda:us-east-1:000000000000:function:f:live");
    assert_eq!(
        (&told["limit"], &told["environment"]),
        (&json!("128"), &json!(format!("AWS_Lambda_python3.{minor}")))
    );
    assert!(told["left"].as_i64().is_some_and(|left_ms| left_ms > 0));
    let log = functions.log();
    assert!(log.starts_with("INIT_START Runtime Version: python:"), "{log}");
    assert!(
        log.contains("\nat import\nSTART RequestId: ") && log.contains("\nasked echo\nEND RequestId: "),
        "{log}"
    );

    let failed = functions.invoke(&target, &json!({ "do": "fail" }));
    assert_eq!(failed.failure, Some(Failure::Handler));
    let error = body(&failed);
    assert_eq!((&error["errorType"], &error["errorMessage"]), (&json!("KeyError"), &json!("'absent'")));
    assert!(error["stackTrace"][0].as_str().unwrap().contains("app.py"), "{error}");
    assert!(failed.init.is_none(), "the same process");

    let over = functions.invoke(&target, &json!({ "do": "take", "bytes": 256 << 20 }));
    assert_eq!(body(&over)["errorType"], "MemoryError", "{}", functions.log());

    let broken = functions.invoke(&python("import absent", "app.handler"), &json!({}));
    assert_eq!(broken.failure, Some(Failure::Init));
    let error = body(&broken);
    assert_eq!(error["errorType"], "Runtime.ImportModuleError");
    assert_eq!(error["errorMessage"], "Unable to import module 'app': No module named 'absent'");
}
