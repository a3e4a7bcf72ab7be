//! Full disks, lost files and foreign ones, for the real binary: it stays up, serves, says why, and goes on by itself.

use std::collections::BTreeMap;
use std::path::Path;

use rustix::process::{Pid, Resource, Rlimit, Signal, prlimit};
use serde_json::json;

use crate::support::client::Client;
use crate::support::faults::{SmallDisk, shim};
use crate::support::serin::serin;
use crate::support::until;
use crate::support::users::{Crowd, Users, service};
use crate::upgrade::relay::{Relay, send};

/// A rollout that stands at a weight.
const STANDING: &str = "steps: [50%, 100%]\nbake: 10h";

/// The versions that answer `f:live`, by so many requests.
fn answering(relay: &Relay, requests: usize) -> BTreeMap<String, usize> {
    let mut seen = BTreeMap::new();
    let mut client = Client::connect(relay.router);
    for _ in 0..requests {
        let answer = client.get("/f:live/");
        *seen.entry(format!("{} by {}", answer.status, answer.version().unwrap_or_default())).or_default() +=
            1;
    }
    seen
}

fn only_stable(requests: usize) -> BTreeMap<String, usize> {
    BTreeMap::from([("200 by 1".to_owned(), requests)])
}

/// Asks the API for what is no JSON.
pub fn plainly(api: std::net::SocketAddr, path: &str) -> (u16, String) {
    let mut client = Client::connect(api);
    client.send(format!("GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n"));
    let answer = client.answer();
    (answer.status, answer.text().to_owned())
}

fn ready(relay: &Relay) -> (u16, String) {
    plainly(relay.api, "/readyz")
}

pub fn kill(relay: &Relay) {
    let pid = relay.pid();
    send(pid, Signal::KILL);
    until("it is dead", || !Relay::lives(pid));
}

fn stop(relay: &Relay) {
    let pid = relay.pid();
    send(pid, Signal::TERM);
    until("it has ended", || !Relay::lives(pid));
}

#[test]
fn a_boot_on_a_full_disk_serves_and_goes_on_when_there_is_room() {
    let Some(disk) = SmallDisk::mount(16 << 10) else { return };
    let mut relay = Relay::start(disk.path(), &[]);
    relay.roll_out(service("1"), service("2"), STANDING);
    for ends in [kill as fn(&Relay), stop] {
        ends(&relay);
        disk.fill();
        relay.boot(&[]);
        assert_eq!(
            answering(&relay, 40),
            only_stable(40),
            "nobody can store what is judged, so nobody is at risk"
        );
        let (status, text) = ready(&relay);
        assert!(status == 503 && text.contains("full"), "{status} {text}");
        assert_eq!(relay.get("/v1/rollouts/f:live").ok()["phase"], "Progressing", "what was read is told");
        let refused = relay.try_post("/v1/functions/f/aliases/other", &json!({ "functionVersion": "1" }));
        assert_eq!(refused.status, 507, "{refused:?}");
        disk.free();
        until("it goes on", || ready(&relay).0 == 200);
        until("the canary is back", || answering(&relay, 40).contains_key("200 by 2"));
        assert!(relay.processes() == [relay.pid()], "by the same process");
    }
    relay.post("/v1/functions/f/aliases/other", &json!({ "functionVersion": "1" }));
    kill(&relay);
    assert_eq!(serin::store::fsck(&disk.path().join("data"), None).unwrap(), []);
}

#[test]
fn files_that_may_grow_no_more_are_the_end_of_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let mut relay = Relay::start(dir.path(), &[]);
    relay.roll_out(service("1"), service("2"), STANDING);
    let pid = relay.pid();
    let may_grow_to = |bytes: u64| {
        let limit = Rlimit { current: Some(bytes), maximum: None };
        prlimit(Pid::from_raw(pid), Resource::Fsize, limit).unwrap();
    };
    may_grow_to(4096);
    let refused = relay.try_post("/v1/functions/f/aliases/other", &json!({ "functionVersion": "1" }));
    assert!(refused.status >= 500 && refused.error().contains("nothing was changed"), "{refused:?}");
    assert_eq!(answering(&relay, 40).values().sum::<usize>(), 40);
    assert_eq!(ready(&relay).0, 503);
    assert_eq!((relay.pid(), relay.processes()), (pid, vec![pid]), "by the same process");
    stop(&relay);
    relay.boot(&[]);
    until("it goes on", || ready(&relay).0 == 200);
    relay.post("/v1/functions/f/aliases/other", &json!({ "functionVersion": "1" }));
}

