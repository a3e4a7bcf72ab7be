//! `kill -9` at a hundred random moments of a ten-step rollout under load: one history, nothing lost, nothing doubled.
//!
//! The long tier does so thirteen times; with its kills of migrations, restores and upgrades that makes two thousand.

mod stops;

use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rand::RngExt;
use rand::rngs::SmallRng;
use serde_json::{Value, json};
use serin::chance;
use serin::clock::wall_now;
use serin_core::model::time::Timestamp;

use crate::support::house::{Reply, agent};
use crate::support::service::{Load, Service};

const KILLS: usize = 100;
const WEIGHTS: [&str; 10] = ["1%", "2%", "4%", "8%", "16%", "32%", "50%", "75%", "90%", "100%"];
const BAKE: Duration = Duration::from_secs(4);

/// The real binary on a directory and on ports that stay the same over restarts.
struct Victim {
    dir: PathBuf,
    api: SocketAddr,
    router: SocketAddr,
    agent: ureq::Agent,
    child: Option<Child>,
    /// When it lived, by the wall clock.
    lives: Vec<(Timestamp, Option<Timestamp>)>,
    /// How long it took from each start to the first answer of its router.
    served_after: Vec<Duration>,
}

fn free_port() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

impl Victim {
    fn new(dir: &Path) -> Victim {
        Victim {
            dir: dir.to_owned(),
            api: free_port(),
            router: free_port(),
            agent: agent(),
            child: None,
            lives: Vec::new(),
            served_after: Vec::new(),
        }
    }

