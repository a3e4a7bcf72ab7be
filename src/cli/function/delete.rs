//! `serin function delete`: one version, or a function with everything that is its own.

use crate::cli::exit::Exit;
use crate::cli::flags::ChangeFlags;
use crate::cli::session::Session;
use serin_core::model::arn::{FunctionName, VersionNumber};

/// What to delete.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The function; with all its versions and aliases, unless a version is named.
    function: FunctionName,
    /// Delete this version alone.
    #[arg(long, value_name = "N")]
    version: Option<VersionNumber>,
    #[command(flatten)]
    change: ChangeFlags,
}

/// Does it.
pub fn run(args: &Args, session: &Session) -> anyhow::Result<Exit> {
    let (client, change) = (session.client()?, args.change.change());
    let function = args.function.as_str();
    let (reply, what) = match args.version {
        Some(version) => {
            let reply = client.delete_version(function, &version.to_string(), &change)?;
            (reply, format!("v{version} of {function}"))
        }
        None => (client.delete_function(function, &change)?, format!("function {function}")),
    };
    let done = if reply.existed { "is deleted" } else { "was not there" };
    session.terminal.print(&format!("{what} {done}\n"))?;
    Ok(Exit::Done)
}
