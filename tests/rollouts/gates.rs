//! Gates outside: liars, hangs and nonsense advance nothing, and the router's own counters keep their veto.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};

use super::Stage;
use crate::support::house::House;
use crate::support::service::{Load, Service};

/// A server that answers whatever it is told to, byte for byte; told nothing, it hangs.
struct Liar {
    addr: SocketAddr,
    says: Arc<Mutex<Option<Vec<u8>>>>,
    heard: Arc<Mutex<Vec<String>>>,
}

impl Liar {
    fn start(says: Option<Vec<u8>>) -> Liar {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = listener.local_addr().unwrap();
        let liar = Liar { addr, says: Arc::new(Mutex::new(says)), heard: Arc::default() };
        let (says, heard) = (Arc::clone(&liar.says), Arc::clone(&liar.heard));
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let (says, heard) = (Arc::clone(&says), Arc::clone(&heard));
                std::thread::spawn(move || {
                    let _ = answer(stream, &says, &heard);
                });
            }
        });
        liar
    }

    fn say(&self, says: Vec<u8>) {
        *self.says.lock().unwrap() = Some(says);
    }

    fn heard(&self) -> Vec<String> {
        self.heard.lock().unwrap().clone()
    }
}

fn answer(
    mut stream: TcpStream,
    says: &Mutex<Option<Vec<u8>>>,
    heard: &Mutex<Vec<String>>,
) -> std::io::Result<()> {
    let (mut request, mut buffer) = (Vec::new(), [0; 4096]);
    loop {
        let count = stream.read(&mut buffer)?;
        if count == 0 {
            break;
        }
        request.extend_from_slice(&buffer[..count]);
        let text = String::from_utf8_lossy(&request).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head.to_ascii_lowercase();
            let length = length.split("content-length: ").nth(1).and_then(|rest| rest.lines().next());
            if body.len() >= length.map_or(0, |length| length.trim().parse().unwrap()) {
                break;
            }
        }
    }
    heard.lock().unwrap().push(String::from_utf8_lossy(&request).into_owned());
    let said = says.lock().unwrap().clone();
    match said {
        Some(bytes) => stream.write_all(&bytes),
        None => stream.read(&mut buffer).map(|_| ()),
    }
}

fn http(status: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    format!("HTTP/1.1 {status}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}").into_bytes()
}

#[expect(clippy::disallowed_methods, reason = "a sample carries the present time")]
fn sample(value: &str) -> String {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    format!(
        r#"{{"status":"success","data":{{"resultType":"vector","result":[{{"metric":{{}},"value":[{now},"{value}"]}}]}}}}"#
    )
}

/// A plan that waits for nothing but one metric.
fn measured(alias: &str, source: &str) -> String {
    format!(
        "function: f\nalias: {alias}\nsteps: [25%, 100%]\nbake: 0s\nanalysis:\n  proof: none\n  metrics:\n    \
         - {{name: queue-age, {source}, max: 30, interval: 1s, inconclusiveLimit: 1000}}\n"
    )
}

#[test]
fn no_bad_answer_advances_and_a_good_one_does() {
    let house = House::start();
    let service = Service::start(0.0, 1);
    house.publish("f", &service.url());
    house.publish("f", &service.url());
    let prometheus = |addr: SocketAddr| format!("prometheus: {{url: \"http://{addr}\", query: q}}");
    let hook = |addr: SocketAddr| format!("webhook: {{url: \"http://{addr}/n\", timeout: 1s, retries: 0}}");
    let two = sample("1").replace("}]}}", "},{\"metric\":{},\"value\":[1,\"2\"]}]}}");
    let stale = sample("1").replace("\"value\":[1", "\"value\":[0.1");
    let big = format!("1{}", " ".repeat(10 * 1024 * 1024));
    let cases = [
        ("a-nan", true, Some(http("200 OK", &sample("NaN"))), "NaN"),
        ("a-inf", true, Some(http("200 OK", &sample("+Inf"))), "inf"),
        ("a-two", true, Some(http("200 OK", &two)), "2 series"),
        ("a-stale", true, Some(http("200 OK", &stale)), "stale"),
        ("a-html", true, Some(http("200 OK", "<html>1</html>")), "HTML"),
        ("a-empty", true, Some(http("200 OK", "")), "empty"),
        ("a-null", false, Some(http("200 OK", "null")), "null"),
        ("a-big", false, Some(http("200 OK", &big)), "longer than"),
        ("a-down", false, Some(http("503 Service Unavailable", "1")), "503"),
        ("a-moved", false, Some(http("302 Found", "1")), "redirects"),
        ("a-garbage", false, Some(b"1\r\n\r\n".to_vec()), ""),
        ("a-hang", false, None, "in time"),
    ];
    let liars: Vec<Liar> = cases
        .iter()
        .map(|(alias, is_prometheus, says, _)| {
            let liar = Liar::start(says.clone());
            house.alias("f", alias, "1");
            let source = if *is_prometheus { prometheus(liar.addr) } else { hook(liar.addr) };
            house.start_rollout(&measured(alias, &source), &json!({ "to": "2" })).ok();
            liar
        })
        .collect();
    for (liar, (alias, _, _, why)) in liars.iter().zip(&cases) {
        let target = format!("f:{alias}");
        let patience = Duration::from_secs(60);
        let status = house.wait_until(&target, "without a verdict twice", patience, |status| {
            let needs = status["waitingFor"]["needs"].as_str().unwrap_or_default();
            needs.contains("no verdict") && !needs.contains(", 1 without")
        });
        let needs = status["waitingFor"]["needs"].as_str().unwrap();
        println!("{alias}: {needs}");
        assert!(needs.contains(why), "{alias}: {needs}");
        assert_eq!(status["waitingFor"]["kind"], "metrics", "{alias}");
        assert_eq!(status["weight"]["committed"], 0.25, "{alias}");
        assert!(liar.heard().len() >= 2, "{alias}");
    }
    for (liar, (alias, is_prometheus, ..)) in liars.iter().zip(&cases) {
        liar.say(http("200 OK", &if *is_prometheus { sample("1") } else { "1".to_owned() }));
        house.wait_for(&format!("f:{alias}"), "Succeeded", Duration::from_secs(60));
    }
}

