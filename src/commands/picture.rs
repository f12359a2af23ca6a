//! Where a picture or a page goes, and the browser that shows it.

use std::ffi::OsString;
use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::bail;

use super::output::{Console, Target};

/// Where it goes. `own`: the file where nobody named one and it is not for standard output.
///
/// # Errors
/// Where standard output was named, and it is to be opened.
pub(super) fn target(output: Option<&Path>, open: bool, own: PathBuf) -> anyhow::Result<Target> {
    Ok(match output {
        Some(path) if path.as_os_str() == "-" => {
            if open {
                bail!("--open needs a file to open: name one by -o FILE");
            }
            Target::Stdout
        }
        Some(path) => Target::File(path.to_owned()),
        None if open || std::io::stdout().is_terminal() => Target::File(own),
        None => Target::Stdout,
    })
}

/// Says where it is, and opens it if that is wanted.
///
/// # Errors
/// Where there is no browser.
pub(super) fn present(console: &Console, target: &Target, wanted: bool) -> anyhow::Result<()> {
    let Target::File(path) = target else { return Ok(()) };
    let hint = if wanted { "" } else { ": open it in a browser" };
    console.say(&format!("wrote {}{hint}", path.display()));
    if wanted { open(path) } else { Ok(()) }
}

/// Hands it to the person's browser, which goes on without us.
fn open(path: &Path) -> anyhow::Result<()> {
    let browser = std::env::var_os("BROWSER").filter(|name| !name.is_empty());
    let program = browser.unwrap_or_else(|| OsString::from("xdg-open"));
    // A file may be called like an option or an address.
    let full = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let started = Command::new(&program).arg(full).stdin(Stdio::null()).stdout(Stdio::null()).spawn();
    match started {
        Ok(_) => Ok(()),
        Err(error) => bail!(
            "cannot start {}: {error}; open {} in a browser yourself, or name one in $BROWSER",
            program.to_string_lossy(),
            path.display()
        ),
    }
}
