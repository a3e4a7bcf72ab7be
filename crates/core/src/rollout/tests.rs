//! The table of phases and events, the walks through it, and the invariants on random walks.

mod outside;

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::lambda::alias::Routing;
use crate::lambda::function::Revision;
use crate::model::actor::{Actor, Standing};
use crate::model::arn::VersionNumber;
use crate::model::time::{Moment, Timestamp, Uptime};
use crate::model::weight::Weight;
use crate::plan::*;

const STABLE: VersionNumber = VersionNumber(41);
const CANARY: VersionNumber = VersionNumber(42);

fn percent(percent: u32) -> Weight {
    Weight::from_ppm(percent * 10_000).unwrap()
}

fn plan(steps: Vec<Step>) -> Plan {
    Plan {
        description: None,
        labels: Default::default(),
        target: "checkout:live".parse().unwrap(),
        time_zone: PlanTimeZone::utc(),
        version: VersionChoice::Newest,
        start: Start::Manual,
        on_new_version: OnNewVersion::Queue,
        bake: Duration::from_secs(300),
        steps,
        first_weight: None,
        analysis: None,
        max_exposure: MaxExposure::default(),
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
}

fn weights(weights: &[u32]) -> Vec<Step> {
    weights.iter().map(|weight| Step::SetWeight(percent(*weight))).collect()
}

fn approval() -> Step {
    Step::Approval(Approval {
        approvers: vec!["ana".into(), "bo".into()],
        min_approvers: 1,
        timeout: Duration::from_secs(3600),
        on_timeout: Timeout::Rollback,
    })
}

/// A rollout under test, with the alias it moves and the time it lives in.
#[derive(Clone)]
struct Bench {
    rollout: Rollout,
    alias: Routing,
    revision: Revision,
    at: Moment,
    seq: u64,
}

impl Bench {
    fn new(plan: Plan) -> Bench {
        let start = NewRollout {
            id: RolloutId(uuid::Uuid::from_u128(7)),
            plan_name: "checkout".into(),
            plan_digest: "0".repeat(64),
            plan: Arc::new(plan),
            stable: STABLE,
            canary: CANARY,
            retry_of: None,
            trials_before: 0,
            origin: Origin { actor: ana(), reason: None },
            after: None,
        };
        let at = Moment { wall: Timestamp(1_800_000_000_000), up: Uptime(1_000) };
        Bench {
            rollout: Rollout::pending(start, at.wall),
            alias: Routing::only(STABLE),
            revision: Revision(1),
            at,
            seq: 1,
        }
    }

    fn apply(&mut self, event: Event, by: &Actor) -> Result<Outcome, Refusal> {
        self.seq += 1;
        let answer = self.rollout.apply(&event, Cause { by, at: self.at, seq: Revision(self.seq) })?;
        if let Outcome::Changed(transition) = &answer {
            for effect in &transition.effects {
                if let Effect::Route { routing, expected } = effect {
                    assert_eq!(*expected, self.revision, "decided on a stale alias");
                    (self.alias, self.revision) = (*routing, Revision(self.seq));
                }
            }
            self.rollout = transition.next.clone();
        }
        Ok(answer)
    }

    /// Applies by serin itself whatever time and the router lead to, until nothing more is due.
    fn settle(&mut self) {
        for _ in 0..20 {
            let base = Base { stable: STABLE, revision: self.revision };
            let facts = Facts {
                at: self.at,
                evidence: None,
                exposure: Default::default(),
                copies: Default::default(),
                serving: Some(self.revision),
                canary_requests_per_s: None,
                base: Ok(&base),
                ahead: None,
            };
            let Some(event) = self.rollout.due(&facts) else { return };
            self.apply(event, &Actor::daemon()).unwrap();
        }
        panic!("does not settle: {:?}", self.rollout.record);
    }

    fn wait(&mut self, span: Duration) {
        self.at = self.at.plus(span);
        self.settle();
    }

    /// Somebody else changes the alias.
    fn drift(&mut self, found: Routing) {
        self.seq += 1;
        (self.alias, self.revision) = (found, Revision(self.seq));
        let event = Event::Drifted { by: bo(), found, revision: self.revision };
        self.apply(event, &bo()).unwrap();
    }

    fn phase(&self) -> &'static str {
        self.rollout.record.phase.name()
    }
}

