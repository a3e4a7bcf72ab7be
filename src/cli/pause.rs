//! `serin pause`: keeps the weight and waits for `resume`; the canary is still judged.

use super::exit::Exit;
use super::session::Session;
use super::verb::{Args, act};
use crate::client::PlainVerb;

/// Does it.
pub fn run(args: &Args, session: &Session) -> anyhow::Result<Exit> {
    act(args, PlainVerb::Pause, session)
}
