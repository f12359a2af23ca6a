use super::*;
use crate::model::{Lock, Module, ProcessId, Stacks};
use crate::symbols::testing::{Program, compile, tool};
use crate::symbols::{Kept, resolve, symbolize};

const C: &str = r#"#include <pthread.h>
#include <stdlib.h>
struct account { long n; pthread_mutex_t lock; pthread_cond_t paid; };
struct cache { struct account shard[4]; } cache;
static void init_it(pthread_mutex_t *m)
{
    pthread_mutex_init(m, NULL);
}
struct account *make_account(void)
{
    struct account *a = calloc(1, sizeof *a);
    pthread_mutex_init(&a->lock, NULL);
    pthread_cond_init(&a->paid, NULL);
    return a;
}
struct account *make_other(void)
{
    struct account *other = calloc(1, sizeof *other);
    init_it(&other->lock);
    return other;
}
int main(void) { return make_account()->n + make_other()->n + cache.shard[2].n; }
"#;

/// The same program with everything but the functions moved.
fn moved() -> String {
    C.replacen(
        "struct account *make_account",
        "\n\nint padding(int n)\n{\n    return n * n;\n}\nstruct account *make_account",
        1,
    )
}

/// An address in a function whose innermost frame is on a line.
fn on_line(program: &Program, function: &str, line: u32) -> u64 {
    let addresses = program.inside(function);
    let frames = resolve(&program.module(), &addresses, &Kept::default(), &mut Vec::new());
    let at = frames.iter().position(|frames| frames[0].line == line);
    addresses[at.unwrap_or_else(|| panic!("{function} has no line {line}"))]
}

struct Recording {
    session: Session,
    data: Vec<Option<CodeAddress>>,
}

impl Recording {
    fn new() -> Self {
        Self { session: Session::default(), data: Vec::new() }
    }

    fn lock(&mut self, module: &Module, calls: &[u64], kind: Kind, origin: Origin, data: Option<u64>) {
        let module = Some(self.session.stacks.intern_module(module));
        let outwards = calls.iter().rev();
        let origin_stack = outwards.fold(Stacks::UNKNOWN, |caller, address| {
            self.session.stacks.intern(caller, CodeAddress { module, address: *address })
        });
        self.data.push(data.map(|address| CodeAddress { module, address }));
        self.session.locks.push(Lock {
            origin,
            origin_stack,
            ..Lock::new(ProcessId(0), 0x7fff_1234_5678 + self.data.len() as u64, kind)
        });
    }

    fn named(mut self) -> Vec<(String, NameSource, String)> {
        symbolize(&mut self.session, &Kept::default());
        let data = std::mem::take(&mut self.data);
        assert_eq!(name_locks(&mut self.session, &|id| data[id.index()], &Kept::default()), Vec::<String>::new());
        let told = |lock: &Lock| {
            let name = lock.name.clone().expect("every lock has a name");
            (name.text, name.source, lock.class.clone())
        };
        self.session.locks.iter().map(told).collect()
    }
}

fn told(text: &str, source: NameSource, class: &str) -> (String, NameSource, String) {
    (text.to_owned(), source, class.to_owned())
}

fn bank(program: &Program, shift: u32) -> Recording {
    let module = program.module();
    let mut recording = Recording::new();
    let main = program.inside("main")[4];
    let mut lock = |calls: &[u64], kind| recording.lock(&module, calls, kind, Origin::Initialised, None);
    lock(&[on_line(program, "make_account", 12 + shift), main], Kind::Mutex);
    lock(&[on_line(program, "make_account", 13 + shift), main], Kind::Condvar);
    lock(&[on_line(program, "init_it", 7), on_line(program, "make_other", 19 + shift), main], Kind::Mutex);
    let shard = program.address("cache") + 2 * 96 + 8;
    recording.lock(&module, &[main], Kind::Mutex, Origin::FirstUsed, Some(shard));
    recording
}

#[test]
fn names_and_classes_from_the_best_source() {
    let Some(program) = compile("bank.c", C, &["-g"]) else { return };
    let want = [
        told("a->lock", NameSource::Source, "mutex@program!make_account:3"),
        told("a->paid", NameSource::Source, "condvar@program!make_account:4"),
        told("other->lock", NameSource::Source, "mutex@program!init_it:2"),
        told("cache.shard[2].lock", NameSource::Global, "global:cache.shard[].lock"),
    ];
    assert_eq!(bank(&program, 0).named(), want);

    // A rebuild that moves nothing within the functions changes no class.
    let Some(program) = compile("bank.c", &moved(), &["-g", "-O1", "-fno-inline"]) else { return };
    let classes: Vec<String> = bank(&program, 6).named().into_iter().map(|(_, _, class)| class).collect();
    assert_eq!(classes, want.map(|(_, _, class)| class));
}

