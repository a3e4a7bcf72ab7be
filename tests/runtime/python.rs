//! A function in Python, through AWS's own runtime interface client.

use std::sync::Arc;

use serde_json::{Value, json};
use serin::runtime::{Failure, Outcome};
use serin_core::lambda::process::{ProcessTarget, Runtime};

use crate::support::functions::{Functions, python_with_ric, zip_of};

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

fn body(outcome: &Outcome) -> Value {
    serde_json::from_slice(&outcome.payload).unwrap()
}

#[test]
#[ignore = "needs a Python with awslambdaric, which scripts/test installs; it runs this"]
fn a_python_function_runs_through_awss_own_client() {
    let there = python_with_ric();
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
