//! The request counters of an alias, out of the daemon's `/metrics`.

use std::collections::BTreeMap;

/// What was counted of one version since the daemon started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Requests dispatched to it by weight.
    pub requests: u64,
    /// Of these, the ones that failed.
    pub failures: u64,
}

/// Picks an alias's counters out of the text format; other lines are somebody else's business.
pub(super) fn read(text: &str, function: &str, alias: &str) -> BTreeMap<String, Counters> {
    let mut versions: BTreeMap<String, Counters> = BTreeMap::new();
    for line in text.lines() {
        let Some((series, value)) = line.rsplit_once(' ') else { continue };
        let Some((name, labels)) = series.split_once('{') else { continue };
        let is_of = |name: &str, value: &str| label(labels, name) == Some(value);
        if !is_of("function", function) || !is_of("alias", alias) {
            continue;
        }
        let (Some(version), Ok(value)) = (label(labels, "executed_version"), value.parse::<u64>()) else {
            continue;
        };
        match name {
            "serin_requests_total" => versions.entry(version.to_owned()).or_default().requests += value,
            "serin_request_failures_total" => {
                versions.entry(version.to_owned()).or_default().failures += value
            }
            _ => {}
        }
    }
    versions
}

/// A label's value; names of functions, aliases and versions have nothing in them that would be escaped.
fn label<'a>(labels: &'a str, name: &str) -> Option<&'a str> {
    labels.trim_end_matches('}').split(',').find_map(|label| {
        let (found, value) = label.split_once('=')?;
        (found == name).then(|| value.trim_matches('"'))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_alias_is_picked_out_of_many() {
        let text = "# HELP serin_requests Requests\n# TYPE serin_requests counter\n\
            serin_requests_total{function=\"shop\",alias=\"live\",executed_version=\"1\"} 120\n\
            serin_requests_total{function=\"shop\",alias=\"beta\",executed_version=\"1\"} 7\n\
            serin_request_failures_total{function=\"shop\",alias=\"live\",executed_version=\"1\",kind=\"status\"} 2\n\
            serin_request_failures_total{function=\"shop\",alias=\"live\",executed_version=\"1\",kind=\"reset\"} 1\n\
            serin_request_duration_seconds_sum{function=\"shop\",alias=\"live\",executed_version=\"1\"} 1.5\n# EOF\n";
        let found = read(text, "shop", "live");
        assert_eq!(found, BTreeMap::from([("1".to_owned(), Counters { requests: 120, failures: 3 })]));
        assert!(read(text, "shop", "gone").is_empty());
    }
}
