//! What starts programs: the calls are counted (`lifecycle::execs`) and go on.
//!
//! libc's calls of its own functions do not come here, so those that start programs inside (`system`, `popen`) have hooks of
//! their own.

use core::ffi::c_int;

use super::outcome::{errno, set_errno};
use super::stub;
use crate::lifecycle::execs::{counted, followed, spawned};
use crate::real;
use crate::sys::{Ptr, environment};

/// Exports a hook that needs no stack.
macro_rules! starting_hook {
    (fn $name:ident($($arg:ident: $type:ty),*) -> $result:ty { $($body:tt)* }) => {
        const _: () = {
            unsafe extern "C" fn body($($arg: $type),*) -> $result {
                // SAFETY: the program's own call, handed on.
                unsafe { $($body)* }
            }

            /// Stands before the function of the same name.
            #[cfg_attr(lockprof_preload, unsafe(no_mangle))]
            #[unsafe(naked)]
            pub unsafe extern "C" fn $name($($arg: $type),*) -> $result {
                stub!($name, body, "jmp {body}")
            }
        };
    };
}

/// Exec of this file with this environment: who comes back has failed.
///
/// # Safety
/// Both are the program's own arguments.
unsafe fn becoming(file: Ptr, environment: Ptr, real: impl FnOnce() -> c_int) -> c_int {
    // SAFETY: as the caller says.
    unsafe { followed(file.cast(), environment.cast(), real) }
}

/// The environment that libc hands on where the call has none.
fn own_environment() -> Ptr {
    environment::environment() as Ptr
}

starting_hook! {
    fn execve(path: Ptr, argv: Ptr, envp: Ptr) -> c_int {
        becoming(path, envp, || real::execve(path, argv, envp))
    }
}

starting_hook! {
    fn execv(path: Ptr, argv: Ptr) -> c_int {
        becoming(path, own_environment(), || real::execv(path, argv))
    }
}

starting_hook! {
    fn execvp(file: Ptr, argv: Ptr) -> c_int {
        becoming(file, own_environment(), || real::execvp(file, argv))
    }
}

starting_hook! {
    fn execvpe(file: Ptr, argv: Ptr, envp: Ptr) -> c_int {
        becoming(file, envp, || real::execvpe(file, argv, envp))
    }
}

starting_hook! {
    fn fexecve(fd: c_int, argv: Ptr, envp: Ptr) -> c_int {
        counted(|| real::fexecve(fd, argv, envp), |_| true)
    }
}

/// Exports a hook of a function with any number of arguments: `fn name(path, argv)`. Those in registers are put before
/// those on the stack, in the place of the return address and below it, which makes a list that ends with the caller's
/// own null pointer.
macro_rules! listing_hook {
    (fn $name:ident($path:ident, $argv:ident) { $($body:tt)* }) => {
        const _: () = {
            unsafe extern "C" fn body($path: Ptr, $argv: *const Ptr) -> c_int {
                // SAFETY: the program's own call, handed on; its list of arguments ends with a null pointer.
                unsafe { $($body)* }
            }

            /// Stands before the function of the same name.
            #[cfg_attr(lockprof_preload, unsafe(no_mangle))]
            #[unsafe(naked)]
            pub unsafe extern "C" fn $name(path: Ptr, arg: Ptr) -> c_int {
                stub!(
                    $name,
                    body,
                    ".cfi_remember_state",
                    "mov rax, [rsp]",
                    ".cfi_register rip, rax",
                    "mov [rsp], r9",
                    "push r8",
                    ".cfi_adjust_cfa_offset 8",
                    "push rcx",
                    ".cfi_adjust_cfa_offset 8",
                    "push rdx",
                    ".cfi_adjust_cfa_offset 8",
                    "push rsi",
                    ".cfi_adjust_cfa_offset 8",
                    "mov rsi, rsp",
                    "push rax",
                    ".cfi_adjust_cfa_offset 8",
                    ".cfi_offset rip, -48",
                    "call {body}",
                    "pop rcx",
                    ".cfi_adjust_cfa_offset -8",
                    ".cfi_register rip, rcx",
                    "add rsp, 32",
                    ".cfi_adjust_cfa_offset -32",
                    "mov [rsp], rcx",
                    ".cfi_offset rip, -8",
                    "ret",
                    ".cfi_restore_state",
                )
            }
        };
    };
}

listing_hook! {
    fn execl(path, argv) {
        becoming(path, own_environment(), || real::execv(path, argv as Ptr))
    }
}

listing_hook! {
    fn execlp(file, argv) {
        becoming(file, own_environment(), || real::execvp(file, argv as Ptr))
    }
}

listing_hook! {
    fn execle(path, argv) {
        let mut end = argv;
        while !(*end).is_null() {
            end = end.add(1);
        }
        becoming(path, *end.add(1), || real::execve(path, argv as Ptr, *end.add(1)))
    }
}

/// The functions of one version that start a program and tell whether that worked.
macro_rules! spawning {
    ($($name:ident)*) => {
        $(starting_hook! {
            fn $name(pid: Ptr, path: Ptr, actions: Ptr, attr: Ptr, argv: Ptr, envp: Ptr) -> c_int {
                spawned(path.cast(), || real::$name(pid, path, actions, attr, argv, envp))
            }
        })*
    };
}

spawning!(posix_spawn posix_spawnp);

// Programs from before glibc 2.15 ask for a version that runs a file without `#!` as a shell's script.
#[cfg(lockprof_preload)]
core::arch::global_asm!(
    ".symver old_posix_spawn, posix_spawn@GLIBC_2.2.5",
    ".symver old_posix_spawnp, posix_spawnp@GLIBC_2.2.5",
);

spawning!(old_posix_spawn old_posix_spawnp);

starting_hook! {
    fn system(command: Ptr) -> c_int {
        /// What the shell answers that does not find the command, and libc where it does not find the shell.
        const NOT_FOUND: c_int = 127 << 8;
        const EINTR: c_int = 4;
        const ECHILD: c_int = 10;
        let before = errno();
        // Only where the shell was not started does libc say why.
        set_errno(0);
        let answer = counted(
            || real::system(command),
            |answer| match errno() {
                0 | EINTR | ECHILD => false,
                _ => matches!(*answer, -1 | NOT_FOUND),
            },
        );
        if errno() == 0 {
            set_errno(before);
        }
        answer
    }
}

starting_hook! {
    fn popen(command: Ptr, mode: Ptr) -> Ptr {
        counted(|| real::popen(command, mode), |stream| stream.is_null())
    }
}
