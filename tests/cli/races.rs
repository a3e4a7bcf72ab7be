//! Verbs that race for one alias while the daemon is killed: whoever is told that it is done read what the alias was.

use std::path::Path;
use std::process::Output;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;

use crate::support::house::{agent, ask};
use crate::support::serin::{Daemon, command};

const ROUNDS: u32 = 50;
const PLAN: &str = "function: f\nanalysis: none\nbake: 1h\nsteps: [50%, 100%]\n";

/// A hand that types one verb, what it is known by, and what the alias is if it succeeds.
struct Hand {
    name: &'static str,
    words: &'static [&'static str],
    then: &'static str,
}

const HANDS: [Hand; 3] = [
    Hand { name: "promoter", words: &["promote", "--full", "--reason", "race"], then: "v2" },
    Hand { name: "returner", words: &["rollback"], then: "v1" },
    Hand { name: "mover", words: &["alias", "update", "--version", "3", "--clear-weights"], then: "v3" },
];

impl Hand {
    fn type_it(&self, url: &str, target: &str) -> Output {
        let at = self.words.iter().position(|word| word.starts_with('-')).unwrap_or(self.words.len());
        let (verb, flags) = self.words.split_at(at);
        command()
            .envs([("SERIN_URL", url), ("USER", self.name)])
            .args(verb)
            .arg(target)
            .args(flags)
            .output()
            .unwrap()
    }
}

fn get(daemon: &Daemon, path: &str) -> Value {
    ask(&agent(), &daemon.url(), "GET", path, None, &[]).ok()
}

/// What the alias has been, oldest first, by the journal: who made it so, and what it was then.
fn course(daemon: &Daemon, alias: &str) -> Vec<(String, String)> {
    let history = get(daemon, &format!("/v1/rollouts/f:{alias}/events?after=0&limit=1000"));
    let events = history["events"].as_array().unwrap().iter();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let moved = events.filter(|event| !event["routing"].is_null());
    moved.map(|event| (text(&event["actor"]), text(&event["routing"]["text"]))).collect()
}

fn live(daemon: &Daemon, dir: &Path, alias: &str) {
    daemon.serin(&["alias", "create", &format!("f:{alias}"), "--version", "1"]).done();
    let plan = dir.join(format!("{alias}.yaml"));
    std::fs::write(&plan, format!("{PLAN}alias: {alias}\n")).unwrap();
    daemon.serin(&["start", plan.to_str().unwrap(), "--to", "2"]).done();
}

#[test]
fn whoever_is_told_that_it_is_done_read_what_the_alias_was_though_others_race_and_the_daemon_is_killed() {
    let dir = tempfile::tempdir().unwrap();
    let mut daemon = Daemon::start(dir.path(), &[]);
    for port in 1..=3 {
        daemon.serin(&["function", "publish", "f", "--url", &format!("http://127.0.0.1:{port}")]).done();
    }
    let (mut done, mut cut_off) = (0, 0);
    for round in 0..ROUNDS {
        let alias = format!("a{round}");
        live(&daemon, dir.path(), &alias);
        let (url, target) = (&*daemon.url(), &*format!("f:{alias}"));
        let typed: Vec<(&Hand, Output)> = std::thread::scope(|scope| {
            let hands = HANDS.iter().cycle().skip(round as usize % 3).take(3);
            let typing: Vec<_> =
                hands.map(|hand| scope.spawn(move || (hand, hand.type_it(url, target)))).collect();
            // In some rounds before all, in some between, in some behind them.
            std::thread::sleep(Duration::from_millis(u64::from(round * 7 % 50)));
            daemon.signal(Signal::KILL);
            typing.into_iter().map(|typing| typing.join().unwrap()).collect()
        });
        daemon.ended();
        daemon = Daemon::start(dir.path(), &[]);
        let course = course(&daemon, &alias);
        let is_now = get(&daemon, &format!("/v1/functions/f/aliases/{alias}"))["routing"]["text"].clone();
        let told = format!("round {round}: {course:?}, {is_now}: {typed:#?}", typed = said(&typed));
        assert_eq!(is_now, course.last().unwrap().1, "{told}");
        for (hand, output) in &typed {
            if output.status.code() != Some(0) {
                cut_off += 1;
                continue;
            }
            done += 1;
            let out = String::from_utf8_lossy(&output.stdout);
            let is_said = match hand.words[0] {
                "alias" => out.contains(hand.then),
                _ => out.contains(&format!("{target} is {} now", hand.then)),
            };
            assert!(is_said, "{}: {told}", hand.name);
            // It was so at some moment, and whoever made it so is written down; nothing that was told is lost.
            let own = course.iter().rev().find(|(actor, _)| actor.contains(hand.name));
            let was_so = match own {
                Some((_, routing)) => routing == hand.then,
                None => course.iter().any(|(_, routing)| routing == hand.then),
            };
            assert!(was_so, "{}: {told}", hand.name);
        }
    }
    assert!(done > 0 && cut_off > 0, "both were tried: {done} done, {cut_off} not");
    daemon.stop();
}

fn said(typed: &[(&Hand, Output)]) -> Vec<String> {
    let one = |(hand, output): &(&Hand, Output)| {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        format!("{} {:?} {}{}", hand.name, output.status.code(), text(&output.stdout), text(&output.stderr))
    };
    typed.iter().map(one).collect()
}
