//! How many connections there may be, and what becomes of those over a limit.

use serin::metrics::connections::{ConnectionLimits, Refused};
use serin::router::settings::RouterConfig;

use crate::support::client::Client;
use crate::support::router::{TestRouter, config, patient};
use crate::support::until;
use crate::support::upstream::Version;

fn limited(limits: ConnectionLimits, wants_proxy_header: bool) -> RouterConfig {
    RouterConfig { limits, wants_proxy_header, ..config(patient()) }
}

#[test]
fn connections_over_a_limit_are_closed_and_the_others_served() {
    for (limits, why) in [
        (ConnectionLimits { in_all: Some(10), of_address: None }, Refused::InAll),
        (ConnectionLimits { in_all: None, of_address: Some(10) }, Refused::OfAddress),
    ] {
        let one = Version::start("one");
        let router = TestRouter::listening(one.target(), limited(limits, false));
        let connections = router.running().connections();
        let mut admitted: Vec<Client> = (0..10).map(|_| router.client()).collect();
        until("all are in", || connections.open() == 10);
        for client in &mut admitted {
            assert_eq!(client.get("/shop:live/x").text(), "one");
        }
        let mut refused: Vec<Client> = (0..5).map(|_| router.client()).collect();
        assert!(refused.iter_mut().all(Client::is_closed));
        assert_eq!(connections.refused(why), 5);
        for client in &mut admitted {
            assert_eq!(client.get("/shop:live/x").text(), "one");
        }
        drop(admitted);
        until("there is room again", || connections.open() == 0);
        assert_eq!(router.client().get("/shop:live/x").text(), "one");
    }
}

#[test]
fn an_address_is_the_clients_and_not_the_balancers() {
    let one = Version::start("one");
    let limits = ConnectionLimits { in_all: None, of_address: Some(1) };
    let router = TestRouter::listening(one.target(), limited(limits, true));
    let from = |address: &str| {
        let mut client = router.client();
        client.send(format!("PROXY TCP4 {address} 10.0.0.1 5000 80\r\n"));
        client
    };
    let (mut first, mut other) = (from("192.0.2.1"), from("192.0.2.2"));
    for client in [&mut first, &mut other] {
        assert_eq!(client.get("/shop:live/x").text(), "one");
    }
    assert!(from("192.0.2.1").is_closed());
    assert_eq!(router.running().connections().refused(Refused::OfAddress), 1);
}