#[test]
fn a_metric_out_of_bounds_rolls_back() {
    let stage = Stage::set(0.0, 0.0);
    let liar = Liar::start(Some(http("200 OK", &sample("31"))));
    let source = format!("prometheus: {{url: \"http://{}\", query: \"max(queue_age)\"}}", liar.addr);
    stage.house.start_rollout(&measured("live", &source), &json!({})).ok();
    let status = stage.house.wait_for("f:live", "RolledBack", Duration::from_secs(60));
    assert!(status["reason"].as_str().unwrap().contains("queue-age is 31"), "{status:#}");
    assert!(liar.heard()[0].contains("/api/v1/query?query=max"), "{:?}", liar.heard());
}

#[test]
fn own_counters_veto_a_metric_that_says_all_is_well() {
    let stage = Stage::set(0.0, 1.0);
    let liar = Liar::start(Some(http("200 OK", "0")));
    let source = format!("webhook: {{url: \"http://{}/\"}}", liar.addr);
    let plan = measured("live", &source).replace("bake: 0s", "bake: 1h");
    stage.house.start_rollout(&plan, &json!({})).ok();
    let _load = Load::start(stage.house.router(), "/f:live/", 100.0);
    let status = stage.house.wait_for("f:live", "RolledBack", Duration::from_secs(60));
    println!("{}", status["reason"]);
    assert!(status["reason"].as_str().unwrap().contains("requests failed"), "{status:#}");
}

#[test]
fn a_web_hook_is_told_what_it_is_about_and_no_secret_is_shown() {
    let mut stage = Stage::set(0.0, 0.0);
    let liar = Liar::start(Some(http("500 No", "")));
    let plan = format!(
        "function: f\nalias: live\nsteps:\n  - webhook: {{url: \"http://{}/smoke\", timeout: 20s, retries: 20, headers: \
         {{authorization: {{env: CARGO_MANIFEST_DIR}}}}}}\n  - 100%\nanalysis: none\nbake: 0s\n",
        liar.addr
    );
    let secret = env!("CARGO_MANIFEST_DIR").to_owned();
    stage.house.start_rollout(&plan, &json!({})).ok();
    let twice = |status: &Value| {
        let needs = status["waitingFor"]["needs"].as_str().unwrap_or_default();
        needs.contains("answered 500") && needs.contains("asked 2 ")
    };
    let status = stage.house.wait_until("f:live", "asked twice", Duration::from_secs(60), twice);
    assert_eq!(status["waitingFor"]["kind"], "webhook");
    assert_eq!(status["weight"]["committed"], 0.0);
    // A hang, and the daemon goes down meanwhile: it is simply asked again, under the same key.
    *liar.says.lock().unwrap() = None;
    let asked = liar.heard().len();
    stage.house.wait_until("f:live", "hanging", Duration::from_secs(60), |_| liar.heard().len() > asked);
    stage.house.shut_down();
    liar.say(http("204 No Content", ""));
    stage.house.boot();
    stage.house.wait_for("f:live", "Succeeded", Duration::from_secs(60));

    let heard = liar.heard();
    let key = |request: &String| {
        let line = request.lines().find(|line| line.to_ascii_lowercase().starts_with("idempotency-key: "));
        line.unwrap().to_owned()
    };
    assert!(heard.iter().all(|request| key(request) == key(&heard[0])), "{heard:?}");
    assert!(heard.iter().all(|request| request.contains(&secret)), "{heard:?}");
    let body: Value = serde_json::from_str(heard[0].split("\r\n\r\n").nth(1).unwrap()).unwrap();
    assert_eq!((&body["function"], &body["alias"]), (&json!("f"), &json!("live")));
    assert_eq!((&body["stable"]["version"], &body["canary"]["version"]), (&json!("1"), &json!("2")));
    assert_eq!(body["rollout"], status["id"]);
    let canary = body["canary"]["url"].as_str().unwrap().trim_end_matches('/');
    assert_eq!(canary, stage.canary.url());
    for path in ["", "/explain", "/events?limit=1000&after=0"] {
        let shown = stage.house.get(&format!("/v1/rollouts/f:live{path}"));
        assert!(!shown.body.to_string().contains(&secret), "{path}: {}", shown.body);
    }
}

