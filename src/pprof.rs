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
    /// Unpacked, it is larger than [`LARGEST`].
    #[error("unpacked it is larger than {} MiB", LARGEST >> 20)]
    TooLarge,
    /// Something else than a profile.
    #[error("it is no pprof profile: {0}")]
    Foreign(#[from] prost::DecodeError),
}

/// How the comment of a profile of ours begins that says whose stacks it has: `waiter` or `holder`.
pub const SIDE_COMMENT: &str = "lockprof side: ";

/// No profile is larger than this, unpacked, bytes.
pub const LARGEST: u64 = 1 << 30;

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
    if !bytes.starts_with(&GZIP_MAGIC) {
        return Ok(Profile::decode(bytes)?);
    }
    let mut unpacked = Vec::new();
    MultiGzDecoder::new(bytes).take(LARGEST + 1).read_to_end(&mut unpacked)?;
    if unpacked.len() as u64 > LARGEST {
        return Err(DecodeError::TooLarge);
    }
    Ok(Profile::decode(unpacked.as_slice())?)
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
}
