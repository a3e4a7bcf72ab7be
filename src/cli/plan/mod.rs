//! `serin plan`: the daemon's plan files, and those that come of other tools' manifests.

mod import;
mod list;
mod show;

use clap::Subcommand;

use super::exit::Exit;
use super::session::Session;
use crate::cli::render::tone::Tone;

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// List the files of the daemon's plans directory.
    List(list::Args),
    /// Show one plan with every default filled in, and what is wrong with it.
    Show(show::Args),
    /// Write a plan from an Argo Rollout, a Flagger Canary, a SAM template or an application of PipeCD.
    Import(import::Args),
}

impl Command {
    /// Does it.
    pub fn run(&self, session: &Session) -> anyhow::Result<Exit> {
        match self {
            Command::List(args) => list::run(args, session),
            Command::Show(args) => show::run(args, session),
            Command::Import(args) => import::run(args, session),
        }
    }
}

/// The tone of a file's state.
fn tone(state: &str) -> Tone {
    match state {
        "ok" => Tone::Good,
        "faulty" => Tone::Bad,
        "warnings" => Tone::Caution,
        _ => Tone::Quiet,
    }
}
