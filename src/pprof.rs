//! pprof's profile: the messages of its protobuf, and how they are packed.
//!
//! Only what lockprof writes or reads is declared: a decoder skips fields that it does not know. Numbers and
//! names of the fields are those of `profile.proto` in github.com/google/pprof. What a profile means for locks
//! is the business of whoever makes one (`render`) or reads one (`ingest`).

use std::io::{Read, Write};

use flate2::Compression;
use flate2::read::MultiGzDecoder;
use flate2::write::GzEncoder;
use prost::Message;

/// A profile. All texts are positions in `string_table`, whose first entry is empty.
#[derive(Clone, PartialEq, Message)]
pub struct Profile {
    /// What the values of each sample are.
    #[prost(message, repeated, tag = "1")]
    pub sample_type: Vec<ValueType>,
    /// Values by stack.
    #[prost(message, repeated, tag = "2")]
    pub sample: Vec<Sample>,
    /// Files with code; the first is the main program.
    #[prost(message, repeated, tag = "3")]
    pub mapping: Vec<Mapping>,
    /// Addresses.
    #[prost(message, repeated, tag = "4")]
    pub location: Vec<Location>,
    /// Functions.
    #[prost(message, repeated, tag = "5")]
    pub function: Vec<Function>,
    /// All texts.
    #[prost(string, repeated, tag = "6")]
    pub string_table: Vec<String>,
    /// The start, ns since 1970.
    #[prost(int64, tag = "9")]
    pub time_nanos: i64,
    /// The duration, ns.
    #[prost(int64, tag = "10")]
    pub duration_nanos: i64,
    /// What is sampled.
    #[prost(message, optional, tag = "11")]
    pub period_type: Option<ValueType>,
    /// One of so many is sampled.
    #[prost(int64, tag = "12")]
    pub period: i64,
    /// Free text.
    #[prost(int64, repeated, tag = "13")]
    pub comment: Vec<i64>,
    /// The value to show first.
    #[prost(int64, tag = "14")]
    pub default_sample_type: i64,
}

/// What a value is: `delay` in `nanoseconds`.
#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub struct ValueType {
    /// What.
    #[prost(int64, tag = "1")]
    pub kind: i64,
    /// Its unit.
    #[prost(int64, tag = "2")]
    pub unit: i64,
}

/// The values of one stack.
#[derive(Clone, PartialEq, Message)]
pub struct Sample {
    /// Ids of locations, innermost first.
    #[prost(uint64, repeated, tag = "1")]
    pub location_id: Vec<u64>,
    /// One for each of [`Profile::sample_type`].
    #[prost(int64, repeated, tag = "2")]
    pub value: Vec<i64>,
    /// What else is known of it.
    #[prost(message, repeated, tag = "3")]
    pub label: Vec<Label>,
}

/// A text or a number.
#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub struct Label {
    /// Its name.
    #[prost(int64, tag = "1")]
    pub key: i64,
    /// The text; 0 where it is a number.
    #[prost(int64, tag = "2")]
    pub text: i64,
    /// The number.
    #[prost(int64, tag = "3")]
    pub num: i64,
}

/// A file with code.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct Mapping {
    /// Not 0.
    #[prost(uint64, tag = "1")]
    pub id: u64,
    /// Where it is in memory.
    #[prost(uint64, tag = "2")]
    pub memory_start: u64,
    /// Where it ends.
    #[prost(uint64, tag = "3")]
    pub memory_limit: u64,
    /// What is at its start.
    #[prost(uint64, tag = "4")]
    pub file_offset: u64,
    /// Its path.
    #[prost(int64, tag = "5")]
    pub filename: i64,
    /// Its build-id in hexadecimal digits.
    #[prost(int64, tag = "6")]
    pub build_id: i64,
    /// Functions are named: nobody has to look them up.
    #[prost(bool, tag = "7")]
    pub has_functions: bool,
    /// So are files.
    #[prost(bool, tag = "8")]
    pub has_filenames: bool,
    /// And lines.
    #[prost(bool, tag = "9")]
    pub has_line_numbers: bool,
    /// And inlined functions.
    #[prost(bool, tag = "10")]
    pub has_inline_frames: bool,
}

