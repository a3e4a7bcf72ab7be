//! The daemon's log on stderr: lines for people on a terminal, JSON for everything else.

use std::fmt;
use std::io::{self, IsTerminal};

use anyhow::Context;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::FormatTime;

use super::render::Look;
use super::render::words;
use crate::clock;
use crate::config;

/// What is logged unless SERIN_LOG or RUST_LOG say otherwise.
const FILTER_DEFAULT: &str = "info";

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
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr).with_target(false);
    let begun = if io::stderr().is_terminal() {
        log.with_ansi(look.color).with_timer(LocalTime(look)).try_init()
    } else {
        log.json().flatten_event(true).with_current_span(false).with_span_list(false).try_init()
    };
    begun.map_err(|why| anyhow::anyhow!("cannot begin to log: {why}"))
}
