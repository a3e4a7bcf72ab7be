//! What a plan's `routing` does to requests, from the rollout's start to its end and over a restart.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::json;

use super::{BY_HAND, Stage};
use crate::support::client::Client;
use crate::support::house::House;

const SOON: Duration = Duration::from_secs(10);
const PLAN: &str = "routing: {affinity: {header: x-user}, override: {header: x-serin-version}}\n";

fn version_for(house: &House, line: &str) -> String {
    let answer = Client::connect(house.router()).ask("GET", "/f:live/", &[line]);
    answer.version().unwrap_or_default().to_owned()
}

fn canary_users(house: &House) -> BTreeSet<u32> {
    let mut client = Client::connect(house.router());
    let mut is_canary =
        |user: u32| client.ask("GET", "/f:live/", &[&format!("x-user: {user}")]).version() == Some("2");
    (0..500).filter(|user| is_canary(*user)).collect()
}

#[test]
fn a_plans_routing_lasts_as_long_as_its_rollout() {
    let mut stage = Stage::set(0.0, 0.0);
    assert_eq!(version_for(&stage.house, "x-serin-version: 2"), "1", "no rollout, no override");
    stage.house.start_rollout(&format!("{BY_HAND}{PLAN}"), &json!({})).ok();
    assert_eq!(version_for(&stage.house, "x-serin-version: 2"), "2");
    let at_first = canary_users(&stage.house);
    assert!((2..=35).contains(&at_first.len()), "{} of 500 users at 3%", at_first.len());
    assert_eq!(canary_users(&stage.house), at_first);
    let drawn = 2 * at_first.len();
    stage.house.wait_until("f:live", "counting those who were drawn alone", SOON, |status| {
        status["exposure"]["requests"] == drawn
    });

    stage.house.shut_down();
    stage.house.boot();
    assert_eq!(canary_users(&stage.house), at_first, "a restart moves nobody");

    stage.house.verb("f:live", "promote", &json!({ "step": 1, "reason": "hotfix" })).ok();
    let later = canary_users(&stage.house);
    assert!(at_first.is_subset(&later), "{at_first:?} at 3%, {later:?} at 5%");
    stage.house.verb("f:live", "abort", &json!({})).ok();
    assert_eq!(canary_users(&stage.house), BTreeSet::new());
    stage.house.wait_for("f:live", "Aborted", SOON);
    assert_eq!(version_for(&stage.house, "x-serin-version: 2"), "1", "the rollout is over");
}
