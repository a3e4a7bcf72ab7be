//! `serin status`: one rollout as a picture, or all of them as a table; watched and waited for if asked.

use std::time::Duration;

use super::exit::{Exit, WAIT_CODES};
use super::flags::{Target, json, span};
use super::render::list::{Overview, overview};
use super::render::{Look, picture::picture, words};
use super::session::Session;
use super::{wait, watch};
use crate::api::wire::{Explanation, RolloutList, RolloutStatus};
use crate::client::{Client, ClientError, RolloutQuery};

/// Ended rollouts shown below those that live.
const ENDED_SHOWN: usize = 5;
/// Among so many newest ones they are looked for.
const LOOKED_AT: u32 = 20;

const EXAMPLES: &str = "\
Examples:
  serin status                                    all rollouts that live, and the last that ended
  serin status checkout:live --watch              the picture, kept up to date
  serin status checkout:live --wait --timeout 2h  block until it ends or wants a person
  serin status checkout:live -o json              for scripts";

/// How a rollout is printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
enum Output {
    /// For people.
    #[default]
    Table,
    /// For scripts.
    Json,
    /// The same as YAML.
    Yaml,
}

/// What to show, and for how long.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES, after_long_help = format!("{EXAMPLES}\n\n{WAIT_CODES}"))]
pub struct Args {
    /// function:alias, or a rollout's id or the id's end; all rollouts unless given.
    target: Option<Target>,
    /// Keep it up to date, until the rollout has ended.
    #[arg(long, short)]
    watch: bool,
    /// Wait until the rollout has ended or waits for a person, and say which by the exit code.
    #[arg(long, requires = "target")]
    wait: bool,
    /// Wait no longer than this, as in 90s or 2h.
    #[arg(long, value_name = "SPAN", value_parser = span, requires = "wait")]
    timeout: Option<Duration>,
    /// How it is printed.
    #[arg(long, short, value_enum, value_name = "FORM", default_value = "table")]
    output: Output,
}

/// Does it.
pub fn run(args: &Args, session: &Session) -> anyhow::Result<Exit> {
    let client = session.client()?;
    if args.watch {
        return watch_it(args, session, &client);
    }
    let Some(target) = &args.target else {
        let text = list(args.output, &client, &session.terminal.look())?;
        session.terminal.print(&text)?;
        return Ok(Exit::Done);
    };
    let mut exit = Exit::Done;
    let mut target = target.to_string();
    if args.wait {
        // The rollout is followed by its id: what starts on the alias later is another one.
        target = client.status(&target)?.id;
        exit = wait::until_settled(session, &client, &target, args.timeout)?;
    }
    let text = one(args.output, &client, &target, &session.terminal.look())?;
    match session.terminal.print(&text) {
        Err(error) if exit != Exit::Done => _ = session.terminal.report(&error),
        done => done?,
    }
    Ok(exit)
}

/// One rollout as it is printed.
fn one(output: Output, client: &Client, target: &str, look: &Look) -> anyhow::Result<String> {
    Ok(match output {
        Output::Json => json(&client.status(target)?),
        Output::Yaml => serde_yaml::to_string(&client.status(target)?)?,
        Output::Table => draw(client, target, look)?.text,
    })
}

/// A picture, and what of it is worth drawing it again for.
struct Drawn {
    text: String,
    status: RolloutStatus,
    mark: String,
}

/// Draws a rollout; one that waits in the queue comes with the one that it waits for, and that one with it.
fn draw(client: &Client, target: &str, look: &Look) -> Result<Drawn, ClientError> {
    let asked = client.explain(target)?;
    let (alias, status) = (words::target(&asked.status), asked.status.clone());
    let mut shown = vec![asked];
    if !status.is_final() {
        let query = RolloutQuery { target: Some(&alias), live: true, limit: None };
        for other in client.rollouts(&query)?.rollouts {
            let is_beside =
                other.id != status.id && (other.phase == "Pending") != (status.phase == "Pending");
            if is_beside {
                shown.push(client.explain(&other.id)?);
            }
        }
        shown.sort_by_key(|explanation| explanation.status.phase == "Pending");
    }
    let pictures: Vec<String> = shown.iter().map(|shown| look.print(&picture(shown, look))).collect();
    let mark = shown.iter().map(mark).collect();
    Ok(Drawn { text: pictures.join("\n"), status, mark })
}

/// What makes a picture another one; counters that move do not.
fn mark(explanation: &Explanation) -> String {
    let status = &explanation.status;
    let waiting = status.waiting_for.as_ref().map(|waiting| &waiting.kind);
    let last = explanation.history.first().map(|event| event.seq);
    let gates: Vec<bool> = explanation.gates.iter().map(|gate| gate.met).collect();
    let failures = explanation.recent_failures.first().map(|failure| &failure.at);
    format!(
        "{:?}",
        (&status.id, &status.phase, status.step.index, waiting, last, gates, failures, &explanation.notices)
    )
}

fn rollouts(client: &Client) -> Result<RolloutList, ClientError> {
    let live = client.rollouts(&RolloutQuery { target: None, live: true, limit: None })?;
    let newest = client.rollouts(&RolloutQuery { target: None, live: false, limit: Some(LOOKED_AT) })?;
    let mut rollouts = live.rollouts;
    rollouts.extend(newest.rollouts.into_iter().filter(RolloutStatus::is_final).take(ENDED_SHOWN));
    Ok(RolloutList { rollouts, next: None, plan_faults: live.plan_faults })
}

fn list(output: Output, client: &Client, look: &Look) -> anyhow::Result<String> {
    let list = rollouts(client)?;
    Ok(match output {
        Output::Json => json(&list),
        Output::Yaml => serde_yaml::to_string(&list)?,
        Output::Table => {
            let (ended, live): (Vec<_>, Vec<_>) =
                list.rollouts.into_iter().partition(RolloutStatus::is_final);
            overview(&Overview { live: &live, ended: &ended, plan_faults: &list.plan_faults }, look)
        }
    })
}

fn watch_it(args: &Args, session: &Session, client: &Client) -> anyhow::Result<Exit> {
    // The rollout is followed by its id, so that its end is seen even when the next one starts at once.
    let target = match &args.target {
        Some(target) => Some(client.status(&target.to_string())?.id),
        None => None,
    };
    let frame = |look: &Look| -> Result<watch::Frame, ClientError> {
        let Some(target) = &target else {
            let text = list(args.output, client, look);
            let text = match text {
                Ok(text) => text,
                Err(error) => return Err(error.downcast::<ClientError>().unwrap_or_else(unprintable)),
            };
            return Ok(watch::Frame { mark: text.clone(), text, end: None });
        };
        if args.output != Output::Table {
            let status = client.status(target)?;
            let text = match args.output {
                Output::Yaml => serde_yaml::to_string(&status).unwrap_or_default(),
                _ => json(&status),
            };
            return Ok(watch::Frame { mark: text.clone(), end: end(&status, args.wait), text });
        }
        let drawn = draw(client, target, look)?;
        Ok(watch::Frame { end: end(&drawn.status, args.wait), text: drawn.text, mark: drawn.mark })
    };
    watch::watch(session, (args.wait, args.timeout), frame)
}

fn unprintable(error: anyhow::Error) -> ClientError {
    ClientError::Strange { url: String::new(), what: error.to_string() }
}

/// When watching ends: when nothing will change any more; when also waiting, as waiting does.
fn end(status: &RolloutStatus, wait: bool) -> Option<Exit> {
    match Exit::of(status) {
        Some(exit) if wait => Some(exit),
        Some(_) if status.is_final() => Some(Exit::Done),
        _ => None,
    }
}
