//! Rollouts made by hand, for what is drawn of them.

use serin::api::wire::{
    ArmView, DriftView, EventView, EvidenceView, Explanation, ExposureView, FailureView, GateView,
    RollbackView, RolloutStatus, RoutingView, StepPosition, StepView, TriggerView, WaitingForView,
    WeightView,
};

/// An instant of the night of the release, by the UTC time of day.
pub fn at(time: &str) -> String {
    format!("2026-11-22T{time}.000Z")
}

/// A routing to one version, or to two.
pub fn routing(function_version: &str, beside: Option<(&str, f64)>) -> RoutingView {
    let percent = |share: f64| format!("{}%", (share * 100.0).round());
    RoutingView {
        function_version: function_version.to_owned(),
        additional_version: beside.map(|(version, _)| version.to_owned()),
        additional_weight: beside.map(|(_, weight)| weight),
        text: match beside {
            None => format!("v{function_version}"),
            Some((version, weight)) => {
                format!("v{function_version} {} / v{version} {}", percent(1.0 - weight), percent(weight))
            }
        },
    }
}

/// A gate.
pub fn gate(kind: &str, label: &str, met: bool, needs: &str) -> GateView {
    GateView { kind: kind.to_owned(), met, label: label.to_owned(), needs: needs.to_owned(), progress: None }
}

/// What it waits for.
pub fn waiting(kind: &str, until: Option<&str>, then: &str, needs: &str) -> Option<WaitingForView> {
    Some(WaitingForView {
        kind: kind.to_owned(),
        since: at("02:11:40"),
        until: until.map(str::to_owned),
        then: then.to_owned(),
        needs: needs.to_owned(),
    })
}

/// Steps by their words, the current one by its number.
pub fn steps(texts: &[&str], current: usize) -> Vec<StepView> {
    let state = |index: usize| match index.cmp(&current) {
        std::cmp::Ordering::Less => "done",
        std::cmp::Ordering::Equal => "current",
        std::cmp::Ordering::Greater => "ahead",
    };
    let kind = |text: &str| if text.ends_with('%') { "setWeight" } else { "bake" };
    texts
        .iter()
        .enumerate()
        .map(|(index, text)| StepView {
            index: index + 1,
            kind: kind(text).to_owned(),
            text: (*text).to_owned(),
            state: state(index + 1).to_owned(),
        })
        .collect()
}

/// An entry of the journal.
pub fn event(time: &str, actor: &str, text: &str, reason: Option<&str>) -> EventView {
    EventView {
        seq: 17,
        at: at(time),
        actor: actor.to_owned(),
        reason: reason.map(str::to_owned),
        function: "checkout".to_owned(),
        alias: Some("live".to_owned()),
        rollout: None,
        kind: "passed".to_owned(),
        phase: None,
        step: None,
        text: text.to_owned(),
        routing: None,
        entry: serde_json::Value::Null,
    }
}

/// A request that failed.
pub fn failure(time: &str, path: &str, fault: &str, trace: Option<&str>) -> FailureView {
    FailureView {
        at: at(time),
        version: "42".to_owned(),
        method: "POST".to_owned(),
        path: path.to_owned(),
        fault: fault.to_owned(),
        trace: trace.map(str::to_owned),
    }
}

fn arm(version: &str, role: &str, share: f64, requests: u64, failures: u64, p99_ms: f64) -> ArmView {
    ArmView {
        version: version.to_owned(),
        role: role.to_owned(),
        share,
        requests,
        failures,
        p50_ms: Some(12.2),
        p99_ms: Some(p99_ms),
    }
}

