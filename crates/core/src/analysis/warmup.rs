//! Warm-up: the first requests of a canary, and of every canary that gets more, are slow.
//!
//! Caches are cold, code is not compiled, new places have just begun. Leaving that time out would let a canary hang
//! through it unseen; judging it by the plan's limit rolls back every healthy one. So from its start and from each rise of
//! its weight the canary *warms* until 200 of its requests were dispatched and the plan's `warmup` (a minute) is over, at
//! most for a quarter of an hour, and while it warms its latency is held against a wide limit (`latency`): five times
//! stable's and what the plan adds. Which limit a request is held against is known when it is dispatched, so it is one
//! capital with one null hypothesis that is known in advance, and nothing is left out. Failures count all the while. The
//! bake begins when it is over.
//!
//! Heuristic: 200 requests are few for a canary at many places, and beyond a quarter of an hour a cold start is a slow
//! version.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::lambda::function::Revision;
use crate::model::time::Uptime;
use crate::model::weight::Weight;

/// So many requests of the canary warm it.
pub const REQUESTS: u64 = 200;

const SPAN_MAX: Duration = Duration::from_secs(15 * 60);

/// Where the canary's warm-up stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct WarmUp {
    weight: Weight,
    epoch: Revision,
    since: Option<Uptime>,
    requests: u64,
    /// Requests of this process's counters that are in `requests`.
    #[serde(skip)]
    counted: u64,
    over: Option<Uptime>,
}

/// What is left of a warm-up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cold {
    /// Canary requests until it may be over.
    pub requests: u64,
    /// The time until it may be over.
    pub span: Duration,
}

impl WarmUp {
    /// Notes that an epoch is served at a weight; a higher one than before begins a warm-up, and so do the first copies.
    pub fn serve(&mut self, epoch: Revision, weight: Weight, has_copies: bool, at: Uptime) {
        if epoch <= self.epoch {
            return;
        }
        let is_copied_first = has_copies && weight == Weight::ZERO && self.since.is_none();
        if weight > self.weight || is_copied_first {
            *self = WarmUp { since: Some(at), ..WarmUp::default() };
        } else if weight < self.weight && self.over.is_some() {
            *self = WarmUp::default();
        }
        (self.epoch, self.weight) = (epoch, weight);
        self.counted = 0;
    }

    /// Notes how many requests the canary got in the present epoch; true if that has just ended the warm-up.
    pub fn note(&mut self, requests: u64, at: Uptime, least: Duration) -> bool {
        self.requests += requests.saturating_sub(self.counted);
        self.counted = self.counted.max(requests);
        let Some(since) = self.since.filter(|_| self.over.is_none()) else { return false };
        let warmed = at.since(since);
        let is_over = (self.requests >= REQUESTS && warmed >= least) || warmed >= SPAN_MAX || least.is_zero();
        if is_over {
            self.over = Some(at);
        }
        is_over
    }

    /// Whether the canary warms now.
    pub fn is_on(&self) -> bool {
        self.since.is_some() && self.over.is_none()
    }

    /// How long it took; nothing before it is over.
    pub fn lasted(&self) -> Duration {
        self.since.zip(self.over).map_or(Duration::ZERO, |(since, over)| over.since(since))
    }

    /// What is left of it; `None` where it is over.
    pub fn left(&self, at: Uptime, least: Duration) -> Option<Cold> {
        let since = self.since.filter(|_| self.is_on())?;
        let warmed = at.since(since);
        let requests = REQUESTS.saturating_sub(self.requests);
        Some(Cold { requests, span: least.saturating_sub(warmed) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    fn at(seconds: u64) -> Uptime {
        Uptime(seconds * 1000)
    }

    fn share(percent: u32) -> Weight {
        Weight::from_ppm(percent * 10_000).unwrap()
    }

    #[test]
    fn it_takes_two_hundred_requests_and_a_minute_and_a_quarter_of_an_hour_at_most() {
        let mut warm_up = WarmUp::default();
        assert!(!warm_up.is_on());
        warm_up.serve(Revision(2), share(3), false, at(0));
        assert!(!warm_up.note(500, at(30), MINUTE), "a minute is not over");
        assert!(warm_up.note(500, at(60), MINUTE));
        assert_eq!(warm_up.lasted(), MINUTE);
        warm_up.serve(Revision(3), share(5), false, at(100));
        assert!(warm_up.is_on(), "each rise begins anew");
        assert!(!warm_up.note(199, at(200), MINUTE));
        assert_eq!(warm_up.left(at(200), MINUTE), Some(Cold { requests: 1, span: Duration::ZERO }));
        assert!(!warm_up.note(199, at(999), MINUTE));
        assert!(warm_up.note(199, at(1000), MINUTE), "a quarter of an hour is enough");
        warm_up.serve(Revision(4), share(2), false, at(1100));
        assert!(!warm_up.is_on(), "less traffic warms nothing");
    }

    #[test]
    fn a_restart_goes_on_counting() {
        let mut warm_up = WarmUp::default();
        warm_up.serve(Revision(2), share(3), false, at(0));
        warm_up.note(150, at(70), MINUTE);
        let mut warm_up: WarmUp = serde_json::from_str(&serde_json::to_string(&warm_up).unwrap()).unwrap();
        warm_up.serve(Revision(2), share(3), false, at(80));
        assert!(!warm_up.note(49, at(90), MINUTE));
        assert!(warm_up.note(50, at(91), MINUTE));
    }
}
