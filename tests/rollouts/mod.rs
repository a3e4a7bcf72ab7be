//! Whole rollouts over real sockets: evidence, drift, the operator's verbs, races, restarts.

mod baseline;
mod clock;
mod copies_first;
mod drift;
mod evidence;
mod gates;
mod matrix;
mod races;
mod real_traffic;
mod steering;
mod target;
mod triggers;
mod verbs;
mod watch;

use serde_json::json;

use crate::support::house::House;
use crate::support::service::Service;

/// A daemon with function `f`: versions 1 and 2 published, alias `live` on version 1.
pub struct Stage {
    pub house: House,
    _stable: Service,
    pub canary: Service,
}

impl Stage {
    pub fn set(stable_failures: f64, canary_failures: f64) -> Stage {
        Stage::set_in(House::start(), stable_failures, canary_failures)
    }

    pub fn set_in(house: House, stable_failures: f64, canary_failures: f64) -> Stage {
        let (stable, canary) = (Service::start(stable_failures, 1), Service::start(canary_failures, 2));
        house.publish("f", &stable.url());
        house.alias("f", "live", "1");
        house.publish("f", &canary.url());
        Stage { house, _stable: stable, canary }
    }
}

/// A plan in which only time and people count, and time does not.
pub const BY_HAND: &str = "function: f\nalias: live\nsteps: [3%, 5%, 100%]\nbake: 1h\nanalysis: none\n";

/// The alias as the Lambda API shows it: its function version, and the additional version's weight.
pub fn routing(house: &House) -> (String, Option<f64>) {
    let alias = house.get("/2015-03-31/functions/f/aliases/live").ok();
    let weight = alias["RoutingConfig"]["AdditionalVersionWeights"]["2"].as_f64();
    (alias["FunctionVersion"].as_str().unwrap().to_owned(), weight)
}

/// Changes the alias as `aws lambda update-alias` would.
pub fn update_alias(house: &House, version: &str, weights: serde_json::Value) {
    let body =
        json!({ "FunctionVersion": version, "RoutingConfig": { "AdditionalVersionWeights": weights } });
    house
        .ask("PUT", "/2015-03-31/functions/f/aliases/live", Some(&body), &[("authorization", SIGNATURE)])
        .ok();
}

/// What an `aws` client sends; nobody checks it yet.
pub const SIGNATURE: &str = "AWS4-HMAC-SHA256 Credential=AKIDOPERATOR/20261122/eu-west-1/lambda/aws4_request, \
                             SignedHeaders=host, Signature=00";
