//! What a rollout does, in order: steps, or a preset that stands for some.

use crate::plan::Metric;
use crate::plan::presets::CANARY_MINUTES;
use crate::plan::presets::LINEAR_MINUTES;
use crate::plan::presets::canary_name;
use crate::plan::presets::linear_name;
use crate::plan::presets::nearest_preset;
use crate::plan::presets::preset_names;
use std::collections::BTreeMap;
use std::time::Duration;

use super::analysis::metric_name;
use super::fields::{Field, Fields, Reader, short};
use super::values::Span;
use crate::model::arn::NameError;
use crate::model::weight::Weight;
use crate::plan::diagnose::Place;
use crate::plan::model::{Analysis, AnalysisStep, Approval, FirstWeight, RoutingOptions, Step, Timeout};
use crate::plan::suggest::nearest;
use crate::plan::tree::Content;
use crate::plan::words::Word;
use crate::plan::{defaults, keys};

/// A step and where it was written.
pub(super) struct PlacedStep {
    pub step: Step,
    pub place: Place,
}

impl Reader<'_> {
    /// Puts in front of a first weight that would be unproven what ends with the proof for it: a small weight, or none
    /// at all, at which the canary gets copies.
    pub fn prove_first(
        &mut self,
        how: FirstWeight,
        steps: &mut Vec<PlacedStep>,
        (analysis, routing): (Option<&Analysis>, &RoutingOptions),
        fields: &Fields<'_>,
    ) {
        if how == FirstWeight::Unproven {
            return;
        }
        let is_weight = |placed: &PlacedStep| matches!(placed.step, Step::SetWeight(_));
        let Some(first) = steps.iter().position(is_weight) else { return };
        let place = steps[first].place;
        if matches!(steps[first].step, Step::SetWeight(weight) if weight <= defaults::FIRST_WEIGHT_MAX) {
            return;
        }
        let said = fields.get("firstWeight");
        let at = said.as_ref().map_or(fields.place, |field| field.at);
        if analysis.is_none_or(|analysis| analysis.proof.is_none()) {
            let how = how.written();
            self.faults
                .error(at, format!("`firstWeight: {how}` ends with proof, and this plan asks for none"))
                .help("ask for it with `analysis: {proof: {addedFailures: 0.5pp}}`, or write `firstWeight: unproven`")
                .related(place, "the first weight is here");
            return;
        }
        if how == FirstWeight::Mirror && routing.judges_users() {
            let sticks = fields.get("routing").map_or(fields.place, |field| field.at);
            self.faults
                .error(at, "copies are compared request by request, and where users stick to their version users are judged")
                .help("write `firstWeight: probe`, or leave `affinity` out")
                .related(sticks, "users stick to their version here");
            return;
        }
        let in_front = match how {
            FirstWeight::Probe => vec![Step::SetWeight(defaults::PROBE_WEIGHT), Step::Bake(Duration::ZERO)],
            FirstWeight::Mirror => vec![Step::SetWeight(Weight::ZERO)],
            FirstWeight::Unproven => Vec::new(),
        };
        steps.splice(first..first, in_front.into_iter().map(|step| PlacedStep { step, place }));
    }

    /// Takes `steps` or `preset`, whichever is there; `None` also where neither need be.
    pub fn steps(&mut self, plan: &Fields<'_>, obligatory: bool) -> Option<Vec<PlacedStep>> {
        match (plan.get("steps"), plan.get("preset")) {
            (Some(steps), Some(preset)) => {
                self.faults
                    .error(preset.at, "a plan has `steps` or a `preset`, not both")
                    .help("delete one; a preset is short for a list of steps")
                    .related(steps.at, "the steps are here");
                None
            }
            (Some(steps), None) => self.step_list(&steps),
            (None, Some(preset)) => self.preset(&preset),
            (None, None) => {
                if obligatory && !plan.is_misspelt("steps") && !plan.is_misspelt("preset") {
                    self.faults.error(plan.place, "the plan has no `steps`").help(
                        "write for example `steps: [3%, 5%, 100%]`, or `preset: Canary10Percent5Minutes`",
                    );
                }
                None
            }
        }
    }

    fn step_list(&mut self, field: &Field<'_>) -> Option<Vec<PlacedStep>> {
        let items = self.list(field)?;
        let mut steps: Vec<PlacedStep> = Vec::with_capacity(items.len());
        let (mut after_ramp, mut is_whole) = (false, true);
        for item in items {
            let item = Field { example: "3%", ..field.item("a step", item) };
            let taken = match self.ramp_of(&item) {
                Some(ramp) => self.ramp(&ramp, &steps, &item),
                None => self.step(&item).map(|step| vec![PlacedStep { step, place: item.place() }]),
            };
            let Some(taken) = taken else {
                is_whole = false;
                continue;
            };
            // As it takes the default's place, a bake takes that of the ramp's at its last weight.
            if after_ramp && matches!(taken[..], [PlacedStep { step: Step::Bake(_), .. }]) {
                steps.pop_if(|last| matches!(last.step, Step::Bake(_)));
            }
            after_ramp = taken.len() > 1;
            steps.extend(taken);
        }
        // What follows compares steps; where one is missing, it would compare the wrong ones.
        if !is_whole {
            return None;
        }
        self.check_weights(&steps, field);
        Some(steps)
    }

    /// A step that is a ramp and nothing else.
    fn ramp_of<'t>(&mut self, item: &Field<'t>) -> Option<Field<'t>> {
        let Content::Map(entries) = &item.node.content else { return None };
        if !matches!(&entries[..], [only] if only.key == "ramp") {
            return None;
        }
        self.map(item, &keys::STEP)?.get("ramp")
    }

    fn step(&mut self, item: &Field<'_>) -> Option<Step> {
        if let Content::Text { text, .. } = &item.node.content
            && !item.is_empty()
        {
            return self.short_step(item, text);
        }
        let is_empty_map = matches!(&item.node.content, Content::Map(entries) if entries.is_empty());
        if item.is_empty() || is_empty_map {
            self.faults
                .error(item.at, "this step is empty")
                .help("write for example `- 3%`, or delete the `-`");
            return None;
        }
        let Content::Map(entries) = &item.node.content else {
            self.wrong_kind(item, "a weight or a map with one key");
            return None;
        };
        let fields = self.map(item, &keys::STEP)?;
        let known: Vec<&str> = keys::STEP.names().collect();
        let mut kinds = entries.iter().filter(|entry| known.contains(&entry.key.as_str()));
        let first = kinds.next()?;
        if let Some(second) = kinds.find(|entry| entry.key != first.key) {
            self.faults
                .error(second.place, format!("a step is one thing, but `{}` stands here too", second.key))
                .help(format!("begin a step of its own: `- {}: …`", second.key))
                .related(first.place, format!("the step is `{}`", first.key));
            return None;
        }
        let (kind, field) = fields.first_of(&known)?;
        match kind {
            "setWeight" => self.weight(&field).map(Step::SetWeight),
            "bake" => self.span(&field, Span::Any).map(Step::Bake),
            "pause" => self.pause(&field).map(|()| Step::Pause),
            "approval" => self.approval(&field).map(Step::Approval),
            "analysis" => self.analysis_step(&field).map(Step::Analysis),
            "webhook" => self.webhook(&field).map(Step::Webhook),
            // A ramp beside a key that is none, which was reported.
            _ => None,
        }
    }

    /// `3%` alone is a weight; a key alone lacks what belongs to it.
    fn short_step(&mut self, item: &Field<'_>, text: &str) -> Option<Step> {
        if let Some(key) = keys::STEP.find(text) {
            self.faults
                .error(item.place(), format!("the step `{text}` has no value"))
                .help(format!("write `- {}`", key.example));
            return None;
        }
        self.weight(item).map(Step::SetWeight)
    }

    fn pause(&mut self, field: &Field<'_>) -> Option<()> {
        if let Content::Map(entries) = &field.node.content
            && let Some(timed) = entries.iter().find(|entry| entry.key == "duration" || entry.key == "for")
        {
            self.faults
                .error(timed.place, "`pause` waits for a person, not for a time")
                .help("to wait for a time write `- bake: 10m`; to wait for a person write `- pause: {}`");
            return None;
        }
        match &field.node.content {
            Content::Map(_) => self.map(field, &keys::PAUSE).map(|_| ()),
            _ if field.is_empty() => {
                self.faults.error(field.at, "`pause` has no value").help("write `pause: {}`");
                None
            }
            Content::Text { text, .. } if text.starts_with(|first: char| first.is_ascii_digit()) => {
                self.faults.error(field.place(), "`pause` waits for a person, not for a time").help(format!(
                    "to wait for a time write `- bake: {}`; to wait for a person write `- pause: {{}}`",
                    short(text)
                ));
                None
            }
            Content::Text { .. } | Content::List(_) | Content::Refused => {
                self.wrong_kind(field, "written `pause: {}`");
                None
            }
        }
    }

    fn approval(&mut self, field: &Field<'_>) -> Option<Approval> {
        let fields = self.map(field, &keys::APPROVAL)?;
        let approvers = match fields.get("approvers") {
            Some(list) => self.unique_names(&list, "an approver", check_actor),
            None => Some(Vec::new()),
        };
        let min_approvers = fields.get("minApprovers").map_or(Some(1), |least| self.count(&least, 1..=1_000));
        if let (Some(approvers), Some(min), Some(least)) =
            (&approvers, min_approvers, fields.get("minApprovers"))
            && !approvers.is_empty()
            && min > approvers.len() as u64
        {
            let named = match approvers.len() {
                1 => "only one is named".to_owned(),
                count => format!("only {count} are named"),
            };
            self.faults
                .error(least.place(), format!("{min} approvers are wanted, but {named}"))
                .help("name more people, or lower minApprovers");
        }
        let timeout = fields
            .get("timeout")
            .map_or(Some(defaults::APPROVAL_TIMEOUT), |timeout| self.span(&timeout, Span::Positive));
        let on_timeout = fields.get("onTimeout").map_or(Some(Timeout::Rollback), |then| self.choice(&then));
        Some(Approval {
            approvers: approvers?,
            min_approvers: u32::try_from(min_approvers?).ok()?,
            timeout: timeout?,
            on_timeout: on_timeout?,
        })
    }

    fn analysis_step(&mut self, field: &Field<'_>) -> Option<AnalysisStep> {
        let fields = self.map(field, &keys::ANALYSIS_STEP)?;
        let metrics = match fields.get("metrics") {
            Some(list) => self.unique_names(&list, "a metric", metric_name),
            None => {
                self.missing(&fields, field.at, "an `analysis` step", "metrics");
                None
            }
        };
        let span = match fields.get("for") {
            Some(span) => self.span(&span, Span::Positive),
            None => {
                self.missing(&fields, field.at, "an `analysis` step", "for");
                None
            }
        };
        Some(AnalysisStep { metrics: metrics?, span: span? })
    }

    /// Takes a list of names in which none stands twice.
    pub fn unique_names(
        &mut self,
        list: &Field<'_>,
        what: &str,
        check: impl Fn(&str) -> Result<String, NameError>,
    ) -> Option<Vec<String>> {
        let items = self.list(list)?;
        let mut names = Vec::with_capacity(items.len());
        let mut places: BTreeMap<String, Place> = BTreeMap::new();
        for item in items {
            let item = list.item(what, item);
            let Some(name) = self.name(&item, &check) else { continue };
            if let Some(first) = places.get(&name) {
                self.faults
                    .error(item.place(), format!("`{name}` stands here a second time"))
                    .help("delete it; a name counts once")
                    .related(*first, "first here");
            } else {
                places.insert(name.clone(), item.place());
                names.push(name);
            }
        }
        (names.len() == items.len()).then_some(names)
    }

    /// Weights rise and end in 100 %, and nothing bakes before there is one.
    fn check_weights(&mut self, steps: &[PlacedStep], field: &Field<'_>) {
        let mut before: Option<(Weight, Place)> = None;
        for PlacedStep { step, place } in steps {
            match (step, before) {
                (Step::Bake(_), None) => {
                    self.faults
                        .error(*place, "nothing bakes before the first weight")
                        .help("put the bake behind the weight it belongs to");
                }
                (Step::SetWeight(Weight::ZERO), _) => {
                    self.faults
                        .error(*place, "a weight of 0% moves nothing")
                        .help("weights begin above 0%; `serin abort` takes a rollout back to it");
                }
                (Step::SetWeight(weight), Some((last, last_place))) if *weight <= last => {
                    let how = if *weight == last { "is the same as" } else { "is below" };
                    self.faults
                        .error(*place, format!("the weight {weight} {how} the one before, {last}"))
                        .help("weights rise from step to step; serin goes back by itself when it has to")
                        .related(last_place, format!("{last} is set here"));
                }
                (Step::SetWeight(weight), _) => before = Some((*weight, *place)),
                (Step::Bake(_), Some(_))
                | (Step::Pause | Step::Approval(_) | Step::Analysis(_) | Step::Webhook(_), _) => {}
            }
        }
        match before {
            Some((Weight::FULL, _)) => {}
            Some((last, place)) => {
                self.faults
                    .error(place, format!("the last weight is {last}, and a rollout ends in 100%"))
                    .help("add `100%` as the last weight");
            }
            None => {
                self.faults
                    .error(field.at, "no step sets a weight")
                    .help("write for example `steps: [3%, 5%, 100%]`");
            }
        }
    }

    fn preset(&mut self, field: &Field<'_>) -> Option<Vec<PlacedStep>> {
        let (text, _) = self.word(field, "the name of a preset")?;
        let Some(steps) = expand(text) else {
            let bare = text.strip_prefix("CodeDeployDefault.").unwrap_or(text);
            let bare = bare.strip_prefix("Lambda").or(bare.strip_prefix("ECS")).unwrap_or(bare);
            let help = match nearest_preset(bare) {
                Some(known) => format!("did you mean {known}?"),
                None => format!("the presets are {}", preset_names().join(", ")),
            };
            self.faults.error(field.place(), format!("there is no preset `{}`", short(text))).help(help);
            return None;
        };
        let place = field.place();
        Some(steps.into_iter().map(|step| PlacedStep { step, place }).collect())
    }

    /// Every metric that a step waits for is defined.
    pub fn check_metric_names(&mut self, steps: &[PlacedStep], analysis: Option<&Analysis>) {
        let metrics = analysis.map_or(&[][..], |analysis| &analysis.metrics);
        let known: BTreeMap<&str, &Metric> =
            metrics.iter().map(|metric| (metric.name.as_str(), metric)).collect();
        for PlacedStep { step, place } in steps {
            let Step::Analysis(step) = step else { continue };
            for name in &step.metrics {
                let metric = known.get(name.as_str());
                if metric.is_some_and(|metric| metric.dry_run) {
                    self.faults
                        .error(
                            *place,
                            format!(
                                "the step waits for `{name}`, which decides nothing: it has `dryRun: true`"
                            ),
                        )
                        .help("take it out of the step, or let it decide");
                }
                if metric.is_none() {
                    let is_full = self.faults.is_full();
                    let meant = nearest(name, known.keys().copied().filter(|_| !is_full));
                    let help = match meant {
                        Some(meant) => format!("did you mean `{meant}`?"),
                        None => format!("define it: `analysis: {{metrics: [{{name: {name}, …}}]}}`"),
                    };
                    self.faults
                        .error(*place, format!("there is no metric `{name}` under `analysis`"))
                        .help(help);
                }
            }
        }
    }
}