#[test]
fn names_without_sources_or_debug_information() {
    let Some(program) = compile("bank.c", C, &["-g"]) else { return };
    let recording = bank(&program, 0);
    std::fs::remove_file(program.folder.path().join("bank.c")).expect("the source");
    let told_without = recording.named();
    assert_eq!(told_without[0], told("make_account", NameSource::Function, "mutex@program!make_account:3"));

    let recording = bank(&program, 0);
    if tool("strip", &[std::path::Path::new("-g"), &program.path]).is_none() {
        return;
    }
    let without_lines = recording.named();
    assert_eq!(without_lines[0].0, "make_account");
    assert!(without_lines[0].2.starts_with("mutex@program!make_account+0x"), "{}", without_lines[0].2);
    assert_ne!(without_lines[0].2, without_lines[1].2);
    assert_eq!(without_lines[3], told("cache+0xc8", NameSource::Global, "global:cache+0xc8"));
}

#[test]
fn names_of_stripped_programs() {
    let Some(program) = compile("bank.c", C, &["-g"]) else { return };
    let recording = bank(&program, 0);
    let address = recording.session.stacks.node(recording.session.locks[0].origin_stack).address.address;
    if tool("strip", &[&program.path]).is_none() {
        return;
    }
    let names = recording.named();
    let class = format!("mutex@program+{address:#x}");
    assert_eq!(names[0], told("0x7fff12345679", NameSource::Address, &class));
    assert!(names[3].0.starts_with("program+0x"), "{}", names[3].0);
}

#[test]
fn a_guard_is_named_by_the_line_that_declares_it() {
    let source = r#"#include <mutex>
struct Queue {
    std::mutex mu_;
    int size = 0;
    __attribute__((noinline)) void push() {
        std::lock_guard<std::mutex> hold(mu_);
        ++size;
    }
    __attribute__((noinline)) int pop() {
        std::unique_lock lk{this->mu_};
        return --size;
    }
};
int main() { auto *q = new Queue; q->push(); return q->pop(); }
"#;
    for flags in [&["-g", "-std=c++17"][..], &["-g", "-O2", "-std=c++17"]] {
        let Some(program) = compile("queue.cc", source, flags) else { return };
        let module = program.module();
        let mut recording = Recording::new();
        for (function, line) in [("_ZN5Queue4pushEv", 6), ("_ZN5Queue3popEv", 10)] {
            // Inside the call chain of the guard: the frames of std come first.
            let addresses = program.inside(function);
            let frames = resolve(&module, &addresses, &Kept::default(), &mut Vec::new());
            let at = frames.iter().position(|frames| frames.last().is_some_and(|frame| frame.line == line));
            let address = addresses[at.expect("the guard's line")];
            recording.lock(&module, &[address], Kind::Mutex, Origin::FirstUsed, None);
        }
        let want = told("Queue::mu_", NameSource::Source, "mutex@program!Queue::mu_");
        assert_eq!(recording.named(), [want.clone(), want], "{flags:?}");
    }
}

#[test]
fn what_nobody_knows_still_has_a_name() {
    let mut recording = Recording::new();
    let module = Module { path: "[vdso]".to_owned(), build_id: Vec::new() };
    recording.lock(&module, &[], Kind::Semaphore, Origin::FirstUsed, None);
    recording.lock(&module, &[0x99], Kind::Mutex, Origin::FirstUsed, None);
    recording.session.locks[1].name = Some(LockName { text: "mine".to_owned(), source: NameSource::User });
    let want =
        [told("0x7fff12345679", NameSource::Address, "semaphore"), told("mine", NameSource::User, "mutex@[vdso]+0x99")];
    assert_eq!(recording.named(), want);
}

#[test]
fn scopes_and_indexes() {
    assert_eq!(split_scope("db::Queue<a::b>::push"), Some(("db::Queue<a::b>", "push")));
    assert_eq!(split_scope("(anonymous namespace)::Queue::push"), Some(("(anonymous namespace)::Queue", "push")));
    assert_eq!(split_scope("main"), None);
    assert_eq!(without_indexes("a[1][22].b[x].c"), "a[][].b[x].c");
    assert_eq!(without_indexes("plain"), "plain");
    assert_eq!(without_indexes("odd[1"), "odd[1");
}
