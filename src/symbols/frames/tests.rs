use std::path::Path;

use super::*;
use crate::model::{CodeAddress, Stacks};
use crate::symbols::elf;
use crate::symbols::testing::{Program, compile, tool};

const BANK: &str = r#"#include <pthread.h>
#include <stdlib.h>
struct account { long balance; pthread_mutex_t lock; };
static inline __attribute__((always_inline)) void deposit_locked(struct account *a, long n) {
    pthread_mutex_lock(&a->lock);
    a->balance += n;
    pthread_mutex_unlock(&a->lock);
}
static inline __attribute__((always_inline)) void deposit(struct account *a, long n) {
    deposit_locked(a, n);
}
__attribute__((noinline)) void transfer(struct account *a) {
    deposit(a, 5);
}
int main(int argc, char **argv) {
    struct account *a = calloc(1, sizeof *a);
    pthread_mutex_init(&a->lock, NULL);
    transfer(a);
    return argc > 9;
}
"#;

fn frames(program: &Program, function: &str) -> (Vec<u64>, Vec<Vec<Frame>>, Vec<String>) {
    let addresses = program.inside(function);
    let mut notes = Vec::new();
    let frames = resolve(&program.module(), &addresses, &Kept::default(), &mut notes);
    (addresses, frames, notes)
}

fn inlined_chain(frames: &[Vec<Frame>]) -> Option<&[Frame]> {
    frames.iter().map(Vec::as_slice).find(|frames| {
        let names: Vec<_> = frames.iter().map(|frame| frame.function.as_deref().unwrap_or("?")).collect();
        names == ["deposit_locked", "deposit", "transfer"] && frames[0].line == 5
    })
}

#[test]
fn inlined_calls_are_told_innermost_first() {
    for flags in [
        &["-g", "-O2"][..],
        &["-g", "-O2", "-gdwarf-4"],
        &["-g", "-O0"],
        &["-g", "-O2", "-gz"],
        &["-g", "-O2", "-static"],
    ] {
        let Some(program) = compile("bank.c", BANK, flags) else { continue };
        let (_, frames, notes) = frames(&program, "transfer");
        assert_eq!(notes, Vec::<String>::new());
        let chain = inlined_chain(&frames).unwrap_or_else(|| panic!("{flags:?}: {frames:?}"));
        let told: Vec<_> = chain.iter().map(|frame| (frame.line, frame.inlined)).collect();
        assert_eq!(told, [(5, true), (10, true), (13, false)], "{flags:?}");
        assert!(chain.iter().all(|frame| frame.file.as_deref().is_some_and(|file| file.ends_with("/bank.c"))));
    }
}

#[test]
fn frames_agree_with_addr2line() {
    let Some(program) = compile("bank.c", BANK, &["-g", "-O2"]) else { return };
    for function in ["transfer", "main"] {
        let (addresses, frames, _) = frames(&program, function);
        for (address, frames) in addresses.into_iter().zip(frames) {
            let call = format!("{:#x}", address - 1);
            let arguments = [Path::new("-ife"), &program.path, Path::new(&call)];
            let Some(text) = tool("addr2line", &arguments) else { return };
            let lines: Vec<&str> = text.lines().collect();
            let want: Vec<(String, u32)> = lines
                .chunks(2)
                .map(|pair| {
                    let line = pair[1].split(" (").next().and_then(|place| place.rsplit(':').next());
                    (pair[0].to_owned(), line.and_then(|line| line.parse().ok()).unwrap_or(0))
                })
                .collect();
            let got: Vec<(String, u32)> =
                frames.iter().map(|frame| (frame.function.clone().unwrap_or("??".into()), frame.line)).collect();
            assert_eq!(got, want, "{address:#x}");
        }
    }
}