/// An address.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct Location {
    /// Not 0.
    #[prost(uint64, tag = "1")]
    pub id: u64,
    /// Its file; 0 where unknown.
    #[prost(uint64, tag = "2")]
    pub mapping_id: u64,
    /// In the memory of the mappings.
    #[prost(uint64, tag = "3")]
    pub address: u64,
    /// The functions there, the innermost (inlined) one first.
    #[prost(message, repeated, tag = "4")]
    pub line: Vec<Line>,
}

/// A line of a function.
#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub struct Line {
    /// Its function.
    #[prost(uint64, tag = "1")]
    pub function_id: u64,
    /// From 1; 0 where unknown.
    #[prost(int64, tag = "2")]
    pub line: i64,
}

/// A function.
#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub struct Function {
    /// Not 0.
    #[prost(uint64, tag = "1")]
    pub id: u64,
    /// Its name for people.
    #[prost(int64, tag = "2")]
    pub name: i64,
    /// Its name for linkers.
    #[prost(int64, tag = "3")]
    pub system_name: i64,
    /// Its source file.
    #[prost(int64, tag = "4")]
    pub filename: i64,
}

impl Profile {
    /// A text; empty where the position is none.
    pub fn text(&self, at: i64) -> &str {
        usize::try_from(at).ok().and_then(|at| self.string_table.get(at)).map_or("", String::as_str)
    }
}

/// Why bytes are no profile.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// Packed, and damaged or larger than a profile ever is.
    #[error("it cannot be unpacked: {0}")]
    Unpack(#[from] std::io::Error),
    /// Unpacked, it is larger than a profile of its size ever is.
    #[error("unpacked it is larger than {0} MB: it is damaged or made to do harm")]
    Unpacked(u64),
    /// Its messages would take more memory than a profile of its size ever does.
    #[error("its messages would take more than {0} MB of memory: it is damaged or made to do harm")]
    TooMany(u64),
    /// Something else than a profile.
    #[error("it is no pprof profile: {0}")]
    Foreign(#[from] prost::DecodeError),
}

/// How the comment of a profile of ours begins that says whose stacks it has: `waiter` or `holder`.
pub const SIDE_COMMENT: &str = "lockprof side: ";

/// No profile is larger than this, unpacked, bytes.
pub const LARGEST: u64 = 1 << 30;
/// A packed profile may be this large unpacked, bytes, and so many times larger than it is. Those of Go shrink to a fifth.
const UNPACKED_FLOOR: u64 = 4 << 20;
const UNPACKED_PER_BYTE: u64 = 24;
/// Its messages may take this much memory, bytes, and so many times more than it has bytes.
const MEMORY_FLOOR: u64 = 64 << 20;
const MEMORY_PER_BYTE: u64 = 24;
/// The largest message in memory, with what a growing list of them needs, bytes.
const MESSAGE: u64 = 2 * size_of::<Sample>() as u64;
/// A number takes one byte or more when written.
const NUMBER: u64 = 2 * size_of::<u64>() as u64;

/// The first bytes of what gzip packed.
pub const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];

/// The profile as a file: protobuf, packed by gzip without a time, so that the same profile gives the same bytes.
pub fn encode(profile: &Profile) -> Vec<u8> {
    let mut packer = GzEncoder::new(Vec::new(), Compression::default());
    // Written to memory: neither can fail.
    packer.write_all(&profile.encode_to_vec()).and_then(|()| packer.finish()).unwrap_or_default()
}

