//! Every key there is, map by map, each with an example; and keys of other tools with what serin calls them.
//!
//! The reader takes no key that is not here, the schema has the same ones (a test holds them together), and faults
//! quote the examples.

/// A map of the plan language.
#[derive(Debug)]
pub(super) struct Table {
    /// What faults call it.
    pub name: &'static str,
    pub keys: &'static [Key],
}

/// A key of a map.
#[derive(Debug)]
pub(super) struct Key {
    pub name: &'static str,
    /// How it is written with its value.
    pub example: &'static str,
    /// Whether its map makes no sense without it.
    pub is_obligatory: bool,
}

const fn key(name: &'static str, example: &'static str) -> Key {
    Key { name, example, is_obligatory: false }
}

const fn must(name: &'static str, example: &'static str) -> Key {
    Key { name, example, is_obligatory: true }
}

pub(super) static PLAN: Table = Table {
    name: "a plan",
    keys: &[
        key("apiVersion", "apiVersion: serin/v1"),
        key("kind", "kind: Plan"),
        key("use", "use: team-defaults"),
        key("description", "description: what this rollout is about"),
        key("labels", "labels: {team: payments}"),
        must("function", "function: checkout"),
        must("alias", "alias: live"),
        key("timeZone", "timeZone: Europe/Paris"),
        key("version", "version: newest"),
        key("start", "start: onPublish"),
        key("onNewVersion", "onNewVersion: queue"),
        key("bake", "bake: 5m"),
        must("steps", "steps: [3%, 5%, 100%]"),
        key("preset", "preset: Canary10Percent5Minutes"),
        key("firstWeight", "firstWeight: probe"),
        key("analysis", "analysis: {falseRollbackRate: 1%}"),
        key("maxExposure", "maxExposure: {failures: 500}"),
        key("onFailure", "onFailure: rollback"),
        key("onDrift", "onDrift: pause"),
        key("whenStableUnhealthy", "whenStableUnhealthy: hold"),
        key("stableUnhealthy", "stableUnhealthy: {failures: 20%, for: 1m}"),
        key("stepDeadline", "stepDeadline: {after: 24h, then: pause}"),
        key("watch", "watch: {for: 1h, onAlarm: notify}"),
        key("windows", "windows: {allow: [{days: MON-FRI, from: \"09:00\", to: \"17:00\"}]}"),
        key("routing", "routing: {affinity: {cookie: session}}"),
        key("timeouts", "timeouts: {firstByte: 30s, idle: 60s}"),
        key("tunnels", "tunnels: {close: 30s}"),
        key("notify", "notify: [{slack: {url: {env: SLACK_URL}}, events: all}]"),
    ],
};

pub(super) static START: Table = Table {
    name: "`start`",
    keys: &[
        key("cron", "start: {cron: \"0 9 * * MON-THU\"}"),
        key("after", "start: {after: {target: \"checkout:staging\", for: 1h}}"),
    ],
};

pub(super) static AFTER: Table = Table {
    name: "`start.after`",
    keys: &[must("target", "target: \"checkout:staging\""), must("for", "for: 1h")],
};

pub(super) static STEP: Table = Table {
    name: "a step",
    keys: &[
        key("setWeight", "setWeight: 25%"),
        key("bake", "bake: 10m"),
        key("pause", "pause: {}"),
        key("approval", "approval: {approvers: [pay-oncall]}"),
        key("analysis", "analysis: {metrics: [queue-age], for: 10m}"),
        key("webhook", "webhook: {url: \"https://ci.example.com/smoke\"}"),
        key("ramp", "ramp: {to: 50%, by: 5%, every: 2m}"),
    ],
};

pub(super) static RAMP: Table = Table {
    name: "`ramp`",
    keys: &[must("to", "to: 50%"), must("by", "by: 5%"), must("every", "every: 2m")],
};

pub(super) static PAUSE: Table = Table { name: "`pause`", keys: &[] };

