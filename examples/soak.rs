//! One daemon for long under a steady load, with rollouts, full disks, upgrades and kills: `scripts/soak`.
//!
//! The first third has rollouts and full disks alone, so that one process is seen to stay as it is. In the second it is
//! upgraded, in the last one killed, twice a minute. Each minute is a line.

// What cannot be had ends the run, and says where.
#![allow(clippy::unwrap_used)]
#![expect(clippy::disallowed_methods, reason = "no part of serin: its time and its end are its own")]

#[path = "../tests/support/lines.rs"]
mod lines;
#[path = "../tests/support/users.rs"]
mod users;

use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::atomic::Ordering;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use lines::hear;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use users::{Crowd, Users, service};

/// One step of this may take so long.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long after a kill users may still find out that their connection has ended: whoever speaks seldom does so within
/// this time.
const AFTERMATH: Duration = Duration::from_secs(3);
/// The disk is full for so long.
const FULL: Duration = Duration::from_secs(10);
/// SQLite takes the log over into the database when it has a thousand pages, of 4 KiB; twice that is too much.
const LOG_BYTES_MAX: u64 = 8 << 20;
/// What a user's request is put down to.
const OURS: usize = 0;
const KILLED: usize = 1;

/// The processes of one daemon, of which one decides.
struct Daemon {
    binary: String,
    data: PathBuf,
    api: SocketAddr,
    router: SocketAddr,
    agent: ureq::Agent,
    children: Vec<Child>,
    lines: mpsc::Receiver<Value>,
    sender: mpsc::Sender<Value>,
    pid: i32,
}

/// A port that no client's own connection is given by the kernel.
fn free_port() -> SocketAddr {
    let here = |port| SocketAddr::from(([127, 0, 0, 1], port));
    (21_000..29_000).map(here).find(|addr| TcpListener::bind(addr).is_ok()).expect("a free port")
}

impl Daemon {
    fn start(binary: String, data: PathBuf) -> Daemon {
        let api = free_port();
        let kept = TcpListener::bind(api).expect("it is free");
        let router = free_port();
        drop(kept);
        let (sender, lines) = mpsc::channel();
        let agent = ureq::Agent::config_builder()
            .timeout_global(Some(Duration::from_secs(20)))
            .http_status_as_error(false)
            .build()
            .into();
        let mut daemon =
            Daemon { binary, data, api, router, agent, children: Vec::new(), lines, sender, pid: 0 };
        daemon.boot();
        daemon
    }

    fn boot(&mut self) {
        let mut child = Command::new(&self.binary)
            .args(["serve", "--drain", "5s", "--data-dir"])
            .arg(&self.data)
            .args(["--api", &self.api.to_string(), "--router", &self.router.to_string()])
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary runs");
        let sender = self.sender.clone();
        hear(child.stderr.take().expect("piped"), move |line| {
            // Heard as long as anybody waits.
            let _ = sender.send(line);
        });
        self.children.push(child);
        self.wait_for_another();
    }

