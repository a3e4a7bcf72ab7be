//! Slow clients, many clients and bad versions beside good users, and a soak: `scripts/bench-slow`.

// What cannot be had ends the run, and says where.
#![allow(clippy::unwrap_used)]
#![expect(clippy::disallowed_methods, reason = "no part of serin: its time and its end are its own")]

#[path = "../tests/support/lines.rs"]
mod lines;
#[path = "../tests/support/users.rs"]
mod users;

use std::convert::Infallible;
use std::io::{Read, Write};
use std::net::SocketAddr;
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use lines::hear;
use rustix::process::{Pid, Resource, Rlimit, Signal, getrlimit, kill_process, setrlimit};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::runtime::Runtime;
use tokio::time::{interval, sleep};
use users::{Crowd, Tally, Users, service};

/// Requests that each bad version gets in each round.
const FAULTS: usize = 50;
/// As `serve` has it: how long a version may take to answer.
const HANG: Duration = Duration::from_secs(30);
/// How long the slow clients may take to come before it is measured what they cost while they are there.
const ARRIVAL: Duration = Duration::from_secs(3);
/// Open files that the small daemon may have, and connections that are held open to it.
const FILES_MAX: u64 = 256;
const HELD: usize = 500;

struct Daemon {
    process: Child,
    api: SocketAddr,
    router: SocketAddr,
}

impl Daemon {
    /// Starts one that may open so many files.
    fn start(binary: &str, data: &str, files_max: u64) -> Daemon {
        let mut process = Command::new("sh")
            .args([
                "-c",
                &format!("ulimit -n {files_max} && exec \"$0\" \"$@\""),
                binary,
                "serve",
                "--data-dir",
                data,
            ])
            .args(["--api", "127.0.0.1:0", "--router", "127.0.0.1:0", "--drain", "1s"])
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary runs");
        let (sender, lines) = mpsc::channel();
        hear(process.stderr.take().expect("piped"), move |line| {
            if line["level"] == "ERROR" {
                eprintln!("{line}");
            }
            // Heard only until the daemon runs.
            let _ = sender.send(line);
        });
        let nowhere = SocketAddr::from(([127, 0, 0, 1], 0));
        let mut daemon = Daemon { process, api: nowhere, router: nowhere };
        loop {
            let line = lines.recv_timeout(Duration::from_secs(60)).expect("a daemon that runs");
            let address = |name: &str| line[name].as_str().and_then(|text| text.parse().ok());
            if let (Some(api), Some(router)) = (address("api.addr"), address("router.addr")) {
                (daemon.api, daemon.router) = (api, router);
                return daemon;
            }
        }
    }

    fn post(&self, path: &str, body: &Value) {
        ureq::post(format!("http://{}{path}", self.api)).send_json(body).expect(path);
    }

    /// Publishes a version, with an alias for it.
    fn publish(&self, function: &str, addr: SocketAddr) {
        self.post(&format!("/v1/functions/{function}/versions"), &json!({ "url": format!("http://{addr}") }));
        self.post(&format!("/v1/functions/{function}/aliases/live"), &json!({ "functionVersion": "1" }));
    }

    /// What was counted as failures of a function, by kind.
    fn failures(&self, function: &str) -> Vec<(String, u64)> {
        let url = format!("http://{}/metrics", self.api);
        let text = ureq::get(&url).call().expect("metrics").body_mut().read_to_string().expect("text");
        let of_function = format!("function=\"{function}\"");
        let lines = text
            .lines()
            .filter(|line| line.starts_with("serin_request_failures") && line.contains(&of_function));
        let read = |line: &str| {
            let kind = line.split_once("kind=\"")?.1.split_once('"')?.0.to_owned();
            Some((kind, line.rsplit(' ').next()?.parse::<f64>().ok()? as u64))
        };
        lines.filter_map(read).filter(|(_, count)| *count > 0).collect()
    }

