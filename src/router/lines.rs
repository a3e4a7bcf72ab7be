//! What Lambda writes around an invocation, on its way to whoever keeps it.
//!
//! Of versions that are HTTP services nothing else is known, so an invocation that is over is handed on as a few numbers
//! and not as lines; those that end in one turn of the worker's loop go together.

use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use uuid::Uuid;

use super::route::Route;
use super::worker::Worker;
use crate::clock;
use serin_core::lambda::log::{LogLine, LogSinks, Run, Runs, micros, start_line, stream_name};
use serin_core::model::arn::{FunctionName, VersionId};
use serin_core::model::time::Timestamp;

const DAY_MS: i64 = 86_400_000;
/// Among so many gathered last one looks for one's own version; who keeps them puts together what is left apart.
const LOOKED_AT_MAX: usize = 8;

/// One worker's way to the log, and the names of its streams: one for each version and day.
pub(super) struct Lines {
    sinks: LogSinks,
    run: u128,
    day: i64,
    streams: HashMap<VersionId, Arc<str>>,
    gathered: Vec<Runs>,
}

impl Lines {
    /// A worker's own streams, told apart by `run`.
    pub(super) fn new(sinks: LogSinks, run: u128) -> Lines {
        Lines { sinks, run, day: 0, streams: HashMap::new(), gathered: Vec::new() }
    }

    /// Hands lines over, as said now.
    pub(super) fn say(&mut self, function: &FunctionName, version: VersionId, text: String) {
        self.say_at(clock::wall_now(), function, version, text);
    }

    fn say_at(&mut self, at: Timestamp, function: &FunctionName, version: VersionId, text: String) {
        let stream = self.stream(at, version);
        (self.sinks.lines)(LogLine { function: function.clone(), version, stream, at, text });
    }

    /// Keeps an invocation that is over until the end of the turn; whether it is the first one.
    fn gather(&mut self, function: &FunctionName, version: VersionId, run: Run) -> bool {
        let is_first = self.gathered.is_empty();
        let stream = self.stream(run.ended_at, version);
        let is_its = |runs: &&mut Runs| runs.stream == stream && runs.function == *function;
        match self.gathered.iter_mut().rev().take(LOOKED_AT_MAX).find(is_its) {
            Some(runs) => runs.runs.push(run),
            None => {
                let function = function.clone();
                self.gathered.push(Runs { function, version, stream, runs: vec![run] });
            }
        }
        is_first
    }

    /// Hands over what was gathered.
    pub(super) fn hand_over(&mut self) {
        self.gathered.drain(..).for_each(|runs| (self.sinks.runs)(runs));
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

/// An invocation that is under way on a version that says nothing itself.
///
/// One that is dropped before its end leaves the line of its beginning alone.
pub(super) struct Running {
    worker: Rc<Worker>,
    route: Arc<Route>,
    version: VersionId,
    id: Uuid,
    begun: Instant,
    has_ended: bool,
}

impl Running {
    /// An invocation that has begun at `begun`.
    pub(super) fn begun(
        worker: &Rc<Worker>,
        route: Arc<Route>,
        version: VersionId,
        id: Uuid,
        begun: Instant,
    ) -> Running {
        Running { worker: Rc::clone(worker), route, version, id, begun, has_ended: false }
    }

    /// Notes its end; gives what its lines say.
    pub(super) fn end(mut self) -> Run {
        self.has_ended = true;
        let run = self.so_far();
        if let Some(lines) = &self.worker.lines
            && lines.borrow_mut().gather(self.route.address.function(), self.version, run)
        {
            self.worker.outbox.wake();
        }
        run
    }

    fn so_far(&self) -> Run {
        let took = clock::instant_now().saturating_duration_since(self.begun);
        Run { id: self.id, ended_at: clock::wall_now(), took_us: micros(took) }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(lines) = &self.worker.lines
            && !self.has_ended
        {
            let begun_at = self.so_far().begun_at();
            let text = start_line(self.id, self.version);
            lines.borrow_mut().say_at(begun_at, self.route.address.function(), self.version, text);
        }
    }
}
