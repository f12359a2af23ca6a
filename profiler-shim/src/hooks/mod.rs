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
mod misuse;
mod mutex;
mod name;
mod once;
mod operate;
mod release;
mod rwlock;
mod sem;
mod spin;
pub mod thread;
mod unwound;
pub mod wait;

/// Exports a hook that is told where its caller's frame is. The last argument of the Rust function gets
/// the stack pointer at the entry: it points to the return address. While the shim is asleep, the real function is
/// called in its place.
macro_rules! hook {
    ($name:ident($($arg:ident: $type:ty),*) $(-> $result:ty)?, $register:literal, $body:ident) => {
        /// Stands before the function of the same name.
        #[cfg_attr(lockprof_preload, unsafe(no_mangle))]
        #[unsafe(naked)]
        pub unsafe extern "C" fn $name($($arg: $type),*) $(-> $result)? {
            ::core::arch::naked_asm!(
                ".cfi_startproc",
                "endbr64",
                "cmp dword ptr [rip + {control}], 0",
                "jne 3f",
                "2:",
                "mov qword ptr [rsp - 8], rbp",
                concat!("mov ", $register, ", rsp"),
                "jmp {body}",
                "3:",
                "mov r11, qword ptr [rip + {real} + {place}]",
                // Not found yet: the object that has it was loaded later.
                "test r11, r11",
                "jz 2b",
                "jmp r11",
                ".cfi_endproc",
                control = sym $crate::asleep::CONTROL,
                real = sym $crate::real::TABLE,
                place = const $crate::real::place::$name,
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
