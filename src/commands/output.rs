//! Standard output for data, standard error for talk, files for the rest.

use std::fs::{self, File};
use std::io::{self, BufWriter, IsTerminal, Write};
use std::path::{Path, PathBuf};

use anyhow::Context;

use crate::cli::{ColorWhen, Global};
use crate::ingest::file;
use crate::model::Session;
use crate::render::style::{Layout, Style};

/// Columns where the output is no terminal.
const DEFAULT_WIDTH: usize = 80;
/// Wider lines are hard to read, however wide the terminal is.
const MAX_WIDTH: usize = 140;
/// Narrower than this, tables make no sense.
const MIN_WIDTH: usize = 60;

/// How to talk to the person.
#[derive(Clone, Copy, Debug)]
pub struct Console {
    global: Global,
}

impl Console {
    /// As the options say.
    pub fn new(global: Global) -> Self {
        Self { global }
    }

    /// Whether `-v` was given.
    pub fn verbose(&self) -> bool {
        self.global.verbose
    }

    /// Whether `-q` was given.
    pub fn quiet(&self) -> bool {
        self.global.quiet
    }

    /// How to lay out what goes to standard output.
    pub fn stdout_layout(&self) -> Layout {
        let width = terminal_size::terminal_size_of(io::stdout()).map(|(width, _)| width.0);
        self.layout(io::stdout().is_terminal(), width)
    }

    /// How to lay out what goes to standard error.
    pub fn stderr_layout(&self) -> Layout {
        let width = terminal_size::terminal_size_of(io::stderr()).map(|(width, _)| width.0);
        self.layout(io::stderr().is_terminal(), width)
    }

    fn layout(&self, terminal: bool, width: Option<u16>) -> Layout {
        let color = match self.global.color {
            ColorWhen::Always => true,
            ColorWhen::Never => false,
            ColorWhen::Auto => terminal && !is_set("NO_COLOR") && std::env::var_os("TERM").is_none_or(|t| t != "dumb"),
        };
        let columns = || std::env::var("COLUMNS").ok().and_then(|text| text.parse().ok());
        let width = width.map(usize::from).or_else(columns).unwrap_or(DEFAULT_WIDTH);
        Layout { color, width: width.clamp(MIN_WIDTH, MAX_WIDTH) }
    }

    /// Where data goes, and how to lay it out there; `-` is standard output.
    pub fn target(&self, output: Option<&Path>) -> (Target, Layout) {
        match output {
            Some(path) if path.as_os_str() != "-" => (Target::File(path.to_owned()), Layout::default()),
            _ => (Target::Stdout, self.stdout_layout()),
        }
    }

    /// Says something on standard error, unless `-q` was given.
    pub fn say(&self, text: &str) {
        if !self.global.quiet {
            self.write_stderr(&format!("lockprof: {text}\n"));
        }
    }

    /// Says something that only `-v` asks for.
    pub fn detail(&self, text: &str) {
        if self.global.verbose {
            self.say(text);
        }
    }

    /// Says what went wrong.
    pub fn error(&self, text: &str) {
        let prefix = self.stderr_layout().paint(Style::Bad, "lockprof:");
        self.write_stderr(&format!("{prefix} {text}\n"));
    }

    /// Writes to standard error as it is. Where nobody can read it, nobody is told.
    pub fn write_stderr(&self, text: &str) {
        let _ = io::stderr().lock().write_all(text.as_bytes());
    }
}

/// Where data goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// Standard output.
    Stdout,
    /// A file, made anew.
    File(PathBuf),
}

impl Target {
    /// Writes all of it. A file that cannot be completed is removed.
    pub fn write(&self, bytes: &[u8]) -> anyhow::Result<()> {
        match self {
            Self::Stdout => write_stdout(|out| out.write_all(bytes)),
            Self::File(path) => write_file(path, bytes).map_err(|error| {
                let place = path.display();
                let text = format!("cannot write {place}: {error}; name a writable place with free space by -o FILE");
                anyhow::Error::new(error).context(text)
            }),
        }
    }
}

/// Writes to standard output, piece by piece.
pub fn write_stdout(write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> anyhow::Result<()> {
    let mut out = BufWriter::with_capacity(1 << 16, io::stdout().lock());
    write(&mut out).and_then(|()| out.flush()).context("cannot write to standard output")
}

/// Writes a recording to standard output.
pub fn write_trace(session: &Session) -> anyhow::Result<()> {
    let mut out = BufWriter::with_capacity(1 << 16, io::stdout().lock());
    file::write(session, &mut out)?;
    out.flush().context("cannot write to standard output")
}

fn write_file(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = File::create(path)?;
    let done = file.write_all(bytes);
    if done.is_err() && file.metadata().is_ok_and(|meta| meta.is_file()) {
        // Half a file is worse than none.
        let _ = fs::remove_file(path);
    }
    done
}

fn is_set(variable: &str) -> bool {
    std::env::var_os(variable).is_some_and(|value| !value.is_empty())
}

/// Whether the reader of a pipe went away (`| head`): nothing to complain about.
pub fn is_closed_pipe(error: &anyhow::Error) -> bool {
    (error.chain().filter_map(|cause| cause.downcast_ref::<io::Error>()))
        .any(|error| error.kind() == io::ErrorKind::BrokenPipe)
}
