//! MariaDB: a new data folder, a few hundred statements over its socket by three clients, and a clean stop.

use std::fmt::Write;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::thread;

use super::assert_seen_but_for_futexes;
use crate::util::run::{LIMIT, finish, folder, is_root};
use crate::util::server::{Server, connect_unix};
use crate::util::{Outcome, Report, Target};

fn statements(me: usize) -> String {
    let mut text = format!("create table t{me} (id int primary key, v int, key (v)) engine=innodb;\n");
    for i in 0..100 {
        let _ = writeln!(
            text,
            "insert into t{me} values ({i}, {}); update t{me} set v = v + 1 where id % 7 = {};",
            i * i % 31,
            i % 7
        );
    }
    let _ = writeln!(
        text,
        "start transaction; delete from t{me} where id > 90; rollback; select count(*), sum(v) from t{me};"
    );
    text
}

fn as_root() -> Option<&'static str> {
    is_root().then_some("--user=root")
}

fn query(socket: &Path, statements: &str) -> String {
    let mut client = Command::new("mariadb");
    client.args(["--no-defaults", "--user=root", "--batch", "--skip-column-names", "--socket"]).arg(socket);
    let outcome = finish(client.args(["-e", statements, "test"]), LIMIT);
    assert_eq!(outcome.code(), 0, "{}", outcome.stderr);
    outcome.stdout
}

fn serve(program: &Path, recorded: bool) -> (Vec<String>, Outcome, Option<Report>) {
    let folder = folder();
    let data = folder.path().join("data");
    fs::create_dir(&data).expect("a data folder");
    let mut install = Command::new("mariadb-install-db");
    install.args(["--no-defaults", "--auth-root-authentication-method=normal"]).args(as_root());
    let installed = finish(install.arg(format!("--datadir={}", data.display())), LIMIT);
    assert_eq!(installed.code(), 0, "{}{}", installed.stdout, installed.stderr);
    let socket = folder.path().join("socket");
    let target = Target::new(program)
        .args(["--no-defaults", "--skip-networking", "--innodb-buffer-pool-size=32M"])
        .args(as_root());
    let target = target.args(
        [("--datadir", &data), ("--socket", &socket), ("--pid-file", &folder.path().join("pid"))]
            .map(|(name, path)| format!("{name}={}", path.display())),
    );
    let server = Server::start(&target, recorded);
    drop(connect_unix(&socket));
    let clients: Vec<_> = (0..3)
        .map(|me| {
            let socket = socket.clone();
            thread::spawn(move || query(&socket, &statements(me)))
        })
        .collect();
    let answers = clients.into_iter().map(|client| client.join().expect("a client")).collect();
    let (outcome, report) = server.stop(libc::SIGTERM);
    assert!(outcome.stderr.contains("Shutdown complete"), "no clean stop: {}", outcome.stderr);
    (answers, outcome, report)
}

#[test]
fn mariadb_starts_answers_and_stops() {
    let program = crate::need!("mariadbd");
    crate::need!("mariadb-install-db");
    let (answers, bare, _) = serve(&program, false);
    let (recorded_answers, outcome, report) = serve(&program, true);
    assert_eq!(recorded_answers, answers);
    assert_eq!((bare.code(), outcome.code()), (0, 0), "{}", outcome.stderr);
    assert_seen_but_for_futexes(&report.expect("a report"), 10_000);
}
