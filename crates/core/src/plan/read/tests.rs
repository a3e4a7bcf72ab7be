//! What a plan means, once read; how bad plans are refused is written down in `tests/plans/bad`.

use std::time::Duration;

use super::*;
use crate::model::weight::Weight;
use crate::plan::model::{
    Approval, FailureLimits, LatencyLimits, Mirror, MirrorMethods, Proof, RefusalLimits, Step, Timeout,
};

const SMALLEST: &str = "function: checkout\nalias: live\nsteps: [3%, 5%, 100%]\n";

fn source(name: &str, text: &str) -> Source {
    Source::new(format!("{name}.yaml"), text)
}

fn shown(faults: &[Fault]) -> Vec<String> {
    faults.iter().map(Fault::to_string).collect()
}

fn loaded(text: &str) -> LoadedPlan {
    load(&source("plan", text), None).unwrap_or_else(|faults| panic!("{:#?}", shown(&faults)))
}

fn with(line: &str) -> Plan {
    loaded(&format!("{SMALLEST}{line}\n")).plan
}

fn refused(text: &str) -> Vec<String> {
    shown(&load(&source("plan", text), None).unwrap_err())
}

fn weight(percent: u32) -> Step {
    Step::SetWeight(weight_of(percent))
}

fn weight_of(percent: u32) -> Weight {
    Weight::from_ppm(percent * 10_000).unwrap()
}

#[test]
fn what_a_plan_leaves_unsaid() {
    let plan = loaded(SMALLEST).plan;
    assert_eq!(
        plan,
        Plan {
            description: None,
            labels: BTreeMap::new(),
            target: "checkout:live".parse().unwrap(),
            time_zone: PlanTimeZone::utc(),
            version: VersionChoice::Newest,
            start: Start::Manual,
            on_new_version: OnNewVersion::Queue,
            bake: Duration::from_secs(300),
            steps: vec![weight(3), weight(5), weight(100)],
            first_weight: None,
            analysis: Some(Analysis {
                failures: FailureLimits { max_ratio: 1.2, max_added: 0.0005, max: None },
                latency: Some(LatencyLimits::default()),
                refusals: Some(RefusalLimits::default()),
                false_rollback_rate: 0.01,
                proof: Some(Proof { added_failures: 0.005, false_advance_rate: 0.05 }),
                failure_status: vec![(500, 599)],
                min_dispersion: 1.0,
                baseline: None,
                metrics: Vec::new(),
            }),
            max_exposure: MaxExposure { failures: None, requests: None },
            on_failure: OnFailure::Rollback,
            on_drift: OnDrift::Pause,
            when_stable_unhealthy: WhenStableUnhealthy::Hold,
            stable_unhealthy: StableUnhealthy { failures: 0.2, span: Duration::from_secs(60) },
            step_deadline: StepDeadline { after: Duration::from_secs(86_400), then: Timeout::Pause },
            watch: None,
            windows: Windows::default(),
            routing: RoutingOptions::default(),
            timeouts: Default::default(),
            tunnels: Tunnels::Leave,
            notify: Vec::new(),
        }
    );
}

#[test]
fn a_probe_stands_in_front_of_a_large_first_weight() {
    let of = |text: &str| loaded(&format!("function: f\nalias: a\n{text}")).plan;
    let probed = of("steps: [{pause: {}}, 50%, 100%]\nfirstWeight: probe\n");
    assert_eq!(probed.steps, [Step::Pause, weight(3), Step::Bake(Duration::ZERO), weight(50), weight(100)]);
    assert_eq!(
        (probed.default_bake_after(2), probed.first_weight),
        (Duration::ZERO, Some(FirstWeight::Probe))
    );
    assert_eq!(of("steps: [5%, 100%]\nfirstWeight: probe\n").steps, [weight(5), weight(100)]);
    assert_eq!(of("steps: [50%, 100%]\nfirstWeight: unproven\n").steps, [weight(50), weight(100)]);
}

