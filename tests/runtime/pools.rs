//! Processes: started when they are needed, kept, and ended when they are not.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use serin::runtime::Outcome;
use serin_core::lambda::process::ProcessTarget;

use crate::support::functions::{Functions, function, running, stream, version};
use crate::support::until;

/// Which process answered.
fn which(outcome: &Outcome) -> String {
    stream(&serde_json::from_slice(&outcome.payload).unwrap())
}

#[test]
fn whoever_comes_alone_finds_the_same_process() {
    let functions = Functions::start();
    let target = functions.rust();
    let processes: BTreeSet<String> =
        (0..200).map(|_| which(&functions.invoke(&target, &json!({ "do": "self" })))).collect();
    assert_eq!(processes.len(), 1);
}

#[test]
fn those_who_come_at_once_run_at_once_and_the_processes_are_kept() {
    let functions = Functions::start();
    let target = functions.rust();
    let slow = functions.invoke_all(&target, &json!({ "do": "sleep", "number": 500 }), 4);
    assert!(slow.iter().all(|outcome| outcome.failure.is_none()));
    until("they are ready again", || functions.ready() == 4);
}

#[test]
fn idle_processes_are_ended() {
    let functions = Functions::start_with(|config| config.idle = Duration::from_millis(200));
    let first = which(&functions.invoke(&functions.rust(), &json!({ "do": "self" })));
    until("it is gone", || functions.ready() == 0 && running(&first) == 0);
    let second = functions.invoke(&functions.rust(), &json!({ "do": "self" }));
    assert!(which(&second) != first && second.init.is_some());
}

#[test]
fn provisioned_processes_are_ready_before_anybody_asks_and_stay() {
    let functions = Functions::start_with(|config| config.idle = Duration::from_millis(100));
    let target = functions.rust();
    functions.runtimes.provision(&function(), vec![(version(), Arc::clone(&target), 2)]);
    until("both are ready", || functions.ready() == 2);
    let outcome = functions.invoke(&target, &json!({ "do": "self" }));
    assert!(outcome.init.is_none(), "nobody waited for its beginning");
    let body: Value = serde_json::from_slice(&outcome.payload).unwrap();
    assert_eq!(body["environment"]["AWS_LAMBDA_INITIALIZATION_TYPE"], "provisioned-concurrency");
    // A burst starts more; those go when they are idle, the two stay.
    functions.invoke_all(&target, &json!({ "do": "sleep", "number": 300 }), 4);
    until("the others have gone", || functions.ready() == 2);
    functions.runtimes.provision(&function(), Vec::new());
    until("all have gone", || functions.ready() == 0);
}

#[test]
fn a_provisioned_process_that_ends_is_replaced() {
    let functions = Functions::start();
    let target = functions.rust();
    functions.runtimes.provision(&function(), vec![(version(), Arc::clone(&target), 1)]);
    until("it is ready", || functions.ready() == 1);
    let first = which(&functions.invoke(&target, &json!({ "do": "self" })));
    functions.invoke(&target, &json!({ "do": "exit", "number": 1 }));
    until("another is ready", || functions.ready() == 1);
    assert_ne!(which(&functions.invoke(&target, &json!({ "do": "self" }))), first);
}

#[test]
fn changed_code_runs_at_once_and_deleted_code_no_more() {
    let functions = Functions::start();
    let old = functions.rust();
    let first = which(&functions.invoke(&old, &json!({ "do": "self" })));
    let mut changed = (*old).clone();
    changed.environment.insert("CHANGED".to_owned(), "yes".to_owned());
    let new = Arc::new(ProcessTarget { ..changed });
    let outcome = functions.invoke(&new, &json!({ "do": "self" }));
    let body: Value = serde_json::from_slice(&outcome.payload).unwrap();
    assert_eq!(body["environment"]["CHANGED"], "yes");
    until("the process of before is gone", || running(&first) == 0);
    let second = which(&outcome);
    functions.runtimes.forget(&function(), Some(version()));
    until("its process is gone", || functions.ready() == 0 && running(&second) == 0);
}

#[test]
fn a_shutdown_lets_invocations_end_and_takes_no_more() {
    let mut functions = Functions::start();
    let target = functions.rust();
    functions.invoke(&target, &json!({}));
    let runtimes = functions.runtimes.clone();
    let slow = {
        let permit = runtimes.admit(&function(), version()).unwrap();
        let invocation =
            crate::support::functions::invocation(&target, &json!({ "do": "sleep", "number": 500 }));
        let runtimes = runtimes.clone();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            runtime.block_on(runtimes.invoke(invocation, permit))
        })
    };
    until("it runs", || functions.ready() == 0);
    functions.stop();
    assert_eq!(slow.join().unwrap().unwrap().payload, "\"slept\"");
    assert!(functions.try_invoke(&target, &json!({})).unwrap_err().0.contains("shutting down"));
}
