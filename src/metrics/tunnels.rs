//! How many tunnels are open to which version by which alias: WebSockets, and whatever else followed a 101.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::domain::alias::AliasId;
use crate::domain::arn::VersionId;

/// The tunnels that are open, of all workers; counted when one begins and ends, and at no other time.
#[derive(Debug, Default)]
pub struct OpenTunnels {
    open: Mutex<BTreeMap<(AliasId, VersionId), usize>>,
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
    use crate::domain::arn::VersionNumber;

    #[test]
    fn tunnels_are_counted_while_they_are_open() {
        let tunnels = Arc::new(OpenTunnels::default());
        let alias: AliasId = "shop:live".parse().unwrap();
        let [one, two] = [1, 2].map(|number| VersionId::from(VersionNumber(number)));
        let open = [one, two, two].map(|version| tunnels.begin(alias.clone(), version));
        assert_eq!((tunnels.of(&alias, one), tunnels.of(&alias, two)), (1, 2));
        assert_eq!(tunnels.all(), [(alias.clone(), one, 1), (alias.clone(), two, 2)]);
        drop(open);
        assert_eq!((tunnels.of(&alias, two), tunnels.all().len()), (0, 0));
    }
}
