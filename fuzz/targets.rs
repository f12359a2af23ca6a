//! What is fuzzed: one function per decoder, which must bear any bytes. It says whether it could read them.
//!
//! Two callers: `tests/suite/fuzz.rs` (a bounded run with seeds, on stable) and `fuzz_targets/` (cargo fuzz).

use std::fs::OpenOptions;
use std::os::unix::fs::FileExt;
use std::path::Path;

use lockprof::analysis::contention::{Contention, Query};
use lockprof::analysis::order::orders;
use lockprof::ingest::collector::Collector;
use lockprof::ingest::segment::Segment;
use lockprof::ingest::{file, import};
use lockprof::live::messages::{Hello, Question, receive, send};
use lockprof::live::moment::Moment;
use lockprof::live::snapshot::Snapshot;
use lockprof::model::Session;
use lockprof::pprof;
use lockprof_wire::{MAGIC, VERSION, layout};

/// A function that reads bytes and says whether they were what it reads.
pub type Target = fn(&[u8]) -> bool;

/// All of them, by the name of their binary in `fuzz_targets/`.
pub const TARGETS: [(&str, Target); 6] = [
    ("trace", trace),
    ("rows", rows),
    ("import", import),
    ("pprof", pprof),
    ("snapshot", snapshot),
    ("segment", segment),
];

/// A trace file as it is.
pub fn trace(bytes: &[u8]) -> bool {
    let read = file::read_from(bytes);
    read.as_ref().is_ok_and(|session| {
        whole(session);
        true
    })
}

/// The rows of a trace file: any checksum is right here, else hardly an input would come past it. The bytes are chunks,
/// each with its tag, layout, number of rows, length, and rows (see [`rows_of`]).
pub fn rows(bytes: &[u8]) -> bool {
    trace(&trace_of(bytes))
}

/// What an import makes of it.
pub fn import(bytes: &[u8]) -> bool {
    import::import(bytes).is_ok_and(|session| {
        whole(&session);
        true
    })
}

/// A pprof profile, packed or not.
pub fn pprof(bytes: &[u8]) -> bool {
    pprof::decode(bytes).is_ok_and(|profile| {
        let again = pprof::decode(&pprof::encode(&profile)).expect("a profile that was just written");
        assert_eq!(again, profile);
        true
    })
}

/// What comes through a viewer's socket.
pub fn snapshot(mut bytes: &[u8]) -> bool {
    let mut message = bytes;
    let hello = receive::<Hello>(&mut message).is_ok();
    let question = receive::<Question>(&mut &*bytes).is_ok();
    let moment = receive::<Moment>(&mut &*bytes).is_ok_and(|moment| trace(&moment.trace));
    let shown = receive::<Snapshot>(&mut bytes).is_ok_and(|snapshot| {
        let mut sent = Vec::new();
        send(&mut sent, &snapshot).expect("a message in memory");
        receive::<Snapshot>(&mut sent.as_slice()).expect("a message that was just sent");
        true
    });
    hello || question || moment || shown
}

/// A segment, as [`segment_of`] packs it: read by a collector to the end.
pub fn segment(bytes: &[u8]) -> bool {
    let memory = Path::new("/dev/shm");
    let folder = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() };
    let folder = folder.expect("a temporary folder");
    let path = folder.path().join("1.seg");
    unpack(bytes, &path);
    let opened = matches!(Segment::open(&path), Ok(Some(_)));
    let mut collector = Collector::new(folder.path());
    collector.tick();
    let session = collector.finish().session;
    let coverage = &session.coverage;
    assert_eq!(coverage.acquisitions, coverage.recorded + coverage.folded + coverage.lost);
    whole(&session);
    opened
}

/// Whatever was read can be looked at, written, and read again as it is.
fn whole(session: &Session) {
    drop(Contention::of(session, &Query::default()));
    drop(orders(session));
    let written = written(session);
    let again = file::read_from(written.as_slice()).expect("a trace that was just written");
    assert!(written == self::written(&again), "a trace is not the same when it is written again");
}

fn written(session: &Session) -> Vec<u8> {
    let mut bytes = Vec::new();
    file::write(session, &mut bytes).expect("a trace in memory");
    bytes
}

