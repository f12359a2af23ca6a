//! The terminal: raw, on its other screen, with the mouse; and as it was before, however the program ends.

use std::io::{self, Stdout, stdout};
use std::panic;
use std::sync::Once;
use std::time::Duration;

use ratatui::backend::CrosstermBackend;
use ratatui::crossterm::cursor::Show;
use ratatui::crossterm::event::{self, DisableMouseCapture, EnableMouseCapture};
use ratatui::crossterm::execute;
use ratatui::crossterm::terminal::{EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode};
use ratatui::{Frame, Terminal};

use super::input::{Input, input};

/// The terminal while it shows the screen; given back when dropped.
pub struct Screen(Terminal<CrosstermBackend<Stdout>>);

impl Screen {
    /// Takes the terminal.
    ///
    /// # Errors
    /// Where it does not let itself be taken; then it is as before.
    pub fn enter() -> io::Result<Self> {
        restore_on_panic();
        enable_raw_mode()?;
        let taken = execute!(stdout(), EnterAlternateScreen, EnableMouseCapture)
            .and_then(|()| Terminal::new(CrosstermBackend::new(stdout())));
        match taken {
            Ok(terminal) => Ok(Self(terminal)),
            Err(error) => {
                restore();
                Err(error)
            }
        }
    }

    /// Columns and rows.
    ///
    /// # Errors
    /// Where the terminal has gone.
    pub fn size(&self) -> io::Result<(u16, u16)> {
        self.0.size().map(|size| (size.width, size.height))
    }

    /// Draws a frame; what did not change is not written.
    ///
    /// # Errors
    /// Where the terminal has gone.
    pub fn draw(&mut self, frame: impl FnOnce(&mut Frame<'_>)) -> io::Result<()> {
        self.0.draw(frame).map(|_| ())
    }

    /// What the person does within this time, and all that is there already.
    ///
    /// # Errors
    /// Where the terminal has gone.
    pub fn input(&self, patience: Duration) -> io::Result<Vec<Input>> {
        let mut inputs = Vec::new();
        wait(patience)?;
        while event::poll(Duration::ZERO)? {
            inputs.extend(input(&event::read()?));
        }
        Ok(inputs)
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        restore();
    }
}

/// Waits until the terminal has something to say, a signal comes (its size may have changed) or the time is over.
/// Done here, since crossterm's own wait never ends once the terminal has gone.
fn wait(patience: Duration) -> io::Result<()> {
    let mut poll = libc::pollfd { fd: libc::STDIN_FILENO, events: libc::POLLIN, revents: 0 };
    // SAFETY: one `pollfd` is passed.
    let count = unsafe { libc::poll(&raw mut poll, 1, patience.as_millis() as i32) };
    if count > 0 && poll.revents & (libc::POLLHUP | libc::POLLERR | libc::POLLNVAL) != 0 {
        return Err(io::Error::new(io::ErrorKind::BrokenPipe, "the terminal has gone"));
    }
    Ok(())
}

/// Gives the terminal back. Where it has gone, nothing can be done about it.
fn restore() {
    let _ = execute!(stdout(), DisableMouseCapture, LeaveAlternateScreen, Show);
    let _ = disable_raw_mode();
}

/// A panic's message belongs on the ordinary screen. Only the screen's own thread gives it back: the others go on without it.
fn restore_on_panic() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let own = std::thread::current().id();
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if std::thread::current().id() == own {
                restore();
            }
            before(info);
        }));
    });
}