    /// Waits until another process than the last one says that it runs.
    fn wait_for_another(&mut self) {
        let begun = Instant::now();
        loop {
            let left = PATIENCE.saturating_sub(begun.elapsed());
            let line = self.lines.recv_timeout(left).expect("a daemon that runs");
            if let Some(pid) = line["pid"].as_i64().filter(|_| !line["api.addr"].is_null()) {
                self.pid = pid as i32;
                return;
            }
        }
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_raw(self.pid).expect("a process id"), signal).expect("the daemon runs");
    }

    fn is_there(&self) -> bool {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.pid)).unwrap_or_default();
        stat.rsplit(')').next().is_some_and(|rest| !rest.is_empty() && !rest.trim_start().starts_with('Z'))
    }

    /// Ends the process at once, and starts another; how long nobody was answered.
    fn kill(&mut self) -> Duration {
        let begun = Instant::now();
        self.signal(Signal::KILL);
        while self.is_there() {
            std::thread::sleep(Duration::from_millis(1));
        }
        self.boot();
        while self.agent.get(format!("http://{}/f:live/", self.router)).call().is_err() {
            assert!(begun.elapsed() < PATIENCE, "the router does not come back");
            std::thread::sleep(Duration::from_millis(1));
        }
        let dark = begun.elapsed();
        for child in &mut self.children {
            // Those that have ended are let go.
            let _ = child.try_wait();
        }
        dark
    }

    /// Asks for a change; the status of the answer, if there was one.
    fn post(&self, path: &str, body: &Value) -> Option<u16> {
        let sent = self.agent.post(format!("http://{}{path}", self.api)).send_json(body);
        sent.ok().map(|response| response.status().as_u16())
    }

    fn get(&self, path: &str) -> Option<Value> {
        let mut response = self.agent.get(format!("http://{}{path}", self.api)).call().ok()?;
        response.body_mut().read_json().ok()
    }

    fn is_ready(&self) -> bool {
        let asked = self.agent.get(format!("http://{}/readyz", self.api)).call();
        asked.is_ok_and(|response| response.status() == 200)
    }

    /// Resident memory in KiB, open descriptors, and the bytes of the log that is not in the database yet.
    fn size(&self) -> Size {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid)).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let bytes = |name: &str| std::fs::metadata(self.data.join(name)).map_or(0, |meta| meta.len());
        Size {
            resident_kib: line.and_then(|line| line.trim().trim_end_matches(" kB").parse().ok()).unwrap_or(0),
            descriptors: std::fs::read_dir(format!("/proc/{}/fd", self.pid)).map_or(0, Iterator::count),
            log_bytes: bytes("serin.db-wal"),
            database_bytes: bytes("serin.db"),
        }
    }
}

/// What a daemon takes.
#[derive(Clone, Copy, Default)]
struct Size {
    resident_kib: u64,
    descriptors: usize,
    log_bytes: u64,
    database_bytes: u64,
}

impl Size {
    fn greatest(sizes: &[Size]) -> Size {
        sizes.iter().fold(Size::default(), |greatest, size| Size {
            resident_kib: greatest.resident_kib.max(size.resident_kib),
            descriptors: greatest.descriptors.max(size.descriptors),
            log_bytes: greatest.log_bytes.max(size.log_bytes),
            database_bytes: greatest.database_bytes.max(size.database_bytes),
        })
    }
}

/// Fills what is left of a disk, until it is dropped.
struct Ballast(PathBuf);

impl Ballast {
    fn fill(disk: &Path) -> Ballast {
        let path = disk.join("ballast");
        let mut file = std::fs::File::create(&path).expect("a file");
        // To the last byte: large pieces first.
        for piece in [1 << 20, 1 << 12, 1] {
            while std::io::Write::write_all(&mut file, &vec![0; piece]).is_ok() {}
        }
        Ballast(path)
    }
}

impl Drop for Ballast {
    fn drop(&mut self) {
        std::fs::remove_file(&self.0).expect("it is there");
    }
}

/// Rollouts to and fro, of which every third is aborted on its way.
struct Rollouts {
    started: u32,
    succeeded: u32,
    aborted: u32,
    refused: u32,
    /// The one that goes on.
    id: Option<String>,
}

