//! The shim's list of the functions that it stands before, as whoever opens it in a running program finds it.

/// The symbol by which the shim exports a [`Functions`].
pub const SYMBOL: &str = "lockprof_functions";

/// Where the entries are, and what is where in each. `P` is a pointer: in the shim to an entry, outside a plain address.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Functions<P> {
    /// The first entry.
    pub first: P,
    /// How many there are.
    pub count: u32,
    /// Bytes from one to the next.
    pub bytes: u32,
    /// Where in an entry the address of the function's name is, which ends with a NUL; bytes.
    pub name: u32,
    /// Where the address of a version's name is; 0 there means the default version.
    pub version: u32,
    /// Where the word is that says what becomes of a call.
    pub how: u32,
    /// Where the address is at which a call goes on.
    pub at: u32,
    /// The value of that word for calls that are recorded.
    pub recorded: u32,
    /// Where the word is that says of which [`Family`](crate::Family) the function is.
    pub family: u32,
}
