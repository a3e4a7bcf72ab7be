//! Who gets which request: an immutable table that is replaced whole.
//!
//! Readers take a snapshot without a lock and keep it for one request, so a request sees one table and a publish is
//! visible all at once. The table is cut into shards, so that publishing one alias among ten thousand copies one
//! small shard and a list of pointers. What is published is what the control plane has committed; this module stores
//! nothing and decides nothing.

use std::collections::HashMap;
use std::hash::{BuildHasher, BuildHasherDefault, Hasher};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use hyper::HeaderMap;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use super::endpoints::EndpointBook;
use super::recipe::Recipe;
use super::route::{Address, Route};
use crate::clock::Heart;
use crate::metrics::recorder::Recorder;
use crate::metrics::tunnels::{LeftTunnels, OpenTunnels, Tunnels};
use crate::metrics::upstreams::UpstreamState;
use crate::runtime::Runtimes;
use serin_core::lambda::alias::{AliasId, Routing};
use serin_core::lambda::function::{Revision, Target};
use serin_core::lambda::policy::{PolicyScope, Statement};
use serin_core::lambda::process::ProcessTarget;
use serin_core::lambda::timeouts::UpstreamTimeouts;
use serin_core::model::arn::{FunctionName, VersionId, VersionNumber};
use serin_core::plan::{Affinity, Baseline, Mirror};

/// The statuses that are failures unless a plan says otherwise.
pub const FAILURE_STATUS_DEFAULT: (u16, u16) = (500, 599);

const SHARDS: usize = 256;

/// Everything the router needs to know of an alias.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RouteSpec {
    /// The alias.
    pub alias: AliasId,
    /// The change that made it so; its requests are counted under it.
    pub epoch: Revision,
    /// Which versions get which share.
    pub routing: Routing,
    /// What the function version runs as.
    pub primary: Target,
    /// What the additional version runs as; without it the additional version gets nothing.
    pub additional: Option<Target>,
    /// The statuses that count as failures, as inclusive ranges.
    pub failure_status: Vec<(u16, u16)>,
    /// The version whose failures raise the alarm.
    pub canary: Option<VersionNumber>,
    /// What requests go by beside the weights.
    pub steering: Option<Box<SteeringSpec>>,
    /// How long its versions are waited for, as its plan says; where it says nothing, the versions do.
    #[serde(default)]
    pub timeouts: UpstreamTimeouts,
    /// Within which time tunnels are closed whose version gets nothing any more; left alone unless given.
    #[serde(default)]
    pub close_tunnels: Option<Duration>,
}

/// What the requests of an alias go by beside its weights, as its rollout's plan says.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SteeringSpec {
    /// Hashes users to tickets; one for each rollout.
    pub key: [u8; 16],
    /// What keeps a user on one version.
    pub affinity: Option<Affinity>,
    /// A header that lets testers name one of the two versions.
    pub override_header: Option<String>,
    /// The canary, while it may be named and has no weight yet.
    #[serde(default)]
    pub ahead: Option<(VersionNumber, Target)>,
    /// Which requests the additional version gets copies of.
    #[serde(default)]
    pub mirror: Option<Mirror>,
    /// Whether users are counted who stick to a version, for they are judged.
    #[serde(default)]
    pub counts_users: bool,
    /// Where a part of the function version's traffic as large as the additional one's comes from, if it is counted.
    #[serde(default)]
    pub baseline: Option<Baseline>,
}

