//! The counts of a rollout, kept in blocks for `serin history --counts`, small enough to keep for as long as its history.
//!
//! Blocks last a second at first; after a quarter of an hour, a nine-hundredth of the time the daemon has watched. So a
//! rollout of an hour keeps about two thousand of them, one of a month eight thousand, at some thirty bytes each. They
//! are stored in rows of at most `ROW_BLOCKS`; the newest rows are written again with every checkpoint until they are
//! full, the block under way included, so that the end of a rollout loses nothing. After a restart a new row begins.

use std::fmt::Write;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::dispersion::Learnt;
use super::{Arms, Counts};
use crate::lambda::function::Revision;
use crate::model::time::Uptime;
use crate::model::weight::Weight;

const LENGTH_MIN: Duration = Duration::from_secs(1);
/// So many blocks fit into the time watched.
const LENGTH_SHARE: u32 = 900;
const ROW_BLOCKS: usize = 32;
/// A full row is written again until the next one has as many: some checkpoints have passed then.
const AGAIN_BLOCKS: usize = 16;
/// Without a look for longer than this, nothing came in between.
const REST: Duration = Duration::from_millis(200);
/// When counts begin to move after a rest, they began at most this long before.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// What was counted of the stable version before the first block; faded counts need not be whole.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Prior {
    /// Requests.
    pub requests: f64,
    /// Of these, the ones that failed.
    pub failures: f64,
    /// How unevenly they did, at least 1; what was stored before this was kept does not tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dispersion: Option<f64>,
    /// What that rests on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub learnt: Option<Learnt>,
}

/// Counts of both versions over one stretch of time at one weight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kept {
    /// When the stretch ends; it begins where the one before ended.
    pub until: Uptime,
    /// The canary's share.
    pub weight: Weight,
    /// The counts.
    pub arms: Arms,
}

/// The counts of one rollout since the daemon started.
#[derive(Clone, Debug)]
pub struct Ledger {
    watched_since: Uptime,
    looked: Uptime,
    /// The block under way: since when, at which weight, and what came.
    since: Uptime,
    open: Option<(Revision, Weight, Arms)>,
    full: Option<Row>,
    row: Row,
}

/// Blocks that are stored together.
#[derive(Clone, Debug)]
struct Row {
    start: Uptime,
    prior: Option<Prior>,
    blocks: Vec<Kept>,
}

/// A row as it is stored: its start is its key, the text is its blocks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredRow {
    /// Where its first block begins.
    pub start: Uptime,
    /// A line a block: milliseconds of uptime, parts per million, and the four counts.
    pub text: String,
}

impl Ledger {
    /// Begins to keep; `prior` only where the rollout begins.
    pub fn begin(at: Uptime, prior: Option<Prior>) -> Ledger {
        Ledger {
            watched_since: at,
            looked: at,
            since: at,
            open: None,
            full: None,
            row: Row { start: at, prior, blocks: Vec::new() },
        }
    }

    /// Adds what came since the last look, oldest epoch first.
    pub fn note(&mut self, at: Uptime, blocks: impl Iterator<Item = (Revision, Weight, Arms)>) {
        if at.since(self.looked) > REST {
            self.rest_until(Uptime(at.0.saturating_sub(LOOK_EVERY.as_millis() as u64)));
        }
        for (epoch, weight, arms) in blocks {
            match &mut self.open {
                Some((open, _, sum)) if *open == epoch => *sum = sum.plus(arms),
                // A late answer of an earlier weight: a block without length.
                Some((open, ..)) if *open > epoch => {
                    if !arms.is_empty() {
                        self.keep(self.since, weight, arms);
                    }
                }
                _ => {
                    self.close(at);
                    self.open = Some((epoch, weight, arms));
                }
            }
        }
        if at.since(self.since) >= self.length(at) {
            self.close(at);
        }
        self.looked = at;
    }

    /// The rows that may have changed since they were stored last.
    pub fn rows(&self) -> Vec<StoredRow> {
        let mut last = self.row.clone();
        if let Some((_, weight, arms)) = self.open.filter(|(.., arms)| !arms.is_empty()) {
            last.blocks.push(Kept { until: self.looked, weight, arms });
        }
        let rows = self.full.iter().chain([&last]);
        rows.filter(|row| !row.blocks.is_empty() || row.prior.is_some()).map(Row::stored).collect()
    }

    fn length(&self, at: Uptime) -> Duration {
        LENGTH_MIN.max(at.since(self.watched_since) / LENGTH_SHARE)
    }

    /// Ends the block under way where counts last moved, and one of nothing where they begin again.
    fn rest_until(&mut self, until: Uptime) {
        self.close(self.looked);
        if let Some((_, weight, _)) = self.open
            && until.since(self.since) >= LENGTH_MIN
        {
            self.keep(until, weight, Arms::default());
            self.since = until;
        }
    }

