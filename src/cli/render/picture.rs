//! The status picture: what the terminal says at night, in the order in which it is asked.
//!
//! Verdict, traffic now, why, what is next and when, whether rollback is armed, what happened, what to type.

use super::Look;
use super::line::{Line, flowed, width, wrapped};
use super::sections::{
    FailuresShown, Split, arms, evidence_bar, failures, gate_marks, gate_needs, history, indented, labelled,
    onward, progress,
};
use super::words;
use crate::api::wire::{Explanation, ExposureView, GateView, RolloutStatus};
use crate::cli::render::tone::Tone;

/// The picture is at least this wide, and wraps on what is narrower.
const WIDTH_MIN: usize = 60;
/// Wider lines are harder to read.
const WIDTH_MAX: usize = 100;
const TRAFFIC_CELLS_MAX: usize = 50;
const FAILURES_SHOWN: FailuresShown = FailuresShown { count_max: 3, whole_traces: false };
const HISTORY_SHOWN: usize = 5;
/// More steps than this are shown as the ones around the current one.
const STEPS_SHOWN_MAX: usize = 12;

/// Draws a rollout.
pub fn picture(explanation: &Explanation, look: &Look) -> Vec<Line> {
    let mut lines = scene(explanation, look);
    lines.extend(commands(explanation));
    lines
}

/// The picture without what to type.
pub fn scene(explanation: &Explanation, look: &Look) -> Vec<Line> {
    let look = &Look { width: look.width.clamp(WIDTH_MIN, WIDTH_MAX), ..look.clone() };
    let mut lines = title(explanation, look);
    lines.push(traffic(explanation, look));
    lines.extend(why(explanation, look));
    lines.extend(drift(explanation, look));
    lines.extend(steps(explanation, look));
    lines.extend(next(explanation, look));
    lines.extend(arms(explanation, look));
    lines.extend(evidence(explanation, look));
    lines.extend(exposure(explanation, look));
    lines.extend(copies(explanation, look));
    lines.extend(notices(explanation, look));
    lines.extend(failures(labelled("failures"), &explanation.recent_failures, FAILURES_SHOWN, look));
    lines.extend(history(&explanation.history, HISTORY_SHOWN, false, look));
    lines
}

fn title(explanation: &Explanation, look: &Look) -> Vec<Line> {
    let status = &explanation.status;
    let (target, versions) = (words::target(status), words::versions(status, look));
    let (tone, verdict) = (words::tone(status), words::verdict(status));
    let rollout = format!("rollout {}", words::short_id(&status.id));
    let mut line = Line::new();
    line.tone(Tone::Strong, target.clone()).add("  ").add(versions.clone()).add("   ");
    line.tone(tone, verdict.clone());
    if line.width() + 2 + width(&rollout) <= look.width {
        line.right(look.width, Tone::Quiet, &rollout);
        return vec![line];
    }
    let pieces = [(Tone::Strong, target), (Tone::Plain, versions), (tone, verdict), (Tone::Quiet, rollout)];
    flowed(Line::new(), &pieces, 3, look)
}

fn traffic(explanation: &Explanation, look: &Look) -> Line {
    let glyphs = look.glyphs();
    let split = Split::now(explanation);
    let share = |fraction: f64| words::share(fraction);
    let (version, primary) = &split.primary;
    let head = format!("{version} {} ", share(*primary));
    let tail = split.beside.as_ref().map_or(String::new(), |(_, weight)| format!(" {} ", share(*weight)));
    let beside = split.beside.as_ref().map_or("", |(version, _)| version.as_str());
    let rate = match (&split.beside, explanation.status.is_final()) {
        (Some(_), false) => match explanation.canary_requests_per_s {
            Some(rate) if rate > 0.0 => format!("   (~{})", words::request_rate(rate)),
            _ => "   (no requests)".to_owned(),
        },
        _ => String::new(),
    };
    let mut line = labelled("traffic");
    let taken = line.width() + width(&head) + width(&tail) + width(beside) + width(&rate) + 1;
    let cells = look.width.saturating_sub(taken).clamp(10, TRAFFIC_CELLS_MAX);
    let weight = split.beside.as_ref().map_or(0.0, |(_, weight)| *weight);
    // Some traffic is never drawn as none, nor as all.
    let empty = match (weight * cells as f64).round() as usize {
        0 if weight > 0.0 => 1,
        all if all == cells && weight < 1.0 => cells - 1,
        some => some,
    };
    line.add(head).add(glyphs.full.repeat(cells - empty)).tone(Tone::Canary, glyphs.empty.repeat(empty));
    line.add(tail).tone(Tone::Canary, beside).tone(Tone::Quiet, rate);
    line
}

