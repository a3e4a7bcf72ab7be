//! Power losses: what real processes wrote and synced is written down (`trace.c`), and every state that the disk may have
//! been left in is built from that.
//!
//! What was not synced may be there, in part, in any order, or not at all: bytes of a file in sectors of 512, names of a
//! directory as long as the directory was not synced after them. What one call did to names is there whole or not.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use rand::RngExt;
use rand::rngs::SmallRng;
use rustix::fs::{FlockOperation, flock};
use serin::chance;

use super::faults::library;

const SECTOR_BYTES: usize = 512;
/// So many states are built of one moment at least: nothing of what was not synced, all of it, and some in between.
const STATES_A_MOMENT: usize = 8;
/// What SQLite makes anew, and what holds nothing that anybody was promised.
const NOT_BUILT: [&str; 3] = ["-shm", "logs.db", "events.db"];

/// A file or a directory, by the order in which they came to be.
type Object = usize;
/// What files hold; of a directory nothing.
type Contents = Vec<Arc<Vec<u8>>>;
/// Which object is where.
type Names = BTreeMap<String, Object>;
/// Files and directories by path: inode, and bytes of a file.
type Found = BTreeMap<String, (u64, Option<Vec<u8>>)>;

/// Writes down what processes do below a directory.
pub struct Trace {
    library: &'static Path,
    under: PathBuf,
    file: tempfile::NamedTempFile,
    /// What was there before, and is taken to be on disk.
    before: Found,
}

impl Trace {
    /// From here on; `None` where there is no such library, which is printed.
    pub fn below(under: &Path) -> Option<Trace> {
        let library = library("trace.c")?;
        let mut before = BTreeMap::new();
        collect(under, "", &mut before);
        let file = tempfile::NamedTempFile::new().unwrap();
        Some(Trace { library, under: under.to_owned(), file, before })
    }

    /// What a process is to be started with.
    pub fn environment(&self) -> [(&str, &str); 3] {
        [
            ("LD_PRELOAD", self.library.to_str().unwrap()),
            ("TRACE_UNDER", self.under.to_str().unwrap()),
            ("TRACE_TO", self.file.path().to_str().unwrap()),
        ]
    }

    /// Does something while nobody is in the midst of a call.
    pub fn between_calls<T>(&self, act: impl FnOnce() -> T) -> T {
        let file = self.file.reopen().unwrap();
        flock(&file, FlockOperation::LockExclusive).unwrap();
        act()
    }

    /// Writes down that everything up to a number was acknowledged by now.
    pub fn acknowledge(&self, number: u64) {
        use std::io::Write;
        self.between_calls(|| {
            let mut file = std::fs::File::options().append(true).open(self.file.path()).unwrap();
            file.write_all(format!("A {number}\n").as_bytes()).unwrap();
        });
    }

    /// What was written down; fails unless it comes to what is there.
    #[track_caller]
    pub fn story(self) -> Story {
        let story = Story::read(std::fs::read(self.file.path()).unwrap(), &self.before);
        let mut disk = Disk::of(&story);
        story.records.iter().enumerate().for_each(|(number, record)| disk.take(number, record));
        let all: Vec<Kept> = disk.pending.iter().map(|number| (*number, None)).collect();
        let (names, contents) = disk.with(&all);
        let mut now = BTreeMap::new();
        collect(&self.under, "", &mut now);
        for (path, (_, bytes)) in now.iter().filter(|(path, _)| is_built(path)) {
            let object = names.get(path).unwrap_or_else(|| panic!("{path} came to be unseen"));
            assert!(bytes.as_ref().is_none_or(|bytes| *contents[*object] == *bytes), "{path} changed unseen");
        }
        let gone: Vec<&String> =
            names.keys().filter(|path| *path != "." && !now.contains_key(*path)).collect();
        assert!(gone.is_empty(), "{gone:?} went unseen");
        story
    }
}

fn is_built(path: &str) -> bool {
    !NOT_BUILT.iter().any(|name| path.contains(name))
}

/// Finds what is below a directory, by path from there.
fn collect(dir: &Path, below: &str, into: &mut Found) {
    use std::os::unix::fs::MetadataExt;
    for entry in std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap()) {
        let (kind, meta) = (entry.file_type().unwrap(), entry.metadata().unwrap());
        let path = format!("{below}{}", entry.file_name().to_str().unwrap());
        if kind.is_dir() {
            collect(&entry.path(), &format!("{path}/"), into);
            into.insert(path, (meta.ino(), None));
        } else if kind.is_file() {
            into.insert(path, (meta.ino(), Some(std::fs::read(entry.path()).unwrap())));
        }
    }
}

