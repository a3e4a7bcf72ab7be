//! Reads what an Argo Rollout measures: AnalysisTemplates of the same file that ask a Prometheus become metrics.

use std::collections::BTreeMap;
use std::time::Duration;

use super::document::{Entry, Node};
use super::draft::{Metric, Share, Step, span};
use super::report::{Import, what};

/// Measured where no interval is said.
const INTERVAL: Duration = Duration::from_secs(60);

const JUDGED: &str = "serin itself judges every request of both versions, all the while";

/// What came of templates: the names of metrics, and how long their run takes.
struct Measured {
    names: Vec<String>,
    takes: Duration,
}

/// An analysis step.
pub fn step(import: &mut Import<'_>, entry: &Entry, beside: &[Node]) {
    let what = what("", entry);
    let measured = templates(import, &entry.value, beside, None);
    if measured.names.is_empty() {
        import.better(
            entry.place,
            what,
            format!("{JUDGED}; what it measures beyond that can be a metric of the plan"),
        );
        return;
    }
    let names = measured.names.join(", ");
    import.draft.steps.push((Step::Analysis(measured.names, measured.takes), entry.place.line));
    import.came(
        entry.place,
        what,
        format!("a step that waits until these metrics have held as long: {names}"),
    );
}

/// The analysis that runs beside all steps, from one of them on.
pub fn background(import: &mut Import<'_>, entry: &Entry, steps: &Node, beside: &[Node]) {
    let starting = entry.value.text_at(&["startingStep"]).and_then(|text| text.parse::<usize>().ok());
    let from = starting.and_then(|index| {
        let weights = steps.items().iter().take(index).filter_map(|step| step.text_at(&["setWeight"]));
        weights.filter_map(Share::read).max()
    });
    let what = what("canary", entry);
    let measured = templates(import, &entry.value, beside, from);
    if measured.names.is_empty() {
        import.better(
            entry.place,
            what,
            format!("{JUDGED}; what it measures beyond that can be a metric of the plan"),
        );
    } else {
        let says = format!("metrics that hold up every weight: {}", measured.names.join(", "));
        import.came(entry.place, what, says);
    }
}

fn templates(import: &mut Import<'_>, analysis: &Node, beside: &[Node], from: Option<Share>) -> Measured {
    let mut measured = Measured { names: Vec::new(), takes: Duration::ZERO };
    let args = arguments(analysis);
    for named in analysis.get("templates").map(Node::items).unwrap_or_default() {
        let Some(name) = named.text_at(&["templateName"]) else { continue };
        let is_it = |document: &&Node| {
            document.text_at(&["metadata", "name"]) == Some(name)
                && matches!(document.text_at(&["kind"]), Some("AnalysisTemplate" | "ClusterAnalysisTemplate"))
        };
        let what = format!("templateName: {name}");
        let Some(template) = beside.iter().find(is_it) else {
            let says = "the template is not in this file; put it there behind `---`, and what it asks a Prometheus comes over";
            import.no_equal(named.place, what, says);
            continue;
        };
        let mut args_here = arguments_of(template.get("spec"));
        args_here.extend(args.clone());
        for metric in template.at(&["spec", "metrics"]).map(Node::items).unwrap_or_default() {
            if let Some((metric, takes)) = metric_of(import, metric, &args_here, from) {
                measured.takes = measured.takes.max(takes);
                measured.names.push(metric.name.clone());
                if !import.draft.metrics.iter().any(|known| known.name == metric.name) {
                    import.draft.metrics.push(metric);
                }
            }
        }
    }
    measured
}

fn arguments(analysis: &Node) -> BTreeMap<String, String> {
    arguments_of(Some(analysis))
}

fn arguments_of(node: Option<&Node>) -> BTreeMap<String, String> {
    let args = node.and_then(|node| node.get("args")).map(Node::items).unwrap_or_default();
    let pair = |arg: &Node| Some((arg.text_at(&["name"])?.to_owned(), arg.text_at(&["value"])?.to_owned()));
    args.iter().filter_map(pair).collect()
}

