//! What locks are called, and which of them are of one class.
//!
//! Names, best first: the user's own (set before this runs), the global variable, the words of the
//! source line at the origin, the function at the origin, the address. Names may repeat: many locks
//! of one class have the same words, and renderers tell them apart by their id.
//!
//! # Classes
//! A class is the place in the program that a lock comes from. It never holds an address of the
//! process, so it is the same in every run, under address-space randomisation and on another
//! machine, and after a rebuild that moves nothing inside the function.
//!
//! | lock | class |
//! |---|---|
//! | global variable | `global:cache.shard[].mu`: its name without indexes |
//! | the same in a library | `global:libcache.so!shard[].mu` |
//! | first used in a method, by a plain member name | `mutex@program!Queue::mu_`: whichever method came first |
//! | with a known function | `mutex@program!make_account:3`: lines below the function's name (0: on it) |
//! | the same without line numbers | `mutex@program!make_account+0x1f`: bytes into the function |
//! | without symbols | `mutex@program+0x1234`: where it lies in the file's data, else the return address in the file |
//! | without anything | `mutex` |
//!
//! `program` is the executable, whatever its file is called; a library is called by its file up to the version, see
//! [`Owners`]. "The function" is the first frame of the origin stack that is the program's own, see [`is_library`].
//! The third row needs the source file; the others do not depend on what else the machine has. It and the name of such
//! a lock have the class that declares the member, as far as DWARF tells it; otherwise that of the method.

mod of_go;

use rustc_hash::FxHashMap;

use super::dwarf::{Dwarf, Scopes, Wanted};
use super::elf::ElfError;
use super::kept::Kept;
use super::source::{Sources, plain_name};
use super::variables::{code_offsets, variables, with_debug};
use crate::model::lock_class::GLOBAL;
use crate::model::lock_frames::is_library;
use crate::model::owners::{Owners, PROGRAM};
use crate::model::stacks::Node;
use crate::model::{CodeAddress, Frame, Kind, LockId, LockName, ModuleId, NameSource, Origin, Session, StackId};
use of_go::{member_of_go, part_of_go};

/// Calls of the program's own wrappers (`lock_it(&acct->lock)`) that are followed outwards.
const WRAPPED: usize = 4;

/// Names every lock that has no name and classes every lock that has no class. `data_address` tells
/// where a lock lies in a file's data, as module and ELF virtual address; `None` for the heap and
/// stacks. Expects [`symbolize`](super::symbolize) to have run. Returns notes for the person, without
/// those that the session's coverage has already.
pub fn name_locks(
    session: &mut Session,
    data_address: &dyn Fn(LockId) -> Option<CodeAddress>,
    kept: &Kept,
) -> Vec<String> {
    let unfinished = (0..session.locks.len()).map(LockId::from);
    let unfinished: Vec<LockId> =
        unfinished.filter(|id| session.lock(*id).name.is_none() || session.lock(*id).class.is_empty()).collect();
    let globals: FxHashMap<LockId, CodeAddress> =
        unfinished.iter().filter_map(|id| Some((*id, data_address(*id)?))).collect();

    let mut sources = Sources::default();
    let mut origins: FxHashMap<(StackId, Kind), Place> = FxHashMap::default();
    for id in &unfinished {
        let lock = session.lock(*id);
        origins
            .entry((lock.origin_stack, lock.kind))
            .or_insert_with(|| Place::find(session, lock.origin_stack, lock.kind, &mut sources));
    }
    let owners = Owners::of(session);
    let (answers, notes) = ask_modules(session, &globals, &origins, kept);

    for id in unfinished {
        let lock = &session.locks[id.index()];
        let place = &origins[&(lock.origin_stack, lock.kind)];
        let data = globals.get(&id);
        let global = data.and_then(|data| answers.variables.get(data));
        let class = match global {
            Some(name) => global_class(owners.name(data.and_then(|data| data.module)), name),
            None => match data.filter(|_| place.frame.function.is_none()) {
                Some(data) => format!("{}@{}+{:#x}", lock.kind.name(), owners.name(data.module), data.address),
                None => place.class(&owners, lock.kind, lock.origin, &answers),
            },
        };
        let member = place.member(&answers);
        let name = name(session, id, global, (place, member), data);
        let lock = &mut session.locks[id.index()];
        lock.name.get_or_insert(name);
        if lock.class.is_empty() {
            lock.class = class;
        }
    }
    notes
}

