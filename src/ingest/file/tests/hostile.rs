//! Bytes that nobody wrote: never a panic, never memory without bound.

use std::io;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;

use super::container::{Damage, chunk, file_header};
use super::golden::golden_session;
use super::*;
use crate::model::arbitrary::arbitrary_session;

/// A table's tag, rows for it, and what the note then says.
type Case<'a> = (&'a [u8; 4], Vec<&'a [u8]>, &'a str);

/// The chunks of a file: tag, rows, and the rows' bytes.
type Chunks = Vec<([u8; 4], u32, Vec<u8>)>;

/// The layout of a tag's rows.
fn revision_of(tag: [u8; 4]) -> u8 {
    u8::from(&tag == b"LOCK")
}

fn take_apart(bytes: &[u8]) -> Chunks {
    let mut reader = container::ChunkReader::open(bytes).unwrap();
    let mut chunks = Chunks::new();
    loop {
        match reader.next_chunk() {
            Ok(chunk) => {
                assert_eq!(chunk.revision, revision_of(chunk.tag));
                chunks.push((chunk.tag, chunk.rows, chunk.raw.to_vec()));
            }
            Err(Damage::Ends) => return chunks,
            Err(other) => panic!("{other:?}"),
        }
    }
}

fn put_together(chunks: &Chunks) -> Vec<u8> {
    let mut bytes = file_header(FORMAT_MAJOR, FORMAT_MINOR).to_vec();
    for (tag, rows, raw) in chunks {
        bytes.extend(chunk(*tag, revision_of(*tag), *rows, raw));
    }
    bytes
}

fn read_and_use(bytes: &[u8]) {
    if let Ok(session) = read_from(bytes) {
        exercise(&session);
        // What could be read can be written and is then whole.
        let bytes = to_bytes(&session);
        assert_eq!(to_bytes(&read_from(&bytes[..]).unwrap()), bytes);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4_000))]

    #[test]
    fn any_bytes(bytes in vec(any::<u8>(), 0..300)) {
        read_and_use(&bytes);
    }

    #[test]
    fn any_bytes_after_a_good_header(rest in vec(any::<u8>(), 0..300)) {
        read_and_use(&[&file_header(1, 0)[..], &rest].concat());
    }

    #[test]
    fn any_rows_with_good_checksums(
        which in any::<Index>(), rows in 0..6u32, raw in vec(prop_oneof![0..4u8, any::<u8>()], 0..60)
    ) {
        let mut chunks = take_apart(&to_bytes(&golden_session()));
        let at = which.index(chunks.len());
        chunks[at] = (chunks[at].0, rows, raw);
        read_and_use(&put_together(&chunks));
    }

    #[test]
    fn changed_rows_with_good_checksums(
        changes in vec((any::<Index>(), any::<Index>(), prop_oneof![0..4u8, any::<u8>()]), 1..4)
    ) {
        let mut chunks = take_apart(&to_bytes(&golden_session()));
        for (which, place, byte) in changes {
            let at = which.index(chunks.len());
            let raw = &mut chunks[at].2;
            let place = place.index(raw.len());
            raw[place] = byte;
        }
        read_and_use(&put_together(&chunks));
    }

}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn chunks_in_any_order(
        session in arbitrary_session(), swaps in vec((any::<Index>(), any::<Index>()), 1..4), twice in any::<Index>()
    ) {
        let mut chunks = take_apart(&to_bytes(&session));
        for (a, b) in swaps {
            let len = chunks.len();
            chunks.swap(a.index(len), b.index(len));
        }
        chunks.push(chunks[twice.index(chunks.len())].clone());
        read_and_use(&put_together(&chunks));
    }
}

/// The note of the golden file with other rows in one table.
fn note_with(tag: &[u8; 4], rows: &[&[u8]]) -> String {
    let mut chunks = take_apart(&to_bytes(&golden_session()));
    let table = chunks.iter_mut().find(|(known, ..)| known == tag).unwrap();
    table.1 = rows.len() as u32;
    table.2 = rows.iter().flat_map(|row| [&[row.len() as u8], *row].concat()).collect();
    let session = read_from(&put_together(&chunks)[..]).unwrap();
    assert!(session.meta.cut);
    session.coverage.notes.last().unwrap().clone()
}

