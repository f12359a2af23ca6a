//! Whether a ring was ever too full for what its thread did.

use lockprof_wire::Record;

use super::decode;

/// How full a ring was each time that it was read: into a full one, records are aggregated.
#[derive(Clone, Copy, Debug, Default)]
pub struct Polls {
    full: bool,
    aggregated_until: u64,
}

impl Polls {
    /// Records were read; `full`: there was no room for more.
    pub fn read(&mut self, records: &[Record], full: bool) {
        if self.full
            && let Some(first) = records.first()
        {
            self.aggregated_until = decode::end_of(first);
        }
        self.full = full;
    }

    /// Nothing was aggregated after this time, ticks; `None` where that is not known.
    pub fn aggregated_until(&self) -> Option<u64> {
        (!self.full && self.aggregated_until > 0).then_some(self.aggregated_until)
    }
}
