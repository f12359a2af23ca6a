//! A program in a pseudo-terminal, and what its screen shows: enough of a terminal for what a screen library writes.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus};
use std::sync::{Arc, Mutex};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// Nothing here takes so long, whatever else the machine does.
const LIMIT: Duration = Duration::from_secs(60);

/// No terminal knows it and no program writes it: when it is read, so is all that was written before.
const MARK: &str = "?4711";

/// See the module.
pub struct Terminal {
    child: Child,
    master: File,
    /// Kept open, so that the settings can be asked for when the program has ended.
    slave: File,
    screen: Arc<Mutex<Screen>>,
    before: libc::termios,
}

impl Terminal {
    /// Starts a command in a terminal of this size.
    pub fn start(mut command: Command, columns: u16, rows: u16) -> Self {
        let (master, slave) = open(columns, rows);
        let before = settings(&slave);
        for set in [Command::stdin, Command::stdout, Command::stderr] {
            set(&mut command, slave.try_clone().expect("the terminal twice"));
        }
        let claim = || {
            // SAFETY: both may be called between fork and exec; the terminal is descriptor 0 by then.
            let claimed = unsafe { libc::setsid() >= 0 && libc::ioctl(0, libc::TIOCSCTTY, 0) == 0 };
            if claimed { Ok(()) } else { Err(std::io::Error::last_os_error()) }
        };
        // SAFETY: the closure calls nothing but two system calls.
        unsafe { command.pre_exec(claim) };
        let child = command.env("TERM", "xterm-256color").spawn().expect("a program in a terminal");
        let screen = Arc::new(Mutex::new(Screen::new(columns, rows)));
        let (mut from, to) = (master.try_clone().expect("the terminal twice"), Arc::clone(&screen));
        std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(read @ 1..) = from.read(&mut bytes) {
                to.lock().expect("the screen").write(&bytes[..read]);
            }
        });
        Self { child, master, slave, screen, before }
    }

    /// Types.
    pub fn keys(&mut self, keys: &str) -> &mut Self {
        self.master.write_all(keys.as_bytes()).expect("keys");
        self
    }

    /// The screen's lines; of the other screen, those of the last whole frame.
    pub fn text(&self) -> String {
        self.screen.lock().expect("the screen").text()
    }

    /// Whether the other screen is shown.
    pub fn is_other_screen(&self) -> bool {
        self.screen.lock().expect("the screen").other
    }

    /// How many frames were drawn on the other screen.
    pub fn frames(&self) -> u64 {
        self.screen.lock().expect("the screen").frames
    }

    /// Waits until the screen is so; how long that took.
    #[track_caller]
    pub fn until(&mut self, what: &str, is: impl Fn(&str) -> bool) -> Duration {
        let began = Instant::now();
        while !is(&self.text()) {
            let ended = self.child.try_wait().expect("the child's status");
            let late = began.elapsed() > LIMIT;
            if ended.is_some() {
                self.read_all();
            }
            if (ended.is_some() && !is(&self.text())) || late {
                let _ = self.child.kill();
                panic!("never {what} ({ended:?}):\n{}", self.text());
            }
            sleep(Duration::from_millis(5));
        }
        began.elapsed()
    }

    /// Waits until the screen shows this.
    #[track_caller]
    pub fn shows(&mut self, text: &str) -> Duration {
        self.until(text, |screen| screen.contains(text))
    }

    pub fn pid(&self) -> i32 {
        i32::try_from(self.child.id()).expect("a process id")
    }

    /// Waits for the end; the terminal has to be as it was.
    #[track_caller]
    pub fn end(mut self) -> (ExitStatus, String) {
        let began = Instant::now();
        let status = loop {
            if let Some(status) = self.child.try_wait().expect("the child's status") {
                break status;
            }
            if began.elapsed() > LIMIT {
                let _ = self.child.kill();
                panic!("not ended:\n{}", self.text());
            }
            sleep(Duration::from_millis(5));
        };
        self.read_all();
        assert!(!self.is_other_screen(), "the other screen is left:\n{}", self.text());
        let after = settings(&self.slave);
        let flags = |of: &libc::termios| (of.c_iflag, of.c_oflag, of.c_cflag, of.c_lflag, of.c_cc);
        assert_eq!(flags(&after), flags(&self.before), "the terminal's settings are as before");
        (status, self.text())
    }

    /// Waits until the screen has all that was written so far.
    #[track_caller]
    fn read_all(&mut self) {
        let marks = |terminal: &Self| terminal.screen.lock().expect("the screen").marks;
        let (began, before) = (Instant::now(), marks(self));
        self.slave.write_all(format!("\x1b[{MARK}h").as_bytes()).expect("a mark");
        while marks(self) == before {
            assert!(began.elapsed() < LIMIT, "what was written is never read:\n{}", self.text());
            sleep(Duration::from_millis(5));
        }
    }
}

