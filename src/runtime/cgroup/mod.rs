//! Control groups: a function's process and all that it starts is one group, bounded as a whole and ended as a whole.
//!
//! Of version 2 alone, and where this daemon may make groups beside itself (`home`): below a unit of systemd's with
//! `Delegate=`, in many containers, as root. A daemon has one directory for the groups of its functions, which is locked
//! for as long as it lives: one that nobody has locked was left by a daemon that was killed.

mod home;

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tokio::runtime::Handle;
use tokio::task::spawn_blocking;

use super::seldom::Seldom;
use super::stage::THREADS_MAX;
use home::{Controllers, Home, directories};

/// What a group may have beside the function's memory size: for the two processes around the function's, for the kernel's
/// own of all three, and for what is written to its `/dev/shm`.
const HEADROOM_BYTES: u64 = 64 << 20;
/// The two processes around the function's.
const PROCESSES_BESIDE: u64 = 2;
/// How often a group is tried to remove whose processes are about to end, and after how long.
const TRIES: u32 = 200;
const PAUSE: Duration = Duration::from_millis(5);
/// What helps whoever has none.
const HOW: &str = "packaging/serin-functions.service has systemd give serin what this takes (Delegate=)";

/// What a group may have as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Bounds {
    memory_bytes: u64,
    processes: u64,
}

impl Bounds {
    /// Those of a function with so much memory.
    pub(super) fn of(memory_mb: u32) -> Bounds {
        let memory_bytes = (u64::from(memory_mb) << 20) + HEADROOM_BYTES;
        Bounds { memory_bytes, processes: THREADS_MAX + PROCESSES_BESIDE }
    }
}

/// The groups of this daemon's functions.
pub(super) struct Groups {
    place: PathBuf,
    bounded: Controllers,
    next: AtomicU64,
    _lock: File,
}

impl Groups {
    /// Makes room for them, removes what daemons that were killed have left, and says in a sentence what is lacking.
    ///
    /// The daemon has started no process yet: it may move.
    pub(super) fn open() -> (Option<Groups>, Option<String>) {
        let read = |file| fs::read_to_string(file).unwrap_or_default();
        match Home::of(&read("/proc/self/cgroup"), &read("/proc/self/mountinfo")) {
            Some(home) => Groups::open_in(&home),
            None => (None, Some(without("there are none of version 2 here"))),
        }
    }

    fn open_in(home: &Home) -> (Option<Groups>, Option<String>) {
        home.left_behind().for_each(|(place, _lock)| clear(&place));
        let (place, lock) = match home.directory() {
            Ok(made) => made,
            Err(why) => {
                let why = format!("serin can make none in {} ({why})", home.place.display());
                return (None, Some(without(&why)));
            }
        };
        let divided = home.divide(&place);
        let bounded = divided.as_ref().copied().unwrap_or_default();
        let lacking = bounded.unbounded().map(|what| {
            let missing = || format!("{} is not given the controllers for it", home.place.display());
            let why = divided.err().unwrap_or_else(missing);
            format!("functions' processes: no control groups bound {what} as a whole: {why}; {HOW}")
        });
        (Some(Groups { place, bounded, next: AtomicU64::new(1), _lock: lock }), lacking)
    }

    /// Puts a process, and whatever it starts from now on, into a group of its own.
    fn put(&self, process: u32, bounds: Bounds) -> io::Result<Group> {
        let place = self.place.join(self.next.fetch_add(1, Ordering::Relaxed).to_string());
        fs::create_dir(&place)?;
        let group = Group { place };
        if self.bounded.memory {
            group.set("memory.max", bounds.memory_bytes)?;
            group.set("memory.oom.group", 1)?;
            // Not there without swap, and not missed then.
            let _ = group.set("memory.swap.max", 0);
        }
        if self.bounded.pids {
            group.set("pids.max", bounds.processes)?;
        }
        group.set("cgroup.procs", process.into())?;
        Ok(group)
    }

    /// Ends whatever is in them, and removes them.
    pub(super) fn close(&self) {
        clear(&self.place);
    }
}

