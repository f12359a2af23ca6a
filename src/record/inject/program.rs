//! Has a program open the library by itself, where no thread of it ever waits in the kernel.
//!
//! The entries of some of libc's lock functions lead to gates for a moment. The first thread that passes one, and was called
//! by code that is neither libc's, nor the loader's, nor an allocator's, holds no lock of these: it opens the library as if it
//! called `dlopen` there, and goes on. All others go on at once. Then the entries are put back.

use std::ops::Range;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use iced_x86::IcedError;
use iced_x86::code_asm::{CodeAssembler, dword_ptr, eax, r10, r11d, rax};

use super::boot::{self, Orders};
use super::detour::{self, Plan};
use super::enter::{self, Order};
use super::library::Exports;
use super::target::Target;
use super::{Source, own_code};
use crate::ingest::mappings::Mapping;
use crate::record::patches::{Note, Patches, Row, recorder};
use crate::sites::image::Image;

/// Functions that are called where no lock of libc's is held. None of them may be called by a signal's handler.
const FUNCTIONS: [&str; 9] = [
    "pthread_mutex_lock",
    "pthread_mutex_trylock",
    "pthread_mutex_unlock",
    "pthread_rwlock_rdlock",
    "pthread_rwlock_wrlock",
    "pthread_rwlock_unlock",
    "pthread_cond_signal",
    "pthread_cond_broadcast",
    "pthread_once",
];
const PAGE: u64 = 4096;
const CODE_BYTES: u64 = 6 * PAGE;
/// Bytes of the room: a note, code that maps memory, the gates, a word, the rows.
pub const ROOM: u64 = enter::CODE + PAGE + CODE_BYTES + 2 * PAGE;
const DATA: u64 = ROOM - 2 * PAGE;

/// What leads to the gates.
pub struct Gates {
    patches: Patches,
    /// Not 0: a thread has passed one, or none is to do so any more.
    word: u64,
}

