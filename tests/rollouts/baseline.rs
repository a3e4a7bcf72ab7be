//! `analysis.baseline`: what status, explain and the metrics tell of it, over a restart, and that it decides nothing.

use std::time::Duration;

use serde_json::{Value, json};

use super::Stage;
use crate::support::service::Load;

const SOON: Duration = Duration::from_secs(60);

fn plan(way: &str) -> String {
    format!(
        "function: f\nalias: live\nsteps: [25%, 100%]\nfirstWeight: unproven\nbake: 1h\nanalysis: {{baseline: {way}}}\n"
    )
}

fn requests(status: &Value) -> u64 {
    status["baseline"]["requests"].as_u64().unwrap_or(0)
}

#[test]
fn a_baseline_is_told_beside_the_canary_and_outlives_a_restart() {
    for way in ["split", "mirror"] {
        let mut stage = Stage::set(0.0, 0.0);
        let load = Load::start(stage.house.router(), "/f:live/", 300.0);
        stage.house.start_rollout(&plan(way), &json!({ "to": "2" })).ok();
        let status = stage.house.wait_until("f:live", "some", SOON, |status| requests(status) >= 60);
        assert_eq!((&status["baseline"]["by"], &status["baseline"]["share"]), (&json!(way), &json!(0.25)));
        let explained = stage.house.get("/v1/rollouts/f:live/explain").ok();
        let arms = explained["arms"].as_array().unwrap();
        let roles: Vec<&str> = arms.iter().map(|arm| arm["role"].as_str().unwrap()).collect();
        assert_eq!(roles, ["stable", "baseline", "canary"]);
        assert_eq!((&arms[1]["version"], &arms[1]["failures"]), (&json!("1"), &json!(0)));
        assert!(arms[1]["p99Ms"].as_f64() > Some(0.0) || arms[1]["p99_ms"].as_f64() > Some(0.0), "{arms:?}");
        let metrics = ureq::get(format!("{}/metrics", stage.house.url())).call().unwrap();
        let metrics = metrics.into_body().read_to_string().unwrap();
        for name in ["requests_total", "request_failures_total", "request_duration_seconds_count"] {
            let series =
                format!("serin_baseline_{name}{{function=\"f\",alias=\"live\",executed_version=\"1\"}}");
            assert!(metrics.contains(&series), "{series}: {metrics}");
        }
        drop(load);
        let before = requests(&stage.house.status("f:live"));
        stage.house.shut_down();
        stage.house.boot();
        let after = requests(&stage.house.status("f:live"));
        assert!(after >= before, "{way}: {after} of {before} after a restart");
        let load = Load::start(stage.house.router(), "/f:live/", 300.0);
        stage.house.wait_until("f:live", "more", SOON, |status| requests(status) > after + 20);
        // The end of the rollout is its end.
        stage.house.verb("f:live", "abort", &json!({})).ok();
        let ended = stage.house.wait_for("f:live", "Aborted", SOON);
        assert!(requests(&ended) > after, "{ended}");
        let last = requests(&stage.house.status("f:live"));
        let seen = load.of("1").0;
        crate::support::until("more of stable's", || load.of("1").0 > seen + 50);
        assert_eq!(requests(&stage.house.status("f:live")), last);
    }
}

#[test]
fn a_broken_canary_is_gone_as_soon_as_without() {
    let stage = Stage::set(0.0, 1.0);
    let load = Load::start(stage.house.router(), "/f:live/", 100.0);
    let small = plan("split").replace("25%", "3%");
    stage.house.start_rollout(&small, &json!({ "to": "2" })).ok();
    let status = stage.house.wait_for("f:live", "RolledBack", SOON);
    let failed = load.of("2").1;
    println!("{failed} requests failed until rollback");
    // By the baseline alone it would be eight at least.
    assert!(failed <= 6, "{status}");
}
