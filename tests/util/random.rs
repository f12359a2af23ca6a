//! Random C++ programs: functions that call each other by name, by pointer, as callbacks and as tail calls, with frames of
//! all kinds, and lock on the way. One seed, one program. Their fixed parts are in `fixtures/random`.

use std::fmt::Write;
use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use super::Target;
use super::build::scratch;

/// A program that was built: the host, and the two libraries that it loads in turns.
pub struct Program {
    folder: PathBuf,
}

impl Program {
    pub fn target(&self, rounds: u32) -> Target {
        let file = |name| self.folder.join(name);
        Target::new(file("host")).args([file("libfar0.so"), file("libfar1.so"), rounds.to_string().into()])
    }
}

/// A part of the program: how its functions are called, and what they may do.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    /// In the program itself, with the C++ library at hand.
    Own,
    /// In a shared library.
    Near,
    /// In a library that is loaded and unloaded.
    Far(u32),
    /// Without tables: stacks end here.
    Bare,
}

impl Part {
    fn name(self) -> String {
        match self {
            Self::Own => "own".into(),
            Self::Near => "near".into(),
            Self::Far(number) => format!("far{number}"),
            Self::Bare => "bare".into(),
        }
    }

    /// The name of its table; those of the libraries that come and go are the same.
    fn table(self) -> String {
        if let Self::Far(_) = self { "far".into() } else { self.name() }
    }
}

/// Where the choices come from (SplitMix64).
struct Choices(u64);

impl Choices {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ mixed >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
        (mixed ^ mixed >> 31) % end
    }
}

const HELPERS: &str = "
// Locks when it goes, also when an exception passes.
struct Goes { State *s; long *x; ~Goes() { lock_any(s); ++*x; } };
NOINLINE static long toss(State *s, int d) {
  long x = d;
  Goes goes = {s, &x};
  if (d <= 0) throw d;
  volatile char *room = (volatile char *)alloca(16 + (d & 3) * 32);
  room[0] = 1;
  return toss(s, d - 1) + room[0] + x;
}
";

const CALLBACK: &str = "
static thread_local State *comparing;
static int compare(const void *left, const void *right) {
  if ((pick(comparing) & 15) == 0) lock_any(comparing);
  return *(const int *)left - *(const int *)right;
}
NOINLINE static long deep(State *s, int depth) {
  volatile char room[24];
  room[0] = (char)depth;
  if (depth > 0) return deep(s, depth - 1) + room[0];
  lock_mutex(s);
  return 1;
}
";

/// Functions with many arguments need their caller's frame beside a realigned one.
const WIDE: &str = "
NOINLINE static long wide(State *s, long a, long b, long c, long d, long e, long f, long g, int depth) {
  alignas(64) volatile char aligned[128];
  volatile char *room = (volatile char *)alloca(32 + (a & 63));
  aligned[a & 63] = 1, room[0] = 2;
  lock_any(s);
  return call_any(s, b + c + d + e, depth - 1) + f + g + aligned[5] * 0 + room[0];
}
";

/// What a function does before it calls others. Each comes with the parts that cannot have it.
const BODIES: [(&str, &[&str]); 15] = [
    ("volatile char *room = (volatile char *)alloca(16 + (pick(s) & 127)); room[0] = 1; y += room[0];", &[]),
    ("alignas(64) volatile char aligned[128]; aligned[a & 63] = 1; aligned[5] = 2; y += aligned[5];", &[]),
    (
        "alignas(32) volatile char aligned[64]; volatile char *room = (volatile char *)alloca(16 + (pick(s) & 63)); aligned[1] = 1; room[0] = aligned[1]; y += room[0];",
        &[],
    ),
    ("Goes goes = {s, &x};", &["bare"]),
    (
        "std::function<long(int)> again = [&](int e) { return call_any(s, x, e) + z; }; if (pick(s) % 3 == 0) y += again(d - 1);",
        &["near", "far", "bare"],
    ),
    (
        "if (pick(s) % 4 == 0) try { y += toss(s, (int)(pick(s) % 5)); } catch (int e) { lock_any(s); y += e; }",
        &["bare"],
    ),
    (
        "int list[8]; for (int &one : list) one = (int)(pick(s) & 1023); std::sort(list, list + 8, [s](int p, int q) { if ((pick(s) & 15) == 0) lock_any(s); return p < q; }); y += list[3];",
        &["near", "far", "bare"],
    ),
    (
        "int list[8]; for (int &one : list) one = (int)(pick(s) & 1023); comparing = s; qsort(list, 8, sizeof *list, compare); y += list[3];",
        &[],
    ),
    ("if (pick(s) % 8 == 0) wait_briefly(s);", &[]),
    ("y += wide(s, a, x, y, z, w, v, a, d);", &["bare"]),
    ("if (pick(s) % 4 == 0) raise(pick(s) & 1 ? SIGUSR1 : SIGUSR2);", &[]),
    ("if (pick(s) % 8 == 0) y += s->coroutine(s, x, d - 1);", &[]),
    ("if (pick(s) % 16 == 0) y += deep(s, (int)(pick(s) % 300));", &["bare"]),
    (
        "static std::mutex standard; { std::lock_guard<std::mutex> guard(standard); y++; } if (d & 1) return call_any(s, y, d - 1);",
        &["near", "far", "bare"],
    ),
    ("if (d & 1) { lock_any(s); return call_any(s, x + v, d - 1); }", &[]),
];

