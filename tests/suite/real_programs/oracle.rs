//! Programs that people run under the oracle: no remembered stack is wrong, with libraries as distributions build them.

use std::thread;

use crate::util::oracle::{Verdict, under_oracle};
use crate::util::run::folder;
use crate::util::server::{Server, free_port};
use crate::util::{Target, skip};

const SQLITE: &str = "
import sqlite3, threading
def work():
    db = sqlite3.connect(':memory:')
    db.execute('create table t (n integer, s text)')
    for n in range(40):
        with db:
            db.execute('insert into t values (?, ?)', (n, str(n)))
    done.append(db.execute('select sum(n) from t').fetchone()[0])
done = []
threads = [threading.Thread(target=work) for _ in range(4)]
for t in threads: t.start()
for t in threads: t.join()
print(done)
";

#[test]
fn python_and_sqlite_under_the_oracle() {
    let python = crate::need!("python3");
    let has = Target::new(&python).args(["-I", "-c", "import sqlite3"]).bare().code() == 0;
    if !has {
        return skip::skip("python3 has no sqlite3");
    }
    let recording = under_oracle(&Target::new(python).args(["-I", "-c", SQLITE])).record();
    assert_eq!((recording.outcome.code(), recording.outcome.stdout.as_str()), (0, "[780, 780, 780, 780]\n"));
    Verdict::of(&recording.report).assert_right("python3 with sqlite3", 2000);
}

#[test]
fn rocksdb_under_the_oracle() {
    let program = crate::need!("db_bench");
    let folder = folder();
    let database = format!("--db={}", folder.path().join("db").display());
    let options =
        ["--benchmarks=fillrandom,readrandom", "--num=1500", "--threads=2", "--compression_type=none", &database];
    let recording = under_oracle(&Target::new(program).args(options)).record();
    assert_eq!(recording.outcome.code(), 0, "{}", recording.outcome.stderr);
    Verdict::of(&recording.report).assert_right("RocksDB", 5000);
}

#[test]
fn memcached_under_the_oracle() {
    let program = crate::need!("memcached");
    let port = free_port();
    let arguments = ["-l", "127.0.0.1", "-U", "0", "-t", "4", "-m", "32", "-u", "root", "-p"].map(String::from);
    let target = under_oracle(&Target::new(program).args(arguments).args([port.to_string()]));
    let server = Server::start(&target, true);
    let clients: Vec<_> = (0..2).map(|me| thread::spawn(move || super::memcached::client(port, me))).collect();
    clients.into_iter().for_each(|client| drop(client.join().expect("a client")));
    let (outcome, report) = server.stop(libc::SIGTERM);
    assert_eq!(outcome.code(), 0, "{}", outcome.stderr);
    Verdict::of(&report.expect("a report")).assert_right("memcached", 5000);
}
