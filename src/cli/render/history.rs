//! The journal, an entry a line, as `serin history` prints it.

use super::Look;
use super::line::{Line, Tone, wrapped};
use super::sections::entry_text;
use super::words;
use crate::api::wire::EventView;

/// Columns that are as wide in every entry, so that entries that come later still line up.
const ACTOR_WIDTH: usize = 14;
const TARGET_WIDTH: usize = 14;

/// Writes an entry; `everywhere` when entries of several aliases stand below each other.
pub fn entry(event: &EventView, everywhere: bool, look: &Look) -> Vec<Line> {
    let mut head = Line::new();
    head.tone(Tone::Quiet, format!("{:>5}  {}", event.seq, words::date_time(&event.at, look)));
    head.add("  ");
    let mut column = head.width() + ACTOR_WIDTH;
    head.add(look.words(&event.actor)).pad_to(column).add("  ");
    if everywhere {
        let target = match &event.alias {
            Some(alias) => format!("{}:{alias}", event.function),
            None => event.function.clone(),
        };
        column = head.width() + TARGET_WIDTH;
        head.tone(Tone::Strong, look.words(&target)).pad_to(column).add("  ");
    }
    let text = entry_text(event, look);
    if look.wrap && head.width() + 24 <= look.width {
        return wrapped(head, Tone::Plain, &text, look);
    }
    head.add(text);
    vec![head]
}
