//! What recording costs a real program: RocksDB's own benchmark, bare and recorded, in turn.
//!
//! `cargo bench --bench programs [-- ROUNDS]`. The data lies on the memory file system, so that no disk is measured.
//! Reads go to one database that was filled and compacted before. Each round runs bare and recorded one after the
//! other, in alternating order; the figure is the median of the rounds' ratios, with the quartiles.

mod own;

use std::error::Error;
use std::path::Path;
use std::process::{Command, Stdio};

use own::lockprof;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

const ROUNDS: usize = 9;

fn main() -> Result<()> {
    let rounds = std::env::args().skip(1).find_map(|word| word.parse().ok()).unwrap_or(ROUNDS);
    if Command::new("db_bench").arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_err() {
        println!("db_bench is not installed (Debian: rocksdb-tools): nothing measured");
        return Ok(());
    }
    let memory = Path::new("/dev/shm");
    let folder = if memory.is_dir() { tempfile::tempdir_in(memory)? } else { tempfile::tempdir()? };
    let bench = Bench { folder: folder.path(), rounds };
    println!("{:<34} {:>9} {:>9} {:>7}  quartiles", "operations per second", "bare", "recorded", "ratio");
    bench.compare("fillrandom, 4 threads", &["--benchmarks=fillrandom", "--num=150000"])?;
    operations(&mut bench.db_bench(&["--benchmarks=fillrandom,compact", "--num=300000"]))?;
    let read = ["--benchmarks=readrandom", "--use_existing_db=1", "--num=300000", "--reads=150000"];
    bench.compare("readrandom, 4 threads", &read)?;
    Ok(())
}

struct Bench<'a> {
    folder: &'a Path,
    rounds: usize,
}

impl Bench<'_> {
    fn db_bench(&self, words: &[&str]) -> Command {
        let mut command = Command::new("db_bench");
        command.arg(format!("--db={}", self.folder.join("db").display())).arg("--threads=4").args(words);
        command
    }

    fn recorded(&self, words: &[&str]) -> Command {
        let bare = self.db_bench(words);
        let mut command = lockprof();
        command.args(["run", "-q", "-o"]).arg(self.folder.join("t.lockprof")).arg("--").arg(bare.get_program());
        command.args(bare.get_args());
        command
    }

    fn compare(&self, row: &str, words: &[&str]) -> Result<()> {
        let (mut bare, mut recorded, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
        for round in 0..self.rounds {
            let (one, other) = if round % 2 == 0 {
                let one = operations(&mut self.db_bench(words))?;
                (one, operations(&mut self.recorded(words))?)
            } else {
                let other = operations(&mut self.recorded(words))?;
                (operations(&mut self.db_bench(words))?, other)
            };
            bare.push(one);
            recorded.push(other);
            ratios.push(other / one);
        }
        let (bare, recorded) = (quantile(&mut bare, 0.5), quantile(&mut recorded, 0.5));
        let [low, ratio, high] = [0.25, 0.5, 0.75].map(|q| quantile(&mut ratios, q));
        println!("{row:<34} {bare:>9.0} {recorded:>9.0} {ratio:>7.3}  {low:.3} to {high:.3}");
        Ok(())
    }
}

fn quantile(values: &mut [f64], q: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    values[((values.len() - 1) as f64 * q).round() as usize]
}

/// What db_bench says of itself: `fillrandom : 7.4 micros/op 134519 ops/sec …`; the last line counts.
fn operations(command: &mut Command) -> Result<f64> {
    let output = command.stdin(Stdio::null()).stderr(Stdio::null()).output()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let figure = |line: &str| line.split_once("micros/op")?.1.split_whitespace().next()?.parse().ok();
    text.lines().rev().find_map(figure).ok_or_else(|| format!("{command:?} gave no figure:\n{text}").into())
}