fn why(explanation: &Explanation, look: &Look) -> Vec<Line> {
    let status = &explanation.status;
    // What drift is has its own lines, and success needs no reason.
    if status.reason.is_empty() || status.drift.is_some() || status.phase == "Succeeded" {
        return Vec::new();
    }
    wrapped(labelled("why"), Tone::Plain, &look.words(&status.reason), look)
}

fn drift(explanation: &Explanation, look: &Look) -> Vec<Line> {
    let Some(drift) = &explanation.status.drift else { return Vec::new() };
    let (actor, at) = (look.words(&drift.actor), words::clock(&drift.at, look));
    let mut label = Line::new();
    label.tone(Tone::Caution, "drift").pad_to(super::sections::LABEL_WIDTH);
    let mut lines = wrapped(
        label,
        Tone::Plain,
        &format!("{actor} changed the alias at {at}; nothing was overwritten"),
        look,
    );
    let mut value = |word: &str, text: &str| {
        let mut line = indented();
        line.add(word).add(look.words(text));
        lines.push(line);
    };
    value("from  ", &drift.expected.text);
    value("to    ", &drift.found.text);
    lines
}

fn steps(explanation: &Explanation, look: &Look) -> Vec<Line> {
    let glyphs = look.glyphs();
    let status = &explanation.status;
    let count = explanation.steps.len();
    let has_failed = matches!(status.phase.as_str(), "RollingBack" | "RolledBack" | "Aborted" | "Superseded");
    let current = status.step.index;
    let is_near = |index: usize| {
        count <= STEPS_SHOWN_MAX || index == 1 || index == count || index.abs_diff(current.max(1)) <= 3
    };
    let mut pieces: Vec<(Tone, String)> = Vec::new();
    let mut skipping = false;
    for step in &explanation.steps {
        if !is_near(step.index) {
            if !skipping {
                pieces.push((Tone::Quiet, glyphs.dots.to_owned()));
            }
            skipping = true;
            continue;
        }
        skipping = false;
        let text = look.words(&step.text);
        pieces.push(match step.state.as_str() {
            "done" => (Tone::Good, format!("{} {text}", glyphs.yes)),
            "current" => {
                let (tone, sign) =
                    if has_failed { (Tone::Bad, glyphs.no) } else { (Tone::Strong, glyphs.here) };
                (tone, format!("{sign} {text} ({} of {count})", step.index))
            }
            _ => (Tone::Quiet, format!("{} {text}", glyphs.ahead)),
        });
    }
    if pieces.is_empty() { Vec::new() } else { flowed(labelled("steps"), &pieces, 3, look) }
}

fn next(explanation: &Explanation, look: &Look) -> Vec<Line> {
    let status = &explanation.status;
    let mut lines = Vec::new();
    match status.phase.as_str() {
        "Succeeded" => {
            if let Some(previous) = &explanation.rollback.to {
                let text = format!("done; v{previous} is kept for rollback");
                lines.extend(wrapped(labelled("next"), Tone::Plain, &text, look));
            }
            return lines;
        }
        "RolledBack" | "Aborted" | "Superseded" => return lines,
        "Promoting" | "RollingBack" => {
            let text = "done once the router has confirmed it";
            return wrapped(labelled("next"), Tone::Plain, text, look);
        }
        "Paused" => {
            let text = "nothing by itself: it waits for a person";
            lines.extend(wrapped(labelled("next"), Tone::Caution, text, look));
            if status.drift.is_none()
                && let Some(waiting) = &status.waiting_for
            {
                lines.extend(wrapped(indented(), Tone::Plain, &look.words(&waiting.needs), look));
            }
        }
        _ => {}
    }
    let is_paused = !lines.is_empty();
    let gates: Vec<&GateView> =
        explanation.gates.iter().filter(|gate| !(is_paused && gate.kind == "pause")).collect();
    let subject = onward(explanation);
    if gates.is_empty() {
        if !is_paused {
            lines.extend(wrapped(labelled("next"), Tone::Plain, &format!("{subject}, at once"), look));
        }
        return lines;
    }
    let mut head = if is_paused { indented() } else { labelled("next") };
    head.add(if is_paused { format!("then {subject} needs:  ") } else { format!("{subject} needs:  ") });
    lines.extend(gate_marks(head, &gates, look));
    for gate in gates.iter().filter(|gate| !gate.met) {
        let needs = gate_needs(gate, explanation, look);
        if !needs.is_empty() {
            lines.extend(wrapped(indented(), Tone::Plain, &needs, look));
        }
    }
    lines
}

