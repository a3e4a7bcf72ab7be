//! Whatever becomes of stderr, serin decides, serves and ends as ever: closed, full, stopped or gone.

use std::fs::File;
use std::io::{ErrorKind, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::fs::{Mode, OFlags, fcntl_getfl, fcntl_setfl};
use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};
use rustix::process::Signal;
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Action, tcflow};

use crate::support::client::Client;
use crate::support::serin::{Daemon, command};
use crate::support::until;
use crate::support::upstream::Version;

/// A rollback comes after this many failures of a canary that fails everything.
const FAILURES_MAX: usize = 9;
const FAILURES_MEDIAN: usize = 3;
/// Users leave each other so much time: what comes while a rollback is being committed fails, too, and whoever asks
/// as fast as they can would count how fast the disk is.
const PACE: Duration = Duration::from_millis(5);

/// Where nothing that is said arrives.
struct Sink {
    stderr: Stdio,
    _held: Held,
}

/// What must live for as long as it is broken.
#[expect(dead_code, reason = "held for what its end would do")]
enum Held {
    Nothing,
    Reader(std::io::PipeReader),
    Terminal(OwnedFd, OwnedFd),
    Disk(Option<Mounted>),
}

/// A small file system in memory, for as long as this lives.
struct Mounted(PathBuf);

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = unmount(&self.0, UnmountFlags::DETACH);
    }
}

fn healthy(dir: &Path) -> Sink {
    let log = File::create(dir.join("log")).unwrap();
    Sink { stderr: log.into(), _held: Held::Nothing }
}

fn closed(_: &Path) -> Sink {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    Sink { stderr: writer.into(), _held: Held::Nothing }
}

fn full_pipe(_: &Path) -> Sink {
    let (reader, mut writer) = std::io::pipe().unwrap();
    rustix::pipe::fcntl_setpipe_size(&writer, 4096).unwrap();
    let flags = fcntl_getfl(&writer).unwrap();
    fcntl_setfl(&writer, flags | OFlags::NONBLOCK).unwrap();
    while writer.write(b"x").is_ok() {}
    fcntl_setfl(&writer, flags).unwrap();
    Sink { stderr: writer.into(), _held: Held::Reader(reader) }
}

fn stopped_terminal(_: &Path) -> Sink {
    let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    grantpt(&master).unwrap();
    unlockpt(&master).unwrap();
    let path = ptsname(&master, Vec::new()).unwrap();
    let terminal = rustix::fs::open(path, OFlags::RDWR | OFlags::NOCTTY, Mode::empty()).unwrap();
    // As Ctrl-S does.
    tcflow(&terminal, Action::OOff).unwrap();
    let stderr = terminal.try_clone().unwrap().into();
    Sink { stderr, _held: Held::Terminal(master, terminal) }
}

fn journald_gone(_: &Path) -> Sink {
    let (ours, theirs) = UnixStream::pair().unwrap();
    drop(theirs);
    Sink { stderr: OwnedFd::from(ours).into(), _held: Held::Nothing }
}

/// A file on a file system without room; where none may be mounted, the device that is as good as one.
fn full_disk(dir: &Path) -> Sink {
    let small = dir.join("small");
    std::fs::create_dir(&small).unwrap();
    let mounted = mount("none", &small, "tmpfs", MountFlags::empty(), Some(c"size=64k")).is_ok();
    if !mounted {
        let full = File::options().write(true).open("/dev/full").unwrap();
        return Sink { stderr: full.into(), _held: Held::Disk(None) };
    }
    let mounted = Mounted(small.clone());
    let mut filler = File::create(small.join("filler")).unwrap();
    let log = File::create(small.join("log")).unwrap();
    let why = std::iter::repeat_with(|| filler.write_all(&[0; 4096])).find_map(Result::err).unwrap();
    assert_eq!(why.kind(), ErrorKind::StorageFull);
    Sink { stderr: log.into(), _held: Held::Disk(Some(mounted)) }
}

type Make = fn(&Path) -> Sink;