impl Gates {
    /// Makes them. `orders`: for the code that opens the library, but where it goes on; `room`: where they are.
    ///
    /// # Errors
    /// Where that cannot be; the program is as it was then.
    pub fn make(
        target: Target,
        mappings: &[Mapping],
        (libc, source): (&Mapping, Source<'_>),
        orders: &Orders,
        room: u64,
    ) -> anyhow::Result<Self> {
        let pid = target.pid;
        let mut own = own_code(mappings, libc);
        own.extend(allocators(&target, mappings, libc));
        let (data, code_at) = (room + DATA, room + enter::CODE + PAGE);
        let order = Order { room, bytes: ROOM, data, wiped: (data, 0), known: None, shared: PAGE };
        let entered = enter::tail(&target, mappings)?;
        let brought = enter::bring(&target, &order, entered)?;
        let (mut code, mut rows, mut pads, mut inner) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for name in FUNCTIONS {
            let Some(real) = source.exports.find(name) else { continue };
            let Ok(plan) = Plan::of(source.image, source.functions, (real.address, real.size), &pads) else { continue };
            let at = code_at + code.len() as u64;
            let (pieces, gate) = pieces(&plan, source.bias, at, &own, (orders, data))?;
            let (with, pad) = detour::jumps(&plan, source.bias, at);
            let without = source.image.code(plan.entry, plan.entry + with.len() as u64).context("its code")?.to_vec();
            let entry = plan.entry.wrapping_add(source.bias);
            if target.bytes(entry, with.len())? != without {
                bail!("process {pid}: another tool has changed {name} in it: that one has to be taken out first");
            }
            if let (Some(padding), Some(jump)) = (plan.padding, pad) {
                let at = padding.wrapping_add(source.bias);
                target.write(at, &jump)?;
                pads.push(padding);
                // It stays, and is to be written again when nobody is there.
                rows.push(Row { at, without: jump.clone(), with: jump, is_of_signals: false });
            }
            code.extend(gate);
            code.resize(code.len().next_multiple_of(16), 0xcc);
            inner.extend(pieces);
            rows.push(Row { at: entry, without, with, is_of_signals: false });
        }
        if rows.is_empty() || code.len() as u64 > CODE_BYTES {
            bail!("process {pid}: its C library is not known");
        }
        target.write(code_at, &code)?;
        let note = Note {
            bytes: ROOM,
            code: room + enter::CODE..code_at + code.len() as u64,
            data,
            rows: data + PAGE,
            count: rows.len() as u64,
            rings: (brought.shared, PAGE),
            rings_word: data + 8,
            signals_word: 0,
            is_clean: false,
            recorder: recorder(),
        };
        note.write_rows(&target, &rows)?;
        note.write(&target, room)?;
        let mut patches = Patches::new(target, room, note, rows);
        inner.sort_unstable();
        (patches.inner, patches.entered) = (inner, Some(entered));
        Ok(Self { patches, word: data })
    }

    /// Leads calls to them, and waits until a thread has come. `has_come`: whether it has.
    ///
    /// # Errors
    /// Where none comes; the entries are as before.
    pub fn open(&mut self, has_come: impl Fn() -> bool) -> anyhow::Result<()> {
        const PATIENCE: Duration = Duration::from_secs(3);
        let pid = self.patches.target.pid;
        self.patches.put()?;
        let began = Instant::now();
        while began.elapsed() < PATIENCE {
            if has_come() {
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        self.close()?;
        // It may have come at the last moment.
        let passed = self.patches.target.word(self.word)? & u64::from(u32::MAX);
        if passed == 1 && has_come() {
            return Ok(());
        }
        bail!(
            "process {pid}: no thread of it waits for anything where the recorder could be brought in safely, and none takes a \
             lock: try again, or start it by `lockprof run`"
        )
    }

    /// Puts the entries back.
    ///
    /// # Errors
    /// Where the program cannot be stopped.
    pub fn close(&mut self) -> anyhow::Result<()> {
        self.patches.leave()?;
        if !self.patches.is_left() {
            bail!("process {}: a thread may still be where it opened the recorder: try again", self.patches.target.pid);
        }
        Ok(())
    }
}

impl Drop for Gates {
    fn drop(&mut self) {
        // Others find the room by this; nobody needs it any more.
        if self.patches.is_left() {
            let _ = self.patches.target.write(self.patches.room, &[0; 8]);
        }
    }
}

/// The code of one function's gate, and the places between instructions that it replaces. `open`: what the thread does that
/// comes first, and where the word is that tells.
fn pieces(
    plan: &Plan,
    bias: u64,
    at: u64,
    own: &[Range<u64>],
    (orders, word): (&Orders, u64),
) -> anyhow::Result<(Vec<u64>, Vec<u8>)> {
    // How long they are does not depend on where the gate is.
    let first = plan.pieces(bias, at, at, own)?;
    let past = at + (first.stub.len() as u64).next_multiple_of(16);
    let gate = (past + first.past.len() as u64).next_multiple_of(16);
    let pieces = plan.pieces(bias, at, gate, own)?;
    let mut code = pieces.stub;
    code.resize((past - at) as usize, 0xcc);
    code.extend(pieces.past);
    code.resize((gate - at) as usize, 0xcc);
    let opens = (gate + gate_code(gate, past, gate, word)?.len() as u64).next_multiple_of(16);
    code.extend(gate_code(gate, past, opens, word)?);
    code.resize((opens - at) as usize, 0xcc);
    code.extend(boot::code(&Orders { back: past, call: 0, ..*orders }));
    Ok((pieces.inner.into_iter().map(|(from, _)| from).collect(), code))
}

/// The first who comes goes to `opens`, all others on to `past`. Registers that a function may change are changed.
fn gate_code(at: u64, past: u64, opens: u64, word: u64) -> Result<Vec<u8>, IcedError> {
    let mut code = CodeAssembler::new(64)?;
    let mut first = code.create_label();
    code.push(rax)?;
    code.xor(eax, eax)?;
    code.mov(r11d, 1)?;
    code.mov(r10, word)?;
    code.lock().cmpxchg(dword_ptr(r10), r11d)?;
    code.pop(rax)?;
    code.je(first)?;
    code.jmp(past)?;
    code.set_label(&mut first)?;
    code.jmp(opens)?;
    let mut bytes = code.assemble(at)?;
    // Jumps near and far are as long.
    bytes.resize(64, 0xcc);
    Ok(bytes)
}

/// Code of objects that bring an allocator of their own: the loader would call it, and it may hold its locks.
fn allocators(target: &Target, mappings: &[Mapping], libc: &Mapping) -> Vec<Range<u64>> {
    let firsts = mappings.iter().filter(|it| it.offset == 0 && it.path.starts_with('/') && it.path != libc.path);
    let has_one = |it: &&Mapping| {
        let Ok(file) = target.file(it) else { return false };
        Image::parse(&file).is_ok_and(|image| Exports::read(&file, &image).find("malloc").is_some())
    };
    let is_loader = |it: &Mapping| it.file_name().starts_with("ld-");
    let found: Vec<&str> = firsts.filter(|it| !is_loader(it)).filter(has_one).map(|it| it.path.as_str()).collect();
    let code = mappings.iter().filter(|it| it.executable && found.contains(&it.path.as_str()));
    code.map(|it| it.range.clone()).collect()
}

/// Whether a thread whose stack begins there is in no signal's handler: what that interrupted may hold any lock.
pub fn is_in_no_handler(target: &Target, mappings: &[Mapping], stack: u64) -> bool {
    /// More of a stack is not looked at, bytes.
    const MOST: u64 = 256 << 10;
    /// `mov rax, 15; syscall`: to what a handler returns (`rt_sigreturn`).
    const RETURN: [u8; 9] = [0x48, 0xc7, 0xc0, 0x0f, 0, 0, 0, 0x0f, 0x05];
    let Some(mapping) = mappings.iter().find(|it| it.range.contains(&stack)) else { return false };
    let end = mapping.range.end.min(stack.saturating_add(MOST));
    let Ok(bytes) = target.bytes(stack & !7, (end - (stack & !7)) as usize) else { return false };
    let (words, _) = bytes.as_chunks::<8>();
    let is_code = |word: &u64| mappings.iter().any(|it| it.executable && it.range.contains(word));
    let mut places = words.iter().map(|word| u64::from_ne_bytes(*word)).filter(is_code);
    let returns = |place: u64| target.bytes(place, RETURN.len()).is_ok_and(|code| code == RETURN);
    !places.any(returns)
}
