//! pprof profiles with contentions and delay: Go's mutex and block profiles, and those that lockprof exports.
//!
//! Go knows no locks, only where they were given back (mutex profile: the stack is the holder's) or waited for (block
//! profile). So all that one function of the program does by one kind of operation is one lock here, named after that
//! function. Profiles of ours have the lock as labels.

use rustc_hash::FxHashMap;

use super::OpenError;
use super::rows::{LockKey, Rows, Side, Waits};
use crate::model::{CodeAddress, Frame, Kind, Mode, Module, ModuleId, NameSource, ProcessId, Session, StackId, Stacks};
use crate::pprof::{Location, Mapping, Profile, SIDE_COMMENT, Sample};

/// A frame with its texts' heads and its node, bytes.
const FRAME: u64 = 256;

/// `most`: memory that the stacks may take, bytes.
pub(super) fn session(profile: &Profile, most: u64) -> Result<Session, OpenError> {
    let kinds: Vec<&str> = profile.sample_type.iter().map(|at| profile.text(at.kind)).collect();
    let at = |kind: &str| kinds.iter().position(|other| *other == kind);
    let (Some(counts), Some(delays)) = (at("contentions"), at("delay")) else {
        return Err(OpenError::NotOfLocks(kinds.join(", ")));
    };
    let unit = match profile.text(profile.sample_type[delays].unit) {
        "nanoseconds" => 1,
        "microseconds" => 1_000,
        "milliseconds" => 1_000_000,
        "seconds" => 1_000_000_000,
        _ => return Err(OpenError::Damaged("its delay has no unit of time")),
    };
    let mut importer = Importer::new(profile, most)?;
    for sample in &profile.sample {
        let value = |at: usize| sample.value.get(at).and_then(|value| u64::try_from(*value).ok());
        let (Some(count), Some(delay)) = (value(counts), value(delays)) else {
            return Err(OpenError::Damaged("a sample lacks its values"));
        };
        importer.sample(sample, count, delay.saturating_mul(unit))?;
    }
    Ok(importer.finish())
}

struct Importer<'a> {
    profile: &'a Profile,
    rows: Rows,
    locations: FxHashMap<u64, &'a Location>,
    functions: FxHashMap<u64, (&'a str, &'a str)>,
    mappings: FxHashMap<u64, (ModuleId, &'a Mapping)>,
    /// Which location is at an address: another one there gets an address of its own.
    taken: FxHashMap<CodeAddress, u64>,
    /// What the comments of a profile of ours say.
    side: Option<Side>,
    sides: [bool; 2],
    /// Memory that the stacks may take, and take so far, bytes.
    most: u64,
    taken_bytes: u64,
}

impl<'a> Importer<'a> {
    fn new(profile: &'a Profile, most: u64) -> Result<Self, OpenError> {
        let mut rows = Rows::default();
        let mut mappings = FxHashMap::default();
        for mapping in &profile.mapping {
            let build_id = bytes_of(profile.text(mapping.build_id));
            let module = Module { path: profile.text(mapping.filename).to_owned(), build_id };
            mappings.insert(mapping.id, (rows.session.stacks.intern_module(&module), mapping));
        }
        let comment = |begin: &str| {
            let mut comments = profile.comment.iter().map(|at| profile.text(*at));
            comments.find_map(|text| text.strip_prefix(begin))
        };
        let side = comment(SIDE_COMMENT).map(|word| if word == "holder" { Side::Holder } else { Side::Waiter });
        let main = profile.mapping.first().map_or("", |mapping| profile.text(mapping.filename));
        let own = comment("command: ").filter(|_| side.is_some());
        let command = own.unwrap_or_else(|| main.rsplit('/').next().unwrap_or(main));
        let meta = &mut rows.session.meta;
        meta.command = vec![if command.is_empty() { "pprof profile" } else { command }.to_owned()];
        meta.host = comment("machine: ").filter(|_| side.is_some()).unwrap_or_default().to_owned();
        meta.started_unix_ns = u64::try_from(profile.time_nanos).unwrap_or(0);
        meta.duration_ns = u64::try_from(profile.duration_nanos).unwrap_or(0);
        if profile.location.iter().any(|location| location.id == 0) {
            return Err(OpenError::Damaged("a location has no id"));
        }
        Ok(Self {
            profile,
            rows,
            locations: profile.location.iter().map(|location| (location.id, location)).collect(),
            functions: (profile.function.iter())
                .map(|at| (at.id, (profile.text(at.name), profile.text(at.filename))))
                .collect(),
            mappings,
            taken: FxHashMap::default(),
            side,
            sides: [false; 2],
            most,
            taken_bytes: 0,
        })
    }

