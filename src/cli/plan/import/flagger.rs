//! Reads a Flagger Canary, and the MetricTemplates in the same file.

use std::time::Duration;

use super::document::{Entry, Node, Place, Refusal};
use super::draft::{Share, Step, span};
use super::flagger_metrics;
use super::report::{Import, Rule, Verdict, what};

/// Between checks, where the Canary does not say.
const INTERVAL: Duration = Duration::from_secs(60);

const INSTANCES: &str = "serin starts and stops no instances: both versions run before and during a rollout";
const ROUTES: &str =
    "`serin serve --route HOST=FUNCTION:ALIAS` and `/PREFIX=…` say which requests are an alias's";

const OF_SPEC: &[Rule] = &[
    ("provider", Verdict::BetterOtherwise, "serin's own router splits the traffic"),
    (
        "metricsServer",
        Verdict::BetterOtherwise,
        "serin's router counts requests itself; metrics name their Prometheus",
    ),
    (
        "targetRef",
        Verdict::BetterOtherwise,
        "a version is what `serin function publish NAME --url` registers",
    ),
    ("ingressRef", Verdict::BetterOtherwise, ROUTES),
    ("routeRef", Verdict::BetterOtherwise, ROUTES),
    ("gatewayRef", Verdict::BetterOtherwise, ROUTES),
    ("upstreamRef", Verdict::BetterOtherwise, ROUTES),
    ("autoscalerRef", Verdict::NoEqual, INSTANCES),
    (
        "progressDeadlineSeconds",
        Verdict::BetterOtherwise,
        "that is about pods; `stepDeadline` is about steps, 24h unless said",
    ),
    ("revertOnDeletion", Verdict::NoEqual, "a rollout that ends leaves the alias on one version"),
    ("suspend", Verdict::BetterOtherwise, "`start: manual`, which a plan is unless it says otherwise"),
];

const OF_SERVICE: &[Rule] = &[
    ("name", Verdict::BetterOtherwise, ROUTES),
    ("hosts", Verdict::BetterOtherwise, ROUTES),
    ("gateways", Verdict::BetterOtherwise, ROUTES),
    ("gatewayRefs", Verdict::BetterOtherwise, ROUTES),
    ("match", Verdict::BetterOtherwise, ROUTES),
    (
        "rewrite",
        Verdict::BetterOtherwise,
        "a version's URL may have a path, which stands before each request's own",
    ),
    ("port", Verdict::BetterOtherwise, "the port is part of a version's URL"),
    ("targetPort", Verdict::BetterOtherwise, "the port is part of a version's URL"),
    ("portName", Verdict::BetterOtherwise, "a version's URL begins with http:// or h2c://"),
    ("portDiscovery", Verdict::NoEqual, INSTANCES),
    ("appProtocol", Verdict::BetterOtherwise, "a version's URL begins with http:// or h2c://"),
    ("trafficPolicy", Verdict::NoEqual, "of a mesh"),
    ("meshName", Verdict::NoEqual, "of a mesh"),
    ("backends", Verdict::NoEqual, "of a mesh"),
    ("delegation", Verdict::NoEqual, "of a mesh"),
    (
        "retries",
        Verdict::NoEqual,
        "the router sends no request twice; clients know which of theirs may be repeated",
    ),
    ("headers", Verdict::NoEqual, "the router passes headers on as they are"),
    ("corsPolicy", Verdict::NoEqual, "the service itself answers that"),
    ("apex", Verdict::NoEqual, "for Kubernetes"),
    ("primary", Verdict::NoEqual, "for Kubernetes"),
    ("canary", Verdict::NoEqual, "for Kubernetes"),
];

const OF_ANALYSIS: &[Rule] = &[
    (
        "alerts",
        Verdict::NoEqual,
        "a plan sends no messages yet; `/v1/events` streams every change, and alert rules are in contrib/",
    ),
    ("primaryReadyThreshold", Verdict::NoEqual, INSTANCES),
    ("canaryReadyThreshold", Verdict::NoEqual, INSTANCES),
    ("iterations", Verdict::NoEqual, "how often a check is made without weights; a plan moves by weights"),
    (
        "match",
        Verdict::BetterOtherwise,
        "`routing.override: {header: NAME}` sends whoever says a version's number to it",
    ),
];

