//! RocksDB's own benchmark: millions of locks in C++, with each allocator.

use super::{ALLOCATORS, assert_seen, both, with_allocator};
use crate::util::Target;
use crate::util::run::folder;

#[test]
fn rocksdb() {
    let program = crate::need!("db_bench");
    for allocator in ALLOCATORS {
        let allocator = match allocator {
            Some(name) => Some(crate::need!(name)),
            None => None,
        };
        let folder = folder();
        let database = format!("--db={}", folder.path().join("db").display());
        let options = [
            "--benchmarks=fillrandom,readrandom,compact",
            "--num=10000",
            "--threads=4",
            "--compression_type=none",
            &database,
        ];
        let (bare, recording) = both(&with_allocator(&Target::new(&program).args(options), allocator.as_ref()));
        assert_eq!(bare.code(), 0, "{}", bare.stderr);
        // Each of the 40,000 writes and reads takes a lock at least once on its way.
        assert_seen(&recording.report, 40_000);
    }
}
