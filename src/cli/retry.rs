//! `serin retry`: starts an ended rollout's plan and version anew.

use super::exit::Exit;
use super::session::Session;
use super::verb::{Args, act};
use crate::client::PlainVerb;

/// Does it.
pub fn run(args: &Args, session: &Session) -> anyhow::Result<Exit> {
    act(args, PlainVerb::Retry, session)
}
