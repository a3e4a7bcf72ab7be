//! What is wrong with a plan, and where: the faults a reader collects and a person mends.
//!
//! A fault names its file, line and column, says what is wrong in one sentence, and where possible what to write
//! instead. How faults are drawn on a terminal is the business of `cli::diagnose`.

use std::fmt;
use std::ops::Range;

use serde::Serialize;

/// A file's text, as whoever opened it read it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// The path as the user typed it; what faults call the file.
    pub name: String,
    /// The file's bytes, not yet known to be text.
    pub bytes: Vec<u8>,
}

impl Source {
    /// Names some bytes.
    pub fn new(name: impl Into<String>, bytes: impl Into<Vec<u8>>) -> Source {
        Source { name: name.into(), bytes: bytes.into() }
    }
}

/// Whether a plan with this fault is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Severity {
    /// It is refused.
    Error,
    /// It is legal, but hardly what its author means.
    Warning,
}

/// One thing wrong with a plan, with its place and, where possible, a way out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Fault {
    /// Whether the plan is refused for it.
    pub severity: Severity,
    /// The file, as its `Source` names it.
    pub file: String,
    /// The line, from 1.
    pub line: u32,
    /// The column in characters, from 1.
    pub column: u32,
    /// The bytes of the file it is about; empty where something is missing.
    pub span: Range<usize>,
    /// What is wrong, lower-case and without a full stop.
    pub message: String,
    /// What to write instead.
    pub help: Option<String>,
    /// Other places that belong to it, such as the first of two equal keys.
    pub related: Vec<Related>,
}

/// A second place that belongs to a fault.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Related {
    /// The file, as its `Source` names it.
    pub file: String,
    /// The line, from 1.
    pub line: u32,
    /// The column in characters, from 1.
    pub column: u32,
    /// The bytes of the file it is about.
    pub span: Range<usize>,
    /// What stands there.
    pub text: String,
}

/// Writes `file:line:column: message`, as editors and compilers do.
impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let warning = if self.severity == Severity::Warning { "warning: " } else { "" };
        write!(f, "{}:{}:{}: {warning}{}", self.file, self.line, self.column, self.message)
    }
}

/// Where something stands: which of the files read, and where in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    /// The index of the file: 0 is what was asked for, 1 what it uses.
    pub file: u8,
    pub line: u32,
    pub column: u32,
    pub start: usize,
    pub end: usize,
}

impl Place {
    /// The very start of a file, for what is wrong with it as a whole.
    pub fn start_of(file: u8) -> Place {
        Place { file, line: 1, column: 1, start: 0, end: 0 }
    }
}

/// A fault before its file is named.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Draft {
    severity: Severity,
    place: Place,
    message: String,
    help: Option<String>,
    related: Vec<(Place, String)>,
}

impl Draft {
    /// Adds what to write instead.
    pub fn help(&mut self, text: impl Into<String>) -> &mut Draft {
        self.help = Some(text.into());
        self
    }

    /// Adds what to write instead, if anything is known.
    pub fn maybe_help(&mut self, text: Option<String>) -> &mut Draft {
        self.help = text.or(self.help.take());
        self
    }

    /// Adds a second place.
    pub fn related(&mut self, place: Place, text: impl Into<String>) -> &mut Draft {
        self.related.push((place, text.into()));
        self
    }
}

/// More faults than this in one plan are counted, not kept: a hostile file must not cost more than a bad one.
const FAULTS_MAX: usize = 100;

/// The faults found so far.
#[derive(Debug, Default)]
pub(super) struct Faults {
    drafts: Vec<Draft>,
    beyond: Option<(Draft, usize)>,
}

impl Faults {
    /// Notes what makes the plan refused.
    pub fn error(&mut self, place: Place, message: impl Into<String>) -> &mut Draft {
        self.push(Severity::Error, place, message.into())
    }

    /// Notes what is legal but odd.
    pub fn warning(&mut self, place: Place, message: impl Into<String>) -> &mut Draft {
        self.push(Severity::Warning, place, message.into())
    }

    fn push(&mut self, severity: Severity, place: Place, message: String) -> &mut Draft {
        let draft = Draft { severity, place, message, help: None, related: Vec::new() };
        if self.is_full() {
            let (first_beyond, count) = self.beyond.get_or_insert((draft, 0));
            *count += 1;
            return first_beyond;
        }
        self.drafts.push(draft);
        let last = self.drafts.len() - 1;
        &mut self.drafts[last]
    }

    /// Whether further faults are only counted, so that finding suggestions for them is work for nothing.
    pub fn is_full(&self) -> bool {
        self.drafts.len() >= FAULTS_MAX
    }

    /// Whether the plan is refused.
    pub fn has_errors(&self) -> bool {
        self.beyond.is_some() || self.drafts.iter().any(|draft| draft.severity == Severity::Error)
    }

    /// The faults in the order of their places, each once, with their files' names.
    pub fn named(self, files: &[&Source]) -> Vec<Fault> {
        let Faults { mut drafts, beyond } = self;
        drafts.sort_by_key(|draft| (draft.place, draft.severity));
        drafts.dedup_by(|one, other| one.place == other.place && one.message == other.message);
        if let Some((mut first_beyond, count)) = beyond {
            first_beyond.message = format!("{count} more faults from here on");
            first_beyond.help = Some("mend those above first; the rest will be shown then".to_owned());
            first_beyond.related.clear();
            drafts.push(first_beyond);
        }
        let name =
            |place: &Place| files.get(usize::from(place.file)).map_or("", |file| &file.name).to_owned();
        let mut faults = Vec::with_capacity(drafts.len());
        for draft in drafts {
            let related = draft.related.into_iter().map(|(place, text)| Related {
                file: name(&place),
                line: place.line,
                column: place.column,
                span: place.start..place.end,
                text,
            });
            faults.push(Fault {
                severity: draft.severity,
                file: name(&draft.place),
                line: draft.place.line,
                column: draft.place.column,
                span: draft.place.start..draft.place.end,
                message: draft.message,
                help: draft.help,
                related: related.collect(),
            });
        }
        faults
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(file: u8, line: u32) -> Place {
        Place { file, line, ..Place::start_of(file) }
    }

    #[test]
    fn faults_come_in_the_order_of_their_places_and_once() {
        let mut faults = Faults::default();
        faults.error(place(1, 1), "in the other file");
        faults.error(place(0, 7), "twice");
        faults.warning(place(0, 2), "odd");
        faults.error(place(0, 7), "twice");
        let (plan, defaults) = (Source::new("a.yaml", ""), Source::new("b.yaml", ""));
        let shown: Vec<String> = faults.named(&[&plan, &defaults]).iter().map(Fault::to_string).collect();
        assert_eq!(shown, ["a.yaml:2:1: warning: odd", "a.yaml:7:1: twice", "b.yaml:1:1: in the other file"]);
    }

    #[test]
    fn a_flood_of_faults_is_counted() {
        let mut faults = Faults::default();
        for line in 1..=250 {
            faults.error(place(0, line), "bad").help("mend it");
        }
        let shown = faults.named(&[&Source::new("a.yaml", "")]);
        assert_eq!(shown.len(), FAULTS_MAX + 1);
        assert_eq!(shown[FAULTS_MAX].to_string(), "a.yaml:101:1: 150 more faults from here on");
    }
}
