//! Programs with AddressSanitizer: its runtime ends them if another library is loaded before it, unless an option says
//! otherwise. The shim says so itself, but where the program has default options of its own, the runtime asks the program.

use std::ffi::{OsStr, OsString};
use std::path::Path;

use object::LittleEndian;
use object::elf::FileHeader64;
use object::read::elf::{FileHeader, Sym};

/// The variable that the runtime reads.
pub const VARIABLE: &str = "ASAN_OPTIONS";
const OPTION: &str = "verify_asan_link_order=0";

/// The options to run such a program with: what the user has set, and ours. `None` if it is no such program.
pub fn options(program: &Path) -> Option<OsString> {
    has_own_options(program).then(|| add_to(std::env::var_os(VARIABLE).unwrap_or_default()))
}

fn add_to(mut options: OsString) -> OsString {
    if !options.is_empty() {
        options.push(OsStr::new(":"));
    }
    options.push(OPTION);
    options
}

fn has_own_options(program: &Path) -> bool {
    let Ok(file) = std::fs::File::open(program) else { return false };
    // Programs may be large, and their start waits for this: only the tables that tell are read.
    // SAFETY: the mapping is private and only read. As the loader does right afterwards, we rely on nobody truncating the
    // program meanwhile.
    let map = unsafe { memmap2::Mmap::map(&file) };
    map.is_ok_and(|map| exports(&map, b"__asan_default_options").unwrap_or(false))
}

/// Whether an ELF file defines a function of this name that libraries find.
fn exports(file: &[u8], name: &[u8]) -> object::read::Result<bool> {
    let header = FileHeader64::<LittleEndian>::parse(file)?;
    let endian = LittleEndian;
    let sections = header.sections(endian, file)?;
    let symbols = sections.symbols(endian, file, object::elf::SHT_DYNSYM)?;
    let is = |symbol: &object::elf::Sym64<LittleEndian>| {
        symbol.name(endian, symbols.strings()).is_ok_and(|found| found == name) && !symbol.is_undefined(endian)
    };
    Ok(symbols.iter().any(is))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_user_has_set_stays() {
        assert_eq!(add_to(OsString::new()), "verify_asan_link_order=0");
        assert_eq!(add_to("detect_leaks=0".into()), "detect_leaks=0:verify_asan_link_order=0");
    }

    #[test]
    fn only_programs_with_options_of_their_own() {
        assert!(!has_own_options(Path::new("/proc/self/exe")));
        assert!(!has_own_options(Path::new("/dev/null")));
    }
}
