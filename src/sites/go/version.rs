//! The version that a Go program says it was built with. Only for people: nothing is decided by it, since some programs
//! do not say.

use super::super::bytes::{text_at, varint};
use super::super::image::{Image, find_aligned};

/// Bytes of a mark around the description of the modules.
const MARK: usize = 16;
/// What the linker's record of the build begins with (`debug/buildinfo`), aligned to 16 bytes.
const MAGIC: &[u8; 14] = b"\xff Go buildinf:";

/// This bit of the record's flags says that the texts are in the record itself, as from 1.18 on.
const IN_PLACE: u8 = 2;

/// What a program says of how it was built.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Build<'data> {
    /// The version, such as `go1.24.11`.
    pub version: Option<&'data str>,
    /// The import path of its main package: `cmd/go`.
    pub package: Option<&'data str>,
}

/// Reads it; `None` where there is no record of it.
pub fn build<'data>(image: &Image<'data>) -> Option<Build<'data>> {
    let [version, modules] = texts(image)?;
    // What is no text of one line is not a version.
    let is_version = !version.is_empty() && text_at(version.as_bytes(), 0).is_none() && !version.contains('\n');
    let of_line = |line: &'data str| {
        line.strip_prefix("path\t").or_else(|| line.split_once("path\t").map(|(_, package)| package))
    };
    Some(Build { version: is_version.then_some(version), package: modules.lines().find_map(of_line) })
}

/// The version alone.
pub fn version<'data>(image: &Image<'data>) -> Option<&'data str> {
    build(image)?.version
}

/// The version, and the description of the modules: lines of words, between two marks of 16 bytes that are no text.
fn texts<'data>(image: &Image<'data>) -> Option<[&'data str; 2]> {
    let first = MAGIC.first_chunk()?;
    image.segments().iter().find_map(|segment| {
        find_aligned(segment, first).find_map(|at| {
            let record = segment.data.get(at..)?;
            if !record.starts_with(MAGIC) || record.get(15)? & IN_PLACE == 0 {
                return None;
            }
            let rest = record.get(32..)?;
            let (length, skip) = varint(rest)?;
            let end = skip + usize::try_from(length).ok()?;
            let version = str::from_utf8(rest.get(skip..end)?).ok()?;
            let rest = rest.get(end..)?;
            let modules = varint(rest).and_then(|(length, skip)| {
                let modules = rest.get(skip..skip + usize::try_from(length).ok()?)?;
                str::from_utf8(modules.get(MARK..modules.len().checked_sub(MARK)?)?).ok()
            });
            Some([version, modules.unwrap_or_default()])
        })
    })
}
