//! What is legal, but hardly what its author means.

use std::time::Duration;

use super::fields::{Fields, Reader};
use super::steps::PlacedStep;
use crate::analysis::proof::margin_before;
use crate::analysis::users;
use crate::model::span;
use crate::model::weight::Weight;
use crate::plan::defaults;
use crate::plan::model::{OnFailure, Plan, Start, Step};

impl Reader<'_> {
    /// Warns of what a sound plan probably does not mean.
    pub fn note_oddities(&mut self, plan: &Plan, steps: &[PlacedStep], fields: &Fields<'_>) {
        self.note_unused_bake(plan, fields);
        self.note_unused_zone(plan, fields);
        self.note_unguarded(plan, steps, fields);
        self.note_endless_waits(plan, steps, fields);
        self.note_no_canary(plan, steps, fields);
        self.note_unproven(plan, steps);
        self.note_few_users(plan, steps, fields);
        self.note_no_baseline(plan, steps, fields);
    }

    /// A baseline is beside a canary that has some of the traffic and leaves some.
    fn note_no_baseline(&mut self, plan: &Plan, steps: &[PlacedStep], fields: &Fields<'_>) {
        let Some(analysis) = fields.get("analysis").filter(|_| plan.baseline().is_some()) else { return };
        let is_part = |placed: &PlacedStep| matches!(placed.step, Step::SetWeight(weight) if weight > Weight::ZERO && weight < Weight::FULL);
        if !steps.iter().any(is_part) {
            self.faults
                .warning(
                    analysis.at,
                    "this `baseline` has no effect: no weight of the plan leaves stable any traffic",
                )
                .help("delete it, or begin with less, as in `steps: [3%, 5%, 100%]`");
        }
    }

    /// A first weight is let in before anything is known of the canary.
    fn note_unproven(&mut self, plan: &Plan, steps: &[PlacedStep]) {
        let is_proven = plan.analysis.as_ref().is_some_and(|analysis| analysis.proof.is_some());
        let first = steps.iter().find(|placed| matches!(placed.step, Step::SetWeight(_)));
        if let Some(PlacedStep { step: Step::SetWeight(weight), place }) = first
            && is_proven
            && plan.first_weight.is_none()
            && (*weight > defaults::FIRST_WEIGHT_MAX && *weight < Weight::FULL)
        {
            self.faults
                .warning(*place, format!("the canary gets {weight} before anything is proven of it"))
                .help(
                    "`firstWeight: probe` proves it at 3% first, `firstWeight: mirror` by copies; `firstWeight: unproven` \
                     says that this is meant",
                );
        }
    }

    /// Where users stick to a version it takes users to decide, and a plan cannot know how many there are.
    fn note_few_users(&mut self, plan: &Plan, steps: &[PlacedStep], fields: &Fields<'_>) {
        let Some(routing) = fields.get("routing").filter(|_| plan.routing.affinity.is_some()) else { return };
        let Some(analysis) = &plan.analysis else { return };
        if !plan.routing.judges_users() {
            let said = "copies are compared request by request, so requests are judged though users stick to their version: \
                        one user who fails alike on both may look like a canary that fails";
            self.faults.warning(routing.at, said).help("leave `mirror` or `affinity` out");
            return;
        }
        let weights: Vec<Weight> = steps
            .iter()
            .filter_map(|placed| if let Step::SetWeight(weight) = placed.step { Some(weight) } else { None })
            .collect();
        let Some(first) = weights.first().filter(|first| **first < Weight::FULL) else { return };
        let in_all = |of_canary: u64, weight: Weight| (of_canary as f64 / weight.fraction()).ceil() as u64;
        let for_harm = in_all(users::FOR_HARM, *first);
        let pairs = weights.windows(2).filter(|pair| pair[0] < pair[1]);
        let proven = analysis.proof.and_then(|proof| {
            let of = |pair: &[Weight]| {
                let ratio = analysis.failures.max_ratio;
                let margin = margin_before(pair[1].fraction(), ratio, proof.added_failures);
                (in_all(users::for_proof(margin), pair[0]), pair[1])
            };
            pairs.map(of).max_by_key(|(users, _)| *users)
        });
        let mut said = format!(
            "users stick to their version, so users are judged: with fewer than {for_harm} at a time hardly any harm is found \
             at {first}"
        );
        if let Some((users, next)) = proven {
            said.push_str(&format!(", and with fewer than {users} nothing is proven before {next}"));
        }
        self.faults.warning(routing.at, said).help(
            "with fewer users begin with a larger weight, or write `analysis: {proof: none}` and let bakes and an `approval` \
             step decide; `serin lint --rps N --users M` says which weights are decided",
        );
    }

    fn note_unused_bake(&mut self, plan: &Plan, fields: &Fields<'_>) {
        let Some(bake) = fields.get("bake").filter(|bake| bake.at.file == 0) else { return };
        let is_used = (1..=plan.steps.len()).any(|step| {
            let below_full = plan.weight_at(step).is_some_and(|weight| weight < Weight::FULL);
            let bakes_itself = plan
                .steps
                .iter()
                .skip(step)
                .take_while(|step| !matches!(step, Step::SetWeight(_)))
                .any(is_bake);
            below_full && !bakes_itself
        });
        if is_used {
            return;
        }
        let (why, help) = if fields.get("preset").is_some() {
            ("the preset brings its own", "delete it, or list `steps` instead of the preset")
        } else {
            ("every weight has its own", "delete it, or the `bake` steps")
        };
        self.faults.warning(bake.at, format!("this `bake` has no effect: {why}")).help(help);
    }

    fn note_unused_zone(&mut self, plan: &Plan, fields: &Fields<'_>) {
        let Some(zone) = fields.get("timeZone").filter(|zone| zone.at.file == 0) else { return };
        let has_windows = !plan.windows.allow.is_empty() || !plan.windows.freeze.is_empty();
        if !has_windows && !matches!(plan.start, Start::Cron(_)) {
            self.faults
                .warning(
                    zone.at,
                    "this `timeZone` has no effect: the plan has neither `windows` nor a `cron` start",
                )
                .help("delete it");
        }
    }

    /// Something must stand between a weight and the next, or the steps are one step.
    fn note_unguarded(&mut self, plan: &Plan, steps: &[PlacedStep], fields: &Fields<'_>) {
        let is_proven = plan.analysis.as_ref().is_some_and(|analysis| analysis.proof.is_some());
        if !is_proven {
            let mut open: Option<(Weight, usize)> = None;
            for (index, placed) in steps.iter().enumerate() {
                match (&placed.step, open) {
                    (Step::SetWeight(weight), None) => open = Some((*weight, index)),
                    (Step::SetWeight(weight), Some((before, set_at))) => {
                        if plan.default_bake_after(set_at + 1).is_zero() {
                            self.faults
                                .warning(
                                    placed.place,
                                    format!("nothing stands between {before} and {weight}"),
                                )
                                .help(format!(
                                    "let {before} bake for a while, or ask for proof (`analysis`)"
                                ));
                        }
                        open = Some((*weight, index));
                    }
                    (Step::Bake(span), _) if span.is_zero() => {}
                    _ => open = None,
                }
            }
        }
        let acts = plan.on_failure != OnFailure::Report && plan.analysis.is_some();
        if !acts && plan.max_exposure.failures.is_none() {
            let place =
                fields.get("onFailure").or(fields.get("analysis")).map_or(fields.place, |field| field.at);
            self.faults
                .warning(place, "no failure rolls this rollout back by itself")
                .help("a bound helps: `maxExposure: {failures: 500}`");
        }
    }

    fn note_endless_waits(&mut self, plan: &Plan, steps: &[PlacedStep], fields: &Fields<'_>) {
        let deadline = plan.step_deadline.after;
        let note = |reader: &mut Self, place, what: &str, span: Duration| {
            if span >= deadline {
                reader
                    .faults
                    .warning(
                        place,
                        format!(
                            "{what} of {} never ends: `stepDeadline` strikes after {}",
                            span::write(span),
                            span::write(deadline)
                        ),
                    )
                    .help("raise `stepDeadline.after` above it");
            }
        };
        for PlacedStep { step, place } in steps {
            match step {
                Step::Bake(span) => note(self, *place, "a bake", *span),
                Step::Analysis(step) => note(self, *place, "an analysis", step.span),
                Step::SetWeight(_) | Step::Pause | Step::Approval(_) | Step::Webhook(_) => {}
            }
        }
        let default_is_used = (1..=steps.len()).any(|step| !plan.default_bake_after(step).is_zero());
        if default_is_used && let Some(bake) = fields.get("bake").or(fields.get("stepDeadline")) {
            note(self, bake.at, "a bake", plan.bake);
        }
    }

    fn note_no_canary(&mut self, plan: &Plan, steps: &[PlacedStep], fields: &Fields<'_>) {
        let first = steps.iter().find(|placed| matches!(placed.step, Step::SetWeight(_)));
        if let Some(PlacedStep { step: Step::SetWeight(Weight::FULL), place }) = first
            && fields.get("preset").is_none()
        {
            self.faults.warning(*place, format!("`{}` gets all traffic at once", plan.target)).help(
                "begin with less, as in `steps: [3%, 5%, 100%]`; `preset: AllAtOnce` says that it is meant",
            );
        }
    }
}

fn is_bake(step: &Step) -> bool {
    matches!(step, Step::Bake(_))
}
