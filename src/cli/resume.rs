//! `serin resume`: ends a pause by a person, the plan or drift.

use super::exit::Exit;
use super::flags::{ChangeFlags, Target};
use super::session::Session;
use crate::api::wire::{DriftChoice, ResumeRequest};

/// What to resume, and after drift, from where.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// function:alias, or a rollout's id or the id's end.
    target: Target,
    /// After somebody else changed the alias: put the plan's weight back, and go on.
    #[arg(long, conflicts_with = "adopt")]
    restore: bool,
    /// After somebody else changed the alias: keep what they made of it, and go on from there.
    #[arg(long)]
    adopt: bool,
    #[command(flatten)]
    change: ChangeFlags,
}

/// Does it.
pub fn run(args: &Args, session: &Session) -> anyhow::Result<Exit> {
    let drift = match (args.restore, args.adopt) {
        (true, _) => Some(DriftChoice::Restore),
        (_, true) => Some(DriftChoice::Adopt),
        _ => None,
    };
    let request = ResumeRequest { drift, reason: None };
    let reply = session.client()?.resume(&args.target.to_string(), &request, &args.change.change())?;
    session.say_done(&reply)
}
