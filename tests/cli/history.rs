//! `serin history`.

use crate::support::serin::{Daemon, Running};
use crate::support::until;

fn published(dir: &std::path::Path, count: usize) -> Daemon {
    let daemon = Daemon::start(dir, &[]);
    for number in 0..count {
        let url = format!("http://127.0.0.1:{}", 9_000 + number);
        daemon.serin(&["function", "publish", "shop", "--url", &url, "--reason", "PAY-811"]).done();
    }
    daemon.serin(&["alias", "create", "shop:live", "--version", "1"]).done();
    daemon
}

#[test]
fn the_journal_is_told_oldest_first() {
    let dir = tempfile::tempdir().unwrap();
    let daemon = published(dir.path(), 2);
    let all = daemon.serin(&["history"]).done().out;
    let lines: Vec<&str> = all.lines().collect();
    assert_eq!(lines.len(), 4, "{all}");
    assert!(lines[0].contains("tester@") && lines[0].contains("(claimed)"), "{all}");
    assert!(lines[1].contains("published v1") && lines[1].ends_with(": \"PAY-811\""), "{all}");
    assert!(lines[3].contains("shop:live") && lines[3].contains("created alias shop:live on v1"), "{all}");

    let of_alias = daemon.serin(&["history", "shop:live"]).done().out;
    assert_eq!(of_alias.lines().count(), 1, "{of_alias}");
    let page = daemon.serin(&["history", "--after", "1", "--limit", "2", "-o", "json"]).done().json();
    let seqs: Vec<u64> =
        page["events"].as_array().unwrap().iter().map(|event| event["seq"].as_u64().unwrap()).collect();
    assert_eq!(seqs, [2, 3]);
    let newest = daemon.serin(&["history", "--limit", "1", "-o", "json"]).done().json();
    assert_eq!(newest["events"][0]["seq"], 4);
    daemon.serin(&["history", "--limit", "0"]).ended(2).complaining(&["1..=1000"]);
    daemon.serin(&["history", "shop:none"]).ended(1).complaining(&["there is no alias shop:none"]);
}

#[test]
fn what_is_added_is_followed_through_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let daemon = published(dir.path(), 1);
    let api = daemon.api.to_string();
    let mut follow = daemon.command();
    follow.args(["history", "shop:live", "--follow", "-o", "json"]);
    let following = Running::start(follow);
    until("what was is told", || following.out().lines().count() == 1);
    daemon.serin(&["alias", "update", "shop:live", "--description", "one"]).done();
    until("what is added is told", || following.out().lines().count() == 2);

    daemon.stop();
    until("the outage is told", || following.err().contains("trying again"));
    let daemon = Daemon::start(dir.path(), &["--api", &api]);
    daemon.serin(&["alias", "update", "shop:live", "--description", "two"]).done();
    until("what came after is told", || following.out().lines().count() == 3);
    assert!(following.err().contains("answers again"), "{}", following.err());
    let seqs: Vec<u64> = following
        .out()
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap()["seq"].as_u64().unwrap())
        .collect();
    assert!(seqs.is_sorted(), "{seqs:?}");
}
