#![no_std]
//! shim
