//! What somebody may have meant: the nearest of some known words.

/// The candidate that `word` is most likely a slip of the keyboard for, or another spelling of.
pub(super) fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    /// Longer words are no slips, and comparing them costs the product of the lengths.
    const WORD_MAX: usize = 40;
    if word.is_empty() || word.len() > WORD_MAX {
        return None;
    }
    let plain = |text: &str| text.to_lowercase().replace(['-', '_', ' '], "");
    let wanted = plain(word);
    let mut best: Option<(usize, &str)> = None;
    for candidate in candidates {
        let known = plain(candidate);
        let distance = strsim::osa_distance(&wanted, &known);
        let allowed = match known.len().min(wanted.len()) {
            0..=2 => 0,
            3..=5 => 1,
            6..=9 => 2,
            _ => 3,
        };
        if distance <= allowed && best.is_none_or(|(least, _)| distance < least) {
            best = Some((distance, candidate));
        }
    }
    best.map(|(_, candidate)| candidate)
}

/// Writes `a`, `b` and `c`, as code.
pub(super) fn listed(words: &[&str]) -> String {
    let quoted: Vec<String> = words.iter().map(|word| format!("`{word}`")).collect();
    match quoted.split_last() {
        None => String::new(),
        Some((only, [])) => only.clone(),
        Some((last, others)) => format!("{} or {last}", others.join(", ")),
    }
}

/// Whether somebody who writes this probably means `none`.
pub(super) fn is_like_none(text: &str) -> bool {
    ["off", "no", "false", "null", "~", "nil", "disabled", "disable", "never", "nothing", "-"]
        .contains(&text.to_ascii_lowercase().as_str())
        || text == "None"
        || text == "NONE"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slips_and_spellings_are_recognised() {
        let keys = ["function", "alias", "timeZone", "maxRatio", "bake", "steps", "start"];
        for (word, meant) in [
            ("fucntion", Some("function")),
            ("time_zone", Some("timeZone")),
            ("timezone", Some("timeZone")),
            ("max-ratio", Some("maxRatio")),
            ("step", Some("steps")),
            ("Alias", Some("alias")),
            ("bkae", Some("bake")),
            ("xyz", None),
            ("", None),
            ("on", None),
        ] {
            assert_eq!(nearest(word, keys), meant, "{word}");
        }
        assert_eq!(nearest(&"a".repeat(1_000), keys), None);
    }

    #[test]
    fn lists_read_as_sentences() {
        assert_eq!(listed(&["a"]), "`a`");
        assert_eq!(listed(&["a", "b", "c"]), "`a`, `b` or `c`");
    }
}