    fn sample(&mut self, sample: &Sample, count: u64, wait_ns: u64) -> Result<(), OpenError> {
        let mut texts: FxHashMap<&str, &str> = FxHashMap::default();
        let mut numbers: FxHashMap<&str, u32> = FxHashMap::default();
        for label in &sample.label {
            let key = self.profile.text(label.key);
            if label.text != 0 {
                texts.insert(key, self.profile.text(label.text));
            } else {
                numbers.insert(key, u32::try_from(label.num).unwrap_or(0));
            }
        }
        let main = self.profile.mapping.first().map_or("", |mapping| self.profile.text(mapping.filename));
        let process = self.rows.process(numbers.get("pid").copied().unwrap_or(0), main);
        let stack = self.stack(&sample.location_id)?;
        let names: Vec<&str> = self.names(&sample.location_id);
        let (go_kind, mode, go_side) = operation(&names);
        let kind = texts.get("kind").and_then(|word| Kind::ALL.into_iter().find(|kind| kind.name() == *word));
        let (kind, side) = (kind.unwrap_or(go_kind), self.side.unwrap_or(go_side));
        let key = lock_key(&texts, &names, kind, process);
        let lock = self.rows.lock(key);
        let thread = texts.get("thread").map(|name| {
            let tid = numbers.get("tid").copied().unwrap_or(0);
            self.rows.thread(process, Some((tid, (*name).to_owned())))
        });
        self.sides[usize::from(side == Side::Holder)] |= kind.is_lock();
        self.rows.add(&Waits { lock, side, mode, stack, thread, count, wait_ns });
        Ok(())
    }

    /// The functions of a stack, innermost first.
    fn names(&self, locations: &[u64]) -> Vec<&'a str> {
        let lines = locations.iter().filter_map(|id| self.locations.get(id)).flat_map(|location| &location.line);
        lines.filter_map(|line| self.functions.get(&line.function_id)).map(|(name, _)| *name).collect()
    }

    fn stack(&mut self, locations: &[u64]) -> Result<StackId, OpenError> {
        let mut at = Stacks::UNKNOWN;
        if matches!(self.names(locations)[..], [Stacks::UNKNOWN_WAITER | Stacks::UNKNOWN_HOLDER]) {
            return Ok(at);
        }
        for id in locations.iter().rev() {
            let location =
                *self.locations.get(id).ok_or(OpenError::Damaged("a sample names a location that is not there"))?;
            let address = self.address(location);
            at = self.rows.session.stacks.intern(at, address);
            if self.rows.session.stacks.node(at).frames.is_empty() {
                let frames = self.frames(location);
                let texts = |frame: &Frame| {
                    [&frame.function, &frame.file].into_iter().flatten().map(String::len).sum::<usize>()
                };
                let size = frames.iter().map(|frame| FRAME + texts(frame) as u64).fold(FRAME, u64::saturating_add);
                self.taken_bytes = self.taken_bytes.saturating_add(size);
                if self.taken_bytes > self.most {
                    return Err(OpenError::TooLarge(self.most >> 20));
                }
                self.rows.session.stacks.node_mut(at).frames = frames.into();
            }
        }
        Ok(at)
    }

    /// In the file's own addresses, as a return address.
    fn address(&mut self, location: &Location) -> CodeAddress {
        let mapped = self.mappings.get(&location.mapping_id);
        let offset = mapped.map_or(location.address, |(_, mapping)| {
            location.address.wrapping_sub(mapping.memory_start).wrapping_add(mapping.file_offset)
        });
        let address = CodeAddress { module: mapped.map(|(module, _)| *module), address: offset.wrapping_add(1) };
        if location.address != 0 && *self.taken.entry(address).or_insert(location.id) == location.id {
            return address;
        }
        // No address, or one with other functions: the number stands for it.
        CodeAddress { module: None, address: location.id }
    }

    fn frames(&self, location: &Location) -> Vec<Frame> {
        let last = location.line.len().saturating_sub(1);
        let frame = |(at, line): (usize, &crate::pprof::Line)| {
            let (name, file) = self.functions.get(&line.function_id).copied().unwrap_or_default();
            let known = |text: &str| (!text.is_empty()).then(|| text.to_owned());
            let line = u32::try_from(line.line).unwrap_or(0);
            Frame { function: known(name), file: known(file), line, column: 0, inlined: at < last }
        };
        location.line.iter().enumerate().map(frame).collect()
    }

    fn finish(self) -> Session {
        let mut notes = vec![
            "imported from a pprof profile: only contended acquisitions are known. Holds, the spread of the waits \
             and the longest one are not: JSON has 0 for them."
                .to_owned(),
        ];
        if self.side.is_none() {
            notes.push(
                "Go does not tell locks apart: a lock here is a function that gave one back or waited for it.".into(),
            );
        }
        if self.sides[usize::from(true)] {
            notes
                .push("The stacks are those of holders; who waited is not known: try `flamegraph --by holder`.".into());
        }
        self.rows.finish(notes)
    }
}

