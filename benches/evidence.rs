//! What evidence costs: nanoseconds and allocations of one update, and the CPU of a thousand active rollouts under load.
//!
//!     cargo bench --bench evidence [-- --rollouts 1000 --rps-each 10 --seconds 20 --affinity --binary PATH]
//!
//! With `--affinity` plans keep users on their version, of whom each alias has two hundred. `--binary` measures another
//! release by the same traffic, and then no update: that is of the code it is built with.
//!
//! The daemon is the real binary on a directory of its own; versions and clients are threads of this process, on
//! loopback. Nothing is asserted: machines differ.

#[path = "support/counted.rs"]
mod counted;
#[path = "support/looks.rs"]
mod looks;

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::fs;
use std::hint::black_box;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use bytes::Bytes;
use counted::{ALLOCATIONS, Counted};
use http_body_util::{BodyExt, Empty, Full};
use hyper::client::conn::http1::handshake;
use hyper::server::conn::http1::Builder;
use hyper::service::service_fn;
use hyper::{Request, Response, header};
use hyper_util::rt::TokioIo;
use looks::updates;
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};

#[global_allocator]
static ALLOCATOR: Counted = Counted;

const CONNECTIONS: usize = 40;

#[expect(clippy::disallowed_methods, reason = "a bench measures time")]
fn now() -> Instant {
    Instant::now()
}

fn main() {
    let asked = Asked::read();
    if asked.binary == BUILT {
        say("one update, failures alone", update("latency: none"));
        say("one update, failures and latency", update(""));
    }
    let (each, name) = (asked.rps_each, format!("{} active rollouts", asked.rollouts));
    let house = House::start(&asked);
    thread::sleep(Duration::from_secs(2));
    let idle = house.cpu_over(Duration::from_secs_f64(asked.seconds), || 0);
    say(&format!("{name}, no traffic"), shown(&idle));
    let load = load(house.router, &asked);
    thread::sleep(Duration::from_secs(3));
    let loaded = house.cpu_over(Duration::from_secs_f64(asked.seconds), || load.load(Ordering::Relaxed));
    say(&format!("{name}, {each} requests/s each"), shown(&loaded));
    house.end();
}

/// The binary that is built with this bench.
const BUILT: &str = env!("CARGO_BIN_EXE_serin");

/// Users of each alias, where users stick.
const USERS: usize = 200;

#[derive(Clone)]
struct Asked {
    binary: String,
    affinity: bool,
    rollouts: usize,
    rps_each: f64,
    seconds: f64,
}

impl Asked {
    fn read() -> Asked {
        let arguments: Vec<String> = std::env::args().collect();
        let value = |name: &str, default: f64| {
            let at = arguments.iter().position(|argument| argument == name);
            at.and_then(|at| arguments.get(at + 1)?.parse().ok()).unwrap_or(default)
        };
        let binary = arguments.iter().position(|argument| argument == "--binary");
        Asked {
            binary: binary.and_then(|at| arguments.get(at + 1)).map_or(BUILT, String::as_str).to_owned(),
            affinity: arguments.iter().any(|argument| argument == "--affinity"),
            rollouts: value("--rollouts", 1000.0) as usize,
            rps_each: value("--rps-each", 10.0),
            seconds: value("--seconds", 20.0),
        }
    }
}

fn say(label: &str, figure: String) {
    println!("{label:<46} {figure}");
}

/// Looks every 100 ms at ten requests a look, as the judge of a busy alias does.
fn update(analysis: &str) -> String {
    const LOOKS: u64 = 200_000;
    let (mut in_updates, mut allocations) = (Duration::ZERO, 0);
    updates(analysis, LOOKS, |update| {
        let (counted, began) = (ALLOCATIONS.load(Ordering::Relaxed), now());
        update();
        in_updates += began.elapsed();
        allocations += ALLOCATIONS.load(Ordering::Relaxed) - counted;
    });
    // The clock was read twice around each update.
    let began = now();
    (0..LOOKS).for_each(|_| {
        black_box(now());
    });
    let in_updates = in_updates.saturating_sub(began.elapsed());
    format!(
        "{:.0} ns, {:.4} allocations (tables every 100th included)",
        in_updates.as_nanos() as f64 / LOOKS as f64,
        allocations as f64 / LOOKS as f64
    )
}

