//! The page by which a process that carries the shim asleep is woken, and the right to do so.

use std::cell::Cell;
use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use lockprof_wire::control::{FILE, MAGIC};
use lockprof_wire::{Control, VERSION};
use memmap2::{MmapOptions, MmapRaw};

use super::directory::{Directory, try_lock};
use super::mapped::{files_in, maps};
use crate::safe_file::user;

/// The page that wakes a process, and the right to use it.
pub(super) struct Page {
    map: MmapRaw,
    /// The process says where it is: from here on only the descriptor counts.
    pub folder: Directory,
    pub path: PathBuf,
    /// Whoever lets go of it leaves the process asleep.
    is_ours: Cell<bool>,
    /// Its lock is ours while it is open.
    _file: File,
}

/// A process that has just begun makes its page in less time than this.
const BEING_MADE: Duration = Duration::from_millis(200);

impl Page {
    /// Finds the page of a process; `None` where it does not carry the recorder.
    ///
    /// # Errors
    /// Where it cannot be woken, or somebody else records it.
    pub fn find(pid: u32) -> anyhow::Result<Option<Self>> {
        let maps = maps(pid)?;
        let path = files_in(&maps).find(|path| path.file_name().is_some_and(|name| name == FILE));
        let Some(path) = path else {
            if files_in(&maps).next().is_some() {
                bail!("process {pid} is being recorded from its start: `lockprof top -p {pid}` shows it");
            }
            return Ok(None);
        };
        let context = || format!("process {pid} cannot be woken: {} is not to be opened", path.display());
        let place = path.parent().unwrap_or(Path::new("/"));
        let folder = Directory::open(place).with_context(context)?;
        let file = folder.file(FILE).with_context(context)?;
        let began = Instant::now();
        while file.metadata()?.len() == 0 && began.elapsed() < BEING_MADE {
            std::thread::sleep(Duration::from_millis(1));
        }
        let meta = file.metadata()?;
        let owner = folder.metadata()?.uid();
        // Only root has power over what is not its own: there the file must be the very one that the process has.
        let is_its = user() != 0 || maps_file(&maps, &meta);
        if !folder.is_private_of(owner) || meta.uid() != owner || !is_its {
            bail!(
                "process {pid} cannot be woken: {} is not the private folder that the recorder in it made",
                place.display()
            );
        }
        if !try_lock(&file) {
            bail!("process {pid} is being recorded by another lockprof already: `lockprof top -p {pid}` shows it");
        }
        if meta.len() != size_of::<Control>() as u64 {
            bail!("process {pid} carries a recorder of another version: use the lockprof that it came from");
        }
        let map = MmapOptions::new().len(size_of::<Control>()).map_raw(&file)?;
        let page = Self { map, folder, path: place.to_path_buf(), is_ours: Cell::new(false), _file: file };
        let control = page.control();
        while control.magic.load(Ordering::Relaxed) == 0 && began.elapsed() < BEING_MADE {
            std::thread::sleep(Duration::from_millis(1));
        }
        // Acquire: pairs with the shim's Release store, behind which the rest is there.
        if control.magic.load(Ordering::Acquire) != MAGIC || control.version.load(Ordering::Relaxed) != VERSION {
            bail!("process {pid} carries a recorder of another version: use the lockprof that it came from");
        }
        Ok(Some(page))
    }

    fn control(&self) -> &Control {
        // SAFETY: the mapping is a page and aligned; the type consists of atomics, for which any bytes are valid.
        unsafe { &*self.map.as_ptr().cast() }
    }

    /// Whether the process records. Nobody reads that, since nobody else has the page.
    pub fn is_awake(&self) -> bool {
        self.control().asleep.load(Ordering::Relaxed) == 0
    }

    /// From here on this side decides whether the process records.
    pub fn put_to_sleep(&self) {
        self.is_ours.set(true);
        self.control().asleep.store(1, Ordering::SeqCst);
    }

    /// Call once it was put to sleep, and what it had recorded is forgotten.
    pub fn wake(&self) {
        self.control().wakes.fetch_add(1, Ordering::Relaxed);
        self.control().asleep.store(0, Ordering::SeqCst);
    }
}

impl Drop for Page {
    /// However the recording ends, the program is not left with a recorder that nobody reads.
    fn drop(&mut self) {
        if self.is_ours.get() {
            self.put_to_sleep();
        }
    }
}

/// Whether a process has mapped this very file (`/proc/PID/maps`: device and file number before the path).
fn maps_file(maps: &str, file: &fs::Metadata) -> bool {
    let (major, minor) = (libc::major(file.dev()), libc::minor(file.dev()));
    let (device, number) = (format!("{major:02x}:{minor:02x}"), file.ino().to_string());
    maps.lines().any(|line| {
        let mut words = line.split_ascii_whitespace().skip(3);
        words.next() == Some(&device) && words.next() == Some(&number)
    })
}
