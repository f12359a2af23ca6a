//! What the words of glibc's locks say. Their layout is public ABI: programs have them in their own memory, and
//! initialise them without a call.

use lockprof_wire::lock::kind;

use crate::probe::LockState;
use crate::sys::Ptr;
use crate::tables::locks::{NO_ELISION, PECULIAR, RECURSIVE, ROBUST, UNTAGGED, WRITERS_FIRST};
use crate::tables::object_marker;

/// What is unusual about a lock, by its own words (glibc's layout, which is public ABI).
///
/// # Safety
/// `object` points to a lock of this kind.
pub unsafe fn traits_of(object: Ptr, kind: u8) -> u64 {
    let bit = |is: bool, bit: u64| if is { bit } else { 0 };
    // SAFETY: the caller's contract.
    unsafe {
        match kind {
            kind::MUTEX => mutex_traits(object),
            kind::RWLOCK => {
                const PREFER_WRITER_NONRECURSIVE: u32 = 2;
                // `__data.__shared` and `__data.__flags`.
                let (shared, flags) = (object.cast::<u32>().add(7).read(), object.cast::<u32>().add(12).read());
                bit(flags == PREFER_WRITER_NONRECURSIVE, WRITERS_FIRST)
                    | bit(!object_marker::may_have(kind, false, shared != 0), UNTAGGED)
            }
            _ => 0,
        }
    }
}

/// The same for a mutex, by `__data.__kind` (byte 16): the low two bits are 0 plain, 1 recursive,
/// 2 error-checking, 3 adaptive; bit 4 is robust, bit 7 process-shared, bit 9 forbids lock elision.
///
/// # Safety
/// `mutex` points to a mutex.
unsafe fn mutex_traits(mutex: Ptr) -> u64 {
    const SHARED: u32 = 128;
    // SAFETY: the caller's contract.
    let kind = unsafe { mutex.cast::<u32>().add(4).read() };
    let bit = |is: bool, bit: u64| if is { bit } else { 0 };
    let robust = kind & 16 != 0;
    bit(kind & 3 == 1, RECURSIVE)
        | bit(robust, ROBUST)
        | bit(kind & !(SHARED | NO_ELISION) != 0, PECULIAR)
        | bit(!object_marker::may_have(kind::MUTEX, robust, kind & SHARED != 0), UNTAGGED)
}

/// Reads a lock's own words (glibc's layout, which is public ABI).
///
/// # Safety
/// `lock` points to a lock of this kind.
pub unsafe fn state_of(lock: Ptr, kind: u8) -> LockState {
    // SAFETY: the object is one of this kind.
    let word = |number: usize| unsafe { lock.cast::<u32>().add(number).read_volatile() };
    match kind {
        kind::MUTEX => {
            // Plain, recursive, error-checking, adaptive; in the others the first word has more in it, or more
            // than one process uses it.
            let (state, owner, kind) = (word(0), word(2), word(4) & !NO_ELISION);
            match (kind, state) {
                (0..=3, 0) => LockState::Free,
                // The owner is written behind the state and wiped before it.
                (0..=3, _) if owner != 0 => LockState::HeldBy(owner),
                _ => LockState::Unclear,
            }
        }
        kind::RWLOCK => {
            const WRITER_HAS_IT: u32 = 2;
            const READERS: u32 = 3;
            let (readers, writer, shared) = (word(0), word(6), word(7));
            match (shared, readers >> READERS, readers & WRITER_HAS_IT) {
                (0, 0, 0) => LockState::Free,
                (0, ..) => LockState::HeldBy(writer),
                _ => LockState::Unclear,
            }
        }
        kind::SPINLOCK => {
            if word(0) == 1 {
                LockState::Free
            } else {
                LockState::HeldBy(0)
            }
        }
        _ => LockState::Unclear,
    }
}

/// Whether an unlock of this mutex succeeds whoever holds it: plain and adaptive ones do not look.
///
/// # Safety
/// `mutex` points to a mutex.
pub unsafe fn unlocks_anyones(mutex: Ptr) -> bool {
    const PLAIN: u32 = 0;
    const ADAPTIVE: u32 = 3;
    // SAFETY: the object is a mutex (glibc's layout, as in `state_of`).
    let kind = unsafe { mutex.cast::<u32>().add(4).read_volatile() } & !NO_ELISION;
    matches!(kind, PLAIN | ADAPTIVE)
}

/// Whether a lock's own word says that it is held (glibc's layout, which is public ABI): what stands for
/// a try where there is none.
///
/// # Safety
/// `object` points to a lock of this kind.
pub unsafe fn looks_taken(object: Ptr, kind: u8) -> bool {
    const OWNER_DIED: u32 = 1 << 30;
    // SAFETY: the object is one of the kind.
    let word = unsafe { object.cast::<u32>().read_volatile() };
    match kind {
        kind::SPINLOCK => word != 1,
        kind::MUTEX => word != 0 && word & OWNER_DIED == 0,
        kind::SEMAPHORE => word == 0,
        _ => word != 0,
    }
}

/// The kernel's id of the thread that has a lock by its own words; 0 if they do not say.
///
/// # Safety
/// `object` points to a lock of this kind.
pub unsafe fn owner_of(object: Ptr, kind: u8) -> u32 {
    // `__data.__owner` of a mutex, `__data.__cur_writer` of a read-write lock.
    let word = match kind {
        kind::MUTEX => 2,
        kind::RWLOCK => 6,
        _ => return 0,
    };
    // SAFETY: the caller's contract.
    unsafe { object.cast::<u32>().add(word).read_volatile() }
}
