//! Whoever follows the programs that are started, and may patch them.

use lockprof_wire::LEFT_ALONE;

use super::folder::FOLDER;
use super::own_locks;
use crate::sys;
use crate::sys::socket::{self, Address};

/// A connection to it, if there is one.
pub fn connect() -> Option<isize> {
    let mut address = Address::new();
    FOLDER.follow_path(&mut address.path).then(|| socket::connect(&address))?
}

/// Announces this program, which is about to run. Whether it is to be recorded: where nobody says otherwise it is.
pub fn wants_this() -> bool {
    let Some(connection) = connect() else { return true };
    // Its code is changed meanwhile, if it has locks of its own.
    let answer =
        if socket::send(connection, &own_locks::joint().announcement()) { socket::wait(connection) } else { None };
    sys::close(connection);
    answer != Some(LEFT_ALONE)
}
