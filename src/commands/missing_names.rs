//! Which names a recording lacks, and how to get them.

use std::path::Path;

use super::output::Console;
use crate::model::Session;
use crate::render::style::{printable, wrap};
use crate::render::units::plural;
use crate::symbols::{self, Unnamed, packages};

/// Files named where names are missing.
const MOST: usize = 4;

/// Says once which names are missing, and how to get them. `path`: the recording, where it has just been made.
pub(super) fn say(console: &Console, session: &Session, path: Option<&Path>) {
    let unnamed = symbols::unnamed(session);
    if unnamed.is_empty() || console.quiet() {
        return;
    }
    let (shown, more) = unnamed.split_at(unnamed.len().min(MOST));
    let mut names: Vec<String> = shown.iter().map(|it| format!("{} ({})", it.module.name(), it.places)).collect();
    if !more.is_empty() {
        names.push(format!("{} other files", more.len()));
    }
    let all: usize = unnamed.iter().map(|it| it.places).sum();
    let (mut from, mut others): (Vec<String>, Vec<&str>) = (Vec::new(), Vec::new());
    for Unnamed { module, .. } in shown {
        match packages::of(module.path.as_ref()) {
            Some(package) => from.push(format!("{package}-dbgsym")),
            None => others.push(module.name()),
        }
    }
    from.sort_unstable();
    from.dedup();
    let mut advice = Vec::new();
    if !from.is_empty() {
        advice.push(format!("install {} (or -dbg) of Debian's archive of debug packages", from.join(", ")));
    }
    if !others.is_empty() {
        advice.push(format!("build {} with -g, or keep a debug file of it", others.join(", ")));
    }
    if let Some(path) = path.filter(|path| path.as_os_str() != "-") {
        let server = if symbols::has_server() { " (--debuginfod fetches what is missing)" } else { "" };
        advice.push(format!("`lockprof symbolize {}` then adds the names{server}", path.display()));
    }
    let what = plural(all as u64, "place in the code has", "places in the code have");
    let text = format!("{what} no name, in {}: {}", names.join(", "), advice.join("; "));
    let layout = console.stderr_layout();
    console.write_stderr(&wrap(&printable(&text), layout.width, "lockprof: ", "  "));
}
