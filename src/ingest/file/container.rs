//! The container: a header with magic and version, then chunks with lengths and checksums.
//!
//! The same for every major version, and without any idea of what the chunks hold. Every length is
//! checked against a limit before memory is taken for it.

use std::io::{self, BufReader, Read, Write};

use super::error::{ReadError, WriteError};

/// A byte above 127, the name, both kinds of line end and the end-of-file byte of DOS: as in PNG, a
/// transfer that mangles text shows at once.
pub const MAGIC: [u8; 8] = *b"\x89LPF\r\n\x1a\n";
/// Magic, major, minor, checksum.
pub const FILE_HEADER_LEN: usize = 16;
/// Tag to checksum.
pub const CHUNK_HEADER_LEN: usize = 24;
/// A writer begins a new chunk rather than let one grow past this many bytes of rows.
pub const CHUNK_TARGET: usize = 1 << 20;
/// A reader refuses chunks with more bytes than this, stored or unpacked.
pub const CHUNK_LIMIT: u32 = 16 << 20;

/// Fewer bytes of rows than this are stored as they are: packing them would gain next to nothing.
const WORTH_PACKING: usize = 256;

const PLAIN: u8 = 0;
const LZ4: u8 = 1;

/// What a chunk holds, in four ASCII characters.
pub type Tag = [u8; 4];

/// Why reading stopped.
#[derive(Debug)]
pub enum Damage {
    /// The file ends inside a chunk or before the END chunk.
    Ends,
    /// A checksum does not match.
    Checksum,
    /// What was read makes no sense, though its checksum is right.
    Senseless(&'static str),
    /// More memory would be needed than the reader allows itself.
    TooLarge,
    /// The system could not read on.
    Io(io::Error),
}

/// The file header's bytes.
pub fn file_header(major: u16, minor: u16) -> [u8; FILE_HEADER_LEN] {
    let mut header = [0; FILE_HEADER_LEN];
    header[..8].copy_from_slice(&MAGIC);
    header[8..10].copy_from_slice(&major.to_le_bytes());
    header[10..12].copy_from_slice(&minor.to_le_bytes());
    let checksum = crc32fast::hash(&header[..12]);
    header[12..].copy_from_slice(&checksum.to_le_bytes());
    header
}

/// One chunk's bytes, header and all: `rows` rows that take `raw`.
pub fn chunk(tag: Tag, revision: u8, rows: u32, raw: &[u8]) -> Vec<u8> {
    let room = lz4_flex::block::get_maximum_output_size(raw.len());
    let mut bytes = vec![0; CHUNK_HEADER_LEN + room];
    let packed = lz4_flex::block::compress_into(raw, &mut bytes[CHUNK_HEADER_LEN..]).ok();
    let packing = match packed.filter(|packed| *packed < raw.len() && raw.len() >= WORTH_PACKING) {
        Some(packed) => {
            bytes.truncate(CHUNK_HEADER_LEN + packed);
            LZ4
        }
        None => {
            bytes.truncate(CHUNK_HEADER_LEN);
            bytes.extend_from_slice(raw);
            PLAIN
        }
    };
    let stored = (bytes.len() - CHUNK_HEADER_LEN) as u32;
    bytes[..4].copy_from_slice(&tag);
    bytes[4] = revision;
    bytes[5] = packing;
    bytes[8..12].copy_from_slice(&(raw.len() as u32).to_le_bytes());
    bytes[12..16].copy_from_slice(&stored.to_le_bytes());
    bytes[16..20].copy_from_slice(&rows.to_le_bytes());
    let checksum = checksum(&bytes[..20], &bytes[CHUNK_HEADER_LEN..]);
    bytes[20..24].copy_from_slice(&checksum.to_le_bytes());
    bytes
}

fn checksum(header: &[u8], stored: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(header);
    hasher.update(stored);
    hasher.finalize()
}

/// Writes chunks one after the other.
pub struct ChunkWriter<'a> {
    out: &'a mut dyn Write,
    /// Chunks written so far.
    pub chunks: u32,
}

impl<'a> ChunkWriter<'a> {
    /// Begins a file.
    pub fn begin(out: &'a mut dyn Write, major: u16, minor: u16) -> Result<Self, WriteError> {
        out.write_all(&file_header(major, minor))?;
        Ok(Self { out, chunks: 0 })
    }

    /// Writes one chunk of at most [`CHUNK_LIMIT`] bytes of rows.
    pub fn write(&mut self, tag: Tag, revision: u8, rows: u32, raw: &[u8]) -> Result<(), WriteError> {
        self.out.write_all(&chunk(tag, revision, rows, raw))?;
        self.chunks += 1;
        Ok(())
    }

