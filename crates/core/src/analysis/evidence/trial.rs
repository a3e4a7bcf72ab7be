//! What open cohorts are sure to bring: a copy of the capital that goes through them as `bound` counts them.

use super::COHORT_MS;
use super::queue::{PARTS, Queue, Views};
use super::settled::Settled;
use super::{Bound, Evidence, Processes, Settings};
use crate::analysis::bound;
use crate::analysis::ceiling::Ceiling;
use crate::analysis::cohort::Side;
use crate::analysis::harm::Harm;
use crate::analysis::latency_span::PROCESSES;
use crate::lambda::function::Revision;
use crate::model::weight::Weight;

/// Cohorts in a second, for clipping.
pub(super) const SECOND_COHORTS: u64 = 1000 / COHORT_MS;

/// All that was told of one epoch.
#[derive(Clone, Copy, Debug)]
pub(super) struct Group<'a> {
    pub epoch: Revision,
    pub weight: Weight,
    pub views: Views<'a>,
    /// Counts that come without cohorts, as if they had settled.
    pub counted: [Settled; PARTS],
    pub has_counted: bool,
    /// Whether the canary gets copies of requests in it.
    pub has_copies: bool,
    pub exceeded: [u64; PROCESSES],
}

/// The copy, and the most that it came to.
pub(super) struct Trial {
    harm: Harm,
    ceiling: Ceiling,
    refusals: Harm,
    patience: Harm,
    pub best: Option<Bound>,
}

impl Trial {
    pub fn of(evidence: &Evidence) -> Trial {
        let Evidence { harm, ceiling, refusals, patience, .. } = evidence;
        Trial { harm: *harm, ceiling: *ceiling, refusals: *refusals, patience: *patience, best: None }
    }

    fn processes(&self) -> Processes<'_> {
        Processes {
            harm: &self.harm,
            ceiling: &self.ceiling,
            refusals: &self.refusals,
            patience: &self.patience,
        }
    }

    pub fn go_through(&mut self, evidence: &Evidence, settings: &Settings, group: &Group<'_>) {
        let views = &group.views;
        let is_of = |queue: &&Queue| (queue.epoch, queue.weight) == (group.epoch, group.weight);
        let Some(queue) = evidence.queues.iter().find(is_of) else { return };
        let first = views.first_after(queue.cut);
        for index in first..views.len() {
            if views.is_idle(index) {
                continue;
            }
            let start = views.bounds(index).0.max(queue.cut);
            let (period, second) = (evidence.period_of(start), start / SECOND_COHORTS);
            self.harm.pay_out_until(period);
            self.ceiling.pay_out_until(period);
            self.refusals.pay_out_until(period);
            if settings.patience.is_some() {
                self.patience.pay_out_until(period);
            }
            let Some(tables) = queue.at(start) else { return };
            for part in 0..PARTS {
                let Some(table) = tables.part(part) else { continue };
                let [stable, canary] = [Side::Stable, Side::Canary].map(|side| match index == first {
                    // Part of it may have entered.
                    true => {
                        views.parts[part].before(index + 1, side).less(&queue.entered[part][side as usize])
                    }
                    false => views.parts[part].of(index, side),
                });
                let arms = bound::failures(&stable, &canary, views.is_old(index));
                self.harm.update(&table.harm, arms, tables.dampings.failures, second);
                if let Some(max) = settings.ceiling {
                    self.ceiling.update(arms.canary, max, tables.dampings.failures, second);
                }
                if let Some(refusals) = &table.refusals {
                    let arms = bound::refusals(&stable, &canary, views.is_old(index));
                    self.refusals.update(refusals, arms, tables.dampings.refusals, second);
                }
                if let Some(patience) = &table.patience {
                    let arms = bound::gave_up(&stable, &canary);
                    self.patience.update(patience, arms, tables.dampings.patience, second);
                }
            }
            if views.is_bad(index) {
                let classes = evidence.classes_of(settings, self.processes());
                let ln = classes.ln() + evidence.carry;
                if self.best.is_none_or(|best| ln > best.ln) {
                    self.best = Some(Bound { ln, classes });
                }
            }
        }
    }
}
