//! Symbol names as people write them: demangled, without parameters and compiler suffixes.
//!
//! Deliberately lossy: overloads of a function share a name (file and line tell them apart). What
//! is not mangled, or mangled in a scheme unknown here, is returned as it is.

use cpp_demangle::{DemangleOptions, ParseOptions, Symbol};

/// Mangled names longer than this are kept as they are: their demangled form has no reader, and the
/// nesting in them is a way to exhaust the stack.
const LONGEST: usize = 16 * 1024;

/// Nesting allowed in a mangled name.
const DEPTH: u32 = 128;

/// A function's name: `_ZN5Cache3getEi` → `Cache::get`.
pub fn function(mangled: &str) -> String {
    let name = without_suffix(mangled);
    if let Some(rust) = rust(name) {
        return rust;
    }
    let options = DemangleOptions::new().no_params().no_return_type().recursion_limit(DEPTH);
    let Some(mut text) = cpp(name, &options) else { return name.to_owned() };
    // Local functions keep their qualifiers; in `operator char const` it is part of the name.
    if text.ends_with(" const") && !text.contains("operator ") {
        text.truncate(text.len() - " const".len());
    }
    text
}

/// A variable's name: `_ZN2db12_GLOBAL__N_14lockE` → `db::lock`, `_ZZ3getiE2mu` → `get()::mu`.
pub fn variable(mangled: &str) -> String {
    let name = mangled.split("@@").next().unwrap_or(mangled);
    if let Some(rust) = rust(name) {
        return rust;
    }
    match cpp(name, &DemangleOptions::new().no_return_type().recursion_limit(DEPTH)) {
        Some(text) => empty_parameters(&text.replace("(anonymous namespace)::", "")),
        // C compilers number static locals: `mu.0`, `mu.2891`.
        None => match name.rsplit_once('.') {
            Some((stem, digits)) if !stem.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()) => stem.to_owned(),
            _ => name.to_owned(),
        },
    }
}

fn rust(name: &str) -> Option<String> {
    // Without the hash at its end (`17h` and 16 digits) a legacy Rust name is a C++ variable's.
    if name.len() > LONGEST || !(name.starts_with("_R") || name.contains("17h")) {
        return None;
    }
    let demangled = rustc_demangle::try_demangle(name).ok()?;
    Some(format!("{demangled:#}"))
}

fn cpp(name: &str, options: &DemangleOptions) -> Option<String> {
    if !name.starts_with("_Z") || name.len() > LONGEST {
        return None;
    }
    if !name.is_ascii() {
        let (ascii, runs) = without_foreign(name)?;
        let text = cpp(&ascii, options)?;
        return Some(runs.iter().fold(text, |text, (stand_in, run)| text.replace(stand_in, run)));
    }
    let parse = ParseOptions::default().recursion_limit(DEPTH);
    let symbol = Symbol::new_with_options(name, &parse).ok()?;
    symbol.demangle_with_options(options).ok()
}

/// The name with each run of characters that are not ASCII replaced by a text as long, as the demangler knows ASCII
/// only; and what replaces what. `None` for names in which there are too many, or which use the replacement's sign.
fn without_foreign(name: &str) -> Option<(String, Vec<(String, String)>)> {
    let (mut out, mut runs) = (String::with_capacity(name.len()), Vec::<(String, String)>::new());
    let mut rest = name;
    while let Some(start) = rest.find(|c: char| !c.is_ascii()) {
        let end = rest[start..].find(|c: char| c.is_ascii()).map_or(rest.len(), |length| start + length);
        let run = &rest[start..end];
        let known = runs.iter().find(|(_, known)| known == run).map(|(stand_in, _)| stand_in.clone());
        let stand_in = match known {
            Some(stand_in) => stand_in,
            None => {
                let digits = run.len() - 1;
                let number = format!("{:0>digits$}", runs.len());
                let stand_in = Some(format!("${number}")).filter(|text| text.len() == run.len())?;
                runs.push((stand_in.clone(), run.to_owned()));
                stand_in
            }
        };
        out.push_str(&rest[..start]);
        out.push_str(&stand_in);
        rest = &rest[end..];
    }
    out.push_str(rest);
    (!name.contains('$')).then_some((out, runs))
}

