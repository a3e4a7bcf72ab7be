//! The journal, an entry a line, as `serin history` prints it.

use super::Look;
use super::line::{Line, width, wrapped};
use super::sections::{cut, entry_text};
use super::words;
use crate::api::wire::EventView;
use crate::cli::render::tone::Tone;

/// Below this the text of an entry is not wrapped, but goes over the edge.
const TEXT_WIDTH_MIN: usize = 24;
/// Columns begin this wide and never wider than that.
const COLUMN_WIDTHS: std::ops::RangeInclusive<usize> = 5..=28;

/// How wide the columns are, so that entries stand below each other.
#[derive(Clone, Copy, Debug)]
pub struct Columns {
    actor: usize,
    /// `None` where all entries are of one alias.
    target: Option<usize>,
}

impl Columns {
    /// None yet; `everywhere` when entries of several aliases stand below each other.
    pub fn new(everywhere: bool) -> Columns {
        let width = *COLUMN_WIDTHS.start();
        Columns { actor: width, target: everywhere.then_some(width) }
    }

    /// Makes room for entries that are about to be written.
    pub fn fit(&mut self, events: &[EventView], look: &Look) {
        let widen = |known: usize, text: &str| known.max(width(text)).min(*COLUMN_WIDTHS.end());
        for event in events {
            self.actor = widen(self.actor, &look.words(&event.actor));
            self.target = self.target.map(|known| widen(known, &target(event, look)));
        }
    }
}

fn target(event: &EventView, look: &Look) -> String {
    look.words(&match &event.alias {
        Some(alias) => format!("{}:{alias}", event.function),
        None => event.function.clone(),
    })
}

/// Writes an entry.
pub fn entry(event: &EventView, columns: Columns, look: &Look) -> Vec<Line> {
    let mut head = Line::new();
    head.tone(Tone::Quiet, format!("{:>5}  {}", event.seq, words::date_time(&event.at, look)));
    head.add("  ");
    let mut column = head.width() + columns.actor;
    head.add(cut(&look.words(&event.actor), columns.actor, look)).pad_to(column + 2);
    if let Some(target_width) = columns.target {
        column = head.width() + target_width;
        head.tone(Tone::Strong, cut(&target(event, look), target_width, look)).pad_to(column + 2);
    }
    let text = entry_text(event, look);
    if look.wrap && head.width() + TEXT_WIDTH_MIN <= look.width {
        return wrapped(head, Tone::Plain, &text, look);
    }
    head.add(text);
    vec![head]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::render::test_look;

    fn event(seq: u64, actor: &str, function: &str) -> EventView {
        EventView {
            seq,
            at: "2026-11-22T02:11:40.000Z".to_owned(),
            actor: actor.to_owned(),
            reason: None,
            function: function.to_owned(),
            alias: Some("live".to_owned()),
            rollout: None,
            kind: String::new(),
            phase: None,
            step: None,
            text: "did it".to_owned(),
            routing: None,
            entry: serde_json::Value::Null,
        }
    }

    #[test]
    fn entries_line_up_whoever_did_it() {
        let look = test_look();
        let events = [
            event(9, "serin", "shop"),
            event(10, "unknown@vm (claimed)", "checkout"),
            event(11, &"x".repeat(60), &"y".repeat(60)),
        ];
        for everywhere in [false, true] {
            let mut columns = Columns::new(everywhere);
            columns.fit(&events, &look);
            let starts: Vec<usize> = events
                .iter()
                .map(|event| {
                    let line = entry(event, columns, &look)[0].text(false);
                    width(line.split("did").next().unwrap())
                })
                .collect();
            assert!(starts.iter().all(|start| *start == starts[0]), "{everywhere}: {starts:?}");
        }
    }
}
