//! Watches the plans directory and reads it whole whenever something may have changed.
//!
//! A reading is believed once two in a row are equal, so a file that is half written, renamed back and forth, or deleted
//! and made again does no harm. Only regular files within the directory are opened: no link leads out of it, and no
//! pipe holds the daemon up. The directory may be a link that is pointed elsewhere, or be made anew: which one it is, is
//! looked at every second, because nothing reports it.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::time::Duration;

use notify::{RecommendedWatcher, RecursiveMode, Watcher};
use rustix::fs::{FileType, Mode, OFlags, ResolveFlags};

use serin_core::plan::{self, Fault, PLAN_BYTES_MAX, Severity, Source};
use serin_core::world::plans::{PlanBook, PlanFile, read_plan};

/// More files than this in a plans directory are a mistake.
const FILES_MAX: usize = 10_000;
/// Two equal readings this far apart are believed.
const SETTLE: Duration = Duration::from_millis(80);
/// So many unequal readings in a row are taken as they are: somebody writes all the time.
const SETTLE_TRIES_MAX: usize = 25;
/// It is read at least this often, for file systems that report nothing.
const EVERY: Duration = Duration::from_secs(30);
/// How often is looked whether it is still the same directory.
const LOOK_EVERY: Duration = Duration::from_secs(1);

enum Wake {
    Changed,
    Stop,
}

/// Ends the watching when dropped.
pub struct Watching(mpsc::Sender<Wake>);

impl Drop for Watching {
    fn drop(&mut self) {
        let _ = self.0.send(Wake::Stop);
    }
}

/// Watches a directory on a thread of its own and hands every new reading to `tell`.
pub fn watch(directory: PathBuf, tell: impl Fn(PlanBook) + Send + 'static) -> std::io::Result<Watching> {
    let (wake, woken) = mpsc::channel();
    let watching = Watching(wake.clone());
    std::thread::Builder::new().name("plans-watch".to_owned()).spawn(move || {
        let mut seen = identity(&directory);
        let mut watcher = start_watcher(&directory, &wake);
        let mut rested = Duration::ZERO;
        loop {
            let reported = match woken.recv_timeout(LOOK_EVERY) {
                Ok(Wake::Changed) => true,
                Err(mpsc::RecvTimeoutError::Timeout) => false,
                Ok(Wake::Stop) | Err(mpsc::RecvTimeoutError::Disconnected) => return,
            };
            // What was reported up to here is in the reading that begins now.
            if woken.try_iter().any(|wake| matches!(wake, Wake::Stop)) {
                return;
            }
            let now = identity(&directory);
            let is_another = now != seen;
            if watcher.is_none() || is_another || reported {
                // It watches what the path led to when it was started, and a directory that is made anew may have the number
                // of the one before.
                watcher = start_watcher(&directory, &wake);
                seen = now;
            }
            rested += LOOK_EVERY;
            if reported || is_another || rested >= EVERY {
                rested = Duration::ZERO;
                tell(read(&directory));
            }
        }
    })?;
    Ok(watching)
}

/// Which directory a path leads to.
fn identity(directory: &Path) -> Option<(u64, u64)> {
    let meta = std::fs::metadata(directory).ok()?;
    Some((meta.dev(), meta.ino()))
}

/// Whether a plan's file, and that of its defaults, is what was read of it last.
pub fn is_current(book: &PlanBook, name: &str) -> bool {
    let Some(directory) = &book.directory else { return true };
    let Ok(root) = File::open(directory) else { return false };
    let Some(file) = book.files.get(name) else {
        return ["yaml", "yml"].iter().all(|ending| read_file(&root, &format!("{name}.{ending}")).is_err());
    };
    let is_as_read = |source: &Source| {
        let file = Path::new(&source.name).file_name().map(|file| file.to_string_lossy().into_owned());
        file.and_then(|file| read_file(&root, &file).ok()).is_some_and(|bytes| bytes == source.bytes)
    };
    // One that could not be read has no bytes, and is what it was as long as it still cannot be.
    is_as_read(&file.source) && file.defaults.as_ref().is_none_or(is_as_read)
        || (file.problem.is_some() && file.source.bytes.is_empty())
}

fn start_watcher(directory: &Path, wake: &mpsc::Sender<Wake>) -> Option<RecommendedWatcher> {
    let wake = wake.clone();
    let mut watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
        // Our own reading opens and closes files; only what changes them is news.
        if event.map_or(true, |event| !event.kind.is_access()) {
            let _ = wake.send(Wake::Changed);
        }
    })
    .ok()?;
    watcher.watch(directory, RecursiveMode::NonRecursive).ok()?;
    Some(watcher)
}

