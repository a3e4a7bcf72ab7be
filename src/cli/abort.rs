//! `serin abort`: ends a rollout, canary weight 0; saying it twice does no harm.

use super::exit::Exit;
use super::session::Session;
use super::verb::{Args, act};
use crate::client::PlainVerb;

/// Does it.
pub fn run(args: &Args, session: &Session) -> anyhow::Result<Exit> {
    act(args, PlainVerb::Abort, session)
}
