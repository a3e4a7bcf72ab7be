//! The pieces that the picture and the explanation share: bars, the table of both versions, gates, failures, history.

use std::time::Duration;

use super::Look;
use super::line::{Line, Tone, flowed, width, wrapped};
use super::words;
use crate::api::wire::{ArmView, EventView, Explanation, FailureView, GateView, RoutingView};
use crate::domain::time::Timestamp;

/// Where text begins after a label.
pub const LABEL_WIDTH: usize = 10;
/// Cells of an evidence bar.
const BAR_CELLS: usize = 10;

/// A line that begins with a label.
pub fn labelled(label: &str) -> Line {
    let mut line = Line::new();
    line.tone(Tone::Quiet, label).pad_to(LABEL_WIDTH);
    line
}

/// A line that begins where labelled ones do, without a label.
pub fn indented() -> Line {
    Line::of(" ".repeat(LABEL_WIDTH))
}

/// A bar of ten cells, to the half cell, as filled and empty part.
fn bar(fraction: f64, look: &Look) -> (String, String) {
    let glyphs = look.glyphs();
    let halves = (fraction.clamp(0.0, 1.0) * BAR_CELLS as f64 * 2.0).round() as usize;
    let (full, half) = (halves / 2, halves % 2);
    let filled = glyphs.full.repeat(full) + &glyphs.half.repeat(half);
    (filled, glyphs.empty.repeat(BAR_CELLS - full - half))
}

/// How far one kind of evidence is: label, bar, percentage, and what it means.
pub fn evidence_bar(label: &str, fraction: f64, tone: Tone, meaning: &str, look: &Look) -> Line {
    let (filled, empty) = bar(fraction, look);
    let mut line = labelled(label);
    line.tone(tone, filled).tone(Tone::Quiet, empty);
    line.add(format!("{:>5}", words::percent(fraction))).add("   ").add(look.words(meaning));
    line
}

/// How far evidence is on its way, 0 to 1.
pub fn progress(ln_evidence: f64, ln_limit: f64) -> f64 {
    if ln_limit > 0.0 { (ln_evidence / ln_limit).clamp(0.0, 1.0) } else { 0.0 }
}

/// Where an alias's traffic goes: the function version with its share, and the other one with its own.
pub struct Split {
    /// The function version.
    pub primary: (String, f64),
    /// The additional version.
    pub beside: Option<(String, f64)>,
}

impl Split {
    /// Everything to one version.
    pub fn only(version: &str) -> Split {
        Split { primary: (name(version), 1.0), beside: None }
    }

    /// A routing as the wire has it.
    pub fn of_routing(routing: &RoutingView) -> Split {
        match (&routing.additional_version, routing.additional_weight) {
            (Some(version), Some(weight)) => Split {
                primary: (name(&routing.function_version), 1.0 - weight),
                beside: Some((name(version), weight)),
            },
            _ => Split::only(&routing.function_version),
        }
    }

    /// Where traffic goes now: as a foreign change left it, as the alias is known to be, or as the rollout has it.
    pub fn now(explanation: &Explanation, routing: Option<&RoutingView>) -> Split {
        let status = &explanation.status;
        if let Some(routing) = status.drift.as_ref().map(|drift| &drift.found).or(routing) {
            return Split::of_routing(routing);
        }
        let share = status.weight.serving.min(status.weight.committed);
        match status.phase.as_str() {
            "Succeeded" | "Promoting" if share >= 1.0 => Split::only(&status.canary_version),
            _ if share <= 0.0 => Split::only(&status.stable_version),
            _ => Split {
                primary: (name(&status.stable_version), 1.0 - share),
                beside: Some((name(&status.canary_version), share)),
            },
        }
    }

    /// In words: `v41 95% and v42 5%`.
    pub fn in_words(&self) -> String {
        let said = |(version, share): &(String, f64)| format!("{version} {}", words::share(*share));
        match &self.beside {
            None => format!("{} {}", self.primary.0, words::share(1.0)),
            Some(beside) => format!("{} and {}", said(&self.primary), said(beside)),
        }
    }
}

fn name(version: &str) -> String {
    if version.starts_with('$') { version.to_owned() } else { format!("v{version}") }
}

/// The table of both versions at the present weight; nothing before there is one.
pub fn arms(explanation: &Explanation, look: &Look) -> Vec<Line> {
    let arms = &explanation.arms;
    let Some(canary) = arms.iter().find(|arm| arm.role == "canary") else { return Vec::new() };
    if arms.iter().all(|arm| arm.requests == 0) {
        return Vec::new();
    }
    let cells = |arm: &ArmView| {
        [
            words::count(arm.requests),
            words::count(arm.failures),
            words::failure_rate(arm.failures, arm.requests, look),
            words::latency(arm.p50_ms, look),
            words::latency(arm.p99_ms, look),
        ]
    };
    let rows: Vec<[String; 5]> = arms.iter().map(cells).collect();
    let heads = ["requests", "failed", "rate", "p50", "p99"];
    let ends = column_ends(&rows, &heads, look);
    let mut header = Line::new();
    header.tone(Tone::Quiet, format!("at {}", words::share(canary.share)));
    for (head, end) in heads.iter().zip(&ends) {
        header.right(*end, Tone::Quiet, head);
    }
    let mut lines = vec![header];
    for (arm, cells) in arms.iter().zip(&rows) {
        let is_canary = arm.role == "canary";
        let mut line = Line::of("  ");
        line.tone(if is_canary { Tone::Canary } else { Tone::Plain }, format!("v{}", arm.version));
        for (index, (cell, end)) in cells.iter().zip(&ends).enumerate() {
            let failed = is_canary && arm.failures > 0 && (index == 1 || index == 2);
            line.right(*end, if failed { Tone::Caution } else { Tone::Plain }, cell);
        }
        lines.push(line);
    }
    lines
}

