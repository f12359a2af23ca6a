//! What is done when a process has ended, and at the end of the collection.

use std::fs;
use std::sync::atomic::Ordering;

use super::{Collected, Collector, Source, Tick, missing_programs, sum};
use crate::ingest::clock::{self, monotonic_ns};
use crate::ingest::exit;
use crate::ingest::go::Language;
use crate::ingest::order;
use crate::ingest::owner::Liveness;
use crate::ingest::reducer::Reducer;
use crate::model::{Coverage, Mode, Module, ProcessId, SiteKey, StackId, Stacks};

/// Counts and times may be exact all the same, so this makes no recording one in part.
const ORDER_INCOMPLETE: &str = "the order of locks is not complete: not all that it depends on (nested acquisitions, beginnings and ends of threads) was written \
     down, so `check` says `incomplete`";

impl Collector {
    /// Reads what is left of a process. `is_over`: it will write no more.
    pub(super) fn close(&mut self, mut source: Source, is_over: bool) {
        source.image.segment.look_again();
        let said = source.image.segment.header().exit.load(Ordering::Relaxed);
        let has_ended_by_now = source.image.owner.liveness.is_over();
        self.session.processes[source.image.process.index()].exit = exit::said(said);
        let notes = self.images.entry(source.image.process).or_default();
        notes.has_told_exit = said != 0;
        // Written a moment after the header is there.
        notes.is_forked = source.image.segment.header().forked.load(Ordering::Relaxed) != 0;
        self.started += source.image.started(is_over);
        // The kernel tells only when the parent has fetched the code.
        if let Liveness::Descriptor(process) = std::mem::replace(&mut source.image.owner.liveness, Liveness::Over) {
            self.ended.push((source.image.process, process));
        }
        source.image.refresh_thread_names(&mut self.session);
        // Before anything is read: what a living thread acquires meanwhile is not missing.
        let (unrecorded, acquisitions) = source.counted();
        // What came between the last look at the rings and the end.
        let Self { session, accumulator, died_waiting, keeps_files, .. } = &mut *self;
        source.rings.drain(&mut Reducer { image: &mut source.image, session, accumulator }, &mut Tick::default());
        if said == 0 && (has_ended_by_now || !*keeps_files) {
            died_waiting.extend(source.waits(session));
        }
        self.drain_programs_of(&mut source.image, clock::tsc());
        let Self { session, accumulator, .. } = &mut *self;
        let reducer = &mut Reducer { image: &mut source.image, session, accumulator };
        source.rings.still_held(reducer);
        source.rings.read_aggregates(reducer, true);
        order::finish(reducer);
        source.image.finish_locks(&mut self.session);
        for note in source.image.notes() {
            self.note(note);
        }
        self.count_unrecorded(&mut source, unrecorded);
        let header = source.image.segment.header();
        self.oracle.0 += source.image.plausible_count(header.oracle_checked.load(Ordering::Relaxed));
        self.oracle.1 += source.image.plausible_count(header.oracle_wrong.load(Ordering::Relaxed));
        let slots = (0..source.image.segment.thread_count()).filter_map(|number| source.image.segment.thread(number));
        let misses = sum(slots.map(|slot| source.image.plausible_count(slot.stack_misses.load(Ordering::Relaxed))));
        self.acquisitions = self.acquisitions.saturating_add(unrecorded).saturating_add(acquisitions);
        let all_misses = &mut self.session.coverage.stack_misses;
        *all_misses = all_misses.saturating_add(misses);
        let truncated = &source.image.truncated;
        let is_cut = |stack: StackId| {
            stack.0 == 0
                || truncated.contains(&stack)
                || !truncated.is_empty() && self.session.stacks.walk(stack).any(|node| truncated.contains(&node.caller))
        };
        let cut: u64 = (self.session.profile.sites.iter())
            .filter(|site| self.session.lock(site.key.lock).process == source.image.process)
            .filter(|site| is_cut(site.key.stack))
            .map(|site| site.acquisitions)
            .sum();
        self.session.coverage.stacks_truncated += cut;
        for note in source.image.unseen() {
            self.note(note);
        }
        let children = source.image.segment.header().children_acquisitions.load(Ordering::Relaxed);
        // Nothing else is known of them.
        self.acquisitions = self.acquisitions.saturating_add(source.image.plausible_count(children));
        self.data_addresses_of(&source.image);
        let exe = &self.session.process(source.image.process).exe;
        let is_rust = |path: &str, language| path == exe && language == Language::Rust;
        let is_of_rust = self.programs.iter().any(|program| is_rust(&program.module.path, program.language))
            || self.patched.iter().any(|(_, path, language)| is_rust(path, *language));
        if self.images.get(&source.image.process).is_some_and(|image| image.is_forked) && is_of_rust {
            self.note(format!(
                "of processes that {exe} forked and that go on with it, the locks of Rust are not recorded"
            ));
        }
        if !source.is_left_alone() {
            self.loaded.extend(source.image.loaded());
        }
        if !self.keeps_files || (has_ended_by_now && !self.keeps_all) {
            let _ = fs::remove_file(&source.image.segment.path);
        }
    }

