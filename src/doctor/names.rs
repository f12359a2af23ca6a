//! Whether what is recorded gets the names of its functions and source lines.

use super::Finding;
use super::object::Object;
use crate::symbols::packages;

/// Of a program's own file.
pub fn of(object: &Object) -> Finding {
    if let Some(debug) = &object.debug {
        return Finding::ok(if *debug == object.path {
            "debug information is in the program".to_owned()
        } else {
            format!("debug information is in {}", debug.display())
        });
    }
    let (found, missing) = if object.has_symbols {
        (
            "it has symbols and no debug information",
            "source lines, inlined functions, and the names of locks that are members",
        )
    } else {
        (
            "it is stripped, and no debug information was found",
            "names of all functions but exported ones, and source lines",
        )
    };
    Finding::note(found).missing(missing).fix(packages::advice(&object.path, &object.build_id))
}
