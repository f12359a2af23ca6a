//! The registers of a thread, as far as they are known.

/// Numbers of registers as unwind tables have them (the ABI's, for x86-64).
pub mod number {
    pub const RBX: usize = 3;
    pub const RDI: usize = 5;
    pub const RBP: usize = 6;
    pub const RSP: usize = 7;
    pub const RIP: usize = 16;
    /// How many there are.
    pub const COUNT: usize = 17;
    /// What a function gives back as it found it, beside the stack pointer.
    pub const KEPT: [usize; 6] = [RBX, RBP, 12, 13, 14, 15];
}

/// The registers of a frame.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Registers {
    values: [u64; number::COUNT],
    known: u32,
}

impl Registers {
    /// Of a thread of which the kernel tells no more.
    pub fn of_call(pc: u64, sp: u64) -> Self {
        Self::default().with(number::RIP, pc).with(number::RSP, sp)
    }

    /// All of them, in the kernel's order (`user_regs_struct`).
    pub fn of_kernel(words: &[u64; 27]) -> Self {
        // r15 r14 r13 r12 rbp rbx r11 r10 r9 r8 rax rcx rdx rsi rdi orig_rax rip cs eflags rsp …
        const PLACES: [usize; number::COUNT] = [10, 12, 11, 5, 13, 14, 4, 19, 9, 8, 7, 6, 3, 2, 1, 0, 16];
        Self { values: PLACES.map(|at| words[at]), known: (1 << number::COUNT) - 1 }
    }

    /// One of them; `None` where it is not known.
    pub fn get(&self, number: usize) -> Option<u64> {
        (number < number::COUNT && self.known & 1 << number != 0).then(|| self.values[number])
    }

    /// The same registers, but for one.
    #[must_use]
    pub fn with(mut self, number: usize, value: u64) -> Self {
        self.values[number] = value;
        self.known |= 1 << number;
        self
    }

    /// Where the thread is.
    pub fn pc(&self) -> u64 {
        self.get(number::RIP).unwrap_or(0)
    }

    /// Its stack pointer.
    pub fn sp(&self) -> u64 {
        self.get(number::RSP).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_order() {
        let mut words = [0; 27];
        words.iter_mut().zip(100..).for_each(|(word, value)| *word = value);
        let all = Registers::of_kernel(&words);
        assert_eq!((all.pc(), all.sp()), (116, 119));
        let by_number = |number| all.get(number).unwrap_or(0);
        assert_eq!([number::RDI, number::RBP, number::RBX, 12, 15].map(by_number), [114, 104, 105, 103, 100]);
        let bare = Registers::of_call(7, 8);
        assert_eq!((bare.pc(), bare.sp(), bare.get(number::RBP), bare.get(99)), (7, 8, None, None));
    }
}
