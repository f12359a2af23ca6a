//! The collector's part in hangs: lets each living process be watched, and notes who waits when the end is near.

use rustc_hash::FxHashMap;

use super::{Collector, Source};
use crate::ingest::clock::monotonic_ns;
use crate::ingest::tasks;
use crate::ingest::watch::{Found, to_model};
use crate::model::{CodeAddress, Hang, LockId, ModuleId, Session, Subset};

/// Threads that waited for less than this may just be about to go on.
const LEAST_WAIT_NS: u64 = 500_000_000;

/// Processes that ended within this time were ended by what ends the recording.
const JUST_NOW_NS: u64 = 1_000_000_000;

/// One hang while the recording goes on.
pub struct HangNow {
    /// Its process, threads, locks and stacks, not symbolised yet, and the hang.
    pub session: Session,
    /// Where its locks lie in their module's data.
    pub data_addresses: FxHashMap<LockId, CodeAddress>,
}

impl Collector {
    /// Looks for hangs in every process that lives.
    pub(super) fn watch(&mut self) {
        for program in &mut self.programs {
            self.session.hangs.extend(program.hangs(false));
        }
        for source in self.sources.values_mut() {
            let ticks = source.image.ticks.now();
            let (process, threads) = (source.image.process, &self.session.threads);
            let has_ended =
                |tid: u32| threads.iter().any(|row| row.process == process && row.tid == tid && row.end_ns.is_some());
            let found = source.watcher.look(&source.image, ticks, &has_ended);
            let at_ns = source.image.ticks.moment_ns(ticks);
            let (image, session) = (&mut source.image, &mut self.session);
            for found in &found {
                let hang = match found {
                    Found::Ring(ring) => Some(to_model::deadlock(image, session, ring, at_ns)),
                    Found::Abandoned(waiter, owner) => to_model::abandoned(image, session, waiter, *owner, at_ns),
                    Found::Stuck(all) => Some(to_model::stuck(image, session, all, at_ns)),
                };
                session.hangs.extend(hang);
            }
            if !found.is_empty() {
                source.name_for_people(&mut self.session);
            }
        }
    }

    /// Notes who waits for whom in each process in which no thread goes on; `partly`: also where only some threads wait.
    /// Processes of which a hang is known are left out.
    pub fn note_waits(&mut self, partly: bool) {
        let now_ns = monotonic_ns().saturating_sub(self.origin_ns);
        let mut found = std::mem::take(&mut self.died_waiting);
        // Whoever was killed long ago was not ended by the same hand.
        found.retain(|hang| hang.is_standstill() && now_ns.saturating_sub(hang.at_ns) < JUST_NOW_NS);
        for source in self.sources.values_mut() {
            if let Some(hang) = source.waits(&mut self.session) {
                source.name_for_people(&mut self.session);
                found.push(hang);
            }
        }
        found.extend(self.programs.iter().filter_map(|program| program.waits(LEAST_WAIT_NS)));
        for hang in found {
            let known = self.session.hangs.iter().any(|other| other.process == hang.process);
            if !known && (partly || hang.is_standstill()) {
                self.session.hangs.push(hang);
            }
        }
    }

    /// One hang of [`Session::hangs`], to be named and shown at once.
    pub fn hang_now(&self, hang: &Hang) -> HangNow {
        let subset = Subset::of(&self.session, hang);
        let data_addresses = self.addresses_in(&subset);
        HangNow { session: subset.session, data_addresses }
    }

    /// Where the locks of living processes lie in their modules' data.
    pub(super) fn living_data_addresses(&self) -> impl Iterator<Item = &FxHashMap<LockId, CodeAddress>> {
        let of_segments = self.sources.values().map(|source| &source.image.data_addresses);
        of_segments.chain(self.programs.iter().map(|program| &program.data_addresses))
    }

    /// Where the locks of a subset lie in their module's data, in the subset's own numbers.
    pub(super) fn addresses_in(&self, subset: &Subset) -> FxHashMap<LockId, CodeAddress> {
        let modules: FxHashMap<ModuleId, usize> =
            subset.modules.iter().enumerate().map(|(at, module)| (*module, at)).collect();
        let address_of = |lock: &LockId| {
            let living = self.living_data_addresses().find_map(|addresses| addresses.get(lock));
            let address = living.or_else(|| self.data_addresses.get(lock))?;
            let module = modules.get(&address.module?)?;
            Some(CodeAddress { module: Some(ModuleId::from(*module)), ..*address })
        };
        let locks = subset.locks.iter().enumerate();
        locks.filter_map(|(at, lock)| Some((LockId::from(at), address_of(lock)?))).collect()
    }
}

impl Source {
    /// Who waits for whom now; nothing where nobody has waited for long.
    pub(super) fn waits(&mut self, session: &mut Session) -> Option<Hang> {
        let ticks = self.image.ticks.now();
        let at_ns = self.image.ticks.moment_ns(ticks);
        to_model::waits(&mut self.image, session, ticks, LEAST_WAIT_NS, at_ns, self.tasks)
    }

    /// Asks the kernel how many threads there are: those that never used a lock have no slot. Not to be asked at the end:
    /// the threads of a process that dies go one by one.
    pub(super) fn count_tasks(&mut self) {
        let tasks = tasks::living(self.image.owner.pid).count() as u32;
        if tasks > 0 {
            self.tasks = tasks;
        }
    }

    /// Names that the program gave meanwhile.
    fn name_for_people(&self, session: &mut Session) {
        self.image.finish_locks(session);
        self.image.refresh_thread_names(session);
    }
}
