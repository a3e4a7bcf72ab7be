//! Control groups of functions' processes, where this machine lets serin make any.

use std::path::{Path, PathBuf};
use std::process::Command;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use rustix::process::Signal;
use serde_json::{Value, json};
use serin::config::ProcessUser;
use serin::runtime::Outcome;

use crate::support::functions::{Functions, here, running, rust_function, stream};
use crate::support::house::{agent, ask};
use crate::support::serin::Daemon;
use crate::support::until;
use serin_core::lambda::process::Architecture;

/// What a function is asked for its group.
fn asks() -> Value {
    json!({ "do": "read", "path": "/proc/self/cgroup" })
}

/// A group of version 2 by what a process says of itself; `None` where it has none of its own.
fn group(said: &Value) -> Option<PathBuf> {
    let path = said.as_str().unwrap().lines().find_map(|line| line.strip_prefix("0::/"))?;
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    let mount = mounts.lines().find(|line| line.contains(" - cgroup2 "))?;
    let place = Path::new(mount.split(' ').nth(4)?).join(path);
    path.contains("serin-functions-").then_some(place)
}

fn said(outcome: &Outcome) -> Value {
    serde_json::from_slice(&outcome.payload).unwrap()
}

/// Its group, or nothing where serin says that there are none.
fn group_in(functions: &Functions) -> Option<PathBuf> {
    let found = group(&said(&functions.invoke(&functions.rust(), &asks())));
    let lacking = functions.runtimes.lacking();
    assert_eq!(
        found.is_none(),
        lacking.iter().any(|line| line.contains("no control groups bound and end")),
        "{lacking:?}"
    );
    found
}

#[test]
fn a_process_is_a_group_that_goes_with_it() {
    let mut functions = Functions::start();
    let Some(group) = group_in(&functions) else { return };
    let inside = || std::fs::read_to_string(group.join("cgroup.procs")).unwrap_or_default().lines().count();
    assert!(inside() > 0, "{}", group.display());
    let daemon = group.parent().unwrap().to_owned();
    // What uses the bounds up is not told where they are.
    let list = functions.invoke(&functions.rust(), &json!({ "do": "list", "path": daemon }));
    assert!(list.failure.is_some(), "{list:?}");
    functions.stop();
    until("its group and those of the daemon are gone", || !daemon.exists());
}

/// It is no other user, in no namespace, and has left its session: nothing else finds it.
#[test]
fn what_hides_from_everything_else_ends_with_its_group() {
    let mut functions = Functions::start_with(|config| config.user = Some(ProcessUser::Same));
    if group_in(&functions).is_none() {
        return;
    }
    let target = functions.rust();
    let stream = stream(&said(&functions.invoke(&target, &json!({ "do": "self" }))));
    let line = "setsid sleep 60 < /dev/null > /dev/null 2>&1 &";
    functions.invoke(&target, &json!({ "do": "run", "line": line }));
    until("both run", || running(&stream) == 2);
    functions.stop();
    until("both are gone", || running(&stream) == 0);
}

fn daemon(dir: &Path) -> Daemon {
    let mut command = Command::new(env!("CARGO_BIN_EXE_serin"));
    command.env_clear().env("HOME", "/nonexistent").env("PATH", "/usr/bin:/bin");
    Daemon::start_as(command, dir, &["--drain", "2s"])
}

fn create(daemon: &Daemon) {
    let architecture = if here() == Architecture::Arm64 { "arm64" } else { "x86_64" };
    let body = json!({
        "FunctionName": "f", "Runtime": "provided.al2023", "Handler": "bootstrap", "Publish": true,
        "Role": "arn:aws:iam::000000000000:role/r", "Timeout": 20, "Architectures": [architecture],
        "Code": { "ZipFile": BASE64.encode(rust_function()) },
    });
    let made = ask(&agent(), &daemon.url(), "POST", "/2015-03-31/functions", Some(&body), &[]);
    assert_eq!(made.status, 201, "{made:?}");
}

fn invoke(daemon: &Daemon, payload: &Value) -> Value {
    let reply =
        ask(&agent(), &daemon.url(), "POST", "/2015-03-31/functions/f/invocations", Some(payload), &[]);
    assert_eq!(reply.status, 200, "{reply:?}");
    reply.body
}

#[test]
fn the_next_daemon_removes_what_a_killed_one_left_and_nothing_of_one_that_lives() {
    let dirs = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let mut killed = daemon(dirs[0].path());
    create(&killed);
    let Some(left) = group(&invoke(&killed, &asks())) else { return };
    let lives = daemon(dirs[1].path());
    create(&lives);
    let before = (group(&invoke(&lives, &asks())), stream(&invoke(&lives, &json!({ "do": "self" }))));
    killed.signal(Signal::KILL);
    killed.ended();
    assert!(left.exists(), "nobody is there to remove it");
    let _next = daemon(dirs[0].path());
    until("what was left is gone", || !left.parent().unwrap().exists());
    let after = (group(&invoke(&lives, &asks())), stream(&invoke(&lives, &json!({ "do": "self" }))));
    assert_eq!(after, before, "the same process goes on");
}