/// A path, the directory it is in, and what it names from here on.
struct Change {
    path: String,
    within: Object,
    names: Option<Object>,
}

enum Record {
    Wrote { file: Object, at: usize, bytes: Range<usize> },
    Cut { file: Object, length: usize },
    Named(Vec<Change>),
    Synced(Object),
    Acknowledged(u64),
}

/// All that processes did, in order.
pub struct Story {
    bytes: Vec<u8>,
    records: Vec<Record>,
    directories: BTreeSet<Object>,
    /// What there was before the first record, and empty files for all that came to be later.
    names: Names,
    contents: Contents,
}

impl Story {
    fn read(bytes: Vec<u8>, before: &Found) -> Story {
        // The directory itself is the first object.
        let mut story = Story {
            bytes,
            records: Vec::new(),
            directories: BTreeSet::from([0]),
            names: Names::from([(".".to_owned(), 0)]),
            contents: vec![Arc::default()],
        };
        let mut inodes = HashMap::new();
        for (path, (inode, bytes)) in before {
            let object = story.contents.len();
            inodes.insert(*inode, object);
            story.names.insert(path.clone(), object);
            story.contents.push(Arc::new(bytes.clone().unwrap_or_default()));
            if bytes.is_none() {
                story.directories.insert(object);
            }
        }
        let mut names = story.names.clone();
        let mut at = 0;
        while at < story.bytes.len() {
            let line = at + story.bytes[at..].iter().position(|byte| *byte == b'\n').unwrap();
            let head = String::from_utf8(story.bytes[at..line].to_vec()).unwrap();
            let words: Vec<&str> = head.split(' ').collect();
            let number = |word: usize| words[word].parse::<usize>().unwrap();
            let object = |inodes: &HashMap<u64, Object>| inodes.get(&words[1].parse().unwrap()).copied();
            let file = |inodes: &HashMap<u64, Object>, names: &Names| {
                let file = object(inodes)?;
                names.iter().any(|(path, named)| *named == file && is_built(path)).then_some(file)
            };
            at = line + 1;
            match words[0] {
                "W" => {
                    let bytes = at..at + number(3);
                    at = bytes.end;
                    // Of a file without a name nobody hears again.
                    if let Some(file) = file(&inodes, &names) {
                        story.records.push(Record::Wrote { file, at: number(2), bytes });
                    }
                }
                "T" => {
                    if let Some(file) = file(&inodes, &names) {
                        story.records.push(Record::Cut { file, length: number(2) });
                    }
                }
                "S" => story.records.extend(object(&inodes).map(Record::Synced)),
                "A" => story.records.push(Record::Acknowledged(number(1) as u64)),
                "L" => {
                    let list = String::from_utf8(story.bytes[at..at + number(1)].to_vec()).unwrap();
                    at += number(1);
                    let changes = story.relist(&list, &mut names, &mut inodes);
                    if !changes.is_empty() {
                        story.records.push(Record::Named(changes));
                    }
                }
                other => panic!("{other} is no record"),
            }
        }
        story
    }

    /// What became of names.
    fn relist(&mut self, list: &str, names: &mut Names, inodes: &mut HashMap<u64, Object>) -> Vec<Change> {
        let (mut listed, mut alive) = (Names::new(), BTreeSet::new());
        for line in list.lines() {
            let [kind, inode, path]: [&str; 3] = line.splitn(3, ' ').collect::<Vec<_>>().try_into().unwrap();
            let inode: u64 = inode.parse().unwrap();
            let known = if path == "." { Some(0) } else { inodes.get(&inode).copied() };
            let object = known.unwrap_or_else(|| {
                self.contents.push(Arc::default());
                self.contents.len() - 1
            });
            if kind == "d" {
                self.directories.insert(object);
            }
            inodes.insert(inode, object);
            alive.insert(inode);
            listed.insert(path.to_owned(), object);
        }
        // A number without a name is another file's soon.
        inodes.retain(|inode, _| alive.contains(inode));
        let within =
            |path: &str, names: &Names| names[path.rsplit_once('/').map_or(".", |(directory, _)| directory)];
        let mut changes = Vec::new();
        for (path, object) in listed.iter().filter(|(path, object)| names.get(*path) != Some(*object)) {
            changes.push(Change { path: path.clone(), within: within(path, &listed), names: Some(*object) });
        }
        for path in names.keys().filter(|path| !listed.contains_key(*path)) {
            changes.push(Change { path: path.clone(), within: within(path, names), names: None });
        }
        *names = listed;
        changes
    }

