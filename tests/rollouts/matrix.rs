//! Every phase answers every command, over the real API, as the golden table says; and the same key gets the same reply.

use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use serin::control::data_plane::DataPlane;
use serin::router::table::{Edit, RoutingTable};
use serin_core::lambda::alias::AliasId;
use serin_core::lambda::function::Revision;

use crate::support::house::{House, Reply};
use crate::support::{golden, root};

const PATIENCE: Duration = Duration::from_secs(20);

/// A data plane that serves and does not say so while it is held, so that passing phases stay.
struct Reticent {
    table: Arc<RoutingTable>,
    held: Arc<AtomicBool>,
}

impl DataPlane for Reticent {
    fn publish(&self, edits: Vec<Edit>) {
        self.table.publish(edits);
    }

    fn serving(&self, alias: &AliasId) -> Option<Revision> {
        if self.held.load(Ordering::SeqCst) { None } else { DataPlane::serving(&*self.table, alias) }
    }
}

/// What people call it, the verb, and the body for the step they saw.
type Asked = (&'static str, &'static str, fn(u64) -> Value);

const COMMANDS: [Asked; 12] = [
    ("promote", "promote", |step| json!({ "step": step, "reason": "r" })),
    ("promote, another step", "promote", |step| json!({ "step": step + 9, "reason": "r" })),
    ("promote --full", "promote", |step| json!({ "step": step, "full": true, "reason": "r" })),
    ("pause", "pause", |_| json!({})),
    ("resume", "resume", |_| json!({})),
    ("resume --restore", "resume", |_| json!({ "drift": "restore" })),
    ("resume --adopt", "resume", |_| json!({ "drift": "adopt" })),
    ("approve", "approve", |_| json!({})),
    ("abort", "abort", |_| json!({})),
    ("rollback", "rollback", |_| json!({})),
    ("rollback --to 3", "rollback", |_| json!({ "to": "3" })),
    ("retry", "retry", |_| json!({})),
];

struct Bench {
    house: House,
    held: Arc<AtomicBool>,
    aliases: usize,
}

impl Bench {
    fn set() -> Bench {
        let held = Arc::new(AtomicBool::new(false));
        let plane = Arc::clone(&held);
        let house = House::start_on(move |table| Arc::new(Reticent { table, held: plane }));
        for port in 1..=3 {
            house.publish("f", &format!("http://127.0.0.1:{port}"));
        }
        Bench { house, held, aliases: 0 }
    }

    /// A new alias on version 1.
    fn alias(&mut self) -> String {
        self.aliases += 1;
        let alias = format!("a{}", self.aliases);
        self.house.alias("f", &alias, "1");
        alias
    }

    fn start(&self, alias: &str, rest: &str) {
        let plan = format!("function: f\nalias: {alias}\nanalysis: none\nversion: \"2\"\n{rest}");
        self.house.start_rollout(&plan, &json!({})).ok();
    }

    fn post(&self, alias: &str, verb: &str, body: &Value) {
        self.house.verb(&format!("f:{alias}"), verb, body).ok();
    }

    fn phase(&self, alias: &str, phase: &str) {
        self.house.wait_for(&format!("f:{alias}"), phase, PATIENCE);
    }

    /// An alias whose rollout is in a phase.
    fn in_phase(&mut self, phase: &str) -> String {
        let alias = self.alias();
        let by_hand = "steps: [3%, 5%, 100%]\nbake: 1h\n";
        match phase {
            "Pending" => self.start(
                &alias,
                "steps: [3%, 100%]\nwindows: {freeze: [{from: 2020-01-01, to: 2120-01-01}]}\n",
            ),
            "Progressing, approval" => self.start(&alias, "steps: [3%, {approval: {}}, 100%]\nbake: 1h\n"),
            "Paused by plan" => self.start(&alias, "steps: [3%, {pause: {}}, 100%]\nbake: 1h\n"),
            "RolledBack" | "RollingBack" => {
                self.start(&alias, "steps: [3%, 100%]\nbake: 1h\nstepDeadline: {after: 1s, then: rollback}\n")
            }
            _ => self.start(&alias, by_hand),
        }
        if phase != "Pending" {
            let target = format!("f:{alias}");
            self.house.wait_until(&target, "begun", PATIENCE, |status| status["step"]["index"] != 0);
        }
        match phase {
            "Paused by operator" => self.post(&alias, "pause", &json!({})),
            "Paused by drift" => {
                let body = json!({ "additionalWeights": { "2": 0.5 } });
                self.house.ask("PUT", &format!("/v1/functions/f/aliases/{alias}"), Some(&body), &[]).ok();
            }
            "Succeeded" => {
                self.post(&alias, "promote", &json!({ "step": 1, "full": true }));
                self.phase(&alias, "Succeeded");
            }
            "Aborted" => {
                self.post(&alias, "abort", &json!({}));
                self.phase(&alias, "Aborted");
            }
            "Superseded" => {
                let plan = format!(
                    "function: f\nalias: {alias}\nanalysis: none\nsteps: [3%, 100%]\nbake: 1h\nonNewVersion: replace\n"
                );
                let first = self.house.status(&format!("f:{alias}"))["id"].as_str().unwrap().to_owned();
                self.house.start_rollout(&plan, &json!({ "to": "3" })).ok();
                self.house.wait_for(&first, "Superseded", PATIENCE);
            }
            "RolledBack" => self.phase(&alias, "RolledBack"),
            "Promoting" => {
                self.held.store(true, Ordering::SeqCst);
                self.post(&alias, "promote", &json!({ "step": 1, "full": true }));
                self.phase(&alias, "Promoting");
            }
            "RollingBack" => {
                self.held.store(true, Ordering::SeqCst);
                self.phase(&alias, "RollingBack");
            }
            _ => {}
        }
        alias
    }

