//! `lockprof html` in a browser: the page draws without an error, shows the report's figures, follows its address, runs
//! nothing that a recording holds, and stays small.

use std::fs;
use std::path::{Path, PathBuf};

use lockprof::ingest::file;
use lockprof::model::{
    CodeAddress, Frame, Kind, Lock, LockId, LockName, Mode, NameSource, Process, ProcessId, Session, SiteKey, StackId,
    Stacks, Thread, ThreadId, WaitEvent, WaitKey,
};

use crate::need;
use crate::util::browser::{attribute, attributes, document, part, text};
use crate::util::report::{list, number, sum};
use crate::util::run::{LIMIT, finish, folder};
use crate::util::{Outcome, Report, fixture, lockprof};

/// `lockprof html TRACE -o FILE` beside the trace.
fn html(trace: &Path) -> (PathBuf, Outcome) {
    let page = trace.with_extension("html");
    let outcome = finish(lockprof().arg("html").arg(trace).arg("-o").arg(&page), LIMIT);
    assert_eq!(outcome.code(), 0, "{}", outcome.stderr);
    (page, outcome)
}

/// `5,160,000 ns (5.16 ms)` of a title.
fn exact_ns(title: &str) -> u64 {
    title.split(" ns").next().unwrap_or("").replace(',', "").parse().unwrap_or_else(|_| panic!("no time: {title}"))
}

#[test]
fn a_page_shows_the_figures_of_the_report() {
    let browser = need!("chromium");
    let folder = folder();
    let outcome = finish(lockprof().arg("demo").current_dir(folder.path()), LIMIT);
    assert_eq!(outcome.code(), 0, "{}", outcome.stderr);
    let trace = folder.path().join("demo.lockprof");
    let report = Report::load(&trace);
    let (page, _) = html(&trace);

    let shown = document(&browser, &page, "");
    let rows = part(&shown, "lock-rows", "tbody");
    let locks: Vec<_> = report.locks().iter().filter(|lock| number(&lock["wait_ns"], "total") > 0).collect();
    for lock in locks.iter().filter(|lock| ["mutex", "rwlock"].map(Into::into).contains(&lock["kind"])) {
        let id = lock["id"].as_str().unwrap();
        let (_, row) = rows.split_once(&format!("data-lock=\"{id}\"")).expect("its row");
        let row = row.split_once("</tr>").map_or(row, |(row, _)| row);
        let titles: Vec<u64> = attributes(row, "title").filter(|title| title.contains(" ns")).map(exact_ns).collect();
        let of = |times: &str, key: &str| number(&lock[times], key);
        let want = ["total", "p50", "p99", "max"].map(|key| of("wait_ns", key));
        assert_eq!(titles[..4], want, "{id}");
        assert_eq!(titles[4..], [of("hold_ns", "total"), of("hold_ns", "p99")], "{id}");
    }
    let ids: Vec<_> = attributes(rows, "data-lock").collect();
    assert_eq!(ids[..2], ["L1", "L2"], "the most waiting comes first");
    let summary = text(part(&shown, "summary", "section"));
    let hottest = locks[0]["name"].as_str().unwrap();
    assert!(summary.contains("The hottest lock is ") && summary.contains(hottest), "{summary}");
    assert!(summary.contains("append_record") && summary.contains("Who holds it meanwhile"), "{summary}");
    assert!(part(&shown, "detail", "section").contains("hidden"), "no lock is opened unasked");
    assert_eq!(
        attribute(part(&shown, "timeline", "section"), "data-waits").parse::<u64>().ok(),
        Some(report.0["contention"]["contended"].as_u64().unwrap()),
        "every wait of this short run"
    );

    // The address: a lock's details, another order of the table, one side of the flame graph.
    let opened = document(&browser, &page, "lock=L1&sort=name&side=holder");
    let detail = part(&opened, "detail", "section");
    let first = &report.locks()[0];
    assert!(text(detail).contains(first["name"].as_str().unwrap()), "{detail}");
    for (side, key, ns) in [("wait-side", "waiters", "wait_ns"), ("hold-side", "holders", "blocked_ns")] {
        let (_, half) = detail.split_once(&format!("class=\"side {side}\"")).expect("a side");
        let half = half.split("class=\"side ").next().unwrap_or(half);
        let told: u64 = attributes(half, "title").map(exact_ns).sum();
        let unseen = if key == "holders" { number(&first["unattributed"], "wait_ns") } else { 0 };
        assert!(list(&first[key]).len() <= 8, "more stacks than the page shows at once");
        assert_eq!(told, sum(&first[key], ns) + unseen, "{key}");
    }
    assert!(detail.matches("<svg").count() == 2 && detail.contains("Who blocks whom"), "{detail}");
    let names: Vec<String> =
        part(&opened, "lock-rows", "tbody").split("</tr>").map(text).filter(|row| !row.is_empty()).collect();
    assert!(names[0].contains("CACHE"), "sorted by name: {names:?}");
    let flame = part(&opened, "flame", "section");
    assert!(flame.contains("class=\"frame holder\"") && !flame.contains("class=\"frame waiter\""), "{flame}");
    assert!(!text(flame).contains("CACHE"), "only the lock that was asked for");
}