    /// Acquisitions that signal handlers made inside the recorder: counted, with nothing else known.
    fn count_unrecorded(&mut self, source: &mut Source, count: u64) {
        if count == 0 {
            return;
        }
        let lock = source.image.lock(&mut self.session, 0);
        let key = SiteKey { lock, stack: Stacks::UNKNOWN, mode: Mode::Exclusive };
        let site = self.session.profile.site(key);
        let site = &mut self.session.profile.sites[site.index()];
        site.acquisitions += count;
        site.folded += count;
        self.accumulator.aggregated += count;
    }

    /// Ends the collection: everything that is there is read, living processes included.
    pub fn finish(mut self) -> Collected {
        self.tick();
        for (_, source) in std::mem::take(&mut self.sources) {
            self.close(source, false);
        }
        for program in std::mem::take(&mut self.programs) {
            self.close_program(program);
        }
        if self.keeps_files {
            self.spares.remove();
        }
        for (path, error) in std::mem::take(&mut self.refused) {
            let what = if path == self.folder {
                format!("the recording's folder cannot be read any more ({error}): who began later is not in it")
            } else {
                let name = path.file_name().unwrap_or_default().to_string_lossy();
                let pid = name.split('.').next().unwrap_or_default();
                format!("process {pid} was not recorded: its shared memory could not be read ({error})")
            };
            self.note(Coverage::in_part(&what));
        }
        self.ask_for_exits();
        self.accumulator.finish(&mut self.session);
        if self.session.order.dropped > 0 {
            self.note(ORDER_INCOMPLETE.to_owned());
        }
        let coverage = &mut self.session.coverage;
        coverage.recorded = self.accumulator.recorded;
        coverage.folded = self.accumulator.aggregated;
        coverage.acquisitions = self.acquisitions.max(coverage.recorded + coverage.folded);
        coverage.lost = coverage.acquisitions - coverage.recorded - coverage.folded;
        coverage.stack_hits = coverage.acquisitions.saturating_sub(coverage.stack_misses);
        self.session.meta.duration_ns = monotonic_ns() - self.origin_ns;
        let Self { session, data_addresses, oracle, images, loaded, patched, files, started, .. } = self;
        let recorded = |process: ProcessId, module: &Module| {
            let is_it = |(of, path, _): &&(ProcessId, String, Language)| (*of, path) == (process, &module.path);
            patched.iter().find(is_it).map(|(_, _, language)| *language)
        };
        let loaded = loaded.into_iter().filter_map(|(process, module)| match recorded(process, &module) {
            Some(Language::Go) => None,
            recorded => Some((process, module, recorded == Some(Language::Rust))),
        });
        let loaded = loaded.collect();
        let missing_programs = missing_programs(started, &images);
        Collected { session, data_addresses, oracle, images, loaded, files, missing_programs }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn an_incomplete_order_is_told_though_every_acquisition_is_known() {
        let notes = |dropped| {
            let mut collector = Collector::new(Path::new("/proc/self/no-recording"));
            // As of a program that took its folder with it.
            collector.keeps_files = true;
            collector.session.order.dropped = dropped;
            let coverage = collector.finish().session.coverage;
            assert!(coverage.complete(), "{:?}", coverage.notes);
            coverage.notes
        };
        assert_eq!((notes(0), notes(3)), (Vec::new(), vec![ORDER_INCOMPLETE.to_owned()]));
    }
}
