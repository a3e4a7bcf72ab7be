//! What can be done about a finding.

use rusqlite::Row;
use rusqlite::types::Value;
use rusqlite::types::ValueRef;
use serin_core::lambda::alias::Alias;
use serin_core::lambda::alias::AliasId;
use serin_core::rollout::RolloutRecord;

/// What ends a finding.
pub(super) enum Cure {
    /// The alias becomes what the journal says.
    Alias(Box<Alias>),
    /// Nobody knows what the alias was to be: it becomes its stable version alone.
    ToStable(AliasId),
    /// A rollout that nobody can go on with ends, and its alias is its stable version alone.
    End { record: Box<RolloutRecord>, why: String },
    /// A rollout is filed as what it says it is.
    Refile(Box<RolloutRecord>),
    /// A row leaves the store; with an alias, that becomes its stable version alone.
    SetAside {
        table: &'static str,
        keys: Vec<(String, Value)>,
        row: Vec<(String, Value)>,
        alias: Option<AliasId>,
    },
    /// Indexes are made anew.
    Reindex,
    /// The uptime is written anew.
    Uptime,
}

impl Cure {
    pub(super) fn set_aside(row: &Row<'_>, table: &'static str, keys: &[&str]) -> Cure {
        let mut all = Vec::new();
        for (column, name) in row.as_ref().column_names().into_iter().enumerate() {
            // Whatever is no text is bytes, so that it can be compared with and written down.
            let value = match row.get_ref(column) {
                Ok(ValueRef::Text(bytes) | ValueRef::Blob(bytes)) => Value::Blob(bytes.to_vec()),
                Ok(ValueRef::Integer(number)) => Value::Integer(number),
                Ok(ValueRef::Real(number)) => Value::Real(number),
                Ok(ValueRef::Null) | Err(_) => Value::Null,
            };
            all.push((name.to_owned(), value));
        }
        let keys = all.iter().filter(|(name, _)| keys.contains(&name.as_str())).cloned().collect();
        Cure::SetAside { table, keys, row: all, alias: None }
    }

    /// Takes a rollout away whose record cannot be read; `row` begins with its id.
    pub(super) fn forget_rollout(row: &Row<'_>, alias: &str) -> Cure {
        let mut cure = Cure::set_aside(row, "rollouts", &["id"]);
        if let Cure::SetAside { alias: of, .. } = &mut cure {
            *of = alias.parse().ok();
        }
        cure
    }

    pub(super) fn end(record: &RolloutRecord, why: &str) -> Cure {
        Cure::End { record: Box::new(record.clone()), why: why.to_owned() }
    }
}
