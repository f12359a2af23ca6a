//! Checks of a program's files, the same for one that is started and for one that runs.

use super::Finding;
use super::object::Object;
use crate::model::diagnosis::Outcome;

/// Functions on locks that are not libc's.
pub fn functions(objects: &[Object]) -> Option<Finding> {
    let own: Vec<&Object> = objects
        .iter()
        .take_while(|object| !object.is_libc())
        .filter(|object| !object.own_functions.is_empty())
        .collect();
    let first = own.first()?;
    let said = own.iter().map(|object| {
        let functions = &object.own_functions;
        let more = if functions.len() > 2 { format!(" and {} more", functions.len() - 2) } else { String::new() };
        format!("{} has its own {}{more}", object.name(), functions[..functions.len().min(2)].join(", "))
    });
    let found = said.collect::<Vec<_>>().join("; ");
    // A library that hands calls on stands before libc's as the recorder does.
    if own.iter().all(|object| object.hands_on) {
        let what = "a library that stands before libc's functions: it must hand calls on to the next of their name";
        return Some(Finding::note(found).missing(what));
    }
    // Other names are not libc's by right, so the functions may be about something else.
    let is_reserved = |name: &String| name.starts_with("pthread_") || name.starts_with("sem_");
    let outcome =
        if own.iter().any(|it| it.own_functions.iter().any(is_reserved)) { Outcome::InPart } else { Outcome::Note };
    Some(
        Finding::new(outcome, found)
            .missing(format!("locks that are taken by functions of {}", first.name()))
            .fix("build it without them, so that libc's are called"),
    )
}

/// Locks that do not go through libc.
pub fn own(objects: &[Object], is_recorded: impl Fn(&Object, &str) -> bool, starts_threads: bool) -> Option<Finding> {
    let said: Vec<String> = (objects.iter())
        .filter_map(|object| {
            let names: Vec<&str> = object.own_locks.iter().copied().filter(|name| !is_recorded(object, name)).collect();
            (!names.is_empty()).then(|| format!("{} ({})", object.name(), names.join(", ")))
        })
        .collect();
    if said.is_empty() {
        return None;
    }
    let found = format!("locks that do not go through libc, in {}", said.join(", "));
    if !starts_threads {
        return Some(
            Finding::note(found).missing("nothing as long as there is one thread, as it seems: nobody waits for it"),
        );
    }
    Some(
        Finding::new(Outcome::InPart, found)
            .missing(format!("the locks of {}", said.join(", ")))
            .fix("`lockprof where PID` looks into some of them; the others need the profiler of their language"),
    )
}

/// A sanitizer.
pub fn sanitizer(objects: &[Object]) -> Option<Finding> {
    let name = objects.iter().find_map(|object| object.sanitizer)?;
    Some(match name {
        "AddressSanitizer" => Finding::ok("AddressSanitizer: ASAN_OPTIONS lets the recorder be loaded before it"),
        _ => Finding::note(format!("{name} has functions of its own for those of libc"))
            .missing("times: both tools cost time at each lock")
            .fix("record a build without it"),
    })
}

/// An allocator other than libc's.
pub fn allocator(objects: &[Object]) -> Option<Finding> {
    let other = objects.iter().take_while(|object| !object.is_libc()).find(|object| object.allocates)?;
    Some(Finding::ok(format!("{} has its own malloc; its inner locks are no locks of the program", other.name())))
}

/// Libraries that come later.
pub fn opens(objects: &[Object]) -> Option<Finding> {
    let names: Vec<String> =
        objects.iter().filter(|object| object.opens && !object.is_libc()).map(Object::name).collect();
    if names.is_empty() {
        return None;
    }
    Some(
        Finding::new(Outcome::Open, format!("{} can open libraries while it runs (dlopen)", listed(&names)))
            .missing("whether those bring locks that do not go through libc"),
    )
}

/// Whether call stacks can be followed.
pub fn unwinding(objects: &[Object]) -> Option<Finding> {
    objects.first()?;
    let without: Vec<String> = objects.iter().filter(|object| !object.unwinds).map(Object::name).collect();
    Some(if without.is_empty() {
        Finding::ok("unwind tables are there: whole call stacks")
    } else {
        Finding::note(format!("{} has no unwind tables", listed(&without)))
            .missing("call stacks end there")
            .fix("build it with -fasynchronous-unwind-tables, and do not strip .eh_frame")
    })
}

/// At most three names.
fn listed(names: &[String]) -> String {
    const MOST: usize = 3;
    let more = if names.len() > MOST { format!(" and {} more", names.len() - MOST) } else { String::new() };
    format!("{}{more}", names[..names.len().min(MOST)].join(", "))
}