/// Where each column ends: room for what is usual, more for what is not.
fn column_ends(rows: &[[String; 5]], heads: &[&str; 5], look: &Look) -> Vec<usize> {
    let usual = [9, 8, 8, 6, 7];
    let mut end = LABEL_WIDTH;
    let mut ends = Vec::new();
    for (column, head) in heads.iter().enumerate() {
        let widest = rows.iter().map(|row| width(&row[column])).max().unwrap_or(0).max(width(head));
        end += usual[column].max(widest + 2);
        ends.push(end.min(look.width));
    }
    ends
}

/// What the next step needs, each with a mark; `head` names the step.
pub fn gate_marks(head: Line, gates: &[&GateView], look: &Look) -> Vec<Line> {
    let glyphs = look.glyphs();
    let mark = |gate: &&GateView| {
        let (tone, sign) = if gate.met { (Tone::Good, glyphs.yes) } else { (Tone::Caution, glyphs.no) };
        (tone, format!("{sign} {}", look.words(&gate.label)))
    };
    let marks: Vec<(Tone, String)> = gates.iter().map(mark).collect();
    flowed(head, &marks, 3, look)
}

/// What a gate still takes, and for a wait with a deadline, how long is left and what happens then.
pub fn gate_needs(gate: &GateView, explanation: &Explanation, look: &Look) -> String {
    let needs = look.words(&gate.needs);
    let has_deadline = matches!(gate.kind.as_str(), "proof" | "approval");
    let waiting = explanation.status.waiting_for.as_ref().filter(|waiting| waiting.kind == gate.kind);
    match waiting.filter(|_| has_deadline) {
        Some(waiting) => match time_left(waiting.until.as_deref(), look) {
            Some(left) => format!("{needs}; {} left, then {}", words::span(left), look.words(&waiting.then)),
            None => needs,
        },
        None => needs,
    }
}

/// How long it is until an instant.
pub fn time_left(until: Option<&str>, look: &Look) -> Option<Duration> {
    Some(Timestamp::parse(until?)?.since(look.now))
}

/// What comes next, as a noun: `100%`, `approval`, `promotion`.
pub fn onward(explanation: &Explanation) -> String {
    let onward = explanation.onward.as_str();
    let noun = onward.strip_prefix("go to ").or_else(|| onward.strip_prefix("go on to "));
    match noun {
        Some(noun) => noun.to_owned(),
        None if onward == "promote" => "promotion".to_owned(),
        None => onward.to_owned(),
    }
}

/// Recent failures, newest first, one a line and cut to the width; the first after `head`.
pub fn failures(head: Line, failures: &[FailureView], shown_max: usize, look: &Look) -> Vec<Line> {
    let line = |(index, failure): (usize, &FailureView)| {
        let mut line = if index == 0 { head.clone() } else { Line::of(" ".repeat(head.width())) };
        line.add(words::clock(&failure.at, look)).add("  ");
        line.add(name(&failure.version)).add("  ");
        let trace = failure.trace.as_ref().map_or(String::new(), |trace| format!("  trace {trace}"));
        let end = format!("  {}{trace}", failure.fault);
        let request = look.words(&format!("{} {}", failure.method, failure.path));
        let room = look.width.saturating_sub(line.width() + width(&end)).max(12);
        line.add(cut(&request, room, look));
        line.tone(Tone::Bad, format!("  {}", look.words(&failure.fault)));
        line.tone(Tone::Quiet, look.words(&trace));
        line
    };
    failures.iter().take(shown_max).enumerate().map(line).collect()
}

/// The beginning of a text that is too long.
pub fn cut(text: &str, room: usize, look: &Look) -> String {
    if width(text) <= room {
        return text.to_owned();
    }
    let dots = look.glyphs().dots;
    let mut kept = String::new();
    for char in text.chars() {
        kept.push(char);
        if width(&kept) + width(dots) > room {
            kept.pop();
            break;
        }
    }
    kept + dots
}

/// An entry's sentence with the reason its actor gave.
pub fn entry_text(event: &EventView, look: &Look) -> String {
    match &event.reason {
        Some(reason) => format!("{}: \"{}\"", look.words(&event.text), look.words(reason)),
        None => look.words(&event.text),
    }
}

/// The newest entries of the journal, newest first, wrapped.
pub fn history(events: &[EventView], shown_max: usize, look: &Look) -> Vec<Line> {
    let shown: Vec<&EventView> = events.iter().take(shown_max).collect();
    let times: Vec<String> = shown.iter().map(|event| words::clock(&event.at, look)).collect();
    let actors: Vec<String> = shown.iter().map(|event| look.words(&event.actor)).collect();
    let time_width = times.iter().map(|time| width(time)).max().unwrap_or(0);
    let actor_width = actors.iter().map(|actor| width(actor)).max().unwrap_or(0).min(26);
    let entry = |(index, event): (usize, &&EventView)| {
        let mut head = Line::new();
        head.tone(Tone::Quiet, times[index].clone()).pad_to(time_width + 2);
        head.add(actors[index].clone()).pad_to(time_width + 2 + actor_width + 2);
        wrapped(head, Tone::Plain, &entry_text(event, look), look)
    };
    shown.iter().enumerate().flat_map(entry).collect()
}
