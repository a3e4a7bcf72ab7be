//! The store keeps what it acknowledged, refuses other hands, and rebuilds aliases from the journal.

mod bytes;
mod chain;
pub mod disk;
mod kills;
mod nth;
mod power;

use std::path::Path;
use std::time::Duration;

use rusqlite::Connection;
use serin::store::{Store, StoreError, fsck};
use serin_core::journal::{Entry, Happening};
use serin_core::lambda::alias::{Alias, AliasId, Routing};
use serin_core::lambda::function::{Configuration, DEFAULT_ROLE, Function, Revision, Target, Version};
use serin_core::lambda::settings::Settings;
use serin_core::model::actor::Actor;
use serin_core::model::arn::VersionNumber;
use serin_core::model::time::{Timestamp, Uptime};
use serin_core::model::weight::Weight;
use serin_core::ports::{Commit, EntryFilter, IdempotentReply, Loaded, Write};

use crate::support::house::House;
use crate::support::until_within;

fn id() -> AliasId {
    "checkout:live".parse().unwrap()
}

fn configuration() -> Configuration {
    Configuration {
        target: Target::Http {
            url: "http://127.0.0.1:1".parse().unwrap(),
            health: None,
            timeouts: Default::default(),
        },
        role: DEFAULT_ROLE.to_owned(),
        dead_letter: None,
        description: String::new(),
        commit: None,
        settings: Settings::default(),
    }
}

fn entry(seq: u64, what: Happening, alias_after: Option<Alias>) -> Entry {
    Entry {
        seq: Revision(seq),
        at: Timestamp(1_000 * seq as i64),
        actor: Actor::daemon(),
        reason: None,
        function: id().function,
        alias: alias_after.as_ref().map(|alias| alias.id.alias.clone()),
        rollout: None,
        what,
        alias_after,
    }
}

fn alias(seq: u64, routing: Routing) -> Alias {
    Alias {
        id: id(),
        routing,
        description: String::new(),
        revision: Revision(seq),
        updated_at: Timestamp(1_000 * seq as i64),
    }
}

/// A function with two versions and an alias on the first: journal entries 1 to 3.
fn first_commit() -> Commit {
    let function = Function {
        last_version: 2,
        ..Function::new(id().function, configuration(), Revision(2), Timestamp(1))
    };
    let version = |number: u64| Version {
        function: id().function,
        number: VersionNumber(number),
        configuration: configuration(),
        revision: Revision(number),
        published_at: Timestamp(1),
    };
    let made = alias(3, Routing::only(VersionNumber(1)));
    let published = |number| Happening::VersionPublished {
        version: VersionNumber(number),
        target: "http://127.0.0.1:1".to_owned(),
        commit: None,
    };
    Commit {
        writes: vec![
            Write::PutFunction(function),
            Write::PutVersion(version(1)),
            Write::PutVersion(version(2)),
            Write::PutAlias { alias: made.clone(), previous_stable: None, expected: None },
        ],
        entries: vec![
            entry(1, published(1), None),
            entry(2, published(2), None),
            entry(3, Happening::AliasCreated, Some(made)),
        ],
        uptime: Uptime(5_000),
        ..Commit::default()
    }
}

/// A change of the alias: entry `seq`, decided on `expected`.
fn change(seq: u64, expected: u64, routing: Routing) -> Commit {
    let becomes = alias(seq, routing);
    let what = Happening::AliasUpdated { from: Routing::only(VersionNumber(1)), to: routing };
    Commit {
        writes: vec![Write::PutAlias {
            alias: becomes.clone(),
            previous_stable: None,
            expected: Some(Revision(expected)),
        }],
        entries: vec![entry(seq, what, Some(becomes))],
        uptime: Uptime(6_000),
        ..Commit::default()
    }
}

fn split() -> Routing {
    Routing::split(VersionNumber(1), VersionNumber(2), Weight::from_ppm(30_000).unwrap())
}

fn open(dir: &Path) -> (Store, Loaded) {
    Store::open(dir, "test").unwrap()
}

fn commit(store: &Store, commit: Commit) -> Result<(), StoreError> {
    store.writer.commit(commit).recv().unwrap()
}

/// Changes the file behind the store's back, as a damaged disk or a rash hand with tools would.
fn tamper(dir: &Path, sql: &str) {
    let connection = Connection::open(dir.join("serin.db")).unwrap();
    connection
        .create_scalar_function("serin_writer", 0, rusqlite::functions::FunctionFlags::SQLITE_UTF8, |_| Ok(1))
        .unwrap();
    connection.execute_batch(sql).unwrap();
}

