//! What the screen shows, as data, and how inputs change it. No I/O and no clock: the same inputs make the same screen.

pub mod classes;
pub mod help_text;
mod keys;
pub mod lock_text;
pub mod rows;

use std::collections::VecDeque;
use std::rc::Rc;

use rustc_hash::{FxHashMap, FxHashSet};

use super::input::Input;
use crate::live::snapshot::window::since;
use crate::live::snapshot::{Snapshot, ViewRequest};
use classes::{ClassRow, class_id, classes};
use rows::Sort;

/// The time that "the last seconds" are, ns.
pub const WINDOW_NS: u64 = 10_000_000_000;
/// Points of a sparkline: a minute at two a second.
pub const SPARK: usize = 120;
/// Rows above the list: header, tabs, the list's heading.
const ABOVE: u16 = 4;

/// The screens, in the order of their numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Tab {
    #[default]
    Locks,
    Lock,
    Threads,
    Order,
    Findings,
    Help,
}

impl Tab {
    /// All of them.
    pub const ALL: [Self; 6] = [Self::Locks, Self::Lock, Self::Threads, Self::Order, Self::Findings, Self::Help];

    /// Its name on the screen.
    pub fn name(self) -> &'static str {
        match self {
            Self::Locks => "Locks",
            Self::Lock => "Lock",
            Self::Threads => "Threads",
            Self::Order => "Order",
            Self::Findings => "Findings",
            Self::Help => "Help",
        }
    }

    /// Its name with its number, as it stands in the line of tabs.
    pub fn label(self) -> String {
        format!(" {} {} ", self.index() + 1, self.name())
    }

    /// The tab at a column of that line.
    fn at(column: u16) -> Option<Self> {
        let mut end = 0;
        Self::ALL.into_iter().find(|tab| {
            end += tab.label().len();
            usize::from(column) < end
        })
    }

    fn index(self) -> usize {
        Self::ALL.iter().position(|tab| *tab == self).unwrap_or(0)
    }
}

/// Where in a list, or in a text, the person is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cursor {
    /// The row; of a text, the first line shown.
    pub row: usize,
    /// The first row shown.
    pub top: usize,
    /// The lock, class or thread chosen: it stays chosen when rows change places.
    pub id: Option<u64>,
}

/// A text over the screen.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// Its title.
    pub title: String,
    /// Its lines.
    pub lines: Vec<String>,
    /// The first line shown.
    pub top: usize,
}

/// What the person wants beside looking.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Nothing.
    None,
    /// The screen is to be left.
    Close,
    /// The program is to be ended.
    End,
    /// The recording is to be ended, and the program left alone.
    Leave,
    /// A recording and a report of what is shown are to be written.
    Export,
}

/// What does not change while the screen is there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Setting {
    /// The program is ours: when the screen is left, something has to become of it.
    pub own: bool,
    /// Where the program's output goes; empty where that is not known.
    pub log: String,
    /// Use colours.
    pub color: bool,
    /// Use ASCII characters only.
    pub ascii: bool,
}

