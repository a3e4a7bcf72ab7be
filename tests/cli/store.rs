//! `serin backup`, `serin restore` and `serin fsck`.

use std::os::unix::fs::{MetadataExt, symlink};

use rustix::fs::{CWD, FileType, Mode, mknodat};
use serde_json::json;

use crate::support::client::Client;
use crate::support::house::{agent, ask};
use crate::support::serin::{Daemon, serin};
use crate::support::until;
use crate::support::upstream::Version;

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

/// The users whom the canary answers.
fn canary_users(daemon: &Daemon) -> Vec<u32> {
    let mut client = Client::connect(daemon.router);
    let mut is_canary = |user: &u32| {
        client.ask("GET", "/shop:live/", &[&format!("cookie: session=user-{user}")]).version() == Some("2")
    };
    (0..300).filter(|user| is_canary(user)).collect()
}

#[test]
fn a_restore_on_another_machine_moves_no_user() {
    let dir = tempfile::tempdir().unwrap();
    let elsewhere = tempfile::tempdir().unwrap();
    let [one, two] = ["one", "two"].map(Version::start);
    let daemon = Daemon::start(dir.path(), &[]);
    publish(&daemon, one.addr().port());
    publish(&daemon, two.addr().port());
    daemon.serin(&["alias", "create", "shop:live", "--version", "1"]).done();
    let plan = path(dir.path(), "plan.yaml");
    let text = "function: shop\nalias: live\nsteps: [30%, 100%]\nbake: 10h\nfirstWeight: unproven\nrouting: {affinity: {cookie: session}}\n";
    std::fs::write(&plan, text).unwrap();
    daemon.serin(&["start", &plan, "--to", "2"]).done();
    until("the canary serves", || !canary_users(&daemon).is_empty());
    let before = canary_users(&daemon);
    assert!((40..150).contains(&before.len()), "{}", before.len());
    let copy = path(dir.path(), "copy.db");
    daemon.serin(&["backup", "--to", &copy]).done();
    daemon.stop();
    serin(&["restore", "--from", &copy, "--data-dir", &path(elsewhere.path(), "data")]).done();
    let daemon = Daemon::start(elsewhere.path(), &[]);
    assert_eq!(canary_users(&daemon), before);
}

#[test]
fn a_backup_is_its_makers_file_and_no_path_of_anybodys_is_written() {
    let dir = tempfile::tempdir().unwrap();
    let daemon = Daemon::start(dir.path(), &[]);
    publish(&daemon, 9001);
    let to = path(dir.path(), "mine.db");
    daemon.serin(&["backup", "--to", &to, "--reason", "before the migration"]).done();
    assert_eq!(std::fs::metadata(&to).unwrap().mode() & 0o777, 0o600);
    let line = daemon.logs("a copy of the store is handed out");
    assert_eq!(line["reason"], "before the migration");
    assert!(line["actor"].as_str().unwrap().starts_with("tester@"), "{line:#}");
    // Neither a link nor what it leads to is touched, be there anything behind it or not.
    for (name, behind) in [("dangling.db", "nothing"), ("link.db", "mine.db")] {
        let (link, behind) = (path(dir.path(), name), dir.path().join(behind));
        let before = std::fs::read(&behind).ok();
        symlink(&behind, &link).unwrap();
        daemon.serin(&["backup", "--to", &link]).ended(1).complaining(&["there already"]);
        assert_eq!(std::fs::read(&behind).ok(), before, "{name}");
    }
    let left: Vec<String> = std::fs::read_dir(dir.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.contains("partial"))
        .collect();
    assert!(left.is_empty(), "{left:?}");
    // What once had the daemon write as root wherever its caller wished.
    let target = path(dir.path(), "authorized_keys");
    let asked = json!({ "to": target });
    let reply = ask(&agent(), &daemon.url(), "POST", "/v1/backup", Some(&asked), &[]);
    assert_eq!((reply.status, reply.error().contains("no path of a client's")), (400, true), "{reply:?}");
    assert!(std::fs::metadata(&target).is_err());
}

#[test]
fn every_file_of_a_data_directory_is_the_daemons_alone_and_no_key_is_in_a_backup() {
    let dir = tempfile::tempdir().unwrap();
    let (data, to) = (dir.path().join("data"), path(dir.path(), "copy.db"));
    let daemon = Daemon::start(dir.path(), &[]);
    publish(&daemon, 9001);
    daemon.serin(&["backup", "--to", &to]).done();
    let mode = |path: &std::path::Path| std::fs::metadata(path).unwrap().mode() & 0o777;
    assert_eq!(mode(&data), 0o700);
    let files =
        || std::fs::read_dir(&data).unwrap().map(|entry| entry.unwrap().path()).filter(|path| path.is_file());
    let open = || files().filter(|path| mode(path) & 0o077 != 0).collect::<Vec<_>>();
    assert!(files().count() >= 6, "{:?}", files().collect::<Vec<_>>());
    assert_eq!(open(), Vec::<std::path::PathBuf>::new());
    let key = std::fs::read(data.join("seal.key")).unwrap();
    let copy = std::fs::read(&to).unwrap();
    let hex: Vec<u8> = key.iter().flat_map(|byte| format!("{byte:02x}").into_bytes()).collect();
    for form in [key.clone(), hex.to_ascii_uppercase(), hex] {
        assert!(!copy.windows(form.len()).any(|window| window == form), "the key is in the backup");
    }
    daemon.stop();
    // Those that a version before left readable are tightened.
    for file in files() {
        std::fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o644)).unwrap();
    }
    let daemon = Daemon::start(dir.path(), &[]);
    assert_eq!(open(), Vec::<std::path::PathBuf>::new());
    assert_eq!(std::fs::read(data.join("seal.key")).unwrap(), key, "links that were given out go on");
    daemon.stop();
}

#[test]
fn what_is_no_backup_is_not_restored() {
    let dir = tempfile::tempdir().unwrap();
    let (data, other) = (path(dir.path(), "data"), path(dir.path(), "other"));
    serin(&["restore", "--from", &other, "--data-dir", &data]).ended(1);
    std::fs::write(&other, "not a database, and long enough to be looked at as one").unwrap();
    serin(&["restore", "--from", &other, "--data-dir", &data]).ended(1);
    let pipe = path(dir.path(), "pipe");
    mknodat(CWD, &pipe, FileType::Fifo, Mode::from_raw_mode(0o600), 0).unwrap();
    serin(&["restore", "--from", &pipe, "--data-dir", &data]).ended(1).complaining(&["pipe is a pipe"]);
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