/// A real Prometheus that watches itself, killed when dropped.
struct Prometheus {
    child: Child,
    addr: SocketAddr,
    _dir: tempfile::TempDir,
}

impl Prometheus {
    #[expect(clippy::disallowed_methods, reason = "which binary to test against is a switch of the test run")]
    fn start() -> Prometheus {
        let binary = std::env::var("SERIN_TEST_PROMETHEUS").expect("the path of a prometheus binary");
        let addr = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let dir = tempfile::tempdir().unwrap();
        let config = dir.path().join("prometheus.yml");
        let scrape = format!(
            "scrape_configs:\n- job_name: self\n  scrape_interval: 1s\n  static_configs:\n  - targets: [\"{addr}\"]\n"
        );
        std::fs::write(&config, scrape).unwrap();
        let child = Command::new(binary)
            .arg(format!("--config.file={}", config.display()))
            .arg(format!("--storage.tsdb.path={}", dir.path().join("data").display()))
            .arg(format!("--web.listen-address={addr}"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        Prometheus { child, addr, _dir: dir }
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
#[ignore = "needs a prometheus binary in SERIN_TEST_PROMETHEUS; scripts/test unpacks Debian's and runs this"]
fn a_real_prometheus_lets_through_holds_and_rolls_back() {
    let house = House::start();
    let service = Service::start(0.0, 1);
    house.publish("f", &service.url());
    house.publish("f", &service.url());
    let start = |addr: SocketAddr, alias: &str, query: &str| {
        house.alias("f", alias, "1");
        let source = format!("prometheus: {{url: \"http://{addr}\", query: '{query}'}}");
        house.start_rollout(&measured(alias, &source), &json!({ "to": "2" })).ok();
    };
    let patience = Duration::from_secs(120);
    let mut prometheus = Prometheus::start();
    let addr = prometheus.addr;
    start(addr, "up", "up");
    house.wait_for("f:up", "Succeeded", patience);
    start(addr, "much", "up + 30");
    let status = house.wait_for("f:much", "RolledBack", patience);
    println!("much: {}", status["reason"]);
    for (alias, query, why) in [
        ("nan", "up / 0 * 0", "NaN"),
        ("inf", "up / 0", "inf"),
        ("none", "no_such_metric", "no series"),
        ("many", "{__name__=~\"up|prometheus_tsdb_head_series\"}", "2 series"),
        ("broken", "max(", "parse error"),
        ("matrix", "up[1m]", "matrix"),
    ] {
        start(addr, alias, query);
        let target = format!("f:{alias}");
        let status = house.wait_until(&target, "without a verdict", patience, |status| {
            status["waitingFor"]["needs"].as_str().unwrap_or_default().contains("no verdict")
        });
        println!("{alias}: {}", status["waitingFor"]["needs"]);
        assert!(status["waitingFor"]["needs"].as_str().unwrap().contains(why), "{status:#}");
        assert_eq!(status["weight"]["committed"], 0.25);
    }
    // Down: no advance, and what waits goes on waiting.
    prometheus.child.kill().unwrap();
    prometheus.child.wait().unwrap();
    start(addr, "down", "up");
    let status = house.wait_until("f:down", "without a verdict", patience, |status| {
        status["waitingFor"]["needs"].as_str().unwrap_or_default().contains("connection refused")
    });
    println!("down: {}", status["waitingFor"]["needs"]);
    assert_eq!(status["weight"]["committed"], 0.25);
}
