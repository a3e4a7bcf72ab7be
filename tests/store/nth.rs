//! The nth call that changes the store fails: in a rollout, a boot, an upgrade, a migration, a restore and a backup.
//!
//! Whatever the call and the fault, everybody is answered, what was acknowledged is there, and once the disk is well
//! serin goes on by itself, in the same state as another process that reads the store anew.

use std::cell::RefCell;
use std::path::{Path, PathBuf};

use rusqlite::Connection;
use rustix::process::Signal;
use serde_json::{Value, json};
use serin::store::{Store, fsck};
use serin_core::lambda::function::Revision;

use super::disk::{kill, plainly};
use super::kills::{copy, older_store};
use super::{change, commit, first_commit, open, split};
use crate::support::client::Client;
use crate::support::faults::shim;
use crate::support::serin::command;
use crate::support::until;
use crate::support::upstream::Version;
use crate::support::users::{Crowd, Users, service};
use crate::upgrade::relay::Relay;

/// What happens at a call: its error, and what becomes of those after it.
#[derive(Clone, Copy, Debug)]
struct Fault {
    errno: i32,
    how: &'static str,
}

const EIO: i32 = 5;
const ENOSPC: i32 = 28;
const FAULTS: [Fault; 5] = [
    Fault { errno: EIO, how: "once" },
    Fault { errno: ENOSPC, how: "on" },
    Fault { errno: ENOSPC, how: "short" },
    Fault { errno: EIO, how: "on" },
    Fault { errno: ENOSPC, how: "once" },
];

/// The file by which the library between serin and the disk is told what fails.
struct Trap {
    file: PathBuf,
    under: PathBuf,
    shim: &'static Path,
}

impl Trap {
    /// For calls on files below a directory; `None` where there is no such library, which is printed.
    fn below(dir: &Path) -> Option<Trap> {
        Some(Trap { file: dir.join("arm"), under: dir.join("data"), shim: shim()? })
    }

    fn environment(&self) -> [(&str, &str); 3] {
        [
            ("LD_PRELOAD", self.shim.to_str().unwrap()),
            ("SHIM_UNDER", self.under.to_str().unwrap()),
            ("SHIM_ARM", self.file.to_str().unwrap()),
        ]
    }

    fn arm(&self, at: usize, fault: Fault) {
        let draft = self.file.with_extension("draft");
        std::fs::write(&draft, format!("{at} {} {}", fault.errno, fault.how)).unwrap();
        std::fs::rename(draft, &self.file).unwrap();
    }

    /// Makes the disk well, and tells whether anything failed.
    fn disarm(&self) -> bool {
        std::fs::remove_file(&self.file).unwrap();
        std::fs::remove_file(format!("{}.told", self.file.display())).is_ok()
    }
}

/// Goes through the calls `stride` apart until none is left to fail, and through the faults in turn; with a stride of
/// one every call meets every fault.
fn at_calls(stride: usize, mut try_at: impl FnMut(usize, Fault) -> bool) {
    let (mut cases, mut last) = (0, 0);
    for (index, fault) in FAULTS.into_iter().enumerate() {
        let mut at = if stride == 1 { 1 } else { 1 + index * stride / FAULTS.len() };
        while try_at(at, fault) {
            (cases, last) = (cases + 1, last.max(at));
            at += stride;
        }
    }
    println!("{cases} faults at {last} calls");
    assert!(cases >= FAULTS.len(), "only {cases} calls failed");
}

/// A daemon with `f:live` and users who ask it all the time, one of them for so long that it is always under way.
struct Place {
    dir: tempfile::TempDir,
    trap: Trap,
    relay: Relay,
    users: Option<Users>,
    patient: Version,
    under_way: Option<Client>,
    said: RefCell<String>,
}

impl Place {
    fn start() -> Option<Place> {
        let dir = tempfile::tempdir().unwrap();
        let trap = Trap::below(dir.path())?;
        let relay = Relay::start(dir.path(), &trap.environment());
        let patient = Version::start("1");
        relay.post("/v1/functions/slow/versions", &json!({ "url": format!("http://{}", patient.addr()) }));
        relay.post("/v1/functions/slow/aliases/live", &json!({ "functionVersion": "1" }));
        Some(Place { dir, trap, relay, users: None, patient, under_way: None, said: RefCell::default() })
    }