fn bytes_of(hex: &str) -> Vec<u8> {
    let digits: Option<Vec<u8>> = hex.chars().map(|digit| digit.to_digit(16).map(|value| value as u8)).collect();
    // Go writes build-ids of its own, which are no hexadecimal numbers: as they are.
    match digits {
        Some(digits) if digits.len() % 2 == 0 => digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect(),
        _ => hex.as_bytes().to_vec(),
    }
}

/// Whether a function belongs to Go's own synchronisation.
fn is_library(name: &str) -> bool {
    ["sync.", "sync/", "runtime.", "runtime/", "internal/"].iter().any(|begin| name.starts_with(begin))
}

/// What was done, by which side: told by the outermost function of Go's own that says it.
fn operation(names: &[&str]) -> (Kind, Mode, Side) {
    let (exclusive, shared) = (Mode::Exclusive, Mode::Shared);
    let known = names.iter().take_while(|name| is_library(name)).filter_map(|name| {
        Some(match *name {
            "sync.(*RWMutex).RUnlock" | "sync.(*RWMutex).rUnlockSlow" => (Kind::Rwlock, shared, Side::Holder),
            "sync.(*RWMutex).Unlock" => (Kind::Rwlock, exclusive, Side::Holder),
            "sync.(*RWMutex).RLock" => (Kind::Rwlock, shared, Side::Waiter),
            "sync.(*RWMutex).Lock" => (Kind::Rwlock, exclusive, Side::Waiter),
            "sync.(*Mutex).Unlock" | "sync.(*Mutex).unlockSlow" => (Kind::Mutex, exclusive, Side::Holder),
            "sync.(*Mutex).Lock" | "sync.(*Mutex).lockSlow" => (Kind::Mutex, exclusive, Side::Waiter),
            "sync.(*WaitGroup).Wait" => (Kind::Waitgroup, exclusive, Side::Waiter),
            "sync.(*Cond).Wait" => (Kind::Cond, exclusive, Side::Waiter),
            "runtime.selectgo" => (Kind::Select, exclusive, Side::Waiter),
            _ if name.starts_with("runtime.chan") => (Kind::Channel, exclusive, Side::Waiter),
            _ if name.starts_with("runtime.unlock") => (Kind::Mutex, exclusive, Side::Holder),
            _ => return None,
        })
    });
    known.last().unwrap_or((Kind::Mutex, exclusive, Side::Waiter))
}

fn lock_key(texts: &FxHashMap<&str, &str>, names: &[&str], kind: Kind, process: ProcessId) -> LockKey {
    if let Some(name) = texts.get("lock") {
        let class = texts.get("class").copied().unwrap_or_default().to_owned();
        return LockKey { name: (*name).to_owned(), class, kind, source: NameSource::User, process };
    }
    let own = names.iter().find(|name| !is_library(name)).or(names.first());
    let name = own.map_or_else(|| "unknown".to_owned(), |name| (*name).to_owned());
    LockKey { class: format!("{}@{name}", kind.name()), name, kind, source: NameSource::Function, process }
}
