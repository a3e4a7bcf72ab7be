//! Reads the router's counters every few seconds and keeps what they moved by, minute by minute.
//!
//! The counters die with the process and never fall while it lives; what stands in a minute is the difference of two
//! readings. A reading belongs to the minute in which the one before was made, and one is made as each minute begins, so
//! a request is counted in the minute it came in but for the moment that a reading takes.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::clock;
use crate::metrics::recorder::{Recorder, VersionCounts};
use crate::store::logs::Logs;
use serin_core::lambda::log::{Minute, Series, Tally};
use serin_core::model::time::Timestamp;

/// How often the counters are read; a kill costs the numbers at most so much.
const READ_EVERY: Duration = Duration::from_secs(10);

/// What was read last, and when.
struct Reading {
    at: Timestamp,
    sums: HashMap<Series, Tally>,
}

/// Keeps the numbers of each minute.
pub struct Meter {
    recorder: Arc<Recorder>,
    logs: Logs,
    last: Mutex<Reading>,
}

impl Meter {
    /// A meter that has read nothing yet.
    pub fn new(recorder: Arc<Recorder>, logs: Logs) -> Meter {
        let last = Mutex::new(Reading { at: clock::wall_now(), sums: HashMap::new() });
        Meter { recorder, logs, last }
    }

    /// Reads the counters now, and waits until what they say is written; it may take as long as a disk does.
    pub fn read(&self) {
        self.take();
        self.logs.flush();
    }

    /// Reads the counters now, and hands over what they say without waiting for the disk.
    pub fn take(&self) {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let minute = Minute::of(last.at);
        let sums = sums(&self.recorder);
        let nothing = Tally::default();
        let moved: Vec<(Series, Tally)> = sums
            .iter()
            .map(|(series, sum)| (series.clone(), sum.since(last.sums.get(series).unwrap_or(&nothing))))
            .filter(|(_, moved)| !moved.is_empty())
            .collect();
        *last = Reading { at: clock::wall_now(), sums };
        if !moved.is_empty() {
            self.logs.add_minute(minute, moved);
        }
    }

    /// Goes on reading in a thread, until the sender is dropped.
    pub fn start(self: &Arc<Self>) -> std::io::Result<(mpsc::Sender<()>, JoinHandle<()>)> {
        let meter = Arc::clone(self);
        let (stop, stopping) = mpsc::channel();
        let run = move || {
            let mut pruned = Minute::default();
            loop {
                let now = clock::wall_now();
                let to_next_minute = Duration::from_millis(60_000 - now.0.rem_euclid(60_000) as u64);
                let stopped = stopping.recv_timeout(to_next_minute.min(READ_EVERY));
                meter.take();
                if stopped != Err(mpsc::RecvTimeoutError::Timeout) {
                    return;
                }
                if Minute::of(now) != pruned {
                    pruned = Minute::of(now);
                    meter.logs.prune(now);
                }
            }
        };
        let thread = std::thread::Builder::new().name("meter".to_owned()).spawn(run)?;
        Ok((stop, thread))
    }
}

/// What every series was counted to have had since the process began.
fn sums(recorder: &Recorder) -> HashMap<Series, Tally> {
    let mut sums = HashMap::new();
    recorder.totals(|alias, version, counts| {
        let (function, qualifier) = (alias.function.to_string(), alias.alias.to_string());
        sums.insert(Series { function, qualifier, version: version.to_string() }, tally(counts));
    });
    recorder.direct_totals(|function, version, counts| {
        let version = version.to_string();
        let series = Series { function: function.to_string(), qualifier: version.clone(), version };
        sums.insert(series, tally(counts));
    });
    sums.retain(|_, tally| !tally.is_empty());
    sums
}

fn tally(counts: &VersionCounts) -> Tally {
    Tally {
        invocations: counts.counts.dispatched,
        errors: counts.counts.failures.total(),
        throttles: counts.counts.throttled,
        duration: counts.latency.clone(),
    }
}
