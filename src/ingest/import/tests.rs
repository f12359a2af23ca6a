//! What is imported adds up, what is exported comes back, and junk is refused in one sentence.

use proptest::prelude::*;

use super::*;
use crate::model::{Histogram, Kind, Mode, Stacks};
use crate::pprof::{Function, Line, Location, Profile, Sample, ValueType, encode};

/// A profile of samples: functions (innermost first), contentions, delay in ns.
fn profile(types: &[(&str, &str)], samples: &[(&[&str], [i64; 2])]) -> Profile {
    let mut profile = Profile { string_table: vec![String::new()], ..Profile::default() };
    let text = |profile: &mut Profile, text: &str| {
        profile.string_table.push(text.to_owned());
        profile.string_table.len() as i64 - 1
    };
    for (kind, unit) in types {
        let (kind, unit) = (text(&mut profile, kind), text(&mut profile, unit));
        profile.sample_type.push(ValueType { kind, unit });
    }
    for (functions, value) in samples {
        let mut location_id = Vec::new();
        for function in *functions {
            let (id, name) = (profile.location.len() as u64 + 1, text(&mut profile, function));
            profile.function.push(Function { id, name, system_name: name, filename: 0 });
            let line = vec![Line { function_id: id, line: 7 }];
            profile.location.push(Location { id, mapping_id: 0, address: 0x400 + id, line });
            location_id.push(id);
        }
        profile.sample.push(Sample { location_id, value: value.to_vec(), label: Vec::new() });
    }
    profile
}

const TYPES: [(&str, &str); 2] = [("contentions", "count"), ("delay", "nanoseconds")];

#[test]
fn holders_and_waiters_of_go_are_told_apart() {
    let samples: [(&[&str], [i64; 2]); 5] = [
        (&["sync.(*Mutex).Unlock", "main.(*Cache).Put", "main.main"], [3, 700]),
        (&["sync.(*RWMutex).RUnlock", "main.(*Cache).Get", "main.main"], [2, 50]),
        (&["sync.(*Mutex).Lock", "sync.(*RWMutex).Lock", "main.refresh"], [1, 9]),
        (&["runtime.chanrecv1", "main.worker"], [4, 1_000]),
        (&["sync.(*Mutex).Unlock", "main.(*Cache).Put", "main.other"], [1, 1]),
    ];
    let session = import(&encode(&profile(&TYPES, &samples))).unwrap();
    let locks: Vec<_> =
        session.locks.iter().map(|lock| (lock.name.as_ref().unwrap().text.as_str(), lock.kind)).collect();
    let want = [
        ("main.(*Cache).Put", Kind::Mutex),
        ("main.(*Cache).Get", Kind::Rwlock),
        ("main.refresh", Kind::Rwlock),
        ("main.worker", Kind::Channel),
    ];
    assert_eq!(locks, want);
    let sum = |of: fn(&Histogram) -> u64| session.profile.sites.iter().map(|site| of(&site.wait)).sum::<u64>();
    assert_eq!((sum(|wait| wait.count), sum(|wait| wait.sum)), (11, 1_760));
    let held = session.profile.waits.iter().filter(|(key, _)| key.holder != Stacks::UNKNOWN);
    assert_eq!(held.map(|(_, stats)| stats.wait_ns).sum::<u64>(), 751);
    assert!(session.profile.waits.keys().any(|key| key.mode == Mode::Shared && key.waiter == Stacks::UNKNOWN));
    assert!(session.coverage.contended_only && session.coverage.notes.iter().any(|note| note.contains("holder")));
}

#[test]
fn units_are_those_of_the_profile() {
    let samples: [(&[&str], [i64; 2]); 1] = [(&["main.f"], [1, 7])];
    let types = [("contentions", "count"), ("delay", "microseconds")];
    let session = import(&encode(&profile(&types, &samples))).unwrap();
    assert_eq!(session.profile.sites[0].wait.sum, 7_000);
}

#[test]
fn what_is_no_profile_of_locks_is_refused() {
    let message = |bytes: &[u8]| import(bytes).unwrap_err().to_string();
    let cpu = profile(&[("samples", "count"), ("cpu", "nanoseconds")], &[]);
    assert!(message(&encode(&cpu)).contains("not of locks (it has samples, cpu)"));
    let mut cut = profile(&TYPES, &[(&["main.f"], [1, 2])]);
    cut.location.clear();
    assert!(message(&encode(&cut)).contains("damaged"));
    let negative = profile(&TYPES, &[(&["main.f"], [1, -2])]);
    assert!(message(&encode(&negative)).contains("damaged"));
    assert!(message(b"\x1f\x8bjunk").contains("gzip"));
    for junk in ["hello", "a list\nof words 7\n", "one 1\ntwo 2\n", "a;b;c\n", "a;b 1.5\n"] {
        assert!(message(junk.as_bytes()).contains("not a lockprof trace"), "{junk}");
    }
}

#[test]
fn folded_stacks_keep_their_frames() {
    let session = import(b"# a comment\nmu;main;work 70\nmu;main 5\nother;[unknown stack] 3\n").unwrap();
    assert_eq!(session.locks.len(), 2);
    let of = |at: usize| {
        let site = &session.profile.sites[at];
        let frames = session.stacks.walk(site.key.stack).flat_map(|node| &node.frames);
        (frames.filter_map(|frame| frame.function.as_deref()).collect::<Vec<_>>(), site.wait.sum)
    };
    assert_eq!((of(0), of(1), of(2)), ((vec!["work", "main"], 70), (vec!["main"], 5), (vec![], 3)));
}

proptest! {
    #[test]
    fn no_bytes_lead_to_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = import(&bytes);
    }

    /// Valid protobuf with senseless references.
    #[test]
    fn no_profile_leads_to_a_panic(
        ids in prop::collection::vec((0u64..4, 0u64..4, any::<u64>(), any::<i64>()), 0..8),
        samples in prop::collection::vec((prop::collection::vec(0u64..5, 0..4), any::<[i64; 2]>()), 0..6),
        texts in any::<[i64; 3]>(),
    ) {
        let mut profile = profile(&TYPES, &[]);
        for (id, function, address, line) in ids {
            let line = vec![Line { function_id: function, line }];
            profile.location.push(Location { id, mapping_id: function, address, line });
            profile.function.push(Function { id: function, name: texts[0] % 9, system_name: texts[1], filename: texts[2] });
        }
        for (location_id, value) in samples {
            profile.sample.push(Sample { location_id, value: value.to_vec(), label: Vec::new() });
        }
        let _ = import(&encode(&profile));
    }
}
