//! Recordings built by hand, for tests.

use crate::model::{
    CodeAddress, Coverage, Exit, Frame, Kind, Lock, LockId, LockName, Mode, Module, ModuleId, NameSource, Overhead,
    Process, ProcessId, Session, SiteKey, StackId, Stacks, Thread, ThreadId, WaitEvent, WaitKey,
};

/// Builds a session step by step.
pub(crate) struct Builder {
    pub session: Session,
    next_address: u64,
}

/// Function, file and line; an empty file is unknown.
pub(crate) type Call<'a> = (&'a str, &'a str, u32);

impl Builder {
    /// A session of one process, `./server`.
    pub fn new() -> Self {
        let mut session = Session::default();
        session.meta.command = vec!["./server".into(), "-t".into(), "4".into()];
        session.meta.exit = Some(Exit::Code(0));
        session.meta.duration_ns = 12_300_000_000;
        session.meta.host = "Linux 6.1 x86_64, 2 cores".into();
        session.processes.push(Process {
            pid: 4242,
            parent_pid: 1,
            exe: "/srv/server".into(),
            exit: Some(Exit::Code(0)),
            threads: 0,
        });
        session.stacks.modules.push(Module { path: "/srv/server".into(), build_id: vec![1, 2, 3] });
        Self { session, next_address: 0x1000 }
    }

    pub fn thread(&mut self, name: &str) -> ThreadId {
        self.session.processes[0].threads += 1;
        self.session.threads.push(Thread {
            process: ProcessId(0),
            tid: 4242 + self.session.threads.len() as u32,
            name: name.into(),
            start_ns: 0,
            end_ns: None,
        });
        ThreadId::from(self.session.threads.len() - 1)
    }

    pub fn lock(&mut self, name: &str, kind: Kind) -> LockId {
        let at = self.session.locks.len();
        let address = 0x7f00_0000_0000 + 64 * at as u64;
        self.session.locks.push(Lock {
            name: (!name.is_empty()).then(|| LockName { text: name.into(), source: NameSource::Global }),
            class: format!("server+{:#x}", 0x100 + at),
            ..Lock::new(ProcessId(0), address, kind)
        });
        LockId::from(at)
    }

