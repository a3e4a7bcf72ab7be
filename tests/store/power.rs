//! Power losses at any moment: whatever the disk kept of what was not synced, the store opens, what was acknowledged is
//! there, and nothing is half.

use std::path::{Path, PathBuf};

use base64::Engine;
use base64::prelude::BASE64_STANDARD as BASE64;
use rusqlite::{Connection, OpenFlags};
use rustix::process::Signal;
use serde_json::json;
use serin::store::{SCHEMA_VERSION, Store, fsck};
use serin_core::lambda::function::Target;

use super::disk::kill;
use super::kills::{copy, older_store};
use super::{change, commit, first_commit, open, split};
use crate::support::functions::zip_of;
use crate::support::power::{Story, Trace, each_state};
use crate::support::serin::command;
use crate::support::until;
use crate::support::users::service;
use crate::upgrade::relay::Relay;

/// Entries of a journal as stored, by number.
type History = Vec<(u64, String)>;

/// A room whose syncs cost nothing, for the states that are built.
fn memory() -> tempfile::TempDir {
    let shm = Path::new("/dev/shm");
    if shm.is_dir() { tempfile::tempdir_in(shm).unwrap() } else { tempfile::tempdir().unwrap() }
}

fn read_only(data: &Path) -> Connection {
    Connection::open_with_flags(data.join("serin.db"), OpenFlags::SQLITE_OPEN_READ_ONLY).unwrap()
}

fn history(connection: &Connection) -> rusqlite::Result<History> {
    let mut select = connection.prepare("SELECT seq, entry FROM events ORDER BY seq")?;
    select.query_map([], |row| Ok((row.get::<_, i64>(0)? as u64, row.get(1)?)))?.collect()
}

/// Opens what is left as the daemon does, and holds it against the history that it is to be the beginning of.
fn opens(data: &Path, acknowledged: u64, whole: &History) -> Result<(), String> {
    let (store, loaded) = Store::open(data, "after a power loss").map_err(|why| format!("{why:?}"))?;
    if !loaded.problems.is_empty() || loaded.is_damaged {
        return Err(format!("problems: {:?}", loaded.problems));
    }
    if loaded.seq.0 < acknowledged {
        return Err(format!("it ends at entry {}", loaded.seq.0));
    }
    let found = history(&read_only(data)).map_err(|why| why.to_string())?;
    if found.len() > whole.len() || found[..] != whole[..found.len()] {
        return Err(format!("its {} entries are not those that were written", found.len()));
    }
    for version in &loaded.versions {
        if let Target::Process(target) = &version.configuration.target {
            let zip = data.join("code").join(format!("{}.zip", target.code_sha256.hex()));
            let bytes = std::fs::metadata(&zip).map(|meta| meta.len()).ok();
            if bytes != Some(target.code_bytes) {
                return Err(format!("the code of {}:{} is not whole", version.function, version.number));
            }
        }
    }
    drop(store);
    let findings = fsck(data, None).map_err(|why| format!("{why:?}"))?;
    if findings.is_empty() { Ok(()) } else { Err(format!("{findings:?}")) }
}

/// Has so many states of a story looked at, prints how many there were, and fails if anything was wrong with one.
fn hold(name: &str, story: &Story, states: usize, look: impl Fn(&Path, u64) -> Result<(), String> + Sync) {
    let room = memory();
    let tally = each_state(story, states, room.path(), look);
    println!("{name}: {} states of {} records, {} faulty", tally.states, story.len(), tally.faults.len());
    let first = &tally.faults[..tally.faults.len().min(5)];
    assert!(first.is_empty(), "{name}: {} of {}: {first:#?}", tally.faults.len(), tally.states);
}

/// A daemon whose every call is written down.
struct Life {
    relay: Relay,
    trace: Trace,
    data: PathBuf,
}

impl Life {
    /// Does what changes something; what its answer came after is acknowledged.
    #[track_caller]
    fn does(&self, path: &str, body: serde_json::Value) {
        self.relay.post(path, &body);
        self.acknowledge();
    }

