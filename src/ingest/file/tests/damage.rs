//! Cuts at every byte and flips of every bit: an error, or a session that says it is cut.

use super::golden::golden_session;
use super::*;

#[test]
fn cut_anywhere() {
    let whole = golden_session();
    let bytes = to_bytes(&whole);
    let mut readable = 0;
    for len in 0..bytes.len() {
        match read_from(&bytes[..len]) {
            Ok(session) => {
                exercise(&session);
                assert!(session.meta.cut, "cut at {len}");
                let note = session.coverage.notes.last().unwrap();
                assert!(note.contains("is cut short"), "cut at {len}: {note}");
                assert_part_of(&session, &whole);
                readable += 1;
            }
            Err(ReadError::Empty) => assert_eq!(len, 0),
            Err(ReadError::CutInHeader) => assert!(readable == 0, "cut at {len} is worse than a cut before it"),
            Err(other) => panic!("cut at {len}: {other}"),
        }
    }
    assert!(readable > bytes.len() / 2);
}

/// Every table is a prefix of the whole one's.
fn assert_part_of(part: &Session, whole: &Session) {
    assert_eq!(part.meta.version, whole.meta.version);
    assert!(whole.meta.command.starts_with(&part.meta.command));
    assert!(whole.processes.starts_with(&part.processes));
    assert!(whole.threads.starts_with(&part.threads));
    assert!(whole.locks.starts_with(&part.locks));
    assert!(whole.profile.sites.starts_with(&part.profile.sites));
    assert!(whole.profile.wait_events.starts_with(&part.profile.wait_events));
    assert!(part.profile.waits.iter().all(|(key, stats)| whole.profile.waits[key] == *stats));
    let (order, all) = (&part.order, &whole.order);
    assert!(all.chains.links().starts_with(order.chains.links()) && all.requests.starts_with(&order.requests));
    assert!(order.misuses.iter().all(|(misuse, count)| all.misuses[misuse] == *count));
    assert!(
        order
            .timelines
            .iter()
            .zip(&all.timelines)
            .all(|(part, whole)| whole.sync_points.starts_with(&part.sync_points))
    );
    assert!(order.requests.len() == all.requests.len() || order.dropped > 0, "edges are missing, and nobody says so");
    assert!(order.log == all.log || order.log.complete_from_ns == u64::MAX, "so are events");
    assert!(part.profile.by_thread.iter().all(|(key, share)| whole.profile.by_thread[key] == *share));
    for at in 0..part.stacks.len() {
        let [part, whole] = [part, whole].map(|session| session.stacks.node(StackId::from(at)));
        assert_eq!((part.caller, part.address), (whole.caller, whole.address));
        assert!(part.frames.is_empty() || part.frames == whole.frames);
    }
}

#[test]
fn a_cut_says_what_is_missing_and_claims_no_more_than_it_has() {
    let whole = roundtrip::large_session();
    let bytes = to_bytes(&whole);
    let cut = |share: f64| read_from(&bytes[..(bytes.len() as f64 * share) as usize]).unwrap();

    let early = cut(0.3);
    assert!(early.profile.sites.len() < whole.profile.sites.len());
    assert!(early.coverage.notes[0].contains(&format!(" of {} call sites", whole.profile.sites.len())));
    let late = cut(0.99);
    assert_eq!(late.profile.sites, whole.profile.sites);
    assert!(late.coverage.notes[0].contains("of 30000 single waits"), "{}", late.coverage.notes[0]);
    assert!(!late.coverage.notes[0].contains("call sites"));
}

#[test]
fn sites_that_were_cut_count_as_lost() {
    let mut whole = roundtrip::large_session();
    let sum: u64 = whole.profile.sites.iter().map(|site| site.acquisitions).sum();
    (whole.coverage.acquisitions, whole.coverage.recorded) = (sum, sum);
    let bytes = to_bytes(&whole);
    let coverages: Vec<_> = (1..40)
        .map(|part| read_from(&bytes[..bytes.len() * part / 40]).unwrap())
        .map(|cut| {
            let kept: u64 = cut.profile.sites.iter().map(|site| site.acquisitions).sum();
            assert_eq!(cut.coverage.recorded, kept);
            assert_eq!(cut.coverage.recorded + cut.coverage.lost, sum);
            cut.coverage.complete()
        })
        .collect();
    assert!(coverages.is_sorted() && coverages.contains(&true) && coverages.contains(&false));
}

#[test]
fn every_flipped_bit_shows() {
    let whole = golden_session();
    let mut bytes = to_bytes(&whole);
    for at in 0..bytes.len() {
        for bit in 0..8 {
            bytes[at] ^= 1 << bit;
            if let Ok(session) = read_from(&bytes[..]) {
                exercise(&session);
                assert!(session.meta.cut, "bit {bit} of byte {at}");
                assert_part_of(&session, &whole);
            }
            bytes[at] ^= 1 << bit;
        }
    }
    assert!(!read_from(&bytes[..]).unwrap().meta.cut);
}

#[test]
fn bytes_after_the_end_are_ignored() {
    let mut bytes = to_bytes(&golden_session());
    bytes.extend_from_slice(b"left over");
    assert_eq!(read_from(&bytes[..]).unwrap(), golden_session());
}

#[test]
fn a_disk_that_fails_later_leaves_the_readable_part() {
    struct Failing<'a>(&'a [u8]);
    impl Read for Failing<'_> {
        fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
            if self.0.is_empty() { Err(std::io::Error::other("bad sector")) } else { self.0.read(into) }
        }
    }
    let bytes = to_bytes(&golden_session());
    let session = read_from(Failing(&bytes[..bytes.len() - 100])).unwrap();
    assert!(session.meta.cut && session.coverage.notes.last().unwrap().contains("bad sector"));
    assert!(matches!(read_from(Failing(&bytes[..20])), Err(ReadError::Io(_))));
}