#[test]
fn contradictions_are_named() {
    let empty = [0; 5];
    let mut site = [&[0, 0, 0][..], &[0; 8], &empty, &[0], &empty, &[0]].concat();
    let site_of_lock = |lock| [&[lock][..], &site[1..]].concat();
    let (site_0, site_99) = (site_of_lock(0), site_of_lock(99));
    let unknown_kind = [0, 0, Kind::ALL.len() as u8, 0, 0, 0, 0, 0, 0, 1, 0, 0];
    let mut cases: Vec<Case> = vec![
        (b"THRD", vec![&[9, 0, 0, 0, 0]], "a thread of an unknown process"),
        (b"NODE", vec![&[0, 0, 1]], "a stack is its own caller"),
        (b"NODE", vec![&[2, 0, 1]], "a stack is its own caller"),
        (b"NODE", vec![&[1, 0, 5], &[2, 0, 5]], "a stack is there twice"),
        (b"NODE", vec![&[1, 1, 2, 5]], "code of an unknown module"),
        (b"NODE", vec![&[1, 0]], "a row cannot be decoded"),
        (b"LOCK", vec![&[9, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0]], "a lock of an unknown process"),
        (b"LOCK", vec![&[0, 0, 0, 0, 9, 0, 0, 0, 0, 1, 0, 0]], "a stack that is not there"),
        (b"LOCK", vec![&unknown_kind], "a lock of an unknown sort"),
        (b"HANG", vec![&[9, 0, 0, 0]], "a hang of an unknown sort"),
        (b"HANG", vec![&[0, 9, 0, 0]], "a hang of an unknown process"),
        (b"HWTG", vec![&[9, 0, 0, 0, 0, 0, 0, 0, 0]], "a wait in a hang that is not there"),
        (b"HWTG", vec![&[0, 0, 9, 0, 0, 0, 0, 0, 0]], "a wait of an unknown thread"),
        (b"HWTG", vec![&[0, 0, 0, 0, 0, 0, 0, 0, 1, 9]], "a wait of an unknown thread"),
        (b"HWTG", vec![&[0, 0, 0, 99, 0, 0, 0, 0, 0]], "a wait for an unknown lock"),
        (b"HWTG", vec![&[0, 0, 0, 0, 2, 0, 0, 0, 0]], "a wait that has no meaning"),
        (b"HWTG", vec![&[0, 0, 0, 0, 0, 0, 9, 0, 0]], "a stack that is not there"),
        (b"HWTG", vec![&[0, 0, 0, 0, 0, 0, 0, 0, 0], &[0, 1, 0, 0, 0, 0, 0, 0, 0]], "waits out of order"),
        (b"HHLD", vec![&[9, 0, 0, 0, 0]], "a wait that is not there"),
        (b"HHLD", vec![&[0, 99, 0, 0, 0]], "a hold of an unknown lock"),
        (b"HHLD", vec![&[0, 0, 2, 0, 0]], "a hold that has no meaning"),
        (b"HHLD", vec![&[0, 0, 0, 9, 0]], "a stack that is not there"),
        (b"SITE", vec![&site_99], "a call site of an unknown lock"),
        (b"SITE", vec![&site_0, &site_0], "a call site is there twice"),
        (b"FRAM", vec![&[1, 1, 9, 0, 0, 0, 0]], "a name that is not there"),
        (b"SYMB", vec![&[9, 0]], "symbols of an unknown stack"),
        (b"SYMB", vec![&[1, 9]], "frames that are not there"),
        (b"SYMB", vec![&[1, 0], &[0, 0]], "symbols of one stack twice"),
        (b"SHAR", vec![&[9, 0, 0, 0, 0, 0]], "a share of an unknown thread"),
        (b"SHAR", vec![&[0, 9, 0, 0, 0, 0]], "a share of an unknown call site"),
        (b"SHAR", vec![&[0, 0, 0, 0, 0, 0], &[0, 0, 0, 0, 0, 0]], "shares out of order"),
        (b"WKEY", vec![&[99, 0, 0, 0, 0, 0]], "a wait for an unknown lock"),
        (b"WKEY", vec![&[0, 9, 0, 0, 0, 0]], "a wait of an unknown thread"),
        (b"WKEY", vec![&[0, 0, 0, 0, 0, 1, 9]], "a wait of an unknown thread"),
        (b"WKEY", vec![&[0, 0, 9, 0, 0, 0]], "a stack that is not there"),
        (b"WKEY", vec![&[0, 0, 0, 2, 0, 0]], "a wait that has no meaning"),
        (b"WKEY", vec![&[0, 0, 0, 0, 0, 0], &[0, 0, 0, 0, 0, 0]], "waits out of order"),
        (b"WAIT", vec![&[9, 0, 0, 0]], "a wait that is not there"),
        (b"WAIT", vec![&[0, 0, 0, 0], &[0, 0, 0, 0]], "a wait is there twice"),
        (b"WEVT", vec![&[9, 0, 0, 0]], "a wait that is not there"),
        (b"LOCK", vec![&[0, 0, 0, 0, 0, 0, 0, 0, 0, 1]], "a row cannot be decoded"),
        (b"CHAN", vec![&[0, 0, 0, 0]], "a list of held locks lies on itself"),
        (b"CHAN", vec![&[2, 0, 0, 0]], "a list of held locks lies on itself"),
        (b"CHAN", vec![&[1, 0, 0, 0], &[2, 0, 0, 0]], "a list of held locks is there twice"),
        (b"CHAN", vec![&[1, 99, 0, 0]], "an order of an unknown lock"),
        (b"CHAN", vec![&[1, 0, 2, 0]], "a held lock that has no meaning"),
        (b"CHAN", vec![&[1, 0, 0, 9]], "a stack that is not there"),
        (b"MARK", vec![&[9, 0, 0, 0, 0, 0, 0]], "an order of an unknown thread"),
        (b"MARK", vec![&[0, 0, 1, 9, 0, 0, 0, 0]], "an order of an unknown thread"),
        (b"MARK", vec![&[0, 3, 1, 99, 0, 0, 0, 0]], "an order of an unknown lock"),
        (b"MARK", vec![&[0, 3, 0, 0, 0, 0, 0]], "a mark that has no meaning"),
        (b"MARK", vec![&[0, 9, 1, 0, 0, 0, 0, 0]], "a mark that has no meaning"),
        (b"MARK", vec![&[0, 5, 1, 9, 0, 0, 0, 0]], "an order of an unknown thread"),
        (b"MARK", vec![&[0, 0, 0, 0, 0, 0, 9]], "a stack that is not there"),
        (b"LIFE", vec![&[1, 0, 99, 0, 0, 0, 0]], "a mark that is not there"),
        (b"LIFE", vec![&[1, 9, 0, 0, 0, 0, 0]], "a mark that is not there"),
        (b"LIFE", vec![&[0, 1, 99, 0, 0, 0, 0, 0]], "an order of an unknown lock"),
        (b"LIFE", vec![&[0, 1, 0, 2, 0, 0, 0, 0]], "a gate that has no meaning"),
        (b"LIFE", vec![&[0, 0, 0, 0, 0], &[0, 0, 0, 0, 0], &[0, 0, 0, 0, 0]], "an order of an unknown thread"),
        (b"EDGE", vec![&[9, 0, 0, 0, 0, 0, 1, 0, 1, 0, 0, 1]], "an order of an unknown thread"),
        (b"EDGE", vec![&[0, 99, 0, 0, 0, 0, 1, 0, 1, 0, 0, 1]], "an order of an unknown lock"),
        (b"EDGE", vec![&[0, 0, 0, 9, 0, 0, 1, 0, 1, 0, 0, 1]], "a stack that is not there"),
        (b"EDGE", vec![&[0, 0, 0, 0, 3, 0, 1, 0, 1, 0, 0, 1]], "a request that has no meaning"),
        (b"EDGE", vec![&[0, 0, 0, 0, 0, 0, 1, 0, 0]], "a request that has no meaning"),
        (b"EDGE", vec![&[0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 1]], "a request under locks that are not there"),
        (b"EDGE", vec![&[0, 0, 0, 0, 0, 0, 99, 0, 1, 0, 0, 1]], "a request under locks that are not there"),
        (b"EDGE", vec![&[0, 0, 0, 0, 0, 0, 1, 0, 1, 99, 0, 1]], "a request at a time that is not there"),
        (b"EDGE", vec![&[0, 0, 0, 0, 0, 0, 1, 0, 1, 0, 0, 1]; 2], "a request is there twice"),
        (b"MISU", vec![&[7, 0, 0, 0, 0, 1]], "a misuse that has no meaning"),
        (b"MISU", vec![&[0, 0, 0, 0, 9, 1]], "an order of an unknown thread"),
        (b"MISU", vec![&[0, 0, 0, 0, 0, 1]; 2], "a misuse is there twice"),
        (b"OEVT", vec![&[9, 0, 0, 0, 0, 0]], "an order of an unknown thread"),
        (b"OEVT", vec![&[0, 0, 99, 0, 0, 0]], "an order of an unknown lock"),
        (b"OEVT", vec![&[0, 5, 99, 0, 0, 0]], "a mark that is not there"),
        (b"OEVT", vec![&[0, 10, 0, 0, 0, 0]], "an event that has no meaning"),
        (b"ARGS", vec![&[2, 0xFF, 0xFE]], "a row cannot be decoded"),
        (b"ARGS", vec![b"\x01a", b"\x01b", b"\x01c", b"\x01d"], "chunks are missing"),
    ];
    // A histogram with one bucket past the last, and counts that overflow together.
    let past = [&site_0[..15], &[1, 0xD0, 0x07, 1], &site_0[16..]].concat();
    cases.push((b"SITE", vec![&past], "a call site that has no meaning"));
    site.splice(3..4, [[0xFF; 9].as_slice(), &[1, 1]].concat());
    cases.push((b"SITE", vec![&site[..site.len() - 1]], "the counts overflow"));
    for (tag, rows, expected) in cases {
        let note = note_with(tag, &rows);
        assert!(note.contains(expected), "{}: {note}", tag.escape_ascii());
    }
}