    #[expect(clippy::disallowed_methods, reason = "tests wait in real time")]
    fn boot(&mut self) {
        let child = Command::new(env!("CARGO_BIN_EXE_serin"))
            .args(["serve", "--workers", "1"])
            .arg("--data-dir")
            .arg(&self.dir)
            .args(["--api", &self.api.to_string(), "--router", &self.router.to_string()])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(std::fs::File::options().create(true).append(true).open(self.dir.join("log")).unwrap())
            .spawn()
            .unwrap();
        self.lives.push((wall_now(), None));
        self.child = Some(child);
        let begun = Instant::now();
        while self.lives.len() > 1 && self.status() != Some(200) {
            assert!(begun.elapsed() < Duration::from_secs(20), "its router does not come back");
            std::thread::sleep(Duration::from_millis(1));
        }
        self.served_after.push(begun.elapsed());
        while self.ask("GET", "/readyz", None, None).is_none_or(|reply| reply.status != 200) {
            assert!(
                begun.elapsed() < Duration::from_secs(20),
                "it does not come back; see {}",
                self.dir.join("log").display()
            );
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// What its router answers with, if it does.
    fn status(&self) -> Option<u16> {
        let response = self.agent.get(format!("http://{}/f:live/", self.router)).call();
        response.ok().map(|response| response.status().as_u16())
    }

    fn kill(&mut self) {
        let mut child = self.child.take().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
        self.lives.last_mut().unwrap().1 = Some(wall_now());
    }

    /// Asks the API; `None` without an answer.
    fn ask(&self, method: &str, path: &str, body: Option<&Value>, key: Option<&str>) -> Option<Reply> {
        let mut request =
            ureq::http::Request::builder().method(method).uri(format!("http://{}{path}", self.api));
        if let Some(key) = key {
            request = request.header("idempotency-key", key);
        }
        let response = match body {
            Some(body) => self
                .agent
                .run(request.header("content-type", "application/json").body(body.to_string()).unwrap()),
            None => self.agent.run(request.body(()).unwrap()),
        };
        let mut response = response.ok()?;
        let status = response.status().as_u16();
        let text = response.body_mut().read_to_string().ok()?;
        Some(Reply { status, body: serde_json::from_str(&text).unwrap_or(Value::String(text)) })
    }

    fn get(&self, path: &str) -> Value {
        self.ask("GET", path, None, None).unwrap().ok()
    }

    fn post(&self, path: &str, body: &Value) -> Value {
        self.ask("POST", path, Some(body), None).unwrap().ok()
    }

    fn history(&self) -> Vec<Value> {
        self.get("/v1/rollouts/f:live/events?after=0&limit=1000")["events"].as_array().unwrap().clone()
    }

    /// How long it lived between two moments.
    fn alive_between(&self, from: Timestamp, to: Timestamp) -> Duration {
        let now = wall_now();
        let overlap = |(born, died): &(Timestamp, Option<Timestamp>)| {
            to.min(died.unwrap_or(now)).since(from.max(*born))
        };
        self.lives.iter().map(overlap).sum()
    }
}

impl Drop for Victim {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Commands with their keys, and what was answered, if anything was.
type Sent = BTreeMap<String, (Value, Option<Reply>)>;

/// What must hold after every boot.
fn check(victim: &Victim, before: &[Value], sent: &mut Sent) -> Vec<Value> {
    // A bake may end between two questions; then both are asked again.
    let (history, alias) = loop {
        let (history, alias) = (victim.history(), victim.get("/v1/functions/f/aliases/live"));
        if victim.history().len() == history.len() {
            break (history, alias);
        }
    };
    assert_eq!(&history[..before.len()], before, "what was in the history stays as it was");
    assert_eq!(serin::store::fsck(&victim.dir, None).unwrap(), [], "the alias is what the journal says");
    let told = history.iter().rev().find(|event| event["routing"] != Value::Null).unwrap();
    assert_eq!(alias["routing"], told["routing"]);
    for (key, (body, answer)) in sent.iter_mut() {
        let again = victim.ask("POST", "/v1/rollouts/f:live/promote", Some(body), Some(key)).unwrap();
        match answer {
            Some(first) if first.status == 200 => {
                // Beside what was done then, it says what the alias is now.
                for field in ["id", "step", "phase", "changed"] {
                    assert_eq!(again.body[field], first.body[field], "an acknowledged command is kept");
                }
                let done = |reply: &Reply| {
                    let message = reply.body["message"].as_str().unwrap_or_default();
                    message.split(';').next().unwrap_or_default().to_owned()
                };
                assert_eq!(again.status, 200, "{again:?}");
                assert_eq!(done(&again), done(first), "an acknowledged command is kept");
            }
            _ => *answer = Some(again),
        }
    }
    victim.history()
}

/// The weights the rollout went through, in order, each with the moment it was committed.
fn weights(history: &[Value]) -> Vec<(f64, Timestamp, String)> {
    let routed =
        history.iter().filter(|event| event["rollout"] != Value::Null && event["routing"] != Value::Null);
    routed
        .map(|event| {
            let weight = event["routing"]["additionalWeight"].as_f64().unwrap_or(2.0);
            let at = Timestamp::parse(event["at"].as_str().unwrap()).unwrap();
            (weight, at, event["kind"].as_str().unwrap().to_owned())
        })
        .collect()
}

fn a_hundred_kills(seed: u64) {
    let dir = tempfile::tempdir().unwrap();
    let mut luck: SmallRng = chance::seeded(seed);
    let mut victim = Victim::new(dir.path());
    victim.boot();
    let (one, two) = (Service::start(0.0, 1), Service::start(0.0, 2));
    victim.post("/v1/functions/f/versions", &json!({ "url": one.url() }));
    victim.post("/v1/functions/f/versions", &json!({ "url": two.url() }));
    victim.post("/v1/functions/f/aliases/live", &json!({ "functionVersion": "1" }));
    let load = Load::start(victim.router, "/f:live/", 100.0);
    let steps = WEIGHTS.join(", ");
    let plan =
        format!("function: f\nalias: live\nanalysis: none\nbake: {}s\nsteps: [{steps}]\n", BAKE.as_secs());
    victim.post("/v1/rollouts", &json!({ "plan": "ten", "planText": plan }));

    let (mut history, mut sent) = (victim.history(), Sent::new());
    for kill in 0..KILLS {
        // Most lives are short; every fourteenth is long enough for a bake to be served and stored.
        let life = if kill % 14 == 13 { 6_500 } else { luck.random_range(0..400) };
        std::thread::sleep(Duration::from_millis(life));
        if luck.random_range(0..12) == 0 {
            // A command that the kill may cut off: it is sent, and death comes within two milliseconds.
            let step = victim.get("/v1/rollouts/f:live")["step"]["index"].as_u64().unwrap();
            if step < 10 {
                let (key, body) =
                    (format!("promote-{kill}"), json!({ "step": step, "reason": "crash test" }));
                let (agent, url) = (agent(), format!("http://{}/v1/rollouts/f:live/promote", victim.api));
                let request = ureq::http::Request::post(url)
                    .header("idempotency-key", &key)
                    .header("content-type", "application/json")
                    .body(body.to_string())
                    .unwrap();
                let sender = std::thread::spawn(move || {
                    let mut response = agent.run(request).ok()?;
                    let status = response.status().as_u16();
                    let text = response.body_mut().read_to_string().ok()?;
                    Some(Reply { status, body: serde_json::from_str(&text).ok()? })
                });
                std::thread::sleep(Duration::from_micros(luck.random_range(0..8_000)));
                victim.kill();
                sent.insert(key, (body, sender.join().unwrap()));
            }
        }
        if victim.child.is_some() {
            victim.kill();
        }
        victim.boot();
        history = check(&victim, &history, &mut sent);
    }
    let acknowledged =
        sent.values().filter(|(_, answer)| answer.as_ref().is_some_and(|reply| reply.status == 200)).count();
    println!(
        "{KILLS} kills, {} commands sent, {acknowledged} of them done, {} entries",
        sent.len(),
        history.len()
    );
    victim.served_after.sort_unstable();
    println!("requests were answered again within {:?} of each start", victim.served_after.last().unwrap());

    // To the end: what is left is promoted by hand.
    while victim.get("/v1/rollouts/f:live")["phase"] == "Progressing" {
        let step = victim.get("/v1/rollouts/f:live")["step"]["index"].clone();
        let body = json!({ "step": step, "reason": "the end" });
        victim.ask("POST", "/v1/rollouts/f:live/promote", Some(&body), None).unwrap();
    }
    let history = check(&victim, &history, &mut sent);
    let weights = weights(&history);
    let committed: Vec<f64> = weights.iter().map(|(weight, ..)| *weight).collect();
    assert_eq!(
        committed,
        [0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.5, 0.75, 0.9, 1.0, 2.0],
        "each weight once, in order"
    );
    let starts = history.iter().filter(|event| event["kind"] == "rolloutStarted").count();
    assert_eq!((starts, victim.get("/v1/rollouts/f:live")["phase"].as_str()), (1, Some("Succeeded")));
    let mut by_time = 0;
    for pair in weights.windows(2).filter(|pair| pair[1].2 == "passed" && pair[0].0 < 1.0) {
        by_time += 1;
        let alive = victim.alive_between(pair[0].1, pair[1].1);
        println!("bake at {}: {:?} of life", pair[0].0, alive);
        assert!(
            alive + Duration::from_millis(20) >= BAKE,
            "bake at {} was shortened to {alive:?}",
            pair[0].0
        );
    }
    assert!(by_time >= 3, "only {by_time} weights were let in by time");
    assert!(load.of("2").0 > 0);
}

#[test]
fn a_hundred_kills_lose_nothing_and_double_nothing() {
    a_hundred_kills(2026);
}

#[test]
#[ignore = "half an hour; scripts/test-long runs it"]
fn thirteen_hundred_kills_lose_nothing_and_double_nothing() {
    (1..=13).for_each(a_hundred_kills);
}