    /// How many records there are.
    pub fn len(&self) -> usize {
        self.records.len()
    }

    /// A record in words.
    fn told(&self, number: usize) -> String {
        let path = |object: Object| {
            let named = self.records[..=number].iter().rev().find_map(|record| match record {
                Record::Named(changes) => {
                    changes.iter().find(|change| change.names == Some(object)).map(|change| &change.path)
                }
                _ => None,
            });
            named.or_else(|| self.names.iter().find(|(_, named)| **named == object).map(|(path, _)| path))
        };
        match &self.records[number] {
            Record::Wrote { file, at, bytes } => format!("write {:?} {at}+{}", path(*file), bytes.len()),
            Record::Cut { file, length } => format!("cut {:?} to {length}", path(*file)),
            Record::Named(changes) => {
                let told = |change: &Change| match change.names {
                    Some(_) => format!("+{}", change.path),
                    None => format!("-{}", change.path),
                };
                changes.iter().map(told).collect::<Vec<_>>().join(" ")
            }
            Record::Synced(object) => format!("sync {:?}", path(*object)),
            Record::Acknowledged(number) => format!("{number} is acknowledged"),
        }
    }
}

/// A record that is on disk, and by which seed only in part.
type Kept = (usize, Option<u64>);

/// What is on disk for sure, and what may be.
struct Disk<'a> {
    story: &'a Story,
    names: Names,
    contents: Contents,
    pending: Vec<usize>,
    /// How often something came to be there for sure.
    synced: usize,
}

impl Disk<'_> {
    fn of(story: &Story) -> Disk<'_> {
        let (names, contents) = (story.names.clone(), story.contents.clone());
        Disk { story, names, contents, pending: Vec::new(), synced: 0 }
    }

    fn take(&mut self, number: usize, record: &Record) {
        let Record::Synced(synced) = record else {
            if !matches!(record, Record::Acknowledged(_)) {
                self.pending.push(number);
            }
            return;
        };
        let story = self.story;
        let is_synced = |number: &mut usize| match &story.records[*number] {
            Record::Wrote { file, .. } | Record::Cut { file, .. } => file == synced,
            Record::Named(changes) => changes.iter().any(|change| change.within == *synced),
            Record::Synced(_) | Record::Acknowledged(_) => false,
        };
        for number in self.pending.extract_if(.., is_synced).collect::<Vec<_>>() {
            apply(story, (number, None), &mut self.names, &mut self.contents);
            self.synced += 1;
        }
    }

    /// By what a record's fate is decided together with others: its file, or its directory.
    fn place(&self, number: usize) -> (bool, Object) {
        match &self.story.records[number] {
            Record::Wrote { file, .. } | Record::Cut { file, .. } => (false, *file),
            Record::Named(changes) => (true, changes[0].within),
            Record::Synced(_) | Record::Acknowledged(_) => unreachable!("nothing waits for a sync of it"),
        }
    }

    /// What the disk kept of what was not synced; the first two answers are nothing and everything.
    fn choose(&self, state: usize, luck: &mut SmallRng) -> Vec<Kept> {
        let mut by_place: BTreeMap<(bool, Object), Vec<usize>> = BTreeMap::new();
        for number in &self.pending {
            by_place.entry(self.place(*number)).or_default().push(*number);
        }
        let mut kept = Vec::new();
        for ((is_name, _), numbers) in by_place {
            let how = if state < 2 { state } else { luck.random_range(0..7) };
            let upto = luck.random_range(0..=numbers.len());
            for (index, number) in numbers.iter().enumerate() {
                let torn = Some(luck.random()).filter(|_| !is_name);
                let fate = match how {
                    0 => None,
                    1 => Some(None),
                    // In order, and the last one torn.
                    2 if index < upto => Some(None),
                    2 => Some(torn).filter(|_| index == upto && !is_name),
                    // All but one, and one alone.
                    3 => Some(None).filter(|_| index != upto),
                    4 => Some(None).filter(|_| index == upto),
                    // In any order.
                    5 => Some(None).filter(|_| luck.random()),
                    _ => Some(torn).filter(|_| luck.random()),
                };
                kept.extend(fate.map(|torn| (*number, torn)));
            }
        }
        kept.sort_unstable();
        kept
    }

    fn with(&self, kept: &[Kept]) -> (Names, Contents) {
        let (mut names, mut contents) = (self.names.clone(), self.contents.clone());
        kept.iter().for_each(|kept| apply(self.story, *kept, &mut names, &mut contents));
        (names, contents)
    }

    fn build(&self, kept: &[Kept], dir: &Path) {
        let (names, contents) = self.with(kept);
        for (path, object) in names.iter().filter(|(path, _)| *path != ".") {
            if !is_built(path) {
                continue;
            }
            let to = dir.join(path);
            // What is in a directory that is lost is lost.
            if !to.parent().is_some_and(Path::is_dir) {
                continue;
            }
            if self.story.directories.contains(object) {
                std::fs::create_dir(to).unwrap();
            } else if path.ends_with("/reserve") {
                // Nobody reads it; only how long it is counts.
                std::fs::File::create(to).unwrap().set_len(contents[*object].len() as u64).unwrap();
            } else {
                std::fs::write(to, contents[*object].as_slice()).unwrap();
            }
        }
    }
}

