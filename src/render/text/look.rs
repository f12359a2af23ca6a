//! A look as text: deadlocks first, then every thread with what it waits for and its stack.

use rustc_hash::FxHashMap;

use crate::model::{Activity, Look, SeenThread, lock_frames};
use crate::render::explain::look::LookWords;
use crate::render::frames;
use crate::render::style::{Layout, Style, wrap};
use crate::render::units::count;

/// Frames shown of each stack, unless asked for all.
const FRAMES: usize = 10;
/// Threads named of a group.
const NAMED: usize = 6;
/// Groups of threads shown, unless asked for all.
const GROUPS: usize = 40;

/// How a look is laid out.
#[derive(Clone, Copy, Debug, Default)]
pub struct LookOptions {
    /// Colour and width.
    pub layout: Layout,
    /// All frames, those of libraries too, and all threads.
    pub verbose: bool,
}

/// The whole text.
pub fn look(look: &Look, options: &LookOptions) -> String {
    let layout = &options.layout;
    let words = LookWords::new(look, *layout);
    let mut out = String::new();
    for standstill in &look.standstills {
        let head = layout.paint(Style::Bad, "deadlock: ");
        out.push_str(&wrap(&words.standstill(standstill), layout.width, &head, "  "));
    }
    if !out.is_empty() {
        out.push('\n');
    }
    out.push_str(&wrap(&words.summary(), layout.width, "", "  "));
    for note in &look.notes {
        out.push_str(&wrap(note, layout.width, &layout.paint(Style::Warn, "note: "), "  "));
    }
    let groups = groups(look);
    let shown = if options.verbose { groups.len() } else { groups.len().min(GROUPS) };
    for group in &groups[..shown] {
        out.push('\n');
        out.push_str(&of_group(look, &words, group, options));
    }
    if shown < groups.len() {
        let rest: usize = groups[shown..].iter().map(Vec::len).sum();
        let more = format!("\n… and {} more threads (-v shows all)\n", count(rest as u64));
        out.push_str(&layout.paint(Style::Dim, &more));
    }
    out
}

/// Threads that do the same in the same place, those in a deadlock each for itself and first.
fn groups(look: &Look) -> Vec<Vec<usize>> {
    let mut found: Vec<Vec<usize>> = Vec::new();
    let mut places = FxHashMap::default();
    for (at, seen) in look.threads.iter().enumerate() {
        if rank(look, at, seen) == 0 {
            found.push(vec![at]);
            continue;
        }
        let key = (seen.stack, &seen.wait, &seen.reason, seen.is_goroutine, seen.activity == Activity::Running);
        let place = *places.entry(key).or_insert_with(|| {
            found.push(Vec::new());
            found.len() - 1
        });
        found[place].push(at);
    }
    let rank = |group: &Vec<usize>| rank(look, group[0], &look.threads[group[0]]);
    found.sort_by_key(|group| (rank(group), group[0]));
    found
}

/// What an operator wants to see first.
fn rank(look: &Look, at: usize, seen: &SeenThread) -> u8 {
    let waits = |wait: &crate::model::LockWait| look.session.lock(wait.lock).kind.is_lock();
    // Of a Go program its goroutines count, and of those not the runtime's own.
    let is_go = look.threads.last().is_some_and(|last| last.is_goroutine);
    let is_own = || lock_frames::own_frames(&look.session.stacks, seen.stack).next().is_some();
    match &seen.wait {
        _ if is_go && !seen.is_goroutine => 6,
        _ if look.is_stuck(at) && look.standstills.iter().any(|one| !one.kind.is_left_alone()) => 0,
        Some(wait) if waits(wait) => 1,
        Some(_) => 3,
        None if seen.activity == Activity::Running => 2,
        None if seen.is_goroutine && !is_own() => 5,
        None => 4,
    }
}

fn of_group(look: &Look, words: &LookWords<'_>, group: &[usize], options: &LookOptions) -> String {
    let layout = &options.layout;
    let first = group[0];
    let who = match group {
        [one] => layout.paint(Style::Heading, &words.thread(*one)),
        _ => {
            let what = if look.threads[first].is_goroutine { "goroutines" } else { "threads" };
            let most = if options.verbose { group.len() } else { NAMED };
            let mut names: Vec<String> = group.iter().take(most).map(|at| words.thread(*at)).collect();
            if group.len() > most {
                names.push(format!("{} more", count((group.len() - most) as u64)));
            }
            let head = layout.paint(Style::Heading, &format!("{} {what}", count(group.len() as u64)));
            format!("{head} ({}), each", names.join(", "))
        }
    };
    let mut out = wrap(&format!("{who} {}", words.does(first)), layout.width, "", "  ");
    out.push_str(&stack(look, &look.threads[first], options));
    out
}

fn stack(look: &Look, seen: &SeenThread, options: &LookOptions) -> String {
    const INDENT: &str = "    ";
    let layout = &options.layout;
    let session = &look.session;
    let lines: Vec<_> = if options.verbose {
        let nodes = session.stacks.walk(seen.stack);
        nodes.flat_map(|node| frames::of_node(session, node)).map(|(line, _)| line).collect()
    } else {
        frames::lines(session, seen.stack)
    };
    let mut out = super::stack::stack(&lines, (!options.verbose).then_some(FRAMES), INDENT, layout);
    if let Some(why) = seen.cut {
        out.push_str(&layout.paint(Style::Dim, &wrap(&format!("[cut: {why}]"), layout.width, INDENT, "     ")));
    }
    out
}
