//! Which rows the chain vouches for, and what of them.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use rusqlite::types::ValueRef;
use rusqlite::{Connection, Row};

use super::super::StoreError;
use super::super::rows::Scan;
use super::Chain;

/// A table whose rows have digests.
pub(in crate::store) struct Sealed {
    /// What its rows are.
    pub(in crate::store) kind: &'static str,
    select: &'static str,
    /// What of the table it is, where it is not the whole.
    filter: &'static str,
    keys: &'static [&'static str],
    /// A column of JSON, and what in it is stored without an entry.
    passing: Option<(usize, &'static [&'static str])>,
}

pub(in crate::store) const FUNCTIONS: Sealed = Sealed {
    kind: "function",
    select: "SELECT name, record FROM functions",
    filter: "",
    keys: &["name"],
    passing: None,
};
pub(in crate::store) const VERSIONS: Sealed = Sealed {
    kind: "version",
    select: "SELECT function, number, record FROM versions",
    filter: "",
    keys: &["function", "number"],
    passing: None,
};
pub(in crate::store) const ALIASES: Sealed = Sealed {
    kind: "alias",
    select: "SELECT function, name, function_version, additional_version, additional_weight, description, revision,
                    updated_at, previous_stable FROM aliases",
    filter: "",
    keys: &["function", "name"],
    passing: None,
};
pub(in crate::store) const POLICIES: Sealed = Sealed {
    kind: "policy",
    select: "SELECT function, scope, name, record FROM policies",
    filter: "",
    keys: &["function", "scope", "name"],
    passing: None,
};
pub(in crate::store) const PLANS: Sealed = Sealed {
    kind: "pinned plan",
    select: "SELECT digest, name, bytes, defaults_name, defaults FROM plans",
    filter: "",
    keys: &["digest"],
    passing: None,
};
pub(in crate::store) const ROLLOUTS: Sealed = Sealed {
    kind: "rollout",
    select: "SELECT id, function, alias, phase, live, plan_digest, record FROM rollouts",
    filter: "",
    keys: &["id"],
    passing: Some((6, &["updatedAt", "reason", "served", "baked", "waited", "answers"])),
};
pub(in crate::store) const REMEMBERED: Sealed = Sealed {
    kind: "remembered version",
    select: "SELECT function, alias, version, ending FROM remembered",
    filter: "",
    keys: &["function", "alias", "version"],
    passing: None,
};
pub(in crate::store) const EVENT_SOURCES: Sealed = Sealed {
    kind: "event source mapping",
    select: "SELECT id, record FROM event_sources",
    filter: "",
    keys: &["id"],
    passing: None,
};
pub(in crate::store) const WATCHES: Sealed = Sealed {
    kind: "watch",
    select: "SELECT key, value FROM meta",
    filter: " WHERE substr(key, 1, 6) = 'watch/'",
    keys: &["key"],
    passing: Some((1, &["evidence"])),
};
/// The journal itself, whose digests are in the links.
pub(in crate::store) const ENTRIES: Sealed = Sealed {
    kind: "journal entry",
    select: "SELECT seq, at, function, alias, rollout, tells_alias, entry FROM events NOT INDEXED",
    filter: "",
    keys: &["seq"],
    passing: None,
};

/// The key of a row.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::store) struct Key(Vec<Part>);

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Part {
    Text(String),
    Number(i64),
}

impl Key {
    pub(in crate::store) fn text(parts: &[&str]) -> Key {
        Key(parts.iter().map(|part| Part::Text((*part).to_owned())).collect())
    }

    pub(in crate::store) fn number(number: i64) -> Key {
        Key(vec![Part::Number(number)])
    }

    pub(in crate::store) fn and(mut self, number: i64) -> Key {
        self.0.push(Part::Number(number));
        self
    }
}

/// As a JSON array.
impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts = self.0.iter().map(|part| match part {
            Part::Text(text) => serde_json::Value::from(text.as_str()),
            Part::Number(number) => serde_json::Value::from(*number),
        });
        write!(f, "{}", serde_json::Value::Array(parts.collect()))
    }
}

impl rusqlite::ToSql for Part {
    fn to_sql(&self) -> rusqlite::Result<rusqlite::types::ToSqlOutput<'_>> {
        match self {
            Part::Text(text) => text.to_sql(),
            Part::Number(number) => number.to_sql(),
        }
    }
}

/// The rows that a transaction has written or deleted.
#[derive(Default)]
pub(in crate::store) struct Touched(BTreeMap<&'static str, (Option<&'static Sealed>, BTreeSet<Key>)>);

