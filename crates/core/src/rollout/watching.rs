//! The watch that an alias is under after a promotion: a state of the alias, with entries of its own.
//!
//! The rollout has succeeded when it begins. It ends with its time, with a new rollout of the alias, with an operator's
//! verb, or with a change of the alias by any other hand. An alarm is said once and changes nothing: an outage of what
//! both versions need looks the same from here (`analysis::watch`).

use serde::{Deserialize, Serialize};

use crate::analysis::Counts;
use crate::analysis::watch::Watch;
use crate::model::arn::VersionNumber;
use crate::model::time::{Timestamp, Uptime};
use crate::plan::OnAlarm;
use crate::rollout::RolloutId;

/// The probability of an alarm while the rate stays below the limit; beside the rollout's own.
pub const FALSE_ALARM_RATE: f64 = 0.01;

/// The watch over the version that a rollout promoted.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AliasWatch {
    /// The rollout that promoted it.
    pub rollout: RolloutId,
    /// The version that is watched.
    pub version: VersionNumber,
    /// The version before it.
    pub before: VersionNumber,
    /// When it began, on the daemon's clock.
    pub since: Uptime,
    /// When it ends, on the daemon's clock.
    pub until: Uptime,
    /// What an alarm leads to.
    pub on_alarm: OnAlarm,
    /// When there was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alarmed_at: Option<Timestamp>,
    /// What is known; in memory it is newer than in the store.
    pub evidence: Watch,
}

/// What happened to a watch.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "watch", rename_all = "camelCase")]
pub enum WatchEvent {
    /// It began.
    #[serde(rename_all = "camelCase")]
    Began {
        /// The version that is watched.
        version: VersionNumber,
        /// The share of failures it is held against.
        limit: f64,
        /// For how long, in milliseconds.
        span_ms: u64,
    },
    /// More failed than the limit allows.
    Alarm {
        /// The version.
        version: VersionNumber,
        /// The share of failures it is held against.
        limit: f64,
        /// What it answered since the promotion.
        seen: Counts,
    },
    /// It ended.
    Ended {
        /// What it answered since the promotion.
        seen: Counts,
        /// Why, in words.
        why: String,
    },
}

impl WatchEvent {
    /// The kind as JSON shows it.
    pub fn kind(&self) -> &'static str {
        match self {
            WatchEvent::Began { .. } => "watchBegan",
            WatchEvent::Alarm { .. } => "watchAlarm",
            WatchEvent::Ended { .. } => "watchEnded",
        }
    }
}

impl AliasWatch {
    /// What the logarithm of its capital must reach for an alarm.
    pub fn ln_limit() -> f64 {
        -FALSE_ALARM_RATE.ln()
    }

    /// What it says now, in a sentence; `evidence` is as it is in memory.
    pub fn in_words(&self, evidence: &Watch, now: Uptime) -> String {
        let Counts { requests, failures } = evidence.seen;
        let limit = evidence.limit * 100.0;
        let left = crate::model::time::human(self.until.since(now));
        match self.alarmed_at {
            Some(at) => format!(
                "watched after the promotion: since {at} v{} fails more often than {limit:.2}%, the limit by this alias's \
                 past ({failures} of {requests} failed). Something that every version needs may be down: compare before \
                 going back to v{}",
                self.version, self.before
            ),
            None => format!(
                "watched after the promotion for {left} more: {failures} of {requests} failed, the limit is {limit:.2}%"
            ),
        }
    }
}
