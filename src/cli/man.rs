//! `serin man`: the manual pages, made from the same words as `--help`.

use std::path::PathBuf;

use anyhow::Context;
use clap_mangen::Man;

use super::exit::Exit;
use super::render::words;
use super::session::Session;

/// Where to.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Write the pages of all commands into this directory; without it, the main page goes to stdout.
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

/// Does it.
pub fn run(args: &Args, session: &Session) -> anyhow::Result<Exit> {
    let Some(dir) = &args.dir else {
        let mut page = Vec::new();
        Man::new(super::command()).render(&mut page)?;
        session.terminal.print(&String::from_utf8_lossy(&page))?;
        return Ok(Exit::Done);
    };
    let cannot = || format!("cannot write the pages into {}", dir.display());
    std::fs::create_dir_all(dir).with_context(cannot)?;
    clap_mangen::generate_to(super::command(), dir).with_context(cannot)?;
    let pages = std::fs::read_dir(dir).with_context(cannot)?.count();
    session.terminal.note(&format!("{} in {}", words::plural(pages, "page", "pages"), dir.display()));
    Ok(Exit::Done)
}
