//! `serin function get`: one function.

use crate::cli::exit::Exit;
use crate::cli::flags::{TableOrJson, json};
use crate::cli::render::sections::labelled;
use crate::cli::render::words;
use crate::cli::session::Session;
use crate::domain::arn::FunctionName;

/// Which function.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The function.
    function: FunctionName,
    /// How it is printed.
    #[arg(long, short, value_enum, value_name = "FORM", default_value = "table")]
    output: TableOrJson,
}

/// Does it.
pub fn run(args: &Args, session: &Session) -> anyhow::Result<Exit> {
    let function = session.client()?.function(args.function.as_str())?;
    if args.output == TableOrJson::Json {
        session.terminal.print(&json(&function))?;
        return Ok(Exit::Done);
    }
    let look = session.terminal.look();
    let newest = function.newest_version.as_ref().map(|version| format!("v{version}"));
    let rows = [
        ("function", function.name.clone()),
        ("newest", newest.unwrap_or_else(|| look.glyphs().none.to_owned())),
        ("$LATEST", function.url.clone()),
        ("versions", function.versions.to_string()),
        ("aliases", function.aliases.to_string()),
        ("changed", words::ago(&function.modified_at, &look)),
    ];
    let lines = rows.map(|(label, text)| {
        let mut line = labelled(label);
        line.add(look.words(&text));
        line
    });
    session.terminal.print(&look.print(&lines))?;
    Ok(Exit::Done)
}
