//! What a look found, in sentences: what threads and locks are called, who waits for what, and who has that.

use rustc_hash::FxHashMap;

use crate::model::{
    Activity, HangKind, Holder, Kind, LockId, LockWait, Look, Mode, NameSource, SeenThread, Standstill,
};
use crate::render::names::fit_end;
use crate::render::style::{Layout, Style, printable};
use crate::render::units::{count, plural};

/// A sentence does not get easier with a longer name.
const NAME_WIDTH: usize = 48;
/// The kernel cuts a thread's name to this.
const KERNEL_WIDTH: usize = 15;
/// So many threads of a ring are named.
const WHOLE_RING: usize = 6;

/// Makes the sentences of a look.
pub struct LookWords<'a> {
    look: &'a Look,
    layout: Layout,
    /// How often each lock's name is there.
    names: FxHashMap<String, u32>,
}

impl<'a> LookWords<'a> {
    /// For a look, with names painted as the layout says.
    pub fn new(look: &'a Look, layout: Layout) -> Self {
        let mut names = FxHashMap::default();
        for at in 0..look.session.locks.len() {
            if let Some(name) = own_name(look, LockId::from(at)) {
                *names.entry(name).or_default() += 1;
            }
        }
        Self { look, layout, names }
    }

    /// `server (pid 4242)`, or `core of server (pid 4242)`.
    pub fn program(&self) -> String {
        let process = &self.look.session.processes[0];
        let name = process.exe.rsplit('/').next().filter(|name| !name.is_empty()).unwrap_or("the program");
        let core = if self.look.core.is_some() { "the core of " } else { "" };
        format!("{core}{} (pid {})", printable(name.trim_end_matches(" (deleted)")), process.pid)
    }

    /// `worker-1 (4243)`, `main (4242)`, `thread 4243`, `goroutine 7`.
    pub fn thread(&self, at: usize) -> String {
        let Some(seen) = self.look.threads.get(at) else { return "a thread".to_owned() };
        let row = self.look.session.thread(seen.thread);
        if seen.is_goroutine {
            return format!("goroutine {}", row.tid);
        }
        let process = &self.look.session.processes[0];
        let program: String = process.exe.rsplit('/').next().unwrap_or_default().chars().take(KERNEL_WIDTH).collect();
        let own = row.name != program && !row.name.is_empty();
        match (own, row.tid == process.pid) {
            (true, _) => format!("{} ({})", printable(&row.name), row.tid),
            (false, true) => format!("main ({})", row.tid),
            (false, false) => format!("thread {}", row.tid),
        }
    }

    /// `mutex journal.mu`, `std::sync::Mutex 0x7f001040`; the address where nothing else tells it from others.
    pub fn lock(&self, wait: &LockWait) -> String {
        let lock = self.look.session.lock(wait.lock);
        let noun = if wait.noun.is_empty() { lock.kind.label() } else { wait.noun };
        match own_name(self.look, wait.lock) {
            Some(name) => {
                let alone = self.names.get(&name).is_none_or(|times| *times < 2);
                let name = self.layout.paint(Style::Strong, &fit_end(&printable(&name), NAME_WIDTH));
                if alone { format!("{noun} {name}") } else { format!("{noun} {name} at {:#x}", lock.address) }
            }
            None if lock.address == 0 => noun.to_owned(),
            None => format!("{noun} {}", self.layout.paint(Style::Strong, &format!("{:#x}", lock.address))),
        }
    }

    /// `waits for mutex a`, `waits for the end of worker-1 (4243)`.
    pub fn waits_for(&self, wait: &LockWait) -> String {
        let lock = self.look.session.lock(wait.lock);
        let limit = if wait.timed { ", with a time limit" } else { "" };
        if lock.kind == Kind::Join {
            let whom = wait.holder.thread().map_or_else(|| "a thread".to_owned(), |at| self.thread(at));
            return format!("waits for the end of {whom}{limit}");
        }
        let how = match wait.mode {
            _ if !lock.kind.has_readers() => "",
            Mode::Shared => " to read",
            Mode::Exclusive => " to write",
        };
        let what = if wait.noun == "thread::unpark" { wait.noun.to_owned() } else { self.lock(wait) };
        format!("waits for {what}{how}{limit}")
    }

    /// `held by worker-1 (4243)`; empty where nobody has such a thing.
    pub fn holder(&self, at: usize, wait: &LockWait) -> String {
        let kind = self.look.session.lock(wait.lock).kind;
        match wait.holder {
            _ if kind == Kind::Join => String::new(),
            Holder::Thread(holder) if holder == at => "which it holds itself".to_owned(),
            Holder::GivesBack(holder) if holder == at => "which it holds itself, as its own code shows".to_owned(),
            Holder::Thread(holder) => format!("held by {}", self.thread(holder)),
            Holder::GivesBack(holder) => format!("held by {}, as its code shows", self.thread(holder)),
            Holder::Ended(tid) => format!("held by thread {tid}, which is not there any more"),
            Holder::Elsewhere(tid) => format!("held by thread {tid} of another process"),
            Holder::Readers(count) => {
                format!("read by {}; this lock does not record whom", plural(count.into(), "thread", "threads"))
            }
            Holder::NotRecorded if kind == Kind::Once => {
                "which another thread has begun; not recorded which".to_owned()
            }
            Holder::NotRecorded => "which is taken; this lock does not record by whom".to_owned(),
            Holder::Free => "which is free at this moment".to_owned(),
            Holder::Nobody => String::new(),
        }
    }

