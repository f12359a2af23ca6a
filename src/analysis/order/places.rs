//! Places and locks in sentences, and what of them goes into fingerprints.

use std::cell::RefCell;

use rustc_hash::FxHashMap;

use super::fingerprint::text;
use crate::analysis::groups::{Place, place};
use crate::analysis::names::{short_file, short_function};
use crate::model::{Kind, LockId, ModuleId, Session, StackId, Stacks, ThreadId};

/// Names, remembered.
#[derive(Debug)]
pub(super) struct Places<'a> {
    session: &'a Session,
    sites: RefCell<FxHashMap<StackId, u64>>,
    classes: RefCell<FxHashMap<LockId, u64>>,
}

/// Endings that compilers give to copies of a function.
const CLONES: &[&str] = &[" [clone", ".constprop.", ".isra.", ".part.", ".cold", ".llvm.", ".lto_priv."];

impl<'a> Places<'a> {
    pub fn new(session: &'a Session) -> Self {
        Self { session, sites: RefCell::default(), classes: RefCell::default() }
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
        match place(self.session, stack) {
            Place::Frame(frame) => {
                let function = frame.function.unwrap_or_default();
                let end = CLONES.iter().filter_map(|clone| function.find(clone)).filter(|at| *at > 0).min();
                let module = self.module_at(stack, &function);
                format!("{module}!{}", &function[..end.unwrap_or(function.len())])
            }
            Place::Code(module, address) => format!("{}+{address:#x}", self.module(module)),
            Place::Unknown => "?".to_owned(),
        }
    }

    /// The file that holds the frame of this function.
    fn module_at(&self, stack: StackId, function: &str) -> &str {
        let has = |node: &&crate::model::stacks::Node| {
            node.frames.iter().any(|frame| frame.function.as_deref() == Some(function))
        };
        self.module(self.session.stacks.walk(stack).find(has).and_then(|node| node.address.module))
    }

    fn module(&self, module: Option<ModuleId>) -> &str {
        let name = module.and_then(|module| self.session.stacks.modules.get(module.index())).map_or("", |m| m.name());
        name.strip_suffix(" (deleted)").unwrap_or(name)
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

    /// A lock's name by itself.
    pub fn bare(&self, lock: LockId) -> String {
        let Some(row) = self.session.locks.get(lock.index()) else { return String::new() };
        match &row.name {
            Some(name) => name.text.clone(),
            None => format!("{} {:#x}", row.kind.name(), row.address),
        }
    }

    /// A lock in a sentence: `` `journal.mu` ``.
    pub fn lock(&self, lock: LockId) -> String {
        let Some(row) = self.session.locks.get(lock.index()) else { return "a lock".to_owned() };
        match &row.name {
            _ if row.kind == Kind::Join => "a thread's end".to_owned(),
            Some(name) => format!("`{}`", name.text),
            None => format!("the {} at {:#x}", row.kind.name(), row.address),
        }
    }

    /// A place in a sentence: `transfer (bank.cc:12)`.
    pub fn at(&self, stack: StackId) -> String {
        match place(self.session, stack) {
            Place::Frame(frame) => {
                let function = short_function(frame.function.as_deref().unwrap_or_default());
                match &frame.file {
                    Some(file) if frame.line > 0 => format!("{function} ({}:{})", short_file(file), frame.line),
                    _ => function,
                }
            }
            Place::Code(module, address) => {
                format!("{}+{:#x}", self.module(module), address.saturating_sub(1))
            }
            Place::Unknown => "an unknown place".to_owned(),
        }
    }

    /// A thread in a sentence: by where it was created, as numbers differ from run to run.
    pub fn thread(&self, thread: ThreadId) -> String {
        match (self.session.order.created_at(thread), self.session.threads.get(thread.index())) {
            (stack, _) if stack != Stacks::UNKNOWN => format!("the thread created in {}", self.at(stack)),
            (_, Some(row)) if !row.name.is_empty() => format!("thread {}", row.name),
            _ => "a thread".to_owned(),
        }
    }
}