/// One change of the table; what `handover` sends, so its format has a number there.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Edit {
    /// An alias was made or changed.
    Alias(Box<RouteSpec>),
    /// An alias was deleted.
    RemoveAlias(AliasId),
    /// A function was made, or its `$LATEST` changed.
    Function {
        /// The function.
        name: FunctionName,
        /// What `$LATEST` runs as.
        latest: Target,
    },
    /// A version was published.
    Version {
        /// Its function.
        function: FunctionName,
        /// Its number.
        number: VersionNumber,
        /// What it runs as.
        target: Target,
    },
    /// A version was deleted.
    RemoveVersion {
        /// Its function.
        function: FunctionName,
        /// Its number.
        number: VersionNumber,
    },
    /// A function was deleted, with its versions and aliases.
    RemoveFunction(FunctionName),
    /// How many invocations of a function from a zip may run at once was changed.
    Concurrency {
        /// The function.
        function: FunctionName,
        /// So many and no more; `None` shares with the others.
        reserved: Option<u32>,
        /// How many processes of which version are kept ready, and what it runs as.
        provisioned: Vec<(VersionId, Arc<ProcessTarget>, u32)>,
    },
    /// A policy was changed; without statements it is gone.
    Policy {
        /// The function it belongs to.
        function: FunctionName,
        /// What of it.
        scope: PolicyScope,
        /// What is allowed.
        statements: Vec<Statement>,
    },
}

/// The table in use and the way to change it.
pub struct RoutingTable {
    current: Arc<ArcSwap<Table>>,
    recorder: Arc<Recorder>,
    places: Arc<EndpointBook>,
    tunnels: Arc<OpenTunnels>,
    runtimes: Option<Runtimes>,
    publishing: Mutex<Publishing>,
    published: watch::Sender<()>,
    heart: Arc<Heart>,
}

/// What only whoever publishes looks at.
#[derive(Default)]
struct Publishing {
    recipe: Recipe,
    handed_on: Option<HandedOn>,
    on_publish: Option<Box<dyn FnMut() + Send>>,
}

/// Who else is told of every publish.
type HandedOn = Box<dyn FnMut(Vec<Edit>) + Send>;

impl RoutingTable {
    /// An empty table whose requests are counted by `recorder`, for HTTP versions alone.
    pub fn new(recorder: Arc<Recorder>) -> Arc<RoutingTable> {
        RoutingTable::with(recorder, None)
    }

    /// An empty table for versions that are processes, too.
    pub fn with(recorder: Arc<Recorder>, runtimes: Option<Runtimes>) -> Arc<RoutingTable> {
        let current = Arc::new(ArcSwap::from_pointee(Table::default()));
        let published = watch::Sender::new(());
        Arc::new(RoutingTable {
            current,
            recorder,
            places: Arc::default(),
            tunnels: Arc::default(),
            runtimes,
            publishing: Mutex::default(),
            published,
            heart: Arc::default(),
        })
    }

    /// Makes all edits visible at once, in their order; requests that begin after the return see them.
    ///
    /// An alias at an older revision than the one it serves is left as it is: what is served never goes back in
    /// time. That does not happen while one writer publishes what it has committed, and is logged as an error.
    pub fn publish(&self, edits: Vec<Edit>) {
        let mut publishing = self.publishing();
        publishing.recipe.note(&edits);
        if let Some(hand_on) = &mut publishing.handed_on {
            hand_on(edits.clone());
        }
        if let Some(told) = &mut publishing.on_publish {
            told();
        }
        let mut next = Table::clone(&self.current.load());
        let mut closed = Vec::new();
        for edit in edits {
            self.apply(edit, &mut next, &mut closed);
        }
        // What was removed and made again in one go keeps its counters.
        closed.retain(|route| next.route(&route.address.key()).is_none());
        self.current.store(Arc::new(next));
        self.published.send_replace(());
        // Only now does no new request find what was removed, so only now may its counters go.
        for route in closed {
            match &route.address {
                Address::Alias { alias, .. } => self.recorder.close_alias(alias),
                Address::Version { function, version } => self.recorder.close_version(function, *version),
            }
        }
    }

    /// Gives the edits that build this table, and then those of every publish, so that another router serves the same.
    ///
    /// `hand_on` is called by whoever publishes, and must not wait. Whoever was told before is told no more.
    pub fn hand_on(&self, mut hand_on: impl FnMut(Vec<Edit>) + Send + 'static) {
        let mut publishing = self.publishing();
        hand_on(publishing.recipe.edits());
        publishing.handed_on = Some(Box::new(hand_on));
    }

    /// The edits that build this table.
    pub fn edits(&self) -> Vec<Edit> {
        self.publishing().recipe.edits()
    }

