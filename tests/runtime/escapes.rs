//! A function that tries every way out that it knows (`examples/escapes.rs`), as the child of a daemon that is root and of
//! one that is not.

use std::fs::{self, Permissions};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::net::{SocketAddr, UnixListener};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicI32, Ordering};

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use rustix::process::Signal;
use serde_json::{Map, Value, json};

use crate::support::functions::{here, program, rust_function, stream, zip_of};
use crate::support::house::{Reply, agent, ask};
use crate::support::serin::Daemon;
use crate::support::{root, until};
use serin_core::lambda::process::Architecture;

/// As a token it lets its owner in, so that whoever finds it in the daemon has got out.
const SECRET: &str = "secret-of-the-owner-of-this-daemon";
/// Somebody who is not root.
const NOBODY: u32 = 65534;
/// How many attempts there are at least.
const ATTEMPTS_MIN: usize = 90;

/// What comes off where a function is the daemon's user and sees what it sees.
const OPEN: [&str; 16] = [
    "open its code to writing",
    "list other functions' code",
    "read another function's code",
    "read the database",
    "write the database",
    "list the data directory",
    "leave a file in the data directory",
    "reach the data directory by a link",
    "signal the daemon",
    "signal another function",
    "hold the daemon's process",
    "slow the daemon down",
    "take another function's invocations",
    "answer another function's invocation",
    "read shared memory of others",
    "attach shared memory of others",
];

fn is_root() -> bool {
    rustix::process::getuid().is_root()
}

/// What of this machine's a function is to find, and cannot.
struct Baits {
    temporary: PathBuf,
    shared: PathBuf,
    key: i32,
    segment: i32,
    name: String,
    _listener: UnixListener,
}

impl Baits {
    fn lay(name: &str) -> Baits {
        let name = format!("serin-escapes-{name}-{}", std::process::id());
        let lay = |directory: &Path| {
            let bait = directory.join(&name);
            fs::write(&bait, "bait").unwrap();
            fs::set_permissions(&bait, Permissions::from_mode(0o666)).unwrap();
            bait
        };
        let (temporary, shared) = (lay(&std::env::temp_dir()), lay(Path::new("/dev/shm")));
        // Tests of one process do not take each other's away.
        static LAID: AtomicI32 = AtomicI32::new(0);
        let number = LAID.fetch_add(1, Ordering::Relaxed);
        let key = i32::try_from(std::process::id()).unwrap() + 0x0100_0000 * (0x5e + number);
        // SAFETY: numbers alone.
        let segment = unsafe { libc::shmget(key, 4096, libc::IPC_CREAT | 0o666) };
        assert!(segment != -1, "{}", std::io::Error::last_os_error());
        let address = SocketAddr::from_abstract_name(&name).unwrap();
        let listener = UnixListener::bind_addr(&address).unwrap();
        Baits { temporary, shared, key, segment, name, _listener: listener }
    }
}

impl Drop for Baits {
    fn drop(&mut self) {
        let _ = (fs::remove_file(&self.temporary), fs::remove_file(&self.shared));
        // SAFETY: numbers, and nothing that would be written to.
        unsafe { libc::shmctl(self.segment, libc::IPC_RMID, std::ptr::null_mut()) };
    }
}

/// The daemon and whoever owns it.
struct House {
    daemon: Daemon,
    data: PathBuf,
    authorization: String,
}

impl House {
    fn start(command: Command, dir: &Path, flags: &[&str], has_token: bool) -> House {
        let mut command = command;
        command.env_clear().env("HOME", "/nonexistent").env("PATH", "/usr/bin:/bin");
        command.env(if has_token { "SERIN_TOKEN" } else { "A_SECRET" }, SECRET);
        let daemon = Daemon::start_as(command, dir, &[flags, &["--drain", "2s"]].concat());
        let authorization = format!("Bearer {SECRET}");
        House { daemon, data: dir.join("data"), authorization }
    }

    fn ask(&self, method: &str, path: &str, body: Option<&Value>) -> Reply {
        let (url, headers) = (self.daemon.url(), [("authorization", self.authorization.as_str())]);
        ask(&agent(), &url, method, path, body, &headers)
    }

    fn create(&self, name: &str, zip: &[u8]) -> Reply {
        let architecture = if here() == Architecture::Arm64 { "arm64" } else { "x86_64" };
        let body = json!({
            "FunctionName": name, "Runtime": "provided.al2023", "Handler": "bootstrap", "Publish": true,
            "Role": "arn:aws:iam::000000000000:role/r", "Timeout": 60, "Architectures": [architecture],
            "MemorySize": 256, "Code": { "ZipFile": BASE64.encode(zip) },
        });
        self.ask("POST", "/2015-03-31/functions", Some(&body))
    }

