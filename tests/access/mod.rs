//! Who asks, and what they may: principals and policies on both listeners, every route with every kind of credentials,
//! and signatures made by the real clients.

mod binary;
mod clients;
mod matrix;
mod pages;
mod policies;
pub mod routes;

use std::os::unix::fs::PermissionsExt;

use crate::support::house::{House, Reply, agent, ask};
use serde_json::{Value, json};

/// Who owns the house in these tests.
const OWNER: &str = "arn:aws:iam::000000000000:user/owner";
/// Who does not.
const ANA: &str = "arn:aws:iam::000000000000:user/ana";

const PRINCIPALS: &str = "\
principals:
  - principal: arn:aws:iam::000000000000:user/owner
    owner: true
    accessKey: {id: AKIAOWNER, secret: {inline: the-secret-of-owner}}
    token: {inline: the-token-of-owner}
  - principal: arn:aws:iam::000000000000:user/ana
    accessKey: {id: AKIAANA, secret: {inline: the-secret-of-ana}}
    token: {inline: the-token-of-ana}
  - principal: s3.amazonaws.com
    accessKey: {id: AKIASTHREE, secret: {inline: the-secret-of-s3}}
    token: {inline: the-token-of-s3-too}
";

/// A house that knows an owner, a user and a service.
fn house() -> House {
    house_of(PRINCIPALS)
}

/// A house that knows the principals of a file.
fn house_of(principals: &str) -> House {
    House::start_with(|config| {
        let path = config.data_dir.with_file_name("principals.yaml");
        std::fs::write(&path, principals).unwrap();
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o600)).unwrap();
        config.principals = Some(path);
    })
}

/// Asks the API as the holder of a token; as nobody without one.
fn ask_as(house: &House, token: &str, method: &str, path: &str, body: Option<&Value>) -> Reply {
    let bearer = format!("Bearer {token}");
    let headers = [("authorization", bearer.as_str())];
    let headers = if token.is_empty() { &[][..] } else { &headers[..] };
    ask(&agent(), &house.url(), method, path, body, headers)
}

/// Does something as the owner, which must succeed.
#[track_caller]
fn own(house: &House, method: &str, path: &str, body: &Value) -> Value {
    ask_as(house, "the-token-of-owner", method, path, Some(body)).ok()
}

/// Function `f` with versions 1 and 2 and the aliases `live` on 1 and `beta` on 2.
fn furnish(house: &House, function: &str, urls: [&str; 2]) {
    for url in urls {
        own(
            house,
            "POST",
            &format!("/v1/functions/{function}/versions"),
            &json!({ "url": url, "new": true }),
        );
    }
    for (alias, version) in [("live", "1"), ("beta", "2")] {
        own(
            house,
            "POST",
            &format!("/v1/functions/{function}/aliases/{alias}"),
            &json!({ "functionVersion": version }),
        );
    }
}
