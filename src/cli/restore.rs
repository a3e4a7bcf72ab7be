//! `serin restore`: puts a backup in the place of a store, and keeps the old one beside it.

use std::path::PathBuf;

use super::exit::Exit;
use super::session::Session;
use crate::daemon;

/// From where to where.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The backup.
    #[arg(long, value_name = "FILE")]
    from: PathBuf,
    /// The data directory; no daemon may run on it.
    #[arg(long, value_name = "DIR", env = "SERIN_DATA_DIR")]
    data_dir: PathBuf,
}

/// Does it.
pub fn run(args: &Args, session: &Session) -> anyhow::Result<Exit> {
    let kept = daemon::restore_store(&args.data_dir, &args.from)?;
    let (dir, from) = (args.data_dir.display(), args.from.display());
    session.terminal.print(&format!("{dir} holds what {from} held\n"))?;
    if let Some(kept) = kept {
        session.terminal.note(&format!("the store that was there is kept as {}", kept.display()));
    }
    Ok(Exit::Done)
}