fn evidence(explanation: &Explanation, look: &Look) -> Vec<Line> {
    let status = &explanation.status;
    let is_judged = matches!(status.phase.as_str(), "Progressing" | "Paused" | "Promoting");
    if !is_judged {
        return Vec::new();
    }
    let Some(evidence) = &status.evidence else {
        let mut line = labelled("rollback");
        line.tone(Tone::Caution, "not armed: no evidence is gathered");
        return vec![line];
    };
    let harm = progress(evidence.ln_harm, evidence.ln_harm_limit);
    let (tone, state) = match (explanation.armed, harm) {
        (false, _) if status.drift.is_some() => {
            (Tone::Caution, "not armed: the alias no longer names both versions")
        }
        (false, _) => (Tone::Caution, "not armed"),
        (true, harm) if harm >= 1.0 => (Tone::Bad, "the limit is reached"),
        (true, harm) if harm >= 0.5 => (Tone::Caution, "armed"),
        (true, _) => (Tone::Bad, "armed"),
    };
    let state = match evidence.failures_to_rollback {
        Some(failures) if state == "armed" && failures > 0 => {
            let away = match evidence.users {
                Some(_) => words::plural(failures as usize, "failing user", "failing users in a row"),
                None => words::plural(failures as usize, "failure", "failures in a row"),
            };
            format!("armed: ~{away} away")
        }
        _ => state.to_owned(),
    };
    let mut lines: Vec<Line> = evidence
        .ratio
        .and_then(|(low, high)| words::failure_ratio(low, high))
        .map(|ratio| {
            let text = format!(
                "v{} fails {ratio} times as often as v{}",
                status.canary_version, status.stable_version
            );
            wrapped(labelled("ratio"), Tone::Plain, &text, look)
        })
        .unwrap_or_default();
    lines.extend(evidence_bar("rollback", harm, tone, &state, look));
    if let (Some(ln_proof), Some(limit)) = (evidence.ln_proof, evidence.ln_proof_limit)
        && let Some(claim) = &explanation.proof_claim
    {
        lines.extend(evidence_bar("proof", progress(ln_proof, limit), Tone::Good, claim, look));
    }
    lines
}

fn exposure(explanation: &Explanation, look: &Look) -> Vec<Line> {
    let status = &explanation.status;
    let exposure = &status.exposure;
    if !status.is_final() || exposure.requests == 0 {
        return Vec::new();
    }
    let had = format!("had {}", words::plural(exposure.requests as usize, "request", "requests"));
    fate("canary", status, &had, exposure, look)
}

/// Copies of requests over the whole rollout, where the plan asks for any.
fn copies(explanation: &Explanation, look: &Look) -> Vec<Line> {
    let status = &explanation.status;
    let Some(copies) = status.mirrored.as_ref().filter(|copies| copies.requests > 0) else {
        return Vec::new();
    };
    let got = format!("was sent {}", words::plural(copies.requests as usize, "copy", "copies"));
    fate("copies", status, &got, copies, look)
}

/// What became of all that the canary got of a kind.
fn fate(label: &str, status: &RolloutStatus, got: &str, all: &ExposureView, look: &Look) -> Vec<Line> {
    let text = format!(
        "v{} {got}, {} of them failed ({})",
        status.canary_version,
        words::count(all.failures),
        words::failure_rate(all.failures, all.requests, look)
    );
    wrapped(labelled(label), Tone::Plain, &text, look)
}

fn notices(explanation: &Explanation, look: &Look) -> Vec<Line> {
    // What drift is and whether rollback is armed has been drawn already.
    let is_drawn = |notice: &str| {
        explanation.status.drift.is_some()
            && (notice.contains(" changed the alias from ") || notice.starts_with("rollback "))
    };
    let mut lines = Vec::new();
    for notice in explanation.notices.iter().filter(|notice| !is_drawn(notice)) {
        let mut label = Line::new();
        label.tone(Tone::Caution, "note").pad_to(super::sections::LABEL_WIDTH);
        lines.extend(wrapped(label, Tone::Plain, &look.words(notice), look));
    }
    lines
}

fn commands(explanation: &Explanation) -> Vec<Line> {
    let line = |(index, command): (usize, &String)| {
        let mut line = Line::new();
        line.tone(Tone::Quiet, if index == 0 { "do" } else { "" }).pad_to(5);
        line.tone(Tone::Strong, command.clone());
        line
    };
    explanation.commands.iter().enumerate().map(line).collect()
}
