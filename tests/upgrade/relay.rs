//! One daemon through all its processes: the real binary behind a link that tests point elsewhere.

use std::net::SocketAddr;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use crate::support::client::Client;
use crate::support::house::{Reply, agent, ask};
use crate::support::lines::hear;
use crate::support::serin::command;
use crate::support::until;

/// The processes of one daemon.
pub struct Relay {
    /// Where its files are.
    pub dir: PathBuf,
    /// Where its API listens.
    pub api: SocketAddr,
    /// Where its router listens.
    pub router: SocketAddr,
    log: Arc<Mutex<Vec<Value>>>,
    agent: ureq::Agent,
    authorization: Option<String>,
    children: Vec<Child>,
}

impl Relay {
    /// Starts the first one.
    #[track_caller]
    pub fn start(dir: &Path, environment: &[(&str, &str)]) -> Relay {
        let nowhere: SocketAddr = "127.0.0.1:0".parse().unwrap();
        let mut relay = Relay {
            dir: dir.to_owned(),
            api: nowhere,
            router: nowhere,
            log: Arc::default(),
            agent: agent(),
            authorization: None,
            children: Vec::new(),
        };
        relay.install_itself();
        relay.boot(environment);
        relay
    }

    /// Starts a process where none is, on the addresses of those before.
    ///
    /// Nobody keeps those meanwhile, and a client of another test may have such a port as its own for a moment.
    #[track_caller]
    pub fn boot(&mut self, environment: &[(&str, &str)]) {
        let mut child = self.spawn(environment);
        until("it runs", || {
            if self.running().contains(&(child.id() as i32)) {
                return true;
            }
            let is_over = child.try_wait().expect("it is a child").is_some();
            if is_over && self.logged("Address already in use") > 0 {
                child = self.spawn(environment);
            }
            false
        });
        self.children.push(child);
        let line = self.lines().into_iter().rfind(|line| !line["api.addr"].is_null()).unwrap();
        let address = |name: &str| line[name].as_str().unwrap().parse().unwrap();
        (self.api, self.router) = (address("api.addr"), address("router.addr"));
    }

    fn spawn(&self, environment: &[(&str, &str)]) -> Child {
        let mut first = Command::new(self.installed());
        first.env_clear().envs(command().get_envs().filter_map(|(name, value)| Some((name, value?))));
        let child = first
            .envs(environment.iter().copied())
            .args(["serve", "--workers", "2", "--drain", "5s", "--data-dir"])
            .arg(self.dir.join("data"))
            .args(["--api", &self.api.to_string(), "--router", &self.router.to_string()])
            .stderr(Stdio::piped())
            .stdout(Stdio::null())
            .spawn();
        let mut child = child.expect("the binary runs");
        let log = Arc::clone(&self.log);
        hear(child.stderr.take().expect("piped"), move |line| log.lock().unwrap().push(line));
        child
    }

    fn installed(&self) -> PathBuf {
        self.dir.join("serin")
    }

    /// Puts the real binary where upgrades look for it.
    pub fn install_itself(&self) {
        let _ = std::fs::remove_file(self.installed());
        symlink(env!("CARGO_BIN_EXE_serin"), self.installed()).unwrap();
    }

    /// Puts a shell script there.
    pub fn install(&self, script: &str) {
        // Beside it first: what is being written cannot be run.
        let draft = self.dir.join("draft");
        std::fs::write(&draft, format!("#!/bin/sh\n{script}\n")).unwrap();
        std::fs::set_permissions(&draft, std::fs::Permissions::from_mode(0o755)).unwrap();
        std::fs::rename(draft, self.installed()).unwrap();
    }

    /// What all processes logged so far.
    pub fn lines(&self) -> Vec<Value> {
        self.log.lock().unwrap().clone()
    }

    /// How many log lines say this.
    pub fn logged(&self, text: &str) -> usize {
        let says = |line: &&Value| line["message"].as_str().is_some_and(|message| message.contains(text));
        self.lines().iter().filter(says).count()
    }

    /// Whether a log line begins so, and says this.
    pub fn logged_by(&self, beginning: &str, text: &str) -> bool {
        let says = |message: &str| message.starts_with(beginning) && message.contains(text);
        self.lines().iter().any(|line| line["message"].as_str().is_some_and(says))
    }

    /// The processes that became whole daemons, oldest first.
    pub fn running(&self) -> Vec<i32> {
        let whole = |line: &Value| line["pid"].as_i64().filter(|_| !line["api.addr"].is_null());
        self.lines().iter().filter_map(whole).map(|pid| pid as i32).collect()
    }

