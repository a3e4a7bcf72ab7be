//! `serin rollback`: goes back to the version before, in flight and after success.

use super::exit::Exit;
use super::session::Session;
use super::verb::{Args, act};
use crate::client::PlainVerb;

/// Does it.
pub fn run(args: &Args, session: &Session) -> anyhow::Result<Exit> {
    act(args, PlainVerb::Rollback, session)
}
