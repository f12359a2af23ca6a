//! Locks, sites, waits and what they are part of.

use rustc_hash::FxHashMap;

use super::code::stack;
use super::{Rows, SCHEMA_VERSION, Table, TableInput, class, hex, lock, mode};
use crate::analysis::contention::{Cut, lock_name};
use crate::model::{Kind, LockId, SiteId, StackId, ThreadId};
use crate::render::frames::headline;
use crate::render::style::printable;

/// `meta`: one row, the run.
pub fn meta(input: &TableInput<'_>) -> Table {
    let session = input.session;
    let (meta, seen) = (&session.meta, &session.coverage);
    let main = session.processes.first();
    let module = session.stacks.modules.iter().find(|module| main.is_some_and(|main| main.exe == module.path));
    let notes = super::super::notes(session, input.contention).join("\n");
    Rows::new(input, &[()])
        .int("schema_version", |()| SCHEMA_VERSION)
        .text("lockprof_version", |()| printable(&meta.version))
        .text("host", |()| printable(input.labels.host.as_deref().unwrap_or(&meta.host)))
        .text("machine", |()| printable(&meta.host))
        .text("command", |()| printable(&meta.command.join(" ")))
        .maybe_text("exe", |()| main.map(|main| printable(&main.exe)))
        .maybe_text("build_id", |()| module.and_then(|module| hex(&module.build_id)))
        .maybe_text("release", |()| input.labels.release.as_deref().map(printable))
        .moment("started", |()| meta.started_unix_ns)
        .int("duration_ns", |()| meta.duration_ns)
        .int("acquisitions", |()| seen.acquisitions)
        .int("recorded", |()| seen.recorded)
        .int("folded", |()| seen.folded)
        .int("lost", |()| seen.lost)
        .flag("complete", |()| seen.complete() && !meta.cut)
        .int("events_missing", |()| session.profile.wait_events_dropped)
        .text("notes", |()| notes.clone())
        .table("meta")
}

/// `locks`: a row for each lock of the view.
pub fn locks(input: &TableInput<'_>) -> Table {
    let session = input.session;
    let first = |row: &crate::analysis::LockReport| row.members.first().copied().unwrap_or_default();
    Rows::new(input, &input.contention.locks)
        .id("lock", |row| lock(session, first(row)))
        .id("class_id", |row| class(session, first(row)))
        .text("id", |row| row.id.clone())
        .text("name", |row| printable(&row.name))
        .text("class", |row| printable(&row.class))
        .text("kind", |row| row.kind.name().to_owned())
        .flag("is_lock", |row| row.kind.is_lock())
        .int("pid", |row| u64::from(session.process(row.process).pid))
        .int("locks", |row| row.stands_for)
        .int("acquisitions", |row| row.acquisitions)
        .int("read_acquisitions", |row| row.read_acquisitions)
        .int("contended", |row| row.contended)
        .int("wait_ns", |row| row.wait.total)
        .int("wait_p50_ns", |row| row.wait.p50)
        .int("wait_p99_ns", |row| row.wait.p99)
        .int("wait_max_ns", |row| row.wait.max)
        .int("hold_ns", |row| row.hold.total)
        .int("hold_p50_ns", |row| row.hold.p50)
        .int("hold_p99_ns", |row| row.hold.p99)
        .int("hold_max_ns", |row| row.hold.max)
        .int("try_failures", |row| row.try_failures)
        .int("timeouts", |row| row.timeouts)
        .int("timed_out_wait_ns", |row| row.wasted_wait_ns)
        .int("owner_changes", |row| row.owner_changes)
        .int("max_waiters", |row| u64::from(row.max_waiters))
        .id("origin_stack", |row| stack(session, session.lock(first(row)).origin_stack))
        .table("locks")
}

/// What names the lock of a row.
pub(super) trait OfLock {
    fn lock(&self) -> LockId;
}

