//! Reads an Argo Rollout with a canary strategy, and the AnalysisTemplates in the same file.

use std::time::Duration;

use super::argo_analysis;
use super::document::{Entry, Node, Refusal};
use super::draft::{Share, Step, quoted, span};
use super::report::{Import, Rule, Verdict, what};

const INSTANCES: &str = "serin starts and stops no instances: both versions run before and during a rollout";
const ROUTER: &str =
    "serin's own router splits the traffic; `serin function publish --url` tells where a version answers";

const OF_SPEC: &[Rule] = &[
    ("replicas", Verdict::NoEqual, INSTANCES),
    ("selector", Verdict::NoEqual, INSTANCES),
    ("template", Verdict::BetterOtherwise, "a version is what `serin function publish NAME --url` registers"),
    (
        "workloadRef",
        Verdict::BetterOtherwise,
        "a version is what `serin function publish NAME --url` registers",
    ),
    (
        "minReadySeconds",
        Verdict::BetterOtherwise,
        "`analysis.latency.warmup` is how long a canary may be cold",
    ),
    (
        "revisionHistoryLimit",
        Verdict::NoEqual,
        "versions stay until `serin function delete`; history, `--keep-history`",
    ),
    (
        "progressDeadlineSeconds",
        Verdict::BetterOtherwise,
        "that is about pods; `stepDeadline` is about steps, 24h unless said",
    ),
    (
        "progressDeadlineAbort",
        Verdict::BetterOtherwise,
        "`stepDeadline: {then: rollback}` goes back when a step is late",
    ),
    ("paused", Verdict::BetterOtherwise, "`serin pause` keeps a rollout where it is"),
    ("restartAt", Verdict::NoEqual, INSTANCES),
    (
        "rollbackWindow",
        Verdict::BetterOtherwise,
        "`serin rollback --to N` goes to any version at once, without steps",
    ),
    ("analysis", Verdict::NoEqual, "how many runs are kept; serin keeps history by `--keep-history`"),
];

const OF_CANARY: &[Rule] = &[
    ("canaryService", Verdict::BetterOtherwise, ROUTER),
    ("stableService", Verdict::BetterOtherwise, ROUTER),
    ("trafficRouting", Verdict::BetterOtherwise, ROUTER),
    ("maxSurge", Verdict::NoEqual, INSTANCES),
    ("maxUnavailable", Verdict::NoEqual, INSTANCES),
    ("minPodsPerReplicaSet", Verdict::NoEqual, INSTANCES),
    ("dynamicStableScale", Verdict::NoEqual, INSTANCES),
    ("scaleDownDelaySeconds", Verdict::NoEqual, INSTANCES),
    ("scaleDownDelayRevisionLimit", Verdict::NoEqual, INSTANCES),
    ("abortScaleDownDelaySeconds", Verdict::NoEqual, INSTANCES),
    ("antiAffinity", Verdict::NoEqual, INSTANCES),
    ("pingPong", Verdict::NoEqual, INSTANCES),
    ("replicaProgressThreshold", Verdict::NoEqual, INSTANCES),
    (
        "canaryMetadata",
        Verdict::BetterOtherwise,
        "requests carry `x-serin-arm: canary` or `stable`, see `analysis.baseline`",
    ),
    (
        "stableMetadata",
        Verdict::BetterOtherwise,
        "requests carry `x-serin-arm: canary` or `stable`, see `analysis.baseline`",
    ),
];

/// The keys that a step may be.
const STEPS: &[&str] = &[
    "setWeight",
    "pause",
    "analysis",
    "experiment",
    "setCanaryScale",
    "setHeaderRoute",
    "setMirrorRoute",
    "plugin",
    "replicaProgressThreshold",
];

/// Whether a document is a Rollout.
pub fn is_rollout(document: &Node) -> bool {
    document.text_at(&["kind"]) == Some("Rollout")
        && document.text_at(&["apiVersion"]).is_some_and(|version| version.starts_with("argoproj.io/"))
}

