//! `serin retry`: starts an ended rollout's plan and version anew.

use super::exit::Exit;
use super::session::Session;
use super::verb::Args;
use crate::client::PlainVerb;

/// Does it.
pub fn run(args: &Args, session: &Session) -> anyhow::Result<Exit> {
    let reply = session.client()?.act(&args.target.to_string(), PlainVerb::Retry, &args.change.change())?;
    session.say_started(&reply)?;
    Ok(Exit::Done)
}
