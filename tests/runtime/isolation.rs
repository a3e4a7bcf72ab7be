//! What a function sees of the daemon and the machine: its own, and nothing else.

use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;

use serde_json::{Value, json};
use serin_core::lambda::process::ProcessTarget;

use crate::support::functions::{Functions, invocation, running, rust_program, stream, version, zip_of};
use crate::support::until;

fn ask(functions: &Functions, target: &Arc<ProcessTarget>, payload: &Value) -> Value {
    let outcome = functions.invoke(target, payload);
    serde_json::from_slice(&outcome.payload).unwrap()
}

#[test]
fn a_function_has_lambdas_environment_and_its_own_and_no_other() {
    let functions = Functions::start();
    let mut target = (*functions.rust()).clone();
    target.environment.insert("OWN".to_owned(), "mine".to_owned());
    // Kept for the runtime, whatever the function says.
    target.environment.insert("AWS_LAMBDA_FUNCTION_NAME".to_owned(), "other".to_owned());
    let found = ask(&functions, &Arc::new(target), &json!({ "do": "self" }));
    let environment = found["environment"].as_object().unwrap();
    let names: BTreeSet<&str> = environment.keys().map(String::as_str).collect();
    let expected = [
        "AWS_DEFAULT_REGION",
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE",
        "AWS_LAMBDA_FUNCTION_NAME",
        "AWS_LAMBDA_FUNCTION_VERSION",
        "AWS_LAMBDA_INITIALIZATION_TYPE",
        "AWS_LAMBDA_LOG_GROUP_NAME",
        "AWS_LAMBDA_LOG_STREAM_NAME",
        "AWS_LAMBDA_RUNTIME_API",
        "AWS_REGION",
        "HOME",
        "LAMBDA_RUNTIME_DIR",
        "LAMBDA_TASK_ROOT",
        "LANG",
        "LD_LIBRARY_PATH",
        "OWN",
        "PATH",
        "TMPDIR",
        "TZ",
        "_HANDLER",
        // The lambda_runtime crate itself sets it from a header.
        "_X_AMZN_TRACE_ID",
    ];
    assert_eq!(names, BTreeSet::from(expected));
    for (name, value) in [
        ("AWS_LAMBDA_FUNCTION_NAME", "f"),
        ("AWS_LAMBDA_FUNCTION_VERSION", "1"),
        ("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "128"),
        ("AWS_LAMBDA_LOG_GROUP_NAME", "/aws/lambda/f"),
        ("AWS_REGION", "us-east-1"),
        ("_HANDLER", "handler"),
        ("TZ", ":UTC"),
        ("OWN", "mine"),
    ] {
        assert_eq!(environment[name], value, "{name}");
    }
    assert_eq!(environment["LAMBDA_TASK_ROOT"], found["directory"]);
    let logged = &functions.lines.lock().unwrap()[0].stream;
    assert_eq!(environment["AWS_LAMBDA_LOG_STREAM_NAME"], **logged);
}

#[test]
fn a_function_inherits_no_files() {
    let functions = Functions::start();
    // As a careless parent of the daemon would leave them: not closed on exec.
    let leaked = std::fs::File::open("/etc/hostname").unwrap();
    let leaked = rustix::io::dup(&leaked).unwrap();
    rustix::io::fcntl_setfd(&leaked, rustix::io::FdFlags::empty()).unwrap();
    let found = ask(&functions, &functions.rust(), &json!({ "do": "self" }));
    let files = found["files"].as_object().unwrap();
    let targets: Vec<&str> = files.values().map(|target| target.as_str().unwrap()).collect();
    assert!(targets.iter().all(|target| !target.contains("hostname")), "{files:?}");
    assert!(targets.iter().all(|target| !target.contains("/data/")), "{files:?}");
    let pipes = targets.iter().filter(|target| target.starts_with("pipe:")).count();
    assert_eq!((files["0"].as_str(), pipes), (Some("/dev/null"), 2), "its outputs: {files:?}");
    assert_eq!(files["1"], files["2"], "one pipe, so that lines keep their order");
    drop(leaked);
}

#[test]
fn a_function_is_a_user_of_its_own_and_reads_nothing_of_the_daemon() {
    let functions = Functions::start();
    let target = functions.rust();
    let secret = functions.data.join("secret");
    std::fs::write(&secret, "of the daemon").unwrap();
    std::fs::set_permissions(&secret, PermissionsExt::from_mode(0o644)).unwrap();
    let mode = std::fs::metadata(&functions.data).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o700, "the data directory is the daemon's alone");
    let found = ask(&functions, &target, &json!({ "do": "self" }));
    assert_eq!((&found["writesScratch"], &found["noNewPrivileges"]), (&json!(true), &json!("1")));
    if !rustix::process::getuid().is_root() {
        // Only root can give processes other users; docs/functions.md says what that means.
        return;
    }
    assert_eq!(found["writesCode"], false);
    assert_eq!(found["groups"], "", "none of the daemon's groups");
    let users: BTreeSet<&str> = found["users"].as_str().unwrap().split_whitespace().collect();
    assert!(users.len() == 1 && !users.contains("0"), "{users:?}");
    for path in
        [secret.to_str().unwrap(), "/proc/1/environ", &format!("/proc/{}/environ", std::process::id())]
    {
        let outcome = functions.invoke(&target, &json!({ "do": "read", "path": path }));
        assert!(outcome.failure.is_some(), "{path}: {outcome:?}");
    }
    // Two at once are two users, who cannot read each other either.
    let both = functions.invoke_all(&target, &json!({ "do": "self" }), 2);
    let both: Vec<Value> = both.iter().map(|one| serde_json::from_slice(&one.payload).unwrap()).collect();
    if stream(&both[0]) != stream(&both[1]) {
        assert_ne!(both[0]["users"], both[1]["users"]);
    }
}

