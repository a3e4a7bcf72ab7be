//! The chain: what shows that another hand than serin's changed what a person owns.
//!
//! Each journal entry has a link that carries digests of the entry and of the rows that were stored with it, under a key
//! that lies beside the store and in no database. Links are chained, and the newest is noted in a file beside the store
//! after each commit, so that a removed link shows wherever it was. Nothing is ever taken back: what `fsck --repair`
//! accepts is a further link. What is stored every few seconds without an entry is in no digest: evidence, counts,
//! clocks, what metrics said, and replies to idempotency keys.

mod check;
mod prune;
mod rows;

use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use hmac::{Hmac, KeyInit, Mac};
use rusqlite::{Connection, OptionalExtension, Row, Transaction, params};
use sha2::{Digest as _, Sha256};

pub(super) use check::{check, notes};
pub(super) use rows::{
    ALIASES, ENTRIES, EVENT_SOURCES, FUNCTIONS, Key, PLANS, POLICIES, REMEMBERED, ROLLOUTS, Sealed, Touched,
    VERSIONS, WATCHES,
};

use super::StoreError;
use crate::{chance, key_file};

/// The key's file within the data directory.
const KEY_FILE: &str = "chain.key";
/// The file that says which link is the newest; its length never changes.
///
/// It has two lines, written in turns, so that a write that a disk cut short leaves the other one whole.
pub(super) const HEAD_FILE: &str = "chain-head";
const MAC_BYTES: usize = 32;

/// What keyed digests are.
type Digest = [u8; MAC_BYTES];

/// A link's number and mac.
pub(super) type Head = (i64, Digest);

/// Nothing stood before the first link.
const BEFORE_ALL: Head = (0, [0; MAC_BYTES]);

/// The digest of one row; `None` where it was deleted.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct RowDigest {
    kind: String,
    key: String,
    digest: Option<Vec<u8>>,
}

/// A link as stored.
struct Link {
    link: i64,
    kind: String,
    seq: Option<i64>,
    digest: Option<Vec<u8>>,
    told: String,
    before: Vec<u8>,
    mac: Vec<u8>,
    pruned: Option<Vec<u8>>,
    bridge: Option<Vec<u8>>,
}

const LINKS: &str = "SELECT link, kind, seq, digest, told, before, mac, pruned, bridge FROM chain";

fn link_of(row: &Row<'_>) -> rusqlite::Result<Link> {
    Ok(Link {
        link: row.get(0)?,
        kind: row.get(1)?,
        seq: row.get(2)?,
        digest: row.get(3)?,
        told: row.get(4)?,
        before: row.get(5)?,
        mac: row.get(6)?,
        pruned: row.get(7)?,
        bridge: row.get(8)?,
    })
}

/// What the file beside the store says.
#[derive(Debug, PartialEq, Eq)]
enum Noted {
    Absent,
    Unreadable,
    Head(Head),
}

/// Makes links and knows them again.
pub(super) struct Chain {
    key: Hmac<Sha256>,
    is_fresh: bool,
    head: PathBuf,
    file: Option<File>,
}

impl Chain {
    /// With the key of a data directory, which is made if there is none.
    pub(super) fn of_directory(dir: &Path) -> Result<Chain, StoreError> {
        let taken = key_file::take(dir, KEY_FILE, chance::secret_bytes());
        let (key, is_fresh) =
            taken.map_err(StoreError::file("take the journal's key from", &dir.join(KEY_FILE)))?;
        Ok(Chain { is_fresh, ..Chain::with(&key, dir) })
    }

    /// With the key of a data directory, if there is one.
    fn to_check(dir: &Path) -> Result<Option<Chain>, StoreError> {
        let path = dir.join(KEY_FILE);
        if !path.exists() {
            return Ok(None);
        }
        let key = key_file::read(&path).map_err(StoreError::file("read the journal's key", &path))?;
        Ok(Some(Chain::with(&key, dir)))
    }

    fn with(key: &[u8], dir: &Path) -> Chain {
        let key = Hmac::new_from_slice(key).expect("HMAC takes keys of any length");
        Chain { key, is_fresh: false, head: dir.join(HEAD_FILE), file: None }
    }

    /// The keyed digest of parts, none of which can pass for another.
    fn mac(&self, what: &str, parts: &[&[u8]]) -> Digest {
        let mut mac = self.key.clone();
        for part in std::iter::once(what.as_bytes()).chain(parts.iter().copied()) {
            mac.update(&(part.len() as u64).to_be_bytes());
            mac.update(part);
        }
        mac.finalize().into_bytes().into()
    }

