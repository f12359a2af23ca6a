//! What can happen to a screen.

use ratatui::crossterm::event::{Event, KeyCode, KeyEventKind, KeyModifiers, MouseButton, MouseEventKind};

use crate::live::snapshot::Snapshot;

/// See the module.
#[derive(Clone, Debug, PartialEq)]
pub enum Input {
    /// A key.
    Key(Key),
    /// A click: column and row, from 0.
    Click(u16, u16),
    /// The mouse's wheel, downwards or upwards.
    Wheel(i32),
    /// The terminal has so many columns and rows.
    Resize(u16, u16),
    /// The recording went on.
    Snapshot(Box<Snapshot>),
    /// Something that the person should read.
    Message(String),
    /// What recording one lock and unlock costs, ns.
    Cost(f64),
    /// The recording is over: how the program ended, and the summary.
    Over(String, Vec<String>),
}

/// A key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Key {
    Char(char),
    Up,
    Down,
    Left,
    Right,
    PageUp,
    PageDown,
    Home,
    End,
    Enter,
    Esc,
    Tab,
    BackTab,
    Backspace,
    /// Ctrl-C: in this mode the terminal sends no signal for it.
    Interrupt,
}

/// What the terminal says; `None` for what means nothing here.
pub fn input(event: &Event) -> Option<Input> {
    match event {
        Event::Resize(columns, rows) => Some(Input::Resize(*columns, *rows)),
        Event::Key(key) if key.kind != KeyEventKind::Release => {
            let control = key.modifiers.contains(KeyModifiers::CONTROL);
            let key = match key.code {
                KeyCode::Char('c') if control => Key::Interrupt,
                KeyCode::Char('f') if control => Key::PageDown,
                KeyCode::Char('b') if control => Key::PageUp,
                KeyCode::Char(_) if control || key.modifiers.contains(KeyModifiers::ALT) => return None,
                KeyCode::Char(c) => Key::Char(c),
                KeyCode::Up => Key::Up,
                KeyCode::Down => Key::Down,
                KeyCode::Left => Key::Left,
                KeyCode::Right => Key::Right,
                KeyCode::PageUp => Key::PageUp,
                KeyCode::PageDown => Key::PageDown,
                KeyCode::Home => Key::Home,
                KeyCode::End => Key::End,
                KeyCode::Enter => Key::Enter,
                KeyCode::Esc => Key::Esc,
                KeyCode::Tab => Key::Tab,
                KeyCode::BackTab => Key::BackTab,
                KeyCode::Backspace => Key::Backspace,
                _ => return None,
            };
            Some(Input::Key(key))
        }
        Event::Mouse(mouse) => match mouse.kind {
            MouseEventKind::Down(MouseButton::Left) => Some(Input::Click(mouse.column, mouse.row)),
            MouseEventKind::ScrollDown => Some(Input::Wheel(3)),
            MouseEventKind::ScrollUp => Some(Input::Wheel(-3)),
            _ => None,
        },
        _ => None,
    }
}
