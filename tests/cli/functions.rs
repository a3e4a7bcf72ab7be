//! `serin function`.

use serde_json::Value;

use crate::support::client::Client;
use crate::support::serin::Daemon;
use crate::support::until;
use crate::support::upstream::Version;

fn url(version: &Version) -> String {
    format!("http://{}", version.addr())
}

#[test]
fn publishing_prints_the_number_alone() {
    let dir = tempfile::tempdir().unwrap();
    let daemon = Daemon::start(dir.path(), &[]);
    let (one, two) = (Version::start("one"), Version::start("two"));
    let publish = |version: &Version, more: &[&str]| {
        let url = url(version);
        let mut args = vec!["function", "publish", "shop", "--url", url.as_str()];
        args.extend(more);
        daemon.serin(&args).done()
    };
    let first = publish(&one, &["--commit", "0123456789abcdef", "--description", "the first"]);
    assert_eq!(first.out, "1\n");
    assert!(first.err.contains("published v1 of shop"), "{first:?}");
    assert_eq!(publish(&two, &[]).out, "2\n");

    let again = publish(&two, &[]);
    assert_eq!(again.out, "2\n");
    assert!(again.err.contains("--new"), "{again:?}");
    assert_eq!(publish(&two, &["--new"]).out, "3\n");
    let reply = publish(&two, &["--new", "-o", "json"]).json();
    assert_eq!((reply["version"].as_str(), reply["created"].as_bool()), (Some("4"), Some(true)));

    let versions = daemon.serin(&["function", "versions", "shop"]).done().out;
    let lines: Vec<&str> = versions.lines().collect();
    assert!(lines[0].starts_with("VERSION"), "{versions}");
    assert!(lines[1].starts_with("v4") && lines[4].starts_with("v1"), "{versions}");
    assert!(lines[4].contains("0123456789ab ") && lines[4].contains("the first"), "{versions}");
    let versions = daemon.serin(&["function", "versions", "shop", "-o", "json"]).done().json();
    assert_eq!(versions["versions"][3]["url"], url(&one));

    let list = daemon.serin(&["function", "list"]).done().out;
    assert!(list.contains("shop") && list.contains("v4"), "{list}");
    let get = daemon.serin(&["function", "get", "shop", "-o", "json"]).done().json();
    assert_eq!((get["newestVersion"].as_str(), get["versions"].as_u64()), (Some("4"), Some(4)));
    assert!(daemon.serin(&["function", "get", "shop"]).done().out.contains("newest    v4"));
}

#[test]
fn a_key_makes_saying_it_twice_do_it_once() {
    let dir = tempfile::tempdir().unwrap();
    let daemon = Daemon::start(dir.path(), &[]);
    let publish = |url: &str| {
        let args = ["function", "publish", "shop", "--url", url, "--new", "--idempotency-key", "build-7"];
        daemon.serin(&args)
    };
    assert_eq!(publish("http://127.0.0.1:9001").done().out, "1\n");
    assert_eq!(publish("http://127.0.0.1:9001").done().out, "1\n");
    publish("http://127.0.0.1:9002").ended(1).complaining(&["key was used for another command"]);
}

#[test]
fn what_is_needed_is_not_deleted() {
    let dir = tempfile::tempdir().unwrap();
    let daemon = Daemon::start(dir.path(), &[]);
    for port in ["9001", "9002"] {
        let url = format!("http://127.0.0.1:{port}");
        daemon.serin(&["function", "publish", "shop", "--url", &url]).done();
    }
    daemon.serin(&["alias", "create", "shop:live", "--version", "1"]).done();
    daemon.serin(&["function", "delete", "shop", "--version", "1"]).ended(1).complaining(&["live"]);
    let deleted = daemon.serin(&["function", "delete", "shop", "--version", "2"]).done();
    assert_eq!(deleted.out, "v2 of shop is deleted\n");
    let umlaut = daemon.serin(&["function", "delete", "shop", "--reason", "größer"]);
    umlaut.ended(1).complaining(&["ASCII"]);
    let deleted = daemon.serin(&["function", "delete", "shop", "--reason", "end of life"]).done();
    assert_eq!(deleted.out, "function shop is deleted\n");
    assert!(daemon.serin(&["history"]).done().out.contains("deleted function shop: \"end of life\""));
    daemon
        .serin(&["function", "versions", "shop"])
        .ended(1)
        .complaining(&["there is no function shop", "serin function publish shop"]);
}

#[test]
fn a_health_path_is_kept_shown_and_asked() {
    let dir = tempfile::tempdir().unwrap();
    let (one, two) = (Version::start("one"), Version::start("two"));
    let (plain, both) = (url(&one), format!("{},{}", url(&one), two.addr()));
    let daemon = Daemon::start(dir.path(), &[]);
    let publish = |url: &str, more: &[&str]| {
        let mut args = vec!["function", "publish", "shop", "--url", url];
        args.extend(more);
        daemon.serin(&args)
    };
    assert_eq!(publish(&plain, &[]).done().out, "1\n");
    let second = publish(&plain, &["--health", "/healthz"]).done();
    assert_eq!(second.out, "2\n", "the path is part of what a version is");
    assert!(
        second.err.contains(&format!("published v2 of shop at {plain}, asked for /healthz")),
        "{second:?}"
    );
    assert_eq!(publish(&plain, &["--health", "/healthz"]).done().out, "2\n");
    assert_eq!(publish(&both, &["--health", "/status/204"]).done().out, "3\n");
    for (path, why) in [
        ("healthz", "health \"healthz\": a health path begins with a slash"),
        ("http://a/healthz", "begins with a slash"),
        ("/a#b", "has no fragment"),
        ("/a b", "is visible ASCII"),
        ("/größe", "is visible ASCII"),
        (&format!("/{}", "a".repeat(1024)), "at most 1024 bytes"),
    ] {
        publish(&plain, &["--health", path]).ended(1).complaining(&[why]);
    }
    daemon.stop();

    let daemon = Daemon::start(dir.path(), &[]);
    let versions = daemon.serin(&["function", "versions", "shop", "-o", "json"]).done().json();
    let health = |index: usize| versions["versions"][index]["health"].clone();
    assert_eq!([health(0), health(1), health(2)], ["/status/204".into(), "/healthz".into(), Value::Null]);
    assert_eq!(versions["versions"][0]["url"], both);
    let get = daemon.serin(&["function", "get", "shop", "-o", "json"]).done().json();
    assert_eq!(get["health"], "/status/204");
    assert!(daemon.serin(&["function", "get", "shop"]).done().out.contains("health    /status/204"));
    for table in [&["function", "versions", "shop"][..], &["function", "list"]] {
        let table = daemon.serin(table).done().out;
        assert!(table.contains(" HEALTH") && table.contains(" /status/204"), "{table}");
    }
    let mut client = Client::connect(daemon.api);
    client.send("GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n");
    let metrics = client.answer().text().to_owned();
    let series = metrics.lines().filter(|line| line.starts_with("serin_upstream_up{"));
    let place = |version: &str, at: &Version| {
        let addr = at.addr();
        format!("serin_upstream_up{{function=\"shop\",version=\"{version}\",place=\"{addr}\"}} 1.0")
    };
    let mut expected = [
        place("$LATEST", &one),
        place("$LATEST", &two),
        place("2", &one),
        place("3", &one),
        place("3", &two),
    ];
    expected.sort();
    let mut found: Vec<&str> = series.collect();
    found.sort_unstable();
    assert_eq!(found, expected, "version 1 is at one place without a path");
    until("both are asked", || one.seen().requests() > 0 && two.seen().requests() > 0);
}
