//! What a viewer gets while the recording goes on: this moment, the session so far, and names as they become known.

use std::path::PathBuf;
use std::sync::atomic::Ordering;

use lockprof_wire::thread::state;
use rustc_hash::FxHashMap;

use super::aggregates::Aggregate;
use super::{Collected, Collector};
use crate::ingest::accumulator::Accumulator;
use crate::ingest::clock::monotonic_ns;
use crate::ingest::order;
use crate::ingest::procfs;
use crate::ingest::reducer::Reducer;
use crate::ingest::watch::look;
use crate::model::{
    CodeAddress, FoldsNow, Frames, LockId, LockName, Mode, Now, Profile, Session, StackId, Subset, ThreadId, ThreadNow,
    ThreadShare, WaitNow,
};

/// Rows that are named at a time: the collector has other things to do.
const BATCH: usize = 4000;

/// Locks and stacks without names, taken out of the session to be named elsewhere.
pub struct Unnamed {
    /// The rows, as a small session.
    pub subset: Subset,
    /// Where its locks lie in their module's data.
    pub data_addresses: FxHashMap<LockId, CodeAddress>,
}

/// Names for rows of a session.
#[derive(Clone, Debug, Default)]
pub struct Names {
    /// Locks with their names and classes.
    pub locks: Vec<(LockId, Option<LockName>, String)>,
    /// Nodes of stacks with their frames.
    pub stacks: Vec<(StackId, Frames)>,
}

impl Unnamed {
    /// The names of the subset, which by now has them, for the session that it was taken from.
    pub fn named(self) -> Names {
        let Subset { session, locks, stacks, .. } = self.subset;
        let of_lock = |(at, id): (usize, &LockId)| {
            let lock = &session.locks[at];
            (*id, lock.name.clone(), lock.class.clone())
        };
        let of_stack = |(at, id): (usize, &StackId)| (*id, session.stacks.node(StackId::from(at)).frames.clone());
        Names {
            locks: locks.iter().enumerate().map(of_lock).collect(),
            stacks: stacks.iter().enumerate().skip(1).map(of_stack).collect(),
        }
    }
}

impl Collector {
    /// Who waits for what and holds what, and how far the reading is.
    pub fn now(&mut self) -> Now {
        let mut shares: FxHashMap<ThreadId, ThreadShare> = FxHashMap::default();
        add_shares(&mut shares, &self.accumulator, &self.session);
        // What living threads have folded is counted into a profile of its own.
        let folds = self.living_folds();
        let mut apart = Accumulator::default();
        let counted = std::mem::take(&mut self.session.profile);
        self.apply(folds, None, &mut apart);
        add_shares(&mut shares, &apart, &self.session);
        let folds = folds_by_lock(&std::mem::replace(&mut self.session.profile, counted));
        let mut now = Now {
            at_ns: monotonic_ns().saturating_sub(self.origin_ns),
            acquisitions: self.acquisitions,
            recorded: self.accumulator.recorded,
            folded: self.accumulator.aggregated + apart.aggregated,
            folds,
            threads: Vec::new(),
            processes: (self.sources.len() + self.programs.len()) as u32,
            cpu_ns: self.pids().map(cpu_ns).sum(),
        };
        for source in self.sources.values_mut() {
            let image = &mut source.image;
            now.acquisitions += image.plausible_count(image.segment.header().unrecorded.load(Ordering::Relaxed));
            for number in 0..image.segment.thread_count() {
                let Some(slot) = image.segment.thread(number) else { continue };
                now.acquisitions += image.plausible_count(slot.acquisitions.load(Ordering::Relaxed));
                // Acquire: a slot that was taken over says so before its fields are written.
                if slot.state.load(Ordering::Acquire) != state::ACTIVE {
                    continue;
                }
                let seen = look::WaitSample::at(&image.segment, number);
                let grips = seen.as_ref().map_or_else(|| look::grips(&image.segment, slot), |seen| seen.held.clone());
                let mode = |shared: bool| if shared { Mode::Shared } else { Mode::Exclusive };
                let held =
                    grips.iter().map(|grip| (image.lock(&mut self.session, grip.lock), mode(grip.shared))).collect();
                let waits = seen.map(|seen| WaitNow {
                    lock: image.lock(&mut self.session, seen.lock),
                    since_ns: image.ticks.moment_ns(seen.since),
                });
                let thread = image.thread(&mut self.session, number);
                let share = shares.get(&thread).copied().unwrap_or_default();
                now.threads.push(ThreadNow { thread, share, waits, held });
            }
            // Names that the program gave its locks meanwhile.
            image.finish_locks(&mut self.session);
        }
        for program in &self.programs {
            now.acquisitions += program.counted;
            program.now(&shares, &mut now);
        }
        // The rings were read before the counters: what was counted meanwhile is on its way, not lost.
        now.acquisitions = now.acquisitions.max(now.recorded + now.folded);
        now
    }