    fn data(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    fn users_come(&mut self) {
        let crowd = Crowd { keepers: 2, idlers: 0, strangers: 2, requests_per_s: 200.0 };
        self.users = Some(Users::start(self.relay.router, "/f:live/", crowd));
        let before = self.patient.seen().requests();
        let mut client = Client::connect(self.relay.router);
        client.send("POST /slow:live/sink HTTP/1.1\r\nhost: x\r\ncontent-length: 8\r\n\r\nhalf");
        until("it is under way", || self.patient.seen().requests() > before);
        self.under_way = Some(client);
    }

    /// The request that was under way all the while is answered like any other.
    #[track_caller]
    fn ends_what_was_under_way(&mut self, case: &str) {
        let Some(mut client) = self.under_way.take() else { return };
        client.send("rest");
        let answer = client.answer_to("POST");
        assert_eq!((answer.status, answer.text()), (200, "8"), "{case}");
    }

    /// What is so by now, without what changes with time.
    #[track_caller]
    fn view(&self) -> Value {
        let rollout = self.relay.get("/v1/rollouts/f:live");
        let of = |name: &str| rollout.body[name].clone();
        let aliases = self.relay.get("/v1/functions/f/aliases").ok();
        let versions = self.relay.get("/v1/functions/f/versions").ok();
        json!({
            "id": of("id"), "phase": of("phase"), "from": of("from"), "to": of("to"), "step": of("step"),
            "aliases": aliases, "versions": versions,
        })
    }

    /// The disk is well: it goes on by itself, nobody was turned away, and another process sees the same.
    ///
    /// After a sync that failed nobody knows what the disk has, and so it stays frozen, and says so.
    #[track_caller]
    fn recovers(&mut self, case: &str) {
        until(&format!("{case}: it goes on"), || self.is_ready() || self.is_frozen());
        self.ends_what_was_under_way(case);
        if let Some(users) = self.users.take() {
            let tally = users.end();
            assert_eq!(tally.failed, 0, "{case}: {:#?}", tally.faults);
        }
        let before = (!self.is_frozen()).then(|| self.view());
        kill(&self.relay);
        assert_eq!(fsck(&self.data(), None).unwrap(), [], "{case}");
        self.boot();
        until(&format!("{case}: it is ready"), || self.is_ready());
        assert!(before.is_none_or(|before| self.view() == before), "{case}");
    }

    fn is_frozen(&self) -> bool {
        self.said.borrow().contains("a failed sync to disk; check the disk, then restart serin")
    }

    /// Whether it is ready; prints what it says each time that changes.
    fn is_ready(&self) -> bool {
        let (status, text) = plainly(self.relay.api, "/readyz");
        if *self.said.borrow() != text {
            println!("readyz: {status} {text}");
            self.said.replace(text);
        }
        status == 200
    }

    #[track_caller]
    fn boot(&mut self) {
        self.said.replace(String::new());
        self.relay.boot(&self.trap.environment());
    }
}

const PLAN: &str = "function: f\nalias: live\nsteps: [50%, 100%]\nbake: 10h\nanalysis: none\n";

/// Publishes a version that answers with its number.
fn publish(place: &Place, number: usize) {
    let url = format!("http://{}", service(number.to_string().leak()));
    place.relay.post("/v1/functions/f/versions", &json!({ "url": url }));
}

fn is_live(place: &Place) -> bool {
    let phase = place.relay.get("/v1/rollouts/f:live").body["phase"].clone();
    phase == "Progressing" || phase == "Paused"
}

fn rollouts(stride: usize) {
    let Some(mut place) = Place::start() else { return };
    publish(&place, 1);
    place.relay.post("/v1/functions/f/aliases/live", &json!({ "functionVersion": "1" }));
    let mut cases = 0;
    at_calls(stride, |at, fault| {
        let case = format!("{fault:?} at call {at}");
        cases += 1;
        publish(&place, cases + 1);
        let alias = format!("/v1/functions/f/aliases/a{cases}");
        let asked = [
            ("/v1/rollouts", json!({ "plan": "p", "planText": PLAN })),
            ("/v1/rollouts/f:live/pause", json!({ "reason": "r" })),
            ("/v1/rollouts/f:live/resume", json!({ "reason": "r" })),
            (&alias, json!({ "functionVersion": "1" })),
            ("/v1/rollouts/f:live/promote", json!({ "step": 1, "full": true, "reason": "r" })),
            ("/v1/rollouts/f:live/rollback", json!({ "reason": "r" })),
        ];
        place.users_come();
        place.trap.arm(at, fault);
        let replies = asked.map(|(path, body)| (path, place.relay.try_post(path, &body)));
        let has_failed = place.trap.disarm();
        for (path, reply) in &replies {
            let is_done = (200..300).contains(&reply.status);
            assert!(is_done || has_failed, "{case}: {path} is refused without a fault: {reply:?}");
            assert!(reply.status != 500, "{case}: {path}: {reply:?}");
        }
        place.recovers(&case);
        let is_there = place.relay.get(&alias).status == 200;
        assert!(is_there || replies[3].1.status >= 300, "{case}: an alias that was made is gone");
        if is_live(&place) {
            place.relay.post("/v1/rollouts/f:live/rollback", &json!({ "reason": "the next case" }));
        }
        has_failed
    });
}

/// A daemon whose canary stands at a weight.
fn standing() -> Option<Place> {
    let place = Place::start()?;
    place.relay.roll_out(service("1"), service("2"), "steps: [50%, 100%]\nbake: 10h");
    Some(place)
}

fn boots(stride: usize) {
    let Some(mut place) = standing() else { return };
    at_calls(stride, |at, fault| {
        let case = format!("{fault:?} at call {at}");
        let before = place.view();
        kill(&place.relay);
        place.trap.arm(at, fault);
        place.boot();
        for _ in 0..5 {
            assert_eq!(Client::connect(place.relay.router).get("/f:live/").status, 200, "{case}");
        }
        place.users_come();
        let (status, text) = plainly(place.relay.api, "/readyz");
        assert!(status == 200 || text.len() > 40, "{case}: {status} {text}");
        let has_failed = place.trap.disarm();
        place.recovers(&case);
        assert_eq!(place.view(), before, "{case}");
        has_failed
    });
}

fn upgrades(stride: usize) {
    let Some(mut place) = standing() else { return };
    at_calls(stride, |at, fault| {
        let case = format!("{fault:?} at call {at}");
        let before = place.view();
        let (running, refused) = (place.relay.running().len(), place.relay.logged("not upgraded"));
        let pid = place.relay.pid();
        place.users_come();
        place.trap.arm(at, fault);
        place.relay.signal(Signal::USR2);
        until(&format!("{case}: it is over"), || {
            place.relay.running().len() > running || place.relay.logged("not upgraded") > refused
        });
        let has_failed = place.trap.disarm();
        place.ends_what_was_under_way(&case);
        if place.relay.pid() == pid {
            until(&format!("{case}: the next one is let"), || {
                (place.is_ready() || place.is_frozen()) && place.relay.processes() == [pid]
            });
            if !place.is_frozen() {
                place.relay.upgrade();
            }
        } else {
            until(&format!("{case}: nobody else is left"), || place.relay.processes() == [place.relay.pid()]);
        }
        place.recovers(&case);
        assert_eq!(place.view(), before, "{case}");
        has_failed
    });
}

/// Runs a command under the trap, and says whether it succeeded; one that fails says why.
#[track_caller]
fn runs(trap: &Trap, case: &str, args: &[String]) -> bool {
    let output = command().envs(trap.environment()).args(args).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code().is_some(), "{case}: {output:?}");
    assert!(output.status.success() || said.contains("error: "), "{case}: {output:?}");
    output.status.success()
}