#[test]
fn functions_without_linkage_names_are_told_whole() {
    let source = r#"#include <mutex>
namespace { std::mutex hidden; struct Worker {
    template <class T> __attribute__((noinline)) T run(T x) const { std::lock_guard<std::mutex> g(hidden); return x; }
}; }
template <class F> __attribute__((noinline)) int apply(F f) { return f(3); }
int main() { Worker w; return apply([&](int x) __attribute__((noinline)) { return (int)w.run<long>(x) + 1; }); }
"#;
    let Some(program) = compile("worker.cc", source, &["-g", "-O1", "-std=c++17"]) else { return };
    for (symbol, want) in [
        ("_ZNK12_GLOBAL__N_16Worker3runIlEET_S2_", "(anonymous namespace)::Worker::run<long>"),
        ("_ZZ4mainENKUliE_clEi", "main::{lambda(int)#1}::operator()"),
    ] {
        let (_, frames, notes) = frames(&program, symbol);
        assert_eq!(notes, Vec::<String>::new());
        let outer = frames[0].last().and_then(|frame| frame.function.as_deref());
        assert_eq!(outer, Some(want));
    }
}

#[test]
fn without_debug_information_the_symbol_table_answers() {
    let Some(program) = compile("bank.c", BANK, &["-O2"]) else { return };
    let (_, frames, notes) = frames(&program, "transfer");
    assert_eq!(notes, Vec::<String>::new());
    let function = Frame { function: Some("transfer".to_owned()), ..Frame::default() };
    assert!(frames.iter().all(|frames| *frames == [function.clone()]), "{frames:?}");
}

#[test]
fn stripped_code_stays_module_and_offset() {
    let Some(program) = compile("bank.c", BANK, &["-O2"]) else { return };
    let addresses = program.inside("transfer");
    if tool("strip", &[&program.path]).is_none() {
        return;
    }
    let frames = resolve(&program.module(), &addresses, &Kept::default(), &mut Vec::new());
    assert!(frames.iter().all(|frames| *frames == [Frame::default()]), "{frames:?}");
}

#[test]
fn a_debug_link_is_followed() {
    let Some(program) = compile("bank.c", BANK, &["-g", "-O2"]) else { return };
    let addresses = program.inside("transfer");
    let debug = program.folder.path().join("bank.debug");
    let link = format!("--add-gnu-debuglink={}", debug.display());
    if tool("objcopy", &[Path::new("--only-keep-debug"), &program.path, &debug]).is_none()
        || tool("strip", &[&program.path]).is_none()
        || tool("objcopy", &[Path::new(&link), &program.path]).is_none()
    {
        return;
    }
    let mut notes = Vec::new();
    let frames = resolve(&program.module(), &addresses, &Kept::default(), &mut notes);
    assert_eq!(notes, Vec::<String>::new());
    assert!(inlined_chain(&frames).is_some(), "{frames:?}");
}

#[test]
fn a_debug_file_is_found_by_build_id() {
    let Some(program) = compile("bank.c", BANK, &["-g", "-O2", "-Wl,--build-id=sha1"]) else { return };
    let addresses = program.inside("transfer");
    let module = program.module();
    let hex: String = module.build_id.iter().map(|byte| format!("{byte:02x}")).collect();
    let folder = program.folder.path().join("debug/.build-id").join(&hex[..2]);
    std::fs::create_dir_all(&folder).expect("a folder");
    let debug = folder.join(format!("{}.debug", &hex[2..]));
    if tool("objcopy", &[Path::new("--only-keep-debug"), &program.path, &debug]).is_none()
        || tool("strip", &[&program.path]).is_none()
    {
        return;
    }
    let folders = [program.folder.path().join("debug")];
    let ask = || {
        let located = elf::locate_in(&module, &folders).expect("usable").expect("a file");
        let mut found = vec![Vec::new(); addresses.len()];
        let mut notes = Vec::new();
        resolve_located(&located, &addresses, &mut found, &mut notes);
        assert_eq!(notes, Vec::<String>::new());
        found
    };
    assert!(inlined_chain(&ask()).is_some());
    // The program was replaced meanwhile: its debug file still is the right one.
    std::fs::write(&program.path, b"something else").expect("writable");
    assert!(inlined_chain(&ask()).is_some());
}