#[test]
fn a_rollback_by_hand_that_the_store_does_not_take_is_the_routers_and_is_stored_later() {
    for (verb, reason) in [("rollback", "rolled back by hand"), ("abort", "aborted by hand")] {
        let dir = tempfile::tempdir().unwrap();
        let relay = Relay::start(dir.path(), &[]);
        relay.roll_out(service("1"), service("2"), STANDING);
        let store = rusqlite::Connection::open(dir.path().join("data/serin.db")).unwrap();
        store.execute_batch("BEGIN IMMEDIATE").unwrap();
        let owed = relay.try_post(&format!("/v1/rollouts/f:live/{verb}"), &json!({}));
        assert!(owed.status >= 500 && owed.error().contains("not stored yet"), "{owed:?}");
        assert_eq!(answering(&relay, 40), only_stable(40));
        assert_eq!(relay.rollout()["phase"], "Progressing", "it is not stored");
        store.execute_batch("ROLLBACK").unwrap();
        until("it is stored", || relay.rollout()["phase"] == "Aborted");
        assert_eq!(answering(&relay, 40), only_stable(40));
        assert_eq!(relay.rollout()["reason"], reason);
        until("it is well", || ready(&relay).0 == 200);
    }
}

#[test]
fn a_successor_that_cannot_write_does_not_take_over() {
    let Some(disk) = SmallDisk::mount(16 << 10) else { return };
    let relay = Relay::start(disk.path(), &[]);
    relay.roll_out(service("1"), service("2"), STANDING);
    let users = Users::start(
        relay.router,
        "/f:live/",
        Crowd { keepers: 4, idlers: 2, strangers: 2, requests_per_s: 100.0 },
    );
    let pid = relay.pid();
    disk.fill();
    relay.signal(Signal::USR2);
    until("it is refused", || relay.logged("not upgraded: the store takes no change now") == 1);
    assert_eq!((relay.pid(), relay.processes()), (pid, vec![pid]));
    disk.free();
    until("changes can be stored", || {
        relay.try_post("/v1/functions/f/aliases/other", &json!({ "functionVersion": "1" })).status != 507
    });
    relay.upgrade();
    assert_ne!(relay.pid(), pid);
    let tally = users.end();
    assert_eq!(tally.failed, 0, "{:#?}", tally.faults);
}

#[test]
fn a_store_that_is_gone_or_empty_is_not_taken_for_a_fresh_one() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let mut relay = Relay::start(dir.path(), &[]);
    relay.roll_out(service("1"), service("2"), STANDING);
    let backup = dir.path().join("backup.db");
    let texts = [backup.to_str().unwrap().to_owned(), data.to_str().unwrap().to_owned()];
    serin(&["backup", "--to", &texts[0], "--data-dir", &texts[1]]).done();
    let gone = |data: &Path| std::fs::remove_file(data.join("serin.db")).unwrap();
    let empty = |data: &Path| std::fs::write(data.join("serin.db"), "").unwrap();
    let junk = |data: &Path| std::fs::write(data.join("serin.db"), vec![7; 20_000]).unwrap();
    for (ends, lose) in
        [(stop as fn(&Relay), &gone as &dyn Fn(&Path)), (stop, &empty), (kill, &gone), (stop, &junk)]
    {
        until("the table is kept", || data.join("last-table").exists());
        ends(&relay);
        lose(&data);
        relay.boot(&[]);
        assert_eq!(answering(&relay, 20), only_stable(20));
        let (status, text) = ready(&relay);
        assert!(status == 503 && text.contains("serin restore --from"), "{status} {text}");
        assert_eq!(plainly(relay.api, "/livez").0, 200);
        let refused = relay.try_post("/v1/functions/g/versions", &json!({ "url": "http://127.0.0.1:1" }));
        assert_eq!(refused.status, 503, "{refused:?}");
        assert_eq!(relay.get("/v1/functions/f").status, 503, "nobody is told that it is not there");
        let before = relay.running().len();
        serin(&["restore", "--from", &texts[0], "--data-dir", &texts[1]]).done();
        until("another process works with it", || relay.running().len() > before);
        until("it is ready", || ready(&relay).0 == 200);
        until("nobody else is left", || relay.processes() == [relay.pid()]);
        assert!(relay.get("/v1/functions/f").status == 200);
        until("the canary is back", || answering(&relay, 40).contains_key("200 by 2"));
    }
}

