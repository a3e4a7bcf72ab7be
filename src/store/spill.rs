//! Evidence that the database does not take: kept in a file beside it, so that a restart does not forget a canary that
//! was taken out.
//!
//! The file has its room from the start, because it is needed when there is none. A thread of its own writes it: whoever
//! decides never waits.

use serin_core::ports::Aside;
use std::fs::{File, OpenOptions};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::sync::mpsc;

use sha2::{Digest, Sha256};

use super::StoreError;

const FILE: &str = "evidence-aside";
const ROOM_BYTES: usize = 256 << 10;

/// The way to the file.
pub struct Spill {
    told: Told,
    has_any: bool,
}

enum Told {
    /// Its thread.
    Thread(mpsc::Sender<Aside>),
    /// Nobody: whoever tells writes.
    #[cfg(test)]
    Here(File),
}

impl Spill {
    /// Opens the file, and tells what is in it; where it cannot be had, what is kept is lost with the process.
    pub fn open(dir: &Path) -> Result<(Spill, Aside), StoreError> {
        let path = dir.join(FILE);
        let file =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(&path);
        let aside = file.as_ref().ok().and_then(read).unwrap_or_default();
        if let Ok(file) = &file
            && file.metadata().is_ok_and(|meta| meta.len() < ROOM_BYTES as u64)
        {
            // On a full disk there is none.
            let _ = file.write_all_at(&vec![0; ROOM_BYTES], 0);
        }
        let (told, telling) = mpsc::channel::<Aside>();
        std::thread::Builder::new()
            .name("evidence-aside".to_owned())
            .spawn(move || {
                let mut is_failing = false;
                while let Ok(first) = telling.recv() {
                    let Some(newest) = telling.try_iter().last().or(Some(first)) else { continue };
                    let written = file
                        .as_ref()
                        .map_err(ToString::to_string)
                        .and_then(|file| write(file, &newest).map_err(|why| why.to_string()));
                    if let Err(why) = &written
                        && !is_failing
                    {
                        tracing::error!("evidence can be kept nowhere: {why}");
                    }
                    is_failing = written.is_err();
                }
            })
            .map_err(StoreError::file("start a thread to keep evidence at", &path))?;
        Ok((Spill { told: Told::Thread(told), has_any: !aside.is_empty() }, aside))
    }

    /// The same without a thread, for simulations.
    #[cfg(test)]
    pub(crate) fn open_simulated(dir: &Path) -> std::io::Result<(Spill, Aside)> {
        let mut options = OpenOptions::new();
        let file = options.read(true).write(true).create(true).truncate(false).open(dir.join(FILE))?;
        let aside = read(&file).unwrap_or_default();
        Ok((Spill { told: Told::Here(file), has_any: !aside.is_empty() }, aside))
    }

    /// Keeps this in place of what was kept before.
    pub fn keep(&mut self, aside: Aside) {
        if aside.is_empty() && !self.has_any {
            return;
        }
        self.has_any = !aside.is_empty();
        match &self.told {
            // The thread lives as long as this does.
            Told::Thread(told) => _ = told.send(aside),
            #[cfg(test)]
            Told::Here(file) => write(file, &aside).expect("a simulation's directory takes files"),
        }
    }

    /// Keeps nothing any more: the database has it.
    pub fn clear(&mut self) {
        self.keep(Aside::new());
    }
}

fn write(file: &File, aside: &Aside) -> std::io::Result<()> {
    let body = serde_json::to_vec(aside)?;
    let mut bytes = format!("{} {}\n", digest_of(&body), body.len()).into_bytes();
    bytes.extend(body);
    file.write_all_at(&bytes, 0)?;
    file.sync_data()
}

fn read(file: &File) -> Option<Aside> {
    let mut bytes = vec![0; usize::try_from(file.metadata().ok()?.len()).ok()?];
    file.read_exact_at(&mut bytes, 0).ok()?;
    let end = bytes.iter().position(|byte| *byte == b'\n')?;
    let (digest, length) = std::str::from_utf8(&bytes[..end]).ok()?.split_once(' ')?;
    let body = bytes.get(end + 1..(end + 1).checked_add(length.parse().ok()?)?)?;
    (digest_of(body) == digest).then(|| serde_json::from_slice(body).ok())?
}

fn digest_of(body: &[u8]) -> String {
    Sha256::digest(body).iter().map(|byte| format!("{byte:02x}")).collect()
}