/// Of a file: magic, versions, checksum. Of a chunk: tag, layout, packing, two bytes of nothing, the rows' length unpacked
/// and stored, their number, checksum (see docs/trace-format.md).
const FILE_HEADER: usize = 16;
const CHUNK_HEADER: usize = 24;
/// Tag, layout, number of rows, length: what is kept of a chunk's header.
const PACKED_HEADER: usize = 13;

/// The chunks of a trace file without their checksums and without compression: what [`rows`] reads.
pub fn rows_of(trace: &[u8]) -> Vec<u8> {
    let mut packed = Vec::new();
    let mut rest = &trace[FILE_HEADER..];
    while rest.len() >= CHUNK_HEADER {
        let number = |at: usize| u32::from_le_bytes(rest[at..at + 4].try_into().expect("four bytes"));
        let (length, stored) = (number(8) as usize, number(12) as usize);
        let body = &rest[CHUNK_HEADER..CHUNK_HEADER + stored];
        let body =
            if rest[5] == 0 { body.to_vec() } else { lz4_flex::block::decompress(body, length).expect("a chunk") };
        packed.extend_from_slice(&rest[..5]);
        packed.extend_from_slice(&rest[16..20]);
        packed.extend_from_slice(&(length as u32).to_le_bytes());
        packed.extend_from_slice(&body);
        rest = &rest[CHUNK_HEADER + stored..];
    }
    packed
}

/// The way back.
fn trace_of(mut packed: &[u8]) -> Vec<u8> {
    let mut trace = b"\x89LPF\r\n\x1a\n\x01\0\x01\0".to_vec();
    trace.extend_from_slice(&crc32fast::hash(&trace).to_le_bytes());
    while packed.len() >= PACKED_HEADER {
        let (header, rest) = packed.split_at(PACKED_HEADER);
        let length = u32::from_le_bytes(header[9..].try_into().expect("four bytes"));
        let (body, rest) = rest.split_at(rest.len().min(length as usize));
        let length = (body.len() as u32).to_le_bytes();
        let mut chunk = [&header[..5], &[0; 3], &length, &length, &header[5..9]].concat();
        let mut checksum = crc32fast::Hasher::new();
        checksum.update(&chunk);
        checksum.update(body);
        chunk.extend_from_slice(&checksum.finalize().to_le_bytes());
        trace.extend_from_slice(&chunk);
        trace.extend_from_slice(body);
        packed = rest;
    }
    trace
}

/// A segment without its holes: the exponent of its size, and for each piece that is there its place and its length in
/// words, and its bytes.
pub fn segment_of(size: u64, pieces: &[(u64, Vec<u8>)]) -> Vec<u8> {
    let mut packed = vec![size.ilog2() as u8];
    for (start, bytes) in pieces {
        packed.extend_from_slice(&((start / WORD) as u32).to_le_bytes());
        packed.extend_from_slice(&((bytes.len() as u64 / WORD) as u32).to_le_bytes());
        packed.extend_from_slice(bytes);
    }
    packed
}

const WORD: u64 = 8;

/// The file that these bytes stand for, with the magic and the version of a segment.
fn unpack(packed: &[u8], path: &Path) {
    let Some((exponent, mut packed)) = packed.split_first() else { return };
    let size = 1u64 << (*exponent).clamp(layout::SIZE_MIN.ilog2() as u8, layout::SIZE_MAX.ilog2() as u8);
    let file = OpenOptions::new().write(true).create_new(true).open(path).expect("a new file");
    file.set_len(size).expect("room for a segment");
    while packed.len() >= 8 {
        let number = |at: usize| u32::from_le_bytes(packed[at..at + 4].try_into().expect("four bytes"));
        let (start, words) = (u64::from(number(0)) * WORD % size, number(4) as usize);
        let rest = &packed[8..];
        let most = rest.len().min((size - start) as usize);
        let (bytes, rest) = rest.split_at(most.min(words.saturating_mul(WORD as usize)));
        file.write_all_at(bytes, start).expect("bytes in their place");
        packed = rest;
    }
    file.write_all_at(&MAGIC.to_le_bytes(), 0).expect("the magic");
    file.write_all_at(&VERSION.to_le_bytes(), 8).expect("the version");
}
