//! What pruning does to the chain: it says of what it removed that it did, and lets go of links that vouch for nothing.

use std::collections::BTreeSet;

use rusqlite::{OptionalExtension, Transaction, params};

use super::super::StoreError;
use super::{BEFORE_ALL, Chain, Head, RowDigest, Sealed, last_head};

impl Chain {
    /// Vouches for the removal of entries and rows, and removes up to `batch` links that vouch for nothing any more.
    ///
    /// Each link after removed ones is bridged to the one before them, so that nobody else can remove any. Gives the
    /// newest link, which always stays.
    pub(in crate::store) fn prune(
        &self,
        transaction: &Transaction<'_>,
        entries: &[i64],
        rows: &[(&'static Sealed, super::Key)],
        batch: u32,
    ) -> Result<Option<Head>, StoreError> {
        let failed = StoreError::sqlite("prune the journal's chain");
        for seq in entries {
            let link: Option<(i64, Vec<u8>)> = transaction
                .prepare_cached("SELECT link, mac FROM chain WHERE seq = ?1")
                .and_then(|mut link| link.query_row([seq], |row| Ok((row.get(0)?, row.get(1)?))).optional())
                .map_err(&failed)?;
            if let Some((link, mac)) = link {
                transaction
                    .prepare_cached("UPDATE chain SET pruned = ?2 WHERE link = ?1")
                    .and_then(|mut mark| mark.execute(params![link, self.pruned(link, &mac)]))
                    .map_err(&failed)?;
            }
        }
        if !rows.is_empty() {
            let gone = rows.iter().map(|(kind, key)| RowDigest {
                kind: kind.kind.to_owned(),
                key: key.to_string(),
                digest: None,
            });
            self.link(transaction, "prune", None, "", gone.collect())?;
        }
        self.let_go(transaction, batch)?;
        let Some((link, mac)) = last_head(transaction)? else { return Ok(None) };
        Ok(mac.try_into().ok().map(|mac| (link, mac)))
    }

    fn let_go(&self, transaction: &Transaction<'_>, batch: u32) -> Result<(), StoreError> {
        let failed = StoreError::sqlite("prune the journal's chain");
        let numbers = |sql: &str, values: &[&dyn rusqlite::ToSql]| -> Result<Vec<i64>, StoreError> {
            let mut statement = transaction.prepare_cached(sql).map_err(&failed)?;
            let rows = statement.query_map(values, |row| row.get(0));
            rows.and_then(Iterator::collect).map_err(&failed)
        };
        // A digest counts while there is no later one of its row; that a row is gone, while an earlier one is there.
        let free = numbers(
            "SELECT link FROM chain c
             WHERE (pruned IS NOT NULL OR kind IN ('note', 'prune')) AND link < (SELECT max(link) FROM chain)
                AND NOT EXISTS (
                    SELECT 1 FROM row_digests d WHERE d.link = c.link
                       AND NOT EXISTS (SELECT 1 FROM row_digests l
                                       WHERE l.kind = d.kind AND l.key = d.key AND l.link > d.link)
                       AND (d.digest IS NOT NULL
                            OR EXISTS (SELECT 1 FROM row_digests e
                                       WHERE e.kind = d.kind AND e.key = d.key AND e.link < d.link)))
             ORDER BY link LIMIT ?1",
            params![batch],
        )?;
        let mut after = BTreeSet::new();
        for link in &free {
            transaction
                .prepare_cached("DELETE FROM chain WHERE link = ?1")
                .and_then(|mut delete| delete.execute([link]))
                .map_err(&failed)?;
        }
        for link in &free {
            after.extend(numbers(
                "SELECT link FROM chain WHERE link > ?1 ORDER BY link LIMIT 1",
                params![link],
            )?);
        }
        for link in after {
            let sql = "SELECT link, mac FROM chain WHERE link < ?1 ORDER BY link DESC LIMIT 1";
            let from: Option<(i64, Vec<u8>)> = transaction
                .query_row(sql, [link], |row| Ok((row.get(0)?, row.get(1)?)))
                .optional()
                .map_err(&failed)?;
            let from = match from {
                Some((link, mac)) => (link, mac.try_into().unwrap_or(BEFORE_ALL.1)),
                None => BEFORE_ALL,
            };
            let mac = super::mac_of(transaction, link)?.unwrap_or_default();
            transaction
                .execute(
                    "UPDATE chain SET bridge = ?2 WHERE link = ?1",
                    params![link, self.bridge(&from, link, &mac)],
                )
                .map_err(&failed)?;
        }
        Ok(())
    }
}