pub(super) static APPROVAL: Table = Table {
    name: "`approval`",
    keys: &[
        key("approvers", "approvers: [pay-oncall]"),
        key("minApprovers", "minApprovers: 1"),
        key("timeout", "timeout: 4h"),
        key("onTimeout", "onTimeout: rollback"),
    ],
};

pub(super) static ANALYSIS_STEP: Table = Table {
    name: "an `analysis` step",
    keys: &[must("metrics", "metrics: [queue-age]"), must("for", "for: 10m")],
};

pub(super) static WEBHOOK: Table = Table {
    name: "`webhook`",
    keys: &[
        must("url", "url: \"https://ci.example.com/smoke\""),
        key("timeout", "timeout: 30s"),
        key("retries", "retries: 3"),
        key("headers", "headers: {authorization: {env: HOOK_TOKEN}}"),
    ],
};

pub(super) static VALUE: Table =
    Table { name: "a value from the environment", keys: &[must("env", "{env: HOOK_TOKEN}")] };

pub(super) static ANALYSIS: Table = Table {
    name: "`analysis`",
    keys: &[
        key("failures", "failures: {maxRatio: 1.2, maxAdded: 0.05pp}"),
        key("latency", "latency: {maxRatio: 1.5, maxAdded: 10ms}"),
        key("refusals", "refusals: {maxRatio: 1.5, maxAdded: 1pp}"),
        key("falseRollbackRate", "falseRollbackRate: 1%"),
        key("proof", "proof: {addedFailures: 0.5pp, falseAdvanceRate: 5%}"),
        key("failureStatus", "failureStatus: [\"500-599\"]"),
        key("minDispersion", "minDispersion: 1"),
        key("baseline", "baseline: split"),
        key(
            "metrics",
            "metrics: [{name: queue-age, prometheus: {url: \"http://prom:9090\", query: up}, max: 30}]",
        ),
    ],
};

pub(super) static FAILURES: Table = Table {
    name: "`analysis.failures`",
    keys: &[key("maxRatio", "maxRatio: 1.2"), key("maxAdded", "maxAdded: 0.05pp"), key("max", "max: 2%")],
};

pub(super) static LATENCY: Table = Table {
    name: "`analysis.latency`",
    keys: &[
        key("maxRatio", "maxRatio: 1.5"),
        key("maxAdded", "maxAdded: 10ms"),
        key("p99Max", "p99Max: 800ms"),
        key("warmup", "warmup: 1m"),
    ],
};

pub(super) static REFUSALS: Table = Table {
    name: "`analysis.refusals`",
    keys: &[key("maxRatio", "maxRatio: 1.5"), key("maxAdded", "maxAdded: 1pp")],
};

pub(super) static PROOF: Table = Table {
    name: "`analysis.proof`",
    keys: &[key("addedFailures", "addedFailures: 0.5pp"), key("falseAdvanceRate", "falseAdvanceRate: 5%")],
};

pub(super) static METRIC: Table = Table {
    name: "a metric",
    keys: &[
        must("name", "name: queue-age"),
        key("prometheus", "prometheus: {url: \"http://prom:9090\", query: up}"),
        key("webhook", "webhook: {url: \"https://metrics.example.com/queue-age\"}"),
        key("min", "min: 0.5"),
        key("max", "max: 30"),
        key("from", "from: 25%"),
        key("interval", "interval: 1m"),
        key("initialDelay", "initialDelay: 30s"),
        key("failureLimit", "failureLimit: 0"),
        key("inconclusiveLimit", "inconclusiveLimit: 3"),
        key("dryRun", "dryRun: true"),
    ],
};

pub(super) static PROMETHEUS: Table = Table {
    name: "`prometheus`",
    keys: &[
        must("url", "url: \"http://prometheus:9090\""),
        must("query", "query: max(queue_age_seconds)"),
        key("headers", "headers: {authorization: {env: PROMETHEUS_TOKEN}}"),
    ],
};

pub(super) static MAX_EXPOSURE: Table = Table {
    name: "`maxExposure`",
    keys: &[key("failures", "failures: 500"), key("requests", "requests: 100000")],
};

