//! Where a daemon's control groups belong, and what the kernel can divide among them.
//!
//! The kernel wants processes in the leaves alone of what divides memory: a daemon that is alone in its group moves into
//! a leaf of it, unless whoever started it has put it into one already.

use std::fs::{self, File, Permissions};
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use rustix::process::getuid;

/// Where the daemon is, beside its functions' groups; `DelegateSubgroup=` of the unit says the same.
const LEAF: &str = "serin";
/// What a daemon's directory of groups is called, before some letters of its own.
const PREFIX: &str = "serin-functions-";
/// How often another daemon may take a directory for one that was left, before it is given up.
const DIRECTORIES_MAX: usize = 5;

/// Where this daemon's groups belong.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Home {
    pub(super) place: PathBuf,
    /// Whether the daemon is in a leaf of it, rather than in itself.
    pub(super) is_in_leaf: bool,
}

/// What is bounded for a group as a whole.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Controllers {
    pub(super) memory: bool,
    pub(super) pids: bool,
}

impl Controllers {
    /// Those in a list of the kernel's.
    fn of(list: &str) -> Controllers {
        let has = |name| list.split_whitespace().any(|word| word == name);
        Controllers { memory: has("memory"), pids: has("pids") }
    }

    /// What has the kernel divide them.
    fn words(self) -> &'static str {
        match (self.memory, self.pids) {
            (true, true) => "+memory +pids",
            (true, false) => "+memory",
            (false, true) => "+pids",
            (false, false) => "",
        }
    }

    /// What is not bounded.
    pub(super) fn unbounded(self) -> Option<&'static str> {
        match (self.memory, self.pids) {
            (true, true) => None,
            (true, false) => Some("how many processes they are"),
            (false, true) => Some("their memory"),
            (false, false) => Some("their memory and how many they are"),
        }
    }
}

impl Home {
    /// By `/proc/self/cgroup` and `/proc/self/mountinfo`; `None` where there is no version 2, or not of this process.
    pub(super) fn of(own: &str, mounts: &str) -> Option<Home> {
        let own = Path::new(own.lines().find_map(|line| line.strip_prefix("0::"))?);
        mounts.lines().find_map(|line| {
            let (mount, what) = line.split_once(" - ")?;
            let mut fields = mount.split(' ').skip(3);
            let (root, point) = (unescaped(fields.next()?), unescaped(fields.next()?));
            if !what.starts_with("cgroup2 ") {
                return None;
            }
            let below = own.strip_prefix(root).ok()?;
            let is_in_leaf = below.file_name().is_some_and(|name| name == LEAF);
            let below = if is_in_leaf { below.parent()? } else { below };
            let parts = Path::new(&point).components().chain(below.components());
            Some(Home { place: parts.collect(), is_in_leaf })
        })
    }

