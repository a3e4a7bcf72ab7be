//! Which version ran: numbers by the minute, and what invocations said, as CloudWatch's clients and `serin logs` see them.

mod clients;
mod lines;
mod numbers;

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::support::client::Client;
use crate::support::house::{House, Reply, agent, ask};
use crate::support::service::Service;

/// What was sent: requests and failed ones, by qualifier and by the version that ran.
type Sent = BTreeMap<(String, String), (u64, u64)>;

/// Function `f` with version 1, which fails one request in five, version 2, and the alias `live` on both.
fn furnish(house: &House) -> [Service; 2] {
    let services = [Service::start(0.2, 7), Service::start(0.0, 8)];
    for service in &services {
        house.publish("f", &service.url());
    }
    house.alias("f", "live", "1");
    let weights = json!({ "RoutingConfig": { "AdditionalVersionWeights": { "2": 0.3 } } });
    house.ask("PUT", "/2015-03-31/functions/f/aliases/live", Some(&weights), &[]).ok();
    services
}

/// Sends requests and invocations to an alias and to a version, and counts by what the answers say.
fn send(house: &House) -> Sent {
    let mut sent = Sent::new();
    let mut client = Client::connect(house.router());
    for _ in 0..200 {
        let answer = client.get("/f:live/");
        count(&mut sent, "live", answer.version(), answer.status >= 500);
    }
    for (qualifier, times) in [("live", 100), ("2", 17), ("$LATEST", 5)] {
        for _ in 0..times {
            let path = format!("/2015-03-31/functions/f:{}/invocations", qualifier.replace('$', "%24"));
            let answer = client.post(&path, &[], b"{}");
            assert_eq!(answer.status, 200);
            count(&mut sent, qualifier, answer.version(), answer.header("x-amz-function-error").is_some());
        }
    }
    sent
}

fn count(sent: &mut Sent, qualifier: &str, version: Option<&str>, failed: bool) {
    let version = version.expect("every answer says which version ran").to_owned();
    let counts = sent.entry((qualifier.to_owned(), version)).or_default();
    *counts = (counts.0 + 1, counts.1 + u64::from(failed));
}

/// Asks one of AWS's services in its JSON.
fn aws(house: &House, target: &str, body: &Value) -> Reply {
    ask(&agent(), &house.url(), "POST", "/", Some(body), &[("x-amz-target", target)])
}
