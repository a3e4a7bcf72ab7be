//! Hosts and paths that stand for an alias.

use std::sync::Arc;

use serin::metrics::recorder::Recorder;
use serin::router::bindings::Bindings;
use serin::router::server::Router;
use serin::router::settings::RouterConfig;
use serin::router::table::{Edit, RoutingTable};

use crate::support::client::Client;
use crate::support::router::{config, patient, spec};
use crate::support::upstream::Version;

#[test]
fn a_bound_host_shows_its_alias_and_nothing_else() {
    let one = Version::start("one");
    let table = RoutingTable::new(Recorder::new(2, Arc::new(|_| {})));
    table.publish(vec![
        Edit::Function { name: "shop".parse().unwrap(), latest: one.target() },
        Edit::Alias(spec(1, 0, &one.target(), &one.target())),
    ]);
    let bindings = Arc::new(Bindings::read(["shop.example=shop:live", "/old=shop:gone"]).unwrap());
    let router = Router::bind(RouterConfig { bindings, ..config(patient()) }, table).unwrap().run().unwrap();
    let ask = |host: &str, target: &str| {
        let mut client = Client::connect(router.local_addr());
        client.send(format!("POST {target} HTTP/1.1\r\nHost: {host}\r\nContent-Length: 0\r\n\r\n"));
        let answer = client.answer_to("POST");
        (answer.status, answer.version().map(str::to_owned))
    };
    let from_one = (200, Some("1".to_owned()));
    for target in ["/", "/orders?x=1", "/shop:$LATEST/", "/2015-03-31/functions/shop/invocations"] {
        assert_eq!(ask("shop.example", target), from_one, "{target}");
    }
    let mut client = Client::connect(router.local_addr());
    client.send("GET /shop:live/echo?a HTTP/1.1\r\nHost: shop.example\r\n\r\n");
    assert_eq!(client.answer().json()["target"], "/shop:live/echo?a", "all of the path, as it was written");
    assert_eq!(ask("other.example", "/shop:live/"), from_one);
    assert_eq!(ask("other.example", "/old/x"), (404, None), "the alias is not there");
    assert_eq!(ask("other.example", "/"), (404, None));
}
