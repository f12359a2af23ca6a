//! Rust: the locks of `std::sync` and `parking_lot`, whose operations are inlined atomics in front of a slow path that is a
//! function of its own ([design](../../docs/design/rust.md)).

mod atomics;
mod finder;
pub mod layout;
pub mod names;
pub mod operations;
mod parking;
pub mod plan;
pub mod recipe;
pub mod recorder;
mod search;
mod shapes;
pub mod sites;
pub mod trampoline;

pub use names::path;
