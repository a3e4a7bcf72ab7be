//! Who gets which version beyond the draw of each request: users who stay where they are, and testers who choose.
//!
//! A user's ticket is a keyed hash of what tells users apart, so the same user draws the same ticket at every weight.
//! As a ticket is the canary's exactly below a bound that follows the weight, a rising weight only ever adds users,
//! and a rollback takes all of them back at once. The key is the rollout's own: another rollout tries other users.

use std::sync::Arc;

use hyper::header::{COOKIE, HeaderMap, HeaderName, HeaderValue};
use sha2::{Digest, Sha256};

use super::baseline::Baseline;
use super::mirror::Mirror;
use super::pick::Split;
use super::table::SteeringSpec;
use crate::metrics::recorder::{Arm, EpochCounters};
use serin_core::analysis::mirror::SampleKind;
use serin_core::plan::Affinity;

/// Which version a request goes to, and how that came about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Pick {
    /// The version.
    pub(super) arm: Arm,
    /// Whether the request named it. Then it was not drawn by weight, and is evidence for nothing.
    pub(super) is_named: bool,
    /// Whether it was set aside before, or is a copy.
    pub(super) stratum: SampleKind,
    /// Whose it is, hashed, where users are judged; who says nothing is somebody new.
    pub(super) user: Option<u64>,
    /// What it is to the canary's baseline.
    pub(super) role: Role,
}

/// What a request is to the baseline of a canary.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// Nothing.
    Plain,
    /// Of it, and counted there once more.
    Baseline,
    /// A copy, counted there alone.
    BaselineCopy,
}

impl Pick {
    /// A request that was drawn.
    pub(super) fn drawn(arm: Arm) -> Pick {
        Pick { arm, is_named: false, stratum: SampleKind::Weighted, user: None, role: Role::Plain }
    }

    /// A request that named its version.
    fn named(arm: Arm) -> Pick {
        Pick { is_named: true, ..Pick::drawn(arm) }
    }
}

/// What a route goes by beside its weights.
pub(super) struct AssignmentRules {
    key: [u8; 16],
    affinity: Option<AffinityKey>,
    counts_users: bool,
    override_by: Option<HeaderName>,
    /// Where requests that name the function version and the additional version are counted.
    named: [Arc<EpochCounters>; 2],
    /// Which requests the canary gets copies of.
    pub(super) mirror: Option<Mirror>,
    /// What is held beside the canary.
    pub(super) baseline: Option<Baseline>,
}

/// What tells users apart.
enum AffinityKey {
    Cookie(String),
    Header(HeaderName),
}

/// A request names a version that its alias does not serve.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct NotServed {
    /// The header it names it in.
    pub(super) header: HeaderName,
    /// What it names.
    pub(super) named: String,
}

impl AssignmentRules {
    /// AssignmentRules as a plan asks for it; `named` counts requests that name one of the two versions.
    pub(super) fn new(
        spec: &SteeringSpec,
        named: [Arc<EpochCounters>; 2],
        (mirror, baseline): (Option<Mirror>, Option<Baseline>),
    ) -> AssignmentRules {
        // Plans take no other names.
        let header = |name: &str| HeaderName::try_from(name).ok();
        let affinity = spec.affinity.as_ref().and_then(|affinity| match affinity {
            Affinity::Cookie(name) => Some(AffinityKey::Cookie(name.clone())),
            Affinity::Header(name) => header(name).map(AffinityKey::Header),
        });
        let override_by = spec.override_header.as_deref().and_then(header);
        let (key, counts_users) = (spec.key, spec.counts_users);
        AssignmentRules { key, affinity, counts_users, override_by, named, mirror, baseline }
    }

    /// Where requests that name a version are counted.
    pub(super) fn named(&self, arm: Arm) -> &Arc<EpochCounters> {
        match arm {
            Arm::Primary => &self.named[0],
            Arm::Additional => &self.named[1],
        }
    }

