//! What a process sees of the file system: a root of its own, in which nothing but its scratch can be written.
//!
//! Two kinds. Where the process is a user of its own, it sees the machine as far as modes allow, read-only. Where it is
//! the daemon's user, which could read whatever the daemon can, it sees the programs and libraries of the machine and
//! what they need of `/etc`, and nothing else.

use std::ffi::CString;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use super::order::{TASK, TMP, View};

/// Made anew in every view.
const OWN: [&str; 4] = ["dev", "proc", "tmp", "var"];
/// Of `/var`, made anew.
const OWN_OF_VAR: [&str; 2] = ["task", "tmp"];
/// What programs need, where not everything is seen.
const PROGRAMS: [&str; 10] = ["usr", "bin", "sbin", "lib", "lib32", "lib64", "libx32", "opt", "nix", "gnu"];
/// Of `/etc`: what tells users, names, addresses, times, authorities and libraries.
const OF_ETC: [&str; 25] = [
    "alternatives",
    "ca-certificates",
    "crypto-policies",
    "fonts",
    "gai.conf",
    "group",
    "host.conf",
    "hosts",
    "ld.so.cache",
    "ld.so.conf",
    "ld.so.conf.d",
    "localtime",
    "mime.types",
    "nsswitch.conf",
    "os-release",
    "passwd",
    "pki/ca-trust",
    "pki/tls/cert.pem",
    "pki/tls/certs",
    "protocols",
    "resolv.conf",
    "services",
    "ssl/cert.pem",
    "ssl/certs",
    "ssl/openssl.cnf",
];
const DEVICES: [&str; 6] = ["null", "zero", "full", "random", "urandom", "tty"];
/// How much shared memory processes may have beside their own.
const SHARED: &str = "size=64m,mode=1777";

/// No set-user-id programs and no devices.
const NOTHING_MORE: u64 = libc::MOUNT_ATTR_NOSUID | libc::MOUNT_ATTR_NODEV;
const ALONE: libc::c_ulong = libc::MS_NOSUID | libc::MS_NODEV;

/// Makes the view and enters it; `has_processes` says that this process is the first of its own.
pub(super) fn enter(view: &View, has_processes: bool) -> io::Result<()> {
    mount(None, Path::new("/"), None, libc::MS_REC | libc::MS_PRIVATE, None)?;
    let base = view.base.as_path();
    mount(Some(Path::new("tmpfs")), base, Some("tmpfs"), ALONE, Some("size=1m,mode=0755"))?;
    if view.is_whole {
        show_all_but(Path::new("/"), &OWN, base)?;
        fs::create_dir(base.join("var"))?;
        show_all_but(Path::new("/var"), &OWN_OF_VAR, &base.join("var"))?;
    } else {
        for name in PROGRAMS {
            show_if_there(&Path::new("/").join(name), &base.join(name))?;
        }
        fs::create_dir_all(base.join("etc"))?;
        for name in OF_ETC {
            show_resolved(&Path::new("/etc").join(name), &base.join("etc").join(name))?;
        }
        show_if_there(Path::new("/sys/devices/system/cpu"), &base.join("sys/devices/system/cpu"))?;
        fs::create_dir_all(base.join("var"))?;
    }
    devices(base)?;
    if has_processes {
        let place = base.join("proc");
        fs::create_dir(&place)?;
        mount(Some(Path::new("proc")), &place, Some("proc"), ALONE | libc::MS_NOEXEC, None)?;
    } else {
        show_if_there(Path::new("/proc"), &base.join("proc"))?;
    }
    for (place, from) in [(TMP, &view.scratch), (TASK, &view.code)] {
        let place = below(base, Path::new(place));
        fs::create_dir_all(&place)?;
        bind(from, &place)?;
    }
    seal(&below(base, Path::new(TASK)), libc::MOUNT_ATTR_RDONLY | NOTHING_MORE)?;
    seal(&below(base, Path::new(TMP)), NOTHING_MORE)?;
    for place in view.programs.iter().filter(|place| !is_seen(place, view)) {
        show_if_there(place, &below(base, place))?;
    }
    for place in &view.hidden {
        hide(&below(base, place))?;
    }
    symlink(TMP, base.join("var/tmp"))?;
    change_root(base)?;
    seal(Path::new("/"), libc::MOUNT_ATTR_RDONLY)
}

/// Whether a place is shown anyway.
fn is_seen(place: &Path, view: &View) -> bool {
    let first = place.components().nth(1).and_then(|part| part.as_os_str().to_str()).unwrap_or_default();
    let is_temporary = place.starts_with("/tmp") || place.starts_with("/var/tmp");
    if view.is_whole { !is_temporary } else { PROGRAMS.contains(&first) }
}

fn below(base: &Path, place: &Path) -> PathBuf {
    base.join(place.strip_prefix("/").unwrap_or(place))
}

/// Shows everything in a directory but some of it.
fn show_all_but(directory: &Path, left_out: &[&str], at: &Path) -> io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let name = entry?.file_name();
        if !left_out.iter().any(|left_out| name == *left_out) {
            show_if_there(&directory.join(&name), &at.join(&name))?;
        }
    }
    Ok(())
}

