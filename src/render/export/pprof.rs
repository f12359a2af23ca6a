//! pprof's protobuf, with the sample types of Go's own mutex profile: `contentions` and `delay`.
//!
//! A sample is what one thread waited for one lock by one stack (or made others wait); lock and thread are labels, so
//! `-tagfocus`, `-tagroot lock` and the like work. The format knows no lock names and no holders beside the waiters: one
//! side has to be chosen.

use std::collections::hash_map::Entry;

use rustc_hash::FxHashMap;

use super::{lines_of, notes, thread_name, unseen};
use crate::analysis::Contention;
use crate::analysis::blame::{Part, Whose, parts};
use crate::model::stacks::Node;
use crate::model::{CodeAddress, Frames, ModuleId, Session, Stacks};
use crate::pprof::{Function, Label, Line, Location, Mapping, Profile, SIDE_COMMENT, Sample, ValueType, encode};
use crate::render::style::printable;

/// Each module has a range of addresses of this size: as one file at one time may be loaded at any address, none of the
/// recorded ones is of use. The same size everywhere lets pprof see that two profiles are of the same file.
const MODULE_RANGE: u64 = 1 << 40;

/// The profile as a file.
pub fn pprof(session: &Session, contention: &Contention, whose: Whose) -> Vec<u8> {
    encode(&profile(session, contention, whose))
}

/// The profile.
pub fn profile(session: &Session, contention: &Contention, whose: Whose) -> Profile {
    let mut maker = Maker {
        session,
        contention,
        profile: Profile { string_table: vec![String::new()], period: 1, ..Profile::default() },
        texts: FxHashMap::default(),
        mappings: FxHashMap::default(),
        locations: FxHashMap::default(),
        functions: FxHashMap::default(),
    };
    maker.about(whose);
    maker.main_program();
    for part in parts(session, contention, whose) {
        maker.sample(&part, whose);
    }
    maker.profile
}

struct Maker<'a> {
    session: &'a Session,
    contention: &'a Contention,
    profile: Profile,
    texts: FxHashMap<String, i64>,
    mappings: FxHashMap<ModuleId, u64>,
    /// One address may stand for other frames in another process.
    locations: FxHashMap<(CodeAddress, Frames), u64>,
    functions: FxHashMap<(String, String), u64>,
}

fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

impl<'a> Maker<'a> {
    fn text(&mut self, text: &str) -> i64 {
        if text.is_empty() {
            return 0;
        }
        if let Some(known) = self.texts.get(text) {
            return *known;
        }
        let at = self.profile.string_table.len() as i64;
        self.profile.string_table.push(text.to_owned());
        self.texts.insert(text.to_owned(), at);
        at
    }

    fn value_type(&mut self, kind: &str, unit: &str) -> ValueType {
        ValueType { kind: self.text(kind), unit: self.text(unit) }
    }

    fn about(&mut self, whose: Whose) {
        let contentions = self.value_type("contentions", "count");
        let delay = self.value_type("delay", "nanoseconds");
        self.profile.sample_type = vec![contentions, delay];
        self.profile.period_type = Some(contentions);
        self.profile.default_sample_type = delay.kind;
        let meta = &self.session.meta;
        self.profile.time_nanos = signed(meta.started_unix_ns);
        self.profile.duration_nanos = signed(meta.duration_ns);
        let (word, what) = match whose {
            Whose::Waiter => ("waiter", "time that threads waited for locks, by the stack that waited"),
            Whose::Holder => {
                ("holder", "time that threads waited for locks, by the stack that held the lock meanwhile")
            }
        };
        let mut comments = vec![
            format!("lockprof {}: {what}", printable(&meta.version)),
            format!("{SIDE_COMMENT}{word}"),
            format!("command: {}", printable(&meta.command.join(" "))),
            format!("machine: {}", printable(&meta.host)),
        ];
        comments.extend(notes(self.session, self.contention));
        for comment in comments {
            let at = self.text(&comment);
            self.profile.comment.push(at);
        }
    }

