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
//! | first used in a method, by a plain member name | `mutex@server!Queue::mu_`: whichever method came first |
//! | with a known function | `mutex@server!make_account:3`: lines below the function's name (0: on it) |
//! | the same without line numbers | `mutex@server!make_account+0x1f`: bytes into the function |
//! | without symbols | `mutex@server+0x1234`: the return address in the file |
//! | without anything | `mutex` |
//!
//! "The function" is the first frame of the origin stack that is not a wrapper, see [`is_wrapper`].
//! The second row needs the source file; the others do not depend on what else the machine has.

use rustc_hash::FxHashMap;

use super::dwarf::Wanted;
use super::elf::{self, ElfError};
use super::source::{Sources, plain_name};
use super::variables::{code_offsets, variables, with_debug};
use super::wrappers::is_wrapper;
use crate::model::{CodeAddress, Frame, Kind, LockId, LockName, ModuleId, NameSource, Origin, Session, StackId};

/// Calls of the program's own wrappers (`lock_it(&acct->lock)`) that are followed outwards.
const WRAPPED: usize = 4;

/// Names every lock that has no name and classes every lock that has no class. `data_address` tells
/// where a lock lies in a file's data, as module and ELF virtual address; `None` for the heap and
/// stacks. Expects [`symbolize`](super::symbolize) to have run. Returns notes for the person, without
/// those that the session's coverage has already.
pub fn name_locks(session: &mut Session, data_address: &dyn Fn(LockId) -> Option<CodeAddress>) -> Vec<String> {
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
    let (answers, notes) = ask_modules(session, &globals, &origins);

    for id in unfinished {
        let lock = &session.locks[id.index()];
        let place = &origins[&(lock.origin_stack, lock.kind)];
        let data = globals.get(&id);
        let global = data.and_then(|data| answers.variables.get(data));
        let class = match global {
            Some(name) => format!("global:{}", without_indexes(name)),
            None => place.class(session, lock.kind, lock.origin, &answers),
        };
        let name = name(session, id, global, place, data);
        let lock = &mut session.locks[id.index()];
        lock.name.get_or_insert(name);
        if lock.class.is_empty() {
            lock.class = class;
        }
    }
    notes
}

fn name(session: &Session, id: LockId, global: Option<&String>, place: &Place, data: Option<&CodeAddress>) -> LockName {
    let lock = session.lock(id);
    let (text, source) = if let Some(name) = global {
        (name.clone(), NameSource::Global)
    } else if let Some(words) = &place.words {
        (words.clone(), NameSource::Source)
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
    words: Option<String>,
}

impl Place {
    fn find(session: &Session, stack: StackId, kind: Kind, sources: &mut Sources) -> Self {
        let all: Vec<(CodeAddress, &Frame)> = session
            .stacks
            .walk(stack)
            .flat_map(|node| node.frames.iter().map(move |frame| (node.address, frame)))
            .collect();
        let own = all.iter().position(|(_, frame)| !is_wrapper(frame)).unwrap_or(0);
        match all.get(own) {
            Some((address, frame)) => {
                let words = words(&all[own..], kind, sources);
                Self { address: *address, frame: (*frame).clone(), words }
            }
            None => Self { address: CodeAddress { module: None, address: 0 }, frame: Frame::default(), words: None },
        }
    }

    fn class(&self, session: &Session, kind: Kind, origin: Origin, answers: &Answers) -> String {
        let kind = kind.name();
        let Some(module) = module_name(session, self.address.module) else { return kind.to_owned() };
        let Some(function) = &self.frame.function else {
            return format!("{kind}@{module}+{:#x}", self.address.address);
        };
        if let (Origin::FirstUsed, Some(words), Some((scope, _))) = (origin, &self.words, split_scope(function))
            && words.chars().all(|c| c.is_alphanumeric() || c == '_')
        {
            return format!("{kind}@{module}!{scope}::{words}");
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
fn words(frames: &[(CodeAddress, &Frame)], kind: Kind, sources: &mut Sources) -> Option<String> {
    let mut words = sources.words(frames.first()?.1, kind)?;
    for pair in frames.windows(2).take(WRAPPED) {
        let (callee, caller) = (pair[0].1, pair[1].1);
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
}

fn ask_modules(
    session: &Session,
    globals: &FxHashMap<LockId, CodeAddress>,
    origins: &FxHashMap<(StackId, Kind), Place>,
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
        if let Err(error) = ask_module(session, id, data, &code, &mut answers) {
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
    answers: &mut Answers,
) -> Result<(), ElfError> {
    let Some(module) = session.stacks.modules.get(id.index()) else { return Ok(()) };
    let Some(located) = elf::locate(module)? else { return Ok(()) };
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
        let addresses: Vec<u64> = code.iter().map(|place| place.address.address).collect();
        let offsets = code_offsets(&located, &addresses)?;
        answers.offsets.extend(offsets.into_iter().map(|(address, offset)| (place(address), offset)));
        Ok(())
    })?
}

fn module_name(session: &Session, id: Option<ModuleId>) -> Option<&str> {
    let name = session.stacks.modules.get(id?.index())?.name();
    Some(name.strip_suffix(" (deleted)").unwrap_or(name)).filter(|name| !name.is_empty())
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
