//! What is published: each crate has the files that its build reads.

use std::path::Path;
use std::process::Command;

use crate::util::run::{LIMIT, finish};

/// The files of a published crate.
fn files(name: &str) -> Option<Vec<String>> {
    let mut command = Command::new(env!("CARGO"));
    command.args(["package", "--list", "--allow-dirty", "--offline", "-p", name]);
    let outcome = finish(command.current_dir(env!("CARGO_MANIFEST_DIR")), LIMIT);
    if outcome.code() != 0 {
        crate::util::skip::unable(&format!("cargo package: {}", outcome.stderr));
        return None;
    }
    Some(outcome.stdout.lines().map(str::to_owned).collect())
}

#[test]
fn published_crates_have_what_their_build_reads() {
    let Some(shim) = files("lockprof-shim") else { return };
    for file in ["symbols.map", "src/lib.rs", "README.md"] {
        assert!(shim.iter().any(|it| it == file), "{file}: {shim:?}");
    }
    let Some(own) = files("lockprof") else { return };
    for file in ["build.rs", "build/library.rs", "README.md", "NOTICE", "LICENSE-MIT", "src/render/html/page.css"] {
        assert!(own.iter().any(|it| it == file), "{file}: {own:?}");
    }
    // Pages that `explain` has inside.
    let pages = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/findings");
    for page in std::fs::read_dir(pages).expect("the pages").flatten() {
        let name = format!("docs/findings/{}", page.file_name().to_string_lossy());
        assert!(own.contains(&name), "{name}");
    }
    assert!(!own.iter().any(|it| it.starts_with("profiler-shim/") || it.starts_with("tests/")), "{own:?}");
}
