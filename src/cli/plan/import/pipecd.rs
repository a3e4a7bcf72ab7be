//! Reads an application of PipeCD whose pipeline has canary stages.

use super::argo::{bake, unknown};
use super::document::{Entry, Node, Place, Refusal};
use super::draft::{Metric, Share, Step, quoted, span};
use super::report::{Import, Rule, Verdict, what};
use serin_core::model::time::human;

const INSTANCES: &str = "serin starts and stops no instances: both versions run before and during a rollout";

const OF_SPEC: &[Rule] = &[
    ("input", Verdict::BetterOtherwise, "a version is what `serin function publish NAME --url` registers"),
    ("planner", Verdict::NoEqual, "a rollout always goes by its plan"),
    (
        "quickSync",
        Verdict::BetterOtherwise,
        "`serin promote --full --reason …` gives everything to a version at once",
    ),
    ("trigger", Verdict::BetterOtherwise, "`start: onPublish` starts with each version that is published"),
    (
        "eventWatcher",
        Verdict::BetterOtherwise,
        "`start: onPublish` starts with each version that is published",
    ),
    (
        "postSync",
        Verdict::BetterOtherwise,
        "`start: {after: {target: …, for: …}}` in the plan of what comes next",
    ),
    ("notification", Verdict::NoEqual, "a plan sends no messages yet; `/v1/events` streams every change"),
    ("timeout", Verdict::BetterOtherwise, "`stepDeadline` says how long a step may take, 24h unless said"),
    ("trafficRouting", Verdict::BetterOtherwise, "serin's own router splits the traffic"),
    ("service", Verdict::NoEqual, "for Kubernetes"),
    ("workloads", Verdict::NoEqual, "for Kubernetes"),
    ("resourceRoutes", Verdict::NoEqual, "for Kubernetes"),
    ("variantLabel", Verdict::NoEqual, "for Kubernetes"),
    ("encryption", Verdict::BetterOtherwise, "`{env: NAME}` in a plan stands for a variable of the daemon's"),
    ("attachment", Verdict::NoEqual, "a plan holds no files"),
    (
        "driftDetection",
        Verdict::BetterOtherwise,
        "`onDrift` says what follows when somebody else moves the alias",
    ),
    ("plugins", Verdict::NoEqual, "for PipeCD"),
    ("deploymentPlugins", Verdict::NoEqual, "for PipeCD"),
];

/// Stages that only Kubernetes, ECS and the like need, and that move no traffic.
const IDLE: &[&str] = &[
    "K8S_CANARY_CLEAN",
    "K8S_BASELINE_CLEAN",
    "ECS_CANARY_CLEAN",
    "LAMBDA_CANARY_ROLLOUT",
    "CLOUDRUN_CANARY_ROLLOUT",
    "ECS_CANARY_ROLLOUT",
];

const STAGES: &[&str] = &[
    "K8S_CANARY_ROLLOUT",
    "K8S_CANARY_CLEAN",
    "K8S_BASELINE_ROLLOUT",
    "K8S_BASELINE_CLEAN",
    "K8S_PRIMARY_ROLLOUT",
    "K8S_TRAFFIC_ROUTING",
    "K8S_SYNC",
    "ECS_CANARY_ROLLOUT",
    "ECS_CANARY_CLEAN",
    "ECS_PRIMARY_ROLLOUT",
    "ECS_TRAFFIC_ROUTING",
    "ECS_SYNC",
    "LAMBDA_CANARY_ROLLOUT",
    "LAMBDA_PROMOTE",
    "LAMBDA_SYNC",
    "CLOUDRUN_CANARY_ROLLOUT",
    "CLOUDRUN_PROMOTE",
    "CLOUDRUN_SYNC",
    "WAIT",
    "WAIT_APPROVAL",
    "ANALYSIS",
    "SCRIPT_RUN",
    "CUSTOM_SYNC",
];

/// Whether a document is an application.
pub fn is_app(document: &Node) -> bool {
    document.text_at(&["apiVersion"]).is_some_and(|version| version.starts_with("pipecd.dev/"))
        && document.text_at(&["kind"]).is_some_and(|kind| kind.ends_with("App") || kind == "Application")
}

