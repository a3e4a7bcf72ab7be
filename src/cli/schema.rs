//! `serin schema`: the JSON Schema of plan files, for editors that complete and check while one types.

use super::exit::Exit;
use super::flags::json;
use super::session::Session;
use serin_core::plan;

/// Does it.
pub fn run(session: &Session) -> anyhow::Result<Exit> {
    session.terminal.print(&json(&plan::json_schema()))?;
    Ok(Exit::Done)
}
