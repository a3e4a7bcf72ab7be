//! `serin plan list`: the files of the daemon's plans directory.

use super::tone;
use crate::cli::exit::Exit;
use crate::cli::flags::{TableOrJson, json};
use crate::cli::render::table::Sheet;
use crate::cli::render::tone::Tone;
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
    let list = session.client()?.plans()?;
    if args.output == TableOrJson::Json {
        session.terminal.print(&json(&list))?;
        return Ok(Exit::Done);
    }
    if let Some(problem) = &list.problem {
        session.terminal.note(problem);
    }
    let Some(directory) = &list.directory else {
        session.terminal.note(
            "this serin was started without a plans directory (--plans); `serin start FILE` sends a plan along",
        );
        return Ok(Exit::Done);
    };
    if list.plans.is_empty() {
        session.terminal.note(&format!("there is no plan in {directory}"));
        return Ok(Exit::Done);
    }
    let look = session.terminal.look();
    let none = look.glyphs().none;
    let arrow = format!(" {} ", look.glyphs().arrow);
    let mut sheet = Sheet::new(&["PLAN", "STATE", "TARGET", "START", "STEPS"], &look);
    for plan in &list.plans {
        let steps = plan.steps.join(&arrow);
        let state = if plan.stale { "faulty, older one in force" } else { plan.state.as_str() };
        sheet.toned(&[
            (Tone::Strong, plan.name.as_str()),
            (tone(&plan.state), state),
            (Tone::Plain, plan.target.as_deref().unwrap_or(none)),
            (Tone::Plain, plan.start.as_deref().unwrap_or(none)),
            (Tone::Plain, if steps.is_empty() { none } else { &steps }),
        ]);
    }
    session.terminal.print(&sheet.text())?;
    if let Some(faulty) = list.plans.iter().find(|plan| plan.state == "faulty") {
        session.terminal.note(&format!("`serin plan show {}` shows what is wrong with it", faulty.name));
    }
    Ok(Exit::Done)
}
