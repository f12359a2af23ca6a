//! The lock-order analysis, in one place for the commands.

use crate::analysis::order::{self, Graph, Orders};
use crate::cli::GraphBy;
use crate::model::Session;

/// What the order of locks means.
pub(super) fn orders(session: &Session) -> Orders {
    order::orders(session)
}

/// The lock-order graph.
pub(super) fn graph(_session: &Session, _orders: &Orders, _by: GraphBy, _cycles_only: bool) -> Graph {
    Graph::default()
}
