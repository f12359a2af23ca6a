//! What keys and the mouse do.

use std::rc::Rc;

use super::{Cursor, Effect, Page, State, Tab, rows};
use crate::tui::input::Key;

impl State {
    /// Moves by so many rows.
    pub(super) fn go(&mut self, by: isize) {
        if let Some(page) = &mut self.page {
            page.top = page.top.saturating_add_signed(by);
            return;
        }
        let ids = self.ids();
        let len = self.list_len(&ids);
        let cursor = &mut self.cursors[self.tab.index()];
        cursor.row = cursor.row.saturating_add_signed(by).min(len.saturating_sub(1));
        cursor.id = ids.get(cursor.row).copied();
    }

    pub(super) fn key(&mut self, key: Key) -> Effect {
        self.message.clear();
        if key == Key::Interrupt {
            return self.interrupt();
        }
        if self.is_asking {
            return self.answer(key);
        }
        if self.is_typing {
            match key {
                Key::Enter => self.is_typing = false,
                Key::Esc => (self.is_typing, self.filter) = (false, String::new()),
                Key::Backspace => {
                    self.filter.pop();
                }
                Key::Char(c) => self.filter.push(c),
                _ => {}
            }
            return Effect::None;
        }
        let page = self.list_height() as isize - 1;
        match key {
            Key::Up | Key::Char('k') => self.go(-1),
            Key::Down | Key::Char('j') => self.go(1),
            Key::PageUp => self.go(-page),
            Key::PageDown => self.go(page),
            Key::Home | Key::Char('g') => self.go(isize::MIN / 2),
            Key::End | Key::Char('G') => self.go(isize::MAX / 2),
            Key::Tab | Key::Right | Key::Char('l') => self.turn(1),
            Key::BackTab | Key::Left | Key::Char('h') => self.turn(Tab::ALL.len() - 1),
            Key::Char(c @ '1'..='6') => self.show(Tab::ALL[c as usize - '1' as usize]),
            Key::Char('?') => self.show(Tab::Help),
            Key::Enter => self.open(),
            Key::Esc => self.back(),
            Key::Char('/') => (self.is_typing, self.page) = (true, None),
            Key::Char('s') => self.sort = self.sort.next(),
            Key::Char('S') => self.is_reversed = !self.is_reversed,
            Key::Char(' ') => self.is_paused = !self.is_paused && self.over.is_none(),
            Key::Char('x') => self.every_lock = !self.every_lock,
            Key::Char('w') => self.is_window = !self.is_window,
            Key::Char('r') => {
                (self.base, self.is_window) = (Some(Rc::clone(&self.now)), false);
                self.message = "counted from now on; w shows the last 10 s".into();
            }
            Key::Char('d') if !self.now.hangs.is_empty() => {
                self.read_hangs = 0;
                self.open();
            }
            Key::Char('e') => {
                self.message = "writing …".into();
                return Effect::Export;
            }
            Key::Char('q') if self.over.is_some() || !self.setting.own => return Effect::Close,
            Key::Char('q') => self.is_asking = true,
            _ => {}
        }
        Effect::None
    }

    /// Ctrl-C does what it does without the screen: the program is ended, the second time at any price.
    fn interrupt(&mut self) -> Effect {
        if self.over.is_some() || !self.setting.own || self.is_ending {
            return Effect::Close;
        }
        (self.is_asking, self.is_ending) = (false, true);
        self.message = "ending the program (SIGTERM) …".into();
        Effect::End
    }

    fn answer(&mut self, key: Key) -> Effect {
        self.is_asking = false;
        let (message, effect) = match key {
            Key::Char('e' | 'E') | Key::Enter => ("ending the program (SIGTERM; after 10 s SIGKILL) …", Effect::End),
            Key::Char('l' | 'L') => ("ending the recording …", Effect::Leave),
            _ => return Effect::None,
        };
        self.is_ending = true;
        self.message = message.into();
        effect
    }

    fn turn(&mut self, by: usize) {
        self.show(Tab::ALL[(self.tab.index() + by) % Tab::ALL.len()]);
    }

    fn show(&mut self, tab: Tab) {
        self.page = None;
        // The lock's tab shows the lock at the cursor, however it is come to.
        if tab == Tab::Lock
            && self.tab == Tab::Locks
            && let Some(lock) = rows::locks(self).get(self.cursor().row)
        {
            let id = lock.lock;
            if self.lock != Some(id) {
                self.lock = Some(id);
                self.cursors[Tab::Lock.index()] = Cursor::default();
            }
        }
        self.tab = tab;
    }

    fn back(&mut self) {
        if self.page.take().is_none() {
            match self.tab {
                Tab::Locks => self.filter.clear(),
                _ => self.tab = Tab::Locks,
            }
        }
    }

    fn open(&mut self) {
        if let Some(hang) = self.alarm().and_then(|at| self.now.hangs.get(at)) {
            self.read_hangs += 1;
            self.page = Some(Page { title: "deadlock".into(), lines: hang.text.clone(), top: 0 });
            return;
        }
        if self.page.is_some() {
            return;
        }
        let row = self.cursor().row;
        match self.tab {
            Tab::Locks => {
                let Some((id, lock, locks)) = rows::locks(self).get(row).map(|line| (line.id, line.lock, line.locks))
                else {
                    return;
                };
                if locks == 1 {
                    (self.lock, self.tab) = (Some(lock), Tab::Lock);
                    self.cursors[Tab::Lock.index()] = Cursor::default();
                } else if !self.open.remove(&id) {
                    self.open.insert(id);
                }
            }
            Tab::Threads => {
                if let Some(lock) = rows::threads(self).get(row).and_then(|thread| thread.waits_for) {
                    (self.lock, self.tab) = (Some(lock), Tab::Lock);
                    self.cursors[Tab::Lock.index()] = Cursor::default();
                } else {
                    self.message = "this thread waits for nothing".into();
                }
            }
            Tab::Order | Tab::Findings => {
                let entries = if self.tab == Tab::Order { rows::cycles(self) } else { rows::findings(self) };
                let page = entries.get(row).map(|entry| Page {
                    title: entry.class.clone(),
                    lines: entry.text.clone(),
                    top: 0,
                });
                self.page = page.or(self.page.take());
            }
            Tab::Lock | Tab::Help => {}
        }
    }

    pub(super) fn click(&mut self, column: u16, row: u16) -> Effect {
        if self.is_asking {
            return Effect::None;
        }
        if row == 2 {
            if let Some(tab) = Tab::at(column) {
                self.show(tab);
            }
            return Effect::None;
        }
        if self.alarm().is_some() && row + 2 == self.list_top() {
            self.open();
            return Effect::None;
        }
        let Some(at) = row.checked_sub(self.list_top()).map(usize::from).filter(|at| *at < self.list_height()) else {
            return Effect::None;
        };
        if self.page.is_some() || self.is_text() {
            return Effect::None;
        }
        let (chosen, at) = (self.cursor().row, self.cursor().top + at);
        if at >= self.list_len(&self.ids()) {
            return Effect::None;
        }
        if at == chosen && self.cursor().id.is_some() {
            self.open();
        } else {
            self.go(at as isize - chosen as isize);
        }
        Effect::None
    }
}
