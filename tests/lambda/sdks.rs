//! A canary from deployment to promotion by each of the clients that people have beside boto3 and the `aws` of PyPI.
//!
//! Each has a function with two aliases. `beta` it moves to version 2 itself, in UpdateAlias' weights, as AWS's sample
//! deployer does; `live` serin moves, by a plan that begins when the client publishes version 2. What a client runs is in
//! `sdks/`.
//!
//! SAM builds, invokes and reads logs. `sam deploy`, `sync` and `delete`, and functions by the names they have in a stack,
//! need CloudFormation, which serin is not: what SAM built is made a function by boto3, and called by its ARN.
//!
//! The daemon has principals, so that every request's signature is held to the client's key.

use std::collections::BTreeMap;
use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};
use tempfile::TempDir;

use super::aws::{ENVIRONMENT, SECRET, request, words};
use super::first_day::function;
use crate::support::client::Client;
use crate::support::functions::{Python, python_with_ric};
use crate::support::house::{agent, ask};
use crate::support::serin::Daemon;
use crate::support::sqs::Sqs;
use crate::support::{root, until};

/// How many invocations each version answered, by alias.
type Answered = BTreeMap<String, BTreeMap<String, u64>>;

/// What the test itself says who it is with.
const TOKEN: &str = "token-of-the-test-itself";

/// A daemon with the plan of `live`.
struct Stage {
    daemon: Daemon,
    function: &'static str,
    dir: TempDir,
}

impl Stage {
    fn set(function: &'static str, flags: &[&str]) -> Stage {
        let dir = tempfile::tempdir().unwrap();
        let plans = dir.path().join("plans");
        std::fs::create_dir(&plans).unwrap();
        // What must be shown is little, because some clients take a second for each request.
        let plan = format!(
            "function: {function}\nalias: live\nstart: onPublish\nfirstWeight: unproven\nsteps: [50%, 100%]\nbake: 1s\n\
             analysis:\n  latency: none\n  proof: {{addedFailures: 20pp}}\n"
        );
        std::fs::write(plans.join("live.yaml"), plan).unwrap();
        let principals = dir.path().join("principals.yaml");
        let deployer = format!(
            "principals:\n  - principal: arn:aws:iam::000000000000:user/deployer\n    owner: true\n    \
             accessKey: {{id: AKIDEXAMPLE, secret: {{inline: \"{SECRET}\"}}}}\n    token: {{inline: \"{TOKEN}\"}}\n"
        );
        std::fs::write(&principals, deployer).unwrap();
        std::fs::set_permissions(&principals, Permissions::from_mode(0o600)).unwrap();
        let flags = [&["--plans", text(&plans), "--principals", text(&principals)], flags].concat();
        Stage { daemon: Daemon::start(dir.path(), &flags), function, dir }
    }

