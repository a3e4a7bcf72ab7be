//! Where the requests to one address go, ready to be sent.

use std::sync::Arc;
use std::time::Duration;

use hyper::header::{HeaderMap, HeaderValue};
use hyper::http::uri::Authority;
use hyper::{StatusCode, Uri};

use super::address::upstream_target;
use super::baseline::{self, Baseline};
use super::endpoints::{EndpointBook, EndpointGuard, Endpoints};
use super::exchange::Waits;
use super::mirror::Mirror;
use super::pick::Split;
use super::settings::Timeouts;
use super::steer::{AssignmentRules, NotServed, Pick, Role};
use super::table::{FAILURE_STATUS_DEFAULT, RouteSpec};
use crate::metrics::recorder::{Arm, EpochCounters, Recorder};
use serin_core::analysis::mirror::SampleKind;
use serin_core::lambda::alias::{AliasId, Routing};
use serin_core::lambda::function::{Revision, Target, UpstreamUrl, host_port};
use serin_core::lambda::process::ProcessTarget;
use serin_core::lambda::timeouts::{UpstreamTimeouts, Wait};
use serin_core::model::arn::{FunctionName, VersionId};
use serin_core::model::weight::Weight;

/// What a client addresses.
#[derive(Clone, Debug)]
pub(super) enum Address {
    /// An alias at its revision.
    Alias { alias: AliasId, epoch: Revision, routing: Routing },
    /// A version by number, or `$LATEST`.
    Version { function: FunctionName, version: VersionId },
}

impl Address {
    /// The text it is found by: `function:alias`, `function:7` or `function:$LATEST`.
    pub(super) fn key(&self) -> String {
        match self {
            Address::Alias { alias, .. } => alias.to_string(),
            Address::Version { function, version } => format!("{function}:{version}"),
        }
    }

    /// The function it is of.
    pub(super) fn function(&self) -> &FunctionName {
        match self {
            Address::Alias { alias, .. } => &alias.function,
            Address::Version { function, .. } => function,
        }
    }
}

/// The last status of HTTP.
const STATUS_MAX: u16 = 599;

/// Where the requests to one address go.
pub(super) struct Route {
    /// What the clients address.
    pub(super) address: Address,
    /// `/` and the address, as a path that begins with it does.
    pub(super) prefix: HeaderValue,
    /// How requests are drawn.
    pub(super) split: Split,
    counters: Arc<EpochCounters>,
    /// Apart, because most routes have none.
    steering: Option<Box<AssignmentRules>>,
    primary: Upstream,
    additional: Option<Upstream>,
    failure_status: Vec<(u16, u16)>,
    close_tunnels: Option<Duration>,
}

