//! The order of publishing and deleting, held against power cuts, failing disks, kills and other runs beside it.
#![cfg(test)]

mod beside;
#[path = "../common/mod.rs"]
mod common;
mod crash;
mod faults;
mod interleavings;
mod model;
mod processes;
