//! pprof, speedscope's schema, what Perfetto asks of a trace, Prometheus' parser.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::{export, totals, trace};
use crate::util::python;
use crate::util::run::folder;

/// What `go tool pprof` prints.
pub(super) fn pprof(go: &Path, options: &[&str], file: &Path) -> String {
    let home = folder();
    let mut command = Command::new(go);
    command.args(["tool", "pprof"]).args(options).arg(file);
    // It looks for settings and for binaries there.
    command.env("HOME", home.path()).env("PPROF_TMPDIR", home.path()).env("PPROF_BINARY_PATH", home.path());
    let output = command.env("GOTOOLCHAIN", "local").output().expect("go tool pprof");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{options:?}: {errors}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// `Showing nodes accounting for 12ns, 100% of 12ns total`.
pub(super) fn pprof_total(go: &Path, index: &str, unit: &str, file: &Path) -> u64 {
    let text = pprof(go, &["-top", &format!("-sample_index={index}"), &format!("-unit={unit}")], file);
    let total = text.split(" of ").find_map(|rest| rest.split(" total").next().filter(|word| !word.contains(' ')));
    let digits = total.unwrap_or_else(|| panic!("no total in\n{text}")).trim_end_matches(|c: char| !c.is_ascii_digit());
    digits.parse().unwrap_or_else(|_| panic!("no total in\n{text}"))
}

#[test]
fn go_tool_pprof_opens_it() {
    let go = crate::need!("go");
    let folder = folder();
    for side in ["--by=waiter", "--by=holder"] {
        let file = export(folder.path(), "pprof", trace(), &[side]);
        let (contended, wait_ns) = totals(trace());
        assert_eq!(pprof_total(&go, "delay", "ns", &file), wait_ns, "{side}");
        assert_eq!(pprof_total(&go, "contentions", "count", &file), contended, "{side}");
        let top = pprof(&go, &["-top", "-cum"], &file);
        assert!(top.contains("Type: delay") && top.contains("lockprof::record::demo::"), "{top}");
        let traces = pprof(&go, &["-traces"], &file);
        let labels = traces.replace(' ', "");
        assert!(
            labels.contains("lock:lockprof::record::demo::JOURNAL\n") && labels.contains("kind:mutex\n"),
            "{traces}"
        );
        let comments = pprof(&go, &["-comments"], &file);
        assert!(comments.contains("time that threads waited for locks"), "{comments}");
    }
    let file = export(folder.path(), "pprof", trace(), &["--lock=*CACHE"]);
    assert!(!pprof(&go, &["-traces"], &file).contains("JOURNAL"), "a filter leaves out");
}

#[test]
fn speedscope_is_valid() {
    let Some(python) = python::with(&["jsonschema"]) else { return };
    let folder = folder();
    let schema = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/speedscope/file-format-schema.json");
    let files = ["--by=waiter", "--by=holder"].map(|side| export(folder.path(), "speedscope", trace(), &[side]));
    let script = "
import json, sys, jsonschema
schema, *files = [json.load(open(path)) for path in sys.argv[1:]]
for file in files:
    jsonschema.validate(file, schema)
    frames = file['shared']['frames']
    for profile in file['profiles']:
        assert len(profile['samples']) == len(profile['weights']) > 0
        assert profile['endValue'] == sum(profile['weights'])
        assert all(0 <= at < len(frames) for sample in profile['samples'] for at in sample)
print(len(files), 'valid')";
    let args: Vec<PathBuf> = std::iter::once(schema).chain(files).collect();
    assert_eq!(python::run(&python, script, &args), "2 valid\n");
}

/// What viewers ask of the format: names for tracks, times that are times, slices that nest, arrows with both ends, each
/// inside a slice of its track.
#[test]
fn the_trace_is_what_perfetto_asks_for() {
    let Some(python) = python::with(&["json"]) else { return };
    let folder = folder();
    let file = export(folder.path(), "chrome", trace(), &[]);
    let script = "
import json, sys, collections
trace = json.load(open(sys.argv[1]))
events, other = trace['traceEvents'], trace['otherData']
ns = lambda us: round(us * 1000)
named = {(e['pid'], e['tid']) for e in events if e['ph'] == 'M' and e['name'] == 'thread_name'}
processes = {e['pid'] for e in events if e['ph'] == 'M' and e['name'] == 'process_name'}
tracks = collections.defaultdict(list)
flows = collections.defaultdict(dict)
for e in events:
    assert e['ph'] in 'MXsf', e
    if e['ph'] == 'X':
        assert e['ts'] >= 0 and e['dur'] >= 0 and e['cat'] in ('wait', 'hold') and e['args']['lock'], e
        tracks[e['pid'], e['tid']].append((ns(e['ts']), -ns(e['dur'])))
    elif e['ph'] in 'sf':
        assert e['ph'] not in flows[e['id']], e
        flows[e['id']][e['ph']] = e
assert set(tracks) <= named and {pid for pid, _ in tracks} <= processes
for track in tracks.values():
    ends = []
    for start, length in sorted(track):
        end = start - length
        while ends and ends[-1] <= start:
            ends.pop()
        assert not ends or end <= ends[-1], (start, end, ends)
        ends.append(end)
inside = lambda e: any(start <= ns(e['ts']) <= start - length for start, length in tracks[e['pid'], e['tid']])
for flow in flows.values():
    assert set(flow) == {'s', 'f'} and ns(flow['s']['ts']) <= ns(flow['f']['ts']) and flow['f']['bp'] == 'e', flow
    assert (flow['s']['pid'], flow['s']['tid']) != (flow['f']['pid'], flow['f']['tid']), flow
for flow in list(flows.values())[:200]:
    assert inside(flow['s']) and inside(flow['f']), flow
waits = sum(e.get('cat') == 'wait' for e in events)
assert waits == other['waits'] and len(flows) == other['arrows'], other
# Most waits of the demo end by a release that was recorded.
assert len(flows) > waits / 2 and waits > 100, (len(flows), waits)
print('fine')";
    assert_eq!(python::run(&python, script, &[file]), "fine\n");
}

/// The grammar of the text format, whole, and what a histogram has to be.
#[test]
fn prometheus_can_parse_it() {
    let Some(python) = python::with(&["re"]) else { return };
    let folder = folder();
    let file = export(folder.path(), "prometheus", trace(), &[]);
    let script = r#"
import re, sys, collections
from decimal import Decimal
name = r'[a-zA-Z_:][a-zA-Z0-9_:]*'
label = r'[a-zA-Z_][a-zA-Z0-9_]*="(?:[^"\\\n]|\\["\\n])*"'
sample = re.compile(rf'({name})(?:\{{({label}(?:,{label})*)\}})? (\+Inf|[0-9]+(?:\.[0-9]+)?)')
kinds, helps, seen, buckets = {}, set(), {}, collections.defaultdict(list)
family = None
text = open(sys.argv[1]).read()
assert text.endswith('\n')
for line in text.splitlines():
    if line.startswith('# HELP '):
        family = line.split(' ')[2]
        assert family not in helps and re.fullmatch(name, family), line
        helps.add(family)
    elif line.startswith('# TYPE '):
        _, _, of, kind = line.split(' ')
        assert of == family and kind in ('counter', 'gauge', 'histogram'), line
        kinds[of] = kind
        assert (kind == 'counter') == of.endswith('_total'), line
    elif not line.startswith('#'):
        match = sample.fullmatch(line)
        assert match, line
        metric, labels, value = match.groups()
        assert (metric, labels) not in seen, line
        seen[metric, labels] = Decimal(value)
        if kinds[family] == 'histogram':
            assert metric in (family + '_bucket', family + '_sum', family + '_count'), line
            if metric.endswith('_bucket'):
                rest, le = re.fullmatch(r'(.*),le="([^"]*)"', labels).groups()
                buckets[family, rest].append((Decimal('Infinity') if le == '+Inf' else Decimal(le), Decimal(value)))
        else:
            assert metric == family, line
assert set(kinds) == helps and 'histogram' in kinds.values()
for (family, labels), steps in buckets.items():
    assert steps == sorted(steps) and [count for _, count in steps] == sorted(count for _, count in steps), steps
    assert steps[-1][0] == Decimal('Infinity') and steps[-1][1] == seen[family + '_count', labels], labels
    assert (family + '_sum', labels) in seen
waited = {labels: value for (metric, labels), value in seen.items() if metric == 'lockprof_lock_wait_seconds_total'}
for labels, value in waited.items():
    assert value == seen['lockprof_lock_wait_duration_seconds_sum', labels]
    assert seen['lockprof_lock_contentions_total', labels] == seen['lockprof_lock_wait_duration_seconds_count', labels]
print('fine')"#;
    assert_eq!(python::run(&python, script, std::slice::from_ref(&file)), "fine\n");
    assert!(fs::read_to_string(file).unwrap().contains("class=\""));
}

/// The messages of OpenTelemetry's own package: every field is known, every position is there.
const OTLP: &str = r#"
import sys
from google.protobuf import json_format, unknown_fields
from opentelemetry.proto.profiles.v1development import profiles_pb2
data = profiles_pb2.ProfilesData()
data.ParseFromString(open(sys.argv[1], "rb").read())
def known(message):
    assert len(unknown_fields.UnknownFieldSet(message)) == 0, type(message)
    for field, value in message.ListFields():
        if field.type == field.TYPE_MESSAGE:
            for one in (value if hasattr(value, "append") or hasattr(value, "add") else [value]):
                known(one)
known(data)
tables = data.dictionary
for name in ("mapping", "location", "function", "link", "attribute", "stack"):
    table = getattr(tables, name + "_table")
    assert table[0] == type(table[0])(), name
text = tables.string_table
names, threads = set(), set()
for profile in data.resource_profiles[0].scope_profiles[0].profiles:
    kind = profile.sample_type
    for sample in profile.samples:
        assert len(sample.values) == 1
        about = {text[one.key_strindex]: one.value for one in (tables.attribute_table[at] for at in sample.attribute_indices)}
        assert {"lockprof.lock.name", "process.pid"} <= about.keys(), about
        threads.update(value.string_value for key, value in about.items() if key == "thread.name")
        for at in tables.stack_table[sample.stack_index].location_indices:
            names.update(text[tables.function_table[line.function_index].name_strindex] for line in tables.location_table[at].lines)
    print(text[kind.type_strindex], text[kind.unit_strindex], sum(sample.values[0] for sample in profile.samples))
assert any(name.startswith("lockprof::record::demo::") for name in names), names
assert threads
json_format.MessageToJson(data)
"#;

#[test]
fn opentelemetry_s_messages_decode_profiles() {
    let Some(python) = python::with(&["opentelemetry.proto.profiles.v1development.profiles_pb2"]) else { return };
    let folder = folder();
    let (contended, wait_ns) = totals(trace());
    for side in ["--by=waiter", "--by=holder"] {
        let file = export(folder.path(), "otlp", trace(), &[side]);
        let told = python::run(&python, OTLP, &[file]);
        assert_eq!(told, format!("delay nanoseconds {wait_ns}\ncontentions count {contended}\n"), "{side}");
    }
}
