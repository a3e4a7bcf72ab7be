//! The plans as they are in their directory, good and bad.
//!
//! A file that cannot be read leaves the plan that was read from it before in force, and says so. A rollout that runs
//! has pinned its plan and hears of nothing here.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::lambda::alias::AliasId;
use crate::plan::{self, Fault, Plan, Source, Start};
use crate::ports::PinnedPlan;

/// A plan that was read and is in order, with the bytes it was read from.
#[derive(Clone, Debug)]
pub struct ReadPlan {
    /// The plan.
    pub plan: Arc<Plan>,
    /// Its bytes, for pinning.
    pub pinned: PinnedPlan,
    /// What is legal and odd about it.
    pub warnings: Vec<Fault>,
}

/// Reads a plan; `name` is what people call it.
pub fn read_plan(name: &str, source: &Source, defaults: Option<&Source>) -> Result<ReadPlan, Vec<Fault>> {
    let loaded = plan::load(source, defaults)?;
    let defaults_name = plan::used_defaults(source);
    Ok(ReadPlan {
        plan: Arc::new(loaded.plan),
        pinned: PinnedPlan {
            digest: loaded.digest,
            name: name.to_owned(),
            bytes: source.bytes.clone(),
            defaults: defaults_name.zip(defaults.map(|defaults| defaults.bytes.clone())),
        },
        warnings: loaded.warnings,
    })
}

/// Reads a plan as it was pinned.
pub fn reread_plan(pinned: &PinnedPlan) -> Result<ReadPlan, String> {
    let source = Source::new(format!("{}.yaml", pinned.name), pinned.bytes.clone());
    let defaults =
        pinned.defaults.as_ref().map(|(name, bytes)| Source::new(format!("{name}.yaml"), bytes.clone()));
    let read = read_plan(&pinned.name, &source, defaults.as_ref())
        .map_err(|faults| faults.first().map_or_else(|| "no reason given".to_owned(), ToString::to_string))?;
    if read.pinned.digest != pinned.digest {
        return Err(format!("its digest is {}, and {} was pinned", read.pinned.digest, pinned.digest));
    }
    Ok(read)
}

/// One file of the plans directory.
#[derive(Clone, Debug)]
pub struct PlanFile {
    /// Its stem: what people call the plan.
    pub name: String,
    /// What was read last, whether or not it is in order.
    pub source: Source,
    /// The defaults it uses.
    pub defaults: Option<Source>,
    /// The plan in force: the last that was in order. `None` for files that never were, and for defaults.
    pub read: Option<Arc<ReadPlan>>,
    /// Whether it is a file that other plans use.
    pub is_defaults: bool,
    /// What is wrong with the file as it is.
    pub faults: Vec<Fault>,
    /// What is wrong with it beside others, or with getting at it.
    pub problem: Option<String>,
}

impl PlanFile {
    /// Whether the file as it is, is in order.
    pub fn is_sound(&self) -> bool {
        self.faults.is_empty() && self.problem.is_none()
    }
}

/// The plans of a directory, by name.
#[derive(Clone, Debug, Default)]
pub struct PlanBook {
    /// The directory as the user named it; `None` when the daemon was given none.
    pub directory: Option<String>,
    /// Why the directory cannot be read, if so.
    pub problem: Option<String>,
    /// The files, by name.
    pub files: BTreeMap<String, PlanFile>,
}

impl PlanBook {
    /// A plan in force.
    pub fn plan(&self, name: &str) -> Option<&Arc<ReadPlan>> {
        self.files.get(name)?.read.as_ref()
    }

    /// The plans in force that some trigger starts.
    pub fn started_by(&self, by: impl Fn(&Start) -> bool) -> Vec<Arc<ReadPlan>> {
        self.files.values().filter_map(|file| file.read.clone()).filter(|read| by(&read.plan.start)).collect()
    }

    /// The aliases whose plans in force ask for a watch after promotions.
    pub fn watching(&self) -> BTreeSet<AliasId> {
        let plans = self.files.values().filter_map(|file| file.read.as_ref());
        plans.filter(|read| read.plan.watch.is_some()).map(|read| read.plan.target.clone()).collect()
    }

    /// Takes over what was in force where the new reading is not in order, and settles who starts what.
    pub fn succeed(mut self, before: &PlanBook) -> PlanBook {
        for (name, file) in &mut self.files {
            if file.read.is_none() && !file.is_defaults {
                file.read = before.plan(name).cloned();
            }
        }
        self.refuse_rival_triggers();
        self
    }

    /// Two plans must not start rollouts of one alias by themselves: which came first would be chance.
    fn refuse_rival_triggers(&mut self) {
        let mut starters: BTreeMap<AliasId, String> = BTreeMap::new();
        for (name, file) in &mut self.files {
            let Some(read) = &file.read else { continue };
            if read.plan.start == Start::Manual {
                continue;
            }
            if let Some(first) = starters.get(&read.plan.target) {
                file.problem = Some(format!(
                    "plan {first} already starts rollouts of {} by itself; only one plan may",
                    read.plan.target
                ));
                file.read = None;
            } else {
                starters.insert(read.plan.target.clone(), name.clone());
            }
        }
    }
}
