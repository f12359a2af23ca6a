//! Where a built program's own code takes and gives back locks, for locks that are no library calls: inlined atomics in
//! front of a slow path, as compilers make them for Go and Rust.
//!
//! A way of small steps: [`image`] reads the file, a language's index tells which source functions an address belongs to,
//! the finder names the lock operations in the code, and a plan says how each could be patched. This room reads files that
//! were given to it as bytes and changes nothing: no process is touched here. The bytes are hostile input.

pub mod bytes;
mod code;
mod flow;
pub mod functions;
pub mod go;
pub mod image;
pub mod layout;
pub mod moved;
pub mod plan;
mod recorder;
pub mod rust;
mod stored;
pub mod table;
pub mod unwind;
