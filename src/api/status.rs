//! Rollouts as people and scripts see them, put together from the control plane's memory.

use std::sync::Arc;

use super::tunnels;
use super::wire::{
    ArmView, BaselineView, CountsBlock, CountsView, DriftView, EventView, EvidenceView, Explanation,
    ExposureView, FailureView, GateView, LatencyView, OpenView, PatienceView, PriorView, QuantileView,
    RefusalsView, RollbackView, RolloutStatus, RoutingView, SplitView, StableView, StepPosition, StepView,
    TriggerView, UsersView, WaitingForView, WarmingView, WatchView, WeightView,
};
use crate::control::handle::QueryContext;
use crate::metrics::recorder::{RecentFailure, Recorder};
use crate::metrics::tunnels::Tunnels;
use serin_core::analysis::Counts;
use serin_core::analysis::evidence::{Evidence, LatencyFigures, Settings};
use serin_core::analysis::ledger::{Kept, Record};
use serin_core::analysis::mirror::SampleKind;
use serin_core::analysis::watch::Watch;
use serin_core::commands::target;
use serin_core::journal::narrate;
use serin_core::journal::{Entry, Happening};
use serin_core::lambda::alias::Routing;
use serin_core::model::arn::{VersionId, VersionNumber};
use serin_core::model::histogram::HistogramSnapshot;
use serin_core::model::time::human;
use serin_core::model::weight::Weight;
use serin_core::plan::{Baseline, Plan, Step};
use serin_core::rollout::watching::AliasWatch;
use serin_core::rollout::{Closing, Facts, Gate, Need, Phase, Rollout, RolloutRecord};

/// A routing on the wire.
pub fn routing_view(routing: Routing) -> RoutingView {
    RoutingView {
        function_version: routing.function_version.to_string(),
        additional_version: routing.additional.map(|additional| additional.version.to_string()),
        additional_weight: routing.additional.map(|additional| additional.weight.fraction()),
        text: routing.to_string(),
    }
}

/// A rollout's status as of now.
pub fn status(context: &QueryContext<'_>, rollout: &Rollout, tunnels: &dyn Tunnels) -> RolloutStatus {
    let by = |facts: &Facts<'_>| status_by(context, rollout, facts, tunnels);
    context.core.with_facts(rollout, context.at, context.outside, by)
}

fn status_by(
    context: &QueryContext<'_>,
    rollout: &Rollout,
    facts: &Facts<'_>,
    tunnels: &dyn Tunnels,
) -> RolloutStatus {
    let record = &rollout.record;
    let state = context.core.world.alias(&record.alias);
    let committed = state.map_or(Weight::ZERO, |state| state.alias.routing.share_of(record.canary));
    let exposure = record.closing.as_ref().map_or(facts.exposure, |closing| closing.exposure);
    let serving = if context.overlaid.contains(&record.alias) { Weight::ZERO } else { committed };
    RolloutStatus {
        id: record.id.to_string(),
        plan: record.plan_name.clone(),
        plan_digest: record.plan_digest.clone(),
        labels: rollout.plan.labels.clone(),
        function: record.alias.function.to_string(),
        alias: record.alias.alias.to_string(),
        stable_version: record.stable.to_string(),
        canary_version: record.canary.to_string(),
        previous_stable: state.and_then(|state| state.previous_stable).map(|version| version.to_string()),
        retry_of: record.retry_of.map(|id| id.to_string()),
        phase: record.phase.name().to_owned(),
        waiting_for: rollout.waiting_for(facts).map(|waiting| WaitingForView {
            kind: waiting.kind.to_owned(),
            since: waiting.since.to_string(),
            until: waiting.until.map(|until| until.to_string()),
            then: waiting.then,
            needs: waiting.needs,
        }),
        step: StepPosition {
            index: record.step,
            count: rollout.plan.steps.len(),
            kind: rollout.current_step().map(|step| step.kind().to_owned()),
        },
        weight: WeightView {
            planned: planned(record).fraction(),
            committed: committed.fraction(),
            serving: serving.fraction(),
        },
        exposure: exposure_view(exposure),
        mirrored: rollout
            .plan
            .mirrors()
            .then(|| exposure_view(record.closing.as_ref().map_or(facts.copies, |closing| closing.copies))),
        baseline: baseline_at(rollout, facts).map(|(way, share, counts)| BaselineView {
            by: match way {
                Baseline::Mirror => "mirror".to_owned(),
                Baseline::Split => "split".to_owned(),
            },
            share: way.share(share).fraction(),
            requests: counts.requests,
            failures: counts.failures,
        }),
        evidence: match &record.closing {
            Some(closing) => evidence_at_end(rollout, closing),
            None => facts.evidence.map(|(evidence, settings)| evidence_view(evidence, settings)),
        },
        watch: watch_view(context, rollout),
        drift: record.drift.as_ref().map(|drift| DriftView {
            actor: drift.by.to_string(),
            at: drift.at.to_string(),
            expected: routing_view(drift.expected),
            found: routing_view(drift.found),
        }),
        trigger: TriggerView { actor: record.origin.actor.to_string(), reason: record.origin.reason.clone() },
        reason: record.reason.clone(),
        routing: state.map(|state| match context.overlaid.contains(&record.alias) {
            true => routing_view(state.alias.routing.without(record.canary, record.stable)),
            false => routing_view(state.alias.routing),
        }),
        tunnels: tunnels::views(tunnels, &record.alias),
        started_at: record.started_at.to_string(),
        updated_at: record.updated_at.to_string(),
    }
}

