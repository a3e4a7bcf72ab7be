//! Links to the code of versions.

use crate::api::Api;
use crate::api::lambda::request::Asked;
use crate::clock;
use serde_json::Value;
use serde_json::json;
use serin_core::lambda::function::Configuration;
use serin_core::lambda::function::Target;

/// How long a URL to a function's code is good, in milliseconds; AWS's are good for ten minutes.
pub(super) const LOCATION_MS: i64 = 600_000;

/// The `Code` of GetFunction: where the zip can be fetched for a while, or where the service is.
pub(super) fn location(api: &Api, asked: &Asked, configuration: &Configuration) -> Value {
    let process = match &configuration.target {
        Target::Http { url, .. } => {
            return json!({ "RepositoryType": "HTTP", "ImageUri": url, "ResolvedImageUri": url });
        }
        Target::Process(process) => process,
    };
    let hex = process.code_sha256.hex();
    let expires = clock::wall_now().0 + LOCATION_MS;
    let host = asked.host.clone().unwrap_or_else(|| api.addr.to_string());
    let seal = api.seal.of(&format!("code {hex} {expires}"));
    json!({ "RepositoryType": "S3", "Location": format!("http://{host}/code/{hex}.zip?Expires={expires}&Signature={seal}") })
}
