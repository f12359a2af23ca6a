//! Where recordings come in: trace files (and, later, the rings of a running program), turned into the model.
//!
//! Nothing is analysed or named here.

pub mod file;