    fn link_mac(&self, link: &Link, rows: &[RowDigest]) -> Digest {
        let (number, seq) = (link.link.to_be_bytes(), link.seq.unwrap_or(0).to_be_bytes());
        let digest = link.digest.as_deref().unwrap_or_default();
        let mut parts: Vec<&[u8]> =
            vec![&number, link.kind.as_bytes(), &seq, digest, link.told.as_bytes(), &link.before];
        for row in rows {
            parts.extend([
                row.kind.as_bytes(),
                row.key.as_bytes(),
                row.digest.as_deref().unwrap_or_default(),
            ]);
        }
        self.mac("link", &parts)
    }

    /// Vouches that serin itself removed what was between two links.
    fn bridge(&self, from: &Head, link: i64, mac: &[u8]) -> Digest {
        self.mac("bridge", &[&from.0.to_be_bytes(), &from.1, &link.to_be_bytes(), mac])
    }

    /// Vouches that serin itself removed the entry of a link.
    fn pruned(&self, link: i64, mac: &[u8]) -> Digest {
        self.mac("pruned", &[&link.to_be_bytes(), mac])
    }

    /// Appends links for what a transaction wrote: one an entry, the rows with the last one.
    ///
    /// Without an entry only rows are told whose digest is not what it was; `None` where there is nothing to tell.
    pub(super) fn append(
        &self,
        transaction: &Transaction<'_>,
        entries: &[i64],
        touched: &Touched,
    ) -> Result<Option<Head>, StoreError> {
        let mut rows = Vec::new();
        for (kind, key) in touched.rows() {
            let digest = kind.digest_by_key(self, transaction, key)?;
            let name = key.to_string();
            // A plan that is pinned again is not written, and so not vouched for anew.
            if (entries.is_empty() || kind.kind == PLANS.kind)
                && last_digest(transaction, kind.kind, &name)? == digest
            {
                continue;
            }
            rows.push(RowDigest { kind: kind.kind.to_owned(), key: name, digest });
        }
        let Some((last, before)) = entries.split_last() else {
            return match rows.is_empty() {
                true => Ok(None),
                false => self.link(transaction, "note", None, "", rows).map(Some),
            };
        };
        for seq in before {
            self.link_entry(transaction, *seq, Vec::new())?;
        }
        self.link_entry(transaction, *last, rows).map(Some)
    }

    fn link_entry(
        &self,
        transaction: &Transaction<'_>,
        seq: i64,
        rows: Vec<RowDigest>,
    ) -> Result<Head, StoreError> {
        let digest = ENTRIES.digest_by_key(self, transaction, &Key::number(seq))?.unwrap_or_default();
        self.link(transaction, "entry", Some((seq, digest)), "", rows)
    }

    fn link(
        &self,
        transaction: &Transaction<'_>,
        kind: &str,
        entry: Option<(i64, Vec<u8>)>,
        told: &str,
        mut rows: Vec<RowDigest>,
    ) -> Result<Head, StoreError> {
        let failed = StoreError::sqlite("write the journal's chain");
        rows.sort();
        let (last, before) = last_head(transaction)?.unwrap_or((0, BEFORE_ALL.1.to_vec()));
        let (seq, digest) = entry.unzip();
        let mut link = Link {
            link: last.saturating_add(1),
            kind: kind.to_owned(),
            seq,
            digest,
            told: told.to_owned(),
            before,
            mac: Vec::new(),
            pruned: None,
            bridge: None,
        };
        let mac = self.link_mac(&link, &rows);
        link.mac = mac.to_vec();
        transaction
            .prepare_cached(
                "INSERT INTO chain (link, kind, seq, digest, told, before, mac) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
            )
            .and_then(|mut insert| {
                insert.execute(params![
                    link.link, link.kind, link.seq, link.digest, link.told, link.before, link.mac
                ])
            })
            .map_err(&failed)?;
        for row in rows {
            transaction
                .prepare_cached("INSERT INTO row_digests (kind, key, link, digest) VALUES (?1, ?2, ?3, ?4)")
                .and_then(|mut insert| insert.execute(params![row.kind, row.key, link.link, row.digest]))
                .map_err(&failed)?;
        }
        Ok((link.link, mac))
    }

