//! `serin plan show`: one of the daemon's plans as it is read, and what is wrong with it.

use super::tone;
use crate::cli::exit::Exit;
use crate::cli::flags::{TableOrJson, json};
use crate::cli::render::line::{Line, wrapped};
use crate::cli::render::tone::Tone;
use crate::cli::session::Session;

/// Which plan.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The plan's name: its file's stem.
    name: String,
    /// How it is printed.
    #[arg(long, short, value_enum, value_name = "FORM", default_value = "table")]
    output: TableOrJson,
}

/// Does it: the plan goes to stdout, as YAML that can be read again, everything else to stderr.
pub fn run(args: &Args, session: &Session) -> anyhow::Result<Exit> {
    let plan = session.client()?.plan(&args.name)?;
    if args.output == TableOrJson::Json {
        session.terminal.print(&json(&plan))?;
        return Ok(Exit::Done);
    }
    let look = session.terminal.look_of_errors();
    let mut head = Line::new();
    head.tone(Tone::Strong, look.words(&plan.name)).add("  ");
    head.tone(tone(&plan.state), plan.state.clone()).add("  ").add(look.words(&plan.file));
    let mut lines = vec![head];
    for fault in &plan.faults {
        lines.extend(wrapped(Line::of("  "), Tone::Plain, &look.words(fault), &look));
    }
    if plan.stale {
        lines.push(Line::of("below is the reading from before that fault, which is in force"));
    }
    session.terminal.note_as_is(&look.print(&lines));
    if let Some(resolved) = &plan.resolved {
        session.terminal.print(&format!("{}\n", resolved.trim_end()))?;
    }
    Ok(Exit::Done)
}
