//! What is made of the command line itself: completions for shells, pages for `man`.

use std::path::PathBuf;

use clap::{Args, Command, CommandFactory};
use clap_complete::Shell;
use clap_mangen::Man;
use clap_mangen::roff::{Roff, roman};

use super::Cli;

/// `lockprof completions`.
#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  \
                        lockprof completions bash > ~/.local/share/bash-completion/completions/lockprof\n  \
                        lockprof completions zsh > ~/.zfunc/_lockprof        with ~/.zfunc in $fpath\n  \
                        lockprof completions fish > ~/.config/fish/completions/lockprof.fish")]
pub struct CompletionsArgs {
    /// The shell
    #[arg(value_enum)]
    pub shell: Shell,
    /// Write to FILE; - is standard output
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
}

/// `lockprof man`.
#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  \
                        lockprof man run | man -l -                 one page\n  \
                        lockprof man -o ~/.local/share/man/man1     all of them")]
pub struct ManArgs {
    /// A command [default: lockprof itself]
    #[arg(value_name = "COMMAND")]
    pub command: Option<String>,
    /// Write to FILE; where it is a folder, the pages of all commands into it; - is standard output
    #[arg(short, long, value_name = "FILE|DIR")]
    pub output: Option<PathBuf>,
}

/// The completions for a shell.
pub fn completions(shell: Shell) -> Vec<u8> {
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "lockprof", &mut text);
    text
}

/// The pages, each with its name: `lockprof`, then `lockprof-run` and so on.
pub fn pages() -> Vec<(String, Vec<u8>)> {
    let mut whole = Cli::command();
    whole.build();
    let of_commands = whole.get_subcommands().filter(|command| command.get_name() != "help");
    let of_commands = of_commands.map(|command| (format!("lockprof-{}", command.get_name()), page(command)));
    std::iter::once(("lockprof".to_owned(), page(&whole))).chain(of_commands).collect()
}

fn page(command: &Command) -> Vec<u8> {
    let man = Man::new(command.clone());
    let mut text = Vec::new();
    let has_options = command.get_arguments().any(|argument| !argument.is_hide_set());
    let has_commands = command.has_subcommands();
    // Writing to memory cannot fail.
    let _ = man.render_title(&mut text);
    let _ = man.render_name_section(&mut text);
    let _ = man.render_synopsis_section(&mut text);
    let _ = man.render_description_section(&mut text);
    if has_options {
        let _ = man.render_options_section(&mut text);
    }
    if has_commands {
        let _ = man.render_subcommands_section(&mut text);
    }
    if let Some(help) = command.get_after_help() {
        let _ = examples(&help.to_string()).to_writer(&mut text);
    }
    text
}

/// Lines as they are: examples are read by columns.
fn examples(help: &str) -> Roff {
    let mut roff = Roff::default();
    roff.control("SH", ["EXAMPLES"]).control("nf", []);
    for line in help.lines().filter(|line| *line != "Examples:" && *line != "Example:") {
        roff.text([roman(line)]);
    }
    roff.control("fi", []);
    roff
}
