//! `serin backup`, `serin restore` and `serin fsck`.

use crate::support::serin::{Daemon, serin};

fn path(dir: &std::path::Path, name: &str) -> String {
    dir.join(name).to_str().unwrap().to_owned()
}

fn publish(daemon: &Daemon, port: u16) {
    daemon.serin(&["function", "publish", "shop", "--url", &format!("http://127.0.0.1:{port}")]).done();
}

#[test]
fn a_backup_comes_back_and_the_old_store_stays() {
    let dir = tempfile::tempdir().unwrap();
    let (data, through, beside) =
        (path(dir.path(), "data"), path(dir.path(), "through.db"), path(dir.path(), "beside.db"));
    let daemon = Daemon::start(dir.path(), &[]);
    publish(&daemon, 9001);
    assert_eq!(daemon.serin(&["backup", "--to", &through]).done().out, format!("{through}\n"));
    daemon.serin(&["backup", "--to", &through]).ended(1).complaining(&["there already", &through]);
    publish(&daemon, 9002);
    assert_eq!(serin(&["backup", "--to", &beside, "--data-dir", &data]).done().out, format!("{beside}\n"));
    serin(&["restore", "--from", &through, "--data-dir", &data])
        .ended(1)
        .complaining(&["in use by serin serve, pid"]);
    daemon.stop();

    let restored = serin(&["restore", "--from", &through, "--data-dir", &data]).done();
    assert!(restored.err.contains("before-restore"), "{restored:?}");
    let daemon = Daemon::start(dir.path(), &[]);
    assert_eq!(daemon.serin(&["function", "get", "shop", "-o", "json"]).done().json()["versions"], 1);
    daemon.stop();
    let restored = serin(&["restore", "--from", &beside, "--data-dir", &data]).done();
    assert!(restored.err.contains("before-restore.2"), "{restored:?}");
    let daemon = Daemon::start(dir.path(), &[]);
    assert_eq!(daemon.serin(&["function", "get", "shop", "-o", "json"]).done().json()["versions"], 2);
}

#[test]
fn what_is_no_backup_is_not_restored() {
    let dir = tempfile::tempdir().unwrap();
    let (data, other) = (path(dir.path(), "data"), path(dir.path(), "other"));
    serin(&["restore", "--from", &other, "--data-dir", &data]).ended(1);
    std::fs::write(&other, "not a database, and long enough to be looked at as one").unwrap();
    serin(&["restore", "--from", &other, "--data-dir", &data]).ended(1);
    serin(&["restore", "--from", &other]).ended(2).complaining(&["--data-dir"]);
    serin(&["backup", "--to", &path(dir.path(), "x"), "--url", "http://127.0.0.1:1"])
        .ended(1)
        .complaining(&["cannot reach serin at http://127.0.0.1:1", "--data-dir"]);
}

#[test]
fn a_store_is_checked_beside_its_daemon_and_mended_alone() {
    let dir = tempfile::tempdir().unwrap();
    let data = path(dir.path(), "data");
    serin(&["fsck", "--data-dir", &data]).ended(1).complaining(&["there is no such file"]);
    let daemon = Daemon::start(dir.path(), &[]);
    publish(&daemon, 9001);
    assert_eq!(serin(&["fsck", "--data-dir", &data]).done().out, format!("{data} is in order\n"));
    let checked = serin(&["fsck", "--data-dir", &data, "-o", "json"]).done().json();
    assert_eq!(checked["findings"], serde_json::json!([]));
    serin(&["fsck", "--data-dir", &data, "--repair"]).ended(1).complaining(&["in use by serin serve"]);
    daemon.stop();
    assert_eq!(serin(&["fsck", "--data-dir", &data, "--repair"]).done().out, format!("{data} is in order\n"));
}