fn apply(story: &Story, (number, torn): Kept, names: &mut Names, contents: &mut Contents) {
    match &story.records[number] {
        Record::Wrote { file, at, bytes } => {
            let (content, bytes) = (Arc::make_mut(&mut contents[*file]), &story.bytes[bytes.clone()]);
            let mut sectors = torn.map(chance::seeded);
            let mut done = 0;
            while done < bytes.len() {
                let from = at + done;
                let length = (SECTOR_BYTES - from % SECTOR_BYTES).min(bytes.len() - done);
                if sectors.as_mut().is_none_or(|sectors| sectors.random()) {
                    content.resize(content.len().max(from + length), 0);
                    content[from..from + length].copy_from_slice(&bytes[done..done + length]);
                }
                done += length;
            }
        }
        Record::Cut { file, length } => Arc::make_mut(&mut contents[*file]).resize(*length, 0),
        Record::Named(changes) => {
            for change in changes {
                match change.names {
                    Some(object) => _ = names.insert(change.path.clone(), object),
                    None => _ = names.remove(&change.path),
                }
            }
        }
        Record::Synced(_) | Record::Acknowledged(_) => {}
    }
}

/// What became of a story's states.
#[derive(Debug, Default)]
pub struct Tally {
    /// How many there were.
    pub states: usize,
    /// What was wrong with some.
    pub faults: Vec<String>,
}

/// Builds about so many different states, and has each looked at together with what was acknowledged before.
pub fn each_state(
    story: &Story,
    states: usize,
    room: &Path,
    look: impl Fn(&Path, u64) -> Result<(), String> + Sync,
) -> Tally {
    let each = STATES_A_MOMENT.max(states / story.len());
    // Of so many moments one is looked at.
    let one_in = (story.len() * each).div_ceil(states).max(1);
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let tally: Mutex<Tally> = Mutex::default();
    std::thread::scope(|scope| {
        for own in 0..threads {
            let (tally, look) = (&tally, &look);
            scope.spawn(move || {
                let mut luck: SmallRng = chance::seeded(2026);
                let (mut disk, mut acknowledged, mut known) = (Disk::of(story), 0, BTreeSet::new());
                for (number, record) in story.records.iter().enumerate() {
                    disk.take(number, record);
                    if let Record::Acknowledged(by_now) = record {
                        acknowledged = *by_now;
                    }
                    if luck.random_range(0..one_in) > 0 {
                        continue;
                    }
                    for state in 0..each {
                        let kept = disk.choose(state, &mut luck);
                        let mut hash = DefaultHasher::new();
                        (disk.synced, acknowledged, &kept).hash(&mut hash);
                        // Each thread goes through all of them, and looks at its own.
                        if !known.insert(hash.finish()) || known.len() % threads != own {
                            continue;
                        }
                        let dir = tempfile::tempdir_in(room).unwrap();
                        disk.build(&kept, dir.path());
                        let looked = look(dir.path(), acknowledged);
                        let mut tally = tally.lock().unwrap();
                        tally.states += 1;
                        if let Err(why) = looked {
                            let last: Vec<String> =
                                kept.iter().rev().take(6).rev().map(|kept| story.told(kept.0)).collect();
                            let after = story.told(number);
                            tally.faults.push(format!(
                                "after record {number} ({after}), {acknowledged} acknowledged: {why}; of what was not \
                                 synced it has {} of {}, the last of them {last:?}",
                                kept.len(),
                                disk.pending.len()
                            ));
                        }
                    }
                }
            });
        }
    });
    tally.into_inner().unwrap()
}
