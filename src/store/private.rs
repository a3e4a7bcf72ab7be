//! The files of a data directory are the daemon's alone: environments and policies are in them.

use std::fs::{DirBuilder, File, OpenOptions, Permissions, set_permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

use super::StoreError;

/// What files of serin's are called in a data directory, or begin with.
const OURS: [&str; 10] = [
    "serin.",
    "logs.db",
    "events.db",
    "reserve",
    "run-directory",
    "seal.key",
    "chain.key",
    "chain-head",
    "last-table",
    "evidence-aside",
];

/// Refuses a directory in which one of serin's files is a pipe: whoever opens that waits for its other end, for ever.
pub(super) fn refuse_pipes(dir: &Path) -> Result<(), StoreError> {
    // A directory that is not there, or not to be read, is for others to complain about.
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        let (name, path) = (entry.file_name(), entry.path());
        let is_ours = OURS.iter().any(|ours| name.to_string_lossy().starts_with(ours));
        // Of a link this is what it leads to, which is what would be opened.
        if is_ours && std::fs::metadata(&path).is_ok_and(|found| found.file_type().is_fifo()) {
            return Err(StoreError::Pipe { path });
        }
    }
    Ok(())
}

/// Makes a directory that nobody else may look into; in one that is there, what an older serin left readable by others is
/// its owner's alone from here on.
pub(super) fn directory(dir: &Path) -> Result<(), StoreError> {
    make_durably(dir).map_err(StoreError::file("make the data directory", dir))?;
    for entry in std::fs::read_dir(dir).map_err(StoreError::file("read", dir))?.flatten() {
        let name = entry.file_name();
        let is_ours = OURS.iter().any(|ours| name.to_string_lossy().starts_with(ours));
        let is_open = |found: std::fs::Metadata| found.is_file() && found.permissions().mode() & 0o077 != 0;
        // Of a link this is the link's own, which is no file.
        if is_ours && entry.metadata().is_ok_and(is_open) {
            let path = entry.path();
            set_permissions(&path, Permissions::from_mode(0o600))
                .map_err(StoreError::file("keep from others", &path))?;
        }
    }
    Ok(())
}

/// Makes a directory, and those above it that are missing, and syncs where each is named: a power loss takes with a name
/// all that was stored below it, however well that was synced.
fn make_durably(dir: &Path) -> io::Result<()> {
    let missing: Vec<&Path> = dir.ancestors().take_while(|above| !above.exists()).collect();
    DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
    for made in missing.into_iter().rev() {
        let named_in =
            made.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        match File::open(named_in) {
            // Who may make something there and not look there cannot sync it either.
            Err(why) if why.kind() == io::ErrorKind::PermissionDenied => {}
            opened => opened?.sync_all()?,
        }
    }
    Ok(())
}

/// Sees to it that a database's file is there and nobody else's, before SQLite makes it with the rights of anything.
///
/// What SQLite puts beside it gets its rights. A link is not followed to where it leads.
pub(super) fn database(path: &Path) -> Result<(), StoreError> {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(false).mode(0o600).custom_flags(libc::O_NOFOLLOW);
    let opened = options.open(path);
    let tightened = opened.and_then(|file| {
        let is_open = file.metadata()?.permissions().mode() & 0o077 != 0;
        if is_open { file.set_permissions(Permissions::from_mode(0o600)) } else { Ok(()) }
    });
    tightened.map_err(StoreError::file("keep from others", path))?;
    for beside in ["-wal", "-shm"] {
        let mut name = path.as_os_str().to_owned();
        name.push(beside);
        match set_permissions(&name, Permissions::from_mode(0o600)) {
            Err(why) if why.kind() != io::ErrorKind::NotFound => {
                return Err(StoreError::file("keep from others", Path::new(&name))(why));
            }
            _ => {}
        }
    }
    Ok(())
}

/// Makes a file that was not there, for writing, which is nobody else's.
pub(super) fn new_file(path: &Path) -> io::Result<std::fs::File> {
    OpenOptions::new().write(true).create_new(true).mode(0o600).custom_flags(libc::O_NOFOLLOW).open(path)
}

#[cfg(test)]
mod tests {
    use rustix::fs::{CWD, FileType, Mode, mknodat};

    use super::*;

    #[test]
    fn a_pipe_among_the_files_is_refused_and_not_opened() {
        let dir = tempfile::tempdir().unwrap();
        let pipe = |name: &str| {
            let path = dir.path().join(name);
            mknodat(CWD, &path, FileType::Fifo, Mode::from_raw_mode(0o600), 0).unwrap();
            path
        };
        pipe("somebodys");
        refuse_pipes(dir.path()).unwrap();
        refuse_pipes(&dir.path().join("nowhere")).unwrap();
        for name in OURS {
            let path = pipe(name);
            let why = refuse_pipes(dir.path()).unwrap_err().to_string();
            assert!(why.starts_with(&format!("{} is a pipe", path.display())), "{why}");
            std::fs::remove_file(&path).unwrap();
        }
        std::os::unix::fs::symlink(dir.path().join("somebodys"), dir.path().join("serin.db")).unwrap();
        assert!(refuse_pipes(dir.path()).is_err());
        assert!(crate::store::header::read(&dir.path().join("serin.db")).is_err());
    }

    #[test]
    fn what_others_could_read_is_the_owners_alone_afterwards() {
        let dir = tempfile::tempdir().unwrap();
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        let (made, old, wal) =
            (dir.path().join("a/b"), dir.path().join("old.db"), dir.path().join("old.db-wal"));
        directory(&made).unwrap();
        assert_eq!(mode(&made), 0o700);
        for file in [&old, &wal] {
            std::fs::write(file, "x").unwrap();
            set_permissions(file, Permissions::from_mode(0o644)).unwrap();
        }
        database(&old).unwrap();
        assert_eq!((mode(&old), mode(&wal), std::fs::read(&old).unwrap()), (0o600, 0o600, b"x".to_vec()));
        database(&made.join("new.db")).unwrap();
        assert_eq!(mode(&made.join("new.db")), 0o600);
        let link = dir.path().join("link.db");
        std::os::unix::fs::symlink(&old, &link).unwrap();
        assert!(database(&link).is_err() && new_file(&link).is_err() && new_file(&old).is_err());
    }
}