    /// The one that decides.
    pub fn pid(&self) -> i32 {
        *self.running().last().unwrap()
    }

    /// Whether a process is there, and no mere entry of one that has ended.
    pub fn lives(pid: i32) -> bool {
        let status = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        status.rsplit(')').next().is_some_and(|rest| !rest.is_empty() && !rest.trim_start().starts_with('Z'))
    }

    /// The processes on this directory, whatever they are.
    pub fn processes(&self) -> Vec<i32> {
        let data = self.dir.join("data").display().to_string();
        let entries = std::fs::read_dir("/proc").unwrap().flatten();
        let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        let is_ours = |pid: &i32| {
            let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            String::from_utf8_lossy(&line).contains(&data) && Relay::lives(*pid)
        };
        pids.filter(is_ours).collect()
    }

    /// Sends a signal to the one that decides.
    pub fn signal(&self, signal: Signal) {
        send(self.pid(), signal);
    }

    /// Upgrades, and waits until another process decides and the one before has ended.
    #[track_caller]
    pub fn upgrade(&self) {
        let before = self.running().len();
        let pid = self.pid();
        send(pid, Signal::USR2);
        until("another process decides", || self.running().len() > before);
        until("the one before has ended", || !Relay::lives(pid));
    }

    /// Asks the API of whoever has it.
    pub fn get(&self, path: &str) -> Reply {
        self.try_any("GET", path, None)
    }

    /// Shows a token with everything that is asked from here on.
    pub fn shows(&mut self, token: &str) {
        self.authorization = Some(format!("Bearer {token}"));
    }

    fn try_any(&self, method: &str, path: &str, body: Option<&Value>) -> Reply {
        let headers = self.authorization.as_deref().map(|text| ("authorization", text));
        let headers: Vec<_> = headers.into_iter().collect();
        ask(&self.agent, &format!("http://{}", self.api), method, path, body, &headers)
    }

    /// Asks for a change.
    #[track_caller]
    pub fn post(&self, path: &str, body: &Value) -> Value {
        self.try_any("POST", path, Some(body)).ok()
    }

    /// Asks for a change that may be refused.
    pub fn try_post(&self, path: &str, body: &Value) -> Reply {
        self.try_any("POST", path, Some(body))
    }

    /// Makes `f:live` of two versions, and begins a rollout by a plan of these lines.
    #[track_caller]
    pub fn roll_out(&self, one: SocketAddr, two: SocketAddr, plan: &str) {
        self.begin(one, two, plan);
        until("the canary serves", || self.rollout()["weight"]["serving"].as_f64() > Some(0.0));
    }

    /// The same of a plan by which nothing but copies goes to version 2 at first.
    pub fn begin(&self, one: SocketAddr, two: SocketAddr, plan: &str) {
        for addr in [one, two] {
            self.post("/v1/functions/f/versions", &json!({ "url": format!("http://{addr}") }));
        }
        self.post("/v1/functions/f/aliases/live", &json!({ "functionVersion": "1" }));
        let plan = format!("function: f\nalias: live\n{plan}\n");
        self.post("/v1/rollouts", &json!({ "plan": "p", "planText": plan }));
    }

    /// The newest rollout.
    #[track_caller]
    pub fn rollout(&self) -> Value {
        self.get("/v1/rollouts/f:live").ok()
    }

    /// What its history says of processes that took over.
    #[track_caller]
    pub fn noted(&self) -> Vec<Value> {
        let events = self.get("/v1/rollouts/f:live/events?after=0&limit=1000").ok();
        let noted = events["events"].as_array().unwrap().iter().filter(|event| event["kind"] == "takenOver");
        noted.cloned().collect()
    }

    /// The status that the router answers with.
    pub fn status(&self) -> u16 {
        Client::connect(self.router).get("/f:live/").status
    }
}

/// Sends a signal to a process that lives.
pub fn send(pid: i32, signal: Signal) {
    kill_process(Pid::from_raw(pid).unwrap(), signal).unwrap();
}

impl Drop for Relay {
    fn drop(&mut self) {
        for pid in self.processes() {
            // It may be gone by now.
            let _ = kill_process(Pid::from_raw(pid).unwrap(), Signal::KILL);
        }
        for child in &mut self.children {
            let _ = child.wait();
        }
        if std::thread::panicking() {
            eprintln!("{:#?}", self.lines());
        }
    }
}