    /// Whoever reads sees only what is durable, and so that is promised, too.
    fn acknowledge(&self) {
        let last = "SELECT coalesce(max(seq), 0) FROM events";
        let last: i64 = read_only(&self.data).query_row(last, [], |row| row.get(0)).unwrap();
        self.trace.acknowledge(last as u64);
    }

    fn environment(&self) -> Vec<(String, String)> {
        self.trace.environment().map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec()
    }

    fn boot(&mut self) {
        let environment = self.environment();
        let environment: Vec<(&str, &str)> =
            environment.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        self.relay.boot(&environment);
        until("it is ready", || super::disk::plainly(self.relay.api, "/readyz").0 == 200);
    }

    /// Dies between two calls, so that none is written down in half.
    fn dies(&self) {
        self.trace.between_calls(|| kill(&self.relay));
    }
}

/// From an empty directory through rollouts, changes by hand and code, a stop, kills and an upgrade.
fn life() -> Option<(Story, History)> {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let trace = Trace::below(dir.path())?;
    let relay = Relay::start(dir.path(), &trace.environment());
    let mut life = Life { relay, trace, data };
    for version in ["1", "2", "3"] {
        life.does("/v1/functions/f/versions", json!({ "url": format!("http://{}", service(version)) }));
    }
    let zip = BASE64.encode(zip_of(&[("bootstrap", b"#!/bin/sh\n", 0o755)]));
    let architecture = if cfg!(target_arch = "aarch64") { "arm64" } else { "x86_64" };
    let function = json!({
        "FunctionName": "zipped", "Runtime": "provided.al2023", "Handler": "x", "Publish": true,
        "Role": "arn:aws:iam::000000000000:role/r", "Architectures": [architecture],
        "Code": { "ZipFile": zip },
    });
    life.does("/2015-03-31/functions", function);
    life.does("/v1/functions/f/aliases/live", json!({ "functionVersion": "1" }));
    let plan = |to: &str, bake: &str| {
        let text =
            format!("function: f\nalias: live\nsteps: [20%, 50%, 100%]\nbake: {bake}\nanalysis: none\n");
        json!({ "plan": "p", "planText": text, "to": to })
    };
    life.does("/v1/rollouts", plan("2", "1s"));
    until("it has succeeded", || life.relay.rollout()["phase"] == "Succeeded");
    life.acknowledge();
    life.does("/v1/rollouts", plan("3", "10h"));
    for verb in ["pause", "resume", "rollback"] {
        life.does(&format!("/v1/rollouts/f:live/{verb}"), json!({ "reason": "r" }));
    }
    // More than the log holds before it is written over from its beginning.
    for number in 0..150 {
        let alias = format!("/v1/functions/f/aliases/a{number}");
        life.does(&alias, json!({ "functionVersion": "1" }));
    }
    let pid = life.relay.pid();
    life.relay.signal(Signal::TERM);
    until("it has ended", || !Relay::lives(pid));
    life.boot();
    life.does("/v1/rollouts", plan("3", "10h"));
    life.dies();
    life.boot();
    life.does("/v1/rollouts/f:live/abort", json!({ "reason": "r" }));
    life.relay.upgrade();
    life.does("/v1/functions/f/aliases/b", json!({ "functionVersion": "1" }));
    life.dies();
    let beside = tempfile::tempdir().unwrap();
    for name in ["serin.db", "serin.db-wal"] {
        std::fs::copy(life.data.join(name), beside.path().join(name)).unwrap();
    }
    let whole = history(&Connection::open(beside.path().join("serin.db")).unwrap()).unwrap();
    let Life { relay, trace, .. } = life;
    let story = trace.story();
    drop(relay);
    Some((story, whole))
}

fn lives(states: usize) {
    let Some((story, whole)) = life() else { return };
    hold("rollouts, boots and an upgrade", &story, states, |dir, acknowledged| {
        let data = dir.join("data");
        match data.exists() {
            true => opens(&data, acknowledged, &whole),
            false if acknowledged == 0 => Ok(()),
            false => Err("the data directory is gone".to_owned()),
        }
    });
}