#[test]
fn copies_stand_in_front_of_a_large_first_weight() {
    let of = |text: &str| loaded(&format!("function: f\nalias: a\n{text}")).plan;
    let copied = of("steps: [{pause: {}}, 50%, 100%]\nfirstWeight: mirror\n");
    assert_eq!(copied.steps, [Step::Pause, weight(0), weight(50), weight(100)]);
    assert_eq!(
        (copied.default_bake_after(2), copied.step(2).map(Step::kind)),
        (Duration::ZERO, Some("mirror"))
    );
    let all = Mirror { share: weight_of(100), methods: MirrorMethods::Safe };
    assert_eq!((copied.mirror_at(weight_of(0)), copied.mirror_at(weight_of(50))), (Some(all), None));
    let some = Mirror { share: weight_of(20), methods: MirrorMethods::Any };
    let also = of("steps: [50%, 100%]\nfirstWeight: mirror\nrouting: {mirror: 20%, mirrorMethods: any}\n");
    assert_eq!((also.mirror_at(weight_of(0)), also.mirror_at(weight_of(50))), (Some(some), Some(some)));
    // Up to a twentieth a weight is its own proof.
    let small = of("steps: [5%, 100%]\nfirstWeight: mirror\n");
    assert_eq!((small.steps.len(), small.proves_by_copies()), (2, false));
    assert!(of("preset: AllAtOnce\nfirstWeight: mirror\n").proves_by_copies());
    let written = crate::plan::resolved_yaml(&copied);
    let again = load(&Source::new("again.yaml", written), None).unwrap().plan;
    assert_eq!(again, copied);
}

#[test]
fn a_large_first_weight_is_warned_of_and_runs() {
    let warned = |text: &str| loaded(&format!("function: f\nalias: a\n{text}")).warnings.len();
    assert_eq!(warned("steps: [50%, 100%]\n"), 1);
    assert_eq!(warned("preset: Canary10Percent5Minutes\n"), 1);
    for quiet in ["steps: [5%, 100%]\n", "steps: [50%, 100%]\nfirstWeight: unproven\n", "preset: AllAtOnce\n"]
    {
        assert_eq!(warned(quiet), 0, "{quiet}");
    }
}

#[test]
fn steps_short_and_long() {
    let plan = loaded(
        "function: f\nalias: a\nsteps:\n  - pause: {}\n  - 0.5%\n  - {bake: 1h 30m}\n  - approval: {}\n  - setWeight: \"100%\"\n  - bake: 0s\n",
    )
    .plan;
    assert_eq!(
        plan.steps,
        [
            Step::Pause,
            Step::SetWeight(Weight::from_ppm(5_000).unwrap()),
            Step::Bake(Duration::from_secs(5_400)),
            Step::Approval(Approval {
                approvers: Vec::new(),
                min_approvers: 1,
                timeout: Duration::from_secs(4 * 3_600),
                on_timeout: Timeout::Rollback,
            }),
            weight(100),
            Step::Bake(Duration::ZERO),
        ]
    );
}

#[test]
fn values_are_exact() {
    let plan = with(
        "analysis: {failures: {maxAdded: 0.07pp, max: 2%}, falseRollbackRate: 0.3%, proof: {addedFailures: 0.29pp}}",
    );
    let analysis = plan.analysis.unwrap();
    assert_eq!(analysis.failures.max_added, 0.0007);
    assert_eq!(analysis.failures.max, Some(0.02));
    assert_eq!(analysis.false_rollback_rate, 0.003);
    assert_eq!(analysis.proof.unwrap().added_failures, 0.0029);
    assert_eq!(with("version: \"42\"").version, with("version: 42").version);
    assert_eq!(
        with("analysis: {failureStatus: [\"500-599\", 429, '404']}").analysis.unwrap().failure_status,
        [(500, 599), (429, 429), (404, 404)]
    );
}

#[test]
fn none_switches_off() {
    assert_eq!(with("analysis: none").analysis, None);
    assert_eq!(with("analysis: {proof: none}").analysis.unwrap().proof, None);
    assert_eq!(with("analysis: {latency: none}").analysis.unwrap().latency, None);
    assert_eq!(
        with("maxExposure: {failures: none, requests: 5}").max_exposure,
        MaxExposure { failures: None, requests: Some(5) }
    );
}

#[test]
fn a_digest_is_of_the_bytes() {
    // `sha256sum plan.yaml`
    let alone = loaded(SMALLEST).digest;
    assert_eq!(alone, "aba69bd6d9e2ae06a40591e23698643f3b6b52ea9bc104712c4cb65cdfc6cdb3");
    assert_ne!(loaded(&format!("{SMALLEST}# a comment\n")).digest, alone);
    let plan = source("plan", &format!("use: team\n{SMALLEST}"));
    let defaults = source("team", "kind: Defaults\nbake: 1m\n");
    let other = source("team", "kind: Defaults\nbake: 2m\n");
    let digest = |defaults| load(&plan, Some(defaults)).unwrap().digest;
    assert_ne!(digest(&defaults), digest(&other));
    // `(cat plan.yaml; printf '\0'; cat team.yaml) | sha256sum`
    assert_eq!(digest(&defaults), "076dae3a6aa3d594c8179f45ab5d9840be943ddbeef2dfdc1fb9675f0fdde5db");
    // Defaults that are not used change nothing.
    assert_eq!(load(&source("plan", SMALLEST), Some(&defaults)).unwrap().digest, alone);
}