    /// Has the kernel divide memory and processes among the groups in `groups`, and says what of it, or why neither.
    pub(super) fn divide(&self, groups: &Path) -> Result<Controllers, String> {
        let wanted = Controllers::of(&self.read("cgroup.controllers"));
        let words = wanted.words();
        if words.is_empty() || Controllers::of(&self.read("cgroup.subtree_control")) == wanted {
            return divide(groups, words).map(|()| wanted);
        }
        // The root of all groups has no type, and may have processes all the same.
        if !self.is_in_leaf && self.place.join("cgroup.type").exists() {
            self.move_into_leaf()?;
        }
        divide(&self.place, words).and_then(|()| divide(groups, words)).map(|()| wanted)
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.place.join(name)).unwrap_or_default()
    }

    fn move_into_leaf(&self) -> Result<(), String> {
        let own = std::process::id().to_string();
        if self.read("cgroup.procs").split_whitespace().any(|process| process != own) {
            return Err(format!("{} has other processes than serin in it", self.place.display()));
        }
        let leaf = self.place.join(LEAF);
        fs::create_dir_all(&leaf)
            .and_then(|()| fs::write(leaf.join("cgroup.procs"), own))
            .map_err(|why| format!("serin cannot move to {}: {why}", leaf.display()))
    }

    /// What daemons that were killed have left, each held until the file is dropped.
    pub(super) fn left_behind(&self) -> impl Iterator<Item = (PathBuf, File)> {
        directories(&self.place).into_iter().filter_map(|place| {
            let is_ours = place.file_name().is_some_and(|name| name.to_string_lossy().starts_with(PREFIX))
                && fs::metadata(&place).is_ok_and(|found| found.uid() == getuid().as_raw());
            let lock = if is_ours { locked(&place) } else { None };
            lock.map(|lock| (place, lock))
        })
    }

    /// Makes a directory for the groups of this daemon, which is its own for as long as the file is open.
    pub(super) fn directory(&self) -> io::Result<(PathBuf, File)> {
        for _ in 0..DIRECTORIES_MAX {
            let place = tempfile::Builder::new().prefix(PREFIX).tempdir_in(&self.place)?.keep();
            // To be passed through, and not to be opened: a function that did could take the lock after the daemon.
            fs::set_permissions(&place, Permissions::from_mode(0o711))?;
            // Another daemon that starts just now may have taken it for one that was left.
            if let Some(lock) = locked(&place) {
                return Ok((place, lock));
            }
        }
        Err(io::Error::other("directories in it cannot be locked"))
    }
}

fn divide(place: &Path, words: &str) -> Result<(), String> {
    if words.is_empty() {
        return Ok(());
    }
    fs::write(place.join("cgroup.subtree_control"), words)
        .map_err(|why| format!("{} cannot be divided: {why}", place.display()))
}

/// Holds a directory for as long as the file is open; `None` where somebody else does, or it is gone.
fn locked(place: &Path) -> Option<File> {
    let file = File::open(place).ok()?;
    flock(&file, FlockOperation::NonBlockingLockExclusive).ok()?;
    let is_same = fs::metadata(place).ok()?.ino() == file.metadata().ok()?.ino();
    is_same.then_some(file)
}

/// What is in a group as groups.
pub(super) fn directories(place: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(place).into_iter().flatten().flatten();
    entries
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
        .map(|entry| entry.path())
        .collect()
}

/// A name as the kernel writes it among others: blanks, line ends and backslashes by their numbers.
fn unescaped(name: &str) -> String {
    [("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")]
        .iter()
        .fold(name.to_owned(), |name, (escaped, meant)| name.replace(escaped, meant))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HYBRID: &str = "31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755\n\
                          35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory\n\
                          41 31 0:38 / /sys/fs/cgroup/unified rw,relatime shared:9 - cgroup2 cgroup2 rw\n";
    const UNIFIED: &str = "30 23 0:26 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n";
    const PART: &str = "30 23 0:26 /a\\040b /mnt/c\\134d rw - cgroup2 none rw\n";

    #[test]
    fn groups_belong_beside_the_daemons_own() {
        for (own, mounts, place, is_in_leaf) in [
            ("4:memory:/x\n0::/\n", HYBRID, "/sys/fs/cgroup/unified", false),
            ("0::/system.slice/s.service\n", UNIFIED, "/sys/fs/cgroup/system.slice/s.service", false),
            ("0::/system.slice/s.service/serin\n", UNIFIED, "/sys/fs/cgroup/system.slice/s.service", true),
            ("0::/serin\n", UNIFIED, "/sys/fs/cgroup", true),
            ("0::/a b/c\n", PART, "/mnt/c\\d/c", false),
        ] {
            let home = Home::of(own, mounts).unwrap_or_else(|| panic!("{own}"));
            assert_eq!((home.place.to_str(), home.is_in_leaf), (Some(place), is_in_leaf));
        }
        let none = "31 23 0:28 / /x rw - tmpfs tmpfs rw\n";
        for (own, mounts) in [("4:memory:/x\n", HYBRID), ("0::/\n", none), ("0::/b\n", PART), ("", "")] {
            assert_eq!(Home::of(own, mounts), None, "{own}");
        }
    }
}
