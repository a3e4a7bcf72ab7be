//! The page of the book that lists every command: what `--help` says of each, in one file.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use super::command;

/// How wide the help is.
const WIDTH: usize = 100;

const HEAD: &str = "\
# Commands

What `serin COMMAND --help` says, of every command. A test holds this page to the program, and `SERIN_BLESS=1 cargo test
--test integration tidy::book` writes it anew.
";

/// The page, as Markdown.
pub fn reference() -> String {
    let mut page = HEAD.to_owned();
    let mut root = plain(command());
    root.build();
    let mut commands = Vec::new();
    collect(&root, "", &mut commands);
    for (path, mut command) in commands {
        let help = command.render_long_help().to_string();
        let help: Vec<&str> = help.lines().map(str::trim_end).collect();
        let level = if path.contains(' ') { "##" } else { "#" };
        let _ = write!(page, "\n{level} {path}\n\n```text\n{}\n```\n", help.join("\n").trim_end());
    }
    page.replace("\n# serin\n", "\n## serin\n")
}

/// The flags of every command, by what is typed behind `serin`, without their dashes.
pub fn flags() -> BTreeMap<String, BTreeSet<String>> {
    let mut root = command();
    root.build();
    let mut commands = Vec::new();
    collect(&root, "", &mut commands);
    let of = |command: &clap::Command| {
        let longs = command.get_arguments().filter_map(clap::Arg::get_long_and_visible_aliases);
        longs.flatten().map(str::to_owned).collect()
    };
    let typed = |path: &str| path.strip_prefix("serin ").unwrap_or_default().to_owned();
    commands.iter().map(|(path, command)| (typed(path), of(command))).collect()
}

/// The command without what hangs on the machine: the terminal's width, the environment.
fn plain(command: clap::Command) -> clap::Command {
    let command = command.term_width(WIDTH).mut_args(|arg| arg.hide_env_values(true));
    command.mut_subcommands(plain)
}

/// Every command below one, itself first; what all of them take is told of the first alone.
fn collect(command: &clap::Command, above: &str, found: &mut Vec<(String, clap::Command)>) {
    let path = if above.is_empty() {
        command.get_name().to_owned()
    } else {
        format!("{above} {}", command.get_name())
    };
    let shown = if above.is_empty() {
        command.clone()
    } else {
        command.clone().mut_args(|arg| {
            let is_global = arg.get_help_heading() == Some(super::GLOBAL_OPTIONS);
            arg.hide(is_global)
        })
    };
    found.push((path.clone(), shown));
    for inner in command.get_subcommands().filter(|inner| inner.get_name() != "help") {
        collect(inner, &path, found);
    }
}
