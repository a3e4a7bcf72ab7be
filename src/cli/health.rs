//! `serin health`: whether the daemon lives, for those who start it again where it does not.

use super::exit::Exit;
use super::session::Session;

const EXAMPLES: &str = "\
Examples:
  serin health                    does it live? Where not, only a restart helps
  serin health --ready            can it decide and store? Traffic flows either way, so restart nothing for it

Exit codes: 0 it does, 1 it does not, or is not there";

/// What is asked.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// Ask instead whether it can decide and store.
    #[arg(long)]
    ready: bool,
}

/// Does it; it takes no token, and says what the daemon says.
pub fn run(args: &Args, session: &Session) -> anyhow::Result<Exit> {
    let said = session.client()?.health(args.ready)?;
    session.terminal.print(&format!("{}\n", session.terminal.look().words(said.trim_end())))?;
    Ok(Exit::Done)
}