/// What was held beside the canary, and at which weight: at the present one, or at the last one.
fn baseline_at(rollout: &Rollout, facts: &Facts<'_>) -> Option<(Baseline, Weight, Counts)> {
    let way = rollout.plan.baseline()?;
    let (share, counts) = match (&rollout.record.closing, facts.evidence) {
        (Some(closing), _) => (closing.share, closing.baseline),
        (None, Some((evidence, _))) => (rollout.share(), evidence.baseline_at(rollout.share())),
        (None, None) => (rollout.share(), Counts::default()),
    };
    Some((way, share, counts))
}

fn evidence_at_end(rollout: &Rollout, closing: &Closing) -> Option<EvidenceView> {
    let settings = rollout.plan.evidence_settings()?;
    Some(EvidenceView {
        ln_harm: closing.ln_harm?,
        ln_harm_limit: settings.ln_harm_limit(),
        ln_proof: closing.ln_proof,
        ln_proof_limit: settings.ln_proof_limit(),
        ratio: closing.ratio,
        failures_to_rollback: None,
        phi: None,
        users: None,
        split: None,
        latency: None,
        refusals: None,
        patience: None,
        warming: None,
        open: None,
        stable: None,
    })
}

fn evidence_view(evidence: &Evidence, settings: &Settings) -> EvidenceView {
    let latency = |ln_harm: f64| LatencyView {
        ln_harm,
        quantiles: evidence.latency_figures(settings).into_iter().map(quantile_view).collect(),
    };
    EvidenceView {
        ln_harm: evidence.ln_harm(settings),
        ln_harm_limit: settings.ln_harm_limit(),
        ln_proof: evidence.ln_proof(),
        ln_proof_limit: settings.ln_proof_limit(),
        ratio: evidence.ratio(settings).map(|ratio| (ratio.low, ratio.high)),
        failures_to_rollback: evidence.more_failures(settings),
        phi: Some(evidence.phi(settings)),
        users: evidence.users(settings).map(|users| UsersView {
            stable: users.stable.requests,
            stable_failing: users.stable.failures,
            canary: users.canary.requests,
            canary_failing: users.canary.failures,
        }),
        split: evidence.found_share().map(|found| SplitView {
            mismatch: evidence.is_split_wrong(),
            found,
            ln_mismatch: evidence.ln_split(),
        }),
        latency: evidence.ln_latency_harm(settings).map(latency),
        refusals: evidence.ln_refusals_harm(settings).map(|ln_harm| {
            let [stable_refused, canary_refused] = evidence.refused();
            RefusalsView { ln_harm, stable_refused, canary_refused }
        }),
        patience: patience_view(evidence, settings),
        warming: evidence
            .cold(settings)
            .map(|cold| WarmingView { requests: cold.requests, seconds: cold.span.as_secs_f64() }),
        open: Some(evidence.open())
            .filter(|open| *open != [0; 2])
            .map(|[stable, canary]| OpenView { stable, canary }),
        stable: evidence
            .stable_hold(settings)
            .map(|hold| StableView { failing_share: hold.failing_share, better: hold.better }),
    }
}

