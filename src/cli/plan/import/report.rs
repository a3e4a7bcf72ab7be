//! What became of each line of a manifest: it came over, has no equal, or is better done otherwise.

use serde::Serialize;

use super::document::{Entry, Node, Place, Refusal};
use super::draft::{Draft, Share, Step};
use crate::cli::render::Look;
use crate::cli::render::line::{Line, wrapped};
use crate::cli::render::tone::Tone;

/// What became of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Verdict {
    /// The plan says the same.
    CameOver,
    /// A plan cannot say it, and need not, or does not yet.
    NoEqual,
    /// It is wanted, and there is a better way to it than a line of the plan.
    BetterOtherwise,
}

/// One line of the manifest and what became of it.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Finding {
    /// The line, from 1.
    pub line: u32,
    /// The column in characters, from 1.
    pub column: u32,
    /// What stands there, in short.
    pub what: String,
    /// What became of it.
    pub verdict: Verdict,
    /// How, or why not, and what to do.
    pub says: String,
}

/// A key, what becomes of it, and how that is said.
pub type Rule = (&'static str, Verdict, &'static str);

/// A plan in the making and the report of it.
#[derive(Debug)]
pub struct Import<'a> {
    /// The file's name, for faults.
    pub file: &'a str,
    /// A Prometheus for queries that name none.
    pub prometheus: Option<&'a str>,
    /// The plan so far.
    pub draft: Draft,
    /// The report so far.
    pub report: Vec<Finding>,
}

impl Import<'_> {
    /// Reports a line.
    pub fn say(&mut self, place: Place, what: impl Into<String>, verdict: Verdict, says: impl Into<String>) {
        let Place { line, column, .. } = place;
        self.report.push(Finding { line, column, what: what.into(), verdict, says: says.into() });
    }

    /// Reports that a line came over.
    pub fn came(&mut self, place: Place, what: impl Into<String>, says: impl Into<String>) {
        self.say(place, what, Verdict::CameOver, says);
    }

    /// Reports that a line has no equal.
    pub fn no_equal(&mut self, place: Place, what: impl Into<String>, says: impl Into<String>) {
        self.say(place, what, Verdict::NoEqual, says);
    }

    /// Reports that what a line wants is better done otherwise.
    pub fn better(&mut self, place: Place, what: impl Into<String>, says: impl Into<String>) {
        self.say(place, what, Verdict::BetterOtherwise, says);
    }

    /// Reports an entry by the rule for its key; a key without a rule has no equal, for nobody knows what it does.
    pub fn by_rule(&mut self, path: &str, entry: &Entry, rules: &[Rule]) {
        let what = what(path, entry);
        match rules.iter().find(|(key, ..)| *key == entry.key) {
            Some((_, verdict, says)) => self.say(entry.place, what, *verdict, *says),
            None => self.no_equal(
                entry.place,
                what,
                "serin does not know this key, so the plan says nothing of it",
            ),
        }
    }

    /// What is wrong at a place of this file.
    pub fn fault(&self, place: Place, message: impl Into<String>, help: impl Into<String>) -> Refusal {
        place.fault(self.file, message, help)
    }

    /// Takes a weight as a step; one that does not rise is none.
    pub fn weight(&mut self, place: Place, what: impl Into<String>, share: Share) {
        let before = self.draft.weight();
        if share == Share(0) {
            self.no_equal(
                place,
                what,
                "a rollout begins without traffic, and goes back to 0% by `serin abort` alone",
            );
        } else if before.is_some_and(|before| share <= before) {
            let before = before.unwrap_or(share).text();
            self.no_equal(place, what, format!("weights of a plan rise, and the one before is {before}"));
        } else {
            self.draft.steps.push((Step::Weight(share), place.line));
            self.came(place, what, format!("the step {}", share.text()));
        }
    }

    /// Takes a function's name, with what it may not hold replaced.
    pub fn function(&mut self, place: Place, what: impl Into<String>, name: &str) -> Result<(), Refusal> {
        let allowed = |char: char| char.is_ascii_alphanumeric() || matches!(char, '-' | '_');
        let function: String =
            name.chars().map(|char| if allowed(char) { char } else { '-' }).take(64).collect();
        if !function.contains(|char: char| char.is_ascii_alphanumeric()) {
            let said = format!("`{name}` is no name that a function can have");
            return Err(self.fault(
                place,
                said,
                "a function's name is 1 to 64 letters, digits, hyphens and underscores",
            ));
        }
        let says = if function == name {
            format!("the function {function}")
        } else {
            format!("the function {function}, for a name has only letters, digits, hyphens and underscores")
        };
        self.came(place, what, says);
        self.draft.function = function;
        Ok(())
    }

    /// Takes labels whose names a plan may have.
    pub fn labels(&mut self, path: &str, labels: &Node) {
        for entry in labels.entries() {
            let is_name = entry.key.starts_with(|char: char| char.is_ascii_alphabetic())
                && entry.key.chars().all(|char| char.is_ascii_alphanumeric() || char == '_');
            match entry.value.text() {
                Some(value) if is_name && value.chars().count() <= 128 => {
                    self.draft.labels.push((entry.key.clone(), value.to_owned()));
                    self.came(entry.place, what(path, entry), "a label of the plan, in /v1 and the metrics");
                }
                _ => {
                    let says = "a label's name is letters, digits and underscores, and its value a text";
                    self.no_equal(entry.place, what(path, entry), says);
                }
            }
        }
    }
}

/// An entry in short, with the path to it.
pub fn what(path: &str, entry: &Entry) -> String {
    let dot = if path.is_empty() { "" } else { "." };
    format!("{path}{dot}{}: {}", entry.key, entry.value.brief())
}

/// The report for people.
pub fn text(report: &[Finding], look: &Look) -> String {
    let glyphs = look.glyphs();
    let place = |finding: &Finding| format!("{}:{}", finding.line, finding.column);
    let column = report.iter().map(|finding| place(finding).len()).max().unwrap_or_default() + 3;
    let mut lines = Vec::new();
    for finding in report {
        let (tone, glyph, verdict) = match finding.verdict {
            Verdict::CameOver => (Tone::Good, glyphs.yes, "came over"),
            Verdict::NoEqual => (Tone::Bad, glyphs.no, "no equal"),
            Verdict::BetterOtherwise => (Tone::Caution, glyphs.arrow, "better otherwise"),
        };
        let mut head = Line::new();
        head.tone(tone, glyph).add(" ").add(place(finding)).pad_to(column);
        head.tone(Tone::Strong, look.words(&finding.what));
        lines.push(head);
        let mut says = Line::new();
        says.pad_to(column).tone(tone, verdict).add(": ");
        lines.extend(wrapped(says, Tone::Plain, &look.words(&finding.says), look));
    }
    let count = |verdict| report.iter().filter(|finding| finding.verdict == verdict).count();
    lines.push(Line::of(format!(
        "{} came over, {} without an equal, {} better done otherwise",
        count(Verdict::CameOver),
        count(Verdict::NoEqual),
        count(Verdict::BetterOtherwise)
    )));
    look.print(&lines)
}
