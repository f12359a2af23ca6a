//! The live view: a screen ([`state`], [`input`], [`view`], [`term`]), or tables and JSON lines where there is none ([`plain`]).
//!
//! The state is pure data and views are pure functions of it, so that every screen can be tested. Deliberately not here: where
//! snapshots come from.

mod figures;
pub mod input;
pub mod plain;
pub mod state;
pub mod term;
pub mod view;

#[cfg(test)]
mod tests;

use std::io;
use std::time::Duration;

use input::Input;
use state::{Effect, State};

use crate::live::snapshot::ViewRequest;

/// Where a screen's news come from, and where its wishes go.
pub trait Feed {
    /// What is new, if anything; never waits.
    fn news(&mut self) -> Option<Input>;
    /// What the screen shows now, to be asked for from now on.
    fn request(&mut self, request: ViewRequest);
    /// What the person wants beside looking.
    fn act(&mut self, effect: Effect);
    /// Whether a signal asks for the terminal back.
    fn is_interrupted(&self) -> bool;
}

/// The longest that news wait for being shown.
const PATIENCE: Duration = Duration::from_millis(40);

/// Shows the screen until it is left. The terminal is as before afterwards, whatever happens.
///
/// # Errors
/// Where the terminal cannot be used.
pub fn run(mut state: State, feed: &mut dyn Feed) -> io::Result<()> {
    let mut terminal = term::Screen::enter()?;
    let size = terminal.size()?;
    state.apply(Input::Resize(size.0, size.1));
    let mut requested = None;
    let mut stale = true;
    loop {
        if requested != Some(state.view_request()) {
            requested = Some(state.view_request());
            feed.request(state.view_request());
        }
        if stale {
            terminal.draw(|frame| view::draw(frame, &state))?;
        }
        stale = false;
        let mut inputs: Vec<Input> = std::iter::from_fn(|| feed.news()).collect();
        let patience = if inputs.is_empty() { PATIENCE } else { Duration::ZERO };
        inputs.extend(terminal.input(patience)?);
        if feed.is_interrupted() {
            return Ok(());
        }
        for input in inputs {
            stale = true;
            match state.apply(input) {
                Effect::None => {}
                Effect::Close => return Ok(()),
                effect => feed.act(effect),
            }
        }
    }
}
