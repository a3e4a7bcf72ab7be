//! What is wrong with a store, in sentences.

use super::cure::Cure;

/// One thing that does not add up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What, in a sentence.
    pub text: String,
    /// Whether `--repair` mended it.
    pub repaired: bool,
}

/// What a check found, and what would mend it.
#[derive(Default)]
pub(super) struct Found {
    pub(super) findings: Vec<Finding>,
    pub(super) cures: Vec<Cure>,
}

impl Found {
    pub(super) fn say(&mut self, text: String) {
        self.findings.push(Finding { text, repaired: false });
    }

    pub(super) fn curable(&mut self, text: String, cure: Cure) {
        self.say(text);
        self.cures.push(cure);
    }
}