/// Whether a document is a Canary.
pub fn is_canary(document: &Node) -> bool {
    document.text_at(&["kind"]) == Some("Canary")
        && document.text_at(&["apiVersion"]).is_some_and(|version| version.starts_with("flagger.app/"))
}

/// Reads one, with the documents that stand beside it.
pub fn read(import: &mut Import<'_>, canary: &Node, beside: &[Node]) -> Result<(), Refusal> {
    import.draft.origin = "a Flagger Canary";
    let Some((name, text)) = canary
        .at(&["metadata"])
        .and_then(|metadata| metadata.entry("name"))
        .and_then(|name| Some((name, name.value.text()?)))
    else {
        return Err(import.fault(
            canary.place,
            "the Canary has no `metadata.name`",
            "a plan needs a function's name",
        ));
    };
    import.function(name.place, what("metadata", name), text)?;
    for entry in canary.at(&["metadata"]).map(Node::entries).unwrap_or_default() {
        match entry.key.as_str() {
            "name" => {}
            "labels" => import.labels("metadata.labels", &entry.value),
            "namespace" => {
                import.no_equal(entry.place, what("metadata", entry), "there is one namespace of functions");
            }
            _ => import.no_equal(entry.place, what("metadata", entry), "it is for Kubernetes"),
        }
    }
    let Some(spec) = canary.entry("spec") else {
        return Err(import.fault(canary.place, "the Canary has no `spec`", "give the whole manifest"));
    };
    let analysis = ["analysis", "canaryAnalysis"].iter().find_map(|key| spec.value.entry(key));
    let Some(analysis) = analysis else {
        return Err(import.fault(
            spec.place,
            "the Canary has no `analysis`",
            "its weights stand there: stepWeight, maxWeight",
        ));
    };
    for entry in spec.value.entries() {
        match entry.key.as_str() {
            "analysis" | "canaryAnalysis" => {}
            "service" => service(import, entry)?,
            "skipAnalysis" if entry.value.text() == Some("true") => {
                import.draft.unjudged = Some(entry.place.line);
                import.came(
                    entry.place,
                    what("spec", entry),
                    "`analysis: none`: time and people alone decide",
                );
            }
            "skipAnalysis" => {
                import.came(entry.place, what("spec", entry), "a plan judges unless it says otherwise")
            }
            _ => import.by_rule("spec", entry, OF_SPEC),
        }
    }
    steps(import, analysis)?;
    for entry in analysis.value.entries() {
        match entry.key.as_str() {
            "interval"
            | "maxWeight"
            | "stepWeight"
            | "stepWeights"
            | "stepWeightPromotion"
            | "mirrorWeight" => {}
            "mirror" => {}
            "threshold" => {
                let says = "serin waits for no number of bad checks: it goes back once harm cannot be chance, and metrics \
                            have `failureLimit`";
                import.better(entry.place, what("analysis", entry), says);
            }
            "metrics" => {
                let target = canary.text_at(&["spec", "targetRef", "name"]).unwrap_or(text);
                flagger_metrics::read(import, entry, analysis, beside, target);
            }
            "webhooks" => webhooks(import, entry)?,
            "sessionAffinity" => affinity(import, entry),
            _ => import.by_rule("analysis", entry, OF_ANALYSIS),
        }
    }
    Ok(())
}

fn service(import: &mut Import<'_>, service: &Entry) -> Result<(), Refusal> {
    for entry in service.value.entries() {
        if entry.key != "timeout" {
            import.by_rule("service", entry, OF_SERVICE);
            continue;
        }
        let Some(time) = entry.value.text().and_then(span) else {
            return Err(import.fault(entry.value.place, "this is no time", "as in `timeout: 30s`"));
        };
        import.draft.first_byte = Some((time, entry.place.line));
        let says = "`timeouts.firstByte`: how long the head of an answer is waited for";
        import.came(entry.place, what("service", entry), says);
    }
    Ok(())
}

fn share(import: &Import<'_>, node: &Node) -> Result<Share, Refusal> {
    let read = node.text().and_then(Share::read).filter(|share| *share > Share(0));
    read.ok_or_else(|| {
        import.fault(node.place, "this is no weight", "a weight is a number above 0, at most 100")
    })
}