    /// Hands everything on.
    pub fn flush(self) -> Result<(), WriteError> {
        Ok(self.out.flush()?)
    }
}

/// One chunk, checked and unpacked.
pub struct Chunk<'a> {
    /// What it holds.
    pub tag: Tag,
    /// The layout of its rows.
    pub revision: u8,
    /// Number of rows.
    pub rows: u32,
    /// Bytes that it takes in the file.
    pub stored: usize,
    /// The rows, one after the other.
    pub raw: &'a [u8],
}

/// Reads chunks one after the other; holds one chunk in memory.
pub struct ChunkReader<R> {
    input: BufReader<R>,
    version: (u16, u16),
    /// Bytes of whole chunks read so far, the file header included.
    pub offset: u64,
    stored: Vec<u8>,
    raw: Vec<u8>,
}

impl<R: Read> ChunkReader<R> {
    /// Reads the file header. Any version is taken: see [`Self::version`].
    pub fn open(input: R) -> Result<Self, ReadError> {
        let mut input = BufReader::with_capacity(1 << 16, input);
        let mut header = [0; FILE_HEADER_LEN];
        let got = fill(&mut input, &mut header).map_err(ReadError::Io)?;
        let magic = &header[..got.min(MAGIC.len())];
        if got == 0 {
            return Err(ReadError::Empty);
        }
        if !MAGIC.starts_with(magic) {
            return Err(if mangled(magic) { ReadError::TextMode } else { ReadError::NotATrace });
        }
        if got < FILE_HEADER_LEN {
            return Err(ReadError::CutInHeader);
        }
        let version = (u16_at(&header, 8), u16_at(&header, 10));
        if crc32fast::hash(&header[..12]) != u32_at(&header, 12) {
            return Err(ReadError::DamagedHeader);
        }
        Ok(Self { input, version, offset: FILE_HEADER_LEN as u64, stored: Vec::new(), raw: Vec::new() })
    }

    /// Major and minor.
    pub fn version(&self) -> (u16, u16) {
        self.version
    }

    /// The next chunk.
    pub fn next_chunk(&mut self) -> Result<Chunk<'_>, Damage> {
        let mut header = [0; CHUNK_HEADER_LEN];
        if fill(&mut self.input, &mut header).map_err(Damage::Io)? < CHUNK_HEADER_LEN {
            return Err(Damage::Ends);
        }
        let (raw_len, stored_len) = (u32_at(&header, 8), u32_at(&header, 12));
        if raw_len > CHUNK_LIMIT || stored_len > CHUNK_LIMIT {
            return Err(Damage::Checksum);
        }
        self.stored.clear();
        // Grows with what is there, so that a lying length takes no memory.
        (&mut self.input).take(u64::from(stored_len)).read_to_end(&mut self.stored).map_err(Damage::Io)?;
        if self.stored.len() < stored_len as usize {
            return Err(Damage::Ends);
        }
        if checksum(&header[..20], &self.stored) != u32_at(&header, 20) {
            return Err(Damage::Checksum);
        }
        let raw = match header[5] {
            PLAIN if raw_len == stored_len => &self.stored[..],
            LZ4 => {
                self.raw.clear();
                self.raw.resize(raw_len as usize, 0);
                let unpacked = lz4_flex::block::decompress_into(&self.stored, &mut self.raw);
                if unpacked.ok() != Some(raw_len as usize) {
                    return Err(Damage::Senseless("a chunk does not unpack"));
                }
                &self.raw[..]
            }
            _ => return Err(Damage::Senseless("a chunk is packed in a way that is not known")),
        };
        self.offset += (CHUNK_HEADER_LEN + self.stored.len()) as u64;
        let tag = [header[0], header[1], header[2], header[3]];
        let stored = CHUNK_HEADER_LEN + self.stored.len();
        Ok(Chunk { tag, revision: header[4], rows: u32_at(&header, 16), stored, raw })
    }
}

/// Whether the start of a file is the magic after a transfer in text mode: line ends converted, the
/// eighth bit stripped, or the first byte recoded as UTF-8 or replaced.
fn mangled(start: &[u8]) -> bool {
    [&b"\x89LPF"[..], b"\x09LPF", b"\xc2\x89LPF", b"\xef\xbf\xbdLPF", b"?LPF"]
        .iter()
        .any(|form| start.starts_with(form))
}

/// Reads until `buffer` is full or the input ends; how much it was.
fn fill(input: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut got = 0;
    while got < buffer.len() {
        match input.read(&mut buffer[got..]) {
            Ok(0) => break,
            Ok(more) => got += more,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(got)
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([bytes[at], bytes[at + 1]])
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}
