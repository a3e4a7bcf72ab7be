//! Rows and pages that are damaged: the rest serves, what is bad is told by name, and `fsck --repair` mends what it can.

use std::collections::BTreeMap;
use std::path::Path;

use rand::RngExt;
use rusqlite::Connection;
use serde_json::json;
use serin::chance;
use serin::store::{Need, Store, fsck};
use serin_core::lambda::alias::Routing;
use serin_core::model::actor::Actor;
use serin_core::model::arn::VersionNumber;
use serin_core::model::time::Timestamp;

use crate::support::client::Client;
use crate::support::house::House;
use crate::support::until;
use crate::support::users::service;

/// Changes the file behind everybody's back, whatever the schema says to it.
pub(super) fn damage(data: &Path, sql: &str) {
    let connection = Connection::open(data.join("serin.db")).unwrap();
    connection
        .create_scalar_function("serin_writer", 0, rusqlite::functions::FunctionFlags::SQLITE_UTF8, |_| Ok(1))
        .unwrap();
    let triggers: Vec<(String, String)> = {
        let mut select =
            connection.prepare("SELECT name, sql FROM sqlite_schema WHERE type = 'trigger'").unwrap();
        let rows = select.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
        rows.collect::<Result<_, _>>().unwrap()
    };
    connection.execute_batch("PRAGMA ignore_check_constraints = on; PRAGMA foreign_keys = off").unwrap();
    for (name, _) in &triggers {
        connection.execute_batch(&format!("DROP TRIGGER {name}")).unwrap();
    }
    let changed = connection.execute(sql, []).unwrap();
    assert!(changed > 0, "{sql} changes nothing");
    for (_, trigger) in &triggers {
        connection.execute_batch(trigger).unwrap();
    }
}

/// A house with two functions, each with an alias that a rollout moves, and one that was rolled back before.
pub(super) fn house() -> House {
    let house = House::start();
    for (function, first) in [("f", "1"), ("g", "3")] {
        for version in [first, "2"] {
            let url = format!("http://{}", service(version));
            house.post(&format!("/v1/functions/{function}/versions"), &json!({ "url": url })).ok();
        }
        house
            .post(&format!("/v1/functions/{function}/aliases/live"), &json!({ "functionVersion": "1" }))
            .ok();
        let plan = format!("function: {function}\nalias: live\nsteps: [20%, 100%]\nbake: 10h");
        for round in 0..2 {
            let start = json!({ "plan": "p", "planText": plan, "again": true });
            house.post("/v1/rollouts", &start).ok();
            let target = format!("/v1/rollouts/{function}:live");
            until("it has its weight", || house.get(&target).ok()["weight"]["committed"] == 0.2);
            if round == 0 {
                house.post(&format!("{target}/abort"), &json!({ "reason": "once" })).ok();
                until("it has ended", || house.get(&target).ok()["phase"] == "Aborted");
            }
        }
    }
    house
}

pub(super) const REPAIR: (Timestamp, &str) = (Timestamp(9), "test");

#[test]
fn one_byte_that_is_not_utf_8_costs_no_other_alias_anything() {
    let mut house = house();
    house.shut_down();
    let data = house.config.data_dir.clone();
    let whole = std::fs::read(data.join("serin.db")).unwrap();
    let bad = |column: &str| format!("CAST(CAST({column} AS BLOB) || x'ff' AS TEXT)");
    let of_f = "function = 'f'";
    let last_entry = "seq = (SELECT max(seq) FROM events WHERE function = 'f' AND tells_alias = 1)";
    // Which row, what its finding names, whether the alias is quarantined, and whether all of it can be mended.
    let cases = [
        (
            format!("UPDATE aliases SET description = {} WHERE {of_f}", bad("description")),
            "alias f:live",
            true,
            true,
        ),
        (
            format!("UPDATE versions SET record = {} WHERE {of_f} AND number = 2", bad("record")),
            "version f:2",
            true,
            false,
        ),
        (
            format!("UPDATE functions SET record = {} WHERE name = 'f'", bad("record")),
            "function f",
            true,
            false,
        ),
        (
            format!("UPDATE rollouts SET record = {} WHERE live = 1 AND {of_f}", bad("record")),
            "rollout",
            true,
            true,
        ),
        (
            format!("UPDATE rollouts SET evidence = {} WHERE live = 1 AND {of_f}", bad("evidence")),
            "evidence",
            true,
            true,
        ),
        (format!("UPDATE rollouts SET phase = {} WHERE live = 1 AND {of_f}", bad("phase")), "", false, true),
        (
            format!("UPDATE events SET entry = {} WHERE {last_entry}", bad("entry")),
            "journal entry",
            true,
            false,
        ),
        (
            format!("UPDATE events SET entry = {} WHERE seq = 1", bad("entry")),
            "journal entry 1",
            false,
            false,
        ),
        (format!("UPDATE remembered SET ending = {} WHERE {of_f}", bad("ending")), "", false, true),
        (format!("UPDATE remembered SET alias = {} WHERE {of_f}", bad("alias")), "remembered", false, true),
        (format!("UPDATE meta SET value = {} WHERE key = 'uptime_ms'", bad("value")), "", false, true),
    ];
    for (sql, named, is_quarantined, can_be_mended) in cases {
        std::fs::write(data.join("serin.db"), &whole).unwrap();
        damage(&data, &sql);
        // The real daemon serves both; the bad one at its stable version.
        house.boot();
        let mut client = Client::connect(house.router());
        for _ in 0..20 {
            assert_eq!(client.get("/g:live/").status, 200, "{sql}");
            let answer = client.get("/f:live/");
            assert_eq!(answer.status, 200, "{sql}: {answer:?}");
            assert!(!is_quarantined || answer.version() == Some("1"), "{sql}");
        }
        assert_eq!(house.get("/v1/rollouts/g:live").ok()["phase"], "Progressing", "{sql}");
        let problems = house.daemon.as_ref().unwrap().problems.join("\n");
        house.shut_down();
        let before = fsck(&data, None).unwrap();
        let all: String = before.iter().map(|finding| finding.text.clone() + "\n").collect();
        if !named.is_empty() {
            assert!(all.contains(named), "{sql}: {all}");
            assert!(!is_quarantined || problems.contains("f"), "{sql}: {problems}");
        }
        let actor = Actor::daemon();
        let repaired = fsck(&data, Some((REPAIR.0, REPAIR.1, &actor))).unwrap();
        let after = fsck(&data, None).unwrap();
        assert_eq!(after.is_empty(), can_be_mended, "{sql}: {repaired:#?}, and then {after:#?}");
        let (_store, loaded) = Store::open_for(Need::Read, &data, "test").unwrap();
        let stored = loaded.aliases.iter().find(|stored| stored.alias.id.function.as_str() == "f").unwrap();
        let cannot = sql.starts_with("UPDATE versions") || sql.starts_with("UPDATE functions");
        assert!(stored.quarantine.is_none() || cannot, "{sql}: {:?}", stored.quarantine);
        let other = loaded.aliases.iter().find(|stored| stored.alias.id.function.as_str() == "g").unwrap();
        assert_ne!(other.alias.routing, Routing::only(VersionNumber(1)), "the other one keeps its canary");
    }
}

