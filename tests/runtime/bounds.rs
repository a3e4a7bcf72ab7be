//! The limits of functions: memory, and how many run at once.

use std::sync::Arc;

use serde_json::json;
use serin::runtime::{Failure, Throttled};
use serin_core::lambda::process::ProcessTarget;

use crate::support::functions::{Functions, function, version};

#[test]
fn a_function_gets_no_more_memory_than_it_may() {
    let functions = Functions::start();
    let small = Arc::new(ProcessTarget { memory_mb: 128, ..(*functions.rust()).clone() });
    let mib = 1024 * 1024;
    let fits = functions.invoke(&small, &json!({ "do": "take", "number": 64 * mib }));
    assert_eq!(fits.failure, None, "{fits:?}");
    assert!((64..128).contains(&fits.memory_mb), "{}", fits.memory_mb);
    let over = functions.invoke(&small, &json!({ "do": "take", "number": 200 * mib }));
    assert_eq!(over.failure, Some(Failure::Handler), "it is told, and may say so: {over:?}");
    let large = Arc::new(ProcessTarget { memory_mb: 512, ..(*small).clone() });
    let fits = functions.invoke(&large, &json!({ "do": "take", "number": 200 * mib }));
    assert_eq!(fits.failure, None, "{fits:?}");
}

/// A child of the daemon's and one of the function's own, whoever the daemon is.
#[test]
fn where_memory_is_short_functions_go_before_the_daemon() {
    let own: i32 = std::fs::read_to_string("/proc/self/oom_score_adj").unwrap().trim().parse().unwrap();
    let functions = Functions::start();
    let target = functions.rust();
    let read = functions.invoke(&target, &json!({ "do": "read", "path": "/proc/self/oom_score_adj" }));
    let line = "cat /proc/self/oom_score_adj";
    let ran = functions.invoke(&target, &json!({ "do": "run", "line": line }));
    let said = |outcome: &serin::runtime::Outcome| {
        serde_json::from_slice::<serde_json::Value>(&outcome.payload).unwrap()
    };
    let scores = [&said(&read), &said(&ran)["out"]].map(|score| {
        score
            .as_str()
            .and_then(|score| score.trim().parse::<i32>().ok())
            .unwrap_or_else(|| panic!("{read:?} {ran:?}"))
    });
    assert_eq!(scores, [own.max(800); 2]);
}

#[test]
fn no_more_run_at_once_than_are_reserved() {
    let functions = Functions::start();
    let target = functions.rust();
    functions.runtimes.reserve(&function(), Some(2));
    let held: Vec<_> = (0..2).map(|_| functions.runtimes.admit(&function(), version()).unwrap()).collect();
    let refused = functions.runtimes.admit(&function(), version()).unwrap_err();
    assert_eq!(refused, Throttled::Reserved);
    assert_eq!(refused.reason(), "ReservedFunctionConcurrentInvocationLimitExceeded");
    drop(held);
    assert_eq!(functions.invoke(&target, &json!({})).failure, None);
    assert!(
        functions.runtimes.admit(&function(), version()).is_ok(),
        "its place was given back with its answer"
    );
}
