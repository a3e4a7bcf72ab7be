//! The limits of functions: memory, and how many run at once.

use std::sync::Arc;

use serde_json::json;
use serin::domain::process::ProcessTarget;
use serin::runtime::{Failure, Throttled};

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
