//! The daemon's secrets: read from its environment, and taken out of it, in which others of its user could read them.

use std::collections::BTreeMap;
use std::ffi::CStr;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::variable;

/// Variables with their values.
pub type Secrets = BTreeMap<String, String>;

/// What this process, and whatever it starts, goes by; listed for plans or not, it stays.
const NO_SECRETS: [&str; 9] =
    ["HOME", "LANG", "LOGNAME", "NOTIFY_SOCKET", "PATH", "TMPDIR", "TZ", "USER", "XDG_STATE_HOME"];

static TAKEN: Mutex<Secrets> = Mutex::new(Secrets::new());
static IS_KEEPING: AtomicBool = AtomicBool::new(false);

/// From here on nobody of this user looks into this process, and secrets leave the environment once they are read.
///
/// Fails where the kernel does not let the process be closed.
pub fn keep_secrets() -> io::Result<()> {
    IS_KEEPING.store(true, Ordering::Relaxed);
    rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable)?;
    Ok(())
}

/// A variable that holds a secret; `None` where it is unset or empty.
pub fn secret(name: &str) -> Option<String> {
    if let Some(value) = taken().get(name) {
        return Some(value.clone());
    }
    let value = variable(name)?;
    if IS_KEEPING.load(Ordering::Relaxed) && !NO_SECRETS.contains(&name) {
        taken().insert(name.to_owned(), value.clone());
        wipe(name);
    }
    Some(value)
}

/// What was taken out of the environment, for the process that takes over.
pub fn to_hand_over() -> Secrets {
    taken().clone()
}

/// Takes what the process before had taken out of it.
pub fn hand_in(secrets: Secrets) {
    taken().extend(secrets);
}

fn taken() -> MutexGuard<'static, Secrets> {
    TAKEN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Writes zeros over a variable's value, where the kernel shows it to others: the variable is set to nothing from here on.
///
/// To unset it would do less, for it takes the pointer away and leaves the text.
fn wipe(name: &str) {
    unsafe extern "C" {
        static environ: *const *mut libc::c_char;
    }
    // SAFETY: the list ends in a null, and nothing in this program changes it; its texts are this process's own memory,
    // which may be written to. No text becomes longer, and of all others only a reader of this variable reads what is
    // written here: they all come through `secret`.
    unsafe {
        let mut entry = environ;
        while !entry.is_null() && !(*entry).is_null() {
            let text = *entry;
            let bytes = CStr::from_ptr(text).to_bytes();
            let (length, value) = (bytes.len(), name.len() + 1);
            if bytes.strip_prefix(name.as_bytes()).is_some_and(|rest| rest.starts_with(b"=")) {
                text.add(value).write_bytes(0, length - value);
            }
            entry = entry.add(1);
        }
    }
}
