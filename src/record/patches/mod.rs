//! Changes to the code of a program that runs: jumps that are written while all its threads are stopped, and taken back.
//!
//! What is changed, and where the room for the code is that they lead to, stands in that room: another `lockprof` finds it there.
//! Each jump is right by itself, so it does no harm if `lockprof` is killed between two of them.

mod note;
mod stopped;

use std::fs::File;
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow, bail};

pub(super) use self::note::{Note, Row};
pub(super) use self::stopped::Go;
use self::stopped::{InTheWay, is_free, is_on_no_stack};
use super::inject::enter::LONGEST;
use super::inject::hurry::Hurry;
use super::inject::target::Target;
use crate::ingest::freeze::{Frozen, Late};
use crate::ingest::procfs;
use crate::ingest::stop;

/// The room in a running program, and the jumps that lead there, written or not.
pub(super) struct Patches {
    /// The program.
    pub target: Target,
    /// Where the room is.
    pub room: u64,
    /// What stands in it.
    pub note: Note,
    /// The jumps; those of a signals' handler first.
    pub rows: Vec<Row>,
    /// How its goroutines are found, if it is a Go program.
    pub go: Option<Go>,
    /// Places between instructions that are replaced, sorted.
    pub inner: Vec<u64>,
    late: Late,
    /// The memory that both have.
    pub file: Option<File>,
    /// Where the code was put that mapped the room, in the unused rest of a file's page.
    pub entered: Option<u64>,
}

impl Patches {
    /// Jumps that are not written yet.
    pub fn new(target: Target, room: u64, note: Note, mut rows: Vec<Row>) -> Self {
        rows.sort_by_key(|row| !row.is_of_signals);
        Self { target, room, note, rows, go: None, inner: Vec::new(), late: Late::default(), file: None, entered: None }
    }

    /// What is left of a `lockprof` that was there before; it is undone where that was killed.
    ///
    /// # Errors
    /// Where another one is at work, or it cannot be undone.
    pub fn left_by_another(pid: u32, go: Option<&Go>) -> anyhow::Result<Option<(u64, Note)>> {
        let Some(mut left) = Self::of(pid)? else { return Ok(None) };
        if let Some(recorder) = lives(left.note.recorder).filter(|_| !left.note.is_clean) {
            bail!("process {pid} is being recorded by another lockprof already (process {recorder})");
        }
        left.go = go.cloned();
        if !left.note.is_clean {
            left.leave().context("what a lockprof that was killed has left cannot be undone")?;
        }
        Ok(Some((left.room, left.note)))
    }

    /// Undoes what a `lockprof` that was killed has left, if that has nothing to do with Go's handler of signals.
    ///
    /// # Errors
    /// Where it cannot be undone.
    pub fn undo_left(pid: u32) -> anyhow::Result<()> {
        let left = Self::of(pid)?.filter(|left| !left.note.is_clean && left.note.signals_word == 0);
        let left = left.filter(|left| lives(left.note.recorder).is_none());
        left.map_or(Ok(()), |mut left| left.leave().map(drop))
    }

    /// What a process has of it; `None` where it has nothing.
    ///
    /// # Errors
    /// Where it may not be touched.
    pub fn of(pid: u32) -> anyhow::Result<Option<Self>> {
        let target = Target::open(pid)?;
        let Some((room, note)) = Note::find(&target, &target.mappings()?) else { return Ok(None) };
        let rows = note.read_rows(&target)?;
        Ok(Some(Self::new(target, room, note, rows)))
    }

    /// How many goroutines there are, if it is a Go program.
    pub fn goroutines(&self) -> Option<u64> {
        self.go.as_ref().map(|go| go.count(&self.target))
    }

