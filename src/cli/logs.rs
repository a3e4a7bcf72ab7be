//! `serin logs`: what invocations of a function said, with the version that ran.

use std::time::Duration;

use super::exit::Exit;
use super::flags::{TableOrJson, json, span};
use super::render::Look;
use super::render::line::Line;
use super::render::words;
use super::session::Session;
use super::wait::Outage;
use crate::api::wire::LogLineView;
use crate::cli::render::tone::Tone;
use crate::client::LogQuery;
use serin_core::model::arn::FunctionRef;

const EXAMPLES: &str = "\
Examples:
  serin logs checkout                             the newest lines, of every version
  serin logs checkout:live -f                     of the versions that the alias names, as they come
  serin logs checkout:42 --since 10m              of version 42, the last ten minutes";

/// Between two looks for new lines.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// Lines that are fetched at once while following.
const PAGE: u32 = 1000;

/// Whose lines to show.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// FUNCTION, FUNCTION:VERSION, or FUNCTION:ALIAS for the versions that it names now.
    #[arg(value_parser = target)]
    target: String,
    /// At most so many lines, the newest.
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    limit: u32,
    /// Nothing older than this.
    #[arg(long, value_name = "SPAN", value_parser = span)]
    since: Option<Duration>,
    /// Go on with what comes.
    #[arg(long, short)]
    follow: bool,
    /// How it is printed.
    #[arg(long, short, value_enum, value_name = "FORM", default_value = "table")]
    output: TableOrJson,
}

fn target(text: &str) -> Result<String, &'static str> {
    let read: Result<FunctionRef, _> = text.parse();
    read.map(|_| text.to_owned()).map_err(|_| "lines are of FUNCTION, FUNCTION:VERSION or FUNCTION:ALIAS")
}

/// Does it.
pub fn run(args: &Args, session: &Session) -> anyhow::Result<Exit> {
    let client = session.client()?;
    let since = args.since.map(|span| {
        let now = session.terminal.look().now;
        serin_core::model::time::Timestamp(now.0.saturating_sub(span.as_millis() as i64)).to_string()
    });
    let wanted = LogQuery { after: None, since: since.as_deref(), limit: Some(args.limit) };
    let list = client.logs(&args.target, &wanted)?;
    if !args.follow {
        match args.output {
            TableOrJson::Json => session.terminal.print(&json(&list))?,
            TableOrJson::Table if list.lines.is_empty() => session.terminal.note("nothing was said there"),
            TableOrJson::Table => session.terminal.print(&text(&list.lines, args, session)?)?,
        }
        return Ok(Exit::Done);
    }
    session.terminal.print_on(&text(&list.lines, args, session)?)?;
    let (mut after, mut outage) = (list.next, Outage::new());
    loop {
        let wanted = LogQuery { after: Some(after), since: None, limit: Some(PAGE) };
        match client.logs(&args.target, &wanted) {
            Ok(list) => {
                outage.ends(session);
                session.terminal.print_on(&text(&list.lines, args, session)?)?;
                after = list.next;
                if list.lines.len() == PAGE as usize {
                    continue;
                }
            }
            Err(error) => outage.goes_on(error, session)?,
        }
        std::thread::sleep(LOOK_EVERY);
    }
}

/// Lines, each with its time and version; as JSON, an object a line.
fn text(lines: &[LogLineView], args: &Args, session: &Session) -> Result<String, serde_json::Error> {
    let look = session.terminal.look();
    let mut text = String::new();
    for line in lines {
        match args.output {
            TableOrJson::Json => text += &(words::escaped(&serde_json::to_string(line)?) + "\n"),
            TableOrJson::Table => text += &look.print(&[in_words(line, &look)]),
        }
    }
    Ok(text)
}

fn in_words(line: &LogLineView, look: &Look) -> Line {
    let version =
        if line.version.starts_with('$') { line.version.clone() } else { format!("v{}", line.version) };
    // What a function says must neither move anybody's cursor nor turn what stands beside it.
    let harmless = words::harmless(&line.text);
    let mut words = Line::new();
    words.tone(Tone::Quiet, words::clock(&line.at, look)).add("  ");
    words.tone(Tone::Strong, &version).add("  ").add(harmless.trim_end());
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_show_time_version_and_harmless_words() {
        let look = Look {
            width: 80,
            wrap: false,
            color: false,
            unicode: true,
            zone: jiff::tz::TimeZone::UTC,
            now: serin_core::model::time::Timestamp::parse("2026-11-22T12:00:00Z").unwrap(),
        };
        let line = |version: &str, text: &str| LogLineView {
            id: 1,
            at: "2026-11-22T11:59:58.123Z".to_owned(),
            version: version.to_owned(),
            stream: String::new(),
            text: text.to_owned(),
        };
        let shown = look.print(&[
            in_words(&line("7", "START\u{1b}[2J\t\u{202e}x\n"), &look),
            in_words(&line("$LATEST", "y"), &look),
        ]);
        assert_eq!(shown, "11:59:58  v7  START?[2J ?x\n11:59:58  $LATEST  y\n");
    }
}
