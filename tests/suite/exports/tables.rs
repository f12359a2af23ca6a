//! CSV and Parquet, and the queries of `docs/fleet.md`.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::{export, totals, trace, traces};
use crate::util::python;
use crate::util::report::{Report, number};
use crate::util::run::folder;

#[test]
fn csv_is_read_by_python() {
    let Some(python) = python::with(&["csv"]) else { return };
    let folder = folder();
    let files = ["--table=locks", "--table=sites", "--table=waits", "--table=edges"];
    let files = files.map(|table| export(folder.path(), "csv", trace(), &[table]));
    let script = "
import csv, sys
sums = []
for path in sys.argv[1:]:
    with open(path, newline='') as file:
        raw = file.read()
        file.seek(0)
        rows = list(csv.DictReader(file, strict=True))
    assert raw.count('\\r\\n') == raw.count('\\n'), path
    assert all(None not in row and None not in row.values() for row in rows), path
    sums.append(sum(int(row['wait_ns']) for row in rows if row.get('is_lock') == 'true' and 'wait_ns' in row))
print(*sums)";
    let wait_ns = totals(trace()).1;
    let sums = python::run(&python, script, &files);
    assert_eq!(sums, format!("{wait_ns} {wait_ns} {wait_ns} 0\n"));
}

/// Each table as its two readers see it, against the report.
#[test]
fn parquet_is_read_by_pyarrow_and_duckdb() {
    let Some(python) = python::with(&["pyarrow", "duckdb"]) else { return };
    let folder = folder();
    let tables = export(folder.path(), "parquet", trace(), &["--host=web-1", "--release=4.2"]);
    let script = r#"
import sys, json, duckdb, pyarrow.parquet as pq, pyarrow.compute as pc
folder = sys.argv[1]
names = ['meta', 'locks', 'sites', 'waits', 'events', 'edges', 'stacks', 'frames']
tables = {name: pq.read_table(f'{folder}/{name}.parquet') for name in names}
ask = lambda query: duckdb.sql(query.replace('$', folder)).fetchall()
run = tables['meta']['run'][0].as_py()
for name, table in tables.items():
    assert table.column_names[0] == 'run' and set(table['run'].to_pylist()) <= {run}, name
    assert ask(f"select count(*) from '$/{name}.parquet'")[0][0] == table.num_rows, name
    assert all(table[column].null_count == 0 for column in table.column_names if column.endswith('_ns')), name
sums = {}
for name in ['locks', 'sites', 'waits', 'events']:
    table = tables[name].filter(tables[name]['is_lock'])
    one = pc.sum(table['wait_ns']).as_py()
    other = ask(f"select sum(wait_ns)::bigint from '$/{name}.parquet' where is_lock")[0][0]
    assert one == other, name
    sums[name] = one
# Every reference is met.
for name, column, other, key in [
    ('sites', 'lock', 'locks', 'lock'), ('waits', 'lock', 'locks', 'lock'), ('events', 'lock', 'locks', 'lock'),
    ('sites', 'stack', 'stacks', 'stack'), ('waits', 'waiter_stack', 'stacks', 'stack'),
    ('waits', 'holder_stack', 'stacks', 'stack'), ('events', 'holder_stack', 'stacks', 'stack'),
    ('stacks', 'frame', 'frames', 'frame'), ('edges', 'held_lock', 'locks', 'lock'),
]:
    lost = set(tables[name][column].to_pylist()) - set(tables[other][key].to_pylist()) - {0}
    assert not lost, (name, column, lost)
for name, key in [('locks', 'lock'), ('frames', 'frame')]:
    assert len(set(tables[name][key].to_pylist())) == tables[name].num_rows, name
meta = tables['meta'].to_pylist()[0]
sums.update(events_missing=meta['events_missing'], host=meta['host'], release=meta['release'],
            started=meta['started'].isoformat(), acquisitions=meta['acquisitions'], complete=meta['complete'])
print(json.dumps(sums))"#;
    let sums: Value = serde_json::from_str(&python::run(&python, script, &[tables])).unwrap();
    let wait_ns = totals(trace()).1;
    for table in ["locks", "sites", "waits"] {
        assert_eq!(number(&sums, table), wait_ns, "{table}");
    }
    assert_eq!((number(&sums, "events_missing"), number(&sums, "events")), (0, wait_ns), "the demo keeps every wait");
    assert_eq!((&sums["host"], &sums["release"]), (&"web-1".into(), &"4.2".into()));
    let report = Report::load(trace());
    assert_eq!(number(&sums, "acquisitions"), report.coverage("acquisitions"));
    assert!(sums["started"].as_str().unwrap().starts_with("20") && sums["complete"] == true, "{sums}");
}

