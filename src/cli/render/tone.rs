//! What a piece of text means, and which color that is.

use anstyle::AnsiColor;
use anstyle::Style;

/// What a piece of text means; what it looks like is decided in one place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tone {
    /// Nothing special.
    Plain,
    /// What to look at first.
    Strong,
    /// As it should be.
    Good,
    /// Not as it should be.
    Bad,
    /// Wants a person, or soon will.
    Caution,
    /// The canary, wherever it is drawn.
    Canary,
    /// Less important.
    Quiet,
}

impl Tone {
    fn style(self) -> Style {
        let colored = |color: AnsiColor| Style::new().fg_color(Some(color.into()));
        match self {
            Tone::Plain => Style::new(),
            Tone::Strong => Style::new().bold(),
            Tone::Good => colored(AnsiColor::Green),
            Tone::Bad => colored(AnsiColor::Red).bold(),
            Tone::Caution => colored(AnsiColor::Yellow),
            Tone::Canary => colored(AnsiColor::Cyan),
            Tone::Quiet => Style::new().dimmed(),
        }
    }

    /// Text in this tone, with ANSI escapes if wanted.
    pub fn paint(self, text: &str, color: bool) -> String {
        if !color || self == Tone::Plain || text.is_empty() {
            return text.to_owned();
        }
        let style = self.style();
        format!("{style}{text}{style:#}")
    }
}