pub(super) static STABLE_UNHEALTHY: Table =
    Table { name: "`stableUnhealthy`", keys: &[key("failures", "failures: 20%"), key("for", "for: 1m")] };

pub(super) static STEP_DEADLINE: Table =
    Table { name: "`stepDeadline`", keys: &[key("after", "after: 24h"), key("then", "then: pause")] };

pub(super) static WATCH: Table =
    Table { name: "`watch`", keys: &[key("for", "for: 1h"), key("onAlarm", "onAlarm: notify")] };

pub(super) static WINDOWS: Table = Table {
    name: "`windows`",
    keys: &[
        key("allow", "allow: [{days: MON-FRI, from: \"09:00\", to: \"17:00\"}]"),
        key("freeze", "freeze: [{from: 2026-12-20, to: 2027-01-03}]"),
    ],
};

pub(super) static WINDOW: Table = Table {
    name: "a window",
    keys: &[key("days", "days: MON-FRI"), key("from", "from: \"09:00\""), key("to", "to: \"17:00\"")],
};

pub(super) static FREEZE: Table =
    Table { name: "a freeze", keys: &[must("from", "from: 2026-12-20"), must("to", "to: 2027-01-03")] };

pub(super) static ROUTING: Table = Table {
    name: "`routing`",
    keys: &[
        key("affinity", "affinity: {cookie: session}"),
        key("override", "override: {header: x-serin-version}"),
        key("mirror", "mirror: 10%"),
        key("mirrorMethods", "mirrorMethods: safe"),
    ],
};

pub(super) static TIMEOUTS: Table =
    Table { name: "`timeouts`", keys: &[key("firstByte", "firstByte: 30s"), key("idle", "idle: 60s")] };

pub(super) static TUNNELS: Table = Table { name: "`tunnels`", keys: &[must("close", "close: 30s")] };

pub(super) static AFFINITY: Table = Table {
    name: "`routing.affinity`",
    keys: &[key("cookie", "affinity: {cookie: session}"), key("header", "affinity: {header: x-user}")],
};

pub(super) static OVERRIDE: Table =
    Table { name: "`routing.override`", keys: &[must("header", "override: {header: x-serin-version}")] };

pub(super) static NOTIFY: Table = Table {
    name: "an entry of `notify`",
    keys: &[
        key("slack", "slack: {url: {env: SLACK_URL}}"),
        key("webhook", "webhook: {url: \"https://chat.example.com/hook\"}"),
        key("events", "events: [rolledBack, paused]"),
    ],
};

pub(super) static CHANNEL: Table =
    Table { name: "a channel of `notify`", keys: &[must("url", "url: {env: SLACK_URL}")] };

/// Every table with keys of its own.
pub(super) static TABLES: &[&Table] = &[
    &PLAN,
    &START,
    &AFTER,
    &STEP,
    &RAMP,
    &APPROVAL,
    &ANALYSIS_STEP,
    &WEBHOOK,
    &VALUE,
    &ANALYSIS,
    &FAILURES,
    &LATENCY,
    &REFUSALS,
    &PROOF,
    &METRIC,
    &PROMETHEUS,
    &MAX_EXPOSURE,
    &STABLE_UNHEALTHY,
    &STEP_DEADLINE,
    &WATCH,
    &WINDOWS,
    &WINDOW,
    &FREEZE,
    &ROUTING,
    &TIMEOUTS,
    &TUNNELS,
    &AFFINITY,
    &OVERRIDE,
    &NOTIFY,
    &CHANNEL,
];

impl Table {
    /// A key by its name.
    pub fn find(&self, name: &str) -> Option<&'static Key> {
        self.keys.iter().find(|key| key.name == name)
    }

    /// The names of all keys.
    pub fn names(&self) -> impl Iterator<Item = &'static str> {
        self.keys.iter().map(|key| key.name)
    }
}

