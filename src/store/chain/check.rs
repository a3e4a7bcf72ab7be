//! Checking a store against its chain, and accepting what was found.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use rusqlite::{Connection, Transaction};

use super::super::StoreError;
use super::super::rows::{Scan, optional_bytes, text};
use super::{
    BEFORE_ALL, Chain, ENTRIES, Head, LINKS, Link, MADE, Noted, RowDigest, Sealed, behind, last_link, link_of,
};

/// What the chain does not vouch for, and how `--repair` accepts it.
#[derive(Default)]
pub(in crate::store) struct Unsealed {
    /// Each in a sentence.
    pub(in crate::store) findings: Vec<String>,
    /// Whether a repair has accepted that entries are missing or are somebody else's.
    pub(in crate::store) has_gaps: bool,
    rows: Vec<RowDigest>,
    entries: Vec<i64>,
}

/// The last word on a row, and the link that says it.
type Words = HashMap<(String, String), (i64, Option<Vec<u8>>)>;

struct Checking<'a> {
    chain: &'a Chain,
    unsealed: Unsealed,
    words: Words,
    /// The entry by which a link came, for people.
    entries: BTreeMap<i64, i64>,
}

/// What is not wrong with a chain, but should be known: where it begins, and why.
pub(in crate::store) fn notes(connection: &Connection, dir: &Path) -> Result<Vec<String>, StoreError> {
    if !is_there(connection) {
        return Ok(vec!["the journal has no chain yet; it begins at the next start of serin".to_owned()]);
    }
    let Some(last) = last_link(connection)? else {
        return Ok(vec!["the journal has no chain yet; it begins at the next start of serin".to_owned()]);
    };
    let mut notes = Vec::new();
    let mut statement = connection
        .prepare(
            "SELECT told, (SELECT max(seq) FROM chain e WHERE e.link < c.link) FROM chain c
             WHERE kind = 'anchor' ORDER BY link",
        )
        .map_err(StoreError::sqlite("read the journal's chain"))?;
    let anchors =
        statement.query_map([], |row| Ok((row.get::<_, String>(0)?, row.get::<_, Option<i64>>(1)?)));
    let anchors = anchors.and_then(Iterator::collect::<Result<Vec<_>, _>>);
    for (told, seq) in anchors.map_err(StoreError::sqlite("read the journal's chain"))? {
        if told != MADE {
            let after = seq.map_or_else(String::new, |seq| format!(" after journal entry {seq}"));
            notes.push(format!(
                "the chain of the journal begins anew{after}, and vouches for nothing before: {told}"
            ));
        }
    }
    let chain = Chain::to_check(dir)?;
    let is_ours = chain.as_ref().map(|chain| chain.is_ours(connection, &last)).transpose()?;
    let is_copy = chain.as_ref().is_none_or(|chain| is_put_here(&chain.noted(), is_ours == Some(true)));
    if is_copy {
        let by = if is_ours == Some(true) {
            ""
        } else {
            " made with a key that is not here, and so cannot be checked,"
        };
        notes.push(format!(
            "the chain of this store is a copy's{by} and begins anew at the next start of serin"
        ));
    }
    Ok(notes)
}

/// Whether serin begins the chain anew when it starts on this.
fn is_put_here(noted: &Noted, is_ours: bool) -> bool {
    match noted {
        Noted::Absent => true,
        Noted::Head((0, _)) => !is_ours,
        Noted::Head(_) | Noted::Unreadable => false,
    }
}

fn is_there(connection: &Connection) -> bool {
    connection.prepare("SELECT link FROM chain").is_ok()
        && connection.prepare("SELECT link FROM row_digests").is_ok()
}

/// Compares every entry and every row that a person owns with what the chain says of it.
pub(in crate::store) fn check(connection: &Connection, dir: &Path) -> Result<Unsealed, StoreError> {
    let Some(chain) = Chain::to_check(dir)? else { return Ok(Unsealed::default()) };
    if !is_there(connection) {
        return Ok(Unsealed::default());
    }
    let noted = chain.noted();
    let Some(last) = last_link(connection)? else {
        let mut unsealed = Unsealed::default();
        if let Noted::Head((link @ 1.., _)) = noted {
            unsealed.findings.push(format!("the chain of the journal is gone; it had {link} links"));
        }
        return Ok(unsealed);
    };
    let is_ours = chain.is_ours(connection, &last)?;
    if is_put_here(&noted, is_ours) && !is_ours {
        return Ok(Unsealed::default());
    }
    let mut checking = Checking {
        chain: &chain,
        unsealed: Unsealed::default(),
        words: Words::new(),
        entries: BTreeMap::new(),
    };
    let links = checking.links(connection)?;
    checking.entries(connection, &links)?;
    checking.rows(connection)?;
    let mac_of =
        |number| Ok(links.iter().find(|(link, _)| link.link == number).map(|(link, _)| link.mac.clone()));
    let is_gap = |kind: &str| [ENTRIES.kind, "gap", "break"].contains(&kind);
    checking.unsealed.has_gaps = checking.words.keys().any(|(kind, _)| is_gap(kind));
    let wrong = behind(&noted, mac_of, last.link)?;
    checking.unsealed.findings.extend(wrong);
    Ok(checking.unsealed)
}

