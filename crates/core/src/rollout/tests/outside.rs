//! Metrics and web hooks: only real passes advance, whatever else comes back, in whatever order.

use super::*;
use crate::plan::Value;

fn metric(failure_limit: u32, inconclusive_limit: u32) -> Metric {
    Metric {
        name: "queue-age".into(),
        source: MetricSource::Prometheus {
            url: Value::Plain("http://p:9090".into()),
            query: "q".into(),
            headers: Default::default(),
        },
        min: None,
        max: Some(30.0),
        from: Weight::ZERO,
        interval: Duration::from_secs(60),
        initial_delay: Duration::ZERO,
        failure_limit,
        inconclusive_limit,
        dry_run: false,
    }
}

fn measured_plan(steps: Vec<Step>, metric: Metric) -> Plan {
    let analysis = Analysis { proof: None, metrics: vec![metric], ..Analysis::default() };
    Plan { bake: Duration::ZERO, analysis: Some(analysis), ..plan(steps) }
}

fn hook(retries: u32) -> Step {
    let url = Value::Plain("http://ci/smoke".into());
    Step::Webhook(Webhook { url, timeout: Duration::from_secs(1), retries, headers: Default::default() })
}

/// Everything but a pass that a metric may answer.
fn no_pass() -> impl Strategy<Value = Reading> {
    prop_oneof![
        Just(Reading::Value(f64::NAN)),
        Just(Reading::Value(f64::INFINITY)),
        Just(Reading::Value(f64::NEG_INFINITY)),
        (30.000_1..1e9f64).prop_map(Reading::Value),
        Just(Reading::Nothing("hang".into())),
    ]
}

/// Answers everything that is asked now.
fn answer(bench: &mut Bench, answer: &Answer) -> usize {
    let external_checks = bench.rollout.external_checks(bench.at.up);
    for check in &external_checks {
        bench.apply(check.answered(answer.clone()), &Actor::daemon()).unwrap();
    }
    bench.settle();
    external_checks.len()
}

proptest! {
    /// Limits so wide that nothing ends the rollout: it must stay all the same.
    #[test]
    fn nothing_but_a_pass_advances(
        answers in prop::collection::vec((no_pass(), 0u64..200), 1..60),
        in_step in any::<bool>(),
    ) {
        let analysis = Step::Analysis(AnalysisStep {
            metrics: vec!["queue-age".into()],
            span: Duration::from_secs(1),
        });
        let steps = match in_step {
            true => [weights(&[3]), vec![analysis], weights(&[100])].concat(),
            false => weights(&[3, 100]),
        };
        let mut bench = Bench::new(measured_plan(steps, metric(10_000, 10_000)));
        bench.settle();
        let step = bench.rollout.record.step;
        for (reading, seconds) in answers {
            answer(&mut bench, &Answer::Reading(reading));
            bench.wait(Duration::from_secs(seconds));
            prop_assert_eq!(bench.rollout.share(), percent(3));
            prop_assert!(bench.rollout.record.step <= step + usize::from(in_step));
        }
        // It was the answers that held it: good ones let it on.
        for _ in 0..5 {
            bench.wait(Duration::from_secs(61));
            answer(&mut bench, &Answer::Reading(Reading::Value(1.0)));
        }
        prop_assert_eq!(bench.phase(), "Succeeded");
    }
}

#[test]
fn a_good_answer_counts_only_until_the_next_is_due() {
    let steps = [weights(&[3]), vec![Step::Pause], weights(&[100])].concat();
    let mut bench = Bench::new(measured_plan(steps, metric(0, 3)));
    bench.settle();
    answer(&mut bench, &Answer::Reading(Reading::Value(1.0)));
    bench.wait(Duration::from_secs(3_600));
    bench.apply(Event::Resumed { drift: None }, &ana()).unwrap();
    bench.settle();
    assert_eq!(bench.rollout.share(), percent(3), "an hour-old answer let it on");
    answer(&mut bench, &Answer::Reading(Reading::Value(1.0)));
    assert_eq!(bench.rollout.share(), percent(100));
}

