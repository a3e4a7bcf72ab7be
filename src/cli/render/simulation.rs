//! What many simulated rollouts came to: shares, figures and a small plot of when they ended.

use std::time::Duration;

use super::Look;
use super::line::{Line, wrapped};
use super::words::{count, span};
use crate::cli::render::tone::Tone;
use crate::cli::simulated::{Simulated, Spread};

const LABEL_WIDTH: usize = 17;
const FIGURE_WIDTH: usize = 10;
const BAR_CELLS: usize = 40;
const PLOT_CELLS_MAX: usize = 60;

/// Levels of a plot's cell from nothing to everything.
const LEVELS: [&str; 9] = [" ", "▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"];
const LEVELS_ASCII: [&str; 9] = [" ", ".", ":", "-", "=", "+", "*", "%", "#"];

/// Draws it.
pub fn table(simulated: &Simulated, look: &Look) -> String {
    let mut lines = Vec::new();
    let head = format!(
        "{}: {} runs of at most {}, seed {}",
        simulated.target,
        count(simulated.runs),
        span(Duration::from_secs_f64(simulated.until_seconds)),
        simulated.seed
    );
    let mut title = Line::new();
    title.tone(Tone::Strong, head);
    lines.extend([title, Line::new()]);
    let outcomes = simulated.outcomes;
    lines.push(bar("promoted", outcomes.succeeded, Tone::Good, look));
    lines.push(bar("rolled back", outcomes.rolled_back, Tone::Bad, look));
    lines.push(bar("still waiting", outcomes.waiting, Tone::Caution, look));
    for (wait, runs) in &simulated.waiting_for {
        let mut head = labelled("");
        head.tone(Tone::Quiet, format!("{} ", count(*runs)));
        lines.extend(wrapped(head, Tone::Quiet, &look.words(&format!("waited for {wait}")), look));
    }
    if let Some(watch) = simulated.watch {
        lines.push(bar("alarm after it", watch.alarms, Tone::Caution, look));
    }
    lines.extend(figures(simulated, look));
    lines.extend(plot(simulated, look));
    look.print(&lines)
}

fn labelled(label: &str) -> Line {
    let mut line = Line::new();
    line.tone(Tone::Quiet, label).pad_to(LABEL_WIDTH);
    line
}

fn bar(label: &str, share: f64, tone: Tone, look: &Look) -> Line {
    let filled = (share * BAR_CELLS as f64).round() as usize;
    let glyphs = look.glyphs();
    let mut line = labelled(label);
    line.right(LABEL_WIDTH + 7, Tone::Plain, &percent(share)).add("  ");
    line.tone(tone, glyphs.full.repeat(filled)).tone(Tone::Quiet, glyphs.empty.repeat(BAR_CELLS - filled));
    line
}

/// A share with one decimal; never 0 or 100 % unless it is.
fn percent(share: f64) -> String {
    let tenths = (share * 1000.0).round();
    match tenths {
        0.0 if share > 0.0 => "<0.1%".to_owned(),
        1000.0 if share < 1.0 => ">99.9%".to_owned(),
        tenths => format!("{:.1}%", tenths / 10.0),
    }
}

fn figures(simulated: &Simulated, look: &Look) -> Vec<Line> {
    let mut lines = vec![Line::new()];
    let mut head = labelled("until rollback");
    head.right(LABEL_WIDTH + FIGURE_WIDTH, Tone::Quiet, "median");
    head.right(LABEL_WIDTH + 2 * FIGURE_WIDTH, Tone::Quiet, "p95");
    lines.push(head);
    let mut row = |label: &str, spread: Option<Spread>, words: &dyn Fn(f64) -> String| {
        let mut line = labelled(label);
        let none = || look.glyphs().none.to_owned();
        let of = |figure: fn(Spread) -> f64| spread.map_or_else(none, |spread| words(figure(spread)));
        line.right(LABEL_WIDTH + FIGURE_WIDTH, Tone::Plain, &of(|spread| spread.median));
        line.right(LABEL_WIDTH + 2 * FIGURE_WIDTH, Tone::Plain, &of(|spread| spread.p95));
        lines.push(line);
    };
    let whole = |number: f64| count(number.round() as u64);
    let time = |seconds: f64| match seconds {
        ..9.95 => format!("{seconds:.1}s"),
        seconds => span(Duration::from_secs_f64(seconds.round())),
    };
    row("  failed requests", simulated.failed_requests, &whole);
    row("  canary requests", simulated.canary_requests, &whole);
    row("  time", simulated.seconds, &time);
    row("until promoted", simulated.success_seconds, &time);
    if let Some(failed) = simulated.failed_while_proven {
        row("failed if proven", Some(failed), &whole);
    }
    if let Some(watch) = simulated.watch {
        row("failed to alarm", watch.failed_requests, &whole);
        row("time to alarm", watch.seconds, &time);
    }
    let floor = match simulated.floor {
        Some(floor) => format!(
            "any valid test needs about {} canary requests at the first weight, on average",
            if floor.canary_requests < 9.95 {
                format!("{:.1}", floor.canary_requests)
            } else {
                whole(floor.canary_requests)
            }
        ),
        None => {
            "nothing to find: the canary keeps within the plan's limits, or nothing compares it".to_owned()
        }
    };
    lines.extend(wrapped(labelled("floor"), Tone::Plain, &floor, look));
    lines
}

/// The shares of the runs that had ended by then, over time.
fn plot(simulated: &Simulated, look: &Look) -> Vec<Line> {
    let ends = &simulated.ends;
    let last = ends.rolled_back.iter().chain(&ends.succeeded).copied().fold(0.0, f64::max);
    if last <= 0.0 {
        return Vec::new();
    }
    let cells = look.width.saturating_sub(LABEL_WIDTH + 1).clamp(20, PLOT_CELLS_MAX);
    let levels = if look.unicode { &LEVELS } else { &LEVELS_ASCII };
    let drawn = |ends: &[f64]| -> String {
        let level = |cell: usize| {
            let until = last * (cell + 1) as f64 / cells as f64;
            let share = ends.partition_point(|end| *end <= until) as f64 / simulated.runs as f64;
            // Whatever is there is seen.
            levels[((share * 8.0).round() as usize).clamp(usize::from(share > 0.0), 8)]
        };
        (0..cells).map(level).collect()
    };
    let mut lines = vec![Line::new()];
    for (label, tone, ends) in
        [("rolled back by", Tone::Bad, &ends.rolled_back), ("promoted by", Tone::Good, &ends.succeeded)]
    {
        let mut line = labelled(label);
        line.tone(tone, drawn(ends));
        lines.push(line);
    }
    let mut axis = labelled("");
    axis.tone(Tone::Quiet, "0s");
    axis.right(LABEL_WIDTH + cells, Tone::Quiet, &span(Duration::from_secs_f64(last.ceil())));
    lines.push(axis);
    lines
}
