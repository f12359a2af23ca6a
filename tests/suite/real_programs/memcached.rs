//! memcached with four workers under four clients, over its text protocol.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::path::Path;
use std::thread;

use super::{ALLOCATORS, assert_seen, with_allocator};
use crate::util::server::{Server, connect, free_port};
use crate::util::{Outcome, Report, Target};

const CLIENTS: usize = 4;
const ROUNDS: usize = 1000;

fn ask(stream: &mut BufReader<TcpStream>, request: &str, last: &[&str]) -> String {
    stream.get_mut().write_all(request.as_bytes()).expect("a request");
    let mut answer = String::new();
    loop {
        let from = answer.len();
        assert!(stream.read_line(&mut answer).expect("an answer") > 0, "closed after {answer}");
        if last.iter().any(|end| answer[from..].starts_with(end)) {
            return answer;
        }
    }
}

/// All answers to one client; the keys are its own, so that they do not depend on the others.
pub fn client(port: u16, me: usize) -> String {
    let mut stream = BufReader::new(connect(port));
    let mut answers = String::new();
    for round in 0..ROUNDS {
        let key = format!("key-{me}-{}", round % 50);
        answers += &ask(&mut stream, &format!("set {key} 0 0 6\r\n{round:06}\r\n"), &["STORED"]);
        answers += &ask(&mut stream, &format!("get {key}\r\n"), &["END"]);
        answers += &ask(
            &mut stream,
            &format!("incr {key} 7\r\n"),
            &["NOT_FOUND", "0", "1", "2", "3", "4", "5", "6", "7", "8", "9"],
        );
        if round % 10 == 0 {
            answers += &ask(&mut stream, &format!("delete {key}\r\n"), &["DELETED", "NOT_FOUND"]);
        }
    }
    answers
}

fn serve(
    program: &Path,
    allocator: Option<&std::path::PathBuf>,
    recorded: bool,
) -> (Vec<String>, Outcome, Option<Report>) {
    let port = free_port().to_string();
    let target =
        Target::new(program).args(["-l", "127.0.0.1", "-p", &port, "-U", "0", "-t", "4", "-m", "32", "-u", "root"]);
    let server = Server::start(&with_allocator(&target, allocator), recorded);
    let port = port.parse().expect("the port");
    let clients: Vec<_> = (0..CLIENTS).map(|me| thread::spawn(move || client(port, me))).collect();
    let answers = clients.into_iter().map(|client| client.join().expect("a client")).collect();
    if let Some(library) = allocator {
        let name = library.file_name().expect("a name").to_str().expect("a name");
        assert!(server.maps().contains(name.trim_end_matches(".4")), "{name} is not preloaded");
    }
    let (outcome, report) = server.stop(libc::SIGTERM);
    (answers, outcome, report)
}

#[test]
fn memcached() {
    let program = crate::need!("memcached");
    for allocator in ALLOCATORS {
        let allocator = match allocator {
            Some(name) => Some(crate::need!(name)),
            None => None,
        };
        let (answers, bare, _) = serve(&program, allocator.as_ref(), false);
        let (recorded_answers, outcome, report) = serve(&program, allocator.as_ref(), true);
        assert!(answers == recorded_answers, "the answers are not the same");
        assert_eq!(outcome.code(), bare.code(), "{}", outcome.stderr);
        // Each request takes an item lock at least once.
        assert_seen(&report.expect("a report"), (CLIENTS * ROUNDS * 3) as u64);
    }
}
