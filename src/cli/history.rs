//! `serin history`: the journal of a rollout, of an alias or of everything, and what is added to it.

use std::time::Duration;

use super::exit::Exit;
use super::flags::{TableOrJson, Target, json};
use super::render::history::{Columns, entry};
use super::render::words;
use super::session::Session;
use super::wait::Outage;
use crate::api::wire::{CountsView, EventView};
use crate::client::{Client, ClientError, HistoryQuery};

const EXAMPLES: &str = "\
Examples:
  serin history checkout:live                     what happened to an alias, oldest first
  serin history 7f3a                              what happened in one rollout
  serin history --follow                          everything, as it happens
  serin history checkout:live --counts            what was counted in it, for `serin replay`
  serin history -o json --after 120 --limit 1000  page by page, for scripts";

/// Between two tries to reach a daemon that went away.
const RECONNECT_EVERY: Duration = Duration::from_millis(500);

/// Which part of the journal to show.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// function:alias, or a rollout's id or the id's end; everything unless given.
    target: Option<Target>,
    /// At most so many entries.
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=1000))]
    limit: u32,
    /// Only what came after the entry with this number, oldest first; the newest entries unless given.
    #[arg(long, value_name = "SEQ")]
    after: Option<u64>,
    /// Print the counts of one rollout instead, as `serin replay` reads them; of an alias, of its newest.
    #[arg(long, requires = "target", conflicts_with_all = ["limit", "after", "follow", "output"])]
    counts: bool,
    /// Go on with what is added, as it is; as JSON, an entry a line.
    #[arg(long, short)]
    follow: bool,
    /// How it is printed.
    #[arg(long, short, value_enum, value_name = "FORM", default_value = "table")]
    output: TableOrJson,
}

/// Does it.
pub fn run(args: &Args, session: &Session) -> anyhow::Result<Exit> {
    let client = session.client()?;
    let target = args.target.as_ref().map(Target::to_string);
    if let Some(target) = target.as_ref().filter(|_| args.counts) {
        session.terminal.print(&counts_lines(&client.counts(target)?)?)?;
        return Ok(Exit::Done);
    }
    let wanted = HistoryQuery { after: args.after, limit: Some(args.limit) };
    // Which rollout an id's end means is settled before anything is followed.
    let scope = scope(&client, args.target.as_ref())?;
    let list = client.history(target.as_deref(), wanted)?;
    let mut columns = Columns::new(args.target.is_none());
    if !args.follow {
        let text = match args.output {
            TableOrJson::Json => json(&list),
            TableOrJson::Table if list.events.is_empty() => {
                session.terminal.note("nothing happened there");
                String::new()
            }
            TableOrJson::Table => {
                let look = session.terminal.look();
                columns.fit(&list.events, &look);
                list.events.iter().map(|event| look.print(&entry(event, columns, &look))).collect()
            }
        };
        session.terminal.print(&text)?;
        return Ok(Exit::Done);
    }
    let mut last = args.after.unwrap_or(0);
    columns.fit(&list.events, &session.terminal.look());
    for event in &list.events {
        print(event, args, &mut columns, session)?;
        last = event.seq;
    }
    follow(args, session, &client, &scope, last, columns)
}

/// A JSON object a line: what came before, then the blocks.
fn counts_lines(counts: &CountsView) -> Result<String, serde_json::Error> {
    let mut lines = String::new();
    if let Some(prior) = &counts.prior {
        lines.push_str(&serde_json::to_string(&serde_json::json!({ "prior": prior }))?);
        lines.push('\n');
    }
    for block in &counts.blocks {
        lines.push_str(&serde_json::to_string(block)?);
        lines.push('\n');
    }
    Ok(lines)
}

/// Which entries a target means, in terms of the stream.
struct Scope {
    alias: Option<String>,
    rollout: Option<String>,
}

fn scope(client: &Client, target: Option<&Target>) -> Result<Scope, ClientError> {
    Ok(match target {
        None => Scope { alias: None, rollout: None },
        Some(Target::Alias(alias)) => Scope { alias: Some(alias.to_string()), rollout: None },
        Some(Target::Id(id)) => {
            let status = client.status(id)?;
            let alias = format!("{}:{}", status.function, status.alias);
            Scope { alias: Some(alias), rollout: Some(status.id) }
        }
    })
}

fn follow(
    args: &Args,
    session: &Session,
    client: &Client,
    scope: &Scope,
    mut last: u64,
    mut columns: Columns,
) -> anyhow::Result<Exit> {
    let mut outage = Outage::new();
    loop {
        match client.follow(scope.alias.as_deref(), last) {
            Ok(events) => {
                outage.ends(session);
                // A broken stream is taken up again after the last entry that came whole.
                for event in events.map_while(Result::ok) {
                    last = event.seq;
                    if scope.rollout.is_none() || event.rollout == scope.rollout {
                        print(&event, args, &mut columns, session)?;
                    }
                }
            }
            Err(error) => outage.goes_on(error, session)?,
        }
        std::thread::sleep(RECONNECT_EVERY);
    }
}

fn print(event: &EventView, args: &Args, columns: &mut Columns, session: &Session) -> anyhow::Result<()> {
    let text = match args.output {
        TableOrJson::Json => words::escaped(&serde_json::to_string(event)?) + "\n",
        TableOrJson::Table => {
            let look = session.terminal.look();
            columns.fit(std::slice::from_ref(event), &look);
            look.print(&entry(event, *columns, &look))
        }
    };
    session.terminal.print_on(&text)
}
