//! Where an alias's weights are applied: the seam between deciding and serving.
//!
//! Routing is an effect with an absolute weight, and it is done when whoever applies it says that it serves the revision.
//! Today that is the router of this process; the seam is here so that it may be somebody else.

use crate::router::table::{Edit, RoutingTable};
use serin_core::lambda::alias::AliasId;
use serin_core::lambda::function::Revision;

/// Whatever applies weights.
pub trait DataPlane: Send + Sync {
    /// Takes changes over; new requests see all of them or none.
    fn publish(&self, edits: Vec<Edit>);

    /// The revision of an alias that new requests are routed by.
    fn serving(&self, alias: &AliasId) -> Option<Revision>;
}

impl DataPlane for RoutingTable {
    fn publish(&self, edits: Vec<Edit>) {
        RoutingTable::publish(self, edits);
    }

    fn serving(&self, alias: &AliasId) -> Option<Revision> {
        RoutingTable::serving(self, alias).map(|(revision, _)| revision)
    }
}