    /// Writes the jumps. How long its threads were stopped for that.
    ///
    /// # Errors
    /// Where it cannot be stopped where it has to be, again and again; it is as it was then.
    pub fn put(&mut self) -> anyhow::Result<Duration> {
        const TRIES: u32 = 100;
        let mut why = None;
        for _ in 0..TRIES {
            let (done, stopped) = self.try_to_put();
            match done? {
                Ok(()) => return Ok(stopped),
                Err(in_the_way) => why = in_the_way,
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        Err(self.in_the_way(why))
    }

    fn try_to_put(&mut self) -> (anyhow::Result<Result<(), Option<InTheWay>>>, Duration) {
        let Self { target, note, rows, go, inner, late, entered, .. } = self;
        let mappings = target.mappings().unwrap_or_default();
        let hurry = Hurry::begin();
        let began = Instant::now();
        let frozen = late.freeze_patiently(target.pid);
        let done = match &frozen {
            None => Ok(Err(None)),
            Some(frozen) => match is_free(target, (frozen, &mappings), go.as_ref(), (inner, &note.code)) {
                Ok(()) => {
                    clear(target, frozen, entered);
                    write(target, note, rows).map(Ok)
                }
                Err(why) => Ok(Err(Some(why))),
            },
        };
        drop(frozen);
        drop(hurry);
        (done, began.elapsed())
    }

    fn in_the_way(&self, why: Option<InTheWay>) -> anyhow::Error {
        let pid = self.target.pid;
        match why {
            None => anyhow!("process {pid} cannot be stopped: {}", self.late.why_not(pid)),
            Some(InTheWay::Between) => {
                anyhow!("process {pid}: its threads are in code that has to be changed, again and again: try again")
            }
            Some(InTheWay::Inside) => anyhow!("process {pid}: its threads handle signals, again and again: try again"),
            Some(InTheWay::Unknown) => {
                anyhow!("process {pid} has too many goroutines to look at all of them while it is stopped")
            }
        }
    }

    /// Puts the program's code back as it was. How long its threads were stopped for that.
    ///
    /// # Errors
    /// Where it cannot be stopped, or a thread may be in the recorder still; what is left then is harmless.
    pub fn leave(&mut self) -> anyhow::Result<Duration> {
        const TRIES: u32 = 100;
        /// Once all leads past the recorder, its last threads are waited for so often.
        const TRIES_FOR_THE_LAST: u32 = 20;
        // Jumps that stay: nobody is to be on one, so that it can be written again.
        let mut pads: Vec<u64> = self.rows.iter().filter(|row| row.with == row.without).map(|row| row.at).collect();
        pads.sort_unstable();
        let (mut left, mut is_back, mut longest) = (TRIES, false, Duration::ZERO);
        while left > 0 {
            left -= 1;
            let mappings = self.target.mappings().unwrap_or_default();
            let hurry = Hurry::begin();
            let began = Instant::now();
            let frozen = self.late.freeze_patiently(self.target.pid);
            if let Some(frozen) = &frozen {
                let is_other = |row: &&Row| !row.is_of_signals;
                // In the reverse order, so that what is left is right at any moment.
                restore(&self.target, self.rows.iter().rev().filter(is_other))?;
                left = if is_back { left } else { TRIES_FOR_THE_LAST };
                is_back = true;
                let code = &self.note.code;
                if is_free(&self.target, (frozen, &mappings), self.go.as_ref(), (&pads, code)).is_ok() {
                    if self.note.signals_word != 0 {
                        self.target.write(self.note.signals_word, &[0; 8])?;
                    }
                    restore(&self.target, self.rows.iter().rev())?;
                    self.target.write(self.note.rings_word, &[0; 8])?;
                    self.note.is_clean = true;
                }
            }
            drop(frozen);
            drop(hurry);
            longest = longest.max(began.elapsed());
            if self.note.is_clean {
                self.note.write(&self.target, self.room)?;
                return self.check_restored().map(|()| longest);
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        if is_back {
            self.check_restored()?;
            return Ok(longest);
        }
        Err(self.in_the_way(None))
    }

    /// Whether each byte is as before.
    fn check_restored(&self) -> anyhow::Result<()> {
        let is_back = |row: &Row| self.target.bytes(row.at, row.without.len()).is_ok_and(|is| is == row.without);
        let wrong = self.rows.iter().filter(|row| !is_back(row)).count();
        if wrong > 0 {
            bail!(
                "process {}: {wrong} of {} places still lead to the recorder, which records nothing any more: some nanoseconds \
                 each",
                self.target.pid,
                self.rows.len()
            );
        }
        Ok(())
    }

    /// Whether it was left: nothing leads to it, and no thread is in it.
    pub fn is_left(&self) -> bool {
        self.note.is_clean
    }

    /// Gives the memory of the rings back, once all was read.
    pub fn release(&self) {
        let Some(file) = self.file.as_ref().filter(|_| self.note.is_clean) else { return };
        let flags = libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_KEEP_SIZE;
        // SAFETY: the descriptor is open. Where the kernel cannot, the memory stays until the program ends.
        unsafe { libc::fallocate(file.as_raw_fd(), flags, 0, self.note.rings.1 as libc::off_t) };
    }
}

/// Takes the code away that mapped the room, if the thread has left it.
fn clear(target: &Target, frozen: &Frozen<'_>, entered: &mut Option<u64>) {
    let Some(at) = *entered else { return };
    let code = at..at + LONGEST;
    let is_outside = |tid| stop::registers(tid).is_none_or(|registers| !code.contains(&registers.rip));
    // Nor does a handler of signals come back there.
    let is_back = is_on_no_stack(target, frozen, &code);
    if frozen.threads().all(is_outside) && is_back && target.write(at, &[0; LONGEST as usize]).is_ok() {
        *entered = None;
    }
}

/// Writes all jumps. It is undone where one cannot be written.
fn write(target: &Target, note: &Note, rows: &[Row]) -> anyhow::Result<()> {
    let signals = rows.iter().take_while(|row| row.is_of_signals).count();
    for (at, row) in rows.iter().enumerate() {
        // No thread is in the handler: from here on it hides trampolines.
        let switched = if at == signals && note.signals_word != 0 {
            target.write(note.signals_word, &1u64.to_ne_bytes())
        } else {
            Ok(())
        };
        if let Err(error) = switched.and_then(|()| target.write(row.at, &row.with)) {
            restore(target, rows[..=at].iter().rev())?;
            return Err(error).context(format!("process {}: its code cannot be written", target.pid));
        }
    }
    Ok(())
}

/// Puts old bytes back where new ones are.
fn restore<'a>(target: &Target, rows: impl Iterator<Item = &'a Row>) -> anyhow::Result<()> {
    for row in rows {
        let mut is = [0; 16];
        let is = &mut is[..row.with.len()];
        target.read(row.at, is)?;
        if is == row.with {
            target.write(row.at, &row.without)?;
        }
    }
    Ok(())
}

/// This process: its number, and when it was started.
pub(super) fn recorder() -> (u64, u64) {
    let pid = std::process::id();
    (pid.into(), procfs::started(&procfs::folder(pid)).unwrap_or(0))
}

/// The recorder, if it lives and is not this one.
fn lives((pid, start): (u64, u64)) -> Option<u32> {
    let pid = u32::try_from(pid).ok().filter(|pid| *pid != std::process::id())?;
    (procfs::started(&procfs::folder(pid))? == start).then_some(pid)
}