/// Reads one.
pub fn read(import: &mut Import<'_>, app: &Node) -> Result<(), Refusal> {
    import.draft.origin = "an application of PipeCD";
    let Some(spec) = app.entry("spec") else {
        return Err(import.fault(app.place, "the application has no `spec`", "give the whole file"));
    };
    let names = [spec.value.entry("name"), app.at(&["metadata"]).and_then(|metadata| metadata.entry("name"))];
    let Some((name, text)) = names.into_iter().flatten().find_map(|name| Some((name, name.value.text()?)))
    else {
        return Err(import.fault(spec.place, "the application has no name", "write `name: …` below `spec`"));
    };
    import.function(name.place, what("spec", name), text)?;
    let pipeline = spec.value.entry("pipeline");
    let Some(stages) = pipeline.and_then(|pipeline| pipeline.value.entry("stages")) else {
        let place = pipeline.map_or(spec.place, |pipeline| pipeline.place);
        let help = "without stages PipeCD syncs everything at once, which is `preset: AllAtOnce` of a plan";
        return Err(import.fault(place, "the application has no `pipeline.stages`", help));
    };
    for entry in spec.value.entries() {
        match entry.key.as_str() {
            "name" | "pipeline" => {}
            "labels" => import.labels("spec.labels", &entry.value),
            "description" => description(import, entry),
            _ => import.by_rule("spec", entry, OF_SPEC),
        }
    }
    let routes = stages.value.items().iter().any(|stage| {
        stage
            .text_at(&["name"])
            .is_some_and(|name| name.ends_with("_TRAFFIC_ROUTING") || name.ends_with("_PROMOTE"))
    });
    for item in stages.value.items() {
        stage(import, item, routes)?;
    }
    if import.draft.weight().is_none() {
        let help = "a plan needs a weight, from K8S_CANARY_ROLLOUT, …_TRAFFIC_ROUTING or …_PROMOTE";
        return Err(import.fault(stages.place, "no stage gives a canary traffic", help));
    }
    if import.draft.weight() != Some(Share::ALL) {
        import.draft.steps.push((Step::Weight(Share::ALL), stages.place.line));
        import.came(
            stages.place,
            "stages",
            "the step 100%, for a plan ends with everything on the new version",
        );
    }
    Ok(())
}

fn description(import: &mut Import<'_>, entry: &Entry) {
    let Some(text) = entry.value.text() else { return };
    let text: String = text.split_whitespace().collect::<Vec<_>>().join(" ").chars().take(200).collect();
    import.draft.description = Some((text, entry.place.line));
    import.came(entry.place, what("spec", entry), "the plan's description, in one line");
}

fn stage(import: &mut Import<'_>, item: &Node, routes: bool) -> Result<(), Refusal> {
    let named = item.entry("name").and_then(|entry| Some((entry, entry.value.text()?)));
    let Some((entry, name)) = named else {
        return Err(import.fault(item.place, "a stage has a `name`", "as in `- name: WAIT`"));
    };
    let with = item.get("with");
    let of = |keys: &[&str]| with.and_then(|with| with.at(keys));
    let said = name.to_owned();
    match name {
        "K8S_CANARY_ROLLOUT" if routes => import.no_equal(entry.place, said, INSTANCES),
        "K8S_CANARY_ROLLOUT" => replicas(import, entry, of(&["replicas"]))?,
        "K8S_BASELINE_ROLLOUT" => {
            import.draft.splits_baseline = Some(entry.place.line);
            let says =
                "`analysis.baseline: split`: a part of stable as large as the canary, counted beside it";
            import.came(entry.place, said, says);
        }
        "K8S_TRAFFIC_ROUTING" | "ECS_TRAFFIC_ROUTING" => routing(import, entry, with)?,
        "LAMBDA_PROMOTE" | "CLOUDRUN_PROMOTE" => {
            let share = share(import, of(&["percent"]), entry.place, "percent")?;
            import.weight(entry.place, format!("{name} {}", share.text()), share);
        }
        "K8S_PRIMARY_ROLLOUT"
        | "ECS_PRIMARY_ROLLOUT"
        | "K8S_SYNC"
        | "ECS_SYNC"
        | "LAMBDA_SYNC"
        | "CLOUDRUN_SYNC" => {
            import.weight(entry.place, said, Share::ALL);
        }
        "WAIT" => {
            let Some(time) = of(&["duration"]).and_then(Node::text).and_then(span) else {
                let place = of(&["duration"]).map_or(entry.place, |node| node.place);
                return Err(import.fault(place, "this WAIT says no time", "as in `with: {duration: 30s}`"));
            };
            bake(import, entry, format!("WAIT {}", human(time)), time);
        }
        "WAIT_APPROVAL" => approval(import, entry, with),
        "ANALYSIS" => analysis(import, entry, with),
        "SCRIPT_RUN" | "CUSTOM_SYNC" => {
            let says = "serin runs no commands: a `webhook` step asks a service of yours and goes on when it answers 2xx";
            import.better(entry.place, said, says);
        }
        idle if IDLE.contains(&idle) => import.no_equal(entry.place, said, INSTANCES),
        other => return Err(unknown(import, entry, other, "a stage", STAGES)),
    }
    Ok(())
}

