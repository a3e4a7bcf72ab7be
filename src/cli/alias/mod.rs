//! `serin alias`: what can be done with aliases.

mod create;
mod delete;
mod get;
mod list;
mod update;

use std::collections::BTreeMap;

use clap::Subcommand;

use super::exit::Exit;
use super::flags::VersionWeight;
use super::function::OfFunction;
use super::render::Look;
use super::render::sections::labelled;
use super::render::words;
use super::session::Session;
use crate::api::wire::AliasView;

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Make an alias.
    Create(create::Args),
    /// Change an alias; while a rollout moves it, that is drift.
    Update(update::Args),
    /// Show one alias.
    Get(get::Args),
    /// List a function's aliases.
    List(OfFunction),
    /// Delete an alias that no rollout is moving.
    Delete(delete::Args),
}

impl Command {
    /// Does it.
    pub fn run(&self, session: &Session) -> anyhow::Result<Exit> {
        match self {
            Command::Create(args) => create::run(args, session),
            Command::Update(args) => update::run(args, session),
            Command::Get(args) => get::run(args, session),
            Command::List(args) => list::run(args, session),
            Command::Delete(args) => delete::run(args, session),
        }
    }
}

/// Additional versions as the wire has them.
fn additional(weights: &[VersionWeight]) -> BTreeMap<String, f64> {
    weights.iter().map(|beside| (beside.version.to_string(), beside.weight.fraction())).collect()
}

/// An alias in a few lines.
fn shown(alias: &AliasView, look: &Look) -> String {
    let mut rows = vec![
        ("alias", format!("{}:{}", alias.function, alias.name)),
        ("traffic", alias.routing.text.clone()),
    ];
    rows.extend(alias.rollout.iter().map(|id| ("rollout", id.clone())));
    rows.extend(alias.quarantine.iter().map(|why| ("quarantine", why.clone())));
    rows.extend(alias.tunnels.iter().map(|left| ("tunnels", left.text.clone())));
    if !alias.description.is_empty() {
        rows.push(("text", alias.description.clone()));
    }
    rows.push(("changed", words::ago(&alias.updated_at, look)));
    rows.push(("revision", alias.revision_id.clone()));
    let line = |(label, text): (&str, String)| {
        let mut line = labelled(label);
        line.pad_to(11).add(look.words(&text));
        line
    };
    look.print(&rows.into_iter().map(line).collect::<Vec<_>>())
}
