//! What is known of an alias while no rollout moves it: how its function version fails, and how long it takes.
//!
//! A rollout begins from that, so its first tables are no guess. Watching costs a look a second for aliases whose
//! counts move, is no evidence of anything, and is not stored: after a restart it begins anew.

use std::time::Duration;

use crate::analysis::Counts;
use crate::analysis::evidence::PERIOD;
use crate::analysis::latency_span::{LatencySpan, PROCESSES};
use crate::analysis::past::{Ends, Past};
use crate::model::time::Uptime;
use crate::world::tally::{EpochTally, Seen};

/// Counters of aliases without a rollout are looked at this often.
pub const WATCH_EVERY: Duration = Duration::from_secs(1);

/// Watches an alias that no rollout moves.
#[derive(Clone, Debug)]
pub struct Watcher {
    pub(super) seen: Seen,
    pub(super) past: Past,
    pub(super) looked: Uptime,
}

impl Watcher {
    /// Begins to watch with nothing known.
    pub fn begin(at: Uptime) -> Watcher {
        Watcher::go_on(Seen::default(), Past::default(), at)
    }

    /// Goes on from what a judge knew.
    pub(super) fn go_on(seen: Seen, past: Past, looked: Uptime) -> Watcher {
        Watcher { seen, past, looked }
    }

    /// Learns what the counters say beyond what was seen; `tallies` is cumulative, oldest epoch first.
    pub fn observe(&mut self, at: Uptime, tallies: &[EpochTally]) {
        if self.seen.align(tallies) {
            // Another routing gives the function version another share of the traffic.
            self.past.skip();
        }
        if at.since(self.looked) > 2 * WATCH_EVERY {
            let rested = Uptime(at.0.saturating_sub(WATCH_EVERY.as_millis() as u64));
            self.learn(Ends::default(), Default::default(), rested);
        }
        let (mut sum, mut exceeded) = (Ends::default(), [0; PROCESSES]);
        for (now, before) in self.seen.pairs(tallies) {
            sum = sum.plus(Ends {
                counts: now.primary.counts.since(before.primary.counts),
                refused: now.primary.refused.saturating_sub(before.primary.refused),
                gave_up: now.primary.gave_up.saturating_sub(before.primary.gave_up),
            });
            let span = LatencySpan { now: &now.primary.latency, before: &before.primary.latency };
            for (sum, more) in exceeded.iter_mut().zip(span.exceeding(self.past.latency.edges())) {
                *sum += more;
            }
            self.past.latency.add(span);
        }
        self.learn(sum, exceeded, at);
        self.past.refresh_after(PERIOD, at);
        self.seen.note(tallies);
    }

    fn learn(&mut self, stable: Ends, exceeded: [u64; PROCESSES], at: Uptime) {
        self.past.learn(stable, self.looked, at);
        for (index, failures) in exceeded.into_iter().enumerate() {
            let counts = Counts { requests: stable.counts.requests, failures };
            self.past.learn_excesses(index, counts, self.looked, at);
        }
        self.looked = at;
    }
}
