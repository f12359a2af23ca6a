//! System calls that a filter may forbid.

/// Makes a system call, or answers as the kernel would where a filter forbids it.
macro_rules! call {
    ($number:expr $(, $arg:expr)*) => {{
        let given: &[usize] = &[$($arg as usize),*];
        let mut args = [0usize; 6];
        let mut i = 0;
        while i < given.len() {
            args[i] = given[i];
            i += 1;
        }
        // A filter may end the program for a call that it forbids.
        const BIT: u64 = $crate::sys::filters::bit($number);
        if $crate::sys::filters::forbids(BIT) {
            $crate::sys::filters::refuse(BIT)
        } else {
            $crate::sys::raw::call6($number, args)
        }
    }};
}

pub(super) use call;
