//! What verbs, `status`, `explain` and the metrics say of WebSockets on a version that loses its traffic.

use std::path::Path;

use serde_json::json;

use crate::support::client::Client;
use crate::support::serin::{Daemon, Said};
use crate::support::until;
use crate::support::upstream::Script;

/// So many are opened at 90 %: some land on the new version, however chance has it.
const OPENED: usize = 12;

struct House {
    daemon: Daemon,
    tunnels: Vec<Client>,
    _versions: [Script; 2],
}

/// A daemon with a rollout at 90 %, by which tunnels are open.
fn house(dir: &Path, tunnels: &str) -> House {
    let plan = dir.join("shop.yaml");
    let text = "function: shop\nalias: live\nanalysis: none\nbake: 1h\nsteps: [90%, 100%]\n";
    std::fs::write(&plan, format!("{text}{tunnels}")).unwrap();
    let daemon = Daemon::start(dir, &[]);
    let versions = [Script::echoing(), Script::echoing()];
    for version in &versions {
        let url = format!("http://{}", version.addr());
        daemon.serin(&["function", "publish", "shop", "--url", &url]).done();
    }
    daemon.serin(&["alias", "create", "shop:live", "--version", "1"]).done();
    daemon.serin(&["start", plan.to_str().unwrap(), "--to", "2"]).done();
    let tunnels = (0..OPENED).map(|_| {
        let mut client = Client::connect(daemon.router);
        let wish = "Connection: Upgrade\r\nUpgrade: websocket";
        client.send(format!("GET /shop:live/chat HTTP/1.1\r\nHost: a\r\n{wish}\r\n\r\n"));
        let head = client.head().unwrap();
        assert_eq!(head.status, 101);
        client
    });
    let house = House { tunnels: tunnels.collect(), daemon, _versions: versions };
    until("all are counted", || house.open_on(1) + house.open_on(2) == OPENED);
    house
}

impl House {
    /// What `/metrics` says.
    fn open_on(&self, version: u32) -> usize {
        let mut api = Client::connect(self.daemon.api);
        api.send("GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n");
        let metrics = api.answer();
        let series =
            format!("serin_tunnels_open{{function=\"shop\",alias=\"live\",executed_version=\"{version}\"}} ");
        let line = metrics.text().lines().find_map(|line| line.strip_prefix(&series));
        line.map_or(0, |count| count.parse::<f64>().unwrap() as usize)
    }

    fn says(&self, words: &[&str]) -> String {
        let Said { out, .. } = self.daemon.serin(words).done();
        out.split_whitespace().collect::<Vec<_>>().join(" ")
    }
}

fn are(count: usize) -> String {
    if count == 1 { "1 tunnel is".to_owned() } else { format!("{count} tunnels are") }
}

#[test]
fn an_abort_says_which_websockets_stay_on_the_version_that_gets_no_new_requests() {
    let dir = tempfile::tempdir().unwrap();
    let mut house = house(dir.path(), "");
    let count = house.open_on(2);
    let status = house.daemon.serin(&["status", "shop:live", "-o", "json"]).done().json();
    assert_eq!(status.get("tunnels"), None, "both versions have requests");
    let fate = if count == 1 {
        "it goes on until either end closes it"
    } else {
        "they go on until either end closes them"
    };
    let still = format!("{} still open on v2; {fate}", are(count));
    for _ in 0..2 {
        let said = house.says(&["abort", "shop:live"]);
        assert!(said.ends_with(&format!("shop:live is v1 now; {still}")), "{said}");
    }
    for verb in ["status", "explain"] {
        let said = house.says(&[verb, "shop:live"]);
        assert!(said.contains(&still), "{verb}: {said}");
    }
    let status = house.daemon.serin(&["status", "shop:live", "-o", "json"]).done().json();
    assert_eq!(status["tunnels"], json!([{ "version": "2", "open": count, "text": still }]));
    // Also where a person moves the alias by hand.
    house.says(&["alias", "update", "shop:live", "--version", "2"]);
    let said = house.says(&["alias", "update", "shop:live", "--version", "1"]);
    assert!(said.contains(&format!("tunnels {still}")), "{said}");
    for tunnel in &mut house.tunnels {
        tunnel.send("hi");
        assert_eq!(tunnel.read_some(), 2, "they do go on");
    }
    house.tunnels.clear();
    until("they end with their clients", || house.open_on(2) == 0);
    let said = house.says(&["abort", "shop:live"]);
    assert!(said.ends_with("shop:live is v1 now"), "{said}");
    house.daemon.stop();
}

#[test]
fn a_rollback_says_within_which_time_the_plan_closes_websockets_and_they_are() {
    let dir = tempfile::tempdir().unwrap();
    let mut house = house(dir.path(), "tunnels: {close: 2s}\n");
    let (kept, count) = (house.open_on(1), house.open_on(2));
    let said = house.says(&["rollback", "shop:live"]);
    // Some may be closed by the time that they are counted.
    assert!(said.contains("still open on v2; ") && said.ends_with("is closed within 2s"), "{count}: {said}");
    until("they are closed", || house.open_on(2) == 0);
    assert_eq!(house.open_on(1), kept);
    let ended = house.tunnels.iter_mut().filter_map(|tunnel| {
        // Either it answers or it has ended.
        tunnel.try_send("hi").ok().map(|()| tunnel.read_some()).filter(|read| *read == 2)
    });
    assert_eq!(ended.count(), kept);
    let status = house.daemon.serin(&["status", "shop:live", "-o", "json"]).done().json();
    assert_eq!(status.get("tunnels"), None);
    house.tunnels.clear();
    house.daemon.stop();
}
