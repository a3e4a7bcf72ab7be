//! What the story came to, in figures that were counted.

use std::time::Duration;

use super::stage::{BAD, FUNCTION};
use super::story::{Chapter, Story};
use crate::cli::render::line::{Line, wrapped};
use crate::cli::render::tone::Tone;
use crate::cli::render::{Look, words};
use serin_core::model::time::Timestamp;

/// What a check by threshold waits for before it looks.
const CHECK_EVERY: Duration = Duration::from_secs(60);
/// The weight at which the bad version was found out, and the check would have looked at it.
const FIRST_WEIGHT: f64 = 0.03;

/// Where figures begin.
const FIGURE_AT: usize = 44;

/// Writes it.
pub fn text(story: &Story, look: &Look) -> String {
    let look = &Look { width: look.width.min(100), ..look.clone() };
    let mut lines = vec![Line::new()];
    lines.extend(wrapped(Line::new(), Tone::Strong, "What happened", look));
    lines.extend(story.chapters.iter().map(ended));
    lines.push(Line::new());
    let total = story.total;
    let mut figure = |label: &str, value: String| {
        let mut line = Line::of(format!("  {label}"));
        line.pad_to(FIGURE_AT).tone(Tone::Strong, value);
        lines.push(line);
    };
    figure("requests served", words::count(total.requests - total.unanswered));
    figure("failed requests users saw", words::count(total.failures));
    figure(&format!("  of them from the bad version {}", BAD.number), words::count(story.bad.failures));
    if let Some(span) = until_weight_0(story) {
        figure("its first failure to weight 0", span_text(span));
    }
    let missed = story.requests_per_s * FIRST_WEIGHT * BAD.failures * CHECK_EVERY.as_secs_f64();
    figure("a threshold checked every minute lets fail", format!("~{}", words::count(rounded(missed))));
    let why = format!(
        "({} requests/s, {} of them to the canary, {} of those fail, for {} s)",
        words::count(rounded(story.requests_per_s)),
        words::share(FIRST_WEIGHT),
        words::share(BAD.failures),
        CHECK_EVERY.as_secs(),
    );
    lines.extend(wrapped(Line::of("    "), Tone::Quiet, &why, look));
    if !story.went_as_told() {
        lines.push(Line::new());
        lines.extend(wrapped(Line::new(), Tone::Bad, &apology(story), look));
    }
    look.print(&lines)
}

fn ended(chapter: &Chapter) -> Line {
    let status = &chapter.ended.status;
    let tone = if status.phase == chapter.told_phase { Tone::Good } else { Tone::Bad };
    let mut line = Line::of(format!("  {FUNCTION} v{}  ", chapter.cast.number));
    line.tone(tone, status.phase.clone()).add(format!(
        " after {:.1} s, {} canary requests, {} failed",
        chapter.took.as_secs_f64(),
        words::count(status.exposure.requests),
        words::count(status.exposure.failures)
    ));
    line
}

fn span_text(span: Duration) -> String {
    match span.as_millis() {
        millis @ 0..1000 => format!("{millis} ms"),
        _ => format!("{:.1} s", span.as_secs_f64()),
    }
}

/// To two figures, as befits an estimate.
fn rounded(number: f64) -> u64 {
    let unit = if number >= 100.0 { 10.0 } else { 1.0 };
    ((number / unit).round() * unit) as u64
}

/// From the moment a user saw the bad version fail to the moment the alias named it no more.
fn until_weight_0(story: &Story) -> Option<Duration> {
    let first = story.bad.first_failure?;
    let history = &story.chapters[1].ended.history;
    let gone = history
        .iter()
        .filter(|event| event.routing.as_ref().is_some_and(|routing| routing.additional_version.is_none()))
        .filter_map(|event| Timestamp::parse(&event.at))
        .filter(|at| *at >= first)
        .min()?;
    Some(gone.since(first))
}

fn apology(story: &Story) -> String {
    let astray = story.chapters.iter().filter(|chapter| chapter.ended.status.phase != chapter.told_phase);
    let said: Vec<String> = astray
        .map(|chapter| {
            let status = &chapter.ended.status;
            format!(
                "version {} was to end as {}, and ended as {}: {}",
                chapter.cast.number, chapter.told_phase, status.phase, status.reason
            )
        })
        .collect();
    format!("The story did not go as told: {}.", said.join("; "))
}