    /// Picks the version of a request; `labels` are the two versions as a tester writes them.
    pub(super) fn pick(
        &self,
        headers: &HeaderMap,
        labels: [Option<&HeaderValue>; 2],
        split: Split,
        ticket: impl FnOnce() -> u64,
    ) -> Result<Pick, NotServed> {
        if let Some(header) = &self.override_by
            && let Some(named) = headers.get(header)
        {
            let is_one = headers.get_all(header).iter().count() == 1;
            let is = |label: Option<&HeaderValue>| is_one && label == Some(named);
            let arm = match labels.map(is) {
                [true, _] => Arm::Primary,
                [false, true] => Arm::Additional,
                [false, false] => {
                    let named = String::from_utf8_lossy(named.as_bytes()).into_owned();
                    return Err(NotServed { header: header.clone(), named });
                }
            };
            return Ok(Pick::named(arm));
        }
        let Some(sign) = &self.affinity else { return Ok(self.drawn(split, ticket)) };
        let (ticket, user) = match sign.of(headers) {
            Some(user) => {
                let [ticket, mark] = self.hashes_of(user);
                (ticket, mark)
            }
            None => {
                let ticket = ticket();
                // A weight is decided by the high bits of a ticket, and a mark is its low ones.
                (ticket, ticket)
            }
        };
        Ok(Pick { user: self.counts_users.then_some(user), ..self.drawn(split, || ticket) })
    }

    /// Draws a version, and whether the request is of its baseline.
    fn drawn(&self, split: Split, ticket: impl FnOnce() -> u64) -> Pick {
        match (&self.baseline, split) {
            (Some(baseline), Split::Below(_)) => {
                let ticket = ticket();
                Pick { role: baseline.role(split, ticket), ..Pick::drawn(split.pick(|| ticket)) }
            }
            _ => Pick::drawn(split.pick(ticket)),
        }
    }

    /// A user's ticket, and what the user is counted by, which says nothing of the ticket.
    fn hashes_of(&self, user: &[u8]) -> [u64; 2] {
        let digest: [u8; 32] = Sha256::new().chain_update(self.key).chain_update(user).finalize().into();
        let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p, ..] = digest;
        [[a, b, c, d, e, f, g, h], [i, j, k, l, m, n, o, p]].map(u64::from_be_bytes)
    }
}

