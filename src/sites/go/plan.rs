//! The plan for a Go program: for every operation that was found, its patch, or the reason why it gets none.

use std::collections::BTreeMap;

use super::super::code::Code;
use super::super::image::Image;
use super::super::plan::{self, Patch, Refusal};
use super::super::table::{AtomicRow, ColdRow, Event, FunctionRow};
use super::operations::is_system_call;
use super::pclntab::Pclntab;
use super::sites::{ColdCall, Hook, Site, Sites};

/// What a patch is for.
#[derive(Clone, Copy, Debug)]
pub enum Operation {
    /// An inlined operation.
    Atomic(&'static AtomicRow),
    /// A call of a slow path that is an event itself.
    Call(&'static ColdRow),
    /// The beginning of a function.
    Entry(&'static FunctionRow),
    /// A return of a function.
    Exit(&'static FunctionRow),
    /// The call of the kernel by which, among others, the program starts another one.
    Start,
}

impl Operation {
    /// Whether it belongs to the runtime's handler of signals.
    pub fn is_of_signals(&self) -> bool {
        let (Self::Entry(row) | Self::Exit(row)) = self else { return false };
        row.entry == Some(Event::Signal)
    }
}

impl plan::Named for Operation {
    fn name(&self) -> &'static str {
        match self {
            Self::Atomic(row) => row.operation,
            Self::Call(row) => row.operation,
            Self::Entry(row) | Self::Exit(row) => row.function,
            Self::Start => "execve",
        }
    }
}

/// One operation with its patch.
pub type Planned = plan::Planned<Operation>;

/// The plan.
pub type Plan = plan::Plan<Operation>;

impl Plan {
    /// Makes one. The mutex inside an `RWMutex` is left out: it is part of that one's operations.
    pub fn new(image: &Image<'_>, index: &Pclntab<'_>, sites: &Sites) -> Self {
        let mut planner = Planner { image, index, operations: Vec::new() };
        let mut by_function: BTreeMap<u64, Found<'_>> = BTreeMap::new();
        for site in sites.sites.iter().filter(|site| !site.inner) {
            by_function.entry(site.function).or_default().sites.push(site);
        }
        for call in sites.cold_calls.iter().filter(|call| call.named && !call.inner && call.row.event.is_some()) {
            by_function.entry(call.function).or_default().calls.push(call);
        }
        for hook in &sites.hooks {
            by_function.entry(hook.function).or_default().hooks.push(hook);
        }
        for (function, found) in by_function {
            let Some(code) = planner.decode(function) else { continue };
            found.sites.iter().for_each(|site| planner.add_site(&code, site));
            for call in found.calls {
                planner.add(call.address, Operation::Call(call.row), plan::call(&code, call.address));
            }
            found.hooks.iter().for_each(|hook| planner.add_hook(&code, hook));
        }
        for function in index.functions().iter().filter(|function| is_system_call(index.name(function.name))) {
            if let Some(code) = planner.decode(function.start) {
                planner.add(function.start, Operation::Start, plan::system_call(&code));
            }
        }
        Self::of(planner.operations)
    }
}

/// What was found in one function.
#[derive(Default)]
struct Found<'sites> {
    sites: Vec<&'sites Site>,
    calls: Vec<&'sites ColdCall>,
    hooks: Vec<&'sites Hook>,
}

struct Planner<'data, 'index> {
    image: &'index Image<'data>,
    index: &'index Pclntab<'data>,
    operations: Vec<Planned>,
}

impl Planner<'_, '_> {
    fn decode(&self, function: u64) -> Option<Code> {
        let function = self.index.function_at(function)?;
        Some(Code::decode(self.image.code(function.start, function.end)?, function.start))
    }

    fn add(&mut self, address: u64, operation: Operation, patch: Result<Patch, Refusal>) {
        self.operations.push(Planned { address, operation, patch });
    }

    fn add_site(&mut self, code: &Code, site: &Site) {
        let patch = if site.checks_itself {
            Err(Refusal::ChecksItself)
        } else {
            plan::atomic(code, site.address, site.row.atomic, site.row.success)
        };
        self.add(site.address, Operation::Atomic(site.row), patch);
    }

    fn add_hook(&mut self, code: &Code, hook: &Hook) {
        if hook.row.entry.is_some() {
            self.add(hook.function, Operation::Entry(hook.row), plan::set_up(code));
        }
        if hook.row.exit.is_some() {
            for patch in plan::returns(code) {
                let (address, patch) = match patch {
                    Ok(patch) => (patch.address, Ok(patch)),
                    Err((address, refusal)) => (address, Err(refusal)),
                };
                self.add(address, Operation::Exit(hook.row), patch);
            }
        }
    }
}
