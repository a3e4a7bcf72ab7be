//! Functions from zips, the Python that some need, and a house that runs them in this process.

use std::collections::BTreeMap;
use std::fs::Permissions;
use std::io::{Cursor, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, LazyLock, Mutex};
use std::time::Duration;

use bytes::Bytes;
use serde_json::Value;
use serin::code::{CodeDirectory, Held};
use serin::config::ProcessNetwork;
use serin::runtime::{Invocation, Outcome, RunningRuntimes, RuntimeConfig, Runtimes, Unavailable};
use serin_core::lambda::log::LogLine;
use serin_core::lambda::process::{Architecture, ProcessTarget, Runtime};
use serin_core::model::arn::{FunctionName, Place, VersionId, VersionNumber};
use tempfile::TempDir;
use uuid::Uuid;
use zip::ZipWriter;
use zip::write::SimpleFileOptions;

/// A zip of files with their modes.
pub fn zip_of(files: &[(&str, &[u8], u32)]) -> Vec<u8> {
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    for (name, bytes, mode) in files {
        zip.start_file(*name, SimpleFileOptions::default().unix_permissions(*mode)).unwrap();
        zip.write_all(bytes).unwrap();
    }
    zip.finish().unwrap().into_inner()
}

/// The function of `examples/function.rs`, which cargo has built beside the tests, as a zip.
pub fn rust_function() -> &'static [u8] {
    static ZIP: LazyLock<Vec<u8>> = LazyLock::new(|| zip_of(&[("bootstrap", rust_program(), 0o755)]));
    &ZIP
}

/// The same, but that every invocation of it fails.
pub fn failing_function() -> Vec<u8> {
    let bootstrap = b"#!/bin/sh\nFAIL_WHEN_CALLED=yes exec \"$LAMBDA_TASK_ROOT/function\"\n";
    zip_of(&[("bootstrap", bootstrap, 0o755), ("function", rust_program(), 0o755)])
}

/// The program of `examples/function.rs`.
pub fn rust_program() -> &'static [u8] {
    static PROGRAM: LazyLock<Vec<u8>> = LazyLock::new(|| program("function"));
    &PROGRAM
}

/// A program of `examples`, which cargo has built beside the tests.
pub fn program(name: &str) -> Vec<u8> {
    let tests = std::env::current_exe().unwrap();
    let program = tests.parent().unwrap().with_file_name("examples").join(name);
    let changed_at = |path: &Path| std::fs::metadata(path).and_then(|found| found.modified()).ok();
    assert!(
        changed_at(&program) >= changed_at(&super::root().join("examples").join(name).with_extension("rs")),
        "{} is old: cargo build --example {name} (cargo test without --test does it by itself)",
        program.display()
    );
    std::fs::read(&program).unwrap_or_else(|why| panic!("{}: {why}", program.display()))
}

/// The processor of this machine.
pub fn here() -> Architecture {
    if cfg!(target_arch = "aarch64") { Architecture::Arm64 } else { Architecture::X86_64 }
}

/// Functions' processes, in a directory that goes away.
pub struct Functions {
    /// The way to them.
    pub runtimes: Runtimes,
    /// What they said.
    pub lines: Arc<Mutex<Vec<LogLine>>>,
    /// The directory of code.
    pub code: CodeDirectory,
    /// The data directory.
    pub data: PathBuf,
    running: Option<RunningRuntimes>,
    held: Mutex<Vec<Held>>,
    _dir: TempDir,
}

impl Functions {
    /// Starts the house with a minute of idleness.
    pub fn start() -> Functions {
        Functions::start_with(|_| {})
    }