/// The rollout of DESIGN: at 5 %, baked, three quarters of the proof there.
pub fn waiting_for_proof() -> Explanation {
    Explanation {
        status: RolloutStatus {
            tunnels: Vec::new(),
            id: "0193549c-0e00-7d2f-9c41-5a1be2c97f3a".to_owned(),
            plan: "checkout".to_owned(),
            plan_digest: "ab".repeat(32),
            labels: [("team".to_owned(), "payments".to_owned())].into(),
            function: "checkout".to_owned(),
            alias: "live".to_owned(),
            stable_version: "41".to_owned(),
            canary_version: "42".to_owned(),
            previous_stable: None,
            retry_of: None,
            phase: "Progressing".to_owned(),
            waiting_for: waiting(
                "proof",
                Some("2026-11-23T02:10:00.000Z"),
                "pause",
                "~135 more clean canary requests, ~27 s",
            ),
            step: StepPosition { index: 2, count: 3, kind: Some("setWeight".to_owned()) },
            weight: WeightView { planned: 0.05, committed: 0.05, serving: 0.05 },
            exposure: ExposureView { requests: 541, failures: 0 },
            mirrored: None,
            baseline: None,
            evidence: Some(EvidenceView {
                ln_harm: -0.4,
                ln_harm_limit: 4.6,
                ln_proof: Some(2.25),
                ln_proof_limit: Some(3.0),
                ratio: Some((None, Some(3.2))),
                failures_to_rollback: Some(3),
                phi: Some(1.0),
                users: None,
                split: None,
                latency: None,
                refusals: None,
                patience: None,
                warming: None,
                open: None,
                stable: None,
            }),
            watch: None,
            drift: None,
            trigger: TriggerView { actor: "ana".to_owned(), reason: Some("PAY-811".to_owned()) },
            reason: String::new(),
            routing: None,
            started_at: at("02:10:36"),
            updated_at: at("02:11:40"),
        },
        steps: steps(&["3%", "5%", "100%"], 2),
        onward: "go to 100%".to_owned(),
        gates: vec![
            gate("bake", "bake 5m", true, ""),
            gate("proof", "proof", false, "~135 more clean canary requests, ~27 s"),
            gate("window", "window", true, ""),
        ],
        arms: vec![arm("41", "stable", 0.95, 7_828, 8, 88.0), arm("42", "canary", 0.05, 412, 0, 90.0)],
        canary_requests_per_s: Some(5.0),
        armed: true,
        proof_claim: Some("at most 0.5 points worse at 100%".to_owned()),
        notices: Vec::new(),
        recent_failures: Vec::new(),
        history: vec![
            event("02:11:40", "serin", "3% → 5%: proven, bake served", None),
            event("02:10:36", "ana", "started", Some("PAY-811")),
        ],
        rollback: RollbackView { to: Some("41".to_owned()), further: None },
        commands: vec!["serin rollback checkout:live".to_owned()],
    }
}

/// The same, as the daemon words it today.
pub fn as_the_daemon_words_it() -> Explanation {
    let mut scene = waiting_for_proof();
    let needs = "~135 more clean canary requests before 100%, ~27s at the present rate";
    scene.gates[1].needs = needs.to_owned();
    scene.proof_claim = Some("at most 0.5 points worse, before 100%".to_owned());
    scene.history = vec![
        event("02:11:40", "serin", "went on → v42 5%; bake served, proven, window open", None),
        event("02:10:37", "serin", "is served", None),
        event("02:10:36", "serin", "began → v42 3%", None),
        event("02:10:36", "ana@web1 (claimed)", "started v42 by plan checkout", Some("PAY-811")),
    ];
    scene.commands = vec!["serin rollback checkout:live".to_owned(), "serin pause checkout:live".to_owned()];
    scene
}

/// Behind another rollout of the same alias.
pub fn queued() -> Explanation {
    let mut scene = waiting_for_proof();
    let needs = "rollout 7f3a to end";
    let status = &mut scene.status;
    status.id = "0193549d-1111-7d2f-9c41-5a1be2c9b001".to_owned();
    status.canary_version = "43".to_owned();
    status.phase = "Pending".to_owned();
    status.waiting_for = waiting("queue", None, "go to 3%", needs);
    status.step = StepPosition { index: 0, count: 3, kind: None };
    status.weight = WeightView { planned: 0.0, committed: 0.0, serving: 0.0 };
    status.exposure = ExposureView { requests: 0, failures: 0 };
    status.evidence = None;
    scene.steps = steps(&["3%", "5%", "100%"], 0);
    scene.onward = "go to 3%".to_owned();
    scene.gates = vec![gate("queue", "queue", false, needs)];
    scene.arms = Vec::new();
    scene.canary_requests_per_s = None;
    scene.armed = false;
    scene.proof_claim = None;
    scene.history =
        vec![event("02:11:58", "serin", "started v43 by plan checkout", Some("onPublish of v43"))];
    scene.commands = vec!["serin abort checkout:live".to_owned(), "serin promote checkout:live".to_owned()];
    scene
}

