//! The integration tests: real programs under the recorder, held against what they know about themselves.
//!
//! One binary, one file per capability. The programs are in `fixtures/targets`, each with its truth at the top.
//! Facts only, never timings, save durations that the program itself makes and measures.

mod util;

mod suite {
    mod asleep;
    mod attach;
    mod attach_own;
    mod blocking;
    mod check;
    mod command_line;
    mod compare;
    mod counts;
    mod damage;
    mod doctor;
    mod endings;
    mod execs;
    mod exports;
    mod findings;
    mod fixtures;
    mod flamegraph;
    mod foreign;
    mod fuzz;
    mod go_recording;
    mod go_sites;
    mod go_tables;
    mod hangs;
    mod html;
    mod identity;
    mod interruptions;
    mod leftovers;
    mod limits;
    mod look;
    mod merge;
    mod misuse;
    mod names;
    mod namespaces;
    mod neighbours;
    mod nesting;
    mod oracle;
    mod order;
    mod orders;
    mod own_locks;
    mod packaging;
    mod power;
    mod primitives;
    mod process_tree;
    mod real_programs;
    mod refusals;
    mod rooms;
    mod rust_cargo;
    mod rust_recording;
    mod rust_sites;
    mod sandboxes;
    mod signals;
    mod stacks;
    mod symbolize;
    mod top;
    mod unseen;
    mod waits;
}
