//! Entries of the journal, a line each.

use serin_core::journal::narrate;
use serin_core::journal::{Entry, fold};

/// Entries that are read are written the same, told in words, and fold into aliases of their own names.
pub(super) fn run(data: &[u8]) {
    let entries: Vec<Entry> =
        data.split(|byte| *byte == b'\n').filter_map(super::is_written_as_it_is_read).collect();
    for entry in &entries {
        assert!(!narrate::sentence(entry).is_empty());
        assert_eq!(entry.alias_id().is_some(), entry.alias.is_some());
    }
    for (id, alias) in fold(&entries) {
        assert_eq!(id, alias.id);
    }
}
