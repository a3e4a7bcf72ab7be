//! The edits that would build the table in use anew, for a router that is to serve the same.
//!
//! Of everything there can be in a table, the last edit is kept. What was removed is not mentioned.

use std::collections::BTreeMap;

use super::table::{Edit, RouteSpec};
use serin_core::lambda::alias::AliasId;
use serin_core::lambda::policy::PolicyScope;
use serin_core::model::arn::{FunctionName, VersionNumber};

/// What an edit is of, in the order in which a table is built.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Subject {
    Function(FunctionName),
    Concurrency(FunctionName),
    Version(FunctionName, VersionNumber),
    Policy(FunctionName, PolicyScope),
    Alias(AliasId),
}

impl Subject {
    fn function(&self) -> &FunctionName {
        match self {
            Subject::Function(name)
            | Subject::Concurrency(name)
            | Subject::Version(name, _)
            | Subject::Policy(name, _) => name,
            Subject::Alias(id) => &id.function,
        }
    }
}

/// The last edit of everything that is in the table.
#[derive(Default)]
pub(super) struct Recipe(BTreeMap<Subject, Edit>);

impl Recipe {
    /// Takes edits over as the table does.
    pub(super) fn note(&mut self, edits: &[Edit]) {
        for edit in edits {
            match edit {
                Edit::Alias(spec) if self.has_newer(spec) => {}
                Edit::Alias(spec) => self.keep(Subject::Alias(spec.alias.clone()), edit),
                Edit::RemoveAlias(id) => _ = self.0.remove(&Subject::Alias(id.clone())),
                Edit::Function { name, .. } => self.keep(Subject::Function(name.clone()), edit),
                Edit::Version { function, number, .. } => {
                    self.keep(Subject::Version(function.clone(), *number), edit);
                }
                Edit::RemoveVersion { function, number } => {
                    self.0.remove(&Subject::Version(function.clone(), *number));
                }
                Edit::RemoveFunction(name) => self.0.retain(|subject, _| subject.function() != name),
                Edit::Concurrency { function, .. } => self.keep(Subject::Concurrency(function.clone()), edit),
                Edit::Policy { function, scope, statements } => {
                    let subject = Subject::Policy(function.clone(), scope.clone());
                    if statements.is_empty() {
                        self.0.remove(&subject);
                    } else {
                        self.keep(subject, edit);
                    }
                }
            }
        }
    }

    /// The edits that build the table from nothing.
    pub(super) fn edits(&self) -> Vec<Edit> {
        self.0.values().cloned().collect()
    }

    fn keep(&mut self, subject: Subject, edit: &Edit) {
        self.0.insert(subject, edit.clone());
    }

    /// Whether the alias serves a newer revision, which the table does not go back from.
    fn has_newer(&self, spec: &RouteSpec) -> bool {
        let known = self.0.get(&Subject::Alias(spec.alias.clone()));
        matches!(known, Some(Edit::Alias(known)) if known.epoch > spec.epoch)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::super::table::{FAILURE_STATUS_DEFAULT, RoutingTable};
    use super::*;
    use crate::metrics::recorder::Recorder;
    use serin_core::lambda::alias::Routing;
    use serin_core::lambda::function::{Revision, Target};
    use serin_core::model::weight::Weight;

    fn target(host: &str) -> Target {
        Target::Http {
            url: format!("http://{host}").parse().unwrap(),
            health: None,
            timeouts: Default::default(),
        }
    }

    fn function(name: &str) -> Edit {
        Edit::Function { name: name.parse().unwrap(), latest: target(name) }
    }

    fn version(name: &str, number: u64) -> Edit {
        let number = VersionNumber(number);
        Edit::Version { function: name.parse().unwrap(), number, target: target(name) }
    }

    fn alias(id: &str, epoch: u64, ppm: u32) -> Edit {
        let (one, two) = (VersionNumber(1), VersionNumber(2));
        let spec = RouteSpec {
            alias: id.parse().unwrap(),
            epoch: Revision(epoch),
            routing: Routing::split(one, two, Weight::from_ppm(ppm).unwrap()),
            primary: target("one"),
            additional: Some(target("two")),
            failure_status: vec![FAILURE_STATUS_DEFAULT],
            canary: Some(two),
            steering: None,
            timeouts: Default::default(),
            close_tunnels: None,
        };
        Edit::Alias(spec.into())
    }

    fn table() -> Arc<RoutingTable> {
        RoutingTable::new(Recorder::new(1, Arc::new(|_| {})))
    }

    #[test]
    fn another_table_is_told_everything_and_goes_along() {
        let first = table();
        first.publish(vec![function("a"), version("a", 1), alias("a:live", 3, 30_000), function("gone")]);
        first.publish(vec![version("gone", 1), alias("gone:live", 4, 0), alias("a:live", 5, 50_000)]);
        first.publish(vec![Edit::RemoveFunction("gone".parse().unwrap()), alias("a:live", 4, 90_000)]);
        let second = table();
        let told = Arc::new(Mutex::new(Vec::new()));
        let (telling, telling_too) = (Arc::clone(&second), Arc::clone(&told));
        first.hand_on(move |edits| {
            // As it goes over the line.
            let text = serde_json::to_string(&edits).unwrap();
            telling_too.lock().unwrap().push(edits.len());
            telling.publish(serde_json::from_str(&text).unwrap());
        });
        let live: AliasId = "a:live".parse().unwrap();
        assert_eq!(*told.lock().unwrap(), [3], "what is gone is not mentioned");
        assert_eq!(second.serving(&live), first.serving(&live));
        assert_eq!(second.serving(&live).map(|(epoch, _)| epoch), Some(Revision(5)));
        first.publish(vec![alias("a:live", 6, 0), alias("b:live", 7, 0)]);
        first.publish(vec![Edit::RemoveAlias("b:live".parse().unwrap())]);
        assert_eq!(second.serving(&live), first.serving(&live));
        assert_eq!(second.serving(&"b:live".parse().unwrap()), None);
        first.keep_to_itself();
        first.publish(vec![alias("a:live", 8, 0)]);
        assert_eq!(second.serving(&live).map(|(epoch, _)| epoch), Some(Revision(6)));
    }
}