    fn invoke(&self, name: &str, payload: &Value) -> Value {
        let path = format!("/2015-03-31/functions/{name}/invocations");
        let reply = self.ask("POST", &path, Some(payload));
        assert_eq!(reply.status, 200, "{reply:?}");
        reply.body
    }

    /// What came of each attempt.
    fn attempts(&self, name: &str) -> Map<String, Value> {
        let baits = Baits::lay(name);
        assert_eq!(self.create("other", rust_function()).status, 201);
        let escapes = zip_of(&[("bootstrap", &program("escapes"), 0o777)]);
        let made = self.create("f", &escapes);
        assert_eq!(made.status, 201, "{made:?}");
        let other = self.invoke("other", &json!({ "do": "self" }));
        let run = fs::read_to_string(self.data.join("run-directory")).unwrap();
        let came = self.invoke(
            "f",
            &json!({
                "api": self.daemon.api.to_string(), "router": self.daemon.router.to_string(), "data": self.data,
                "secret": SECRET, "daemon": daemon_of(&self.data), "other": process_of(&stream(&other)),
                "runtimeApi": other["environment"]["AWS_LAMBDA_RUNTIME_API"], "run": run.trim(),
                "otherCode": below(Path::new(run.trim()), "bootstrap").expect("the other's code is unpacked"),
                "temporary": baits.temporary, "shared": baits.shared, "key": baits.key, "abstract": baits.name,
                "root": is_root() && ["root", "unit"].contains(&name),
            }),
        );
        let Value::Object(came) = came else { panic!("{came}") };
        assert!(came.len() >= ATTEMPTS_MIN, "{}", came.len());
        came
    }

    fn try_everything(&self, name: &str) {
        let came = self.attempts(name);
        let escaped: Vec<_> = came.iter().filter(|(_, came)| came["escaped"] != false).collect();
        assert!(escaped.is_empty(), "{escaped:#?}");
        let aliases = self.ask("GET", "/2015-03-31/functions/other/aliases", None);
        assert_eq!(aliases.body["Aliases"], json!([]), "{aliases:?}");
        assert_eq!(self.ask("GET", "/2015-03-31/functions/stolen", None).status, 404);
        // Whoever was robbed answers still.
        assert_eq!(self.invoke("other", &json!({ "a": 1 })), json!({ "a": 1 }));
    }
}

impl House {
    /// What functions left is gone with the daemon.
    fn is_cleared_up(&self) {
        let run = fs::read_to_string(self.data.join("run-directory")).unwrap();
        self.daemon.signal(Signal::TERM);
        until("its run directory is gone", || !Path::new(run.trim()).exists());
    }
}

/// A file somewhere below a directory.
fn below(directory: &Path, name: &str) -> Option<PathBuf> {
    let entries = fs::read_dir(directory).ok()?.flatten().map(|entry| entry.path());
    let found = |path: PathBuf| if path.ends_with(name) { Some(path) } else { below(&path, name) };
    entries.into_iter().find_map(found)
}

/// The daemon of a data directory, by its command line.
fn daemon_of(data: &Path) -> u32 {
    let is_it = |process: &PathBuf| {
        let words = fs::read(process.join("cmdline")).unwrap_or_default();
        let data = data.as_os_str().as_encoded_bytes();
        words.split(|byte| *byte == 0).any(|word| word == data)
    };
    numbered(is_it).expect("the daemon runs")
}

/// A function's process, by the log stream that it was told.
fn process_of(stream: &str) -> u32 {
    let told = format!("AWS_LAMBDA_LOG_STREAM_NAME={stream}");
    let is_told = |process: &PathBuf| {
        let environment = fs::read(process.join("environ")).unwrap_or_default();
        environment.split(|byte| *byte == 0).any(|variable| variable == told.as_bytes())
    };
    numbered(is_told).expect("the function runs")
}

fn numbered(is_it: impl Fn(&PathBuf) -> bool) -> Option<u32> {
    let processes = fs::read_dir("/proc").unwrap().flatten().map(|entry| entry.path());
    processes.filter(is_it).find_map(|process| process.file_name()?.to_str()?.parse().ok())
}

#[test]
fn a_function_of_a_daemon_that_is_root_finds_no_way_out() {
    if !is_root() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    // Nothing is set: whoever tries serin first has functions, too.
    let house = House::start(Command::new(env!("CARGO_BIN_EXE_serin")), dir.path(), &[], false);
    house.try_everything("root");
    house.is_cleared_up();
}

