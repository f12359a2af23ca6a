//! Numbers out of bytes that may end anywhere: little-endian, bounds-checked, no panic.

/// The two bytes at an offset.
pub fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    array_at(bytes, at).map(u16::from_le_bytes)
}

/// The four bytes at an offset.
pub fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    array_at(bytes, at).map(u32::from_le_bytes)
}

/// The eight bytes at an offset.
pub fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    array_at(bytes, at).map(u64::from_le_bytes)
}

/// The text from an offset up to the next zero byte.
pub fn text_at(bytes: &[u8], at: usize) -> Option<&str> {
    let rest = bytes.get(at..)?;
    let end = rest.iter().position(|byte| *byte == 0)?;
    str::from_utf8(&rest[..end]).ok()
}

/// A variable-length number (seven bits a byte, the lowest first) of at most 32 bits, and how many bytes it takes.
pub fn varint(bytes: &[u8]) -> Option<(u32, usize)> {
    let mut value = 0;
    for (at, byte) in bytes.iter().take(5).enumerate() {
        value |= u32::from(byte & 0x7f) << (7 * at);
        if byte & 0x80 == 0 {
            return Some((value, at + 1));
        }
    }
    None
}

fn array_at<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..at.checked_add(N)?)?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_read_past_the_end() {
        let bytes = [1, 2, 3, 4, 5, 6, 7, 8, b'a', 0];
        assert_eq!(u16_at(&bytes, 1), Some(0x0302));
        assert_eq!(u32_at(&bytes, 0), Some(0x0403_0201));
        assert_eq!(u64_at(&bytes, 0), Some(0x0807_0605_0403_0201));
        assert_eq!((u64_at(&bytes, 3), u64_at(&bytes, usize::MAX)), (None, None));
        assert_eq!((text_at(&bytes, 8), text_at(&bytes[..9], 8), text_at(&bytes, 11)), (Some("a"), None, None));
    }

    #[test]
    fn varints_end() {
        assert_eq!(varint(&[0xac, 0x02, 9]), Some((300, 2)));
        assert_eq!(varint(&[0xff, 0xff, 0xff, 0xff, 0x0f]), Some((u32::MAX, 5)));
        assert_eq!((varint(&[]), varint(&[0x80]), varint(&[0x80; 9])), (None, None, None));
    }
}
