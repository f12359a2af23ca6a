//! Filter programs as the kernel runs them for `seccomp` (classic BPF, linux/filter.h, linux/bpf_common.h).

/// `struct sock_filter`.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Instruction {
    /// What it does.
    pub code: u16,
    /// How many instructions a jump skips where its condition holds.
    pub if_true: u8,
    /// The same where it does not.
    pub if_false: u8,
    /// Its operand.
    pub k: u32,
}

/// `struct seccomp_data`: what a filter is told of a call.
#[derive(Debug)]
pub struct Data([u32; 16]);

impl Data {
    /// A call by this number, from this address.
    pub fn new(number: u32, instruction_pointer: u64, arguments: [u64; 6]) -> Self {
        const X86_64: u32 = 0xc000_003e;
        let mut words = [0; 16];
        (words[0], words[1]) = (number, X86_64);
        let longs = core::iter::once(instruction_pointer).chain(arguments);
        for (pair, long) in words[2..].as_chunks_mut::<2>().0.iter_mut().zip(longs) {
            *pair = [long as u32, (long >> 32) as u32];
        }
        Self(words)
    }
}

/// What the program answers; `None` for one that the kernel would not take.
pub fn run(program: &[Instruction], data: &Data) -> Option<u32> {
    let (mut a, mut x) = (0u32, 0u32);
    let mut memory = [0u32; 16];
    let mut at = 0;
    // Jumps lead forwards only, so this ends.
    loop {
        let Instruction { code, if_true, if_false, k } = *program.get(at)?;
        at += 1;
        let class = code & 7;
        let operand = if code & 8 == 0 { k } else { x };
        match class {
            // Loads: a word of the data, a constant, a word of memory, the length of the data.
            0 | 1 => {
                let value = match code & 0xe0 {
                    0x00 => k,
                    0x20 if class == 0 && k % 4 == 0 => *data.0.get(k as usize / 4)?,
                    0x60 => *memory.get(k as usize)?,
                    0x80 => size_of::<Data>() as u32,
                    _ => return None,
                };
                *(if class == 0 { &mut a } else { &mut x }) = value;
            }
            2 | 3 => *memory.get_mut(k as usize)? = if class == 2 { a } else { x },
            4 => {
                a = match code & 0xf0 {
                    0x00 => a.wrapping_add(operand),
                    0x10 => a.wrapping_sub(operand),
                    0x20 => a.wrapping_mul(operand),
                    0x30 => a.checked_div(operand).unwrap_or(0),
                    0x40 => a | operand,
                    0x50 => a & operand,
                    0x60 => a.checked_shl(operand).unwrap_or(0),
                    0x70 => a.checked_shr(operand).unwrap_or(0),
                    0x80 => a.wrapping_neg(),
                    0xa0 => a ^ operand,
                    _ => return None,
                }
            }
            5 => {
                let is = match code & 0xf0 {
                    0x00 => {
                        at = at.checked_add(k as usize)?;
                        continue;
                    }
                    0x10 => a == operand,
                    0x20 => a > operand,
                    0x30 => a >= operand,
                    0x40 => a & operand != 0,
                    _ => return None,
                };
                at += usize::from(if is { if_true } else { if_false });
            }
            6 => return Some(if code & 0x18 == 0x10 { a } else { k }),
            _ => match code & 0xf8 {
                0x00 => x = a,
                0x80 => a = x,
                _ => return None,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Data, Instruction, run};

    const ALLOW: u32 = 0x7fff_0000;
    const KILL: u32 = 0x8000_0000;

    const fn statement(code: u16, k: u32) -> Instruction {
        Instruction { code, if_true: 0, if_false: 0, k }
    }

    const fn jump(code: u16, k: u32, if_true: u8, if_false: u8) -> Instruction {
        Instruction { code, if_true, if_false, k }
    }

    /// As libseccomp writes it: the architecture, then the numbers, then an argument.
    #[test]
    fn numbers_and_arguments_decide() {
        let program = [
            statement(0x20, 4),
            jump(0x15, 0xc000_003e, 0, 6),
            statement(0x20, 0),
            jump(0x15, 39, 3, 0),
            jump(0x15, 10, 0, 3),
            // mprotect without PROT_EXEC, low word of the third argument
            statement(0x20, 32),
            jump(0x45, 4, 1, 0),
            statement(0x06, ALLOW),
            statement(0x06, KILL),
        ];
        let asked = |number, third| run(&program, &Data::new(number, 0, [1, 2, third, 0, 0, 0]));
        assert_eq!(asked(39, 0), Some(ALLOW));
        assert_eq!(asked(10, 3), Some(ALLOW));
        assert_eq!(asked(10, 7), Some(KILL));
        assert_eq!(asked(186, 0), Some(KILL));
    }

    #[test]
    fn arithmetic_memory_and_bad_programs() {
        let program = [
            statement(0x20, 0),
            statement(0x04, 5),
            statement(0x02, 3),
            statement(0x00, 7),
            statement(0x07, 0),
            statement(0x60, 3),
            statement(0x2c, 0),
            statement(0x16, 0),
        ];
        assert_eq!(run(&program, &Data::new(10, 0, [0; 6])), Some(15 * 7));
        assert_eq!(run(&program[..4], &Data::new(10, 0, [0; 6])), None);
        assert_eq!(run(&[statement(0x20, 64)], &Data::new(0, 0, [0; 6])), None);
        assert_eq!(run(&[statement(0x05, u32::MAX)], &Data::new(0, 0, [0; 6])), None);
    }
}
