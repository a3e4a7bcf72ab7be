//! `serin start`: a plan by its name or its file, checked here first where it is a file.

use std::path::Path;
use std::time::Duration;

use anyhow::bail;

use super::diagnose::render;
use super::exit::{Exit, WAIT_CODES};
use super::flags::{ChangeFlags, span};
use super::plan_file::{self, PlanFile};
use super::session::Session;
use super::wait;
use crate::api::wire::{StartRequest, WouldStart};
use serin_core::model::arn::VersionNumber;

const EXAMPLES: &str = "\
Examples:
  serin start checkout                            the newest version, by the daemon's plan checkout.yaml
  serin start plans/checkout.yaml --to 42         by a file of this machine, to version 42
  serin start checkout --dry-run                  only say what would happen
  serin start checkout --wait --timeout 2h        for a pipeline: block until it ends";

/// What to start, and whether to wait for it.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES, after_long_help = format!("{EXAMPLES}\n\n{WAIT_CODES}"))]
pub struct Args {
    /// A plan's name in the daemon's plans directory, or the path of a plan file.
    plan: String,
    /// Roll out this version; the plan's choice, which is the newest, unless given.
    #[arg(long, value_name = "VERSION")]
    to: Option<VersionNumber>,
    /// Wait until the rollout has ended or waits for a person, and say which by the exit code.
    #[arg(long, conflicts_with = "dry_run")]
    wait: bool,
    /// Wait no longer than this, as in 90s or 2h; the rollout goes on.
    #[arg(long, value_name = "SPAN", value_parser = span, requires = "wait")]
    timeout: Option<Duration>,
    /// Say what would happen, and do nothing.
    #[arg(long)]
    dry_run: bool,
    /// Even if this version was rolled back on the alias before: it is judged anew, with the whole falseRollbackRate.
    #[arg(long, alias = "again")]
    allow_rejected: bool,
    #[command(flatten)]
    change: ChangeFlags,
}

/// Does it.
pub fn run(args: &Args, session: &Session) -> anyhow::Result<Exit> {
    let request = StartRequest {
        to: args.to.map(|version| version.to_string()),
        again: args.allow_rejected,
        ..plan(args, session)?
    };
    let client = session.client()?;
    let change = args.change.change();
    if args.dry_run {
        let would = client.would_start(&request, &change)?;
        session.terminal.print(&session.terminal.look().words(&in_words(&would)))?;
        session.terminal.print("\n")?;
        return Ok(Exit::Done);
    }
    let reply = client.start(&request, &change)?;
    if args.wait {
        // How it ends is said by the exit code, too, which whoever waits reads.
        session.say_rollout(&reply).unwrap_or_else(|error| _ = session.terminal.report(&error));
        return match &reply.id {
            // Of a version that is live already there is nothing to wait for.
            Some(id) if reply.changed || reply.is_under_way() => {
                wait::until_settled(session, &client, id, args.timeout)
            }
            _ => Ok(Exit::Done),
        };
    }
    session.say_started(&reply)?;
    Ok(Exit::Done)
}

fn in_words(would: &WouldStart) -> String {
    if would.steps.is_empty() {
        return format!("{}:{} would start nothing: {}", would.function, would.alias, would.message);
    }
    format!(
        "{}:{} would start: v{} → v{} in the steps {}; first, {}. Nothing was changed",
        would.function,
        would.alias,
        would.stable_version,
        would.canary_version,
        would.steps.join(" → "),
        would.message
    )
}

/// The plan as it is asked for: by name, or by the text of a file that is in order.
fn plan(args: &Args, session: &Session) -> anyhow::Result<StartRequest> {
    if !plan_file::is_path(&args.plan) {
        return Ok(StartRequest { plan: args.plan.clone(), ..StartRequest::default() });
    }
    let file = PlanFile::read(Path::new(&args.plan))?;
    let look = session.terminal.look_of_errors();
    let warnings = match file.load() {
        Ok(loaded) => loaded.warnings,
        Err(faults) => {
            session.terminal.note_as_is(&render(&faults, &file.sources(), look.color, look.width));
            bail!("{} is not in order; nothing was started", file.source.name);
        }
    };
    if !warnings.is_empty() {
        session.terminal.note_as_is(&render(&warnings, &file.sources(), look.color, look.width));
    }
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("a plan that was read is UTF-8");
    Ok(StartRequest {
        plan: file.name,
        plan_text: Some(text(file.source.bytes)),
        defaults_text: file.defaults.map(|defaults| text(defaults.bytes)),
        ..StartRequest::default()
    })
}
