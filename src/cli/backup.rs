//! `serin backup`: a whole, consistent copy of the store, through the daemon or beside it.

use std::path::PathBuf;

use anyhow::{Context, bail};

use super::exit::Exit;
use super::session::Session;
use crate::client::ClientError;
use crate::daemon;

const EXAMPLES: &str = "\
Examples:
  serin backup --to serin-$(date +%F).db          through the daemon
  serin backup --to copy.db --data-dir DIR        straight from a data directory, whether or not a daemon runs

The zips that functions run are files of their own: copy DIR/code along with the backup.";

/// Where to.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// The file to write; it must not be there yet. With a daemon elsewhere, a path on its machine.
    #[arg(long, value_name = "FILE")]
    to: PathBuf,
    /// Copy this data directory's store without asking a daemon.
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
}

/// Does it.
pub fn run(args: &Args, session: &Session) -> anyhow::Result<Exit> {
    let to = std::path::absolute(&args.to)
        .with_context(|| format!("cannot tell where {} is", args.to.display()))?;
    match &args.data_dir {
        Some(dir) => daemon::back_up_store(dir, &to)?,
        None => {
            let client = session.client()?;
            if client.is_on_this_machine() && to.exists() {
                bail!("{} is there already; a backup goes to a new file", to.display());
            }
            client.back_up(&to).map_err(|error| match error {
                ClientError::Unreachable { .. } => anyhow::Error::new(error)
                    .context("no backup was made (--data-dir DIR copies a store without a daemon)"),
                error => error.into(),
            })?;
        }
    }
    session.terminal.print(&format!("{}\n", to.display()))?;
    session.terminal.note("the backup is whole; `serin restore --from FILE --data-dir DIR` puts it back");
    Ok(Exit::Done)
}
