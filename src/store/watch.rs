//! What stands beside the store's settings: watches after promotions and the days behind them, by the name of the alias,
//! and what functions that were deleted had counted to.

use rusqlite::Connection;

use super::StoreError;
use super::rows::{each, text};
use serin_core::analysis::watch::Days;
use serin_core::lambda::alias::AliasId;
use serin_core::model::arn::FunctionName;
use serin_core::rollout::watching::AliasWatch;

/// So many days before the present one are kept.
pub(super) const DAYS_KEPT: i64 = 8;

/// How rows call an alias.
pub(super) fn name(id: &AliasId) -> String {
    id.to_string()
}

/// The watches of all aliases; what cannot be read is left out, and said.
pub(super) fn watches(
    connection: &Connection,
    problems: &mut Vec<String>,
) -> Result<Vec<(AliasId, AliasWatch)>, StoreError> {
    let rows = rows(connection, "watch/")?;
    let mut watches = Vec::new();
    for (name, text) in rows {
        match (name.parse::<AliasId>(), serde_json::from_str(&text)) {
            (Ok(id), Ok(watch)) => watches.push((id, watch)),
            _ => problems.push(format!("the watch of {name} cannot be read; it is watched no longer")),
        }
    }
    Ok(watches)
}

/// The days of all aliases under plans that watch; a day that cannot be read is left out, and said.
pub(super) fn days(
    connection: &Connection,
    problems: &mut Vec<String>,
) -> Result<Vec<(AliasId, Days)>, StoreError> {
    let mut all: Vec<(AliasId, Days)> = Vec::new();
    for (key, text) in rows(connection, "days/")? {
        let id = key.rsplit_once('/').and_then(|(name, _)| name.parse::<AliasId>().ok());
        let (Some(id), Ok(day)) = (id, serde_json::from_str::<Days>(&text)) else {
            problems.push(format!("the counts of {key} cannot be read; the watch does without them"));
            continue;
        };
        match all.iter_mut().find(|(known, _)| *known == id) {
            Some((_, days)) => days.append(day),
            None => all.push((id, day)),
        }
    }
    Ok(all)
}

/// The highest versions of functions that were deleted; what cannot be read is left out, and said.
pub(super) fn counted(
    connection: &Connection,
    problems: &mut Vec<String>,
) -> Result<Vec<(FunctionName, u64)>, StoreError> {
    let mut counted = Vec::new();
    for (name, text) in rows(connection, "versions/")? {
        match (name.parse::<FunctionName>(), text.parse()) {
            (Ok(name), Ok(last)) => counted.push((name, last)),
            _ => problems
                .push(format!("what function {name} had counted to cannot be read; it would begin at 1")),
        }
    }
    Ok(counted)
}

/// Rows whose keys begin so, in the order of their keys, without that beginning.
fn rows(connection: &Connection, prefix: &str) -> Result<Vec<(String, String)>, StoreError> {
    let mut rows = Vec::new();
    let sql = format!(
        "SELECT substr(key, {}), value FROM meta WHERE substr(key, 1, {}) = '{prefix}' ORDER BY key",
        prefix.len() + 1,
        prefix.len()
    );
    // What is no text is no watch either, and is said with what cannot be read.
    each(connection, &sql, "read what is kept for the watch", |row| {
        rows.push((text(row, 0).unwrap_or_default(), text(row, 1).unwrap_or_default()));
    })?;
    Ok(rows)
}