    /// Resident memory in KiB, and open files.
    fn size(&self) -> (u64, usize) {
        let pid = self.process.id();
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("the daemon runs");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib = line.and_then(|line| line.trim().trim_end_matches(" kB").parse().ok()).expect("a size");
        (kib, std::fs::read_dir(format!("/proc/{pid}/fd")).expect("the daemon runs").count())
    }

    fn stop(mut self) {
        kill_process(Pid::from_child(&self.process), Signal::TERM).expect("the daemon runs");
        let _ = self.process.wait();
    }
}

/// What goes on when a user's request begins; the first two are compared.
const ELSEWHERE: usize = 0;
const THERE: usize = 1;
const UNHEARD: usize = 2;
const ARRIVING: usize = 3;
const ALONE: usize = 4;

/// Ways in which a version goes wrong.
#[derive(Clone, Copy, Debug)]
enum Fault {
    Resets,
    Hangs,
    HalfAnswers,
    /// It sends less than it says, and says two things.
    Lies,
}

const BAD: [(&str, Fault, &str); 4] = [
    ("resets", Fault::Resets, "transport"),
    ("hangs", Fault::Hangs, "timeout"),
    ("half", Fault::HalfAnswers, "transport"),
    ("lies", Fault::Lies, "transport"),
];

/// Listens, and has every connection served by a task.
async fn listen<F: Future<Output = std::io::Result<Infallible>> + Send + 'static>(
    serve: impl Fn(TcpStream) -> F + Send + 'static,
) -> SocketAddr {
    // As long as a queue may be: that all come at once is the router's trouble here, and not the version's.
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.bind(SocketAddr::from(([127, 0, 0, 1], 0))).expect("a free port");
    let listener = socket.listen(4096).expect("a free port");
    let addr = listener.local_addr().expect("an address");
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(stream));
        }
    });
    addr
}

async fn ended() -> std::io::Result<Infallible> {
    Err(std::io::ErrorKind::UnexpectedEof.into())
}

async fn read_head(stream: &mut TcpStream) -> std::io::Result<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await?);
    }
    Ok(())
}

async fn go_wrong(mut stream: TcpStream, fault: Fault) -> std::io::Result<Infallible> {
    read_head(&mut stream).await?;
    match fault {
        Fault::Resets => stream.set_zero_linger()?,
        Fault::Hangs => sleep(HANG * 2).await,
        Fault::HalfAnswers => stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf").await?,
        Fault::Lies => {
            stream
                .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 5\r\n\r\nfiver")
                .await?;
        }
    }
    ended().await
}

/// Takes any body, and never has enough of it.
async fn sink(mut stream: TcpStream) -> std::io::Result<Infallible> {
    let mut piece = [0; 4096];
    while stream.read(&mut piece).await? > 0 {}
    ended().await
}

/// Answers with more than anybody reads here.
async fn flood(mut stream: TcpStream) -> std::io::Result<Infallible> {
    read_head(&mut stream).await?;
    stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 100000000\r\n\r\n").await?;
    loop {
        stream.write_all(&[0; 16 * 1024]).await?;
    }
}

/// A client that takes its time: with its head, its body, or with reading. It comes again whenever it is closed.
async fn dawdle(router: SocketAddr, index: usize, are_there: Arc<AtomicU64>) {
    loop {
        let socket = TcpSocket::new_v4().expect("a socket");
        let _ = socket.set_recv_buffer_size(4096);
        if let Ok(stream) = socket.connect(router).await {
            are_there.fetch_add(1, Ordering::Relaxed);
            let _ = dawdle_once(stream, index).await;
            are_there.fetch_sub(1, Ordering::Relaxed);
        }
        sleep(Duration::from_millis(500)).await;
    }
}

async fn dawdle_once(mut stream: TcpStream, index: usize) -> std::io::Result<()> {
    let begin: &[u8] = match index % 3 {
        0 => b"GET /good:live/ HTTP/1.1\r\nHost: slow\r\nX: ",
        1 => b"POST /sink:live/ HTTP/1.1\r\nHost: slow\r\nContent-Length: 1000000\r\n\r\n",
        _ => b"GET /flood:live/ HTTP/1.1\r\nHost: slow\r\n\r\n",
    };
    stream.write_all(begin).await?;
    let mut beats = interval(Duration::from_millis(900 + index as u64 % 200));
    loop {
        beats.tick().await;
        if index % 3 == 2 {
            if stream.read(&mut [0; 16]).await? == 0 {
                return Ok(());
            }
        } else {
            stream.write_all(b"x").await?;
        }
    }
}