    /// Ends the block under way, if anything came in it.
    fn close(&mut self, at: Uptime) {
        if let Some((epoch, weight, arms)) = self.open
            && !arms.is_empty()
        {
            self.keep(at, weight, arms);
            self.open = Some((epoch, weight, Arms::default()));
            self.since = at;
        }
    }

    fn keep(&mut self, until: Uptime, weight: Weight, arms: Arms) {
        if self.row.blocks.len() >= ROW_BLOCKS {
            let next = Row { start: self.since, prior: None, blocks: Vec::new() };
            self.full = Some(std::mem::replace(&mut self.row, next));
        }
        self.row.blocks.push(Kept { until, weight, arms });
        if self.row.blocks.len() >= AGAIN_BLOCKS {
            self.full = None;
        }
    }
}

impl Row {
    fn stored(&self) -> StoredRow {
        let mut text = String::new();
        let mut line = |arguments: std::fmt::Arguments<'_>| {
            text.write_fmt(arguments).expect("a string takes whatever is written");
        };
        if let Some(Prior { requests, failures, dispersion, learnt }) = self.prior {
            let dispersion = dispersion.map_or_else(String::new, |dispersion| format!(" {dispersion}"));
            let learnt = learnt.map_or_else(String::new, |learnt| {
                <[f64; 5]>::from(learnt).iter().map(|number| format!(" {number}")).collect()
            });
            line(format_args!("prior {requests} {failures}{dispersion}{learnt}\n"));
        }
        for Kept { until, weight, arms: Arms { canary, stable } } in &self.blocks {
            line(format_args!(
                "{} {} {} {} {} {}\n",
                until.0,
                weight.ppm(),
                canary.requests,
                canary.failures,
                stable.requests,
                stable.failures
            ));
        }
        StoredRow { start: self.start, text }
    }
}

/// A rollout's counts, whole: what came before, where the first block begins, and the blocks.
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    /// The stable version's traffic before.
    pub prior: Option<Prior>,
    /// Where the first block begins.
    pub began: Uptime,
    /// The blocks in order; where nobody counted, between a kill and the boot after it, is a block of nothing.
    pub blocks: Vec<Kept>,
}

/// Reads stored rows, in the order of their starts; `None` without any, or where one is not as it was written.
pub fn read(rows: &[StoredRow]) -> Option<Record> {
    let mut record = Record { prior: None, began: rows.first()?.start, blocks: Vec::new() };
    for row in rows {
        let last = record.blocks.last().map_or(record.began, |kept| kept.until);
        let mut blocks = Vec::new();
        for line in row.text.lines() {
            match line.strip_prefix("prior ") {
                Some(prior) => {
                    record.prior = Some(read_prior(prior)?);
                }
                None => blocks.push(read_block(line)?),
            }
        }
        if let Some(first) = blocks.first().filter(|_| row.start > last) {
            let (weight, arms) = (first.weight, Arms::default());
            record.blocks.push(Kept { until: row.start, weight, arms });
        }
        record.blocks.extend(blocks);
    }
    Some(record)
}

fn read_prior(line: &str) -> Option<Prior> {
    let numbers: Vec<f64> = line.split(' ').map(|number| number.parse().ok()).collect::<Option<_>>()?;
    let prior = |requests, failures| Prior { requests, failures, ..Prior::default() };
    match numbers[..] {
        [requests, failures] => Some(prior(requests, failures)),
        [requests, failures, phi] => Some(Prior { dispersion: Some(phi), ..prior(requests, failures) }),
        [requests, failures, phi, a, b, c, d, e] => {
            let learnt = Some(Learnt::from([a, b, c, d, e]));
            Some(Prior { dispersion: Some(phi), learnt, ..prior(requests, failures) })
        }
        _ => None,
    }
}

fn read_block(line: &str) -> Option<Kept> {
    let mut numbers = line.split(' ').map(str::parse::<u64>);
    let mut next = || numbers.next()?.ok();
    let (until, ppm) = (Uptime(next()?), u32::try_from(next()?).ok()?);
    let canary = Counts { requests: next()?, failures: next()? };
    let stable = Counts { requests: next()?, failures: next()? };
    Some(Kept { until, weight: Weight::from_ppm(ppm)?, arms: Arms { canary, stable } })
}

#[cfg(test)]
mod tests {
    use super::*;

    const THREE: Weight = Weight::from_ppm(30_000).unwrap();
    const FIVE: Weight = Weight::from_ppm(50_000).unwrap();

    fn arms(canary: u64, failed: u64, stable: u64) -> Arms {
        Arms {
            canary: Counts { requests: canary, failures: failed },
            stable: Counts { requests: stable, failures: 0 },
        }
    }

    /// What a store would have after writing the rows at every look.
    #[derive(Default)]
    struct Shelf(Vec<StoredRow>);

    impl Shelf {
        fn store(&mut self, rows: Vec<StoredRow>) {
            for row in rows {
                match self.0.iter_mut().find(|known| known.start == row.start) {
                    Some(known) => *known = row,
                    None => self.0.push(row),
                }
            }
        }
    }