#[test]
fn cycles_are_told_with_their_graph() {
    let browser = need!("chromium");
    let folder = folder();
    let trace = folder.path().join("t.lockprof");
    let mut check = lockprof();
    check.args(["check", "--trace"]).arg(&trace).arg("--").arg(fixture("orders")).arg("inversion");
    assert_eq!(finish(&mut check, LIMIT).code(), 1);
    let (page, _) = html(&trace);
    let shown = document(&browser, &page, "");
    let order = part(&shown, "order", "section");
    assert!(order.contains("class=\"entry bad\"") && order.contains("class=\"edge loud\""), "{order}");
    let told = text(order);
    assert!(told.contains("feasible") && told.contains("this schedule reaches it"), "{told}");
    let summary = text(part(&shown, "summary", "section"));
    assert!(summary.contains("1 cycle (feasible)") && summary.contains("can deadlock"), "{summary}");
}

#[test]
fn a_page_refers_to_nothing_outside() {
    let folder = folder();
    let trace = folder.path().join("t.lockprof");
    file::write_to_path(&session(4, 40, 4), &trace).expect("a trace");
    let page = fs::read_to_string(html(&trace).0).expect("the page");
    for (at, _) in page.match_indices("://") {
        // The name of SVG is an address that nobody opens.
        let address: String = page[at..].chars().take(40).collect();
        assert!(address.starts_with("://www.w3.org/2000/svg"), "{address}");
    }
    for word in
        ["src=", "@import", "url(http", "<link", "<base", "<iframe", "fetch(", "XMLHttpRequest", "innerHTML", "eval("]
    {
        assert!(!page.contains(word), "{word}");
    }
    assert!(page.contains("default-src 'none'"));
}

#[test]
fn hostile_names_are_only_text() {
    let browser = need!("chromium");
    let folder = folder();
    let trace = folder.path().join("t.lockprof");
    let evil = "</script><img src=x onerror=\"document.documentElement.dataset.evil=1\"><script>document.title='evil'</script>";
    let mut session = session(3, 12, 3);
    for lock in &mut session.locks {
        lock.name = Some(LockName { text: evil.into(), source: NameSource::User });
    }
    session.meta.command = vec![evil.into()];
    session.threads.iter_mut().for_each(|thread| thread.name = evil.into());
    for at in 1..session.stacks.len() {
        let node = session.stacks.node_mut(StackId::from(at));
        let mut frames = node.frames.to_vec();
        frames.iter_mut().for_each(|frame| frame.file = Some(evil.into()));
        node.frames = frames.into();
    }
    file::write_to_path(&session, &trace).expect("a trace");
    let shown = document(&browser, &html(&trace).0, "lock=L2&q=img&find=%3Cimg%20src=x%20onerror=alert(1)%3E");
    assert!(!shown.contains("data-evil") && !shown.contains("<img") && !shown.contains("<title>evil"));
    assert!(text(part(&shown, "detail", "section")).contains("<img src=x onerror="), "shown as it is");
}

#[test]
fn a_page_of_a_large_recording_is_small_and_says_what_it_leaves_out() {
    let browser = need!("chromium");
    let folder = folder();
    let trace = folder.path().join("large.lockprof");
    file::write_to_path(&session(1_000, 100_000, 200), &trace).expect("a trace");
    let (page, outcome) = html(&trace);
    let size = fs::metadata(&page).expect("the page").len();
    assert!(size < 5_000_000, "{size} bytes");
    assert!(outcome.stderr.contains("the page has no room for"), "{}", outcome.stderr);
    let shown = document(&browser, &page, "lock=L1");
    assert!(text(part(&shown, "timeline", "section")).contains("Not shown: "), "waits are left out aloud");
    let all = text(part(&shown, "locks", "section"));
    assert!(all.contains("1,000 locks") && all.contains("Show 988 more rows"), "{all:.300}");
    assert!(text(part(&shown, "detail", "section")).contains("The page has no room for "), "stacks, too");
}

