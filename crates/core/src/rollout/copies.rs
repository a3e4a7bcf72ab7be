//! A canary that gets copies of requests before it has any weight (`firstWeight: mirror`).
//!
//! The alias names it beside stable with a weight of nothing, so that its requests have an epoch of their own, another
//! hand is noticed, and a rollback clears it, all as at any weight.

use super::state::Rollout;
use crate::lambda::alias::Routing;
use crate::model::weight::Weight;
use crate::plan::MirrorMethods;

impl Rollout {
    /// Whether the canary gets copies alone, which are to prove it before its first weight.
    pub fn proves_by_copies(&self) -> bool {
        let record = &self.record;
        let names_both = |routing: Routing| routing.names(record.canary) && routing.names(record.stable);
        self.plan.weight_at(record.weight_step) == Some(Weight::ZERO)
            && self.share() == Weight::ZERO
            && record.known_routing().is_some_and(names_both)
    }

    /// That nothing comes which could prove anything, and why that may be.
    pub(super) fn no_traffic_in_words(&self) -> String {
        let copied = match self.plan.mirror_at(Weight::ZERO).filter(|_| self.proves_by_copies()) {
            None => return "; no canary traffic now".to_owned(),
            Some(mirror) => match mirror.methods {
                MirrorMethods::Safe => "GET, HEAD, OPTIONS and TRACE without a body",
                MirrorMethods::Any => "requests with bodies of up to 64 KiB whose length is said before",
            },
        };
        format!("; nothing is copied now, and what may be is {copied}, over HTTP and by weight")
    }
}