#[test]
fn a_log_that_is_unlinked_while_serin_runs_is_noticed_and_nothing_is_lost() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let mut relay = Relay::start(dir.path(), &[]);
    relay.roll_out(service("1"), service("2"), STANDING);
    for name in 0..5 {
        relay.post(&format!("/v1/functions/f/aliases/a{name}"), &json!({ "functionVersion": "1" }));
    }
    std::fs::remove_file(data.join("serin.db-wal")).unwrap();
    until("it is noticed", || ready(&relay).0 == 503);
    assert!(ready(&relay).1.contains("serin.db-wal was removed or replaced"), "{}", ready(&relay).1);
    let refused = relay.try_post("/v1/functions/f/aliases/late", &json!({ "functionVersion": "1" }));
    assert_eq!(refused.status, 503, "{refused:?}");
    assert_eq!(Client::connect(relay.router).get("/f:live/").status, 200);
    kill(&relay);
    relay.boot(&[]);
    for name in 0..5 {
        assert_eq!(relay.get(&format!("/v1/functions/f/aliases/a{name}")).status, 200, "it was acknowledged");
    }
    assert_eq!(ready(&relay), (200, "ok\n".to_owned()));

    // The database itself: what it had is saved under another name.
    std::fs::remove_file(data.join("serin.db")).unwrap();
    until("it is noticed", || ready(&relay).0 == 503);
    let rescued = data.join("serin.db.rescued");
    assert!(ready(&relay).1.contains(rescued.to_str().unwrap()), "{}", ready(&relay).1);
    stop(&relay);
    serin(&["restore", "--from", rescued.to_str().unwrap(), "--data-dir", data.to_str().unwrap()]).done();
    relay.boot(&[]);
    assert_eq!(relay.get("/v1/functions/f/aliases/a4").status, 200);
}

/// Every file of a directory and its bytes.
fn contents(dir: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap());
    entries
        .map(|entry| (entry.file_name().to_str().unwrap().to_owned(), std::fs::read(entry.path()).unwrap()))
        .collect()
}

#[test]
fn a_store_that_is_refused_is_not_changed_at_all() {
    let dir = tempfile::tempdir().unwrap();
    for (name, schema, application) in [("newer", 99, 0x7372_6e31), ("foreign", 3, 7)] {
        let data = dir.path().join(name);
        std::fs::create_dir(&data).unwrap();
        let path = data.join("serin.db");
        let theirs = rusqlite::Connection::open(&path).unwrap();
        theirs.pragma_update(None, "journal_mode", "wal").unwrap();
        theirs.execute_batch("CREATE TABLE theirs (x); INSERT INTO theirs VALUES (1)").unwrap();
        theirs.pragma_update(None, "user_version", schema).unwrap();
        theirs.pragma_update(None, "application_id", application).unwrap();
        // What is only in the log counts, too.
        let copy = dir.path().join(format!("{name}-logged"));
        std::fs::create_dir(&copy).unwrap();
        for (file, bytes) in contents(&data).iter().filter(|(file, _)| !file.ends_with("-shm")) {
            std::fs::write(copy.join(file), bytes).unwrap();
        }
        drop(theirs);
        for data in [&data, &copy] {
            let before = contents(data);
            let (given, file) = (data.to_str().unwrap(), data.join("serin.db"));
            let to = dir.path().join("to.db");
            let fresh = dir.path().join("fresh");
            for command in [
                &["serve", "--data-dir", given, "--api", "127.0.0.1:0", "--router", "127.0.0.1:0"]
                    as &[&str],
                &["fsck", "--data-dir", given],
                &["fsck", "--repair", "--data-dir", given],
                &["backup", "--to", to.to_str().unwrap(), "--data-dir", given],
                &["restore", "--from", file.to_str().unwrap(), "--data-dir", fresh.to_str().unwrap()],
            ] {
                let said = serin(command).ended(1);
                assert!(said.err.contains("schema 99") || said.err.contains("not a serin store"), "{said:?}");
                assert!(contents(data) == before, "{command:?} changed {given}: {:?}", contents(data).keys());
            }
        }
    }
}

