//! OTLP's profiles: two profiles of one program, the time that threads waited for locks and the contended acquisitions.
//!
//! As in [`pprof`](super::pprof), a sample is what one thread waited for one lock by one stack (or made others wait), and lock
//! and thread are attributes. Names of attributes are those of OpenTelemetry's semantic conventions, and `lockprof.…` where
//! these have none.

use std::hash::Hash;

use rustc_hash::FxHashMap;
use sha2::{Digest, Sha256};

use super::{lines_of, notes, thread_name, unseen};
use crate::analysis::Contention;
use crate::analysis::blame::{Part, Whose, parts};
use crate::model::stacks::Node;
use crate::model::{CodeAddress, Frames, ModuleId, Session, Stacks};
use crate::otlp::{
    Function, InstrumentationScope, KeyValue, KeyValueAndUnit, Line, Link, Location, Mapping, Profile, ProfilesData,
    ProfilesDictionary, Resource, ResourceProfiles, Sample, ScopeProfiles, Stack, Value, ValueType, encode,
};
use crate::render::style::printable;

/// Each module has a range of addresses of this size, as in pprof.
const MODULE_RANGE: u64 = 1 << 40;

/// The file.
pub fn otlp(session: &Session, contention: &Contention, whose: Whose) -> Vec<u8> {
    encode(&profiles(session, contention, whose))
}

/// The message.
pub fn profiles(session: &Session, contention: &Contention, whose: Whose) -> ProfilesData {
    let mut maker = Maker::new(session, contention);
    let (delay, contentions) = (maker.value_type("delay", "nanoseconds"), maker.value_type("contentions", "count"));
    let parts = parts(session, contention, whose);
    let samples: Vec<Sample> = parts.iter().map(|part| maker.sample(part, whose)).collect();
    let profile = |sample_type, value: fn(&Part) -> u64| {
        let of = |(sample, part): (&Sample, &Part)| Sample { values: vec![signed(value(part))], ..sample.clone() };
        Profile {
            sample_type: Some(sample_type),
            samples: samples.iter().zip(&parts).map(of).collect(),
            time_unix_nano: session.meta.started_unix_ns,
            duration_nano: session.meta.duration_ns,
            period_type: Some(contentions),
            period: 1,
            ..Profile::default()
        }
    };
    let mut profiles = vec![profile(delay, |part| part.wait_ns), profile(contentions, |part| part.count)];
    for profile in &mut profiles {
        // The same recording is the same profile, wherever it is sent from.
        profile.profile_id = Sha256::digest(profile.bytes())[..16].to_vec();
    }
    let scope = maker.scope(whose);
    let resource = maker.resource();
    let scope_profiles = vec![ScopeProfiles { scope: Some(scope), profiles }];
    ProfilesData {
        resource_profiles: vec![ResourceProfiles { resource: Some(resource), scope_profiles }],
        dictionary: Some(maker.dictionary),
    }
}

struct Maker<'a> {
    session: &'a Session,
    contention: &'a Contention,
    dictionary: ProfilesDictionary,
    texts: FxHashMap<String, i32>,
    attributes: FxHashMap<(&'static str, Value), i32>,
    mappings: FxHashMap<ModuleId, i32>,
    functions: FxHashMap<(String, String), i32>,
    /// One address may stand for other frames in another process.
    locations: FxHashMap<(CodeAddress, Frames), i32>,
    stacks: FxHashMap<Stack, i32>,
}

fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

/// Adds a row that is not there yet; where it is.
fn position<K: Eq + Hash, T>(known: &mut FxHashMap<K, i32>, table: &mut Vec<T>, key: K, row: T) -> i32 {
    *known.entry(key).or_insert_with(|| {
        table.push(row);
        table.len() as i32 - 1
    })
}

impl<'a> Maker<'a> {
    fn new(session: &'a Session, contention: &'a Contention) -> Self {
        // Position 0 of each table is "none".
        let dictionary = ProfilesDictionary {
            mapping_table: vec![Mapping::default()],
            location_table: vec![Location::default()],
            function_table: vec![Function::default()],
            link_table: vec![Link::default()],
            string_table: vec![String::new()],
            attribute_table: vec![KeyValueAndUnit::default()],
            stack_table: vec![Stack::default()],
        };
        Self {
            session,
            contention,
            dictionary,
            texts: std::iter::once((String::new(), 0)).collect(),
            attributes: FxHashMap::default(),
            mappings: FxHashMap::default(),
            functions: FxHashMap::default(),
            locations: FxHashMap::default(),
            stacks: FxHashMap::default(),
        }
    }

    fn text(&mut self, text: &str) -> i32 {
        position(&mut self.texts, &mut self.dictionary.string_table, text.to_owned(), text.to_owned())
    }