fn ana() -> Actor {
    Actor::new("ana", Standing::Token)
}

fn bo() -> Actor {
    Actor::new("bo", Standing::Token)
}

fn evidence_of_harm() -> Event {
    Event::HarmFound {
        harm: Harm::Evidence {
            ln_harm: 5.0,
            ln_harm_limit: 4.6,
            requests: 90,
            failures: 4,
            copies: Default::default(),
            slowness: None,
        },
    }
}

fn exposure_of_harm() -> Event {
    Event::HarmFound { harm: Harm::Exposure { failures: 10, limit: 10 } }
}

/// A bench in each phase, and in each kind of pause.
fn benches() -> Vec<(&'static str, Bench)> {
    let pending = Bench::new(plan(weights(&[3, 5, 100])));
    let mut progressing = pending.clone();
    progressing.settle();
    let mut approving = Bench::new(plan([weights(&[3]), vec![approval()], weights(&[100])].concat()));
    approving.settle();
    let mut paused = progressing.clone();
    paused.apply(Event::PauseAsked, &ana()).unwrap();
    let mut plan_paused = Bench::new(plan([weights(&[3]), vec![Step::Pause], weights(&[100])].concat()));
    plan_paused.settle();
    let mut drifted = progressing.clone();
    drifted.drift(Routing::split(STABLE, CANARY, percent(50)));
    let mut promoting = progressing.clone();
    promoting.apply(promote(&promoting, true), &ana()).unwrap();
    let mut rolling_back = progressing.clone();
    rolling_back.apply(evidence_of_harm(), &Actor::daemon()).unwrap();
    let ended = |from: &Bench| {
        let mut bench = from.clone();
        bench.settle();
        bench
    };
    let mut aborted = progressing.clone();
    aborted.apply(Event::AbortAsked, &ana()).unwrap();
    let mut superseded = progressing.clone();
    superseded.apply(Event::SupersededBy { rollout: None }, &Actor::daemon()).unwrap();
    vec![
        ("Pending", pending),
        ("Progressing", progressing),
        ("Progressing (approval)", approving),
        ("Paused (operator)", paused),
        ("Paused (plan)", plan_paused),
        ("Paused (drift)", drifted),
        ("Succeeded", ended(&promoting)),
        ("Promoting", promoting),
        ("RolledBack", ended(&rolling_back)),
        ("RollingBack", rolling_back),
        ("Aborted", ended(&aborted)),
        ("Superseded", ended(&superseded)),
    ]
}

fn promote(bench: &Bench, full: bool) -> Event {
    let base = Some(Base { stable: STABLE, revision: bench.revision });
    Event::Promoted { step: bench.rollout.record.step, full, base, skipped: Vec::new() }
}

