//! A whole daemon in this process, and the words to talk to it: over real sockets, as any client would.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use serin::config::{ProcessNetwork, Processes, QueueConfig, ServeConfig};
use serin::control::data_plane::DataPlane;
use serin::daemon::Daemon;
use serin::router::table::RoutingTable;
use tempfile::TempDir;

/// A daemon on free ports with a data directory of its own.
pub struct House {
    /// The daemon; `None` while it is down.
    pub daemon: Option<Daemon>,
    /// What it was started with.
    pub config: ServeConfig,
    agent: ureq::Agent,
    _dir: Option<TempDir>,
}

/// An answer of the API: status and JSON.
#[derive(Clone, Debug, PartialEq)]
pub struct Reply {
    /// The HTTP status.
    pub status: u16,
    /// The body; null if it is empty.
    pub body: Value,
}

impl Reply {
    /// The body of a success; panics with the error otherwise.
    #[track_caller]
    pub fn ok(self) -> Value {
        assert!((200..300).contains(&self.status), "{} {}", self.status, self.body);
        self.body
    }

    /// The error's text; panics on success.
    #[track_caller]
    pub fn error(&self) -> String {
        assert!(self.status >= 400, "a success: {}", self.body);
        self.body["error"]["message"]
            .as_str()
            .or(self.body["message"].as_str())
            .or(self.body["Message"].as_str())
            .unwrap_or_default()
            .to_owned()
    }
}

/// The configuration of a daemon in a directory, on free ports of loopback.
pub fn config(dir: &Path) -> ServeConfig {
    ServeConfig {
        data_dir: dir.join("data"),
        plans: None,
        api: "127.0.0.1:0".parse().unwrap(),
        router: "127.0.0.1:0".parse().unwrap(),
        tls: None,
        max_connections: None,
        max_connections_per_ip: None,
        proxy_protocol: false,
        trusted_proxies: Vec::new(),
        workers: Some(2),
        routes: Vec::new(),
        router_invoke: false,
        router_versions: false,
        token: None,
        plan_env: Default::default(),
        plan_ca: Vec::new(),
        principals: None,
        keep_history: Duration::from_secs(400 * 86_400),
        keep_logs: Duration::from_secs(14 * 86_400),
        processes: Processes {
            search: vec!["/usr/bin".into()],
            user: None,
            network: ProcessNetwork::Host,
            stage: env!("CARGO_BIN_EXE_serin").into(),
            idle: Duration::from_secs(60),
        },
        queues: QueueConfig::default(),
        event_retry_delay: Duration::from_secs(60),
        drain: Duration::from_secs(2),
        account: "000000000000".to_owned(),
        region: "us-east-1".to_owned(),
    }
}

impl House {
    /// Starts one without plans.
    pub fn start() -> House {
        House::start_with(|_| {})
    }

    /// Starts one with another configuration.
    pub fn start_with(change: impl FnOnce(&mut ServeConfig)) -> House {
        let dir = tempfile::tempdir().unwrap();
        let mut config = config(dir.path());
        change(&mut config);
        let agent = agent();
        let mut house = House { daemon: None, config, agent, _dir: Some(dir) };
        house.boot();
        house
    }

    /// Starts one with something else to apply weights.
    pub fn start_on(data_plane: impl FnOnce(Arc<RoutingTable>) -> Arc<dyn DataPlane>) -> House {
        let dir = tempfile::tempdir().unwrap();
        let config = config(dir.path());
        let daemon = Daemon::start_on(&config, data_plane).unwrap();
        House { daemon: Some(daemon), config, agent: agent(), _dir: Some(dir) }
    }

    /// Starts the daemon again on the same directory.
    pub fn boot(&mut self) {
        self.daemon = Some(Daemon::start(&self.config).unwrap());
    }

    /// Shuts the daemon down in good order.
    pub fn shut_down(&mut self) {
        if let Some(daemon) = self.daemon.take() {
            daemon.shut_down(Duration::from_secs(2)).unwrap();
        }
    }

    /// The directory of its plans, made when first asked for.
    pub fn plans(&self) -> PathBuf {
        self.config.plans.clone().unwrap()
    }

    /// The API's URL.
    pub fn url(&self) -> String {
        format!("http://{}", self.daemon.as_ref().unwrap().api_addr)
    }

    /// Where the router listens.
    pub fn router(&self) -> std::net::SocketAddr {
        self.daemon.as_ref().unwrap().router_addr
    }

    /// Asks the API.
    pub fn ask(&self, method: &str, path: &str, body: Option<&Value>, headers: &[(&str, &str)]) -> Reply {
        let bearer = self.config.token.as_ref().and_then(|tokens| tokens.split(',').next());
        let bearer = bearer.map(|token| format!("Bearer {token}"));
        let mut headers = headers.to_vec();
        if let Some(bearer) =
            bearer.as_deref().filter(|_| !headers.iter().any(|(name, _)| *name == "authorization"))
        {
            headers.push(("authorization", bearer));
        }
        ask(&self.agent, &self.url(), method, path, body, &headers)
    }