/// A daemon that is not root.
fn house_of_nobody(dir: &Path, flags: &[&str], has_token: bool) -> House {
    // Nobody may get to where this one was built.
    let program = dir.join("serin");
    fs::copy(env!("CARGO_BIN_EXE_serin"), &program).unwrap();
    let mut command = Command::new(&program);
    if is_root() {
        chown(dir, Some(NOBODY), Some(NOBODY)).unwrap();
        command.uid(NOBODY).gid(NOBODY);
    }
    House::start(command, dir, flags, has_token)
}

#[test]
fn a_function_of_a_daemon_that_is_not_root_finds_no_way_out() {
    let dir = tempfile::tempdir().unwrap();
    let house = house_of_nobody(dir.path(), &[], true);
    if let made @ Reply { status: 400, .. } = house.create("refused", rust_function()) {
        // A machine without namespaces of users for everybody.
        assert!(made.body.to_string().contains("--process-user same"), "{made:?}");
        return;
    }
    house.try_everything("nobody");
    house.is_cleared_up();
}

#[test]
fn beside_an_api_that_asks_nobody_a_daemon_that_is_not_root_makes_no_functions_from_zips() {
    let dir = tempfile::tempdir().unwrap();
    let house = house_of_nobody(dir.path(), &[], false);
    let made = house.create("f", rust_function());
    assert_eq!(made.status, 400, "{made:?}");
    let said = made.body.to_string();
    assert!(said.contains("--principals") || said.contains("--process-user same"), "{said}");
}

/// What the same function gets where nothing keeps it apart: each of these attempts is one that can come off.
#[test]
fn a_function_that_nothing_keeps_apart_gets_out() {
    let dir = tempfile::tempdir().unwrap();
    let house = house_of_nobody(dir.path(), &["--process-user", "same"], true);
    let came = house.attempts("same");
    let is_out = |(_, came): &(&String, &Value)| came["escaped"] == true;
    let got: Vec<_> = came.iter().filter(is_out).map(|(name, _)| name.as_str()).collect();
    let held: Vec<_> = OPEN.iter().filter(|name| !got.contains(name)).collect();
    assert!(held.is_empty(), "{held:#?} {got:#?}");
    // The daemon itself is closed to its own user, too.
    for shut in
        ["find the daemon's secret in an environment", "open the daemon's memory", "read the daemon's memory"]
    {
        assert!(!got.contains(&shut), "{shut}: {got:#?}");
    }
}

/// The capabilities that a unit leaves, by their numbers.
fn capabilities_of(unit: &str) -> Vec<libc::c_ulong> {
    // Those of `linux/capability.h` that any unit of ours names.
    const NUMBERS: [(&str, libc::c_ulong); 9] = [
        ("CAP_CHOWN", 0),
        ("CAP_DAC_OVERRIDE", 1),
        ("CAP_FOWNER", 3),
        ("CAP_KILL", 5),
        ("CAP_SETGID", 6),
        ("CAP_SETUID", 7),
        ("CAP_SETPCAP", 8),
        ("CAP_NET_ADMIN", 12),
        ("CAP_SYS_ADMIN", 21),
    ];
    let text = fs::read_to_string(root().join("packaging").join(unit)).unwrap();
    let names = text.lines().find_map(|line| line.strip_prefix("CapabilityBoundingSet=")).unwrap();
    let number = |name: &str| NUMBERS.iter().find(|(known, _)| *known == name).expect("a known name").1;
    names.split_whitespace().map(number).collect()
}

#[test]
fn a_daemon_with_the_units_capabilities_alone_keeps_functions_apart() {
    if !is_root() {
        return;
    }
    let kept = capabilities_of("serin-functions.service");
    let bounded = move || {
        let mut command = Command::new(env!("CARGO_BIN_EXE_serin"));
        let kept = kept.clone();
        // SAFETY: between fork and exec there are system calls with numbers alone, and a list that is only looked at.
        unsafe {
            command.pre_exec(move || {
                for capability in (0..64).filter(|capability| !kept.contains(capability)) {
                    libc::prctl(libc::PR_CAPBSET_DROP, capability, 0, 0, 0);
                }
                Ok(())
            });
        }
        command
    };
    let dir = tempfile::tempdir().unwrap();
    let house = House::start(bounded(), dir.path(), &[], false);
    house.try_everything("unit");
    assert!(!house.daemon.has_logged("does not let serin"));
    house.is_cleared_up();
    let dir = tempfile::tempdir().unwrap();
    let house = House::start(bounded(), dir.path(), &["--process-network", "none"], false);
    assert_eq!(house.create("alone", rust_function()).status, 201);
    assert_eq!(house.invoke("alone", &json!({ "a": 1 })), json!({ "a": 1 }));
    assert!(!house.daemon.has_logged("does not let serin"));
    house.is_cleared_up();
}
