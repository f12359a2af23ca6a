//! A page as a browser without a window leaves it.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use super::run::{finish, folder};

/// A browser starts slowly on a loaded machine.
const LIMIT: Duration = Duration::from_secs(180);

/// The document of `file#hash` after its scripts have run, without what is in script and style elements. No network is
/// needed, and none is tried.
pub fn document(browser: &Path, file: &Path, hash: &str) -> String {
    let profile = folder();
    let mut command = Command::new(browser);
    command.args([
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-quic",
        "--no-first-run",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
        "--disable-dev-shm-usage",
        "--virtual-time-budget=5000",
        "--dump-dom",
    ]);
    command.arg(format!("--user-data-dir={}", profile.path().display()));
    command.arg(format!("file://{}#{hash}", file.display())).env("HOME", profile.path());
    let outcome = finish(&mut command, LIMIT);
    assert_eq!(outcome.code(), 0, "the browser fails: {}", outcome.stderr);
    let document = without(&without(&outcome.stdout, "script"), "style");
    assert!(document.contains("data-ready=\"yes\""), "the page's script did not run to its end:\n{document:.2000}");
    assert!(!document.contains("data-errors"), "{}", attribute(&document, "data-errors"));
    document
}

/// The text without elements of this name.
fn without(text: &str, tag: &str) -> String {
    let (open, close) = (format!("<{tag}"), format!("</{tag}>"));
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, element)) = rest.split_once(&open) {
        out.push_str(before);
        rest = element.split_once(&close).map_or("", |(_, after)| after);
    }
    out + rest
}

/// The value of the first attribute of this name.
pub fn attribute<'a>(html: &'a str, name: &str) -> &'a str {
    attributes(html, name).next().unwrap_or("")
}

/// The values of all attributes of this name.
pub fn attributes<'a>(html: &'a str, name: &str) -> impl Iterator<Item = &'a str> {
    let start = format!(" {name}=\"");
    let values: Vec<&str> = html.split(&start).skip(1).filter_map(|rest| rest.split('"').next()).collect();
    values.into_iter()
}

/// What is between the element with this id and the end of the next element of this name.
pub fn part<'a>(html: &'a str, id: &str, end: &str) -> &'a str {
    let (_, rest) = html.split_once(&format!("id=\"{id}\"")).unwrap_or_else(|| panic!("no element {id}"));
    rest.split_once(&format!("</{end}>")).map_or(rest, |(part, _)| part)
}

/// Text without markup.
pub fn text(html: &str) -> String {
    let parts = html.split('<').map(|part| part.split_once('>').map_or(part, |(_, text)| text));
    parts.collect::<String>().replace("&amp;", "&").replace("&lt;", "<").replace("&gt;", ">")
}
