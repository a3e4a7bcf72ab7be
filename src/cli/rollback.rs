//! `serin rollback`: goes back, in flight and after success, or from any state to a version by its number.

use super::exit::Exit;
use super::flags::{ChangeFlags, Target};
use super::session::Session;
use serin_core::model::arn::VersionNumber;

const EXAMPLES: &str = "\
Examples:
  serin rollback checkout:live                    one version back; said twice, it changes nothing more
  serin rollback checkout:live --to 1             to this version at once, whatever is under way or queued";

/// What to take back, and how far.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// function:alias, or a rollout's id or the id's end.
    target: Target,
    /// All traffic to this version at once, from any state; what is under way or queued ends.
    #[arg(long, value_name = "VERSION")]
    to: Option<VersionNumber>,
    #[command(flatten)]
    change: ChangeFlags,
}

/// Does it.
pub fn run(args: &Args, session: &Session) -> anyhow::Result<Exit> {
    let to = args.to.map(|version| version.to_string());
    let reply = session.client()?.rollback(&args.target.to_string(), to.as_deref(), &args.change.change())?;
    session.say_done(&reply)
}
