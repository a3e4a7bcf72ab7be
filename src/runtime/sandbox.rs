//! What a process may touch: a user of its own, a directory to write in, and the code to read.
//!
//! Everything lives in a run directory outside of the data directory, which no other user may enter. A kill leaves it
//! behind; the next daemon on the same data directory removes it.

use std::collections::BTreeSet;
use std::fs::{self, File, Permissions};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::time::Duration;

use crate::code::remove_unpacked;
use crate::config::ProcessUser;
use rustix::fs::{FlockOperation, flock};
use rustix::process::{Pid, Signal, getuid, kill_process};

/// The first of the users that processes run as: a range that neither people, services nor containers are given.
const FIRST_UID: u32 = 200_000;
/// How many each daemon has.
const UIDS: u32 = 4096;
/// How many daemons a machine may have that run functions.
const BLOCKS: u32 = 32;
/// Where daemons say which users are theirs.
const CLAIMS: &str = "/run/serin";
/// The file in the data directory that says where the run directory is.
const NOTE: &str = "run-directory";
/// What a run directory's name begins with.
const PREFIX: &str = "serin-run-";
/// How long the end of a daemon waits for its files to be removed; the next one goes on with what is left.
const CLOSE_MAX: Duration = Duration::from_secs(5);

/// The safest that this daemon may have.
pub fn best_user() -> ProcessUser {
    if getuid().is_root() && may_be_any_user() { ProcessUser::Own } else { ProcessUser::Namespace }
}

/// A user as functions have it, to see whether they may run something; `None` is the daemon's.
pub(super) fn sample_of(user: ProcessUser) -> Option<u32> {
    match user {
        ProcessUser::Own => Some(FIRST_UID + BLOCKS * UIDS),
        ProcessUser::Fixed(id) => Some(id),
        ProcessUser::Namespace | ProcessUser::Same => None,
    }
}

/// Whether functions are other users than the daemon.
pub(super) fn has_users_apart(user: ProcessUser) -> bool {
    match user {
        ProcessUser::Own => true,
        ProcessUser::Fixed(id) => id != getuid().as_raw(),
        ProcessUser::Namespace | ProcessUser::Same => false,
    }
}

/// Whether a user is one that functions run as, be it another daemon's.
pub(super) fn is_function(user: ProcessUser, uid: u32) -> bool {
    (FIRST_UID..=FIRST_UID + BLOCKS * UIDS).contains(&uid) || user == ProcessUser::Fixed(uid)
}

/// Takes users that no other daemon on this machine has, for as long as the file is open.
///
/// Without it two daemons would give the same user to strangers, and each would end the other's processes.
fn claim_users() -> io::Result<(u32, File)> {
    let hint = |why: io::Error| {
        let text = format!(
            "cannot claim users for functions in {CLAIMS}: {why}; make it writable, or choose with --process-user"
        );
        io::Error::new(why.kind(), text)
    };
    let place = Path::new(CLAIMS);
    fs::create_dir_all(place).map_err(hint)?;
    for block in 0..BLOCKS {
        let path = place.join(format!("users-{}", FIRST_UID + block * UIDS));
        let file =
            File::options().create(true).truncate(false).write(true).mode(0o600).open(path).map_err(hint)?;
        if flock(&file, FlockOperation::NonBlockingLockExclusive).is_ok() {
            return Ok((FIRST_UID + block * UIDS, file));
        }
    }
    Err(hint(io::Error::other(format!("{BLOCKS} daemons have them all"))))
}

/// Whether the range exists where this daemon runs: containers often have the first 65 536 users alone.
fn may_be_any_user() -> bool {
    if !has_capabilities() {
        return false;
    }
    let Ok(map) = fs::read_to_string("/proc/self/uid_map") else { return false };
    map.lines().any(|line| {
        let mut numbers = line.split_whitespace().filter_map(|number| number.parse::<u64>().ok());
        let (Some(first), Some(_), Some(count)) = (numbers.next(), numbers.next(), numbers.next()) else {
            return false;
        };
        first <= u64::from(FIRST_UID) && u64::from(FIRST_UID + BLOCKS * UIDS) < first.saturating_add(count)
    })
}

/// Whether this daemon may give files away, and become and end other users, as root may unless it was taken from it.
fn has_capabilities() -> bool {
    // CAP_CHOWN, CAP_KILL, CAP_SETGID and CAP_SETUID of `linux/capability.h`.
    const NEEDED: u64 = 1 << 0 | 1 << 5 | 1 << 6 | 1 << 7;
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let effective = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    effective
        .and_then(|bits| u64::from_str_radix(bits.trim(), 16).ok())
        .is_some_and(|bits| bits & NEEDED == NEEDED)
}