/// Rolls a broken version out again and again, and gives how many requests failed each time.
fn failures_until_rolled_back(make: Make, percents: &[u32], times: usize) -> Vec<usize> {
    let dir = tempfile::tempdir().unwrap();
    let sink = make(dir.path());
    let mut daemon = Daemon::start_saying_to(sink.stderr, command(), dir.path(), &["--drain", "1s"]);
    let good = Version::start("good");
    let bad = Version::start("bad");
    let publish = |url: String| daemon.serin(&["function", "publish", "shop", "--url", &url, "--new"]).done();
    publish(format!("http://{}", good.addr()));
    daemon.serin(&["alias", "create", "shop:live", "--version", "1"]).done();
    let mut failures = Vec::new();
    let (mut client, mut api) = (Client::connect(daemon.router), Client::connect(daemon.api));
    for percent in percents {
        let plan = dir.path().join(format!("p{percent}.yaml"));
        let steps = format!("function: shop\nalias: live\nsteps: [{percent}%, 100%]\n");
        std::fs::write(&plan, steps).unwrap();
        for _ in 0..times {
            // `/500` is a status there, and a path to the good one.
            publish(format!("http://{}/status", bad.addr()));
            daemon.serin(&["start", plan.to_str().unwrap()]).done();
            let mut failed = 0;
            until("the broken version is rolled back", || {
                for _ in 0..20 {
                    let answer = client.get("/shop:live/500");
                    assert!(matches!(answer.status, 200 | 500), "{answer:?}");
                    failed += usize::from(answer.status == 500);
                    std::thread::sleep(PACE);
                }
                // Where the API speaks of tests alone, its names must be of this machine.
                api.send("GET /v1/rollouts/shop:live HTTP/1.1\r\nHost: localhost\r\n\r\n");
                api.answer().json()["phase"] == "RolledBack"
            });
            failures.push(failed);
        }
    }
    for path in ["/livez", "/readyz", "/metrics"] {
        api.send(format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n"));
        let answer = api.answer();
        assert_eq!(answer.status, 200, "{path}: {}", answer.text());
        let counts_losses = answer.text().contains("serin_own_log_lines_lost_total");
        assert_eq!(counts_losses, path == "/metrics");
    }
    daemon.signal(Signal::TERM);
    assert_eq!(daemon.ended().code(), Some(0));
    failures
}

fn rolls_back_and_ends(make: Make) {
    let failures = failures_until_rolled_back(make, &[3, 30], 2);
    assert!(failures.iter().all(|failed| (1..=FAILURES_MAX).contains(failed)), "{failures:?}");
}

#[test]
fn a_closed_stderr_stops_nothing() {
    rolls_back_and_ends(closed);
}

#[test]
fn a_full_pipe_stops_nothing() {
    rolls_back_and_ends(full_pipe);
}

#[test]
fn a_stopped_terminal_stops_nothing() {
    rolls_back_and_ends(stopped_terminal);
}

#[test]
fn a_full_disk_under_the_log_stops_nothing() {
    rolls_back_and_ends(full_disk);
}

#[test]
fn a_journald_that_is_gone_stops_nothing() {
    rolls_back_and_ends(journald_gone);
}

#[test]
#[ignore = "600 rollouts; scripts/test-long runs it and shows the medians"]
fn however_the_log_is_broken_a_broken_canary_goes_after_three_failures() {
    let sinks: [(&str, Make); 6] = [
        ("nothing wrong", healthy),
        ("closed", closed),
        ("full pipe", full_pipe),
        ("stopped terminal", stopped_terminal),
        ("full disk", full_disk),
        ("journald gone", journald_gone),
    ];
    for percent in [3, 30] {
        // The evidence of a failure is the less, the more of the traffic the canary has.
        let mut healthy = None;
        for (name, make) in sinks {
            let mut failures = failures_until_rolled_back(make, &[percent], 50);
            failures.sort_unstable();
            let (median, most) = (failures[failures.len() / 2], failures[failures.len() - 1]);
            println!("{name}, {percent} %: gone after a median of {median} failures, at most {most}");
            let expected = FAILURES_MEDIAN.max(*healthy.get_or_insert(median) + 1);
            assert!(median <= expected && most <= FAILURES_MAX, "{name} {percent} %: {failures:?}");
        }
    }
}

/// `serin serve 2>&1 | head -1`.
#[test]
fn whoever_reads_one_line_and_goes_ends_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let (reader, writer) = std::io::pipe().unwrap();
    let mut head = Command::new("head").arg("-1").stdin(reader).stdout(Stdio::piped()).spawn().unwrap();
    let daemon = Daemon::start_saying_to(writer.into(), command(), dir.path(), &["--drain", "1s"]);
    assert!(head.wait().unwrap().success());
    // Each change of an alias is worth a line to nobody.
    daemon.serin(&["function", "publish", "shop", "--url", "http://127.0.0.1:9"]).done();
    daemon.serin(&["alias", "create", "shop:live", "--version", "1"]).done();
    assert_eq!(Client::connect(daemon.router).get("/nothing:here/").status, 404);
    daemon.stop();
}

