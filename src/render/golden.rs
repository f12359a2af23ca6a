//! Golden files: what a renderer writes, kept under `tests/golden/` and compared to the byte.
//!
//! `LOCKPROF_BLESS=1 cargo test` rewrites them; look at the difference before committing it.

use std::path::Path;

/// Compares with the golden file of this name.
pub(crate) fn check(name: &str, text: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name);
    if std::env::var_os("LOCKPROF_BLESS").is_some() {
        std::fs::write(&path, text).expect("the golden file can be written");
        return;
    }
    let want = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    if let Some(difference) = difference(text, &want) {
        panic!("{name}:{difference}\nLOCKPROF_BLESS=1 rewrites it");
    }
}

/// The first line that differs, with its ending: "LINE: got ..., want ...".
fn difference(got: &str, want: &str) -> Option<String> {
    let (mut got, mut want) = (got.split_inclusive('\n'), want.split_inclusive('\n'));
    (1..).find_map(|line| match (got.next(), want.next()) {
        (None, None) => Some(None),
        (got, want) if got == want => None,
        (got, want) => Some(Some(format!("{line}: got\n{got:?}\nwant\n{want:?}"))),
    })?
}

#[cfg(test)]
mod tests {
    use super::difference;

    #[test]
    fn every_byte_counts() {
        assert_eq!(difference("a\nb\n", "a\nb\n"), None);
        assert_eq!(difference("", ""), None);
        for (got, want, line) in [
            ("a\nb", "a\nb\n", "2:"),
            ("a\nb\n", "a\nb", "2:"),
            ("a\nb\n", "a\r\nb\n", "1:"),
            ("a\n", "a\n\n", "2:"),
            ("a\n", "", "1:"),
            ("", "\n", "1:"),
        ] {
            assert!(difference(got, want).is_some_and(|found| found.starts_with(line)), "{got:?} {want:?}");
        }
    }
}