/// The run directory, and who is who in it.
#[derive(Clone)]
pub(super) struct Sandbox(Arc<Shared>);

struct Shared {
    user: ProcessUser,
    /// The first of this daemon's users, and the lock that makes them its own.
    users: Option<(u32, File)>,
    root: PathBuf,
    sweeper: Sweeper,
    free: Mutex<Free>,
    free_groups: Mutex<Numbers>,
}

/// A thread that removes what is nobody's any more: how long that takes is up to whoever left it there, so nobody waits.
struct Sweeper(mpsc::Sender<(PathBuf, mpsc::Sender<()>)>);

impl Sweeper {
    fn start() -> io::Result<Sweeper> {
        let (sender, places) = mpsc::channel::<(PathBuf, mpsc::Sender<()>)>();
        let sweep = move || {
            for (place, done) in places {
                if let Err(error) = remove_unpacked(&place) {
                    tracing::warn!(%error, place = %place.display(), "files of functions stay behind");
                }
                // Hardly anybody waits for it.
                let _ = done.send(());
            }
        };
        std::thread::Builder::new().name("sweeper".to_owned()).spawn(sweep)?;
        Ok(Sweeper(sender))
    }

    /// Has a place removed after those before; what is given hangs up or says so once it is.
    fn remove(&self, place: &Path) -> mpsc::Receiver<()> {
        let (done, is_done) = mpsc::channel();
        // The thread lives as long as this does.
        let _ = self.0.send((place.to_owned(), done));
        is_done
    }
}

#[derive(Default)]
struct Free {
    users: Numbers,
    scratches: u64,
}

/// Which of a block's numbers are nobody's.
#[derive(Default)]
struct Numbers {
    next: u32,
    returned: BTreeSet<u32>,
}

/// The group of the processes that run some code, given back when dropped.
pub(super) struct Readers {
    shared: Arc<Shared>,
    pub(super) group: u32,
}

/// What one process has: a user and a directory, taken back when dropped.
pub(super) struct Cell {
    shared: Arc<Shared>,
    /// Its user; `None` is the daemon's.
    pub(super) id: Option<u32>,
    /// Where it may write.
    pub(super) scratch: PathBuf,
}

impl Sandbox {
    /// Makes the run directory, and removes those that daemons on this data directory left behind.
    ///
    /// A daemon that still runs `beside` has not left its own: that one is noted for the next daemon to look after.
    pub(super) fn open(user: ProcessUser, data_dir: &Path, beside: bool) -> io::Result<Sandbox> {
        let users = if user == ProcessUser::Own { Some(claim_users()?) } else { None };
        let note = data_dir.join(NOTE);
        let noted = fs::read_to_string(&note).unwrap_or_default();
        let sweeper = Sweeper::start()?;
        if !beside {
            let left = noted.lines().map(|left| Path::new(left.trim())).filter(|left| is_left_behind(left));
            left.for_each(|left| drop(sweeper.remove(left)));
        }
        // Strangers' code runs on this machine from now on, as other users.
        fs::set_permissions(data_dir, Permissions::from_mode(0o700))?;
        let root = tempfile::Builder::new().prefix(PREFIX).tempdir()?.keep();
        for place in [root.clone(), root.join("code"), root.join("scratch"), root.join("view")] {
            if place != root {
                fs::create_dir(&place)?;
            }
            // To be passed through, and not to be listed.
            fs::set_permissions(&place, Permissions::from_mode(0o711))?;
        }
        let others = noted.lines().filter(|other| Path::new(other.trim()).is_dir());
        let lines: Vec<String> = others.map(str::to_owned).chain([root.display().to_string()]).collect();
        fs::write(&note, lines.join("\n"))?;
        fs::set_permissions(&note, Permissions::from_mode(0o600))?;
        Ok(Sandbox(Arc::new(Shared {
            user,
            users,
            root,
            sweeper,
            free: Mutex::default(),
            free_groups: Mutex::default(),
        })))
    }

    /// Where code is unpacked.
    pub(super) fn code(&self) -> PathBuf {
        self.0.root.join("code")
    }

    /// An empty directory to mount on.
    pub(super) fn view(&self) -> PathBuf {
        self.0.root.join("view")
    }

