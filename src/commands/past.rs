//! What killed recorders left behind, as whole sessions.

use anyhow::Context;

use super::names;
use super::output::Console;
use crate::ingest::collector::Collected;
use crate::model::Session;
use crate::record::folder::Folder;
use crate::record::recover::{self, Past};
use crate::symbols;

/// Before a process is recorded: what a recorder that was killed has left in it is kept for `lockprof recover`.
pub(super) fn keep_past(console: &Console, pid: u32) -> anyhow::Result<()> {
    let Some(left) = recover::of_process(pid) else { return Ok(()) };
    let session = whole(console, left.read()?.0);
    let context = || {
        format!(
            "a killed lockprof's recording of process {pid} is in the way: `lockprof recover {}`",
            left.path.display()
        )
    };
    let folder = Folder::new(&session.meta.command).with_context(context)?;
    let kept = folder.keep(&session).with_context(context)?;
    left.discard();
    console.say(&format!(
        "a lockprof that recorded process {pid} was killed: `lockprof recover` writes what it had recorded, from {}",
        kept.display()
    ));
    Ok(())
}

/// What was left behind as one session, with all names.
pub(super) fn whole(console: &Console, past: Past) -> Session {
    match past {
        Past::Unwritten(session) => *session,
        Past::Parts(parts) => together(console, parts),
    }
}

/// One recording of what was read and what was left, with all names.
fn together(console: &Console, parts: Vec<Collected>) -> Session {
    let mut named = parts.into_iter().map(|Collected { mut session, data_addresses, loaded, files, .. }| {
        names::name(console, &mut session, &data_addresses, &files);
        let unseen = symbols::own_locks::unseen(&session, &loaded);
        session.coverage.notes.extend(unseen);
        session
    });
    let mut all = named.next().unwrap_or_default();
    named.for_each(|part| all.absorb(&part));
    // Each part counts what the other one has.
    let seen = &mut all.coverage;
    let known = seen.recorded + seen.folded;
    seen.acquisitions = seen.acquisitions.max(known);
    seen.lost = seen.acquisitions - known;
    all
}
