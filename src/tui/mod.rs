//! The live view: a screen ([`state`], [`input`], [`view`], [`term`]), or tables and JSON lines where there is none ([`plain`]).
//!
//! The state is pure data and views are pure functions of it, so that every screen can be tested. Deliberately not here: where
//! snapshots come from.

pub mod plain;
