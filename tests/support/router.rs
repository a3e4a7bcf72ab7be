//! A router in this process, with its table and its recorder.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serin::metrics::connections::ConnectionLimits;
use serin::metrics::recorder::{Counts, EpochCounts, FailureKind, Recorder};
use serin::router::server::{Router, RunningRouter};
use serin::router::settings::{RouterConfig, Timeouts};
use serin::router::table::{Edit, FAILURE_STATUS_DEFAULT, RouteSpec, RoutingTable};
use serin::runtime::Runtimes;
use serin_core::lambda::alias::{AliasId, Routing};
use serin_core::lambda::function::{Revision, Target};
use serin_core::model::arn::{Place, VersionNumber};
use serin_core::model::weight::Weight;

use super::client::Client;
use super::until;

/// The alias that tests route by.
pub const ALIAS: &str = "shop:live";

/// A running router.
pub struct TestRouter {
    /// What it routes by.
    pub table: Arc<RoutingTable>,
    /// What it counts.
    pub recorder: Arc<Recorder>,
    /// How often a canary's failure raised the alarm.
    pub alarms: Arc<AtomicUsize>,
    running: Option<RunningRouter>,
    addr: SocketAddr,
}

/// Timeouts that no well-behaved test meets.
pub fn patient() -> Timeouts {
    let (connect, response_head) = (Duration::from_secs(10), Duration::from_secs(20));
    Timeouts { connect, response_head, ..Timeouts::default() }
}

impl TestRouter {
    /// Starts one with two workers and patience.
    pub fn start() -> TestRouter {
        TestRouter::start_with(patient())
    }

    /// Starts one with two workers.
    pub fn start_with(timeouts: Timeouts) -> TestRouter {
        TestRouter::start_over(timeouts, None)
    }

    /// Starts one whose versions may be processes.
    pub fn start_over(timeouts: Timeouts, runtimes: Option<Runtimes>) -> TestRouter {
        TestRouter::start_as(config(timeouts), runtimes)
    }

    /// One whose alias has version 1 alone, and that listens as it is told.
    pub fn listening(one: Target, config: RouterConfig) -> TestRouter {
        let router = TestRouter::start_as(config, None);
        router.serve(one);
        router
    }

    fn start_as(config: RouterConfig, runtimes: Option<Runtimes>) -> TestRouter {
        let alarms = Arc::new(AtomicUsize::new(0));
        let rung = Arc::clone(&alarms);
        let recorder = Recorder::new(
            2,
            Arc::new(move |_: &AliasId| {
                rung.fetch_add(1, Ordering::SeqCst);
            }),
        );
        let table = RoutingTable::with(Arc::clone(&recorder), runtimes);
        let router = Router::bind(config, Arc::clone(&table)).unwrap();
        let addr = router.local_addr();
        TestRouter { table, recorder, alarms, running: Some(router.run().unwrap()), addr }
    }

    /// One whose alias splits its traffic between version 1 and version 2, which is the canary.
    pub fn splitting(one: Target, two: Target, canary_ppm: u32) -> TestRouter {
        let router = TestRouter::start();
        router.split(1, canary_ppm, &one, &two);
        router
    }

    /// One whose alias has version 1 alone.
    pub fn serving(one: Target, timeouts: Timeouts) -> TestRouter {
        let router = TestRouter::start_with(timeouts);
        router.serve(one);
        router
    }

    fn serve(&self, one: Target) {
        self.table.publish(vec![Edit::Function { name: "shop".parse().unwrap(), latest: one.clone() }]);
        self.publish(RouteSpec {
            routing: Routing::only(VersionNumber(1)),
            additional: None,
            ..spec(1, 0, &one, &one)
        });
    }

    /// Publishes a split between version 1 and version 2.
    pub fn split(&self, epoch: u64, canary_ppm: u32, one: &Target, two: &Target) {
        self.publish(spec(epoch, canary_ppm, one, two));
    }

    /// Publishes a route.
    pub fn publish(&self, spec: RouteSpec) {
        self.table.publish(vec![Edit::Alias(spec.into())]);
    }

    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// A new connection to it.
    pub fn client(&self) -> Client {
        Client::connect(self.addr)
    }

    /// The router itself, for its handles.
    pub fn running(&self) -> &RunningRouter {
        self.running.as_ref().expect("not shut down")
    }

    /// Takes the router out, to shut it down elsewhere.
    pub fn take(&mut self) -> RunningRouter {
        self.running.take().expect("not shut down")
    }

    /// What was counted for the alias, by epoch.
    pub fn epochs(&self) -> Vec<EpochCounts> {
        let mut counts = Vec::new();
        self.recorder.counts(&ALIAS.parse().unwrap(), &mut counts, |_| None, &mut Vec::new());
        counts
    }

    /// What was counted for version 1 and version 2, over all epochs.
    pub fn counts(&self) -> [Counts; 2] {
        let mut both = [Counts::default(); 2];
        for epoch in self.epochs() {
            both[0].merge(&epoch.primary);
            both[1].merge(&epoch.additional);
        }
        both
    }

    /// Waits until version 1 has got this many requests and all of them have ended, and tells what was counted.
    #[track_caller]
    pub fn settled(&self, dispatched: u64) -> Counts {
        until("every request ended", || {
            let one = self.counts()[0];
            one.dispatched == dispatched && one.in_flight() == 0
        });
        self.counts()[0]
    }

    /// Waits until version 1 has got one request, which failed in this way, and no other way.
    #[track_caller]
    pub fn assert_failed_once(&self, kind: FailureKind) {
        let counts = self.settled(1);
        assert_eq!((counts.failures.of(kind), counts.failures.total()), (1, 1), "{counts:?}");
        assert_eq!((counts.completed, counts.cancelled), (1, 0), "{counts:?}");
    }
}

/// The alias's route with so much for version 2.
pub fn spec(epoch: u64, canary_ppm: u32, one: &Target, two: &Target) -> RouteSpec {
    RouteSpec {
        alias: ALIAS.parse().unwrap(),
        epoch: Revision(epoch),
        routing: Routing::split(VersionNumber(1), VersionNumber(2), Weight::from_ppm(canary_ppm).unwrap()),
        primary: one.clone(),
        additional: Some(two.clone()),
        failure_status: vec![FAILURE_STATUS_DEFAULT],
        canary: Some(VersionNumber(2)),
        steering: None,
        timeouts: Default::default(),
        close_tunnels: None,
    }
}

/// A configuration on a free port of loopback.
pub fn config(timeouts: Timeouts) -> RouterConfig {
    RouterConfig {
        addr: "127.0.0.1:0".parse().unwrap(),
        workers: Some(2),
        bindings: Default::default(),
        trusted_proxies: Default::default(),
        resolver: std::sync::Arc::new(serin::router::names::SystemResolver),
        timeouts,
        place: Place { region: Place::REGION.to_owned(), account: Place::ACCOUNT.to_owned() },
        access: Default::default(),
        shows: Default::default(),
        events: None,
        log: None,
        tls: None,
        limits: ConnectionLimits::default(),
        wants_proxy_header: false,
    }
}