/// CPU seconds per second by thread, and requests per second.
struct Cost {
    by_thread: BTreeMap<String, f64>,
    rps: f64,
}

fn shown(cost: &Cost) -> String {
    let whole: f64 = cost.by_thread.values().sum();
    let of = |name: &str| cost.by_thread.get(name).copied().unwrap_or_default() * 100.0;
    let mut text = format!("control {:.1} %, all threads {:.1} % of a core", of("control"), whole * 100.0);
    if cost.rps > 0.0 {
        let workers = cost.by_thread.iter().filter(|(name, _)| name.starts_with("router"));
        let us = workers.map(|(_, share)| share).sum::<f64>() / cost.rps * 1e6;
        text += &format!(", at {:.0} requests/s in all, of which each takes the router {us:.1} us", cost.rps);
    }
    text
}

/// The daemon with its rollouts.
struct House {
    child: Child,
    router: SocketAddr,
    directory: std::path::PathBuf,
}

impl House {
    fn start(asked: &Asked) -> House {
        let directory = std::env::temp_dir().join(format!("serin-bench-evidence-{}", std::process::id()));
        fs::create_dir_all(&directory).expect("a directory for the bench");
        let mut child = Command::new(&asked.binary)
            .args(["serve", "--api", "127.0.0.1:0", "--router", "127.0.0.1:0", "--data-dir"])
            .arg(directory.join("data"))
            .env_clear()
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the daemon starts");
        let mut lines = BufReader::new(child.stderr.take().expect("stderr is piped")).lines();
        let (api, router) = loop {
            let line = lines.next().expect("the daemon says where it listens").expect("UTF-8");
            let line: Value = serde_json::from_str(&line).unwrap_or_default();
            let address = |key: &str| line.get(key)?.as_str()?.parse::<SocketAddr>().ok();
            if let (Some(api), Some(router)) = (address("api.addr"), address("router.addr")) {
                break (api, router);
            }
        };
        thread::spawn(move || lines.for_each(drop));
        let house = House { child, router, directory };
        house.fill(api, serve_versions(), asked);
        house
    }

    fn fill(&self, api: SocketAddr, upstream: SocketAddr, asked: &Asked) {
        let routing = if asked.affinity { "routing: {affinity: {cookie: session}}\n" } else { "" };
        let agent = ureq::agent();
        let change = |method: &str, path: &str, body: Value| {
            let url = format!("http://{api}{path}");
            let asked = if method == "POST" { agent.post(&url) } else { agent.put(&url) };
            asked.send_json(&body).unwrap_or_else(|error| panic!("{method} {path}: {error}"));
        };
        for version in ["1", "2"] {
            let body = json!({"url": format!("http://{upstream}/{version}")});
            change("POST", "/v1/functions/f/versions", body);
        }
        for rollout in 0..asked.rollouts {
            change("POST", &format!("/v1/functions/f/aliases/a{rollout}"), json!({"functionVersion": "1"}));
            let text = format!(
                "function: f\nalias: a{rollout}\nsteps: [3%, 100%]\nbake: 6h\nonFailure: report\n{routing}"
            );
            change("POST", "/v1/rollouts", json!({"plan": "bench", "planText": text, "to": "2"}));
        }
    }

    /// What each thread spent over a time, by the kernel's clock ticks, and what `count` grew by.
    fn cpu_over(&self, span: Duration, count: impl Fn() -> u64) -> Cost {
        let (before, counted, began) = (self.ticks(), count(), now());
        thread::sleep(span);
        let (after, seconds) = (self.ticks(), began.elapsed().as_secs_f64());
        let per_second = |ticks: u64| ticks as f64 / rustix::param::clock_ticks_per_second() as f64 / seconds;
        let by_thread = after
            .iter()
            .map(|(name, ticks)| (name.clone(), per_second(ticks - before.get(name).unwrap_or(&0))))
            .collect();
        Cost { by_thread, rps: (count() - counted) as f64 / seconds }
    }

