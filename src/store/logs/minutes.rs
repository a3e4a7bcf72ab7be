//! The numbers of each minute: added up as they come, and read for a span of time.

use std::fmt::Write as _;

use rusqlite::{Row, Transaction, params};

use super::read::LogReader;
use crate::store::StoreError;
use serin_core::lambda::log::{Minute, Series, Tally};
use serin_core::model::histogram::{BUCKETS, HistogramSnapshot};

/// Adds to what is known of a minute.
pub(super) fn add(
    transaction: &Transaction<'_>,
    minute: Minute,
    tallies: &[(Series, Tally)],
) -> rusqlite::Result<()> {
    for (series, tally) in tallies {
        let Series { function, qualifier, version } = series;
        let id: i64 = transaction
            .prepare_cached(
                "INSERT INTO series (function, qualifier, version) VALUES (?1, ?2, ?3)
                 ON CONFLICT DO UPDATE SET version = version RETURNING id",
            )?
            .query_row([function, qualifier, version], |row| row.get(0))?;
        let mut known = transaction.prepare_cached(
            "SELECT invocations, errors, throttles, sum_us, durations FROM minutes WHERE series = ?1 AND minute = ?2",
        )?;
        let mut rows = known.query(params![id, minute.0])?;
        let mut sum = match rows.next()? {
            Some(row) => read_tally(row, 0)?,
            None => Tally::default(),
        };
        sum.merge(tally);
        transaction
            .prepare_cached(
                "INSERT OR REPLACE INTO minutes (series, minute, invocations, errors, throttles, sum_us, durations)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
            )?
            .execute(params![
                id,
                minute.0,
                sum.invocations as i64,
                sum.errors as i64,
                sum.throttles as i64,
                i64::try_from(sum.duration.sum_us()).unwrap_or(i64::MAX),
                write_durations(&sum.duration),
            ])?;
    }
    Ok(())
}

impl LogReader {
    /// The numbers of a function in every minute of a span, its end left out, oldest first.
    ///
    /// Without a qualifier those of all, without a version those of all.
    pub fn minutes(
        &self,
        function: &str,
        qualifier: Option<&str>,
        version: Option<&str>,
        (from, until): (Minute, Minute),
    ) -> Result<Vec<(Minute, Tally)>, StoreError> {
        self.ask("read the numbers of a function", |connection| {
            let mut statement = connection.prepare_cached(
                "SELECT m.minute, m.invocations, m.errors, m.throttles, m.sum_us, m.durations
                 FROM series s JOIN minutes m ON m.series = s.id
                 WHERE s.function = ?1 AND (?2 IS NULL OR s.qualifier = ?2) AND (?3 IS NULL OR s.version = ?3)
                   AND m.minute >= ?4 AND m.minute < ?5
                 ORDER BY m.minute",
            )?;
            let values = params![function, qualifier, version, from.0, until.0];
            let rows = statement.query_map(values, |row| Ok((Minute(row.get(0)?), read_tally(row, 1)?)))?;
            rows.collect()
        })
    }

    /// Every series that has numbers in a minute from this one on, in order.
    pub fn series(&self, from: Minute) -> Result<Vec<Series>, StoreError> {
        self.ask("list what has numbers", |connection| {
            let mut statement = connection.prepare_cached(
                "SELECT function, qualifier, version FROM series s
                 WHERE EXISTS (SELECT 1 FROM minutes m WHERE m.series = s.id AND m.minute >= ?1)
                 ORDER BY function, qualifier, version",
            )?;
            let series = |row: &Row<'_>| {
                Ok(Series { function: row.get(0)?, qualifier: row.get(1)?, version: row.get(2)? })
            };
            statement.query_map([from.0], series)?.collect()
        })
    }
}

fn read_tally(row: &Row<'_>, first: usize) -> rusqlite::Result<Tally> {
    let count = |index: usize| Ok::<_, rusqlite::Error>(row.get::<_, i64>(first + index)?.max(0) as u64);
    let mut duration = read_durations(&row.get::<_, String>(first + 4)?);
    duration.add_sum_us(count(3)?);
    Ok(Tally { invocations: count(0)?, errors: count(1)?, throttles: count(2)?, duration })
}

fn write_durations(histogram: &HistogramSnapshot) -> String {
    let mut text = String::new();
    for bucket in 0..BUCKETS {
        let hits = histogram.hits(bucket);
        if hits > 0 {
            let comma = if text.is_empty() { "" } else { "," };
            let _ = write!(text, "{comma}{bucket}:{hits}");
        }
    }
    text
}

fn read_durations(text: &str) -> HistogramSnapshot {
    let mut histogram = HistogramSnapshot::default();
    for part in text.split(',') {
        let pair =
            part.split_once(':').and_then(|(bucket, hits)| Some((bucket.parse().ok()?, hits.parse().ok()?)));
        if let Some((bucket, hits)) = pair.filter(|(bucket, _)| *bucket < BUCKETS) {
            histogram.add(bucket, hits);
        }
    }
    histogram
}
