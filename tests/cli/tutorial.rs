//! The tutorial of the book, run as it is printed.

use std::process::Command;

use crate::support::root;
use crate::support::serin::Said;

/// What a page has readers type.
fn typed(page: &str) -> String {
    let text = std::fs::read_to_string(root().join("docs").join(page)).expect("a page");
    let blocks = text.split("```sh\n").skip(1).filter_map(|rest| rest.split("```").next());
    blocks.collect()
}

#[test]
#[ignore = "needs bash, curl, python3, ip and unshare; scripts/test runs it"]
fn the_tutorial_runs_as_printed() {
    let dir = tempfile::tempdir().expect("a directory");
    std::fs::write(dir.path().join("tutorial.sh"), typed("tutorial.md")).expect("a writable directory");
    let program = std::path::Path::new(env!("CARGO_BIN_EXE_serin")).parent().expect("a folder");
    // Its ports are a reader's own: it gets a loopback interface for itself, and nothing that it starts outlives it.
    let mut command = Command::new("unshare");
    command.args(["--net", "--pid", "--fork", "--kill-child", "bash", "-c"]);
    command.arg("ip link set lo up && exec bash -e tutorial.sh").current_dir(dir.path()).env_clear();
    command.env("PATH", format!("{}:/usr/sbin:/usr/bin:/sbin:/bin", program.display()));
    command.envs([("HOME", "/nonexistent"), ("USER", "reader"), ("LANG", "C.UTF-8"), ("TZ", "UTC")]);
    let said = Said::of(command.output().expect("unshare runs")).done();
    for part in [
        "hello:live, 20% → 50% → 100%",
        "x-amz-executed-version: 1",
        "hello from version 1",
        "SUCCEEDED",
        "hello from version 2",
        "ROLLED BACK",
        "exit code 3",
        "\"phase\": \"RolledBack\"",
        "all traffic of hello:live goes to v1",
    ] {
        assert!(said.out.contains(part), "{part:?} is not in {}", said.out);
    }
    assert!(said.out.trim_end().ends_with("hello from version 1"), "{}", said.out);
}