#[test]
fn a_plan_that_is_gone_leaves_no_canary_without_a_judge() {
    let mut house = house();
    house.shut_down();
    let data = house.config.data_dir.clone();
    damage(&data, "DELETE FROM plans WHERE bytes LIKE '%function: f%'");
    house.boot();
    let mut client = Client::connect(house.router());
    for _ in 0..40 {
        assert_eq!(client.get("/f:live/").version(), Some("1"));
    }
    let (_, text) = super::disk::plainly(house.daemon.as_ref().unwrap().api_addr, "/readyz");
    assert!(text.contains("f:live") && text.contains("plan"), "{text}");
    house.shut_down();
    let actor = Actor::daemon();
    fsck(&data, Some((REPAIR.0, REPAIR.1, &actor))).unwrap();
    house.boot();
    let alias = house.get("/v1/functions/f/aliases/live").ok();
    assert_eq!(alias["routing"]["text"], "v1", "{alias}");
    let start =
        json!({ "plan": "p", "planText": "function: f\nalias: live\nsteps: [20%, 100%]", "again": true });
    house.post("/v1/rollouts", &start).ok();
}

/// Flips one byte at a time, boots, and asks for every alias.
fn flip(rounds: usize, seed: u64) {
    let mut house = house();
    until("the table is kept", || house.config.data_dir.join("last-table").exists());
    house.shut_down();
    let data = house.config.data_dir.clone();
    let whole: BTreeMap<String, Vec<u8>> = std::fs::read_dir(&data)
        .unwrap()
        .map(|entry| entry.unwrap())
        .filter(|entry| entry.file_type().unwrap().is_file())
        .map(|entry| (entry.file_name().to_str().unwrap().to_owned(), std::fs::read(entry.path()).unwrap()))
        .collect();
    let mut luck = chance::seeded(seed);
    let (mut dark, mut worded, mut standing) = (Vec::new(), 0, 0);
    for _ in 0..rounds {
        for entry in std::fs::read_dir(&data).unwrap().map(|entry| entry.unwrap()) {
            if entry.file_type().unwrap().is_file() {
                std::fs::remove_file(entry.path()).unwrap();
            }
        }
        for (name, bytes) in &whole {
            std::fs::write(data.join(name), bytes).unwrap();
        }
        let mut flipped = whole["serin.db"].clone();
        let (at, mask) = (luck.random_range(0..flipped.len()), luck.random_range(1..=255_u8));
        flipped[at] ^= mask;
        std::fs::write(data.join("serin.db"), &flipped).unwrap();
        house.boot();
        let daemon = house.daemon.as_ref().unwrap();
        worded += usize::from(!daemon.problems.is_empty());
        standing += usize::from(daemon.is_standing());
        let mut client = Client::connect(house.router());
        for alias in ["/f:live/", "/g:live/"] {
            let status = client.get(alias).status;
            if status != 200 {
                dark.push(format!("byte {at} ^ {mask}: {alias} is {status}"));
            }
        }
        house.shut_down();
    }
    println!("{rounds} flips: {} dark, {worded} found at boot, {standing} without a store", dark.len());
    assert_eq!(dark, Vec::<String>::new());
}

#[test]
fn no_byte_that_flips_darkens_an_alias() {
    flip(60, 2026);
}

#[test]
#[ignore = "some minutes; scripts/test-long runs it"]
fn two_thousand_bytes_that_flip_darken_no_alias() {
    flip(2000, 7);
}
