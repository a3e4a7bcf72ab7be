//! `serin alias list`: a function's aliases.

use crate::cli::exit::Exit;
use crate::cli::flags::{TableOrJson, json};
use crate::cli::function::OfFunction;
use crate::cli::render::table::Sheet;
use crate::cli::render::tone::Tone;
use crate::cli::render::words;
use crate::cli::session::Session;

/// Does it.
pub fn run(args: &OfFunction, session: &Session) -> anyhow::Result<Exit> {
    let list = session.client()?.aliases(args.function.as_str())?;
    if args.output == TableOrJson::Json {
        session.terminal.print(&json(&list))?;
        return Ok(Exit::Done);
    }
    if list.aliases.is_empty() {
        let function = &args.function;
        session.terminal.note(&format!(
            "{function} has no alias yet; `serin alias create {function}:live --version N` makes one"
        ));
        return Ok(Exit::Done);
    }
    let look = session.terminal.look();
    let none = look.glyphs().none;
    let mut sheet = Sheet::new(&["ALIAS", "TRAFFIC", "ROLLOUT", "CHANGED", "DESCRIPTION"], &look);
    for alias in &list.aliases {
        let name = format!("{}:{}", alias.function, alias.name);
        let moved = match (&alias.quarantine, &alias.rollout) {
            (Some(_), _) => (Tone::Bad, "quarantined"),
            (None, Some(id)) => (Tone::Plain, words::short_id(id)),
            (None, None) => (Tone::Quiet, none),
        };
        sheet.toned(&[
            (Tone::Strong, name.as_str()),
            (Tone::Plain, &alias.routing.text),
            moved,
            (Tone::Plain, &words::ago(&alias.updated_at, &look)),
            (Tone::Plain, &alias.description),
        ]);
    }
    session.terminal.print(&sheet.text())?;
    Ok(Exit::Done)
}
