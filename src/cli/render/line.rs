//! A line of text in tones, that knows how wide it is.

use crate::cli::render::tone::Tone;
use unicode_width::UnicodeWidthStr;

use super::Look;
use super::words::{harmless, is_hidden};

/// How many columns a text takes.
pub fn width(text: &str) -> usize {
    UnicodeWidthStr::width(text)
}

/// A line of text in tones.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Line {
    parts: Vec<(Tone, String)>,
}

impl Line {
    /// An empty line.
    pub fn new() -> Line {
        Line::default()
    }

    /// A line of plain text.
    pub fn of(text: impl Into<String>) -> Line {
        let mut line = Line::new();
        line.add(text);
        line
    }

    /// Goes on with plain text.
    pub fn add(&mut self, text: impl Into<String>) -> &mut Line {
        self.tone(Tone::Plain, text)
    }

    /// Goes on in a tone; whatever would hide in the text, or turn what is beside it, is seen instead.
    pub fn tone(&mut self, tone: Tone, text: impl Into<String>) -> &mut Line {
        let text = text.into();
        let text = if text.contains(is_hidden) { harmless(&text) } else { text };
        self.parts.push((tone, text));
        self
    }

    /// Goes on at a column, after one space at least where the line is longer already.
    pub fn pad_to(&mut self, column: usize) -> &mut Line {
        let width = self.width();
        if width > 0 || column > 0 {
            self.add(" ".repeat(column.saturating_sub(width).max(usize::from(width >= column))));
        }
        self
    }

    /// Goes on with a text that ends at a column.
    pub fn right(&mut self, column: usize, tone: Tone, text: &str) -> &mut Line {
        let room = column.saturating_sub(self.width() + width(text));
        self.add(" ".repeat(room.max(1)));
        self.tone(tone, text)
    }

    /// How many columns it takes.
    pub fn width(&self) -> usize {
        self.parts.iter().map(|(_, text)| width(text)).sum()
    }

    /// The text, with ANSI escapes if wanted, without spaces at its end.
    pub fn text(&self, color: bool) -> String {
        let plain: String = self.parts.iter().map(|(_, text)| text.as_str()).collect();
        let mut left = plain.trim_end().len();
        let mut shown = String::new();
        for (tone, text) in &self.parts {
            let kept = text.len().min(left);
            shown.push_str(&tone.paint(&text[..kept], color));
            left -= kept;
        }
        shown
    }
}

/// A text wrapped between words: the first line after `head`, the others as far in as `head` is wide.
pub fn wrapped(head: Line, tone: Tone, text: &str, look: &Look) -> Vec<Line> {
    let indent = head.width();
    let room = look.width.saturating_sub(indent).max(20);
    let mut lines = vec![head];
    let mut used = 0;
    for word in text.split(' ').filter(|word| !word.is_empty()) {
        let wide = width(word);
        if used > 0 && used + 1 + wide > room {
            lines.push(Line::of(" ".repeat(indent)));
            used = 0;
        }
        let line = lines.last_mut().expect("there is a first line");
        if used > 0 {
            line.tone(tone, " ");
            used += 1;
        }
        line.tone(tone, word);
        used += wide;
    }
    lines
}

/// Pieces set one after another with `gap` spaces between, wrapped between pieces, never within one.
pub fn flowed(head: Line, pieces: &[(Tone, String)], gap: usize, look: &Look) -> Vec<Line> {
    let indent = head.width();
    let mut lines = vec![head];
    for (tone, piece) in pieces {
        let line = lines.last_mut().expect("there is a first line");
        let begun = line.width() > indent;
        if begun && line.width() + gap + width(piece) > look.width {
            lines.push(Line::of(" ".repeat(indent)));
        } else if begun {
            line.add(" ".repeat(gap));
        }
        lines.last_mut().expect("there is a line").tone(*tone, piece.clone());
    }
    lines
}