#[test]
fn what_was_acknowledged_is_there_again() {
    let dir = tempfile::tempdir().unwrap();
    {
        let (store, _) = open(dir.path());
        commit(&store, first_commit()).unwrap();
        commit(&store, change(4, 3, split())).unwrap();
    }
    let (store, loaded) = open(dir.path());
    assert_eq!(loaded.problems, Vec::<String>::new());
    assert_eq!((loaded.seq, loaded.uptime), (Revision(4), Uptime(6_000)));
    assert_eq!(loaded.aliases[0].alias, alias(4, split()));
    assert_eq!((loaded.functions.len(), loaded.versions.len()), (1, 2));
    let entries =
        store.reader.entries(&EntryFilter { alias: Some(id()), limit: 10, ..EntryFilter::default() });
    assert_eq!(entries.unwrap().iter().map(|entry| entry.seq.0).collect::<Vec<_>>(), [3, 4]);
}

#[test]
fn a_stale_decision_is_refused_whole() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = open(dir.path());
    commit(&store, first_commit()).unwrap();
    assert!(matches!(commit(&store, change(4, 2, split())), Err(StoreError::Stale(_))));
    let entries = store.reader.entries(&EntryFilter { limit: 10, ..EntryFilter::default() }).unwrap();
    assert_eq!(entries.len(), 3, "the entry of a refused change must not stay");
    commit(&store, change(4, 3, split())).unwrap();
}

#[test]
fn replies_are_kept_for_their_keys() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = open(dir.path());
    let reply = IdempotentReply {
        key: "k".to_owned(),
        fingerprint: "f".to_owned(),
        reply: "{\"done\":true}".to_owned(),
        at: Timestamp(7),
    };
    commit(&store, Commit { replies: vec![reply.clone()], ..first_commit() }).unwrap();
    assert_eq!(store.reader.reply("k").unwrap(), Some(reply));
    assert_eq!(store.reader.reply("other").unwrap(), None);
}

#[test]
fn another_hand_may_look_and_not_change() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = open(dir.path());
    commit(&store, first_commit()).unwrap();
    let other = Connection::open(dir.path().join("serin.db")).unwrap();
    let version: i64 = other.query_row("SELECT function_version FROM aliases", [], |row| row.get(0)).unwrap();
    assert_eq!(version, 1);
    for sql in [
        "UPDATE aliases SET function_version = 2",
        "DELETE FROM aliases",
        "DELETE FROM events",
        "UPDATE events SET entry = '{}'",
        "UPDATE versions SET record = '{}'",
        "DELETE FROM versions WHERE number = 1",
        "UPDATE functions SET record = '{}'",
        "INSERT INTO policies VALUES ('checkout', 'function', '', '{}')",
        "INSERT INTO plans VALUES ('d', 'p', x'00', NULL, NULL)",
        "INSERT INTO remembered VALUES ('checkout', 'live', 2, 'aborted')",
        "INSERT INTO event_sources VALUES ('x', '{}')",
        "INSERT INTO idempotency VALUES ('k', 'f', 'r', 1)",
        "UPDATE meta SET value = '9'",
        "DELETE FROM chain",
        "UPDATE row_digests SET digest = NULL",
    ] {
        let refused = other.execute_batch(sql).unwrap_err().to_string();
        assert!(
            refused.contains("serin_writer")
                || refused.contains("append-only")
                || refused.contains("immutable"),
            "{sql}: {refused}"
        );
    }
}

#[test]
fn the_schema_itself_forbids_what_no_alias_may_be() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = open(dir.path());
    commit(&store, first_commit()).unwrap();
    let connection = Connection::open(dir.path().join("serin.db")).unwrap();
    connection.pragma_update(None, "foreign_keys", "on").unwrap();
    connection
        .create_scalar_function("serin_writer", 0, rusqlite::functions::FunctionFlags::SQLITE_UTF8, |_| Ok(1))
        .unwrap();
    for sql in [
        "UPDATE aliases SET additional_version = 1, additional_weight = 5",
        "UPDATE aliases SET additional_version = 2, additional_weight = 1000001",
        "UPDATE aliases SET additional_version = 2",
        "UPDATE aliases SET additional_version = 9, additional_weight = 5",
        "UPDATE aliases SET function_version = NULL, additional_version = 2, additional_weight = 5",
        "DELETE FROM versions WHERE number = 1",
    ] {
        assert!(connection.execute_batch(sql).is_err(), "{sql}");
    }
}

#[test]
fn a_row_that_the_journal_does_not_know_is_quarantined_and_repaired() {
    let dir = tempfile::tempdir().unwrap();
    {
        let (store, _) = open(dir.path());
        commit(&store, first_commit()).unwrap();
        commit(&store, change(4, 3, split())).unwrap();
    }
    tamper(dir.path(), "UPDATE aliases SET additional_weight = 990000");
    {
        let (_store, loaded) = open(dir.path());
        let stored = &loaded.aliases[0];
        assert_eq!(stored.alias.routing, Routing::only(VersionNumber(1)), "doubt moves traffic to stable");
        assert!(stored.quarantine.as_ref().unwrap().contains("99%"), "{:?}", stored.quarantine);
        assert_eq!(loaded.problems.len(), 1);
    }
    let found = fsck(dir.path(), None).unwrap();
    assert!(found[0].text.contains("v1 1% / v2 99%") && !found[0].repaired, "{found:?}");
    let actor = Actor::daemon();
    let found = fsck(dir.path(), Some((Timestamp(9), "test", &actor))).unwrap();
    assert!(found[0].repaired);
    assert_eq!(fsck(dir.path(), None).unwrap(), []);
    let (_store, loaded) = open(dir.path());
    assert_eq!((loaded.aliases[0].alias.routing, loaded.seq), (split(), Revision(5)));
    assert_eq!(loaded.problems, Vec::<String>::new());
}