fn patience_view(evidence: &Evidence, settings: &Settings) -> Option<PatienceView> {
    let (ln_harm, [stable_gave_up, canary_gave_up]) =
        (evidence.ln_patience_harm(settings), evidence.gave_up());
    let is_told = ln_harm.is_some() || stable_gave_up + canary_gave_up > 0;
    is_told.then_some(PatienceView { ln_harm, stable_gave_up, canary_gave_up })
}

fn quantile_view(figures: LatencyFigures) -> QuantileView {
    let ms = |us: u64| us as f64 / 1000.0;
    QuantileView {
        quantile: figures.quantile,
        stable_ms: ms(figures.stable_us),
        limit_ms: ms(figures.limit_us),
        stable_requests: figures.exceeded.stable.requests,
        stable_exceeded: figures.exceeded.stable.failures,
        canary_requests: figures.exceeded.canary.requests,
        canary_exceeded: figures.exceeded.canary.failures,
        ln_harm: figures.ln_harm,
        phi: figures.phi,
    }
}

/// The weight the plan has reached: nothing once the canary was taken out.
fn planned(record: &RolloutRecord) -> Weight {
    match record.phase {
        Phase::RollingBack(_) | Phase::RolledBack | Phase::Aborted | Phase::Superseded => Weight::ZERO,
        Phase::Pending | Phase::Progressing | Phase::Paused(_) | Phase::Promoting | Phase::Succeeded => {
            record.planned
        }
    }
}

/// Why a rollout is where it is; history and failures are added by the caller.
pub fn explanation(
    context: &QueryContext<'_>,
    rollout: &Rollout,
    recorder: &Recorder,
    tunnels: &dyn Tunnels,
) -> Explanation {
    context.core.with_facts(rollout, context.at, context.outside, |facts| {
        let gates = rollout.gates(facts);
        let rollback = rollback(context, rollout);
        Explanation {
            status: status_by(context, rollout, facts, tunnels),
            steps: steps(rollout),
            onward: rollout.onward(),
            gates: gates.iter().map(|gate| gate_view(rollout, facts, gate)).collect(),
            arms: arms(context, rollout, facts, recorder),
            canary_requests_per_s: facts.canary_requests_per_s,
            armed: rollout.record.is_armed() && rollout.plan.analysis.is_some(),
            proof_claim: proof_claim(rollout),
            notices: [notices(context, rollout, facts), tunnels::sentences(tunnels, &rollout.record.alias)]
                .concat(),
            recent_failures: Vec::new(),
            history: Vec::new(),
            commands: commands(context, rollout, &rollback),
            rollback,
        }
    })
}

/// What `rollback` would do, by the rule that it goes by; of the alias where that means this rollout, else of this one.
fn rollback(context: &QueryContext<'_>, rollout: &Rollout) -> RollbackView {
    let world = &context.core.world;
    let waits = rollout.record.phase == Phase::Pending;
    let Some(state) = world.alias(&rollout.record.alias).filter(|_| !waits) else {
        return RollbackView::default();
    };
    let named = Arc::new(rollout.clone());
    let to = target::way_back(world, state, Some(&named)).to();
    let further = match to {
        Some(_) => None,
        None => target::further_back(world, state, context.outside.before),
    };
    let text = |version: VersionNumber| version.to_string();
    RollbackView { to: to.map(text), further: further.map(text) }
}