impl Route {
    /// The route of an alias at a revision, whose counters it opens.
    pub(super) fn to_alias(spec: RouteSpec, recorder: &Recorder, book: &EndpointBook) -> Route {
        let RouteSpec { alias, epoch, mut routing, primary, additional, failure_status, canary, .. } = spec;
        let (steering, said, close_tunnels) = (spec.steering, spec.timeouts, spec.close_tunnels);
        if additional.is_none() && routing.additional.take().is_some() {
            tracing::error!(alias = %alias, "the additional version has no target; the function version gets all");
        }
        let beside = routing.additional.zip(additional);
        // A version that has no weight yet is never drawn, and may be named.
        let ahead = steering.as_ref().and_then(|spec| spec.ahead.clone()).filter(|_| beside.is_none());
        // Before what is counted beside them.
        let counters = recorder.open_epoch(&alias, epoch, &routing, canary);
        let steering = steering.map(|spec| {
            let named = |version| recorder.open_version(&alias.function, version);
            let primary = named(routing.function_version);
            let additional = beside.as_ref().map(|(beside, _)| beside.version);
            let additional = additional.or(ahead.as_ref().map(|(version, _)| *version));
            let additional = additional.map(|version| named(version.into()));
            let aside = |stratum| recorder.open_beside(&alias, (epoch, &routing, stratum), canary);
            // A copy is beside an answer of the function version: there must be both, and the other one without a weight
            // is there for nothing else.
            let is_beside = beside.is_some() && Split::of(&routing) != Split::All(Arm::Additional);
            let mirror = spec.mirror.filter(|_| is_beside);
            let mirror = mirror.map(|plan| {
                Mirror::new(plan, aside(SampleKind::MirrorSource), aside(SampleKind::MirrorCopy))
            });
            // Nothing is beside a canary that has nothing, or everything.
            let has_part = matches!(Split::of(&routing), Split::Below(_));
            let baseline = spec.baseline.filter(|_| has_part);
            let baseline = baseline.map(|way| Baseline::new(way, counters.open_baseline()));
            let named = [Arc::clone(&primary), additional.unwrap_or(primary)];
            Box::new(AssignmentRules::new(&spec, named, (mirror, baseline)))
        });
        Route {
            split: Split::of(&routing),
            primary: Upstream::of(routing.function_version, &primary, said, book),
            additional: beside
                .map(|(beside, target)| (beside.version, target))
                .or(ahead)
                .map(|(version, target)| Upstream::of(version.into(), &target, said, book)),
            failure_status,
            counters,
            steering,
            close_tunnels,
            prefix: prefix_of(&alias),
            address: Address::Alias { alias, epoch, routing },
        }
    }

    /// The route of a version that is addressed by number, or of `$LATEST`; its requests are counted apart.
    pub(super) fn to_version(
        function: FunctionName,
        version: VersionId,
        target: &Target,
        recorder: &Recorder,
        book: &EndpointBook,
    ) -> Route {
        Route {
            split: Split::All(Arm::Primary),
            primary: Upstream::of(version, target, UpstreamTimeouts::default(), book),
            additional: None,
            failure_status: vec![FAILURE_STATUS_DEFAULT],
            counters: recorder.open_version(&function, version),
            steering: None,
            close_tunnels: None,
            prefix: prefix_of(format_args!("{function}:{version}")),
            address: Address::Version { function, version },
        }
    }

    /// Picks the version of one request; `ticket` is uniform, and asked for only where it decides.
    ///
    /// Fails where the request names a version that the alias does not serve.
    pub(super) fn pick(&self, headers: &HeaderMap, ticket: impl FnOnce() -> u64) -> Result<Pick, NotServed> {
        match &self.steering {
            None => Ok(Pick::drawn(self.split.pick(ticket))),
            Some(steering) => {
                let additional = self.additional.as_ref().map(|additional| &additional.label);
                steering.pick(headers, [Some(&self.primary.label), additional], self.split, ticket)
            }
        }
    }

    /// Where a picked request is counted, and as which version's.
    pub(super) fn counters(&self, pick: Pick) -> (&Arc<EpochCounters>, Arm) {
        match self.steering.as_deref() {
            Some(AssignmentRules { baseline: Some(baseline), .. }) if pick.role == Role::BaselineCopy => {
                (baseline.counters(), Arm::Primary)
            }
            Some(steering) if pick.is_named => (steering.named(pick.arm), Arm::Primary),
            Some(AssignmentRules { mirror: Some(mirror), .. }) => {
                (mirror.counters(pick.stratum).unwrap_or(&self.counters), pick.arm)
            }
            _ => (&self.counters, pick.arm),
        }
    }

    /// Which requests the additional version gets copies of, if any.
    pub(super) fn mirror(&self) -> Option<&Mirror> {
        self.steering.as_ref()?.mirror.as_ref()
    }

    /// What is held beside the additional version, if anything.
    pub(super) fn baseline(&self) -> Option<&Baseline> {
        self.steering.as_ref()?.baseline.as_ref()
    }