impl Checking<'_> {
    fn say(&mut self, text: String) {
        self.unsealed.findings.push(text);
    }

    /// Says something, unless a later repair has accepted it as it is.
    fn say_unless_accepted(&mut self, kind: &str, key: String, digest: Option<Vec<u8>>, text: String) {
        let id = (kind.to_owned(), key);
        if self.words.get(&id).is_some_and(|(_, accepted)| *accepted == digest) {
            return;
        }
        self.unsealed.rows.push(RowDigest { kind: id.0, key: id.1, digest });
        self.say(text);
    }

    /// Reads the links, learns what they say, and checks that none was changed, added or removed.
    fn links(&mut self, connection: &Connection) -> Result<Vec<(Link, Vec<RowDigest>)>, StoreError> {
        let mut rows: HashMap<i64, Vec<RowDigest>> = HashMap::new();
        let scan = Scan {
            select: "SELECT kind, key, link, digest FROM row_digests",
            keys: &["kind", "key", "link"],
            what: "digests of rows",
        };
        let trouble = scan.rows(connection, |row| {
            let link = row.get(2).unwrap_or(0);
            rows.entry(link).or_default().push(RowDigest {
                kind: text(row, 0).unwrap_or_default(),
                key: text(row, 1).unwrap_or_default(),
                digest: optional_bytes(row, 3).unwrap_or_default(),
            });
        })?;
        trouble.into_iter().for_each(|why| self.say(why));
        let mut links = Vec::new();
        let mut unreadable = Vec::new();
        let trouble = Scan { select: LINKS, keys: &["link"], what: "links of the journal's chain" }.rows(
            connection,
            |row| match link_of(row) {
                Ok(link) => links.push(link),
                Err(why) => unreadable.push(format!("a link of the journal's chain cannot be read: {why}")),
            },
        )?;
        trouble.into_iter().chain(unreadable).for_each(|why| self.say(why));
        links.sort_by_key(|link| link.link);
        let mut all = Vec::new();
        for link in links {
            let mut rows = rows.remove(&link.link).unwrap_or_default();
            rows.sort();
            all.push((link, rows));
        }
        for number in rows.into_keys() {
            self.say(format!(
                "digests of rows name link {number} of the journal's chain, which is not there"
            ));
        }
        let mut seq = 0;
        for (link, rows) in &all {
            seq = link.seq.unwrap_or(seq);
            self.entries.insert(link.link, seq);
            for row in rows {
                self.words.insert((row.kind.clone(), row.key.clone()), (link.link, row.digest.clone()));
            }
        }
        let mut before: Head = BEFORE_ALL;
        for (link, rows) in &all {
            let mac = self.chain.link_mac(link, rows);
            let number = link.link;
            if mac[..] != link.mac[..] {
                let as_it_is = self.chain.mac("accepted", &[&mac, &link.mac, &link.before]).to_vec();
                let text = format!(
                    "link {number} of the journal's chain{} is not what serin wrote",
                    link.seq.map_or_else(String::new, |seq| format!(", that of entry {seq},"))
                );
                self.say_unless_accepted("link", number.to_string(), Some(as_it_is), text);
            }
            let bridge = self.chain.bridge(&before, number, &link.mac);
            let follows = link.before[..] == before.1 && number == before.0 + 1;
            if !follows && link.bridge.as_deref() != Some(&bridge[..]) {
                let text = format!(
                    "before link {number} of the journal's chain others are missing, or are not those that were there"
                );
                self.say_unless_accepted("gap", number.to_string(), Some(bridge.to_vec()), text);
            }
            if link.kind == "break" {
                self.say_unless_accepted("break", number.to_string(), Some(vec![1]), link.told.clone());
            }
            before = (number, link.mac.clone().try_into().unwrap_or(BEFORE_ALL.1));
        }
        Ok(all)
    }

    /// Each entry is what its link says, and each link that was not pruned has its entry.
    fn entries(
        &mut self,
        connection: &Connection,
        links: &[(Link, Vec<RowDigest>)],
    ) -> Result<(), StoreError> {
        let mut there: BTreeMap<i64, Vec<u8>> = BTreeMap::new();
        // What cannot be read has been told of already.
        ENTRIES.each(self.chain, connection, |_, digest, row| {
            there.insert(row.get(0).unwrap_or(0), digest);
        })?;
        for (link, _) in links {
            let Some(seq) = link.seq else { continue };
            let found = there.remove(&seq);
            let is_pruned = link.pruned.as_deref() == Some(&self.chain.pruned(link.link, &link.mac)[..]);
            let text = match &found {
                None if is_pruned => continue,
                None => format!("journal entry {seq} is missing, and serin has not removed it"),
                Some(_) if found == link.digest => continue,
                Some(_) => format!(
                    "journal entry {seq} is not what serin wrote: another hand or a damaged disk changed it"
                ),
            };
            self.say_unless_accepted(ENTRIES.kind, format!("[{seq}]"), found, text);
        }
        for (seq, digest) in there {
            let id = (ENTRIES.kind.to_owned(), format!("[{seq}]"));
            if self.words.get(&id).is_some_and(|(_, accepted)| accepted.as_ref() == Some(&digest)) {
                continue;
            }
            self.unsealed.entries.push(seq);
            self.unsealed.rows.push(RowDigest { kind: id.0, key: id.1, digest: Some(digest) });
            self.say(format!("journal entry {seq} has no link in the chain: another hand wrote it"));
        }
        Ok(())
    }

    /// Each row is what the last link about it says.
    fn rows(&mut self, connection: &Connection) -> Result<(), StoreError> {
        for kind in Sealed::ALL {
            let mut there: BTreeMap<String, Vec<u8>> = BTreeMap::new();
            kind.each(self.chain, connection, |key, digest, _| _ = there.insert(key, digest))?;
            let told: Vec<_> = (self.words.iter().filter(|((of, _), _)| of == kind.kind))
                .map(|((_, key), (link, digest))| (key.clone(), (*link, digest.clone())))
                .collect();
            let mut told: BTreeMap<String, (i64, Option<Vec<u8>>)> = told.into_iter().collect();
            for (key, digest) in there {
                let name = format!("{} {}", kind.kind, spoken(&key));
                let text = match told.remove(&key) {
                    Some((_, said)) if said.as_ref() == Some(&digest) => continue,
                    Some((link, Some(_))) => {
                        let seq = self.entries.get(&link).copied().unwrap_or(0);
                        format!(
                            "{name} is not what journal entry {seq} left: another hand or a damaged disk changed it"
                        )
                    }
                    Some((_, None)) | None => {
                        format!("{name} was put there by another hand: no journal entry did")
                    }
                };
                let row = RowDigest { kind: kind.kind.to_owned(), key, digest: Some(digest) };
                self.unsealed.rows.push(row);
                self.say(text);
            }
            for (key, (_, said)) in told {
                if said.is_some() {
                    self.say(format!(
                        "{} {} is gone, and no journal entry took it away",
                        kind.kind,
                        spoken(&key)
                    ));
                    self.unsealed.rows.push(RowDigest { kind: kind.kind.to_owned(), key, digest: None });
                }
            }
        }
        Ok(())
    }
}

/// A key as people write it.
fn spoken(key: &str) -> String {
    let Ok(parts) = serde_json::from_str::<Vec<serde_json::Value>>(key) else { return key.to_owned() };
    let parts = parts.iter().map(|part| part.as_str().map_or_else(|| part.to_string(), str::to_owned));
    parts.collect::<Vec<_>>().join(":")
}

impl Chain {
    /// Accepts everything that the chain does not vouch for as it is now, in further links.
    pub(in crate::store) fn accept(
        &self,
        transaction: &Transaction<'_>,
        unsealed: Unsealed,
    ) -> Result<Option<Head>, StoreError> {
        let mut head = None;
        for seq in unsealed.entries {
            head = Some(self.link_entry(transaction, seq, Vec::new())?);
        }
        if !unsealed.rows.is_empty() {
            let told = "accepted as it is by serin fsck --repair";
            head = Some(self.link(transaction, "repair", None, told, unsealed.rows)?);
        }
        Ok(head)
    }
}
