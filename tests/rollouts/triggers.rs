//! Plans that start themselves: on publishing, by schedule, after another alias; and what happens to their files.

use std::time::Duration;

use serde_json::json;

use super::BY_HAND;
use crate::support::house::House;
use crate::support::until;

const SOON: Duration = Duration::from_secs(15);

fn house_with(plans: &[(&str, &str)]) -> House {
    let house = House::start_with(|config| {
        let plans_dir = config.data_dir.parent().unwrap().join("plans");
        std::fs::create_dir_all(&plans_dir).unwrap();
        for (name, text) in plans {
            std::fs::write(plans_dir.join(name), text).unwrap();
        }
        config.plans = Some(plans_dir);
    });
    house.publish("f", "http://127.0.0.1:1");
    for alias in ["live", "staging"] {
        house.alias("f", alias, "1");
    }
    house
}

#[test]
fn publishing_starts_the_plan_that_says_so() {
    let plan = format!("{BY_HAND}start: onPublish\n");
    let house = house_with(&[("live.yaml", &plan)]);
    let reply = house.post("/v1/functions/f/versions", &json!({ "url": "http://127.0.0.1:2" })).ok();
    let id = reply["rollouts"][0].as_str().unwrap();
    let status = house.wait_for(id, "Progressing", SOON);
    assert_eq!(status["trigger"], json!({ "actor": "serin", "reason": "onPublish: v2 was published" }));
    // The same URL again is the same version, and starts nothing.
    let same = house.post("/v1/functions/f/versions", &json!({ "url": "http://127.0.0.1:2" })).ok();
    assert_eq!((same["version"].as_str(), same["created"].as_bool()), (Some("2"), Some(false)));
}

#[test]
fn a_version_that_was_taken_out_is_not_started_again_by_itself() {
    let plan = format!("{BY_HAND}start: {{after: {{target: \"f:staging\", for: 1s}}}}\n");
    let house = house_with(&[("live.yaml", &plan)]);
    house.publish("f", "http://127.0.0.1:2");
    let to = |version: &str| {
        let body = json!({ "functionVersion": version });
        house.ask("PUT", "/v1/functions/f/aliases/staging", Some(&body), &[]).ok();
    };
    to("2");
    let waiting = house.status("f:live");
    assert_eq!(
        (waiting["phase"].as_str(), waiting["waitingFor"]["kind"].as_str()),
        (Some("Pending"), Some("after"))
    );
    house.wait_for("f:live", "Progressing", SOON);
    house.verb("f:live", "abort", &json!({})).ok();
    let aborted = house.wait_for("f:live", "Aborted", SOON);
    to("1");
    to("2");
    assert_eq!(house.status("f:live")["id"], aborted["id"], "nothing new was started");
}

#[test]
fn a_wait_ends_when_the_other_alias_moves_on() {
    let plan = format!("{BY_HAND}start: {{after: {{target: \"f:staging\", for: 1h}}}}\n");
    let house = house_with(&[("live.yaml", &plan)]);
    house.publish("f", "http://127.0.0.1:2");
    for (version, phase) in [("2", "Pending"), ("1", "Superseded")] {
        let body = json!({ "functionVersion": version });
        house.ask("PUT", "/v1/functions/f/aliases/staging", Some(&body), &[]).ok();
        assert_eq!(house.phase("f:live"), phase);
    }
}

#[test]
fn a_closed_window_holds_the_start_and_promote_wants_a_reason() {
    let plan = format!("{BY_HAND}windows: {{freeze: [{{from: 2020-01-01, to: 2120-01-01}}]}}\n");
    let house = house_with(&[]);
    house.publish("f", "http://127.0.0.1:2");
    house.start_rollout(&plan, &json!({})).ok();
    let status = house.status("f:live");
    assert_eq!(
        (status["phase"].as_str(), status["waitingFor"]["kind"].as_str()),
        (Some("Pending"), Some("freeze"))
    );
    let refused = house.verb("f:live", "promote", &json!({ "step": 0 }));
    assert_eq!(refused.body["error"]["kind"], "reasonWanted");
    house.verb("f:live", "promote", &json!({ "step": 0, "reason": "an emergency" })).ok();
    let status = house.wait_for("f:live", "Progressing", SOON);
    assert_eq!(status["weight"]["committed"], 0.03);
}