    /// What a thread does: `waits for mutex a, held by worker-1 (4243)`, `runs`, `in epoll_wait`.
    pub fn does(&self, at: usize) -> String {
        let seen = &self.look.threads[at];
        if let Some(wait) = &seen.wait {
            let holder = self.holder(at, wait);
            let comma = if holder.is_empty() { "" } else { ", " };
            return format!("{}{comma}{holder}", self.waits_for(wait));
        }
        match (&seen.reason, seen.activity) {
            (Some(reason), Activity::Blocked) if seen.is_goroutine => format!("waits ({})", printable(reason)),
            (Some(reason), _) if seen.is_goroutine => match reason.as_str() {
                "system call" => "is in a system call".to_owned(),
                "runnable" => "is ready to run".to_owned(),
                reason => printable(reason),
            },
            (Some(call), Activity::Stopped) => format!("stopped, in {call}"),
            (Some(call), _) => format!("in {call}"),
            (None, Activity::Stopped) => "stopped".to_owned(),
            (None, Activity::Blocked) => "asleep in the kernel".to_owned(),
            (None, Activity::Running) if self.look.core.is_some() => "ran".to_owned(),
            (None, Activity::Running) => "runs".to_owned(),
        }
    }

    /// A deadlock in one sentence: who waits for what, held by whom, and so on round the ring.
    pub fn standstill(&self, standstill: &Standstill) -> String {
        let mut text = match standstill.kind {
            HangKind::Abandoned => self.abandoned(standstill),
            HangKind::Deadlock | HangKind::SelfDeadlock => self.ring(standstill),
            _ => self.stuck(standstill),
        };
        if standstill.behind > 0 {
            let them = if standstill.threads.len() == 1 { "it" } else { "them" };
            let behind = standstill.behind as u64;
            let who = plural(behind, "more thread waits", "more threads wait");
            text.push_str(&format!("; {who} behind {them}"));
        }
        text
    }

    fn ring(&self, standstill: &Standstill) -> String {
        let ring = &standstill.threads;
        let mut text = self.painted(ring[0]);
        for (place, at) in ring.iter().take(WHOLE_RING).enumerate() {
            let Some(wait) = &self.look.threads[*at].wait else { continue };
            let to = ring[(place + 1) % ring.len()];
            if place > 0 {
                text.push_str(", which");
            }
            text.push_str(&format!(" {}", self.waits_for(wait)));
            let kind = self.look.session.lock(wait.lock).kind;
            if kind == Kind::Join {
                continue;
            }
            text.push_str(&match to == *at {
                true => ", which it holds itself".to_owned(),
                false => format!(", held by {}", self.painted(to)),
            });
        }
        if ring.len() > WHOLE_RING {
            text.push_str(&format!(", and so on: a ring of {} threads", count(ring.len() as u64)));
        }
        text
    }

    fn abandoned(&self, standstill: &Standstill) -> String {
        let at = standstill.threads[0];
        let Some(wait) = &self.look.threads[at].wait else { return String::new() };
        let Holder::Ended(tid) = wait.holder else { return String::new() };
        let others = match standstill.threads.len() {
            1 => String::new(),
            number => format!(" and {}", plural(number as u64 - 1, "other thread", "other threads")),
        };
        let verb =
            if others.is_empty() { self.waits_for(wait) } else { self.waits_for(wait).replacen("waits", "wait", 1) };
        format!(
            "{}{others} {verb}, held by thread {tid}, which is not there any more: it ended without giving it back, or was \
             not copied by fork",
            self.painted(at)
        )
    }

    fn stuck(&self, standstill: &Standstill) -> String {
        let number = standstill.threads.len() as u64;
        let all = match number {
            1 => "the only thread waits".to_owned(),
            2 => "both threads wait".to_owned(),
            _ => format!("all {} threads wait", count(number)),
        };
        format!("{all} without a time limit, and nobody is left who could wake one")
    }

    fn painted(&self, at: usize) -> String {
        self.layout.paint(Style::Heading, &self.thread(at))
    }

    /// Of a number of threads, how many are stuck.
    pub fn summary(&self) -> String {
        let look = self.look;
        let goroutines = look.threads.iter().filter(|thread| thread.is_goroutine).count() as u64;
        let threads = look.threads.len() as u64 - goroutines;
        let mut parts = vec![plural(threads, "thread", "threads")];
        if goroutines > 0 {
            parts.push(plural(goroutines, "goroutine", "goroutines"));
        }
        let is_waiting = |thread: &&SeenThread| thread.wait.as_ref().is_some_and(|wait| self.is_contention(wait));
        let waiting = look.threads.iter().filter(is_waiting).count() as u64;
        if waiting > 0 {
            parts.push(format!("{} for a lock", plural(waiting, "waits", "wait")));
        }
        let stands = if look.has_deadlock() { "a deadlock stands" } else { "no deadlock stands" };
        format!("{}: {}; {stands}", self.program(), parts.join(", "))
    }

    /// Whether it waits for what others have.
    fn is_contention(&self, wait: &LockWait) -> bool {
        self.look.session.lock(wait.lock).kind.is_lock()
    }
}

/// The name that a lock has in the program.
fn own_name(look: &Look, id: LockId) -> Option<String> {
    let name = look.session.lock(id).name.as_ref()?;
    matches!(name.source, NameSource::User | NameSource::Global | NameSource::Source).then(|| name.text.clone())
}
