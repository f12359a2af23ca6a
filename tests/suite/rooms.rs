//! The rooms of `src` and of the shim import only what the tables in `docs/ARCHITECTURE.md` let them, and the tables are
//! complete. Each room imports rooms above it in its table only, so no two import each other.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

type Table = BTreeMap<String, BTreeSet<String>>;

/// Stands for every room.
const EVERYTHING: &str = "everything";

#[test]
fn rooms_import_what_they_may() {
    hold("src", "| room | may import |");
}

#[test]
fn rooms_of_the_shim_import_what_they_may() {
    hold("profiler-shim/src", "| room of the shim | may import |");
}

fn hold(source: &str, head: &str) {
    let allowed = table(head);
    let rooms = rooms(source);
    let order = rows(head);
    for (room, imports) in &allowed {
        let place = |room: &String| order.iter().position(|other| other == room);
        for import in imports.iter().filter(|import| *import != EVERYTHING && *import != "wire") {
            assert!(place(import) < place(room), "{room} may import {import}, which comes behind it in the table");
        }
    }
    let named: BTreeSet<_> = allowed.keys().map(String::as_str).collect();
    assert_eq!(named, rooms.keys().map(String::as_str).collect(), "the rooms of the table and those of {source}");
    for (room, files) in &rooms {
        for file in files {
            let code = code_of(file);
            let wire = has_word(&code, "lockprof_wire").then(|| "wire".to_owned());
            // What is no room is an item of the crate's root.
            let of_rooms = imports(&code).into_iter().filter(|import| import != room && rooms.contains_key(import));
            for import in of_rooms.chain(wire) {
                assert!(may(&allowed[room], &import), "{} imports {import}, which {room} may not", file.display());
            }
        }
    }
}

#[test]
fn no_files_go_in_circles() {
    no_circles("src");
    no_circles("profiler-shim/src");
}

/// Files that import each other are a parent module and its children.
fn no_circles(source: &str) {
    let modules = modules(source);
    let mut reach: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for start in modules.keys() {
        let mut reached = BTreeSet::new();
        let mut open = vec![start.as_str()];
        while let Some(module) = open.pop() {
            open.extend(modules[module].iter().map(String::as_str).filter(|next| reached.insert(*next)));
        }
        reach.insert(start, reached);
    }
    for (module, reached) in &reach {
        let circle: Vec<&str> = reached.iter().copied().filter(|other| reach[other].contains(module)).collect();
        let of_one_family = circle.iter().any(|parent| circle.iter().all(|other| is_within(other, parent)));
        assert!(circle.is_empty() || of_one_family, "these files import each other: {circle:?}");
    }
}

fn is_within(module: &str, parent: &str) -> bool {
    module.strip_prefix(parent).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
}

/// What each module of a source folder imports of the others, as far as `use` and paths from `crate` and `super` tell.
fn modules(source: &str) -> BTreeMap<String, BTreeSet<String>> {
    let root = root().join(source);
    let files: BTreeMap<String, PathBuf> = rooms(source)
        .into_values()
        .flatten()
        .map(|path| {
            let within = path.strip_prefix(&root).expect("a file of the source").with_extension("");
            let names: Vec<_> = within.iter().map(|name| name.to_string_lossy().into_owned()).collect();
            let names = if names.last().is_some_and(|last| last == "mod") { &names[..names.len() - 1] } else { &names };
            (names.join("::"), path)
        })
        .collect();
    let known = |mut path: &str| loop {
        if files.contains_key(path) {
            return Some(path.to_owned());
        }
        path = path.rsplit_once("::")?.0;
    };
    let imports = |(module, file): (&String, &PathBuf)| {
        let code = code_of(file);
        let code = code.split("#[cfg(test)]\nmod").next().unwrap_or_default();
        let paths = paths(code).into_iter().filter_map(|path| known(&absolute(module, &path)));
        (module.clone(), paths.filter(|path| path != module).collect())
    };
    files.iter().map(imports).collect()
}

/// A path as it is from the root of the crate.
fn absolute(module: &str, path: &str) -> String {
    let mut at: Vec<&str> = module.split("::").collect();
    let mut rest = path;
    loop {
        match rest.split_once("::") {
            Some(("crate", behind)) => return behind.to_owned(),
            Some(("super", behind)) => {
                at.pop();
                rest = behind;
            }
            Some(("self", behind)) => rest = behind,
            _ => return at.into_iter().chain([rest]).collect::<Vec<_>>().join("::"),
        }
    }
}

