//! How long single waits and holds of each row took: for pictures of their spread.

use super::contention::{Contention, Cut};
use crate::model::{Histogram, Session, SiteId};

/// The spread of one row of [`Contention::locks`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Spreads {
    /// Waits of the contended acquisitions, ns.
    pub wait: Histogram,
    /// Holds, ns; empty for kinds that are not held.
    pub hold: Histogram,
}

/// One for each row, in the order of the rows. Under a thread filter the holds are those of all threads, as
/// [`Contention::notes`] says.
pub fn of_rows(session: &Session, contention: &Contention) -> Vec<Spreads> {
    let cut = Cut::new(session, contention.query.filter.thread.as_ref());
    let mut spreads = vec![Spreads::default(); contention.locks.len()];
    for (at, site) in session.profile.sites.iter().enumerate() {
        let (Some(row), Some(kept)) = (contention.row_index(site.key.lock), cut.site(SiteId::from(at))) else {
            continue;
        };
        spreads[row].wait.merge(&kept.wait);
        spreads[row].hold.merge(kept.hold);
    }
    spreads
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analysis::Query;
    use crate::analysis::testing::server;

    #[test]
    fn they_have_the_sums_of_their_rows() {
        let session = server();
        let view = Contention::of(&session, &Query::default());
        for (spread, row) in of_rows(&session, &view).iter().zip(&view.locks) {
            assert_eq!((spread.wait.sum, spread.wait.count), (row.wait.total, row.contended), "{}", row.name);
            assert_eq!((spread.hold.sum, spread.hold.max), (row.hold.total, row.hold.max), "{}", row.name);
        }
    }
}
