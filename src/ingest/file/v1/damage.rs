//! What a cut or damaged file still tells, and how that is said.

use super::Table;
use crate::ingest::file::container::Damage;
use crate::ingest::file::{FORMAT_MAJOR, FORMAT_MINOR};
use crate::model::Session;

/// How far reading got.
pub struct Progress {
    /// Rows read of each table of [`Table::ALL`].
    pub read: [u64; Table::ALL.len()],
    /// Rows that the file had when it was written.
    pub total: [u64; Table::ALL.len()],
    /// The minor version of the file.
    pub minor: u16,
}

impl Progress {
    /// Whether every table was read to its end.
    pub fn whole(&self) -> bool {
        self.read == self.total
    }

    /// Sync points a session as cut: the flag, a note, and a coverage that claims only what was read.
    pub fn settle(&self, session: &mut Session, damage: &Damage, offset: u64) {
        session.meta.cut = true;
        session.coverage.notes.push(self.note(damage, offset));
        let missing = |table: Table| self.total[table as usize].saturating_sub(self.read[table as usize]);
        // Nobody shall take the lock-order graph for whole, or what is there of the single events.
        session.order.dropped = session.order.dropped.saturating_add(missing(Table::Requests));
        if missing(Table::OrderEvents) > 0 || missing(Table::Missing) > 0 {
            session.order.log.complete_from_ns = u64::MAX;
        }
        let sites = Table::Sites as usize;
        if self.read[sites] < self.total[sites] {
            let sum = |count: fn(&crate::model::Site) -> u64| {
                session.profile.sites.iter().map(count).fold(0u64, u64::saturating_add)
            };
            let recorded = sum(|site| site.acquisitions.saturating_sub(site.folded));
            let folded = sum(|site| site.folded);
            let coverage = &mut session.coverage;
            coverage.recorded = coverage.recorded.min(recorded);
            coverage.folded = coverage.folded.min(folded);
            let known = coverage.recorded.saturating_add(coverage.folded);
            coverage.lost = coverage.lost.max(coverage.acquisitions.saturating_sub(known));
        }
    }

    fn note(&self, damage: &Damage, offset: u64) -> String {
        let what = match damage {
            Damage::Ends => format!("is cut short after byte {offset}"),
            Damage::Checksum => format!("is damaged after byte {offset} (a checksum does not match)"),
            Damage::Senseless(what) => format!("makes no sense after byte {offset} ({what})"),
            // Refused as a whole.
            Damage::TooLarge => format!("asks for too much memory after byte {offset}"),
            Damage::Io(error) => format!("could not be read after byte {offset} ({error})"),
        };
        let missing: Vec<_> = Table::ALL
            .into_iter()
            .filter(|table| self.read[*table as usize] < self.total[*table as usize])
            .map(|table| format!("{} of {} {}", self.read[table as usize], self.total[table as usize], table.noun()))
            .collect();
        let left = if missing.is_empty() {
            "no row is known to be missing".to_owned()
        } else {
            format!("of some tables only a part was read: {}", missing.join(", "))
        };
        let newer = if self.minor > FORMAT_MINOR {
            format!(
                " It was written by a newer lockprof (format {FORMAT_MAJOR}.{}): updating lockprof may help.",
                self.minor
            )
        } else {
            String::new()
        };
        format!("The trace file {what}; {left}.{newer}")
    }
}
