//! Reads what a Flagger Canary measures: what serin judges itself, and what a Prometheus is asked.

use super::document::{Entry, Node};
use super::draft::{Metric, Share, span};
use super::report::Import;

/// Reads the list of metrics.
pub fn read(import: &mut Import<'_>, metrics: &Entry, analysis: &Entry, beside: &[Node], target: &str) {
    let threshold: Option<u64> = analysis.value.text_at(&["threshold"]).and_then(|text| text.parse().ok());
    for metric in metrics.value.items() {
        let name = metric.text_at(&["name"]).unwrap_or("unnamed");
        let said = format!("metrics: {name}");
        let min = metric.at(&["thresholdRange", "min"]).or_else(|| metric.get("threshold"));
        let max = metric.at(&["thresholdRange", "max"]).or_else(|| metric.get("threshold"));
        let is_own = metric.get("templateRef").is_none() && metric.get("query").is_none();
        match name {
            "request-success-rate" | "istio_requests_total" if is_own => success(import, metric, said, min),
            "request-duration" | "istio_request_duration_seconds_bucket" if is_own => {
                duration(import, metric, said, max)
            }
            _ => asked(import, metric, said, name, beside, target, threshold),
        }
    }
}

fn success(import: &mut Import<'_>, metric: &Node, said: String, min: Option<&Node>) {
    let share = min.and_then(Node::text).and_then(Share::read);
    let Some(Share(least)) = share.filter(|share| *share < Share::ALL) else {
        let says =
            "serin judges every request against stable's at the same moment; no bound of its own is needed";
        import.better(metric.place, said, says);
        return;
    };
    let max = Share(Share::ALL.0 - least).text();
    let says = format!(
        "`failures.max: {max}`; and beside it the canary is held against stable at the same moment, request by request"
    );
    import.draft.failures_max = Some((max, metric.place.line));
    import.came(metric.place, said, says);
}

fn duration(import: &mut Import<'_>, metric: &Node, said: String, max: Option<&Node>) {
    let text = max.and_then(Node::text).map(|text| text.trim_end_matches("ms").trim());
    let millis =
        text.and_then(|text| text.parse::<f64>().ok()).filter(|millis| (1.0..=3.6e6).contains(millis));
    let Some(millis) = millis else {
        let says =
            "serin holds the canary's latency against stable's at the same moment, see `analysis.latency`";
        import.better(metric.place, said, says);
        return;
    };
    let max = format!("{}ms", millis.round() as u64);
    let says = format!(
        "`latency.p99Max: {max}`; and beside it the canary is held against stable at the same moment"
    );
    import.draft.p99_max = Some((max, metric.place.line));
    import.came(metric.place, said, says);
}

/// A query of its own, in place or by a MetricTemplate.
fn asked(
    import: &mut Import<'_>,
    metric: &Node,
    said: String,
    name: &str,
    beside: &[Node],
    target: &str,
    threshold: Option<u64>,
) {
    let template = metric.text_at(&["templateRef", "name"]).map(|wanted| {
        let is_it = |document: &&Node| {
            document.text_at(&["kind"]) == Some("MetricTemplate")
                && document.text_at(&["metadata", "name"]) == Some(wanted)
        };
        (wanted, beside.iter().find(is_it))
    });
    let (query, address) = match template {
        Some((wanted, None)) => {
            let says = format!(
                "the MetricTemplate {wanted} is not in this file; put it there behind `---`, and what it asks a Prometheus \
                 comes over"
            );
            import.no_equal(metric.place, said, says);
            return;
        }
        Some((_, Some(template))) => {
            let kind = template.text_at(&["spec", "provider", "type"]).unwrap_or("nobody");
            if kind != "prometheus" {
                let says =
                    format!("it asks {kind}; a `webhook` that answers a number can ask anybody for the plan");
                import.better(metric.place, said, says);
                return;
            }
            let address = template.text_at(&["spec", "provider", "address"]);
            (template.text_at(&["spec", "query"]), address)
        }
        None => (metric.text_at(&["query"]), None),
    };
    let interval = metric.text_at(&["interval"]).unwrap_or("1m");
    let Some(query) = query else {
        import.no_equal(metric.place, said, "serin knows no metric of this name, and it has no query");
        return;
    };
    let query = filled(query, target, interval);
    if query.contains("{{") {
        import.no_equal(metric.place, said, "its query has a variable whose value is not in this file");
        return;
    }
    let Some(url) = address.or(import.prometheus).map(str::to_owned) else {
        import.no_equal(
            metric.place,
            said,
            "it does not say where the Prometheus is; say it with --prometheus URL",
        );
        return;
    };
    let bound = |key: &str| {
        let text = metric.text_at(&["thresholdRange", key])?;
        text.parse::<f64>().ok().filter(|number| number.is_finite()).map(|_| text.to_owned())
    };
    // Of old, `threshold` is the most that passes.
    let old = metric.text_at(&["threshold"]).filter(|text| text.parse::<f64>().is_ok()).map(str::to_owned);
    let (min, max) = (bound("min"), bound("max").or(old));
    if min.is_none() && max.is_none() {
        import.no_equal(metric.place, said, "it has no `thresholdRange`, so no number of it is bad");
        return;
    }
    let name = name.chars().map(|char| if char.is_ascii_alphanumeric() || char == '_' { char } else { '-' });
    import.draft.metrics.push(Metric {
        name: name.collect(),
        url,
        query,
        min,
        max,
        interval: span(interval),
        failure_limit: threshold.map(|threshold| threshold.saturating_sub(1)).filter(|limit| *limit <= 1000),
        line: metric.place.line,
        ..Metric::default()
    });
    import.came(metric.place, said, "a metric of the plan, asked of the Prometheus");
}

/// A query with Flagger's variables as their values, as far as a plan knows them.
fn filled(query: &str, target: &str, interval: &str) -> String {
    let mut out = query.to_owned();
    for (name, value) in [("target", target), ("name", target), ("interval", interval)] {
        for spelling in [format!("{{{{{name}}}}}"), format!("{{{{ {name} }}}}")] {
            out = out.replace(&spelling, value);
        }
    }
    out
}
