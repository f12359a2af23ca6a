//! Says at once that a program hangs: names and prints what the recording found, beside it.

use std::sync::mpsc::{Sender, channel};
use std::thread::JoinHandle;

use super::names::kept_names;
use super::output::Console;
use crate::ingest::collector::HangNow;
use crate::record::OnHang;
use crate::render::text::{HangOptions, hang};
use crate::symbols;

/// Reading debug information may take a while, and the recording must not wait for it: so a thread does it.
pub(super) struct Hangs {
    console: Console,
    on_hang: OnHang,
    worker: Option<(Sender<HangNow>, JoinHandle<()>)>,
}

impl Hangs {
    pub fn new(console: &Console, on_hang: OnHang) -> Self {
        Self { console: *console, on_hang, worker: None }
    }

    /// Prints a hang as soon as it has its names.
    pub fn report(&mut self, hang: HangNow) {
        if self.console.quiet() {
            return;
        }
        let (console, on_hang) = (self.console, self.on_hang);
        let (sender, _) = self.worker.get_or_insert_with(|| {
            let (sender, hangs) = channel();
            let worker = std::thread::spawn(move || hangs.into_iter().for_each(|hang| print(&console, on_hang, hang)));
            (sender, worker)
        });
        // Only a worker that panicked hears nothing any more.
        let _ = sender.send(hang);
    }

    /// Waits until everything is printed.
    pub fn finish(self) {
        if let Some((sender, worker)) = self.worker {
            drop(sender);
            let _ = worker.join();
        }
    }
}

fn print(console: &Console, on_hang: OnHang, HangNow { mut session, data_addresses }: HangNow) {
    // What cannot be named is reported at the end, for the whole recording.
    symbols::name(&mut session, &data_addresses, &kept_names());
    for found in &session.hangs {
        let note = match on_hang {
            _ if !found.keeps_program() => "",
            OnHang::Leave => "the program is left as it is; Ctrl-C ends it",
            OnHang::End => "the program is being ended",
        };
        let options = HangOptions { layout: console.stderr_layout(), verbose: console.verbose(), note };
        console.write_stderr(&format!("\n{}", hang(&session, found, &options)));
    }
}
