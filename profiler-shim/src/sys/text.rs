//! Text without an allocator.

/// Gives the digits of a number, the first one first.
pub fn decimal(mut number: u64, put: &mut impl FnMut(u8)) {
    let mut digits = [0u8; 20];
    let mut count = 0;
    loop {
        digits[count] = b'0' + (number % 10) as u8;
        number /= 10;
        count += 1;
        if number == 0 {
            break;
        }
    }
    digits[..count].iter().rev().for_each(|digit| put(*digit));
}
