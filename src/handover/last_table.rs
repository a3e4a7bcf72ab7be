//! The last table, beside the store: by it the router serves when the store is gone or cannot be read.
//!
//! A thread of its own writes it after each publish, at most once a second; whoever publishes never waits. It is read with
//! every alias on its stable version alone: it may be older than what the store had, and nobody judges by it.

use std::fs::{self, File, Permissions};
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

use sha2::{Digest, Sha256};

use super::message::TABLE_FORMAT;
use crate::router::table::{Edit, RouteSpec, RoutingTable};
use serin_core::lambda::alias::Routing;

/// The file's name within the data directory.
const FILE: &str = "last-table";
const MAGIC: &str = "serin-table";
/// Whatever is published within this time is written once.
const WRITE_EVERY: Duration = Duration::from_secs(1);

/// A table that was kept.
#[derive(Clone, Debug, Default)]
pub struct LastTable {
    /// The schema of the store that it was published from.
    pub schema: i64,
    /// The edits that build it, every alias on its stable version alone.
    pub edits: Vec<Edit>,
}

impl LastTable {
    /// Reads what was kept in a data directory; `None` where nothing was.
    ///
    /// Fails, in words, where it is damaged or written by a binary that this one does not understand.
    pub fn read(dir: &Path) -> Result<Option<LastTable>, String> {
        let path = dir.join(FILE);
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(why) if why.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(why) => return Err(format!("cannot read {}: {why}", path.display())),
        };
        let read = LastTable::of(&bytes);
        read.map(Some).map_err(|why| format!("the last table in {} cannot be used: {why}", path.display()))
    }

    /// The same of the bytes that were kept.
    pub(crate) fn of(bytes: &[u8]) -> Result<LastTable, String> {
        let end = bytes.iter().position(|byte| *byte == b'\n').ok_or("it has no first line")?;
        let head = std::str::from_utf8(&bytes[..end]).map_err(|why| why.to_string())?;
        let [magic, format, schema, digest]: [&str; 4] = head
            .split(' ')
            .collect::<Vec<_>>()
            .try_into()
            .map_err(|_| "its first line is not one of ours")?;
        if magic != MAGIC || format != TABLE_FORMAT.to_string() {
            return Err(format!("it is in format {magic} {format}, and this is not known here"));
        }
        let schema: i64 = schema.parse().map_err(|_| "its schema is no number")?;
        if digest_of(schema, &bytes[end + 1..]) != digest {
            return Err("its digest is not that of what it holds".to_owned());
        }
        let edits: Vec<Edit> = serde_json::from_slice(&bytes[end + 1..]).map_err(|why| why.to_string())?;
        Ok(LastTable { schema, edits: edits.into_iter().map(at_stable).collect() })
    }
}

fn at_stable(edit: Edit) -> Edit {
    match edit {
        Edit::Alias(spec) => Edit::Alias(Box::new(RouteSpec {
            routing: Routing::only(spec.routing.function_version),
            additional: None,
            canary: None,
            steering: None,
            ..*spec
        })),
        other => other,
    }
}

fn digest_of(schema: i64, body: &[u8]) -> String {
    let mut hash = Sha256::new();
    hash.update(schema.to_be_bytes());
    hash.update(body);
    hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The line that vouches for what follows it.
fn first_line(schema: i64, body: &[u8]) -> String {
    format!("{MAGIC} {TABLE_FORMAT} {schema} {}\n", digest_of(schema, body))
}

/// Reads a body as if it had been kept, for fuzzers.
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) fn table_of(schema: i64, body: &[u8]) -> Result<LastTable, String> {
    LastTable::of(&[first_line(schema, body).as_bytes(), body].concat())
}

fn write(dir: &Path, schema: i64, edits: &[Edit]) -> std::io::Result<()> {
    let body = serde_json::to_vec(edits)?;
    let (path, partial) = (dir.join(FILE), dir.join(format!("{FILE}.partial")));
    let mut file = File::create(&partial)?;
    // Targets of functions have their environments.
    file.set_permissions(Permissions::from_mode(0o600))?;
    file.write_all(first_line(schema, &body).as_bytes())?;
    file.write_all(&body)?;
    file.sync_all()?;
    fs::rename(&partial, &path)?;
    File::open(dir)?.sync_all()
}

