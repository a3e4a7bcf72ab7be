//! `serin backup`: a whole, consistent copy of the store, through the daemon or beside it, to a file of whoever types.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use rustix::fs::{CWD, RenameFlags, renameat_with};

use super::exit::Exit;
use super::flags::reason;
use super::session::Session;
use crate::chance;
use crate::client::ClientError;
use crate::clock;
use crate::daemon;

const EXAMPLES: &str = "\
Examples:
  serin backup --to serin-$(date +%F).db --reason nightly    through the daemon, wherever it is
  serin backup --to copy.db --data-dir DIR                   straight from a data directory, whether or not a daemon runs

The file is yours alone (mode 0600). Functions' environments are in it, and whatever secrets they hold: keep it as you
keep those. What keeps sticky users on their version is in it, too. The key that seals links to code is not; it stays in
DIR/seal.key. The zips that functions run are files of their own: copy DIR/code along with the backup.";

/// Where to.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// The file to write, on this machine; it must not be there yet.
    #[arg(long, value_name = "FILE")]
    to: PathBuf,
    /// Copy this data directory's store without asking a daemon.
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Why; the daemon's log keeps it.
    #[arg(long, value_name = "WHY", value_parser = reason, conflicts_with = "data_dir")]
    reason: Option<String>,
}

/// Does it.
pub fn run(args: &Args, session: &Session) -> anyhow::Result<Exit> {
    let to = std::path::absolute(&args.to)
        .with_context(|| format!("cannot tell where {} is", args.to.display()))?;
    if to.symlink_metadata().is_ok() {
        bail!("{} is there already; a backup goes to a new file", to.display());
    }
    let (unfinished, mut file) = begin(&to)?;
    let written = write(args, session, &mut file).and_then(|()| put(&unfinished, &file, &to));
    if written.is_err() {
        // What is half a backup is none.
        let _ = std::fs::remove_file(&unfinished);
    }
    written?;
    session.terminal.print(&format!("{}\n", to.display()))?;
    session.terminal.note("the backup is whole; `serin restore --from FILE --data-dir DIR` puts it back");
    session.terminal.note("functions' environments are in it: keep it as you keep their secrets");
    Ok(Exit::Done)
}

/// A file beside the one that is wanted, which nobody else may read and no link leads elsewhere from.
fn begin(to: &Path) -> anyhow::Result<(PathBuf, File)> {
    let name = to.file_name().with_context(|| format!("{} names no file", to.display()))?;
    let mut unfinished = name.to_owned();
    unfinished.push(format!(".{}.partial", chance::new_id(clock::wall_now())));
    let unfinished = to.with_file_name(unfinished);
    let file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .custom_flags(libc::O_NOFOLLOW)
        .open(&unfinished)
        .with_context(|| format!("cannot write {}", unfinished.display()))?;
    Ok((unfinished, file))
}

fn write(args: &Args, session: &Session, file: &mut File) -> anyhow::Result<()> {
    match &args.data_dir {
        Some(dir) => {
            io::copy(&mut daemon::copy_of_store(dir)?, file).context("cannot write the backup")?;
        }
        None => {
            let client = session.client()?;
            client.back_up(args.reason.as_deref(), file).map_err(|error| match error {
                ClientError::Unreachable { .. } => anyhow::Error::new(error)
                    .context("no backup was made (--data-dir DIR copies a store without a daemon)"),
                error => error.into(),
            })?;
        }
    }
    Ok(())
}

/// Gives the whole file its name, unless something has that by now.
fn put(unfinished: &Path, file: &File, to: &Path) -> anyhow::Result<()> {
    file.sync_all().context("cannot sync the backup")?;
    let named = renameat_with(CWD, unfinished, CWD, to, RenameFlags::NOREPLACE);
    match named {
        // Some file systems cannot do it in one step; a second name that nothing has is as good.
        Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOSYS) => {
            std::fs::hard_link(unfinished, to)
                .and_then(|()| std::fs::remove_file(unfinished))
                .with_context(|| format!("cannot name the backup {}", to.display()))?;
        }
        named => named.with_context(|| format!("cannot name the backup {}", to.display()))?,
    }
    let directory = to.parent().unwrap_or(Path::new("/"));
    let synced = File::open(directory).and_then(|directory| directory.sync_all());
    if synced.is_err() {
        // The next try is to find its name free.
        let _ = std::fs::remove_file(to);
    }
    synced.context("cannot sync the backup's directory")
}
