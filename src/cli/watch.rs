//! Watching: the same text drawn again in place on a terminal, and below each other, when it changed, elsewhere.
//!
//! In place means: the cursor goes up as many lines as were drawn, and every line is written anew. No other screen is
//! entered and no mode is set, so that Ctrl-C at any moment leaves a terminal as it should be, with the last picture.

use std::time::{Duration, Instant};

use super::exit::Exit;
use super::render::Look;
use super::session::Session;
use super::wait::Outage;
use crate::cli::render::tone::Tone;
use crate::client::ClientError;
use crate::clock;

/// Between two looks.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// What is drawn at one moment.
pub struct Frame {
    /// The text.
    pub text: String,
    /// What must change for the text to be printed again where it cannot be drawn over.
    pub mark: String,
    /// Set when there will be nothing new.
    pub end: Option<Exit>,
}

/// Draws what `frame` makes, again and again, until it ends, the time is up or the person stops it; also when nobody reads
/// it any more, unless how it ends is waited for.
pub fn watch(
    session: &Session,
    (is_awaited, timeout): (bool, Option<Duration>),
    frame: impl Fn(&Look) -> Result<Frame, ClientError>,
) -> anyhow::Result<Exit> {
    let begun = clock::instant_now();
    let mut screen = Screen::below(session);
    let mut outage = Outage::new();
    let mut printed = None;
    loop {
        match frame(&session.terminal.look()) {
            Ok(frame) => {
                outage.ends(session);
                let is_last = frame.end.is_some() || is_over(begun, timeout);
                if session.terminal.is_screen {
                    screen.draw(&frame.text, is_last, session)?;
                } else if printed.as_ref() != Some(&frame.mark) {
                    let gap = if printed.is_some() { "\n" } else { "" };
                    let text = format!("{gap}{}", frame.text);
                    match is_awaited {
                        true => session.terminal.print(&text)?,
                        false => session.terminal.print_on(&text)?,
                    }
                }
                printed = Some(frame.mark);
                if let Some(exit) = frame.end {
                    return Ok(exit);
                }
            }
            Err(error) => {
                // What was drawn stays, and the words about the outage come below it.
                screen.drawn_lines = 0;
                outage.goes_on(error, session)?;
            }
        }
        if is_over(begun, timeout) {
            return Ok(Exit::TimedOut);
        }
        let left = timeout.map_or(LOOK_EVERY, |timeout| timeout.saturating_sub(begun.elapsed()));
        std::thread::sleep(left.min(LOOK_EVERY));
    }
}

fn is_over(begun: Instant, timeout: Option<Duration>) -> bool {
    timeout.is_some_and(|timeout| begun.elapsed() >= timeout)
}

/// A part of the terminal that is drawn over.
pub struct Screen {
    drawn_lines: usize,
    size: (usize, Option<usize>),
}

impl Screen {
    /// Begins below what stands there now.
    pub fn below(session: &Session) -> Screen {
        Screen { drawn_lines: 0, size: session.terminal.size() }
    }

    /// Draws over what was drawn before; what does not fit on the screen is left out, except at the end.
    pub fn draw(&mut self, text: &str, is_last: bool, session: &Session) -> anyhow::Result<()> {
        let size = session.terminal.size();
        let mut out = String::new();
        if size == self.size {
            if self.drawn_lines > 0 {
                out.push_str(&format!("\r\x1b[{}A", self.drawn_lines));
            }
        } else {
            // Lines that were wrapped by the terminal itself cannot be counted: begin anew.
            out.push_str("\x1b[2J\x1b[H");
            self.size = size;
        }
        let lines: Vec<&str> = text.lines().collect();
        let rows_max = size.1.map_or(usize::MAX, |rows| rows.saturating_sub(2).max(1));
        let cut = !is_last && lines.len() > rows_max;
        let shown = if cut { rows_max - 1 } else { lines.len() };
        for line in &lines[..shown] {
            out.push_str(&format!("{line}\x1b[K\n"));
        }
        if cut {
            let look = session.terminal.look();
            let more = format!("{} {} more lines", look.glyphs().dots, lines.len() - shown);
            out.push_str(&format!("{}\x1b[K\n", Tone::Quiet.paint(&more, look.color)));
        }
        out.push_str("\x1b[J");
        self.drawn_lines = if cut { shown + 1 } else { shown };
        session.terminal.print_on(&out)
    }
}
