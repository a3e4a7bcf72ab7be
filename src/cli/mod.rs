//! What a person types and reads: one file per verb, named as the verb.
//!
//! A verb parses its flags, asks the daemon through `client` (or, for `serve` and the store's tools, `daemon`), and says
//! what came of it. It decides nothing about rollouts. Exit codes are in `exit`, everything that is drawn is in `render`,
//! and only `terminal` prints.

mod abort;
mod alias;
mod approve;
mod backup;
mod calibrate;
mod completions;
mod counts_file;
mod daemon_log;
mod demo;
pub mod diagnose;
pub mod exit;
mod explain;
mod feasibility;
mod flags;
mod fsck;
mod function;
mod health;
mod history;
mod lint;
mod logs;
mod man;
mod pause;
mod plan;
mod plan_file;
mod promote;
pub mod reference;
pub mod render;
mod replay;
mod restore;
mod resume;
mod retry;
mod rollback;
mod scenario;
mod schema;
mod serve;
mod session;
mod signals;
pub mod simulate;
mod simulated;
mod start;
mod status;
mod terminal;
mod verb;
mod wait;
mod watch;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::builder::Resettable;
use clap::{Arg, ArgMatches, CommandFactory, FromArgMatches, Parser, Subcommand};

use crate::config;
use crate::daemon;
use exit::Exit;
use session::Session;
use terminal::{Colors, Terminal};

/// Progressive canary orchestrator: moves an alias to a new version step by step, advances on proof, and takes a bad
/// version out after a handful of failed requests.
#[derive(Debug, Parser)]
#[command(name = "serin", version, max_term_width = 100, after_help = AFTER_HELP)]
pub struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

const AFTER_HELP: &str = "\
TARGET is function:alias or a rollout's id; PLAN is a plan's name in the daemon's plans directory, or a path.
Changes carry SERIN_TOKEN as their bearer token, where the daemon wants one.

Examples:
  serin demo                                      see it work, with nothing but this binary
  serin serve --plans plans                       run the daemon
  serin function publish checkout --url http://127.0.0.1:9002
  serin start checkout --wait                     roll the newest version out, and wait for the end
  serin status checkout:live --watch              look at it
  serin rollback checkout:live                    back to the version before, whatever the state";

#[derive(Debug, clap::Args)]
struct Global {
    /// When to color what is printed.
    #[arg(long, global = true, value_enum, value_name = "WHEN", default_value = "auto",
          help_heading = GLOBAL_OPTIONS)]
    color: Colors,
}

const GLOBAL_OPTIONS: &str = "Global options";
const URL: &str = "daemon-url";

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the daemon: store, control plane, router and API.
    Serve(Box<serve::Args>),
    /// Show a good version go out and a bad one come back, on real traffic, within a minute.
    Demo(demo::Args),
    /// Start a rollout of a plan.
    Start(start::Args),
    /// Show one rollout, or all of them.
    Status(status::Args),
    /// Explain in sentences why a rollout is where it is, and what happens next.
    Explain(explain::Args),
    /// Show what happened, oldest first.
    History(history::Args),
    /// Show what invocations of a function said, and which version ran.
    Logs(logs::Args),
    /// Pass what the current step waits for, once, or go to the end.
    Promote(promote::Args),
    /// Keep the weight and go no further until `resume`; the canary is still judged.
    Pause(verb::Args),
    /// End a pause made by a person, the plan or drift.
    Resume(resume::Args),
    /// Approve the step that waits for approval.
    Approve(verb::Args),
    /// End a rollout: the canary gets no more traffic.
    Abort(verb::Args),
    /// Go back to the version before, in flight and after success, or to any version by its number.
    Rollback(rollback::Args),
    /// Start an ended rollout's plan and version anew.
    Retry(verb::Args),
    /// Publish, list and delete functions and their versions.
    #[command(subcommand)]
    Function(function::Command),
    /// Create, change, show and delete aliases.
    #[command(subcommand)]
    Alias(alias::Command),
    /// Show the daemon's plan files, or write one from another tool's manifest.
    #[command(subcommand)]
    Plan(plan::Command),
    /// Check plan files, and show every fault with its place.
    Lint(lint::Args),
    /// Run a plan many times in virtual time over made-up traffic, and show what would happen.
    Simulate(Box<simulate::Args>),
    /// Put recorded traffic through a plan's gates, and show what they say block by block.
    Replay(replay::Args),
    /// Run a plan over an alias's recorded counts with two equal versions: how often is it wrong, how long does it take?
    Calibrate(calibrate::Args),
    /// Print the JSON Schema of plan files, for editors.
    Schema,
    /// Say whether the daemon lives, or can decide and store.
    Health(health::Args),
    /// Check the store against its journal, and mend aliases.
    Fsck(fsck::Args),
    /// Write a whole copy of the store to a new file.
    Backup(backup::Args),
    /// Put a backup in the place of a store, while no daemon runs on it.
    Restore(restore::Args),
    /// Print the completions of a shell.
    Completions(completions::Args),
    /// Print the manual page, or write all of them into a directory.
    Man(man::Args),
}