#[test]
fn a_plan_completes_itself_from_defaults_and_wins() {
    let defaults = source(
        "team",
        "apiVersion: serin/v1\nkind: Defaults\nlabels: {team: platform, tier: gold}\nsteps: [5%, 100%]\nbake: 1m\n\
         start: {cron: '@daily'}\nanalysis: {falseRollbackRate: 2%, proof: {falseAdvanceRate: 10%}}\nstepDeadline: {after: 6h}\n",
    );
    let plan = source(
        "plan",
        "use: team\nfunction: f\nalias: a\nlabels: {team: shop}\nstart: {after: {target: 'f:b', for: 1h}}\n\
         analysis: {proof: {addedFailures: 1pp}}\nstepDeadline: {then: rollback}\npreset: AllAtOnce\n",
    );
    let plan = load(&plan, Some(&defaults)).unwrap().plan;
    assert_eq!(plan.labels["team"], "shop");
    assert_eq!(plan.labels["tier"], "gold");
    // A preset in the plan sets the steps of the defaults aside, and one way to start the other.
    assert_eq!(plan.steps, [weight(100)]);
    assert!(matches!(plan.start, Start::After { .. }));
    assert_eq!(plan.bake, Duration::from_secs(60));
    let analysis = plan.analysis.unwrap();
    assert_eq!(analysis.false_rollback_rate, 0.02);
    assert_eq!(analysis.proof, Some(Proof { added_failures: 0.01, false_advance_rate: 0.1 }));
    assert_eq!(
        plan.step_deadline,
        StepDeadline { after: Duration::from_secs(6 * 3_600), then: Timeout::Rollback }
    );
}

#[test]
fn faults_stay_in_the_file_they_stand_in() {
    let plan = source("plan", "use: team\nfunction: f\nalias: a\nbake: 5\n");
    let defaults = source("team", "kind: Defaults\nsteps: [3%, 2%]\nbake: 7\n");
    let faults = load(&plan, Some(&defaults)).unwrap_err();
    assert_eq!(
        shown(&faults),
        [
            "plan.yaml:4:7: `bake` is `5`, which has no unit",
            "team.yaml:2:9: the last weight is 3%, and a rollout ends in 100%",
            "team.yaml:2:13: the weight 2% is below the one before, 3%",
        ]
    );
}

#[test]
fn defaults_are_known_by_their_name() {
    for (text, name) in [
        ("use: team-defaults\n", Some("team-defaults")),
        ("bake: nonsense\nuse: team\nfunction: [1]\n", Some("team")),
        ("use: ../etc/passwd\n", None),
        ("use: a/b\n", None),
        ("use: a.yaml\n", None),
        ("use: \"\"\n", None),
        ("use: [a]\n", None),
        ("function: f\n", None),
        ("use: team\n broken: [\n", None),
        ("", None),
    ] {
        assert_eq!(used_defaults(&source("plan", text)).as_deref(), name, "{text}");
    }
}

#[test]
fn defaults_are_checked_alone() {
    let check = |text: &str| shown(&check_defaults(&source("team", text)));
    assert_eq!(check("kind: Defaults\nsteps: [5%, 100%]\nfunction: f\n"), [""; 0]);
    assert_eq!(check("kind: Defaults\n"), [""; 0]);
    assert_eq!(check("kind: Defaults\nbaek: 5m\n"), ["team.yaml:2:1: a plan has no key `baek`"]);
    assert_eq!(
        check("kind: Defaults\nnotify: [{webhook: {url: 'https://a'}}]\n"),
        ["team.yaml:2:1: this serin does not notify anybody yet"]
    );
    assert_eq!(check(SMALLEST), ["team.yaml:1:1: this file is a plan, and no plan can use another"]);
}