/// Before its first step, until a window opens in the morning.
pub fn outside_its_window() -> Explanation {
    let mut scene = queued();
    let needs = "its window, which opens 2026-11-23T08:00:00.000Z";
    scene.status.waiting_for = waiting("window", Some("2026-11-23T08:00:00.000Z"), "go to 3%", needs);
    scene.gates = vec![gate("window", "window", false, needs)];
    scene
}

/// Paused because somebody cleared the weight by hand.
pub fn drifted() -> Explanation {
    let mut scene = as_the_daemon_words_it();
    let (expected, found) = (routing("41", Some(("42", 0.05))), routing("41", Some(("42", 0.2))));
    let actor = "AKIAIOSFODNN7EXAMPLE (unverified)";
    let said = format!("{actor} changed the alias from {} to {}", expected.text, found.text);
    let status = &mut scene.status;
    status.phase = "Paused".to_owned();
    status.reason = format!("{said}; nothing was overwritten");
    let needs = format!("{said}: `resume --restore` or `resume --adopt`");
    status.waiting_for = waiting("drift", None, "nothing happens by itself", &needs);
    status.weight = WeightView { planned: 0.05, committed: 0.2, serving: 0.2 };
    status.drift = Some(DriftView { actor: actor.to_owned(), at: at("02:11:55"), expected, found });
    scene.gates[0] = gate("bake", "bake 5m", false, "1m 2s more at 20% (bake 5m)");
    scene.arms = vec![arm("41", "stable", 0.8, 96, 0, 88.0), arm("42", "canary", 0.2, 21, 0, 90.0)];
    scene.notices = vec![
        format!("{said} at {}; nothing was overwritten", at("02:11:55")),
        "rollback stays armed: the alias still names both versions".to_owned(),
    ];
    scene
        .history
        .insert(0, event("02:11:55", actor, "paused: the alias was changed to v41 80% / v42 20%", None));
    scene.commands = vec![
        "serin resume checkout:live --restore".to_owned(),
        "serin resume checkout:live --adopt".to_owned(),
        "serin abort checkout:live".to_owned(),
    ];
    scene
}

/// At a step that people must approve.
pub fn waiting_for_approval() -> Explanation {
    let mut scene = as_the_daemon_words_it();
    let needs = "1 more approval(s) of pay-oncall (0 of 1 given): `approve`";
    scene.status.waiting_for = waiting("approval", Some("2026-11-22T06:11:40.000Z"), "roll back", needs);
    scene.status.step = StepPosition { index: 3, count: 4, kind: Some("approval".to_owned()) };
    scene.steps = steps(&["3%", "5%", "approval", "100%"], 3);
    scene.gates.insert(0, gate("approval", "approval 0/1", false, needs));
    scene.gates[2] = gate("proof", "proof", true, "");
    if let Some(evidence) = &mut scene.status.evidence {
        evidence.ln_proof = Some(3.4);
    }
    scene.commands = vec!["serin approve checkout:live".to_owned(), "serin abort checkout:live".to_owned()];
    scene
}

/// Paused for harm, by a plan that says so, with failures to look at.
pub fn paused_for_harm() -> Explanation {
    let mut scene = as_the_daemon_words_it();
    let status = &mut scene.status;
    status.phase = "Paused".to_owned();
    status.reason =
        "6 of 61 canary requests failed, more than the plan allows (evidence 5.1, rollback at 4.6)"
            .to_owned();
    status.waiting_for = waiting(
        "pause",
        None,
        "nothing happens by itself",
        "harm was found: `abort`, or `resume` to go on anyway",
    );
    status.exposure = ExposureView { requests: 61, failures: 6 };
    status.evidence = Some(EvidenceView {
        ln_harm: 5.1,
        ln_harm_limit: 4.6,
        ln_proof: Some(-1.0),
        ln_proof_limit: Some(3.0),
        ratio: Some((Some(14.2), Some(510.0))),
        failures_to_rollback: Some(0),
        phi: Some(1.0),
        users: None,
        split: None,
        latency: None,
        refusals: None,
        patience: None,
        warming: None,
        open: None,
        stable: None,
    });
    scene.arms = vec![arm("41", "stable", 0.95, 1_160, 1, 88.0), arm("42", "canary", 0.05, 61, 6, 1_420.0)];
    scene.recent_failures = vec![
        failure("02:11:39", "/pay/4711/confirm", "503", Some("4bf92f3577b34da6a3ce929d0e0e4736")),
        failure("02:11:37", "/pay/4711/a/rather/long/path/that/nobody/needs/in/full", "timeout", None),
        failure("02:11:31", "/pay/4698", "reset", None),
        failure("02:11:30", "/pay/4697", "503", None),
    ];
    scene.history.insert(0, event("02:11:40", "serin", "paused: 6 of 61 canary requests failed", None));
    scene.commands = vec!["serin resume checkout:live".to_owned(), "serin abort checkout:live".to_owned()];
    scene
}

