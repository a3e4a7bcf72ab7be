//! `serin promote`: passes what the current step waits for, and says what it skipped.

use super::exit::Exit;
use super::flags::{ChangeFlags, Target};
use super::render::words;
use super::render::{Look, sections};
use super::session::Session;
use crate::api::wire::{Explanation, GateView};

const EXAMPLES: &str = "\
Examples:
  serin promote checkout:live                     pass what the current step waits for
  serin promote checkout:live --reason \"PAY-811\"   a reason is wanted to skip proof, approval or a window
  serin promote checkout:live --full              to the end: all traffic to the new version";

/// What to promote, and how far.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// function:alias, or a rollout's id or the id's end.
    target: Target,
    /// To the end: all traffic to the new version, whatever is still ahead.
    #[arg(long)]
    full: bool,
    #[command(flatten)]
    change: ChangeFlags,
}

/// Does it; a rollout that has moved on since it was looked at refuses.
pub fn run(args: &Args, session: &Session) -> anyhow::Result<Exit> {
    let client = session.client()?;
    let seen = client.explain(&args.target.to_string())?;
    // Said once it is done: a promotion that is refused skipped nothing.
    let reply = client.promote(&seen.status.id, seen.status.step.index, args.full, &args.change.change())?;
    if reply.changed {
        for line in skipped(&seen, args.full, &session.terminal.look_of_errors()) {
            session.terminal.note(&line);
        }
    }
    session.say_done(&reply)
}

/// What promoting passed over, in lines.
fn skipped(seen: &Explanation, full: bool, look: &Look) -> Vec<String> {
    let status = &seen.status;
    let place = match status.step.index {
        0 => "before its first step".to_owned(),
        index => format!("at step {index} of {}", status.step.count),
    };
    let to = if full { format!("v{} 100%", status.canary_version) } else { sections::onward(seen) };
    let head =
        format!("{} (rollout {}), {place}: on to {to}", words::target(status), words::short_id(&status.id));
    let unmet: Vec<&GateView> =
        seen.gates.iter().filter(|gate| !gate.met && gate.kind != "routing").collect();
    let ahead: Vec<&str> = match full {
        true => {
            seen.steps.iter().filter(|step| step.state == "ahead").map(|step| step.text.as_str()).collect()
        }
        false => Vec::new(),
    };
    if unmet.is_empty() && ahead.len() < 2 {
        return vec![format!("{head}, skipping nothing")];
    }
    let mut lines = vec![format!("{head}, skipping")];
    let glyphs = look.glyphs();
    lines.extend(unmet.iter().map(|gate| format!("  {} {}", glyphs.no, gate.label)));
    if ahead.len() >= 2 {
        let arrow = format!(" {} ", glyphs.arrow);
        lines.push(format!(
            "  {} the steps {}, with what they would wait for",
            glyphs.no,
            ahead.join(&arrow)
        ));
    }
    lines
}
