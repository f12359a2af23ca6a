//! `check --format junit`: a test case for each thing found, as GitLab, Jenkins and GitHub's viewers read it.

use super::{plain, xml};
use crate::gate::{Outcome, Standing, Verdict};
use crate::render::explain::{self, verdict as said};
use crate::render::sources::Sources;

/// The XML, ending in a line break.
pub fn junit(verdict: &Verdict<'_>, sources: &Sources) -> String {
    let mut cases = Vec::new();
    let (mut failures, mut errors, mut skipped) = (0, 0, 0);
    for entry in &verdict.entries {
        let class = format!("lockprof.{}", entry.rule().area.name());
        let session = entry.recording.session;
        let (title, reason) = (explain::title(session, &entry.finding), explain::reason(session, &entry.finding));
        // The fingerprint keeps the name apart from others', and the same from run to run.
        let name = format!("{title} [{}] {}", entry.word(), entry.fingerprint());
        let inside = match &entry.standing {
            Standing::Fails(_) => {
                failures += 1;
                let told = plain(entry, sources);
                let (message, body) = (xml(&reason), xml(told.trim_end()));
                format!("\n      <failure message=\"{message}\" type=\"{}\">{body}</failure>\n    ", entry.word())
            }
            Standing::Known => {
                skipped += 1;
                "\n      <skipped message=\"known by the baseline\"/>\n    ".into()
            }
            Standing::Suppressed(by) => {
                skipped += 1;
                format!("\n      <skipped message=\"suppressed by {}\"/>\n    ", xml(by))
            }
            Standing::Passes => {
                format!("\n      <system-out>{}</system-out>\n    ", xml(&reason))
            }
        };
        cases.push(format!(
            "    <testcase classname=\"{class}\" name=\"{}\" time=\"0\">{inside}</testcase>\n",
            xml(&name)
        ));
    }
    if let Some(program) = said::program(verdict) {
        failures += 1;
        cases.push(format!(
            "    <testcase classname=\"lockprof.program\" name=\"the program succeeds\" time=\"0\">\n      \
             <failure message=\"{}\" type=\"program\"/>\n    </testcase>\n",
            xml(&program)
        ));
    }
    if !verdict.incomplete.is_empty() {
        let reasons = xml(&said::incomplete(verdict).join("; "));
        let inside = if verdict.strict {
            errors += 1;
            format!("\n      <error message=\"{reasons}\" type=\"incomplete\"/>\n    ")
        } else {
            format!("\n      <system-out>{reasons}</system-out>\n    ")
        };
        cases.push(format!(
            "    <testcase classname=\"lockprof.recording\" name=\"the recording is complete\" time=\"0\">{inside}</testcase>\n"
        ));
    }
    if verdict.outcome == Outcome::Pass {
        let text = xml(&said::facts(verdict).join(" · "));
        cases.insert(
            0,
            format!(
                "    <testcase classname=\"lockprof\" name=\"lock order\" time=\"0\">\n      \
                 <system-out>{text}</system-out>\n    </testcase>\n"
            ),
        );
    }
    let seconds = verdict.runs().map(|at| at.session.meta.duration_ns as f64 / 1e9).sum::<f64>();
    let counts = format!(
        "tests=\"{}\" failures=\"{failures}\" errors=\"{errors}\" skipped=\"{skipped}\" time=\"{seconds:.3}\"",
        cases.len()
    );
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites name=\"lockprof check\" {counts}>\n  \
         <testsuite name=\"lockprof check\" {counts}>\n{}  </testsuite>\n</testsuites>\n",
        cases.concat()
    )
}
