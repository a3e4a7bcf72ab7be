//! Upgrades a daemon again and again under load, and counts what its users did not get: `scripts/bench-upgrade`.

// What cannot be had ends the run, and says where.
#![allow(clippy::unwrap_used)]
#![expect(clippy::disallowed_methods, reason = "no part of serin: its time and its end are its own")]

#[path = "../tests/support/lines.rs"]
mod lines;
#[path = "../tests/support/users.rs"]
mod users;

use std::net::SocketAddr;
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::atomic::Ordering;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use lines::hear;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use users::{Crowd, Users, service};

const PLAN: &str = "function: f\nalias: live\nsteps: [5%, 100%]\nbake: 10h\n";
/// One upgrade may take so long.
const PATIENCE: Duration = Duration::from_secs(60);

/// The processes of one daemon, of which one decides.
struct Daemon {
    first: Child,
    lines: mpsc::Receiver<Value>,
    pid: i32,
    api: SocketAddr,
    router: SocketAddr,
}

impl Daemon {
    fn start(binary: &str, data: &str) -> Daemon {
        let mut first = Command::new(binary)
            .args(["serve", "--data-dir", data, "--api", "127.0.0.1:0", "--router", "127.0.0.1:0"])
            .args(["--drain", "10s"])
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary runs");
        let (sender, lines) = mpsc::channel();
        hear(first.stderr.take().expect("piped"), move |line| {
            if line["level"] == "ERROR" {
                eprintln!("{line}");
            }
            let _ = sender.send(line);
        });
        let nowhere = "127.0.0.1:0".parse().expect("an address");
        let mut daemon = Daemon { first, lines, pid: 0, api: nowhere, router: nowhere };
        daemon.wait_for_another();
        daemon
    }

    /// Waits until another process than the last one says that it runs.
    fn wait_for_another(&mut self) {
        let begun = Instant::now();
        loop {
            let left = PATIENCE.saturating_sub(begun.elapsed());
            let line = self.lines.recv_timeout(left).expect("a daemon that runs");
            let Some(pid) = line["pid"].as_i64().filter(|_| !line["api.addr"].is_null()) else { continue };
            let address =
                |name: &str| line[name].as_str().and_then(|text| text.parse().ok()).expect("an address");
            (self.pid, self.api, self.router) = (pid as i32, address("api.addr"), address("router.addr"));
            return;
        }
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_raw(self.pid).expect("a process id"), signal).expect("the daemon runs");
    }

    fn post(&self, path: &str, body: &Value) -> Value {
        let url = format!("http://{}{path}", self.api);
        ureq::post(&url).send_json(body).expect(path).body_mut().read_json().expect("JSON")
    }

    fn get(&self, path: &str) -> Value {
        let url = format!("http://{}{path}", self.api);
        ureq::get(&url).call().expect(path).body_mut().read_json().expect("JSON")
    }
}

fn percentile_ms(took_us: &mut [u32], share: f64) -> f64 {
    took_us.sort_unstable();
    took_us
        .get(((took_us.len() as f64 * share) as usize).min(took_us.len().saturating_sub(1)))
        .map_or(0.0, |us| f64::from(*us) / 1e3)
}

fn main() -> ExitCode {
    let flag = |name: &str, default: &str| {
        let mut args = std::env::args().skip_while(|arg| arg != name).skip(1);
        args.next().unwrap_or_else(|| default.to_owned())
    };
    let upgrades: u32 = flag("--upgrades", "100").parse().expect("--upgrades N");
    let requests_per_s: f64 = flag("--rate", "2000").parse().expect("--rate N");
    let calm: u64 = flag("--calm-ms", "1000").parse().expect("--calm-ms N");
    let dir = tempfile::tempdir().expect("a directory");
    let mut daemon =
        Daemon::start(&flag("--binary", "target/release/serin"), &dir.path().display().to_string());
    for name in ["1", "2"] {
        daemon.post("/v1/functions/f/versions", &json!({ "url": format!("http://{}", service(name)) }));
    }
    daemon.post("/v1/functions/f/aliases/live", &json!({ "functionVersion": "1" }));
    daemon.post("/v1/rollouts", &json!({ "plan": "bench", "planText": PLAN }));
    while daemon.get("/v1/rollouts/f:live")["weight"]["serving"] != 0.05 {
        std::thread::sleep(Duration::from_millis(10));
    }
    let crowd = Crowd { keepers: 40, idlers: 20, strangers: 10, requests_per_s };
    let users = Users::start(daemon.router, "/f:live/", crowd);
    let begun = Instant::now();
    let mut took_ms = Vec::new();
    for upgrade in 1..=upgrades {
        std::thread::sleep(Duration::from_millis(calm));
        users.phase.store(1, Ordering::Relaxed);
        let began = Instant::now();
        daemon.signal(Signal::USR2);
        daemon.wait_for_another();
        took_ms.push(began.elapsed().as_millis() as u32 * 1000);
        users.phase.store(0, Ordering::Relaxed);
        if upgrade % 10 == 0 {
            let tally = users.tally();
            println!("{upgrade} upgrades, {} requests, {} failed", tally.requests(), tally.failed);
        }
    }
    std::thread::sleep(Duration::from_secs(2));
    let elapsed = begun.elapsed();
    let mut tally = users.end();
    let seen = tally.versions.get("2").copied().unwrap_or_default();
    let counted = || daemon.get("/v1/rollouts/f:live")["exposure"]["requests"].as_u64().unwrap_or_default();
    let waited = Instant::now();
    while counted() != seen && waited.elapsed() < Duration::from_secs(3) {
        std::thread::sleep(Duration::from_millis(50));
    }
    let counted = counted();
    let phase = daemon.get("/v1/rollouts/f:live")["phase"].clone();
    let history = daemon.get("/v1/rollouts/f:live/events?after=0&limit=1000");
    let noted = history["events"]
        .as_array()
        .map_or(0, |events| events.iter().filter(|event| event["kind"] == "takenOver").count());
    let requests = tally.requests();
    println!(
        "{upgrades} upgrades at {:.0} requests/s: {requests} requests, {} failed",
        requests as f64 / elapsed.as_secs_f64(),
        tally.failed
    );
    println!(
        "from SIGUSR2 to a process that decides: median {:.0} ms, at most {:.0} ms",
        percentile_ms(&mut took_ms, 0.5),
        percentile_ms(&mut took_ms, 1.0)
    );
    for (phase, name) in [(0, "between upgrades"), (1, "during upgrades")] {
        let took = tally.took_us.entry(phase).or_default();
        println!(
            "{name}: {} requests, p50 {:.2} ms, p99 {:.2} ms",
            took.len(),
            percentile_ms(took, 0.5),
            percentile_ms(took, 0.99)
        );
    }
    println!(
        "rollout {phase}: canary requests answered {seen}, counted as evidence {counted}; {noted} entries of upgrades"
    );
    for fault in &tally.faults {
        println!("failed: {fault}");
    }
    daemon.signal(Signal::TERM);
    let _ = daemon.first.wait();
    if tally.failed > 0 || noted as u32 != upgrades || phase != "Progressing" {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    }
}
