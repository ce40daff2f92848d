//! Weekly copies that rsync made are taken over, and can be had back: every week is what its copy was.
#![cfg(test)]

mod commands;
#[path = "../common/mod.rs"]
mod common;
#[path = "../common/edits.rs"]
mod edits;
mod farm;
mod property;
mod weeks;
