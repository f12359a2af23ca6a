//! Everything that is needed to patch a Go program, made of its file alone. It owns what it says, so the file may go.

mod stored;

use std::ops::Range;

use super::super::image::{Image, ImageError};
use super::super::plan::Patch;
use super::super::table::Atomic;
use super::operations::LOCK_SLOW;
use super::pclntab::Pclntab;
use super::plan::{Operation, Plan, Planned};
use super::recorder::MACHINE_OF;
use super::runtime::{Runtime, RuntimeError};
use super::sites::Sites;
use super::tables::TablesError;
use super::version::{Build, build};

/// Why a program cannot be patched; the text is for the person.
#[derive(Debug, thiserror::Error)]
pub enum RecipeError {
    /// Its file cannot be read.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// It is not a Go program that is known.
    #[error(transparent)]
    Tables(#[from] TablesError),
    /// Its runtime is not known.
    #[error(transparent)]
    Runtime(#[from] RuntimeError),
}

/// One patch, with what has to be known where it is applied.
#[derive(Clone, Debug)]
pub struct Step {
    /// What it is for.
    pub planned: Planned,
    /// The patch.
    pub patch: Patch,
    /// The bytes that have to be there.
    pub bytes: Vec<u8>,
    /// The size of the program's frame where the patch is.
    pub frame: u64,
}

/// See the module.
#[derive(Clone, Debug)]
pub struct Recipe {
    /// The patches, by address.
    pub steps: Vec<Step>,
    /// The runtime's offsets.
    pub runtime: Runtime,
    /// Where the program is entered.
    pub entry: u64,
    /// The program may be put anywhere.
    pub is_position_independent: bool,
    /// The address behind its last segment.
    pub end: u64,
    /// Where its data lies.
    pub data: Vec<Range<u64>>,
    /// Its GNU build-id; empty where it has none.
    pub build_id: Vec<u8>,
    /// The runtime's handler of signals (`runtime.sighandler`), and where goroutines that wait continue (`runtime.gopark`);
    /// empty where there is none.
    pub handler: Range<u64>,
    /// See [`Self::handler`].
    pub park: Range<u64>,
    /// The return addresses of calls by which an `RWMutex` takes the mutex inside it, sorted.
    pub inner_calls: Vec<u64>,
    /// The import path of its main package; empty where it is not known.
    pub package: String,
    /// What was found, as a sentence without its subject.
    pub found: String,
    /// What could not be patched and is not recorded, as sentences without their subject.
    pub left_out: Vec<String>,
}

impl Recipe {
    /// Of a program's file; `None` where it is no Go program.
    ///
    /// # Errors
    /// Where it is one, but not as any that is known.
    pub fn of(file: &[u8]) -> Result<Option<Self>, RecipeError> {
        let image = match Image::parse(file) {
            Ok(image) => image,
            Err(ImageError::Parse(_)) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let index = match Pclntab::read(&image) {
            Ok(index) => index,
            Err(TablesError::NoHeader) if image.go_build_id().is_none() => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let runtime = Runtime::find(&image, &index)?;
        if runtime.machine != MACHINE_OF {
            return Err(RuntimeError::Unknown("g.m").into());
        }
        let sites = Sites::find(&image, &index);
        let plan = Plan::new(&image, &index, &sites);
        let steps: Vec<Step> =
            plan.patches().filter_map(|(planned, patch)| step(&image, &index, planned, patch)).collect();
        let build = build(&image);
        let segments = image.segments().iter();
        Ok(Some(Self {
            found: found(build, &sites, steps.len()),
            left_out: left_out(&plan, &sites).into_iter().chain(plugins(&index)).collect(),
            steps,
            handler: function(&index, "runtime.sighandler"),
            park: function(&index, "runtime.gopark"),
            inner_calls: sites.inner_calls,
            package: build.and_then(|build| build.package).unwrap_or_default().to_owned(),
            runtime,
            entry: image.entry(),
            is_position_independent: image.is_position_independent(),
            end: segments.clone().map(|part| part.address.saturating_add(part.size)).max().unwrap_or(0),
            data: segments
                .filter(|part| part.writable)
                .map(|part| part.address..part.address.saturating_add(part.size))
                .collect(),
            build_id: image.build_id().unwrap_or_default().to_vec(),
        }))
    }
}

impl Recipe {
    /// Whether it is one of Go's own tools: the `go` command, the compiler, the linker.
    pub fn is_tool(&self) -> bool {
        self.package.starts_with("cmd/")
    }

    /// Whether it is the `go` command.
    pub fn is_go_command(&self) -> bool {
        self.package == "cmd/go"
    }

    /// Whether it records anything.
    pub fn records(&self) -> bool {
        self.steps.iter().any(|step| !matches!(step.planned.operation, Operation::Start))
    }

    /// Whether it can start other programs.
    pub fn starts_programs(&self) -> bool {
        self.steps.iter().any(|step| matches!(step.planned.operation, Operation::Start))
    }

    /// The same without what only follows the programs that it starts.
    #[must_use]
    pub fn recorded_only(mut self) -> Self {
        self.steps.retain(|step| !matches!(step.planned.operation, Operation::Start));
        self
    }

    /// The same without all that records: only the programs that it starts are followed.
    #[must_use]
    pub fn followed_only(mut self) -> Self {
        self.steps.retain(|step| matches!(step.planned.operation, Operation::Start));
        self.left_out.clear();
        self
    }
}

/// Whether a file is a Go program, of whatever version.
pub fn is_program(file: &[u8]) -> bool {
    let Ok(image) = Image::parse(file) else { return false };
    image.go_build_id().is_some() || Pclntab::read(&image).is_ok()
}

fn function(index: &Pclntab<'_>, name: &str) -> Range<u64> {
    let mut functions = index.functions().iter();
    functions.find(|function| index.name(function.name) == name).map_or(0..0, |function| function.start..function.end)
}

fn step(image: &Image<'_>, index: &Pclntab<'_>, planned: &Planned, patch: &Patch) -> Option<Step> {
    let address = patch.shown();
    let frame = index.function_at(address).and_then(|function| index.frame_size(function, address)).unwrap_or(0);
    let bytes = image.code(patch.address, patch.behind())?.to_vec();
    Some(Step { planned: planned.clone(), patch: patch.clone(), bytes, frame: frame.into() })
}

fn found(build: Option<Build<'_>>, sites: &Sites, patched: usize) -> String {
    let reached = sites.reached();
    let (reached, of) = reached.iter().fold((0, 0), |(some, all), row| (some + row.reached, all + row.of));
    let version = build.and_then(|build| build.version);
    let version = version.map_or_else(|| "Go".to_owned(), |version| version.replacen("go", "Go ", 1));
    format!("{version}: {reached} of {of} slow calls reached, {patched} places patched")
}

/// What a program may bring into its process later, of whose code nothing is known.
fn plugins(index: &Pclntab<'_>) -> Option<String> {
    let opens =
        index.functions().iter().any(|function| matches!(index.name(function.name), "plugin.Open" | "plugin.open"));
    opens.then(|| "plugins can be opened (plugin.Open), and their locks are not recorded".to_owned())
}

fn left_out(plan: &Plan, sites: &Sites) -> Vec<String> {
    // What a waiter is given by hand is seen by its going on.
    let is_hand_over = |operation: &Operation| matches!(operation, Operation::Atomic(row) if row.operation == LOCK_SLOW && row.atomic == Atomic::ExchangeAdd);
    plan.left_out(|operation| !is_hand_over(operation), &sites.reached())
}