/// A step in words.
pub fn step_text(plan: &Plan, index: usize) -> String {
    match plan.step(index) {
        Some(Step::SetWeight(weight)) if *weight > Weight::ZERO => weight.to_string(),
        Some(Step::Bake(span)) => format!("bake {}", human(*span)),
        Some(step) => step.kind().to_owned(),
        None => String::new(),
    }
}

fn steps(rollout: &Rollout) -> Vec<StepView> {
    let record = &rollout.record;
    let state = |index: usize| {
        if index < record.step || record.phase == Phase::Succeeded {
            "done"
        } else if index == record.step {
            "current"
        } else {
            "ahead"
        }
    };
    let view = |(index, step): (usize, &Step)| StepView {
        index: index + 1,
        kind: step.kind().to_owned(),
        text: step_text(&rollout.plan, index + 1),
        state: state(index + 1).to_owned(),
    };
    rollout.plan.steps.iter().enumerate().map(view).collect()
}

fn gate_view(rollout: &Rollout, facts: &Facts<'_>, gate: &Gate) -> GateView {
    let (label, progress) = match &gate.need {
        Need::Bake { served, of } => {
            let progress = served.as_secs_f64() / of.as_secs_f64().max(1e-3);
            (format!("bake {}", human(*of)), Some(progress.min(1.0)))
        }
        Need::Proof { progress, .. } => ("proof".to_owned(), Some(*progress)),
        Need::Approval { given, of } => (format!("approval {given}/{of}"), None),
        Need::Metric { name } => (name.clone(), None),
        Need::Held { held, of } => {
            let progress = held.as_secs_f64() / of.as_secs_f64().max(1e-3);
            (format!("analysis {}", human(*of)), Some(progress.min(1.0)))
        }
        Need::Split { .. } => ("split".to_owned(), None),
        need @ (Need::Served
        | Need::Stable { .. }
        | Need::Window { .. }
        | Need::Freeze { .. }
        | Need::Webhook { .. }
        | Need::Resume
        | Need::Queue { .. }
        | Need::After { .. }) => (need.kind().to_owned(), None),
    };
    let needs = if gate.met { String::new() } else { rollout.needs(facts, &gate.need) };
    GateView { kind: gate.need.kind().to_owned(), met: gate.met, label, needs, progress }
}

fn arms(
    context: &QueryContext<'_>,
    rollout: &Rollout,
    facts: &Facts<'_>,
    recorder: &Recorder,
) -> Vec<ArmView> {
    let record = &rollout.record;
    let (share, counted) = match (&record.closing, context.core.judges.get(&record.id)) {
        (Some(closing), _) => (closing.share, closing.arms),
        (None, Some(judge)) if rollout.proves_by_copies() => {
            (Weight::ZERO, judge.evidence.arms_aside_at(Weight::ZERO))
        }
        (None, Some(judge)) => (rollout.share(), judge.evidence.arms_at(rollout.share())),
        (None, None) => return Vec::new(),
    };
    let of_versions = |version| latency_at(rollout, share, recorder, version);
    let arm = |version: VersionNumber, role: &str, share: Weight, counts: Counts| {
        let latency = if role == BASELINE {
            baseline_latency_at(rollout, share, recorder)
        } else {
            of_versions(version)
        };
        ArmView {
            version: version.to_string(),
            role: role.to_owned(),
            share: share.fraction(),
            requests: counts.requests,
            failures: counts.failures,
            p50_ms: quantile_ms(&latency, 0.5),
            p99_ms: quantile_ms(&latency, 0.99),
        }
    };
    let baseline = baseline_at(rollout, facts).filter(|(way, at, _)| way.share(*at) > Weight::ZERO);
    let stable = arm(record.stable, "stable", share.complement(), counted.stable);
    let baseline = baseline.map(|(way, at, counts)| arm(record.stable, BASELINE, way.share(at), counts));
    let canary = arm(record.canary, "canary", share, counted.canary);
    [Some(stable), baseline, Some(canary)].into_iter().flatten().collect()
}

