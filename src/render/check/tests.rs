//! Golden files of every format, and what holds for all of them.

use super::*;
use crate::analysis::Glob;
use crate::analysis::findings::Findings;
use crate::analysis::order::Class;
use crate::gate::testing::{bank, clean};
use crate::gate::{Baseline, Budget, Ended, FailOn, Measure, Policy, Recording, Suppressions, judge};
use crate::model::Session;
use crate::render::golden;
use crate::render::sources::Source;
use crate::render::style::{Style, columns};

/// The bank's source, so that excerpts can be shown.
fn sources() -> Sources {
    let mut sources = Sources::default();
    let mut add = |path: &str, text: &str| {
        let lines = text.lines().map(str::to_owned).collect();
        sources.insert(path, Source { path: path.into(), inside: true, changed: path.ends_with(".h"), lines });
    };
    add(
        "src/bank.cc",
        "#include \"bank.h\"\n\n// Pays.\nvoid Bank::pay(Account* acct, long amount)\n{\n    check(amount);\n    \
         std::lock_guard own(acct->lock);\n    acct->balance -= amount;\n    std::lock_guard log(journal.mu);\n    \
         journal.append(acct, amount);\n}\n",
    );
    add(
        "src/journal.cc",
        "#include \"journal.h\"\n\nvoid Journal::flush() {\n\tstd::lock_guard own(mu);\n\tfor (Account* acct : dirty)\n\t\t\
         acct->settle();\n}\n",
    );
    add(
        "src/account.h",
        "struct Account {\n  std::mutex lock;\n  long balance;\n  void settle() {\n    std::lock_guard own(lock);\n  }\n};\n",
    );
    sources
}

fn policy() -> Policy {
    let mut suppressions = Suppressions::default();
    suppressions.add("allow.toml", "[[allow]]\nlocks = [\"table.rw\"]\nreason = \"vendor's\"\n\n[[allow]]\nlocks = [\"nobody\"]\nreason = \"old\"\n").unwrap();
    suppressions.add("tsan.supp", "mutex:^Account::settle\n").unwrap();
    let budget = Budget { measure: Measure::Wait, locks: Glob::new("journal*"), limit_ns: 5_000_000 };
    Policy { suppressions, budgets: vec![budget], ..Policy::default() }
}