    /// Gets a path.
    pub fn get(&self, path: &str) -> Reply {
        self.ask("GET", path, None, &[])
    }

    /// Posts JSON to a path.
    pub fn post(&self, path: &str, body: &Value) -> Reply {
        self.ask("POST", path, Some(body), &[])
    }

    /// Publishes a version of function `f` and gives its number.
    pub fn publish(&self, function: &str, url: &str) -> String {
        let reply = self
            .post(&format!("/v1/functions/{function}/versions"), &json!({ "url": url, "new": true }))
            .ok();
        reply["version"].as_str().unwrap().to_owned()
    }

    /// Makes an alias on a version.
    pub fn alias(&self, function: &str, alias: &str, version: &str) {
        let body = json!({ "functionVersion": version });
        self.post(&format!("/v1/functions/{function}/aliases/{alias}"), &body).ok();
    }

    /// Starts a rollout by a plan's text.
    pub fn start_rollout(&self, plan: &str, more: &Value) -> Reply {
        let mut body = json!({ "plan": "test", "planText": plan });
        for (key, value) in more.as_object().unwrap() {
            body[key] = value.clone();
        }
        self.post("/v1/rollouts", &body)
    }

    /// Does something with a rollout.
    pub fn verb(&self, target: &str, verb: &str, body: &Value) -> Reply {
        self.post(&format!("/v1/rollouts/{target}/{verb}"), body)
    }

    /// A rollout's status.
    pub fn status(&self, target: &str) -> Value {
        self.get(&format!("/v1/rollouts/{target}")).ok()
    }

    /// A rollout's phase.
    pub fn phase(&self, target: &str) -> String {
        self.status(target)["phase"].as_str().unwrap().to_owned()
    }

    /// Waits until a rollout is in a phase; panics with its status after a while.
    #[track_caller]
    pub fn wait_for(&self, target: &str, phase: &str, patience: Duration) -> Value {
        self.wait_until(target, phase, patience, |status| status["phase"] == phase)
    }

    /// Waits until a rollout's status is as it should be.
    #[expect(clippy::disallowed_methods, reason = "tests wait in real time")]
    #[track_caller]
    pub fn wait_until(
        &self,
        target: &str,
        what: &str,
        patience: Duration,
        holds: impl Fn(&Value) -> bool,
    ) -> Value {
        let begun = Instant::now();
        loop {
            let status = self.status(target);
            if holds(&status) {
                return status;
            }
            assert!(begun.elapsed() < patience, "not {what} within {patience:?}: {status:#}");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// The journal of a target, oldest first.
    pub fn history(&self, target: &str) -> Vec<Value> {
        let reply = self.get(&format!("/v1/rollouts/{target}/events?limit=1000&after=0")).ok();
        reply["events"].as_array().unwrap().clone()
    }

    /// How many events of each kind a target has had.
    pub fn kinds(&self, target: &str) -> BTreeMap<String, usize> {
        let mut kinds = BTreeMap::new();
        for event in self.history(target) {
            *kinds.entry(event["kind"].as_str().unwrap().to_owned()).or_default() += 1;
        }
        kinds
    }
}

impl Drop for House {
    fn drop(&mut self) {
        if let Some(daemon) = self.daemon.take() {
            let _ = daemon.shut_down(Duration::from_millis(100));
        }
    }
}

/// An agent that hands errors over as answers.
pub fn agent() -> ureq::Agent {
    let config = ureq::Agent::config_builder()
        .http_status_as_error(false)
        .timeout_global(Some(Duration::from_secs(20)))
        .build();
    config.into()
}

/// Asks an API somewhere.
pub fn ask(
    agent: &ureq::Agent,
    url: &str,
    method: &str,
    path: &str,
    body: Option<&Value>,
    headers: &[(&str, &str)],
) -> Reply {
    let mut request = ureq::http::Request::builder().method(method).uri(format!("{url}{path}"));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let text = body.map(ToString::to_string);
    if text.is_some() {
        request = request.header("content-type", "application/json");
    }
    let mut response = match text {
        Some(text) => agent.run(request.body(text).unwrap()).unwrap(),
        None => agent.run(request.body(()).unwrap()).unwrap(),
    };
    let status = response.status().as_u16();
    // A streamed answer is no text.
    let text = String::from_utf8_lossy(&response.body_mut().read_to_vec().unwrap()).into_owned();
    let body = if text.is_empty() {
        Value::Null
    } else {
        serde_json::from_str(&text).unwrap_or(Value::String(text))
    };
    Reply { status, body }
}
