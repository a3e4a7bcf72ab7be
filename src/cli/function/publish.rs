//! `serin function publish`: registers a version, and prints its number alone on stdout.

use crate::api::wire::{PublishRequest, TimeoutsView};
use crate::cli::exit::Exit;
use crate::cli::flags::{ChangeFlags, TableOrJson, json};
use crate::cli::session::Session;
use serin_core::lambda::timeouts::Wait;
use serin_core::model::arn::FunctionName;

const EXAMPLES: &str = "\
Examples:
  serin function publish checkout --url http://127.0.0.1:9002 --commit \"$(git rev-parse HEAD)\"
  serin function publish checkout --url http://10.0.0.1:9002,10.0.0.2:9002 --health /healthz
  serin function publish polls --url http://127.0.0.1:9004 --timeout-first-byte 5m --timeout-idle 1h
  version=$(serin function publish checkout --url http://127.0.0.1:9002)
  serin start checkout --to \"$version\" --wait

The newest version's URL again prints its number again; --new makes a new version all the same.
The daemon is found by SERIN_URL, or by a --url before `function`.";

/// What to publish.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// The function; it is made if it is not there.
    function: FunctionName,
    /// Where the version answers: http://host:port[,host:port…][/path], or h2c:// in HTTP/2.
    #[arg(long)]
    url: String,
    /// A path that each of its places is asked for every 5 s, behind the URL's; one that fails is left out.
    #[arg(long, value_name = "PATH")]
    health: Option<String>,
    /// How long the head of an answer is waited for, as in 5m for long polls; 30s unless given.
    #[arg(long, value_name = "SPAN")]
    timeout_first_byte: Option<Wait>,
    /// How long a body may stand still, as in 1h for events that come seldom; 60s unless given.
    #[arg(long, value_name = "SPAN")]
    timeout_idle: Option<Wait>,
    /// The commit it was built from.
    #[arg(long, value_name = "SHA")]
    commit: Option<String>,
    /// Free text.
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    description: String,
    /// Execution role; versions behind one alias share it.
    #[arg(long, value_name = "ARN")]
    role: Option<String>,
    /// Dead-letter target; versions behind one alias share it.
    #[arg(long, value_name = "ARN")]
    dead_letter: Option<String>,
    /// A new version even if nothing changed since the newest.
    #[arg(long)]
    new: bool,
    /// How it is printed: the number alone, or all of the reply.
    #[arg(long, short, value_enum, value_name = "FORM", default_value = "table")]
    output: TableOrJson,
    #[command(flatten)]
    change: ChangeFlags,
}

fn timeouts(args: &Args) -> Option<TimeoutsView> {
    let text = |wait: Option<Wait>| wait.map(|wait| wait.to_string());
    let said = TimeoutsView { first_byte: text(args.timeout_first_byte), idle: text(args.timeout_idle) };
    (said != TimeoutsView::default()).then_some(said)
}

/// Does it.
pub fn run(args: &Args, session: &Session) -> anyhow::Result<Exit> {
    let request = PublishRequest {
        url: args.url.clone(),
        health: args.health.clone(),
        timeouts: timeouts(args),
        commit: args.commit.clone(),
        description: args.description.clone(),
        role: args.role.clone(),
        dead_letter: args.dead_letter.clone(),
        new: args.new,
        reason: None,
    };
    let reply = session.client()?.publish(args.function.as_str(), &request, &args.change.change())?;
    let name = format!("v{} of {}", reply.version, reply.function);
    session.terminal.note(&match reply.created {
        true => match &args.health {
            Some(health) => format!("published {name} at {}, asked for {health}", args.url),
            None => format!("published {name} at {}", args.url),
        },
        false => format!("{name} is the newest and the same already; --new makes a new version all the same"),
    });
    for rollout in &reply.rollouts {
        session.terminal.note(&format!("a plan started rollout {rollout} of it"));
    }
    session.terminal.print(&match args.output {
        TableOrJson::Table => format!("{}\n", reply.version),
        TableOrJson::Json => json(&reply),
    })?;
    Ok(Exit::Done)
}
