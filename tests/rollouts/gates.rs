//! Gates outside: liars, hangs and nonsense advance nothing, and the router's own counters keep their veto.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};
use serin::config::{PlanEnv, ServeConfig};
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::{ServerConfig, ServerConnection, StreamOwned};

use super::Stage;
use crate::support::house::House;
use crate::support::service::{Load, Service};
use crate::support::tls::Authority;
use crate::support::uninterrupted;

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
        let count = uninterrupted(|| stream.read(&mut buffer))?;
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
        None => uninterrupted(|| stream.read(&mut buffer)).map(|_| ()),
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
    let house = House::start_with(|config| {
        config.plan_env = PlanEnv::read(&["CARGO_MANIFEST_DIR=127.0.0.1".parse().unwrap()]);
    });
    let mut stage = Stage::set_in(house, 0.0, 0.0);
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

/// A variable that every test run has; its value stands for a secret.
const SECRET: &str = env!("CARGO_MANIFEST_DIR");

fn given(entries: &[&str]) -> impl Fn(&mut ServeConfig) {
    let listed: Vec<_> = entries.iter().map(|entry| entry.parse().unwrap()).collect();
    move |config| config.plan_env = PlanEnv::read(&listed)
}

/// A plan whose web hook is sent a variable as a header.
fn hooked(url: &str, name: &str) -> String {
    format!(
        "function: f\nalias: live\nsteps:\n  - webhook: {{url: \"{url}\", timeout: 20s, headers: {{x-any: {{env: {name}}}}}}}\n  \
         - 100%\nanalysis: none\nbake: 0s\n"
    )
}

#[test]
fn a_plan_is_given_no_variable_that_is_not_listed_or_goes_elsewhere() {
    for (listed, name, says) in [
        (&[][..], "CARGO_MANIFEST_DIR", "`serin serve --plan-env CARGO_MANIFEST_DIR=127.0.0.1:"),
        (&["CARGO_MANIFEST_DIR=ci.example.com"], "CARGO_MANIFEST_DIR", "gives it to ci.example.com alone"),
        (&["CARGO_MANIFEST_DIR=127.0.0.1:1"], "CARGO_MANIFEST_DIR", "gives it to 127.0.0.1:1 alone"),
        (&["CARGO_MANIFEST_DIR"], "PATH", "the variable PATH, which is not among those"),
        (&["SERIN_TEST_NOT_SET"], "SERIN_TEST_NOT_SET", "not set in the daemon's environment"),
    ] {
        let stage = Stage::set_in(House::start_with(given(listed)), 0.0, 0.0);
        let liar = Liar::start(Some(http("204 No Content", "")));
        let plan = hooked(&format!("http://{}/", liar.addr), name);
        stage.house.start_rollout(&plan, &json!({})).ok();
        let status = stage.house.wait_for("f:live", "Paused", Duration::from_secs(60));
        let shown = stage.house.get("/v1/rollouts/f:live/events?limit=1000&after=0").ok().to_string();
        assert!(shown.contains(says), "{says:?} is not in {shown}");
        assert!(!status.to_string().contains(SECRET) && !shown.contains(SECRET), "{status:#}");
        assert!(liar.heard().is_empty(), "{:?}", liar.heard());
    }
}

