//! Redis with I/O threads: a known script by redis-cli, load by redis-benchmark, a clean stop.

use std::path::Path;
use std::process::Command;

use super::assert_seen;
use crate::util::run::{LIMIT, finish};
use crate::util::server::{Server, connect, free_port};
use crate::util::{Outcome, Report, Target};

fn serve(program: &Path, recorded: bool) -> (String, Outcome, Option<Report>) {
    let port = free_port().to_string();
    let options =
        ["--bind", "127.0.0.1", "--port", &port, "--save", "", "--io-threads", "4", "--io-threads-do-reads", "yes"];
    let server = Server::start(&Target::new(program).args(options), recorded);
    drop(connect(port.parse().expect("the port")));
    let load = finish(
        Command::new("redis-benchmark").args([
            "-p",
            &port,
            "-n",
            "4000",
            "-c",
            "20",
            "-P",
            "8",
            "-q",
            "-t",
            "set,incr,lpush",
        ]),
        LIMIT,
    );
    assert_eq!(load.code(), 0, "{}", load.stderr);
    let mut answers = String::new();
    for request in [
        &["set", "a", "1"][..],
        &["incrby", "a", "41"],
        &["get", "a"],
        &["get", "counter:__rand_int__"],
        &["llen", "mylist"],
    ] {
        let answer = finish(Command::new("redis-cli").args(["-p", &port]).args(request), LIMIT);
        assert_eq!(answer.code(), 0, "{}", answer.stderr);
        answers += &answer.stdout;
    }
    let (outcome, report) = server.stop(libc::SIGTERM);
    (answers, outcome, report)
}

#[test]
fn redis_with_io_threads() {
    let program = crate::need!("redis-server");
    crate::need!("redis-benchmark");
    let (answers, bare, _) = serve(&program, false);
    let (recorded_answers, outcome, report) = serve(&program, true);
    assert_eq!(recorded_answers, answers);
    assert_eq!(outcome.code(), bare.code(), "{}", outcome.stdout);
    assert_seen(&report.expect("a report"), 100);
}
