//! The names of CodeDeploy's presets.

use super::suggest::nearest;

pub(super) const CANARY_MINUTES: [u64; 4] = [5, 10, 15, 30];

pub(super) const LINEAR_MINUTES: [u64; 4] = [1, 2, 3, 10];

pub(super) fn canary_name(minutes: u64) -> String {
    format!("Canary10Percent{minutes}Minutes")
}

pub(super) fn linear_name(minutes: u64) -> String {
    let plural = if minutes == 1 { "" } else { "s" };
    format!("Linear10PercentEvery{minutes}Minute{plural}")
}

/// The names of all presets.
pub(super) fn preset_names() -> Vec<String> {
    let canaries = CANARY_MINUTES.iter().map(|minutes| canary_name(*minutes));
    let linears = LINEAR_MINUTES.iter().map(|minutes| linear_name(*minutes));
    std::iter::once("AllAtOnce".to_owned()).chain(canaries).chain(linears).collect()
}

/// The numbers in a name decide between presets that look alike, so the nearest must have the same ones.
pub(super) fn nearest_preset(text: &str) -> Option<String> {
    let numbers = |text: &str| -> Vec<String> {
        text.split(|each: char| !each.is_ascii_digit())
            .filter(|part| !part.is_empty())
            .map(str::to_owned)
            .collect()
    };
    let names = preset_names();
    let alike = names.iter().filter(|name| numbers(name) == numbers(text)).map(String::as_str);
    nearest(text, alike).map(str::to_owned)
}
