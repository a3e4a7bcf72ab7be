//! A tree → a plan, or everything that is wrong with it.
//!
//! One method of `Reader` per part of the language, in the file named after the part. Each takes a field and answers
//! the value, or `None` after reporting why there is none; so reading goes on to the end and all faults come at once.

mod analysis;
mod calendar;
mod fields;
mod hooks;
mod odd;
mod options;
mod ramp;
mod steps;
mod surprise;
#[cfg(test)]
mod tests;
mod values;

use std::collections::BTreeMap;

use sha2::{Digest, Sha256};

use self::fields::{Field, Fields, Reader};
use self::values::Span;
use super::calendar::PlanTimeZone;
use super::diagnose::{Fault, Faults, Place, Severity, Source};
use super::model::{
    Analysis, FirstWeight, MaxExposure, OnDrift, OnFailure, OnNewVersion, Plan, RoutingOptions,
    StableUnhealthy, Start, StepDeadline, Tunnels, VersionChoice, WhenStableUnhealthy,
};
use super::tree::{Content, Node, parse};
use super::{defaults as unsaid, in_force, keys, merge, syntax};
use crate::lambda::timeouts::UpstreamTimeouts;
use crate::model::arn::{AliasId, AliasName, FunctionName, FunctionRef, NameError};
use crate::plan::calendar::Windows;

/// A plan, and what to know about it besides.
#[derive(Clone, Debug, PartialEq)]
pub struct LoadedPlan {
    /// The plan.
    pub plan: Plan,
    /// The sha256 of the plan's bytes in hexadecimal; with defaults, of its bytes, a zero byte, and theirs.
    pub digest: String,
    /// What is legal but odd.
    pub warnings: Vec<Fault>,
}

/// Reads a plan and the defaults it uses, or answers all that is wrong with them.
///
/// Whoever calls finds the defaults by the name `used_defaults` gives; those a plan does not use are ignored.
pub fn load(plan: &Source, defaults: Option<&Source>) -> Result<LoadedPlan, Vec<Fault>> {
    let mut faults = Faults::default();
    let read = read_plan(plan, defaults, &mut faults);
    let refused = faults.has_errors();
    let mut files = vec![plan];
    files.extend(defaults);
    let mut found = faults.named(&files);
    match read {
        Some((plan_read, uses_defaults)) if !refused => Ok(LoadedPlan {
            plan: plan_read,
            digest: digest(plan, defaults.filter(|_| uses_defaults)),
            warnings: found,
        }),
        _ => {
            found.retain(|fault| fault.severity == Severity::Error);
            debug_assert!(!found.is_empty(), "a plan is refused for a reason");
            Err(found)
        }
    }
}

/// Reads a plan as if every engine were there already, so that the whole language can be tested.
#[cfg(test)]
pub(super) fn load_beyond_force(plan: &Source) -> Result<Plan, Vec<Fault>> {
    let mut faults = Faults::default();
    let read = parse(plan, 0, &mut faults).and_then(|root| {
        let mut reader = Reader { faults: &mut faults };
        reader.header(&root, 0, Kind::Plan, None)?;
        reader.body(&root, Kind::Plan)
    });
    read.filter(|_| !faults.has_errors()).ok_or_else(|| faults.named(&[plan]))
}

/// The name of the defaults a plan uses, if it uses any and names them well; the plan may be faulty otherwise.
pub fn used_defaults(plan: &Source) -> Option<String> {
    check_defaults_name(&top_level_text(plan, "use")?).ok()
}

/// Whether a file says that it holds defaults for plans, be it faulty or not.
pub fn is_defaults(source: &Source) -> bool {
    top_level_text(source, "kind").is_some_and(|kind| kind == "Defaults")
}

fn top_level_text(source: &Source, key: &str) -> Option<String> {
    let root = parse(source, 0, &mut Faults::default())?;
    let Content::Map(entries) = root.content else { return None };
    match entries.into_iter().find(|entry| entry.key == key)?.value.content {
        Content::Text { text, .. } => Some(text),
        Content::List(_) | Content::Map(_) | Content::Refused => None,
    }
}

