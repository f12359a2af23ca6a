//! nginx with two workers that have changed their user, and a thread pool for files.

use std::fs;
use std::io::{Read, Write};
use std::path::Path;

use super::assert_seen;
use crate::util::run::folder;
use crate::util::server::{Server, connect, free_port};
use crate::util::{Outcome, Report, Target};

const REQUESTS: usize = 200;

fn get(port: u16) -> Vec<u8> {
    let mut stream = connect(port);
    stream.write_all(b"GET /file.txt HTTP/1.0\r\n\r\n").expect("a request");
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).expect("an answer");
    let body = answer.windows(4).position(|end| end == b"\r\n\r\n").expect("the end of the head") + 4;
    assert!(answer.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&answer));
    answer.split_off(body)
}

fn serve(program: &Path, recorded: bool) -> (Outcome, Option<Report>) {
    let (folder, port) = (folder(), free_port());
    let root = folder.path().display();
    let content: Vec<u8> = (0..50_000u32).flat_map(u32::to_le_bytes).collect();
    fs::write(folder.path().join("file.txt"), &content).expect("a file to serve");
    let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|name| format!("{name}_temp_path {root}/{name};"))
        .concat();
    let config = format!(
        "daemon off; master_process on; worker_processes 2; pid {root}/pid; error_log {root}/errors;\n\
         thread_pool files threads=4; events {{ worker_connections 64; }}\n\
         http {{ access_log off; {temporary} server {{ listen 127.0.0.1:{port}; root {root}; aio threads=files; sendfile off; }} }}\n"
    );
    let file = folder.path().join("nginx.conf");
    fs::write(&file, config).expect("a configuration");
    let target = Target::new(program).args([Path::new("-c"), &file, Path::new("-e"), &folder.path().join("errors")]);
    let server = Server::start(&target, recorded);
    for _ in 0..REQUESTS {
        assert!(get(port) == content, "not the file");
    }
    server.stop(libc::SIGQUIT)
}

#[test]
fn nginx_serves_a_file() {
    let program = crate::need!("nginx");
    let (bare, _) = serve(&program, false);
    let (outcome, report) = serve(&program, true);
    assert_eq!((bare.code(), outcome.code()), (0, 0), "{}", outcome.stderr);
    let report = report.expect("a report");
    // A read goes through the pool's queue and back for each request.
    assert_seen(&report, REQUESTS as u64);
    assert!(report.processes().len() >= 3, "{:?}", report.processes());
}