#[test]
fn a_faulty_file_says_so_and_leaves_the_old_plan_in_force() {
    let house = house_with(&[("live.yaml", BY_HAND), ("bad.yaml", "function: f\nalias: live\nsteps: [3]\n")]);
    house.publish("f", "http://127.0.0.1:2");
    let plan = |name: &str| house.get(&format!("/v1/plans/{name}")).ok();
    assert_eq!(plan("bad")["state"], "faulty");
    assert!(plan("bad")["faults"][0].as_str().unwrap().contains("bad.yaml:3:9"), "{}", plan("bad"));
    let faults = house.get("/v1/rollouts").ok()["planFaults"].to_string();
    assert!(faults.contains("bad.yaml:3:9"), "{faults}");

    std::fs::write(house.plans().join("live.yaml"), "function: f\nalias: li").unwrap();
    until("the broken file is noticed", || plan("live")["state"] == "faulty");
    assert_eq!(
        (plan("live")["stale"].as_bool(), plan("live")["target"].as_str()),
        (Some(true), Some("f:live"))
    );
    // What was read before stays in force for new rollouts, and whoever starts one is told.
    let started = house.post("/v1/rollouts", &json!({ "plan": "live" })).ok();
    let told = started["message"].as_str().unwrap();
    assert!(told.contains("as it was read before") && told.contains("live.yaml"), "{told}");
    house.verb("f:live", "abort", &json!({})).ok();
    house.wait_for("f:live", "Aborted", SOON);
    let refused = house.post("/v1/rollouts", &json!({ "plan": "bad" }));
    assert_eq!((refused.status, refused.error().contains("not in order")), (400, true));

    // Written beside and renamed over, as editors and deploy tools do.
    std::fs::write(house.plans().join(".live.tmp"), BY_HAND).unwrap();
    std::fs::rename(house.plans().join(".live.tmp"), house.plans().join("live.yaml")).unwrap();
    until("the mended file is noticed", || plan("live")["state"] != "faulty");
    house.post("/v1/rollouts", &json!({ "plan": "live" })).ok();

    // A running rollout has its plan pinned: the file may go.
    std::fs::remove_file(house.plans().join("live.yaml")).unwrap();
    until("the deleted file is noticed", || house.get("/v1/plans/live").status == 404);
    house.verb("f:live", "promote", &json!({ "step": 1 })).ok();
    assert_eq!(house.status("f:live")["weight"]["committed"], 0.05);
}

#[test]
fn a_directory_that_is_another_one_now_starts_no_old_plan() {
    let other = "function: f\nalias: live\nsteps: [7%, 100%]\nbake: 1h\nanalysis: none\n";
    let house = House::start_with(|config| {
        let root = config.data_dir.parent().unwrap();
        for (release, text) in [("one", BY_HAND), ("two", other)] {
            std::fs::create_dir_all(root.join(release)).unwrap();
            std::fs::write(root.join(release).join("live.yaml"), text).unwrap();
        }
        std::os::unix::fs::symlink("one", root.join("plans")).unwrap();
        config.plans = Some(root.join("plans"));
    });
    house.publish("f", "http://127.0.0.1:1");
    house.publish("f", "http://127.0.0.1:2");
    house.alias("f", "live", "1");
    let link = house.plans();
    // As deployments do: another link is made, and renamed over the one that is there.
    std::os::unix::fs::symlink("two", link.with_extension("new")).unwrap();
    std::fs::rename(link.with_extension("new"), &link).unwrap();
    house.post("/v1/rollouts", &json!({ "plan": "live" })).ok();
    assert_eq!(house.status("f:live")["weight"]["planned"], 0.07, "at once, and by the plan that is there");

    // A directory that is removed and made anew.
    let root = link.parent().unwrap();
    std::fs::remove_dir_all(root.join("two")).unwrap();
    std::fs::create_dir(root.join("two")).unwrap();
    std::fs::write(root.join("two/fresh.yaml"), BY_HAND).unwrap();
    until("it is noticed", || house.get("/v1/plans/fresh").status == 200);
    assert_eq!(house.get("/v1/plans/live").status, 404);
    std::fs::write(root.join("two/later.yaml"), BY_HAND).unwrap();
    until("and watched", || house.get("/v1/plans/later").status == 200);
}

#[test]
fn a_storm_of_renames_does_no_harm() {
    let house = house_with(&[("live.yaml", BY_HAND)]);
    let dir = house.plans();
    let storm = std::thread::spawn(move || {
        for round in 0..300 {
            let text = if round % 3 == 0 { "function: f\nalias:" } else { BY_HAND };
            std::fs::write(dir.join("x.yaml"), text).unwrap();
            std::fs::rename(dir.join("x.yaml"), dir.join("y.yaml")).unwrap();
            std::fs::rename(dir.join("y.yaml"), dir.join("x.yaml")).unwrap();
            std::fs::remove_file(dir.join("x.yaml")).unwrap();
        }
    });
    storm.join().unwrap();
    until("only the one plan is left, and sound", || {
        let plans = house.get("/v1/plans").ok();
        plans["plans"].as_array().unwrap().len() == 1 && plans["plans"][0]["state"] != "faulty"
    });
}

#[test]
fn links_and_pipes_are_not_read() {
    let house = house_with(&[("live.yaml", BY_HAND)]);
    let dir = house.plans();
    std::fs::write(dir.parent().unwrap().join("outside.yaml"), BY_HAND).unwrap();
    std::os::unix::fs::symlink("../outside.yaml", dir.join("link.yaml")).unwrap();
    std::os::unix::fs::symlink("live.yaml", dir.join("inside.yaml")).unwrap();
    rustix::fs::mknodat(
        rustix::fs::CWD,
        dir.join("pipe.yaml"),
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::RUSR,
        0,
    )
    .unwrap();
    until("all of them are seen", || house.get("/v1/plans").ok()["plans"].as_array().unwrap().len() == 4);
    let state = |name: &str| house.get(&format!("/v1/plans/{name}")).ok();
    assert!(state("link")["faults"][0].as_str().unwrap().contains("leads out of"), "{}", state("link"));
    assert!(state("pipe")["faults"][0].as_str().unwrap().contains("not a regular file"), "{}", state("pipe"));
    assert_ne!(state("inside")["state"], "faulty");
}