    /// Calls `told` at every publish from now on, by whoever publishes; it must not wait.
    pub fn on_publish(&self, told: impl FnMut() + Send + 'static) {
        self.publishing().on_publish = Some(Box::new(told));
    }

    /// Beats while some router serves by this table.
    pub fn heart(&self) -> &Arc<Heart> {
        &self.heart
    }

    /// Tells nobody else any more.
    pub fn keep_to_itself(&self) {
        self.publishing().handed_on = None;
    }

    fn publishing(&self) -> MutexGuard<'_, Publishing> {
        self.publishing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The revision and the routing that an alias serves right now.
    pub fn serving(&self, alias: &AliasId) -> Option<(Revision, Routing)> {
        let table = self.current.load();
        match &table.route(&alias.to_string())?.address {
            Address::Alias { epoch, routing, .. } => Some((*epoch, *routing)),
            Address::Version { .. } => None,
        }
    }

    /// A reader for one thread, which looks at the shared pointer only when it has changed.
    pub fn reader(&self) -> TableReader {
        TableReader(arc_swap::Cache::new(Arc::clone(&self.current)))
    }

    /// Tells of every publish, so that a thread without traffic lets go of the table before.
    ///
    /// A table that is held keeps the counters of its epochs from being final.
    pub(super) fn published(&self) -> watch::Receiver<()> {
        self.published.subscribe()
    }

    /// How the places of versions stand.
    pub(super) fn places(&self) -> &Arc<EndpointBook> {
        &self.places
    }

    /// The tunnels that are open through it.
    pub fn tunnels(&self) -> &Arc<OpenTunnels> {
        &self.tunnels
    }

    /// What counts its requests.
    pub(super) fn recorder(&self) -> &Arc<Recorder> {
        &self.recorder
    }

    /// Who runs the versions that are processes.
    pub(super) fn runtimes(&self) -> Option<&Runtimes> {
        self.runtimes.as_ref()
    }

    /// Tells of every place of the versions in the table that are at several or have a health path.
    pub fn upstreams(&self) -> Vec<UpstreamState> {
        self.places.upstreams()
    }

    fn insert(&self, table: &mut Table, route: Route) {
        self.places.serve(&route);
        table.insert(route.address.key(), route);
    }

    fn close(&self, closed: &mut Vec<Arc<Route>>, removed: impl IntoIterator<Item = Arc<Route>>) {
        closed.extend(removed.into_iter().inspect(|route| self.places.withdraw(route)));
    }

    fn apply(&self, edit: Edit, table: &mut Table, closed: &mut Vec<Arc<Route>>) {
        match edit {
            Edit::Alias(spec) => {
                let key = spec.alias.to_string();
                let served = table.route(&key).and_then(|route| route.epoch());
                if served.is_some_and(|served| served > spec.epoch) {
                    tracing::error!(
                        alias = key,
                        served = served.map(|epoch| epoch.0),
                        published = spec.epoch.0,
                        "an older revision was published; the alias stays as it is"
                    );
                    return;
                }
                self.insert(table, Route::to_alias(*spec, &self.recorder, &self.places));
            }
            Edit::RemoveAlias(alias) => self.close(closed, table.remove(&alias.to_string())),
            Edit::Function { name, latest } => {
                let route = Route::to_version(name, VersionId::Latest, &latest, &self.recorder, &self.places);
                self.insert(table, route);
            }
            Edit::Version { function, number, target } => {
                let route = Route::to_version(function, number.into(), &target, &self.recorder, &self.places);
                self.insert(table, route);
            }
            Edit::RemoveVersion { function, number } => {
                if let Some(runtimes) = &self.runtimes {
                    runtimes.forget(&function, Some(number.into()));
                }
                let removed = Address::Version { function, version: number.into() };
                self.close(closed, table.remove(&removed.key()));
            }
            Edit::RemoveFunction(name) => {
                if let Some(runtimes) = &self.runtimes {
                    runtimes.forget(&name, None);
                }
                self.close(closed, table.remove_function(&name));
            }
            Edit::Concurrency { function, reserved, provisioned } => {
                if let Some(runtimes) = &self.runtimes {
                    runtimes.reserve(&function, reserved);
                    runtimes.provision(&function, provisioned);
                }
            }
            Edit::Policy { function, scope, statements } => {
                let policies = Arc::make_mut(&mut table.policies);
                if statements.is_empty() {
                    policies.remove(&(function, scope));
                } else {
                    policies.insert((function, scope), statements.into());
                }
            }
        }
    }
}

