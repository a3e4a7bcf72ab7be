//! The words that choose among a few things: one table for reading, writing and the schema.

use super::model::{
    Baseline, FirstWeight, MirrorMethods, OnAlarm, OnDrift, OnFailure, OnNewVersion, Timeout,
    WhenStableUnhealthy,
};

/// A choice that is written as one of a few words.
pub(super) trait Word: Copy + PartialEq + 'static {
    /// Each choice with its word; the default first, where there is one.
    const WORDS: &'static [(&'static str, Self)];

    /// How this choice is written.
    fn written(self) -> &'static str {
        Self::WORDS.iter().find(|(_, choice)| *choice == self).map_or("", |(word, _)| word)
    }
}

impl Word for OnNewVersion {
    const WORDS: &'static [(&'static str, Self)] = &[
        ("queue", OnNewVersion::Queue),
        ("replace", OnNewVersion::Replace),
        ("reject", OnNewVersion::Reject),
    ];
}

impl Word for Timeout {
    const WORDS: &'static [(&'static str, Self)] =
        &[("rollback", Timeout::Rollback), ("pause", Timeout::Pause)];
}

impl Word for OnFailure {
    const WORDS: &'static [(&'static str, Self)] =
        &[("rollback", OnFailure::Rollback), ("pause", OnFailure::Pause), ("report", OnFailure::Report)];
}

impl Word for OnDrift {
    const WORDS: &'static [(&'static str, Self)] = &[
        ("pause", OnDrift::Pause),
        ("restore", OnDrift::Restore),
        ("adopt", OnDrift::Adopt),
        ("leave", OnDrift::Leave),
    ];
}

impl Word for FirstWeight {
    const WORDS: &'static [(&'static str, Self)] = &[
        ("probe", FirstWeight::Probe),
        ("mirror", FirstWeight::Mirror),
        ("unproven", FirstWeight::Unproven),
    ];
}

impl Word for Baseline {
    const WORDS: &'static [(&'static str, Self)] =
        &[("mirror", Baseline::Mirror), ("split", Baseline::Split)];
}

impl Word for OnAlarm {
    const WORDS: &'static [(&'static str, Self)] =
        &[("notify", OnAlarm::Notify), ("probe", OnAlarm::Probe), ("none", OnAlarm::None)];
}

impl Word for WhenStableUnhealthy {
    const WORDS: &'static [(&'static str, Self)] =
        &[("hold", WhenStableUnhealthy::Hold), ("continue", WhenStableUnhealthy::Continue)];
}

impl Word for MirrorMethods {
    const WORDS: &'static [(&'static str, Self)] =
        &[("safe", MirrorMethods::Safe), ("any", MirrorMethods::Any)];
}

/// Events that `notify` can be limited to.
pub(super) const EVENTS: &[&str] = &[
    "started",
    "advanced",
    "paused",
    "resumed",
    "needsApproval",
    "drifted",
    "rolledBack",
    "aborted",
    "succeeded",
    "superseded",
];

/// How a fraction is written with a unit: 0.0005 is `0.05pp`.
pub(super) fn percent(fraction: f64) -> String {
    // The shortest decimal that reads back as the same double, moved by two digits as text.
    let text = format!("{fraction}");
    let (whole, decimals) = text.split_once('.').unwrap_or((&text, ""));
    let padded = format!("{decimals:0<2}");
    let (up, rest) = padded.split_at(2);
    let joined = format!("{whole}{up}");
    let whole = joined.trim_start_matches('0');
    let whole = if whole.is_empty() { "0" } else { whole };
    if rest.is_empty() { whole.to_owned() } else { format!("{whole}.{rest}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_choice_has_a_word() {
        fn check<W: Word>(choices: &[W]) {
            for choice in choices {
                assert_ne!(choice.written(), "");
            }
        }
        check(&[OnNewVersion::Queue, OnNewVersion::Replace, OnNewVersion::Reject]);
        check(&[Timeout::Rollback, Timeout::Pause]);
        check(&[OnFailure::Rollback, OnFailure::Pause, OnFailure::Report]);
        check(&[OnDrift::Pause, OnDrift::Restore, OnDrift::Adopt, OnDrift::Leave]);
        check(&[WhenStableUnhealthy::Hold, WhenStableUnhealthy::Continue]);
        check(&[FirstWeight::Probe, FirstWeight::Mirror, FirstWeight::Unproven]);
        check(&[Baseline::Mirror, Baseline::Split]);
        check(&[OnAlarm::Notify, OnAlarm::Probe, OnAlarm::None]);
        check(&[MirrorMethods::Safe, MirrorMethods::Any]);
    }
}
