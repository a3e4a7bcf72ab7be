//! Hosts and paths that stand for an alias.

use std::sync::Arc;

use serin::metrics::recorder::Recorder;
use serin::router::bindings::Bindings;
use serin::router::server::Router;
use serin::router::settings::RouterConfig;
use serin::router::table::{Edit, RoutingTable};

use crate::support::client::Client;
use crate::support::house::House;
use crate::support::router::{config, patient, spec};
use crate::support::upstream::Version;

#[test]
fn a_bound_host_shows_its_alias_and_nothing_else() {
    let one = Version::start("one");
    let table = RoutingTable::new(Recorder::new(2, Arc::new(|_| {})));
    table.publish(vec![
        Edit::Function { name: "shop".parse().unwrap(), latest: one.target() },
        Edit::Alias(spec(1, 0, &one.target(), &one.target()).into()),
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

#[test]
fn with_routes_what_is_released_to_nobody_is_shown_to_nobody() {
    let one = Version::start("one");
    let house = |routes: &[&str], invoke, versions| {
        let house = House::start_with(|config| {
            config.routes = routes.iter().map(|route| (*route).to_owned()).collect();
            (config.router_invoke, config.router_versions) = (invoke, versions);
        });
        house.publish("web", &format!("http://{}", one.addr()));
        house.publish("web", &format!("http://{}", one.addr()));
        house.alias("web", "live", "1");
        house
    };
    let statuses = |house: &House, host: &str| {
        let ask = |target: &str| {
            let mut client = Client::connect(house.router());
            client.send(format!("POST {target} HTTP/1.1\r\nHost: {host}\r\nContent-Length: 2\r\n\r\n{{}}"));
            client.answer_to("POST").status
        };
        let invoke = "/2015-03-31/functions/web:2/invocations";
        ["/web:live/", "/web:2/", "/web:$LATEST/", "/web%3a2/x", "/web:%24LATEST/", invoke].map(ask)
    };
    let bound = ["shop.example=web:live"];
    for host in ["anything", "shop.example:1"] {
        let is_bound = host.starts_with("shop");
        // On a host that is bound as a whole every path is its alias's.
        let hidden = if is_bound { 200 } else { 404 };
        let off = [200, hidden, hidden, hidden, hidden, hidden];
        assert_eq!(statuses(&house(&bound, false, false), host), off, "{host}");
    }
    assert_eq!(statuses(&house(&bound, true, false), "anything"), [200, 404, 404, 404, 404, 200]);
    assert_eq!(statuses(&house(&bound, false, true), "anything"), [200, 200, 200, 200, 200, 404]);
    assert_eq!(
        statuses(&house(&[], false, false), "anything"),
        [200; 6],
        "without routes all stays as it is"
    );
    // Whether there is such a version is not told.
    let house = house(&bound, false, false);
    let text = |target: &str| {
        let mut client = Client::connect(house.router());
        client.send(format!("GET {target} HTTP/1.1\r\nHost: anything\r\n\r\n"));
        client.answer().text().to_owned()
    };
    assert_eq!(text("/web:2/"), text("/nowhere:99/"));
    // What comes in at the API goes on being invoked.
    let path = "/2015-03-31/functions/web:2/invocations";
    assert_eq!(house.post(path, &serde_json::json!({})).status, 200);
}