/// See the module.
#[derive(Clone, Debug, Default)]
pub struct State {
    /// What does not change.
    pub setting: Setting,
    /// The screen shown.
    pub tab: Tab,
    /// A text over it.
    pub page: Option<Page>,
    /// The lock of the lock's screen.
    pub lock: Option<u32>,
    /// A place for each screen.
    pub cursors: [Cursor; 6],
    /// What is shown must have this in its name.
    pub filter: String,
    /// The filter is being typed.
    pub is_typing: bool,
    /// What comes first.
    pub sort: Sort,
    /// The other way round.
    pub is_reversed: bool,
    /// The view stands still.
    pub is_paused: bool,
    /// A row for each lock rather than for each class.
    pub every_lock: bool,
    /// Classes whose locks are shown.
    pub open: FxHashSet<u64>,
    /// The last seconds rather than everything.
    pub is_window: bool,
    /// "What becomes of the program?"
    pub is_asking: bool,
    /// The program was asked to end, or the recording.
    pub is_ending: bool,
    /// Something to read, in the last line.
    pub message: String,
    /// How the program ended.
    pub over: Option<String>,
    /// What recording one lock and unlock costs, ns.
    pub cost_ns: Option<f64>,
    /// Columns and rows.
    pub size: (u16, u16),
    /// The newest snapshot.
    pub now: Rc<Snapshot>,
    /// What is counted: the newest snapshot without what was before.
    pub part: Rc<Snapshot>,
    /// The time that `part` covers, ns.
    pub part_ns: u64,
    /// The classes of `part`.
    pub classes: Rc<Vec<ClassRow>>,
    /// Time waited for each lock and class, ns, one for each snapshot of the last minute.
    pub sparks: FxHashMap<u64, VecDeque<u64>>,
    history: VecDeque<Rc<Snapshot>>,
    base: Option<Rc<Snapshot>>,
    /// What `part` was made of.
    counted: (Option<Rc<Snapshot>>, Option<Rc<Snapshot>>),
    /// Deadlocks whose stacks the person has opened.
    read_hangs: usize,
}

impl State {
    /// The first screen.
    pub fn new(setting: Setting) -> Self {
        Self { setting, is_window: true, size: (80, 24), ..Self::default() }
    }

    /// What is to be asked for.
    pub fn view_request(&self) -> ViewRequest {
        ViewRequest {
            focus: self.lock.filter(|_| self.tab == Tab::Lock),
            judged: matches!(self.tab, Tab::Order | Tab::Findings),
            frozen: self.is_paused,
        }
    }

    /// Changes what the screen shows.
    pub fn apply(&mut self, input: Input) -> Effect {
        let effect = match input {
            Input::Key(key) => self.key(key),
            Input::Click(column, row) => self.click(column, row),
            Input::Wheel(rows) => {
                self.go(rows as isize);
                Effect::None
            }
            Input::Resize(columns, rows) => {
                self.size = (columns, rows);
                Effect::None
            }
            Input::Snapshot(snapshot) => {
                self.take(*snapshot);
                Effect::None
            }
            Input::Message(text) => {
                self.message = text;
                Effect::None
            }
            Input::Cost(ns) => {
                self.cost_ns = Some(ns);
                Effect::None
            }
            Input::Over(how, summary) => {
                self.over = Some(how);
                if self.is_ending {
                    return Effect::Close;
                }
                self.is_asking = false;
                self.page = (!summary.is_empty()).then(|| Page { title: "summary".into(), lines: summary, top: 0 });
                Effect::None
            }
        };
        self.settle();
        effect
    }

    /// The deadlock that nobody has looked at yet, the oldest first.
    pub fn alarm(&self) -> Option<usize> {
        (self.read_hangs < self.now.hangs.len()).then_some(self.read_hangs)
    }

    /// The place on this screen.
    pub fn cursor(&self) -> &Cursor {
        &self.cursors[self.tab.index()]
    }

    /// The row of the screen where the list (or the text) begins.
    pub fn list_top(&self) -> u16 {
        ABOVE + u16::from(!self.now.hangs.is_empty())
    }

    /// Rows of the list (or the text) that are visible.
    pub fn list_height(&self) -> usize {
        usize::from(self.size.1.saturating_sub(self.list_top() + 1)).max(1)
    }

