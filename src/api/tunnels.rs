//! What is said of WebSockets and other tunnels on versions that their alias sends nothing to any more.

use super::wire::TunnelsView;
use crate::metrics::tunnels::{LeftTunnels, Tunnels};
use serin_core::lambda::alias::{AliasId, Routing};
use serin_core::model::time::human;

/// Those of an alias, on the wire.
pub(super) fn views(tunnels: &dyn Tunnels, alias: &AliasId) -> Vec<TunnelsView> {
    let view = |left: LeftTunnels| TunnelsView {
        version: left.version.to_string(),
        open: left.open,
        close_within: left.close_within.map(human),
        text: sentence(&left),
    };
    tunnels.left(alias).into_iter().map(view).collect()
}

/// What is open, and what happens with it, in a sentence for each version.
pub(super) fn sentences(tunnels: &dyn Tunnels, alias: &AliasId) -> Vec<String> {
    tunnels.left(alias).iter().map(sentence).collect()
}

fn sentence(left: &LeftTunnels) -> String {
    let version = Routing { function_version: left.version, additional: None };
    let still = match left.open {
        1 => format!("1 tunnel is still open on {version}"),
        several => format!("{several} tunnels are still open on {version}"),
    };
    let fate = match (left.close_within, left.open) {
        (None, 1) => "it goes on until either end closes it".to_owned(),
        (None, _) => "they go on until either end closes them".to_owned(),
        (Some(within), 1) => format!("it is closed within {}", human(within)),
        (Some(within), _) => format!("each is closed within {}", human(within)),
    };
    format!("{still}; {fate}")
}