/// The role of what is held beside the canary.
const BASELINE: &str = "baseline";

/// Latencies of the baseline in the epochs that had this share and are still in memory.
fn baseline_latency_at(rollout: &Rollout, share: Weight, recorder: &Recorder) -> HistogramSnapshot {
    let mut sum = HistogramSnapshot::default();
    let epochs = recorder.sample(&rollout.record.alias).into_iter();
    let of_share = epochs.filter(|epoch| epoch.routing.share_of(rollout.record.canary) == share);
    of_share.filter_map(|epoch| epoch.baseline).for_each(|baseline| sum.merge(&baseline.latency));
    sum
}

/// Latencies of a version in the epochs that had this share and are still in memory.
fn latency_at(
    rollout: &Rollout,
    share: Weight,
    recorder: &Recorder,
    version: VersionNumber,
) -> HistogramSnapshot {
    let mut sum = HistogramSnapshot::default();
    for epoch in recorder.sample(&rollout.record.alias) {
        // Where copies are compared with what they are made of, nothing else is told.
        let is_told = match rollout.proves_by_copies() {
            true => epoch.stratum != SampleKind::Weighted,
            false => epoch.stratum.is_real(),
        };
        if epoch.routing.share_of(rollout.record.canary) != share || !is_told {
            continue;
        }
        for (_, counts) in epoch.versions.iter().filter(|(known, _)| *known == VersionId::Number(version)) {
            sum.merge(&counts.latency);
        }
    }
    sum
}

fn quantile_ms(latency: &HistogramSnapshot, share: f64) -> Option<f64> {
    latency.quantile(share).map(|latency| latency.as_secs_f64() * 1000.0)
}

fn proof_claim(rollout: &Rollout) -> Option<String> {
    let proof = rollout.plan.analysis.as_ref()?.proof?;
    let next = rollout.next_weight()?;
    let points = proof.added_failures / next.fraction() * 100.0;
    let points = format!("{points:.2}");
    let points = points.trim_end_matches('0').trim_end_matches('.');
    Some(format!("at most {points} points worse, before {next}"))
}

/// The watch over what this rollout promoted, and what is known by now.
fn watch_of(context: &QueryContext<'_>, rollout: &Rollout) -> Option<(Arc<AliasWatch>, Watch)> {
    let id = &rollout.record.alias;
    let watch = context.core.world.alias(id)?.watch.clone()?;
    let live = context.core.watched.get(id).and_then(|watched| watched.evidence.clone());
    let evidence = live.unwrap_or_else(|| watch.evidence.clone());
    (watch.rollout == rollout.record.id).then_some((watch, evidence))
}

fn watch_view(context: &QueryContext<'_>, rollout: &Rollout) -> Option<WatchView> {
    let (watch, evidence) = watch_of(context, rollout)?;
    Some(WatchView {
        version: watch.version.to_string(),
        seconds_left: watch.until.since(context.at.up).as_secs(),
        limit: evidence.limit,
        requests: evidence.seen.requests,
        failures: evidence.seen.failures,
        ln: evidence.ln(),
        ln_limit: AliasWatch::ln_limit(),
        alarmed_at: watch.alarmed_at.map(|at| at.to_string()),
    })
}

