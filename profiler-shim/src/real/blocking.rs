//! The calls that may block, by their numbers. Apart from the others: their hooks need no prototypes, each of them is
//! libc's or not by itself, and nobody looks them up past the hooks.

use core::sync::atomic::{AtomicPtr, AtomicU32};

use super::{Entry, Family, UNRESOLVED, terminated};

macro_rules! table {
    ($($function:ident as $name:ident,)*) => {
        #[allow(non_camel_case_types, clippy::upper_case_acronyms)]
        enum Index { $($function,)* Count }

        /// All of them.
        pub static CALLS: [Entry; Index::Count as usize] = [
            $(Entry {
                name: terminated(concat!(stringify!($function), "\0")),
                version: None,
                family: Family::Blocking,
                how: AtomicU32::new(UNRESOLVED),
                at: AtomicPtr::new(core::ptr::null_mut()),
            },)*
        ];

        /// Where each one's entry is, bytes from the beginning of [`CALLS`].
        #[allow(non_upper_case_globals)]
        pub mod place {
            use super::{Entry, Index};
            $(pub const $function: usize = Index::$function as usize * size_of::<Entry>();)*
        }
    };
}
lockprof_wire::blocking_calls!(table);

/// The number of one of them.
pub fn number(entry: &'static Entry) -> u32 {
    let bytes = core::ptr::from_ref(entry) as usize - core::ptr::from_ref(&CALLS[0]) as usize;
    (bytes / size_of::<Entry>()) as u32
}
