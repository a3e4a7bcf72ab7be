//! `serin alias`.

use serde_json::json;

use crate::support::client::Client;
use crate::support::serin::Daemon;
use crate::support::upstream::Version;

#[test]
fn an_alias_is_made_moved_shown_and_deleted() {
    let dir = tempfile::tempdir().unwrap();
    let daemon = Daemon::start(dir.path(), &[]);
    let versions = [Version::start("one"), Version::start("two")];
    for version in &versions {
        let url = format!("http://{}", version.addr());
        daemon.serin(&["function", "publish", "shop", "--url", &url]).done();
    }
    let made = daemon.serin(&["alias", "create", "shop:live", "--version", "1", "--description", "all"]);
    assert!(made.done().out.contains("traffic    v1\n"));
    assert_eq!(Client::connect(daemon.router).get("/shop:live/x").text(), "one");
    daemon
        .serin(&["alias", "create", "shop:live", "--version", "2"])
        .ended(1)
        .complaining(&["exists already", "serin alias update"]);

    let split = daemon.serin(&["alias", "update", "shop:live", "--weight", "2=12.5%"]).done().out;
    assert!(split.contains("v1 87.5% / v2 12.5%"), "{split}");
    let get = daemon.serin(&["alias", "get", "shop:live", "-o", "json"]).done().json();
    assert_eq!(get["routing"]["additionalWeight"], json!(0.125));
    assert_eq!(get["description"], "all");
    let revision = get["revisionId"].as_str().unwrap();

    let moved = ["alias", "update", "shop:live", "--version", "2", "--clear-weights", "--revision-id"];
    daemon
        .serin(&[&moved[..], &["nonsense"]].concat())
        .ended(1)
        .complaining(&["has changed since", revision]);
    let moved = daemon.serin(&[&moved[..], &[revision, "-o", "json"]].concat()).done().json();
    assert_eq!(moved["routing"]["text"], "v2");
    assert_eq!(Client::connect(daemon.router).get("/shop:live/x").text(), "two");

    let list = daemon.serin(&["alias", "list", "shop"]).done().out;
    assert!(list.contains("shop:live  v2"), "{list}");
    let list = daemon.serin(&["alias", "list", "shop", "-o", "json"]).done().json();
    assert_eq!(list["aliases"].as_array().map(Vec::len), Some(1));
    assert_eq!(daemon.serin(&["alias", "delete", "shop:live"]).done().out, "alias shop:live is deleted\n");
    assert_eq!(daemon.serin(&["alias", "delete", "shop:live"]).done().out, "alias shop:live was not there\n");
    let none = daemon.serin(&["alias", "list", "shop"]).done();
    assert!(none.out.is_empty() && none.err.contains("serin alias create shop:live"), "{none:?}");
}

#[test]
fn what_cannot_be_is_refused_before_it_is_sent() {
    for (args, part) in [
        (&["alias", "create", "shop", "--version", "1"][..], "function:alias"),
        (&["alias", "create", "shop:1", "--version", "1"], "not digits alone"),
        (&["alias", "create", "shop:live"], "--version"),
        (&["alias", "update", "shop:live"], "--clear-weights"),
        (&["alias", "update", "shop:live", "--weight", "2=3"], "needs its unit, as in 3%"),
        (&["alias", "update", "shop:live", "--weight", "3%"], "VERSION=SHARE"),
        (&["alias", "update", "shop:live", "--weight", "2=3%", "--clear-weights"], "cannot be used with"),
    ] {
        crate::support::serin::serin(args).ended(2).complaining(&[part]);
    }
}