#[test]
fn an_alias_without_a_row_is_served_from_the_journal() {
    let dir = tempfile::tempdir().unwrap();
    {
        let (store, _) = open(dir.path());
        commit(&store, first_commit()).unwrap();
        commit(&store, change(4, 3, split())).unwrap();
    }
    tamper(dir.path(), "DELETE FROM aliases");
    let (store, loaded) = open(dir.path());
    assert_eq!(loaded.aliases[0].alias.routing, Routing::only(VersionNumber(1)));
    assert!(loaded.aliases[0].quarantine.is_some());
    drop(store);
    let actor = Actor::daemon();
    fsck(dir.path(), Some((Timestamp(9), "test", &actor))).unwrap();
    let (_store, loaded) = open(dir.path());
    assert_eq!(loaded.aliases[0].alias.routing, split());
}

#[test]
fn a_missing_entry_is_found() {
    let dir = tempfile::tempdir().unwrap();
    {
        let (store, _) = open(dir.path());
        commit(&store, first_commit()).unwrap();
    }
    tamper(dir.path(), "DELETE FROM events WHERE seq = 2");
    let found = fsck(dir.path(), None).unwrap();
    assert!(found.iter().any(|finding| finding.text.contains("entries are missing")), "{found:?}");
}

#[test]
fn pruning_keeps_what_tells_the_aliases() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = open(dir.path());
    commit(&store, first_commit()).unwrap();
    for seq in 4..=9 {
        commit(
            &store,
            change(seq, seq - 1, if seq % 2 == 0 { split() } else { Routing::only(VersionNumber(1)) }),
        )
        .unwrap();
    }
    let late = Timestamp(i64::MAX);
    let pruned = store.writer.prune(late, late).recv().unwrap().unwrap();
    assert_eq!(pruned.entries, 8);
    drop(store);
    assert_eq!(fsck(dir.path(), None).unwrap(), []);
    let (_store, loaded) = open(dir.path());
    assert_eq!((loaded.seq, loaded.problems), (Revision(9), Vec::new()));
}

#[test]
fn a_daemon_that_lost_the_store_cannot_write() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = open(dir.path());
    commit(&store, first_commit()).unwrap();
    tamper(dir.path(), "UPDATE meta SET value = '99' WHERE key = 'epoch'");
    assert!(matches!(commit(&store, change(4, 3, split())), Err(StoreError::Fenced)));
}

#[test]
fn a_backup_is_put_back_whole() {
    let dir = tempfile::tempdir().unwrap();
    let copy = dir.path().join("copy.db");
    let data = dir.path().join("data");
    {
        let (store, _) = open(&data);
        commit(&store, first_commit()).unwrap();
        std::io::copy(&mut store.reader.copy().unwrap(), &mut std::fs::File::create(&copy).unwrap()).unwrap();
        let left: Vec<_> =
            std::fs::read_dir(&data).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert!(!left.iter().any(|name| name.to_string_lossy().contains("copying")), "{left:?}");
        commit(&store, change(4, 3, split())).unwrap();
        let held = serin::store::restore(&data, &copy, "test").unwrap_err().to_string();
        assert!(held.contains("in use by test"), "{held}");
    }
    serin::store::restore(&data, &copy, "test").unwrap();
    let (_store, loaded) = open(&data);
    assert_eq!((loaded.seq, loaded.aliases[0].alias.routing), (Revision(3), Routing::only(VersionNumber(1))));
    let junk = dir.path().join("junk");
    std::fs::write(&junk, vec![7; 10_000]).unwrap();
    drop(_store);
    assert!(serin::store::restore(&data, &junk, "test").is_err());
}

#[test]
fn history_is_pruned_though_boots_are_closer_than_an_hour() {
    let mut house = House::start_with(|config| config.keep_history = Duration::from_millis(1));
    for _ in 0..5 {
        house.publish("f", "http://127.0.0.1:1");
    }
    let path = house.config.data_dir.join("serin.db");
    let entries = || {
        let database = Connection::open(&path).unwrap();
        database.query_row("SELECT count(*) FROM events", [], |row| row.get::<_, i64>(0)).unwrap()
    };
    let before = entries();
    // Nobody prunes in lives as short as these.
    for _ in 0..2 {
        house.shut_down();
        house.boot();
    }
    until_within(Duration::from_secs(120), "what is old is gone", || entries() < before);
}
