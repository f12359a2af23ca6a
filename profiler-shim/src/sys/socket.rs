//! A connection to whoever follows the programs that are started.

use core::ffi::CStr;

use super::call::call;
use super::{close, read};
use lockprof_wire::number::*;

/// `sizeof(sockaddr_un.sun_path)`.
pub const PATH: usize = 108;

/// `struct sockaddr_un`.
#[repr(C)]
pub struct Address {
    family: u16,
    /// Ends with a NUL.
    pub path: [u8; PATH],
}

impl Address {
    /// Without a path.
    pub const fn new() -> Self {
        Self { family: AF_UNIX as u16, path: [0; PATH] }
    }
}

/// Connects to a socket; the descriptor, which an exec closes.
pub fn connect(address: &Address) -> Option<isize> {
    // SAFETY: no memory is involved.
    let fd = unsafe { call!(SOCKET, AF_UNIX, STREAM, 0) };
    if fd < 0 {
        return None;
    }
    // SAFETY: the kernel reads the address, which has the size that is given.
    if unsafe { call!(CONNECT, fd, &raw const *address, size_of::<Address>()) } < 0 {
        close(fd);
        return None;
    }
    Some(fd)
}

/// Sends bytes; whether some went.
pub fn send(fd: isize, bytes: &[u8]) -> bool {
    // SAFETY: the kernel reads `bytes`.
    unsafe { call!(SENDTO, fd, bytes.as_ptr(), bytes.len(), NO_SIGNAL, 0, 0) > 0 }
}

/// Sends a text, at most 4000 bytes of it.
pub fn send_text(fd: isize, text: &CStr) -> bool {
    let bytes = text.to_bytes();
    send(fd, bytes.get(..4000).unwrap_or(bytes))
}

/// Waits for a byte; `None` at the end of the connection.
pub fn wait(fd: isize) -> Option<u8> {
    const INTERRUPTED: isize = -4;
    let mut byte = [0u8; 1];
    loop {
        match read(fd, &mut byte) {
            INTERRUPTED => {}
            read => return (read > 0).then_some(byte[0]),
        }
    }
}