/// Rolled back by evidence.
pub fn rolled_back() -> Explanation {
    let mut scene = paused_for_harm();
    scene.status.phase = "RolledBack".to_owned();
    scene.status.waiting_for = None;
    scene.status.weight = WeightView { planned: 0.0, committed: 0.0, serving: 0.0 };
    scene.status.evidence = None;
    scene.gates = Vec::new();
    scene.arms = Vec::new();
    scene.armed = false;
    scene.proof_claim = None;
    scene.canary_requests_per_s = None;
    scene.history[0] = event("02:11:40", "serin", "rolled back; the canary gets no traffic", None);
    scene.history.insert(1, event("02:11:40", "serin", "rolling back: 6 of 61 canary requests failed", None));
    scene.rollback = RollbackView::default();
    scene.commands = vec!["serin retry checkout:live".to_owned(), "serin history checkout:live".to_owned()];
    scene
}

/// At its end, with all traffic on the new version.
pub fn succeeded() -> Explanation {
    let mut scene = rolled_back();
    scene.status.phase = "Succeeded".to_owned();
    scene.status.reason = "every step is done".to_owned();
    scene.status.previous_stable = Some("41".to_owned());
    scene.rollback = RollbackView { to: Some("41".to_owned()), further: None };
    scene.status.weight = WeightView { planned: 1.0, committed: 1.0, serving: 1.0 };
    scene.status.exposure = ExposureView { requests: 48_211, failures: 31 };
    scene.status.step = StepPosition { index: 3, count: 3, kind: Some("setWeight".to_owned()) };
    scene.steps = steps(&["3%", "5%", "100%"], 4);
    scene.recent_failures = Vec::new();
    scene.history = vec![
        event("02:11:58", "serin", "succeeded: every step is done", None),
        event("02:11:50", "serin", "went on → v42 100%; proven", None),
    ];
    scene.commands = vec!["serin rollback checkout:live".to_owned()];
    scene
}

/// One of CodeDeploy's long presets, in the middle, under `analysis: none`.
pub fn with_many_steps() -> Explanation {
    let mut scene = as_the_daemon_words_it();
    let mut texts: Vec<String> = Vec::new();
    for weight in 1..=10 {
        texts.push(format!("{}%", weight * 10));
        if weight < 10 {
            texts.push("bake 1m".to_owned());
        }
    }
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    let needs = "12s more at 50% (bake 1m)";
    let status = &mut scene.status;
    status.waiting_for = waiting("bake", Some("2026-11-22T02:12:12.000Z"), "go to 60%", needs);
    status.step = StepPosition { index: 10, count: texts.len(), kind: Some("bake".to_owned()) };
    status.weight = WeightView { planned: 0.5, committed: 0.5, serving: 0.5 };
    status.evidence = None;
    scene.steps = steps(&texts, 10);
    scene.onward = "go to 60%".to_owned();
    scene.gates = vec![gate("bake", "bake 1m", false, needs)];
    scene.arms = vec![
        arm("41", "stable", 0.5, 1_234_567, 12_345, 88.0),
        arm("42", "canary", 0.5, 1_233_001, 12_300, 90.0),
    ];
    scene.canary_requests_per_s = Some(20_550.2);
    scene.armed = false;
    scene.proof_claim = None;
    scene.notices =
        vec!["the plan says `analysis: none`: only time, people and maxExposure decide".to_owned()];
    scene
}
