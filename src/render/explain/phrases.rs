//! Locks, places and threads as parts of a sentence.

use std::cell::OnceCell;

use crate::analysis::names::{short_file, short_function};
use crate::analysis::places::{Place, place, user_place};
use crate::model::owners::Owners;
use crate::model::{Kind, LockId, Session, StackId, Stacks, ThreadId};

/// A list of more names than this is cut.
const MOST: usize = 4;

/// Makes the parts for one recording.
pub(super) struct Phrases<'a> {
    pub session: &'a Session,
    owners: OnceCell<Owners>,
}

impl<'a> Phrases<'a> {
    pub fn new(session: &'a Session) -> Self {
        Self { session, owners: OnceCell::new() }
    }

    /// A lock: `` `journal.mu` ``.
    pub fn lock(&self, lock: LockId) -> String {
        let Some(row) = self.session.locks.get(lock.index()) else { return "a lock".to_owned() };
        match &row.name {
            _ if row.kind == Kind::Join => "a thread's end".to_owned(),
            Some(name) => format!("`{}`", name.text),
            None => format!("the {} at {:#x}", row.kind.name(), row.address),
        }
    }

    /// A place: `transfer (bank.cc:12)`.
    pub fn at(&self, stack: StackId) -> String {
        self.place(place(self.session, stack))
    }

    /// The place that is to blame for what a lock does to others: without functions that only take locks.
    pub fn blamed(&self, stack: StackId) -> String {
        self.place(user_place(self.session, stack))
    }

    fn place(&self, place: Place) -> String {
        match place {
            Place::Frame(frame) => {
                let function = short_function(frame.function.as_deref().unwrap_or_default());
                match &frame.file {
                    Some(file) if frame.line > 0 => format!("{function} ({}:{})", short_file(file), frame.line),
                    _ => function,
                }
            }
            Place::Code(module, address) => {
                let owners = self.owners.get_or_init(|| Owners::of(self.session));
                format!("{}+{:#x}", owners.file(module), address.saturating_sub(1))
            }
            Place::Called(..) | Place::Unknown => "an unknown place".to_owned(),
        }
    }

    /// A thread: by where it was created, as numbers differ from run to run.
    pub fn thread(&self, thread: ThreadId) -> String {
        match (self.session.order.created_at(thread), self.session.threads.get(thread.index())) {
            (stack, _) if stack != Stacks::UNKNOWN => format!("the thread created in {}", self.at(stack)),
            (_, Some(row)) if !row.name.is_empty() => format!("thread {}", row.name),
            _ => "a thread".to_owned(),
        }
    }

    /// Locks in a row, each name once.
    pub fn locks(&self, locks: impl Iterator<Item = LockId>) -> String {
        let mut names: Vec<String> = Vec::new();
        for name in locks.map(|lock| self.lock(lock)) {
            if !names.contains(&name) {
                names.push(name);
            }
        }
        if names.len() > MOST {
            let rest = names.len() - MOST;
            names.truncate(MOST);
            return format!("{} and {rest} more", names.join(", "));
        }
        match names.split_last() {
            Some((last, rest)) if !rest.is_empty() => format!("{} and {last}", rest.join(", ")),
            Some((last, _)) => last.clone(),
            None => String::new(),
        }
    }
}
