//! `serin fsck`: checks a store against its own journal and its chain, and mends aliases from it.

use std::path::PathBuf;

use super::exit::Exit;
use super::flags::{TextOrJson, json};
use super::render::words;
use super::serve::data_dir;
use super::session::Session;
use crate::cli::render::tone::Tone;
use crate::daemon;

/// What to check.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The data directory; `$XDG_STATE_HOME/serin` or `~/.local/state/serin` unless given.
    #[arg(long, value_name = "DIR", env = "SERIN_DATA_DIR")]
    data_dir: Option<PathBuf>,
    /// Put aliases back to what the journal says, and accept the rest as it is; no daemon may run on the directory.
    #[arg(long)]
    repair: bool,
    /// How it is printed.
    #[arg(long, short, value_enum, value_name = "FORM", default_value = "text")]
    output: TextOrJson,
}

/// Does it; checking works beside a running daemon.
pub fn run(args: &Args, session: &Session) -> anyhow::Result<Exit> {
    let dir = data_dir(args.data_dir.clone())?;
    let findings = daemon::check_store(&dir, args.repair)?;
    let notes = daemon::notes_of_store(&dir)?;
    let open = findings.iter().filter(|finding| !finding.repaired).count();
    let look = session.terminal.look();
    let text = match args.output {
        TextOrJson::Json => {
            let findings: Vec<_> = findings
                .iter()
                .map(|finding| serde_json::json!({ "text": finding.text, "repaired": finding.repaired }))
                .collect();
            json(&serde_json::json!({ "dataDir": dir, "findings": findings, "notes": notes }))
        }
        TextOrJson::Text => {
            let line = |finding: &daemon::Finding| {
                let (tone, word) =
                    if finding.repaired { (Tone::Good, "mended") } else { (Tone::Bad, "wrong") };
                format!("{}  {}\n", tone.paint(word, look.color), look.words(&finding.text))
            };
            let mut text: String = findings.iter().map(line).collect();
            for note in &notes {
                text.push_str(&format!("{}  {}\n", "note", look.words(note)));
            }
            text.push_str(&match (findings.len(), open) {
                (0, _) => format!("{} is in order\n", dir.display()),
                (_, 0) => format!("{} is in order now\n", dir.display()),
                (_, open) => format!("{}: {}\n", dir.display(), words::plural(open, "finding", "findings")),
            });
            text
        }
    };
    session.terminal.print(&text)?;
    if open > 0 && !args.repair {
        session.terminal.note("--repair puts aliases back to what the journal says, and accepts what else was changed; stop the daemon first");
    } else if open > 0 {
        session.terminal.note("only aliases can be mended; restore a backup for the rest (`serin restore`)");
    }
    Ok(if open == 0 { Exit::Done } else { Exit::Failed })
}
