//! `lockprof.toml`: settings of a project, found upwards from the current folder.
//!
//! Flags come first, then `LOCKPROF_*` (both are read by the command line's parser), then this file.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail};
use toml::{Table, Value};

use crate::analysis::Glob;
use crate::cli::{budget, program_timeout};

/// The file's name.
const NAME: &str = "lockprof.toml";

/// The table `[check]`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct CheckSettings {
    pub fail_on: Option<Vec<String>>,
    pub baseline: Option<PathBuf>,
    pub suppress: Option<Vec<PathBuf>>,
    pub max_wait: Option<Vec<(Glob, u64)>>,
    pub max_hold: Option<Vec<(Glob, u64)>>,
    pub strict: Option<bool>,
    pub error_exitcode: Option<u8>,
    pub timeout: Option<Duration>,
}

/// Reads the nearest `lockprof.toml` at or above a folder; defaults without one.
pub(super) fn check(folder: &Path) -> anyhow::Result<CheckSettings> {
    Ok(read(folder, checks)?.unwrap_or_default())
}

/// Functions that the project calls wrappers of locks, by the whole name.
pub(super) fn wrappers(folder: &Path) -> anyhow::Result<Vec<Glob>> {
    Ok(read(folder, |table, _| functions(table))?.unwrap_or_default())
}

/// What `take` makes of the nearest file.
fn read<T>(folder: &Path, take: impl FnOnce(&Table, &Path) -> anyhow::Result<T>) -> anyhow::Result<Option<T>> {
    let Some(path) = folder.ancestors().map(|folder| folder.join(NAME)).find(|path| path.is_file()) else {
        return Ok(None);
    };
    let context = || format!("cannot use {}", path.display());
    let text = fs::read_to_string(&path).with_context(context)?;
    let table = parse(&text).with_context(context)?;
    take(&table, path.parent().unwrap_or(folder)).map(Some).with_context(context)
}

fn parse(text: &str) -> anyhow::Result<Table> {
    let table: Table = text.parse().map_err(|error: toml::de::Error| {
        let line = error.span().map_or(1, |span| text[..span.start.min(text.len())].lines().count().max(1));
        anyhow::anyhow!("line {line}: {}", error.message().replace('\n', ", "))
    })?;
    if let Some(name) = table.keys().find(|name| !["check", "wrappers"].contains(&name.as_str())) {
        bail!("no table [{name}] is known: settings are in [check] and [wrappers]");
    }
    Ok(table)
}

fn functions(table: &Table) -> anyhow::Result<Vec<Glob>> {
    let Some(wrappers) = table.get("wrappers") else { return Ok(Vec::new()) };
    let wrappers = wrappers.as_table().context("[wrappers] is a table")?;
    if let Some(key) = wrappers.keys().find(|key| *key != "functions") {
        bail!("no key {key} is known in [wrappers]; known is functions");
    }
    let names = wrappers.get("functions").map(texts).transpose().context("functions in [wrappers]")?;
    Ok(names.unwrap_or_default().into_iter().map(Glob::new).collect())
}

/// Paths in the file are relative to its folder.
fn checks(table: &Table, folder: &Path) -> anyhow::Result<CheckSettings> {
    let mut settings = CheckSettings::default();
    let Some(check) = table.get("check") else { return Ok(settings) };
    let check = check.as_table().context("[check] is a table")?;
    for (key, value) in check {
        let context = || format!("{key} in [check]");
        match key.as_str() {
            "fail_on" => settings.fail_on = Some(texts(value).with_context(context)?),
            "baseline" => settings.baseline = Some(folder.join(text_of(value).with_context(context)?)),
            "suppress" => {
                let names = texts(value).with_context(context)?;
                settings.suppress = Some(names.into_iter().map(|name| folder.join(name)).collect());
            }
            "max_wait" => settings.max_wait = Some(budgets(value).with_context(context)?),
            "max_hold" => settings.max_hold = Some(budgets(value).with_context(context)?),
            "strict" => settings.strict = Some(value.as_bool().with_context(context).context("write true or false")?),
            "error_exitcode" => {
                let code = value.as_integer().and_then(|code| u8::try_from(code).ok());
                settings.error_exitcode = Some(code.with_context(context).context("write a number up to 255")?);
            }
            "timeout" => {
                let text = match value {
                    Value::Integer(seconds) => seconds.to_string(),
                    Value::Float(seconds) => seconds.to_string(),
                    other => text_of(other).with_context(context)?,
                };
                settings.timeout = Some(program_timeout(&text).map_err(anyhow::Error::msg).with_context(context)?);
            }
            other => bail!(
                "no key {other} is known in [check]; known are fail_on, baseline, suppress, max_wait, max_hold, strict, \
                 error_exitcode, timeout"
            ),
        }
    }
    Ok(settings)
}