/// A metric, and how long a run of it takes; reports why it is none.
fn metric_of(
    import: &mut Import<'_>,
    metric: &Node,
    args: &BTreeMap<String, String>,
    from: Option<Share>,
) -> Option<(Metric, Duration)> {
    let name = metric.text_at(&["name"]).unwrap_or("unnamed");
    let said = format!("metrics.name: {name}");
    let Some(prometheus) = metric.at(&["provider", "prometheus"]) else {
        let kind = metric.get("provider").and_then(|provider| provider.entries().first());
        let kind = kind.map_or("nobody", |entry| entry.key.as_str());
        let says = format!("it asks {kind}; a `webhook` that answers a number can ask anybody for the plan");
        import.better(metric.place, said, says);
        return None;
    };
    let query = filled(prometheus.text_at(&["query"]).unwrap_or_default(), args);
    let address = prometheus.text_at(&["address"]).map(|address| filled(address, args));
    let Some(url) = address.or_else(|| import.prometheus.map(str::to_owned)) else {
        import.no_equal(
            metric.place,
            said,
            "it does not say where the Prometheus is; say it with --prometheus URL",
        );
        return None;
    };
    if query.contains("{{") || url.contains("{{") {
        import.no_equal(metric.place, said, "its query has an argument whose value is not in this file");
        return None;
    }
    let success = metric.text_at(&["successCondition"]).and_then(|text| condition(text, false));
    let failure = metric.text_at(&["failureCondition"]).and_then(|text| condition(text, true));
    let Some((is_least, bound)) = success.or(failure) else {
        let says = "a metric of a plan has a least and a greatest number, and its condition is no comparison with one";
        import.no_equal(metric.place, said, says);
        return None;
    };
    let interval = metric.text_at(&["interval"]).and_then(span);
    let count: u32 = metric.text_at(&["count"]).and_then(|text| text.parse().ok()).unwrap_or(1);
    let of = |key: &str| metric.text_at(&[key]);
    let metric_name =
        name.chars().map(|char| if char.is_ascii_alphanumeric() || char == '_' { char } else { '-' });
    let taken = Metric {
        name: metric_name.collect(),
        url,
        query,
        min: is_least.then(|| bound.clone()),
        max: (!is_least).then_some(bound),
        interval,
        initial_delay: of("initialDelay").and_then(span),
        failure_limit: of("failureLimit").and_then(|text| text.parse().ok()).filter(|limit| *limit <= 1000),
        from,
        line: metric.place.line,
    };
    let every = interval.unwrap_or(INTERVAL);
    let takes =
        every.saturating_mul(count.saturating_sub(1)).max(every).min(Duration::from_secs(366 * 86_400));
    import.came(metric.place, said, "a metric of the plan, asked of the Prometheus");
    Some((taken, takes))
}

/// A text with `{{args.NAME}}` as their values.
fn filled(text: &str, args: &BTreeMap<String, String>) -> String {
    let mut out = text.to_owned();
    for (name, value) in args {
        for spelling in [format!("{{{{args.{name}}}}}"), format!("{{{{ args.{name} }}}}")] {
            out = out.replace(&spelling, value);
        }
    }
    out
}

/// Reads `result[0] >= 0.95`: whether the number is the least that passes, and the number. Of a condition of failure the
/// opposite passes.
fn condition(text: &str, of_failure: bool) -> Option<(bool, String)> {
    let rest = text.trim().strip_prefix("result")?.trim_start();
    let rest = rest.strip_prefix("[0]").unwrap_or(rest).trim_start();
    let (is_least, number) = match rest.strip_prefix('>') {
        Some(number) => (true, number),
        None => (false, rest.strip_prefix('<')?),
    };
    let number = number.strip_prefix('=').unwrap_or(number).trim();
    number.parse::<f64>().ok().filter(|number| number.is_finite())?;
    Some((is_least != of_failure, number.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_condition_is_one_comparison_with_a_number() {
        let read = |text| condition(text, false).map(|(is_least, number)| format!("{is_least} {number}"));
        assert_eq!(read("result[0] >= 0.95").as_deref(), Some("true 0.95"));
        assert_eq!(read("result < 3").as_deref(), Some("false 3"));
        for other in
            ["result[0] >= 0.95 && result[1] > 1", "len(result) > 0", "result == 1", "", "result > many"]
        {
            assert_eq!(read(other), None, "{other}");
        }
        assert_eq!(condition("result[0] > 5", true), Some((false, "5".to_owned())));
    }
}