/// One part's source.
fn source(part: Part, functions: u64, choices: &mut Choices) -> String {
    let (name, table) = (part.name(), part.table());
    let mut text = String::from("#include \"random.h\"\n");
    if part == Part::Own {
        text += "#include <algorithm>\n#include <functional>\n#include <mutex>\n";
    }
    text += CALLBACK;
    if part != Part::Bare {
        text += HELPERS;
        text += WIDE;
    }
    for number in 0..functions {
        let _ = writeln!(text, "long {name}_{number}(State *s, long a, int d);");
    }
    for number in 0..functions {
        let body = loop {
            let (body, without) = BODIES[choices.below(BODIES.len() as u64) as usize];
            if !without.contains(&table.as_str()) {
                break body;
            }
        };
        let mut call = |depth: u64| {
            let arguments = ["x + y", "z ^ w", "v", "y - a"][choices.below(4) as usize];
            if choices.below(3) == 0 {
                format!("call_any(s, {arguments}, d - {depth})")
            } else {
                format!("{name}_{}(s, {arguments}, d - {depth})", choices.below(functions))
            }
        };
        let calls = [call(1), call(1), call(2), call(1)];
        let _ = write!(
            text,
            "NOINLINE long {name}_{number}(State *s, long a, int d) {{
  long x = a * 7 + {number}, y = a ^ {number}, z = a + 3 * d, w = d - a, v = a | d;
  if (d <= 0 || --s->budget < 0) {{ lock_any(s); return x; }}
  {body}
  switch (pick(s) % 6) {{
    case 0: x += {}; break;
    case 1: x += {} + w; break;
    case 2: x += {}; lock_any(s); break;
    case 3: x += call_any(s, z, d - 1); if (pick(s) % 4 == 0) x ^= call_any(s, w, d - 2); break;
    case 4: x += {name}_{number}(s, x, d - 1) + v; break;
    default: return {};
  }}
  if (pick(s) % 4 == 0) lock_any(s);
  return x ^ y ^ z ^ w ^ v;
}}
",
            calls[0], calls[1], calls[2], calls[3]
        );
    }
    // Those of the libraries that come and go are looked up by name.
    let linkage = if let Part::Far(_) = part { "C" } else { "C++" };
    let list: String = (0..functions).map(|number| format!("{name}_{number}, ")).collect();
    let _ = write!(
        text,
        "extern \"{linkage}\" {{
VISIBLE extern Function {table}_table[];
VISIBLE extern const unsigned {table}_many;
Function {table}_table[] = {{{list}}};
const unsigned {table}_many = {functions};
}}
"
    );
    text
}

/// Builds the program of a seed, once for each content.
pub fn program(seed: u64, compiler: &Path, flags: &[&str]) -> Program {
    let mut choices = Choices(seed);
    let parts = [(Part::Own, 28), (Part::Near, 14), (Part::Far(0), 8), (Part::Far(1), 8), (Part::Bare, 3)];
    let mut sources = parts.map(|(part, functions)| (part, source(part, functions, &mut choices)));
    // The second library that comes and goes is the first one with other names: every return address is the same.
    sources[3].1 = sources[2].1.replace("far0_", "far1_");
    let fixed = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/random");
    let read = |name: &str| fs::read_to_string(fixed.join(name)).expect("a fixed part of the random programs");
    let mut hasher = DefaultHasher::new();
    (compiler, flags, read("random.h"), read("host.cpp")).hash(&mut hasher);
    sources.iter().for_each(|(_, text)| text.hash(&mut hasher));
    let folder = scratch().join("random").join(format!("{:016x}", hasher.finish()));
    if folder.exists() {
        return Program { folder };
    }
    static SERIAL: AtomicU32 = AtomicU32::new(0);
    let serial = SERIAL.fetch_add(1, Ordering::Relaxed);
    let unfinished = folder.with_extension(format!("{}.{serial}", std::process::id()));
    fs::create_dir_all(&unfinished).expect("a folder for a random program");
    for (part, text) in &sources {
        fs::write(unfinished.join(format!("{}.cpp", part.name())), text).expect("a source");
    }
    let compile = |arguments: &[&str]| {
        let mut command = Command::new(compiler);
        command.args(["-g1", "-pthread", "-w", "-fvisibility=hidden"]).args(flags).arg("-I").arg(&fixed);
        let output = command.args(arguments).current_dir(&unfinished).output().expect("a C++ compiler");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "the program of seed {seed} does not compile:\n{said}");
    };
    for library in ["near", "far0", "far1"] {
        // Wide segments: libraries of different content have the same size, and one comes to where another was.
        let output = format!("lib{library}.so");
        compile(&["-fPIC", "-shared", "-Wl,-z,max-page-size=0x40000", &format!("{library}.cpp"), "-o", &output]);
    }
    let without_tables =
        ["-fno-exceptions", "-fno-asynchronous-unwind-tables", "-fno-unwind-tables", "-fomit-frame-pointer"];
    compile(&[&without_tables[..], &["-g0", "-c", "bare.cpp", "-o", "bare.o"]].concat());
    let host = fixed.join("host.cpp");
    let link = ["-L.", "-lnear", "-Wl,-rpath,$ORIGIN", "-ldl", "-o", "host"];
    compile(&[&["own.cpp", host.to_str().expect("a path"), "bare.o"], &link[..]].concat());
    // Another test may have been quicker: then its program is the one.
    if fs::rename(&unfinished, &folder).is_err() {
        assert!(folder.exists(), "no place for the program of seed {seed}");
        let _ = fs::remove_dir_all(&unfinished);
    }
    Program { folder }
}
