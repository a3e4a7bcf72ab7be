//! Log lines of invocations for the command line: the newest, or what came since.

use axum::Json;
use axum::extract::State;
use serde::Deserialize;

use super::Api;
use super::error::ApiError;
use super::extract::{Path, Query};
use super::rollouts::blocking;
use super::wire::{ErrorBody, LogLineView, LogList};
use crate::store::logs::{LineFilter, StoredLine};
use serin_core::lambda::alias::AliasId;
use serin_core::model::arn::{FunctionRef, Qualifier};
use serin_core::model::time::Timestamp;

const LIMIT_DEFAULT: u32 = 100;
const LIMIT_MAX: u32 = 10_000;

/// Which lines.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LogQuery {
    after: Option<i64>,
    since: Option<String>,
    limit: Option<u32>,
}

/// What invocations of a function said; of one version, or of those that an alias names now, where one is given.
#[utoipa::path(get, path = "/v1/logs/{target}", tag = "logs",
    params(("target" = String, Path, description = "function, function:version or function:alias"),
           ("after" = Option<i64>, Query, description = "what came after this line, in the order it came"),
           ("since" = Option<String>, Query, description = "RFC 3339; nothing older"),
           ("limit" = Option<u32>, Query, minimum = 1, maximum = 10000,
            description = "at most so many, 1 to 10000; 100 unless given, the newest without `after`")),
    responses((status = 200, body = LogList), (status = 400, body = ErrorBody), (status = 404, body = ErrorBody)))]
pub async fn list(
    State(api): State<Api>,
    Path(target): Path<String>,
    Query(query): Query<LogQuery>,
) -> Result<Json<LogList>, ApiError> {
    let limit = query.limit.unwrap_or(LIMIT_DEFAULT);
    if !(1..=LIMIT_MAX).contains(&limit) {
        return Err(ApiError::invalid(format!("limit is 1 to {LIMIT_MAX}")));
    }
    let since = query.since.as_deref().map(|text| {
        Timestamp::parse(text).ok_or_else(|| ApiError::invalid(format!("since {text:?} is no RFC 3339 time")))
    });
    let (function, versions) = scope(&api, &target)?;
    let filter = LineFilter {
        versions,
        from: since.transpose()?.unwrap_or(Timestamp(0)),
        after_id: query.after,
        newest: query.after.is_none(),
        ..LineFilter::of(&function, limit)
    };
    let logs = api.logs.clone();
    let (last_id, lines) = blocking(move || {
        // What was said just now is part of the answer.
        logs.flush();
        let reader = &logs.reader;
        // Before the lines are read: what comes in between is read next time, and nothing is left out.
        let last_id = reader.last_id()?;
        Ok((last_id, reader.lines(&filter)?))
    })
    .await?;
    let seen = lines.iter().map(|line| line.cursor.id).max().unwrap_or(0);
    let is_full = query.after.is_some() && lines.len() == limit as usize;
    let next = if is_full { seen } else { seen.max(last_id) };
    Ok(Json(LogList { lines: lines.into_iter().map(view).collect(), next }))
}

/// The function that is meant, and which of its versions; none is all of them.
fn scope(api: &Api, target: &str) -> Result<(String, Vec<String>), ApiError> {
    let named = target.parse::<FunctionRef>().map_err(|why| ApiError::invalid(why.to_string()))?;
    let world = api.control.world();
    let function = named.name;
    let nothing =
        || ApiError::not_found(format!("there is no function {function}; `serin function list` shows all"));
    if world.function(&function).is_none() {
        return Err(nothing());
    }
    let Some(qualifier) = named.qualifier else { return Ok((function.to_string(), Vec::new())) };
    let qualifier: Qualifier = qualifier
        .parse()
        .map_err(|_| ApiError::invalid(format!("{qualifier:?} is neither an alias nor a version")))?;
    let versions = match qualifier {
        Qualifier::Version(version) => vec![version.to_string()],
        Qualifier::Alias(alias) => {
            let id = AliasId { function: function.clone(), alias };
            let state =
                world.alias(&id).ok_or_else(|| ApiError::not_found(format!("there is no alias {id}")))?;
            let routing = state.alias.routing;
            let beside = routing.additional.map(|additional| additional.version.to_string());
            std::iter::once(routing.function_version.to_string()).chain(beside).collect()
        }
    };
    Ok((function.to_string(), versions))
}

fn view(line: StoredLine) -> LogLineView {
    LogLineView {
        id: line.cursor.id,
        at: line.cursor.at.to_string(),
        version: line.version,
        stream: line.stream,
        text: line.text,
    }
}