fn events(bench: &Bench) -> Vec<(&'static str, Event)> {
    let step = bench.rollout.record.step;
    let revision = bench.revision;
    vec![
        ("promote", promote(bench, false)),
        ("promote --full", promote(bench, true)),
        (
            "promote (other step)",
            Event::Promoted { step: step + 7, full: false, base: None, skipped: Vec::new() },
        ),
        ("pause", Event::PauseAsked),
        ("resume", Event::Resumed { drift: None }),
        ("resume --restore", Event::Resumed { drift: Some(DriftResolution::Restore) }),
        ("resume --adopt", Event::Resumed { drift: Some(DriftResolution::Adopt) }),
        ("approve", Event::Approved),
        ("abort", Event::AbortAsked),
        ("rollback", Event::RollbackAsked { to: None }),
        ("rollback --to (another)", Event::RollbackAsked { to: Some(VersionNumber(40)) }),
        ("superseded", Event::SupersededBy { rollout: None }),
        ("began", Event::Began { base: Base { stable: STABLE, revision } }),
        ("unstartable", Event::Unstartable { why: "the alias is gone".into() }),
        ("passed", Event::Passed { step, held: Vec::new() }),
        ("passed (other step)", Event::Passed { step: step + 7, held: Vec::new() }),
        ("served", Event::RoutingServed { revision }),
        ("served (other revision)", Event::RoutingServed { revision: Revision(999) }),
        ("touched", Event::Touched { revision: Revision(bench.seq) }),
        (
            "drifted",
            Event::Drifted {
                by: bo(),
                found: Routing::split(STABLE, CANARY, percent(77)),
                revision: Revision(bench.seq),
            },
        ),
        ("harm (evidence)", evidence_of_harm()),
        ("harm (exposure)", exposure_of_harm()),
        ("exposure reached", Event::ExposureReached { requests: 1000, limit: 1000 }),
        ("step late", Event::StepLate { step }),
        ("approval timed out", Event::ApprovalTimedOut { step }),
    ]
}

#[test]
fn what_began_under_a_release_that_judged_requests_goes_on_so() {
    let text = "function: checkout\nalias: live\nsteps: [5%, 100%]\nrouting: {affinity: {cookie: session}}\n";
    let plan = load(&Source::new("p.yaml", text), None).unwrap().plan;
    let record = Bench::new(plan).rollout.record;
    assert!(record.by_users);
    let mut stored = serde_json::to_value(&record).unwrap();
    assert!(serde_json::from_value::<RolloutRecord>(stored.clone()).unwrap().by_users);
    stored.as_object_mut().unwrap().remove("byUsers").unwrap();
    assert!(!serde_json::from_value::<RolloutRecord>(stored).unwrap().by_users);
}

#[test]
fn every_phase_answers_every_event() {
    let mut table = String::new();
    for (phase, bench) in benches() {
        assert!(phase.starts_with(bench.phase()), "{phase} is {}", bench.phase());
        writeln!(table, "{phase}").unwrap();
        for (name, event) in events(&bench) {
            let mut after = bench.clone();
            let answer = match after.apply(event, &ana()) {
                Err(refusal) => format!("refused: {refusal}"),
                Ok(Outcome::Unchanged(why)) => format!("no change: {why}"),
                Ok(Outcome::Changed(transition)) => {
                    let (record, effects) = (&transition.next.record, &transition.effects);
                    let effects: Vec<String> = effects
                        .iter()
                        .map(|effect| match effect {
                            Effect::Route { routing, .. } => format!("route {routing}"),
                            Effect::SeekProof { next: Some(next) } => format!("seek proof for {next}"),
                            Effect::SeekProof { next: None } => "seek no proof".to_owned(),
                            other @ (Effect::ForgiveHarm | Effect::Remember { .. } | Effect::KeepStable) => {
                                format!("{other:?}")
                            }
                        })
                        .collect();
                    format!("{} step {}; {}", record.phase.name(), record.step, effects.join("; "))
                }
            };
            writeln!(table, "  {name:24} {}", answer.trim_end_matches("; ")).unwrap();
        }
    }
    insta::assert_snapshot!("every_phase_answers_every_event", table);
}

#[test]
fn time_alone_takes_a_plan_without_analysis_to_the_end() {
    let mut bench = Bench::new(plan(weights(&[3, 5, 100])));
    bench.settle();
    assert_eq!((bench.phase(), bench.alias), ("Progressing", Routing::split(STABLE, CANARY, percent(3))));
    bench.wait(Duration::from_millis(299_999));
    assert_eq!(bench.rollout.record.step, 1);
    bench.wait(Duration::from_millis(1));
    assert_eq!(bench.alias, Routing::split(STABLE, CANARY, percent(5)));
    bench.wait(Duration::from_secs(300));
    assert_eq!((bench.phase(), bench.alias), ("Succeeded", Routing::only(CANARY)));
}

