//! Python with threads, queues, subprocesses and multiprocessing.

use super::{ALLOCATORS, assert_seen, both, with_allocator};
use crate::util::Target;

const THREADS: &str = "
import threading, queue
lock, total, jobs, done = threading.Lock(), 0, queue.Queue(), queue.Queue()
def worker():
    global total
    while (n := jobs.get()) is not None:
        for _ in range(n):
            with lock:
                total += 1
        done.put(n)
threads = [threading.Thread(target=worker) for _ in range(4)]
for t in threads: t.start()
for n in range(200): jobs.put(n)
print(sum(done.get() for _ in range(200)))
for t in threads: jobs.put(None)
for t in threads: t.join()
print(total, lock.acquire(timeout=0.01), lock.acquire(timeout=0.01))
";

const CHILDREN: &str = "
import multiprocessing, subprocess, sys
def square(n): return n * n
if __name__ == '__main__':
    with multiprocessing.get_context('fork').Pool(3) as pool:
        print(sum(pool.map(square, range(300))))
    code = 'import threading; t = threading.Thread(target=print, args=(7,)); t.start(); t.join()'
    print(subprocess.run([sys.executable, '-c', code], capture_output=True, text=True).stdout)
";

#[test]
fn python_threads() {
    let python = crate::need!("python3");
    for allocator in ALLOCATORS {
        let allocator = match allocator {
            Some(name) => Some(crate::need!(name)),
            None => None,
        };
        let target = Target::new(&python).args(["-I", "-c", THREADS]);
        let (bare, recording) = both(&with_allocator(&target, allocator.as_ref()));
        assert_eq!(recording.outcome.stdout, bare.stdout);
        assert_eq!(bare.stdout, "19900\n19900 True False\n");
        // The interpreter's own lock at least is taken by each thread.
        assert_seen(&recording.report, 1000);
    }
}

#[test]
fn python_children() {
    let python = crate::need!("python3");
    let (bare, recording) = both(&Target::new(python).args(["-I", "-c", CHILDREN]));
    assert_eq!(recording.outcome.stdout, bare.stdout);
    assert_seen(&recording.report, 100);
    assert!(recording.report.processes().len() >= 5, "{:?}", recording.report.processes());
}