    fn ticks(&self) -> BTreeMap<String, u64> {
        let mut ticks = BTreeMap::new();
        let tasks = fs::read_dir(format!("/proc/{}/task", self.child.id())).expect("the daemon runs");
        for task in tasks.flatten() {
            let Ok(text) = fs::read_to_string(task.path().join("stat")) else { continue };
            let Some((name, fields)) = text.split_once('(').and_then(|(_, rest)| rest.rsplit_once(')'))
            else {
                continue;
            };
            let spent: u64 = fields.split_whitespace().skip(11).take(2).flat_map(str::parse::<u64>).sum();
            *ticks.entry(name.to_owned()).or_default() += spent;
        }
        ticks
    }

    fn end(mut self) {
        self.child.kill().expect("the daemon runs until the bench ends it");
        self.child.wait().expect("an ended child can be waited for");
        fs::remove_dir_all(&self.directory).expect("the bench's directory goes");
    }
}

/// Runs a future for ever on threads of its own; gives what it is started with.
fn on_runtime<T, F>(begin: impl FnOnce(tokio::sync::oneshot::Sender<T>) -> F + Send + 'static) -> T
where
    T: Send + 'static,
    F: Future<Output = ()> + 'static,
{
    let (tell, told) = tokio::sync::oneshot::channel();
    thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.expect("a runtime for the bench");
        tokio::task::LocalSet::new().block_on(&runtime, begin(tell));
    });
    told.blocking_recv().expect("what was begun says so")
}

/// Both versions: one in a hundred requests is answered 500.
fn serve_versions() -> SocketAddr {
    on_runtime(|tell| async move {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port for the versions");
        tell.send(listener.local_addr().expect("a bound listener has an address")).expect("somebody waits");
        let served = Arc::new(AtomicU64::new(0));
        loop {
            let Ok((stream, _)) = listener.accept().await else { continue };
            let served = Arc::clone(&served);
            let answer = service_fn(move |_| {
                let failed = served.fetch_add(1, Ordering::Relaxed) % 100 == 99;
                let response = Response::builder().status(if failed { 500 } else { 200 });
                let response = response.body(Full::new(Bytes::from_static(b"ok"))).expect("a plain answer");
                async move { Ok::<_, Infallible>(response) }
            });
            tokio::task::spawn_local(Builder::new().serve_connection(TokioIo::new(stream), answer));
        }
    })
}

/// Sends `rps_each` requests a second to every alias, evenly; counts the answers.
fn load(router: SocketAddr, asked: &Asked) -> Arc<AtomicU64> {
    let asked = asked.clone();
    let answered = Arc::new(AtomicU64::new(0));
    let counter = Arc::clone(&answered);
    on_runtime(move |tell| async move {
        tell.send(()).expect("somebody waits");
        let pace = Duration::from_secs_f64(CONNECTIONS as f64 / (asked.rollouts as f64 * asked.rps_each));
        let clients = (0..CONNECTIONS).map(|client| {
            tokio::task::spawn_local(send_all(router, client, asked.clone(), pace, Arc::clone(&counter)))
        });
        for client in clients.collect::<Vec<_>>() {
            client.await.expect("a client of the bench goes on");
        }
    });
    answered
}

async fn send_all(
    router: SocketAddr,
    client: usize,
    Asked { rollouts, affinity, .. }: Asked,
    pace: Duration,
    answered: Arc<AtomicU64>,
) {
    let stream = TcpStream::connect(router).await.expect("the router listens");
    let (mut sender, connection) = handshake(TokioIo::new(stream)).await.expect("the router speaks HTTP");
    tokio::task::spawn_local(connection);
    let mut ticks = tokio::time::interval(pace);
    for alias in (client..).step_by(CONNECTIONS) {
        ticks.tick().await;
        let mut asked = Request::get(format!("/f:a{}/", alias % rollouts)).header(header::HOST, "bench");
        if affinity {
            let user = alias / rollouts % USERS;
            asked = asked.header(header::COOKIE, format!("session=u{user}"));
        }
        let asked = asked.body(Empty::<Bytes>::new()).expect("a plain request");
        // The bench ends by ending the daemon.
        let Ok(answer) = sender.send_request(asked).await else { return };
        if answer.into_body().collect().await.is_err() {
            return;
        }
        answered.fetch_add(1, Ordering::Relaxed);
    }
}
