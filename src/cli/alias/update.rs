//! `serin alias update`: changes an alias by hand.

use std::collections::BTreeMap;

use super::{additional, shown};
use crate::api::wire::UpdateAliasRequest;
use crate::cli::exit::Exit;
use crate::cli::flags::{ChangeFlags, TableOrJson, VersionWeight, json};
use crate::cli::render::words;
use crate::cli::session::Session;
use serin_core::model::arn::{AliasId, VersionId};

/// What to change; what is not said stays.
#[derive(Debug, clap::Args)]
#[command(group = clap::ArgGroup::new("what").required(true).multiple(true)
          .args(["version", "weight", "clear_weights", "description"]))]
pub struct Args {
    /// The alias, as function:alias.
    #[arg(value_name = "FUNCTION:ALIAS")]
    alias: AliasId,
    /// Its function version: a number, or $LATEST.
    #[arg(long, value_name = "N")]
    version: Option<VersionId>,
    /// One more version and its share, as in 42=3%; the rest stays with the function version.
    #[arg(long, value_name = "N=SHARE", conflicts_with = "clear_weights")]
    weight: Vec<VersionWeight>,
    /// All traffic to the function version.
    #[arg(long)]
    clear_weights: bool,
    /// Free text.
    #[arg(long, value_name = "TEXT")]
    description: Option<String>,
    /// Only if this still is its RevisionId.
    #[arg(long, value_name = "ID")]
    revision_id: Option<String>,
    /// How it is printed.
    #[arg(long, short, value_enum, value_name = "FORM", default_value = "table")]
    output: TableOrJson,
    #[command(flatten)]
    change: ChangeFlags,
}

/// Does it.
pub fn run(args: &Args, session: &Session) -> anyhow::Result<Exit> {
    let weights = match (args.weight.as_slice(), args.clear_weights) {
        ([], false) => None,
        ([], true) => Some(BTreeMap::new()),
        (weights, _) => Some(additional(weights)),
    };
    let request = UpdateAliasRequest {
        function_version: args.version.map(|version| version.to_string()),
        additional_weights: weights,
        description: args.description.clone(),
        revision_id: args.revision_id.clone(),
        reason: None,
    };
    let (function, name) = (args.alias.function.as_str(), args.alias.alias.as_str());
    let alias = session.client()?.update_alias(function, name, &request, &args.change.change())?;
    if let Some(rollout) = &alias.rollout {
        session.terminal.note(&format!(
            "rollout {} is moving this alias; `serin status {}` shows what it makes of the change",
            words::short_id(rollout),
            args.alias
        ));
    }
    session.terminal.print(&match args.output {
        TableOrJson::Json => json(&alias),
        TableOrJson::Table => shown(&alias, &session.terminal.look()),
    })?;
    Ok(Exit::Done)
}