    /// Starts the house with other settings.
    pub fn start_with(change: impl FnOnce(&mut RuntimeConfig)) -> Functions {
        let dir = tempfile::tempdir().unwrap();
        let data = dir.path().join("data");
        std::fs::create_dir(&data).unwrap();
        let code = CodeDirectory::open(&data).unwrap();
        let lines = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&lines);
        let mut config = RuntimeConfig {
            is_beside: false,
            search: vec!["/usr/bin".into()],
            user: None,
            network: ProcessNetwork::Host,
            stage: env!("CARGO_BIN_EXE_serin").into(),
            api_asks: false,
            hidden: Vec::new(),
            idle: Duration::from_secs(60),
            place: Place { region: Place::REGION.to_owned(), account: Place::ACCOUNT.to_owned() },
            log: Some(Arc::new(move |line| kept.lock().unwrap().push(line))),
        };
        change(&mut config);
        let (runtimes, running) = Runtimes::start(config, code.clone(), data.clone()).unwrap();
        let held = Mutex::default();
        Functions { runtimes, lines, code, data, running: Some(running), held, _dir: dir }
    }

    /// Code by its own `bootstrap`, with AWS's limits but for more time.
    pub fn target(&self, zip: &[u8]) -> ProcessTarget {
        let held = self.code.put(zip).unwrap();
        let code_sha256 = held.digest();
        self.held.lock().unwrap().push(held);
        ProcessTarget {
            code_sha256,
            code_bytes: zip.len() as u64,
            runtime: Runtime::ProvidedAl2023,
            handler: "handler".to_owned(),
            timeout_s: 20,
            memory_mb: 128,
            architecture: here(),
            environment: BTreeMap::new(),
        }
    }

    /// The function of `examples/function.rs`.
    pub fn rust(&self) -> Arc<ProcessTarget> {
        Arc::new(self.target(rust_function()))
    }

    /// Invokes version 1 of function `f`; panics if serin itself cannot.
    pub fn invoke(&self, target: &Arc<ProcessTarget>, payload: &Value) -> Outcome {
        self.try_invoke(target, payload).unwrap()
    }

    /// The same, with what serin says where it cannot.
    pub fn try_invoke(&self, target: &Arc<ProcessTarget>, payload: &Value) -> Result<Outcome, Unavailable> {
        let permit = self.runtimes.admit(&function(), version()).unwrap();
        let invoking = self.runtimes.invoke(invocation(target, payload), permit);
        tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(invoking)
    }

    /// Invokes so many at once.
    pub fn invoke_all(&self, target: &Arc<ProcessTarget>, payload: &Value, count: usize) -> Vec<Outcome> {
        std::thread::scope(|scope| {
            let calls: Vec<_> = (0..count).map(|_| scope.spawn(|| self.invoke(target, payload))).collect();
            calls.into_iter().map(|call| call.join().unwrap()).collect()
        })
    }

    /// How many processes of version 1 are ready.
    pub fn ready(&self) -> u32 {
        let function = function();
        let asked = self.runtimes.processes(&function, version());
        tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(asked).idle
    }

    /// Everything that was logged, in order.
    pub fn log(&self) -> String {
        self.lines.lock().unwrap().iter().map(|line| line.text.as_str()).collect()
    }

    /// Ends it in good order.
    pub fn stop(&mut self) {
        self.running.take().unwrap().shut_down(Duration::from_secs(5)).unwrap();
    }
}

/// A Python with awslambdaric, where every user can read it.
pub struct Python {
    /// The directory of its program.
    pub search: PathBuf,
    /// It is 3.N.
    pub minor: u8,
    _copy: Option<TempDir>,
}

/// The Python that `scripts/test` made.
///
/// Functions run as users of their own, who may not pass through the directory that the repository is in. Then they get
/// a copy of the venv where they may: an interpreter finds its venv by where it is itself.
#[expect(clippy::disallowed_methods, reason = "a tool of the test run, not of serin")]
pub fn python_with_ric() -> Python {
    let place =
        std::env::var("SERIN_TEST_RIC").expect("SERIN_TEST_RIC names bin/python3.N; scripts/test sets it");
    let place = PathBuf::from(place);
    let minor = place.file_name().unwrap().to_str().unwrap().strip_prefix("python3.").unwrap().parse();
    let (bin, minor) = (place.parent().unwrap().to_owned(), minor.unwrap());
    let is_open = |place: &Path| std::fs::metadata(place).unwrap().permissions().mode() & 0o005 == 0o005;
    if bin.ancestors().all(is_open) {
        return Python { search: bin, minor, _copy: None };
    }
    let copy = tempfile::Builder::new().permissions(Permissions::from_mode(0o755)).tempdir().unwrap();
    let copied =
        Command::new("cp").arg("-R").arg(bin.parent().unwrap()).arg(copy.path().join("venv")).status();
    assert!(copied.unwrap().success());
    Python { search: copy.path().join("venv/bin"), minor, _copy: Some(copy) }
}

/// The function's name.
pub fn function() -> FunctionName {
    "f".parse().unwrap()
}

/// The version that is invoked.
pub fn version() -> VersionId {
    VersionNumber(1).into()
}

/// An invocation of version 1 of function `f` through its alias `live`.
pub fn invocation(target: &Arc<ProcessTarget>, payload: &Value) -> Invocation {
    static LAST: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(1);
    let number = LAST.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    Invocation {
        function: function(),
        version: version(),
        target: Arc::clone(target),
        arn: "arn:aws:lambda:us-east-1:000000000000:function:f:live".to_owned(),
        id: Uuid::from_u64_pair(0x5e71, number),
        payload: Bytes::from(payload.to_string()),
        client_context: None,
        trace: None,
        stream: None,
    }
}

/// How many processes run that were told this log stream, which no other function's process was: the one that logs to
/// it, and what it started.
///
/// Numbers of processes tell nothing: each function sees its own ones alone. One that has ended and is not buried does not
/// run.
pub fn running(stream: &str) -> usize {
    let told = format!("AWS_LAMBDA_LOG_STREAM_NAME={stream}");
    let processes = std::fs::read_dir("/proc").unwrap().flatten().map(|entry| entry.path());
    let is_told = |process: &PathBuf| {
        let environment = std::fs::read(process.join("environ")).unwrap_or_default();
        environment.split(|byte| *byte == 0).any(|variable| variable == told.as_bytes())
    };
    let runs = |process: &PathBuf| {
        let status = std::fs::read_to_string(process.join("status"));
        status.is_ok_and(|status| !status.contains("State:\tZ"))
    };
    processes.filter(is_told).filter(runs).count()
}

/// The log stream of a function that answered what `self` or `child` asks, by which it is known.
pub fn stream(answer: &Value) -> String {
    answer["environment"]["AWS_LAMBDA_LOG_STREAM_NAME"].as_str().unwrap().to_owned()
}
