//! The edits that would build the table in use anew, for a router that is to serve the same.
//!
//! Of everything there can be in a table, the last edit is kept. What was removed is not mentioned.

use std::collections::BTreeMap;

use super::table::{Edit, RouteSpec};
use crate::domain::alias::AliasId;
use crate::domain::arn::{FunctionName, VersionNumber};
use crate::domain::policy::PolicyScope;

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