    fn take(&mut self, snapshot: Snapshot) {
        let mut snapshot = snapshot;
        if snapshot.judged.is_none() {
            snapshot.judged.clone_from(&self.now.judged);
        }
        if snapshot.at_ns > self.now.at_ns {
            let mut waited: FxHashMap<u64, u64> = FxHashMap::default();
            for lock in &snapshot.locks {
                let before = self.now.locks.binary_search_by_key(&lock.id, |lock| lock.id).ok();
                let before = before.map_or(0, |at| self.now.locks[at].wait.sum);
                let ns = if self.history.is_empty() { 0 } else { lock.wait.sum.saturating_sub(before) };
                waited.insert(u64::from(lock.id), ns);
                *waited.entry(class_id(lock)).or_default() += ns;
            }
            for (id, ns) in waited {
                let spark = self.sparks.entry(id).or_default();
                spark.push_back(ns);
                if spark.len() > SPARK {
                    spark.pop_front();
                }
            }
            let now = Rc::new(snapshot);
            self.history.push_back(Rc::clone(&now));
            // One that is older than the window is kept: the window begins there.
            while self.history.get(1).is_some_and(|next| next.at_ns + WINDOW_NS <= now.at_ns) {
                self.history.pop_front();
            }
            self.now = now;
        } else {
            self.now = Rc::new(snapshot);
        }
        if self.lock.is_none() {
            self.lock = rows::locks(self).first().map(|line| line.lock);
        }
    }

    /// What is counted: the newest snapshot without what came before the window, or before the last reset.
    fn count(&mut self) {
        let base = if self.is_window { self.history.front() } else { self.base.as_ref() };
        let base = base.filter(|base| base.at_ns < self.now.at_ns).cloned();
        let same = |one: &Option<Rc<Snapshot>>, other: &Option<Rc<Snapshot>>| match (one, other) {
            (Some(one), Some(other)) => Rc::ptr_eq(one, other),
            (one, other) => one.is_none() && other.is_none(),
        };
        let now = Some(Rc::clone(&self.now));
        if same(&self.counted.0, &now) && same(&self.counted.1, &base) {
            return;
        }
        (self.part, self.part_ns) = match &base {
            Some(base) => (Rc::new(since(&self.now, base)), self.now.at_ns - base.at_ns),
            None => (Rc::clone(&self.now), self.now.at_ns),
        };
        self.classes = Rc::new(classes(&self.part));
        self.counted = (now, base);
    }

    /// Makes everything fit together again: the counted part, and places within their lists.
    fn settle(&mut self) {
        self.count();
        let ids = self.ids();
        let rows = self.list_len(&ids);
        let height = self.list_height();
        let is_text = self.is_text();
        let cursor = &mut self.cursors[self.tab.index()];
        if let Some(at) = cursor.id.and_then(|id| ids.iter().position(|other| *other == id)) {
            cursor.row = at;
        }
        if is_text {
            cursor.row = cursor.row.min(rows.saturating_sub(height));
            cursor.top = cursor.row;
        } else {
            cursor.row = cursor.row.min(rows.saturating_sub(1));
            cursor.top = cursor.top.min(cursor.row).max((cursor.row + 1).saturating_sub(height));
            cursor.top = cursor.top.min(rows.saturating_sub(height));
        }
        if let Some(page) = &mut self.page {
            page.top = page.top.min(page.lines.len().saturating_sub(height));
        }
    }

    fn is_text(&self) -> bool {
        matches!(self.tab, Tab::Lock | Tab::Help)
    }

    fn ids(&self) -> Vec<u64> {
        match self.tab {
            Tab::Locks => rows::locks(self).iter().map(|row| row.id).collect(),
            Tab::Threads => rows::threads(self).iter().map(|row| u64::from(row.id)).collect(),
            _ => Vec::new(),
        }
    }

    /// Rows of the list, or lines of the text; `ids` are those of [`Self::ids`].
    fn list_len(&self, ids: &[u64]) -> usize {
        match self.tab {
            Tab::Locks | Tab::Threads => ids.len(),
            Tab::Order => rows::cycles(self).len() + rows::edges(self).len(),
            Tab::Findings => rows::findings(self).len(),
            Tab::Lock => lock_text::lines(self).len(),
            Tab::Help => help_text::lines(self).len(),
        }
    }
}
