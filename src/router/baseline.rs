//! Baselines: a part of the function version's traffic as large as the canary's, counted by itself.
//!
//! Split, it is the requests whose ticket lies as far from the end as the canary's lie from the beginning: as many, drawn by
//! the same draw, and as the weight rises only ever more of them, users who stick to a version included. Nothing changes for
//! them but a header and a second count. Mirrored, it is copies of the canary's own requests, whose answers nobody gets.
//! What is judged is the same with and without; `docs/evidence.md` says why.

use std::sync::Arc;

use hyper::header::HeaderValue;

use super::pick::Split;
use super::steer::{Pick, Role};
use crate::metrics::recorder::{Arm, EpochCounters};
use serin_core::analysis::mirror::SampleKind;
use serin_core::plan::Baseline as Way;

/// The baseline of a route.
pub(super) struct Baseline {
    way: Way,
    counters: Arc<EpochCounters>,
}

impl Baseline {
    /// A baseline as a plan asks for it, with its counters.
    pub(super) fn new(way: Way, counters: Arc<EpochCounters>) -> Baseline {
        Baseline { way, counters }
    }

    /// Where its requests are counted.
    pub(super) fn counters(&self) -> &Arc<EpochCounters> {
        &self.counters
    }

    /// Whether it is copies of the canary's requests.
    pub(super) fn is_copies(&self) -> bool {
        self.way == Way::Mirror
    }

    /// What a request that drew this ticket is.
    pub(super) fn role(&self, split: Split, ticket: u64) -> Role {
        match (self.way, split) {
            // As many tickets from the end on as the canary has from the beginning, or what it leaves.
            (Way::Split, Split::Below(bound)) if ticket >= bound.max(bound.wrapping_neg()) => Role::Baseline,
            _ => Role::Plain,
        }
    }
}

/// What a version is told that it answers for.
pub(super) fn label(pick: Pick) -> HeaderValue {
    HeaderValue::from_static(match (pick.role, pick.stratum, pick.arm) {
        (Role::Baseline | Role::BaselineCopy, _, _) => "baseline",
        (Role::Plain, SampleKind::MirrorCopy, _) | (Role::Plain, _, Arm::Additional) => "canary",
        (Role::Plain, _, Arm::Primary) => "stable",
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::recorder::Recorder;
    use serin_core::lambda::alias::Routing;
    use serin_core::model::arn::{VersionId, VersionNumber};
    use serin_core::model::weight::Weight;

    /// The shares of tickets that are the canary's, and the baseline's, in parts per thousand.
    fn shares(way: Way, ppm: u32) -> (u64, u64) {
        let recorder = Recorder::new(1, Arc::new(|_| {}));
        let counters = recorder.open_version(&"f".parse().unwrap(), VersionId::from(VersionNumber(1)));
        let baseline = Baseline::new(way, counters);
        let split =
            Split::of(&Routing::split(VersionNumber(1), VersionNumber(2), Weight::from_ppm(ppm).unwrap()));
        let (mut of_canary, mut of_baseline) = (0, 0);
        for part in 0..1000 {
            let ticket = u64::MAX / 1000 * part + u64::MAX / 2000;
            let (arm, role) = (split.pick(|| ticket), baseline.role(split, ticket));
            assert!(arm == Arm::Primary || role == Role::Plain, "nobody is in both");
            of_canary += u64::from(arm == Arm::Additional);
            of_baseline += u64::from(role == Role::Baseline);
        }
        (of_canary, of_baseline)
    }

    #[test]
    fn it_is_as_large_as_the_canary_or_all_that_is_left() {
        for (ppm, expected) in [(30_000, (30, 30)), (500_000, (500, 500)), (700_000, (700, 300))] {
            assert_eq!(shares(Way::Split, ppm), expected);
            let weight = Weight::from_ppm(ppm).unwrap();
            assert_eq!(u64::from(Way::Split.share(weight).ppm() / 1000), expected.1);
        }
        for ppm in [0, 1_000_000] {
            assert_eq!(shares(Way::Split, ppm).1, 0, "no baseline is beside all or nothing");
        }
        assert_eq!(shares(Way::Mirror, 30_000), (30, 0), "copies are nobody's requests");
    }

    #[test]
    fn a_rising_weight_only_adds_to_it_until_half() {
        let recorder = Recorder::new(1, Arc::new(|_| {}));
        let counters = recorder.open_version(&"f".parse().unwrap(), VersionId::from(VersionNumber(1)));
        let baseline = Baseline::new(Way::Split, counters);
        let is_in = |percent: u32, ticket| {
            let weight = Weight::from_ppm(percent * 10_000).unwrap();
            baseline.role(Split::Below(weight.ticket_bound()), ticket) == Role::Baseline
        };
        for ticket in (0..1000).map(|part| u64::MAX / 1000 * part) {
            for percents in [3, 5, 25, 50].windows(2) {
                assert!(
                    !is_in(percents[0], ticket) || is_in(percents[1], ticket),
                    "{ticket} left at {percents:?}"
                );
            }
        }
    }
}