#[test]
fn a_bake_step_overrides_the_default_and_counts_at_100_percent() {
    let steps = vec![
        Step::SetWeight(percent(3)),
        Step::Bake(Duration::from_secs(10)),
        Step::SetWeight(percent(100)),
        Step::Bake(Duration::from_secs(60)),
    ];
    let mut bench = Bench::new(plan(steps));
    bench.settle();
    assert_eq!(bench.rollout.record.step, 2);
    bench.wait(Duration::from_secs(10));
    assert_eq!((bench.rollout.record.step, bench.alias), (4, Routing::split(STABLE, CANARY, percent(100))));
    bench.wait(Duration::from_secs(59));
    assert_eq!(bench.phase(), "Progressing");
    bench.wait(Duration::from_secs(1));
    assert_eq!(bench.phase(), "Succeeded");
}

#[test]
fn a_pause_keeps_baking_and_a_drift_does_not() {
    let mut bench = Bench::new(plan(weights(&[3, 100])));
    bench.settle();
    bench.apply(Event::PauseAsked, &ana()).unwrap();
    bench.wait(Duration::from_secs(300));
    assert_eq!((bench.phase(), bench.rollout.record.step), ("Paused", 1));
    bench.apply(Event::Resumed { drift: None }, &ana()).unwrap();
    bench.settle();
    assert_eq!(bench.phase(), "Succeeded");

    let mut bench = Bench::new(plan(weights(&[3, 100])));
    bench.settle();
    bench.wait(Duration::from_secs(100));
    bench.drift(Routing::split(STABLE, CANARY, percent(50)));
    bench.wait(Duration::from_secs(10_000));
    assert_eq!(bench.alias, Routing::split(STABLE, CANARY, percent(50)));
    bench.apply(Event::Resumed { drift: Some(DriftResolution::Restore) }, &ana()).unwrap();
    bench.settle();
    assert_eq!(bench.alias, Routing::split(STABLE, CANARY, percent(3)));
    bench.wait(Duration::from_secs(199));
    assert_eq!(bench.phase(), "Progressing");
    bench.wait(Duration::from_secs(1));
    assert_eq!(bench.phase(), "Succeeded");
}

#[test]
fn adopting_a_foreign_weight_passes_over_the_weights_below_it() {
    let mut bench = Bench::new(plan(weights(&[3, 5, 10, 100])));
    bench.settle();
    bench.drift(Routing::split(STABLE, CANARY, percent(7)));
    bench.apply(Event::Resumed { drift: Some(DriftResolution::Adopt) }, &ana()).unwrap();
    bench.settle();
    bench.wait(Duration::from_secs(300));
    assert_eq!((bench.rollout.record.step, bench.alias), (3, Routing::split(STABLE, CANARY, percent(10))));
}

#[test]
fn adopting_what_a_person_finished_finishes() {
    for (found, phase) in [
        (Routing::only(CANARY), "Succeeded"),
        (Routing::only(STABLE), "Aborted"),
        (Routing::only(VersionNumber(40)), "Superseded"),
        (Routing::split(CANARY, STABLE, percent(3)), "Superseded"),
    ] {
        let mut bench = Bench::new(Plan { on_drift: OnDrift::Adopt, ..plan(weights(&[3, 100])) });
        bench.settle();
        bench.drift(found);
        bench.settle();
        assert_eq!((bench.phase(), bench.alias), (phase, found));
    }
}