fn text_of(value: &Value) -> anyhow::Result<String> {
    value.as_str().map(str::to_owned).context("write a text in quotes")
}

/// One text, or a list of them.
fn texts(value: &Value) -> anyhow::Result<Vec<String>> {
    match value {
        Value::Array(items) => items.iter().map(text_of).collect(),
        one => Ok(vec![text_of(one)?]),
    }
}

/// `["journal.mu=5ms"]`, or `{ "journal.mu" = "5ms" }`.
fn budgets(value: &Value) -> anyhow::Result<Vec<(Glob, u64)>> {
    let texts = match value {
        Value::Table(table) => table
            .iter()
            .map(|(name, limit)| Ok(format!("{name}={}", text_of(limit)?)))
            .collect::<anyhow::Result<Vec<_>>>()?,
        other => texts(other)?,
    };
    texts.iter().map(|text| budget(text).map_err(anyhow::Error::msg)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_is_read() {
        let text = "[check]\nfail_on = [\"default\", \"guarded\"]\nbaseline = \"ci/known.json\"\n\
                    suppress = \"allow.toml\"\nmax_wait = { \"db.*\" = \"5ms\" }\nmax_hold = [\"*=1s\"]\n\
                    strict = true\nerror_exitcode = 7\ntimeout = 90\n";
        let settings = checks(&parse(text).unwrap(), Path::new("/p")).unwrap();
        assert_eq!(settings.fail_on.unwrap(), ["default", "guarded"]);
        assert_eq!(settings.baseline.unwrap(), Path::new("/p/ci/known.json"));
        assert_eq!(settings.suppress.unwrap(), [Path::new("/p/allow.toml")]);
        assert_eq!(settings.max_wait.unwrap(), [(Glob::new("db.*"), 5_000_000)]);
        assert_eq!(settings.max_hold.unwrap(), [(Glob::new("*"), 1_000_000_000)]);
        assert_eq!((settings.strict, settings.error_exitcode), (Some(true), Some(7)));
        assert_eq!(settings.timeout, Some(Duration::from_secs(90)));
        assert_eq!(checks(&parse("").unwrap(), Path::new("/")).unwrap(), CheckSettings::default());
        let wrappers = parse("[wrappers]\nfunctions = [\"base::*Lock\", \"take\"]\n").unwrap();
        assert_eq!(functions(&wrappers).unwrap(), [Glob::new("base::*Lock"), Glob::new("take")]);
        assert_eq!(functions(&parse("[check]\n").unwrap()).unwrap(), []);
    }

    #[test]
    fn mistakes_are_told() {
        for (text, want) in [
            ("[chekc]\n", "no table [chekc]"),
            ("[check]\nfailon = []\n", "known are fail_on"),
            ("[wrappers]\nfunction = []\n", "known is functions"),
            ("[wrappers]\nfunctions = 3\n", "a text in quotes"),
            ("[check]\nstrict = \"yes\"\n", "true or false"),
            ("[check]\nmax_wait = [\"x\"]\n", "such as journal.mu=5ms"),
            ("[check]\nerror_exitcode = 300\n", "up to 255"),
            ("\n[check\n", "line "),
        ] {
            let read = parse(text).and_then(|table| {
                functions(&table)?;
                checks(&table, Path::new("/"))
            });
            let error = format!("{:#}", read.unwrap_err());
            assert!(error.contains(want), "{text}: {error}");
        }
    }

    #[test]
    fn the_nearest_file_upwards_is_taken() {
        let folder = tempfile::tempdir().unwrap();
        let deep = folder.path().join("a/b");
        fs::create_dir_all(&deep).unwrap();
        fs::write(folder.path().join(NAME), "[check]\nstrict = true\nbaseline = \"known.json\"\n").unwrap();
        let settings = check(&deep).unwrap();
        assert_eq!(settings.strict, Some(true));
        assert_eq!(settings.baseline, Some(folder.path().join("known.json")));
        fs::write(folder.path().join("a").join(NAME), "[check]\nstrict = 3\n").unwrap();
        assert!(format!("{:#}", check(&deep).unwrap_err()).contains("lockprof.toml"));
    }
}
