//! Go programs that were patched, among the processes of a session.

use std::fs;
use std::sync::Arc;

use super::{Collector, ImageNotes, Tick};
use crate::ingest::go::{Patched, Program};
use crate::ingest::image::Image;
use crate::ingest::owner::Liveness;
use crate::ingest::tasks;
use crate::model::{Process, ProcessId};

impl Collector {
    /// Reads the rings of a program that was patched, from now on.
    pub fn add_program(&mut self, patched: Patched) {
        self.files.insert(patched.module.path.clone(), Arc::clone(&patched.file));
        // Its segment may have been found before.
        let is_it = |process: ProcessId| self.session.process(process).exe == patched.module.path;
        let mut images = self.sources.values_mut().map(|source| &mut source.image);
        let image = images.find(|image| image.owner.pid == patched.pid && is_it(image.process));
        let ours = image.map(|image| {
            image.is_patched = true;
            (image.process, image.ticks)
        });
        let (process, ticks) = ours.unzip();
        let process = process.or_else(|| self.row_of_closed(&patched));
        let mut program = Program::new(patched, process, &mut self.session, &self.rate, self.origin_ns);
        ticks.into_iter().for_each(|ticks| program.share_ticks(ticks));
        let notes = ImageNotes { is_certain: true, born: program.born, ..ImageNotes::default() };
        self.images.entry(program.process).or_insert(notes);
        self.programs.push(program);
    }

    /// The row of a process that has ended already, and of which only the segment was read.
    fn row_of_closed(&self, patched: &Patched) -> Option<ProcessId> {
        /// Processes that came since.
        const REACH: usize = 256;
        let mut rows = self.session.processes.iter().enumerate().rev().take(REACH);
        let is_it = |(_, row): &(usize, &Process)| (row.pid, &row.exe) == (patched.pid, &patched.module.path);
        let row = rows.find(is_it).map(|(at, _)| ProcessId::from(at))?;
        let is_known = self.patched.iter().any(|(process, ..)| *process == row)
            || self.programs.iter().any(|program| program.process == row);
        (!is_known).then_some(row)
    }

    /// Whether a process runs a program that was patched: it may have become another one since.
    pub fn is_patched(&self, pid: u32) -> bool {
        let now = fs::read_link(tasks::folder(pid).join("exe"));
        let is_it =
            |program: &Program| program.pid == pid && now.as_ref().is_ok_and(|now| *now == *program.module.path);
        self.programs.iter().any(is_it)
    }

    /// Reads all their rings, and closes those that ended. `began`: ticks before anything was read.
    pub(super) fn drain_programs(&mut self, tick: &mut Tick, began: u64) {
        let mut ended = Vec::new();
        for (at, program) in self.programs.iter_mut().enumerate() {
            // Looked at before the rings: what was written before the end is then there.
            if program.liveness.is_over() {
                ended.push(at);
            }
            let before = self.accumulator.acquisitions();
            let mut images = self.sources.values_mut().map(|source| &mut source.image);
            let image = images.find(|image| image.process == program.process);
            let (events, fullest) = program.drain(&mut self.session, &mut self.accumulator, Some(began), image);
            program.counted += self.accumulator.acquisitions() - before;
            tick.records += events;
            tick.fullest = tick.fullest.max(fullest);
        }
        for at in ended.into_iter().rev() {
            let program = self.programs.remove(at);
            self.close_program(program);
        }
    }

    /// Reads what programs wrote so far whose segment is about to be closed.
    pub(super) fn drain_programs_of(&mut self, image: &mut Image, began: u64) {
        let process = image.process;
        for program in self.programs.iter_mut().filter(|program| program.process == process) {
            let before = self.accumulator.acquisitions();
            let began = (!program.liveness.is_over()).then_some(began);
            program.drain(&mut self.session, &mut self.accumulator, began, Some(image));
            program.counted += self.accumulator.acquisitions() - before;
        }
    }

    /// Reads what is left of a program that will write no more, or of which no more is to be read.
    pub(super) fn close_program(&mut self, mut program: Program) {
        let before = self.accumulator.acquisitions();
        program.drain(&mut self.session, &mut self.accumulator, None, None);
        if program.liveness.is_over() {
            // Its circles are certain: nobody can break them any more.
            let hangs = program.hangs(true);
            if hangs.is_empty() {
                self.died_waiting.extend(program.waits(0));
            }
            self.session.hangs.extend(hangs);
        }
        for note in program.finish(&mut self.session, &mut self.accumulator) {
            self.note(note);
        }
        program.counted += self.accumulator.acquisitions() - before;
        self.acquisitions = self.acquisitions.saturating_add(program.counted).saturating_add(program.lost());
        self.data_addresses.extend(program.data_addresses.drain());
        self.patched.push((program.process, program.module.path, program.language));
        if let Liveness::Descriptor(process) = program.liveness {
            self.ended.push((program.process, process));
        }
    }
}