#[test]
fn another_build_is_not_believed() {
    let Some(program) = compile("bank.c", BANK, &["-g", "-O2"]) else { return };
    let mut module = program.module();
    module.build_id = vec![7; 20];
    let mut notes = Vec::new();
    let frames = resolve(&module, &program.inside("transfer"), &Kept::default(), &mut notes);
    assert!(frames.iter().all(|frames| *frames == [Frame::default()]));
    assert_eq!(notes.len(), 1);
    assert!(notes[0].contains("build-id"), "{notes:?}");
}

#[test]
fn damaged_files_become_notes() {
    let Some(program) = compile("bank.c", BANK, &["-g", "-O2"]) else { return };
    let addresses = program.inside("transfer");
    let whole = std::fs::read(&program.path).expect("readable");
    let module = Module { path: program.path.display().to_string(), build_id: Vec::new() };
    for cut in [0, 3, 20, 64, 1000, whole.len() / 2, whole.len() - 1] {
        std::fs::write(&program.path, &whole[..cut]).expect("writable");
        let mut notes = Vec::new();
        let frames = resolve(&module, &addresses, &Kept::default(), &mut notes);
        assert!(frames.iter().all(|frames| !frames.is_empty()));
        assert!(!notes.is_empty(), "cut at {cut}");
    }
    for seed in 1..60u64 {
        let mut bad = whole.clone();
        for round in 0..40u64 {
            let at = (seed * 7919 + round * 104_729).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 20;
            let length = bad.len();
            bad[at as usize % length] ^= (at >> 8) as u8 | 1;
        }
        std::fs::write(&program.path, &bad).expect("writable");
        let frames = resolve(&module, &addresses, &Kept::default(), &mut Vec::new());
        assert!(frames.iter().all(|frames| !frames.is_empty()));
    }
}

#[test]
fn a_missing_file_is_a_note_and_the_vdso_is_not() {
    let mut session = Session::default();
    for (path, address) in [("/nonexistent/app", 0x1234), ("[vdso]", 0x700), ("/nonexistent/app", 0x99)] {
        let module = Module { path: path.to_owned(), build_id: Vec::new() };
        let module = Some(session.stacks.intern_module(&module));
        session.stacks.intern(Stacks::UNKNOWN, CodeAddress { module, address });
    }
    session.stacks.intern(Stacks::UNKNOWN, CodeAddress { module: None, address: 0x7f00_0000_0000 });
    let notes = symbolize(&mut session, &Kept::default());
    assert_eq!(notes.len(), 1, "{notes:?}");
    for index in 1..session.stacks.len() {
        assert_eq!(session.stacks.node(StackId::from(index)).frames[..], [Frame::default()]);
    }
}

#[test]
fn a_session_is_named_once_and_keeps_what_it_has() {
    let Some(program) = compile("bank.c", BANK, &["-g", "-O2"]) else { return };
    let mut session = Session::default();
    let module = Some(session.stacks.intern_module(&program.module()));
    let main = program.inside("main")[0];
    let outer = session.stacks.intern(Stacks::UNKNOWN, CodeAddress { module, address: main });
    let inner = session.stacks.intern(outer, CodeAddress { module, address: main });
    let kept = Frame { function: Some("told by the trace".to_owned()), ..Frame::default() };
    session.stacks.node_mut(inner).frames = vec![kept.clone()].into();
    assert_eq!(symbolize(&mut session, &Kept::default()), Vec::<String>::new());
    assert_eq!(session.stacks.node(outer).frames[0].function.as_deref(), Some("main"));
    assert_eq!(session.stacks.node(inner).frames[..], [kept]);
}
