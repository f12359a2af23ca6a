//! The folder in which segments are made.

use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use lockprof_wire::FOLLOW;
use lockprof_wire::layout::SPARE;

use crate::sys::clock;
use crate::sys::socket::PATH;
use crate::sys::text::decimal;
use crate::tables::segment::PATH_MAX;

/// The session's folder. It stays true in the child of a fork.
pub static FOLDER: Folder = Folder { bytes: [const { AtomicU64::new(0) }; LONGEST / 8], len: AtomicU32::new(0) };

/// Longest path of a folder, bytes.
const LONGEST: usize = 512;

/// The session's folder, kept in words because a static cannot be written otherwise.
pub struct Folder {
    bytes: [AtomicU64; LONGEST / 8],
    len: AtomicU32,
}

impl Folder {
    /// Takes over a path; false if it is empty or too long.
    pub fn set(&self, folder: &[u8]) -> bool {
        if folder.is_empty() || folder.len() > LONGEST - 48 {
            return false;
        }
        for (word, chunk) in self.bytes.iter().zip(folder.chunks(8)) {
            let mut bytes = [0u8; 8];
            bytes[..chunk.len()].copy_from_slice(chunk);
            word.store(u64::from_le_bytes(bytes), Ordering::Relaxed);
        }
        self.len.store(folder.len() as u32, Ordering::Relaxed);
        true
    }

    /// `FOLDER/PID.TICKS.seg`, with a final NUL: unique among all process images of the session.
    pub fn segment_path(&self, process: u32, into: &mut [u8; PATH_MAX]) -> bool {
        let Some(mut at) = self.copy(into) else { return false };
        let mut put = |byte: u8| {
            into[at] = byte;
            at += 1;
        };
        decimal(u64::from(process), &mut put);
        put(b'.');
        decimal(clock::now(), &mut put);
        b".seg\0".iter().for_each(|byte| put(*byte));
        true
    }

    /// `FOLDER/spare.N`, with a final NUL.
    pub fn spare_path(&self, number: u32, into: &mut [u8; PATH_MAX]) -> bool {
        let Some(mut at) = self.copy(into) else { return false };
        let mut put = |byte: u8| {
            into[at] = byte;
            at += 1;
        };
        SPARE.bytes().for_each(&mut put);
        decimal(u64::from(number), &mut put);
        put(0);
        true
    }

    /// The path of the socket where programs that are started are announced, with a final NUL.
    pub fn follow_path(&self, into: &mut [u8; PATH]) -> bool {
        let len = self.len.load(Ordering::Relaxed) as usize;
        if len == 0 || len + 1 + FOLLOW.len() + 1 > PATH {
            return false;
        }
        let words = self.bytes.iter().flat_map(|word| word.load(Ordering::Relaxed).to_le_bytes());
        let path = words.take(len).chain([b'/']).chain(FOLLOW.bytes()).chain([0]);
        into.iter_mut().zip(path).for_each(|(to, from)| *to = from);
        true
    }

    /// The folder and a slash; their length.
    fn copy(&self, into: &mut [u8; PATH_MAX]) -> Option<usize> {
        let len = self.len.load(Ordering::Relaxed) as usize;
        if len == 0 {
            return None;
        }
        for (chunk, word) in into[..LONGEST].chunks_mut(8).zip(&self.bytes) {
            chunk.copy_from_slice(&word.load(Ordering::Relaxed).to_le_bytes());
        }
        into[len] = b'/';
        Some(len + 1)
    }
}

/// Segments are made in this folder from now on, a path with a final NUL: only before there is one.
pub fn own_folder(path: &[u8; PATH_MAX]) {
    FOLDER.set(path.split(|byte| *byte == 0).next().unwrap_or_default());
}
