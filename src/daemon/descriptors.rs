//! How many files and connections the process may have open, and how many clients that is enough for.

use rustix::process::{Resource, getrlimit, setrlimit};

/// What is not for clients: the store, the logs, the API, functions' processes, polls of queues.
const RESERVED: u64 = 64;

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

/// How many connections clients may have: each may need another one, to a version.
pub(super) fn connections_max() -> usize {
    let limit = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    connections_within(limit)
}

fn connections_within(descriptors: u64) -> usize {
    let (for_half, at_least) = (descriptors.saturating_sub(RESERVED) / 2, descriptors / 4);
    usize::try_from(for_half.max(at_least).max(1)).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_client_may_need_two_descriptors() {
        let within = [0, 64, 256, 1024, 1 << 20].map(connections_within);
        assert_eq!(within, [1, 16, 96, 480, 524_256]);
    }
}
