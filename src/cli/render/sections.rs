//! The pieces that the picture and the explanation share: bars, the table of both versions, gates, failures, history.

use std::time::Duration;

use super::Look;
use super::line::{Line, flowed, width, wrapped};
use super::words;
use crate::api::wire::{ArmView, EventView, Explanation, FailureView, GateView, RoutingView};
use crate::cli::render::tone::Tone;
use serin_core::model::time::Timestamp;

/// Where text begins after a label.
pub const LABEL_WIDTH: usize = 10;
/// With less than this for what happened, history gets too long to read.
const TEXT_WIDTH_MIN: usize = 32;
/// Less of a method and a path says nothing.
const REQUEST_WIDTH_MIN: usize = 16;
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
pub fn evidence_bar(label: &str, fraction: f64, tone: Tone, meaning: &str, look: &Look) -> Vec<Line> {
    let (filled, empty) = bar(fraction, look);
    let mut line = labelled(label);
    line.tone(tone, filled).tone(Tone::Quiet, empty);
    line.add(format!("{:>5}", words::percent(fraction))).add("   ");
    wrapped(line, Tone::Plain, &look.words(meaning), look)
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

    /// Where traffic goes now: as the alias is, or where that is gone as the rollout had it.
    pub fn now(explanation: &Explanation) -> Split {
        let status = &explanation.status;
        if let Some(routing) = status.routing.as_ref().or(status.drift.as_ref().map(|drift| &drift.found)) {
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
    let ends = column_ends(&rows, &heads);
    let mut header = Line::new();
    header.tone(Tone::Quiet, format!("at {}", words::share(canary.share)));
    for (head, end) in heads.iter().zip(&ends) {
        header.right(*end, Tone::Quiet, head);
    }
    let mut lines = vec![header];
    for (arm, cells) in arms.iter().zip(&rows) {
        let is_canary = arm.role == "canary";
        let mut line = Line::of("  ");
        let name = if arm.role == "baseline" { "baseline".to_owned() } else { format!("v{}", arm.version) };
        line.tone(if is_canary { Tone::Canary } else { Tone::Plain }, name);
        for (index, (cell, end)) in cells.iter().zip(&ends).enumerate() {
            let failed = is_canary && arm.failures > 0 && (index == 1 || index == 2);
            line.right(*end, if failed { Tone::Caution } else { Tone::Plain }, cell);
        }
        lines.push(line);
    }
    lines
}

/// Where each column ends: room for what is usual, more for what is not.
fn column_ends(rows: &[[String; 5]], heads: &[&str; 5]) -> Vec<usize> {
    let usual = [9, 8, 8, 6, 7];
    // The label's column ends in a space already.
    let mut end = LABEL_WIDTH - 1;
    let mut ends = Vec::new();
    for (column, head) in heads.iter().enumerate() {
        let widest = rows.iter().map(|row| width(&row[column])).max().unwrap_or(0).max(width(head));
        end += (usual[column] + usize::from(column == 0)).max(widest + 2);
        ends.push(end);
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
    let mut needs = look.words(&gate.needs);
    if matches!(gate.kind.as_str(), "queue" | "window" | "freeze" | "routing") && !needs.is_empty() {
        needs = format!("waits for {needs}");
    }
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
///
/// A trace that does not fit is named by its beginning, or stands whole on a line of its own.
pub fn failures(head: Line, failures: &[FailureView], shown: FailuresShown, look: &Look) -> Vec<Line> {
    let mut lines = Vec::new();
    for (index, failure) in failures.iter().take(shown.count_max).enumerate() {
        let mut line = if index == 0 { head.clone() } else { Line::of(" ".repeat(head.width())) };
        line.add(words::clock(&failure.at, look)).add("  ").add(name(&failure.version)).add("  ");
        let request = look.words(&format!("{} {}", failure.method, failure.path));
        let fault = look.words(&format!("  {}", failure.fault));
        let trace =
            failure.trace.as_ref().map_or(String::new(), |trace| look.words(&format!("  trace {trace}")));
        let short = cut(&trace, "  trace ".len() + 8 + width(look.glyphs().dots), look);
        let room = look.width.saturating_sub(line.width() + width(&fault));
        let fits = width(&request) + width(&trace) <= room;
        let beside = match (fits, shown.whole_traces) {
            (true, _) => trace.as_str(),
            (false, false) if width(&short) + REQUEST_WIDTH_MIN <= room => short.as_str(),
            (false, false) => "",
            (false, true) => "",
        };
        line.add(cut(&request, room.saturating_sub(width(beside)).max(REQUEST_WIDTH_MIN), look));
        line.tone(Tone::Bad, fault).tone(Tone::Quiet, beside);
        lines.push(line);
        if !fits && shown.whole_traces && !trace.is_empty() {
            let mut line = Line::of(" ".repeat(head.width() + 8));
            line.tone(Tone::Quiet, trace);
            lines.push(line);
        }
    }
    lines
}

/// How much of recent failures is shown.
#[derive(Clone, Copy, Debug)]
pub struct FailuresShown {
    /// At most so many.
    pub count_max: usize,
    /// Whether a trace that does not fit gets a line of its own.
    pub whole_traces: bool,
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

/// The newest entries of the journal, newest first, wrapped; without the router's confirmations, which are no news.
///
/// Where there is little room, an actor is named without what the name is worth.
pub fn history(events: &[EventView], shown_max: usize, whole_actors: bool, look: &Look) -> Vec<Line> {
    let news = events.iter().filter(|event| event.text != "is served");
    let shown: Vec<&EventView> = news.take(shown_max).collect();
    let widest = |texts: &[String]| texts.iter().map(|text| width(text)).max().unwrap_or(0);
    let times: Vec<String> = shown.iter().map(|event| words::clock(&event.at, look)).collect();
    let time_width = widest(&times);
    let whole: Vec<String> = shown.iter().map(|event| look.words(&event.actor)).collect();
    let has_room = time_width + widest(&whole) + 4 + TEXT_WIDTH_MIN <= look.width;
    let actor = |actor: String| {
        if whole_actors && has_room {
            return actor;
        }
        let name = actor.strip_suffix(" (claimed)").or_else(|| actor.strip_suffix(" (unverified)"));
        cut(name.unwrap_or(&actor), 24, look)
    };
    let actors: Vec<String> = whole.into_iter().map(actor).collect();
    let actor_width = widest(&actors);
    let entry = |(index, event): (usize, &&EventView)| {
        let mut head = Line::new();
        head.tone(Tone::Quiet, times[index].clone()).pad_to(time_width + 2);
        head.add(actors[index].clone()).pad_to(time_width + 2 + actor_width + 2);
        wrapped(head, Tone::Plain, &entry_text(event, look), look)
    };
    shown.iter().enumerate().flat_map(entry).collect()
}
