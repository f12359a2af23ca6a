//! Frames of Go code, out of the table that every Go program has for its tracebacks: stripped ones too, and with what was
//! inlined.

use super::elf::Located;
use crate::model::Frame;
use crate::sites::go::pclntab::Pclntab;
use crate::sites::image::Image;

/// The frames of each *return address* of a Go program; what is not Go code there, or if it is no Go program, stays as it
/// is.
pub fn resolve(located: &Located, addresses: &[u64], found: &mut [Vec<Frame>]) {
    let Some(binary) = &located.binary else { return };
    let Ok(image) = Image::parse(binary.bytes()) else { return };
    let Ok(index) = Pclntab::read(&image) else { return };
    for (address, found) in addresses.iter().zip(found) {
        let frames = index.frames(address.saturating_sub(1));
        let last = frames.len().saturating_sub(1);
        let frame = |(at, frame): (usize, &crate::sites::go::pclntab::Frame<'_>)| Frame {
            function: Some(frame.function.to_string()),
            file: (frame.file != "?").then(|| frame.file.to_owned()),
            line: frame.line,
            column: 0,
            inlined: at < last,
        };
        if !frames.is_empty() {
            *found = frames.iter().enumerate().map(frame).collect();
        }
    }
}
