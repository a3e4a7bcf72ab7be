//! `serin function get`: one function.

use crate::cli::exit::Exit;
use crate::cli::flags::{TableOrJson, json};
use crate::cli::function::OfFunction;
use crate::cli::render::sections::labelled;
use crate::cli::render::words;
use crate::cli::session::Session;

/// Does it.
pub fn run(args: &OfFunction, session: &Session) -> anyhow::Result<Exit> {
    let function = session.client()?.function(args.function.as_str())?;
    if args.output == TableOrJson::Json {
        session.terminal.print(&json(&function))?;
        return Ok(Exit::Done);
    }
    let look = session.terminal.look();
    let newest = function.newest_version.as_ref().map(|version| format!("v{version}"));
    let mut rows = vec![
        ("function", function.name.clone()),
        ("newest", newest.unwrap_or_else(|| look.glyphs().none.to_owned())),
        ("$LATEST", function.url.clone()),
        ("versions", function.versions.to_string()),
        ("aliases", function.aliases.to_string()),
        ("changed", words::ago(&function.modified_at, &look)),
    ];
    if let Some(health) = &function.health {
        rows.insert(3, ("health", health.clone()));
    }
    if let Some(timeouts) = words::timeouts(function.timeouts.as_ref()) {
        rows.push(("timeouts", timeouts));
    }
    let lines = rows.into_iter().map(|(label, text)| {
        let mut line = labelled(label);
        line.add(look.words(&text));
        line
    });
    session.terminal.print(&look.print(&lines.collect::<Vec<_>>()))?;
    Ok(Exit::Done)
}