impl Rollouts {
    fn look(&mut self, daemon: &Daemon) {
        let Some(alias) = daemon.get("/v1/functions/f/aliases/live") else { return };
        if let Some(id) = &self.id {
            let Some(rollout) = daemon.get(&format!("/v1/rollouts/{id}")) else { return };
            match rollout["phase"].as_str() {
                Some("Succeeded") => self.succeeded += 1,
                Some("Aborted" | "RolledBack" | "Superseded") => self.aborted += 1,
                Some("Progressing") if self.started.is_multiple_of(3) && rollout["step"]["index"] == 2 => {
                    daemon
                        .post(&format!("/v1/rollouts/{id}/abort"), &json!({ "reason": "the soak wants it" }));
                    return;
                }
                _ => return,
            }
            self.id = None;
        }
        let to = if alias["routing"]["functionVersion"] == "1" { "2" } else { "1" };
        let plan = "function: f\nalias: live\nsteps: [10%, 50%, 100%]\nbake: 5s\nanalysis: {proof: none}\n";
        let body = json!({ "plan": "soak", "planText": plan, "to": to, "again": true });
        let sent = daemon.agent.post(format!("http://{}/v1/rollouts", daemon.api)).send_json(&body);
        let Ok(mut response) = sent else { return };
        match response.status().as_u16() {
            200 => {
                let reply: Value = response.body_mut().read_json().unwrap_or_default();
                self.id = reply["id"].as_str().map(str::to_owned);
                self.started += 1;
            }
            _ => self.refused += 1,
        }
    }
}

/// What was done to the daemon, all together.
#[derive(Default)]
struct Done {
    upgrades: u32,
    kills: u32,
    full_disks: u32,
    longest_dark: Duration,
    never_ready: u32,
}

struct Soak<'a> {
    daemon: Daemon,
    users: &'a Users,
    rollouts: Rollouts,
    done: Done,
    /// Where the disk is, if it may be filled.
    disk: Option<PathBuf>,
}

