//! What deciding where a request goes costs, and how soon a new weight is in force.
//!
//!     cargo bench --bench routing
//!
//! A router in this process, on loopback; versions and clients are threads beside it. Nothing is asserted: machines differ.

#[path = "support/counted.rs"]
mod counted;

use std::hint::black_box;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use counted::{ALLOCATIONS, Counted};
use hyper::HeaderMap;
use hyper::header::HeaderValue;
use serin::metrics::recorder::Recorder;
use serin::router::server::Router;
use serin::router::settings::{RouterConfig, Timeouts};
use serin::router::table::{Edit, FAILURE_STATUS_DEFAULT, RouteSpec, RoutingTable, SteeringSpec};
use serin_core::lambda::alias::Routing;
use serin_core::lambda::function::{Revision, Target};
use serin_core::model::arn::{Place, VersionNumber};
use serin_core::model::weight::Weight;
use serin_core::plan::Affinity;

#[global_allocator]
static ALLOCATOR: Counted = Counted;

const DECISIONS: u32 = 5_000_000;
const CHANGES: usize = 2_000;
const CLIENTS: usize = 2;
const ALIAS: &str = "shop:live";

#[expect(clippy::disallowed_methods, reason = "a bench measures time")]
fn now() -> Instant {
    Instant::now()
}

fn say(what: &str, figures: String) {
    println!("{what:<58} {figures}");
}

fn spec(alias: &str, epoch: u64, ppm: u32, versions: [&Target; 2]) -> RouteSpec {
    RouteSpec {
        alias: alias.parse().expect("a name"),
        epoch: Revision(epoch),
        routing: Routing::split(VersionNumber(1), VersionNumber(2), Weight::from_ppm(ppm).expect("a share")),
        primary: versions[0].clone(),
        additional: Some(versions[1].clone()),
        failure_status: vec![FAILURE_STATUS_DEFAULT],
        canary: Some(VersionNumber(2)),
        steering: None,
        timeouts: Default::default(),
        close_tunnels: None,
    }
}

fn target(addr: SocketAddr) -> Target {
    Target::Http {
        url: format!("http://{addr}").parse().expect("a URL"),
        health: None,
        timeouts: Default::default(),
    }
}

fn main() {
    decision("a decision by weight, one of 10 000 aliases", None, &HeaderMap::new());
    let mut headers = HeaderMap::new();
    headers
        .insert("cookie", HeaderValue::from_static("theme=dark; session=0123456789abcdef0123456789abcdef"));
    let affinity = Some(Affinity::Cookie("session".to_owned()));
    let steering = SteeringSpec {
        key: [7; 16],
        affinity,
        override_header: None,
        ahead: None,
        mirror: None,
        counts_users: true,
        baseline: None,
    };
    decision("the same by affinity", Some(Box::new(steering)), &headers);
    changes();
}

/// Nanoseconds and allocations from a request's address to its version.
fn decision(what: &str, steering: Option<Box<SteeringSpec>>, headers: &HeaderMap) {
    let table = RoutingTable::new(Recorder::new(1, Arc::new(|_| {})));
    let nobody = target(([127, 0, 0, 1], 9).into());
    let alias = |index| format!("f{index}:live");
    let edit = |index| {
        let steering = steering.clone();
        Edit::Alias(RouteSpec { steering, ..spec(&alias(index), 1, 30_000, [&nobody, &nobody]) }.into())
    };
    table.publish((0..10_000).map(edit).collect());
    let mut reader = table.reader();
    let keys: Vec<String> = (0..256).map(|index| alias(index * 37)).collect();
    let (mut ticket, mut canaries) = (0_u64, 0_u32);
    let before = ALLOCATIONS.load(Ordering::Relaxed);
    let began = now();
    for turn in 0..DECISIONS {
        ticket = ticket.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let key = black_box(&keys[turn as usize % keys.len()]);
        let version = reader.version_for(key, black_box(headers), || ticket);
        canaries += u32::from(version == Some(VersionNumber(2).into()));
    }
    let took = now().duration_since(began);
    let allocations = ALLOCATIONS.load(Ordering::Relaxed) - before;
    let each_ns = took.as_secs_f64() * 1e9 / f64::from(DECISIONS);
    let share = f64::from(canaries) / f64::from(DECISIONS);
    say(what, format!("{each_ns:.1} ns, {allocations} allocations in {DECISIONS}, {share:.4} to the canary"));
}