/// The weights: by one step, by a list, or nowhere.
fn steps(import: &mut Import<'_>, analysis: &Entry) -> Result<(), Refusal> {
    let of = |key: &str| analysis.value.entry(key);
    let every = match of("interval") {
        None => INTERVAL,
        Some(interval) => match interval.value.text().and_then(span) {
            Some(every) => {
                let says = "as long at each weight, and never less than the proof takes";
                import.came(interval.place, what("analysis", interval), says);
                every
            }
            None => {
                return Err(import.fault(interval.value.place, "this is no time", "as in `interval: 1m`"));
            }
        },
    };
    mirror(import, analysis)?;
    if let Some(list) = of("stepWeights") {
        for item in list.value.items() {
            let share = share(import, item)?;
            if import.draft.weight().is_some_and(|before| share <= before) {
                import.no_equal(
                    item.place,
                    format!("stepWeights: {}", item.brief()),
                    "weights of a plan rise",
                );
                continue;
            }
            import.draft.steps.push((Step::Weight(share), item.place.line));
            import.draft.bake(every, item.place.line);
        }
        import.came(list.place, what("analysis", list), "a step each, with the interval as its bake");
        if let Some(max) = of("maxWeight") {
            let says = "with `stepWeights` Flagger itself takes the last of these instead";
            import.no_equal(max.place, what("analysis", max), says);
        }
    } else if let Some(by) = of("stepWeight") {
        let by_share = share(import, &by.value)?;
        let max = match of("maxWeight") {
            Some(max) => share(import, &max.value)?,
            None => Share::ALL,
        };
        if let Some(max) = of("maxWeight") {
            import.came(max.place, what("analysis", max), "where the ramp ends, before everything goes over");
        }
        if by_share < max {
            import.draft.steps.push((Step::Ramp { to: max, by: by_share, every }, by.place.line));
            import.came(by.place, what("analysis", by), "a ramp by this much");
        } else {
            import.weight(by.place, what("analysis", by), max);
            import.draft.bake(every, by.place.line);
        }
    } else {
        let place = of("iterations").map_or(analysis.place, |entry| entry.place);
        let help = "say `stepWeight` and `maxWeight`; for A/B testing and blue-green a plan has no words";
        return Err(import.fault(place, "the analysis has no weights, and a plan moves by weights", help));
    }
    promotion(import, analysis, every)
}

fn promotion(import: &mut Import<'_>, analysis: &Entry, every: Duration) -> Result<(), Refusal> {
    if import.draft.weight() == Some(Share::ALL) {
        return Ok(());
    }
    if let Some(entry) = analysis.value.entry("stepWeightPromotion") {
        let by = share(import, &entry.value)?;
        if by < Share::ALL {
            import.draft.steps.push((Step::Ramp { to: Share::ALL, by, every }, entry.place.line));
            import.came(entry.place, what("analysis", entry), "a second ramp, from there to everything");
            return Ok(());
        }
    }
    import.draft.steps.push((Step::Weight(Share::ALL), analysis.place.line));
    import.came(
        analysis.place,
        "analysis",
        "the step 100% after the last weight, which Flagger takes by itself",
    );
    Ok(())
}

/// Flagger copies requests once, before the first weight.
fn mirror(import: &mut Import<'_>, analysis: &Entry) -> Result<(), Refusal> {
    let Some(entry) = analysis.value.entry("mirror").filter(|entry| entry.value.text() == Some("true"))
    else {
        return Ok(());
    };
    import.draft.mirrors_first = Some(entry.place.line);
    let says = "`firstWeight: mirror`: copies prove the canary before anybody gets it, for as long as the proof takes";
    import.came(entry.place, what("analysis", entry), says);
    if let Some(weight) = analysis.value.entry("mirrorWeight") {
        import.draft.mirror = Some((share(import, &weight.value)?, weight.place.line));
        let says = "`routing.mirror`, which goes on beside the weights";
        import.came(weight.place, what("analysis", weight), says);
    }
    Ok(())
}

