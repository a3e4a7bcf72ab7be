//! `serin function versions`: a function's versions, newest first.

use crate::cli::exit::Exit;
use crate::cli::flags::{TableOrJson, json};
use crate::cli::function::OfFunction;
use crate::cli::render::table::Sheet;
use crate::cli::render::words;
use crate::cli::session::Session;

/// Does it.
pub fn run(args: &OfFunction, session: &Session) -> anyhow::Result<Exit> {
    let list = session.client()?.versions(args.function.as_str())?;
    if args.output == TableOrJson::Json {
        session.terminal.print(&json(&list))?;
        return Ok(Exit::Done);
    }
    let look = session.terminal.look();
    let none = look.glyphs().none;
    let mut sheet =
        Sheet::new(&["VERSION", "ALIASES", "PUBLISHED", "COMMIT", "URL", "HEALTH", "DESCRIPTION"], &look);
    for version in &list.versions {
        let aliases = version.aliases.join(", ");
        let commit = version.commit.as_deref().map(|commit| commit.get(..12).unwrap_or(commit));
        sheet.row(&[
            &format!("v{}", version.version),
            if aliases.is_empty() { none } else { &aliases },
            &words::ago(&version.published_at, &look),
            commit.unwrap_or(none),
            &version.url,
            version.health.as_deref().unwrap_or(none),
            &version.description,
        ]);
    }
    session.terminal.print(&sheet.text())?;
    Ok(Exit::Done)
}
