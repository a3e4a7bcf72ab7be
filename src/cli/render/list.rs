//! The list of rollouts: those that live, the few that ended last, and the plan files that are not in order.

use super::Look;
use super::line::{Line, wrapped};
use super::table::Sheet;
use super::words;
use crate::api::wire::RolloutStatus;
use crate::cli::render::tone::Tone;

/// What `serin status` shows when no target is named.
pub struct Overview<'a> {
    /// Those that have not ended, newest first.
    pub live: &'a [RolloutStatus],
    /// Those that ended last, newest first.
    pub ended: &'a [RolloutStatus],
    /// Plan files that are not in order, in a line each.
    pub plan_faults: &'a [String],
}

/// Draws the list.
pub fn overview(overview: &Overview<'_>, look: &Look) -> String {
    let mut text = String::new();
    if overview.live.is_empty() && overview.ended.is_empty() {
        text.push_str("no rollout has been started yet\n");
    } else if overview.live.is_empty() {
        text.push_str("no rollout is under way\n");
    } else {
        text.push_str(&table(overview.live, false, look));
    }
    if !overview.ended.is_empty() {
        text.push_str(&Tone::Quiet.paint("\nended\n", look.color));
        text.push_str(&table(overview.ended, true, look));
    }
    if !overview.plan_faults.is_empty() {
        let heading = words::plural(overview.plan_faults.len(), "plan file is", "plan files are");
        text.push_str(&Tone::Caution.paint(&format!("\n{heading} not in order\n"), look.color));
        for fault in overview.plan_faults {
            let lines = if look.wrap {
                wrapped(Line::of("  "), Tone::Plain, &look.words(fault), look)
            } else {
                vec![Line::of(format!("  {}", look.words(fault)))]
            };
            text.push_str(&look.print(&lines));
        }
    }
    let hint = match (overview.live.first(), overview.ended.first()) {
        (Some(status), _) | (None, Some(status)) => {
            format!("\nserin status {} shows one of them in full\n", words::target(status))
        }
        (None, None) => {
            "\nserin plan list shows the plans there are, serin start PLAN starts one\n".to_owned()
        }
    };
    text.push_str(&Tone::Quiet.paint(&hint, look.color));
    text
}

/// Narrower terminals get fewer columns.
const WIDTH_FOR_ALL: usize = 72;

fn table(rollouts: &[RolloutStatus], has_ended: bool, look: &Look) -> String {
    let is_wide = !look.wrap || look.width >= WIDTH_FOR_ALL;
    let mut heads = vec!["TARGET", "VERSIONS", "STATE"];
    if !has_ended {
        heads.push("WEIGHT");
    }
    if is_wide {
        heads.push("STEP");
    }
    heads.push(if has_ended { "ENDED" } else { "CHANGED" });
    if is_wide {
        heads.push("ROLLOUT");
    }
    let mut sheet = Sheet::new(&heads, look).wrap_only(2);
    for status in rollouts {
        let (target, versions) = (words::target(status), words::versions(status, look));
        let (state, weight) = (words::state(status), words::share(status.weight.committed));
        let step = format!("{} of {}", status.step.index, status.step.count);
        let changed = words::ago(&status.updated_at, look);
        let mut cells = vec![
            (Tone::Strong, target.as_str()),
            (Tone::Plain, versions.as_str()),
            (words::tone(status), state.as_str()),
        ];
        if !has_ended {
            cells.push((Tone::Canary, &weight));
        }
        if is_wide {
            cells.push((Tone::Plain, &step));
        }
        cells.push((Tone::Plain, &changed));
        if is_wide {
            cells.push((Tone::Quiet, words::short_id(&status.id)));
        }
        sheet.toned(&cells);
    }
    sheet.text()
}