#[test]
fn a_restore_by_root_leaves_a_store_that_the_service_can_open() {
    use std::os::unix::fs::MetadataExt;
    if !rustix::process::geteuid().is_root() {
        println!("skipped: only root can restore for another user");
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let (theirs, data) = (dir.path().join("theirs"), dir.path().join("data"));
    drop(serin::store::Store::open(&theirs, "test").unwrap());
    std::fs::create_dir(&data).unwrap();
    std::os::unix::fs::chown(&data, Some(12_345), Some(12_345)).unwrap();
    let backup = theirs.join("serin.db");
    for _ in 0..2 {
        serin(&["restore", "--from", backup.to_str().unwrap(), "--data-dir", data.to_str().unwrap()]).done();
        for entry in std::fs::read_dir(&data).unwrap().map(|entry| entry.unwrap()) {
            let meta = entry.metadata().unwrap();
            assert_eq!((meta.uid(), meta.gid()), (12_345, 12_345), "{:?}", entry.path());
            assert_eq!(meta.mode() & 0o077, 0, "{:?}", entry.path());
        }
    }
}

#[test]
fn the_lock_of_a_dead_process_refuses_no_boot() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    std::fs::create_dir(&data).unwrap();
    // A child has the lock a moment longer than whoever made it.
    let mut holder = std::process::Command::new("sh")
        .args(["-c", "exec 9>\"$1/serin.lock\"; flock 9; echo \"serin serve, pid $$, API\" >&9; sleep 1 & echo; exit 0"])
        .args(["sh", data.to_str().unwrap()])
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    holder.wait().unwrap();
    assert!(serin::store::holder_of(&data).is_some(), "somebody has it still");
    serin::store::Store::open(&data, "test").unwrap();
}

#[test]
fn evidence_that_could_not_be_stored_is_not_forgotten_by_a_restart() {
    let Some(shim) = shim() else { return };
    let dir = tempfile::tempdir().unwrap();
    let trigger = dir.path().join("trigger");
    let environment = [
        ("LD_PRELOAD", shim.to_str().unwrap()),
        ("SHIM_MATCH", "serin.db"),
        ("SHIM_TRIGGER", trigger.to_str().unwrap()),
        ("SHIM_ERRNO", "5"),
    ];
    let mut relay = Relay::start(dir.path(), &environment);
    let bad = crate::support::service::Service::start(1.0, 1);
    let address = bad.url().strip_prefix("http://").unwrap().parse().unwrap();
    relay.roll_out(service("1"), address, "steps: [30%, 100%]\nbake: 10h");
    std::fs::write(&trigger, "").unwrap();
    let mut client = Client::connect(relay.router);
    // The router has it out at once, and the file that the next process reads a moment later.
    until("its canary is out", || (0..300).all(|_| client.get("/f:live/").version() == Some("1")));
    kill(&relay);
    std::fs::remove_file(&trigger).unwrap();
    relay.boot(&environment);
    assert_eq!(answering(&relay, 40), only_stable(40), "what was known is known");
    until("it is decided", || relay.rollout()["phase"] == "RolledBack");
}
