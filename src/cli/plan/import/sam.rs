//! Reads the DeploymentPreference of a function of a SAM template, in YAML or JSON.

use super::document::{Content, Entry, Node, Refusal};
use super::report::{Import, what};

/// CodeDeploy's configurations for Lambda, which a plan has as presets of the same names.
const PRESETS: &[&str] = &[
    "AllAtOnce",
    "Canary10Percent5Minutes",
    "Canary10Percent10Minutes",
    "Canary10Percent15Minutes",
    "Canary10Percent30Minutes",
    "Linear10PercentEvery1Minute",
    "Linear10PercentEvery2Minutes",
    "Linear10PercentEvery3Minutes",
    "Linear10PercentEvery10Minutes",
];

/// A function that has a preference which is on.
struct Candidate<'a> {
    resource: &'a Entry,
    name: &'a str,
    preference: &'a Entry,
}

/// Whether a document is a template with serverless functions.
pub fn is_template(document: &Node) -> bool {
    let resources = document.get("Resources").map(Node::entries).unwrap_or_default();
    resources.iter().any(|resource| resource.value.text_at(&["Type"]) == Some("AWS::Serverless::Function"))
}

/// Reads the function that is meant: the one with a preference, or the one of this name.
pub fn read(import: &mut Import<'_>, template: &Node, wanted: Option<&str>) -> Result<(), Refusal> {
    import.draft.origin = "a SAM template";
    let globals = template.at(&["Globals", "Function"]);
    let of_globals = globals.and_then(|globals| globals.entry("DeploymentPreference"));
    let mut found = Vec::new();
    for resource in template.get("Resources").map(Node::entries).unwrap_or_default() {
        if resource.value.text_at(&["Type"]) != Some("AWS::Serverless::Function") {
            continue;
        }
        let properties = resource.value.get("Properties");
        let own = properties.and_then(|properties| properties.entry("DeploymentPreference"));
        let Some(preference) = own.or(of_globals) else { continue };
        let enabled =
            preference.value.entry("Enabled").or(of_globals.and_then(|all| all.value.entry("Enabled")));
        if !is_enabled(import, template, enabled)? {
            if let Some(enabled) = enabled {
                let says = format!("the function {} takes no part in it", resource.key);
                import.no_equal(enabled.place, what(&resource.key, enabled), says);
            }
            continue;
        }
        let name = properties.and_then(|properties| properties.text_at(&["FunctionName"]));
        found.push(Candidate { resource, name: name.unwrap_or(&resource.key), preference });
    }
    let chosen = choose(import, template, &found, wanted)?;
    let place = chosen.resource.place;
    import.function(place, format!("Resources.{}", chosen.resource.key), chosen.name)?;
    alias(import, template, globals, chosen)?;
    preference(import, template, of_globals, chosen)?;
    let properties = chosen.resource.value.get("Properties").map(Node::entries).unwrap_or_default();
    let others = properties.iter().filter(|entry| {
        !matches!(entry.key.as_str(), "AutoPublishAlias" | "DeploymentPreference" | "FunctionName")
    });
    let others: Vec<&str> = others.map(|entry| entry.key.as_str()).collect();
    if !others.is_empty() {
        let says = "a plan says how a version goes out, not what it is: `aws lambda update-function-code` and \
                    `publish-version` at serin's endpoint carry that";
        import.better(place, others.join(", "), says);
    }
    Ok(())
}

fn choose<'a, 'b>(
    import: &Import<'_>,
    template: &Node,
    found: &'b [Candidate<'a>],
    wanted: Option<&str>,
) -> Result<&'b Candidate<'a>, Refusal> {
    let names = |found: &[Candidate<'_>]| {
        found
            .iter()
            .map(|one| format!("{} (line {})", one.resource.key, one.resource.place.line))
            .collect::<Vec<_>>()
            .join(", ")
    };
    let place = template.entry("Resources").map_or(template.place, |entry| entry.place);
    match (found, wanted) {
        ([], _) => {
            let help =
                "a function needs a `DeploymentPreference` that is enabled, or `Globals.Function` does";
            Err(import.fault(place, "no function of this template is deployed in steps", help))
        }
        (_, Some(wanted)) => {
            let chosen = found.iter().find(|one| one.resource.key == wanted || one.name == wanted);
            chosen.ok_or_else(|| {
                let said = format!("no function `{wanted}` of this template is deployed in steps");
                import.fault(place, said, format!("there are {}", names(found)))
            })
        }
        ([chosen], None) => Ok(chosen),
        (several, None) => {
            let said = format!("{} functions of this template are deployed in steps", several.len());
            Err(import.fault(place, said, format!("choose one with --function: {}", names(several))))
        }
    }
}

/// The text that stands there, or that the parameter has by default which stands there.
fn resolved<'a>(template: &'a Node, node: &'a Node) -> Option<(&'a str, Option<&'a str>)> {
    if let Some(text) = node.text() {
        return Some((text, None));
    }
    let parameter = match node.tag.as_str() {
        "Ref" => {
            let Content::Text(name) = &node.content else { return None };
            name.as_str()
        }
        "" => node.text_at(&["Ref"])?,
        _ => return None,
    };
    let default = template.text_at(&["Parameters", parameter, "Default"])?;
    Some((default, Some(parameter)))
}

