//! The journal as it is written: server-sent events, from any point on.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, Method, Uri};
use axum::response::sse::{Event, KeepAlive, Sse};
use futures_core::Stream;
use serde::Deserialize;

use super::Api;
use super::auth::LAMBDA;
use super::error::ApiError;
use super::extract::Query;
use super::rollouts::{HistoryQuery, blocking};
use super::status::event_view;
use super::wire::{ErrorBody, EventList};
use crate::access::{Access, AccessControl, Asked, BodyHash};
use serin_core::journal::Entry;
use serin_core::lambda::alias::AliasId;
use serin_core::ports::EntryFilter;

/// How often the journal is looked at while somebody listens and nothing was committed.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// So many entries at most are held for each stream, for as long as its client does not read.
const PAGE: u32 = 16;

/// Which entries to stream.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StreamQuery {
    /// From after this sequence number on; from now on unless given.
    after: Option<u64>,
    /// Only of this function:alias.
    target: Option<String>,
}

/// The journal from a point on, as server-sent events; `Last-Event-ID` goes on after a lost connection.
#[utoipa::path(get, path = "/v1/events", tag = "events",
    params(("after" = Option<u64>, Query, description = "from after this sequence number on; from now on unless given"),
           ("target" = Option<String>, Query, description = "only of this function:alias")),
    responses((status = 200, content_type = "text/event-stream",
               description = "`id` is the sequence number, `event` the kind, `data` an EventView")))]
pub async fn stream(
    State(api): State<Api>,
    Query(query): Query<StreamQuery>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Sse<impl Stream<Item = Result<Event, Infallible>>>, ApiError> {
    let alias: Option<AliasId> = query
        .target
        .as_deref()
        .map(|target| target.parse().map_err(|why| ApiError::invalid(format!("target {target:?}: {why}"))))
        .transpose()?;
    let last_seen = headers.get("last-event-id").and_then(|id| id.to_str().ok()?.parse().ok());
    let after = last_seen.or(query.after).unwrap_or_else(|| api.control.world().seq.0);
    let listener = Arc::new(Listener { admitted_by: api.access.now().clone(), method, uri, headers });
    let stream =
        futures_util::stream::unfold((api, after, Vec::new().into_iter()), move |(api, after, page)| {
            let (alias, listener) = (alias.clone(), Arc::clone(&listener));
            async move {
                let (entry, page) = next(&api, &listener, alias.as_ref(), after, page).await?;
                let seq = entry.seq.0;
                let view = event_view(&entry);
                let event = Event::default().id(seq.to_string()).event(view.kind.clone());
                let event = event.json_data(&view).unwrap_or_else(|_| Event::default().id(seq.to_string()));
                Some((Ok(event), (api, seq, page)))
            }
        });
    Ok(Sse::new(stream).keep_alive(KeepAlive::new().interval(Duration::from_secs(15))))
}

/// The journal of everything: what came after a sequence number, oldest first, or else the newest entries.
#[utoipa::path(get, path = "/v1/history", tag = "events",
    params(("after" = Option<u64>, Query, description = "only later than this sequence number"),
           ("limit" = Option<u32>, Query, minimum = 1, maximum = 1000,
            description = "at most so many, 1 to 1000; the newest 100 unless given")),
    responses((status = 200, body = EventList), (status = 400, body = ErrorBody)))]
pub async fn list(
    State(api): State<Api>,
    Query(query): Query<HistoryQuery>,
) -> Result<Json<EventList>, ApiError> {
    let reader = api.reader.clone();
    let filter = query.filter()?;
    let entries = blocking(move || reader.entries(&filter)).await?;
    Ok(Json(EventList { events: entries.iter().map(event_view).collect() }))
}

type Page = std::vec::IntoIter<Entry>;

/// Who listens to a stream, as they came.
struct Listener {
    admitted_by: Arc<Access>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
}

impl Listener {
    /// Whether they would be let in today: whoever is taken out of the principals hears no more.
    fn may_listen(&self, access: &AccessControl) -> bool {
        let now = access.now();
        let body = BodyHash::Of(&[]);
        let asked =
            Asked { method: &self.method, uri: &self.uri, headers: &self.headers, body, service: LAMBDA };
        Arc::ptr_eq(&now, &self.admitted_by) || now.still_lets_in(&self.admitted_by, &asked)
    }
}

/// Waits for the next entry; `None` when the daemon is closing, or whoever listens may no longer.
async fn next(
    api: &Api,
    listener: &Listener,
    alias: Option<&AliasId>,
    after: u64,
    mut page: Page,
) -> Option<(Entry, Page)> {
    loop {
        if !listener.may_listen(&api.access) {
            return None;
        }
        if let Some(entry) = page.next() {
            return Some((entry, page));
        }
        if api.control.world().seq.0 > after {
            let filter = EntryFilter { alias: alias.cloned(), after, limit: PAGE, ..EntryFilter::default() };
            let reader = api.reader.clone();
            page = blocking(move || reader.entries(&filter)).await.ok()?.into_iter();
            if page.len() > 0 {
                continue;
            }
        }
        if api.control.is_closed() {
            return None;
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}