/// Tries a command at every call on a directory that is made anew each time, and then without a fault.
fn commands(
    stride: usize,
    prepare: impl Fn(&Path),
    args: impl Fn(&Path) -> Vec<String>,
    look: impl Fn(&Path, &str, bool),
) {
    at_calls(stride, |at, fault| {
        let case = format!("{fault:?} at call {at}");
        let dir = tempfile::tempdir().unwrap();
        let Some(trap) = Trap::below(dir.path()) else { return false };
        prepare(&trap.under);
        let first = args(&trap.under);
        trap.arm(at, fault);
        let is_done = runs(&trap, &case, &first);
        let has_failed = trap.disarm();
        assert!(is_done || has_failed, "{case}: nothing failed");
        look(&trap.under, &case, is_done);
        let again = command().args(args(&trap.under)).output().unwrap();
        assert!(again.status.success(), "{case}: {again:?}");
        look(&trap.under, &case, true);
        has_failed
    });
}

fn migrations(stride: usize) {
    let template = tempfile::tempdir().unwrap();
    older_store(template.path());
    commands(
        stride,
        |dir| copy(template.path(), dir),
        |dir| ["fsck", "--repair", "--data-dir", dir.to_str().unwrap()].map(str::to_owned).to_vec(),
        |dir, case, _| {
            let beside = dir.with_file_name("beside");
            copy(dir, &beside);
            let (store, loaded) = Store::open(&beside, "test").unwrap_or_else(|why| panic!("{case}: {why}"));
            assert_eq!((loaded.seq, loaded.problems), (Revision(4), Vec::new()), "{case}");
            drop(store);
            assert_eq!(fsck(&beside, None).unwrap(), [], "{case}");
            std::fs::remove_dir_all(beside).unwrap();
        },
    );
}