    /// What a command answers; the target is the alias's first rollout, whatever came after it.
    fn cell(&self, alias: &str, name: &str, command: (&str, Value)) -> String {
        let target = format!("f:{alias}");
        let rollouts = self.house.get(&format!("/v1/rollouts?target={target}")).ok();
        let id = rollouts["rollouts"].as_array().unwrap().last().unwrap()["id"].as_str().unwrap().to_owned();
        let path = format!("/v1/rollouts/{id}/{}", command.0);
        let key = format!("{alias}/{name}");
        let headers = [("idempotency-key", key.as_str())];
        // What serin does by itself meanwhile, such as confirming, is not the command's.
        let by_hand = || self.house.history(&target).iter().filter(|event| event["actor"] != "serin").count();
        let before = by_hand();
        let first = self.house.ask("POST", &path, Some(&command.1), &headers);
        let second = self.house.ask("POST", &path, Some(&command.1), &headers);
        let mut again = second.body.clone();
        if first.body["routing"] != second.body["routing"] {
            // serin itself has moved the alias since, and the reply given again says what it is now.
            assert!(second.body["message"].to_string().contains("nothing was done again"), "{second:?}");
            (again["routing"], again["message"]) =
                (first.body["routing"].clone(), first.body["message"].clone());
        }
        assert_eq!(
            (first.status, &first.body),
            (second.status, &again),
            "{alias} {name}: the same key got another reply"
        );
        let events = by_hand() - before;
        let changed = first.body["changed"] == true;
        // Going to another version also ends what waits, which is an event of its own.
        let also = usize::from(name.contains("--to") && events == 2);
        assert_eq!(events, usize::from(changed) + also, "{alias} {name}: one event for one change");
        words(&first, &target, &id)
    }
}

fn words(reply: &Reply, target: &str, id: &str) -> String {
    let text = match reply.status {
        200 => {
            let changed = if reply.body["changed"] == true { "" } else { "no change, " };
            format!(
                "{changed}{} step {}: {}",
                reply.body["phase"].as_str().unwrap_or("no rollout"),
                reply.body["step"],
                reply.body["message"].as_str().unwrap()
            )
        }
        _ => format!("{}: {}", reply.body["error"]["kind"].as_str().unwrap(), reply.error()),
    };
    let mut shown = String::new();
    let typed = format!(" {}`", &id[id.len() - 4..]);
    let mut rest =
        text.replace(target, "f:live").replace("59m 59s more", "1h more").replace(&typed, " 7f3a`");
    // Rollout names are random; what matters is that they are there.
    while let Some(at) = rest.find("rollout ") {
        let (before, after) = rest.split_at(at + "rollout ".len());
        let is_name = after.len() >= 4 && after[..4].bytes().all(|byte| byte.is_ascii_hexdigit());
        write!(shown, "{before}{}", if is_name { "7f3a" } else { "" }).unwrap();
        rest = if is_name { after[4..].to_owned() } else { after.to_owned() };
    }
    format!("{} {shown}{rest}", reply.status)
}

#[test]
fn every_phase_answers_every_command() {
    let mut bench = Bench::set();
    let mut table = String::new();
    for phase in [
        "Pending",
        "Progressing",
        "Progressing, approval",
        "Paused by operator",
        "Paused by plan",
        "Paused by drift",
        "Promoting",
        "RollingBack",
        "Succeeded",
        "RolledBack",
        "Aborted",
        "Superseded",
    ] {
        writeln!(table, "{phase}").unwrap();
        // All rollouts of a phase are made before any is asked, so that those that take a second take it together.
        let aliases: Vec<String> = COMMANDS
            .iter()
            .map(|_| {
                bench.held.store(false, Ordering::SeqCst);
                if matches!(phase, "RolledBack" | "RollingBack" | "Promoting") {
                    String::new()
                } else {
                    bench.in_phase(phase)
                }
            })
            .collect();
        for (index, (name, verb, body)) in COMMANDS.iter().enumerate() {
            let alias = if aliases[index].is_empty() {
                bench.held.store(false, Ordering::SeqCst);
                bench.in_phase(phase)
            } else {
                aliases[index].clone()
            };
            let step = bench.house.status(&format!("f:{alias}"))["step"]["index"].as_u64().unwrap();
            let cell = bench.cell(&alias, name, (verb, body(step)));
            writeln!(table, "  {name:22} {cell}").unwrap();
        }
        bench.held.store(false, Ordering::SeqCst);
    }
    if let Err(difference) = golden(&root().join("tests/rollouts/matrix.txt"), &table) {
        panic!("{difference}");
    }
}