impl Soak<'_> {
    /// Lets time go by, and looks after rollouts.
    fn go_on(&mut self, span: Duration) {
        let begun = Instant::now();
        while begun.elapsed() < span {
            self.rollouts.look(&self.daemon);
            std::thread::sleep(Duration::from_millis(500).min(span.saturating_sub(begun.elapsed())));
        }
    }

    fn wait_until_ready(&mut self) {
        let begun = Instant::now();
        while !self.daemon.is_ready() {
            if begun.elapsed() > PATIENCE {
                self.done.never_ready += 1;
                return;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    fn fill_the_disk(&mut self) {
        let Some(disk) = self.disk.clone() else { return };
        let ballast = Ballast::fill(&disk);
        self.go_on(FULL);
        drop(ballast);
        self.done.full_disks += 1;
        self.wait_until_ready();
    }

    fn upgrade(&mut self) {
        self.daemon.signal(Signal::USR2);
        self.daemon.wait_for_another();
        self.done.upgrades += 1;
        self.wait_until_ready();
    }

    fn kill(&mut self) {
        self.users.phase.store(KILLED, Ordering::Relaxed);
        let dark = self.daemon.kill();
        self.done.longest_dark = self.done.longest_dark.max(dark);
        self.done.kills += 1;
        self.go_on(AFTERMATH);
        self.users.phase.store(OURS, Ordering::Relaxed);
        self.wait_until_ready();
    }
}

fn print(minute: usize, size: Size, soak: &Soak<'_>) {
    let tally = soak.users.tally();
    let failed = |phase: usize| tally.failed_in.get(&phase).copied().unwrap_or_default();
    println!(
        "{minute:>6} {:>10} {:>6} {:>9} {:>10} {:>6} {:>9} {:>9} {:>9} {:>8} {:>6} {:>5}",
        tally.requests(),
        failed(OURS),
        failed(KILLED),
        size.resident_kib,
        size.descriptors,
        size.log_bytes / 1024,
        size.database_bytes / 1024,
        soak.rollouts.started,
        soak.done.upgrades,
        soak.done.kills,
        soak.done.full_disks
    );
}

fn main() -> ExitCode {
    let flag = |name: &str, default: &str| {
        let mut args = std::env::args().skip_while(|arg| arg != name).skip(1);
        args.next().unwrap_or_else(|| default.to_owned())
    };
    let number = |name: &str, default: &str| flag(name, default).parse::<f64>().expect(name);
    let minutes = number("--minutes", "60") as usize;
    let requests_per_s = number("--rate", "2000");
    let own = tempfile::tempdir().expect("a directory");
    let disk = Some(flag("--disk", "")).filter(|disk| !disk.is_empty()).map(PathBuf::from);
    let data = disk.clone().unwrap_or_else(|| own.path().to_owned()).join("data");
    let daemon = Daemon::start(flag("--binary", "target/release/serin"), data);
    for name in ["1", "2"] {
        let version = json!({ "url": format!("http://{}", service(name)) });
        assert_eq!(daemon.post("/v1/functions/f/versions", &version), Some(200));
    }
    let alias = json!({ "functionVersion": "1" });
    assert_eq!(daemon.post("/v1/functions/f/aliases/live", &alias), Some(200));
    let crowd = Crowd { keepers: 40, idlers: 20, strangers: 10, requests_per_s };
    let users = Users::start(daemon.router, "/f:live/", crowd);
    let rollouts = Rollouts { started: 0, succeeded: 0, aborted: 0, refused: 0, id: None };
    let mut soak = Soak { daemon, users: &users, rollouts, done: Done::default(), disk };
    println!(
        "minute   requests failed at-kills  RSS-KiB descriptors  WAL-KiB    DB-KiB  rollouts upgrades kills full-disks"
    );
    let begun = Instant::now();
    let mut sizes = Vec::new();
    for minute in 1..=minutes {
        for half in 1..=2 {
            match 3 * (minute - 1) / minutes {
                0 if half == 2 => soak.fill_the_disk(),
                0 => {}
                1 => soak.upgrade(),
                _ => soak.kill(),
            }
            let until = Duration::from_secs(60 * (minute as u64 - 1) + 30 * half);
            soak.go_on(until.saturating_sub(begun.elapsed()));
        }
        let size = soak.daemon.size();
        sizes.push(size);
        print(minute, size, &soak);
    }
    let elapsed = begun.elapsed();
    let Soak { daemon, rollouts, done, .. } = soak;
    let tally = users.end();
    daemon.signal(Signal::TERM);
    let third = minutes.div_ceil(3);
    let (first, all) = (Size::greatest(&sizes[..third]), Size::greatest(&sizes));
    // What a process has when it has settled, and at the end of its third.
    let (settled, last) = (sizes[third / 2], sizes[third - 1]);
    let flat = [
        ("RSS", last.resident_kib <= settled.resident_kib + settled.resident_kib / 10),
        ("RSS of all", all.resident_kib <= first.resident_kib + first.resident_kib / 4),
        // A connection of each user, and for each one to either version, kept for the next request.
        ("descriptors", all.descriptors <= 60 + 3 * (crowd.keepers + crowd.idlers + crowd.strangers)),
        ("WAL", all.log_bytes <= LOG_BYTES_MAX),
    ];
    let failed = tally.failed_in.get(&OURS).copied().unwrap_or_default();
    println!(
        "\n{:.0} minutes at {:.0} requests/s: {} requests, {failed} failed that no kill of a process explains",
        elapsed.as_secs_f64() / 60.0,
        tally.requests() as f64 / elapsed.as_secs_f64(),
        tally.requests()
    );
    println!(
        "{} rollouts, of which {} succeeded, {} were taken back and {} starts were refused; {} upgrades; {} full disks; {} \
         kills, nobody answered for {} ms at most",
        rollouts.started,
        rollouts.succeeded,
        rollouts.aborted,
        rollouts.refused,
        done.upgrades,
        done.full_disks,
        done.kills,
        done.longest_dark.as_millis()
    );
    for (what, is_flat) in flat {
        println!("{what}: {}", if is_flat { "flat" } else { "NOT flat" });
    }
    for fault in &tally.faults {
        println!("failed: {fault}");
    }
    let is_right = failed == 0 && done.never_ready == 0 && flat.iter().all(|(_, is_flat)| *is_flat);
    if is_right { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
