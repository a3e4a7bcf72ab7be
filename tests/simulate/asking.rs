//! Metrics and web hooks in virtual time, answered by a script.

use std::time::Duration;

use serin::simulate::{run, run_asking};
use serin_core::rollout::{Answer, HookAnswer, Question, Reading};

use super::{HOURS, plan, traffic};

const ASKING: &str = "function: f\nalias: live\nsteps:\n  - webhook: {url: \"http://ci/smoke\"}\n  - 10%\n  - analysis: \
                      {metrics: [queue-age], for: 10m}\n  - 100%\nbake: 1m\nanalysis:\n  proof: none\n  metrics: [{name: \
                      queue-age, prometheus: {url: \"http://p:9090\", query: q}, max: 30, from: 100%}]\n";

#[test]
fn a_world_that_agrees_lets_it_through_and_one_that_is_down_holds_it() {
    let (plan, traffic) = (plan(ASKING), traffic(10.0, 0.0, 0.0));
    let through = run(&plan, &traffic, HOURS, 1);
    assert_eq!(through.phase, "Succeeded", "{through:?}");
    assert!(through.elapsed >= Duration::from_secs(600), "{through:?}");
    let down = run_asking(&plan, &traffic, HOURS, 1, &|_, check, _| match check.question {
        Question::Metric { .. } => Answer::Reading(Reading::Nothing("connection refused".to_owned())),
        Question::Hook { .. } => Answer::Hook(HookAnswer::Agreed(200)),
    });
    assert_eq!(down.phase, "Paused", "{down:?}");
    assert!(down.weights.iter().all(|(_, ppm)| *ppm <= 100_000), "{down:?}");
    let refused = run_asking(&plan, &traffic, HOURS, 1, &|_, _, _| Answer::Hook(HookAnswer::Refused(500)));
    assert_eq!((refused.phase, refused.canary_requests), ("RolledBack", 0), "{refused:?}");
}