type Reading = BTreeMap<String, Result<Vec<u8>, String>>;

/// Reads a plans directory as it is once it has come to rest.
pub fn read(directory: &Path) -> PlanBook {
    let shown = directory.display().to_string();
    let mut last = list(directory);
    for _ in 0..SETTLE_TRIES_MAX {
        std::thread::sleep(SETTLE);
        let next = list(directory);
        let equal = matches!((&last, &next), (Ok(last), Ok(next)) if last == next)
            || (last.is_err() && next.is_err());
        last = next;
        if equal {
            break;
        }
    }
    match last {
        Ok(reading) => book(&shown, &reading),
        Err(problem) => PlanBook { directory: Some(shown), problem: Some(problem), files: BTreeMap::new() },
    }
}

fn list(directory: &Path) -> Result<Reading, String> {
    let cannot =
        |why: std::io::Error| format!("cannot read the plans directory {}: {why}", directory.display());
    let root = File::open(directory).map_err(cannot)?;
    let mut reading = Reading::new();
    for entry in std::fs::read_dir(directory).map_err(cannot)? {
        let name = entry.map_err(cannot)?.file_name().to_string_lossy().into_owned();
        let is_plan = name.ends_with(".yaml") || name.ends_with(".yml");
        if !is_plan || name.starts_with('.') {
            continue;
        }
        if reading.len() == FILES_MAX {
            return Err(format!(
                "the plans directory {} has more than {FILES_MAX} plans",
                directory.display()
            ));
        }
        let bytes = read_file(&root, &name);
        reading.insert(name, bytes);
    }
    Ok(reading)
}

/// Opens a file so that no link leads out of the directory and nothing but a regular file is waited for.
fn read_file(root: &File, name: &str) -> Result<Vec<u8>, String> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOCTTY;
    let fd =
        rustix::fs::openat2(root, name, flags, Mode::empty(), ResolveFlags::BENEATH).map_err(
            |why| match why {
                rustix::io::Errno::XDEV => "is a link that leads out of the plans directory".to_owned(),
                why => format!("cannot be opened: {}", std::io::Error::from(why)),
            },
        )?;
    let stat = rustix::fs::fstat(&fd).map_err(|why| format!("cannot be looked at: {why}"))?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Err("is not a regular file".to_owned());
    }
    let mut bytes = Vec::new();
    let limited = File::from(fd).take(PLAN_BYTES_MAX as u64 + 1).read_to_end(&mut bytes);
    limited.map_err(|why| format!("cannot be read: {why}"))?;
    Ok(bytes)
}

fn book(shown: &str, reading: &Reading) -> PlanBook {
    let stem_of = |file: &str| file.rsplit_once('.').map_or(file, |(stem, _)| stem).to_owned();
    let source_of = |file: &str| {
        let bytes = reading.get(file)?.as_ref().ok()?;
        Some(Source::new(format!("{}/{file}", shown.trim_end_matches('/')), bytes.clone()))
    };
    let mut files: BTreeMap<String, PlanFile> = BTreeMap::new();
    for (file, bytes) in reading {
        let name = stem_of(file);
        if let Some(twin) = files.get_mut(&name) {
            twin.problem = Some(format!("{name}.yaml and {name}.yml are both there; remove one"));
            twin.read = None;
            continue;
        }
        let source = source_of(file).unwrap_or_else(|| Source::new(format!("{shown}/{file}"), Vec::new()));
        let problem = bytes.as_ref().err().map(|why| format!("{} {why}", source.name));
        let used = plan::used_defaults(&source);
        let defaults = used.and_then(|used| {
            source_of(&format!("{used}.yaml")).or_else(|| source_of(&format!("{used}.yml")))
        });
        let is_defaults = plan::is_defaults(&source);
        let (read, faults) = match (&problem, is_defaults) {
            (Some(_), _) => (None, Vec::new()),
            (None, true) => {
                let errors = |fault: &Fault| fault.severity == Severity::Error;
                (None, plan::check_defaults(&source).into_iter().filter(errors).collect())
            }
            (None, false) => match read_plan(&name, &source, defaults.as_ref()) {
                Ok(read) => (Some(std::sync::Arc::new(read)), Vec::new()),
                Err(faults) => (None, faults),
            },
        };
        files.insert(name.clone(), PlanFile { name, source, defaults, read, is_defaults, faults, problem });
    }
    PlanBook { directory: Some(shown.to_owned()), problem: None, files }
}