fn affinity(import: &mut Import<'_>, entry: &Entry) {
    let cookie = entry.value.entry("cookieName").and_then(|name| Some((name, name.value.text()?)));
    if let Some((name, text)) = cookie {
        import.draft.cookie = Some((text.to_owned(), name.place.line));
        let says =
            "`routing.affinity`; serin sets no cookie, so this must be one that the service itself sets";
        import.came(name.place, what("sessionAffinity", name), says);
    }
    for other in entry.value.entries().iter().filter(|other| other.key != "cookieName") {
        let says = "serin sets no cookie: name one of the service's own";
        import.no_equal(other.place, what("sessionAffinity", other), says);
    }
}

fn webhooks(import: &mut Import<'_>, webhooks: &Entry) -> Result<(), Refusal> {
    let mut first = Vec::new();
    for hook in webhooks.value.items() {
        let name = hook.text_at(&["name"]).unwrap_or("unnamed");
        let kind = hook.text_at(&["type"]).unwrap_or("rollout");
        let said = format!("webhooks: {name} ({kind})");
        let is_gate = hook.text_at(&["url"]).is_some_and(|url| url.contains("/gate/"));
        match kind {
            "confirm-rollout" | "pre-rollout" => {
                if let Some(step) = hook_step(import, hook, said, is_gate) {
                    first.push((step, hook.place.line));
                }
            }
            "confirm-promotion" => {
                if let Some(step) = hook_step(import, hook, said, is_gate) {
                    before_the_last(import, step, hook.place);
                }
            }
            "confirm-traffic-increase" => {
                let says =
                    "it is asked before every weight; write a `webhook` step before each where it matters";
                import.better(hook.place, said, says);
            }
            "rollout" => {
                let says = "serin makes no traffic: users' requests are the proof, and without any nothing advances. \
                            `serin simulate` and `serin lint --rps N` tell how long that takes";
                import.better(hook.place, said, says);
            }
            "rollback" => import.better(
                hook.place,
                said,
                "`serin rollback`, or a `metrics` entry whose bound it breaks",
            ),
            "post-rollout" | "event" => {
                import.no_equal(
                    hook.place,
                    said,
                    "a plan sends no messages yet; `/v1/events` streams every change",
                );
            }
            other => {
                let known = "confirm-rollout, pre-rollout, rollout, confirm-traffic-increase, confirm-promotion, rollback, \
                             post-rollout and event";
                let place = hook.get("type").map_or(hook.place, |kind| kind.place);
                return Err(import.fault(
                    place,
                    format!("`{other}` is no type of a web hook"),
                    format!("there are {known}"),
                ));
            }
        }
    }
    import.draft.steps.splice(0..0, first);
    Ok(())
}

/// A web hook as a step: a gate is people's consent.
fn hook_step(import: &mut Import<'_>, hook: &Node, said: String, is_gate: bool) -> Option<Step> {
    if is_gate {
        import.came(hook.place, said, "an `approval` step: a gate that people open is `serin approve`");
        return Some(Step::Approval(String::new()));
    }
    let Some(url) = hook.text_at(&["url"]) else {
        import.no_equal(hook.place, said, "it has no URL");
        return None;
    };
    if hook.get("metadata").is_some() {
        let says = "a `webhook` step sends the rollout, its weight and its versions and no `metadata`: put a small service of \
                    yours there that runs the test, and add `- webhook: {url: …}` before the first weight";
        import.better(hook.place, said, says);
        return None;
    }
    let timeout = hook.text_at(&["timeout"]).and_then(span);
    let timeout = timeout
        .map_or_else(String::new, |time| format!(", timeout: {}", serin_core::model::time::human(time)));
    let retries =
        hook.text_at(&["retries"]).and_then(|text| text.parse::<u32>().ok()).filter(|count| *count <= 100);
    let retries = retries.map_or_else(String::new, |count| format!(", retries: {count}"));
    import.came(hook.place, said, "a `webhook` step, which passes when it answers 2xx");
    Some(Step::Webhook(format!("url: {}{timeout}{retries}", super::draft::quoted(url))))
}

fn before_the_last(import: &mut Import<'_>, step: Step, place: Place) {
    let last = import.draft.steps.len().saturating_sub(1);
    import.draft.steps.insert(last, (step, place.line));
}
