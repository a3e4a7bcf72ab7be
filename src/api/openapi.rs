//! The description of `/v1` for machines.

use axum::Json;
use axum::response::IntoResponse;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme};
use utoipa::openapi::{self, ContentBuilder, Ref, RefOr, ResponseBuilder, Schema};
use utoipa::{Modify, OpenApi};

#[derive(OpenApi)]
#[openapi(
    info(
        title = "serin",
        description = "Progressive canary orchestrator. Every change takes the headers `Idempotency-Key` (the same key \
                       does it once and gets the same reply), `Authorization: Bearer …` where a token is set, and \
                       `X-Serin-Actor` for who asks where none is. AWS Lambda's API under /2015-03-31 is described by \
                       AWS."
    ),
    paths(
        super::rollouts::list,
        super::rollouts::start,
        super::rollouts::status,
        super::rollouts::explain,
        super::rollouts::history,
        super::rollouts::counts,
        super::rollouts::promote,
        super::rollouts::pause,
        super::rollouts::resume,
        super::rollouts::approve,
        super::rollouts::abort,
        super::rollouts::rollback,
        super::rollouts::retry,
        super::functions::list,
        super::functions::get,
        super::functions::delete,
        super::functions::versions,
        super::functions::publish,
        super::functions::delete_version,
        super::aliases::list,
        super::aliases::get,
        super::aliases::create,
        super::aliases::update,
        super::aliases::delete,
        super::plans::list,
        super::plans::show,
        super::events::list,
        super::events::stream,
        super::logs::list,
        super::metrics::serve,
        super::health::livez,
        super::health::readyz,
        super::health::backup,
    ),
    security(("token" = [])),
    modifiers(&Everywhere)
)]
struct Document;

/// What the words of a path's placeholders look like; those of other placeholders are any.
const NAMES: [(&str, &str); 3] = [
    ("function", "^[A-Za-z0-9_-]{1,64}$"),
    ("alias", "^(?![0-9]+$)[A-Za-z0-9_-]{1,128}$"),
    ("version", "^[1-9][0-9]{0,18}$"),
];

/// What is so of every operation.
struct Everywhere;

impl Modify for Everywhere {
    fn modify(&self, document: &mut openapi::OpenApi) {
        let token = HttpBuilder::new()
            .scheme(HttpAuthScheme::Bearer)
            .description(Some(
                "wanted where the daemon has tokens or principals, and never on loopback without them",
            ))
            .build();
        if let Some(components) = &mut document.components {
            components.add_security_scheme("token", SecurityScheme::Http(token));
        }
        for (path, item) in &mut document.paths.paths {
            let operations = [&mut item.get, &mut item.put, &mut item.post, &mut item.delete];
            for operation in operations.into_iter().flatten() {
                let refused = ContentBuilder::new().schema(Some(Ref::from_schema_name("ErrorBody"))).build();
                let refused = ResponseBuilder::new()
                    .description("Why not; `error.kind` is for scripts, `error.message` for people.")
                    .content("application/json", refused);
                operation.responses.responses.entry("default".to_owned()).or_insert_with(|| refused.into());
                if matches!(path.as_str(), "/livez" | "/readyz") {
                    operation.security = Some(vec![SecurityRequirement::default()]);
                }
                for parameter in operation.parameters.iter_mut().flatten() {
                    let RefOr::T(parameter) = parameter else { continue };
                    let pattern = NAMES.iter().find(|(name, _)| *name == parameter.name);
                    if let (Some((_, pattern)), Some(RefOr::T(Schema::Object(schema)))) =
                        (pattern, &mut parameter.schema)
                    {
                        schema.pattern = Some((*pattern).to_owned());
                    }
                }
            }
        }
    }
}

/// The OpenAPI document.
pub fn document() -> utoipa::openapi::OpenApi {
    Document::openapi()
}

/// The OpenAPI document, over HTTP.
pub async fn serve() -> impl IntoResponse {
    Json(document())
}
