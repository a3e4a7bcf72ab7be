//! A Lambda function as people write them with AWS's own crate, for the tests: it does what its event says.

#![expect(clippy::disallowed_methods, reason = "no part of serin: its environment and its end are its own")]

use std::io::{Read, Write};
use std::time::Duration;

use lambda_runtime::{Error, LambdaEvent, run, service_fn};
use serde_json::{Value, json};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    if std::env::var("FAIL_TO_BEGIN").is_ok() {
        eprintln!("no database");
        return Err("no database".into());
    }
    run(service_fn(handle)).await
}

async fn handle(event: LambdaEvent<Value>) -> Result<Value, Error> {
    let LambdaEvent { payload, context } = event;
    if std::env::var("FAIL_WHEN_CALLED").is_ok() {
        return Err("told to fail".into());
    }
    let number = payload["number"].as_u64().unwrap_or_default();
    match payload["do"].as_str().unwrap_or("echo") {
        "echo" => Ok(payload),
        "context" => Ok(json!({
            "arn": context.invoked_function_arn,
            "requestId": context.request_id,
            "version": context.env_config.version,
            "deadlineMs": context.deadline,
            "trace": context.xray_trace_id,
            "client": context.client_context,
        })),
        "self" => Ok(itself()),
        "fail" => Err(format!("failed on {number}").into()),
        "sometimes" if number % 2 == 1 => Err("odd".into()),
        "sometimes" => Ok(json!(number)),
        "exit" => std::process::exit(number.try_into()?),
        "sleep" => {
            tokio::time::sleep(Duration::from_millis(number)).await;
            Ok(json!("slept"))
        }
        "say" => {
            (0..number).for_each(|line| println!("line {line}"));
            eprintln!("and an error");
            Ok(json!(null))
        }
        "answer" => Ok(json!("x".repeat(number.try_into()?))),
        "take" => {
            // Touched page by page, so that it is really had.
            let mut memory = Vec::<u8>::new();
            memory.try_reserve_exact(number.try_into()?)?;
            memory.resize(number.try_into()?, 1);
            Ok(json!(memory.iter().step_by(4096).map(|byte| u64::from(*byte)).sum::<u64>()))
        }
        "child" => {
            let child = std::process::Command::new("/bin/sleep").arg("1000").spawn()?;
            let mut found = itself();
            found["child"] = json!(child.id());
            Ok(found)
        }
        "list" => {
            let entries = std::fs::read_dir(path(&payload))?.flatten();
            Ok(json!(entries.map(|entry| entry.path()).collect::<Vec<_>>()))
        }
        "write" => Ok(json!(std::fs::write(path(&payload), payload["text"].as_str().unwrap_or_default())?)),
        "ask" => {
            let mut stream = std::net::TcpStream::connect(payload["address"].as_str().unwrap_or_default())?;
            stream.set_read_timeout(Some(Duration::from_secs(10)))?;
            stream.write_all(payload["text"].as_str().unwrap_or_default().as_bytes())?;
            let mut answer = Vec::new();
            if payload["waits"] != json!(false) {
                // What came before it was cut off is the answer.
                let _ = stream.read_to_end(&mut answer);
            }
            Ok(json!(String::from_utf8_lossy(&answer)))
        }
        "run" => {
            let line = payload["line"].as_str().unwrap_or_default();
            let ended = std::process::Command::new("/bin/sh").arg("-c").arg(line).output()?;
            let words = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
            Ok(
                json!({ "code": ended.status.code(), "out": words(&ended.stdout), "err": words(&ended.stderr) }),
            )
        }
        "read" => Ok(json!(std::fs::read_to_string(path(&payload))?)),
        other => Err(format!("this function cannot {other}").into()),
    }
}

fn path(payload: &Value) -> &str {
    payload["path"].as_str().unwrap_or_default()
}

/// What it finds of itself and around it.
fn itself() -> Value {
    let files = std::fs::read_dir("/proc/self/fd").map(|entries| {
        let entries = entries.flatten().map(|entry| {
            let target = std::fs::read_link(entry.path()).unwrap_or_default();
            (entry.file_name().to_string_lossy().into_owned(), json!(target.to_string_lossy()))
        });
        entries.collect::<serde_json::Map<_, _>>()
    });
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let field = |name: &str| {
        status.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default().trim().to_owned()
    };
    let root = std::env::var("LAMBDA_TASK_ROOT").unwrap_or_default();
    let scratch = std::env::var("TMPDIR").unwrap_or_default();
    json!({
        "environment": std::env::vars().collect::<std::collections::BTreeMap<_, _>>(),
        "files": files.unwrap_or_default(),
        "directory": std::env::current_dir().unwrap_or_default(),
        "pid": std::process::id(),
        "users": field("Uid:"),
        "groups": field("Groups:"),
        "noNewPrivileges": field("NoNewPrivs:"),
        "writesCode": std::fs::write(format!("{root}/written"), "").is_ok(),
        "writesScratch": std::fs::write(format!("{scratch}/written"), "").is_ok(),
    })
}
