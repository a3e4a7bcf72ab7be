//! `serin alias create`: makes an alias.

use super::{additional, shown};
use crate::api::wire::CreateAliasRequest;
use crate::cli::exit::Exit;
use crate::cli::flags::{ChangeFlags, TableOrJson, VersionWeight, json};
use crate::cli::session::Session;
use serin_core::model::arn::{AliasId, VersionId};

/// What to make.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The alias, as function:alias.
    #[arg(value_name = "FUNCTION:ALIAS")]
    alias: AliasId,
    /// Its function version: a number, or $LATEST.
    #[arg(long, value_name = "N")]
    version: VersionId,
    /// One more version and its share, as in 42=3%; the rest stays with the function version.
    #[arg(long, value_name = "N=SHARE")]
    weight: Vec<VersionWeight>,
    /// Free text.
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    description: String,
    /// How it is printed.
    #[arg(long, short, value_enum, value_name = "FORM", default_value = "table")]
    output: TableOrJson,
    #[command(flatten)]
    change: ChangeFlags,
}

/// Does it.
pub fn run(args: &Args, session: &Session) -> anyhow::Result<Exit> {
    let request = CreateAliasRequest {
        function_version: args.version.to_string(),
        additional_weights: additional(&args.weight),
        description: args.description.clone(),
        reason: None,
    };
    let (function, name) = (args.alias.function.as_str(), args.alias.alias.as_str());
    let alias = session.client()?.create_alias(function, name, &request, &args.change.change())?;
    session.terminal.print(&match args.output {
        TableOrJson::Json => json(&alias),
        TableOrJson::Table => shown(&alias, &session.terminal.look()),
    })?;
    Ok(Exit::Done)
}