/// What a key of Argo Rollouts, Flagger, CodeDeploy or SAM is called here.
pub(super) fn elsewhere(word: &str) -> Option<&'static str> {
    FOREIGN.iter().find(|(words, _)| words.contains(&word)).map(|(_, help)| *help)
}

const FOREIGN: &[(&[&str], &str)] = &[
    (
        &["duration", "wait", "sleep", "delay"],
        "to wait for a time, write `bake: 10m`; `pause: {}` waits for a person",
    ),
    (
        &["weight", "canaryWeight", "percentage", "traffic", "percent"],
        "write `setWeight: 25%`, or just `25%`, as a step",
    ),
    (
        &[
            "setCanaryScale",
            "replicas",
            "dynamicStableScale",
            "minPodsPerReplicaSet",
            "maxSurge",
            "maxUnavailable",
        ],
        "serin moves traffic, not replicas: leave it out",
    ),
    (
        &["stepWeight", "stepWeights", "maxWeight", "stepWeightPromotion", "iterations"],
        "list the weights: `steps: [5%, 10%, 25%, 100%]`",
    ),
    (
        &["interval", "intervalSeconds", "bakeTime", "canaryIntervalMinutes", "linearInterval"],
        "the least time at each weight is `bake: 5m`",
    ),
    (
        &[
            "threshold",
            "thresholdRange",
            "failureLimit",
            "consecutiveErrorLimit",
            "successCondition",
            "failureCondition",
        ],
        "serin compares the canary with stable: see `analysis: {failures: {maxRatio: 1.2, maxAdded: 0.05pp}}`",
    ),
    (
        &["progressDeadlineSeconds", "deadline", "progressDeadline"],
        "write `stepDeadline: {after: 24h, then: pause}`",
    ),
    (
        &[
            "spec",
            "strategy",
            "canary",
            "metadata",
            "template",
            "trafficRouting",
            "canaryAnalysis",
            "targetRef",
            "service",
        ],
        "a serin plan is flat: function, alias, steps and analysis stand at its top",
    ),
    (
        &["templates", "templateName", "args", "metricTemplateRef", "provider"],
        "a metric is defined in the plan itself: \
         `analysis: {metrics: [{name: queue-age, prometheus: {url: …, query: …}, max: 30}]}`",
    ),
    (
        &["webhooks", "hooks", "Hooks", "preTraffic", "postTraffic", "PreTraffic", "PostTraffic"],
        "a hook is a step: `- webhook: {url: …}`; before the first weight it tests the new version without traffic",
    ),
    (
        &["DeploymentPreference", "deploymentConfig", "deploymentConfigName", "DeploymentConfigName", "Type"],
        "write `preset: Canary10Percent5Minutes`, or list `steps`",
    ),
    (&["Alarms", "alarms", "alerts"], "what must hold is written under `analysis`"),
    (
        &[
            "autoRollback",
            "rollbackOnFailure",
            "autoRollbackConfiguration",
            "abortScaleDownDelaySeconds",
            "rollback",
        ],
        "serin rolls back by itself; `onFailure: pause` or `onFailure: report` change that",
    ),
    (
        &["approve", "manualApproval", "manual", "approvals", "gate", "gates"],
        "write `- approval: {approvers: [pay-oncall]}` as a step",
    ),
    (&["schedule", "cron", "trigger", "triggers", "when"], "write `start: {cron: \"0 9 * * MON-THU\"}`"),
    (
        &["freeze", "blackout", "maintenance", "allow"],
        "write `windows: {freeze: [{from: 2026-12-20, to: 2027-01-03}]}`",
    ),
    (&["name", "id"], "a plan is called what its file is called; its target is `function` and `alias`"),
    (&["team", "owner", "tags", "annotations"], "write `labels: {team: payments}`"),
    (&["target", "targetAlias", "aliasName", "functionName"], "write `function: checkout` and `alias: live`"),
    (&["extends", "include", "import", "inherit", "defaults"], "write `use: team-defaults`"),
    (
        &["minSamples", "minRequests", "sampleSize"],
        "serin counts its evidence itself: see `analysis: {proof: …}`",
    ),
];
