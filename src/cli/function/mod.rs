//! `serin function`: what can be done with functions and their versions.

mod delete;
mod get;
mod list;
mod publish;
mod versions;

use clap::Subcommand;

use super::exit::Exit;
use super::flags::TableOrJson;
use super::session::Session;
use serin_core::model::arn::FunctionName;

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Publish a version of an HTTP service, and print its number.
    Publish(publish::Args),
    /// List all functions.
    List(list::Args),
    /// List a function's versions, newest first.
    Versions(OfFunction),
    /// Show one function.
    Get(OfFunction),
    /// Delete a version, or a function with all its versions and aliases.
    Delete(delete::Args),
}

/// A function, and how what is said of it is printed.
#[derive(Debug, clap::Args)]
pub struct OfFunction {
    /// The function.
    pub function: FunctionName,
    /// How it is printed.
    #[arg(long, short, value_enum, value_name = "FORM", default_value = "table")]
    pub output: TableOrJson,
}

impl Command {
    /// Does it.
    pub fn run(&self, session: &Session) -> anyhow::Result<Exit> {
        match self {
            Command::Publish(args) => publish::run(args, session),
            Command::List(args) => list::run(args, session),
            Command::Versions(args) => versions::run(args, session),
            Command::Get(args) => get::run(args, session),
            Command::Delete(args) => delete::run(args, session),
        }
    }
}