fn share(import: &Import<'_>, node: Option<&Node>, place: Place, key: &str) -> Result<Share, Refusal> {
    let read = node.and_then(Node::text).and_then(Share::read);
    let place = node.map_or(place, |node| node.place);
    read.ok_or_else(|| {
        import.fault(
            place,
            format!("the stage says no `{key}` from 0 to 100"),
            format!("as in `with: {{{key}: 10}}`"),
        )
    })
}

/// Without traffic routing a canary gets what its pods' share is.
fn replicas(import: &mut Import<'_>, entry: &Entry, replicas: Option<&Node>) -> Result<(), Refusal> {
    let text = replicas.and_then(Node::text);
    if text.is_some_and(|text| text.contains('%')) {
        let share = share(import, replicas, entry.place, "replicas")?;
        let before = import.report.len();
        import.weight(entry.place, format!("K8S_CANARY_ROLLOUT {}", share.text()), share);
        if let Some(finding) = import.report.get_mut(before).filter(|_| import.draft.weight() == Some(share))
        {
            let of_all = share.0 as f64 / (f64::from(Share::ALL.0) + share.0 as f64) * 100.0;
            finding.says = format!(
                "the step {}; as pods beside those of the primary these had about {of_all:.1}% of the requests",
                share.text()
            );
        }
        return Ok(());
    }
    let pods = text.unwrap_or("1");
    let share = Share(50_000);
    import.draft.steps.push((Step::Weight(share), entry.place.line));
    let says = format!(
        "a number of pods ({pods}) is no share of the traffic: {} stands in the plan in its place",
        share.text()
    );
    import.better(entry.place, "K8S_CANARY_ROLLOUT", says);
    Ok(())
}

fn routing(import: &mut Import<'_>, entry: &Entry, with: Option<&Node>) -> Result<(), Refusal> {
    let of = |key: &str| with.and_then(|with| with.get(key));
    let name = entry.value.brief();
    let share = match (of("all").and_then(Node::text), of("canary"), of("primary")) {
        (Some("canary"), ..) => Share::ALL,
        (Some("primary"), ..) => Share(0),
        (_, Some(canary), _) => share(import, Some(canary), entry.place, "canary")?,
        (_, None, Some(primary)) => {
            Share(Share::ALL.0 - share(import, Some(primary), entry.place, "primary")?.0)
        }
        (_, None, None) => {
            return Err(import.fault(entry.place, "this stage routes nothing", "as in `with: {canary: 10}`"));
        }
    };
    if let Some(baseline) = of("baseline").filter(|node| node.text() != Some("0")) {
        import.draft.splits_baseline = Some(baseline.place.line);
        let says = "`analysis.baseline: split`, which is always as large as the canary";
        import.came(baseline.place, format!("baseline: {}", baseline.brief()), says);
    }
    let is_over = import.draft.weight() == Some(Share::ALL);
    if share == Share(0) && is_over {
        let says = "after the primary is the new version; a plan has one version from there on";
        import.came(entry.place, format!("{name} primary"), says);
    } else {
        import.weight(entry.place, format!("{name} {}", share.text()), share);
    }
    Ok(())
}