#[test]
fn drift_does_not_disarm() {
    let mut bench = Bench::new(plan(weights(&[3, 100])));
    bench.settle();
    bench.drift(Routing::split(STABLE, CANARY, percent(50)));
    assert!(bench.rollout.record.is_armed());
    bench.apply(evidence_of_harm(), &Actor::daemon()).unwrap();
    bench.settle();
    assert_eq!((bench.phase(), bench.alias), ("RolledBack", Routing::only(STABLE)));

    let mut bench = Bench::new(plan(weights(&[3, 100])));
    bench.settle();
    bench.drift(Routing::only(VersionNumber(40)));
    assert!(!bench.rollout.record.is_armed());
    bench.apply(Event::AbortAsked, &ana()).unwrap();
    bench.settle();
    assert_eq!((bench.phase(), bench.alias), ("Aborted", Routing::only(VersionNumber(40))));
}

#[test]
fn approvals_count_people_on_the_list() {
    let two = Step::Approval(Approval {
        approvers: vec!["ana".into(), "bo".into()],
        min_approvers: 2,
        timeout: Duration::from_secs(60),
        on_timeout: Timeout::Pause,
    });
    let mut bench = Bench::new(plan([weights(&[3]), vec![two], weights(&[100])].concat()));
    bench.settle();
    let stranger = Actor::new("eve", Standing::Token);
    assert!(matches!(bench.apply(Event::Approved, &stranger), Err(Refusal::Forbidden(_))));
    bench.apply(Event::Approved, &ana()).unwrap();
    assert!(matches!(bench.apply(Event::Approved, &ana()), Ok(Outcome::Unchanged(_))));
    bench.wait(Duration::from_secs(60));
    assert_eq!(bench.phase(), "Paused");
    bench.apply(Event::Resumed { drift: None }, &ana()).unwrap();
    bench.apply(Event::Approved, &bo()).unwrap();
    bench.wait(Duration::from_secs(300));
    assert_eq!(bench.phase(), "Succeeded");
}

#[test]
fn lateness_and_silence_roll_back_or_pause_as_the_plan_says() {
    let mut bench = Bench::new(Plan {
        bake: Duration::from_secs(7200),
        step_deadline: StepDeadline { after: Duration::from_secs(3600), then: Timeout::Rollback },
        ..plan(weights(&[3, 100]))
    });
    bench.settle();
    bench.wait(Duration::from_secs(3600));
    assert_eq!((bench.phase(), bench.alias), ("RolledBack", Routing::only(STABLE)));

    let mut bench = Bench::new(plan([weights(&[3]), vec![approval()], weights(&[100])].concat()));
    bench.settle();
    bench.wait(Duration::from_secs(3600));
    assert_eq!((bench.phase(), bench.alias), ("RolledBack", Routing::only(STABLE)));
}

#[test]
fn harm_does_what_the_plan_says() {
    let mut bench = Bench::new(Plan { on_failure: OnFailure::Pause, ..plan(weights(&[3, 100])) });
    bench.settle();
    bench.apply(evidence_of_harm(), &Actor::daemon()).unwrap();
    assert_eq!((bench.phase(), bench.rollout.share()), ("Paused", percent(3)));
    let mut forgiven = bench.clone();
    let answer = forgiven.apply(Event::Resumed { drift: None }, &ana()).unwrap();
    assert!(matches!(answer, Outcome::Changed(change) if change.effects == [Effect::ForgiveHarm]));
    bench.apply(Event::AbortAsked, &ana()).unwrap();
    bench.settle();
    assert_eq!((bench.phase(), bench.alias), ("Aborted", Routing::only(STABLE)));

    let mut bench = Bench::new(Plan { on_failure: OnFailure::Report, ..plan(weights(&[3, 100])) });
    bench.settle();
    bench.apply(evidence_of_harm(), &Actor::daemon()).unwrap();
    assert_eq!((bench.phase(), bench.rollout.record.harm_reported), ("Progressing", true));
    bench.apply(exposure_of_harm(), &Actor::daemon()).unwrap();
    bench.settle();
    assert_eq!(bench.phase(), "RolledBack");
}