    fn value_type(&mut self, kind: &str, unit: &str) -> ValueType {
        ValueType { type_strindex: self.text(kind), unit_strindex: self.text(unit) }
    }

    fn attribute(&mut self, key: &'static str, value: Value) -> i32 {
        let row = KeyValueAndUnit { key_strindex: self.text(key), value: value.clone().any(), unit_strindex: 0 };
        position(&mut self.attributes, &mut self.dictionary.attribute_table, (key, value), row)
    }

    fn mapping(&mut self, id: ModuleId) -> i32 {
        if let Some(known) = self.mappings.get(&id) {
            return *known;
        }
        let Some(module) = self.session.stacks.modules.get(id.index()) else { return 0 };
        let build_id: String = module.build_id.iter().map(|byte| format!("{byte:02x}")).collect();
        let attributes =
            (!build_id.is_empty()).then(|| self.attribute("process.executable.build_id.gnu", Value::Text(build_id)));
        let memory_start = (self.dictionary.mapping_table.len() as u64).wrapping_mul(MODULE_RANGE);
        let row = Mapping {
            memory_start,
            memory_limit: memory_start.wrapping_add(MODULE_RANGE),
            file_offset: 0,
            filename_strindex: self.text(&printable(&module.path)),
            attribute_indices: attributes.into_iter().collect(),
        };
        position(&mut self.mappings, &mut self.dictionary.mapping_table, id, row)
    }

    fn function(&mut self, name: String, file: String) -> i32 {
        let name_strindex = self.text(&name);
        let row = Function { name_strindex, system_name_strindex: name_strindex, filename_strindex: self.text(&file) };
        position(&mut self.functions, &mut self.dictionary.function_table, (name, file), row)
    }

    fn location(&mut self, node: &Node) -> i32 {
        let key = (node.address, node.frames.clone());
        if let Some(known) = self.locations.get(&key) {
            return *known;
        }
        let mapping_index = node.address.module.map_or(0, |module| self.mapping(module));
        let lines = lines_of(self.session, node)
            .map(|(name, file, line)| Line { function_index: self.function(name, file), line: line.into() })
            .collect();
        // Inside the call instruction, as everywhere.
        let address = node.address.address.saturating_sub(1);
        let row = Location {
            mapping_index,
            address: address.wrapping_add((mapping_index as u64).wrapping_mul(MODULE_RANGE)),
            lines,
            attribute_indices: vec![self.attribute("profile.frame.type", Value::Text("native".into()))],
        };
        position(&mut self.locations, &mut self.dictionary.location_table, key, row)
    }

    /// A place that stands for the stack that nobody saw.
    fn unseen(&mut self, whose: Whose) -> i32 {
        let function_index = self.function(unseen(whose).to_owned(), String::new());
        let row = Location { lines: vec![Line { function_index, line: 0 }], ..Location::default() };
        let key = (CodeAddress { module: None, address: 0 }, Frames::default());
        position(&mut self.locations, &mut self.dictionary.location_table, key, row)
    }

    fn sample(&mut self, part: &Part, whose: Whose) -> Sample {
        let session = self.session;
        let row = &self.contention.locks[part.row];
        let location_indices = if part.stack == Stacks::UNKNOWN {
            vec![self.unseen(whose)]
        } else {
            session.stacks.walk(part.stack).map(|node| self.location(node)).collect()
        };
        let stack = Stack { location_indices };
        let stack_index = position(&mut self.stacks, &mut self.dictionary.stack_table, stack.clone(), stack);
        let mut about = vec![
            ("lockprof.lock.name", Value::Text(printable(&row.name))),
            ("lockprof.lock.class", Value::Text(printable(&row.class))),
            ("lockprof.lock.kind", Value::Text(row.kind.name().to_owned())),
            ("process.pid", Value::Number(i64::from(session.process(row.process).pid))),
        ];
        if let Some(thread) = part.thread {
            about.push(("thread.name", Value::Text(thread_name(session, thread))));
            about.push(("thread.id", Value::Number(i64::from(session.thread(thread).tid))));
        }
        about.retain(|(_, value)| *value != Value::Text(String::new()));
        let attribute_indices = about.into_iter().map(|(key, value)| self.attribute(key, value)).collect();
        Sample { stack_index, attribute_indices, ..Sample::default() }
    }

    /// The tool, and what a reader has to know.
    fn scope(&self, whose: Whose) -> InstrumentationScope {
        let side = match whose {
            Whose::Waiter => "waiter",
            Whose::Holder => "holder",
        };
        let notes = notes(self.session, self.contention).join("\n");
        let mut attributes = vec![text("lockprof.side", side)];
        attributes.extend((!notes.is_empty()).then(|| text("lockprof.notes", &notes)));
        InstrumentationScope { name: "lockprof".into(), version: printable(&self.session.meta.version), attributes }
    }