/// The blocks of SQL in the page.
fn queries() -> Vec<String> {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/fleet.md");
    let text = fs::read_to_string(page).expect("the page");
    let blocks = text.split("```sql\n").skip(1).filter_map(|rest| rest.split("\n```").next());
    blocks.map(str::to_owned).collect()
}

/// The recordings of two machines, as the page has them; the folder and the page's queries.
fn fleet() -> (tempfile::TempDir, Vec<PathBuf>) {
    let folder = folder();
    for (at, trace) in traces().iter().enumerate() {
        let (host, release) = (format!("--host=web-{at}"), format!("--release=4.{at}"));
        let exported = export(folder.path(), "parquet", trace, &[&host, &release]);
        fs::create_dir_all(folder.path().join("fleet")).expect("a folder");
        fs::rename(exported, folder.path().join(format!("fleet/run-{at}"))).expect("its place");
    }
    let queries = queries();
    assert!(queries.len() >= 4, "queries in the page: {}", queries.len());
    let mut args = vec![folder.path().to_owned()];
    args.extend(queries.iter().map(PathBuf::from));
    (folder, args)
}

/// Each number of an answer as a number, whatever its type is called; moments and names as they are.
const ANSWERS: &str = "
import datetime
def plain(value):
    if isinstance(value, datetime.datetime):
        return str(value.astimezone(datetime.timezone.utc).replace(tzinfo=None))
    return value if value is None or isinstance(value, str) else round(float(value), 6)
def told(answers):
    return json.dumps([sorted([[plain(value) for value in row] for row in rows], key=str) for rows in answers])
";

/// ClickHouse takes the page's queries with the two changes that it names, and answers as DuckDB does.
#[test]
fn clickhouse_answers_as_duckdb_does() {
    let Some(python) = python::with(&["chdb", "duckdb", "pytz"]) else { return };
    let (_folder, args) = fleet();
    let script = format!(
        "
import os, re, sys, json, duckdb, chdb
{ANSWERS}
os.chdir(sys.argv[1])
print(told([duckdb.sql(query).fetchall() for query in sys.argv[2:]]))
def changed(query):
    return re.sub(r\"'(fleet/[^']*)'\", r\"file('\\1', Parquet)\", query).replace('arg_min', 'argMin')
def rows(query):
    text = str(chdb.query(changed(query), 'JSONCompactEachRow'))
    return [json.loads(line) for line in text.splitlines() if line]
print(told([rows(query) for query in sys.argv[2:]]))"
    );
    let told = python::run(&python, &script, &args);
    let (duckdb, clickhouse) = told.split_once('\n').expect("two lines");
    let answers: Value = serde_json::from_str(duckdb).expect("answers");
    assert!(answers.as_array().unwrap().iter().filter(|rows| !rows.as_array().unwrap().is_empty()).count() >= 4);
    let clickhouse: Value = serde_json::from_str(clickhouse).expect("answers");
    for ((query, duckdb), clickhouse) in
        queries().iter().zip(answers.as_array().unwrap()).zip(clickhouse.as_array().unwrap())
    {
        assert_eq!(duckdb, clickhouse, "{query}");
    }
}

/// The page's queries run as they stand, on the recordings of two machines.
#[test]
fn the_queries_of_the_page_run() {
    let Some(python) = python::with(&["duckdb"]) else { return };
    let (_folder, args) = fleet();
    let queries = queries();
    let script = "
import os, sys, json, duckdb
os.chdir(sys.argv[1])
# As text: Python's own types for moments need one more package.
texts = 'select cast(columns(*) as varchar) from ({})'
print(json.dumps([duckdb.sql(texts.format(query)).fetchall() for query in sys.argv[2:]]))";
    let answers: Value = serde_json::from_str(&python::run(&python, script, &args)).unwrap();
    for (query, answer) in queries.iter().zip(answers.as_array().unwrap()) {
        // The demo never holds two locks.
        let none = query.contains("edges.parquet");
        assert_eq!(answer.as_array().unwrap().is_empty(), none, "{answer} for\n{query}");
    }
    // The first: which lock, on how many hosts, since which release.
    let first = &answers[0][0];
    assert!(first[0].as_str().unwrap().contains("JOURNAL"), "{first}");
    assert_eq!((&first[2], &first[4]), (&"2".into(), &"4.0".into()), "{first}");
    let both = totals(&traces()[0]).1 + totals(&traces()[1]).1;
    let all: f64 =
        answers[0].as_array().unwrap().iter().map(|row| row[3].as_str().unwrap().parse::<f64>().unwrap()).sum();
    assert!((all - both as f64 / 1e9).abs() < 1e-6, "{all} s of {both} ns");
}