fn global_class(owner: &str, name: &str) -> String {
    let name = without_indexes(name);
    if owner.is_empty() || owner == PROGRAM { format!("{GLOBAL}{name}") } else { format!("{GLOBAL}{owner}!{name}") }
}

fn name(
    session: &Session,
    id: LockId,
    global: Option<&String>,
    (place, member): (&Place, Option<String>),
    data: Option<&CodeAddress>,
) -> LockName {
    let lock = session.lock(id);
    let (text, source) = if let Some(name) = global {
        (name.clone(), NameSource::Global)
    } else if let Some(words) = member.or_else(|| place.words.clone()) {
        (place.part_of.as_ref().map_or(words.clone(), |of| format!("{words} ({of})")), NameSource::Source)
    } else if let Some(function) = &place.frame.function {
        (function.clone(), NameSource::Function)
    } else if let Some(module) = data.and_then(|data| module_name(session, data.module)) {
        (format!("{module}+{:#x}", data.map_or(0, |data| data.address)), NameSource::Address)
    } else if lock.address == 0 {
        (lock.kind.name().to_owned(), NameSource::Address)
    } else {
        (format!("{:#x}", lock.address), NameSource::Address)
    };
    LockName { text, source }
}

/// Where in the program's own code a lock comes from.
#[derive(Debug)]
struct Place {
    address: CodeAddress,
    frame: Frame,
    /// Which of the frames at the address it is, from the innermost.
    index: usize,
    words: Option<String>,
    /// Go: the receiver's type, as it is written, and the member; the package.
    of_go: Option<(String, String)>,
    /// Go: the type of the library's that the lock is a part of, and the words are of: `sync.Once`.
    part_of: Option<String>,
}

impl Place {
    fn find(session: &Session, stack: StackId, kind: Kind, sources: &mut Sources) -> Self {
        let stacks = &session.stacks;
        let all: Vec<(&Node, usize, &Frame)> = stacks
            .walk(stack)
            .flat_map(|node| node.frames.iter().enumerate().map(move |(index, frame)| (node, index, frame)))
            .collect();
        let own = all.iter().position(|(node, _, frame)| !is_library(stacks, node, frame)).unwrap_or(0);
        match all.get(own) {
            Some((node, index, frame)) => {
                let frames: Vec<&Frame> = all[own..].iter().map(|(_, _, frame)| *frame).collect();
                let inside = own.checked_sub(1).map(|before| all[before].2);
                let part = inside.and_then(|inside| part_of_go(inside, frame, sources));
                let (words, part_of) = match part {
                    Some((words, of)) => (Some(words), Some(of)),
                    None => (words(&frames, kind, sources), None),
                };
                let lock = if kind == Kind::Rwlock { "RWMutex" } else { "Mutex" };
                let embedded = part_of.as_deref().and_then(|of| of.split('.').next_back()).unwrap_or(lock);
                let of_go = words.as_deref().and_then(|words| member_of_go(frame, words, embedded, sources));
                Self { address: node.address, frame: (*frame).clone(), index: *index, words, of_go, part_of }
            }
            None => {
                let address = CodeAddress { module: None, address: 0 };
                Self { address, frame: Frame::default(), index: 0, words: None, of_go: None, part_of: None }
            }
        }
    }

    /// The source's words, where they are but one name: that of a member, if a method uses it.
    fn plain_words(&self) -> Option<&str> {
        let words = self.words.as_deref()?;
        words.chars().all(|c| c.is_alphanumeric() || c == '_').then_some(words)
    }

    /// The name of a member with the class that declares it: `relay::Logger::mutex_`.
    fn member(&self, answers: &Answers) -> Option<String> {
        if let Some((member, _)) = &self.of_go {
            return Some(member.clone());
        }
        let words = self.plain_words()?;
        let class = match answers.classes.get(&(self.address, self.index, words.to_owned())) {
            Some(known) => known.clone(),
            // What Rust's paths lead to is a module as often as a type.
            None if self.frame.file.as_deref().is_some_and(|file| file.ends_with(".rs")) => None,
            // Without types nothing tells a member from a parameter.
            None => enclosing_class(self.frame.function.as_deref()?).map(str::to_owned),
        };
        Some(format!("{}::{words}", class?))
    }

