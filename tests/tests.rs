//! The integration tests: real programs under the recorder, held against what they know about themselves.
//!
//! One binary, one file per capability. The programs are in `fixtures/targets`, each with its truth at the top.
//! Facts only, never timings, save durations that the program itself makes and measures.

mod util;

mod suite {
    mod check;
    mod command_line;
    mod counts;
    mod endings;
    mod fixtures;
    mod hangs;
    mod html;
    mod identity;
    mod interruptions;
    mod limits;
    mod misuse;
    mod neighbours;
    mod nesting;
    mod oracle;
    mod order;
    mod orders;
    mod power;
    mod primitives;
    mod process_tree;
    mod real_programs;
    mod refusals;
    mod rooms;
    mod stacks;
    mod waits;
}