/// Reads a profile, packed or not. That it is of locks, or complete, is not looked at.
///
/// # Errors
/// Where the bytes are no profile.
pub fn decode(bytes: &[u8]) -> Result<Profile, DecodeError> {
    let size = bytes.len() as u64;
    if !bytes.starts_with(&GZIP_MAGIC) {
        return decode_within(bytes, size);
    }
    let most = size.saturating_mul(UNPACKED_PER_BYTE).saturating_add(UNPACKED_FLOOR).min(LARGEST);
    let mut unpacked = Vec::new();
    MultiGzDecoder::new(bytes).take(most + 1).read_to_end(&mut unpacked)?;
    if unpacked.len() as u64 > most {
        return Err(DecodeError::Unpacked(most >> 20));
    }
    decode_within(&unpacked, unpacked.len() as u64)
}

/// Decodes what does not take too much memory for its size.
fn decode_within(bytes: &[u8], size: u64) -> Result<Profile, DecodeError> {
    let most = size.saturating_mul(MEMORY_PER_BYTE).saturating_add(MEMORY_FLOOR);
    if memory(bytes) > most {
        return Err(DecodeError::TooMany(most >> 20));
    }
    Ok(Profile::decode(bytes)?)
}

/// An upper bound of what the messages take in memory, bytes: each is a struct, and each byte in it may be a number. What
/// is no protobuf is left to the decoder.
fn memory(bytes: &[u8]) -> u64 {
    const TEXTS: u64 = 6;
    let (mut sum, mut rest) = (0u64, bytes);
    while let Some(key) = varint(&mut rest) {
        let length = match key & 7 {
            0 => varint(&mut rest).map(|_| 0),
            1 => Some(8),
            2 => varint(&mut rest),
            5 => Some(4),
            _ => None,
        };
        let Some(length) = length.filter(|length| *length <= rest.len() as u64) else { break };
        let inside = if key >> 3 == TEXTS { length } else { length.saturating_mul(NUMBER) };
        sum = sum.saturating_add(MESSAGE).saturating_add(inside);
        rest = &rest[length as usize..];
    }
    sum
}

/// The next number in protobuf's writing.
fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0u64;
    for shift in (0..64).step_by(7) {
        let (first, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u64::from(first & 0x7f) << shift;
        if first & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packed_or_not_it_is_the_same() {
        let profile = Profile {
            string_table: vec![String::new(), "delay".into()],
            sample: vec![Sample { location_id: vec![1, 300], value: vec![-1, 7], label: Vec::new() }],
            ..Profile::default()
        };
        let packed = encode(&profile);
        assert_eq!((packed[..2] == GZIP_MAGIC, &packed), (true, &encode(&profile)));
        assert_eq!(decode(&packed).unwrap(), profile);
        assert_eq!(decode(&profile.encode_to_vec()).unwrap(), profile);
        assert_eq!((profile.text(1), profile.text(2), profile.text(-1)), ("delay", "", ""));
        assert!(decode(&packed[..packed.len() - 9]).is_err());
        assert!(decode(b"\x1f\x8bjunk").unwrap_err().to_string().contains("unpacked"));
        assert!(decode(b"hello, world").is_err());
    }

    #[test]
    fn bombs_are_refused_before_they_take_memory() {
        let pack = |bytes: &[u8]| {
            let mut packer = GzEncoder::new(Vec::new(), Compression::best());
            packer.write_all(bytes).unwrap();
            packer.finish().unwrap()
        };
        let zeros = pack(&vec![0; 64 << 20]);
        assert!(decode(&zeros).unwrap_err().to_string().contains("unpacked it is larger than"), "{}", zeros.len());
        // Samples without anything: two bytes each.
        let samples = [0x12u8, 0].repeat(1 << 20);
        assert!(decode(&samples).unwrap_err().to_string().contains("would take more than"));
        assert!(decode(&pack(&samples)).unwrap_err().to_string().contains("would take more than"));
        // A large one of the usual sort.
        let sample = Sample { location_id: (1..30).collect(), value: vec![1, 1_000_000], label: Vec::new() };
        let profile = Profile { sample: vec![sample; 50_000], ..Profile::default() };
        assert_eq!(decode(&profile.encode_to_vec()).unwrap().sample.len(), 50_000);
    }
}
