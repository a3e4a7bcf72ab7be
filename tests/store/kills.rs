//! `kill -9` at every call by which a migration and a restore change the directory, and at the next try once more; and at
//! every call of a boot, one after another on one directory.

use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::Stdio;
use std::sync::mpsc;

use rusqlite::Connection;
use serin::store::{SCHEMA_VERSION, Store, fsck};
use serin_core::lambda::function::Revision;

use super::{change, commit, first_commit, open, split};
use crate::support::faults::shim;
use crate::support::lines::hear;
use crate::support::serin::command;

/// A store as a serin before the last migration left it: journal entries 1 to 4.
pub(super) fn older_store(dir: &Path) {
    let newest = tempfile::tempdir().unwrap();
    {
        let (store, _) = open(newest.path());
        commit(&store, first_commit()).unwrap();
        commit(&store, change(4, 3, split())).unwrap();
    }
    std::fs::create_dir_all(dir).unwrap();
    let older = Connection::open(dir.join("serin.db")).unwrap();
    older.pragma_update(None, "journal_mode", "wal").unwrap();
    older.pragma_update(None, "application_id", 0x7372_6e31).unwrap();
    older.execute_batch(include_str!("../../migrations/0001_initial.sql")).unwrap();
    older.execute_batch(include_str!("../../migrations/0002_counts.sql")).unwrap();
    older.pragma_update(None, "user_version", 2).unwrap();
    older
        .create_scalar_function("serin_writer", 0, rusqlite::functions::FunctionFlags::SQLITE_UTF8, |_| Ok(1))
        .unwrap();
    let attach = format!("ATTACH '{}' AS newest", newest.path().join("serin.db").display());
    older.execute_batch(&attach).unwrap();
    for (table, columns) in [
        ("meta", "key, value"),
        ("functions", "name, record"),
        ("versions", "function, number, record"),
        (
            "aliases",
            "function, name, function_version, additional_version, additional_weight, description, revision,
             updated_at, previous_stable",
        ),
        ("events", "seq, at, function, alias, rollout, tells_alias, entry"),
    ] {
        older
            .execute_batch(&format!("INSERT INTO {table} ({columns}) SELECT {columns} FROM newest.{table}"))
            .unwrap();
    }
}

pub(super) fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap().map(|entry| entry.unwrap()) {
        std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}

/// Runs a command on a directory and has it killed at its nth call; whether it was.
fn killed(shim: &Path, dir: &Path, at: usize, args: &[&str]) -> bool {
    let output = command()
        .env("LD_PRELOAD", shim)
        .env("SHIM_UNDER", dir)
        .env("SHIM_KILL_AT", at.to_string())
        .args(args)
        .output()
        .unwrap();
    let was_killed = output.status.signal() == Some(9);
    assert!(was_killed || output.status.success(), "at call {at}: {output:?}");
    was_killed
}

/// Kills at every `stride`th call, twice in a row, and then looks; tells how many calls there are.
fn at_every_call(
    stride: usize,
    prepare: impl Fn(&Path),
    args: impl Fn(&Path) -> Vec<String>,
    look: impl Fn(&Path, usize),
) {
    let Some(shim) = shim() else { return };
    let room = tempfile::tempdir().unwrap();
    let (mut at, mut kills) = (1, 0);
    loop {
        let dir = room.path().join(at.to_string());
        prepare(&dir);
        let args = args(&dir);
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        if !killed(shim, &dir, at, &args) {
            break;
        }
        // The second try may come further, or not as far.
        kills += 1 + usize::from(killed(shim, &dir, 1 + at / 2, &args));
        look(&dir, at);
        std::fs::remove_dir_all(&dir).unwrap();
        at += stride;
    }
    println!("{kills} kills at {at} calls");
    assert!(at > 20, "only {at} calls were made");
}

fn migrations(stride: usize) {
    let template = tempfile::tempdir().unwrap();
    older_store(template.path());
    at_every_call(
        stride,
        |dir| copy(template.path(), dir),
        |dir| ["fsck", "--repair", "--data-dir", dir.to_str().unwrap()].map(str::to_owned).to_vec(),
        |dir, at| {
            let (store, loaded) = Store::open(dir, "test").unwrap_or_else(|why| panic!("call {at}: {why}"));
            assert_eq!((loaded.seq, loaded.problems), (Revision(4), Vec::new()), "call {at}");
            drop(store);
            assert_eq!(fsck(dir, None).unwrap(), [], "call {at}");
            // One copy of the store before, whole, however often it was tried.
            let names: Vec<String> = std::fs::read_dir(dir)
                .unwrap()
                .map(|entry| entry.unwrap().file_name().to_str().unwrap().to_owned())
                .filter(|name| name.contains("before-schema"))
                .collect();
            assert_eq!(names, [format!("serin.db.before-schema-{SCHEMA_VERSION}")], "call {at}");
            let kept = Connection::open(dir.join(&names[0])).unwrap();
            let entries: i64 = kept.query_row("SELECT count(*) FROM events", [], |row| row.get(0)).unwrap();
            assert_eq!(entries, 4, "call {at}");
        },
    );
}