    /// Takes the chain up where it ends, or begins one where there is none that this key made; tells what is wrong.
    ///
    /// To be committed, and then noted with `note`.
    pub(super) fn take_up(
        &mut self,
        transaction: &Transaction<'_>,
    ) -> Result<(Head, Option<String>), StoreError> {
        let noted = self.noted();
        let Some(last) = last_link(transaction)? else {
            if let Noted::Head((link @ 1.., _)) = noted {
                let why = format!("the chain of the journal is gone; it had {link} links");
                self.link(transaction, "break", None, &why, Vec::new())?;
                return Ok((self.anchor(transaction, &why)?, Some(why)));
            }
            self.prepare()?;
            let is_new = each_is_empty(transaction)?;
            let told = if is_new { MADE } else { "a serin that kept no chain wrote what was there before" };
            return Ok((self.anchor(transaction, told)?, None));
        };
        let is_ours = self.is_ours(transaction, &last)?;
        let anew = match (&noted, is_ours) {
            (Noted::Absent, true) => Some("a copy of a store was put here"),
            (Noted::Absent | Noted::Head((0, _)), false) => {
                Some("a copy of a store was put here whose key is not here")
            }
            _ if self.is_fresh => Some("its key was not here any more"),
            _ => None,
        };
        if let Some(told) = anew {
            self.prepare()?;
            let failed = StoreError::sqlite("begin the journal's chain anew");
            transaction.execute_batch("DELETE FROM row_digests; DELETE FROM chain").map_err(failed)?;
            return Ok((self.anchor(transaction, told)?, None));
        }
        let head = (last.link, last.mac.clone().try_into().unwrap_or(BEFORE_ALL.1));
        let why = if is_ours {
            behind(&noted, |link| mac_of(transaction, link), last.link)?
        } else {
            Some(format!("link {} of the journal's chain is not what serin wrote", last.link))
        };
        match why {
            None => Ok((head, None)),
            Some(why) => Ok((self.link(transaction, "break", None, &why, Vec::new())?, Some(why))),
        }
    }

    fn is_ours(&self, connection: &Connection, link: &Link) -> Result<bool, StoreError> {
        Ok(self.link_mac(link, &rows_of(connection, link.link)?)[..] == link.mac[..])
    }

    /// Vouches for everything as it is: a link for each entry, and one for all rows.
    fn anchor(&self, transaction: &Transaction<'_>, told: &str) -> Result<Head, StoreError> {
        let mut entries = Vec::new();
        let mut rows = Vec::new();
        let mut trouble = ENTRIES.each(self, transaction, |_, digest, row| {
            entries.push((row.get::<_, i64>(0).unwrap_or(0), digest));
        })?;
        for kind in Sealed::ALL {
            let unread = kind.each(self, transaction, |key, digest, _| {
                rows.push(RowDigest { kind: kind.kind.to_owned(), key, digest: Some(digest) });
            })?;
            trouble = trouble.or(unread);
        }
        for (seq, digest) in entries {
            self.link(transaction, "entry", Some((seq, digest)), "", Vec::new())?;
        }
        let told = trouble.map_or_else(|| told.to_owned(), |why| format!("{told}; {why}"));
        self.link(transaction, "anchor", None, &told, rows)
    }

    /// What the file beside the store says.
    fn noted(&self) -> Noted {
        let text = match std::fs::read_to_string(&self.head) {
            Ok(text) => text,
            Err(why) if why.kind() == std::io::ErrorKind::NotFound => return Noted::Absent,
            Err(_) => return Noted::Unreadable,
        };
        let heads = text.lines().filter_map(|line| {
            let (head, check) = line.rsplit_once(' ')?;
            let (link, mac) = head.split_once(' ')?;
            let mac = (0..MAC_BYTES).map(|at| u8::from_str_radix(mac.get(2 * at..2 * at + 2)?, 16).ok());
            let head = (link.parse().ok()?, mac.collect::<Option<Vec<u8>>>()?.try_into().ok()?);
            (check == sum_of(&head)).then_some(head)
        });
        heads.max_by_key(|(link, _)| *link).map_or(Noted::Unreadable, Noted::Head)
    }

    /// Makes the file, so that a chain that begins is not taken for one that was put here.
    fn prepare(&self) -> Result<(), StoreError> {
        let failed = || StoreError::file("note the journal's newest link in", &self.head);
        let dir = self.head.parent().unwrap_or(Path::new("."));
        let write = || {
            let mut draft = tempfile::NamedTempFile::with_prefix_in(".chain-", dir)?;
            draft.write_all(written(&BEFORE_ALL).repeat(2).as_bytes())?;
            draft.as_file().sync_all()?;
            draft.persist(&self.head)?;
            File::open(dir)?.sync_all()
        };
        write().map_err(failed())
    }