    /// What no process is to see of it, nor of other daemons.
    pub(super) fn hidden(&self) -> Vec<PathBuf> {
        vec![self.0.root.clone(), PathBuf::from(CLAIMS)]
    }

    /// Whether processes can be told apart by their users.
    pub(super) fn tells_apart(&self) -> bool {
        self.0.user == ProcessUser::Own
    }

    /// A user and an empty directory for one process.
    pub(super) fn cell(&self) -> io::Result<Cell> {
        let (id, number) = {
            let mut free = self.0.free.lock().unwrap_or_else(PoisonError::into_inner);
            free.scratches += 1;
            let id = match (self.0.user, &self.0.users) {
                (_, Some((first, _))) => Some(first + free.users.take()?),
                (ProcessUser::Fixed(id), None) => Some(id),
                (ProcessUser::Own | ProcessUser::Namespace | ProcessUser::Same, None) => None,
            };
            (id, free.scratches)
        };
        let scratch = self.0.root.join("scratch").join(number.to_string());
        let cell = Cell { shared: Arc::clone(&self.0), id, scratch };
        fs::create_dir(&cell.scratch)?;
        fs::set_permissions(&cell.scratch, Permissions::from_mode(0o700))?;
        if let Some(id) = cell.id {
            chown(&cell.scratch, Some(id), None)?;
        }
        Ok(cell)
    }

    /// A group that only the processes of one code will have; `None` where they are the daemon's user.
    pub(super) fn readers(&self) -> io::Result<Option<Readers>> {
        let group = match (self.0.user, &self.0.users) {
            (_, Some((first, _))) => {
                let mut free = self.0.free_groups.lock().unwrap_or_else(PoisonError::into_inner);
                Some(first + free.take()?)
            }
            (ProcessUser::Fixed(id), None) => Some(id),
            (ProcessUser::Own | ProcessUser::Namespace | ProcessUser::Same, None) => None,
        };
        Ok(group.map(|group| Readers { shared: Arc::clone(&self.0), group }))
    }

    /// Removes everything; nothing runs any more.
    pub(super) fn close(&self) {
        let is_done = self.0.sweeper.remove(&self.0.root);
        if is_done.recv_timeout(CLOSE_MAX) == Err(mpsc::RecvTimeoutError::Timeout) {
            let place = self.0.root.display();
            tracing::warn!(%place, "functions left more than is removed in a moment; the next start goes on with it");
        }
    }
}

impl Numbers {
    fn take(&mut self) -> io::Result<u32> {
        if self.next < UIDS {
            self.next += 1;
            return Ok(self.next - 1);
        }
        // The one longest unused is not known; the least does.
        self.returned.pop_first().ok_or_else(|| {
            io::Error::other("more processes or codes than there are users and groups for them")
        })
    }
}

impl Drop for Cell {
    fn drop(&mut self) {
        if let (Some((first, _)), Some(id)) = (&self.shared.users, self.id) {
            kill_all_of(id);
            // Its next owner finds nothing of it, however long it stays.
            let _ = chown(&self.scratch, Some(getuid().as_raw()), None);
            let mut free = self.shared.free.lock().unwrap_or_else(PoisonError::into_inner);
            free.users.returned.insert(id - first);
        }
        drop(self.shared.sweeper.remove(&self.scratch));
    }
}

impl Drop for Readers {
    fn drop(&mut self) {
        if let Some((first, _)) = &self.shared.users {
            let mut free = self.shared.free_groups.lock().unwrap_or_else(PoisonError::into_inner);
            free.returned.insert(self.group - first);
        }
    }
}

/// Ends what is left of a user's processes: those that hid from their group.
fn kill_all_of(uid: u32) {
    let Ok(entries) = fs::read_dir("/proc") else { return };
    for entry in entries.flatten() {
        let pid = entry.file_name().to_str().and_then(|name| name.parse().ok()).and_then(Pid::from_raw);
        if let Some(pid) = pid
            && entry.metadata().is_ok_and(|found| found.uid() == uid)
        {
            // It may be gone by now, which is as good.
            let _ = kill_process(pid, Signal::KILL);
        }
    }
}

/// Whether a place is a run directory of this user's that a daemon has left.
fn is_left_behind(left: &Path) -> bool {
    left.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(PREFIX.as_bytes()))
        && left.parent() == Some(std::env::temp_dir().as_path())
        && fs::symlink_metadata(left).is_ok_and(|found| found.is_dir() && found.uid() == getuid().as_raw())
}
