//! What a store holds for years: retention and trash, damage and how it heals, planted objects, full disks; and what
//! every back end has to do.
#![cfg(test)]

mod absence;
mod accumulation;
#[path = "../common/mod.rs"]
mod common;
mod contract;
mod damage;
mod fingerprint;
mod full_disk;
mod planted;
mod retention;
mod sealed;
mod store_by_other_paths;
mod substitution;
mod trash;
mod write_only;
