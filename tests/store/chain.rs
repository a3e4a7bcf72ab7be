//! What another hand changes is found, wherever it is, and nothing that serin or an operator does is taken for it.

use std::path::Path;

use rusqlite::Connection;
use serin::store::{Finding, Store, fsck, notes, restore};
use serin_core::lambda::alias::Routing;
use serin_core::model::actor::Actor;
use serin_core::model::arn::VersionNumber;
use serin_core::model::time::Timestamp;

use super::bytes::{REPAIR, damage, house};
use super::kills::{copy, older_store};
use super::{change, commit, first_commit, open, split};

fn stable() -> Routing {
    Routing::only(VersionNumber(1))
}

/// What a check finds, a line each.
fn found(dir: &Path) -> String {
    fsck(dir, None).unwrap().iter().map(|finding| finding.text.clone() + "\n").collect()
}

fn repair(dir: &Path) -> Vec<Finding> {
    fsck(dir, Some((REPAIR.0, REPAIR.1, &Actor::daemon()))).unwrap()
}

/// The links as they are: number, mac, and what serin vouched for later.
fn links(dir: &Path) -> Vec<(i64, String)> {
    let connection = Connection::open(dir.join("serin.db")).unwrap();
    let mut select =
        connection.prepare("SELECT link, hex(before) || hex(mac) FROM chain ORDER BY link").unwrap();
    let rows = select.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
    rows.collect::<Result<_, _>>().unwrap()
}

/// A store with journal entries 1 to `last`, of which all after the third change the alias.
fn store(dir: &Path, last: u64) -> Store {
    let (store, _) = open(dir);
    commit(&store, first_commit()).unwrap();
    for seq in 4..=last {
        commit(&store, change(seq, seq - 1, if seq % 2 == 0 { split() } else { stable() })).unwrap();
    }
    store
}

#[test]
fn an_edit_by_sql_of_what_a_person_owns_is_found_and_repair_accepts_it() {
    let mut house = house();
    let allow = serde_json::json!({
        "StatementId": "s", "Action": "lambda:InvokeFunction", "Principal": "123456789012"
    });
    house.post("/2015-03-31/functions/f/policy?Qualifier=live", &allow).ok();
    // Evidence and clocks are stored without an entry, and are nobody's edit.
    let database = Connection::open(house.config.data_dir.join("serin.db")).unwrap();
    let uptime = || {
        let sql = "SELECT value FROM meta WHERE key = 'uptime_ms'";
        database.query_row(sql, [], |row| row.get::<_, String>(0)).unwrap()
    };
    let first = uptime();
    crate::support::until("clocks are stored", || uptime() != first);
    drop(database);
    house.shut_down();
    let data = house.config.data_dir.clone();
    assert_eq!(found(&data), "");
    assert_eq!(notes(&data).unwrap(), Vec::<String>::new());
    let whole = tempfile::tempdir().unwrap();
    for name in ["serin.db", "chain-head"] {
        std::fs::copy(data.join(name), whole.path().join(name)).unwrap();
    }
    let cases = [
        (
            "UPDATE functions SET record = json_set(record, '$.reservedConcurrency', 7) WHERE name = 'f'",
            "function f is not what journal entry",
        ),
        (
            "UPDATE versions SET record = json_set(record, '$.publishedAt', 5) WHERE function = 'f' AND number = 2",
            "version f:2 is not what journal entry",
        ),
        ("UPDATE aliases SET previous_stable = 2 WHERE function = 'f'", "alias f:live is not what journal entry"),
        (
            "UPDATE policies SET record = replace(record, '123456789012', '210987654321')",
            "policy f:alias:live is not what journal entry",
        ),
        ("DELETE FROM policies", "policy f:alias:live is gone"),
        ("UPDATE plans SET name = 'other' WHERE bytes LIKE '%function: f%'", "pinned plan"),
        (
            "UPDATE rollouts SET record = json_set(record, '$.trials', 0) WHERE live = 1 AND function = 'f'",
            "rollout",
        ),
        ("DELETE FROM remembered WHERE function = 'f'", "remembered version f:live:2 is gone"),
        ("INSERT INTO remembered VALUES ('g', 'live', 1, 'aborted')", "g:live:1 was put there by another hand"),
        ("UPDATE events SET entry = json_set(entry, '$.reason', 'else') WHERE seq = 3", "journal entry 3 is not what"),
        (
            "INSERT INTO events SELECT 1000, at, function, alias, rollout, 0, json_set(entry, '$.seq', 1000) FROM events
             WHERE seq = 1",
            "journal entry 1000 has no link",
        ),
    ];
    for (sql, text) in cases {
        for name in ["serin.db", "chain-head"] {
            std::fs::copy(whole.path().join(name), data.join(name)).unwrap();
        }
        damage(&data, sql);
        let all = found(&data);
        assert!(all.contains(text) && !all.contains("of the journal's chain"), "{sql}: {all}");
        let before = links(&data);
        let repaired = repair(&data);
        assert!(repaired.iter().all(|finding| finding.repaired), "{sql}: {repaired:?}");
        assert_eq!(found(&data), "", "{sql}");
        let after = links(&data);
        assert_eq!(after[..before.len()], before[..], "{sql}: a repair appends");
        assert!(after.len() > before.len(), "{sql}");
    }
    // What was accepted is what the daemon goes on with, and it writes on.
    house.boot();
    house.post("/v1/rollouts/g:live/abort", &serde_json::json!({ "reason": "enough" })).ok();
    house.shut_down();
    assert_eq!(found(&data), "");
}