/// Asks a bad version, and reads whatever comes.
async fn ask_bad(router: SocketAddr, function: &str) -> std::io::Result<()> {
    let mut stream = TcpStream::connect(router).await?;
    let request = format!("GET /{function}:live/ HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    stream.read_to_end(&mut Vec::new()).await.map(drop)
}

fn percentile_ms(took_us: &mut [u32], share: f64) -> f64 {
    took_us.sort_unstable();
    let place = ((took_us.len() as f64 * share) as usize).min(took_us.len().saturating_sub(1));
    took_us.get(place).map_or(0.0, |us| f64::from(*us) / 1e3)
}

/// Prints what the users of phase 0 and phase 1 waited, and gives the ratio of their p99.
fn compared(tally: &mut Tally, names: [&str; 2]) -> f64 {
    let p99 = [0, 1].map(|phase| {
        let took = tally.took_us.entry(phase).or_default();
        let [p50, p99] = [0.5, 0.99].map(|share| percentile_ms(took, share));
        println!("  {}: {} requests, p50 {p50:.2} ms, p99 {p99:.2} ms", names[phase], took.len());
        p99
    });
    println!("  p99 ratio {:.2}; {} of {} requests failed", p99[1] / p99[0], tally.failed, tally.requests());
    for fault in &tally.faults {
        println!("  failed: {fault}");
    }
    p99[1] / p99[0]
}

struct Settings {
    binary: String,
    clients: usize,
    rounds: usize,
    phase: Duration,
    requests_per_s: f64,
}

fn crowd(requests_per_s: f64) -> Crowd {
    Crowd { keepers: 30, idlers: 10, strangers: 10, requests_per_s }
}

/// A daemon with a good version, the bad ones, and those that slow clients are slow with.
fn busy_daemon(settings: &Settings, dir: &tempfile::TempDir, versions: &Runtime) -> Daemon {
    let files_max = 3 * settings.clients as u64 + 1000;
    let daemon = Daemon::start(&settings.binary, &dir.path().display().to_string(), files_max);
    daemon.publish("good", service("1"));
    daemon.publish("sink", versions.block_on(listen(sink)));
    daemon.publish("flood", versions.block_on(listen(flood)));
    for (function, fault, _) in BAD {
        daemon.publish(function, versions.block_on(listen(move |stream| go_wrong(stream, fault))));
    }
    daemon
}

/// Has slow clients come to a router, and bad versions asked there, while good users are put down to a phase.
async fn visit(settings: &Settings, router: SocketAddr, users: &Users, phase: usize) {
    users.phase.store(if phase == THERE { ARRIVING } else { UNHEARD }, Ordering::Relaxed);
    let are_there = Arc::new(AtomicU64::new(0));
    let slow: Vec<_> = (0..settings.clients)
        .map(|index| tokio::spawn(dawdle(router, index, Arc::clone(&are_there))))
        .collect();
    let asked = Instant::now();
    while are_there.load(Ordering::Relaxed) < slow.len() as u64 && asked.elapsed() < HANG {
        sleep(Duration::from_millis(20)).await;
    }
    let there = are_there.load(Ordering::Relaxed);
    // What they are sent at first goes on for a while after they came.
    sleep(ARRIVAL).await;
    users.phase.store(phase, Ordering::Relaxed);
    let mut asking = Vec::new();
    for (function, _, _) in BAD {
        for index in 0..FAULTS {
            let pause = settings.phase.mul_f64(index as f64 / FAULTS as f64);
            asking.push(tokio::spawn(async move {
                sleep(pause).await;
                // How it ends is the version's fault, which is counted elsewhere.
                let _ = ask_bad(router, function).await;
            }));
        }
    }
    sleep(settings.phase).await;
    users.phase.store(UNHEARD, Ordering::Relaxed);
    let place = if phase == THERE { "beside the users" } else { "at another daemon" };
    println!("{there} slow clients {place}, {} with the last request", are_there.load(Ordering::Relaxed));
    slow.iter().for_each(|task| task.abort());
    for task in asking {
        let _ = task.await;
    }
}

/// Good users with slow clients and bad versions beside them, and with the same at another daemon.
///
/// On a machine of few cores the slow clients themselves take time from everybody; what they cost through the router is
/// what they cost more where they share it.
fn beside_slow_and_bad(settings: &Settings) -> bool {
    let (dir, other_dir) =
        (tempfile::tempdir().expect("a directory"), tempfile::tempdir().expect("a directory"));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    // Apart from the clients, who could keep them from accepting.
    let versions = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    let versions = versions.expect("a runtime");
    let daemon = busy_daemon(settings, &dir, &versions);
    let other = busy_daemon(settings, &other_dir, &versions);
    let users = Users::start(daemon.router, "/good:live/", crowd(settings.requests_per_s));
    runtime.block_on(async {
        // What the first connections cost is nobody's doing.
        users.phase.store(UNHEARD, Ordering::Relaxed);
        sleep(Duration::from_secs(1)).await;
        for _ in 0..settings.rounds {
            users.phase.store(ALONE, Ordering::Relaxed);
            sleep(settings.phase).await;
            visit(settings, other.router, &users, ELSEWHERE).await;
            visit(settings, daemon.router, &users, THERE).await;
        }
    });
    println!(
        "{} slow clients, and versions that reset, hang, half-answer and lie, beside good users",
        settings.clients
    );
    let mut tally = users.end();
    let ratio = compared(&mut tally, ["with them at another daemon", "with them at the same"]);
    for (name, phase) in [("alone", ALONE), ("while they came", ARRIVING)] {
        let took = tally.took_us.entry(phase).or_default();
        println!("  {name}: {} requests, p99 {:.2} ms", took.len(), percentile_ms(took, 0.99));
    }
    let mut is_right = ratio <= 2.0 && tally.failed == 0;
    let expected = (FAULTS * settings.rounds) as u64;
    for (function, _, kind) in BAD {
        let counted = daemon.failures(function);
        println!("  {function}: {expected} requests, counted as {counted:?}");
        is_right &= counted == [(kind.to_owned(), expected)];
    }
    for function in ["good", "sink", "flood"] {
        let counted = daemon.failures(function);
        println!("  {function}: counted as {counted:?}");
        is_right &= counted.is_empty();
    }
    daemon.stop();
    other.stop();
    is_right
}

/// More connections than a daemon may have files.
fn out_of_files(settings: &Settings) -> bool {
    let dir = tempfile::tempdir().expect("a directory");
    let daemon = Daemon::start(&settings.binary, &dir.path().display().to_string(), FILES_MAX);
    daemon.publish("good", service("1"));
    let keepers = Crowd { keepers: 20, idlers: 0, strangers: 0, requests_per_s: settings.requests_per_s };
    let users = Users::start(daemon.router, "/good:live/", keepers);
    users.phase.store(2, Ordering::Relaxed);
    std::thread::sleep(Duration::from_secs(1));
    users.phase.store(0, Ordering::Relaxed);
    std::thread::sleep(settings.phase);
    users.phase.store(2, Ordering::Relaxed);
    let held: Vec<_> = (0..HELD).filter_map(|_| std::net::TcpStream::connect(daemon.router).ok()).collect();
    std::thread::sleep(Duration::from_millis(500));
    users.phase.store(1, Ordering::Relaxed);
    let (kib, files) = daemon.size();
    std::thread::sleep(settings.phase);
    users.phase.store(2, Ordering::Relaxed);
    let count = held.len();
    drop(held);
    let begun = Instant::now();
    let is_served = {
        let mut stream = std::net::TcpStream::connect(daemon.router).expect("the kernel accepts");
        stream.set_read_timeout(Some(Duration::from_secs(60))).expect("a socket");
        stream
            .write_all(b"GET /good:live/ HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
            .expect("it takes it");
        let mut answer = String::new();
        let _ = stream.read_to_string(&mut answer);
        answer.starts_with("HTTP/1.1 200")
    };
    println!(
        "{count} connections held open to a daemon with ulimit -n {FILES_MAX}, which has {files} files open and {kib} KiB"
    );
    println!("  a new client was served {is_served}, {} ms after they went", begun.elapsed().as_millis());
    let mut tally = users.end();
    let ratio = compared(&mut tally, ["before", "meanwhile"]);
    daemon.stop();
    is_served && tally.failed == 0 && ratio <= 2.0
}

/// A steady load for long, and what it leaves behind.
fn soak(settings: &Settings, duration: Duration, requests_per_s: f64) -> bool {
    let dir = tempfile::tempdir().expect("a directory");
    let daemon = Daemon::start(&settings.binary, &dir.path().display().to_string(), 4096);
    daemon.publish("good", service("1"));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let bad = runtime.block_on(listen(|stream| go_wrong(stream, Fault::HalfAnswers)));
    daemon.publish("half", bad);
    let users = Users::start(daemon.router, "/good:live/", crowd(requests_per_s));
    let (router, is_over) = (daemon.router, Arc::new(AtomicBool::new(false)));
    let over = Arc::clone(&is_over);
    let grumbling = std::thread::spawn(move || {
        runtime.block_on(async {
            while !over.load(Ordering::Relaxed) {
                let _ = ask_bad(router, "half").await;
                sleep(Duration::from_millis(20)).await;
            }
        });
    });
    let begun = Instant::now();
    let mut sizes = Vec::new();
    for (name, share) in [("start", 0.1), ("middle", 0.5), ("end", 1.0)] {
        std::thread::sleep(duration.mul_f64(share).saturating_sub(begun.elapsed()));
        let (kib, files) = daemon.size();
        println!("  {name}, {:.0} s: {kib} KiB resident, {files} open files", begun.elapsed().as_secs_f64());
        sizes.push((kib, files));
    }
    let elapsed = begun.elapsed();
    is_over.store(true, Ordering::Relaxed);
    grumbling.join().expect("it ends");
    let mut tally = users.end();
    let took = tally.took_us.entry(0).or_default();
    let count = took.len();
    let [p50, p99] = [0.5, 0.99].map(|share| percentile_ms(took, share));
    println!(
        "soak of {:.0} s at {:.0} requests/s: {count} answered, {} failed, p50 {p50:.2} ms, p99 {p99:.2} ms",
        elapsed.as_secs_f64(),
        count as f64 / elapsed.as_secs_f64(),
        tally.failed
    );
    for fault in &tally.faults {
        println!("  failed: {fault}");
    }
    daemon.stop();
    // Strangers come and go while files are counted; memory settles, and then stays.
    let [_, (middle_kib, middle_files), (end_kib, end_files)] = sizes[..] else { return false };
    tally.failed == 0 && end_files <= middle_files + 20 && end_kib <= middle_kib + middle_kib / 10
}

fn main() -> ExitCode {
    let flag = |name: &str, default: &str| {
        let mut args = std::env::args().skip_while(|arg| arg != name).skip(1);
        args.next().unwrap_or_else(|| default.to_owned())
    };
    let number = |name: &str, default: &str| flag(name, default).parse::<f64>().expect(name);
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit })
        .expect("as many files as allowed");
    let settings = Settings {
        binary: flag("--binary", "target/release/serin"),
        clients: number("--clients", "2000") as usize,
        rounds: number("--rounds", "3") as usize,
        phase: Duration::from_secs_f64(number("--phase-seconds", "10")),
        requests_per_s: number("--good-rate", "500"),
    };
    let seconds = Duration::from_secs_f64(number("--seconds", "3600"));
    let mut is_right = beside_slow_and_bad(&settings);
    is_right &= out_of_files(&settings);
    is_right &= soak(&settings, seconds, number("--rate", "2000"));
    if is_right { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
