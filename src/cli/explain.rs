//! `serin explain`: why a rollout is where it is, in sentences.

use super::exit::Exit;
use super::flags::{Target, TextOrJson, json};
use super::render::explanation::explanation;
use super::session::Session;

/// What to explain.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// function:alias, or a rollout's id or the id's end.
    target: Target,
    /// How it is printed.
    #[arg(long, short, value_enum, value_name = "FORM", default_value = "text")]
    output: TextOrJson,
}

/// Does it.
pub fn run(args: &Args, session: &Session) -> anyhow::Result<Exit> {
    let client = session.client()?;
    let explained = client.explain(&args.target.to_string())?;
    let text = match args.output {
        TextOrJson::Json => json(&explained),
        TextOrJson::Text => {
            let look = session.terminal.look();
            look.print(&explanation(&explained, &look))
        }
    };
    session.terminal.print(&text)?;
    Ok(Exit::Done)
}