enum Wake {
    Changed,
    Stop,
}

/// Keeps a table for as long as it lives, and once more when it ends.
pub struct Keeper {
    wake: mpsc::SyncSender<Wake>,
    thread: Option<JoinHandle<()>>,
}

impl Keeper {
    /// Begins to keep what is in a table.
    pub fn start(dir: PathBuf, schema: i64, table: Arc<RoutingTable>) -> std::io::Result<Keeper> {
        // One wake is enough for all that was published before it is looked at.
        let (wake, woken) = mpsc::sync_channel(1);
        let told = wake.clone();
        table.on_publish(move || _ = told.try_send(Wake::Changed));
        let thread = std::thread::Builder::new().name("last-table".to_owned()).spawn(move || {
            let (mut ends, mut is_failing) = (false, false);
            while !ends {
                let written = write(&dir, schema, &table.edits());
                if let Err(why) = &written
                    && !is_failing
                {
                    tracing::warn!("the last table could not be written beside the store: {why}");
                }
                is_failing = written.is_err();
                // What was not written is tried again, and what comes meanwhile is one write.
                let woken_up = if is_failing {
                    woken.recv_timeout(WRITE_EVERY)
                } else {
                    woken.recv().map_err(Into::into)
                };
                match woken_up {
                    Ok(Wake::Changed) => {
                        std::thread::park_timeout(WRITE_EVERY);
                        ends = woken.try_iter().any(|wake| matches!(wake, Wake::Stop));
                    }
                    Err(mpsc::RecvTimeoutError::Timeout) => {}
                    Ok(Wake::Stop) | Err(mpsc::RecvTimeoutError::Disconnected) => ends = true,
                }
                if ends {
                    // What was published last may not have been looked at yet.
                    let _ = write(&dir, schema, &table.edits());
                }
            }
        })?;
        let _ = wake.try_send(Wake::Changed);
        Ok(Keeper { wake, thread: Some(thread) })
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        let Some(thread) = self.thread.take() else { return };
        thread.thread().unpark();
        // The channel may hold one wake; a thread that has ended takes no more.
        let _ = self.wake.send(Wake::Stop);
        thread.thread().unpark();
        let _ = thread.join();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::router::table::FAILURE_STATUS_DEFAULT;
    use serin_core::lambda::alias::AdditionalVersion;
    use serin_core::lambda::function::{Revision, Target};
    use serin_core::model::arn::VersionNumber;
    use serin_core::model::weight::Weight;

    fn edits() -> Vec<Edit> {
        let target = Target::Http {
            url: "http://127.0.0.1:1".parse().unwrap(),
            health: None,
            timeouts: Default::default(),
        };
        vec![Edit::Alias(Box::new(RouteSpec {
            alias: "f:live".parse().unwrap(),
            epoch: Revision(7),
            routing: Routing {
                function_version: VersionNumber(1).into(),
                additional: Some(AdditionalVersion { version: VersionNumber(2), weight: Weight::FULL }),
            },
            primary: target.clone(),
            additional: Some(target),
            failure_status: vec![FAILURE_STATUS_DEFAULT],
            canary: Some(VersionNumber(2)),
            steering: None,
            close_tunnels: None,
            timeouts: Default::default(),
        }))]
    }

    #[test]
    fn a_table_is_read_back_at_stable_and_with_any_other_byte_not_at_all() {
        let dir = tempfile::tempdir().unwrap();
        assert!(LastTable::read(dir.path()).unwrap().is_none());
        write(dir.path(), 4, &edits()).unwrap();
        let read = LastTable::read(dir.path()).unwrap().unwrap();
        let Edit::Alias(spec) = &read.edits[0] else { panic!("{read:?}") };
        assert_eq!((spec.routing, spec.canary, read.schema), (Routing::only(VersionNumber(1)), None, 4));
        let path = dir.path().join(FILE);
        let whole = fs::read(&path).unwrap();
        for at in 0..whole.len() {
            let mut flipped = whole.clone();
            flipped[at] ^= 1;
            fs::write(&path, &flipped).unwrap();
            assert!(LastTable::read(dir.path()).is_err(), "byte {at}");
        }
        fs::write(&path, &whole[..whole.len() - 1]).unwrap();
        assert!(LastTable::read(dir.path()).is_err());
    }
}