impl Tunnels for RoutingTable {
    fn left(&self, alias: &AliasId) -> Vec<LeftTunnels> {
        let open = self.tunnels.by(alias);
        let table = self.current.load();
        // One that is gone has taken no decision about its tunnels along: they are left.
        let route = table.route(&alias.to_string());
        let left = open.into_iter().filter(|(version, _)| !route.is_some_and(|route| route.serves(*version)));
        let close_within = route.and_then(|route| route.close_tunnels());
        left.map(|(version, open)| LeftTunnels { version, open, close_within }).collect()
    }

    fn all(&self) -> Vec<(AliasId, VersionId, usize)> {
        self.tunnels.all()
    }
}

/// A thread's view of the table.
pub struct TableReader(arc_swap::Cache<Arc<ArcSwap<Table>>, Arc<Table>>);

impl TableReader {
    /// The table of this moment.
    pub(super) fn load(&mut self) -> &Arc<Table> {
        self.0.load()
    }

    /// The version a request to `function:qualifier` goes to; `ticket` is uniform, and asked for only where it decides.
    ///
    /// Takes no lock, allocates nothing and asks nothing of the system.
    pub fn version_for(
        &mut self,
        key: &str,
        headers: &HeaderMap,
        ticket: impl FnOnce() -> u64,
    ) -> Option<VersionId> {
        let route = self.load().route(key)?;
        let pick = route.pick(headers, ticket).ok()?;
        Some(route.upstream(pick.arm).version)
    }
}

/// What is allowed, on each scope that has a policy.
type Policies = HashMap<(FunctionName, PolicyScope), Arc<[Statement]>>;

type Shard = HashMap<Arc<str>, Arc<Route>, BuildHasherDefault<KeyHasher>>;

/// One immutable table: routes by `function:alias`, `function:7` and `function:$LATEST`.
#[derive(Clone)]
pub(super) struct Table {
    shards: Box<[Arc<Shard>]>,
    /// Apart from the routes, because only invocations by principals look at them.
    policies: Arc<Policies>,
}

impl Default for Table {
    fn default() -> Table {
        Table { shards: (0..SHARDS).map(|_| Arc::default()).collect(), policies: Arc::default() }
    }
}

impl Table {
    /// The route of `function:qualifier`.
    pub(super) fn route(&self, key: &str) -> Option<&Arc<Route>> {
        self.shards[shard_of(key)].get(key)
    }

    /// The statements on exactly this scope of a function.
    pub(super) fn policy(&self, function: &FunctionName, scope: &PolicyScope) -> Option<&Arc<[Statement]>> {
        self.policies.get(&(function.clone(), scope.clone()))
    }

    /// Whether a function exists.
    pub(super) fn has_function(&self, name: &str) -> bool {
        self.route(&format!("{name}:$LATEST")).is_some()
    }

    fn insert(&mut self, key: String, route: Route) {
        let shard = shard_of(&key);
        Arc::make_mut(&mut self.shards[shard]).insert(key.into(), Arc::new(route));
    }

    fn remove(&mut self, key: &str) -> Option<Arc<Route>> {
        self.route(key)?;
        Arc::make_mut(&mut self.shards[shard_of(key)]).remove(key)
    }

    fn remove_function(&mut self, name: &FunctionName) -> Vec<Arc<Route>> {
        let belongs = |key: &str| key.strip_prefix(name.as_str()).is_some_and(|rest| rest.starts_with(':'));
        let mut removed = Vec::new();
        for shard in &mut self.shards {
            if shard.keys().any(|key| belongs(key)) {
                removed
                    .extend(Arc::make_mut(shard).extract_if(|key, _| belongs(key)).map(|(_, route)| route));
            }
        }
        removed
    }
}