    /// A stack, innermost call first. The same calls give the same stack.
    pub fn stack(&mut self, calls: &[Call<'_>]) -> StackId {
        let mut at = Stacks::UNKNOWN;
        for (function, file, line) in calls.iter().rev() {
            let frame = Frame {
                function: Some((*function).into()),
                file: (!file.is_empty()).then(|| (*file).into()),
                line: *line,
                column: 0,
                inlined: false,
            };
            let known = (1..self.session.stacks.len()).map(StackId::from).find(|id| {
                let node = self.session.stacks.node(*id);
                node.caller == at && node.frames[..] == [frame.clone()]
            });
            at = known.unwrap_or_else(|| {
                self.next_address += 0x10;
                let address = CodeAddress { module: Some(ModuleId(0)), address: self.next_address };
                let id = self.session.stacks.intern(at, address);
                self.session.stacks.node_mut(id).frames = vec![frame].into();
                id
            });
        }
        at
    }

    /// A stack of one frame without a symbol.
    pub fn bare_stack(&mut self, address: u64) -> StackId {
        self.session.stacks.intern(Stacks::UNKNOWN, CodeAddress { module: Some(ModuleId(0)), address })
    }

    /// Acquisitions that did not wait.
    pub fn take(&mut self, lock: LockId, thread: ThreadId, stack: StackId, mode: Mode, times: u64, hold_ns: u64) {
        let id = self.session.profile.site(SiteKey { lock, stack, mode });
        let held = self.session.lock(lock).kind.is_lock();
        let site = &mut self.session.profile.sites[id.index()];
        site.acquisitions += times;
        if held {
            (0..times).for_each(|_| site.hold.record(hold_ns));
        }
        let share = self.session.profile.by_thread.entry((thread, id)).or_default();
        share.acquisitions += times;
        share.hold_ns += if held { times * hold_ns } else { 0 };
        self.session.coverage.acquisitions += times;
        self.session.coverage.recorded += times;
    }

    /// One acquisition that waited for a holder; `None` where the holder was not seen.
    #[allow(clippy::too_many_arguments)]
    pub fn wait(
        &mut self,
        lock: LockId,
        thread: ThreadId,
        stack: StackId,
        mode: Mode,
        wait_ns: u64,
        hold_ns: u64,
        holder: Option<(ThreadId, StackId)>,
    ) {
        self.take(lock, thread, stack, mode, 1, hold_ns);
        let profile = &mut self.session.profile;
        let id = profile.site(SiteKey { lock, stack, mode });
        let site = &mut profile.sites[id.index()];
        site.contended += 1;
        site.wait.record(wait_ns);
        let share = profile.by_thread.entry((thread, id)).or_default();
        share.contended += 1;
        share.wait_ns += wait_ns;
        let row = &mut self.session.locks[lock.index()];
        row.max_waiters = row.max_waiters.max(1);
        row.owner_changes += 1;
        if !row.kind.is_lock() {
            return;
        }
        let key = WaitKey {
            lock,
            thread,
            waiter: stack,
            mode,
            holder: holder.map_or(Stacks::UNKNOWN, |(_, stack)| stack),
            holder_thread: holder.map(|(thread, _)| thread),
        };
        let stats = profile.waits.entry(key).or_default();
        stats.count += 1;
        stats.wait_ns += wait_ns;
        stats.max_ns = stats.max_ns.max(wait_ns);
        let start_ns = profile.wait_events.len() as u64 * 1000;
        profile.wait_events.push(WaitEvent { key, start_ns, wait_ns, hold_ns });
    }
}

/// A server with a hot journal, a read-mostly cache, a lock per account and a work queue.
pub(crate) fn server() -> Session {
    let mut b = Builder::new();
    let journal = b.lock("journal.mu", Kind::Mutex);
    let cache = b.lock("cache.shard[3].mu", Kind::Rwlock);
    let account = b.lock("acct->lock", Kind::Mutex);
    let quiet = b.lock("config_lock", Kind::Mutex);
    let queue = b.lock("queue.not_empty", Kind::Condvar);
    let unnamed = b.lock("", Kind::Spinlock);

    let start: [Call<'_>; 2] = [("start_thread", "pthread_create.c", 442), ("clone3", "", 0)];
    let mut stack = |calls: &[Call<'_>]| {
        let all: Vec<Call<'_>> = calls.iter().chain(&start).copied().collect();
        b.stack(&all)
    };
    let append = stack(&[
        ("std::mutex::lock()", "/usr/include/c++/12/bits/std_mutex.h", 100),
        (
            "Journal::append(std::basic_string<char, std::char_traits<char>, std::allocator<char> > const&)",
            "src/journal.cc",
            42,
        ),
        ("handle_request(Request&)", "src/server.cc", 118),
        ("worker(void*)", "src/server.cc", 201),
    ]);
    let flush = stack(&[
        ("std::mutex::lock()", "/usr/include/c++/12/bits/std_mutex.h", 100),
        ("Journal::flush()", "src/journal.cc", 77),
        ("flusher(void*)", "src/journal.cc", 95),
    ]);
    let lookup = stack(&[
        (
            "Cache<std::basic_string<char>, std::shared_ptr<Entry> >::lookup(std::basic_string<char> const&) const",
            "src/cache.h",
            31,
        ),
        ("handle_request(Request&)", "src/server.cc", 121),
        ("worker(void*)", "src/server.cc", 201),
    ]);
    let refresh = stack(&[
        ("Cache<std::basic_string<char>, std::shared_ptr<Entry> >::refresh()", "src/cache.h", 58),
        ("flusher(void*)", "src/journal.cc", 97),
    ]);
    let transfer = stack(&[
        ("transfer(Account*, Account*, long)", "src/bank.cc", 12),
        ("handle_request(Request&)", "src/server.cc", 125),
        ("worker(void*)", "src/server.cc", 201),
    ]);
    let idle = stack(&[
        ("std::condition_variable::wait(std::unique_lock<std::mutex>&)", "", 0),
        ("Queue::pop()", "src/queue.cc", 19),
        ("worker(void*)", "src/server.cc", 200),
    ]);
    let main = b.stack(&[("load_config", "src/main.cc", 9), ("main", "src/main.cc", 21), ("_start", "", 0)]);
    let bare = b.bare_stack(0x2345);

    let threads = [b.thread("worker-0"), b.thread("worker-1"), b.thread("worker-2"), b.thread("flusher")];
    let flusher = threads[3];
    let (ex, sh) = (Mode::Exclusive, Mode::Shared);
    b.take(journal, threads[0], append, ex, 8_000, 2_100);
    b.take(journal, flusher, flush, ex, 120, 9_400_000);
    for at in 0..90u64 {
        let thread = threads[(at % 3) as usize];
        b.wait(journal, thread, append, ex, 4_000_000 + at * 310_000, 2_300, Some((flusher, flush)));
    }
    for at in 0..40u64 {
        let other = threads[((at + 1) % 3) as usize];
        b.wait(journal, threads[(at % 3) as usize], append, ex, 3_000 + at * 170, 2_000, Some((other, append)));
    }
    b.wait(journal, flusher, flush, ex, 61_000, 8_100_000, None);
    b.take(cache, threads[1], lookup, sh, 20_000, 800);
    b.take(cache, flusher, refresh, ex, 12, 3_100_000);
    for at in 0..24u64 {
        b.wait(cache, threads[(at % 3) as usize], lookup, sh, 900_000 + at * 40_000, 900, Some((flusher, refresh)));
    }
    b.take(account, threads[2], transfer, ex, 3_000, 450);
    for at in 0..7u64 {
        b.wait(account, threads[1], transfer, ex, 700 + at * 90, 430, Some((threads[2], transfer)));
    }
    b.take(quiet, threads[0], main, ex, 1, 12_000);
    b.take(unnamed, threads[0], bare, ex, 500, 80);
    for at in 0..60u64 {
        b.wait(queue, threads[(at % 3) as usize], idle, ex, 90_000_000 + at * 1_000_000, 0, None);
    }
    let mut session = b.session;
    session.locks[journal.index()].max_waiters = 3;
    session.locks[cache.index()].max_waiters = 3;
    session.locks[journal.index()].origin_stack = main;
    session.coverage.recorded -= 350;
    session.coverage.folded = 350;
    session.coverage.stack_hits = 31_900;
    session.coverage.stack_misses = 14;
    session.overhead = Overhead { ns_per_pair: 21.4, share_of_runtime: 0.0037 };
    session.counters.task_clock_ns = Some(23_400_000_000);
    session.counters.context_switches = Some(5_120);
    session
}

/// Many locks with long names, deep and branching stacks, two processes: what a big program looks like.
pub(crate) fn busy() -> Session {
    let mut b = Builder::new();
    b.session.processes.push(Process {
        pid: 4300,
        parent_pid: 4242,
        exe: "/srv/helper".into(),
        exit: Some(Exit::Signal(9)),
        threads: 1,
    });
    let threads: Vec<_> = (0..8).map(|at| b.thread(&format!("pool-{at}"))).collect();
    let mut state = 7u64;
    let mut random = move |below: u64| {
        // Knuth's MMIX generator; the low bits are poor.
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % below
    };
    let start = [("std::thread::_State_impl<X>::_M_run()", "", 0), ("start_thread", "", 0), ("clone3", "", 0)];
    for at in 0..40u64 {
        let name = match at % 4 {
            0 => format!("engine::storage::ShardedCache<Key, Value>::shards[{at}].mutex_"),
            1 => format!("conn[{at}]->write_lock"),
            2 => format!("pool_{at}.mu"),
            _ => format!("g_registry_lock_{at}"),
        };
        let lock = b.lock(&name, if at % 5 == 0 { Kind::Rwlock } else { Kind::Mutex });
        b.session.locks[lock.index()].process = ProcessId(u32::from(at % 9 == 0));
        let mut stacks = Vec::new();
        for branch in 0..3 {
            let names: Vec<String> = (0..4 + random(9))
                .map(|depth| match (depth + branch + random(2)) % 3 {
                    0 => {
                        format!("engine::exec::Operator<std::vector<Row, Alloc<Row> > >::step_{depth}(Row const&, int)")
                    }
                    1 => format!("dispatch_{}_{depth}", at % 6),
                    _ => format!("<engine::net::Connection<T> as engine::io::Sink>::flush_{depth}"),
                })
                .collect();
            let mut calls: Vec<Call<'_>> =
                names.iter().map(|name| (name.as_str(), "src/engine/exec.cc", 10 + branch as u32)).collect();
            calls.extend(start);
            stacks.push(b.stack(&calls));
        }
        let weight = 40_000_000 / (at + 1) / (at + 1);
        for _ in 0..12 {
            let (waiter, holder) = (random(8) as usize, random(8) as usize);
            let (mine, theirs) = (stacks[random(3) as usize], stacks[random(3) as usize]);
            let wait = weight / 2 + random(weight + 1);
            b.wait(lock, threads[waiter], mine, Mode::Exclusive, wait, wait / 3, Some((threads[holder], theirs)));
        }
        b.take(lock, threads[0], stacks[0], Mode::Exclusive, 1 + random(5_000), 700);
    }
    b.session.coverage.notes.push("the helper process was ended by a signal; what it wrote until then is here".into());
    b.session
}

/// A program that never took a lock.
pub(crate) fn empty() -> Session {
    let mut session = Builder::new().session;
    session.coverage = Coverage::default();
    session
}