    /// The function in Python that a client builds.
    fn set_for_python(function: &'static str, python: &Python) -> Stage {
        Stage::set(function, &["--runtime-path", text(&python.search)])
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn get(&self, path: &str) -> Value {
        let bearer = format!("Bearer {TOKEN}");
        ask(&agent(), &self.daemon.url(), "GET", path, None, &[("authorization", &bearer)]).ok()
    }

    fn alias(&self, name: &str) -> Value {
        self.get(&format!("/2015-03-31/functions/{}/aliases/{name}", self.function))
    }

    /// Requests that serin counted by those aliases.
    fn counted(&self) -> Answered {
        let metrics = self.get("/metrics");
        let mut counted = Answered::new();
        let begin = format!("serin_requests_total{{function=\"{}\",alias=\"", self.function);
        for line in metrics.as_str().unwrap().lines().filter_map(|line| line.strip_prefix(&begin)) {
            let parts: Vec<&str> = line.split('"').collect();
            let [alias, _, version, count] = parts[..] else { panic!("{line}") };
            if !["beta", "live"].contains(&alias) {
                continue;
            }
            let count = count.trim_start_matches('}').trim().parse().unwrap();
            counted.entry(alias.to_owned()).or_default().insert(version.to_owned(), count);
        }
        counted
    }

    /// Asserts that both aliases are on version 2 alone, that serin's rollout is what moved `live`, and that every
    /// invocation was counted once, for the version that the client was told.
    fn assert_promoted(&self, answered: &Answered) {
        println!("{answered:?}");
        for name in ["beta", "live"] {
            let alias = self.alias(name);
            assert_eq!(
                (&alias["FunctionVersion"], alias.get("RoutingConfig")),
                (&json!("2"), None),
                "{name}"
            );
            assert_eq!(answered[name].keys().collect::<Vec<_>>(), ["1", "2"], "{name}");
        }
        let target = format!("{}:live", self.function);
        until("the rollout has succeeded", || {
            let rollout = self.get(&format!("/v1/rollouts/{target}"));
            rollout["phase"] == "Succeeded" && rollout["canaryVersion"] == "2"
        });
        until("every invocation is counted", || self.counted() == *answered);
    }
}

/// Runs a client's program, and gives what it printed.
#[track_caller]
fn run(program: impl AsRef<Path>, arguments: &[&str], more: impl FnOnce(&mut Command)) -> String {
    let mut command = Command::new(program.as_ref());
    command.args(arguments).envs(ENVIRONMENT);
    more(&mut command);
    let output = command.output().unwrap_or_else(|why| panic!("{}: {why}", program.as_ref().display()));
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    said
}

/// The last line that a client's program printed.
fn told(said: &str) -> Answered {
    let last = said.trim_end().lines().last().unwrap_or_default();
    serde_json::from_str(last).unwrap_or_else(|why| panic!("{why}: {said}"))
}

#[expect(clippy::disallowed_methods, reason = "a tool of the test run, not of serin")]
fn tool(variable: &str) -> String {
    std::env::var(variable).unwrap_or_else(|_| panic!("{variable} is not set; scripts/test and test-long do"))
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

fn sdks() -> PathBuf {
    root().join("tests/lambda/sdks")
}

#[test]
#[ignore = "needs Node.js and the AWS SDK for JavaScript from npm; scripts/test installs that and runs this"]
fn a_canary_by_the_sdk_for_javascript() {
    let stage = Stage::set("canary", &[]);
    let (one, two) = (function(stage.dir.path(), "one.zip"), function(stage.dir.path(), "two.zip"));
    // Modules are looked for beside the program.
    let program = stage.path("canary.mjs");
    std::fs::copy(sdks().join("javascript/canary.mjs"), &program).unwrap();
    std::os::unix::fs::symlink(tool("SERIN_TEST_NODE_MODULES"), stage.path("node_modules")).unwrap();
    let said = run("node", &[text(&program), &stage.daemon.url(), &one, &two], |_| {});
    stage.assert_promoted(&told(&said));
}

#[test]
#[ignore = "needs the AWS SDK for Rust from crates.io; scripts/test-long builds it and runs this"]
fn a_canary_by_the_sdk_for_rust() {
    let stage = Stage::set("canary", &[]);
    let (one, two) = (function(stage.dir.path(), "one.zip"), function(stage.dir.path(), "two.zip"));
    let said = run(tool("SERIN_TEST_SDK_RUST"), &[&stage.daemon.url(), &one, &two], |_| {});
    stage.assert_promoted(&told(&said));
}

#[test]
#[ignore = "needs Chalice, moto and awslambdaric from PyPI; scripts/test installs them and runs this"]
fn a_canary_by_chalice() {
    let python = python_with_ric();
    let stage = Stage::set_for_python("canary-dev-answer", &python);
    // IAM, where Chalice makes the function's role.
    let moto = Sqs::start();
    let app = stage.path("app");
    std::fs::create_dir_all(app.join(".chalice")).unwrap();
    for file in ["app.py", "requirements.txt", ".chalice/config.json"] {
        std::fs::copy(sdks().join("chalice").join(file), app.join(file)).unwrap();
    }
    let program = sdks().join("with_chalice.py");
    let arguments = ["-B", text(&program), &stage.daemon.url(), &tool("SERIN_TEST_CHALICE"), text(&app)];
    let said = run(tool("SERIN_TEST_PYTHON"), &arguments, |command| {
        command.env("AWS_ENDPOINT_URL", &moto.url);
    });
    stage.assert_promoted(&told(&said));
}

#[test]
#[ignore = "needs the SAM CLI and awslambdaric from PyPI; scripts/test-long installs them and runs this"]
fn a_canary_by_sam() {
    let python = python_with_ric();
    let stage = Stage::set_for_python("canary", &python);
    let app = stage.path("app");
    std::fs::create_dir(&app).unwrap();
    for file in ["template.yaml", "app.py", "requirements.txt"] {
        std::fs::copy(sdks().join("sam").join(file), app.join(file)).unwrap();
    }
    let (program, runtime) = (sdks().join("with_sam.py"), format!("python3.{}", python.minor));
    let (url, sam) = (stage.daemon.url(), tool("SERIN_TEST_SAM"));
    let arguments = ["-B", text(&program), &url, &sam, text(&app), text(&python.search), &runtime];
    let said = run(tool("SERIN_TEST_PYTHON"), &arguments, |_| {});
    stage.assert_promoted(&told(&said));
}

/// The commands of the story, by version 2 of the command.
struct Aws2<'a> {
    stage: &'a Stage,
    program: String,
    answered: Answered,
}

impl Aws2<'_> {
    fn aws(&self, line: &str) -> Value {
        let line = format!("{line} --function-name {}", self.stage.function);
        request(&self.program, &self.stage.daemon.url(), &words(&line))
    }