/// Reads what was typed, does it, says what went wrong if so, and tells how it ended.
pub fn run(typed: impl IntoIterator<Item = OsString>) -> ExitCode {
    let typed: Vec<OsString> = typed.into_iter().collect();
    if let Some(ended) = daemon::as_stage(&typed) {
        return ended;
    }
    signals::outlive_full_files();
    let (cli, url) = match read(typed) {
        Ok(read) => read,
        Err(usage) => {
            // Where stderr is gone there is nobody to tell; the code still says it.
            let _ = usage.print();
            return ExitCode::from(u8::try_from(usage.exit_code()).unwrap_or(2));
        }
    };
    let session = Session::new(Terminal::of_process(cli.global.color), &url);
    let ended = cli.command.run(&session).unwrap_or_else(|error| session.terminal.report(&error));
    daemon_log::finish();
    ended.into()
}

fn read(typed: impl IntoIterator<Item = OsString>) -> Result<(Cli, String), clap::Error> {
    let mut matches = command().try_get_matches_from(typed)?;
    let url = url(&matches);
    let cli = Cli::from_arg_matches_mut(&mut matches).map_err(|error| error.format(&mut command()))?;
    Ok((cli, url))
}

/// The daemon's URL, as it was said last.
fn url(matches: &ArgMatches) -> String {
    let (mut said, mut level) = (None, Some(matches));
    while let Some(matches) = level {
        said = matches.try_get_one::<String>(URL).ok().flatten().or(said);
        level = matches.subcommand().map(|(_, matches)| matches);
    }
    said.map_or_else(|| config::URL_DEFAULT.to_owned(), Clone::clone)
}

/// The whole command, with variables that are set to nothing taken as not set.
///
/// `--url` is set here and not with clap's global arguments, because `function publish` has a `--url` of its own: there
/// the daemon's is said before it.
fn command() -> clap::Command {
    fn heed(command: clap::Command) -> clap::Command {
        let heeded = command.mut_args(|arg| {
            let is_empty = arg.get_env().and_then(|name| name.to_str()).is_some_and(config::is_set_but_empty);
            if is_empty { arg.env(Resettable::Reset) } else { arg }
        });
        heeded.mut_subcommands(|command| heed(with_url(command)))
    }
    fn with_url(command: clap::Command) -> clap::Command {
        let has_own = command.get_arguments().any(|arg| arg.get_long() == Some("url"));
        if has_own { command } else { command.arg(url_arg()) }
    }
    fn url_arg() -> Arg {
        let help = format!("Where the daemon's API is [env: SERIN_URL] [default: {}]", config::URL_DEFAULT);
        Arg::new(URL).long("url").value_name("URL").help(help).help_heading(GLOBAL_OPTIONS)
    }
    let root = Cli::command().arg(url_arg().env("SERIN_URL").hide_env(true));
    heed(root)
}

impl Command {
    fn run(&self, session: &Session) -> anyhow::Result<Exit> {
        match self {
            Command::Serve(args) => serve::run(args, session),
            Command::Demo(args) => demo::run(args, session),
            Command::Start(args) => start::run(args, session),
            Command::Status(args) => status::run(args, session),
            Command::Explain(args) => explain::run(args, session),
            Command::History(args) => history::run(args, session),
            Command::Logs(args) => logs::run(args, session),
            Command::Promote(args) => promote::run(args, session),
            Command::Pause(args) => pause::run(args, session),
            Command::Resume(args) => resume::run(args, session),
            Command::Approve(args) => approve::run(args, session),
            Command::Abort(args) => abort::run(args, session),
            Command::Rollback(args) => rollback::run(args, session),
            Command::Retry(args) => retry::run(args, session),
            Command::Function(command) => command.run(session),
            Command::Alias(command) => command.run(session),
            Command::Plan(command) => command.run(session),
            Command::Lint(args) => lint::run(args, session),
            Command::Simulate(args) => simulate::run(args, session),
            Command::Replay(args) => replay::run(args, session),
            Command::Calibrate(args) => calibrate::run(args, session),
            Command::Schema => schema::run(session),
            Command::Health(args) => health::run(args, session),
            Command::Fsck(args) => fsck::run(args, session),
            Command::Backup(args) => backup::run(args, session),
            Command::Restore(args) => restore::run(args, session),
            Command::Completions(args) => completions::run(args, session),
            Command::Man(args) => man::run(args, session),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url_of(typed: &[&str]) -> String {
        let typed = std::iter::once("serin").chain(typed.iter().copied()).map(OsString::from);
        read(typed).unwrap().1
    }

    #[test]
    fn every_command_is_well_formed() {
        command().debug_assert();
    }

    #[test]
    fn every_command_and_flag_says_what_it_does() {
        fn check(command: &clap::Command, path: &str) {
            assert!(command.get_about().is_some(), "{path} says nothing");
            for arg in command.get_arguments() {
                let help = arg.get_help().map(ToString::to_string).unwrap_or_default();
                assert!(!help.is_empty(), "{path} {} says nothing", arg.get_id());
                assert!(!help.contains('\n'), "{path} {}: {help:?}", arg.get_id());
            }
            for inner in command.get_subcommands() {
                check(inner, &format!("{path} {}", inner.get_name()));
            }
        }
        check(&command(), "serin");
    }

    #[test]
    fn the_daemon_is_where_it_was_said_last() {
        let elsewhere = "http://elsewhere:1";
        assert_eq!(url_of(&["status", "--url", elsewhere]), elsewhere);
        assert_eq!(url_of(&["--url", elsewhere, "status"]), elsewhere);
        assert_eq!(url_of(&["--url", "http://first", "alias", "--url", elsewhere, "list", "f"]), elsewhere);
        let publish = ["--url", elsewhere, "function", "publish", "f", "--url", "http://version:1"];
        assert_eq!(url_of(&publish), elsewhere);
    }
}