    fn class(&self, owners: &Owners, kind: Kind, origin: Origin, answers: &Answers) -> String {
        let kind = kind.name();
        let module = owners.name(self.address.module);
        if module.is_empty() {
            return kind.to_owned();
        }
        let Some(function) = &self.frame.function else {
            return format!("{kind}@{module}+{:#x}", self.address.address);
        };
        if let Some((member, package)) = &self.of_go {
            return format!("{kind}@{module}!{package}.{member}");
        }
        if origin == Origin::FirstUsed {
            if let Some(member) = self.member(answers) {
                return format!("{kind}@{module}!{member}");
            }
            if let (Some(words), Some((scope, _))) = (self.plain_words(), split_scope(function)) {
                return format!("{kind}@{module}!{scope}::{words}");
            }
        }
        // DWARF may know it by its short name only.
        let names = [Some(function.clone()), plain_name(&self.frame)];
        let known = |name| answers.definitions.get(&(self.address.module, name));
        let definitions = names.into_iter().flatten().find_map(known);
        let above = definitions.into_iter().flatten().filter(|line| **line <= self.frame.line).max();
        if let Some(start) = above.filter(|_| self.frame.line > 0) {
            return format!("{kind}@{module}!{function}:{}", self.frame.line - start);
        }
        match answers.offsets.get(&self.address) {
            Some(offset) => format!("{kind}@{module}!{function}+{offset:#x}"),
            None => format!("{kind}@{module}!{function}"),
        }
    }
}

/// The source's words at the first of the frames; where they are only a parameter's name, the
/// caller's words for it.
fn words(frames: &[&Frame], kind: Kind, sources: &mut Sources) -> Option<String> {
    let mut words = sources.words(frames.first()?, kind)?;
    for pair in frames.windows(2).take(WRAPPED) {
        let (callee, caller) = (pair[0], pair[1]);
        let outer = sources.parameter(callee, &words).and_then(|index| sources.argument(caller, callee, index));
        match outer {
            Some(outer) => words = outer,
            None => break,
        }
    }
    Some(words)
}

/// What the modules' files say.
#[derive(Debug, Default)]
struct Answers {
    variables: FxHashMap<CodeAddress, String>,
    /// Lines at which functions are defined.
    definitions: FxHashMap<(Option<ModuleId>, String), Vec<u32>>,
    /// How far into its function a return address is.
    offsets: FxHashMap<CodeAddress, u64>,
    /// The class that declares a member which a method (by its place among the frames of an address) names; `None` where
    /// it names something else.
    classes: FxHashMap<(CodeAddress, usize, String), Option<String>>,
}

fn ask_modules(
    session: &Session,
    globals: &FxHashMap<LockId, CodeAddress>,
    origins: &FxHashMap<(StackId, Kind), Place>,
    kept: &Kept,
) -> (Answers, Vec<String>) {
    let mut data: FxHashMap<ModuleId, Vec<u64>> = FxHashMap::default();
    for place in globals.values() {
        if let Some(module) = place.module {
            data.entry(module).or_default().push(place.address);
        }
    }
    let mut code: FxHashMap<ModuleId, Vec<&Place>> = FxHashMap::default();
    for place in origins.values().filter(|place| place.frame.function.is_some()) {
        if let Some(module) = place.address.module {
            code.entry(module).or_default().push(place);
        }
    }
    let mut modules: Vec<ModuleId> = data.keys().chain(code.keys()).copied().collect();
    modules.sort_unstable();
    modules.dedup();

    let (mut answers, mut notes) = (Answers::default(), Vec::new());
    for id in modules {
        let data = data.remove(&id).unwrap_or_default();
        let code = code.remove(&id).unwrap_or_default();
        if let Err(error) = ask_module(session, id, data, &code, kept, &mut answers) {
            notes.push(error.to_string());
        }
    }
    notes.retain(|note| !session.coverage.notes.contains(note));
    (answers, notes)
}