/// Puts a process that has not begun its work into a group of its own; it goes on without where that cannot be had, for
/// groups are not the only wall.
pub(super) async fn put(groups: Option<&Arc<Groups>>, process: Pid, bounds: Bounds) -> Option<Group> {
    static FAILED: Seldom = Seldom::new();
    let groups = Arc::clone(groups?);
    let process = process.as_raw_nonzero().get().cast_unsigned();
    // The kernel may take its time to move a process.
    let put = spawn_blocking(move || groups.put(process, bounds)).await;
    match put.map_err(io::Error::other).flatten() {
        Ok(group) => Some(group),
        Err(error) => {
            FAILED.happened(|times| {
                tracing::warn!(%error, times, "a function's process runs without a control group of its own");
            });
            None
        }
    }
}

/// One process of a function's and what it started; ended, and the group removed, when dropped.
pub(super) struct Group {
    place: PathBuf,
}

impl Group {
    fn set(&self, name: &str, value: u64) -> io::Result<()> {
        fs::write(self.place.join(name), value.to_string())
    }

    /// Ends all that is in it.
    pub(super) fn kill(&self) {
        kill(&self.place);
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.kill();
        if is_removed(&self.place) {
            return;
        }
        // Its processes need a moment.
        let place = std::mem::take(&mut self.place);
        let remove = move || remove(&place, &mut { TRIES });
        match Handle::try_current() {
            Ok(handle) => drop(handle.spawn_blocking(remove)),
            Err(_) => remove(),
        }
    }
}

fn without(why: &str) -> String {
    format!("functions' processes: no control groups bound and end them as a whole: {why}; {HOW}")
}

/// Ends and removes a daemon's groups.
fn clear(place: &Path) {
    let mut tries = TRIES;
    kill(place);
    directories(place).iter().for_each(|group| remove(group, &mut tries));
    remove(place, &mut tries);
}

/// Ends all that is in a group and in those below it.
fn kill(place: &Path) {
    if fs::write(place.join("cgroup.kill"), "1").is_ok() {
        return;
    }
    // A kernel before 5.14, or a group that is gone.
    let processes = fs::read_to_string(place.join("cgroup.procs")).unwrap_or_default();
    for process in processes.lines().filter_map(|line| Pid::from_raw(line.parse().ok()?)) {
        // It may be gone by now, which is as good.
        let _ = kill_process(process, Signal::KILL);
    }
}

/// Whether a group is no more, which is tried once.
fn is_removed(place: &Path) -> bool {
    fs::remove_dir(place).map_or_else(|why| why.kind() == io::ErrorKind::NotFound, |()| true)
}