#[test]
fn a_fault_is_said_once_and_causes_no_others() {
    assert_eq!(
        refused("functon: f\nalias: a\nstep: [3%, 100%]\n"),
        ["plan.yaml:1:1: a plan has no key `functon`", "plan.yaml:3:1: a plan has no key `step`"]
    );
    // One unreadable weight says nothing about the order of the others.
    assert_eq!(
        refused("function: f\nalias: a\nsteps: [3%, 5, 4%]\n"),
        ["plan.yaml:3:13: a step must be a share of the traffic, but this is `5`"]
    );
    // What is twice is said to be twice, and the first is read.
    assert_eq!(
        refused("function: f\nalias: a\nsteps: [100%]\nbake: 5m\nbake: x\n"),
        ["plan.yaml:5:1: the key `bake` stands here a second time"]
    );
}

#[test]
fn what_is_not_in_force_is_refused_where_it_stands_and_only_there() {
    for (line, refused_at) in [
        ("analysis: {latency: {maxRatio: 2}, minDispersion: 1.5}", None),
        ("whenStableUnhealthy: continue", None),
        ("stableUnhealthy: {failures: 20%}", None),
        ("routing: {affinity: {cookie: session}, override: {header: x-version}, mirror: none}", None),
        ("routing: {affinity: none, mirror: 10%, mirrorMethods: any}", None),
        ("notify: [{webhook: {url: 'https://a'}}]", Some("4:1")),
    ] {
        let answer = load(&source("plan", &format!("{SMALLEST}{line}\n")), None);
        let found = answer.err().map(|faults| {
            assert_eq!(faults.len(), 1, "{faults:?}");
            format!("{}:{}", faults[0].line, faults[0].column)
        });
        assert_eq!(found.as_deref(), refused_at, "{line}");
    }
}

#[test]
fn oddities_are_warned_of() {
    let warnings = |text: &str| -> Vec<String> {
        loaded(text).warnings.into_iter().map(|fault| fault.message).collect()
    };
    assert_eq!(warnings(SMALLEST), [""; 0]);
    for (lines, warning) in [
        (
            "steps: [3%, 100%]\nanalysis: none\nbake: 0s\nmaxExposure: {failures: 5}",
            "nothing stands between 3% and 100%",
        ),
        ("steps: [3%, {bake: 0s}, 100%]\nanalysis: {proof: none}", "nothing stands between 3% and 100%"),
        ("steps: [3%, 100%]\nanalysis: none", "no failure rolls this rollout back by itself"),
        ("steps: [3%, 100%]\nonFailure: report", "no failure rolls this rollout back by itself"),
        ("steps: [100%]", "`f:a` gets all traffic at once"),
        ("steps: [3%, {bake: 1m}, 100%]\nbake: 5m", "this `bake` has no effect: every weight has its own"),
        (
            "steps: [3%, 100%]\ntimeZone: Europe/Paris",
            "this `timeZone` has no effect: the plan has neither `windows` nor a `cron` start",
        ),
        ("steps: [3%, {bake: 2d}, 100%]", "a bake of 2d never ends: `stepDeadline` strikes after 1d"),
        ("steps: [3%, 100%]\nbake: 24h", "a bake of 1d never ends: `stepDeadline` strikes after 1d"),
        (
            "steps: [3%, 100%]\nstepDeadline: {after: 1m}",
            "a bake of 5m never ends: `stepDeadline` strikes after 1m",
        ),
    ] {
        assert_eq!(warnings(&format!("function: f\nalias: a\n{lines}\n")), [warning], "{lines}");
    }
    assert_eq!(
        warnings("function: f\nalias: a\npreset: Canary10Percent5Minutes\nbake: 5m\n"),
        [
            "the canary gets 10% before anything is proven of it",
            "this `bake` has no effect: the preset brings its own",
        ]
    );
    for lines in [
        "preset: AllAtOnce",
        "steps: [3%, {pause: {}}, 100%]\nanalysis: none\nbake: 0s\nmaxExposure: {failures: 5}",
        "steps: [3%, 100%]\nanalysis: none\nmaxExposure: {failures: 5}",
        "steps: [3%, 100%]\nonFailure: report\nmaxExposure: {failures: 5}",
        "steps: [3%, 100%]\ntimeZone: Europe/Paris\nstart: {cron: '@daily'}",
        "steps: [3%, {bake: 23h}, 100%]",
    ] {
        assert_eq!(warnings(&format!("function: f\nalias: a\n{lines}\n")), [""; 0], "{lines}");
    }
}
