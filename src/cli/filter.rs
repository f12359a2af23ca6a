//! What a view leaves out.

use clap::Args;
use clap::builder::{PossibleValuesParser, TypedValueParser};

use crate::analysis::Glob;
use crate::model::Kind;

/// Heading of the options that leave something out.
const FILTER: &str = "What to leave out";

/// What to leave out of a view.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = FILTER)]
pub struct FilterArgs {
    /// Only locks with this name or id (`L3`; of a class `C2`); * stands for anything, ? for one character
    #[arg(long, value_name = "GLOB", value_parser = |text: &str| Ok::<_, std::convert::Infallible>(Glob::new(text)))]
    pub lock: Option<Glob>,
    /// Only locks of this kind; several with commas
    #[arg(long, value_name = "KIND", value_delimiter = ',', value_parser = kinds())]
    pub kind: Vec<Kind>,
    /// Only what threads with this name (or thread id) did; * and ? as above
    #[arg(long, value_name = "NAME", value_parser = |text: &str| Ok::<_, std::convert::Infallible>(Glob::new(text)))]
    pub thread: Option<Glob>,
    /// Only locks of the process with this id
    #[arg(long, value_name = "PID")]
    pub pid: Option<u32>,
    /// Only locks that were waited for at least this long in total, such as 1ms
    #[arg(long, value_name = "TIME", value_parser = duration_ns)]
    pub min_wait: Option<u64>,
}

fn kinds() -> impl TypedValueParser<Value = Kind> {
    PossibleValuesParser::new(Kind::ALL.map(Kind::name)).map(|word| {
        // The parser lets known words pass only.
        Kind::ALL.into_iter().find(|kind| kind.name() == word).unwrap_or(Kind::Mutex)
    })
}

/// A duration such as `1ms`, `1.5s` or `250us`, in ns.
pub fn duration_ns(text: &str) -> Result<u64, String> {
    let explain = || "give a number with ns, us, ms or s, such as 1ms or 1.5s".to_owned();
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let factor = match unit.trim_start() {
        "ns" => 1.0,
        "us" | "µs" | "μs" => 1e3,
        "ms" => 1e6,
        "s" => 1e9,
        "m" | "min" => 60e9,
        "" if number == "0" => 1.0,
        _ => return Err(explain()),
    };
    let number: f64 = number.parse().map_err(|_| explain())?;
    Ok((number * factor).round() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        for (text, want) in [("1ms", 1_000_000), ("1.5s", 1_500_000_000), ("250us", 250_000), ("0", 0), ("7 ns", 7)] {
            assert_eq!(duration_ns(text), Ok(want));
        }
        for text in ["", "1", "ms", "1h2", "1.2.3s", "-1ms"] {
            assert!(duration_ns(text).unwrap_err().contains("such as 1ms"), "{text}");
        }
    }
}