/// A version that notes when it last got a request that its predecessor in office did not.
struct Version {
    addr: SocketAddr,
    got: Arc<Mutex<Option<Instant>>>,
}

impl Version {
    fn start() -> Version {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let addr = listener.local_addr().expect("an address");
        let got: Arc<Mutex<Option<Instant>>> = Arc::default();
        let noted = Arc::clone(&got);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let noted = Arc::clone(&noted);
                thread::spawn(move || serve(stream, &noted));
            }
        });
        Version { addr, got }
    }
}

fn serve(mut stream: TcpStream, noted: &Mutex<Option<Instant>>) {
    stream.set_nodelay(true).expect("an option of TCP");
    let mut bytes = [0; 4096];
    // Requests are small and come whole.
    while let Ok(1..) = stream.read(&mut bytes) {
        noted.lock().expect("nobody panics with it").get_or_insert_with(now);
        if stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").is_err() {
            return;
        }
    }
}

/// Microseconds from the publishing of a weight to the first request that reaches a version by it.
fn changes() {
    let versions = [Version::start(), Version::start()];
    let targets = [target(versions[0].addr), target(versions[1].addr)];
    let recorder = Recorder::new(1, Arc::new(|_| {}));
    let table = RoutingTable::new(recorder);
    let publish = |epoch: u64| {
        let ppm = if epoch.is_multiple_of(2) { 0 } else { 1_000_000 };
        table.publish(vec![Edit::Alias(spec(ALIAS, epoch, ppm, [&targets[0], &targets[1]]).into())]);
    };
    publish(0);
    let config = RouterConfig {
        addr: ([127, 0, 0, 1], 0).into(),
        workers: Some(1),
        trusted_proxies: Default::default(),
        resolver: Arc::new(serin::router::names::SystemResolver),
        bindings: Arc::default(),
        timeouts: Timeouts::default(),
        place: Place { region: Place::REGION.to_owned(), account: Place::ACCOUNT.to_owned() },
        access: Arc::default(),
        shows: Default::default(),
        tls: None,
        limits: Default::default(),
        wants_proxy_header: false,
        log: None,
        events: None,
    };
    let router = Router::bind(config, Arc::clone(&table)).and_then(Router::run).expect("a router");
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        for _ in 0..CLIENTS {
            scope.spawn(|| ask_until(router.local_addr(), &is_over));
        }
        let (mut published, mut first) = (Vec::new(), Vec::new());
        for epoch in 1..=CHANGES {
            let version = &versions[epoch % 2];
            thread::sleep(Duration::from_millis(1));
            *version.got.lock().expect("nobody panics with it") = None;
            let began = now();
            publish(epoch as u64);
            published.push(now().duration_since(began));
            let got = loop {
                if let Some(got) = *version.got.lock().expect("nobody panics with it") {
                    break got;
                }
                thread::yield_now();
            };
            first.push(got.saturating_duration_since(began));
        }
        is_over.store(true, Ordering::Relaxed);
        say(&format!("publishing a weight, {CHANGES} times"), quantiles(published));
        say("from there to the first request at a version by it", quantiles(first));
    });
    router.shutdown(Duration::from_secs(1)).expect("a router that ends well");
}

fn ask_until(router: SocketAddr, is_over: &AtomicBool) {
    let mut stream = TcpStream::connect(router).expect("a router");
    stream.set_nodelay(true).expect("an option of TCP");
    let (request, mut bytes) = (format!("GET /{ALIAS}/ HTTP/1.1\r\nhost: a\r\n\r\n"), [0; 4096]);
    while !is_over.load(Ordering::Relaxed) {
        stream.write_all(request.as_bytes()).expect("a router that reads");
        let mut count = 0;
        while !bytes[..count].ends_with(b"\r\n\r\nok") {
            count += stream.read(&mut bytes[count..]).expect("a router that answers");
        }
    }
}

fn quantiles(mut times: Vec<Duration>) -> String {
    times.sort_unstable();
    let at = |share: f64| times[((times.len() - 1) as f64 * share) as usize].as_secs_f64() * 1e6;
    format!("p50 {:.0} µs, p99 {:.0} µs, most {:.0} µs", at(0.5), at(0.99), at(1.0))
}