/// Cuts what compilers append to the clones of a function: `work.constprop.0.cold` → `work`.
fn without_suffix(name: &str) -> &str {
    const CLONES: [&str; 8] = ["constprop", "isra", "part", "cold", "lto_priv", "llvm", "localalias", "clone"];
    let mut cut = name;
    while let Some((stem, last)) = cut.rsplit_once('.') {
        let numbered = !last.is_empty() && last.bytes().all(|b| b.is_ascii_digit());
        let (stem, word) = match stem.rsplit_once('.') {
            Some((shorter, word)) if numbered => (shorter, word),
            _ => (stem, last),
        };
        if stem.is_empty() || !CLONES.contains(&word) {
            break;
        }
        cut = stem;
    }
    cut.split("@@").next().unwrap_or(cut)
}

/// Empties the parameter lists of the functions in a path, with what qualifies them:
/// `Cache::get(int) const::mu` → `Cache::get()::mu`.
fn empty_parameters(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut depth = 0usize;
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        rest = &rest[c.len_utf8()..];
        match c {
            '(' => {
                if depth == 0 {
                    out.push('(');
                }
                depth += 1;
            }
            ')' if depth > 0 => {
                depth -= 1;
                if depth == 0 {
                    out.push(')');
                    for qualifier in [" const", " volatile", " &&", " &"] {
                        rest = rest.strip_prefix(qualifier).unwrap_or(rest);
                    }
                }
            }
            _ if depth == 0 => out.push(c),
            _ => {}
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn functions_lose_parameters_and_suffixes() {
        for (mangled, want) in [
            ("main", "main"),
            ("worker.constprop.0", "worker"),
            ("worker.constprop.0.cold", "worker"),
            ("worker.part.3.lto_priv.12", "worker"),
            ("memcpy@@GLIBC_2.14", "memcpy"),
            ("_ZN5Cache3getEi", "Cache::get"),
            ("_ZNK5Cache3getEi.isra.0", "Cache::get"),
            ("_ZN12_GLOBAL__N_14initEv", "(anonymous namespace)::init"),
            ("_ZN5mutexC4Ev", "mutex::mutex"),
            ("_ZZ4mainENKUliE_clEi", "main::{lambda(int)#1}::operator()"),
            ("_ZNK4TextcvPKcEv", "Text::operator char const*"),
            ("_ZN4core9panicking9panic_fmt17h5f1a6fd39197ad62E", "core::panicking::panic_fmt"),
            ("_RNvCs1234_7mycrate3foo", "mycrate::foo"),
            ("_ZN6Größe3mu_Ev", "_ZN6Größe3mu_Ev"),
            ("_ZN7Größe6müsstEv", "Größe::müsst"),
            ("_ZN9日本語3getIS_EEvv", "日本語::get<日本語>"),
            ("_Znot_mangled", "_Znot_mangled"),
            (".hidden", ".hidden"),
            ("odd.5", "odd.5"),
        ] {
            assert_eq!(function(mangled), want, "{mangled}");
        }
    }

    #[test]
    fn variables_read_like_the_source() {
        for (mangled, want) in [
            ("g_mu", "g_mu"),
            ("mu.2891", "mu"),
            ("_ZN2db12_GLOBAL__N_14lockE", "db::lock"),
            ("_ZZ3getiE2mu", "get()::mu"),
            ("_ZZNK5Cache3getEiE2mu", "Cache::get()::mu"),
            ("_ZN5Cache5mutexE", "Cache::mutex"),
        ] {
            assert_eq!(variable(mangled), want, "{mangled}");
        }
    }

    #[test]
    fn deep_nesting_is_refused_not_followed() {
        let deep = format!("_Z1f{}i", "P".repeat(100_000));
        assert_eq!(function(&deep), deep);
        let nested = format!("_Z1f{}i", "P".repeat(8_000));
        function(&nested);
        variable(&nested);
    }
}