/// Checks a Defaults file by itself, as `lint` does: its faults and warnings.
pub fn check_defaults(source: &Source) -> Vec<Fault> {
    let mut faults = Faults::default();
    if let Some(root) = parse(source, 0, &mut faults) {
        let mut reader = Reader { faults: &mut faults };
        if reader.header(&root, 0, Kind::Defaults, None).is_some() {
            reader.body(&root, Kind::Defaults);
            in_force::check(&root, reader.faults);
        }
    }
    faults.named(&[source])
}

fn read_plan(plan: &Source, defaults: Option<&Source>, faults: &mut Faults) -> Option<(Plan, bool)> {
    let mut root = parse(plan, 0, faults)?;
    let mut reader = Reader { faults };
    let header = reader.header(&root, 0, Kind::Plan, None)?;
    if let Some(used) = &header.uses {
        match defaults {
            Some(source) => {
                if let Some(defaults) = reader.defaults(source, used.place) {
                    root = merge::merge(root, defaults);
                }
            }
            None => {
                reader
                    .faults
                    .error(used.place, format!("there are no defaults called `{}`", used.name))
                    .help(format!(
                        "`use` names a file beside this one: {}.yaml, with `kind: Defaults`",
                        used.name
                    ));
            }
        }
    }
    let uses_defaults = header.uses.is_some();
    in_force::check(&root, reader.faults);
    reader.body(&root, Kind::Plan).map(|plan| (plan, uses_defaults))
}

/// A zero byte cannot occur in a file that was read, so no two pairs of files share a digest.
fn digest(plan: &Source, defaults: Option<&Source>) -> String {
    let mut hash = Sha256::new();
    hash.update(&plan.bytes);
    if let Some(defaults) = defaults {
        hash.update([0]);
        hash.update(&defaults.bytes);
    }
    hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// What a file says it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Plan,
    Defaults,
}

/// What a file says about itself.
struct Header {
    uses: Option<Used>,
}

struct Used {
    name: String,
    place: Place,
}

