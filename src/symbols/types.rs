//! The way from a variable to a lock inside it, by the variable's type: `.shard[3].mu`.
//!
//! Follows members, arrays, base classes and unions down to the lock object and not into it.
//! Member names that C and C++ reserve for the library (`_M_elems`, `__elems_`) are left out.

use super::dwarf::{Die, Dwarf};
use crate::model::lock_class::is_lock_name;

/// Types deeper than this are not followed.
const DEEPEST: usize = 40;

/// Lock types whose names [`is_lock_name`] does not know.
const LOCK_TYPES: [&str; 14] = [
    "pthread_mutex_t",
    "pthread_rwlock_t",
    "pthread_spinlock_t",
    "pthread_cond_t",
    "pthread_barrier_t",
    "pthread_once_t",
    "sem_t",
    "mtx_t",
    "cnd_t",
    "once_flag",
    "condition_variable",
    "condition_variable_any",
    "barrier",
    "latch",
];

/// Where the way ends.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Way {
    text: String,
    /// The size of the lock at the end, where there is one.
    lock: Option<u64>,
    /// Bytes left at the end.
    rest: u64,
}

impl Way {
    fn stop(rest: u64) -> Self {
        Self { rest, ..Self::default() }
    }
}

/// The member path from a variable of type `start` to the object `offset` bytes inside it; empty
/// for the variable itself, `+0x8` at the end where the type does not tell.
pub fn member_path(dwarf: &Dwarf<'_>, start: Die, offset: u64) -> String {
    let way = walk(dwarf, start, offset, true, 0);
    if way.rest == 0 { way.text } else { format!("{}+{:#x}", way.text, way.rest) }
}

/// The size of a type in bytes; 0 where it is unknown.
pub fn size_of(dwarf: &Dwarf<'_>, die: Die) -> u64 {
    size_within(dwarf, die, 0)
}

fn size_within(dwarf: &Dwarf<'_>, die: Die, depth: usize) -> u64 {
    if depth > DEEPEST {
        return 0;
    }
    if let Some(size) = dwarf.number(die, gimli::DW_AT_byte_size) {
        return size;
    }
    match (dwarf.tag(die), dwarf.type_of(die)) {
        (Some(gimli::DW_TAG_array_type), Some(element)) => {
            let count: u64 = dimensions(dwarf, die).iter().fold(1, |product, count| product.saturating_mul(*count));
            size_within(dwarf, element, depth + 1).saturating_mul(count)
        }
        (_, Some(inner)) => size_within(dwarf, inner, depth + 1),
        _ => 0,
    }
}

/// `named`: the object of this type has a name of its own (an anonymous union or a base class has none).
fn walk(dwarf: &Dwarf<'_>, at: Die, offset: u64, named: bool, depth: usize) -> Way {
    let Some(tag) = dwarf.tag(at).filter(|_| depth < DEEPEST) else { return Way::stop(offset) };
    let named_lock = offset == 0 && dwarf.name(at).is_some_and(|name| is_lock_type(&name));
    let way = match tag {
        gimli::DW_TAG_typedef
        | gimli::DW_TAG_const_type
        | gimli::DW_TAG_volatile_type
        | gimli::DW_TAG_restrict_type
        | gimli::DW_TAG_atomic_type
        | gimli::DW_TAG_structure_type
        | gimli::DW_TAG_class_type
        | gimli::DW_TAG_union_type
            if named_lock =>
        {
            return Way { text: String::new(), lock: Some(size_of(dwarf, at)), rest: 0 };
        }
        gimli::DW_TAG_typedef
        | gimli::DW_TAG_const_type
        | gimli::DW_TAG_volatile_type
        | gimli::DW_TAG_restrict_type
        | gimli::DW_TAG_atomic_type => match dwarf.type_of(at) {
            Some(inner) => return walk(dwarf, inner, offset, named, depth + 1),
            None => Way::stop(offset),
        },
        gimli::DW_TAG_structure_type | gimli::DW_TAG_class_type | gimli::DW_TAG_union_type => {
            into_members(dwarf, at, offset, depth)
        }
        gimli::DW_TAG_array_type => into_array(dwarf, at, offset, depth),
        _ => Way::stop(offset),
    };
    // The outermost object that is nothing but the lock, or that starts where no lock is known, is
    // what a person calls by name.
    let nothing_but = way.lock.is_none_or(|size| size == size_of(dwarf, at));
    if offset == 0 && named && nothing_but && tag != gimli::DW_TAG_array_type {
        return Way { text: String::new(), ..way };
    }
    way
}

fn into_members(dwarf: &Dwarf<'_>, at: Die, offset: u64, depth: usize) -> Way {
    let at = dwarf.definition_of_type(at);
    let mut first = None;
    for (member, tag) in dwarf.children(at) {
        if !matches!(tag, gimli::DW_TAG_member | gimli::DW_TAG_inheritance) {
            continue;
        }
        // Static members are declarations; virtual bases have no fixed place.
        if dwarf.has(member, gimli::DW_AT_declaration) || dwarf.has(member, gimli::DW_AT_virtuality) {
            continue;
        }
        let start = dwarf.number(member, gimli::DW_AT_data_member_location).unwrap_or(0);
        let Some(inner) = dwarf.type_of(member) else { continue };
        if offset.checked_sub(start).is_none_or(|inside| inside >= size_of(dwarf, inner)) {
            continue;
        }
        let name = dwarf.name(member).filter(|_| tag == gimli::DW_TAG_member);
        let mut way = walk(dwarf, inner, offset - start, name.is_some(), depth + 1);
        if let Some(name) = name.filter(|name| !is_reserved(name)) {
            way.text = format!(".{name}{}", way.text);
        }
        if way.lock.is_some() {
            return way;
        }
        first.get_or_insert(way);
    }
    first.unwrap_or_else(|| Way::stop(offset))
}

fn into_array(dwarf: &Dwarf<'_>, at: Die, offset: u64, depth: usize) -> Way {
    let Some(element) = dwarf.type_of(at) else { return Way::stop(offset) };
    let size = size_of(dwarf, element);
    let Some(flat) = offset.checked_div(size) else { return Way::stop(offset) };
    let way = walk(dwarf, element, offset % size, true, depth + 1);
    let dimensions = dimensions(dwarf, at);
    let mut indexes = Vec::with_capacity(dimensions.len());
    let mut left = flat;
    for count in dimensions.iter().skip(1).rev().filter(|count| **count > 0) {
        indexes.push(left % count);
        left /= count;
    }
    indexes.push(left);
    let indexes: String = indexes.iter().rev().map(|index| format!("[{index}]")).collect();
    Way { text: format!("{indexes}{}", way.text), ..way }
}

/// Elements in each dimension of an array; 0 where it is open.
fn dimensions(dwarf: &Dwarf<'_>, array: Die) -> Vec<u64> {
    let ranges = dwarf.children(array).into_iter().filter(|(_, tag)| *tag == gimli::DW_TAG_subrange_type);
    ranges
        .map(|(range, _)| {
            let last = || dwarf.number(range, gimli::DW_AT_upper_bound).map(|last| last.saturating_add(1));
            dwarf.number(range, gimli::DW_AT_count).or_else(last).unwrap_or(0)
        })
        .collect()
}

fn is_lock_type(name: &str) -> bool {
    LOCK_TYPES.contains(&name) || is_lock_name(name)
}

fn is_reserved(name: &str) -> bool {
    name.starts_with("__") || name.starts_with("_M_")
}
