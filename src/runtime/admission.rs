//! How many invocations may run at once: what functions have reserved, and what the others share.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::domain::arn::FunctionName;
use crate::domain::concurrency::ACCOUNT_CONCURRENCY;

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
    running: u32,
    reserved: Option<u32>,
}

/// One place, given back when dropped.
#[derive(Debug)]
pub struct Permit {
    admission: Admission,
    function: FunctionName,
    is_shared: bool,
}

impl std::fmt::Debug for Admission {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Admission")
    }
}

impl Admission {
    pub(super) fn admit(&self, function: &FunctionName) -> Result<Permit, Throttled> {
        let mut places = self.locked();
        let unreserved = ACCOUNT_CONCURRENCY.saturating_sub(places.reserved);
        let used = places.functions.get(function);
        let reserved = used.and_then(|used| used.reserved);
        match reserved {
            Some(reserved) if used.map_or(0, |used| used.running) >= reserved => {
                return Err(Throttled::Reserved);
            }
            None if places.shared >= unreserved => return Err(Throttled::Shared),
            Some(_) | None => {}
        }
        let is_shared = reserved.is_none();
        places.shared += u32::from(is_shared);
        places.functions.entry(function.clone()).or_default().running += 1;
        Ok(Permit { admission: self.clone(), function: function.clone(), is_shared })
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

    fn locked(&self) -> MutexGuard<'_, Places> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Places {
    fn forget_unused(&mut self, function: &FunctionName) {
        if self.functions.get(function).is_some_and(|used| used.running == 0 && used.reserved.is_none()) {
            self.functions.remove(function);
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let mut places = self.admission.locked();
        places.shared -= u32::from(self.is_shared);
        if let Some(used) = places.functions.get_mut(&self.function) {
            used.running -= 1;
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
        let held: Vec<_> = (0..2).map(|_| admission.admit(&few).unwrap()).collect();
        assert_eq!(admission.admit(&few).err(), Some(Throttled::Reserved));
        let others: Vec<_> = (0..ACCOUNT_CONCURRENCY - 2).map(|_| admission.admit(&many).unwrap()).collect();
        assert_eq!(admission.admit(&many).err(), Some(Throttled::Shared));
        drop(others);
        admission.reserve(&few, None);
        assert!(admission.admit(&few).is_ok(), "it shares what is there");
        drop(held);
        admission.reserve(&few, Some(0));
        assert_eq!(admission.admit(&few).err(), Some(Throttled::Reserved), "0 stops it");
        admission.reserve(&few, None);
        assert!(admission.locked().functions.is_empty() && admission.locked().shared == 0);
    }
}