fn open(columns: u16, rows: u16) -> (File, File) {
    // SAFETY: opens a new terminal.
    let master = unsafe { libc::posix_openpt(libc::O_RDWR | libc::O_NOCTTY | libc::O_CLOEXEC) };
    assert!(master >= 0, "no pseudo-terminal");
    // SAFETY: the kernel gave us this descriptor.
    let master = File::from(unsafe { OwnedFd::from_raw_fd(master) });
    let mut name = [0; 64];
    // SAFETY: the descriptor is a terminal's, the buffer is as long as told.
    let ready = unsafe {
        libc::grantpt(master.as_raw_fd()) == 0
            && libc::unlockpt(master.as_raw_fd()) == 0
            && libc::ptsname_r(master.as_raw_fd(), name.as_mut_ptr(), name.len()) == 0
    };
    assert!(ready, "no terminal to give to a program");
    let name: Vec<u8> = name.iter().take_while(|c| **c != 0).map(|c| *c as u8).collect();
    let name = String::from_utf8(name).expect("its name");
    let slave = File::options().read(true).write(true).open(name).expect("the program's side");
    let size = libc::winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: `size` is valid.
    unsafe { libc::ioctl(master.as_raw_fd(), libc::TIOCSWINSZ, &raw const size) };
    (master, slave)
}

fn settings(of: &File) -> libc::termios {
    // SAFETY: zeros are a valid `termios` to write to.
    let mut settings: libc::termios = unsafe { std::mem::zeroed() };
    // SAFETY: the descriptor is a terminal's.
    assert_eq!(unsafe { libc::tcgetattr(of.as_raw_fd(), &raw mut settings) }, 0, "no terminal");
    settings
}

struct Screen {
    cells: Vec<Vec<char>>,
    /// The cells when the last frame of the other screen was whole.
    frame: Vec<Vec<char>>,
    frames: u64,
    marks: u64,
    at: (usize, usize),
    other: bool,
    pending: Vec<u8>,
}

impl Screen {
    fn new(columns: u16, rows: u16) -> Self {
        let cells = vec![vec![' '; usize::from(columns)]; usize::from(rows)];
        Self { frame: cells.clone(), cells, frames: 0, marks: 0, at: (0, 0), other: false, pending: Vec::new() }
    }

    fn text(&self) -> String {
        let cells = if self.other { &self.frame } else { &self.cells };
        cells.iter().map(|line| line.iter().collect::<String>().trim_end().to_owned() + "\n").collect()
    }

    fn write(&mut self, bytes: &[u8]) {
        self.pending.extend_from_slice(bytes);
        let pending = std::mem::take(&mut self.pending);
        let mut rest = pending.as_slice();
        while let Some((used, done)) = self.step(rest) {
            if !done {
                break;
            }
            rest = &rest[used..];
        }
        self.pending = rest.to_vec();
    }

    /// One character or sequence: its length, and whether it was whole.
    fn step(&mut self, bytes: &[u8]) -> Option<(usize, bool)> {
        let first = *bytes.first()?;
        if first == 0x1b {
            if bytes.get(1) != Some(&b'[') {
                return Some((2, bytes.len() >= 2));
            }
            let Some(end) = bytes[2..].iter().position(|byte| (0x40..=0x7e).contains(byte)) else {
                return Some((0, false));
            };
            let arguments = String::from_utf8_lossy(&bytes[2..2 + end]).into_owned();
            self.sequence(&arguments, bytes[2 + end]);
            return Some((end + 3, true));
        }
        let length = match first {
            0xf0.. => 4,
            0xe0.. => 3,
            0xc0.. => 2,
            _ => 1,
        };
        let Some(character) = bytes.get(..length) else { return Some((0, false)) };
        let c = String::from_utf8_lossy(character).chars().next().unwrap_or('?');
        self.put(c);
        Some((length, true))
    }

    fn put(&mut self, c: char) {
        let (row, column) = self.at;
        match c {
            '\r' => self.at.1 = 0,
            '\n' if row + 1 < self.cells.len() => self.at.0 += 1,
            '\n' => {
                let line = vec![' '; self.cells[0].len()];
                self.cells.remove(0);
                self.cells.push(line);
            }
            c if c.is_control() => {}
            c => {
                if let Some(cell) = self.cells.get_mut(row).and_then(|line| line.get_mut(column)) {
                    *cell = c;
                }
                self.at.1 += 1;
            }
        }
    }

    fn sequence(&mut self, arguments: &str, end: u8) {
        let number = |at: usize| arguments.split(';').nth(at).and_then(|text| text.parse::<usize>().ok());
        match end {
            b'H' => self.at = (number(0).unwrap_or(1).max(1) - 1, number(1).unwrap_or(1).max(1) - 1),
            b'C' => self.at.1 += number(0).unwrap_or(1),
            b'J' => self.cells.iter_mut().flatten().for_each(|cell| *cell = ' '),
            b'K' => {
                let (row, column) = self.at;
                self.cells
                    .get_mut(row)
                    .into_iter()
                    .flat_map(|line| line.iter_mut().skip(column))
                    .for_each(|cell| *cell = ' ');
            }
            b'h' | b'l' if arguments == "?1049" && self.other != (end == b'h') => {
                self.other = end == b'h';
                self.cells.iter_mut().flatten().for_each(|cell| *cell = ' ');
                self.at = (0, 0);
                self.frame.clone_from(&self.cells);
            }
            // A frame ends with what becomes of the cursor.
            b'h' | b'l' if arguments == "?25" && self.other => {
                self.frame.clone_from(&self.cells);
                self.frames += 1;
            }
            b'h' if arguments == MARK => self.marks += 1,
            _ => {}
        }
    }
}
