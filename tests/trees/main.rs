//! Directory trees through backup, restore and import: what comes back is what was there.
#![cfg(test)]

#[path = "../common/mod.rs"]
mod common;
mod engine;
mod hard_tree;
mod import;
mod links;
mod owners;
mod panics;
mod restore_in_place;
mod restore_place;
mod restore_races;
mod roundcube;
mod sources;
mod unreadable;
mod weeks_property;