impl AffinityKey {
    /// What a request says of its user; an empty value says nothing.
    fn of<'a>(&self, headers: &'a HeaderMap) -> Option<&'a [u8]> {
        let value = match self {
            AffinityKey::Header(name) => headers.get(name)?.as_bytes().trim_ascii(),
            AffinityKey::Cookie(name) => {
                let pairs = headers
                    .get_all(COOKIE)
                    .iter()
                    .flat_map(|line| line.as_bytes().split(|byte| *byte == b';'));
                let value_of =
                    |pair: &'a [u8]| pair.trim_ascii().strip_prefix(name.as_bytes())?.strip_prefix(b"=");
                pairs.into_iter().find_map(value_of)?
            }
        };
        (!value.is_empty()).then_some(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::recorder::Recorder;
    use serin_core::lambda::alias::Routing;
    use serin_core::model::arn::{VersionId, VersionNumber};
    use serin_core::model::weight::Weight;

    fn steering(key: u8, affinity: Option<Affinity>) -> AssignmentRules {
        let recorder = Recorder::new(1, Arc::new(|_| {}));
        let open =
            |number| recorder.open_version(&"f".parse().unwrap(), VersionId::from(VersionNumber(number)));
        let override_header = Some("x-serin-version".to_owned());
        let spec = SteeringSpec {
            key: [key; 16],
            affinity,
            override_header,
            ahead: None,
            mirror: None,
            counts_users: true,
            baseline: None,
        };
        AssignmentRules::new(&spec, [open(1), open(2)], (None, None))
    }

    fn headers(lines: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(*name, HeaderValue::try_from(*value).unwrap());
        }
        headers
    }

    fn picked(
        steering: &AssignmentRules,
        lines: &[(&'static str, &str)],
        ppm: u32,
    ) -> Result<Pick, NotServed> {
        let (one, two) = (HeaderValue::from_static("1"), HeaderValue::from_static("2"));
        let routing = Routing::split(VersionNumber(1), VersionNumber(2), Weight::from_ppm(ppm).unwrap());
        // Whoever is nobody draws the canary.
        steering.pick(&headers(lines), [Some(&one), Some(&two)], Split::of(&routing), || 0)
    }

    fn arm_of(steering: &AssignmentRules, cookie: &str, ppm: u32) -> Arm {
        picked(steering, &[("cookie", cookie)], ppm).unwrap().arm
    }

    #[test]
    fn a_rising_weight_only_adds_users_and_a_rollback_returns_all() {
        let steering = steering(7, Some(Affinity::Cookie("session".to_owned())));
        let canaries = |ppm| -> Vec<bool> {
            let is_canary =
                |user| arm_of(&steering, &format!("a=b; session=user-{user}"), ppm) == Arm::Additional;
            (0..10_000).map(is_canary).collect()
        };
        let steps = [30_000, 50_000, 250_000].map(canaries);
        for (rising, share) in steps.iter().zip([0.03, 0.05, 0.25]) {
            let count = rising.iter().filter(|is_canary| **is_canary).count() as f64;
            let sigma = f64::sqrt(share * (1.0 - share) * 1e4);
            assert!((count - share * 1e4).abs() < 4.0 * sigma, "{count} at {share}");
        }
        for (lower, higher) in steps.iter().zip(&steps[1..]) {
            assert!(lower.iter().zip(higher).all(|(lower, higher)| !lower || *higher), "nobody leaves");
        }
        assert!(canaries(0).iter().all(|is_canary| !is_canary), "nobody stays");
    }

    #[test]
    fn another_rollout_tries_other_users() {
        let sides = |key| -> Vec<Arm> {
            let steering = steering(key, Some(Affinity::Cookie("s".to_owned())));
            (0..64).map(|user| arm_of(&steering, &format!("s={user}"), 500_000)).collect()
        };
        assert_eq!(sides(1), sides(1));
        assert_ne!(sides(1), sides(2));
    }

    #[test]
    fn users_are_known_by_exactly_their_cookie_or_header() {
        let by_cookie = steering(1, Some(Affinity::Cookie("s".to_owned())));
        let by_header = steering(1, Some(Affinity::Header("x-user".to_owned())));
        let ticket = |steering: &AssignmentRules, lines: &[(&'static str, &str)]| {
            steering.affinity.as_ref().unwrap().of(&headers(lines)).map(|user| steering.hashes_of(user)[0])
        };
        let ana = ticket(&by_header, &[("x-user", "ana")]);
        assert!(ana.is_some());
        assert_eq!(ana, ticket(&by_cookie, &[("cookie", "xs=1;s=ana ; t=2")]));
        assert_eq!(ana, ticket(&by_cookie, &[("cookie", "t=2"), ("cookie", "s=ana")]));
        assert_ne!(ana, ticket(&by_cookie, &[("cookie", "s=ana2")]));
        for nobody in ["", "s=", "s", "xs=ana", "S=ana", "s =ana"] {
            assert_eq!(ticket(&by_cookie, &[("cookie", nobody)]), None, "{nobody}");
        }
        assert_eq!(ticket(&by_header, &[("x-user", "")]), None);
        // Drawn by chance then, as without affinity.
        assert_eq!(
            picked(&by_header, &[], 30_000),
            Ok(Pick { user: Some(0), ..Pick::drawn(Arm::Additional) })
        );
    }

    #[test]
    fn testers_get_the_version_they_name_or_an_answer() {
        let steering = steering(1, None);
        let named = |arm| Ok(Pick::named(arm));
        assert_eq!(picked(&steering, &[("x-serin-version", "1")], 1_000_000), named(Arm::Primary));
        assert_eq!(picked(&steering, &[("x-serin-version", "2")], 0), named(Arm::Additional));
        for unknown in ["3", "", "02", "canary", "$LATEST"] {
            let refused = picked(&steering, &[("x-serin-version", unknown)], 30_000).unwrap_err();
            assert_eq!(refused.named, unknown);
        }
        assert!(picked(&steering, &[("x-serin-version", "1"), ("x-serin-version", "1")], 30_000).is_err());
    }
}