#[test]
fn bad_answers_roll_back_beyond_their_limit_and_silence_pauses() {
    let mut bench = Bench::new(measured_plan(weights(&[3, 100]), metric(1, 2)));
    bench.settle();
    let mut silent = bench.clone();
    for phase in ["Progressing", "RolledBack"] {
        bench.wait(Duration::from_secs(61));
        assert_eq!(answer(&mut bench, &Answer::Reading(Reading::Value(31.0))), 1);
        assert_eq!(bench.phase(), phase);
    }
    assert_eq!(bench.alias, Routing::only(STABLE));
    for phase in ["Progressing", "Progressing", "Paused"] {
        silent.wait(Duration::from_secs(61));
        answer(&mut silent, &Answer::Reading(Reading::Nothing("two series".into())));
        assert_eq!(silent.phase(), phase);
    }
    assert!(silent.rollout.record.reason.contains("two series"), "{}", silent.rollout.record.reason);
    silent.apply(Event::Resumed { drift: None }, &ana()).unwrap();
    assert_eq!(silent.phase(), "Progressing");
}

#[test]
fn a_dry_run_is_asked_and_decides_nothing() {
    let dry = Metric { dry_run: true, ..metric(0, 0) };
    let steps = [weights(&[3]), vec![Step::Pause], weights(&[100])].concat();
    let mut bench = Bench::new(measured_plan(steps, dry));
    bench.settle();
    assert_eq!(answer(&mut bench, &Answer::Reading(Reading::Value(99.0))), 1);
    bench.apply(Event::Resumed { drift: None }, &ana()).unwrap();
    bench.settle();
    assert_eq!(bench.phase(), "Succeeded");
}

#[test]
fn an_analysis_step_wants_passes_at_both_ends_of_its_time() {
    let analysis =
        Step::Analysis(AnalysisStep { metrics: vec!["queue-age".into()], span: Duration::from_secs(120) });
    let steps = [weights(&[3]), vec![analysis], weights(&[100])].concat();
    let mut bench = Bench::new(measured_plan(steps, Metric { from: percent(50), ..metric(10, 10) }));
    bench.settle();
    for (reading, held) in [
        (Reading::Value(1.0), 0),
        (Reading::Value(1.0), 60),
        (Reading::Nothing("down".into()), 60),
        (Reading::Value(1.0), 60),
        (Reading::Value(31.0), 0),
        (Reading::Value(1.0), 0),
        (Reading::Value(1.0), 60),
    ] {
        answer(&mut bench, &Answer::Reading(reading));
        assert_eq!(bench.rollout.record.answers.held.as_secs(), held);
        assert_eq!(bench.rollout.record.step, 2);
        bench.wait(Duration::from_secs(60));
    }
    answer(&mut bench, &Answer::Reading(Reading::Value(1.0)));
    assert!(bench.rollout.record.step > 2, "{:?}", bench.rollout.record.answers);
}

#[test]
fn a_web_hook_is_tried_again_then_ends_it_or_waits_for_a_person() {
    let steps = [vec![hook(1)], weights(&[100])].concat();
    let mut bench = Bench::new(plan(steps));
    bench.settle();
    assert_eq!(bench.rollout.record.step, 1);
    let (mut silent, mut agreed) = (bench.clone(), bench.clone());
    for phase in ["Progressing", "RolledBack"] {
        bench.wait(Duration::from_secs(5));
        assert_eq!(answer(&mut bench, &Answer::Hook(HookAnswer::Refused(500))), 1);
        assert_eq!(bench.phase(), phase);
    }
    for phase in ["Progressing", "Paused"] {
        silent.wait(Duration::from_secs(5));
        assert_eq!(answer(&mut silent, &Answer::Hook(HookAnswer::Silent("hang".into()))), 1);
        assert_eq!(silent.phase(), phase);
    }
    silent.apply(Event::Resumed { drift: None }, &ana()).unwrap();
    assert_eq!(answer(&mut silent, &Answer::Hook(HookAnswer::Agreed(204))), 1);
    assert_eq!(silent.phase(), "Succeeded");
    // An answer that comes twice, or late, is one answer.
    let check = agreed.rollout.external_checks(agreed.at.up).remove(0);
    let late = check.answered(Answer::Hook(HookAnswer::Refused(500)));
    agreed.apply(late.clone(), &Actor::daemon()).unwrap();
    let again = agreed.apply(late, &Actor::daemon()).unwrap();
    assert!(matches!(again, Outcome::Unchanged(_)), "{again:?}");
}