#[test]
fn a_function_cannot_change_its_code_nor_read_or_change_anothers() {
    if !rustix::process::getuid().is_root() {
        return;
    }
    let functions = Functions::start();
    let code = |secret: &[u8]| {
        let files: [(&str, &[u8], u32); 3] =
            [("bootstrap", rust_program(), 0o777), ("data", secret, 0o666), ("lib/more", secret, 0o777)];
        Arc::new(functions.target(&zip_of(&files)))
    };
    let (ours, theirs) = (code(b"ours"), code(b"theirs"));
    let asked = |target: &Arc<ProcessTarget>, payload: Value| {
        // Two functions at once, so that both have processes.
        let mut invocation = invocation(target, &payload);
        if Arc::ptr_eq(target, &theirs) {
            invocation.function = "g".parse().unwrap();
        }
        let permit = functions.runtimes.admit(&invocation.function, version()).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(functions.runtimes.invoke(invocation, permit)).unwrap()
    };
    let root = |target| {
        let found: Value = serde_json::from_slice(&asked(target, json!({ "do": "self" })).payload).unwrap();
        found["environment"]["LAMBDA_TASK_ROOT"].as_str().unwrap().to_owned()
    };
    let (our_root, their_root) = (root(&ours), root(&theirs));
    for name in ["data", "lib/more", "bootstrap", "new", "lib/new"] {
        let written =
            asked(&ours, json!({ "do": "write", "path": format!("{our_root}/{name}"), "text": "x" }));
        assert!(written.failure.is_some(), "it wrote its own {name}");
    }
    let own = asked(&ours, json!({ "do": "read", "path": format!("{our_root}/data") }));
    assert_eq!(own.payload, "\"ours\"");
    if our_root == their_root {
        // Each sees its own alone at this place.
        return;
    }
    for name in ["data", "lib/more", "bootstrap"] {
        let path = format!("{their_root}/{name}");
        assert!(
            asked(&ours, json!({ "do": "write", "path": path, "text": "x" })).failure.is_some(),
            "{path}"
        );
        assert!(asked(&ours, json!({ "do": "read", "path": path })).failure.is_some(), "{path}");
    }
    assert!(asked(&ours, json!({ "do": "list", "path": their_root })).failure.is_some());
}

#[test]
fn nobody_else_can_speak_to_a_functions_runtime_api() {
    if !rustix::process::getuid().is_root() {
        return;
    }
    let functions = Functions::start();
    let target = functions.rust();
    let found = ask(&functions, &target, &json!({ "do": "self" }));
    let api = found["environment"]["AWS_LAMBDA_RUNTIME_API"].as_str().unwrap();
    // This test is another user than the function is.
    let agent: ureq::Agent = ureq::Agent::config_builder().http_status_as_error(false).build().into();
    let stolen = agent.get(format!("http://{api}/2018-06-01/runtime/invocation/next")).call();
    assert!(stolen.is_err(), "{stolen:?}");
    assert_eq!(functions.invoke(&target, &json!({})).failure, None);
}

#[test]
fn what_a_function_started_ends_with_it() {
    let mut functions = Functions::start();
    let started = ask(&functions, &functions.rust(), &json!({ "do": "child" }));
    let stream = stream(&started);
    until("both run", || running(&stream) == 2);
    functions.stop();
    until("both are gone", || running(&stream) == 0);
    let left: Vec<_> = std::fs::read_dir(functions.data.join("code")).unwrap().flatten().collect();
    assert_eq!(left.len(), 1, "only the zip: {left:?}");
    let run_directory = std::fs::read_to_string(functions.data.join("run-directory")).unwrap();
    assert!(!std::path::Path::new(&run_directory).exists());
}