fn shard_of(key: &str) -> usize {
    // The map inside uses the low and the very highest bits.
    (BuildHasherDefault::<KeyHasher>::default().hash_one(key) >> 40) as usize % SHARDS
}

/// FNV-1a: short keys, few collisions, and only operators choose what is stored.
struct KeyHasher(u64);

impl Default for KeyHasher {
    fn default() -> KeyHasher {
        KeyHasher(0xcbf2_9ce4_8422_2325)
    }
}

impl Hasher for KeyHasher {
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3);
        }
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;
    use crate::metrics::recorder::Arm;
    use crate::router::pick::Split;
    use crate::router::route::Reach;
    use serin_core::model::weight::Weight;

    fn host(route: &Route, arm: Arm) -> &str {
        match &route.upstream(arm).reach {
            Reach::Http(service) => &service.host,
            Reach::Many(_) | Reach::Process(_) => panic!("not an HTTP version at one place"),
        }
    }

    fn target(host: &str) -> Target {
        Target::Http {
            url: format!("http://{host}").parse().unwrap(),
            health: None,
            timeouts: Default::default(),
        }
    }

    fn spec(alias: &str, epoch: u64, weight_ppm: u32) -> RouteSpec {
        RouteSpec {
            alias: alias.parse().unwrap(),
            epoch: Revision(epoch),
            routing: Routing::split(
                VersionNumber(1),
                VersionNumber(2),
                Weight::from_ppm(weight_ppm).unwrap(),
            ),
            primary: target("one"),
            additional: Some(target("two")),
            failure_status: vec![FAILURE_STATUS_DEFAULT],
            canary: None,
            steering: None,
            timeouts: UpstreamTimeouts::default(),
            close_tunnels: None,
        }
    }

    fn table() -> Arc<RoutingTable> {
        RoutingTable::new(Recorder::new(1, Arc::new(|_| {})))
    }

    fn function(name: &str) -> Edit {
        Edit::Function { name: name.parse().unwrap(), latest: target("latest") }
    }

    #[test]
    fn routes_are_found_by_alias_version_and_latest() {
        let table = table();
        table.publish(vec![
            function("shop"),
            Edit::Version {
                function: "shop".parse().unwrap(),
                number: VersionNumber(7),
                target: target("seven"),
            },
            Edit::Alias(spec("shop:live", 1, 30_000).into()),
        ]);
        let mut reader = table.reader();
        let snapshot = reader.load();
        assert_eq!(host(snapshot.route("shop:live").unwrap(), Arm::Additional), "two");
        assert_eq!(host(snapshot.route("shop:7").unwrap(), Arm::Primary), "seven");
        assert_eq!(snapshot.route("shop:$LATEST").unwrap().upstream(Arm::Primary).label, "$LATEST");
        assert!(snapshot.has_function("shop") && !snapshot.has_function("sho"));
        assert!(snapshot.route("shop").is_none() && snapshot.route("shop:8").is_none());
    }

    #[test]
    fn what_is_removed_is_gone_and_nothing_else() {
        let table = table();
        let seven = |function: &str| Edit::Version {
            function: function.parse().unwrap(),
            number: VersionNumber(7),
            target: target("seven"),
        };
        table.publish(vec![function("a"), seven("a"), Edit::Alias(spec("a:live", 1, 0).into())]);
        table.publish(vec![function("ab"), seven("ab"), Edit::Alias(spec("ab:live", 2, 0).into())]);
        table.publish(vec![Edit::RemoveFunction("a".parse().unwrap())]);
        let snapshot = table.current.load_full();
        for key in ["a:live", "a:7", "a:$LATEST"] {
            assert!(snapshot.route(key).is_none(), "{key}");
            assert!(snapshot.route(&key.replace('a', "ab")).is_some() || key.contains("LATEST"), "{key}");
        }
        table.publish(vec![
            Edit::RemoveVersion { function: "ab".parse().unwrap(), number: VersionNumber(7) },
            Edit::RemoveAlias("ab:live".parse().unwrap()),
        ]);
        let snapshot = table.current.load_full();
        assert!(snapshot.route("ab:7").is_none() && snapshot.route("ab:live").is_none());
        assert!(snapshot.has_function("ab"));
        table.recorder.totals(|alias, _, _| panic!("{alias} is still counted"));
    }

    #[test]
    fn what_is_removed_and_made_again_at_once_is_still_counted() {
        let table = table();
        table.publish(vec![Edit::Alias(spec("shop:live", 1, 0).into())]);
        let again = Edit::Alias(spec("shop:live", 2, 30_000).into());
        table.publish(vec![Edit::RemoveAlias("shop:live".parse().unwrap()), again]);
        assert!(!table.recorder.sample(&"shop:live".parse().unwrap()).is_empty());
    }

    #[test]
    fn what_is_served_never_goes_back_in_time() {
        let table = table();
        table.publish(vec![Edit::Alias(spec("shop:live", 5, 30_000).into())]);
        table.publish(vec![Edit::Alias(spec("shop:live", 4, 900_000).into())]);
        let (epoch, routing) = table.serving(&"shop:live".parse().unwrap()).unwrap();
        assert_eq!((epoch, routing.share_of(VersionNumber(2)).ppm()), (Revision(5), 30_000));
        table.publish(vec![Edit::Alias(spec("shop:live", 5, 0).into())]);
        let (_, routing) = table.serving(&"shop:live".parse().unwrap()).unwrap();
        assert_eq!(routing.share_of(VersionNumber(2)), Weight::ZERO, "an overlay keeps the revision");
    }

    #[test]
    fn an_additional_version_without_a_target_gets_nothing() {
        let table = table();
        table.publish(vec![Edit::Alias(
            RouteSpec { additional: None, ..spec("shop:live", 1, 30_000) }.into(),
        )]);
        let (_, routing) = table.serving(&"shop:live".parse().unwrap()).unwrap();
        assert_eq!(routing, Routing::only(VersionNumber(1)));
    }

    /// Each publish moves two aliases of different shards to the same revision and makes version and target agree;
    /// a reader that finds them at different revisions, or a target of another revision, saw half a publish.
    #[test]
    fn a_reader_never_sees_half_a_publish() {
        const PUBLISHES: u64 = 20_000;
        let table = table();
        let (left, right) = ("shop:live", "desk:live");
        assert_ne!(shard_of(left), shard_of(right));
        let both = |revision: u64| {
            [left, right].map(|alias| {
                let primary = target(&format!("host-{revision}"));
                let spec = RouteSpec { primary, ..spec(alias, revision, (revision % 1_000_000) as u32) };
                Edit::Alias(spec.into())
            })
        };
        table.publish(both(1).into());
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let readers: Vec<_> = (0..2)
                .map(|_| {
                    scope.spawn(|| {
                        let (mut reader, mut lookups, mut last) = (table.reader(), 0_u64, Revision(0));
                        while !done.load(Ordering::Relaxed) {
                            let snapshot = reader.load();
                            let [left, right] = [left, right].map(|key| snapshot.route(key).unwrap());
                            let epoch = left.epoch().unwrap();
                            assert_eq!(Some(epoch), right.epoch());
                            for route in [left, right] {
                                assert_eq!(host(route, Arm::Primary), format!("host-{}", epoch.0));
                                let weight = Weight::from_ppm((epoch.0 % 1_000_000) as u32).unwrap();
                                assert_eq!(
                                    route.split,
                                    Split::of(&Routing::split(VersionNumber(1), VersionNumber(2), weight))
                                );
                            }
                            assert!(epoch >= last, "{epoch:?} after {last:?}");
                            (last, lookups) = (epoch, lookups + 1);
                        }
                        lookups
                    })
                })
                .collect();
            for revision in 2..=PUBLISHES {
                table.publish(both(revision).into());
            }
            done.store(true, Ordering::Relaxed);
            let lookups: u64 = readers.into_iter().map(|reader| reader.join().unwrap()).sum();
            assert!(lookups > 10_000, "only {lookups} lookups");
        });
        assert_eq!(table.serving(&left.parse().unwrap()).map(|(epoch, _)| epoch), Some(Revision(PUBLISHES)));
    }
}