fn restores(stride: usize) {
    let template = tempfile::tempdir().unwrap();
    let (old, backup) = (template.path().join("old"), template.path().join("backup.db"));
    {
        let (store, _) = open(&old);
        commit(&store, first_commit()).unwrap();
        std::io::copy(&mut store.reader.copy().unwrap(), &mut std::fs::File::create(&backup).unwrap())
            .unwrap();
        commit(&store, change(4, 3, split())).unwrap();
        // Killed itself: its last change is in its log alone.
        std::fs::create_dir(template.path().join("left")).unwrap();
        copy(&old, &template.path().join("left"));
    }
    let restore = |dir: &Path| {
        let (from, to) = (backup.to_str().unwrap(), dir.to_str().unwrap());
        ["restore", "--from", from, "--data-dir", to].map(str::to_owned).to_vec()
    };
    at_every_call(
        stride,
        |dir| copy(&template.path().join("left"), dir),
        restore,
        |dir, at| {
            let (store, loaded) = Store::open(dir, "test").unwrap_or_else(|why| panic!("call {at}: {why}"));
            assert!(
                [3, 4].contains(&loaded.seq.0),
                "call {at}: neither the old store nor the new one: {loaded:?}"
            );
            assert_eq!(loaded.problems, Vec::<String>::new(), "call {at}");
            drop(store);
            let output = command().args(restore(dir)).output().unwrap();
            assert!(output.status.success(), "call {at}: {output:?}");
            let (store, loaded) = Store::open(dir, "test").unwrap();
            assert_eq!(loaded.seq, Revision(3), "call {at}");
            drop(store);
            assert_eq!(fsck(dir, None).unwrap(), [], "call {at}");
        },
    );
}

/// A daemon on a store of four entries makes fewer calls than this before it is ready.
const CALLS_OF_A_BOOT: usize = 100;

fn boots(stride: usize) {
    let Some(shim) = shim() else { return };
    let room = tempfile::tempdir().unwrap();
    let dir = room.path().join("data");
    {
        let (store, _) = open(&dir);
        commit(&store, first_commit()).unwrap();
        commit(&store, change(4, 3, split())).unwrap();
    }
    let mut kills = 0;
    for at in (1..=CALLS_OF_A_BOOT).step_by(stride) {
        let mut daemon = command()
            .env("LD_PRELOAD", shim)
            .env("SHIM_UNDER", &dir)
            .env("SHIM_KILL_AT", at.to_string())
            .args(["serve", "--workers", "1", "--data-dir", dir.to_str().unwrap()])
            .args(["--api", "127.0.0.1:0", "--router", "127.0.0.1:0"])
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let (is_up, coming_up) = mpsc::channel();
        hear(daemon.stderr.take().unwrap(), move |line| {
            _ = line["api.addr"].is_string().then(|| is_up.send(()))
        });
        // Hung up when it is dead.
        match coming_up.recv() {
            Ok(()) => daemon.kill().unwrap(),
            Err(mpsc::RecvError) => kills += 1,
        }
        assert_eq!(daemon.wait().unwrap().signal(), Some(9), "call {at}");
        let (store, loaded) = Store::open(&dir, "test").unwrap_or_else(|why| panic!("call {at}: {why}"));
        assert_eq!((loaded.seq, loaded.problems), (Revision(4), Vec::new()), "call {at}");
        drop(store);
        assert_eq!(fsck(&dir, None).unwrap(), [], "call {at}");
    }
    println!("{kills} kills of boots at {CALLS_OF_A_BOOT} calls");
    assert!(kills * stride > CALLS_OF_A_BOOT / 2, "only {kills} boots were killed");
}

#[test]
fn a_boot_that_is_killed_costs_the_next_one_nothing() {
    boots(9);
}

#[test]
fn a_migration_that_is_killed_is_made_by_the_next_start() {
    migrations(7);
}

#[test]
fn a_restore_that_is_killed_leaves_the_old_store_or_the_new_one() {
    restores(7);
}

#[test]
#[ignore = "some minutes; scripts/test-long runs it"]
fn boots_migrations_and_restores_are_killed_at_every_call() {
    boots(1);
    migrations(1);
    restores(1);
}
