//! The files behind a module: the binary itself, checked against the recorded build-id, and the
//! separate file with its debug information.
//!
//! Follows the places that Linux distributions use (build-id folder, `.gnu_debuglink`); it does not
//! download anything and does not look into other mount namespaces.

use std::fs::{File, Metadata};
use std::path::{Path, PathBuf};

use memmap2::Mmap;
use object::{Object, ObjectSection};

use crate::model::Module;

/// Where distributions put separate debug files.
const DEBUG_FOLDERS: [&str; 1] = ["/usr/lib/debug"];

/// A compressed section that claims to grow by more than this is corrupt: deflate reaches 1032.
const GREATEST_EXPANSION: u64 = 1100;

/// Why a module's file cannot be used; the text is for the person.
#[derive(Debug, thiserror::Error)]
pub enum ElfError {
    /// It cannot be opened or mapped.
    #[error("{path}: {source}")]
    Open {
        /// The file.
        path: String,
        /// Why.
        source: std::io::Error,
    },
    /// It is not a readable ELF file.
    #[error("{path}: not a readable ELF file ({source})")]
    Parse {
        /// The file.
        path: String,
        /// Why.
        source: object::Error,
    },
    /// It is not the file that was recorded.
    #[error("{path} has changed since the recording (another build-id): its functions stay unnamed")]
    Changed {
        /// The file.
        path: String,
    },
    /// A section claims an impossible size.
    #[error("{path}: section {section} is corrupt")]
    Corrupt {
        /// The file.
        path: String,
        /// The section.
        section: String,
    },
    /// The debug information cannot be read.
    #[error("{path}: unreadable debug information ({source})")]
    Dwarf {
        /// The file.
        path: String,
        /// Why.
        source: gimli::Error,
    },
}

/// A mapped file.
pub struct Binary {
    path: PathBuf,
    map: Mmap,
    metadata: Metadata,
}

impl Binary {
    /// Maps a file.
    pub fn open(path: &Path) -> Result<Self, ElfError> {
        let failed = |source| ElfError::Open { path: path.display().to_string(), source };
        let file = File::open(path).map_err(failed)?;
        let metadata = file.metadata().map_err(failed)?;
        if !metadata.is_file() {
            return Err(failed(std::io::Error::other("not a regular file")));
        }
        // SAFETY: the mapping is private and only read. Like every symboliser we rely on nobody
        // truncating an installed binary in place while it is being read.
        let map = unsafe { Mmap::map(&file) }.map_err(failed)?;
        Ok(Self { path: path.to_owned(), map, metadata })
    }

    /// Its path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What the file system told of it when it was opened.
    pub fn metadata(&self) -> &Metadata {
        &self.metadata
    }

    /// Its headers, checked so far that no section makes a reader allocate without bound.
    pub fn parse(&self) -> Result<object::File<'_>, ElfError> {
        let path = || self.path.display().to_string();
        let file = object::File::parse(&*self.map).map_err(|source| ElfError::Parse { path: path(), source })?;
        let limit = (self.map.len() as u64).saturating_mul(GREATEST_EXPANSION);
        for section in file.sections() {
            let compressed = section
                .compressed_file_range()
                .is_ok_and(|range| range.format != object::CompressionFormat::None && range.uncompressed_size > limit);
            if compressed {
                let section = section.name().unwrap_or("?").to_owned();
                return Err(ElfError::Corrupt { path: path(), section });
            }
        }
        Ok(file)
    }

    /// The file's bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.map
    }

    /// The checksum that `.gnu_debuglink` holds of a debug file.
    fn crc(&self) -> u32 {
        crc32fast::hash(&self.map)
    }
}

/// The files to read for a module.
pub struct Located {
    /// The module itself; `None` where only its debug file is there.
    pub binary: Option<Binary>,
    /// Its separate debug file.
    pub debug: Option<Binary>,
}

impl Located {
    /// The files in the order in which to ask them for symbols: the richest first.
    pub fn files(&self) -> impl Iterator<Item = &Binary> {
        self.debug.iter().chain(&self.binary)
    }
}

/// Finds the files of a module; `Ok(None)` for what has no file (`[vdso]`).
pub fn locate(module: &Module) -> Result<Option<Located>, ElfError> {
    locate_in(module, &DEBUG_FOLDERS.map(PathBuf::from))
}

/// [`locate`] with these debug folders.
pub fn locate_in(module: &Module, debug_folders: &[PathBuf]) -> Result<Option<Located>, ElfError> {
    let path = module.path.strip_suffix(" (deleted)").unwrap_or(&module.path);
    if path.is_empty() || path.starts_with('[') {
        return Ok(None);
    }
    let binary = open_recorded(Path::new(path), &module.build_id);
    let debug = by_build_id(&module.build_id, debug_folders);
    match (binary, debug) {
        (Ok(binary), debug) => {
            let file = binary.parse()?;
            let debug = if has_debug_information(&file) {
                None
            } else {
                debug.or_else(|| by_link(&file, &binary, debug_folders))
            };
            drop(file);
            Ok(Some(Located { binary: Some(binary), debug }))
        }
        (Err(_), Some(debug)) => Ok(Some(Located { binary: None, debug: Some(debug) })),
        (Err(error), None) => Err(error),
    }
}

/// The files of a module whose debug file is known. The module's own may be gone.
pub fn locate_with(module: &Module, debug: &Path) -> Result<Located, ElfError> {
    let path = module.path.strip_suffix(" (deleted)").unwrap_or(&module.path);
    let debug = open_recorded(debug, &module.build_id)?;
    Ok(Located { binary: open_recorded(Path::new(path), &module.build_id).ok(), debug: Some(debug) })
}

/// Whether the file holds DWARF of its own.
pub fn has_debug_information(file: &object::File<'_>) -> bool {
    file.section_by_name(".debug_info").is_some_and(|section| section.size() > 0)
}

fn open_recorded(path: &Path, build_id: &[u8]) -> Result<Binary, ElfError> {
    let binary = Binary::open(path)?;
    let found = binary.parse()?.build_id().ok().flatten().unwrap_or_default().to_vec();
    if !build_id.is_empty() && found != build_id {
        return Err(ElfError::Changed { path: path.display().to_string() });
    }
    Ok(binary)
}

fn by_build_id(build_id: &[u8], debug_folders: &[PathBuf]) -> Option<Binary> {
    let (first, rest) = build_id.split_first().filter(|(_, rest)| rest.len() >= 4)?;
    let rest: String = rest.iter().map(|byte| format!("{byte:02x}")).collect();
    let name = format!(".build-id/{first:02x}/{rest}.debug");
    debug_folders.iter().find_map(|folder| open_recorded(&folder.join(&name), build_id).ok())
}

fn by_link(file: &object::File<'_>, binary: &Binary, debug_folders: &[PathBuf]) -> Option<Binary> {
    let (name, crc) = file.gnu_debuglink().ok()??;
    let name = std::str::from_utf8(name).ok()?;
    let real = binary.path().canonicalize().ok()?;
    let folder = real.parent()?;
    let mirrored = folder.strip_prefix("/").unwrap_or(folder);
    [folder.join(name), folder.join(".debug").join(name)]
        .into_iter()
        .chain(debug_folders.iter().map(|debug| debug.join(mirrored).join(name)))
        .filter(|candidate| *candidate != real)
        .find_map(|candidate| {
            let debug = Binary::open(&candidate).ok()?;
            let readable = debug.crc() == crc && debug.parse().is_ok();
            readable.then_some(debug)
        })
}
