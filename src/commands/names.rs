//! Gives locks and stacks of a recording their names: at its end, and while it runs for those who look on.

use std::fs::File;
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::thread::{Builder, sleep};
use std::time::{Duration, Instant};

use rustc_hash::FxHashMap;

use super::output::Console;
use super::trace;
use crate::live::control::ControlChannel;
use crate::model::{CodeAddress, LockId, Session};
use crate::record::{launch, shim};
use crate::symbols::{self, Kept};

/// Time between two looks for rows without names.
const PAUSE: Duration = Duration::from_millis(250);
/// Reading debug information is paid for by a pause of so many times its length.
const SHARE: u32 = 20;
/// But no longer than this: on a busy machine everything takes long.
const LONGEST: Duration = Duration::from_secs(2);

/// What earlier recordings found out, kept for this user.
pub(super) fn kept_names() -> Kept {
    Kept::in_folder(shim::cache_folder())
}

/// Gives stacks and locks their names. `files`: of modules that may be no longer at their paths.
pub(super) fn name(
    console: &Console,
    session: &mut Session,
    data_addresses: &FxHashMap<LockId, CodeAddress>,
    files: &FxHashMap<String, Arc<File>>,
) {
    let place =
        |(path, file): (&String, &Arc<File>)| (path.clone(), format!("/proc/self/fd/{}", file.as_raw_fd()).into());
    // What wraps a lock is known by its name, and names the locks.
    let kept = kept_names().with_files(files.iter().map(place).collect());
    let mut notes = symbols::symbolize(session, &kept);
    if let Err(error) = trace::mark_wrappers(session) {
        console.say(&format!("{error:#}; no function is taken for a wrapper by its name"));
    }
    notes.extend(symbols::name(session, data_addresses, &kept));
    notes.iter().for_each(|note| console.detail(note));
}

/// Gives names in a thread of its own, until the recording is over: reading debug information takes time, and neither the
/// recording nor a screen may wait for it.
pub(super) fn keep_naming(control: &ControlChannel) {
    let control = control.clone();
    let work = move || {
        launch::yield_to_program();
        let kept = kept_names();
        while let Some(unnamed) = control.unnamed() {
            let began = Instant::now();
            if let Some(mut unnamed) = unnamed {
                // What cannot be named is reported at the end, for the whole recording.
                symbols::name(&mut unnamed.subset.session, &unnamed.data_addresses, &kept);
                control.name(unnamed.named());
            }
            sleep((began.elapsed() * SHARE).clamp(PAUSE, LONGEST));
        }
    };
    // Without such a thread there are no names, but everything else.
    let _ = Builder::new().name("names".to_owned()).spawn(work);
}
