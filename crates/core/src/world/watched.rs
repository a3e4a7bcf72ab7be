//! What is counted of aliases that are watched after promotions: days of blocks, and the watch itself.
//!
//! Only aliases under a plan that asks for a watch have it. It is fed once a second, after the judge and the watcher, and
//! decides nothing: whoever settles the alias asks whether an alarm is due.

use std::time::Duration;

use crate::analysis::Counts;
use crate::analysis::mirror::SampleKind;
use crate::analysis::watch::{BLOCK, Days, Watch};
use crate::lambda::alias::Routing;
use crate::lambda::function::Revision;
use crate::model::time::{Moment, Timestamp, Uptime};
use crate::rollout::watching::AliasWatch;
use crate::world::tally::EpochTally;

/// Capital is paid out of the reserve this often.
const PERIOD: Duration = Duration::from_secs(10);

/// What was seen of one epoch.
#[derive(Clone, Copy, Debug)]
struct Seen {
    epoch: Revision,
    routing: Routing,
    stratum: SampleKind,
    primary: Counts,
    additional: Counts,
}

/// What is known of an alias under a plan that watches.
#[derive(Clone, Debug, Default)]
pub struct Watched {
    /// Its blocks of ten minutes.
    pub days: Days,
    /// The watch as it is now; the world has the one that was stored.
    pub evidence: Option<Watch>,
    seen: Vec<Seen>,
    /// Whether the evidence is newer than what is stored.
    is_new: bool,
    /// Where the newest block began that is stored whole.
    stored: i64,
}

impl Watched {
    /// Goes on with what was stored.
    pub fn with_days(days: Days) -> Watched {
        let stored = days.newest().unwrap_or_default();
        Watched { days, stored, ..Watched::default() }
    }

    /// The evidence, if it is newer than what this gave last.
    pub fn changed_evidence(&mut self) -> Option<Watch> {
        self.evidence.clone().filter(|_| std::mem::take(&mut self.is_new))
    }

    /// The days with blocks that have ended since this was last asked; with `all`, the block under way, too.
    pub fn changed_days(&mut self, now: Timestamp, all: bool) -> Vec<(i64, Days)> {
        let block_ms = BLOCK.as_millis() as i64;
        let Some(newest) = self.days.newest() else { return Vec::new() };
        let has_ended = self.stored < newest && (all || now.0 - newest >= block_ms);
        // A block that has begun means that the one before has ended.
        let begun = newest - block_ms > self.stored;
        if !has_ended && !begun {
            return Vec::new();
        }
        let from = self.stored;
        self.stored = if has_ended { newest } else { newest - block_ms };
        // Of a first time everything, and then the days from the last stored block on.
        self.days.since(from)
    }

    /// Learns what the counters say beyond what was seen; `watch` is the alias's, where it has one.
    pub fn observe(&mut self, at: Moment, tallies: &[EpochTally], watch: Option<&AliasWatch>) {
        let mut all = Counts::default();
        let mut promoted = Counts::default();
        let is_alone = |routing: Routing| watch.is_some_and(|watch| routing == Routing::only(watch.version));
        self.seen.retain(|seen| tallies.iter().any(|tally| seen.is_of(tally)));
        for tally in tallies {
            let (primary, additional) = (tally.primary.counts, tally.additional.counts);
            let known = self.seen.iter_mut().find(|seen| seen.is_of(tally));
            let (new_primary, new_additional) = match known {
                Some(seen) => {
                    let new = (primary.since(seen.primary), additional.since(seen.additional));
                    (seen.primary, seen.additional) = (primary, additional);
                    new
                }
                None => {
                    let (epoch, routing, stratum) = (tally.epoch, tally.routing, tally.stratum);
                    self.seen.push(Seen { epoch, routing, stratum, primary, additional });
                    (primary, additional)
                }
            };
            if tally.stratum.is_real() {
                all = all.plus(new_primary).plus(new_additional);
            }
            if is_alone(tally.routing) {
                promoted = promoted.plus(new_primary);
            }
        }
        self.days.learn(all, at.wall);
        let Some(watch) = watch else {
            self.evidence = None;
            return;
        };
        let evidence = self.evidence.get_or_insert_with(|| watch.evidence.clone());
        let since = at.up.since(watch.since);
        evidence.pay_out_until(since.as_secs() / PERIOD.as_secs());
        evidence.update(promoted, since.as_secs());
        self.is_new |= !promoted.is_empty();
    }

    /// Whether something is due on a watch: an alarm, or its end.
    pub fn is_due(&self, watch: &AliasWatch, up: Uptime) -> bool {
        self.is_alarming(watch) || up >= watch.until
    }

    /// Whether the limit is passed and that was not said yet.
    pub fn is_alarming(&self, watch: &AliasWatch) -> bool {
        let ln = self.evidence.as_ref().map_or(0.0, Watch::ln);
        watch.alarmed_at.is_none() && ln >= AliasWatch::ln_limit()
    }
}

impl Seen {
    fn is_of(&self, tally: &EpochTally) -> bool {
        (self.epoch, self.routing, self.stratum) == (tally.epoch, tally.routing, tally.stratum)
    }
}
