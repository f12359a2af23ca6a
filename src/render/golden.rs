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
    let want = std::fs::read_to_string(&path).unwrap_or_default();
    for (at, (got, want)) in text.lines().zip(want.lines()).enumerate() {
        assert_eq!(got, want, "{name}:{}: LOCKPROF_BLESS=1 rewrites it", at + 1);
    }
    assert_eq!(text.lines().count(), want.lines().count(), "{name}: LOCKPROF_BLESS=1 rewrites it");
}