/// Removes a group, with patience for processes that are about to end.
fn remove(place: &Path, tries: &mut u32) {
    loop {
        match fs::remove_dir(place) {
            Ok(()) => return,
            Err(why) if why.kind() == io::ErrorKind::NotFound => return,
            Err(why) if why.kind() == io::ErrorKind::ResourceBusy && *tries > 0 => {
                *tries -= 1;
                std::thread::sleep(PAUSE);
                kill(place);
            }
            Err(error) => {
                return tracing::warn!(%error, place = %place.display(), "a control group stays behind");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_has_its_functions_memory_and_some_more() {
        assert_eq!(Bounds::of(128), Bounds { memory_bytes: 192 << 20, processes: 1026 });
        assert_eq!(Bounds::of(10_240).memory_bytes, 10_304 << 20);
    }

    /// A directory in the place of a control group, which takes what is written and does nothing.
    struct StandIn(tempfile::TempDir);

    impl StandIn {
        fn new(files: &[(&str, &str)]) -> StandIn {
            let dir = StandIn(tempfile::tempdir().unwrap());
            files.iter().for_each(|(name, text)| fs::write(dir.0.path().join(name), text).unwrap());
            dir
        }

        fn open(&self, is_in_leaf: bool) -> (Groups, Option<String>) {
            let home = Home { place: self.0.path().to_owned(), is_in_leaf };
            let (groups, said) = Groups::open_in(&home);
            (groups.unwrap(), said)
        }

        fn read(&self, name: &str) -> String {
            fs::read_to_string(self.0.path().join(name)).unwrap_or_default()
        }
    }

    #[test]
    fn a_process_is_bounded_by_what_there_is() {
        for (given, words, lacking) in [
            ("cpu memory pids", "+memory +pids", None),
            ("memory", "+memory", Some("how many processes")),
            ("pids cpu", "+pids", Some("their memory as a whole")),
            ("hugetlb", "", Some("their memory and how many")),
        ] {
            let dir = StandIn::new(&[("cgroup.controllers", given)]);
            let (groups, said) = dir.open(true);
            match (&said, lacking) {
                (None, None) => {}
                (Some(said), Some(part)) => assert!(said.contains(part), "{said}"),
                (said, _) => panic!("{given} {said:?}"),
            }
            assert_eq!(dir.read("cgroup.subtree_control"), words);
            let group = groups.put(4711, Bounds::of(128)).unwrap();
            let read = |name| fs::read_to_string(group.place.join(name)).ok();
            assert_eq!(read("../cgroup.subtree_control").unwrap_or_default(), words);
            let (memory, pids) = (words.contains("memory"), words.contains("pids"));
            for (name, value) in [
                ("memory.max", memory.then_some("201326592")),
                ("memory.oom.group", memory.then_some("1")),
                ("memory.swap.max", memory.then_some("0")),
                ("pids.max", pids.then_some("1026")),
                ("cgroup.procs", Some("4711")),
                ("cgroup.kill", None),
            ] {
                assert_eq!(read(name).as_deref(), value, "{given} {name}");
            }
            group.kill();
            assert_eq!(read("cgroup.kill").as_deref(), Some("1"));
        }
    }

    #[test]
    fn a_daemon_that_is_alone_moves_into_a_leaf_and_no_other_does() {
        let own = std::process::id().to_string();
        let crowd = format!("{own}\n1\n");
        let domain = ("cgroup.type", "domain");
        for (files, is_in_leaf, moves, is_bounded) in [
            (&[domain, ("cgroup.procs", own.as_str())][..], false, true, true),
            (&[domain, ("cgroup.procs", crowd.as_str())], false, false, false),
            (&[domain, ("cgroup.procs", "")], true, false, true),
            (&[domain, ("cgroup.subtree_control", "memory pids")], false, false, true),
            (&[("cgroup.procs", crowd.as_str())], false, false, true),
        ] {
            let dir = StandIn::new(&[&[("cgroup.controllers", "memory pids")], files].concat());
            let (groups, said) = dir.open(is_in_leaf);
            assert_eq!(dir.read("serin/cgroup.procs"), if moves { own.as_str() } else { "" }, "{files:?}");
            assert_eq!((groups.bounded.memory, said.is_none()), (is_bounded, is_bounded), "{said:?}");
        }
    }

    #[test]
    fn what_a_killed_daemon_left_is_ended_and_what_one_that_lives_has_is_not() {
        let dir = StandIn::new(&[]);
        let (lives, _) = dir.open(true);
        let left = dir.0.path().join("serin-functions-left");
        let others = dir.0.path().join("others");
        [&left, &others].into_iter().for_each(|place| fs::create_dir_all(place.join("1")).unwrap());
        let (next, _) = dir.open(true);
        assert!(left.join("cgroup.kill").exists() && !left.join("1").exists());
        assert!(others.join("1").exists() && !others.join("cgroup.kill").exists());
        for groups in [lives, next] {
            assert!(groups.place.exists() && !groups.place.join("cgroup.kill").exists());
        }
    }

    #[test]
    fn whoever_may_make_no_groups_has_none() {
        let home = Home { place: "/nowhere/at/all".into(), is_in_leaf: false };
        let (groups, said) = Groups::open_in(&home);
        let said = said.unwrap();
        assert!(groups.is_none() && said.contains("/nowhere/at/all") && said.contains("Delegate="), "{said}");
    }
}