/// Reads one, with the documents that stand beside it.
pub fn read(import: &mut Import<'_>, rollout: &Node, beside: &[Node]) -> Result<(), Refusal> {
    import.draft.origin = "an Argo Rollout";
    metadata(import, rollout)?;
    let Some(spec) = rollout.entry("spec") else {
        return Err(import.fault(rollout.place, "the Rollout has no `spec`", "give the whole manifest"));
    };
    let Some(strategy) = spec.value.entry("strategy") else {
        let help = "write `strategy: {canary: {steps: …}}`; without it Argo does a rolling update, which no plan can";
        return Err(import.fault(spec.place, "the Rollout has no `strategy`", help));
    };
    let Some(canary) = strategy.value.entry("canary") else {
        let place = strategy.value.entries().first().map_or(strategy.place, |entry| entry.place);
        let help = "a plan moves a canary in steps; serin has no second copy of everything to switch to";
        return Err(import.fault(place, "the Rollout's strategy is no `canary`", help));
    };
    for entry in spec.value.entries().iter().filter(|entry| entry.key != "strategy") {
        import.by_rule("spec", entry, OF_SPEC);
    }
    let Some(steps) = canary.value.entry("steps") else {
        let help = "write the weights as `steps`; without them Argo does a rolling update by maxSurge";
        return Err(import.fault(canary.place, "the canary has no `steps`", help));
    };
    for item in steps.value.items() {
        step(import, item, beside)?;
    }
    if steps.value.items().is_empty() {
        return Err(import.fault(
            steps.place,
            "there are no steps here",
            "write at least one, as `- setWeight: 20`",
        ));
    }
    for entry in canary.value.entries() {
        match entry.key.as_str() {
            "steps" => {}
            "analysis" => argo_analysis::background(import, entry, &steps.value, beside),
            _ => import.by_rule("canary", entry, OF_CANARY),
        }
    }
    if import.draft.weight().is_none() {
        let help = "a plan moves by weights: write at least one, as `- setWeight: 5`, where the steps have done their part";
        return Err(import.fault(steps.place, "no step gives the canary traffic", help));
    }
    if import.draft.weight() != Some(Share::ALL) {
        import.draft.steps.push((Step::Weight(Share::ALL), steps.place.line));
        import.came(steps.place, "steps", "the step 100% after the last one, which Argo takes by itself");
    }
    Ok(())
}

fn metadata(import: &mut Import<'_>, rollout: &Node) -> Result<(), Refusal> {
    let Some(name) = rollout.at(&["metadata"]).and_then(|metadata| metadata.entry("name")) else {
        return Err(import.fault(
            rollout.place,
            "the manifest has no `metadata.name`",
            "a plan needs a function's name",
        ));
    };
    let Some(text) = name.value.text() else {
        let generated = "write the name as a text";
        return Err(import.fault(name.place, "the name is no text", generated));
    };
    import.function(name.place, what("metadata", name), text)?;
    for entry in rollout.at(&["metadata"]).map(Node::entries).unwrap_or_default() {
        match entry.key.as_str() {
            "name" => {}
            "labels" => import.labels("metadata.labels", &entry.value),
            "namespace" => import.no_equal(
                entry.place,
                what("metadata", entry),
                "there is one namespace of functions; where two teams share a serin, put it into the name",
            ),
            _ => import.no_equal(entry.place, what("metadata", entry), "it is for Kubernetes"),
        }
    }
    Ok(())
}