/// What a command does to a directory that was there before; the end of it acknowledges.
fn traced(
    prepare: impl FnOnce(&Path),
    args: impl FnOnce(&Path) -> Vec<String>,
) -> Option<(Story, tempfile::TempDir)> {
    let dir = tempfile::tempdir().unwrap();
    prepare(&dir.path().join("data"));
    let trace = Trace::below(dir.path())?;
    let args = args(&dir.path().join("data"));
    let output = command().envs(trace.environment()).args(args).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    trace.acknowledge(1);
    Some((trace.story(), dir))
}

fn texts<const N: usize>(words: [&str; N]) -> Vec<String> {
    words.map(str::to_owned).to_vec()
}

fn entries_of(path: &Path) -> Result<i64, String> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY;
    let counted = Connection::open_with_flags(path, flags)
        .and_then(|copy| copy.query_row("SELECT count(*) FROM events", [], |row| row.get(0)));
    counted.map_err(|why| format!("{} cannot be read: {why}", path.display()))
}

fn migrations(states: usize) {
    let traced =
        traced(older_store, |data| texts(["fsck", "--repair", "--data-dir", data.to_str().unwrap()]));
    let Some((story, dir)) = traced else { return };
    let whole = history(&read_only(&dir.path().join("data"))).unwrap();
    hold("a migration", &story, states, |dir, _| {
        let data = dir.join("data");
        opens(&data, 4, &whole)?;
        match entries_of(&data.join(format!("serin.db.before-schema-{SCHEMA_VERSION}")))? {
            4 => Ok(()),
            other => Err(format!("the copy made before has {other} entries")),
        }
    });
}

/// A store of three entries in a backup, and one of four in a directory.
fn two_stores(room: &Path) -> (PathBuf, PathBuf, History) {
    let (old, backup) = (room.join("old"), room.join("backup.db"));
    let (store, _) = open(&old);
    commit(&store, first_commit()).unwrap();
    std::io::copy(&mut store.reader.copy().unwrap(), &mut std::fs::File::create(&backup).unwrap()).unwrap();
    commit(&store, change(4, 3, split())).unwrap();
    drop(store);
    let whole = history(&read_only(&old)).unwrap();
    (old, backup, whole)
}

fn restores(states: usize) {
    let room = tempfile::tempdir().unwrap();
    let (old, backup, whole) = two_stores(room.path());
    let traced = traced(
        |data| copy(&old, data),
        |data| texts(["restore", "--from", backup.to_str().unwrap(), "--data-dir", data.to_str().unwrap()]),
    );
    let Some((story, _dir)) = traced else { return };
    hold("a restore", &story, states, |dir, is_done| {
        let data = dir.join("data");
        opens(&data, 3, &whole)?;
        match history(&read_only(&data)).map_err(|why| why.to_string())?.len() {
            3 => Ok(()),
            4 if is_done == 0 => Ok(()),
            other => Err(format!("it has {other} entries")),
        }
    });
}

fn backups(states: usize) {
    let room = tempfile::tempdir().unwrap();
    let (old, _, whole) = two_stores(room.path());
    let traced = traced(
        |data| copy(&old, data),
        |data| {
            let to = data.join("to.db");
            texts(["backup", "--to", to.to_str().unwrap(), "--data-dir", data.to_str().unwrap()])
        },
    );
    let Some((story, _dir)) = traced else { return };
    hold("a backup", &story, states, |dir, is_done| {
        let data = dir.join("data");
        opens(&data, 4, &whole)?;
        match data.join("to.db") {
            to if to.exists() => match entries_of(&to)? {
                4 => Ok(()),
                other => Err(format!("the backup has {other} entries")),
            },
            _ if is_done == 0 => Ok(()),
            _ => Err("the backup is gone".to_owned()),
        }
    });
}

#[test]
fn a_power_loss_at_any_moment_loses_and_tears_nothing() {
    lives(5_500);
    migrations(500);
    restores(500);
    backups(300);
}

#[test]
#[ignore = "some minutes; scripts/test-long runs it"]
fn a_hundred_thousand_power_losses_lose_and_tear_nothing() {
    lives(85_000);
    migrations(9_000);
    restores(9_000);
    backups(4_000);
}
