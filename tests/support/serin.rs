//! The real binary: typed at, and run as a daemon with a data directory of its own.

use std::io::Read;
use std::net::SocketAddr;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use super::{lines, uninterrupted, until};

/// The binary in an environment that is the same everywhere; what a person has set is not seen.
pub fn command() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_serin"));
    command.env_clear();
    command.envs([("USER", "tester"), ("LANG", "C.UTF-8"), ("TZ", "UTC"), ("HOME", "/nonexistent")]);
    command
}

/// What a command said and how it ended.
#[derive(Debug)]
pub struct Said {
    /// The exit code.
    pub code: i32,
    /// What it printed.
    pub out: String,
    /// What it said beside that.
    pub err: String,
}

impl Said {
    /// Of a command that has ended.
    pub fn of(output: Output) -> Said {
        Said {
            code: output.status.code().expect("an exit code"),
            out: String::from_utf8(output.stdout).expect("UTF-8"),
            err: String::from_utf8(output.stderr).expect("UTF-8"),
        }
    }

    /// Fails the test unless the command ended well.
    #[track_caller]
    pub fn done(self) -> Said {
        self.ended(0)
    }

    /// Fails the test unless the command ended with this code.
    #[track_caller]
    pub fn ended(self, code: i32) -> Said {
        assert_eq!(self.code, code, "{self:#?}");
        self
    }

    /// Fails the test unless all of this was said on stderr.
    #[track_caller]
    pub fn complaining(self, parts: &[&str]) -> Said {
        for part in parts {
            assert!(self.err.contains(part), "{part:?} is not in {self:#?}");
        }
        self
    }

    /// What was printed, as JSON.
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {self:#?}"))
    }
}

/// Types a command where no daemon is.
pub fn serin(args: &[&str]) -> Said {
    Said::of(command().args(args).output().expect("the binary runs"))
}

/// A daemon, as `serin serve` on free ports.
pub struct Daemon {
    /// Where its API listens.
    pub api: SocketAddr,
    /// Where its router listens.
    pub router: SocketAddr,
    /// What it logged so far.
    pub log: Arc<Mutex<Vec<Value>>>,
    child: Child,
    reader: Option<JoinHandle<()>>,
}

impl Daemon {
    /// Starts one in a directory, with further flags.
    #[track_caller]
    pub fn start(dir: &Path, flags: &[&str]) -> Daemon {
        Daemon::start_as(command(), dir, flags)
    }

    /// Starts one that says nothing to the test: its stderr is something else, and where it listens it tells as a
    /// service manager hears it.
    #[track_caller]
    pub fn start_saying_to(stderr: Stdio, mut command: Command, dir: &Path, flags: &[&str]) -> Daemon {
        let path = dir.join("notify");
        let socket = UnixDatagram::bind(&path).expect("a socket in a directory of our own");
        socket.set_read_timeout(Some(Duration::from_secs(30))).expect("a timeout");
        command.env("NOTIFY_SOCKET", &path);
        let child = serve(command, dir, flags).stderr(stderr).spawn().expect("the binary runs");
        let mut bytes = [0; 1024];
        let length = uninterrupted(|| socket.recv(&mut bytes)).expect("the daemon says that it is ready");
        std::fs::remove_file(&path).expect("the socket is there");
        let said = String::from_utf8_lossy(&bytes[..length]).into_owned();
        let addr = |before: &str| {
            let rest = said.split(before).nth(1).unwrap_or_else(|| panic!("no {before} in {said}"));
            let end = rest.find([',', '\n']).unwrap_or(rest.len());
            rest[..end].parse().expect("an address")
        };
        let (api, router) = (addr("API http://"), addr("router http://"));
        Daemon { api, router, log: Arc::default(), child, reader: None }
    }

    /// Starts one by a command with an environment of its own.
    #[track_caller]
    pub fn start_as(command: Command, dir: &Path, flags: &[&str]) -> Daemon {
        let mut child = serve(command, dir, flags).stderr(Stdio::piped()).spawn().expect("the binary runs");
        let log = Arc::new(Mutex::new(Vec::new()));
        let stderr = child.stderr.take().expect("piped");
        let said = Arc::clone(&log);
        let reader = Some(lines::hear(stderr, move |line| said.lock().unwrap().push(line)));
        let find = |name: &str| {
            let log = log.lock().unwrap();
            log.iter().find_map(|line: &Value| line.get(name)?.as_str()?.parse::<SocketAddr>().ok())
        };
        until("the daemon says where it listens", || {
            find("api.addr").is_some() || child.try_wait().expect("a child").is_some()
        });
        let (Some(api), Some(router)) = (find("api.addr"), find("router.addr")) else {
            panic!("the daemon did not start: {:#?}", log.lock().unwrap());
        };
        Daemon { api, router, log, child, reader }
    }

    /// The API's URL.
    pub fn url(&self) -> String {
        format!("http://{}", self.api)
    }

