//! Recipes as bytes, so that the next start of the same program need not find everything again: what the languages share.
//!
//! Numbers are little-endian, lists and texts have their length before them. What cannot be read is no recipe: it is made
//! anew. Instructions are not stored, but decoded from the bytes that have to be there.

use std::ops::Range;

use iced_x86::{Decoder, DecoderOptions};

use super::bytes::{u32_at, u64_at};
use super::plan::{Form, Patch};

const FORMS: [Form; 7] =
    [Form::Acquire, Form::Release, Form::Before, Form::Call, Form::SetUp, Form::Return, Form::SystemCall];

/// Writes.
#[derive(Default)]
pub(super) struct Writer(pub Vec<u8>);

impl Writer {
    pub fn int(&mut self, value: u32) {
        self.0.extend(value.to_le_bytes());
    }

    pub fn long(&mut self, value: u64) {
        self.0.extend(value.to_le_bytes());
    }

    pub fn bytes(&mut self, bytes: &[u8]) {
        self.long(bytes.len() as u64);
        self.0.extend(bytes);
    }

    pub fn texts(&mut self, texts: &[String]) {
        self.long(texts.len() as u64);
        texts.iter().for_each(|text| self.bytes(text.as_bytes()));
    }

    pub fn ranges(&mut self, ranges: &[Range<u64>]) {
        self.long(ranges.len() as u64);
        ranges.iter().flat_map(|range| [range.start, range.end]).for_each(|end| self.long(end));
    }

    /// A patch, with the bytes that have to be there; `None` where its form is in no table.
    pub fn patch(&mut self, patch: &Patch, bytes: &[u8]) -> Option<()> {
        self.long(patch.address);
        self.int(FORMS.iter().position(|form| *form == patch.form)? as u32);
        self.bytes(bytes);
        Some(())
    }
}

/// Reads what [`Writer`] wrote; `None` where that is cut or makes no sense.
pub(super) struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// Whether nothing is left.
    pub fn is_at_end(&self) -> bool {
        self.at == self.bytes.len()
    }

    pub fn int(&mut self) -> Option<u32> {
        let value = u32_at(self.bytes, self.at)?;
        self.at += 4;
        Some(value)
    }

    pub fn long(&mut self) -> Option<u64> {
        let value = u64_at(self.bytes, self.at)?;
        self.at += 8;
        Some(value)
    }

    pub fn bytes(&mut self) -> Option<&'a [u8]> {
        let length = usize::try_from(self.long()?).ok()?;
        let bytes = self.bytes.get(self.at..self.at.checked_add(length)?)?;
        self.at += length;
        Some(bytes)
    }

    pub fn text(&mut self) -> Option<String> {
        Some(str::from_utf8(self.bytes()?).ok()?.to_owned())
    }

    pub fn list<T>(&mut self, mut next: impl FnMut(&mut Self) -> Option<T>) -> Option<Vec<T>> {
        let count = self.long()?;
        // Each entry takes some bytes: a wild number ends with them, and nothing is reserved for it.
        (0..count).map(|_| next(self)).collect()
    }

    pub fn texts(&mut self) -> Option<Vec<String>> {
        self.list(Self::text)
    }

    pub fn ranges(&mut self) -> Option<Vec<Range<u64>>> {
        self.list(|rest| Some(rest.long()?..rest.long()?))
    }

    /// A patch, with the bytes that have to be there.
    pub fn patch(&mut self) -> Option<(Patch, Vec<u8>)> {
        let address = self.long()?;
        let form = *FORMS.get(self.int()? as usize)?;
        let bytes = self.bytes()?.to_vec();
        let displaced: Vec<_> = Decoder::with_ip(64, &bytes, address, DecoderOptions::NONE).iter().collect();
        if displaced.is_empty() || displaced.iter().any(iced_x86::Instruction::is_invalid) {
            return None;
        }
        Some((Patch { address, length: bytes.len(), form, displaced }, bytes))
    }
}
