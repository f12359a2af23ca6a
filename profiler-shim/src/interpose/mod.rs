//! The hooks: one file per primitive, each hook a few lines over `acquire`, `release` and `operate`.
//!
//! A hook that records a stack is a tiny naked function: it leaves the caller's rbp below the return
//! address, hands on its own stack pointer as one more argument and jumps to the Rust function, which
//! pushes rbp to the very same place. So the caller's frame is known exactly at no cost.

mod barrier;
mod c11;
mod cond;
mod core;
mod dl;
pub mod exit;
mod filter;
mod guard;
mod misuse;
mod mutex;
mod name;
mod once;
mod operate;
mod registers;
mod release;
mod rwlock;
mod sanitizer;
mod sem;
mod spin;
pub mod thread;
mod unwound;
pub mod wait;

/// Exports a hook that is told where its caller's frame is. The last argument of the Rust function gets
/// the stack pointer at the entry: it points to the return address. While the shim is asleep, and where the function
/// behind is none of libc's, the call goes on to that function exactly as it came.
macro_rules! hook {
    ($name:ident($($arg:ident: $type:ty),*) $(-> $result:ty)?, $register:literal, $body:ident) => {
        /// Stands before the function of the same name.
        #[cfg_attr(lockprof_preload, unsafe(no_mangle))]
        #[unsafe(naked)]
        pub unsafe extern "C" fn $name($($arg: $type),*) $(-> $result)? {
            ::core::arch::naked_asm!(
                ".cfi_startproc",
                "endbr64",
                "2:",
                "cmp dword ptr [rip + {control}], 0",
                "jne 3f",
                "cmp dword ptr [rip + {table} + {how}], {recorded}",
                "jne 3f",
                "mov qword ptr [rsp - 8], rbp",
                concat!("mov ", $register, ", rsp"),
                "jmp {body}",
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
        }
    };
}

/// The same for a function that only the shim has.
macro_rules! own_function {
    ($name:ident($($arg:ident: $type:ty),*) $(-> $result:ty)?, $register:literal, $body:ident) => {
        /// Part of the shim's interface.
        #[cfg_attr(lockprof_preload, unsafe(no_mangle))]
        #[unsafe(naked)]
        pub unsafe extern "C" fn $name($($arg: $type),*) $(-> $result)? {
            ::core::arch::naked_asm!(
                ".cfi_startproc",
                "endbr64",
                "mov qword ptr [rsp - 8], rbp",
                concat!("mov ", $register, ", rsp"),
                "jmp {body}",
                ".cfi_endproc",
                body = sym $body,
            )
        }
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

pub(crate) use {hook, own_function, plain_hook};