#[test]
fn the_note_says_where_and_how_much() {
    let note = note_with(b"SYMB", &[&[1, 0], &[1, 9]]);
    let (before, after) = note.split_once(" after byte ").unwrap();
    assert_eq!(before, "The trace file makes no sense");
    let (_, after) = after.split_once(' ').unwrap();
    assert_eq!(
        after,
        "(frames that are not there); of some tables only a part was read: 1 of 2 symbolised stack nodes, 0 of 2 lists of held locks, \
         0 of 7 marks in threads' lives, 0 of 2 threads' lives, 0 of 3 edges of the lock order, 0 of 7 misuses of locks, \
         0 of 1 totals of the lock order, 0 of 3 shares of threads, \
         0 of 2 pairs of waiter and holder, 0 of 2 wait totals, 0 of 2 names of calls, 0 of 3 calls under locks, \
         0 of 2 single waits, 0 of 15 single events of the lock order."
    );
}

#[test]
fn a_missing_chunk_shows() {
    let chunks = take_apart(&to_bytes(&golden_session()));
    for at in 1..chunks.len() {
        let mut fewer = chunks.clone();
        fewer.remove(at);
        let session = read_from(&put_together(&fewer)[..]).unwrap();
        exercise(&session);
        assert!(session.meta.cut, "without chunk {at}");
    }
}