impl Touched {
    pub(in crate::store) fn add(&mut self, kind: &'static Sealed, key: Key) {
        let (sealed, keys) = self.0.entry(kind.kind).or_default();
        *sealed = Some(kind);
        keys.insert(key);
    }

    pub(super) fn rows(&self) -> impl Iterator<Item = (&'static Sealed, &Key)> {
        self.0
            .values()
            .flat_map(|(kind, keys)| kind.iter().flat_map(|kind| keys.iter().map(|key| (*kind, key))))
    }
}

impl Sealed {
    /// All of them but the journal.
    pub(super) const ALL: [&'static Sealed; 9] = [
        &FUNCTIONS,
        &VERSIONS,
        &ALIASES,
        &POLICIES,
        &PLANS,
        &ROLLOUTS,
        &REMEMBERED,
        &EVENT_SOURCES,
        &WATCHES,
    ];

    /// The digest of the row with a key, if there is one.
    pub(super) fn digest_by_key(
        &self,
        chain: &Chain,
        connection: &Connection,
        key: &Key,
    ) -> Result<Option<Vec<u8>>, StoreError> {
        use rusqlite::OptionalExtension as _;
        let conditions: Vec<String> =
            self.keys.iter().zip(1..).map(|(name, index)| format!("{name} = ?{index}")).collect();
        let sql = format!("{} WHERE {}", self.select, conditions.join(" AND "));
        connection
            .prepare_cached(&sql)
            .and_then(|mut select| {
                let values = rusqlite::params_from_iter(key.0.iter());
                select.query_row(values, |row| Ok(self.digest(chain, row))).optional()
            })
            .map_err(StoreError::sqlite("read what was written"))
    }

    /// Hands the key and the digest of every row to `take`; tells why if some cannot be read.
    pub(super) fn each(
        &self,
        chain: &Chain,
        connection: &Connection,
        mut take: impl FnMut(String, Vec<u8>, &Row<'_>),
    ) -> Result<Option<String>, StoreError> {
        let select = format!("{}{}", self.select, self.filter);
        let scan = Scan { select: &select, keys: self.keys, what: self.kind };
        scan.rows(connection, |row| {
            let parts = (0..self.keys.len()).map(|column| match row.get_ref(column) {
                Ok(ValueRef::Integer(number)) => Part::Number(number),
                Ok(ValueRef::Text(bytes) | ValueRef::Blob(bytes)) => {
                    Part::Text(String::from_utf8_lossy(bytes).into_owned())
                }
                Ok(ValueRef::Real(_) | ValueRef::Null) | Err(_) => Part::Text("?".to_owned()),
            });
            let key = Key(parts.collect()).to_string();
            take(key, self.digest(chain, row), row);
        })
    }

    fn digest(&self, chain: &Chain, row: &Row<'_>) -> Vec<u8> {
        let columns = row.as_ref().column_count();
        let mut parts: Vec<Vec<u8>> = vec![self.kind.as_bytes().to_vec()];
        for column in 0..columns {
            let mut part = Vec::new();
            match row.get_ref(column) {
                Ok(ValueRef::Null) | Err(_) => part.push(0),
                Ok(ValueRef::Integer(number)) => {
                    part.push(1);
                    part.extend(number.to_be_bytes());
                }
                Ok(ValueRef::Real(number)) => {
                    part.push(2);
                    part.extend(number.to_be_bytes());
                }
                Ok(ValueRef::Text(bytes)) => {
                    part.push(3);
                    match self.passing {
                        Some((of, passing)) if of == column => part.extend(without(bytes, passing)),
                        _ => part.extend(bytes),
                    }
                }
                Ok(ValueRef::Blob(bytes)) => {
                    part.push(4);
                    part.extend(bytes);
                }
            }
            parts.push(part);
        }
        let parts: Vec<&[u8]> = parts.iter().map(Vec::as_slice).collect();
        chain.mac("row", &parts).to_vec()
    }
}

/// JSON without what is stored without an entry; what is no JSON as it is.
fn without(bytes: &[u8], passing: &[&str]) -> Vec<u8> {
    let Ok(serde_json::Value::Object(mut record)) = serde_json::from_slice(bytes) else {
        return bytes.to_vec();
    };
    passing.iter().for_each(|name| _ = record.remove(*name));
    serde_json::to_vec(&record).unwrap_or_else(|_| bytes.to_vec())
}