#[test]
fn wrong_usage_is_told() {
    let folder = folder();
    let run = |args: &[&str]| finish(lockprof().args(args).current_dir(folder.path()), LIMIT);
    let outcome = run(&["html"]);
    assert_eq!(outcome.code(), 2);
    assert!(outcome.stderr.contains("no *.lockprof in the current folder"), "{}", outcome.stderr);
    file::write_to_path(&session(2, 4, 2), &folder.path().join("a.lockprof")).expect("a trace");
    let outcome = run(&["html", "--open", "-o", "-"]);
    assert_eq!(outcome.code(), 2);
    assert!(outcome.stderr.contains("--open needs a file"), "{}", outcome.stderr);
    let outcome = run(&["html", "-o", "none/x.html"]);
    assert_eq!(outcome.code(), 2, "{}", outcome.stderr);
    assert!(outcome.stderr.contains("cannot write none/x.html"), "{}", outcome.stderr);
    let outcome = run(&["html"]);
    assert!(
        outcome.code() == 0 && outcome.stdout.starts_with("<!DOCTYPE html>"),
        "standard output where it is no terminal"
    );
}

/// A recording of so many locks, stacks that take them, and threads: each stack waited for another one's hold.
fn session(locks: usize, stacks: usize, threads: usize) -> Session {
    let mut session = Session::default();
    session.meta.command = vec!["./large".into()];
    session.meta.duration_ns = 10_000_000_000;
    session.processes.push(Process {
        pid: 7,
        parent_pid: 1,
        exe: "/large".into(),
        exit: None,
        threads: threads as u32,
    });
    for at in 0..threads {
        let (name, tid) = (format!("worker-{at}"), 100 + at as u32);
        session.threads.push(Thread { process: ProcessId(0), tid, name, start_ns: 0, end_ns: None });
    }
    for at in 0..locks {
        let text = format!("engine::shard[{at}].mutex_");
        let mut lock = Lock::new(ProcessId(0), 4096 + 64 * at as u64, Kind::Mutex);
        lock.name = Some(LockName { text, source: NameSource::Global });
        lock.class = format!("large+{at:#x}");
        session.locks.push(lock);
    }
    let mut address = 0x1000;
    let mut leaves = Vec::new();
    for at in 0..stacks {
        let mut stack = Stacks::UNKNOWN;
        // Ten callers: the outer ones shared by many, the inner ones by few.
        for depth in 0..10 {
            let of = at >> (2 * (9 - depth)).min(16);
            address = 0x1000 + 0x100_0000 * depth as u64 + 16 * of as u64;
            stack = session.stacks.intern(stack, CodeAddress { module: None, address });
            let frame = Frame {
                function: Some(format!("engine::layer_{depth}::Operator_{}::step", of % 997)),
                file: Some(format!("src/layer_{depth}.cc")),
                line: of as u32 % 500 + 1,
                ..Frame::default()
            };
            session.stacks.node_mut(stack).frames = vec![frame].into();
        }
        leaves.push(stack);
    }
    assert!(address > 0, "at least one stack");
    for (at, stack) in leaves.iter().copied().enumerate() {
        let (lock, thread) = (LockId::from(at % locks), ThreadId::from(at % threads));
        let wait_ns = 1_000 + 90_000_000 / (at as u64 + 1);
        let holder = leaves[(at * 7 + locks) % leaves.len()];
        let site = session.profile.site(SiteKey { lock, stack, mode: Mode::Exclusive });
        let row = &mut session.profile.sites[site.index()];
        (row.acquisitions, row.contended) = (1, 1);
        row.wait.record(wait_ns);
        row.hold.record(700);
        let share = session.profile.by_thread.entry((thread, site)).or_default();
        (share.acquisitions, share.contended, share.wait_ns, share.hold_ns) = (1, 1, wait_ns, 700);
        let holder_thread = Some(ThreadId::from((at + 1) % threads));
        let key = WaitKey { lock, thread, waiter: stack, mode: Mode::Exclusive, holder, holder_thread };
        let stats = session.profile.waits.entry(key).or_default();
        (stats.count, stats.wait_ns, stats.max_ns) = (1, wait_ns, wait_ns);
        let start_ns = at as u64 * 90_000;
        session.profile.wait_events.push(WaitEvent { key, start_ns, wait_ns, hold_ns: 700 });
    }
    session.coverage.acquisitions = stacks as u64;
    session.coverage.recorded = stacks as u64;
    session
}