/// A hundredth of the full weight, `percent` times.
const fn percent(percent: u32) -> Weight {
    match Weight::from_ppm(percent * 10_000) {
        Some(weight) => weight,
        None => Weight::FULL,
    }
}

/// The steps CodeDeploy's configurations for Lambda take, by their names there.
fn expand(name: &str) -> Option<Vec<Step>> {
    let bake = |minutes: u64| Step::Bake(Duration::from_secs(60 * minutes));
    if name == "AllAtOnce" {
        return Some(vec![Step::SetWeight(Weight::FULL)]);
    }
    if let Some(minutes) = CANARY_MINUTES.iter().find(|minutes| canary_name(**minutes) == name) {
        return Some(vec![Step::SetWeight(percent(10)), bake(*minutes), Step::SetWeight(Weight::FULL)]);
    }
    let minutes = LINEAR_MINUTES.iter().find(|minutes| linear_name(**minutes) == name)?;
    let mut steps = Vec::new();
    for tenth in 1..10 {
        steps.push(Step::SetWeight(percent(10 * tenth)));
        steps.push(bake(*minutes));
    }
    steps.push(Step::SetWeight(Weight::FULL));
    Some(steps)
}

fn check_actor(text: &str) -> Result<String, NameError> {
    let visible = |each: char| !each.is_whitespace() && !each.is_control();
    if text.chars().all(visible) && text.len() <= 128 {
        return Ok(text.to_owned());
    }
    Err(NameError("an approver is the name of a token, or user@host, without spaces"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn presets_are_steps() {
        let shown = |name: &str| -> Vec<String> {
            let show = |step: &Step| match step {
                Step::SetWeight(weight) => weight.to_string(),
                Step::Bake(span) => format!("bake {}m", span.as_secs() / 60),
                other @ (Step::Pause | Step::Approval(_) | Step::Analysis(_) | Step::Webhook(_)) => {
                    other.kind().to_owned()
                }
            };
            expand(name).unwrap().iter().map(show).collect()
        };
        assert_eq!(shown("AllAtOnce"), ["100%"]);
        assert_eq!(shown("Canary10Percent15Minutes"), ["10%", "bake 15m", "100%"]);
        let linear = shown("Linear10PercentEvery1Minute");
        assert_eq!(linear.len(), 19);
        assert_eq!(linear[..4], ["10%", "bake 1m", "20%", "bake 1m"]);
        assert_eq!(linear[16..], ["90%", "bake 1m", "100%"]);
        for name in preset_names() {
            assert!(expand(&name).is_some(), "{name}");
        }
    }

    #[test]
    fn presets_are_recognised_by_their_numbers() {
        for (text, meant) in [
            ("Canary10Percent5Minute", Some("Canary10Percent5Minutes")),
            ("Linear10PercentEvery1Minutes", Some("Linear10PercentEvery1Minute")),
            ("linear10percentevery10minutes", Some("Linear10PercentEvery10Minutes")),
            ("Canary20Percent5Minutes", None),
            ("allatonce", Some("AllAtOnce")),
        ] {
            assert_eq!(nearest_preset(text).as_deref(), meant, "{text}");
        }
    }
}