    /// Where a request is counted once more, for it is of the baseline.
    pub(super) fn second_counters(&self, pick: Pick) -> Option<&Arc<EpochCounters>> {
        if pick.role != Role::Baseline {
            return None;
        }
        self.baseline().map(Baseline::counters)
    }

    /// What the version of a picked request is told that it answers for; nothing where there is no baseline.
    pub(super) fn arm_label(&self, pick: Pick) -> Option<HeaderValue> {
        self.baseline().filter(|_| !pick.is_named).map(|_| baseline::label(pick))
    }

    /// The upstream of a version; the function version's if there is no other.
    pub(super) fn upstream(&self, arm: Arm) -> &Upstream {
        match (arm, &self.additional) {
            (Arm::Additional, Some(additional)) => additional,
            _ => &self.primary,
        }
    }

    /// The versions that are at several places or have a health path.
    pub(super) fn places(&self) -> impl Iterator<Item = (VersionId, &Arc<Endpoints>)> {
        let upstreams = [Some(&self.primary), self.additional.as_ref()].into_iter().flatten();
        upstreams.filter_map(|upstream| match &upstream.reach {
            Reach::Many(places) => Some((upstream.version, places)),
            Reach::Http(_) | Reach::Process(_) => None,
        })
    }

    /// The versions it serves, for people.
    pub(super) fn served(&self) -> String {
        let primary = self.primary.version;
        match &self.additional {
            Some(additional) => format!("versions {primary} and {}", additional.version),
            None => format!("version {primary}"),
        }
    }

    /// Whether an answer with this status is a failure; one beyond HTTP's is held for a 599 (RFC 9110, section 15).
    pub(super) fn is_failure(&self, status: StatusCode) -> bool {
        let status = status.as_u16().min(STATUS_MAX);
        self.failure_status.iter().any(|(first, last)| (*first..=*last).contains(&status))
    }

    /// Whether an answer with this status makes an Invoke a function error: every 5xx, and every failure.
    ///
    /// A Lambda client is told of nothing else, so what is an error to it does not hang on a plan's patience.
    pub(super) fn is_function_error(&self, status: StatusCode) -> bool {
        status.as_u16() >= 500 || self.is_failure(status)
    }

    /// The alias that is addressed, if it is one.
    pub(super) fn alias(&self) -> Option<&AliasId> {
        match &self.address {
            Address::Alias { alias, .. } => Some(alias),
            Address::Version { .. } => None,
        }
    }

    /// Whether any requests are drawn for a version.
    pub(super) fn serves(&self, version: VersionId) -> bool {
        match (&self.address, version) {
            (Address::Version { .. }, _) => true,
            (Address::Alias { routing, .. }, VersionId::Number(number)) => {
                routing.share_of(number) > Weight::ZERO
            }
            (Address::Alias { routing, .. }, VersionId::Latest) => routing.function_version == version,
        }
    }

    /// Within which time tunnels are closed whose version gets nothing any more.
    pub(super) fn close_tunnels(&self) -> Option<Duration> {
        self.close_tunnels
    }

    /// The revision of an alias's route.
    pub(super) fn epoch(&self) -> Option<Revision> {
        match self.address {
            Address::Alias { epoch, .. } => Some(epoch),
            Address::Version { .. } => None,
        }
    }
}

/// One version, and how to reach it.
pub(super) struct Upstream {
    /// The version.
    pub(super) version: VersionId,
    /// The version as it goes into `x-amz-executed-version`.
    pub(super) label: HeaderValue,
    /// What answers for it.
    pub(super) reach: Reach,
    /// How long it is waited for, where that is not the router's own to decide.
    said: UpstreamTimeouts,
}

fn prefix_of(address: impl std::fmt::Display) -> HeaderValue {
    HeaderValue::try_from(format!("/{address}")).expect("names and numbers are visible ASCII")
}