/// A store of three entries in a backup, and one of four.
fn two_stores(room: &Path) -> (PathBuf, PathBuf) {
    let (old, backup) = (room.join("old"), room.join("backup.db"));
    let (store, _) = open(&old);
    commit(&store, first_commit()).unwrap();
    let mut file = std::fs::File::create(&backup).unwrap();
    std::io::copy(&mut store.reader.copy().unwrap(), &mut file).unwrap();
    commit(&store, change(4, 3, split())).unwrap();
    drop(store);
    (old, backup)
}

fn restores(stride: usize) {
    let room = tempfile::tempdir().unwrap();
    let (old, backup) = two_stores(room.path());
    commands(
        stride,
        |dir| copy(&old, dir),
        |dir| {
            let (from, to) = (backup.to_str().unwrap(), dir.to_str().unwrap());
            ["restore", "--from", from, "--data-dir", to].map(str::to_owned).to_vec()
        },
        |dir, case, is_done| {
            let beside = dir.with_file_name("beside");
            copy(dir, &beside);
            let (store, loaded) = Store::open(&beside, "test").unwrap_or_else(|why| panic!("{case}: {why}"));
            assert!(loaded.seq.0 == 3 || loaded.seq.0 == 4 && !is_done, "{case}: {:?}", loaded.seq);
            assert_eq!(loaded.problems, Vec::<String>::new(), "{case}");
            drop(store);
            std::fs::remove_dir_all(beside).unwrap();
        },
    );
}

fn backups(stride: usize) {
    let room = tempfile::tempdir().unwrap();
    let (old, _) = two_stores(room.path());
    commands(
        stride,
        |dir| copy(&old, dir),
        |dir| {
            // Another name after a success: no backup is written over another.
            let to = ["to.db", "next.db"].map(|name| dir.join(name)).into_iter().find(|to| !to.exists());
            let (to, of) = (to.unwrap().to_str().unwrap().to_owned(), dir.to_str().unwrap().to_owned());
            ["backup".to_owned(), "--to".to_owned(), to, "--data-dir".to_owned(), of].to_vec()
        },
        |dir, case, is_done| {
            let to = dir.join("to.db");
            assert!(to.exists() || !is_done, "{case}: it is not there");
            // A disk that takes nothing any more does not let it be removed either.
            assert!(
                !to.exists() || is_done || case.contains("\"on\""),
                "{case}: it is in the next one's way"
            );
            if to.exists() {
                let connection = Connection::open(&to).unwrap();
                let entries: i64 =
                    connection.query_row("SELECT count(*) FROM events", [], |row| row.get(0)).unwrap();
                assert_eq!(entries, 4, "{case}");
            }
        },
    );
}

/// How far apart the calls of the quick tier are.
const STRIDE: usize = 41;

#[test]
fn whatever_fails_in_a_rollout_everybody_is_answered_and_nothing_is_lost() {
    rollouts(STRIDE);
}

#[test]
fn whatever_fails_in_a_boot_it_serves_and_goes_on_by_itself() {
    boots(STRIDE / 3);
}

#[test]
fn whatever_fails_in_an_upgrade_one_process_serves() {
    upgrades(STRIDE / 2);
}

#[test]
fn whatever_fails_in_a_migration_a_restore_or_a_backup_the_next_try_succeeds() {
    migrations(STRIDE / 4);
    restores(STRIDE / 4);
    backups(STRIDE / 4);
}

#[test]
#[ignore = "many minutes; scripts/test-long runs it"]
fn every_call_of_a_daemon_fails_in_every_way() {
    rollouts(1);
    boots(1);
    upgrades(1);
}

#[test]
#[ignore = "some minutes; scripts/test-long runs it"]
fn every_call_of_a_command_fails_in_every_way() {
    migrations(1);
    restores(1);
    backups(1);
}
