//! The table that is kept beside the store: what it holds, behind a first line that vouches for it.

use std::sync::Arc;

use crate::handover::{LastTable, table_of};
use crate::metrics::recorder::Recorder;
use crate::router::table::{Edit, RoutingTable};
use serin_core::lambda::alias::Routing;

/// Whatever is in it, it is served at stable or refused in words; with a wrong first line it is refused.
pub(super) fn run(data: &[u8]) {
    assert!(LastTable::of(data).is_err(), "bytes that nobody vouched for");
    let Ok(read) = table_of(7, data) else { return };
    assert_eq!(read.schema, 7);
    for edit in &read.edits {
        if let Edit::Alias(spec) = edit {
            assert_eq!(spec.routing, Routing::only(spec.routing.function_version));
            assert!(spec.additional.is_none() && spec.canary.is_none());
        }
    }
    let kept = served(read.edits);
    let again = table_of(7, &kept).expect("what is served is kept so that it is served");
    assert_eq!(served(again.edits), kept);
}

/// What a router that is given these edits keeps of them.
fn served(edits: Vec<Edit>) -> Vec<u8> {
    let table = RoutingTable::new(Recorder::new(1, Arc::new(|_| {})));
    table.publish(edits);
    serde_json::to_vec(&table.edits()).expect("edits are JSON")
}
