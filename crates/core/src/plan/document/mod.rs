//! A plan as a document: written out with all that it leaves unsaid, and as a schema for editors.

mod forms;
mod schema;
mod types;
mod write;

use serde_json::Value;

use self::types::PlanDocument;
use super::in_force;
use super::model::Plan;

/// Writes a plan as YAML with every key in force and its effective value; loading it gives an equal plan.
///
/// Presets stand as steps, and what defaults contributed stands in it.
pub fn resolved_yaml(plan: &Plan) -> String {
    written(&PlanDocument::of(plan, in_force::holds))
}

/// The JSON schema of plans and of the defaults they use, for completion and checks while typing.
pub fn json_schema() -> Value {
    schema::plan_schema()
}

fn written(document: &PlanDocument) -> String {
    serde_yaml::to_string(document).expect("a document of texts and numbers has a YAML form")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;
    use crate::plan::diagnose::{Fault, Source};
    use crate::plan::keys;
    use crate::plan::read::{load, load_beyond_force};

    fn shown(faults: &[Fault]) -> String {
        faults.iter().map(|fault| format!("{fault} ({:?})\n", fault.help)).collect()
    }

    fn plan_of(text: &str) -> Plan {
        load(&Source::new("plan.yaml", text), None)
            .unwrap_or_else(|faults| panic!("{text}\n{}", shown(&faults)))
            .plan
    }

    fn complete_plan_of(text: &str) -> Plan {
        load_beyond_force(&Source::new("plan.yaml", text))
            .unwrap_or_else(|faults| panic!("{text}\n{}", shown(&faults)))
    }

    /// Every key of the language with a value that is not its default.
    const COMPLETE: &str = include_str!("complete.yaml");

    #[test]
    fn the_smallest_plan_is_written_out() {
        let plan = plan_of("function: checkout\nalias: live\nsteps: [3%, 5%, 100%]\n");
        insta::assert_snapshot!(resolved_yaml(&plan), @r"
        apiVersion: serin/v1
        kind: Plan
        function: checkout
        alias: live
        timeZone: UTC
        version: newest
        start: manual
        onNewVersion: queue
        bake: 5m
        steps:
        - setWeight: 3%
        - setWeight: 5%
        - setWeight: 100%
        analysis:
          failures:
            maxRatio: 1.2
            maxAdded: 0.05pp
            max: none
          latency:
            maxRatio: 1.5
            maxAdded: 10ms
            p99Max: none
            warmup: 1m
          refusals:
            maxRatio: 1.5
            maxAdded: 1pp
          falseRollbackRate: 1%
          proof:
            addedFailures: 0.5pp
            falseAdvanceRate: 5%
          failureStatus:
          - 500-599
          minDispersion: 1
          baseline: none
        maxExposure:
          failures: none
          requests: none
        onFailure: rollback
        onDrift: pause
        whenStableUnhealthy: hold
        stableUnhealthy:
          failures: 20%
          for: 1m
        stepDeadline:
          after: 1d
          then: pause
        watch: none
        routing:
          affinity: none
          override: none
          mirror: none
        tunnels: leave
        ");
    }

    #[test]
    fn the_whole_language_is_written_and_read_again() {
        let plan = complete_plan_of(COMPLETE);
        let yaml = written(&PlanDocument::of(&plan, |_| true));
        assert_eq!(complete_plan_of(&yaml), plan, "{yaml}");
        for table in keys::TABLES {
            for name in table.names() {
                let is_written = yaml.contains(&format!("{name}:"));
                assert!(
                    is_written
                        || ["use", "preset", "ramp", "to", "by", "every", "cron", "cookie"].contains(&name),
                    "{name} of {}\n{yaml}",
                    table.name
                );
            }
        }
    }

    #[test]
    fn the_schema_has_the_keys_the_reader_takes() {
        let schema = json_schema();
        let mut in_schema: BTreeSet<BTreeSet<String>> = BTreeSet::new();
        schema::visit_maps(&schema, &mut |properties| {
            in_schema.insert(properties.keys().cloned().collect());
        });
        for table in keys::TABLES {
            let names: BTreeSet<String> = table.names().map(str::to_owned).collect();
            // One key chosen among several is an object of its own for each.
            let is_there = in_schema.contains(&names)
                || names.iter().all(|name| in_schema.contains(&BTreeSet::from([name.clone()])));
            assert!(is_there, "{} has other keys in the schema:\n{schema:#}", table.name);
        }
        for names in in_schema {
            let is_there = keys::TABLES.iter().any(|table| {
                let table: BTreeSet<String> = table.names().map(str::to_owned).collect();
                names == table || names.len() == 1 && names.is_subset(&table)
            });
            assert!(is_there, "no map of the language has the keys {names:?}");
        }
    }

    #[test]
    fn the_schema_says_what_is_not_in_force() {
        let text = json_schema().to_string();
        for (path, why) in in_force::without_engine() {
            assert!(text.contains(&format!("Refused for now: {why}.")), "{path:?}");
        }
    }

    #[test]
    fn the_schema_takes_plans_and_refuses_what_is_none() {
        let validator = jsonschema::validator_for(&json_schema()).unwrap();
        let json = |text: &str| -> Value { serde_yaml::from_str(text).unwrap() };
        let errors = |text: &str| -> Vec<String> {
            validator
                .iter_errors(&json(text))
                .map(|error| format!("{} {error}", error.instance_path()))
                .collect()
        };
        assert_eq!(errors(COMPLETE), [""; 0]);
        assert!(!json_schema().to_string().contains("null"));
        assert_eq!(errors("function: f\nalias: a\nsteps: [3%, 100%]\n"), [""; 0]);
        assert_eq!(errors("function: f\nalias: a\npreset: AllAtOnce\n"), [""; 0]);
        let ramp = "function: f\nalias: a\nsteps: [{ramp: {to: 50%, by: 5%, every: 2m}}, 100%]\n";
        assert_eq!(errors(ramp), [""; 0]);
        assert_eq!(errors("use: team\nfunction: f\n"), [""; 0]);
        assert_eq!(errors("kind: Defaults\nbake: 1h 30m\n"), [""; 0]);
        for bad in [
            "function: f\nalias: a\n",
            "function: f\nsteps: [100%]\n",
            "function: f\nalias: a\nsteps: [100%]\npreset: AllAtOnce\n",
            "function: f\nalias: a\nsteps: [3, 100%]\n",
            "function: f\nalias: a\nsteps: [100%]\nbake: 5\n",
            "function: f\nalias: a\nsteps: [100%]\nbaek: 5m\n",
            "function: f\nalias: a\nsteps: [{setWeight: 3%, bake: 5m}]\n",
            "function: f\nalias: a\nsteps: []\n",
            "function: f\nalias: a\nsteps: [100%]\nonFailure: explode\n",
            "function: f\nalias: a\nsteps: [100%]\nanalysis: {failures: none}\n",
            "function: f\nalias: a\nsteps: [100%]\nanalysis: {failures: {max: null}}\n",
            "function: f\nalias: a\nsteps: [100%]\nwindows: {allow: [{from: '9am'}]}\n",
        ] {
            assert_ne!(errors(bad), [""; 0], "{bad}");
        }
    }

    fn any_plan_text() -> impl Strategy<Value = String> {
        let lines = vec![
            "description: \"yes: a # b\\nc \\\\ 'd' \\\" é\"",
            "description: '010'",
            "labels: {team: 'no', function: ours, tier: '1', x: ' y '}",
            "timeZone: Europe/Paris",
            "version: '42'",
            "start: onPublish",
            "start: {cron: '*/5 0-6 ? * MON#1'}",
            "start: {cron: '@daily'}",
            "start: {after: {target: 'f:staging', for: 0s}}",
            "onNewVersion: replace",
            "bake: 0s",
            "bake: 1d 2h 3m 4s",
            "analysis: none",
            "analysis: {failures: {maxRatio: 1.23456, maxAdded: 0.0001pp, max: 12.5%}, proof: none}",
            "analysis: {falseRollbackRate: 0.07%, proof: {addedFailures: 0.3pp}, failureStatus: [429, 500-599]}",
            "maxExposure: {failures: 1000000000000000, requests: 1}",
            "maxExposure: {failures: none}",
            "onFailure: report",
            "onDrift: leave",
            "stepDeadline: {after: 366d, then: rollback}",
            "timeouts: {idle: 250ms}",
            "tunnels: {close: 0s}",
            "windows: {allow: [{days: [MON, WED-FRI], from: '22:00', to: '00:00'}, {to: '24:00'}]}",
            "windows: {freeze: [{from: 0001-01-01, to: 9999-12-31}]}",
        ];
        let steps = prop::sample::select(vec![
            "steps: [0.0001%, 99.9999%, 100%]",
            "steps: [{pause: {}}, 3%, {bake: 0s}, {approval: {approvers: ['1', 'no', a@b], minApprovers: 2}}, 100%, {bake: 1h}]",
            "preset: Linear10PercentEvery10Minutes",
            "steps: [{ramp: {to: 50%, by: 7%, every: 0s}}, {bake: 1h}, {ramp: {to: 100%, by: 25%, every: 2m}}, {bake: 1h}]",
        ]);
        (prop::sample::subsequence(lines.clone(), 0..lines.len()), steps).prop_map(|(chosen, steps)| {
            let mut seen = BTreeSet::new();
            let mut text = format!("function: f\nalias: a\n{steps}\n");
            for line in chosen {
                if seen.insert(line.split(':').next().unwrap_or_default()) {
                    text.push_str(line);
                    text.push('\n');
                }
            }
            text
        })
    }

    proptest! {
        #[test]
        fn numbers_survive(max in "-?(0|[1-9][0-9]{0,8})(\\.(0{1,4})?[0-9])?") {
            let text = format!(
                "function: f\nalias: a\nsteps: [100%]\n\
                 analysis: {{metrics: [{{name: m, prometheus: {{url: 'http://p', query: q}}, max: {max}}}]}}\n"
            );
            let plan = complete_plan_of(&text);
            let yaml = written(&PlanDocument::of(&plan, |_| true));
            prop_assert_eq!(complete_plan_of(&yaml), plan, "{}", yaml);
        }

        #[test]
        fn resolved_plans_are_equal_when_loaded_again(text in any_plan_text()) {
            let plan = plan_of(&text);
            let resolved = resolved_yaml(&plan);
            prop_assert_eq!(plan_of(&resolved), plan, "{}", resolved);
            prop_assert_eq!(resolved_yaml(&plan_of(&resolved)), resolved);
        }

        #[test]
        fn any_text_survives(description in "[ -~\\n\\u{a0}-\\u{2ff}]{1,200}", label in "\\PC{1,40}") {
            let quoted = |text: &str| serde_json::to_string(text).unwrap();
            let text = format!(
                "function: f\nalias: a\nsteps: [100%]\ndescription: {}\nlabels: {{a: {}}}\n",
                quoted(&description),
                quoted(&label)
            );
            if let Ok(loaded) = load(&Source::new("plan.yaml", text), None) {
                let resolved = resolved_yaml(&loaded.plan);
                prop_assert_eq!(&plan_of(&resolved), &loaded.plan, "{}", resolved);
            }
        }
    }
}
