//! The daemon's log on stderr: lines for people on a terminal, JSON for everything else.
//!
//! Everything goes through `log_queue`, panics included: nobody waits for stderr, and nobody ends with it.

use std::backtrace::{Backtrace, BacktraceStatus};
use std::fmt;
use std::io::{self, IsTerminal};
use std::panic::{self, PanicHookInfo};
use std::time::Duration;

use anyhow::Context;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::FormatTime;

use super::render::Look;
use super::render::words;
use crate::clock;
use crate::config;
use crate::log_queue;

/// What is logged unless SERIN_LOG or RUST_LOG say otherwise.
const FILTER_DEFAULT: &str = "info";
/// How long the last lines may take to be written when the process ends.
const LAST_LINES_MAX: Duration = Duration::from_millis(500);

/// The time of day where the reader is.
struct LocalTime(Look);

impl FormatTime for LocalTime {
    fn format_time(&self, writer: &mut Writer<'_>) -> fmt::Result {
        let now = clock::wall_now();
        let look = Look { now, ..self.0.clone() };
        write!(writer, "{}", words::clock(&now.to_string(), &look))
    }
}

/// Begins to log, in the form that whoever reads stderr can read.
pub fn start(look: Look) -> anyhow::Result<()> {
    let wanted = config::log_filter();
    let filter = EnvFilter::try_new(wanted.as_deref().unwrap_or(FILTER_DEFAULT)).with_context(|| {
        format!(
            "SERIN_LOG (or RUST_LOG) {:?} is no log filter, as in info or serin=debug",
            wanted.unwrap_or_default()
        )
    })?;
    let queue = log_queue::begin(tell_lost).context("cannot start the thread that writes the log")?;
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(move || queue)
        .with_target(false)
        // It would print to stderr itself, and panic where that fails.
        .log_internal_errors(false);
    let begun = if io::stderr().is_terminal() {
        log.with_ansi(look.color).with_timer(LocalTime(look)).try_init()
    } else {
        log.json().flatten_event(true).with_current_span(false).with_span_list(false).try_init()
    };
    begun.map_err(|why| anyhow::anyhow!("cannot begin to log: {why}"))?;
    // The usual hook writes to stderr, and whoever panicked would wait for it.
    panic::set_hook(Box::new(tell_panic));
    Ok(())
}

/// Gives the last lines a moment, where this process logs.
pub fn finish() {
    if let Some(queue) = log_queue::of_process() {
        queue.flush(LAST_LINES_MAX);
    }
}

fn tell_lost(lines: u64) {
    tracing::warn!(lines, "log lines were lost: stderr did not take them, or not fast enough");
}

fn tell_panic(panic: &PanicHookInfo<'_>) {
    let thread = std::thread::current();
    let thread = thread.name().unwrap_or("unnamed");
    let place = panic.location().map(ToString::to_string).unwrap_or_default();
    let why = panic.payload_as_str().unwrap_or("a panic without words");
    let trace = Backtrace::capture();
    let backtrace = (trace.status() == BacktraceStatus::Captured).then(|| tracing::field::display(&trace));
    tracing::error!(backtrace, "thread '{thread}' panicked at {place}: {why}");
}