fn any_step() -> impl Strategy<Value = Vec<Step>> {
    let between = prop_oneof![
        Just(Step::Bake(Duration::from_secs(30))),
        Just(Step::Pause),
        Just(approval()),
        Just(Step::SetWeight(Weight::ZERO)),
    ];
    (prop::collection::vec(between, 0..8), prop::collection::vec(Just(Step::Pause), 0..2)).prop_map(
        |(mut steps, tail)| {
            // Weights rise by 10 % wherever a placeholder was drawn, and the list ends in 100 %.
            let mut next = 0;
            for step in &mut steps {
                if let Step::SetWeight(weight) = step {
                    next += 10;
                    *weight = percent(next);
                }
            }
            steps.push(Step::SetWeight(Weight::FULL));
            steps.extend(tail);
            steps
        },
    )
}

fn any_choice() -> impl Strategy<Value = (usize, u32)> {
    (0_usize..40, 0_u32..=100)
}

fn check_invariants(before: &Bench, after: &Bench, event: &str) {
    let (old, new) = (&before.rollout.record, &after.rollout.record);
    if old.phase.is_final() {
        assert_eq!(old, new, "I5: a final phase is absorbing ({event})");
    }
    assert!(new.step >= old.step, "I3: steps only go on ({event})");
    if new.phase == Phase::RolledBack
        && old.phase != Phase::RolledBack
        && event != "drifted"
        && event != "foreign"
    {
        assert_eq!(after.alias.share_of(CANARY), Weight::ZERO, "I6 ({event})");
    }
    let (low, high) = (before.alias.share_of(CANARY), after.alias.share_of(CANARY));
    let may_rise = ["passed", "promote", "promote --full", "began", "resume --restore", "foreign", "due"];
    assert!(high <= low || may_rise.contains(&event), "I4: {low} rose to {high} by {event}");
    if let Phase::RollingBack(_) = old.phase {
        assert!(
            matches!(new.phase, Phase::RollingBack(_)) || new.phase.is_final(),
            "rollback is absorbing ({event})"
        );
        assert_ne!(new.phase, Phase::Succeeded);
    }
    let text = serde_json::to_string(new).unwrap();
    assert_eq!(serde_json::from_str::<RolloutRecord>(&text).unwrap(), *new, "stored and read back ({event})");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn invariants_hold_on_random_walks(steps in any_step(), drift in 0_usize..4, choices in prop::collection::vec(any_choice(), 1..60)) {
        let on_drift = [OnDrift::Pause, OnDrift::Restore, OnDrift::Adopt, OnDrift::Leave][drift];
        let mut bench = Bench::new(Plan { on_drift, ..plan(steps) });
        for (choice, number) in choices {
            let before = bench.clone();
            let offered = events(&bench);
            let name = match choice {
                0..=19 => {
                    // Facts that only the house itself may state are offered as the house would: through `due`.
                    let (name, event) = offered[choice % offered.len()].clone();
                    let stated = matches!(event, Event::Began { .. } | Event::Touched { .. } | Event::Drifted { .. });
                    let by_house = stated || matches!(event, Event::Promoted { .. }) && before.phase() == "Pending";
                    if !by_house {
                        let _ = bench.apply(event, &ana());
                    }
                    name
                }
                20..=24 => {
                    bench.at = bench.at.plus(Duration::from_secs(u64::from(number) * 10));
                    "time"
                }
                25..=34 => {
                    bench.settle();
                    "due"
                }
                _ => {
                    let found = match number % 5 {
                        0 => Routing::only(STABLE),
                        1 => Routing::only(CANARY),
                        2 => Routing::only(VersionNumber(7)),
                        _ => Routing::split(STABLE, CANARY, percent(number)),
                    };
                    if found != bench.alias {
                        bench.drift(found);
                    }
                    "foreign"
                }
            };
            check_invariants(&before, &bench, name);
        }
    }
}