fn step(import: &mut Import<'_>, item: &Node, beside: &[Node]) -> Result<(), Refusal> {
    let [entry] = item.entries() else {
        return Err(import.fault(item.place, "a step is a map with one key", "as in `- setWeight: 20`"));
    };
    let what = what("", entry);
    match entry.key.as_str() {
        "setWeight" => {
            let Some(share) = entry.value.text().and_then(Share::read) else {
                return Err(import.fault(
                    entry.value.place,
                    "a weight is a number from 0 to 100",
                    "as in `setWeight: 20`",
                ));
            };
            import.weight(entry.place, what, share);
        }
        "pause" => pause(import, entry, what)?,
        "analysis" => argo_analysis::step(import, entry, beside),
        "setMirrorRoute" => mirror(import, entry, what)?,
        "experiment" => {
            let says = "serin starts no copies of versions; `analysis.baseline: split` holds a part of stable beside the \
                        canary, and `firstWeight: mirror` tries it on copies of requests";
            import.better(entry.place, what, says);
        }
        "setCanaryScale" | "replicaProgressThreshold" => import.no_equal(entry.place, what, INSTANCES),
        "setHeaderRoute" => {
            let says = "`routing.override: {header: NAME}` sends a request to the version whose number the header has";
            import.better(entry.place, what, says);
        }
        "plugin" => {
            let says = "a `webhook` step asks a service of yours and goes on when it answers 2xx";
            import.better(entry.place, what, says);
        }
        other => return Err(unknown(import, entry, other, "a step of a Rollout", STEPS)),
    }
    Ok(())
}

/// A word that is none of those there are: it might be a gate, so it is not passed over.
pub fn unknown(import: &Import<'_>, entry: &Entry, word: &str, of: &str, known: &[&str]) -> Refusal {
    let near = known.iter().max_by(|a, b| {
        let close = |name: &str| strsim::jaro_winkler(name, word);
        close(a).total_cmp(&close(b))
    });
    let meant = near.filter(|name| strsim::jaro_winkler(name, word) > 0.8);
    let help = match meant {
        Some(name) => format!("did you mean `{name}`?"),
        None => format!("serin knows {}; take it out if it is of no matter", known.join(", ")),
    };
    let place = if entry.value.text() == Some(word) { entry.value.place } else { entry.place };
    import.fault(place, format!("`{word}` is not {of} that serin knows"), help)
}

fn pause(import: &mut Import<'_>, entry: &Entry, what: String) -> Result<(), Refusal> {
    let Some(duration) = entry.value.get("duration") else {
        import.draft.steps.push((Step::Pause, entry.place.line));
        import.came(entry.place, what, "waits for `serin resume`; the canary is judged meanwhile");
        return Ok(());
    };
    let Some(span) = duration.text().and_then(span) else {
        return Err(import.fault(
            duration.place,
            "this is no time",
            "as in `duration: 40`, `40s` or `1h30m`",
        ));
    };
    bake(import, entry, what, span);
    Ok(())
}

/// Takes time at a weight; time before the first one has no equal.
pub fn bake(import: &mut Import<'_>, entry: &Entry, what: String, time: Duration) {
    if import.draft.weight().is_none() {
        let says =
            "a bake is time at a weight, and no weight stands before it; begin the rollout later instead";
        import.no_equal(entry.place, what, says);
        return;
    }
    import.draft.bake(time, entry.place.line);
    import.came(entry.place, what, "a bake, which counts only while the router serves the weight");
}

fn mirror(import: &mut Import<'_>, entry: &Entry, what: String) -> Result<(), Refusal> {
    let Some(percentage) = entry.value.get("percentage") else {
        import.came(entry.place, what, "copies end with the rollout by themselves");
        return Ok(());
    };
    let Some(share) = percentage.text().and_then(Share::read) else {
        let said = "a percentage is a number from 0 to 100";
        return Err(import.fault(percentage.place, said, "as in `percentage: 35`"));
    };
    import.draft.mirror = Some((share, entry.place.line));
    let mut says = format!("`routing.mirror: {}`, from the rollout's start to its end", share.text());
    if let Some(matches) = entry.value.get("match") {
        let is_of_unsafe = matches.items().iter().any(|one| {
            let method = one.text_at(&["method", "exact"]);
            method.is_some_and(|method| {
                !matches!(quoted(method).as_str(), "GET" | "HEAD" | "OPTIONS" | "TRACE")
            })
        });
        says.push_str("; which requests is not told by `match` but by what may be copied: GET and its like without a body");
        if is_of_unsafe {
            says.push_str(
                " (`mirrorMethods: any` copies all, and the canary must not do twice what stable does)",
            );
        }
    }
    import.came(entry.place, what, says);
    Ok(())
}