    /// Invokes an alias once, and gives the version that answered.
    fn invoke(&mut self, alias: &str) -> String {
        let out = self.stage.path("out.json");
        let line = format!(
            "lambda invoke --qualifier {alias} --payload fileb://{} {}",
            text(&self.stage.path("event.json")),
            text(&out)
        );
        let told = self.aws(&line);
        assert_eq!((&told["StatusCode"], told.get("FunctionError")), (&json!(200), None), "{told}");
        let answer: Value = serde_json::from_slice(&std::fs::read(out).unwrap()).unwrap();
        assert_eq!(answer["version"], told["ExecutedVersion"]);
        self.count(alias, told["ExecutedVersion"].as_str().unwrap())
    }

    fn count(&mut self, alias: &str, version: &str) -> String {
        *self.answered.entry(alias.to_owned()).or_default().entry(version.to_owned()).or_default() += 1;
        version.to_owned()
    }
}

#[test]
#[ignore = "needs version 2 of the aws command, from Debian; scripts/test unpacks it and runs this"]
fn a_canary_by_version_2_of_the_command() {
    /// Sixty throws of a coin that all fall on one side are no chance.
    const THROWS: usize = 60;
    const INVOCATIONS_MAX: usize = 50_000;
    let stage = Stage::set("canary", &[]);
    let (one, two) = (function(stage.dir.path(), "one.zip"), function(stage.dir.path(), "two.zip"));
    std::fs::write(stage.path("event.json"), r#"{"do":"context"}"#).unwrap();
    let mut client = Aws2 { stage: &stage, program: tool("SERIN_TEST_AWS2"), answered: Answered::default() };

    client.aws(&format!(
        "lambda create-function --runtime provided.al2023 --handler bootstrap --timeout 20 --role \
         arn:aws:iam::000000000000:role/canary --zip-file fileb://{one}"
    ));
    client.aws("lambda wait function-active-v2");
    assert_eq!(client.aws("lambda publish-version")["Version"], "1");
    for alias in ["beta", "live"] {
        client.aws(&format!("lambda create-alias --name {alias} --function-version 1"));
        assert_eq!(client.invoke(alias), "1");
    }
    client.aws(&format!("lambda update-function-code --zip-file fileb://{two}"));
    client.aws("lambda wait function-updated-v2");
    assert_eq!(client.aws("lambda publish-version")["Version"], "2");

    let half = r#"lambda update-alias --name beta --routing-config AdditionalVersionWeights={"2"=0.5}"#;
    let changed = client.aws(half);
    assert_eq!(changed["RoutingConfig"]["AdditionalVersionWeights"], json!({ "2": 0.5 }));
    let mut seen = Vec::new();
    while !["1", "2"].iter().all(|version| seen.iter().any(|one| one == version)) {
        assert!(seen.len() < THROWS, "{seen:?}");
        seen.push(client.invoke("beta"));
    }
    client.aws(
        "lambda update-alias --name beta --function-version 2 --routing-config AdditionalVersionWeights={}",
    );

    // The traffic that convinces serin's plan is other clients', because each command takes a second.
    let mut others = Client::connect(stage.daemon.router);
    let mut sent = 0;
    while stage.alias("live")["FunctionVersion"] != "2" {
        assert!(sent < INVOCATIONS_MAX, "not promoted after {:?}", client.answered);
        let bearer = format!("Authorization: Bearer {TOKEN}");
        let answer = others.post("/2015-03-31/functions/canary:live/invocations", &[&bearer], "{}");
        assert_eq!(answer.status, 200, "{answer:?}");
        client.count("live", answer.version().unwrap());
        sent += 1;
    }
    for alias in ["beta", "live"] {
        let got = client.aws(&format!("lambda get-alias --name {alias}"));
        assert_eq!((&got["FunctionVersion"], got.get("RoutingConfig")), (&json!("2"), None));
        assert_eq!(client.invoke(alias), "2");
    }
    let answered = client.answered;
    stage.assert_promoted(&answered);
}
