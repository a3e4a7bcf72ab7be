//! Plan files on this machine: a plan with the defaults it uses, as `start` sends them and `lint` checks them.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::Context;

use super::diagnose::render;
use super::session::Session;
use serin_core::plan::{self, Fault, LoadedPlan, Source};

/// A plan file, and the defaults beside it that it uses.
#[derive(Debug)]
pub struct PlanFile {
    /// What people call the plan: the file's stem.
    pub name: String,
    /// The file.
    pub source: Source,
    /// The defaults it uses, where they are there.
    pub defaults: Option<Source>,
}

impl PlanFile {
    /// Reads a file, and the defaults it uses from beside it.
    pub fn read(path: &Path) -> anyhow::Result<PlanFile> {
        let source = read(path)?;
        let stem = path.file_stem().map(|stem| stem.to_string_lossy().into_owned());
        let name = stem.with_context(|| format!("{} names no file", path.display()))?;
        let defaults = match plan::used_defaults(&source) {
            Some(used) => beside(path, &used)?,
            None => None,
        };
        Ok(PlanFile { name, source, defaults })
    }

    /// Reads the plan out of the text.
    pub fn load(&self) -> Result<LoadedPlan, Vec<Fault>> {
        plan::load(&self.source, self.defaults.as_ref())
    }

    /// Reads the plan out of the text, or shows every fault on stderr and says that there are some.
    pub fn sound(&self, session: &Session) -> anyhow::Result<LoadedPlan> {
        self.load().map_err(|faults| {
            let look = session.terminal.look_of_errors();
            session.terminal.note_as_is(&render(&faults, &self.sources(), look.color, look.width));
            anyhow::anyhow!("the plan {} is not in order", self.source.name)
        })
    }

    /// Both texts, for showing where faults are.
    pub fn sources(&self) -> Vec<Source> {
        std::iter::once(&self.source).chain(&self.defaults).cloned().collect()
    }
}

fn read(path: &Path) -> anyhow::Result<Source> {
    let cannot = || format!("cannot read the plan {}", path.display());
    let mut bytes = Vec::new();
    let file = File::open(path).with_context(cannot)?;
    // One byte more than a plan may have: its reader says then that it is too long.
    file.take(plan::PLAN_BYTES_MAX as u64 + 1).read_to_end(&mut bytes).with_context(cannot)?;
    Ok(Source::new(path.display().to_string(), bytes))
}

/// The defaults by a name, from the directory of the plan; their absence is the plan's fault, and said with its place.
fn beside(path: &Path, used: &str) -> anyhow::Result<Option<Source>> {
    let directory = path.parent().unwrap_or(Path::new(""));
    for ending in ["yaml", "yml"] {
        let defaults = directory.join(format!("{used}.{ending}"));
        // A name that leads elsewhere is refused by the plan's reader; it must not even be looked at.
        if defaults.parent() == Some(directory) && defaults.is_file() {
            return read(&defaults).map(Some);
        }
    }
    Ok(None)
}

/// Whether a text is a path rather than the name of a plan that the daemon knows.
pub fn is_path(text: &str) -> bool {
    let has_ending = text.ends_with(".yaml") || text.ends_with(".yml");
    text.contains('/') || has_ending || Path::new(text).is_file()
}

/// The plan files of a directory, by name.
pub fn in_directory(directory: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let cannot = || format!("cannot read the directory {}", directory.display());
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory).with_context(cannot)? {
        let path = entry.with_context(cannot)?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let is_plan = (name.ends_with(".yaml") || name.ends_with(".yml")) && !name.starts_with('.');
        if is_plan && path.is_file() {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}