impl Reader<'_> {
    /// Reads what a file says about itself; `None` where it is not what it is read as, which is then reported.
    fn header(&mut self, root: &Node, file: u8, expected: Kind, used_at: Option<Place>) -> Option<Header> {
        let fields = self.root(root, false)?;
        if let Some(version) = fields.get("apiVersion")
            && let Some((text, _)) = self.word(&version, "`serin/v1`")
            && text != "serin/v1"
        {
            self.not(
                &version,
                "`serin/v1`",
                text,
                Some("write `apiVersion: serin/v1`, or leave it out".to_owned()),
            );
        }
        let kind_field = fields.get("kind");
        let kind = match &kind_field {
            None => Kind::Plan,
            Some(field) => match self.word(field, "`Plan` or `Defaults`")?.0 {
                "Plan" => Kind::Plan,
                "Defaults" => Kind::Defaults,
                other => {
                    let meant = super::suggest::nearest(other, ["Plan", "Defaults"]);
                    self.not(
                        field,
                        "`Plan` or `Defaults`",
                        other,
                        meant.map(|kind| format!("did you mean {kind}?")),
                    );
                    // Somebody else's file: its other keys say so too.
                    self.root(root, true);
                    return None;
                }
            },
        };
        let place = kind_field.map_or(Place::start_of(file), |field| field.place());
        match (expected, kind) {
            (Kind::Plan, Kind::Defaults) => {
                self.faults
                    .error(place, "this file holds defaults for plans, and is no plan itself")
                    .help("plans take from it by `use: its-name`; start one of those");
                return None;
            }
            (Kind::Defaults, Kind::Plan) => {
                let fault = self.faults.error(place, "this file is a plan, and no plan can use another");
                fault.help("put what plans share into a file with `kind: Defaults`");
                if let Some(used_at) = used_at {
                    fault.related(used_at, "used here");
                }
                return None;
            }
            _ => {}
        }
        let Some(used) = fields.get("use") else { return Some(Header { uses: None }) };
        if kind == Kind::Defaults {
            self.faults
                .error(used.at, "defaults cannot use other defaults")
                .help("copy what is needed from there; one level is all there is");
            return Some(Header { uses: None });
        }
        let name = self.name(&used, check_defaults_name);
        Some(Header { uses: name.map(|name| Used { name, place: used.place() }) })
    }

    /// Reads the defaults a plan uses.
    fn defaults(&mut self, source: &Source, used_at: Place) -> Option<Node> {
        let root = parse(source, 1, self.faults)?;
        self.header(&root, 1, Kind::Defaults, Some(used_at))?;
        Some(root)
    }

    /// Takes the tree of a file as a map; with its keys checked, or only those that are asked for.
    fn root<'t>(&mut self, root: &'t Node, check_keys: bool) -> Option<Fields<'t>> {
        if !matches!(root.content, Content::Map(_) | Content::Refused) {
            let (found, help) = match &root.content {
                Content::List(_) => ("a list", syntax::SMALLEST_PLAN),
                Content::Text { text, .. } if text.contains(':') => {
                    ("a text", "a space is missing after each colon")
                }
                Content::Text { .. } | Content::Map(_) | Content::Refused => {
                    ("a text", syntax::SMALLEST_PLAN)
                }
            };
            self.faults
                .error(root.place, format!("a plan is a map of keys, but this file holds {found}"))
                .help(help);
            return None;
        }
        let field = Field {
            what: "a plan".to_owned(),
            example: "function: checkout",
            is_optional: false,
            at: Place { end: root.place.start, ..root.place },
            node: root,
        };
        let mut fields = if check_keys {
            self.map(&field, &keys::PLAN)?
        } else {
            self.map_of_any_keys(&field, &keys::PLAN)?
        };
        fields.place = field.at;
        Some(fields)
    }

    /// Reads everything but the header.
    fn body(&mut self, root: &Node, kind: Kind) -> Option<Plan> {
        let whole = kind == Kind::Plan;
        let fields = self.root(root, true)?;
        let target = self.target(&fields, whole);
        let description = fields
            .get("description")
            .map_or(Some(None), |field| self.text(&field).map(|text| Some(text.to_owned())));
        let labels = fields.get("labels").map_or(Some(BTreeMap::new()), |field| self.labels(&field));
        let time_zone =
            fields.get("timeZone").map_or(Some(PlanTimeZone::utc()), |field| self.time_zone(&field));
        let version = fields.get("version").map_or(Some(VersionChoice::Newest), |field| self.version(&field));
        let start =
            fields.get("start").map_or(Some(Start::Manual), |field| self.start(&field, target.as_ref()));
        let on_new_version =
            fields.get("onNewVersion").map_or(Some(OnNewVersion::Queue), |field| self.choice(&field));
        let bake = fields.get("bake").map_or(Some(unsaid::BAKE), |field| self.span(&field, Span::Any));
        let steps = self.steps(&fields, whole);
        let first_weight = fields
            .get("firstWeight")
            .map_or(Some(None), |field| self.choice::<FirstWeight>(&field).map(Some));
        let analysis = fields.get("analysis").map_or(Some(Some(Analysis::default())), |field| {
            self.none_or(&field, |reader, field| reader.analysis(field))
        });
        let max_exposure =
            fields.get("maxExposure").map_or(Some(MaxExposure::default()), |field| self.max_exposure(&field));
        let on_failure =
            fields.get("onFailure").map_or(Some(OnFailure::Rollback), |field| self.choice(&field));
        let on_drift = fields.get("onDrift").map_or(Some(OnDrift::Pause), |field| self.choice(&field));
        let when_stable_unhealthy = fields
            .get("whenStableUnhealthy")
            .map_or(Some(WhenStableUnhealthy::Hold), |field| self.choice(&field));
        let stable_unhealthy = fields
            .get("stableUnhealthy")
            .map_or(Some(StableUnhealthy::default()), |field| self.stable_unhealthy(&field));
        let step_deadline = fields
            .get("stepDeadline")
            .map_or(Some(StepDeadline::default()), |field| self.step_deadline(&field));
        let watch = fields
            .get("watch")
            .map_or(Some(None), |field| self.none_or(&field, |reader, field| reader.watch(field)));
        let windows = fields.get("windows").map_or(Some(Windows::default()), |field| self.windows(&field));
        let routing =
            fields.get("routing").map_or(Some(RoutingOptions::default()), |field| self.routing(&field));
        let timeouts =
            fields.get("timeouts").map_or(Some(UpstreamTimeouts::default()), |field| self.timeouts(&field));
        let tunnels = fields.get("tunnels").map_or(Some(Tunnels::default()), |field| self.tunnels(&field));
        let notify = fields.get("notify").map_or(Some(Vec::new()), |field| self.notify(&field));
        if let (Some(steps), Some(analysis)) = (&steps, &analysis) {
            self.check_metric_names(steps, analysis.as_ref());
        }
        let (mut steps, first_weight) = (steps?, first_weight?);
        if let (Some(how), Some(routing)) = (first_weight, &routing) {
            self.prove_first(how, &mut steps, (analysis.as_ref().and_then(Option::as_ref), routing), &fields);
        }
        let plan = Plan {
            description: description?,
            labels: labels?,
            target: target?,
            time_zone: time_zone?,
            version: version?,
            start: start?,
            on_new_version: on_new_version?,
            bake: bake?,
            steps: steps.iter().map(|placed| placed.step.clone()).collect(),
            first_weight,
            analysis: analysis?,
            max_exposure: max_exposure?,
            on_failure: on_failure?,
            on_drift: on_drift?,
            when_stable_unhealthy: when_stable_unhealthy?,
            stable_unhealthy: stable_unhealthy?,
            step_deadline: step_deadline?,
            watch: watch?,
            windows: windows?,
            routing: routing?,
            timeouts: timeouts?,
            tunnels: tunnels?,
            notify: notify?,
        };
        self.note_oddities(&plan, &steps, &fields);
        Some(plan)
    }

    fn target(&mut self, fields: &Fields<'_>, obligatory: bool) -> Option<AliasId> {
        let function = match fields.get("function") {
            Some(field) => self.function_name(&field),
            None => {
                if obligatory {
                    self.missing(fields, fields.place, "the plan", "function");
                }
                None
            }
        };
        let alias: Option<AliasName> = match fields.get("alias") {
            Some(field) => self.name(&field, |text| text.parse::<AliasName>()),
            None => {
                if obligatory {
                    self.missing(fields, fields.place, "the plan", "alias");
                }
                None
            }
        };
        Some(AliasId { function: function?, alias: alias? })
    }

    fn function_name(&mut self, field: &Field<'_>) -> Option<FunctionName> {
        let text = self.text(field)?;
        if let Ok(name) = text.parse::<FunctionName>() {
            return Some(name);
        }
        let help = match text.parse::<FunctionRef>() {
            Ok(FunctionRef { name, qualifier: Some(alias), .. }) => {
                format!("function and alias are two keys: `function: {name}` and `alias: {alias}`")
            }
            Ok(FunctionRef { name, .. }) => format!("the bare name is enough: `function: {name}`"),
            Err(_) => "a function name is 1 to 64 letters, digits, hyphens and underscores".to_owned(),
        };
        self.faults
            .error(field.place(), format!("`{}` is not the name of a function", fields::short(text)))
            .help(help);
        None
    }
}

/// Takes the name of a Defaults file: what its path is made from, so no path itself.
fn check_defaults_name(text: &str) -> Result<String, NameError> {
    let sign = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    if (1..=64).contains(&text.len()) && text.bytes().all(sign) {
        return Ok(text.to_owned());
    }
    Err(NameError(
        "`use` names a file beside this one without its ending: `use: team-defaults` for team-defaults.yaml",
    ))
}
