//! The lock-order analysis, in one place for the commands.

use crate::analysis::order::{self, By, Graph, Orders};
use crate::cli::GraphBy;
use crate::model::Session;

/// What the order of locks means.
pub(super) fn orders(session: &Session) -> Orders {
    order::orders(session)
}

/// The lock-order graph.
pub(super) fn graph(session: &Session, orders: &Orders, by: GraphBy, cycles_only: bool) -> Graph {
    let by = match by {
        GraphBy::Class => By::Class,
        GraphBy::Instance => By::Instance,
    };
    order::graph(session, orders, by, cycles_only)
}
