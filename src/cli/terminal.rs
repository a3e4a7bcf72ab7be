//! Where words go: what stdout and stderr can show, and the one place that prints.

use std::io::{self, IsTerminal, Write};

use anstream::{AutoStream, ColorChoice};
use anyhow::Context;

use super::exit::Exit;
use super::render::Look;
use crate::cli::render::tone::Tone;
use crate::clock;
use crate::config;
use crate::log_queue;

/// When to color.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Colors {
    /// On a terminal, unless NO_COLOR is set.
    #[default]
    Auto,
    /// Also into files and pipes.
    Always,
    /// Not at all.
    Never,
}

/// Columns where nobody says how many there are.
const WIDTH_DEFAULT: usize = 80;

/// Stdout and stderr.
#[derive(Debug)]
pub struct Terminal {
    colors_out: bool,
    colors_err: bool,
    unicode: bool,
    /// Whether stdout is a terminal that can be drawn on.
    pub is_screen: bool,
}

impl Terminal {
    /// The terminal of this process.
    pub fn of_process(colors: Colors) -> Terminal {
        let wanted = |auto: ColorChoice| match colors {
            Colors::Auto => auto != ColorChoice::Never,
            Colors::Always => true,
            Colors::Never => false,
        };
        Terminal {
            colors_out: wanted(AutoStream::choice(&io::stdout())),
            colors_err: wanted(AutoStream::choice(&io::stderr())),
            unicode: config::is_utf8_locale(),
            is_screen: io::stdout().is_terminal() && !config::is_dumb_terminal(),
        }
    }

    /// How things on stdout are to look now.
    pub fn look(&self) -> Look {
        Look {
            width: self.size().0,
            wrap: io::stdout().is_terminal(),
            color: self.colors_out,
            unicode: self.unicode,
            zone: jiff::tz::TimeZone::system(),
            now: clock::wall_now(),
        }
    }

    /// How things on stderr are to look now.
    pub fn look_of_errors(&self) -> Look {
        Look { color: self.colors_err, wrap: io::stderr().is_terminal(), ..self.look() }
    }

    /// Columns and lines; lines are unknown where stdout is no terminal.
    pub fn size(&self) -> (usize, Option<usize>) {
        let asked = io::stdout()
            .is_terminal()
            .then(|| rustix::termios::tcgetwinsize(io::stdout()).ok())
            .flatten()
            .filter(|size| size.ws_col > 0);
        match asked {
            Some(size) => (
                config::columns().unwrap_or(usize::from(size.ws_col)),
                Some(usize::from(size.ws_row)).filter(|rows| *rows > 0),
            ),
            None => (config::columns().unwrap_or(WIDTH_DEFAULT), None),
        }
    }

    /// Prints what was asked for. That its reader has gone, as `head` does, changes neither what is done nor the exit code.
    pub fn print(&self, text: &str) -> anyhow::Result<()> {
        match write(text) {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
            done => done.context(UNWRITTEN),
        }
    }

    /// Prints a part of what goes on for as long as somebody reads it; an error, which is none to report, once nobody does.
    pub fn print_on(&self, text: &str) -> anyhow::Result<()> {
        match write(text) {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Err(NobodyReads.into()),
            done => done.context(UNWRITTEN),
        }
    }

    /// Prints a line beside what was asked for, on stderr.
    pub fn note(&self, text: &str) {
        self.note_as_is(&(self.look_of_errors().words(text) + "\n"));
    }

    /// Prints lines on stderr as they are; a daemon does not wait for it.
    pub fn note_as_is(&self, text: &str) {
        match log_queue::of_process() {
            Some(queue) => queue.push(text.as_bytes()),
            // Where stderr is gone there is nobody left to tell.
            None => drop(io::stderr().lock().write_all(text.as_bytes())),
        }
    }

    /// Says what went wrong, once, with its causes.
    pub fn report(&self, error: &anyhow::Error) -> Exit {
        if error.is::<NobodyReads>() {
            // Whoever read along, `head` for one, has seen enough.
            return Exit::Done;
        }
        let look = self.look_of_errors();
        let label = Tone::Bad.paint("error:", look.color);
        let mut text = String::new();
        for (index, line) in in_one(error).lines().enumerate() {
            text.push_str(if index == 0 { "" } else { "\n" });
            text.push_str(&look.words(line));
        }
        self.note_as_is(&format!("{label} {text}\n"));
        Exit::Failed
    }
}

/// What could not be done where stdout takes nothing.
const UNWRITTEN: &str = "cannot write to standard output";

/// Nobody reads any more what was to go on for as long as somebody does.
#[derive(Debug, thiserror::Error)]
#[error("nobody reads standard output any more")]
struct NobodyReads;

fn write(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()
}

/// An error with its causes, leaving out those that only say again what was said.
fn in_one(error: &anyhow::Error) -> String {
    let mut said: Vec<String> = Vec::new();
    for cause in error.chain().map(ToString::to_string) {
        if !said.iter().any(|known| known.contains(&cause) || cause.contains(known.as_str())) {
            said.push(cause);
        }
    }
    said.join(": ")
}