#[test]
fn unknown_chunks_fields_and_minor_versions_are_passed_over() {
    let mut chunks = take_apart(&to_bytes(&golden_session()));
    let end = chunks.len() - 1;
    // A table of the future, also in a layout of its own.
    chunks.insert(end, (*b"FIND", 1, b"\xff\xff\xff".to_vec()));
    // A field more in every row; the rows here are short, so each length is one byte.
    for (tag, _, raw) in chunks.iter_mut().filter(|(tag, ..)| matches!(tag, b"THRD" | b"WAIT" | b"NODE")) {
        let mut rest = &raw[..];
        let mut longer = Vec::new();
        while let [len, row @ ..] = rest {
            assert!(*len < 100, "{tag:?}");
            longer.push(len + 2);
            longer.extend_from_slice(&row[..usize::from(*len)]);
            longer.extend_from_slice(b"\x80\x01");
            rest = &row[usize::from(*len)..];
        }
        *raw = longer;
    }
    chunks.last_mut().unwrap().2 = {
        let chunks_before = end as u8 + 1;
        vec![1, chunks_before]
    };
    let mut bytes = put_together(&chunks);
    bytes[..16].copy_from_slice(&file_header(1, 9));
    assert_eq!(read_from(&bytes[..]).unwrap(), golden_session());
}

#[test]
fn a_value_of_the_future_is_told_apart_from_damage() {
    let mut chunks = take_apart(&to_bytes(&golden_session()));
    let locks = chunks.iter_mut().find(|(tag, ..)| tag == b"LOCK").unwrap();
    // First row: length, process, address (two bytes and a half), then the kind.
    assert_eq!(locks.2[..5], [locks.2[0], 0, 0x80, 0xA0, 0x01]);
    locks.2[5] = 99;
    let mut bytes = put_together(&chunks);
    let note = |bytes: &[u8]| read_from(bytes).unwrap().coverage.notes.pop().unwrap();
    assert!(!note(&bytes).contains("newer"));
    bytes[..16].copy_from_slice(&file_header(1, 9));
    assert!(note(&bytes).contains("newer lockprof (format 1.9)"), "{}", note(&bytes));
}

