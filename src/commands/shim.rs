//! `lockprof shim`: where the recorder is, for those who preload it themselves.

use std::os::unix::ffi::OsStrExt;

use super::output::Target;
use crate::exit_code::ExitCode;
use crate::record::shim;

/// Writes the path of the library, which is put in its place if it is not there yet.
pub(super) fn shim() -> anyhow::Result<ExitCode> {
    let mut line = shim::install()?.into_os_string().as_bytes().to_vec();
    line.push(b'\n');
    Target::Stdout.write(&line)?;
    Ok(ExitCode::Success)
}
