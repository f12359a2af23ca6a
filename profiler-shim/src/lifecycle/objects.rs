//! Objects that are opened and closed while the program runs.
//!
//! `dlclose`: code goes away, and with it what was remembered of it. Another thread may open something else in the
//! same place at once. So everybody forgets before the call, and remembers nothing of what can go until it is over
//! (`tables::modules`).

use lockprof_wire::layout::note;

use crate::real::lookups;
use crate::state::process::attached;
use crate::sys::Undisturbed;

/// Closes an object by the real call.
pub fn closing<T>(real: impl FnOnce() -> T) -> T {
    let Some(process) = attached() else { return real() };
    let tables = &process.tables;
    tables.modules.begin_closing();
    process.locals.forget_code(tables);
    let answer = real();
    {
        // A signal handler that locks would wait for the inner lock for ever.
        let _undisturbed = Undisturbed::now();
        if let Some(_guard) = tables.allocating.lock() {
            tables.modules.forget_unloaded(tables);
        }
    }
    tables.modules.end_closing();
    answer
}

/// An object is about to be opened: what of it will not be recorded.
pub fn opening(in_new_namespace: bool, binds_deeply: bool) {
    if let Some(process) = attached() {
        if in_new_namespace {
            process.tables.note(note::NAMESPACE);
        } else if binds_deeply && lookups::some_pass() {
            process.tables.note(note::DEEPBIND);
        }
    }
}