/// All paths that begin at `crate`, `super` or `self`, those of groups in braces each for itself.
fn paths(code: &str) -> Vec<String> {
    let mut found = Vec::new();
    for start in ["crate::", "super::", "self::"] {
        for (at, _) in
            code.match_indices(start).filter(|(at, _)| !code[..*at].ends_with(|c: char| is_word(c) || c == ':'))
        {
            add_paths(String::new(), &code[at..], &mut found);
        }
    }
    found
}

/// Adds the paths that a piece of code begins with; gives what comes behind them.
fn add_paths<'a>(mut path: String, mut code: &'a str, found: &mut Vec<String>) -> &'a str {
    loop {
        let end = code.find(|c: char| !is_word(c)).unwrap_or(code.len());
        path.push_str(&code[..end]);
        code = &code[end..];
        let Some(behind) = code.strip_prefix("::") else {
            found.push(path);
            return code;
        };
        path.push_str("::");
        let Some(mut group) = behind.strip_prefix('{') else {
            code = behind;
            continue;
        };
        loop {
            group = group.trim_start_matches(|c: char| c.is_whitespace() || c == ',');
            if let Some(rest) = group.strip_prefix('}') {
                return rest;
            }
            let rest = add_paths(path.clone(), group, found);
            // Behind a renamed one (`as`), or code that is no import.
            let Some(next) = rest.find([',', '}']) else { return rest };
            group = &rest[next..];
        }
    }
}

/// `order` looks for cycles, `findings` makes findings of them.
#[test]
fn orders_know_nothing_of_findings() {
    for file in files_of("analysis").iter().filter(|file| file.components().any(|part| part.as_os_str() == "order")) {
        assert!(!has_word(&code_of(file), "findings"), "{} imports findings", file.display());
    }
}

/// What the analysis found is told in facts; the catalogue's constants are the only words, and a filter's.
#[test]
fn findings_are_facts_and_not_sentences() {
    let rooms = ["contention", "diff", "order", "findings", "fingerprint"];
    for file in files_of("analysis") {
        let within = |part: std::path::Component<'_>| rooms.iter().any(|room| part.as_os_str() == *room);
        if !file.components().any(within) || file.ends_with("catalog.rs") || is_test(&file) {
            continue;
        }
        let code = code_of(&file);
        let code = code.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
        for text in code.split('"').skip(1).step_by(2) {
            let words = text.split(' ').filter(|word| word.len() > 1 && word.chars().all(|sign| sign.is_alphabetic()));
            assert!(words.count() < 4, "{}: a sentence: {text}", file.display());
        }
    }
}

#[test]
fn libraries_stay_in_their_rooms() {
    for (library, allowed) in table("| library | rooms |") {
        let users =
            rooms("src").into_iter().filter(|(_, files)| files.iter().any(|file| has_word(&code_of(file), &library)));
        let users: BTreeSet<_> = users.map(|(room, _)| room).collect();
        assert_eq!(users, allowed, "the rooms that use {library}");
    }
}

#[test]
fn paths_are_found_in_every_form() {
    let found = paths("use crate::a::{self, B, c::{D, E}};\nuse super::f as g;\nfn h() { crate::i::j(); }");
    let wanted = ["crate::a::self", "crate::a::B", "crate::a::c::D", "crate::a::c::E", "crate::i::j", "super::f"]
        .map(str::to_owned);
    assert_eq!(found, wanted);
    assert_eq!(absolute("a::b", "super::c::D"), "a::c::D");
    assert_eq!(absolute("a::b", "crate::e"), "e");
}

#[test]
fn imports_are_found_in_every_form() {
    let code = without_comments(
        "use crate::model::Lock; use crate::{ingest::file, render::{text, json}};\n\
         // use crate::nobody;\nfn f() { crate::record::g(\"//\"); mycrate::h(); }",
    );
    assert_eq!(imports(&code), ["model", "ingest", "render", "record"].map(str::to_owned).into());
    assert!(has_word("use serde::Serialize;", "serde") && !has_word("use serde_json::Value;", "serde"));
    assert!(may(&[EVERYTHING.to_owned()].into(), "model") && !may(&["model".to_owned()].into(), "render"));
}

