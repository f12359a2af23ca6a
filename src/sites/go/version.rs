//! The version that a Go program says it was built with. Only for people: nothing is decided by it, since some programs
//! do not say.

use super::super::bytes::{text_at, varint};
use super::super::image::{Image, find_aligned};

/// What the linker's record of the build begins with (`debug/buildinfo`), aligned to 16 bytes.
const MAGIC: &[u8; 14] = b"\xff Go buildinf:";

/// This bit of the record's flags says that the texts are in the record itself, as from 1.18 on.
const IN_PLACE: u8 = 2;

/// The version, such as `go1.24.11`.
pub fn version<'data>(image: &Image<'data>) -> Option<&'data str> {
    let first = MAGIC.first_chunk()?;
    image.segments().iter().find_map(|segment| {
        find_aligned(segment, first).find_map(|at| {
            let record = segment.data.get(at..)?;
            if !record.starts_with(MAGIC) || record.get(15)? & IN_PLACE == 0 {
                return None;
            }
            let rest = record.get(32..)?;
            let (length, skip) = varint(rest)?;
            let text = str::from_utf8(rest.get(skip..)?.get(..usize::try_from(length).ok()?)?).ok()?;
            // What is no text of one line is not a version.
            (!text.is_empty() && text_at(text.as_bytes(), 0).is_none() && !text.contains('\n')).then_some(text)
        })
    })
}