fn notices(context: &QueryContext<'_>, rollout: &Rollout, facts: &Facts<'_>) -> Vec<String> {
    let record = &rollout.record;
    let mut notices = Vec::new();
    if let Some(why) = context.core.world.alias(&record.alias).and_then(|state| state.quarantine.clone()) {
        notices.push(format!("quarantined: {why}"));
    }
    if context.overlaid.contains(&record.alias) {
        notices.push(
            "the canary was taken out of the routing table; that could not be stored yet and is being tried again"
                .to_owned(),
        );
    }
    notices.extend(rollout.trials_in_words().filter(|_| !record.phase.is_final()));
    if let Some((watch, evidence)) = watch_of(context, rollout) {
        notices.push(watch.in_words(&evidence, context.at.up));
    }
    if let Some(drift) = &record.drift {
        notices.push(format!(
            "{} changed the alias from {} to {} at {}; nothing was overwritten",
            drift.by, drift.expected, drift.found, drift.at
        ));
        let armed = if record.is_armed() {
            "rollback stays armed: the alias still names both versions"
        } else {
            "rollback is not armed: the alias no longer names both versions"
        };
        notices.push(armed.to_owned());
    }
    if matches!(record.phase, Phase::Progressing | Phase::Paused(_)) {
        for metric in rollout.metrics_in_force() {
            let dry = if metric.dry_run { "dry run, decides nothing: " } else { "" };
            notices.push(format!("{dry}{}", rollout.metric_in_words(facts.at, &metric.name)));
        }
    }
    if rollout.proves_by_copies() && !record.phase.is_final() {
        let next = rollout
            .next_weight()
            .map_or_else(String::new, |next| format!(", until they prove it good for {next}"));
        notices.push(format!(
            "no user gets v{} yet: it is sent copies of requests that v{} answers{next}",
            record.canary, record.stable
        ));
    }
    if let Some((evidence, settings)) = facts.evidence.filter(|_| !record.phase.is_final()) {
        notices.extend(evidence.spells_in_words(settings));
        notices.extend(evidence.users_in_words(settings));
    }
    if let Some(now) = moved_since(context, record) {
        notices.push(format!("{} was changed since this rollout ended; it is {now} now", record.alias));
    }
    if rollout.plan.analysis.is_none() && !record.phase.is_final() {
        notices.push("the plan says `analysis: none`: only time, people and maxExposure decide".to_owned());
    }
    notices
}

/// What an alias is, where the last rollout on it has ended and somebody has moved it since.
fn moved_since(context: &QueryContext<'_>, record: &RolloutRecord) -> Option<Routing> {
    let state = context.core.world.alias(&record.alias)?;
    if state.last != Some(record.id) || !record.phase.is_final() {
        return None;
    }
    let left = match record.phase {
        Phase::Succeeded => Some(Routing::only(record.canary)),
        // Where another hand had it already, the reason says so.
        Phase::Pending
        | Phase::Progressing
        | Phase::Paused(_)
        | Phase::Promoting
        | Phase::RollingBack(_)
        | Phase::RolledBack
        | Phase::Aborted
        | Phase::Superseded => record
            .committed
            .as_ref()
            .map(|committed| committed.routing)
            .filter(|left| left.additional.is_none()),
    };
    let now = state.alias.routing;
    (left.is_some_and(|left| left != now)).then_some(now)
}

/// What an operator may type now, most likely first.
fn commands(context: &QueryContext<'_>, rollout: &Rollout, rollback: &RollbackView) -> Vec<String> {
    let RolloutRecord { id, alias, .. } = &rollout.record;
    let is_meant = context.core.world.alias(alias).is_some_and(|state| state.meant() == Some(*id));
    let target = if is_meant { alias.to_string() } else { id.short() };
    let say = |verbs: &[&str]| -> Vec<String> {
        verbs.iter().map(|verb| format!("serin {verb} {target}")).collect()
    };
    // Going further back is the alias's, whatever rollout is looked at.
    let further_back = |version: &str| format!("serin rollback {alias} --to {version}");
    match &rollout.record.phase {
        Phase::Pending => say(&["abort", "promote"]),
        Phase::Progressing => match rollout.current_step() {
            Some(Step::Approval(_)) if !rollout.is_approved() => say(&["approve", "abort"]),
            _ => say(&["rollback", "pause"]),
        },
        Phase::Paused(_) if rollout.record.drift.is_some() => {
            vec![
                format!("serin resume {target} --restore"),
                format!("serin resume {target} --adopt"),
                format!("serin rollback {target}"),
                format!("serin abort {target}"),
            ]
        }
        Phase::Paused(_) => say(&["resume", "abort"]),
        Phase::Promoting => say(&["abort"]),
        Phase::RollingBack(_) => say(&["history"]),
        Phase::Succeeded => match (&rollback.to, &rollback.further) {
            (Some(_), _) => say(&["rollback"]),
            (None, Some(further)) => vec![further_back(further), format!("serin history {target}")],
            (None, None) => say(&["history"]),
        },
        Phase::RolledBack | Phase::Aborted | Phase::Superseded => {
            let mut commands: Vec<String> = say(&["retry"]);
            commands.extend(rollback.further.as_deref().map(further_back));
            commands.extend(say(&["history"]));
            commands
        }
    }
}