fn ask_module(
    session: &Session,
    id: ModuleId,
    mut data: Vec<u64>,
    code: &[&Place],
    kept: &Kept,
    answers: &mut Answers,
) -> Result<(), ElfError> {
    let Some(module) = session.stacks.modules.get(id.index()) else { return Ok(()) };
    let Some(located) = kept.locate(module)? else { return Ok(()) };
    data.sort_unstable();
    data.dedup();
    // Definitions are of use only where frames have lines.
    let lined = || code.iter().filter(|place| place.frame.line > 0);
    let mut wanted = Wanted {
        variables: !data.is_empty(),
        functions: lined().filter_map(|place| plain_name(&place.frame)).collect(),
        code: lined().map(|place| place.address.address.saturating_sub(1)).collect(),
    };
    wanted.code.sort_unstable();
    let place = |address| CodeAddress { module: Some(id), address };
    with_debug(&located, &wanted, |debug| {
        let names = variables(&located, debug, &data)?;
        let named = data.iter().zip(names).filter_map(|(address, name)| Some((place(*address), name?)));
        answers.variables.extend(named);
        for definition in debug.into_iter().flat_map(|(_, found)| &found.definitions) {
            let key = (Some(id), definition.function.clone());
            answers.definitions.entry(key).or_default().push(definition.line);
        }
        if let Some((dwarf, _)) = debug {
            members(dwarf, code, answers);
        }
        let addresses: Vec<u64> = code.iter().map(|place| place.address.address).collect();
        let offsets = code_offsets(&located, &addresses)?;
        answers.offsets.extend(offsets.into_iter().map(|(address, offset)| (place(address), offset)));
        Ok(())
    })?
}

/// Asks whose members the plain names are.
fn members(dwarf: &Dwarf<'_>, code: &[&Place], answers: &mut Answers) {
    let plain: Vec<(&Place, &str)> = code.iter().filter_map(|place| Some((*place, place.plain_words()?))).collect();
    let mut calls: Vec<u64> = plain.iter().map(|(place, _)| place.address.address.saturating_sub(1)).collect();
    calls.sort_unstable();
    calls.dedup();
    if calls.is_empty() {
        return;
    }
    let scopes = Scopes::of(dwarf, &calls);
    for (place, words) in plain {
        let Some(last) = plain_name(&place.frame) else { continue };
        let call = place.address.address.saturating_sub(1);
        if scopes.name(dwarf, call, place.index, &last).is_some() {
            let class = scopes.owner(dwarf, call, place.index, &last, words);
            answers.classes.insert((place.address, place.index, words.to_owned()), class);
        }
    }
}

fn module_name(session: &Session, id: Option<ModuleId>) -> Option<&str> {
    let name = session.stacks.modules.get(id?.index())?.name();
    Some(name.strip_suffix(" (deleted)").unwrap_or(name)).filter(|name| !name.is_empty())
}

/// The class around a method or a method's lambda, as far as the name alone tells it: `a::Logger::log` → `a::Logger`,
/// `Pool::Pool(int)::{lambda()#1}::operator()` → `Pool`.
fn enclosing_class(function: &str) -> Option<&str> {
    let (mut scope, _) = split_scope(function)?;
    if let Some((outer, last)) = split_scope(scope)
        && last.starts_with('{')
    {
        scope = split_scope(outer)?.0;
    } else if scope.starts_with('{') {
        return None;
    }
    Some(scope)
}

/// `db::Queue<int>::push` → (`db::Queue<int>`, `push`).
fn split_scope(function: &str) -> Option<(&str, &str)> {
    let mut depth = 0usize;
    let mut split = None;
    for (at, c) in function.char_indices() {
        match c {
            '<' | '(' | '{' => depth += 1,
            '>' | ')' | '}' => depth = depth.saturating_sub(1),
            ':' if depth == 0 && function[at..].starts_with("::") => split = Some(at),
            _ => {}
        }
    }
    split.map(|at| (&function[..at], &function[at + 2..])).filter(|(scope, _)| !scope.is_empty())
}

/// `cache.shard[3].mu` → `cache.shard[].mu`.
fn without_indexes(name: &str) -> String {
    let mut out = String::with_capacity(name.len());
    let mut rest = name;
    while let Some((before, after)) = rest.split_once('[') {
        out.push_str(before);
        out.push('[');
        let digits = after.bytes().take_while(u8::is_ascii_digit).count();
        rest = if after[digits..].starts_with(']') { &after[digits..] } else { after };
    }
    out + rest
}

#[cfg(test)]
mod tests;
