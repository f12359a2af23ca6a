//! Threads on their way from their creator to their first function.

use core::ffi::c_void;
use core::sync::atomic::{AtomicPtr, AtomicU32, AtomicU64, Ordering};

use crate::sys::{Ptr, filters};

/// What a new thread has to run. Valid when zero: free.
#[repr(C)]
pub struct Start {
    routine: AtomicPtr<c_void>,
    argument: AtomicPtr<c_void>,
    token: AtomicU32,
    /// System calls that a filter of the creator forbids, as `filters` has them.
    forbidden: AtomicU64,
}

/// What was kept in a [`Start`].
pub struct Taken {
    pub routine: Ptr,
    pub argument: Ptr,
    pub token: u32,
    pub forbidden: u64,
}

/// Threads that may be on their way at one time; more are started without the trampoline.
pub const STARTS: usize = 1024;

impl Start {
    /// Keeps them for a thread that is about to start.
    pub fn keep(starts: &'static [Self], routine: Ptr, argument: Ptr, token: u32) -> Option<Ptr> {
        let free = |start: &&Self| {
            // Acquire: the thread that freed it has read both.
            start.routine.compare_exchange(core::ptr::null_mut(), routine, Ordering::Acquire, Ordering::Relaxed).is_ok()
        };
        let start = starts.iter().find(free)?;
        start.argument.store(argument, Ordering::Relaxed);
        start.token.store(token, Ordering::Relaxed);
        start.forbidden.store(filters::inherited(), Ordering::Relaxed);
        Some(core::ptr::from_ref(start) as Ptr)
    }

    /// Gives them back and frees the place.
    ///
    /// # Safety
    /// The pointer is from [`Self::keep`], and was not given back.
    pub unsafe fn take(start: Ptr) -> Taken {
        // SAFETY: the pointer is from `keep`.
        let start = unsafe { &*start.cast::<Self>() };
        let routine = start.routine.load(Ordering::Relaxed);
        let argument = start.argument.load(Ordering::Relaxed);
        let (token, forbidden) = (start.token.load(Ordering::Relaxed), start.forbidden.load(Ordering::Relaxed));
        // Release: pairs with the Acquire in `keep`.
        start.routine.store(core::ptr::null_mut(), Ordering::Release);
        Taken { routine, argument, token, forbidden }
    }
}