    fn resource(&self) -> Resource {
        let meta = &self.session.meta;
        let main = self.session.processes.first();
        let exe = main.map(|main| printable(&main.exe)).unwrap_or_default();
        let name = exe.rsplit('/').next().unwrap_or_default();
        let (command, host) = (printable(&meta.command.join(" ")), printable(&meta.host));
        let texts = [
            ("service.name", if name.is_empty() { "unknown_service" } else { name }),
            ("process.executable.name", name),
            ("process.executable.path", &exe),
            ("process.command_line", &command),
            ("host.name", &host),
        ]
        .into_iter()
        .filter(|(_, value)| !value.is_empty())
        .map(|(key, value)| text(key, value));
        let pid =
            main.map(|main| KeyValue { key: "process.pid".into(), value: Value::Number(i64::from(main.pid)).any() });
        Resource { attributes: texts.chain(pid).collect() }
    }
}

fn text(key: &str, value: &str) -> KeyValue {
    KeyValue { key: key.into(), value: Value::Text(value.to_owned()).any() }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::analysis::contention::Query;
    use crate::analysis::testing::{busy, empty, server};
    use crate::model::arbitrary::arbitrary_session;
    use crate::otlp::decode;

    /// What `profiles.proto` demands: first rows are empty, positions are there, nothing is in a table twice.
    fn assert_sound(data: &ProfilesData) {
        let tables = data.dictionary.as_ref().expect("tables");
        assert_eq!(tables.string_table[0], "");
        assert_eq!(tables.mapping_table[0], Mapping::default());
        assert_eq!(tables.location_table[0], Location::default());
        assert_eq!(tables.function_table[0], Function::default());
        assert_eq!((&tables.link_table[..], &tables.stack_table[0]), (&[Link::default()][..], &Stack::default()));
        assert_eq!(tables.attribute_table[0], KeyValueAndUnit::default());
        let within = |at: i32, len: usize| assert!((at as usize) < len, "{at} of {len}");
        let texts = tables.string_table.len();
        let unique: std::collections::BTreeSet<_> = tables.string_table.iter().collect();
        assert_eq!(unique.len(), texts);
        let attributes = |indices: &[i32]| {
            indices.iter().for_each(|at| within(*at, tables.attribute_table.len()));
            let keys: Vec<_> = indices.iter().map(|at| tables.attribute_table[*at as usize].key_strindex).collect();
            let unique: std::collections::BTreeSet<_> = keys.iter().collect();
            assert_eq!(unique.len(), keys.len(), "no key twice");
        };
        for function in &tables.function_table {
            for at in [function.name_strindex, function.system_name_strindex, function.filename_strindex] {
                within(at, texts);
            }
        }
        for location in &tables.location_table {
            within(location.mapping_index, tables.mapping_table.len());
            location.lines.iter().for_each(|line| within(line.function_index, tables.function_table.len()));
            attributes(&location.attribute_indices);
        }
        for mapping in &tables.mapping_table {
            within(mapping.filename_strindex, texts);
            attributes(&mapping.attribute_indices);
        }
        for stack in &tables.stack_table {
            stack.location_indices.iter().for_each(|at| within(*at, tables.location_table.len()));
        }
        for sample in data.resource_profiles[0].scope_profiles[0].profiles.iter().flat_map(|one| &one.samples) {
            within(sample.stack_index, tables.stack_table.len());
            assert!(sample.stack_index > 0 && sample.values.len() == 1);
            attributes(&sample.attribute_indices);
        }
    }

    #[test]
    fn whole_and_sound() {
        for session in [server(), busy(), empty()] {
            let contention = Contention::of(&session, &Query::default());
            for whose in [Whose::Waiter, Whose::Holder] {
                let bytes = otlp(&session, &contention, whose);
                assert_eq!(bytes, otlp(&session, &contention, whose), "the same to the byte");
                let data = decode(&bytes).unwrap();
                assert_sound(&data);
                let profiles = &data.resource_profiles[0].scope_profiles[0].profiles;
                let sums: [u64; 2] =
                    [0, 1].map(|at: usize| profiles[at].samples.iter().map(|sample| sample.values[0] as u64).sum());
                assert_eq!(sums, [contention.contention.wait_ns, contention.contention.contended]);
                assert!(profiles[0].profile_id.len() == 16 && profiles[0].profile_id != profiles[1].profile_id);
            }
        }
    }

    proptest! {
        #[test]
        fn any_session_gives_sound_profiles(session in arbitrary_session()) {
            let contention = Contention::of(&session, &Query::default());
            for whose in [Whose::Waiter, Whose::Holder] {
                assert_sound(&profiles(&session, &contention, whose));
            }
        }
    }
}
