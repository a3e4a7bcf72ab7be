//! The lines Lambda writes around an invocation, on their way to whoever keeps them.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use uuid::Uuid;

use crate::clock;
use crate::domain::arn::{FunctionName, VersionId};
use crate::domain::log::{LogLine, LogSink, stream_name};
use crate::domain::time::Timestamp;

const DAY_MS: i64 = 86_400_000;

/// One worker's way to the log, and the names of its streams: one for each version and day.
pub(super) struct Lines {
    sink: LogSink,
    run: u128,
    day: i64,
    streams: HashMap<VersionId, Arc<str>>,
}

impl Lines {
    /// A worker's own streams, told apart by `run`.
    pub(super) fn new(sink: LogSink, run: u128) -> Lines {
        Lines { sink, run, day: 0, streams: HashMap::new() }
    }

    /// Hands lines over, as said now.
    pub(super) fn say(&mut self, function: &FunctionName, version: VersionId, text: String) {
        let at = clock::wall_now();
        let stream = self.stream(at, version);
        (self.sink)(LogLine { function: function.clone(), version, stream, at, text });
    }

    fn stream(&mut self, at: Timestamp, version: VersionId) -> Arc<str> {
        let day = at.0.div_euclid(DAY_MS);
        if day != self.day {
            (self.day, self.streams) = (day, HashMap::new());
        }
        let run = self.run;
        Arc::clone(self.streams.entry(version).or_insert_with(|| stream_name(at, version, run)))
    }
}

/// The line before an invocation.
pub(super) fn start_line(id: Uuid, version: VersionId) -> String {
    format!("START RequestId: {id} Version: {version}\n")
}

/// The lines after an invocation. What Lambda writes of memory is left out: nobody measured it.
pub(super) fn end_lines(id: Uuid, took: Duration) -> String {
    let duration_ms = took.as_secs_f64() * 1e3;
    format!(
        "END RequestId: {id}\nREPORT RequestId: {id}\tDuration: {duration_ms:.2} ms\tBilled Duration: {:.0} ms\t\n",
        duration_ms.ceil()
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::arn::VersionNumber;

    #[test]
    fn lines_are_worded_as_lambda_words_them() {
        let id = Uuid::nil();
        assert_eq!(
            start_line(id, VersionNumber(7).into()),
            "START RequestId: 00000000-0000-0000-0000-000000000000 Version: 7\n"
        );
        assert_eq!(
            end_lines(id, Duration::from_micros(2_470)),
            "END RequestId: 00000000-0000-0000-0000-000000000000\n\
             REPORT RequestId: 00000000-0000-0000-0000-000000000000\tDuration: 2.47 ms\tBilled Duration: 3 ms\t\n"
        );
    }
}
