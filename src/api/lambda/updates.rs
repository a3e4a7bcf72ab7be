//! Which functions are being updated: while a zip is read and unpacked to its end, and no longer.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::Scope;
use super::error::LambdaError;
use serin_core::model::arn::FunctionName;

/// The functions whose new code is on its way; every clone serves.
#[derive(Clone, Default)]
pub struct Updates(Arc<Mutex<BTreeSet<FunctionName>>>);

/// One update under way, over when dropped.
pub(super) struct Update {
    updates: Updates,
    function: FunctionName,
}

impl Updates {
    /// Begins an update, unless another of the function is under way.
    pub(super) fn begin(&self, scope: &Scope) -> Result<Update, LambdaError> {
        if !self.locked().insert(scope.function.clone()) {
            return Err(in_progress(scope));
        }
        Ok(Update { updates: self.clone(), function: scope.function.clone() })
    }

    /// Refuses what may not be done while an update is under way.
    pub(super) fn check(&self, scope: &Scope) -> Result<(), LambdaError> {
        if self.is_under_way(&scope.function) { Err(in_progress(scope)) } else { Ok(()) }
    }

    /// Whether an update of a function is under way.
    pub(super) fn is_under_way(&self, function: &FunctionName) -> bool {
        self.locked().contains(function)
    }

    fn locked(&self) -> MutexGuard<'_, BTreeSet<FunctionName>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn in_progress(scope: &Scope) -> LambdaError {
    LambdaError::conflict(format!(
        "The operation cannot be performed at this time. An update is in progress for resource: {}",
        scope.arn(None)
    ))
}

impl Drop for Update {
    fn drop(&mut self) {
        self.updates.locked().remove(&self.function);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serin_core::model::arn::Place;

    #[test]
    fn an_update_refuses_the_next_until_it_is_over() {
        let place = Place { region: Place::REGION.to_owned(), account: Place::ACCOUNT.to_owned() };
        let scope = Scope { function: "f".parse().unwrap(), qualifier: None, place };
        let updates = Updates::default();
        let update = updates.begin(&scope).ok().unwrap();
        assert!(updates.is_under_way(&scope.function));
        let text = "The operation cannot be performed at this time. An update is in progress for resource: \
                    arn:aws:lambda:us-east-1:000000000000:function:f";
        for refused in [updates.begin(&scope).err().unwrap(), updates.check(&scope).err().unwrap()] {
            assert!(
                format!("{refused:?}").contains(text) && format!("{refused:?}").contains("409"),
                "{refused:?}"
            );
        }
        drop(update);
        assert!(updates.check(&scope).is_ok() && updates.begin(&scope).is_ok());
    }
}
