//! A Lambda function of somebody who means ill, for the tests: it tries every way out that it knows, and tells what came
//! of each.

#![expect(clippy::disallowed_methods, reason = "no part of serin: its environment is its own")]

use std::fs::{self, File, OpenOptions};
use std::io::{self, Error, ErrorKind, Read, Seek, SeekFrom, Write};
use std::net::TcpStream;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::net::{SocketAddr, UnixStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use lambda_runtime::{LambdaEvent, run, service_fn};
use serde_json::{Map, Value, json};

/// What is got by an attempt that comes off.
type Got = io::Result<String>;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_runtime::Error> {
    run(service_fn(|event: LambdaEvent<Value>| async move {
        let facts = Facts(event.payload);
        let mut came = Map::new();
        for (name, attempt) in attempts() {
            let (escaped, how) = match attempt(&facts) {
                Ok(got) => (true, got),
                Err(why) => (false, why.to_string()),
            };
            came.insert(name.to_owned(), json!({ "escaped": escaped, "how": how }));
        }
        Ok::<_, lambda_runtime::Error>(Value::Object(came))
    }))
    .await
}

/// What the one who means ill has found out before: addresses, directories, numbers.
struct Facts(Value);

impl Facts {
    fn text(&self, name: &str) -> &str {
        self.0[name].as_str().unwrap_or_default()
    }

    fn number(&self, name: &str) -> i32 {
        self.0[name].as_i64().and_then(|number| number.try_into().ok()).unwrap_or_default()
    }

    fn port(&self, name: &str) -> u16 {
        self.text(name).rsplit(':').next().and_then(|port| port.parse().ok()).unwrap_or_default()
    }

    fn data(&self, name: &str) -> PathBuf {
        Path::new(self.text("data")).join(name)
    }

    fn is_root(&self) -> bool {
        self.0["root"] == true
    }
}

type Attempt = fn(&Facts) -> Got;

fn attempts() -> Vec<(&'static str, Attempt)> {
    let all: [&[(&'static str, Attempt)]; 6] = [&CONTROL, &FILES, &PROCESSES, &NETWORK, &KERNEL, &SHARES];
    all.concat()
}

/// The daemon's API, as whoever runs it.
const CONTROL: [(&str, Attempt); 7] = [
    ("make a function by the API", |facts| {
        let body = r#"{"functionName":"stolen","url":"http://127.0.0.1:9"}"#;
        obeyed(facts.text("api"), "POST /v1/functions", body)
    }),
    ("have a backup made by the API", |facts| obeyed(facts.text("api"), "POST /v1/backup", "{}")),
    ("read the functions by the API", |facts| obeyed(facts.text("api"), "GET /2015-03-31/functions", "")),
    ("read the metrics", |facts| obeyed(facts.text("api"), "GET /metrics", "")),
    ("invoke another function by the API without credentials", |facts| {
        obeyed(facts.text("api"), "POST /2015-03-31/functions/other/invocations", "{}")
    }),
    ("change something by the API and be gone before it looks", |facts| {
        // Whether it came off is seen from outside.
        for number in 0..20 {
            let body = json!({ "FunctionVersion": "1", "Name": format!("stolen{number}") }).to_string();
            drop(sent(facts.text("api"), "POST /2015-03-31/functions/other/aliases", &body)?);
        }
        Err(Error::other("nobody waited for an answer"))
    }),
    ("leave nobody else a place at the listeners", |facts| {
        // As above: the requests that follow are answered.
        for address in [facts.text("api"), facts.text("router")].repeat(200) {
            let address = address.parse().map_err(Error::other)?;
            let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(5))?;
            let _ = stream.write_all(b"POST /v1/backup HTTP/1.1\r\nhost: ");
            std::mem::forget(stream);
        }
        Err(Error::other("they are held"))
    }),
];

/// The daemon's files, other functions' and the machine's.
const FILES: [(&str, Attempt); 22] = [
    ("write its own code", |_| wrote(&task().join("bootstrap"))),
    ("put a file beside its code", |_| wrote(&task().join("new"))),
    ("open its code to writing", |_| {
        fs::set_permissions(task().join("bootstrap"), fs::Permissions::from_mode(0o777)).map(|()| done())
    }),
    ("put other code in the place of its own", |_| {
        fs::rename(task().join("bootstrap"), task().join("old")).map(|()| done())
    }),
    ("list other functions' code", |facts| listed(Path::new(facts.text("run")))),
    ("read another function's code", |facts| read(Path::new(facts.text("otherCode")))),
    ("write another function's code", |facts| appended(Path::new(facts.text("otherCode")))),
    ("read the database", |facts| read(&facts.data("serin.db"))),
    ("write the database", |facts| wrote(&facts.data("serin.db"))),
    ("list the data directory", |facts| listed(Path::new(facts.text("data")))),
    ("leave a file in the data directory", |facts| wrote(&facts.data("left"))),
    ("reach the data directory by a link", |facts| {
        let link = temporary("link");
        symlink(facts.text("data"), &link)?;
        listed(&link)
    }),
    ("link to the daemon's files", |facts| {
        fs::hard_link(facts.data("serin.db"), temporary("hard")).map(|()| done())
    }),
    ("read who else claims users", |_| listed(Path::new("/run/serin"))),
    ("read passwords", |_| read(Path::new("/etc/shadow"))),
    ("make itself a user", |_| appended(Path::new("/etc/passwd"))),
    ("put a key into root's home", |_| wrote(Path::new("/root/.ssh/authorized_keys"))),
    ("put a program in everybody's way", |_| wrote(Path::new("/usr/local/bin/ls"))),
    ("have something run by cron", |_| wrote(Path::new("/etc/cron.d/escape"))),
    ("read what another left in /tmp", |facts| read(Path::new(facts.text("temporary")))),
    ("leave what only its owner may remove", |_| {
        // Whether it stays is seen from outside.
        let place = temporary("sticky");
        fs::create_dir(&place)?;
        fs::write(place.join("left"), "left")?;
        fs::set_permissions(&place, fs::Permissions::from_mode(0o1500))?;
        Err(Error::other("it is left"))
    }),
    ("make a device", |_| {
        let path = c_text(&temporary("mem"))?;
        // SAFETY: the path ends in a zero byte.
        check(unsafe { libc::mknod(path.as_ptr(), libc::S_IFCHR | 0o666, libc::makedev(1, 1)) })
    }),
];

/// The daemon's process and others.
const PROCESSES: [(&str, Attempt); 14] = [
    ("find the daemon's secret in an environment", |facts| found_in("environ", facts.text("secret"))),
    ("find the daemon's secret in a command line", |facts| found_in("cmdline", facts.text("secret"))),
    ("open the daemon's memory", |facts| {
        let path = format!("/proc/{}/mem", facts.number("daemon"));
        OpenOptions::new().read(true).open(path).map(|_| done())
    }),
    ("open the memory of whoever started it", |_| File::open("/proc/1/mem").map(|_| done())),
    ("leave by the root of whoever started it", |_| listed(Path::new("/proc/1/root/"))),
    ("leave by the files of whoever started it", |_| listed(Path::new("/proc/1/fd"))),
    ("read the daemon's memory", |facts| peeked(facts.number("daemon"))),
    ("read the memory of whoever started it", |_| peeked(1)),
    ("trace the daemon", |facts| traced(facts.number("daemon"))),
    ("trace whoever started it", |_| traced(1)),
    // SAFETY (here and below): system calls with numbers alone touch no memory of this process.
    ("signal the daemon", |facts| check(unsafe { libc::kill(facts.number("daemon"), 0) })),
    ("signal another function", |facts| check(unsafe { libc::kill(facts.number("other"), 0) })),
    ("hold the daemon's process", |facts| call(libc::SYS_pidfd_open, [facts.number("daemon").into(), 0, 0])),
    ("slow the daemon down", |facts| {
        check(unsafe { libc::setpriority(libc::PRIO_PROCESS, facts.number("daemon").cast_unsigned(), 19) })
    }),
];

/// The daemon's sockets and the machine's network.
const NETWORK: [(&str, Attempt); 9] = [
    ("answer beside the router", |facts| bound([127, 0, 0, 1], facts.port("router"), libc::SO_REUSEPORT)),
    ("answer beside the API", |facts| bound([127, 0, 0, 1], facts.port("api"), libc::SO_REUSEPORT)),
    ("answer for the router at every address", |facts| {
        bound([0, 0, 0, 0], facts.port("router"), libc::SO_REUSEADDR)
    }),
    ("take another function's invocations", |facts| {
        answered(facts.text("runtimeApi"), "GET /2018-06-01/runtime/nothing", "")
    }),
    ("answer another function's invocation", |facts| {
        answered(facts.text("runtimeApi"), "POST /2018-06-01/runtime/init/error", "{}")
    }),
    ("reach a socket that is no file", |facts| {
        // Whoever is another user is asked who they are by whoever listens.
        if facts.is_root() {
            return Err(ErrorKind::Unsupported.into());
        }
        let address = SocketAddr::from_abstract_name(facts.text("abstract"))?;
        UnixStream::connect_addr(&address).map(|_| done())
    }),
    ("send packets of its own making", |_| opened(libc::AF_INET, libc::SOCK_RAW, libc::IPPROTO_ICMP)),
    ("see all packets", |_| opened(libc::AF_PACKET, libc::SOCK_RAW, 0)),
    ("speak to the host of a virtual machine", |_| opened(libc::AF_VSOCK, libc::SOCK_STREAM, 0)),
];

/// The kernel: namespaces, mounts, users, and whatever is large and seldom needed.
const KERNEL: [(&str, Attempt); 36] = [
    ("make a namespace of users", |_| check(unsafe { libc::unshare(libc::CLONE_NEWUSER) })),
    ("make a namespace of mounts", |_| check(unsafe { libc::unshare(libc::CLONE_NEWNS) })),
    ("make a namespace of networks", |_| check(unsafe { libc::unshare(libc::CLONE_NEWNET) })),
    ("be born in a namespace", |_| {
        let flags = i64::from(libc::CLONE_NEWUSER | libc::SIGCHLD);
        match unsafe { libc::syscall(libc::SYS_clone, flags, 0, 0, 0, 0) } {
            -1 => Err(Error::last_os_error()),
            0 => unsafe { libc::_exit(0) },
            _ => Ok(done()),
        }
    }),
    ("be born in a namespace the new way", |_| call(libc::SYS_clone3, [0, 0, 0])),
    ("enter another's namespace", |facts| {
        let other = File::open(format!("/proc/{}/ns/mnt", facts.number("daemon")));
        let own = other.or_else(|_| File::open("/proc/self/ns/mnt"))?;
        check(unsafe { libc::setns(std::os::fd::AsRawFd::as_raw_fd(&own), 0) })
    }),
    ("mount", |_| mounted(c"tmpfs", libc::MS_NOSUID)),
    ("mount what is mounted anew, writable", |_| mounted(c"none", libc::MS_REMOUNT | libc::MS_BIND)),
    ("uncover what is mounted over", |_| {
        // SAFETY: the path ends in a zero byte.
        check(unsafe { libc::umount2(c"/tmp".as_ptr(), libc::MNT_DETACH) })
    }),
    ("change the root", |_| {
        // SAFETY: as above.
        check(unsafe { libc::chroot(c"/tmp".as_ptr()) })
    }),
    ("mount the new way", |_| call(libc::SYS_fsopen, [c"tmpfs".as_ptr() as i64, 0, 0])),
    ("copy a tree of mounts", |_| call(libc::SYS_open_tree, [-100, c"/".as_ptr() as i64, 1])),
    // `open_tree_attr`, which is newer than the lists of calls that are refused.
    ("copy a tree of mounts the newest way", |_| call(467, [-100, c"/".as_ptr() as i64, 1])),
    ("open a file by its number", |_| call(libc::SYS_open_by_handle_at, [-100, 0, 0])),
    ("load a program into the kernel", |_| call(libc::SYS_bpf, [0, 0, 0])),
    ("load a module", |_| call(libc::SYS_init_module, [0, 0, c"".as_ptr() as i64])),
    ("load another kernel", |_| call(libc::SYS_kexec_load, [0, 0, 0])),
    ("watch the kernel", |_| call(libc::SYS_perf_event_open, [0, 0, -1])),
    ("read the kernel's log", |_| call(libc::SYS_syslog, [10, 0, 0])),
    ("hold page faults up", |_| call(libc::SYS_userfaultfd, [0, 0, 0])),
    ("go around the filter by rings", |_| call(libc::SYS_io_uring_setup, [1, 0, 0])),
    ("go around the filter by other numbers", |_| call(0x4000_0000 + libc::SYS_getpid, [0, 0, 0])),
    ("use the kernel's keys", |_| call(libc::SYS_keyctl, [0, -3, 1])),
    ("turn the machine off", |_| call(libc::SYS_reboot, [0xfee1_dead, 672_274_793, 0])),
    ("set the clock", |_| {
        let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        // SAFETY: the time lives through both calls. It is the right one, for whoever lets it be set.
        check(unsafe { libc::clock_gettime(libc::CLOCK_REALTIME, &raw mut now) })?;
        check(unsafe { libc::clock_settime(libc::CLOCK_REALTIME, &raw const now) })
    }),
    ("name the machine", |_| {
        // SAFETY: one byte of a text.
        check(unsafe { libc::sethostname(c"x".as_ptr(), 1) })
    }),
    ("switch accounting on", |_| call(libc::SYS_acct, [0, 0, 0])),
    ("become root", |_| check(unsafe { libc::setuid(0) }).and_then(|_| is_another())),
    ("become another function's user", |_| {
        check(unsafe { libc::setuid(libc::getuid() + 1) }).and_then(|_| is_another())
    }),
    ("join root's group", |_| check(unsafe { libc::setgid(0) }).and_then(|_| is_another())),
    ("gain by running what is root's", |_| {
        // SAFETY: as above.
        match unsafe { libc::prctl(libc::PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) } {
            1 => Err(ErrorKind::PermissionDenied.into()),
            _ => Ok(done()),
        }
    }),
    ("have a capability", |_| {
        let status = fs::read_to_string("/proc/self/status")?;
        let has = |line: &&str| line.starts_with("Cap") && !line.ends_with("0000000000000000");
        status.lines().find(has).map(str::to_owned).ok_or_else(|| ErrorKind::PermissionDenied.into())
    }),
    ("open the machine's memory", |_| File::open("/dev/mem").map(|_| done())),
    ("open the machine's disk", |_| {
        let disks = ["/dev/vda", "/dev/sda", "/dev/nvme0n1", "/dev/xvda", "/dev/loop0"];
        disks.iter().find_map(|disk| File::open(disk).ok()).map(|_| done()).ok_or(ErrorKind::NotFound.into())
    }),
    ("have the kernel run a program", |_| wrote(Path::new("/proc/sys/kernel/core_pattern"))),
    ("press the kernel's keys", |_| wrote(Path::new("/proc/sysrq-trigger"))),
];

/// What is shared with others, and more of it than is given.
const SHARES: [(&str, Attempt); 12] = [
    ("leave its control group", |_| {
        let (top, own) = control_group();
        let above = own.ancestors().skip(1).take_while(|group| group.starts_with(&top));
        any(above.chain([Path::new("/sys/fs/cgroup")]).map(|group| wrote(&group.join("cgroup.procs"))))
    }),
    ("lift the bounds of its control group", |_| {
        let (_, own) = control_group();
        let bounds =
            ["memory.max", "pids.max", "memory.oom.group", "cgroup.freeze", "cgroup.subtree_control"];
        any(bounds.map(|name| wrote(&own.join(name))))
    }),
    ("make a control group", |_| fs::create_dir(control_group().1.join("inner")).map(|()| done())),
    ("hold the daemon's control groups", |_| {
        let (_, own) = control_group();
        let daemons = own.parent().filter(|place| place.to_string_lossy().contains("serin-functions-"));
        File::open(daemons.ok_or(ErrorKind::Unsupported)?).map(|_| done())
    }),
    ("read shared memory of others", |facts| read(Path::new(facts.text("shared")))),
    ("attach shared memory of others", |facts| check(unsafe { libc::shmget(facts.number("key"), 0, 0) })),
    ("write a file without end", |_| {
        let mut file = File::create(temporary("large"))?;
        file.seek(SeekFrom::Start(600 << 20))?;
        file.write_all(b"x").map(|()| done())
    }),
    ("open files without end", |_| more_of(libc::RLIMIT_NOFILE)),
    ("start processes without end", |_| more_of(libc::RLIMIT_NPROC)),
    ("leave a core", |_| more_of(libc::RLIMIT_CORE)),
    ("outlive the daemon where memory is short", |facts| {
        // Whoever is not root can raise its own score alone, and is held to no least.
        if !facts.is_root() {
            return Err(ErrorKind::Unsupported.into());
        }
        fs::write("/proc/self/oom_score_adj", "-500").map(|()| done())
    }),
    ("run before everybody else", |_| {
        let most = libc::sched_param { sched_priority: 50 };
        // SAFETY: the parameters live through the call.
        check(unsafe { libc::sched_setscheduler(0, libc::SCHED_FIFO, &raw const most) })
    }),
];

fn done() -> String {
    "it is done".to_owned()
}

fn check(done: libc::c_int) -> Got {
    if done == -1 { Err(Error::last_os_error()) } else { Ok(format!("the kernel said {done}")) }
}

/// A system call that needs no more than three arguments to be refused or not.
fn call(number: i64, [one, two, three]: [i64; 3]) -> Got {
    // SAFETY: pointers are texts that end in a zero byte, or null, which the kernel refuses to follow.
    match unsafe { libc::syscall(number, one, two, three, 0, 0) } {
        // Only one that was let in looks at what it was given.
        -1 if matches!(Error::last_os_error().raw_os_error(), Some(libc::EFAULT | libc::EINVAL)) => {
            Ok(format!("it was let in: {}", Error::last_os_error()))
        }
        -1 => Err(Error::last_os_error()),
        got => Ok(format!("the kernel said {got}")),
    }
}

fn task() -> PathBuf {
    std::env::var_os("LAMBDA_TASK_ROOT").map(PathBuf::from).unwrap_or_default()
}

fn temporary(name: &str) -> PathBuf {
    std::env::temp_dir().join(name)
}

fn c_text(path: &Path) -> io::Result<std::ffi::CString> {
    Ok(std::ffi::CString::new(path.as_os_str().as_encoded_bytes())?)
}

fn read(path: &Path) -> Got {
    let mut bytes = [0; 64];
    let count = File::open(path)?.read(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes[..count]).into_owned())
}

fn wrote(path: &Path) -> Got {
    OpenOptions::new().write(true).create(true).truncate(false).open(path).map(|_| done())
}

fn appended(path: &Path) -> Got {
    OpenOptions::new().append(true).open(path).map(|_| done())
}

/// The first that comes off, or else why the last did not.
fn any(tried: impl IntoIterator<Item = Got>) -> Got {
    let mut why = ErrorKind::NotFound.into();
    for got in tried {
        match got {
            Ok(got) => return Ok(got),
            Err(error) => why = error,
        }
    }
    Err(why)
}

/// The group of all groups, and its own.
fn control_group() -> (PathBuf, PathBuf) {
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let top =
        mounts.lines().find(|line| line.contains(" - cgroup2 ")).and_then(|line| line.split(' ').nth(4));
    let top = PathBuf::from(top.unwrap_or("/sys/fs/cgroup"));
    let groups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let own = groups.lines().find_map(|line| line.strip_prefix("0::/")).unwrap_or_default();
    let own = top.join(own);
    (top, own)
}

fn listed(path: &Path) -> Got {
    let names: Vec<_> = fs::read_dir(path)?.flatten().map(|entry| entry.file_name()).collect();
    Ok(format!("{names:?}"))
}

/// Looks into every process that is seen for a text.
fn found_in(file: &str, text: &str) -> Got {
    let processes = fs::read_dir("/proc")?.flatten();
    let has = |process: &PathBuf| {
        let bytes = fs::read(process.join(file)).unwrap_or_default();
        !text.is_empty() && bytes.windows(text.len()).any(|part| part == text.as_bytes())
    };
    let found = processes.map(|entry| entry.path()).find(has);
    found.map(|process| process.display().to_string()).ok_or_else(|| ErrorKind::NotFound.into())
}

fn peeked(process: i32) -> Got {
    let mut bytes = [0_u8; 8];
    let ours = libc::iovec { iov_base: bytes.as_mut_ptr().cast(), iov_len: bytes.len() };
    let theirs = libc::iovec { iov_base: 0x40_0000 as *mut libc::c_void, iov_len: bytes.len() };
    // SAFETY: what is read goes into bytes that live through the call.
    let got = unsafe { libc::process_vm_readv(process, &raw const ours, 1, &raw const theirs, 1, 0) };
    match Error::last_os_error() {
        why if got == -1 && why.raw_os_error() != Some(libc::EFAULT) => Err(why),
        _ => Ok(done()),
    }
}

fn traced(process: i32) -> Got {
    call(libc::SYS_ptrace, [libc::PTRACE_SEIZE.into(), process.into(), 0])
}

/// It may be told that it is whom it asks to be because it is that already.
fn is_another() -> Got {
    Ok("it is another user".to_owned())
}

fn mounted(kind: &std::ffi::CStr, flags: libc::c_ulong) -> Got {
    let nothing = std::ptr::null();
    // SAFETY: texts end in a zero byte, and no options are given.
    check(unsafe { libc::mount(kind.as_ptr(), c"/tmp".as_ptr(), kind.as_ptr(), flags, nothing) })
}

fn opened(family: i32, kind: i32, protocol: i32) -> Got {
    // SAFETY: numbers alone.
    check(unsafe { libc::socket(family, kind, protocol) })
}

fn bound(address: [u8; 4], port: u16, option: i32) -> Got {
    // SAFETY: what is pointed to lives through the calls, and has the sizes that are told.
    unsafe {
        let socket = libc::socket(libc::AF_INET, libc::SOCK_STREAM, 0);
        check(socket)?;
        let one = 1_i32;
        let size = libc::socklen_t::try_from(size_of::<i32>()).expect("four");
        check(libc::setsockopt(socket, libc::SOL_SOCKET, option, (&raw const one).cast(), size))?;
        let mut at: libc::sockaddr_in = std::mem::zeroed();
        at.sin_family = libc::AF_INET.try_into().expect("small");
        at.sin_port = port.to_be();
        at.sin_addr.s_addr = u32::from_ne_bytes(address);
        let size = libc::socklen_t::try_from(size_of::<libc::sockaddr_in>()).expect("sixteen");
        check(libc::bind(socket, (&raw const at).cast(), size))?;
        check(libc::listen(socket, 1))
    }
}

/// Whether a limit can be raised, or is none.
fn more_of(resource: libc::__rlimit_resource_t) -> Got {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the limit lives through both calls.
    unsafe {
        check(libc::getrlimit(resource, &raw mut limit))?;
        if limit.rlim_max > 4096 {
            return Ok(format!("{} may be had", limit.rlim_max));
        }
        limit.rlim_max += 1;
        check(libc::setrlimit(resource, &raw const limit))
    }
}

fn sent(address: &str, head: &str, body: &str) -> io::Result<TcpStream> {
    let address = address.parse().map_err(Error::other)?;
    let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(5))?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    write!(
        stream,
        "{head} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\ncontent-type: application/json\r\ncontent-length: {}\
         \r\n\r\n{body}",
        body.len()
    )?;
    Ok(stream)
}

/// Whether there was an answer of any kind.
fn answered(address: &str, head: &str, body: &str) -> Got {
    let mut answer = Vec::new();
    let cut = sent(address, head, body)?.read_to_end(&mut answer);
    match String::from_utf8_lossy(&answer).lines().next() {
        Some(line) => Ok(line.to_owned()),
        None => Err(cut.err().unwrap_or_else(|| ErrorKind::ConnectionReset.into())),
    }
}

/// Whether the answer was no refusal.
fn obeyed(address: &str, head: &str, body: &str) -> Got {
    let line = answered(address, head, body)?;
    let is_refused = ["401", "403"].iter().any(|status| line.split(' ').nth(1) == Some(status));
    if is_refused { Err(Error::other(line)) } else { Ok(line) }
}
