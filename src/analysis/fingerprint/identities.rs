//! What of a place in the code and of a lock goes into fingerprints: what stays the same from run to run.

use std::cell::{OnceCell, RefCell};

use rustc_hash::FxHashMap;

use super::text;
use crate::analysis::own_wrappers::OwnWrappers;
use crate::analysis::places::Place;
use crate::model::lock_class;
use crate::model::owners::{Owners, PROGRAM, on_disk};
use crate::model::{Kind, LockId, Session, StackId};

/// Identities of places and locks, each made once.
#[derive(Debug)]
pub(in crate::analysis) struct Identities<'a> {
    session: &'a Session,
    owners: Owners,
    wrappers: OnceCell<OwnWrappers>,
    sites: RefCell<FxHashMap<StackId, u64>>,
    classes: RefCell<FxHashMap<LockId, u64>>,
}

/// Endings that compilers give to copies of a function.
const CLONES: &[&str] = &[" [clone", ".constprop.", ".isra.", ".part.", ".cold", ".llvm.", ".lto_priv."];

impl<'a> Identities<'a> {
    pub fn new(session: &'a Session) -> Self {
        Self {
            session,
            owners: Owners::of(session),
            wrappers: OnceCell::new(),
            sites: RefCell::default(),
            classes: RefCell::default(),
        }
    }

    /// What a stack's place is in a fingerprint: no line, and no address where there is a name.
    pub fn site(&self, stack: StackId) -> u64 {
        if let Some(known) = self.sites.borrow().get(&stack) {
            return *known;
        }
        let site = text(&self.site_text(stack));
        self.sites.borrow_mut().insert(stack, site);
        site
    }

    fn site_text(&self, stack: StackId) -> String {
        let wrappers = self.wrappers.get_or_init(|| OwnWrappers::of(self.session));
        let frames = wrappers.frames(self.session, stack);
        let parts = frames.iter().map(|(module, place)| part(self.owners.name(*module), place));
        let text = parts.collect::<Vec<_>>().join("<");
        if text.is_empty() { "?".to_owned() } else { text }
    }

    /// The same with the names of files, and without callers: see [`Self::former_class`].
    pub fn former_site(&self, stack: StackId) -> u64 {
        match OwnWrappers::default().frames(self.session, stack).first() {
            Some((module, place)) => text(&part(self.owners.file(*module), place)),
            None => text("?"),
        }
    }

    /// What a lock's class is in a fingerprint.
    pub fn class(&self, lock: LockId) -> u64 {
        if let Some(known) = self.classes.borrow().get(&lock) {
            return *known;
        }
        let class = text(&self.class_text(lock));
        self.classes.borrow_mut().insert(lock, class);
        class
    }

    /// The class of a lock; its name where it has none, as all locks of a name are one class then.
    pub fn class_text(&self, lock: LockId) -> String {
        let Some(lock) = self.session.locks.get(lock.index()) else { return String::new() };
        match &lock.name {
            _ if !lock.class.is_empty() => lock.class.clone(),
            Some(name) => format!("{}:{}", lock.kind.name(), name.text),
            None => lock.kind.name().to_owned(),
        }
    }

    /// What the class was in fingerprints before classes were made without the names of files: baselines of those days
    /// are still matched.
    pub fn former_class(&self, lock: LockId) -> u64 {
        let class = self.class_text(lock);
        let exe = || {
            let process = self.session.locks.get(lock.index()).map(|row| row.process)?;
            let exe = on_disk(&self.session.processes.get(process.index())?.exe);
            exe.rsplit('/').next()
        };
        let file = |owner: &str| if owner == PROGRAM { exe() } else { self.owners.file_of(owner) };
        text(&lock_class::with_owner(&class, |owner| file(owner).map(str::to_owned), |_| Some(String::new())))
    }

    /// A lock's name by itself.
    pub fn bare(&self, lock: LockId) -> String {
        let Some(row) = self.session.locks.get(lock.index()) else { return String::new() };
        match &row.name {
            Some(name) => name.text.clone(),
            None => format!("{} {:#x}", row.kind.name(), row.address),
        }
    }

    /// What cycles of one class are ordered by: locks that have a name, then ends of threads, then the others.
    pub fn sort_key(&self, lock: LockId) -> String {
        let Some(row) = self.session.locks.get(lock.index()) else { return "a lock".to_owned() };
        match &row.name {
            _ if row.kind == Kind::Join => "a thread's end".to_owned(),
            Some(name) => format!("`{}`", name.text),
            None => format!("the {} at {:#x}", row.kind.name(), row.address),
        }
    }
}

/// A frame's part of a place.
fn part(owner: &str, place: &Place) -> String {
    match place {
        Place::Frame(frame) => {
            let function = frame.function.as_deref().unwrap_or_default();
            let end = CLONES.iter().filter_map(|clone| function.find(clone)).filter(|at| *at > 0).min();
            format!("{owner}!{}", plain_lambdas(&function[..end.unwrap_or(function.len())]))
        }
        Place::Code(_, address) => format!("{owner}+{address:#x}"),
        Place::Called(..) | Place::Unknown => "?".to_owned(),
    }
}

/// `main::{lambda(int)#1}::operator()` → `main::{lambda#1}::operator()`: where a lambda is inlined, nothing tells its
/// arguments.
fn plain_lambdas(function: &str) -> String {
    const LAMBDA: &str = "{lambda(";
    let mut out = String::new();
    let mut rest = function;
    while let Some((before, after)) = rest.split_once(LAMBDA) {
        let mut depth = 1usize;
        let end = after.find(|c| {
            depth = match c {
                '(' => depth + 1,
                ')' => depth - 1,
                _ => depth,
            };
            depth == 0
        });
        out.push_str(before);
        out.push_str(LAMBDA.trim_end_matches('('));
        rest = end.map_or("", |end| &after[end + 1..]);
    }
    out + rest
}
