//! What the process of a function reaches of the daemon that runs it, with a real daemon.

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Value, json};

use crate::support::functions::{here, rust_function};
use crate::support::house::House;
use crate::support::until;
use serin_core::lambda::process::Architecture;

/// Makes a function of `examples/function.rs`, by somebody who shows `headers`.
fn create(house: &House, name: &str, headers: &[(&str, &str)]) {
    let architecture = if here() == Architecture::Arm64 { "arm64" } else { "x86_64" };
    let body = json!({
        "FunctionName": name, "Runtime": "provided.al2023", "Handler": "bootstrap", "Publish": true,
        "Role": "arn:aws:iam::000000000000:role/r", "Timeout": 20, "Architectures": [architecture],
        "Code": { "ZipFile": BASE64.encode(rust_function()) },
    });
    let reply = house.ask("POST", "/2015-03-31/functions", Some(&body), headers);
    assert_eq!(reply.status, 201, "{reply:?}");
}

fn invoke(house: &House, name: &str, payload: &Value, headers: &[(&str, &str)]) -> Value {
    let reply =
        house.ask("POST", &format!("/2015-03-31/functions/{name}/invocations"), Some(payload), headers);
    assert_eq!(reply.status, 200, "{reply:?}");
    reply.body
}

/// A request to the API as the function sends it.
fn request(house: &House, head: &str, headers: &str, body: &str) -> Value {
    let address = house.url().trim_start_matches("http://").to_owned();
    let text = format!(
        "{head} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\ncontent-type: application/json\r\n{headers}\
         content-length: {}\r\n\r\n{body}",
        body.len()
    );
    json!({ "do": "ask", "address": address, "text": text })
}

fn is_root() -> bool {
    rustix::process::getuid().is_root()
}

#[test]
fn a_function_reaches_nothing_on_the_listener_of_control() {
    if !is_root() {
        return;
    }
    let house = House::start();
    create(&house, "f", &[]);
    let plan = r#"{"functionName":"g","url":"http://127.0.0.1:9"}"#;
    for (head, body) in [
        ("POST /v1/functions", plan),
        ("POST /v1/backup", "{}"),
        ("GET /v1/functions", ""),
        ("GET /metrics", ""),
        ("GET /readyz", ""),
        ("GET /2015-03-31/functions", ""),
        ("DELETE /2015-03-31/functions/f", ""),
        // Nobody asks for credentials here, so it has none.
        ("POST /2015-03-31/functions/f/invocations", "{}"),
    ] {
        let answer = invoke(&house, "f", &request(&house, head, "", body), &[]);
        let answer = answer.as_str().unwrap();
        assert!(answer.starts_with("HTTP/1.1 403 "), "{head}: {answer}");
        assert!(answer.contains("a function's process may do nothing on this listener"), "{head}: {answer}");
    }
    // Whoever has let go of the connection by the time it is looked at is not taken for root.
    for number in 0..20 {
        let body = json!({ "FunctionVersion": "1", "Name": format!("stolen{number}") }).to_string();
        let mut shot = request(&house, "POST /2015-03-31/functions/f/aliases", "", &body);
        shot["waits"] = json!(false);
        invoke(&house, "f", &shot, &[]);
    }
    let aliases = house.ask("GET", "/2015-03-31/functions/f/aliases", None, &[]);
    assert_eq!(aliases.body["Aliases"], json!([]), "{aliases:?}");
    // The router is everybody's.
    house.alias("f", "live", "1");
    let text = "POST /2015-03-31/functions/f:live/invocations HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\
                content-length: 2\r\n\r\n{}";
    let answer = invoke(
        &house,
        "f",
        &json!({ "do": "ask", "address": house.router().to_string(), "text": text }),
        &[],
    );
    assert!(answer.as_str().unwrap().starts_with("HTTP/1.1 200 "), "{answer}");
}

#[test]
fn a_function_may_invoke_with_credentials_of_its_own_and_do_nothing_else() {
    if !is_root() {
        return;
    }
    let house = House::start_with(|config| {
        config.token = Some("ana:an-owners-secret".to_owned());
    });
    let owner = [("authorization", "Bearer ana:an-owners-secret")];
    create(&house, "f", &owner);
    let bearer = "authorization: Bearer ana:an-owners-secret\r\n";
    let mut answer = json!(null);
    until("it invokes", || {
        let asks = request(&house, "POST /2015-03-31/functions/f/invocations", bearer, "{\"a\":1}");
        answer = invoke(&house, "f", &asks, &owner);
        answer.as_str().is_some_and(|text| text.starts_with("HTTP/1.1 200 ") && text.ends_with("{\"a\":1}"))
    });
    for head in ["GET /v1/functions", "POST /v1/backup", "GET /metrics"] {
        let answer = invoke(&house, "f", &request(&house, head, bearer, "{}"), &owner);
        assert!(answer.as_str().unwrap().starts_with("HTTP/1.1 403 "), "{head}: {answer}");
    }
}
