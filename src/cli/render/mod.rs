//! What people read: lines with tones and widths, and the pictures, tables and sentences made of them.
//!
//! Everything here is a function of the wire's values and a `Look`: no terminal, no clock, no environment. So the same
//! text comes out in a test, in a pipe and on a screen, with or without color, in Unicode or in ASCII.

pub mod explanation;
pub mod history;
pub mod line;
pub mod list;
pub mod picture;
pub mod sections;
pub mod simulation;
pub mod table;
pub mod tone;
pub mod words;

use jiff::tz::TimeZone;

use line::Line;
use serin_core::model::time::Timestamp;

/// How things are to look.
#[derive(Clone, Debug)]
pub struct Look {
    /// Columns.
    pub width: usize,
    /// Whether lines are on a terminal, where they must be wrapped by hand.
    pub wrap: bool,
    /// Whether tones become ANSI colors.
    pub color: bool,
    /// Whether more than ASCII can be shown.
    pub unicode: bool,
    /// In which zone times are told.
    pub zone: TimeZone,
    /// What "ago" and "left" are measured from.
    pub now: Timestamp,
}

/// The signs that have two forms.
#[derive(Debug)]
pub struct Glyphs {
    /// From one thing to another.
    pub arrow: &'static str,
    /// Met, done.
    pub yes: &'static str,
    /// Not met, failed.
    pub no: &'static str,
    /// Here.
    pub here: &'static str,
    /// Ahead.
    pub ahead: &'static str,
    /// A cell of a bar that is filled.
    pub full: &'static str,
    /// Half of one.
    pub half: &'static str,
    /// A cell that is empty.
    pub empty: &'static str,
    /// Something left out.
    pub dots: &'static str,
    /// No value.
    pub none: &'static str,
}

const UNICODE: Glyphs = Glyphs {
    arrow: "→",
    yes: "✓",
    no: "✗",
    here: "▶",
    ahead: "·",
    full: "█",
    half: "▌",
    empty: "░",
    dots: "…",
    none: "–",
};
const ASCII: Glyphs = Glyphs {
    arrow: "->",
    yes: "+",
    no: "x",
    here: ">",
    ahead: ".",
    full: "#",
    half: "=",
    empty: ".",
    dots: "...",
    none: "-",
};

impl Look {
    /// The signs of this look.
    pub fn glyphs(&self) -> &'static Glyphs {
        if self.unicode { &UNICODE } else { &ASCII }
    }

    /// A text from elsewhere made fit to be shown: no control characters, times told in the reader's zone, and
    /// nothing that the terminal cannot show.
    pub fn words(&self, text: &str) -> String {
        let mut shown = String::with_capacity(text.len());
        for char in words::localized(text, self).chars() {
            match char {
                '\n' | '\t' => shown.push(' '),
                char if words::is_hidden(char) => shown.push('?'),
                char if char.is_ascii() || self.unicode => shown.push(char),
                '→' => shown.push_str(ASCII.arrow),
                '…' => shown.push_str(ASCII.dots),
                '–' | '—' | '·' => shown.push('-'),
                '✓' => shown.push_str(ASCII.yes),
                '✗' => shown.push_str(ASCII.no),
                _ => shown.push('?'),
            }
        }
        shown
    }

    /// Lines as they are printed, each with its end.
    pub fn print(&self, lines: &[Line]) -> String {
        lines.iter().map(|line| line.text(self.color) + "\n").collect()
    }
}

/// A look for tests: 80 columns in Berlin, in the night of a release.
#[cfg(test)]
pub fn test_look() -> Look {
    Look {
        width: 80,
        wrap: true,
        color: false,
        unicode: true,
        zone: TimeZone::get("Europe/Berlin").unwrap(),
        now: Timestamp::parse("2026-11-22T02:12:00.000Z").unwrap(),
    }
}
