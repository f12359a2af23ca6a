//! Everything that is needed to patch a Rust program, made of its file alone. It owns what it says, so the file may go.

use std::collections::BTreeMap;
use std::ops::Range;

use super::super::functions::Functions;
use super::super::image::{Image, ImageError};
use super::super::plan::Patch;
use super::super::unwind::{Rule, Rules};
use super::plan::{Operation, Plan, Planned};
use super::sites::Sites;

/// One patch, with what has to be known where it is applied.
#[derive(Clone, Debug)]
pub struct Step {
    /// What it is for.
    pub planned: Planned,
    /// The patch.
    pub patch: Patch,
    /// The bytes that have to be there.
    pub bytes: Vec<u8>,
    /// How to go from there to the caller.
    pub rule: Rule,
}

/// See the module.
#[derive(Clone, Debug)]
pub struct Recipe {
    /// The patches, by address.
    pub steps: Vec<Step>,
    /// How to go on from each return address in the program.
    pub returns: Vec<(u64, Rule)>,
    /// Where the program is entered.
    pub entry: u64,
    /// The program may be put anywhere.
    pub is_position_independent: bool,
    /// A library can be preloaded into it.
    pub is_interpreted: bool,
    /// The address behind its last segment.
    pub end: u64,
    /// Where its data lies.
    pub data: Vec<Range<u64>>,
    /// Its GNU build-id; empty where it has none.
    pub build_id: Vec<u8>,
    /// What was found, as a sentence without its subject.
    pub found: String,
    /// What could not be patched and is not recorded, as sentences without their subject.
    pub left_out: Vec<String>,
}

impl Recipe {
    /// Of a program's file; `None` where no lock of Rust's was found in it.
    ///
    /// # Errors
    /// Where the file is for another processor.
    pub fn of(file: &[u8]) -> Result<Option<Self>, ImageError> {
        let image = match Image::parse(file) {
            Ok(image) => image,
            Err(ImageError::Parse(_)) => return Ok(None),
            Err(error) => return Err(error),
        };
        let functions = Functions::read(file, &image);
        let sites = Sites::find(&image, &functions);
        if sites.sites.is_empty() {
            return Ok(None);
        }
        let rules = Rules::read(&image);
        let plan = Plan::new(&image, &functions, &sites);
        let steps: Vec<Step> =
            plan.patches().filter_map(|(planned, patch)| step(&image, &rules, planned, patch)).collect();
        let returns = sites.returns.iter().map(|address| (*address, rules.at(address - 1)));
        let segments = image.segments().iter();
        Ok(Some(Self {
            found: found(&sites, steps.len()),
            left_out: left_out(&plan, &sites),
            steps,
            returns: returns.filter(|(_, rule)| *rule != Rule::default()).collect(),
            entry: image.entry(),
            is_position_independent: image.is_position_independent(),
            is_interpreted: image.is_interpreted(),
            end: segments.clone().map(|part| part.address.saturating_add(part.size)).max().unwrap_or(0),
            data: segments
                .filter(|part| part.writable)
                .map(|part| part.address..part.address.saturating_add(part.size))
                .collect(),
            build_id: image.build_id().unwrap_or_default().to_vec(),
        }))
    }
}

fn step(image: &Image<'_>, rules: &Rules, planned: &Planned, patch: &Patch) -> Option<Step> {
    let bytes = image.code(patch.address, patch.behind())?.to_vec();
    let rule = match planned.operation {
        // Its trampoline is called, or begins as the function does.
        Operation::Called(_) | Operation::Update(_) | Operation::Asked(_) => Rule::ENTRY,
        _ => rules.at(patch.address),
    };
    Some(Step { planned: planned.clone(), patch: patch.clone(), bytes, rule })
}

fn found(sites: &Sites, patched: usize) -> String {
    let (reached, of) = sites.reached().iter().fold((0, 0), |(some, all), row| (some + row.reached, all + row.of));
    format!("locks of Rust: {reached} of {of} slow calls reached, {patched} places patched")
}

fn left_out(plan: &Plan, sites: &Sites) -> Vec<String> {
    let mut texts = Vec::new();
    let mut counts: BTreeMap<(&str, &str), usize> = BTreeMap::new();
    for planned in &plan.operations {
        if let Err(refusal) = planned.patch {
            *counts.entry((planned.operation.name(), refusal.reason())).or_default() += 1;
        }
    }
    for ((operation, why), count) in counts {
        let places = if count == 1 { "one place".to_owned() } else { format!("{count} places") };
        texts.push(format!("{places} of {operation} could not be patched: {why}"));
    }
    for row in sites.reached().iter().filter(|row| row.reached < row.of) {
        let missing = row.of - row.reached;
        texts.push(format!("{missing} of {} calls of {} have no operation that is known", row.of, row.function));
    }
    texts
}