impl<'a, T: OfLock> Rows<'a, T> {
    fn of_lock(self, input: &TableInput<'_>) -> Self {
        let session = input.session;
        let kind = |row: &T| -> Kind { session.lock(row.lock()).kind };
        self.id("lock", |row| lock(session, row.lock()))
            .id("class_id", |row| class(session, row.lock()))
            .text("id", |row| input.contention.row_of(row.lock()).map_or_else(String::new, |row| row.id.clone()))
            .text("name", |row| printable(&lock_name(session, row.lock())))
            .text("kind", |row| kind(row).name().to_owned())
            .flag("is_lock", |row| kind(row).is_lock())
    }
}

/// Texts and ids of stacks, each input once.
struct StackTexts<'a> {
    input: &'a TableInput<'a>,
    known: FxHashMap<StackId, (u64, String)>,
}

impl<'a> StackTexts<'a> {
    fn of(input: &'a TableInput<'a>, stacks: impl Iterator<Item = StackId>) -> Self {
        let mut known = FxHashMap::default();
        for id in stacks {
            known.entry(id).or_insert_with(|| (stack(input.session, id), headline(input.session, id)));
        }
        Self { input, known }
    }

    fn id(&self, id: StackId) -> u64 {
        self.known.get(&id).map_or_else(|| stack(self.input.session, id), |known| known.0)
    }

    fn place(&self, id: StackId) -> String {
        self.known.get(&id).map_or_else(|| headline(self.input.session, id), |known| known.1.clone())
    }
}

struct SiteRow {
    lock: LockId,
    stack: StackId,
    mode: crate::model::Mode,
    share: crate::model::ThreadShare,
}

impl OfLock for SiteRow {
    fn lock(&self) -> LockId {
        self.lock
    }
}

/// `sites`: a row for each call path to each lock.
pub fn sites(input: &TableInput<'_>) -> Table {
    let session = input.session;
    let cut = Cut::new(session, input.contention.query.filter.thread.as_ref());
    let mut rows: Vec<SiteRow> = (session.profile.sites.iter().enumerate())
        .filter(|(_, site)| input.contention.row_of(site.key.lock).is_some())
        .filter_map(|(at, site)| {
            let share = cut.site(SiteId::from(at))?.share;
            Some(SiteRow { lock: site.key.lock, stack: site.key.stack, mode: site.key.mode, share })
        })
        .collect();
    rows.sort_by_key(|row| (input.contention.row_index(row.lock), row.lock, row.stack, row.mode));
    let places = StackTexts::of(input, rows.iter().map(|row| row.stack));
    Rows::new(input, &rows)
        .of_lock(input)
        .id("stack", |row| places.id(row.stack))
        .text("place", |row| places.place(row.stack))
        .text("mode", |row| mode(row.mode))
        .int("acquisitions", |row| row.share.acquisitions)
        .int("contended", |row| row.share.contended)
        .int("wait_ns", |row| row.share.wait_ns)
        .int("hold_ns", |row| row.share.hold_ns)
        .table("sites")
}

/// A wait, or the waits of one thread by one stack for one holder.
struct WaitRow {
    key: crate::model::WaitKey,
    numbers: [u64; 3],
}

impl OfLock for WaitRow {
    fn lock(&self) -> LockId {
        self.key.lock
    }
}

impl<'a> Rows<'a, WaitRow> {
    fn sides(self, input: &TableInput<'_>, places: &StackTexts<'_>) -> Self {
        let session = input.session;
        let name = |id: ThreadId| printable(&session.thread(id).name);
        let tid = |id: ThreadId| u64::from(session.thread(id).tid);
        self.int("pid", |row| u64::from(session.process(session.thread(row.key.thread).process).pid))
            .text("mode", |row| mode(row.key.mode))
            .text("thread", |row| name(row.key.thread))
            .int("tid", |row| tid(row.key.thread))
            .id("waiter_stack", |row| places.id(row.key.waiter))
            .text("waiter_place", |row| places.place(row.key.waiter))
            .maybe_text("holder_thread", |row| row.key.holder_thread.map(name))
            .maybe_int("holder_tid", |row| row.key.holder_thread.map(tid))
            .id("holder_stack", |row| places.id(row.key.holder))
            .text("holder_place", |row| places.place(row.key.holder))
    }
}