fn files_of(room: &str) -> Vec<PathBuf> {
    rooms("src").remove(room).unwrap_or_default()
}

fn is_test(file: &Path) -> bool {
    file.components().any(|part| part.as_os_str() == "tests" || part.as_os_str() == "tests.rs")
}

fn may(allowed: &BTreeSet<String>, import: &str) -> bool {
    allowed.contains(EVERYTHING) || allowed.contains(import)
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn architecture() -> String {
    fs::read_to_string(root().join("docs/ARCHITECTURE.md")).expect("the architecture page")
}

/// The first column of a table, in its order.
fn rows(head: &str) -> Vec<String> {
    let text = architecture();
    let rows = text.lines().skip_while(|line| *line != head).skip(2).take_while(|line| line.starts_with('|'));
    rows.filter_map(|row| row.split('`').nth(1)).map(str::to_owned).collect()
}

/// The first column, and the words in code quotes (or the word `everything`) of the second.
fn table(head: &str) -> Table {
    let text = architecture();
    let rows = text.lines().skip_while(|line| *line != head).skip(2).take_while(|line| line.starts_with('|'));
    let table: Table = rows
        .map(|row| {
            let mut cells = row.trim_matches('|').split('|');
            let quoted = |cell: &str| cell.split('`').skip(1).step_by(2).map(str::to_owned).collect::<Vec<_>>();
            let first = quoted(cells.next().unwrap_or_default());
            let second = cells.next().unwrap_or_default();
            let everything = (second.trim() == EVERYTHING).then(|| EVERYTHING.to_owned());
            (first.concat(), quoted(second).into_iter().chain(everything).collect())
        })
        .collect();
    assert!(table.len() > 3, "no table under {head}");
    table
}

/// Files by room: a folder of the source, or a file beside `lib.rs` and `main.rs`.
fn rooms(source: &str) -> BTreeMap<String, Vec<PathBuf>> {
    let mut rooms: BTreeMap<String, Vec<PathBuf>> = BTreeMap::new();
    let src = root().join(source);
    let mut folders = vec![src.clone()];
    while let Some(folder) = folders.pop() {
        for path in fs::read_dir(folder).expect("a folder of the source").flatten().map(|entry| entry.path()) {
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let within = path.strip_prefix(&src).expect("a file of the source");
                let first = within.iter().next().expect("a name").to_string_lossy();
                rooms.entry(first.trim_end_matches(".rs").to_owned()).or_default().push(path);
            }
        }
    }
    rooms.remove("lib");
    rooms.remove("main");
    rooms
}

fn code_of(file: &Path) -> String {
    without_comments(&fs::read_to_string(file).expect("a source file"))
}

/// Whole-line comments are enough: nobody writes `crate::` behind code in a comment.
fn without_comments(text: &str) -> String {
    text.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n")
}

/// The first path segments behind `crate::`, groups in braces included.
fn imports(code: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for (at, _) in code.match_indices("crate::").filter(|(at, _)| !code[..*at].ends_with(is_word)) {
        let rest = &code[at + "crate::".len()..];
        let Some(group) = rest.strip_prefix('{') else {
            found.extend(first_word(rest));
            continue;
        };
        let mut depth = 0;
        let mut begins = true;
        for (at, sign) in group.char_indices() {
            match sign {
                '{' => depth += 1,
                '}' if depth == 0 => break,
                '}' => depth -= 1,
                ',' if depth == 0 => begins = true,
                _ if begins && is_word(sign) => {
                    found.extend(first_word(&group[at..]));
                    begins = false;
                }
                _ => {}
            }
        }
    }
    found
}

fn first_word(text: &str) -> Option<String> {
    let word: String = text.chars().take_while(|sign| is_word(*sign)).collect();
    // A macro or an item of the crate's root is not a room.
    word.starts_with(char::is_lowercase).then_some(word)
}

fn has_word(code: &str, word: &str) -> bool {
    code.match_indices(word).any(|(at, _)| {
        let behind = &code[at + word.len()..];
        !code[..at].ends_with(is_word) && behind.starts_with("::")
    })
}

fn is_word(sign: char) -> bool {
    sign.is_alphanumeric() || sign == '_'
}
