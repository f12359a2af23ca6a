//! The library that lockprof preloads: hooks, recorder, unwinder.
//!
//! It runs inside strangers' processes: no allocation, no std, no stdio, no locks of the program's kind,
//! no panics; memory comes from `mmap` only, system calls are made directly so that `errno` stays as it
//! was. On any trouble it becomes a pass-through and says so in the segment's header.
//!
//! As a workspace member this crate is an ordinary library, which tests can link. The root's `build.rs`
//! builds the preloaded library with `--cfg lockprof_preload`, which alone exports the hooks.

#![no_std]
// Tests run as ordinary programs.
#![cfg_attr(test, allow(clippy::disallowed_types, clippy::disallowed_methods, clippy::disallowed_macros))]
#![cfg_attr(not(lockprof_preload), allow(dead_code, reason = "only the preloaded build exports the hooks"))]
#![allow(clippy::missing_safety_doc, reason = "hooks have the contract of the function they stand for")]

#[cfg(not(all(target_os = "linux", target_arch = "x86_64")))]
compile_error!("lockprof records on x86-64 Linux only");

/// The folders of this crate and of the wire's, for whoever builds the preloaded library: it is compiled anew from there.
#[cfg(not(lockprof_preload))]
pub const SOURCES: [&str; 2] = [env!("CARGO_MANIFEST_DIR"), lockprof_wire::SOURCES];

mod interpose;
mod lifecycle;
mod probe;
mod real;
mod recorder;
mod state;
mod sys;
mod tables;
mod unwind;

// The core library was built with unwinding and names its personality, though nothing here ever unwinds.
#[cfg(lockprof_preload)]
core::arch::global_asm!(".hidden rust_eh_personality", ".globl rust_eh_personality", "rust_eh_personality: ud2");

#[cfg(lockprof_preload)]
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    sys::abort()
}