fn is_enabled(import: &Import<'_>, template: &Node, enabled: Option<&Entry>) -> Result<bool, Refusal> {
    let Some(enabled) = enabled else { return Ok(true) };
    let Some((text, _)) = resolved(template, &enabled.value) else {
        let help = "write true or false, or give the parameter a Default";
        return Err(import.fault(enabled.value.place, "whether it is enabled is decided elsewhere", help));
    };
    match text.to_ascii_lowercase().as_str() {
        "true" | "yes" => Ok(true),
        "false" | "no" => Ok(false),
        _ => {
            Err(import.fault(enabled.value.place, "this is neither true nor false", "write `Enabled: true`"))
        }
    }
}

fn by_parameter(parameter: Option<&str>) -> String {
    parameter.map_or_else(String::new, |name| format!(", the Default of the parameter {name}"))
}

fn alias(
    import: &mut Import<'_>,
    template: &Node,
    globals: Option<&Node>,
    chosen: &Candidate<'_>,
) -> Result<(), Refusal> {
    let own =
        chosen.resource.value.at(&["Properties"]).and_then(|properties| properties.entry("AutoPublishAlias"));
    let entry = own.or_else(|| globals.and_then(|globals| globals.entry("AutoPublishAlias")));
    let Some(entry) = entry else {
        let help = "SAM wants `AutoPublishAlias` beside a DeploymentPreference; write it, as in `AutoPublishAlias: live`";
        return Err(import.fault(chosen.preference.place, "the function has no alias that moves", help));
    };
    let Some((alias, parameter)) = resolved(template, &entry.value) else {
        let help = "write the alias as a text, or give the parameter a Default";
        return Err(import.fault(entry.value.place, "the alias's name is decided elsewhere", help));
    };
    let says = format!(
        "the alias {alias}{}; `start: onPublish` would start by itself, as SAM does",
        by_parameter(parameter)
    );
    import.draft.alias = alias.to_owned();
    import.came(entry.place, what("", entry), says);
    Ok(())
}

fn preference(
    import: &mut Import<'_>,
    template: &Node,
    of_globals: Option<&Entry>,
    chosen: &Candidate<'_>,
) -> Result<(), Refusal> {
    let own = chosen.preference;
    let kind = own.value.entry("Type").or(of_globals.and_then(|all| all.value.entry("Type")));
    let Some(kind) = kind else {
        let help = format!("write one of CodeDeploy's: {}", PRESETS.join(", "));
        return Err(import.fault(own.place, "the preference has no `Type`", help));
    };
    let Some((text, parameter)) = resolved(template, &kind.value) else {
        let help = "write it as a text, or give the parameter a Default";
        return Err(import.fault(kind.value.place, "the type is decided elsewhere", help));
    };
    let name = text.strip_prefix("CodeDeployDefault.Lambda").unwrap_or(text);
    if !PRESETS.contains(&name) {
        let near = PRESETS.iter().find(|preset| strsim::jaro_winkler(preset, name) > 0.95);
        let help = match near {
            Some(preset) => format!("did you mean {preset}?"),
            None => "the weights of a configuration of your own are at CodeDeploy, not here: write them as `steps` of a plan"
                .to_owned(),
        };
        return Err(import.fault(
            kind.value.place,
            format!("`{name}` is none of CodeDeploy's configurations"),
            help,
        ));
    }
    import.draft.preset = Some((name.to_owned(), kind.place.line));
    let says = format!(
        "`preset: {name}`{}; proof is asked for beside its time, unless the plan says `analysis: none`",
        by_parameter(parameter)
    );
    import.came(kind.place, what("DeploymentPreference", kind), says);
    let inherited = of_globals.filter(|all| all.place != own.place);
    let entries =
        own.value.entries().iter().chain(inherited.map(|all| all.value.entries()).unwrap_or_default());
    for entry in entries.filter(|entry| entry.key != "Type") {
        other(import, entry);
    }
    Ok(())
}

fn other(import: &mut Import<'_>, entry: &Entry) {
    let said = what("DeploymentPreference", entry);
    match entry.key.as_str() {
        "Enabled" => import.came(entry.place, said, "it is on"),
        "Alarms" => {
            for alarm in entry.value.items() {
                let says = "serin judges every request itself; what the alarm measures beyond failures and latency can be a \
                            metric of the plan (`analysis.metrics`)";
                import.better(alarm.place, format!("Alarms: {}", alarm.brief()), says);
            }
            if entry.value.items().is_empty() {
                import.better(entry.place, said, "serin judges every request itself");
            }
        }
        "Hooks" => {
            for hook in entry.value.entries() {
                let says = match hook.key.as_str() {
                    "PreTraffic" => {
                        "write the steps out (`serin lint --resolved` shows them) and begin with `webhook`, at a service that \
                         tries the new version by its number and answers 2xx"
                    }
                    _ => {
                        "`watch` holds the promoted version against the alias's own past, and `/v1/events` tells of the end"
                    }
                };
                import.better(hook.place, what("Hooks", hook), says);
            }
        }
        "Role" => import.no_equal(
            entry.place,
            said,
            "nobody but serin moves the alias; `--principals` says who may ask",
        ),
        "TriggerConfigurations" => {
            import.no_equal(
                entry.place,
                said,
                "a plan sends no messages yet; `/v1/events` streams every change",
            );
        }
        "PassthroughCondition" => import.no_equal(entry.place, said, "a plan has no conditions"),
        _ => {
            import.no_equal(entry.place, said, "serin does not know this key, so the plan says nothing of it")
        }
    }
}