#[test]
fn a_live_rollout_that_wants_a_variable_pauses_when_a_daemon_comes_that_is_not_given_it() {
    let liar = Liar::start(None);
    let plan = hooked(&format!("http://{}/", liar.addr), "CARGO_MANIFEST_DIR");
    let mut stage = Stage::set_in(House::start_with(given(&["CARGO_MANIFEST_DIR=127.0.0.1"])), 0.0, 0.0);
    stage.house.start_rollout(&plan, &json!({})).ok();
    stage.house.wait_until("f:live", "asked", Duration::from_secs(60), |_| !liar.heard().is_empty());
    assert_eq!(stage.house.phase("f:live"), "Progressing");
    stage.house.shut_down();
    let asked = liar.heard().len();
    stage.house.config.plan_env = PlanEnv::default();
    stage.house.boot();
    // Before the data plane opens.
    assert_eq!(stage.house.phase("f:live"), "Paused");
    let problems = stage.house.daemon.as_ref().unwrap().problems.join("\n");
    assert!(
        problems.contains("the live rollout of f:live wants the variable CARGO_MANIFEST_DIR"),
        "{problems}"
    );
    let ready = stage.house.get("/readyz").body;
    assert!(ready.as_str().unwrap().contains("wants the variable CARGO_MANIFEST_DIR"), "{ready}");
    assert_eq!(liar.heard().len(), asked);
    // Resumed without it, it pauses again; with it, it goes on.
    let before = stage.house.history("f:live").len();
    stage.house.verb("f:live", "resume", &json!({})).ok();
    let again = |_: &Value| stage.house.history("f:live").len() >= before + 2;
    stage.house.wait_until("f:live", "paused again", Duration::from_secs(60), again);
    stage.house.wait_for("f:live", "Paused", Duration::from_secs(60));
    stage.house.shut_down();
    given(&["CARGO_MANIFEST_DIR=127.0.0.1"])(&mut stage.house.config);
    stage.house.boot();
    liar.say(http("204 No Content", ""));
    stage.house.verb("f:live", "resume", &json!({})).ok();
    stage.house.wait_for("f:live", "Succeeded", Duration::from_secs(60));
    assert!(liar.heard().last().unwrap().contains(SECRET));
}

/// Answers every connection over TLS with a sample of Prometheus's, and tells what it heard.
fn tls_prometheus(authority: &Authority) -> (SocketAddr, Arc<Mutex<Vec<String>>>) {
    let (cert, key) = authority.sign_for("prometheus", "localhost");
    let chain = vec![CertificateDer::from_pem_file(cert).unwrap()];
    let provider = Arc::new(tokio_rustls::rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let config =
        config.with_no_client_auth().with_single_cert(chain, PrivateKeyDer::from_pem_file(key).unwrap());
    let (config, listener) = (Arc::new(config.unwrap()), TcpListener::bind("127.0.0.1:0").unwrap());
    let (addr, heard) = (listener.local_addr().unwrap(), Arc::new(Mutex::new(Vec::new())));
    let hears = Arc::clone(&heard);
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let mut tls = StreamOwned::new(ServerConnection::new(Arc::clone(&config)).unwrap(), stream);
            let (mut request, mut piece) = (Vec::new(), [0; 4096]);
            while !request.windows(4).any(|end| end == b"\r\n\r\n") {
                match tls.read(&mut piece) {
                    Ok(count @ 1..) => request.extend_from_slice(&piece[..count]),
                    _ => break,
                }
            }
            hears.lock().unwrap().push(String::from_utf8_lossy(&request).into_owned());
            let _ = tls.write_all(&http("200 OK", &sample("1")));
            tls.conn.send_close_notify();
            let _ = tls.flush();
        }
    });
    (addr, heard)
}

#[test]
fn a_prometheus_with_a_private_authority_and_a_bearer_header_is_asked() {
    let authority = Authority::new();
    let (addr, heard) = tls_prometheus(&authority);
    let source = format!(
        "prometheus: {{url: \"https://localhost:{}\", query: up, headers: {{authorization: {{env: CARGO_MANIFEST_DIR}}}}}}",
        addr.port()
    );
    for is_believed in [false, true] {
        let house = House::start_with(|config| {
            given(&["CARGO_MANIFEST_DIR=localhost"])(config);
            let ca = format!("localhost={}", authority.file().display());
            config.plan_ca = vec![ca.parse().unwrap()].into_iter().filter(|_| is_believed).collect();
        });
        let stage = Stage::set_in(house, 0.0, 0.0);
        stage.house.start_rollout(&measured("live", &source), &json!({})).ok();
        if is_believed {
            stage.house.wait_for("f:live", "Succeeded", Duration::from_secs(60));
        } else {
            stage.house.wait_until("f:live", "without a verdict", Duration::from_secs(60), |status| {
                status["waitingFor"]["needs"].as_str().unwrap_or_default().contains("no verdict")
            });
            assert!(
                !heard.lock().unwrap().iter().any(|request| request.contains(SECRET)),
                "sent to a stranger"
            );
        }
    }
    let heard = heard.lock().unwrap();
    assert!(heard.iter().any(|request| request.contains(&format!("authorization: {SECRET}"))), "{heard:?}");
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
