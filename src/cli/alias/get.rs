//! `serin alias get`: one alias.

use super::shown;
use crate::cli::exit::Exit;
use crate::cli::flags::{TableOrJson, json};
use crate::cli::session::Session;
use serin_core::model::arn::AliasId;

/// Which alias.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The alias, as function:alias.
    #[arg(value_name = "FUNCTION:ALIAS")]
    alias: AliasId,
    /// How it is printed.
    #[arg(long, short, value_enum, value_name = "FORM", default_value = "table")]
    output: TableOrJson,
}

/// Does it.
pub fn run(args: &Args, session: &Session) -> anyhow::Result<Exit> {
    let alias = session.client()?.alias(args.alias.function.as_str(), args.alias.alias.as_str())?;
    session.terminal.print(&match args.output {
        TableOrJson::Json => json(&alias),
        TableOrJson::Table => shown(&alias, &session.terminal.look()),
    })?;
    Ok(Exit::Done)
}
