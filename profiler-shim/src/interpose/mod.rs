//! The functions of libc that the shim stands before: one file per primitive, each a few lines over `acquire`, `release`
//! and `operate`, which report to the recorder through `probe`.
//!
//! A hook that records a stack is a tiny naked function: it leaves the caller's rbp below the return
//! address, hands on its own stack pointer as one more argument and jumps to the Rust function, which
//! pushes rbp to the very same place. So the caller's frame is known exactly at no cost.

mod acquire;
mod barrier;
mod blocking;
mod c11;
mod cond;
mod dl;
mod exec;
mod exit;
mod filter;
mod glibc;
mod guard;
mod mutex;
mod name;
mod objects;
mod once;
mod operate;
mod outcome;
mod registers;
mod release;
mod rwlock;
mod sanitizer;
mod sem;
mod spin;
mod thread;
mod unwound;

/// The register of the argument that comes behind so many others.
macro_rules! next_register {
    () => {
        "rdi"
    };
    ($a:ident) => {
        "rsi"
    };
    ($a:ident $b:ident) => {
        "rdx"
    };
    ($a:ident $b:ident $c:ident) => {
        "rcx"
    };
    ($a:ident $b:ident $c:ident $d:ident) => {
        "r8"
    };
    ($a:ident $b:ident $c:ident $d:ident $e:ident) => {
        "r9"
    };
}

/// The code of a hook: while the shim is asleep, and where the function behind is none of libc's, the call goes on to that
/// function exactly as it came; else the instructions given here lead to `body`.
macro_rules! stub {
    ($name:ident, $body:ident, $($then:expr),* $(,)?) => {
        ::core::arch::naked_asm!(
            ".cfi_startproc",
            "endbr64",
            "2:",
            "cmp dword ptr [rip + {control}], 0",
            "jne 3f",
            "cmp dword ptr [rip + {table} + {how}], {recorded}",
            "jne 3f",
            $($then,)*
            "3:",
            "mov r11, qword ptr [rip + {table} + {at}]",
            "test r11, r11",
            "jnz 4f",
            // Not found yet, or in an object that was opened later.
            "lea r11, [rip + {table} + {entry}]",
            "call {resolve}",
            "test r11, r11",
            "jz 2b",
            "4:",
            "jmp r11",
            ".cfi_endproc",
            control = sym $crate::state::dormant::CONTROL,
            table = sym $crate::real::TABLE,
            entry = const $crate::real::place::$name,
            how = const $crate::real::place::$name + ::core::mem::offset_of!($crate::real::Entry, how),
            at = const $crate::real::place::$name + ::core::mem::offset_of!($crate::real::Entry, at),
            recorded = const $crate::real::RECORDED,
            resolve = sym $crate::interpose::registers::resolve,
            body = sym $body,
        )
    };
}

/// Exports a hook: `fn name(arguments; entry) -> result { ... }`. `entry` is the stack pointer at the call: it points to the
/// return address.
macro_rules! hook {
    (fn $name:ident($($arg:ident: $type:ty),*; $entry:ident) $(-> $result:ty)? { $($body:tt)* }) => {
        const _: () = {
            unsafe extern "C" fn body($($arg: $type,)* $entry: $crate::probe::Entry) $(-> $result)? {
                // SAFETY: the program's own call, with the arguments that the function of this name wants; they are handed
                // on as they are, and the entry is this call's.
                unsafe { $($body)* }
            }

            /// Stands before the function of the same name.
            #[cfg_attr(lockprof_preload, unsafe(no_mangle))]
            #[unsafe(naked)]
            pub unsafe extern "C" fn $name($($arg: $type),*) $(-> $result)? {
                $crate::interpose::stub!(
                    $name, body,
                    "mov qword ptr [rsp - 8], rbp",
                    concat!("mov ", $crate::interpose::next_register!($($arg)*), ", rsp"),
                    "jmp {body}",
                )
            }
        };
    };
}

/// Exports a hook that initialises its first argument, which is an object of this kind.
macro_rules! initialising_hook {
    ($kind:expr, fn $name:ident($object:ident: Ptr $(, $arg:ident: $type:ty)*)) => {
        $crate::interpose::hook! {
            fn $name($object: Ptr $(, $arg: $type)*; entry) -> ::core::ffi::c_int {
                let real = || $crate::real::$name($object $(, $arg)*);
                $crate::interpose::objects::initialise($object, $kind, $crate::probe::LockTraits::NONE, 0, entry, real)
            }
        }
    };
}

/// Exports a hook that destroys its argument, which is a lock of this kind.
macro_rules! destroying_hook {
    ($kind:expr, fn $name:ident($object:ident: Ptr)) => {
        $crate::interpose::hook! {
            fn $name($object: Ptr; entry) -> ::core::ffi::c_int {
                $crate::interpose::objects::destroy_lock($object, $kind, entry, || $crate::real::$name($object))
            }
        }
    };
}

/// Exports a hook that destroys its argument, which nobody can hold.
macro_rules! forgetting_hook {
    (fn $name:ident($object:ident: Ptr)) => {
        $crate::interpose::hook! {
            fn $name($object: Ptr; _entry) -> ::core::ffi::c_int {
                $crate::interpose::objects::destroy($object, || $crate::real::$name($object))
            }
        }
    };
}

/// Exports a function that only the shim has: `fn name(arguments; entry) { ... }`, as [`hook`].
macro_rules! own_function {
    (fn $name:ident($($arg:ident: $type:ty),*; $entry:ident) { $($body:tt)* }) => {
        const _: () = {
            unsafe extern "C" fn body($($arg: $type,)* $entry: $crate::probe::Entry) {
                // SAFETY: the program's own call, with the arguments that the header asks for; the entry is this call's.
                unsafe { $($body)* }
            }

            /// Part of the shim's interface.
            #[cfg_attr(lockprof_preload, unsafe(no_mangle))]
            #[unsafe(naked)]
            pub unsafe extern "C" fn $name($($arg: $type),*) {
                ::core::arch::naked_asm!(
                    ".cfi_startproc",
                    "endbr64",
                    "mov qword ptr [rsp - 8], rbp",
                    concat!("mov ", $crate::interpose::next_register!($($arg)*), ", rsp"),
                    "jmp {body}",
                    ".cfi_endproc",
                    body = sym body,
                )
            }
        };
    };
}

/// Exports a hook that needs no stack.
macro_rules! plain_hook {
    (fn $name:ident($($arg:ident: $type:ty),*) $(-> $result:ty)? $body:block) => {
        /// Stands before the function of the same name.
        #[cfg_attr(lockprof_preload, unsafe(no_mangle))]
        #[allow(non_snake_case)]
        pub unsafe extern "C" fn $name($($arg: $type),*) $(-> $result)? $body
    };
}

pub(crate) use {
    destroying_hook, forgetting_hook, hook, initialising_hook, next_register, own_function, plain_hook, stub,
};