/// What answers for a version.
pub(super) enum Reach {
    /// A service at one place, of which nothing is known but what requests meet with.
    Http(Arc<Service>),
    /// A service at several places, or at one that is asked for a health path.
    Many(Arc<Endpoints>),
    /// A process of serin's own.
    Process(Arc<ProcessTarget>),
}

/// How to reach an HTTP version, in the pieces a request is put together from.
pub(super) struct Service {
    /// By what its connections are told from those to others: `host[:port]`, with `h2c://` before it for HTTP/2.
    pub(super) authority: Arc<str>,
    /// `host[:port]` as it goes into `:authority`, if the version is spoken to in HTTP/2.
    pub(super) http2: Option<Authority>,
    /// `host[:port]` as it goes into `host`.
    pub(super) host_header: HeaderValue,
    /// The host to connect to.
    pub(super) host: String,
    /// The port to connect to.
    pub(super) port: u16,
    /// What stands before every path: empty, or `/…` without a trailing slash.
    pub(super) base_path: String,
    /// The same as a request target: what an Invoke asks for.
    pub(super) root: Uri,
}

impl Reach {
    /// The service for one request, and its seat where there are several places; or the process.
    pub(super) fn service(&self) -> Result<(Arc<Service>, Option<EndpointGuard>), &Arc<ProcessTarget>> {
        match self {
            Reach::Http(service) => Ok((Arc::clone(service), None)),
            Reach::Many(places) => {
                let seat = places.seat();
                Ok((Arc::clone(seat.service()), Some(seat)))
            }
            Reach::Process(process) => Err(process),
        }
    }

    /// What stands before every path, the same at all places; `None` of a process.
    pub(super) fn base_path(&self) -> Option<&str> {
        match self {
            Reach::Http(service) => Some(&service.base_path),
            Reach::Many(places) => Some(places.base_path()),
            Reach::Process(_) => None,
        }
    }
}

impl Upstream {
    /// How long it is waited for.
    pub(super) fn waits(&self, own: &Timeouts) -> Waits {
        Waits {
            first_byte: self.said.first_byte.map_or(own.response_head, Wait::span),
            idle: self.said.idle.map_or(own.body_idle, Wait::span),
        }
    }

    /// What `plan` says of waiting counts before what the version does.
    fn of(version: VersionId, target: &Target, plan: UpstreamTimeouts, book: &EndpointBook) -> Upstream {
        let label = HeaderValue::try_from(version.to_string()).expect("digits or $LATEST");
        let reach = match target {
            Target::Http { url, health, .. } => {
                let mut services: Vec<_> =
                    url.places().map(|place| Arc::new(Service::at(url, place))).collect();
                match services.pop() {
                    Some(only) if services.is_empty() && health.is_none() => Reach::Http(only),
                    last => {
                        services.extend(last);
                        Reach::Many(Arc::new(Endpoints::of(services, health.as_ref(), book)))
                    }
                }
            }
            Target::Process(process) => Reach::Process(Arc::clone(process)),
        };
        Upstream { version, label, reach, said: plan.or(target.timeouts()) }
    }
}

impl Service {
    /// `host[:port]` as the version's URL has it.
    pub(super) fn named(&self) -> &str {
        self.host_header.to_str().expect("an authority is visible ASCII")
    }

    fn at(url: &UpstreamUrl, place: &str) -> Service {
        let (host, port) = host_port(place);
        let http2 = url
            .speaks_http2()
            .then(|| Authority::try_from(place).expect("a version's URL was read as one before"));
        let authority = match &http2 {
            None => place.into(),
            Some(authority) => format!("h2c://{authority}").into(),
        };
        Service {
            authority,
            http2,
            host_header: HeaderValue::try_from(place).expect("an authority is visible ASCII"),
            host: host.to_owned(),
            port,
            root: upstream_target(url.base_path(), "").expect("a version's URL was read as one before"),
            base_path: url.base_path().to_owned(),
        }
    }
}