fn kept(input: &TableInput<'_>, rows: impl Iterator<Item = WaitRow>) -> Vec<WaitRow> {
    let cut = Cut::new(input.session, input.contention.query.filter.thread.as_ref());
    rows.filter(|row| input.contention.row_of(row.key.lock).is_some() && cut.keeps_thread(row.key.thread)).collect()
}

fn places_of<'a>(input: &'a TableInput<'a>, rows: &[WaitRow]) -> StackTexts<'a> {
    StackTexts::of(input, rows.iter().flat_map(|row| [row.key.waiter, row.key.holder]))
}

/// `waits`: who waited for whom, added up: complete.
pub fn waits(input: &TableInput<'_>) -> Table {
    let waits = input.session.profile.waits.iter();
    let row = |key: &_, stats: &crate::model::WaitStats| WaitRow {
        key: *key,
        numbers: [stats.count, stats.wait_ns, stats.max_ns],
    };
    let mut rows = kept(input, waits.map(|(key, stats)| row(key, stats)));
    rows.sort_by_key(|row| (input.contention.row_index(row.key.lock), std::cmp::Reverse(row.numbers[1]), row.key));
    let places = places_of(input, &rows);
    Rows::new(input, &rows)
        .of_lock(input)
        .sides(input, &places)
        .int("count", |row| row.numbers[0])
        .int("wait_ns", |row| row.numbers[1])
        .int("wait_max_ns", |row| row.numbers[2])
        .table("waits")
}

/// `events`: waits one by one, as far as they were kept.
pub fn events(input: &TableInput<'_>) -> Table {
    let events = input.session.profile.wait_events.iter();
    let row = |event: &crate::model::WaitEvent| WaitRow {
        key: event.key,
        numbers: [event.start_ns, event.wait_ns, event.hold_ns],
    };
    let mut rows = kept(input, events.map(row));
    rows.sort_by_key(|row| (row.numbers[0], row.key));
    let places = places_of(input, &rows);
    let started = input.session.meta.started_unix_ns;
    Rows::new(input, &rows)
        .of_lock(input)
        .sides(input, &places)
        .moment("at", |row| started.saturating_add(row.numbers[0]))
        .int("start_ns", |row| row.numbers[0])
        .int("wait_ns", |row| row.numbers[1])
        .int("hold_ns", |row| row.numbers[2])
        .table("events")
}

/// `edges`: the lock-order graph, by single locks.
pub fn edges(input: &TableInput<'_>) -> Table {
    let (session, graph) = (input.session, input.graph);
    let node = |at: u32| graph.nodes.get(at as usize);
    let own = |at: u32| node(at).map_or(0, |node| lock(session, node.lock));
    let of_class = |at: u32| node(at).map_or(0, |node| class(session, node.lock));
    let name = |at: u32| node(at).map_or_else(String::new, |node| printable(&node.name));
    Rows::new(input, &graph.edges)
        .id("held_lock", |edge| own(edge.from))
        .id("held_class_id", |edge| of_class(edge.from))
        .text("held", |edge| name(edge.from))
        .id("wanted_lock", |edge| own(edge.to))
        .id("wanted_class_id", |edge| of_class(edge.to))
        .text("wanted", |edge| name(edge.to))
        .text("held_mode", |edge| mode(edge.modes.0))
        .text("wanted_mode", |edge| mode(edge.modes.1))
        .int("count", |edge| edge.count)
        .int("threads", |edge| edge.threads)
        .maybe_text("cycle", |edge| edge.cycle.map(|class| class.name().to_owned()))
        .id("held_stack", |edge| stack(session, edge.stacks.0))
        .text("held_place", |edge| headline(session, edge.stacks.0))
        .id("wanted_stack", |edge| stack(session, edge.stacks.1))
        .text("wanted_place", |edge| headline(session, edge.stacks.1))
        .table("edges")
}