    /// A command that finds this daemon.
    pub fn command(&self) -> Command {
        let mut command = command();
        command.env("SERIN_URL", self.url());
        command
    }

    /// Types a command to this daemon.
    pub fn serin(&self, args: &[&str]) -> Said {
        Said::of(self.command().args(args).output().expect("the binary runs"))
    }

    /// How much memory it has, in bytes.
    pub fn resident_bytes(&self) -> usize {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).expect("it runs");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a process has memory");
        let kib: usize = line.trim().trim_end_matches(" kB").parse().expect("a number of KiB");
        kib * 1024
    }

    /// How many descriptors it has open.
    pub fn descriptors(&self) -> usize {
        std::fs::read_dir(format!("/proc/{}/fd", self.child.id())).expect("it runs").count()
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).expect("the daemon runs");
    }

    /// Whether it has ended.
    pub fn has_ended(&mut self) -> bool {
        self.child.try_wait().expect("a child").is_some()
    }

    /// Waits for its end, and tells how it ended.
    #[track_caller]
    pub fn ended(&mut self) -> ExitStatus {
        let mut status = None;
        until("the daemon ends", || {
            status = self.child.try_wait().expect("a child");
            status.is_some()
        });
        if let Some(reader) = self.reader.take() {
            reader.join().expect("the log was read");
        }
        status.expect("it ended")
    }

    /// Ends it gently.
    #[track_caller]
    pub fn stop(mut self) {
        self.signal(Signal::TERM);
        assert!(self.ended().success(), "{:#?}", self.log.lock().unwrap());
    }

    /// Waits for a line of the log, which comes by a pipe of its own and so maybe after an answer.
    #[track_caller]
    pub fn logs(&self, text: &str) -> Value {
        let says = |line: &Value| line["message"].as_str().is_some_and(|message| message.contains(text));
        self.logs_line(text, says)
    }

    /// Waits for a line of the log that is as this wants it.
    #[track_caller]
    pub fn logs_line(&self, what: &str, is_it: impl Fn(&Value) -> bool) -> Value {
        let mut found = None;
        until(&format!("the log says {what:?}"), || {
            found = self.log.lock().unwrap().iter().find(|line| is_it(line)).cloned();
            found.is_some()
        });
        found.expect("it was found")
    }

    /// Whether a log line says this by now: for daemons that have ended, and for what must not be said.
    pub fn has_logged(&self, text: &str) -> bool {
        let log = self.log.lock().unwrap();
        log.iter().any(|line| line["message"].as_str().is_some_and(|message| message.contains(text)))
    }
}

fn serve(mut command: Command, dir: &Path, flags: &[&str]) -> Command {
    let data = dir.join("data");
    command.args(["serve", "--data-dir", data.to_str().expect("a UTF-8 path")]);
    if !flags.contains(&"--api") {
        command.args(["--api", "127.0.0.1:0"]);
    }
    if !flags.contains(&"--router") {
        command.args(["--router", "127.0.0.1:0"]);
    }
    command.args(["--workers", "1"]).args(flags).stdout(Stdio::null());
    command
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // Gone already where the test stopped it.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A command under way whose words are read as they come.
pub struct Running {
    child: Child,
    out: Arc<Mutex<String>>,
    err: Arc<Mutex<String>>,
    readers: Vec<JoinHandle<()>>,
}

impl Running {
    /// Starts one.
    pub fn start(mut command: Command) -> Running {
        let spawned = command.stdout(Stdio::piped()).stderr(Stdio::piped()).stdin(Stdio::null()).spawn();
        let mut child = spawned.expect("the binary runs");
        let (out, err) = (Arc::new(Mutex::new(String::new())), Arc::new(Mutex::new(String::new())));
        let readers = vec![
            collect(child.stdout.take().expect("piped"), Arc::clone(&out)),
            collect(child.stderr.take().expect("piped"), Arc::clone(&err)),
        ];
        Running { child, out, err, readers }
    }

    /// What it printed so far.
    pub fn out(&self) -> String {
        self.out.lock().unwrap().clone()
    }

    /// What it said on stderr so far.
    pub fn err(&self) -> String {
        self.err.lock().unwrap().clone()
    }

    /// Waits for its end.
    #[track_caller]
    pub fn said(mut self) -> Said {
        let mut status = None;
        until("the command ends", || {
            status = self.child.try_wait().expect("a child");
            status.is_some()
        });
        for reader in self.readers.drain(..) {
            reader.join().expect("its words were read");
        }
        let code = status.and_then(|status| status.code()).expect("an exit code");
        Said { code, out: self.out(), err: self.err() }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Gone already where the test waited for its end.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn collect(mut from: impl Read + Send + 'static, into: Arc<Mutex<String>>) -> JoinHandle<()> {
    std::thread::spawn(move || {
        let mut bytes = [0; 4096];
        while let Ok(count @ 1..) = from.read(&mut bytes) {
            into.lock().unwrap().push_str(&String::from_utf8_lossy(&bytes[..count]));
        }
    })
}