    /// Notes beside the store which link is the newest, once that is committed.
    ///
    /// It is not synced, and may fail: a note that is behind is no harm, for nobody else can make the links after it.
    pub(super) fn note(&mut self, head: &Head) {
        let line = written(head);
        let at = |number: i64| (number % 2) as u64 * line.len() as u64;
        if self.file.is_none() {
            let mut options = OpenOptions::new();
            options.write(true).create(true).truncate(false).mode(0o600).custom_flags(libc::O_NOFOLLOW);
            // After a break both lines may name links that are no more.
            let noted = |file: &File| file.write_all_at(line.as_bytes(), at(head.0 + 1));
            self.file = options.open(&self.head).ok().filter(|file| noted(file).is_ok());
        }
        if let Some(file) = &self.file
            && file.write_all_at(line.as_bytes(), at(head.0)).is_err()
        {
            self.file = None;
        }
    }
}

/// Why a chain that was begun with its store was.
const MADE: &str = "the store was made";

fn written(head: &Head) -> String {
    let mac: String = head.1.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{:020} {mac} {}\n", head.0, sum_of(head))
}

/// Tells a line that was written to its end.
fn sum_of((link, mac): &Head) -> String {
    let sum = Sha256::new().chain_update(link.to_be_bytes()).chain_update(mac).finalize();
    sum[..4].iter().map(|byte| format!("{byte:02x}")).collect()
}

/// What is wrong with a chain that ends at `last`, by what is noted of its newest link.
fn behind(
    noted: &Noted,
    mac_of: impl FnOnce(i64) -> Result<Option<Vec<u8>>, StoreError>,
    last: i64,
) -> Result<Option<String>, StoreError> {
    Ok(match noted {
        Noted::Absent => None,
        Noted::Unreadable => {
            Some(format!("the file {HEAD_FILE}, which notes the newest link, cannot be read"))
        }
        Noted::Head((link, _)) if *link > last => Some(format!(
            "the chain of the journal ends at link {last}, and had {link}: the newest entries are missing, or an older \
             copy was put in the store's place"
        )),
        // Links before the newest one may have been pruned since it was noted.
        Noted::Head((link, mac)) => mac_of(*link)?
            .filter(|found| *link > 0 && found[..] != mac[..])
            .map(|_| format!("link {link} of the journal's chain is not the one that serin wrote")),
    })
}

fn mac_of(connection: &Connection, link: i64) -> Result<Option<Vec<u8>>, StoreError> {
    connection
        .query_row("SELECT mac FROM chain WHERE link = ?1", [link], |row| row.get(0))
        .optional()
        .map_err(StoreError::sqlite("read the journal's chain"))
}

fn last_head(connection: &Connection) -> Result<Option<(i64, Vec<u8>)>, StoreError> {
    connection
        .prepare_cached("SELECT link, mac FROM chain ORDER BY link DESC LIMIT 1")
        .and_then(|mut last| last.query_row([], |row| Ok((row.get(0)?, row.get(1)?))).optional())
        .map_err(StoreError::sqlite("read the journal's chain"))
}

fn last_link(connection: &Connection) -> Result<Option<Link>, StoreError> {
    connection
        .query_row(&format!("{LINKS} ORDER BY link DESC LIMIT 1"), [], link_of)
        .optional()
        .map_err(StoreError::sqlite("read the journal's chain"))
}

fn last_digest(connection: &Connection, kind: &str, key: &str) -> Result<Option<Vec<u8>>, StoreError> {
    connection
        .prepare_cached(
            "SELECT digest FROM row_digests WHERE kind = ?1 AND key = ?2 ORDER BY link DESC LIMIT 1",
        )
        .and_then(|mut last| last.query_row([kind, key], |row| row.get(0)).optional())
        .map(Option::flatten)
        .map_err(StoreError::sqlite("read the journal's chain"))
}

fn rows_of(connection: &Connection, link: i64) -> Result<Vec<RowDigest>, StoreError> {
    let failed = StoreError::sqlite("read the journal's chain");
    let sql = "SELECT kind, key, digest FROM row_digests WHERE link = ?1 ORDER BY kind, key";
    let mut statement = connection.prepare(sql).map_err(&failed)?;
    let rows = statement
        .query_map([link], |row| Ok(RowDigest { kind: row.get(0)?, key: row.get(1)?, digest: row.get(2)? }));
    rows.and_then(Iterator::collect).map_err(&failed)
}

fn each_is_empty(connection: &Connection) -> Result<bool, StoreError> {
    let sql = "SELECT NOT EXISTS (SELECT 1 FROM events) AND NOT EXISTS (SELECT 1 FROM functions)";
    connection
        .query_row(sql, [], |row| row.get(0))
        .map_err(StoreError::sqlite("look whether the store is new"))
}