/// Shows a directory with all that is mounted below, a file, or a link as it is; what is not there, or may not be looked
/// at, is not shown.
fn show_if_there(place: &Path, at: &Path) -> io::Result<()> {
    let Ok(found) = fs::symlink_metadata(place) else { return Ok(()) };
    if found.is_symlink() {
        return symlink(fs::read_link(place)?, at);
    }
    if found.is_dir() {
        fs::create_dir_all(at)?;
    } else if found.is_file() {
        if let Some(parent) = at.parent() {
            fs::create_dir_all(parent)?;
        }
        fs::write(at, "")?;
    } else {
        return Ok(());
    }
    // A share that has gone away, say, is an empty place.
    bind(place, at).map_or(Ok(()), |()| seal(at, libc::MOUNT_ATTR_RDONLY | NOTHING_MORE))
}

/// Shows what a link leads to in the place of the link: it may lead to what is not shown.
fn show_resolved(place: &Path, at: &Path) -> io::Result<()> {
    match fs::canonicalize(place) {
        Ok(place) => show_if_there(&place, at),
        Err(_) => Ok(()),
    }
}

/// Puts nothing in the place of something, if it is there to be seen.
fn hide(place: &Path) -> io::Result<()> {
    let Ok(found) = fs::symlink_metadata(place) else { return Ok(()) };
    if found.is_dir() {
        let flags = ALONE | libc::MS_NOEXEC | libc::MS_RDONLY;
        mount(Some(Path::new("tmpfs")), place, Some("tmpfs"), flags, Some("size=4k,mode=0000"))
    } else if found.is_file() {
        bind(Path::new("/dev/null"), place)
    } else {
        Ok(())
    }
}

fn devices(base: &Path) -> io::Result<()> {
    let dev = base.join("dev");
    fs::create_dir(&dev)?;
    for name in DEVICES {
        let device = Path::new("/dev").join(name);
        if device.exists() {
            fs::write(dev.join(name), "")?;
            bind(&device, &dev.join(name))?;
        }
    }
    for (name, to) in [("fd", "fd"), ("stdin", "fd/0"), ("stdout", "fd/1"), ("stderr", "fd/2")] {
        symlink(Path::new("/proc/self").join(to), dev.join(name))?;
    }
    let shared = dev.join("shm");
    fs::create_dir(&shared)?;
    mount(Some(Path::new("tmpfs")), &shared, Some("tmpfs"), ALONE, Some(SHARED))
}

fn bind(place: &Path, at: &Path) -> io::Result<()> {
    mount(Some(place), at, None, libc::MS_BIND | libc::MS_REC, None)
}

/// Sets attributes of a mount and of all below it; the root's own alone.
fn seal(place: &Path, attributes: u64) -> io::Result<()> {
    let wanted = libc::mount_attr { attr_set: attributes, attr_clr: 0, propagation: 0, userns_fd: 0 };
    let recursive = if place == Path::new("/") { 0 } else { libc::AT_RECURSIVE };
    let path = c_path(place)?;
    // SAFETY: the path ends in a zero byte, and the kernel reads as much of the attributes as it is told to.
    let done = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            libc::AT_FDCWD,
            path.as_ptr(),
            recursive,
            &raw const wanted,
            size_of::<libc::mount_attr>(),
        )
    };
    succeeded(done)
}

/// Makes a directory the root, and leaves the one before.
fn change_root(base: &Path) -> io::Result<()> {
    std::env::set_current_dir(base)?;
    let here = c".";
    // SAFETY: both paths end in a zero byte.
    succeeded(unsafe { libc::syscall(libc::SYS_pivot_root, here.as_ptr(), here.as_ptr()) })?;
    // The one before now lies upon this one.
    // SAFETY: as above.
    succeeded(unsafe { libc::umount2(here.as_ptr(), libc::MNT_DETACH) }.into())?;
    std::env::set_current_dir("/")
}

fn mount(
    from: Option<&Path>,
    at: &Path,
    kind: Option<&str>,
    flags: libc::c_ulong,
    options: Option<&str>,
) -> io::Result<()> {
    let from = from.map(c_path).transpose()?;
    let at = c_path(at)?;
    let kind = kind.map(CString::new).transpose()?;
    let options = options.map(CString::new).transpose()?;
    let pointer = |text: &Option<CString>| text.as_ref().map_or(std::ptr::null(), |text| text.as_ptr());
    // SAFETY: every pointer is null or a text that ends in a zero byte and lives through the call.
    let done =
        unsafe { libc::mount(pointer(&from), at.as_ptr(), pointer(&kind), flags, pointer(&options).cast()) };
    succeeded(done.into())
}

fn c_path(path: &Path) -> io::Result<CString> {
    Ok(CString::new(path.as_os_str().as_bytes())?)
}

fn succeeded(done: libc::c_long) -> io::Result<()> {
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
