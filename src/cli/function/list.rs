//! `serin function list`: all functions.

use crate::cli::exit::Exit;
use crate::cli::flags::{TableOrJson, json};
use crate::cli::render::table::Sheet;
use crate::cli::render::words;
use crate::cli::session::Session;

/// How to show them.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// How it is printed.
    #[arg(long, short, value_enum, value_name = "FORM", default_value = "table")]
    output: TableOrJson,
}

/// Does it.
pub fn run(args: &Args, session: &Session) -> anyhow::Result<Exit> {
    let list = session.client()?.functions()?;
    if args.output == TableOrJson::Json {
        session.terminal.print(&json(&list))?;
        return Ok(Exit::Done);
    }
    if list.functions.is_empty() {
        session
            .terminal
            .note("there is no function yet; `serin function publish FUNCTION --url …` makes one");
        return Ok(Exit::Done);
    }
    let look = session.terminal.look();
    let mut sheet =
        Sheet::new(&["FUNCTION", "NEWEST", "VERSIONS", "ALIASES", "CHANGED", "URL", "HEALTH"], &look)
            .right(&[2, 3]);
    for function in &list.functions {
        let newest = function.newest_version.as_ref().map(|version| format!("v{version}"));
        sheet.row(&[
            &function.name,
            newest.as_deref().unwrap_or(look.glyphs().none),
            &function.versions.to_string(),
            &function.aliases.to_string(),
            &words::ago(&function.modified_at, &look),
            &function.url,
            function.health.as_deref().unwrap_or(look.glyphs().none),
        ]);
    }
    session.terminal.print(&sheet.text())?;
    Ok(Exit::Done)
}