/// A manager whose queue is full would be waited for by the thread that hears signals.
#[test]
fn a_service_manager_that_does_not_listen_keeps_no_signal_waiting() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("deaf");
    let _deaf = UnixDatagram::bind(&path).unwrap();
    // Each fills as much of the queue as its own buffer allows.
    let fillers: Vec<UnixDatagram> = (0..16).map(|_| UnixDatagram::unbound().unwrap()).collect();
    for filler in &fillers {
        filler.set_nonblocking(true).unwrap();
        while filler.send_to(b"x", &path).is_ok() {}
    }
    let mut serve = command();
    serve.env("NOTIFY_SOCKET", &path).env("WATCHDOG_USEC", "300000");
    let daemon = Daemon::start_as(serve, dir.path(), &["--drain", "1s"]);
    daemon.stop();
}

/// Builds what lets syncs to disk wait for as long as a file is there; to be loaded before the C library.
fn stalling(dir: &Path, file: &Path) -> PathBuf {
    let (source, library) = (dir.join("stall.c"), dir.join("stall.so"));
    let text = r#"
        #include <unistd.h>
        #include <sys/syscall.h>
        static void wait_for_the_disk(void) { while (access(STALLED, F_OK) == 0) usleep(10000); }
        int fsync(int fd) { wait_for_the_disk(); return syscall(SYS_fsync, fd); }
        int fdatasync(int fd) { wait_for_the_disk(); return syscall(SYS_fdatasync, fd); }
    "#;
    std::fs::write(&source, text).unwrap();
    let mut build = Command::new("cc");
    build.args(["-shared", "-fPIC", "-o"]).arg(&library).arg(&source);
    build.arg(format!("-DSTALLED=\"{}\"", file.display()));
    assert!(build.status().expect("a C compiler, as the build needs one").success());
    library
}

/// Nobody should end a router that serves because its disk stalls, and whoever wants it to end must be able to.
#[test]
fn a_disk_that_stalls_is_not_ready_and_alive_and_keeps_nobody_from_ending() {
    let dir = tempfile::tempdir().unwrap();
    let stalled = dir.path().join("stalled");
    let mut serve = command();
    serve.env("LD_PRELOAD", stalling(dir.path(), &stalled));
    let mut daemon = Daemon::start_as(serve, dir.path(), &["--drain", "1s"]);
    let version = Version::start("one");
    let url = format!("http://{}", version.addr());
    daemon.serin(&["function", "publish", "shop", "--url", &url]).done();
    daemon.serin(&["alias", "create", "shop:live", "--version", "1"]).done();
    let ask = |path: &str| {
        let mut api = Client::connect(daemon.api);
        api.send(format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n"));
        api.answer()
    };
    for is_last in [false, true] {
        File::create(&stalled).unwrap();
        let mut waiting = Client::connect(daemon.api);
        let body = format!("{{\"url\": \"http://127.0.0.1:{}\"}}", if is_last { 9 } else { 8 });
        waiting.send(format!(
            "POST /v1/functions/shop/versions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
             Content-Length: {}\r\n\r\n{body}",
            body.len()
        ));
        until("it is not ready", || {
            ask("/readyz").text().contains("not ready: the disk keeps a change waiting")
        });
        assert_eq!(ask("/readyz").status, 503);
        assert_eq!(ask("/livez").status, 200);
        assert_eq!(Client::connect(daemon.router).get("/shop:live/").status, 200);
        if !is_last {
            std::fs::remove_file(&stalled).unwrap();
            until("it is ready again", || ask("/readyz").status == 200);
            assert_eq!(waiting.answer_to("POST").status, 200);
        }
    }
    daemon.signal(Signal::TERM);
    assert_eq!(daemon.ended().code(), Some(1));
    assert!(daemon.has_logged("most likely because the disk stalls"), "{:#?}", daemon.log.lock().unwrap());
}
