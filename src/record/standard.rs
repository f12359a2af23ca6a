//! Standard descriptors that this process was started without. Rust's runtime opens `/dev/null` in their place; the program
//! is to start without them, too: what it opens first gets such a number, and what it writes there fails.

use std::sync::atomic::{AtomicU8, Ordering};

/// Bit N: descriptor N was closed before Rust's runtime began.
static CLOSED: AtomicU8 = AtomicU8::new(0);

#[used]
#[unsafe(link_section = ".init_array")]
static AT_START: extern "C" fn() = look;

extern "C" fn look() {
    for descriptor in 0..3 {
        // SAFETY: asks for the descriptor's flags.
        if unsafe { libc::fcntl(descriptor, libc::F_GETFD) } < 0 {
            CLOSED.fetch_or(1 << descriptor, Ordering::Relaxed);
        }
    }
}

/// Closes those again that the program was not given by `but_for`. To be called in the child before exec.
pub fn close_again(but_for: &[i32]) {
    let closed = CLOSED.load(Ordering::Relaxed);
    for descriptor in (0..3).filter(|descriptor| closed >> descriptor & 1 != 0 && !but_for.contains(descriptor)) {
        // SAFETY: nobody else in the child has a use for it.
        unsafe { libc::close(descriptor) };
    }
}