    #[test]
    fn blocks_last_a_second_and_every_count_is_in_one() {
        let learnt = Some(Learnt::from([600.0, 31.5, 20.0, 30.0, 20.0]));
        let prior = Prior { requests: 8700.0, failures: 8.7, dispersion: Some(1.25), learnt };
        let mut ledger = Ledger::begin(Uptime(500), Some(prior));
        let mut shelf = Shelf::default();
        for look in 1..=1000_u64 {
            let epoch = if look <= 500 { (Revision(1), THREE) } else { (Revision(2), FIVE) };
            ledger.note(Uptime(500 + look * 100), [(epoch.0, epoch.1, arms(1, 0, 9))].into_iter());
            shelf.store(ledger.rows());
        }
        let record = read(&shelf.0).unwrap();
        assert_eq!(record.prior, Some(prior));
        let before = |text: &str| {
            let text = shelf.0[0].text.replace(" 1.25 600 31.5 20 30 20\n", text);
            read(&[StoredRow { text, ..shelf.0[0].clone() }]).unwrap().prior
        };
        assert_eq!(before("\n"), Some(Prior { dispersion: None, learnt: None, ..prior }));
        assert_eq!(before(" 1.25\n"), Some(Prior { learnt: None, ..prior }));
        assert_eq!((record.began, record.blocks.len()), (Uptime(500), 100));
        let sum = record.blocks.iter().fold(Arms::default(), |sum, kept| sum.plus(kept.arms));
        assert_eq!(sum, arms(1000, 0, 9000));
        assert!(record.blocks.windows(2).all(|pair| pair[0].until <= pair[1].until));
    }

    #[test]
    fn late_answers_have_no_length_and_rests_are_blocks_of_nothing() {
        let mut ledger = Ledger::begin(Uptime(0), None);
        ledger.note(Uptime(100), [(Revision(1), THREE, arms(1, 0, 9))].into_iter());
        ledger.note(
            Uptime(200),
            [(Revision(1), THREE, arms(0, 0, 0)), (Revision(2), FIVE, arms(1, 0, 1))].into_iter(),
        );
        ledger.note(
            Uptime(300),
            [(Revision(1), THREE, arms(0, 1, 0)), (Revision(2), FIVE, arms(1, 0, 1))].into_iter(),
        );
        ledger.note(Uptime(9_000), [(Revision(2), FIVE, arms(1, 0, 1))].into_iter());
        let record = read(&ledger.rows()).unwrap();
        let of = |until: u64, weight: Weight, arms: Arms| Kept { until: Uptime(until), weight, arms };
        assert_eq!(
            record.blocks,
            [
                of(200, THREE, arms(1, 0, 9)),
                of(200, THREE, arms(0, 1, 0)),
                of(300, FIVE, arms(2, 0, 2)),
                of(8_900, FIVE, Arms::default()),
                of(9_000, FIVE, arms(1, 0, 1)),
            ]
        );
    }

    #[test]
    fn a_restart_goes_on_in_a_row_of_its_own() {
        let mut shelf = Shelf::default();
        for boot in [0_u64, 60_000] {
            let mut ledger = Ledger::begin(Uptime(boot), None);
            for look in 1..=20 {
                ledger.note(Uptime(boot + look * 100), [(Revision(1), THREE, arms(1, 0, 9))].into_iter());
            }
            shelf.store(ledger.rows());
        }
        let record = read(&shelf.0).unwrap();
        let ends: Vec<u64> = record.blocks.iter().map(|kept| kept.until.0).collect();
        assert_eq!(ends, [1_000, 2_000, 60_000, 61_000, 62_000]);
        assert!(record.blocks[2].arms.is_empty());
    }

    #[test]
    fn a_month_keeps_a_few_thousand_blocks() {
        let mut ledger = Ledger::begin(Uptime(0), None);
        let mut blocks = 0;
        let mut before = 0;
        for second in 1..=30 * 24 * 3600_u64 {
            // Looks ten times a second would close the same blocks.
            ledger.looked = Uptime(second * 1000 - 100);
            ledger.note(Uptime(second * 1000), [(Revision(1), THREE, arms(1, 0, 9))].into_iter());
            let now = ledger.row.blocks.len();
            blocks += if now >= before { now - before } else { now };
            before = now;
        }
        assert!((7_000..10_000).contains(&blocks), "{blocks}");
    }

    #[test]
    fn what_was_not_written_here_is_not_read() {
        assert_eq!(read(&[]), None);
        for text in
            ["1 2 3\n", "x\n", "1 30000 1 0 9 zero\n", "1 2000000 1 0 9 0\n", "prior 1\n", "prior 1 2 3 4\n"]
        {
            assert_eq!(read(&[StoredRow { start: Uptime(0), text: text.to_owned() }]), None, "{text}");
        }
    }
}
