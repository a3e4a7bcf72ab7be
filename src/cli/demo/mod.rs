//! `serin demo`: a good version goes out and a bad one comes back, on real traffic, with nothing but the binary.
//!
//! Nothing here is staged: the daemon is the one that `serve` runs, it is asked over its API like any other, and what
//! users saw is counted by the users.

mod load;
mod service;
mod stage;
mod story;
mod summary;
mod view;

use std::path::Path;

use anyhow::Context;

use super::exit::Exit;
use super::session::Session;
use stage::Stage;

const EXAMPLES: &str = "\
Examples:
  serin demo                                      about a minute, then everything is gone again
  serin demo --keep                               leaves it running, with the URLs to try things on";

/// How long it goes on.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// Leave it running when the story has ended, with its URLs printed, until Ctrl-C.
    #[arg(long)]
    keep: bool,
}

/// Does it.
pub fn run(args: &Args, session: &Session) -> anyhow::Result<Exit> {
    let directory = tempfile::Builder::new()
        .prefix("serin-demo-")
        .tempdir()
        .context("cannot make a directory for the demonstration")?;
    let mut stage = Stage::build(directory.path())?;
    let told = story::tell(&mut stage, session).and_then(|story| {
        session.terminal.print_on(&summary::text(&story, &session.terminal.look()))?;
        if args.keep {
            session.terminal.print_on(&keep_text(&stage, directory.path()))?;
            stage.wait_for_a_signal();
        }
        Ok(story)
    });
    // The stage is struck whatever came of the story, and the story's failure is the one to tell.
    let struck = stage.strike();
    let story = told?;
    struck?;
    Ok(if story.went_as_told() { Exit::Done } else { Exit::Failed })
}

fn keep_text(stage: &Stage, directory: &Path) -> String {
    let (api, router) = (stage.api_url(), stage.router_url());
    format!(
        "
It goes on until Ctrl-C, with its load, in {directory}:
  API       {api}
  router    {router}/{target}/
  metrics   {api}/metrics

  export SERIN_URL={api}
  serin status {target}
  serin explain {target}
  serin start {plan} --to {bad} --allow-rejected --wait      the bad version once more
  aws lambda get-alias --function-name {function} --name {alias} --endpoint-url {api}
",
        directory = directory.display(),
        target = stage::TARGET,
        plan = stage::FUNCTION,
        function = stage::FUNCTION,
        alias = stage::ALIAS,
        bad = stage::BAD.number,
    )
}
