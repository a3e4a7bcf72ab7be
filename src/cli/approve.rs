//! `serin approve`: approves the step that waits for approval.

use super::exit::Exit;
use super::session::Session;
use super::verb::{Args, act};
use crate::client::PlainVerb;

/// Does it.
pub fn run(args: &Args, session: &Session) -> anyhow::Result<Exit> {
    act(args, PlainVerb::Approve, session)
}
