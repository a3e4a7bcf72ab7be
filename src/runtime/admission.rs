//! How many invocations may run at once: what functions have reserved, and what the others share.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serin_core::lambda::concurrency::ACCOUNT_CONCURRENCY;
use serin_core::model::arn::{FunctionName, VersionId};

/// Why an invocation got no place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Throttled {
    /// All that the function has reserved is in use.
    Reserved,
    /// All that is not reserved is in use.
    Shared,
}

impl Throttled {
    /// AWS's word for it.
    pub fn reason(self) -> &'static str {
        match self {
            Throttled::Reserved => "ReservedFunctionConcurrentInvocationLimitExceeded",
            Throttled::Shared => "ConcurrentInvocationLimitExceeded",
        }
    }
}

/// The places, shared by all who invoke.
#[derive(Clone, Default)]
pub(super) struct Admission(Arc<Mutex<Places>>);

#[derive(Default)]
struct Places {
    functions: HashMap<FunctionName, Use>,
    /// Running invocations of functions that reserve nothing.
    shared: u32,
    reserved: u32,
}

#[derive(Default)]
struct Use {
    /// Running invocations that are in no place that is provisioned.
    on_demand: u32,
    reserved: Option<u32>,
    /// Places that are provisioned, by version, and how many of them are in use.
    provisioned: HashMap<VersionId, (u32, u32)>,
}

impl Use {
    /// What of the reservation is provisioned for some version: nobody else gets it.
    fn set_aside(&self) -> u32 {
        self.provisioned.values().map(|(places, _)| places).sum()
    }

    fn has_provisioned(&self, version: VersionId) -> bool {
        self.provisioned.get(&version).is_some_and(|(places, used)| used < places)
    }
}

/// One place, given back when dropped.
#[derive(Debug)]
pub struct Permit {
    admission: Admission,
    function: FunctionName,
    is_shared: bool,
    /// The version for which the place is provisioned, if it is.
    provisioned: Option<VersionId>,
}

impl std::fmt::Debug for Admission {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Admission")
    }
}

impl Admission {
    pub(super) fn admit(&self, function: &FunctionName, version: VersionId) -> Result<Permit, Throttled> {
        let mut places = self.locked();
        let unreserved = ACCOUNT_CONCURRENCY.saturating_sub(places.reserved);
        let used = places.functions.get(function);
        let reserved = used.and_then(|used| used.reserved);
        let is_provisioned = used.is_some_and(|used| used.has_provisioned(version));
        if let (Some(reserved), Some(used), false) = (reserved, used, is_provisioned)
            && used.on_demand >= reserved.saturating_sub(used.set_aside())
        {
            return Err(Throttled::Reserved);
        }
        if reserved.is_none() && places.shared >= unreserved {
            return Err(Throttled::Shared);
        }
        let is_shared = reserved.is_none();
        places.shared += u32::from(is_shared);
        let used = places.functions.entry(function.clone()).or_default();
        let provisioned = is_provisioned.then_some(version);
        match provisioned.and_then(|version| used.provisioned.get_mut(&version)) {
            Some((_, in_use)) => *in_use += 1,
            None => used.on_demand += 1,
        }
        Ok(Permit { admission: self.clone(), function: function.clone(), is_shared, provisioned })
    }

    pub(super) fn reserve(&self, function: &FunctionName, reserved: Option<u32>) {
        let mut places = self.locked();
        if reserved.is_none() && !places.functions.contains_key(function) {
            return;
        }
        let used = places.functions.entry(function.clone()).or_default();
        let before = std::mem::replace(&mut used.reserved, reserved).unwrap_or(0);
        places.reserved = places.reserved - before + reserved.unwrap_or(0);
        places.forget_unused(function);
    }

    /// Sets places apart for versions, and for no others.
    pub(super) fn provision(
        &self,
        function: &FunctionName,
        versions: impl Iterator<Item = (VersionId, u32)>,
    ) {
        let mut places = self.locked();
        let used = places.functions.entry(function.clone()).or_default();
        // Places that are in use are counted until they are given back.
        used.provisioned.retain(|_, (places, in_use)| {
            *places = 0;
            *in_use > 0
        });
        for (version, count) in versions {
            used.provisioned.entry(version).or_default().0 += count;
        }
        places.forget_unused(function);
    }

    fn locked(&self) -> MutexGuard<'_, Places> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Places {
    fn forget_unused(&mut self, function: &FunctionName) {
        let is_unused =
            |used: &Use| used.on_demand == 0 && used.reserved.is_none() && used.provisioned.is_empty();
        if self.functions.get(function).is_some_and(is_unused) {
            self.functions.remove(function);
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let mut places = self.admission.locked();
        places.shared -= u32::from(self.is_shared);
        if let Some(used) = places.functions.get_mut(&self.function) {
            match self.provisioned.and_then(|version| used.provisioned.get_mut(&version)) {
                Some((_, in_use)) => *in_use -= 1,
                None => used.on_demand -= 1,
            }
            used.provisioned.retain(|_, (places, in_use)| *places > 0 || *in_use > 0);
        }
        places.forget_unused(&self.function);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reserved_places_are_kept_for_their_function_and_bound_it() {
        let (admission, name) = (Admission::default(), |name: &str| name.parse::<FunctionName>().unwrap());
        let (few, many) = (name("few"), name("many"));
        admission.reserve(&few, Some(2));
        let held: Vec<_> = (0..2).map(|_| admission.admit(&few, VersionId::Latest).unwrap()).collect();
        assert_eq!(admission.admit(&few, VersionId::Latest).err(), Some(Throttled::Reserved));
        let others: Vec<_> = (0..ACCOUNT_CONCURRENCY - 2)
            .map(|_| admission.admit(&many, VersionId::Latest).unwrap())
            .collect();
        assert_eq!(admission.admit(&many, VersionId::Latest).err(), Some(Throttled::Shared));
        drop(others);
        admission.reserve(&few, None);
        assert!(admission.admit(&few, VersionId::Latest).is_ok(), "it shares what is there");
        drop(held);
        admission.reserve(&few, Some(0));
        assert_eq!(admission.admit(&few, VersionId::Latest).err(), Some(Throttled::Reserved), "0 stops it");
        admission.reserve(&few, None);
        assert!(admission.locked().functions.is_empty() && admission.locked().shared == 0);
    }

    #[test]
    fn what_is_provisioned_for_a_version_is_nobody_elses() {
        let (admission, name) = (Admission::default(), "f".parse::<FunctionName>().unwrap());
        let one = VersionId::Number(serin_core::model::arn::VersionNumber(1));
        admission.reserve(&name, Some(1));
        admission.provision(&name, std::iter::once((one, 1)));
        assert_eq!(admission.admit(&name, VersionId::Latest).err(), Some(Throttled::Reserved));
        let held = admission.admit(&name, one).unwrap();
        assert_eq!(admission.admit(&name, one).err(), Some(Throttled::Reserved), "there is one place");
        admission.provision(&name, std::iter::empty());
        drop(held);
        assert!(admission.admit(&name, VersionId::Latest).is_ok(), "it is everybody's again");
        admission.reserve(&name, None);
        assert!(admission.locked().functions.is_empty() && admission.locked().shared == 0);
    }
}