    /// A copy of the session as it is, made into one that views can work on: what living threads have folded is in it, what is
    /// still on its way is reported in a note. `now` is made to fit.
    pub fn so_far(&mut self, now: &mut Now) -> Collected {
        let folds = self.living_folds();
        let (mut session, mut apart) = (self.session.clone(), Accumulator::default());
        self.apply(folds, Some(&mut session), &mut apart);
        session.order.log.sort();
        for (key, share) in self.accumulator.shares().iter().chain(apart.shares()) {
            add_share(session.profile.by_thread.entry(*key).or_default(), share);
        }
        session.meta.duration_ns = now.at_ns;
        now.folds.clear();
        now.folded = self.accumulator.aggregated + apart.aggregated;
        let coverage = &mut session.coverage;
        (coverage.recorded, coverage.folded) = (now.recorded, now.folded);
        coverage.acquisitions = now.recorded + now.folded;
        now.acquisitions = now.acquisitions.max(coverage.acquisitions);
        let open = now.acquisitions - coverage.acquisitions;
        let open = if open == 0 { String::new() } else { format!("; {open} acquisitions were still on their way") };
        coverage.notes.push(format!("written while the program ran: what happened later is not in it{open}"));
        let living = self.living_data_addresses().flatten();
        let data_addresses = living.chain(&self.data_addresses).map(|(id, address)| (*id, *address)).collect();
        Collected {
            session,
            data_addresses,
            oracle: (0, 0),
            images: self.images.clone(),
            loaded: Vec::new(),
            files: FxHashMap::default(),
            missing_programs: 0,
        }
    }

    /// A copy of what was read so far, and where its locks lie. What living threads have folded is not in it; of
    /// acquisitions only those of processes that have ended are counted: the others count their own.
    pub fn read_so_far(&self) -> (Session, impl Iterator<Item = (LockId, CodeAddress)> + '_) {
        let mut session = self.session.clone();
        session.order.log.sort();
        for (key, share) in self.accumulator.shares() {
            add_share(session.profile.by_thread.entry(*key).or_default(), share);
        }
        session.meta.duration_ns = monotonic_ns().saturating_sub(self.origin_ns);
        let coverage = &mut session.coverage;
        coverage.acquisitions = self.acquisitions;
        (coverage.recorded, coverage.folded) = (self.accumulator.recorded, self.accumulator.aggregated);
        let living = self.living_data_addresses().flatten();
        (session, living.chain(&self.data_addresses).map(|(id, address)| (*id, *address)))
    }

    /// What threads that live have folded. It is copied, not taken: the threads go on counting there.
    fn living_folds(&mut self) -> Vec<(PathBuf, ThreadId, Aggregate)> {
        let mut found = Vec::new();
        for (path, source) in &mut self.sources {
            let image = &mut source.image;
            for number in 0..image.segment.thread_count() {
                let Some(slot) = image.segment.thread(number) else { continue };
                // Acquire: pairs with the shim's Release stores; what belongs to the state and the table is there.
                if !matches!(slot.state.load(Ordering::Acquire), state::ACTIVE | state::ENDED_DIRTY) {
                    continue;
                }
                let first = slot.folds.load(Ordering::Acquire);
                let tables = order::tables(&image.segment, first);
                let folds: Vec<Aggregate> = tables
                    .flat_map(|(_, entries)| entries.iter().filter_map(Aggregate::peek).filter(Aggregate::is_profiled))
                    .collect();
                let thread = image.thread(&mut self.session, number);
                for fold in folds {
                    // Rows that are met here for the first time are the session's own, not a copy's.
                    let (session, accumulator) = (&mut self.session, &mut self.accumulator);
                    fold.look_up(&mut Reducer { image, session, accumulator });
                    found.push((path.clone(), thread, fold));
                }
            }
        }
        found
    }