#[test]
fn an_entry_that_is_removed_is_found_wherever_it_was() {
    let removals = [
        ("DELETE FROM events WHERE seq = 5", "journal entry 5 is missing"),
        // With its link: the first link is the anchor of the empty store, so entry 5 has link 6.
        ("DELETE FROM events WHERE seq = 5; DELETE FROM row_digests WHERE link = 6; DELETE FROM chain WHERE link = 6",
            "before link 7 of the journal's chain others are missing"),
        ("DELETE FROM events WHERE seq = 9", "journal entry 9 is missing"),
        // The alias is set back along with it, so that nothing but the chain's end is left to show it.
        ("DELETE FROM events WHERE seq = 9; DELETE FROM row_digests WHERE link = 10; DELETE FROM chain WHERE link = 10;
          UPDATE aliases SET additional_version = 2, additional_weight = 30000, revision = 8, updated_at = 8000",
            "the chain of the journal ends at link 9, and had 10"),
        ("DELETE FROM row_digests; DELETE FROM chain", "the chain of the journal is gone"),
        ("UPDATE chain SET told = 'x' WHERE link = 4", "link 4 of the journal's chain, that of entry 3, is not what"),
        ("DELETE FROM row_digests WHERE kind = 'alias' AND link = 4", "link 4 of the journal's chain"),
    ];
    for (sql, text) in removals {
        let dir = tempfile::tempdir().unwrap();
        drop(store(dir.path(), 9));
        assert_eq!(found(dir.path()), "");
        super::tamper(dir.path(), sql);
        let all = found(dir.path());
        assert!(all.contains(text), "{sql}: {all}");
        // A start in between does not make it forgotten, and neither does what is written then.
        let (store, loaded) = open(dir.path());
        let next = loaded.seq.0 + 1;
        let routing = if loaded.aliases[0].alias.routing == split() { stable() } else { split() };
        if loaded.aliases[0].quarantine.is_none() {
            commit(&store, change(next, loaded.aliases[0].alias.revision.0, routing)).unwrap();
        }
        drop(store);
        assert_ne!(found(dir.path()), "", "{sql}");
        repair(dir.path());
        assert_eq!(found(dir.path()), "", "{sql}");
        let (_store, loaded) = open(dir.path());
        assert_eq!(loaded.problems, Vec::<String>::new(), "{sql}");
    }
}

#[test]
fn a_pruned_chain_keeps_its_anchor() {
    let dir = tempfile::tempdir().unwrap();
    let open_store = store(dir.path(), 12);
    let late = Timestamp(i64::MAX);
    let before = links(dir.path()).len();
    open_store.writer.prune(late, late).recv().unwrap().unwrap();
    assert_eq!(found(dir.path()), "");
    let pruned = links(dir.path());
    assert!(pruned.len() < before, "{before}, then {}", pruned.len());
    commit(&open_store, change(13, 12, stable())).unwrap();
    commit(&open_store, change(14, 13, split())).unwrap();
    open_store.writer.prune(late, late).recv().unwrap().unwrap();
    commit(&open_store, change(15, 14, stable())).unwrap();
    drop(open_store);
    assert_eq!(found(dir.path()), "");
    // Links that vouch for versions stay with their entries gone; neither they nor the others can be removed.
    for (link, _) in links(dir.path()) {
        let aside = tempfile::tempdir().unwrap();
        copy(dir.path(), aside.path());
        super::tamper(
            aside.path(),
            &format!("DELETE FROM row_digests WHERE link = {link}; DELETE FROM chain WHERE link = {link}"),
        );
        assert_ne!(found(aside.path()), "", "link {link}");
    }
    super::tamper(dir.path(), "DELETE FROM events WHERE seq = 14");
    assert!(found(dir.path()).contains("journal entry 14 is missing"));
}

#[test]
fn a_store_of_the_release_before_begins_a_chain_at_its_migration() {
    let dir = tempfile::tempdir().unwrap();
    older_store(dir.path());
    let (store, loaded) = open(dir.path());
    assert_eq!(loaded.problems, Vec::<String>::new());
    commit(&store, change(5, 4, stable())).unwrap();
    drop(store);
    assert_eq!(found(dir.path()), "");
    let told = notes(dir.path()).unwrap().join("\n");
    assert!(told.contains("begins anew after journal entry 4") && told.contains("kept no chain"), "{told}");
    super::tamper(dir.path(), "DELETE FROM events WHERE seq = 2");
    damage(dir.path(), "UPDATE functions SET record = json_set(record, '$.tags', json('{}'), '$.x', 1)");
    let all = found(dir.path());
    assert!(
        all.contains("journal entry 2 is missing") && all.contains("function checkout is not what"),
        "{all}"
    );
}