/// A recent failure on the wire.
pub fn failure_view(failure: &RecentFailure) -> FailureView {
    FailureView {
        at: failure.at.to_string(),
        version: failure.version.to_string(),
        method: failure.note.method.clone(),
        path: failure.note.path.clone(),
        fault: failure.note.fault.clone(),
        trace: failure.note.trace_id.clone(),
    }
}

fn exposure_view(counts: Counts) -> ExposureView {
    ExposureView { requests: counts.requests, failures: counts.failures }
}

/// A rollout's counts on the wire, from the start of its first block on.
pub fn counts_view(record: &Record) -> CountsView {
    let block = |kept: &Kept| CountsBlock {
        t: kept.until.since(record.began).as_secs_f64(),
        weight: kept.weight.fraction(),
        stable: exposure_view(kept.arms.stable),
        canary: exposure_view(kept.arms.canary),
    };
    CountsView {
        prior: record.prior.map(|prior| PriorView {
            requests: prior.requests,
            failures: prior.failures,
            dispersion: prior.dispersion,
            learnt: prior.learnt.map(Into::into),
        }),
        blocks: record.blocks.iter().map(block).collect(),
    }
}

/// An entry of the journal on the wire.
pub fn event_view(entry: &Entry) -> EventView {
    let value = serde_json::to_value(entry).unwrap_or_default();
    let what = value.get("what");
    let tag = |value: Option<&serde_json::Value>, key: &str| -> Option<String> {
        value?.get(key)?.as_str().map(str::to_owned)
    };
    let (phase, step, kind) = match &entry.what {
        Happening::Rollout { phase, step, .. } => {
            (Some(phase.clone()), Some(*step), tag(what.and_then(|what| what.get("event")), "event"))
        }
        Happening::Watch { event } => (None, None, Some(event.kind().to_owned())),
        Happening::FunctionCreated
        | Happening::FunctionDeleted
        | Happening::VersionPublished { .. }
        | Happening::VersionDeleted { .. }
        | Happening::FunctionChanged { .. }
        | Happening::EventSourceChanged { .. }
        | Happening::AliasCreated
        | Happening::AliasUpdated { .. }
        | Happening::AliasDeleted
        | Happening::PermissionAdded { .. }
        | Happening::PermissionRemoved { .. }
        | Happening::RolloutStarted { .. }
        | Happening::TakenOver { .. }
        | Happening::PreviousRestored { .. }
        | Happening::RolledBackTo { .. } => (None, None, tag(what, "kind")),
    };
    EventView {
        seq: entry.seq.0,
        at: entry.at.to_string(),
        actor: entry.actor.to_string(),
        reason: entry.reason.clone(),
        function: entry.function.to_string(),
        alias: entry.alias.as_ref().map(ToString::to_string),
        rollout: entry.rollout.map(|id| id.to_string()),
        kind: kind.unwrap_or_default(),
        phase,
        step,
        text: narrate::sentence(entry),
        routing: entry.alias_after.as_ref().map(|alias| routing_view(alias.routing)),
        entry: value,
    }
}
