//! How many files and connections the process may have open, and how many clients that is enough for.

use rustix::process::{Resource, getrlimit, setrlimit};

/// What is not for clients: the store, the logs, functions' processes, polls of queues.
const RESERVED: u64 = 64;
/// How many connections the control listener has at least and at most, whatever the limit.
const CONTROL_MIN: u64 = 16;
const CONTROL_MAX: u64 = 512;

/// Raises the limit to what the process may raise it to.
pub(super) fn raise() {
    let mut limit = getrlimit(Resource::Nofile);
    if limit.current == limit.maximum {
        return;
    }
    limit.current = limit.maximum;
    if let Err(why) = setrlimit(Resource::Nofile, limit) {
        tracing::warn!("the limit of open files stays as it is: {why}");
    }
}

/// Who may have how many of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Shares {
    /// Connections of the router's clients: each may need another one, to a version.
    pub(super) router: usize,
    /// Connections to the control listener.
    pub(super) control: usize,
    /// Files of large bodies that come in there.
    pub(super) bodies: usize,
}

/// Who may have how many now.
pub(super) fn shares() -> Shares {
    Shares::of(getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX))
}

impl Shares {
    fn of(descriptors: u64) -> Shares {
        let control = (descriptors / 8).clamp(CONTROL_MIN, CONTROL_MAX);
        let bodies = control / 4;
        let kept = RESERVED + control + bodies;
        let (for_half, at_least) = (descriptors.saturating_sub(kept) / 2, descriptors / 8);
        let count = |share: u64| usize::try_from(share.max(1)).unwrap_or(usize::MAX);
        Shares { router: count(for_half.max(at_least)), control: count(control), bodies: count(bodies) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_client_may_need_two_descriptors_and_control_has_its_own() {
        let of = |descriptors| {
            let Shares { router, control, bodies } = Shares::of(descriptors);
            (router, control, bodies)
        };
        assert_eq!(
            [0, 64, 256, 1024, 1 << 20].map(of),
            [(1, 16, 4), (8, 16, 4), (76, 32, 8), (400, 128, 32), (523_936, 512, 128)]
        );
        for descriptors in [256, 300, 1024, 65_536] {
            let (router, control, bodies) = of(descriptors);
            let sum = 2 * router + control + bodies;
            assert!(sum as u64 + RESERVED <= descriptors, "{descriptors}: {sum}");
        }
    }
}