fn approval(import: &mut Import<'_>, entry: &Entry, with: Option<&Node>) {
    let of = |key: &str| with.and_then(|with| with.get(key));
    let approvers: Vec<String> = of("approvers")
        .map(Node::items)
        .unwrap_or_default()
        .iter()
        .filter_map(Node::text)
        .map(quoted)
        .collect();
    let mut map = Vec::new();
    if !approvers.is_empty() {
        map.push(format!("approvers: [{}]", approvers.join(", ")));
    }
    if let Some(count) =
        of("minApproverNum").and_then(Node::text).filter(|count| count.parse::<u32>().is_ok_and(|n| n > 1))
    {
        map.push(format!("minApprovers: {count}"));
    }
    // What it is there, where it is not said.
    let timeout = of("timeout").and_then(Node::text).unwrap_or("6h");
    map.push(format!("timeout: {}", span(timeout).map_or_else(|| "6h".to_owned(), human)));
    import.draft.steps.push((Step::Approval(map.join(", ")), entry.place.line));
    let says = "an `approval` step; who approves is a token's name, or user@host where the daemon has no tokens, and after the \
                timeout it is rolled back";
    import.came(entry.place, "WAIT_APPROVAL", says);
}

fn analysis(import: &mut Import<'_>, entry: &Entry, with: Option<&Node>) {
    let of = |key: &str| with.and_then(|with| with.get(key));
    let mut names = Vec::new();
    for (index, metric) in of("metrics").map(Node::items).unwrap_or_default().iter().enumerate() {
        if let Some(metric) = metric_of(import, metric, index + 1) {
            names.push(metric.name.clone());
            import.draft.metrics.push(metric);
        }
    }
    for key in ["logs", "https"] {
        for item in of(key).map(Node::items).unwrap_or_default() {
            let says = "a `webhook` metric asks a service of yours for a number that it makes of it";
            import.better(item.place, format!("ANALYSIS {key}"), says);
        }
    }
    let time = of("duration").and_then(Node::text).and_then(span);
    match (names.is_empty(), time) {
        (false, Some(time)) => {
            let says =
                format!("a step that waits until these metrics have held as long: {}", names.join(", "));
            import.draft.steps.push((Step::Analysis(names, time), entry.place.line));
            import.came(entry.place, "ANALYSIS", says);
        }
        (_, Some(time)) if import.draft.weight().is_some() => {
            import.draft.bake(time, entry.place.line);
            let says = "time at the weight; serin itself judges every request of both versions meanwhile";
            import.came(entry.place, format!("ANALYSIS {}", human(time)), says);
        }
        _ => {
            let says = "serin itself judges every request of both versions, all the while; what else is measured can be a metric";
            import.better(entry.place, "ANALYSIS", says);
        }
    }
}

fn metric_of(import: &mut Import<'_>, metric: &Node, number: usize) -> Option<Metric> {
    let said = format!("ANALYSIS metrics {number}");
    if let Some(template) = metric.text_at(&["template", "name"]) {
        let says = format!(
            "the template {template} is in PipeCD's own files; write what it asks as a metric of the plan"
        );
        import.no_equal(metric.place, said, says);
        return None;
    }
    let strategy = metric.text_at(&["strategy"]).unwrap_or("THRESHOLD");
    if strategy != "THRESHOLD" {
        let says = format!(
            "{strategy}: serin itself holds the canary against stable at the same moment, request by request"
        );
        import.better(metric.place, said, says);
        return None;
    }
    let bound = |key: &str| {
        let text = metric.text_at(&["expected", key])?;
        text.parse::<f64>().ok().filter(|number| number.is_finite()).map(|_| text.to_owned())
    };
    let (min, max) = (bound("min"), bound("max"));
    let query = metric.text_at(&["query"]);
    let Some(query) = query.filter(|_| min.is_some() || max.is_some()) else {
        import.no_equal(metric.place, said, "it has no query, or no `expected` that a number could miss");
        return None;
    };
    if query.contains("{{") {
        import.no_equal(metric.place, said, "its query has a variable whose value is not in this file");
        return None;
    }
    let Some(url) = import.prometheus.map(str::to_owned) else {
        let says = "where its provider is stands in the configuration of piped; say it with --prometheus URL";
        import.no_equal(metric.place, said, says);
        return None;
    };
    import.came(metric.place, said, "a metric of the plan, asked of the Prometheus of --prometheus");
    Some(Metric {
        name: format!("metric-{}", import.draft.metrics.len() + 1),
        url,
        query: query.to_owned(),
        min,
        max,
        interval: metric.text_at(&["interval"]).and_then(span),
        failure_limit: metric
            .text_at(&["failureLimit"])
            .and_then(|text| text.parse().ok())
            .filter(|limit| *limit <= 1000),
        line: metric.place.line,
        ..Metric::default()
    })
}