    /// pprof takes the first mapping for the main program.
    fn main_program(&mut self) {
        let Some(main) = self.session.processes.first() else { return };
        let modules = &self.session.stacks.modules;
        if let Some(at) = modules.iter().position(|module| module.path == main.exe) {
            self.mapping(ModuleId::from(at));
        }
    }

    fn mapping(&mut self, id: ModuleId) -> u64 {
        if let Some(known) = self.mappings.get(&id) {
            return *known;
        }
        let Some(module) = self.session.stacks.modules.get(id.index()) else { return 0 };
        let (path, build_id) = (printable(&module.path), &module.build_id);
        let build_id: String = build_id.iter().map(|byte| format!("{byte:02x}")).collect();
        let number = self.profile.mapping.len() as u64 + 1;
        let memory_start = number.wrapping_mul(MODULE_RANGE);
        let (filename, build_id) = (self.text(&path), self.text(&build_id));
        self.profile.mapping.push(Mapping {
            id: number,
            memory_start,
            memory_limit: memory_start.wrapping_add(MODULE_RANGE),
            file_offset: 0,
            filename,
            build_id,
            has_functions: true,
            has_filenames: true,
            has_line_numbers: true,
            has_inline_frames: true,
        });
        self.mappings.insert(id, number);
        number
    }

    fn function(&mut self, name: String, file: String) -> u64 {
        let number = self.profile.function.len() as u64 + 1;
        let (name, file) = match self.functions.entry((name, file)) {
            Entry::Occupied(known) => return *known.get(),
            Entry::Vacant(new) => {
                let key = new.key().clone();
                new.insert(number);
                key
            }
        };
        let (name, filename) = (self.text(&name), self.text(&file));
        self.profile.function.push(Function { id: number, name, system_name: name, filename });
        number
    }

    fn location(&mut self, node: &Node) -> u64 {
        let key = (node.address, node.frames.clone());
        if let Some(known) = self.locations.get(&key) {
            return *known;
        }
        let mapping_id = node.address.module.map_or(0, |module| self.mapping(module));
        // Inside the call instruction, as everywhere.
        let address = node.address.address.saturating_sub(1).wrapping_add(mapping_id.wrapping_mul(MODULE_RANGE));
        let line = lines_of(self.session, node)
            .map(|(name, file, line)| Line { function_id: self.function(name, file), line: line.into() })
            .collect();
        let id = self.add_location(mapping_id, address, line);
        self.locations.insert(key, id);
        id
    }

    fn add_location(&mut self, mapping_id: u64, address: u64, line: Vec<Line>) -> u64 {
        let id = self.profile.location.len() as u64 + 1;
        self.profile.location.push(Location { id, mapping_id, address, line });
        id
    }

    /// A place that stands for the stack that nobody saw.
    fn unseen(&mut self, whose: Whose) -> u64 {
        let key = (CodeAddress { module: None, address: 0 }, Frames::default());
        if let Some(known) = self.locations.get(&key) {
            return *known;
        }
        let function_id = self.function(unseen(whose).to_owned(), String::new());
        let id = self.add_location(0, 0, vec![Line { function_id, line: 0 }]);
        self.locations.insert(key, id);
        id
    }

