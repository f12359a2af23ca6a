//! Who has a lock that does not say so: the one thread whose code gives it back.

use std::hash::{Hash, Hasher};

use rustc_hash::{FxHashMap, FxHashSet, FxHasher};

use super::files::Files;
use super::future::{Future, Start};
use super::memory::Memory;
use super::rust;
use super::unwind::Stack;
use super::wait::{RawState, RawWait};
use super::waits::is_waiter;
use crate::model::{Holder, Kind};

/// Of those who are at the same places in the code so many are followed: that takes time.
const MOST_OF_SHAPE: usize = 8;

/// A thread or a goroutine.
pub struct Member<'s> {
    pub stack: Option<&'s Stack>,
    pub wait: Option<RawWait>,
    pub is_go: bool,
}

/// For each member that waits for what does not name its holder: who has it, where that is certain.
pub fn find<'a>(members: &[Member<'_>], files: &'a Files<'a>, memory: &'a Memory<'a>) -> Vec<Option<Holder>> {
    let is_open = |wait: &RawWait| {
        let is_lock = matches!(wait.kind, Kind::Mutex | Kind::Rwlock | Kind::Spinlock);
        is_lock && matches!(wait.state, RawState::NotRecorded | RawState::Readers(_))
    };
    let mut found = vec![None; members.len()];
    if !members.iter().any(|member| member.wait.as_ref().is_some_and(is_open)) {
        return found;
    }
    let wanted: FxHashMap<u64, u32> = members
        .iter()
        .filter_map(|member| member.wait.as_ref())
        .filter(|wait| is_open(wait))
        .map(|wait| (wait.word(), 1))
        .collect();
    let shapes = Shapes::of(members);
    let future = Future::new(files, memory, shapes.followed);
    let given: Vec<FxHashMap<u64, u32>> = (members.iter().enumerate())
        .map(|(at, member)| {
            member.stack.filter(|_| shapes.is_followed(at)).map_or_else(FxHashMap::default, |stack| {
                let first = first_own(member, stack, files);
                let takes_one = member.wait.is_some_and(|wait| wait.kind == Kind::Condvar);
                let mut wanted = wanted.clone();
                // What it waits for it gets first.
                let own = member.wait.as_ref().and_then(|wait| wanted.get_mut(&wait.word()));
                own.into_iter().for_each(|enough| *enough += 1);
                let start = Start { frames: &stack.frames[first..], takes_one, is_go: member.is_go };
                let mut given = future.given_back(&start, &wanted);
                // Whoever waits for a lock gives back, among others, what it gets.
                if let Some(own) = member.wait.as_ref().and_then(|wait| given.get_mut(&wait.word())) {
                    *own -= 1;
                }
                given.retain(|_, times| *times > 0);
                given
            })
        })
        .collect();
    if shapes.may_hide(&given) {
        return found;
    }
    for (at, member) in members.iter().enumerate() {
        let Some(wait) = member.wait.as_ref().filter(|wait| is_open(wait)) else { continue };
        let word = wait.word();
        let has = |other: &usize| given[*other].contains_key(&word);
        let who: Vec<usize> = (0..members.len()).filter(has).collect();
        let most = match wait.state {
            RawState::Readers(readers) => readers as usize,
            _ => 1,
        };
        if !who.is_empty() && who.len() <= most {
            let own = who.iter().find(|who| **who == at);
            found[at] = own.or_else(|| who.first()).map(|who| Holder::GivesBack(*who));
        }
    }
    found
}

/// Who is at the same places in the code.
struct Shapes {
    /// Each member's shape, and which of that shape it is.
    of: Vec<(u64, usize)>,
    followed: usize,
}

impl Shapes {
    fn of(members: &[Member<'_>]) -> Self {
        let mut numbers: FxHashMap<u64, usize> = FxHashMap::default();
        let shape = |member: &Member<'_>| {
            let mut hasher = FxHasher::default();
            let frames = member.stack.iter().flat_map(|stack| &stack.frames);
            frames.for_each(|frame| frame.registers.pc().hash(&mut hasher));
            let shape = hasher.finish();
            let number = numbers.entry(shape).or_default();
            *number += 1;
            (shape, *number - 1)
        };
        let of: Vec<_> = members.iter().map(shape).collect();
        let followed = of.iter().filter(|(_, number)| *number < MOST_OF_SHAPE).count();
        Self { of, followed }
    }

    fn is_followed(&self, at: usize) -> bool {
        self.of[at].1 < MOST_OF_SHAPE
    }

    /// Whether somebody who was not followed may have a lock: others at the same places have.
    fn may_hide(&self, given: &[FxHashMap<u64, u32>]) -> bool {
        let have: FxHashSet<u64> =
            self.of.iter().zip(given).filter(|(_, given)| !given.is_empty()).map(|((shape, _), _)| *shape).collect();
        self.of.iter().any(|(shape, number)| *number >= MOST_OF_SHAPE && have.contains(shape))
    }
}

/// The first frame of the program's own: behind the functions that wait.
fn first_own(member: &Member<'_>, stack: &Stack, files: &Files<'_>) -> usize {
    const NEAR: usize = 24;
    let name = |at: usize| stack.frames.get(at).and_then(|frame| files.function(frame.inside())).unwrap_or_default();
    let is_library = |at: &usize| {
        let Some(frame) = stack.frames.get(*at) else { return false };
        let Some(file) = files.at(frame.inside()) else { return false };
        match file.go().filter(|_| member.is_go) {
            Some(index) => index.function_at(file.in_file(frame.inside())).is_some_and(|function| {
                let name = index.name(function.name);
                ["runtime.", "sync.", "internal/"].iter().any(|begin| name.starts_with(begin))
            }),
            None => file.is_libc() && (member.wait.is_some() || !frame.is_exact),
        }
    };
    let waits = |at: &usize| is_waiter(name(*at)) || rust::waiter(name(*at)).is_some();
    let behind = (0..NEAR).rev().find(waits).filter(|_| member.wait.is_some()).map_or(0, |at| at + 1);
    (behind..stack.frames.len()).find(|at| !is_library(at)).unwrap_or(stack.frames.len())
}