fn judged<R>(
    session: &Session,
    findings: &Findings,
    policy: &Policy,
    ended: Option<Ended>,
    see: impl FnOnce(&Verdict<'_>) -> R,
) -> R {
    let recordings = [Recording { name: "server.4242.lockprof", session, findings }];
    see(&judge(&recordings, policy, ended))
}

/// The bank under a policy of everything.
fn with<R>(see: impl FnOnce(&Verdict<'_>) -> R) -> R {
    let (session, findings) = bank();
    judged(&session, &findings, &policy(), Some(Ended::Code(3)), see)
}

fn text_at(verdict: &Verdict<'_>, width: usize, verbose: bool) -> String {
    let text = text(verdict, &sources(), &Options { layout: Layout { color: false, width }, verbose, quiet: false });
    for line in text.lines() {
        assert!(columns(line) <= width, "over {width} columns: {line}");
    }
    text
}

#[test]
fn golden_texts() {
    with(|verdict| {
        golden::check("check.txt", &text_at(verdict, 80, false));
        golden::check("check-verbose-120.txt", &text_at(verdict, 120, true));
        text_at(verdict, 60, true);
    });
    let (session, findings) = clean();
    judged(&session, &findings, &Policy::default(), None, |verdict| {
        golden::check("check-clean.txt", &text_at(verdict, 80, false));
    });
}

#[test]
fn golden_machine_formats() {
    with(|verdict| {
        let sources = sources();
        golden::check("check.json", &crate::render::json::check(verdict));
        golden::check("check.sarif", &sarif(verdict, &sources, &RUN));
        golden::check("check.xml", &junit(verdict, &sources));
        golden::check("check-github.txt", &github::github(verdict, &sources));
        golden::check("check.md", &markdown(verdict, &sources));
    });
}

const RUN: Run<'_> = Run { id: "server", version: "0.1.0" };

#[test]
fn colours_change_nothing_else() {
    with(|verdict| {
        let at = |color| {
            let options = Options { layout: Layout { color, width: 80 }, verbose: false, quiet: false };
            text(verdict, &sources(), &options)
        };
        let mut plain = String::new();
        let mut escape = false;
        for c in at(true).chars() {
            match (escape, c) {
                (false, '\x1b') => escape = true,
                (false, _) => plain.push(c),
                (true, 'm') => escape = false,
                (true, _) => {}
            }
        }
        assert_eq!(plain, at(false));
        assert!(at(true).contains(&Layout { color: true, width: 80 }.paint(Style::Bad, "error[feasible]")));
    });
}

#[test]
fn json_has_every_key_of_the_contract() {
    with(|verdict| {
        let json: serde_json::Value = serde_json::from_str(&crate::render::json::check(verdict)).unwrap();
        let has = |value: &serde_json::Value, keys: &str| {
            for key in keys.split_whitespace() {
                assert!(value.get(key).is_some(), "{key} is missing in {value}");
            }
        };
        has(&json, "schema_version verdict cycles findings suppressed unused_suppressions");
        assert_eq!(json["verdict"], "fail");
        let cycle = &json["cycles"][0];
        has(cycle, "fingerprint class fails reason locks edges witness");
        assert_eq!((&cycle["class"], &cycle["fails"]), (&"feasible".into(), &true.into()));
        has(&cycle["edges"][0], "thread held held_mode wanted wanted_mode also_held count held_stack wanted_stack");
        assert_eq!(cycle["edges"][0]["also_held"], serde_json::json!(["config_lock"]));
        has(&json["suppressed"][0], "fingerprint by");
        has(&json["findings"][0], "kind severity lock name message count total_ns call stacks fingerprint fails");
        assert_eq!(json["unused_suppressions"], serde_json::json!(["allow.toml:5 (old)"]));
        assert_eq!(json["program"], "the program failed: exit code 3");
    });
}

/// That all of it is as the standard says is for an integration test to tell, with a validator.
#[test]
fn sarif_has_what_github_reads() {
    let valid = |verdict: &Verdict<'_>, sources: &Sources| -> serde_json::Value {
        serde_json::from_str(&sarif(verdict, sources, &RUN)).unwrap()
    };
    with(|verdict| {
        let json = valid(verdict, &sources());
        let run = &json["runs"][0];
        let results = run["results"].as_array().unwrap();
        assert_eq!(results.len(), 5, "what only passes is left out, what is suppressed is not");
        for result in results {
            let rule = &run["tool"]["driver"]["rules"][result["ruleIndex"].as_u64().unwrap() as usize];
            assert_eq!(rule["id"], result["ruleId"]);
            assert!(!result["locations"].as_array().unwrap().is_empty(), "GitHub wants a place: {result}");
        }
        let feasible = &results[0];
        let place = &feasible["locations"][0]["physicalLocation"];
        assert_eq!(
            (&place["artifactLocation"]["uri"], &place["region"]["startLine"]),
            (&"src/bank.cc".into(), &9.into())
        );
        assert_eq!(feasible["codeFlows"][0]["threadFlows"].as_array().unwrap().len(), 2);
        assert_eq!(results.iter().filter(|result| result.get("suppressions").is_some()).count(), 1);
    });
    // Without sources, with a baseline, and with nothing at all.
    let (session, findings) = bank();
    let baseline = judged(&session, &findings, &Policy::default(), None, |verdict| Baseline::of(verdict.failing()));
    let policy = Policy { baseline: Some(baseline), strict: true, ..Policy::default() };
    judged(&session, &findings, &policy, None, |verdict| {
        let json = valid(verdict, &Sources::default());
        assert_eq!(json["runs"][0]["results"][0]["baselineState"], "unchanged");
    });
    let (session, findings) = clean();
    judged(&session, &findings, &Policy::default(), None, |verdict| {
        assert_eq!(valid(verdict, &Sources::default())["runs"][0]["results"], serde_json::json!([]));
    });
}

/// Names that mean something to the formats, everywhere that a name can be.
#[test]
fn odd_names_do_no_harm() {
    let (mut session, findings) = bank();
    let odd = "a,b:c%d\n::error::x <i>&\"'`|*_ \u{1b}[31m";
    for lock in &mut session.locks {
        lock.name.as_mut().unwrap().text = odd.into();
    }
    session.threads.iter_mut().for_each(|thread| thread.name = odd.into());
    let fail = Policy { fail_on: FailOn::parse(Class::ALL.map(Class::name)).unwrap(), ..Policy::default() };
    judged(&session, &findings, &fail, None, |verdict| {
        let sources = sources();
        let text = text_at(verdict, 80, true);
        assert!(!text.contains('\u{1b}') && !text.contains("\n::error"));
        let github = github::github(verdict, &sources);
        for line in github.lines().filter(|line| line.starts_with("::")) {
            let (properties, _) = line[2..].split_once("::").unwrap();
            assert!(properties.starts_with("error ") && !properties.contains('\u{1b}'), "{line}");
            let titles = properties.split(',').filter(|part| part.contains("title=")).count();
            assert_eq!((titles, properties.matches(':').count()), (1, 0), "{properties}");
        }
        let xml = junit(verdict, &sources);
        assert!(!xml.contains("<i>") && !xml.contains('\u{1b}') && !xml.contains("\"'"));
        let md = markdown(verdict, &sources);
        let outside: String = md.split("```").step_by(2).collect();
        assert!(!outside.contains("<i>&") && !md.contains('\u{1b}'));
        serde_json::from_str::<serde_json::Value>(&sarif(verdict, &sources, &RUN)).unwrap();
    });
}
