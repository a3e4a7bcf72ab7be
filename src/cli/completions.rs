//! `serin completions`: what a shell needs to complete every command and flag.

use clap_complete::Shell;

use super::exit::Exit;
use super::session::Session;

const EXAMPLES: &str = "\
Examples:
  serin completions bash > ~/.local/share/bash-completion/completions/serin
  serin completions zsh > \"${fpath[1]}/_serin\"
  serin completions fish > ~/.config/fish/completions/serin.fish";

/// For which shell.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// The shell.
    #[arg(value_enum)]
    shell: Shell,
}

/// Does it.
pub fn run(args: &Args, session: &Session) -> anyhow::Result<Exit> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut super::command(), "serin", &mut script);
    session.terminal.print(&String::from_utf8_lossy(&script))?;
    Ok(Exit::Done)
}
