//! `serin alias delete`: deletes an alias that no rollout is moving.

use crate::cli::exit::Exit;
use crate::cli::flags::ChangeFlags;
use crate::cli::session::Session;
use serin_core::model::arn::AliasId;

/// Which alias.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The alias, as function:alias.
    #[arg(value_name = "FUNCTION:ALIAS")]
    alias: AliasId,
    #[command(flatten)]
    change: ChangeFlags,
}

/// Does it.
pub fn run(args: &Args, session: &Session) -> anyhow::Result<Exit> {
    let (function, name) = (args.alias.function.as_str(), args.alias.alias.as_str());
    let reply = session.client()?.delete_alias(function, name, &args.change.change())?;
    let done = if reply.existed { "is deleted" } else { "was not there" };
    session.terminal.print(&format!("alias {} {done}\n", args.alias))?;
    Ok(Exit::Done)
}
