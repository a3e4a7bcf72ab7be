//! How many tunnels are open to which version by which alias: WebSockets, and whatever else followed a 101.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serin_core::lambda::alias::AliasId;
use serin_core::model::arn::VersionId;

/// The tunnels that are open, of all workers; counted when one begins and ends, and at no other time.
#[derive(Debug, Default)]
pub struct OpenTunnels {
    open: Mutex<BTreeMap<(AliasId, VersionId), usize>>,
}

/// The tunnels that are open by an alias to a version that it sends nothing to any more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeftTunnels {
    /// The version.
    pub version: VersionId,
    /// How many, at least one.
    pub open: usize,
    /// Within which time each is closed; never by serin, unless given.
    pub close_within: Option<Duration>,
}

/// Tells of them, as the router that carries them has it.
pub trait Tunnels: Send + Sync {
    /// Those of an alias, by version.
    fn left(&self, alias: &AliasId) -> Vec<LeftTunnels>;

    /// All that are open, by alias and version, whether or not they are left.
    fn all(&self) -> Vec<(AliasId, VersionId, usize)>;
}

/// A tunnel that is counted as open until this is dropped.
#[derive(Debug)]
pub struct OpenTunnel {
    tunnels: Arc<OpenTunnels>,
    of: (AliasId, VersionId),
}

impl OpenTunnels {
    /// Counts a tunnel to a version, by an alias.
    pub fn begin(self: &Arc<Self>, alias: AliasId, version: VersionId) -> OpenTunnel {
        let of = (alias, version);
        *self.locked().entry(of.clone()).or_default() += 1;
        OpenTunnel { tunnels: Arc::clone(self), of }
    }

    /// How many are open to a version by an alias.
    pub fn of(&self, alias: &AliasId, version: VersionId) -> usize {
        self.locked().get(&(alias.clone(), version)).copied().unwrap_or_default()
    }

    /// How many are open by an alias, by version; none of those without.
    pub fn by(&self, alias: &AliasId) -> Vec<(VersionId, usize)> {
        let locked = self.locked();
        let of_alias = locked.iter().filter(|((of, _), _)| of == alias);
        of_alias.map(|((_, version), count)| (*version, *count)).collect()
    }

    /// How many are open, by alias and version; none of those without.
    pub fn all(&self) -> Vec<(AliasId, VersionId, usize)> {
        self.locked().iter().map(|((alias, version), count)| (alias.clone(), *version, *count)).collect()
    }

    fn locked(&self) -> MutexGuard<'_, BTreeMap<(AliasId, VersionId), usize>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for OpenTunnel {
    fn drop(&mut self) {
        let mut open = self.tunnels.locked();
        if let Some(count) = open.get_mut(&self.of) {
            *count -= 1;
            if *count == 0 {
                open.remove(&self.of);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serin_core::model::arn::VersionNumber;

    #[test]
    fn tunnels_are_counted_while_they_are_open() {
        let tunnels = Arc::new(OpenTunnels::default());
        let alias: AliasId = "shop:live".parse().unwrap();
        let [one, two] = [1, 2].map(|number| VersionId::from(VersionNumber(number)));
        let open = [one, two, two].map(|version| tunnels.begin(alias.clone(), version));
        assert_eq!((tunnels.of(&alias, one), tunnels.of(&alias, two)), (1, 2));
        assert_eq!(tunnels.by(&alias), [(one, 1), (two, 2)]);
        assert_eq!(tunnels.by(&"shop:test".parse().unwrap()), []);
        assert_eq!(tunnels.all(), [(alias.clone(), one, 1), (alias.clone(), two, 2)]);
        drop(open);
        assert_eq!((tunnels.of(&alias, two), tunnels.all().len()), (0, 0));
    }
}