#[test]
fn a_backup_that_is_restored_begins_a_chain_anew() {
    let dir = tempfile::tempdir().unwrap();
    let (here, there) = (dir.path().join("here"), dir.path().join("there"));
    let backup = dir.path().join("backup.db");
    {
        let open_store = store(&here, 6);
        let mut file = std::fs::File::create(&backup).unwrap();
        std::io::copy(&mut open_store.reader.copy().unwrap(), &mut file).unwrap();
        commit(&open_store, change(7, 6, stable())).unwrap();
    }
    // On the machine it is of, and on another one, whose key is another.
    for (data, said) in [(&here, "is a copy's and begins anew"), (&there, "with a key that is not here")] {
        restore(data, &backup, "test").unwrap();
        assert_eq!(found(data), "");
        if data == &there {
            // A daemon makes its key before anything else.
            std::fs::write(data.join("chain.key"), [7; 32]).unwrap();
        }
        let told = notes(data).unwrap().join("\n");
        assert!(told.contains(said), "{told}");
        let (store, loaded) = open(data);
        assert_eq!(loaded.problems, Vec::<String>::new());
        commit(&store, change(7, 6, stable())).unwrap();
        drop(store);
        assert_eq!(found(data), "");
        let told = notes(data).unwrap().join("\n");
        assert!(
            told.contains("begins anew after journal entry 6") && told.contains("was put here"),
            "{told}"
        );
        damage(data, "UPDATE versions SET record = json_set(record, '$.publishedAt', 9) WHERE number = 1");
        assert!(
            found(data).contains("version checkout:1 is not what journal entry 6 left"),
            "{}",
            found(data)
        );
    }
    // A backup that somebody changed shows it where its key is, until serin starts on it.
    damage_file(&backup, "UPDATE functions SET record = json_set(record, '$.x', 1)");
    restore(&here, &backup, "test").unwrap();
    assert!(found(&here).contains("function checkout is not what"), "{}", found(&here));
}

fn damage_file(path: &Path, sql: &str) {
    let aside = tempfile::tempdir().unwrap();
    std::fs::copy(path, aside.path().join("serin.db")).unwrap();
    damage(aside.path(), sql);
    std::fs::copy(aside.path().join("serin.db"), path).unwrap();
}

#[test]
fn an_older_copy_in_the_stores_place_is_found_and_a_note_that_is_behind_is_not() {
    let dir = tempfile::tempdir().unwrap();
    let (data, older) = (dir.path().join("data"), dir.path().join("older"));
    let first = store(&data, 5);
    first.writer.clone().close();
    drop(first);
    copy(&data, &older);
    {
        let (open_store, _) = open(&data);
        commit(&open_store, change(6, 5, split())).unwrap();
    }
    // Killed between a commit and its note, or the note was not yet on disk when power failed.
    std::fs::copy(older.join("chain-head"), data.join("chain-head")).unwrap();
    assert_eq!(found(&data), "");
    let (open_store, loaded) = open(&data);
    assert_eq!(loaded.problems, Vec::<String>::new());
    commit(&open_store, change(7, 6, stable())).unwrap();
    open_store.writer.clone().close();
    drop(open_store);
    for name in ["serin.db", "serin.db-wal", "serin.db-shm"] {
        let _ = std::fs::remove_file(data.join(name));
        let _ = std::fs::copy(older.join(name), data.join(name));
    }
    assert!(found(&data).contains("an older copy was put in the store's place"), "{}", found(&data));
    let (open_store, loaded) = open(&data);
    assert!(loaded.problems[0].contains("the chain of the journal ends at link"), "{:?}", loaded.problems);
    assert_eq!(loaded.aliases[0].quarantine, None, "it is no drift, and darkens nothing");
    drop(open_store);
    assert!(found(&data).contains("an older copy was put in the store's place"));
    repair(&data);
    assert_eq!(found(&data), "");
}

#[test]
fn a_note_that_was_cut_short_is_no_finding_and_one_without_a_whole_line_is() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path();
    drop(store(data, 6));
    let head = data.join("chain-head");
    let whole = std::fs::read_to_string(&head).unwrap();
    let length = whole.len() / 2;
    assert_eq!(whole.lines().count(), 2, "{whole}");
    for cut in 1..length {
        for line in 0..2 {
            // The first half of a write that goes over what was there.
            let mut bytes = whole.clone().into_bytes();
            bytes[line * length..line * length + cut].fill(b'9');
            std::fs::write(&head, &bytes).unwrap();
            assert_eq!(found(data), "", "{cut} bytes of line {line}");
        }
    }
    std::fs::write(&head, whole.replace(' ', "-")).unwrap();
    assert!(
        found(data).contains("chain-head, which notes the newest link, cannot be read"),
        "{}",
        found(data)
    );
    drop(open(data));
    repair(data);
    assert_eq!(found(data), "", "and what is noted then is whole again");
}