#[test]
fn a_bomb_stops_at_the_limit() {
    // One long name, and many lists of frames that each want a copy.
    let mut session = Session::default();
    let node = session.stacks.intern(Stacks::UNKNOWN, CodeAddress { module: None, address: 1 });
    let frame = Frame { function: Some("x".repeat(1 << 16)), ..Frame::default() };
    session.stacks.node_mut(node).frames = vec![frame].into();
    let mut chunks = take_apart(&to_bytes(&session));
    let lists = chunks.iter_mut().find(|(tag, ..)| tag == b"FRAM").unwrap();
    (lists.1, lists.2) = (2_000, lists.2.repeat(2_000));
    let symbols = chunks.iter_mut().find(|(tag, ..)| tag == b"SYMB").unwrap();
    assert_eq!(symbols.1, 1);
    let bytes = put_together(&chunks);
    assert!(bytes.len() < 20_000);

    let limit = 16 << 20;
    let read = |limit| {
        v1::read(&mut container::ChunkReader::open(&bytes[..]).unwrap(), limit, bytes.len() as u64)
            .unwrap_err()
            .to_string()
    };
    assert!(read(limit).contains("asks for more memory than 16 MB"));
    // Without a limit of one's own, what the file's size allows.
    assert!(read(v1::MEMORY_LIMIT).contains("more memory than"));
}

#[test]
fn stacks_that_are_shown_often_count_as_often() {
    let mut session = Session::default();
    let process = Process { pid: 1, parent_pid: 0, exe: String::new(), exit: None, threads: 0 };
    session.processes.push(process);
    let deep = (1..40_000u64)
        .fold(Stacks::UNKNOWN, |caller, address| session.stacks.intern(caller, CodeAddress { module: None, address }));
    let lock = |stack| Lock { origin_stack: stack, ..Lock::new(ProcessId(0), 1, Kind::Mutex) };
    session.locks = vec![lock(Stacks::UNKNOWN); 2_000];
    let size = to_bytes(&session).len();
    assert_eq!(read_from(&to_bytes(&session)[..]).unwrap(), session);
    // The same table, but all of its locks begin at the deepest stack.
    session.locks = vec![lock(deep); 2_000];
    let bytes = to_bytes(&session);
    assert!(bytes.len() < size + 10_000);
    assert!(matches!(read_from(&bytes[..]), Err(ReadError::TooLarge { .. })));
}

#[test]
fn lengths_that_lie_take_no_memory() {
    for (raw_len, stored_len) in [(u32::MAX, 4), (4, u32::MAX), (container::CHUNK_LIMIT, container::CHUNK_LIMIT)] {
        let mut bytes = [&file_header(1, 0)[..], &chunk(*b"META", 0, 1, b"\x03abc")].concat();
        bytes[24..28].copy_from_slice(&raw_len.to_le_bytes());
        bytes[28..32].copy_from_slice(&stored_len.to_le_bytes());
        assert!(matches!(read_from(&bytes[..]), Err(ReadError::DamagedHeader | ReadError::CutInHeader)));
    }
}

#[test]
fn what_is_no_trace_says_so() {
    let error = |bytes: &[u8]| read_from(bytes).unwrap_err();
    assert!(matches!(error(b""), ReadError::Empty));
    assert!(matches!(error(b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\0\0\0"), ReadError::NotATrace));
    assert!(matches!(error(b"{\"a\": 1}"), ReadError::NotATrace));
    assert!(matches!(error(b"x"), ReadError::NotATrace));
    assert!(matches!(error(b"\x89LPF\n\x1a\n\x01\0\0\0\0\0\0\0\0"), ReadError::TextMode));
    assert!(matches!(error(b"\xef\xbf\xbdLPF\r\n\x1a\n\x01\0"), ReadError::TextMode));
    assert!(matches!(error(b"\x89LP"), ReadError::CutInHeader));
    assert!(matches!(error(&file_header(1, 0)), ReadError::CutInHeader));
    let newer = error(&[&file_header(2, 3)[..], b"in a layout that nobody knows yet"].concat());
    assert_eq!(
        newer.to_string(),
        "this trace was written by a newer lockprof (format 2.3); this one reads 1.x: update lockprof"
    );
}

#[test]
fn a_reader_that_gives_single_bytes_is_enough() {
    struct Slow<'a>(&'a [u8]);
    impl Read for Slow<'_> {
        fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
            let len = into.len().min(1);
            self.0.read(&mut into[..len])
        }
    }
    assert_eq!(read_from(Slow(&to_bytes(&golden_session()))).unwrap(), golden_session());
}
