//! What the verbs without flags of their own share: a target, a reason, a key, and how the reply is said.

use super::exit::Exit;
use super::flags::{ChangeFlags, Target};
use super::session::Session;
use crate::client::PlainVerb;

/// A target and what every change carries.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// function:alias, or a rollout's id or the id's end.
    pub target: Target,
    #[command(flatten)]
    pub change: ChangeFlags,
}

/// Does a verb on its target.
pub fn act(args: &Args, verb: PlainVerb, session: &Session) -> anyhow::Result<Exit> {
    let reply = session.client()?.act(&args.target.to_string(), verb, &args.change.change())?;
    session.say_done(&reply)
}
