//! Whom serin knows now: the principals are read again when their files change, so that nobody who was taken out of them
//! is known until a restart.
//!
//! What is read replaces what was known in one step. Files that are no good change nothing; the log says so, and
//! `problem` until they are.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::{ArcSwap, ArcSwapOption, Guard};

use super::{Access, AccessError};

/// How often the files are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// Everybody whom serin knows, at any moment.
#[derive(Default)]
pub struct AccessControl {
    current: ArcSwap<Access>,
    problem: ArcSwapOption<String>,
    token: Option<String>,
    principals: Option<PathBuf>,
    seen: Mutex<Seen>,
}

/// Files, and what told them from other versions of themselves when they were read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Seen(Vec<(PathBuf, Option<Mark>)>);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Mark {
    file: (u64, u64),
    bytes: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Seen {
    fn of(files: impl IntoIterator<Item = PathBuf>) -> Seen {
        let mark = |path: &Path| {
            let found = std::fs::metadata(path).ok()?;
            Some(Mark {
                file: (found.dev(), found.ino()),
                bytes: found.len(),
                modified: (found.mtime(), found.mtime_nsec()),
                changed: (found.ctime(), found.ctime_nsec()),
            })
        };
        Seen(files.into_iter().map(|path| (path.clone(), mark(&path))).collect())
    }

    fn has_changed(&self) -> bool {
        Seen::of(self.0.iter().map(|(path, _)| path.clone())) != *self
    }
}

impl AccessControl {
    /// Reads SERIN_TOKEN's value and the file of principals for the first time.
    pub fn open(token: Option<&str>, principals: Option<&Path>) -> Result<AccessControl, AccessError> {
        let control = AccessControl {
            token: token.map(str::to_owned),
            principals: principals.map(Path::to_owned),
            ..AccessControl::default()
        };
        control.read()?;
        Ok(control)
    }

    /// Those known at this moment; to be asked for once a request.
    pub fn now(&self) -> Guard<Arc<Access>> {
        self.current.load()
    }

    /// What is wrong with the file of principals, while those before are the ones known.
    pub fn problem(&self) -> Option<Arc<String>> {
        self.problem.load_full()
    }

    fn read(&self) -> Result<(), AccessError> {
        let tokens = || Access::from_setting(self.token.as_deref());
        let Some(path) = &self.principals else {
            self.current.store(Arc::new(tokens()?));
            return Ok(());
        };
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            // Looked at before they are read, so that what changes meanwhile is read again.
            let secrets = self.now().secret_files.clone();
            *seen = Seen::of([path.clone()].into_iter().chain(secrets.iter().cloned()));
            let access = tokens()?.with_principals(path)?;
            let has_all = access.secret_files.iter().all(|file| secrets.contains(file));
            self.current.store(Arc::new(access));
            if has_all {
                return Ok(());
            }
        }
    }

    /// Takes over what the files say now, if they have changed; says in the log what came of it, where `is_asked` also
    /// that nothing did.
    pub fn look(&self, is_asked: bool) {
        let Some(path) = &self.principals else { return };
        let has_changed = self.seen.lock().unwrap_or_else(PoisonError::into_inner).has_changed();
        if !has_changed && !is_asked {
            return;
        }
        match self.read() {
            Ok(()) => {
                self.problem.store(None);
                let (owners, others) = self.now().principals();
                tracing::info!(owners, others, "the principals are those that are in {} now", path.display());
            }
            Err(why) => {
                let why = in_full(&why);
                tracing::error!("the principals stay those that were read before: {why}");
                self.problem.store(Some(Arc::new(why)));
            }
        }
    }
}

/// An error and what caused it, in one line.
fn in_full(error: &dyn std::error::Error) -> String {
    let cause = error.source().map(|cause| format!(": {}", in_full(cause)));
    error.to_string() + &cause.unwrap_or_default()
}

/// Looks at the files now and then, on a thread of its own, until it is dropped.
pub struct Watching(Sender<()>);

impl Watching {
    /// Begins to look.
    pub fn begin(control: Arc<AccessControl>) -> std::io::Result<Watching> {
        let (ask, asked) = channel();
        if control.principals.is_some() {
            std::thread::Builder::new()
                .name("principals".to_owned())
                .spawn(move || watch(&control, &asked))?;
        }
        Ok(Watching(ask))
    }

    /// Looks now.
    pub fn look(&self) {
        // Nobody listens where there are no principals.
        let _ = self.0.send(());
    }
}

fn watch(control: &AccessControl, asked: &Receiver<()>) {
    loop {
        match asked.recv_timeout(LOOK_EVERY) {
            Ok(()) => control.look(true),
            Err(RecvTimeoutError::Timeout) => control.look(false),
            Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn write(path: &Path, text: &str) {
        let beside = path.with_extension("new");
        std::fs::write(&beside, text).unwrap();
        std::fs::set_permissions(&beside, PermissionsExt::from_mode(0o600)).unwrap();
        std::fs::rename(&beside, path).unwrap();
    }

    fn principals(secrets: &[&str]) -> String {
        let entry = |secret: &&str| {
            format!(
                "  - principal: arn:aws:iam::000000000000:user/{secret}\n    owner: true\n    token: {{inline: {secret}}}\n"
            )
        };
        format!("principals:\n{}", secrets.iter().map(entry).collect::<String>())
    }

    #[test]
    fn whoever_is_taken_out_is_not_known_any_more_and_a_broken_file_changes_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("principals.yaml");
        let (ana, bo) = ("ana-who-has-a-long-token", "bo-who-has-a-long-token");
        write(&path, &principals(&[ana, bo]));
        let control = AccessControl::open(None, Some(&path)).unwrap();
        let known = || [ana, bo].map(|token| control.now().holder(token).is_some());
        assert_eq!(known(), [true, true]);

        write(&path, &principals(&[ana]));
        control.look(false);
        assert_eq!((known(), control.problem()), ([true, false], None));

        write(&path, "principals: [");
        control.look(false);
        assert_eq!(known(), [true, false]);
        let problem = control.problem().unwrap();
        assert!(problem.contains("principals.yaml"), "{problem}");

        write(&path, &principals(&[bo]));
        control.look(false);
        assert_eq!((known(), control.problem()), ([false, true], None));

        std::fs::remove_file(&path).unwrap();
        control.look(false);
        assert_eq!(known(), [false, true]);
        assert!(control.problem().is_some());
    }

    #[test]
    fn a_file_that_a_secret_is_in_counts_too() {
        let dir = tempfile::tempdir().unwrap();
        let (path, secret) = (dir.path().join("principals.yaml"), dir.path().join("ana.token"));
        write(&secret, "the-token-that-ana-has-first\n");
        write(
            &path,
            "principals:\n  - principal: arn:aws:iam::000000000000:user/ana\n    owner: true\n    token: {file: ana.token}\n",
        );
        let control = AccessControl::open(None, Some(&path)).unwrap();
        write(&secret, "the-token-that-ana-has-second\n");
        control.look(false);
        let known = ["the-token-that-ana-has-first", "the-token-that-ana-has-second"];
        assert_eq!(known.map(|token| control.now().holder(token).is_some()), [false, true]);
    }
}
