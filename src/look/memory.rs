//! What lies in the memory of a process or of a core file: bytes by address, page by page, each page read once in a look.

use std::cell::RefCell;

use rustc_hash::FxHashMap;

/// Bytes of a page.
pub const PAGE: u64 = 4096;
/// So many pages are kept, 256 MiB; then the collection begins anew.
const MOST_PAGES: usize = 1 << 16;

type Page = [u8; PAGE as usize];

/// Where bytes come from.
pub trait Source {
    /// Fills the buffer from its beginning as far as there is memory; how many bytes that is.
    fn read(&self, address: u64, buffer: &mut [u8]) -> usize;
}

/// See the module.
pub struct Memory<'a> {
    source: &'a dyn Source,
    pages: RefCell<FxHashMap<u64, Option<Box<Page>>>>,
}

impl<'a> Memory<'a> {
    /// That of a source.
    pub fn new(source: &'a dyn Source) -> Self {
        Self { source, pages: RefCell::default() }
    }

    /// From here on everything is read anew.
    pub fn forget(&self) {
        self.pages.borrow_mut().clear();
    }

    /// Reads the pages of a stretch at once, so that they are of one moment.
    pub fn prepare(&self, start: u64, end: u64) {
        let (first, last) = (start / PAGE, end.div_ceil(PAGE));
        let mut bytes = vec![0; (last.saturating_sub(first) * PAGE) as usize];
        let read = self.source.read(first * PAGE, &mut bytes) / PAGE as usize;
        let mut pages = self.pages.borrow_mut();
        for (number, page) in (first..last).zip(bytes.as_chunks().0).take(read) {
            pages.insert(number, Some(Box::new(*page)));
        }
    }

    /// Fills the buffer; `None` where not all of it is there.
    pub fn read(&self, address: u64, buffer: &mut [u8]) -> Option<()> {
        let mut pages = self.pages.borrow_mut();
        if pages.len() > MOST_PAGES {
            pages.clear();
        }
        let mut done = 0;
        while done < buffer.len() {
            let at = address.checked_add(done as u64)?;
            let page = pages.entry(at / PAGE).or_insert_with(|| {
                let mut page = Box::new([0; PAGE as usize]);
                (self.source.read(at / PAGE * PAGE, &mut *page) == page.len()).then_some(page)
            });
            let inside = (at % PAGE) as usize;
            let length = (buffer.len() - done).min(PAGE as usize - inside);
            buffer[done..done + length].copy_from_slice(&page.as_ref()?[inside..inside + length]);
            done += length;
        }
        Some(())
    }

    /// The word of eight bytes at an address.
    pub fn word(&self, address: u64) -> Option<u64> {
        let mut bytes = [0; 8];
        self.read(address, &mut bytes)?;
        Some(u64::from_le_bytes(bytes))
    }

    /// The word of four bytes at an address.
    pub fn half(&self, address: u64) -> Option<u32> {
        let mut bytes = [0; 4];
        self.read(address, &mut bytes)?;
        Some(u32::from_le_bytes(bytes))
    }

    /// Words of four bytes, all or none, as the layouts of locks take them.
    pub fn halves(&self, address: u64, count: usize) -> Option<Vec<u32>> {
        let mut bytes = vec![0; 4 * count];
        self.read(address, &mut bytes)?;
        Some(bytes.as_chunks().0.iter().map(|half| u32::from_le_bytes(*half)).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Numbers;

    impl Source for Numbers {
        fn read(&self, address: u64, buffer: &mut [u8]) -> usize {
            let length = (8 * PAGE).saturating_sub(address).min(buffer.len() as u64) as usize;
            buffer[..length].iter_mut().zip(address..).for_each(|(byte, at)| *byte = (at / 100) as u8);
            length
        }
    }

    #[test]
    fn bytes_across_pages() {
        let memory = Memory::new(&Numbers);
        let mut bytes = [0; 300];
        memory.read(PAGE - 150, &mut bytes).expect("bytes");
        assert!((0..300).all(|at| bytes[at] == ((PAGE as usize - 150 + at) / 100) as u8));
        assert_eq!(memory.read(8 * PAGE - 4, &mut bytes), None);
        assert_eq!((memory.word(u64::MAX - 3), memory.half(8 * PAGE - 4).is_some()), (None, true));
        memory.forget();
        memory.prepare(100, 20 * PAGE);
        assert_eq!(memory.half(400), Some(0x0404_0404));
    }
}