    fn sample(&mut self, part: &Part, whose: Whose) {
        let session = self.session;
        let row = &self.contention.locks[part.row];
        let location_id = if part.stack == Stacks::UNKNOWN {
            vec![self.unseen(whose)]
        } else {
            session.stacks.walk(part.stack).map(|node| self.location(node)).collect()
        };
        let mut label = Vec::new();
        let mut texts = vec![("lock", printable(&row.name)), ("class", printable(&row.class))];
        texts.push(("kind", row.kind.name().to_owned()));
        texts.extend(part.thread.map(|thread| ("thread", thread_name(session, thread))));
        for (key, text) in texts.iter().filter(|(_, text)| !text.is_empty()) {
            label.push(Label { key: self.text(key), text: self.text(text), num: 0 });
        }
        let tid = part.thread.map(|thread| ("tid", session.thread(thread).tid));
        let pid = ("pid", session.process(row.process).pid);
        for (key, num) in tid.into_iter().chain([pid]) {
            label.push(Label { key: self.text(key), text: 0, num: i64::from(num) });
        }
        let value = vec![signed(part.count), signed(part.wait_ns)];
        self.profile.sample.push(Sample { location_id, value, label });
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::analysis::contention::Query;
    use crate::analysis::testing::{busy, server};
    use crate::model::Frame;
    use crate::model::arbitrary::arbitrary_session;
    use crate::pprof::decode;

    fn of(session: &Session, whose: Whose) -> (Contention, Profile) {
        let contention = Contention::of(session, &Query::default());
        let bytes = pprof(session, &contention, whose);
        assert_eq!(bytes, pprof(session, &contention, whose), "the same to the byte");
        let profile = decode(&bytes).unwrap();
        (contention, profile)
    }

    /// What pprof itself demands of a profile.
    fn assert_sound(profile: &Profile) {
        assert_eq!(profile.string_table[0], "");
        let unique = |ids: Vec<u64>| {
            let count = ids.len();
            let set: std::collections::BTreeSet<_> = ids.into_iter().collect();
            assert!(set.len() == count && !set.contains(&0));
            set
        };
        let mappings = unique(profile.mapping.iter().map(|mapping| mapping.id).collect());
        let functions = unique(profile.function.iter().map(|function| function.id).collect());
        let locations = unique(profile.location.iter().map(|location| location.id).collect());
        for location in &profile.location {
            assert!(location.mapping_id == 0 || mappings.contains(&location.mapping_id));
            assert!(!location.line.is_empty());
            assert!(location.line.iter().all(|line| functions.contains(&line.function_id)));
        }
        for sample in &profile.sample {
            assert_eq!(sample.value.len(), profile.sample_type.len());
            assert!(!sample.location_id.is_empty());
            assert!(sample.location_id.iter().all(|id| locations.contains(id)));
        }
    }

    #[test]
    fn totals_types_and_labels() {
        for session in [server(), busy()] {
            for whose in [Whose::Waiter, Whose::Holder] {
                let (contention, profile) = of(&session, whose);
                assert_sound(&profile);
                let types: Vec<_> =
                    profile.sample_type.iter().map(|at| (profile.text(at.kind), profile.text(at.unit))).collect();
                assert_eq!(types, [("contentions", "count"), ("delay", "nanoseconds")]);
                let sum = |at: usize| profile.sample.iter().map(|sample| sample.value[at] as u64).sum::<u64>();
                assert_eq!((sum(0), sum(1)), (contention.contention.contended, contention.contention.wait_ns));
                let first = &profile.sample[0];
                let keys: Vec<_> = first.label.iter().map(|label| profile.text(label.key)).collect();
                assert_eq!(keys, ["lock", "class", "kind", "thread", "tid", "pid"]);
                assert_eq!(profile.text(profile.mapping[0].filename), "/srv/server");
                assert_eq!(profile.text(profile.mapping[0].build_id), "010203");
            }
        }
    }

    #[test]
    fn inlined_functions_are_lines_of_one_location() {
        let mut session = server();
        let stack = session.profile.sites.iter().find(|site| site.contended > 0).unwrap().key.stack;
        let inner = Frame { function: Some("tiny".into()), inlined: true, ..Frame::default() };
        let node = session.stacks.node_mut(stack);
        node.frames = [&[inner], &node.frames[..]].concat().into();
        let (_, profile) = of(&session, Whose::Waiter);
        let location = profile.location.iter().find(|location| location.line.len() == 2).unwrap();
        let name = |line: &Line| profile.text(profile.function[line.function_id as usize - 1].name);
        assert_eq!(name(&location.line[0]), "tiny");
    }

    proptest! {
        #[test]
        fn any_session_gives_a_sound_profile(session in arbitrary_session()) {
            for whose in [Whose::Waiter, Whose::Holder] {
                let (_, profile) = of(&session, whose);
                assert_sound(&profile);
            }
        }
    }
}
