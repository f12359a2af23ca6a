use super::*;
use crate::symbols::testing::{Program, compile, tool};

const C: &str = r#"#include <pthread.h>
#include <semaphore.h>
struct shard { long hits; pthread_mutex_t mu; };
struct cache { long size; struct shard shard[8]; union { long word; pthread_rwlock_t rw; }; };
typedef struct { sem_t slots; int count; } pool_t;
pthread_mutex_t plain = PTHREAD_MUTEX_INITIALIZER;
struct cache cache;
static volatile pool_t pools[2][3];
pthread_cond_t conds[4];
int *counter(void) {
    static pthread_mutex_t mu = PTHREAD_MUTEX_INITIALIZER;
    static int count;
    pthread_mutex_lock(&mu);
    ++count;
    pthread_mutex_unlock(&mu);
    return &count;
}
int main(void) { return pools[1][2].count + (int)conds[1].__data.__wrefs + *counter(); }
"#;

const CPP: &str = r#"#include <mutex>
#include <shared_mutex>
#include <condition_variable>
#include <array>
#include <pthread.h>
struct Mutex { pthread_mutex_t handle; void lock() { pthread_mutex_lock(&handle); } };
struct Base { long first; std::mutex base_mu; };
struct Queue : Base { long second; std::condition_variable ready; std::shared_mutex rw; };
struct Table { std::array<Queue, 4> rows; };
namespace db { namespace { std::mutex hidden; } Table table; struct Registry { static std::mutex guard; }; }
std::mutex db::Registry::guard;
std::mutex g_mu;
Mutex own;
struct { long x; std::mutex mu; } s;
std::mutex &local(int) { static std::mutex once_mu; return once_mu; }
int main() {
    std::lock_guard<std::mutex> a(db::hidden), b(g_mu), c(s.mu), d(local(1)), e(db::Registry::guard);
    own.lock();
    db::table.rows[1].ready.notify_all();
}
"#;

fn name(program: &Program, symbol: &str, inside: u64) -> String {
    let address = program.address(symbol) + inside;
    variable(&program.module(), address).unwrap_or_else(|| panic!("no name for {symbol}+{inside}"))
}

#[test]
fn c_variables_by_their_member_path() {
    for flags in [&["-g"][..], &["-g", "-O2", "-gdwarf-4"], &["-g", "-gz"], &["-g", "-fdebug-types-section"]] {
        let Some(program) = compile("globals.c", C, flags) else { continue };
        // Sizes of glibc on 64-bit machines; on others the test has nothing to say.
        let (shard, pool, cond) = (48, 40, 48);
        let static_local = if program.has("mu.0") { "mu.0" } else { "mu.1" };
        for (symbol, inside, want) in [
            ("plain", 0, "plain"),
            ("cache", 8 + 8, "cache.shard[0].mu"),
            ("cache", 8 + 3 * shard + 8, "cache.shard[3].mu"),
            ("cache", 8 + 8 * shard, "cache.rw"),
            ("cache", 0, "cache"),
            ("pools", 4 * pool, "pools[1][1].slots"),
            ("conds", 2 * cond, "conds[2]"),
            (static_local, 0, "counter()::mu"),
        ] {
            assert_eq!(name(&program, symbol, inside), want, "{flags:?}");
        }
    }
}

#[test]
fn cpp_variables_stop_at_the_lock() {
    for flags in [&["-g", "-std=c++17"][..], &["-g", "-O2", "-gdwarf-4", "-std=c++17"]] {
        let Some(program) = compile("globals.cc", CPP, flags) else { continue };
        // Queue: Base (first 0, base_mu 8), second 48, ready 56, rw 104, size 160.
        for (symbol, inside, want) in [
            ("g_mu", 0, "g_mu"),
            ("own", 0, "own"),
            ("s", 8, "s.mu"),
            ("_ZN2db12_GLOBAL__N_16hiddenE", 0, "db::hidden"),
            ("_ZN2db8Registry5guardE", 0, "db::Registry::guard"),
            ("_ZZ5localiE7once_mu", 0, "local()::once_mu"),
            ("_ZN2db5tableE", 8, "db::table.rows[0].base_mu"),
            ("_ZN2db5tableE", 160 + 8, "db::table.rows[1].base_mu"),
            ("_ZN2db5tableE", 160 + 56, "db::table.rows[1].ready"),
            ("_ZN2db5tableE", 3 * 160 + 104, "db::table.rows[3].rw"),
        ] {
            assert_eq!(name(&program, symbol, inside), want, "{flags:?}");
        }
    }
}

#[test]
fn without_debug_information_symbol_and_offset() {
    let Some(program) = compile("globals.c", C, &[]) else { return };
    assert_eq!(name(&program, "plain", 0), "plain");
    assert_eq!(name(&program, "cache", 160), "cache+0xa0");
    let Some(program) = compile("globals.cc", CPP, &["-std=c++17"]) else { return };
    assert_eq!(name(&program, "_ZZ5localiE7once_mu", 0), "local()::once_mu");
    assert_eq!(name(&program, "s", 8), "s+0x8");
}

#[test]
fn no_variable_no_name() {
    let Some(program) = compile("globals.c", C, &["-g"]) else { return };
    let (module, address) = (program.module(), program.address("plain"));
    assert_eq!(variable(&module, 0), None);
    assert_eq!(variable(&module, 0xffff_ffff_ffff_fff0), None);
    assert_eq!(variable(&module, program.address("main")), None);
    if tool("strip", &[&program.path]).is_some() {
        assert_eq!(variable(&module, address), None);
    }
    std::fs::write(&program.path, b"\x7fELF").expect("writable");
    assert_eq!(variable(&module, address), None);
}

#[test]
fn damaged_debug_information_does_no_harm() {
    let Some(program) = compile("globals.cc", CPP, &["-g", "-std=c++17"]) else { return };
    let address = program.address("_ZN2db5tableE") + 160 + 8;
    let module = Module { build_id: Vec::new(), ..program.module() };
    let whole = std::fs::read(&program.path).expect("readable");
    for seed in 1..60u64 {
        let mut bad = whole.clone();
        for round in 0..200u64 {
            let at = (seed * 7919 + round * 104_729).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 20;
            // The headers stay: it is the debug sections that shall be damaged.
            let span = bad.len() - 4096 - 2600;
            bad[4096 + at as usize % span] = (at >> 8) as u8;
        }
        std::fs::write(&program.path, &bad).expect("writable");
        let _ = variable(&module, address);
    }
}
