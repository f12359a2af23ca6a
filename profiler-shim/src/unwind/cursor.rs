//! Reading forwards through the tables of a loaded object.

/// Reads forwards through a table.
#[derive(Clone, Copy)]
pub struct Cursor(pub *const u8);

impl Cursor {
    /// The next value, at any alignment.
    ///
    /// # Safety
    /// The table goes on for that many bytes.
    pub unsafe fn take<T: Copy>(&mut self) -> T {
        // SAFETY: the caller vouches that the table goes on for that many bytes.
        unsafe {
            let value = self.0.cast::<T>().read_unaligned();
            self.0 = self.0.add(size_of::<T>());
            value
        }
    }

    /// The next number, in the form ULEB128 (DWARF 5, section 7.6).
    ///
    /// # Safety
    /// The table goes on with such a number.
    pub unsafe fn unsigned(&mut self) -> u64 {
        let (mut value, mut shift) = (0u64, 0u32);
        loop {
            // SAFETY: the caller's contract.
            let byte: u8 = unsafe { self.take() };
            value |= u64::from(byte & 127).wrapping_shl(shift);
            shift += 7;
            if byte & 128 == 0 {
                return value;
            }
        }
    }

    /// The next number, in the form SLEB128.
    ///
    /// # Safety
    /// The table goes on with such a number.
    pub unsafe fn signed(&mut self) -> i64 {
        let (mut value, mut shift) = (0i64, 0u32);
        loop {
            // SAFETY: the caller's contract.
            let byte: u8 = unsafe { self.take() };
            value |= i64::from(byte & 127).wrapping_shl(shift);
            shift += 7;
            if byte & 128 == 0 {
                if shift < 64 && byte & 64 != 0 {
                    value |= -1i64 << shift;
                }
                return value;
            }
        }
    }

    /// A pointer in one of the encodings `DW_EH_PE_*`; `data` is the base of data-relative ones.
    ///
    /// # Safety
    /// The table goes on with such a pointer, and indirect ones lead to a word of a loaded object.
    pub unsafe fn encoded(&mut self, encoding: u8, data: u64) -> Option<u64> {
        let place = self.0 as u64;
        // SAFETY: the caller's contract.
        let value = unsafe {
            match encoding & 15 {
                0 | 4 | 12 => self.take::<u64>(),
                1 => self.unsigned(),
                2 => u64::from(self.take::<u16>()),
                3 => u64::from(self.take::<u32>()),
                9 => self.signed() as u64,
                10 => self.take::<i16>() as i64 as u64,
                11 => self.take::<i32>() as i64 as u64,
                _ => return None,
            }
        };
        if value == 0 {
            return Some(0);
        }
        let value = match encoding & 0x70 {
            0 => value,
            0x10 => place.wrapping_add(value),
            0x30 => data.wrapping_add(value),
            _ => return None,
        };
        // SAFETY: an indirect pointer points at a relocated word of the object.
        Some(if encoding & 0x80 != 0 { unsafe { *(value as *const u64) } } else { value })
    }

    /// The place of an expression, behind which it goes on.
    ///
    /// # Safety
    /// The table goes on with an expression: its length, and so many bytes.
    pub unsafe fn expression(&mut self) -> *const u8 {
        let place = self.0;
        // SAFETY: the caller's contract.
        unsafe {
            let length = self.unsigned();
            self.skip(length);
        }
        place
    }

    /// Goes on behind so many bytes.
    ///
    /// # Safety
    /// The table goes on for that many bytes.
    pub unsafe fn skip(&mut self, bytes: u64) {
        // SAFETY: the caller's contract.
        self.0 = unsafe { self.0.add(bytes as usize) };
    }
}