    /// Counts folds in a copy of the session, or in the session itself.
    fn apply(
        &mut self,
        folds: Vec<(PathBuf, ThreadId, Aggregate)>,
        mut copy: Option<&mut Session>,
        accumulator: &mut Accumulator,
    ) {
        for (path, thread, fold) in folds {
            let Some(source) = self.sources.get_mut(&path) else { continue };
            let session = copy.as_deref_mut().unwrap_or(&mut self.session);
            fold.apply(thread, &mut Reducer { image: &mut source.image, session, accumulator });
        }
    }

    /// Some rows that have no names yet; `None` where all have.
    pub fn unnamed(&self) -> Option<Unnamed> {
        let session = &self.session;
        let locks = (0..session.locks.len()).map(LockId::from).filter(|id| {
            let lock = session.lock(*id);
            lock.name.is_none() || lock.class.is_empty()
        });
        let locks: Vec<LockId> = locks.take(BATCH).collect();
        let stacks = (1..session.stacks.len()).map(StackId::from);
        let stacks: Vec<StackId> = stacks.filter(|id| session.stacks.node(*id).frames.is_empty()).take(BATCH).collect();
        if locks.is_empty() && stacks.is_empty() {
            return None;
        }
        let subset = Subset::of_rows(session, &locks, &stacks);
        let data_addresses = self.addresses_in(&subset);
        Some(Unnamed { subset, data_addresses })
    }

    /// Gives rows their names. A name that the program itself gave meanwhile stays.
    pub fn name(&mut self, named: Names) {
        for (id, name, class) in named.locks {
            let lock = &mut self.session.locks[id.index()];
            if lock.name.is_none() {
                lock.name = name;
            }
            if lock.class.is_empty() {
                lock.class = class;
            }
        }
        for (id, frames) in named.stacks {
            let node = self.session.stacks.node_mut(id);
            if node.frames.is_empty() {
                node.frames = frames;
            }
        }
    }
}

/// Adds up what each thread did with locks.
fn add_shares(shares: &mut FxHashMap<ThreadId, ThreadShare>, accumulator: &Accumulator, session: &Session) {
    for ((thread, site), share) in accumulator.shares() {
        let lock = session.profile.sites[site.index()].key.lock;
        if session.lock(lock).kind.is_lock() {
            add_share(shares.entry(*thread).or_default(), share);
        }
    }
}

fn add_share(sum: &mut ThreadShare, share: &ThreadShare) {
    sum.acquisitions += share.acquisitions;
    sum.contended += share.contended;
    sum.wait_ns = sum.wait_ns.saturating_add(share.wait_ns);
    sum.hold_ns = sum.hold_ns.saturating_add(share.hold_ns);
}

fn folds_by_lock(profile: &Profile) -> Vec<FoldsNow> {
    let mut locks: FxHashMap<LockId, FoldsNow> = FxHashMap::default();
    for site in &profile.sites {
        let lock = site.key.lock;
        let sum = locks.entry(lock).or_insert_with(|| FoldsNow { lock, ..FoldsNow::default() });
        sum.acquisitions += site.acquisitions;
        sum.contended += site.contended;
        sum.wait.merge(&site.wait);
        sum.hold.merge(&site.hold);
    }
    let mut locks: Vec<FoldsNow> = locks.into_values().collect();
    locks.sort_unstable_by_key(|folds| folds.lock);
    locks
}

/// CPU time of a process so far, ns.
fn cpu_ns(pid: u32) -> Option<u64> {
    let stat = procfs::text(procfs::folder(pid).join("stat")).ok()?;
    // The name may hold anything, parentheses too. Behind it `utime` and `stime` are the 12th and 13th word.
    let mut words = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
    let ticks = words.next()?.parse::<u64>().ok()? + words.next()?.parse::<u64>().ok()?;
    // SAFETY: asks for a constant.
    let per_second = u64::try_from(unsafe { libc::sysconf(libc::_SC_CLK_TCK) }).ok().filter(|rate| *rate > 0)?;
    Some(ticks * (1_000_000_000 / per_second))
}
